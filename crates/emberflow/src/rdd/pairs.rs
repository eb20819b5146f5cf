//! Keys and values: `key_by, keys, values, map_values, flat_map_values`.

use std::marker::PhantomData;

use emberflow_core::{
    batch::Batch,
    data::{Data, Key},
    place::{OpInfo, Place},
};

use super::{
    Rdd,
    batches::{map_batch, share},
    flat_map::FlatMap,
};

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
        let info = OpInfo::new("key_by", Place::caller()).with_code::<F>();
        self.map_info(info, move |row| (f(&row), row))
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
        self.batches(info, None, |_| {
            |batch: Batch<(K, V)>| {
                Ok(match batch {
                    Batch::Shared(rows) => {
                        // The other halves are not cloned.
                        Batch::Owned(rows.as_slice().iter().map(|(key, _)| key.clone()).collect())
                    }
                    owned => map_batch(owned, |(key, _)| key),
                })
            }
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
        self.batches(info, None, |_| {
            |batch: Batch<(K, V)>| {
                Ok(match batch {
                    Batch::Shared(rows) => {
                        Batch::Owned(rows.as_slice().iter().map(|(_, value)| value.clone()).collect())
                    }
                    owned => map_batch(owned, |(_, value)| value),
                })
            }
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
        let info = OpInfo::new("map_values", Place::caller()).with_code::<F>();
        let f = share(f);
        self.batches(info, self.node().placement.clone(), move |_| {
            let f = f.clone();
            move |batch| Ok(map_batch(batch, |(key, value)| (key, f(value))))
        })
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
        E: crate::ExchangeData,
        U: Data,
        F: Fn(&E, V) -> U + Send + Sync + 'static,
    {
        let info = super::map::with_env(OpInfo::new("map_values", Place::caller()), &env).with_code::<F>();
        let shared = share((env, f));
        self.batches(info, self.node().placement.clone(), move |_| {
            let shared = shared.clone();
            move |batch| Ok(map_batch(batch, |(key, value)| (key, (shared.1)(&shared.0, value))))
        })
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
        let info = OpInfo::new("flat_map_values", Place::caller()).with_code::<F>();
        let f = share(f);
        let start = move |_| {
            let f = f.clone();
            move |(key, value): (K, V)| f(value).into_iter().map(move |value| (key.clone(), value))
        };
        self.narrow(info, FlatMap { start, types: PhantomData }, self.node().placement.clone())
    }
}

impl<K: Key, V: Data> Rdd<(K, V)> {
    /// Whether the rows are placed by key, so that the next operation by key over as many partitions moves none.
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
