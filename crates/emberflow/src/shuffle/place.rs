//! Rows placed as they are: a block a reducer, read back in map order.

use std::{marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, BoxStream},
    blocks::{BlockWriter, Blocks},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator, StoreWriter},
    partitioner::Placement,
    place::OpInfo,
    segments::SegmentStream,
    store::Stored,
    task::TaskContext,
};

use super::dependency;
use crate::{rdd::Rdd, shared::NodeSpec};

/// Shuffles the rows of `parent`: `start` gives, for each of its partitions, a function from row to reducer. `check` is
/// asked about some of the rows.
pub(crate) fn place_rows<T, S, F>(
    parent: &Rdd<T>,
    info: OpInfo,
    partitions: usize,
    placement: Option<Placement>,
    start: S,
    check: fn(&T) -> Result<(), TaskError>,
) -> Rdd<T>
where
    T: ExchangeData,
    S: Fn(PartitionIndex) -> F + Send + Sync + 'static,
    F: FnMut(&T) -> usize,
{
    let writer = PlaceWriter { start, partitions, check };
    let dependency = dependency(parent, info.clone(), writer);
    read_placed(dependency, parent, NodeInfo { info, partitions, placement })
}

/// What an RDD of placed rows is called, and how they are placed.
pub(super) struct NodeInfo {
    pub(super) info: OpInfo,
    pub(super) partitions: usize,
    pub(super) placement: Option<Placement>,
}

/// The rows that a writer of [`Blocks`] has placed.
pub(super) fn read_placed<P: Data, T: ExchangeData>(dependency: Dependency, parent: &Rdd<P>, node: NodeInfo) -> Rdd<T> {
    parent.shared().rdd(NodeSpec {
        partitions: node.partitions,
        op: Arc::new(ReadPlaced::<T>(PhantomData)),
        dependencies: vec![dependency],
        placement: node.placement,
        info: node.info,
    })
}

/// A partition for a map task to begin with, so that not all begin with the same one.
pub(crate) fn spread(map: PartitionIndex, partitions: usize) -> usize {
    ((map as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % partitions
}

struct PlaceWriter<T, S> {
    start: S,
    partitions: usize,
    check: fn(&T) -> Result<(), TaskError>,
}

impl<T, S, F> StoreWriter for PlaceWriter<T, S>
where
    T: ExchangeData,
    S: Fn(PartitionIndex) -> F + Send + Sync + 'static,
    F: FnMut(&T) -> usize,
{
    fn write(&self, partition: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<T> = input.read(cx)?;
        let mut place = (self.start)(partition);
        let mut writer = BlockWriter::new(self.partitions, cx.workspace());
        let (marker, mut batches) = (cx.sink_marker(), 0_u64);
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            marker.enter_with(batch.len());
            batches += 1;
            if batches.is_power_of_two() {
                batch.as_slice().first().map_or(Ok(()), self.check)?;
            }
            batch.for_each(|row| {
                let to = place(&row);
                writer.push(to, row);
            });
            writer.settle()?;
        }
        let (blocks, _claim) = writer.finish();
        Ok(Stored::new(blocks.footprint(), blocks))
    }
}

struct ReadPlaced<T>(PhantomData<fn() -> T>);

impl<T: ExchangeData> Operator for ReadPlaced<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let mut segments = Vec::new();
        for blocks in inputs.blocks::<Blocks<T>>(0, partition) {
            segments.extend_from_slice(blocks?.of(partition));
        }
        Ok(AnyStream::new(SegmentStream::new(segments, inputs.task().batch_rows_of::<T>())))
    }
}
