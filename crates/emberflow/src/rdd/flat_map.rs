//! `flat_map` and `flat_map_with`: one row to any number of rows.

use std::{marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    task::Marker,
};

use super::{Rdd, batches::share, map::with_env};

impl<T: Data> Rdd<T> {
    /// Applies `f` to every row and strings the results together.
    ///
    /// Narrow. The order is that of the rows and, within each, of the iterator, which may be long: it is consumed as
    /// batches are filled.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).flat_map(|n| 0..n).collect()?, [0, 0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<I, F>(&self, f: F) -> Rdd<I::Item>
    where
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(T) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map", Place::caller()).with_code::<F>();
        self.narrow(info, FlatMap { f: share(f), types: PhantomData }, None)
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
    #[track_caller]
    pub fn flat_map_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item>
    where
        E: ExchangeData,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, T) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("flat_map", Place::caller()), &env).with_code::<F>();
        self.narrow(info, FlatMap { f: share(move |row| f(&env, row)), types: PhantomData }, None)
    }
}

struct FlatMap<T, I, F> {
    f: Arc<F>,
    types: PhantomData<fn(T) -> I>,
}

impl<T, I, F> Operator for FlatMap<T, I, F>
where
    T: Data,
    I: IntoIterator<Item: Data> + 'static,
    F: Fn(T) -> I + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(FlatMapStream {
            rows: inputs.narrow(0, partition)?,
            batch: Vec::new().into_iter(),
            inner: None,
            f: Arc::clone(&self.f),
            marker: inputs.marker(),
            batch_rows: inputs.task().batch_rows_of::<I::Item>(),
        }))
    }
}

struct FlatMapStream<T, I: IntoIterator, F> {
    rows: BoxStream<T>,
    batch: std::vec::IntoIter<T>,
    inner: Option<I::IntoIter>,
    f: Arc<F>,
    marker: Marker,
    batch_rows: usize,
}

impl<T, I, F> Stream<I::Item> for FlatMapStream<T, I, F>
where
    T: Clone,
    I: IntoIterator,
    F: Fn(T) -> I,
{
    fn next(&mut self) -> Result<Option<Batch<I::Item>>, TaskError> {
        let mut out = Vec::with_capacity(self.batch_rows);
        self.marker.enter();
        loop {
            if let Some(inner) = &mut self.inner {
                let room = self.batch_rows - out.len();
                out.extend(inner.by_ref().take(room));
                if out.len() == self.batch_rows {
                    return Ok(Some(Batch::Owned(out)));
                }
                self.inner = None;
            }
            match self.batch.next() {
                Some(row) => self.inner = Some((self.f)(row).into_iter()),
                None => match self.rows.next()? {
                    Some(batch) => {
                        self.batch = batch.into_vec().into_iter();
                        self.marker.enter();
                    }
                    None => return Ok((!out.is_empty()).then_some(Batch::Owned(out))),
                },
            }
        }
    }
}
