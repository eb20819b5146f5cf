//! Keys and values: `key_by, keys, values, map_values, flat_map_values`.

use emberflow_core::{
    batch::Batch,
    data::{Data, ExchangeData},
    place::{OpInfo, Place},
    ship::Env,
};

use super::{Rdd, batches::map_batch, flat_map::FlatMap, map::with_env};

impl<T: Data> Rdd<T> {
    /// Pairs every row with its key.
    ///
    /// Narrow. Order is kept. To group by the key at once, see [`group_by`](Rdd::group_by).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(7..9_u64).key_by(|n| n % 2).collect()?, [(1, 7), (0, 8)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn key_by<K, F>(&self, f: F) -> Rdd<(K, T)>
    where
        K: Data,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let info = OpInfo::new("key_by", Place::caller()).with_form("key_by_with").with_code::<F>();
        self.map_info(info, move |row| (f(&row), row))
    }

    /// As [`key_by`](Self::key_by), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..3_u64).key_by_with(2, |by, n| n % by).collect()?, [(0, 0), (1, 1), (0, 2)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn key_by_with<E, K, F>(&self, env: E, f: F) -> Rdd<(K, T)>
    where
        E: ExchangeData,
        K: Data,
        F: Fn(&E, &T) -> K + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("key_by", Place::caller()), &env).with_code::<F>();
        self.map_env(info, env, move |env, row| (f(env, &row), row))
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// The keys.
    ///
    /// Narrow. Order is kept, and so are duplicates.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 'a'), (2, 'b')]).keys().collect()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn keys(&self) -> Rdd<K> {
        let info = OpInfo::new("keys", Place::caller());
        self.batches(info, None, (), |(), batch: Batch<(K, V)>| {
            Ok(match batch {
                Batch::Shared(rows) => {
                    // The other halves are not cloned.
                    Batch::Owned(rows.as_slice().iter().map(|(key, _)| key.clone()).collect())
                }
                owned => map_batch(owned, |(key, _)| key),
            })
        })
    }

    /// The values.
    ///
    /// Narrow. Order is kept.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 'a'), (2, 'b')]).values().collect()?, ['a', 'b']);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn values(&self) -> Rdd<V> {
        let info = OpInfo::new("values", Place::caller());
        self.batches(info, None, (), |(), batch: Batch<(K, V)>| {
            Ok(match batch {
                Batch::Shared(rows) => Batch::Owned(rows.as_slice().iter().map(|(_, value)| value.clone()).collect()),
                owned => map_batch(owned, |(_, value)| value),
            })
        })
    }

    /// Applies `f` to every value and leaves the keys as they are.
    ///
    /// Narrow. Unlike [`map`](Rdd::map), it keeps the placement by key, so that a later operation by key need not
    /// shuffle.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 2), (3, 4)]).map_values(|n| n * 10).collect()?, [(1, 20), (3, 40)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_values<U, F>(&self, f: F) -> Rdd<(K, U)>
    where
        U: Data,
        F: Fn(V) -> U + Send + Sync + 'static,
    {
        let info = OpInfo::new("map_values", Place::caller()).with_form("map_values_with").with_code::<F>();
        self.map_values_env(info, (), move |(), value| f(value))
    }

    /// As [`map_values`](Self::map_values), with an environment; see [`map_with`](Rdd::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 2)]).map_values_with(10, |by, n| n * by).collect()?, [(1, 20)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn map_values_with<E, U, F>(&self, env: E, f: F) -> Rdd<(K, U)>
    where
        E: ExchangeData,
        U: Data,
        F: Fn(&E, V) -> U + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("map_values", Place::caller()), &env).with_code::<F>();
        self.map_values_env(info, env, f)
    }

    /// As [`map_values_with`](Self::map_values_with), for closures of ours that are described otherwise.
    pub(super) fn map_values_env<E: Env, U: Data>(
        &self,
        info: OpInfo,
        env: E,
        f: impl Fn(&E, V) -> U + Send + Sync + 'static,
    ) -> Rdd<(K, U)> {
        let placement = self.node().placement.clone();
        let each = move |env: &E, batch| Ok(map_batch(batch, |(key, value)| (key, f(env, value))));
        self.batches(info, placement, env, each)
    }

    /// Applies `f` to every value, and pairs each of the results with the key.
    ///
    /// Narrow. Keeps the placement by key. As with [`flat_map`](Rdd::flat_map), the results of a
    /// value may be many, or without end: they are made as batches are filled.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 2), (3, 0)]).flat_map_values(|n| 0..n);
    /// assert_eq!(pairs.collect()?, [(1, 0), (1, 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_values<I, F>(&self, f: F) -> Rdd<(K, I::Item)>
    where
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(V) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map_values", Place::caller()).with_form("flat_map_values_with").with_code::<F>();
        self.flat_map_values_env(info, (), move |(), value| f(value))
    }

    /// As [`flat_map_values`](Self::flat_map_values), with an environment; see [`map_with`](Rdd::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![('a', 2), ('b', 1)]).flat_map_values_with(10, |by, n| (0..n).map(|n| n * 10));
    /// assert_eq!(rows.collect()?, [('a', 0), ('a', 10), ('b', 0)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_values_with<E, I, F>(&self, env: E, f: F) -> Rdd<(K, I::Item)>
    where
        E: ExchangeData,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, V) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("flat_map_values", Place::caller()), &env).with_code::<F>();
        self.flat_map_values_env(info, env, f)
    }

    fn flat_map_values_env<E, I, F>(&self, info: OpInfo, env: E, f: F) -> Rdd<(K, I::Item)>
    where
        E: Env,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, V) -> I + Send + Sync + 'static,
    {
        let each =
            move |env: &E, (key, value): (K, V)| f(env, value).into_iter().map(move |value| (key.clone(), value));
        self.narrow(info, FlatMap::new(env, each), self.node().placement.clone())
    }

    /// Returns whether the rows are placed by key, so that the next operation by key over as many partitions moves
    /// none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.parallelize(vec![(1, 2), (1, 3)]).reduce_by_key(|a, b| a + b);
    /// assert!(sums.is_partitioned() && sums.map_values(|n| n + 1).is_partitioned());
    /// assert!(!sums.map(|(key, n)| (key, n + 1)).is_partitioned());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_partitioned(&self) -> bool {
        self.node().placement.is_some()
    }
}
