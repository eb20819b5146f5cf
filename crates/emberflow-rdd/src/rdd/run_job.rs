//! `run_job`: any function of whole partitions, on chosen ones.

use emberflow_core::{
    data::Data,
    error::{Error, Result},
    ids::PartitionIndex,
    place::{OpInfo, Place},
    ship::Local,
};

use super::{PartitionIter, Rdd};
use crate::action::Action;

/// Why the action is not sent.
const STAYS: &str = "what run_job returns stays in this process: use map_partitions_with_index, and collect";

impl<T: Data> Rdd<T> {
    /// Calls `f` with each of these partitions and its number, on the worker threads, and gives what it returns, in
    /// partition order. A partition that is named twice is computed once.
    ///
    /// Action. The one that all others could be written with; computes no other partition, and of the chosen ones only
    /// the rows that `f` asks for. The value that `f` returns need not be a serde type: it stays in this process. If
    /// the rows cannot be read to their end, `f` is unwound and the task fails; see [`PartitionIter`].
    ///
    /// # Errors
    /// [`Error::NoSuchPartition`]; those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..100_u64, 10);
    /// let sums = rows.run_job([9, 0], |_, rows| rows.sum::<u64>())?;
    /// assert_eq!(sums, [(0, 45), (9, 945)]);
    /// assert!(rows.run_job([10], |_, rows| rows.count()).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn run_job<R, F>(
        &self,
        partitions: impl IntoIterator<Item = PartitionIndex>,
        f: F,
    ) -> Result<Vec<(PartitionIndex, R)>>
    where
        R: Send + 'static,
        F: Fn(PartitionIndex, PartitionIter<T>) -> R + Send + Sync + 'static,
    {
        self.run_job_async(partitions, f).wait()
    }

    /// As [`run_job`](Self::run_job), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let last = ctx.range_into(0..100_u64, 10).run_job_async([9], |_, rows| rows.last());
    /// assert_eq!(last.wait()?, [(9, Some(99))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn run_job_async<R, F>(
        &self,
        partitions: impl IntoIterator<Item = PartitionIndex>,
        f: F,
    ) -> Action<Vec<(PartitionIndex, R)>>
    where
        R: Send + 'static,
        F: Fn(PartitionIndex, PartitionIter<T>) -> R + Send + Sync + 'static,
    {
        let info = OpInfo::new("run_job", Place::caller()).with_code::<F>();
        let mut wanted: Vec<PartitionIndex> = partitions.into_iter().collect();
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let partitions = rdd.partitions();
            if let Some(&partition) = wanted.iter().find(|partition| **partition >= partitions) {
                let operator = rdd.node().info.to_string();
                return Err(Error::NoSuchPartition { rdd: rdd.id(), operator, partition, partitions });
            }
            // What it returns need not be a serde type, so the action stays, too.
            let here = Local::new((), STAYS);
            wanted.sort_unstable();
            wanted.dedup();
            let parts = driver.run(&rdd, info, wanted, here, move |_, partition, rows, cx| {
                let result = PartitionIter::run(rows, cx.sink_marker(), |rows| f(partition, rows))?;
                Ok(((partition, Local::new(result, STAYS)), 0))
            });
            let parts = parts.await?.into_iter();
            Ok(parts.map(|(partition, result)| (partition, result.into_inner())).collect())
        })
    }
}
