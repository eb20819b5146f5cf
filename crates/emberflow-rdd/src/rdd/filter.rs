//! `filter`, `filter_with` and `filter_by_range`: the rows that satisfy a predicate.

use std::{mem, ops::RangeBounds};

use emberflow_core::{
    batch::Batch,
    data::{Data, ExchangeData},
    place::{OpInfo, Place},
};

use emberflow_core::ship::Env;

use super::{Rdd, map::with_env};

impl<T: Data> Rdd<T> {
    /// Keeps the rows for which `f` is true.
    ///
    /// Narrow. Order and placement by key are kept. Rows that are shared with a cache are looked at in place, and only
    /// those that are kept are cloned.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..10_u64).filter(|n| n % 3 == 0).collect()?, [0, 3, 6, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn filter<F: Fn(&T) -> bool + Send + Sync + 'static>(&self, f: F) -> Rdd<T> {
        let info = OpInfo::new("filter", Place::caller()).with_form("filter_with").with_code::<F>();
        self.filter_info(info, (), move |(), row| f(row))
    }

    /// As [`filter`](Self::filter), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..10_u64).filter_with(7, |least, n| n >= least).collect()?, [7, 8, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn filter_with<E, F>(&self, env: E, f: F) -> Rdd<T>
    where
        E: ExchangeData,
        F: Fn(&E, &T) -> bool + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("filter", Place::caller()), &env).with_code::<F>();
        self.filter_info(info, env, f)
    }

    fn filter_info<E: Env>(&self, info: OpInfo, env: E, f: impl Fn(&E, &T) -> bool + Send + Sync + 'static) -> Rdd<T> {
        self.batches(info, self.node().placement.clone(), env, move |env, batch| {
            Ok(Batch::Owned(match batch {
                batch if !mem::needs_drop::<T>() => compact(batch.into_vec(), |row| f(env, row)),
                Batch::Owned(mut rows) => {
                    rows.retain(|row| f(env, row));
                    rows
                }
                Batch::Shared(rows) => rows.as_slice().iter().filter(|row| f(env, row)).cloned().collect(),
            }))
        })
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// The rows whose keys lie in a range.
    ///
    /// Narrow. All partitions are read.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..9_u64).map(|n| (n, ()));
    /// assert_eq!(rows.filter_by_range(2..=4).keys().collect()?, [2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn filter_by_range(&self, keys: impl RangeBounds<K>) -> Rdd<(K, V)>
    where
        K: ExchangeData + PartialOrd,
    {
        let info = OpInfo::new("filter_by_range", Place::caller());
        let ends = (keys.start_bound().cloned(), keys.end_bound().cloned());
        self.filter_info(info, ends, |ends, (key, _)| ends.contains(key))
    }
}

/// `Vec::retain` without a branch that depends on the rows: each row is moved to the end of those that are kept, and
/// that end moves on if the row is one of them. For rows that need no drop, where moving is cheaper than guessing.
fn compact<T>(mut rows: Vec<T>, keep: impl Fn(&T) -> bool) -> Vec<T> {
    let mut kept = 0;
    for at in 0..rows.len() {
        let keep = keep(&rows[at]);
        rows.swap(kept, at);
        kept += usize::from(keep);
    }
    rows.truncate(kept);
    rows
}
