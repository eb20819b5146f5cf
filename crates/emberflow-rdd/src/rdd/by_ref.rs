//! Operations that only look at rows: `map_ref, flat_map_ref, aggregate_ref, for_each_ref`.
//!
//! A row of a cached RDD, a shuffle or a parallelised collection belongs to somebody else, and is cloned for an operator
//! that wants it by value. That costs nothing for a number, and an allocation for a `Vec` or a `String`.

use emberflow_core::{
    batch::{Batch, buffers},
    data::{Data, ExchangeData},
    error::Result,
    place::{OpInfo, Place},
    ship::Env,
};

use super::{Rdd, flat_map::FlatMapExtend, map::with_env};
use crate::action::Action;

impl<T: Data> Rdd<T> {
    /// As [`map`](Self::map), of rows that are looked at and not cloned.
    ///
    /// Narrow.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let points = ctx.parallelize(vec![vec![3.0, 4.0], vec![0.0, 1.0]]).cache();
    /// let lengths = points.map_ref(|point| point.iter().map(|x| x * x).sum::<f64>().sqrt());
    /// assert_eq!(lengths.collect()?, [5.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_ref<U: Data, F: Fn(&T) -> U + Send + Sync + 'static>(&self, f: F) -> Rdd<U> {
        let info = OpInfo::new("map_ref", Place::caller()).with_form("map_ref_with").with_code::<F>();
        self.map_ref_env(info, (), move |(), row| f(row))
    }

    /// As [`map_ref`](Self::map_ref), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let points = ctx.parallelize(vec![vec![3.0, 4.0], vec![0.0, 1.0]]).cache();
    /// assert_eq!(points.map_ref_with(1, |at, point| point[*at]).collect()?, [4.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_ref_with<E, U, F>(&self, env: E, f: F) -> Rdd<U>
    where
        E: ExchangeData,
        U: Data,
        F: Fn(&E, &T) -> U + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("map_ref", Place::caller()), &env).with_code::<F>();
        self.map_ref_env(info, env, f)
    }

    fn map_ref_env<E: Env, U: Data>(
        &self,
        info: OpInfo,
        env: E,
        f: impl Fn(&E, &T) -> U + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.batches(info, None, env, move |env, batch: Batch<T>| {
            let mut out = buffers::take();
            out.extend(batch.as_slice().iter().map(|row| f(env, row)));
            Ok(Batch::Owned(out))
        })
    }

    /// As [`flat_map`](Self::flat_map), of rows that are looked at and not cloned: `emit` adds what it makes of a row to
    /// the rows that are there.
    ///
    /// Narrow.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let links = ctx.parallelize(vec![(1, vec![2, 3]), (2, vec![1])]).cache();
    /// let arrows = links.flat_map_ref(|(from, to), arrows| arrows.extend(to.iter().map(|to| (*from, *to))));
    /// assert_eq!(arrows.collect()?, [(1, 2), (1, 3), (2, 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_ref<U, F>(&self, emit: F) -> Rdd<U>
    where
        U: Data,
        F: Fn(&T, &mut Vec<U>) + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map_ref", Place::caller()).with_form("flat_map_ref_with").with_code::<F>();
        self.narrow(info, FlatMapExtend::new((), move |(), row, out| emit(row, out)), None)
    }

    /// As [`flat_map_ref`](Self::flat_map_ref), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let links = ctx.parallelize(vec![(1, vec![2, 3]), (2, vec![1])]).cache();
    /// let arrows = links.flat_map_ref_with(10, |by, (from, to), arrows| arrows.extend(to.iter().map(|to| from * by + to)));
    /// assert_eq!(arrows.collect()?, [12, 13, 21]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_ref_with<E, U, F>(&self, env: E, emit: F) -> Rdd<U>
    where
        E: ExchangeData,
        U: Data,
        F: Fn(&E, &T, &mut Vec<U>) + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("flat_map_ref", Place::caller()), &env).with_code::<F>();
        self.narrow(info, FlatMapExtend::new(env, emit), None)
    }

    /// As [`aggregate`](Self::aggregate), of rows that are looked at and not cloned.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["ember".to_owned(), "flow".to_owned()]).cache();
    /// assert_eq!(words.aggregate_ref(0, |sum, word| sum + word.len(), |a, b| a + b)?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_ref<U, W, A>(&self, zero: U, within: W, across: A) -> Result<U>
    where
        U: ExchangeData,
        W: Fn(U, &T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        self.aggregate_ref_async(zero, within, across).wait()
    }

    /// As [`aggregate_ref`](Self::aggregate_ref), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["ember".to_owned(), "flow".to_owned()]);
    /// let longest = words.aggregate_ref_async(0, |most, word| word.len().max(most), |a, b| a.max(b));
    /// assert_eq!(longest.wait()?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_ref_async<U, W, A>(&self, zero: U, within: W, across: A) -> Action<U>
    where
        U: ExchangeData,
        W: Fn(U, &T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        let info = OpInfo::new("aggregate_ref", Place::caller()).with_code::<W>();
        self.aggregate_batches(info, zero, (), move |(), sum, batch| batch.as_slice().iter().fold(sum, &within), across)
    }

    /// As [`for_each`](Self::for_each), of rows that are looked at and not cloned.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["ember".to_owned(), "flow".to_owned()]).cache();
    /// words.for_each_ref(|word| assert!(word.is_ascii()))?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_ref<F: Fn(&T) + Send + Sync + 'static>(&self, f: F) -> Result<()> {
        self.for_each_ref_async(f).wait()
    }

    /// As [`for_each_ref`](Self::for_each_ref), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["ember".to_owned(), "flow".to_owned()]).cache();
    /// words.for_each_ref_async(|word| assert!(word.is_ascii())).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn for_each_ref_async<F: Fn(&T) + Send + Sync + 'static>(&self, f: F) -> Action<()> {
        let info = OpInfo::new("for_each_ref", Place::caller()).with_code::<F>();
        self.aggregate_batches(info, (), (), move |(), (), batch| batch.as_slice().iter().for_each(&f), |(), ()| ())
    }
}
