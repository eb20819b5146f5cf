//! `flat_map`, `flat_map_with` and `flat_map_extend`: one row to any number of rows.

use std::{marker::PhantomData, mem};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::{Data, ExchangeData},
    error::TaskError,
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
    /// Applies `f` to every row and strings the results together.
    ///
    /// Narrow. The order is that of the rows and, within each, of the iterator, which may be long: it is consumed as
    /// batches are filled. If rows are cached and own memory, [`flat_map_ref`](Self::flat_map_ref) clones none of them
    /// and is several times as fast.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).flat_map(|n| 0..n).collect()?, [0, 0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map<I, F>(&self, f: F) -> Rdd<I::Item>
    where
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(T) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map", Place::caller()).with_form("flat_map_with").with_code::<F>();
        self.narrow(info, FlatMap::new((), move |(), row| f(row)), None)
    }

    /// As [`flat_map`](Self::flat_map), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..2_u64).flat_map_with(3, |by, n| [n, n * by]).collect()?, [0, 0, 1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item>
    where
        E: ExchangeData,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, T) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("flat_map", Place::caller()), &env).with_code::<F>();
        self.narrow(info, FlatMap::new(env, f), None)
    }
}

impl<T: Data> Rdd<T> {
    /// Looks at every row, and lets `f` add any number of rows for it to the end of a vector.
    ///
    /// Narrow. As [`flat_map`](Self::flat_map), but without an iterator that must own what it gives: rows are looked at
    /// in place, and nothing is allocated between a row and what is made of it. `f` must leave alone what is in the
    /// vector already; all that it adds for one row is held in memory at once.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let lines = ctx.parallelize(vec!["to be or", "not to be"]);
    /// let words = lines.flat_map_extend(|line, words| words.extend(line.split(' ').map(str::to_owned)));
    /// assert_eq!(words.count()?, 6);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_extend<U, F>(&self, f: F) -> Rdd<U>
    where
        U: Data,
        F: Fn(&T, &mut Vec<U>) + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map_extend", Place::caller()).with_form("flat_map_extend_with").with_code::<F>();
        self.narrow(info, FlatMapExtend::new((), move |(), row, out| f(row, out)), None)
    }

    /// As [`flat_map_extend`](Self::flat_map_extend), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let lines = ctx.parallelize(vec!["to be or", "not to be"]);
    /// let words = lines.flat_map_extend_with(' ', |end, line, words| words.extend(line.split(*end).map(str::to_owned)));
    /// assert_eq!(words.count()?, 6);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_extend_with<E, U, F>(&self, env: E, f: F) -> Rdd<U>
    where
        E: ExchangeData,
        U: Data,
        F: Fn(&E, &T, &mut Vec<U>) + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("flat_map_extend", Place::caller()), &env).with_code::<F>();
        self.narrow(info, FlatMapExtend::new(env, f), None)
    }
}

