//! `glom`: each partition as one row.

use std::marker::PhantomData;

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::{Data, ExchangeData},
    error::{TaskError, over_budget},
    ids::PartitionIndex,
    memory::Claim,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{NotShippable, Shipped},
    size,
    task::TaskContext,
};
use serde::{Deserialize, Serialize};

use super::Rdd;

impl<T: Data> Rdd<T> {
    /// Each partition as one row: the `Vec` of its rows.
    ///
    /// Narrow. It gives one row for each partition. A task holds a whole partition in memory, within the budget: if it
    /// finds no room, the job fails with [`TaskError::OverBudget`](crate::TaskError::OverBudget). Use more partitions,
    /// or [`map_partitions`](Self::map_partitions), which reads the rows one by one. After Spark's `glom`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_into(0..3_u64, 2).glom().collect()?, [vec![0], vec![1, 2]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn glom(&self) -> Rdd<Vec<T>>
    where
        T: ExchangeData,
    {
        self.narrow(OpInfo::new("glom", Place::caller()), Glom(PhantomData::<fn(T)>), None)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Glom<T>(PhantomData<fn(T)>);

impl<T: ExchangeData> Operator for Glom<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (rows, task) = (inputs.narrow::<T>(0, partition)?, inputs.task().clone());
        let claim = Claim::new(task.workspace());
        Ok(AnyStream::new(GlomStream { rows: Some(rows), claim, task }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct GlomStream<T> {
    rows: Option<BoxStream<T>>,
    /// The room of the row, which the reader has until it asks for the next one.
    claim: Claim,
    task: TaskContext,
}

impl<T: ExchangeData> Stream<Vec<T>> for GlomStream<T> {
    fn next(&mut self) -> Result<Option<Batch<Vec<T>>>, TaskError> {
        let Some(mut rows) = self.rows.take() else {
            self.claim.set(0);
            return Ok(None);
        };
        let mut all = Vec::new();
        while let Some(batch) = rows.next()? {
            self.task.check_cancelled()?;
            self.claim.require(self.claim.bytes() + size::estimate(batch.as_slice()), over_budget::PARTITION)?;
            batch.for_each(|row| all.push(row));
        }
        Ok(Some(Batch::Owned(vec![all])))
    }
}
