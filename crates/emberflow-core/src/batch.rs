//! Batches of rows, owned or shared, and the streams they come in.
//!
//! Owned batches are passed on and reused by their holder; shared ones are a window into rows that somebody else
//! keeps (a cached partition, a map output, a parallelised collection), and are only looked at or cloned from.

use std::{any::Any, mem, ops::Range, sync::Arc};

pub mod buffers;

use crate::{data::Data, error::TaskError};

/// Rows that move together: about a thousand, or 64 KiB.
#[derive(Debug, Clone)]
pub enum Batch<T> {
    /// Rows that belong to the receiver.
    Owned(Vec<T>),
    /// Rows that belong to somebody else.
    Shared(SharedRows<T>),
}

/// A window into rows behind an `Arc`.
#[derive(Debug)]
pub struct SharedRows<T> {
    rows: Arc<Vec<T>>,
    window: Range<usize>,
}

impl<T> Clone for SharedRows<T> {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows), window: self.window.clone() }
    }
}

impl<T> SharedRows<T> {
    /// The rows in `window`.
    ///
    /// # Panics
    /// If the window does not lie within the rows.
    pub fn new(rows: Arc<Vec<T>>, window: Range<usize>) -> Self {
        assert!(window.start <= window.end && window.end <= rows.len(), "window {window:?} of {} rows", rows.len());
        Self { rows, window }
    }

    /// The rows themselves.
    pub fn as_slice(&self) -> &[T] {
        &self.rows[self.window.clone()]
    }

    /// Takes the first `rows` rows, or all if there are fewer, out of the window.
    #[must_use]
    pub fn take_front(&mut self, rows: usize) -> Self {
        let Range { start, end } = self.window;
        let cut = end.min(start.saturating_add(rows));
        self.window.start = cut;
        Self { rows: Arc::clone(&self.rows), window: start..cut }
    }
}

impl<T> Batch<T> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, to look at.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::Owned(rows) => rows,
            Self::Shared(rows) => rows.as_slice(),
        }
    }
}

impl<T: Clone + 'static> Batch<T> {
    /// Adds what `each` makes of every row to `out`.
    pub fn map_into<U>(self, out: &mut Vec<U>, each: impl FnMut(T) -> U) {
        match self {
            Self::Owned(mut rows) => {
                out.extend(rows.drain(..).map(each));
                buffers::give(rows);
            }
            Self::Shared(rows) => out.extend(rows.as_slice().iter().cloned().map(each)),
        }
    }

    /// Folds the rows, by value: moved if the batch is owned, cloned if it is shared.
    pub fn fold<U>(self, sum: U, each: impl FnMut(U, T) -> U) -> U {
        match self {
            Self::Owned(mut rows) => {
                let sum = rows.drain(..).fold(sum, each);
                buffers::give(rows);
                sum
            }
            Self::Shared(rows) => rows.as_slice().iter().cloned().fold(sum, each),
        }
    }

    /// Merges the rows into what `sum` holds, in their order.
    pub fn reduce(self, sum: Option<T>, mut each: impl FnMut(T, T) -> T) -> Option<T> {
        fn all<T>(sum: Option<T>, mut rows: impl Iterator<Item = T>, each: impl FnMut(T, T) -> T) -> Option<T> {
            let first = sum.or_else(|| rows.next())?;
            Some(rows.fold(first, each))
        }
        match self {
            Self::Owned(mut rows) => {
                let sum = all(sum, rows.drain(..), &mut each);
                buffers::give(rows);
                sum
            }
            Self::Shared(rows) => all(sum, rows.as_slice().iter().cloned(), each),
        }
    }

    /// The rows, to keep: moved if they are owned, cloned if they are shared.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::Owned(rows) => rows,
            Self::Shared(rows) => rows.as_slice().to_vec(),
        }
    }

    /// Calls `visit` with each row, by value.
    pub fn for_each(self, mut visit: impl FnMut(T)) {
        self.fold((), |(), row| visit(row));
    }
}

/// The rows of one partition, batch by batch. A batch may be empty; `None` is the end.
pub trait Stream<T> {
    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// The error that ends the task; the stream is not asked again.
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError>;
}

/// A stream behind a pointer: one dynamic call a batch.
pub type BoxStream<T> = Box<dyn Stream<T>>;

impl<T, S: Stream<T> + ?Sized> Stream<T> for Box<S> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        (**self).next()
    }
}

/// A stream whose row type is known to its two ends only.
pub struct AnyStream {
    stream: Box<dyn Any>,
    rows_of: &'static str,
    row_bytes: usize,
    paced: bool,
}

impl AnyStream {
    /// Forgets the row type.
    pub fn new<T: Data>(stream: impl Stream<T> + 'static) -> Self {
        let stream: BoxStream<T> = Box::new(stream);
        Self {
            stream: Box::new(stream),
            rows_of: std::any::type_name::<T>(),
            row_bytes: mem::size_of::<T>(),
            paced: false,
        }
    }

