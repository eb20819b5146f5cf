//! `reduce`, `fold` and `aggregate`: all the rows to one value.

use emberflow_core::{
    batch::Batch,
    data::{Data, ExchangeData},
    error::Result,
    place::{OpInfo, Place},
    ship::{Env, With},
};

use super::Rdd;
use crate::action::Action;

impl<T: Data> Rdd<T> {
    /// Merges all the rows by `f`; `None` if there is no row.
    ///
    /// Action. `f` should be associative; rows meet in their order, within partitions first and then across them, so
    /// that the result is the same every time, floating-point sums included.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions). A panic of `f` while merging partitions' results comes through as it is.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(1..6_u64).reduce(|a, b| a * b)?, Some(120));
    /// assert_eq!(ctx.empty::<u64>().reduce(|a, b| a * b)?, None);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, f: F) -> Result<Option<T>>
    where
        T: ExchangeData,
    {
        self.reduce_as(OpInfo::new("reduce", Place::caller()).with_code::<F>(), f).wait()
    }

    /// As [`reduce`](Self::reduce), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(1..6_u64).reduce_async(|a, b| a.max(b)).wait()?, Some(5));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_async<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, f: F) -> Action<Option<T>>
    where
        T: ExchangeData,
    {
        self.reduce_as(OpInfo::new("reduce", Place::caller()).with_code::<F>(), f)
    }

    pub(super) fn reduce_as(&self, info: OpInfo, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Action<Option<T>>
    where
        T: ExchangeData,
    {
        let (rdd, f) = (self.clone(), With::new((), f));
        Action::start(self.shared(), |driver| async move {
            let parts = driver.run(&rdd, info, rdd.all_partitions(), f.clone(), |f, _, mut rows, cx| {
                let ((), each) = f.parts();
                let (mut sum, mut count): (Option<T>, u64) = (None, 0);
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    sum = batch.reduce(sum, each);
                }
                Ok((sum, count))
            });
            Ok(parts.await?.into_iter().flatten().reduce(f.parts().1))
        })
    }

    /// Merges all the rows by `f`, beginning with `zero` in every partition and once more across them: `zero` should
    /// change nothing.
    ///
    /// Action. Order as for [`reduce`](Self::reduce).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(1..5_u64).fold(0, |a, b| a + b)?, 10);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, zero: T, f: F) -> Result<T>
    where
        T: ExchangeData,
    {
        self.fold_async(zero, f).wait()
    }

    /// As [`fold`](Self::fold), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(1..5_u64).fold_async(0, |a, b| a + b).wait()?, 10);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold_async<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, zero: T, f: F) -> Action<T>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("fold", Place::caller()).with_code::<F>();
        let f = With::new((), f);
        let within = |f: &With<(), _>, sum, batch: Batch<T>| batch.fold(sum, f.parts().1);
        self.aggregate_batches(info, zero, f.clone(), within, move |a, b| f.parts().1(a, b))
    }
}

impl<T: Data> Rdd<T> {
    /// Folds the rows of each partition into a value that begins as `zero`, by `within`, and then these values, in
    /// partition order and again from `zero`, by `across`.
    ///
    /// Action. Unlike [`fold`](Self::fold), the value may be of another type than the rows. If rows are cached and own
    /// memory, [`aggregate_ref`](Self::aggregate_ref) clones none of them and is several times as fast.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["ember", "flow"]);
    /// assert_eq!(words.aggregate(0, |sum, word| sum + word.len(), |a, b| a + b)?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate<U, W, A>(&self, zero: U, within: W, across: A) -> Result<U>
    where
        U: ExchangeData,
        W: Fn(U, T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        let info = OpInfo::new("aggregate", Place::caller()).with_code::<W>();
        self.aggregate_as(info, zero, within, across).wait()
    }

    /// As [`aggregate`](Self::aggregate), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let action = ctx.range(0..4_u64).aggregate_async(String::new(), |s, n| s + &n.to_string(), |a, b| a + &b);
    /// assert_eq!(action.wait()?, "0123");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_async<U, W, A>(&self, zero: U, within: W, across: A) -> Action<U>
    where
        U: ExchangeData,
        W: Fn(U, T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        self.aggregate_as(OpInfo::new("aggregate", Place::caller()).with_code::<W>(), zero, within, across)
    }

    pub(crate) fn aggregate_as<U: ExchangeData>(
        &self,
        info: OpInfo,
        zero: U,
        within: impl Fn(U, T) -> U + Send + Sync + 'static,
        across: impl Fn(U, U) -> U + Send + Sync + 'static,
    ) -> Action<U> {
        self.aggregate_batches(info, zero, (), move |(), sum, batch| batch.fold(sum, &within), across)
    }

    /// Folds batches within partitions, and what that gives across them.
    pub(super) fn aggregate_batches<U: ExchangeData, E: Env>(
        &self,
        info: OpInfo,
        zero: U,
        env: E,
        within: impl Fn(&E, U, Batch<T>) -> U + Send + Sync + 'static,
        across: impl Fn(U, U) -> U + Send + Sync + 'static,
    ) -> Action<U> {
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let env = (env, zero.clone());
            let parts = driver.run(&rdd, info, rdd.all_partitions(), env, move |(env, zero), _, mut rows, cx| {
                let (mut sum, mut count) = (zero.clone(), 0);
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    sum = within(env, sum, batch);
                }
                Ok((sum, count))
            });
            Ok(parts.await?.into_iter().fold(zero, across))
        })
    }
}
