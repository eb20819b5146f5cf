//! `group_by_key` and `group_by`: all the values of a key in one row.

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
};

use serde::{Deserialize, Serialize};

use super::{Rdd, map::with_env, wide};
use crate::shuffle::{Aggregator, IntoPartitioning, MapSide};

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// All the values of each key, in the order of partitions and within them.
    ///
    /// Wide; narrow if `self` is placed by key already. One row a distinct key out. Moves every row, and holds all
    /// values of a key at once: where they are merged afterwards, [`reduce_by_key`](Self::reduce_by_key) and
    /// [`aggregate_by_key`](Self::aggregate_by_key) do it with less.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let groups = ctx.range(0..5_u64).map(|n| (n % 2, n)).group_by_key();
    /// assert_eq!(groups.collect_as_map()?[&0], [0, 2, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by_key(&self) -> Rdd<(K, Vec<V>)>
    where
        K: Key,
        V: ExchangeData,
    {
        self.group_by_key_into(self.shared().default_partitions)
    }

    /// As [`group_by_key`](Self::group_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 'a'), (1, 'b')]).group_by_key_into(1).collect()?, [(1, vec!['a', 'b'])]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by_key_into(&self, into: impl IntoPartitioning<K>) -> Rdd<(K, Vec<V>)>
    where
        K: Key,
        V: ExchangeData,
    {
        wide::combine(self, OpInfo::new("group_by_key", Place::caller()), into, MapSide::Pass, Gather)
    }
}

impl<T: Data> Rdd<T> {
    /// The rows grouped by a key, in their order.
    ///
    /// Wide. As [`group_by_key`](Rdd::group_by_key) after [`key_by`](Self::key_by).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).group_by(|n| n % 2).collect_as_map()?[&1], [1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by<K, F>(&self, f: F) -> Rdd<(K, Vec<T>)>
    where
        T: ExchangeData,
        K: Key,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.group_by_into(f, self.shared().default_partitions)
    }

    /// As [`group_by`](Self::group_by), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let groups = ctx.range(0..3_u64).group_by_into(|n| n % 2, 1);
    /// assert_eq!((groups.partitions(), groups.collect_as_map()?[&0].clone()), (1, vec![0, 2]));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by_into<K, F>(&self, f: F, into: impl IntoPartitioning<K>) -> Rdd<(K, Vec<T>)>
    where
        T: ExchangeData,
        K: Key,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let info = OpInfo::new("group_by", Place::caller());
        let keyed = info.clone().with_form("group_by_with").with_code::<F>();
        let keyed = self.map_info(keyed, move |row| (f(&row), row));
        wide::combine(&keyed, info, into, MapSide::Pass, Gather)
    }

    /// As [`group_by`](Self::group_by), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let by_rest = ctx.range(0..7_u64).group_by_with(3, |by, n| n % by);
    /// assert_eq!(by_rest.lookup(&0)?, [[0, 3, 6]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by_with<E, K, F>(&self, env: E, f: F) -> Rdd<(K, Vec<T>)>
    where
        T: ExchangeData,
        E: ExchangeData,
        K: Key,
        F: Fn(&E, &T) -> K + Send + Sync + 'static,
    {
        self.group_by_with_into(env, f, self.shared().default_partitions)
    }

    /// As [`group_by_with`](Self::group_by_with), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// As [`group_by_with`](Self::group_by_with), and if there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..7_u64).group_by_with_into(3, |by, n| n % by, 5).partitions(), 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn group_by_with_into<E, K, F>(&self, env: E, f: F, into: impl IntoPartitioning<K>) -> Rdd<(K, Vec<T>)>
    where
        T: ExchangeData,
        E: ExchangeData,
        K: Key,
        F: Fn(&E, &T) -> K + Send + Sync + 'static,
    {
        let info = OpInfo::new("group_by", Place::caller());
        let keyed = with_env(info.clone(), &env).with_code::<F>();
        let keyed = self.map_env(keyed, env, move |env, row| (f(env, &row), row));
        wide::combine(&keyed, info, into, MapSide::Pass, Gather)
    }
}

#[derive(Serialize, Deserialize)]
struct Gather;

impl<V: Send + 'static> Aggregator<V, Vec<V>> for Gather {
    fn create(&self, value: V) -> Vec<V> {
        vec![value]
    }

    fn merge_value(&self, mut group: Vec<V>, value: V) -> Vec<V> {
        group.push(value);
        group
    }

    fn merge(&self, mut a: Vec<V>, mut b: Vec<V>) -> Vec<V> {
        a.append(&mut b);
        a
    }
}