    /// Promises that the stream gives no batch without having asked for one that came at its reader's pace and had as many
    /// rows or more, or that it keeps a pace of its own. Then nobody has to look at the clock again.
    #[must_use]
    pub fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    /// Returns whether the batches come at the pace of their reader as they are.
    pub(crate) fn is_paced(&self) -> bool {
        self.paced
    }

    /// The bytes that a batch of it takes, without those that its rows own, where batches have so many rows.
    pub(crate) fn batch_bytes(&self, rows: usize) -> u64 {
        (rows.saturating_mul(self.row_bytes)).min(BATCH_BYTES.max(self.row_bytes)) as u64
    }

    /// Remembers the row type.
    ///
    /// # Errors
    /// [`TaskError::PlanMismatch`] if the rows are of another type.
    pub fn downcast<T: Data>(self) -> Result<BoxStream<T>, TaskError> {
        self.stream
            .downcast::<BoxStream<T>>()
            .map(|stream| *stream)
            .map_err(|_| TaskError::PlanMismatch { wanted: std::any::type_name::<T>(), found: self.rows_of })
    }
}

/// A batch holds no more than this of rows, without what they own.
const BATCH_BYTES: usize = 64 << 10;

/// Rows a batch should hold: `rows`, but no more than 64 KiB of shallow row size, and at least one.
pub fn batch_rows_of<T>(rows: usize) -> usize {
    rows.min(BATCH_BYTES / mem::size_of::<T>().max(1)).max(1)
}

/// A stream over an iterator of rows, cut into batches of `batch_rows`.
pub struct IterStream<I> {
    rows: I,
    batch_rows: usize,
}

impl<I> IterStream<I> {
    /// Streams `rows` in batches of `batch_rows`.
    pub fn new(rows: I, batch_rows: usize) -> Self {
        Self { rows, batch_rows }
    }
}

impl<T: 'static, I: Iterator<Item = T>> Stream<T> for IterStream<I> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        let mut rows = buffers::take();
        rows.extend(self.rows.by_ref().take(self.batch_rows));
        Ok((!rows.is_empty()).then_some(Batch::Owned(rows)))
    }
}

/// A stream of windows into shared rows.
pub struct SharedStream<T> {
    chunks: std::vec::IntoIter<SharedRows<T>>,
    open: Option<SharedRows<T>>,
    batch_rows: usize,
}

impl<T> SharedStream<T> {
    /// Streams the rows of `chunks`, in windows of `batch_rows`.
    pub fn new(chunks: Vec<SharedRows<T>>, batch_rows: usize) -> Self {
        Self { chunks: chunks.into_iter(), open: None, batch_rows }
    }
}

impl<T> Stream<T> for SharedStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        loop {
            let Some(chunk) = &mut self.open else {
                self.open = self.chunks.next();
                if self.open.is_none() {
                    return Ok(None);
                }
                continue;
            };
            if chunk.window.is_empty() {
                self.open = None;
                continue;
            }
            return Ok(Some(Batch::Shared(chunk.take_front(self.batch_rows))));
        }
    }
}

/// A stream that reads one stream after the other.
pub struct ChainStream<T> {
    parts: std::vec::IntoIter<BoxStream<T>>,
    open: Option<BoxStream<T>>,
}

impl<T> ChainStream<T> {
    /// Streams all of `parts` in their order.
    pub fn new(parts: Vec<BoxStream<T>>) -> Self {
        Self { parts: parts.into_iter(), open: None }
    }
}

impl<T> Stream<T> for ChainStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        loop {
            let Some(stream) = &mut self.open else {
                self.open = self.parts.next();
                if self.open.is_none() {
                    return Ok(None);
                }
                continue;
            };
            match stream.next()? {
                Some(batch) => return Ok(Some(batch)),
                None => self.open = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain<T: Clone + 'static>(mut stream: impl Stream<T>) -> Vec<Vec<T>> {
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().unwrap() {
            batches.push(batch.into_vec());
        }
        batches
    }

    #[test]
    fn shared_rows_come_in_windows_and_keep_their_order() {
        let rows = Arc::new((0..10).collect::<Vec<u32>>());
        let chunks = vec![SharedRows::new(Arc::clone(&rows), 2..5), SharedRows::new(rows, 7..7)];
        assert_eq!(drain(SharedStream::new(chunks, 2)), vec![vec![2, 3], vec![4]]);
    }

    #[test]
    fn a_stream_of_another_row_type_is_refused_by_name() {
        let error = AnyStream::new(IterStream::new(0..3_u64, 2)).downcast::<String>().err().unwrap();
        assert_eq!(error.to_string(), "operator wants rows of alloc::string::String, got u64");
    }
}
