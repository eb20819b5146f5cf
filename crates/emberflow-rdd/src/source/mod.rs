//! Where rows come from: collections, ranges, random numbers, files, and sources of the user's own.
//!
//! A source is an operator without inputs. Its partitions are decided when the RDD is made, by the data alone.

mod checkpoint;
mod collection;
mod custom;
mod object;
mod random;
mod range;
pub(crate) mod text;
mod whole;

use std::sync::Arc;

use std::marker::PhantomData;

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{Env, NotShippable, Shipped},
    task::TaskContext,
};

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    checkpoint::{MANIFEST, Manifest, Part, checkpoint_files, kept},
    collection::{distribute, empty, parallelize},
    custom::custom,
    object::object_files,
    random::{Draw, random},
    range::{Steps, range},
    text::text_files,
    whole::{binary_files, whole_text_files},
};
pub use self::{
    custom::Source,
    random::Random,
    range::{IntoRange, RangeRow},
    text::TextOptions,
};
use crate::{
    rdd::Rdd,
    shared::{NodeSpec, Shared},
};

/// The RDD of a source.
pub(crate) fn leaf<T: Data>(shared: &Arc<Shared>, info: OpInfo, partitions: usize, op: impl Operator + Env) -> Rdd<T> {
    let op = Arc::new(Counted { op, rows: PhantomData::<fn(T)> });
    shared.rdd(NodeSpec { info, partitions, op, dependencies: Vec::new(), placement: None })
}

/// A source whose rows are counted.
#[derive(Serialize, Deserialize)]
#[serde(bound = "O: Env")]
struct Counted<T, O> {
    op: O,
    rows: PhantomData<fn(T)>,
}

impl<T: Data, O: Operator + Env> Operator for Counted<T, O> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows = self.op.open(partition, inputs)?.downcast::<T>()?;
        Ok(AnyStream::new(CountedStream { rows, task: inputs.task().clone() }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct CountedStream<T> {
    rows: BoxStream<T>,
    task: TaskContext,
}

impl<T: Data> Stream<T> for CountedStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        let batch = self.rows.next()?;
        if let Some(batch) = &batch {
            self.task.count_rows(batch.len());
        }
        Ok(batch)
    }
}

/// Where the given one of `parts` equal parts of `len` begins.
fn cut(len: u64, part: usize, parts: usize) -> u64 {
    // Never more than `len`, so it fits again.
    (u128::from(len) * part as u128 / parts as u128) as u64
}
