//! `for_each` and `for_each_partition`: side effects, where the rows are.

use emberflow_core::{
    data::Data,
    error::Result,
    place::{OpInfo, Place},
};

use super::{PartitionIter, Rdd};
use crate::action::Action;

impl<T: Data> Rdd<T> {
    /// Calls `f` with every row, on the worker threads.
    ///
    /// Action. Within a partition in order, across partitions in none. A task that fails is tried again, so `f` may
    /// see a row more than once. If rows are cached and own memory, [`for_each_ref`](Self::for_each_ref) clones none of
    /// them and is several times as fast.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # let ctx = Context::local(2)?;
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let total = Arc::clone(&sum);
    /// ctx.range(0..5_u64).for_each(move |n| { total.fetch_add(n, Ordering::Relaxed); })?;
    /// assert_eq!(sum.load(Ordering::Relaxed), 10);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each<F: Fn(T) + Send + Sync + 'static>(&self, f: F) -> Result<()> {
        self.for_each_async(f).wait()
    }

    /// As [`for_each`](Self::for_each), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// ctx.range(0..5_u64).for_each_async(|n| assert!(n < 5)).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_async<F: Fn(T) + Send + Sync + 'static>(&self, f: F) -> Action<()> {
        let info = OpInfo::new("for_each", Place::caller()).with_code::<F>();
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let wanted = rdd.all_partitions();
            let parts = driver.run(&rdd, info, wanted, (), move |(), _, mut rows, cx| {
                let mut count = 0;
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    batch.for_each(&f);
                }
                Ok(((), count))
            });
            parts.await.map(|_| ())
        })
    }

    /// Calls `f` with every partition as an iterator, on the worker threads: for a connection or a file a partition.
    ///
    /// Action. As [`for_each`](Self::for_each); `f` is called for empty partitions too. Code behind the loop over the
    /// rows is only reached if they were read to their end; see [`PartitionIter`].
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// ctx.range_into(0..6_u64, 2).for_each_partition(|rows| assert_eq!(rows.count(), 3))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_partition<F: Fn(PartitionIter<T>) + Send + Sync + 'static>(&self, f: F) -> Result<()> {
        self.for_each_partition_async(f).wait()
    }

    /// As [`for_each_partition`](Self::for_each_partition), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// ctx.range_into(0..6_u64, 2).for_each_partition_async(|rows| assert_eq!(rows.count(), 3)).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_partition_async<F: Fn(PartitionIter<T>) + Send + Sync + 'static>(&self, f: F) -> Action<()> {
        let info = OpInfo::new("for_each_partition", Place::caller()).with_code::<F>();
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let wanted = rdd.all_partitions();
            let parts = driver.run(&rdd, info, wanted, (), move |(), _, rows, cx| {
                PartitionIter::run(rows, cx.sink_marker(), &f).map(|()| ((), 0))
            });
            parts.await.map(|_| ())
        })
    }
}
