//! The mechanism under most narrow operators: a function from batch to batch, one state a partition.

use std::marker::PhantomData;

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    partitioner::Placement,
    place::OpInfo,
    remake,
    ship::{Env, NotShippable, Shipped, With},
    task::Marker,
};
use serde::{Deserialize, Serialize};

use super::Rdd;

impl<T: Data> Rdd<T> {
    /// Applies a function to every batch.
    ///
    /// All that the function needs beside the batch is in `env`, for closures that capture values cannot be sent to
    /// another process; closures that capture closures can.
    pub(crate) fn batches<U, E, F>(&self, info: OpInfo, placement: Option<Placement>, env: E, each: F) -> Rdd<U>
    where
        U: Data,
        E: Env,
        F: Fn(&E, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
    {
        self.batches_from(info, placement, env, |_, _| (), move |env, (), batch| each(env, batch))
    }

    /// As [`batches`](Self::batches), with a state that `start` makes for a partition.
    pub(crate) fn batches_from<U, E, S, A, F>(
        &self,
        info: OpInfo,
        placement: Option<Placement>,
        env: E,
        start: A,
        each: F,
    ) -> Rdd<U>
    where
        U: Data,
        E: Env,
        S: 'static,
        A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
        F: Fn(&E, &mut S, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
    {
        let with = With::new(env, (start, each));
        self.narrow(info, Batches { with, grows: false, types: PhantomData }, placement)
    }

    /// As [`batches_from`](Self::batches_from), where a batch may become one of more rows.
    pub(crate) fn larger_batches_from<U, E, S, A, F>(&self, info: OpInfo, env: E, start: A, each: F) -> Rdd<U>
    where
        U: Data,
        E: Env,
        S: 'static,
        A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
        F: Fn(&E, &mut S, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
    {
        let with = With::new(env, (start, each));
        self.narrow(info, Batches { with, grows: true, types: PhantomData }, None)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
struct Batches<T, U, E, S, A, F> {
    with: With<E, (A, F)>,
    /// Whether a batch may become one of more rows.
    grows: bool,
    #[allow(clippy::type_complexity, reason = "only names the types")]
    types: PhantomData<fn(T, S) -> U>,
}

impl<T, U, E, S, A, F> Operator for Batches<T, U, E, S, A, F>
where
    T: Data,
    U: Data,
    E: Env,
    S: 'static,
    A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
    F: Fn(&E, &mut S, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows: BoxStream<T> = inputs.narrow(0, partition)?;
        let marker = inputs.marker();
        marker.enter();
        let with = self.with.clone();
        let (env, (start, _)) = with.parts();
        let stream = AnyStream::new(BatchesStream { rows, marker, state: start(env, partition), with });
        Ok(if self.grows { stream } else { stream.paced() })
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct BatchesStream<T, E, S, A, F> {
    rows: BoxStream<T>,
    marker: Marker,
    state: S,
    with: With<E, (A, F)>,
}

impl<T, U, E, S, A, F> Stream<U> for BatchesStream<T, E, S, A, F>
where
    F: Fn(&E, &mut S, Batch<T>) -> Result<Batch<U>, TaskError>,
{
    fn next(&mut self) -> Result<Option<Batch<U>>, TaskError> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        self.marker.enter_with(batch.len());
        let (env, (_, each)) = self.with.parts();
        each(env, &mut self.state, batch).map(Some)
    }
}

/// Applies a function to every row of a batch.
pub(super) fn map_batch<T: Data, U: Data>(batch: Batch<T>, each: impl FnMut(T) -> U) -> Batch<U> {
    let mut out = buffers::take();
    batch.map_into(&mut out, each);
    Batch::Owned(out)
}
