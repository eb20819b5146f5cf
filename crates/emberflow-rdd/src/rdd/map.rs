//! `map` and `map_with`: one row to one row.

use emberflow_core::{
    data::{Data, ExchangeData},
    place::{OpInfo, Place},
};

use emberflow_core::ship::Env;

use super::{Rdd, batches::map_batch};

impl<T: Data> Rdd<T> {
    /// Applies `f` to every row.
    ///
    /// Narrow. It gives one row for each row, in their order. How rows are placed by key is forgotten; see
    /// [`map_values`](Rdd::map_values). Costs one call a row, in a loop over a batch. If rows are cached and own memory,
    /// [`map_ref`](Self::map_ref) clones none of them and is several times as fast.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..3_u64).map(|n| n * n).collect()?, [0, 1, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Rdd<U> {
        self.map_as(OpInfo::new("map", Place::caller()).with_form("map_with"), f)
    }

    /// As [`map`](Self::map), with an environment that is a value of its own rather than captured by `f`.
    ///
    /// Only operators whose closures capture nothing can be sent to another process, as a cluster will need; the
    /// environment is serialised for it when the operator is made.
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let offset = 10;
    /// assert_eq!(ctx.range(0..3_u64).map_with(offset, |offset, n| n + offset).collect()?, [10, 11, 12]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_with<E, U, F>(&self, env: E, f: F) -> Rdd<U>
    where
        E: ExchangeData,
        U: Data,
        F: Fn(&E, T) -> U + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("map", Place::caller()), &env).with_code::<F>();
        self.map_env(info, env, f)
    }

    /// Gives the closure's type a name, which `map` has none for: its callers may name the row's type alone.
    fn map_as<U: Data, F: Fn(T) -> U + Send + Sync + 'static>(&self, info: OpInfo, f: F) -> Rdd<U> {
        self.map_info(info.with_code::<F>(), f)
    }

    /// As [`map`](Self::map), for closures of ours that are described otherwise.
    pub(crate) fn map_info<U: Data>(&self, info: OpInfo, f: impl Fn(T) -> U + Send + Sync + 'static) -> Rdd<U> {
        self.map_env(info, (), move |(), row| f(row))
    }

    /// As [`map_with`](Self::map_with), for closures of ours that are described otherwise.
    pub(super) fn map_env<E: Env, U: Data>(
        &self,
        info: OpInfo,
        env: E,
        f: impl Fn(&E, T) -> U + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.batches(info, None, env, move |env, batch| Ok(map_batch(batch, |row| f(env, row))))
    }
}

/// Describes an operator's environment.
///
/// # Panics
/// If it cannot be serialised: that is a mistake in the program, at this very place.
#[track_caller]
pub(super) fn with_env<E: ExchangeData>(info: OpInfo, env: &E) -> OpInfo {
    match emberflow_core::codec::encode(env) {
        Ok(bytes) => info.with_env(bytes),
        Err(error) => panic!("the environment of {info} cannot be serialised: {error}"),
    }
}
