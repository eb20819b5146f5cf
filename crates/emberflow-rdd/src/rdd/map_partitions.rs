//! `map_partitions` and its siblings: a whole partition as one iterator, where one loop is wanted.

use std::{cell::RefCell, fmt, marker::PhantomData, panic, rc::Rc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::{Data, ExchangeData},
    error::{TaskError, Unwound},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    pace::Pace,
    place::{OpInfo, Place},
    remake,
    ship::{Env, NotShippable, Shipped, With},
    task::Marker,
};

use serde::{Deserialize, Serialize};

use super::{Rdd, map::with_env};

impl<T: Data> Rdd<T> {
    /// Turns each partition, as an iterator, into another one: for set-up once a partition, or state across rows.
    ///
    /// Narrow. Rows come and go in order; `f` is called for empty partitions too. If the rows cannot be read to their
    /// end, `f` is unwound and the task fails; see [`PartitionIter`].
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range_into(0..6_u64, 2).map_partitions(|rows| [rows.sum::<u64>()]);
    /// assert_eq!(sums.collect()?, [0 + 1 + 2, 3 + 4 + 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_partitions<I, F>(&self, f: F) -> Rdd<I::Item>
    where
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(PartitionIter<T>) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("map_partitions", Place::caller()).with_form("map_partitions_with").with_code::<F>();
        self.partitions_info(info, (), move |(), _, rows| f(rows))
    }

    /// As [`map_partitions`](Self::map_partitions), with the partition's number.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map_partitions_with_index(|at, rows| rows.map(move |row| (at, row)));
    /// assert_eq!(rows.collect()?, [(0, 0), (0, 1), (1, 2), (1, 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_partitions_with_index<I, F>(&self, f: F) -> Rdd<I::Item>
    where
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(PartitionIndex, PartitionIter<T>) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("map_partitions_with_index", Place::caller());
        let info = info.with_form("map_partitions_with_index_with").with_code::<F>();
        self.partitions_info(info, (), move |(), partition, rows| f(partition, rows))
    }

    /// As [`map_partitions`](Self::map_partitions), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range_into(0..6_u64, 2).map_partitions_with(100, |from, rows| [rows.sum::<u64>() + from]);
    /// assert_eq!(sums.collect()?, [103, 112]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_partitions_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item>
    where
        E: ExchangeData,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, PartitionIter<T>) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("map_partitions", Place::caller()), &env).with_code::<F>();
        self.partitions_info(info, env, move |env, _, rows| f(env, rows))
    }

    /// As [`map_partitions_with_index`](Self::map_partitions_with_index), with an environment; see
    /// [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2);
    /// let firsts = rows.map_partitions_with_index_with(10, |by, at, rows| rows.take(1).map(move |n| n + at as u64 * 10));
    /// assert_eq!(firsts.collect()?, [0, 12]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_partitions_with_index_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item>
    where
        E: ExchangeData,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, PartitionIndex, PartitionIter<T>) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("map_partitions_with_index", Place::caller()), &env).with_code::<F>();
        self.partitions_info(info, env, f)
    }

    pub(crate) fn partitions_info<E, I, F>(&self, info: OpInfo, env: E, f: F) -> Rdd<I::Item>
    where
        E: Env,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, PartitionIndex, PartitionIter<T>) -> I + Send + Sync + 'static,
    {
        self.narrow(info, MapPartitions { with: With::new(env, f), types: PhantomData }, None)
    }
}

/// The rows of one partition, one by one.
///
/// It ends where the partition ends. If the rows cannot be read so far, or the job is cancelled, [`next`](Self::next)
/// does not return: the closure is unwound as by a panic (which prints nothing), and its task ends with the error.
pub struct PartitionIter<T> {
    rows: BoxStream<T>,
    open: Open<T>,
    marker: Marker,
    failure: Failure,
}

impl<T> fmt::Debug for PartitionIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartitionIter")
    }
}

enum Open<T> {
    Owned(std::vec::IntoIter<T>),
    Shared(Batch<T>, usize),
}

/// Where the iterator leaves what `Iterator::next` cannot say.
#[derive(Clone, Default)]
pub(super) struct Failure(Rc<RefCell<Option<TaskError>>>);

impl Failure {
    /// The first one stays: what comes after it may be its consequence.
    pub(super) fn set(&self, error: TaskError) {
        self.0.borrow_mut().get_or_insert(error);
    }

