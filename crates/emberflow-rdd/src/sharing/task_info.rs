//! Facts that a closure may ask for about the task that runs it.

use emberflow_core::{
    error::TaskError,
    ids::{JobId, PartitionIndex, StageId, TaskId},
    task::TaskContext,
};

/// The task that runs on this thread: facts, and a hook for its end.
///
/// Results should not depend on anything but the partition: a partition may be computed by any attempt. After Spark's
/// `TaskContext`.
///
/// ```
/// use emberflow::{TaskInfo, prelude::*};
///
/// let ctx = Context::local(2)?;
/// assert!(TaskInfo::current().is_none(), "the driver is in no task");
/// let at = ctx.range_into(0..4_u64, 2).map(|n| (n, TaskInfo::current().unwrap().partition()));
/// assert_eq!(at.collect()?, [(0, 0), (1, 0), (2, 1), (3, 1)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct TaskInfo {
    task: TaskContext,
}

impl TaskInfo {
    /// The task that runs on this thread; `None` outside of tasks, and on threads that a closure has started itself.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// ctx.range(0..4_u64).for_each(|_| assert!(TaskInfo::current().is_some()))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn current() -> Option<Self> {
        TaskContext::current().map(|task| Self { task })
    }

    /// The job that asked for the task's stage; if several did, one that still runs.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().job());
    /// assert_eq!(rows.map(|job| job.get()).collect()?, [0, 0, 0, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn job(&self) -> JobId {
        self.task.identity().job
    }

    /// The run of the stage.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().stage());
    /// assert_eq!(rows.map(|stage| stage.get()).collect()?, [0, 0, 0, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stage(&self) -> StageId {
        self.task.stage()
    }

    /// The attempt, among all of the context's.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().task());
    /// assert_eq!(rows.map(|task| task.get()).first()?, Some(0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn task(&self) -> TaskId {
        self.task.identity().task
    }

    /// The partition of the stage. The same as an RDD's own, unless there is a [`union`](crate::Rdd::union) or a
    /// [`coalesce`](crate::Rdd::coalesce) between it and the end of the stage; see also
    /// [`map_partitions_with_index`](crate::Rdd::map_partitions_with_index).
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().partition());
    /// assert_eq!(rows.collect()?, [0, 0, 1, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn partition(&self) -> PartitionIndex {
        self.task.partition()
    }

    /// The stage's number of partitions.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().partitions());
    /// assert_eq!(rows.first()?, Some(2));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn partitions(&self) -> usize {
        self.task.identity().partitions
    }

    /// The number of this attempt at the partition, from one.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|_| TaskInfo::current().unwrap().attempt());
    /// assert_eq!(rows.collect()?, [1, 1, 1, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn attempt(&self) -> u32 {
        self.task.attempt()
    }

    /// Returns whether nobody wants the task's result any more. A task ends by itself at its next batch; a closure that
    /// runs for long may ask.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let endless = ctx.range_into(0..1_u64, 1).map(|_| while !TaskInfo::current().unwrap().is_cancelled() {});
    /// let action = endless.count_async();
    /// action.canceller().cancel();
    /// assert!(action.wait().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled()
    }

    /// Runs `f` when this attempt ends, on its thread, with the error if it ends with one.
    /// The closure that was registered last runs first.
    ///
    /// Use it to give back what the attempt has borrowed. An attempt that ends well may yet not count, if its job was
    /// cancelled meanwhile. If `f` panics, the attempt has failed.
    ///
    /// ```
    /// # use emberflow::{TaskInfo, prelude::*};
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # let ctx = Context::local(2)?;
    /// let ended = Arc::new(AtomicU64::new(0));
    /// let count = Arc::clone(&ended);
    /// let rows = ctx.range_into(0..4_u64, 2).map_partitions(move |rows| {
    ///     let count = Arc::clone(&count);
    ///     TaskInfo::current().unwrap().on_end(move |error| {
    ///         assert!(error.is_none());
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///     });
    ///     rows
    /// });
    /// assert_eq!((rows.count()?, ended.load(Ordering::Relaxed)), (4, 2));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn on_end(&self, f: impl FnOnce(Option<&TaskError>) + 'static) {
        self.task.at_end(Box::new(f));
    }
}

impl std::fmt::Debug for TaskInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (attempt, partition) = (self.attempt(), self.partition());
        write!(f, "{}, {}, {}, partition {partition}, attempt {attempt}", self.job(), self.stage(), self.task())
    }
}
