//! Rows assigned to reducers as they are: a block a reducer, read back in map order.

use std::marker::PhantomData;

use emberflow_core::{
    batch::{AnyStream, BoxStream},
    blocks::{BlockWriter, Blocks},
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator, StoreWriter},
    remake,
    segments::SegmentStream,
    ship::{Env, NotShippable, Shipped, With},
    store::Stored,
    task::TaskContext,
    wire::Arrived,
};

use serde::{Deserialize, Serialize};

/// How rows are assigned to reducers. The functions capture no values: what they need is in `env`.
pub(crate) struct Assigner<E, A, P, C> {
    pub(crate) env: E,
    /// Makes the state of a partition of the parent.
    pub(crate) start: A,
    /// Gives the reducer of a row.
    pub(crate) assign: P,
    /// Is asked about some of the rows, and ends the task if it refuses one.
    pub(crate) check: C,
}

/// A partition for a map task to begin with, so that not all begin with the same one.
pub(crate) fn spread(map: PartitionIndex, partitions: usize) -> usize {
    ((map as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % partitions
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
pub(crate) struct AssignWriter<T, E, S, A, P, C> {
    with: With<E, (A, P, C)>,
    partitions: usize,
    #[allow(clippy::type_complexity, reason = "only names the types")]
    types: PhantomData<fn(T) -> S>,
}

impl<T, E, S, A, P, C> AssignWriter<T, E, S, A, P, C>
where
    A: Fn(&E, PartitionIndex) -> S,
    P: Fn(&E, &mut S, &T) -> usize,
    C: Fn(&T) -> Result<(), TaskError>,
{
    /// Writes for so many reducers.
    pub(crate) fn new(by: Assigner<E, A, P, C>, partitions: usize) -> Self {
        let Assigner { env, start, assign, check } = by;
        Self { with: With::new(env, (start, assign, check)), partitions, types: PhantomData }
    }
}

impl<T, E, S, A, P, C> StoreWriter for AssignWriter<T, E, S, A, P, C>
where
    T: ExchangeData,
    E: Env,
    S: 'static,
    A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
    P: Fn(&E, &mut S, &T) -> usize + Send + Sync + 'static,
    C: Fn(&T) -> Result<(), TaskError> + Send + Sync + 'static,
{
    fn write(&self, partition: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<T> = input.read(cx)?;
        let (env, (start, assign, check)) = self.with.parts();
        let mut state = start(env, partition);
        let mut writer = BlockWriter::new(self.partitions, cx.workspace());
        let (marker, mut batches) = (cx.sink_marker(), 0_u64);
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            marker.enter_with(batch.len());
            batches += 1;
            if batches.is_power_of_two() {
                batch.as_slice().first().map_or(Ok(()), check)?;
            }
            batch.for_each(|row| {
                let to = assign(env, &mut state, &row);
                writer.push(to, row);
            });
            writer.settle()?;
        }
        let (blocks, _claim) = writer.finish();
        Ok(Stored::new(blocks.footprint(), blocks))
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        Blocks::<T>::unpack_stored(pieces)
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct ReadAssigned<T>(PhantomData<fn() -> T>);

impl<T> ReadAssigned<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: ExchangeData> Operator for ReadAssigned<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let mut segments = Vec::new();
        for blocks in inputs.blocks::<Blocks<T>>(0, partition) {
            segments.extend_from_slice(blocks?.of(partition));
        }
        Ok(AnyStream::new(SegmentStream::new(segments, inputs.task().batch_rows_of::<T>())))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}
