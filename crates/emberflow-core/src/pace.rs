//! How many rows are worked on between two looks at the clock.
//!
//! Owns what keeps slow rows from holding up a cancel, a `first` or a `take`: the rows that an operator or a sink is
//! given come in slices, at first a few rows, then as many as take a few milliseconds. Rows that take nanoseconds soon
//! come in whole batches. No result may depend on where slices end: results are the same at any pace.

use std::vec;

use coarsetime::{Duration, Instant};

use crate::{
    batch::{AnyStream, Batch, BoxStream, SharedRows, Stream, buffers},
    data::Data,
    error::TaskError,
    task::TaskContext,
};

/// Rows of the first slice.
const FIRST_ROWS: usize = 4;
/// By how much slices grow and shrink.
const STEP: usize = 4;
/// Slices grow no further: no batch has so many rows.
const MOST_ROWS: usize = 1 << 20;
/// A slice that took less may be followed by a larger one. The clock ticks every few milliseconds.
const QUICK: Duration = Duration::from_millis(6);
/// A slice that took longer is followed by a smaller one.
const SLOW: Duration = Duration::from_millis(40);

/// The number of rows to work on next, by the time that the last ones took.
pub struct Pace {
    rows: usize,
    asked: Option<Instant>,
}

impl Pace {
    /// A pace that begins with a few rows.
    pub fn new() -> Self {
        Self { rows: FIRST_ROWS, asked: None }
    }

    /// Returns how many rows to work on before asking again.
    #[inline]
    pub fn next_rows(&mut self) -> usize {
        // A clock that is read in a few nanoseconds, since every operator reads it for every batch.
        let now = Instant::now_without_cache_update();
        if let Some(asked) = self.asked.replace(now) {
            self.adapt(now.duration_since(asked));
        }
        self.rows
    }

    #[inline]
    fn adapt(&mut self, took: Duration) {
        if took >= SLOW {
            self.rows = (self.rows / STEP).max(1);
        } else if took < QUICK && self.rows < MOST_ROWS {
            self.rows *= STEP;
        }
    }

    /// Returns whether so much time has passed since the last question that rows that are ready should be passed on.
    pub fn is_late(&self) -> bool {
        self.asked.is_some_and(|asked| Instant::now_without_cache_update().duration_since(asked) >= QUICK)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl AnyStream {
    /// Remembers the row type. The rows come in slices of the reader's pace, and end when the attempt is cancelled.
    ///
    /// # Errors
    /// [`TaskError::PlanMismatch`] if the rows are of another type.
    pub fn read<T: Data>(self, cx: &TaskContext) -> Result<BoxStream<T>, TaskError> {
        if self.is_paced() {
            return self.downcast();
        }
        Ok(Box::new(Paced { rows: self.downcast()?, rest: Rest::None, pace: Pace::new(), task: cx.clone() }))
    }
}

struct Paced<T> {
    rows: BoxStream<T>,
    /// The part of a batch that is still to come.
    rest: Rest<T>,
    pace: Pace,
    task: TaskContext,
}

enum Rest<T> {
    None,
    Owned(vec::IntoIter<T>),
    Shared(SharedRows<T>),
}

impl<T: Data> Stream<T> for Paced<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        if self.task.is_cancelled() {
            return Err(TaskError::Cancelled);
        }
        let most = self.pace.next_rows();
        match &mut self.rest {
            Rest::None => {}
            Rest::Owned(rows) => {
                let mut slice = buffers::take();
                slice.extend(rows.by_ref().take(most));
                if rows.as_slice().is_empty() {
                    self.rest = Rest::None;
                }
                return Ok(Some(Batch::Owned(slice)));
            }
            Rest::Shared(rows) => {
                let slice = rows.take_front(most);
                if rows.as_slice().is_empty() {
                    self.rest = Rest::None;
                }
                return Ok(Some(Batch::Shared(slice)));
            }
        }
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        if batch.len() <= most {
            return Ok(Some(batch));
        }
        Ok(Some(match batch {
            Batch::Owned(rows) => {
                let (mut rest, mut slice) = (rows.into_iter(), buffers::take());
                slice.extend(rest.by_ref().take(most));
                self.rest = Rest::Owned(rest);
                Batch::Owned(slice)
            }
            Batch::Shared(mut rest) => {
                let slice = rest.take_front(most);
                self.rest = Rest::Shared(rest);
                Batch::Shared(slice)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_grow_while_rows_are_quick_and_shrink_to_one_row_when_they_are_slow() {
        let mut pace = Pace::new();
        assert_eq!(pace.next_rows(), FIRST_ROWS);
        (0..3).for_each(|_| pace.adapt(Duration::from_millis(1)));
        assert_eq!(pace.rows, 256);
        pace.adapt(Duration::from_millis(20));
        assert_eq!(pace.rows, 256);
        (0..9).for_each(|_| pace.adapt(Duration::from_millis(80)));
        assert_eq!(pace.rows, 1);
        (0..99).for_each(|_| pace.adapt(Duration::from_millis(1)));
        assert_eq!(pace.rows, MOST_ROWS);
    }
}
