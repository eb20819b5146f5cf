//! `zip_with_index`: every row with its number.
//!
//! The number of a partition's first row is known when all partitions before it have been counted. The counts are a
//! shuffle like any other: a map task writes one number, and every partition reads those before it. So the operator
//! stays lazy, and a lost count is recomputed like any lost map output.

use std::{any::Any, marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::Data,
    error::TaskError,
    fingerprint::Fingerprint,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator, StoreWriter},
    place::{OpInfo, Place},
    remake,
    ship::{NotShippable, Shipped},
    store::{Stored, StoredData},
    task::TaskContext,
    wire::{self, Arrived, Give, Piece},
};
use serde::{Deserialize, Serialize};

use super::{Rdd, wide};
use crate::shared::NodeSpec;

impl<T: Data> Rdd<T> {
    /// Pairs every row with its number among all rows, from zero, in their order.
    ///
    /// Narrow, after a stage that counts the rows of all partitions (but none if there is only one): what makes the
    /// rows runs twice unless they are [cached](Rdd::cache). Unlike Spark's, it runs no job before an action.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec!['a', 'b', 'c']).zip_with_index();
    /// assert_eq!(rows.collect()?, [('a', 0), ('b', 1), ('c', 2)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn zip_with_index(&self) -> Rdd<(T, u64)> {
        let info = OpInfo::new("zip_with_index", Place::caller());
        let mut dependencies = vec![Dependency::Narrow(Arc::clone(self.node()))];
        if self.partitions() > 1 {
            dependencies.push(wide::dependency(self, info.clone(), CountRows::<T>(PhantomData)));
        }
        self.shared().rdd(NodeSpec {
            info,
            partitions: self.partitions(),
            op: Arc::new(ZipWithIndex::<T>(PhantomData)),
            dependencies,
            placement: None,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct CountRows<T>(PhantomData<fn(T)>);

struct RowCount(u64);

impl RowCount {
    fn stored(self) -> Stored {
        Stored::in_memory(1, size_of::<Self>() as u64, self)
    }
}

impl StoredData for RowCount {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_rows(self.0)
    }

    fn pack(&self, _: Option<PartitionIndex>, give: &mut Give<'_>) -> Result<(), TaskError> {
        give(Piece::of_value(&self.0)?)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T: Data> StoreWriter for CountRows<T> {
    fn write(&self, _: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<T> = input.read(cx)?;
        let mut rows = 0;
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            rows += batch.len() as u64;
        }
        Ok(RowCount(rows).stored())
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        let [count] = pieces else { return Err(wire::missing("the number of rows of a partition")) };
        count.value().map(|rows| RowCount(rows).stored())
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct ZipWithIndex<T>(PhantomData<fn(T)>);

impl<T: Data> Operator for ZipWithIndex<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let mut next = 0;
        if partition > 0 {
            for count in inputs.map_outputs::<RowCount>(1).take(partition) {
                next += count?.0;
            }
        }
        Ok(AnyStream::new(Numbered { rows: inputs.narrow::<T>(0, partition)?, next }).paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }

    fn reads_shuffle(&self, _: usize, partition: PartitionIndex) -> bool {
        partition > 0
    }
}

struct Numbered<T> {
    rows: BoxStream<T>,
    next: u64,
}

impl<T: Data> Stream<(T, u64)> for Numbered<T> {
    fn next(&mut self) -> Result<Option<Batch<(T, u64)>>, TaskError> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        let first = self.next;
        self.next += batch.len() as u64;
        Ok(Some(super::batches::map_batch(batch, {
            let mut number = first..;
            move |row| (row, number.next().unwrap_or(u64::MAX))
        })))
    }
}
