//! The mechanism under most narrow operators: a function from batch to batch, one state a partition.

use std::{marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    partitioner::Placement,
    place::OpInfo,
    task::Marker,
};

use super::Rdd;

impl<T: Data> Rdd<T> {
    /// Applies a function to every batch. `start` makes it for a partition, so that it may keep a state.
    pub(crate) fn batches<U, S, F>(&self, info: OpInfo, placement: Option<Placement>, start: S) -> Rdd<U>
    where
        U: Data,
        S: Fn(PartitionIndex) -> F + Send + Sync + 'static,
        F: FnMut(Batch<T>) -> Result<Batch<U>, TaskError> + 'static,
    {
        self.narrow(info, Batches { start, types: PhantomData }, placement)
    }
}

struct Batches<T, U, S> {
    start: S,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, S, F> Operator for Batches<T, U, S>
where
    T: Data,
    U: Data,
    S: Fn(PartitionIndex) -> F + Send + Sync + 'static,
    F: FnMut(Batch<T>) -> Result<Batch<U>, TaskError> + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows: BoxStream<T> = inputs.narrow(0, partition)?;
        let marker = inputs.marker();
        marker.enter();
        Ok(AnyStream::new(BatchesStream { rows, marker, each: (self.start)(partition) }))
    }
}

struct BatchesStream<T, F> {
    rows: BoxStream<T>,
    marker: Marker,
    each: F,
}

impl<T, U, F: FnMut(Batch<T>) -> Result<Batch<U>, TaskError>> Stream<U> for BatchesStream<T, F> {
    fn next(&mut self) -> Result<Option<Batch<U>>, TaskError> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        self.marker.enter_with(batch.len());
        (self.each)(batch).map(Some)
    }
}

/// Applies a function to every row of a batch.
pub(super) fn map_batch<T: Data, U: Data>(batch: Batch<T>, each: impl FnMut(T) -> U) -> Batch<U> {
    let mut out = buffers::take();
    batch.map_into(&mut out, each);
    Batch::Owned(out)
}

/// A value for all partitions, behind one pointer.
pub(super) fn share<V>(value: V) -> Arc<V> {
    Arc::new(value)
}