    fn take(&self) -> Result<(), TaskError> {
        self.0.borrow_mut().take().map_or(Ok(()), Err)
    }
}

impl<T: Clone> PartitionIter<T> {
    /// Runs `f` over all the rows; fails if they could not be read to their end.
    pub(crate) fn run<R>(rows: BoxStream<T>, marker: Marker, f: impl FnOnce(Self) -> R) -> Result<R, TaskError> {
        let (iter, failure) = Self::new(rows, marker);
        let result = f(iter);
        failure.take().map(|()| result)
    }

    fn new(rows: BoxStream<T>, marker: Marker) -> (Self, Failure) {
        let failure = Failure::default();
        (Self::failing_into(rows, marker, failure.clone()), failure)
    }

    /// The rows, with a place for failures that may be shared with others.
    pub(super) fn failing_into(rows: BoxStream<T>, marker: Marker, failure: Failure) -> Self {
        marker.enter();
        Self { rows, open: Open::Owned(Vec::new().into_iter()), marker, failure }
    }
}

impl<T: Clone> Iterator for PartitionIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            match &mut self.open {
                Open::Owned(rows) => {
                    if let Some(row) = rows.next() {
                        return Some(row);
                    }
                }
                Open::Shared(rows, at) => {
                    if let Some(row) = rows.as_slice().get(*at) {
                        *at += 1;
                        return Some(row.clone());
                    }
                }
            }
            let next = self.marker.check_cancelled().and_then(|()| self.rows.next());
            if next.is_ok() {
                // An error is the fault of the operator that ran last.
                self.marker.enter();
            }
            match next {
                Ok(Some(Batch::Owned(rows))) => self.open = Open::Owned(rows.into_iter()),
                Ok(Some(rows)) => self.open = Open::Shared(rows, 0),
                Ok(None) => return None,
                // An iterator that ended here would look as if it were complete: a closure might commit what it has.
                Err(error) => {
                    self.failure.set(error.clone());
                    panic::resume_unwind(Box::new(Unwound(error)));
                }
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
struct MapPartitions<T, I, E, F> {
    with: With<E, F>,
    types: PhantomData<fn(T) -> I>,
}

impl<T, I, E, F> Operator for MapPartitions<T, I, E, F>
where
    T: Data,
    I: IntoIterator<Item: Data> + 'static,
    E: Env,
    F: Fn(&E, PartitionIndex, PartitionIter<T>) -> I + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (rows, failure) = PartitionIter::new(inputs.narrow(0, partition)?, inputs.marker());
        let with = self.with.clone();
        let open = move || {
            let (env, f) = with.parts();
            f(env, partition, rows).into_iter()
        };
        Ok(stream_of(open, failure, inputs))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// The rows that an iterator over other rows gives, until one of these fails.
pub(super) fn stream_of<I>(open: impl FnOnce() -> I + 'static, failure: Failure, inputs: &Inputs<'_>) -> AnyStream
where
    I: Iterator<Item: Data> + 'static,
{
    AnyStream::new(PartitionStream {
        rows: Rows::Unopened(Box::new(open)),
        failure,
        marker: inputs.marker(),
        batch_rows: inputs.task().batch_rows_of::<I::Item>(),
        pace: Pace::new(),
    })
    .paced()
}

enum Rows<I> {
    Unopened(Box<dyn FnOnce() -> I>),
    Open(I),
    Over,
}

struct PartitionStream<I> {
    rows: Rows<I>,
    failure: Failure,
    marker: Marker,
    batch_rows: usize,
    pace: Pace,
}

impl<I: Iterator> Stream<I::Item> for PartitionStream<I> {
    fn next(&mut self) -> Result<Option<Batch<I::Item>>, TaskError> {
        self.marker.enter();
        let mut rows = match std::mem::replace(&mut self.rows, Rows::Over) {
            Rows::Unopened(open) => open(),
            Rows::Open(rows) => rows,
            Rows::Over => return Ok(None),
        };
        let enough = self.pace.next_rows().min(self.batch_rows);
        let batch: Vec<I::Item> = rows.by_ref().take(enough).collect();
        self.failure.take()?;
        // An iterator that has ended is not asked again: it may have more to say.
        if batch.len() == enough {
            self.rows = Rows::Open(rows);
        }
        Ok((!batch.is_empty()).then_some(Batch::Owned(batch)))
    }
}
