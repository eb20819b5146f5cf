//! `union`: rows of several RDDs, one after the other.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use emberflow_core::{
    batch::AnyStream,
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{NotShippable, Shipped},
};
use serde::{Deserialize, Serialize};

use super::Rdd;
use crate::shared::{NodeSpec, Shared};

impl<T: Data> Rdd<T> {
    /// The rows of both, those of `self` first; duplicates are kept.
    ///
    /// Narrow. The union has as many partitions as both together. [`Context::union`](crate::Context::union) unites many
    /// at once.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..2_u64).union(&ctx.range(1..3)).collect()?, [0, 1, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn union(&self, other: &Rdd<T>) -> Rdd<T> {
        union(self.shared(), OpInfo::new("union", Place::caller()), &[self.clone(), other.clone()])
    }
}

pub(crate) fn union<T: Data>(shared: &Arc<Shared>, info: OpInfo, rdds: &[Rdd<T>]) -> Rdd<T> {
    let mut starts = vec![0];
    starts.extend(rdds.iter().scan(0, |sum, rdd| {
        *sum += rdd.partitions();
        Some(*sum)
    }));
    shared.rdd(NodeSpec {
        info,
        partitions: starts[rdds.len()],
        op: Arc::new(Union::<T> { starts, rows: PhantomData }),
        dependencies: rdds.iter().map(|rdd| Dependency::Narrow(Arc::clone(rdd.node()))).collect(),
        placement: None,
    })
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Union<T> {
    /// The first partition of each input, and the number of all.
    starts: Vec<PartitionIndex>,
    rows: PhantomData<fn() -> T>,
}

impl<T: Data> Operator for Union<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let input = self.starts.partition_point(|start| *start <= partition) - 1;
        inputs.narrow::<T>(input, partition - self.starts[input]).map(|rows| AnyStream::new(rows).paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }

    fn narrow_partitions(&self, input: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        let (start, end) = (self.starts[input], self.starts[input + 1]);
        if (start..end).contains(&partition) { partition - start..partition - start + 1 } else { 0..0 }
    }
}
