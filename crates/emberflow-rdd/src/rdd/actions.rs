//! `collect` and `count`, and what all actions share.

use std::any::Any;

use emberflow_core::{
    batch::{AnyStream, Batch},
    codec::CodecError,
    data::{Data, ExchangeData},
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{ActionOperator, ActionOutput},
    place::{OpInfo, Place},
    remake,
    result::ResultClaim,
    ship::{self, NotShippable, Shipped},
    size,
    task::TaskContext,
};
use serde::{Deserialize, Serialize};

use super::Rdd;
use crate::action::{Action, Driver};

impl<T: Data> Rdd<T> {
    /// All the rows, in the order of partitions and within them.
    ///
    /// Action. Holds every row in memory: of rows that take more than the
    /// [`memory_budget`](crate::ContextBuilder::memory_budget) (and more than 16 MiB), read
    /// [one partition after the other](Self::to_local_iter), or write them to files.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions), and if the rows take more than the budget.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..3_u64).collect()?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect(&self) -> Result<Vec<T>>
    where
        T: ExchangeData,
    {
        self.collect_async().wait()
    }

    /// As [`collect`](Self::collect), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..3_u64).collect_async().await?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn collect_async(&self) -> Action<Vec<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("collect", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            rdd.collect_partitions(&driver, info, rdd.all_partitions()).await
        })
    }

    /// The rows of the partitions in `wanted`, which are in order.
    pub(crate) async fn collect_partitions(
        &self,
        driver: &Driver,
        info: OpInfo,
        wanted: Vec<PartitionIndex>,
    ) -> Result<Vec<T>>
    where
        T: ExchangeData,
    {
        let parts = driver.run(self, info, wanted, (), |(), _, mut rows, cx| {
            let (mut all, mut room): (Vec<T>, _) = (Vec::new(), ResultClaim::new(cx.workspace()));
            while let Some(batch) = rows.next()? {
                cx.check_cancelled()?;
                room.grow(size::estimate(batch.as_slice()))?;
                match batch {
                    Batch::Owned(rows) if all.is_empty() => all = rows,
                    Batch::Owned(mut rows) => all.append(&mut rows),
                    Batch::Shared(rows) => all.extend_from_slice(rows.as_slice()),
                }
            }
            let rows = all.len() as u64;
            Ok(((all, room), rows))
        });
        let mut parts = parts.await?;
        if parts.len() == 1 {
            return Ok(parts.remove(0).0);
        }
        let mut all = Vec::with_capacity(parts.iter().map(|(part, _)| part.len()).sum());
        for (mut part, _room) in parts {
            all.append(&mut part);
        }
        Ok(all)
    }
}

impl<T: Data> Rdd<T> {
    /// Number of rows.
    ///
    /// Action. Rows of a cache are not touched, only counted.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..1000_u64).count()?, 1000);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count(&self) -> Result<u64> {
        self.count_async().wait()
    }

    /// As [`count`](Self::count), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..1000_u64).count_async().wait()?, 1000);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_async(&self) -> Action<u64> {
        let info = OpInfo::new("count", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let counts = driver.run(&rdd, info, rdd.all_partitions(), (), |(), _, mut rows, cx| {
                let mut count = 0;
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                }
                Ok((count, count))
            });
            Ok(counts.await?.into_iter().sum())
        })
    }

    pub(crate) fn all_partitions(&self) -> Vec<PartitionIndex> {
        (0..self.partitions()).collect()
    }
}

/// The action of a plan that is only looked at.
#[derive(Serialize, Deserialize)]
pub(super) struct Nothing;

impl ActionOperator for Nothing {
    fn run(&self, _: PartitionIndex, _: AnyStream, _: &TaskContext) -> Result<ActionOutput, TaskError> {
        Ok(ActionOutput { value: Box::new(()), rows: 0 })
    }

    fn encode(&self, value: &(dyn Any + Send)) -> Result<Vec<u8>, NotShippable> {
        ship::encode_value::<()>(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Box<dyn Any + Send>, CodecError> {
        ship::decode_value::<()>(bytes)
    }

    fn ship(&self) -> Result<Shipped<dyn ActionOperator>, NotShippable> {
        remake::action(self)
    }
}