/// `flat_map_extend` and `flat_map_ref`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
pub(super) struct FlatMapExtend<T, U, E, F> {
    with: With<E, F>,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, E, F: Fn(&E, &T, &mut Vec<U>)> FlatMapExtend<T, U, E, F> {
    pub(super) fn new(env: E, f: F) -> Self {
        Self { with: With::new(env, f), types: PhantomData }
    }
}

impl<T, U, E, F> Operator for FlatMapExtend<T, U, E, F>
where
    T: Data,
    U: Data,
    E: Env,
    F: Fn(&E, &T, &mut Vec<U>) + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(ExtendStream {
            rows: inputs.narrow::<T>(0, partition)?,
            batch: Batch::Owned(Vec::new()),
            next: 0,
            with: self.with.clone(),
            marker: inputs.marker(),
            batch_rows: inputs.task().batch_rows_of::<U>(),
            pace: Pace::new(),
        })
        .paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ExtendStream<T, E, F> {
    rows: BoxStream<T>,
    batch: Batch<T>,
    /// The row of the batch that comes next.
    next: usize,
    with: With<E, F>,
    marker: Marker,
    batch_rows: usize,
    pace: Pace,
}

impl<T, U, E, F> Stream<U> for ExtendStream<T, E, F>
where
    T: Data,
    U: Data,
    F: Fn(&E, &T, &mut Vec<U>),
{
    fn next(&mut self) -> Result<Option<Batch<U>>, TaskError> {
        let mut out = buffers::take();
        let enough = self.pace.next_rows().min(self.batch_rows);
        self.marker.enter_again();
        let (env, f) = self.with.parts();
        loop {
            for row in &self.batch.as_slice()[self.next..] {
                f(env, row, &mut out);
                self.next += 1;
                if out.len() >= enough {
                    return Ok(Some(Batch::Owned(out)));
                }
            }
            if !out.is_empty() && self.pace.is_late() {
                return Ok(Some(Batch::Owned(out)));
            }
            self.marker.check_cancelled()?;
            let Some(batch) = self.rows.next()? else {
                return Ok((!out.is_empty()).then_some(Batch::Owned(out)));
            };
            self.next = 0;
            self.marker.enter_with(batch.len());
            if let Batch::Owned(used) = mem::replace(&mut self.batch, batch) {
                buffers::give(used);
            }
        }
    }
}

/// A function from a row to an iterator.
#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
pub(super) struct FlatMap<T, I, E, F> {
    with: With<E, F>,
    types: PhantomData<fn(T) -> I>,
}

impl<T, I, E, F: Fn(&E, T) -> I> FlatMap<T, I, E, F> {
    pub(super) fn new(env: E, f: F) -> Self {
        Self { with: With::new(env, f), types: PhantomData }
    }
}

impl<T, I, E, F> Operator for FlatMap<T, I, E, F>
where
    T: Data,
    I: IntoIterator<Item: Data> + 'static,
    E: Env,
    F: Fn(&E, T) -> I + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(FlatMapStream::<T, I, E, F> {
            rows: inputs.narrow(0, partition)?,
            batch: Vec::new(),
            inner: None,
            with: self.with.clone(),
            marker: inputs.marker(),
            batch_rows: inputs.task().batch_rows_of::<I::Item>(),
            pace: Pace::new(),
        })
        .paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct FlatMapStream<T, I: IntoIterator, E, F> {
    rows: BoxStream<T>,
    /// The rows that are still to come, the next one last.
    batch: Vec<T>,
    inner: Option<I::IntoIter>,
    with: With<E, F>,
    marker: Marker,
    batch_rows: usize,
    pace: Pace,
}

impl<T, I, E, F> Stream<I::Item> for FlatMapStream<T, I, E, F>
where
    T: Data,
    I: IntoIterator<Item: 'static>,
    F: Fn(&E, T) -> I,
{
    fn next(&mut self) -> Result<Option<Batch<I::Item>>, TaskError> {
        let mut out = buffers::take();
        let enough = self.pace.next_rows().min(self.batch_rows);
        self.marker.enter_again();
        let (env, f) = self.with.parts();
        loop {
            if let Some(inner) = &mut self.inner {
                let room = enough - out.len();
                out.extend(inner.by_ref().take(room));
                if out.len() == enough {
                    return Ok(Some(Batch::Owned(out)));
                }
                self.inner = None;
            }
            if let Some(row) = self.batch.pop() {
                self.inner = Some(f(env, row).into_iter());
                continue;
            }
            if !out.is_empty() && self.pace.is_late() {
                return Ok(Some(Batch::Owned(out)));
            }
            self.marker.check_cancelled()?;
            let Some(batch) = self.rows.next()? else {
                return Ok((!out.is_empty()).then_some(Batch::Owned(out)));
            };
            let mut rows = batch.into_vec();
            rows.reverse();
            self.marker.enter_with(rows.len());
            buffers::give(mem::replace(&mut self.batch, rows));
        }
    }
}
