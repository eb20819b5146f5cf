//! `for_each` and `for_each_partition`: side effects, where the rows are.

use emberflow_core::{
    data::{Data, ExchangeData},
    error::Result,
    place::{OpInfo, Place},
    ship::Env,
};

use super::{PartitionIter, Rdd, map::with_env};
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
        let info = OpInfo::new("for_each", Place::caller()).with_form("for_each_with").with_code::<F>();
        self.each(info, (), move |(), row| f(row))
    }

    /// As [`for_each`](Self::for_each), with a value that is sent along, so that `f` needs to capture nothing and can run
    /// in another process. An [accumulator](crate::Accumulator) is such a value.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let odd = ctx.long_accumulator("odd");
    /// ctx.range(0..5_u64).for_each_with(odd.clone(), |odd, n| odd.add((n % 2) as i64))?;
    /// assert_eq!(odd.value(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_with<E: ExchangeData, F: Fn(&E, T) + Send + Sync + 'static>(&self, env: E, f: F) -> Result<()> {
        self.for_each_with_async(env, f).wait()
    }

    /// As [`for_each_with`](Self::for_each_with), without waiting.
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// ctx.range(0..5_u64).for_each_with_async(5, |limit, n| assert!(n < *limit)).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_with_async<E: ExchangeData, F: Fn(&E, T) + Send + Sync + 'static>(
        &self,
        env: E,
        f: F,
    ) -> Action<()> {
        let info = with_env(OpInfo::new("for_each_with", Place::caller()).with_code::<F>(), &env);
        self.each(info, env, f)
    }

    fn each<E: Env, F: Fn(&E, T) + Send + Sync + 'static>(&self, info: OpInfo, env: E, f: F) -> Action<()> {
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let wanted = rdd.all_partitions();
            let parts = driver.run(&rdd, info, wanted, env, move |env, _, mut rows, cx| {
                let mut count = 0;
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    batch.for_each(|row| f(env, row));
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
        let info = OpInfo::new("for_each_partition", Place::caller()).with_form("for_each_partition_with");
        let info = info.with_code::<F>();
        self.each_partition(info, (), move |(), rows| f(rows))
    }

    /// As [`for_each_partition`](Self::for_each_partition), with a value that is sent along, so that `f` needs to capture
    /// nothing and can run in another process.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// ctx.range_into(0..6_u64, 2).for_each_partition_with(3, |size, rows| assert_eq!(rows.count(), *size))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_partition_with<E: ExchangeData, F>(&self, env: E, f: F) -> Result<()>
    where
        F: Fn(&E, PartitionIter<T>) + Send + Sync + 'static,
    {
        self.for_each_partition_with_async(env, f).wait()
    }

    /// As [`for_each_partition_with`](Self::for_each_partition_with), without waiting.
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..6_u64, 2);
    /// rows.for_each_partition_with_async(3, |size, rows| assert_eq!(rows.count(), *size)).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_partition_with_async<E: ExchangeData, F>(&self, env: E, f: F) -> Action<()>
    where
        F: Fn(&E, PartitionIter<T>) + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("for_each_partition_with", Place::caller()).with_code::<F>(), &env);
        self.each_partition(info, env, f)
    }

    fn each_partition<E: Env, F>(&self, info: OpInfo, env: E, f: F) -> Action<()>
    where
        F: Fn(&E, PartitionIter<T>) + Send + Sync + 'static,
    {
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let wanted = rdd.all_partitions();
            let parts = driver.run(&rdd, info, wanted, env, move |env, _, rows, cx| {
                PartitionIter::run(rows, cx.sink_marker(), |rows| f(env, rows)).map(|()| ((), 0))
            });
            parts.await.map(|_| ())
        })
    }
}
