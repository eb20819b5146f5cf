//! `combine_by_key` and what is made of it: `reduce_by_key, aggregate_by_key`, and the actions `count_by_key,
//! count_by_value, collect_as_map`.

use std::collections::HashMap;

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    error::Result,
    place::{OpInfo, Place},
    ship::{Code, Env},
};
use serde::{Deserialize, Serialize};

use super::{Rdd, wide};
use crate::{
    action::Action,
    shuffle::{Aggregator, IntoPartitioning, MapSide},
};

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Merges the values of each key with `f`.
    ///
    /// Wide: one shuffle after a map-side combine; narrow if `self` is placed by key already. `n` rows in, one row for
    /// each distinct key out. Values meet in an order that the rows alone decide, so that a rerun gives the same bytes;
    /// `f` should be associative and commutative. Combining before the shuffle stops by itself where it does not shrink the rows.
    /// Holds one entry for each key of a partition. Unlike [`group_by_key`](Self::group_by_key), it never gathers all
    /// values of a key. After Spark's `reduceByKey`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.parallelize(vec![('a', 1), ('b', 2), ('a', 3)]).reduce_by_key(|a, b| a + b);
    /// assert_eq!(sums.collect_as_map()?[&'a'], 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn reduce_by_key<F: Fn(V, V) -> V + Send + Sync + 'static>(&self, f: F) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        self.reduce_by_key_into(f, self.shared().default_partitions)
    }

    /// As [`reduce_by_key`](Self::reduce_by_key), into so many partitions, or placed by a
    /// [partitioner](crate::Partitioner) of your own.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range(0..1000_u64).map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 4);
    /// assert_eq!((sums.partitions(), sums.count()?), (4, 10));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn reduce_by_key_into<F>(&self, f: F, into: impl IntoPartitioning<K>) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let info = OpInfo::new("reduce_by_key", Place::caller()).with_code::<F>();
        wide::combine(self, info, into, MapSide::Combine, Reduce(Code::new(f)))
    }

    /// Folds the values of each key into a value that begins as `zero`, by `within` partitions and then by `across`
    /// them.
    ///
    /// Wide or narrow, rows, order and cost as [`reduce_by_key`](Self::reduce_by_key). After Spark's `aggregateByKey`.
    ///
    /// # Panics
    /// If `zero` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![('a', "x"), ('b', "yy"), ('a', "zzz")]);
    /// let lengths = pairs.map_values(str::to_owned).aggregate_by_key(0, |sum, s| sum + s.len(), |a, b| a + b);
    /// assert_eq!(lengths.collect_as_map()?[&'a'], 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn aggregate_by_key<C, W, A>(&self, zero: C, within: W, across: A) -> Rdd<(K, C)>
    where
        K: Key,
        V: ExchangeData,
        C: ExchangeData,
        W: Fn(C, V) -> C + Send + Sync + 'static,
        A: Fn(C, C) -> C + Send + Sync + 'static,
    {
        self.aggregate_by_key_into(zero, within, across, self.shared().default_partitions)
    }

    /// As [`aggregate_by_key`](Self::aggregate_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// As [`aggregate_by_key`](Self::aggregate_by_key), and if there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let counts = ctx.range(0..9_u64).map(|n| (n % 2, n)).aggregate_by_key_into(0, |c, _| c + 1, |a, b| a + b, 2);
    /// assert_eq!(counts.collect_as_map()?[&0], 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn aggregate_by_key_into<C, W, A>(
        &self,
        zero: C,
        within: W,
        across: A,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, C)>
    where
        K: Key,
        V: ExchangeData,
        C: ExchangeData,
        W: Fn(C, V) -> C + Send + Sync + 'static,
        A: Fn(C, C) -> C + Send + Sync + 'static,
    {
        let info = OpInfo::new("aggregate_by_key", Place::caller());
        let info = super::map::with_env(info, &zero).with_code::<W>().with_code::<A>();
        let (within, across) = (Code::new(within), Code::new(across));
        wide::combine(self, info, into, MapSide::Combine, Aggregate { zero, within, across })
    }

    /// The general form: `create` makes the first value of a key into a combiner, `merge_value` adds a value to one,
    /// `merge_combiners` makes two into one.
    ///
    /// Wide or narrow, rows, order and cost as [`reduce_by_key`](Self::reduce_by_key). After Spark's `combineByKey`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range(0..10_u64).map(|n| (n % 2, n as f64));
    /// let means = pairs
    ///     .combine_by_key(|x| (x, 1), |(sum, n), x| (sum + x, n + 1), |a, b| (a.0 + b.0, a.1 + b.1))
    ///     .map_values(|(sum, n)| sum / f64::from(n));
    /// assert_eq!(means.collect_as_map()?[&1], 5.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn combine_by_key<C, F, W, A>(&self, create: F, merge_value: W, merge_combiners: A) -> Rdd<(K, C)>
    where
        K: Key,
        V: ExchangeData,
        C: ExchangeData,
        F: Fn(V) -> C + Send + Sync + 'static,
        W: Fn(C, V) -> C + Send + Sync + 'static,
        A: Fn(C, C) -> C + Send + Sync + 'static,
    {
        self.combine_by_key_into(create, merge_value, merge_combiners, self.shared().default_partitions)
    }

    /// As [`combine_by_key`](Self::combine_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range(0..9_u64).map(|n| (n % 2, n));
    /// let largest = pairs.combine_by_key_into(|n| n, |a, n| a.max(n), |a, b| a.max(b), HashPartitioner::new(3));
    /// assert_eq!(largest.collect_as_map()?[&1], 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn combine_by_key_into<C, F, W, A>(
        &self,
        create: F,
        merge_value: W,
        merge_combiners: A,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, C)>
    where
        K: Key,
        V: ExchangeData,
        C: ExchangeData,
        F: Fn(V) -> C + Send + Sync + 'static,
        W: Fn(C, V) -> C + Send + Sync + 'static,
        A: Fn(C, C) -> C + Send + Sync + 'static,
    {
        let info = OpInfo::new("combine_by_key", Place::caller());
        let info = info.with_code::<F>().with_code::<W>().with_code::<A>();
        let (create, merge_value, merge_combiners) =
            (Code::new(create), Code::new(merge_value), Code::new(merge_combiners));
        wide::combine(self, info, into, MapSide::Combine, Combine { create, merge_value, merge_combiners })
    }

    /// All the pairs as a map; of equal keys, the last one stays.
    ///
    /// Action. Holds every pair in memory.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![('a', 1), ('b', 2), ('a', 3)]).collect_as_map()?[&'a'], 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect_as_map(&self) -> Result<HashMap<K, V>>
    where
        K: Key,
        V: ExchangeData,
    {
        self.collect_as_map_async().wait()
    }

    /// As [`collect_as_map`](Self::collect_as_map), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![('a', 1)]).collect_as_map_async().wait()?[&'a'], 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect_as_map_async(&self) -> Action<HashMap<K, V>>
    where
        K: Key,
        V: ExchangeData,
    {
        let (rdd, info) = (self.clone(), OpInfo::new("collect_as_map", Place::caller()));
        Action::start(self.shared(), |driver| async move {
            rdd.collect_partitions(&driver, info, rdd.all_partitions()).await.map(HashMap::from_iter)
        })
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// How many rows each key has.
    ///
    /// Action, after a shuffle as for [`reduce_by_key`](Self::reduce_by_key). Holds one entry a key in memory.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![('a', 1), ('a', 3)]).count_by_key()?[&'a'], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_key(&self) -> Result<HashMap<K, u64>>
    where
        K: Key,
    {
        self.count_by_key_async().wait()
    }

    /// As [`count_by_key`](Self::count_by_key), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![('a', 1), ('a', 3)]).count_by_key_async().wait()?[&'a'], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_key_async(&self) -> Action<HashMap<K, u64>>
    where
        K: Key,
    {
        let info = OpInfo::new("count_by_key", Place::caller());
        let ones = self.map_info(info.clone(), |(key, _)| (key, 1_u64));
        let placed = self.shared().default_partitions;
        wide::combine(&ones, info, placed, MapSide::Combine, Reduce(Code::new(|a, b| a + b))).collect_as_map_async()
    }
}

impl<T: Data> Rdd<T> {
    /// How often each row occurs.
    ///
    /// Action, after a shuffle as for [`reduce_by_key`](Self::reduce_by_key). Holds one entry a distinct row in memory.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec!['a', 'b', 'a']).count_by_value()?[&'a'], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value(&self) -> Result<HashMap<T, u64>>
    where
        T: Key,
    {
        self.count_by_value_async().wait()
    }

    /// As [`count_by_value`](Self::count_by_value), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec!['a', 'b', 'a']).count_by_value_async().wait()?[&'b'], 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value_async(&self) -> Action<HashMap<T, u64>>
    where
        T: Key,
    {
        self.map_info(OpInfo::new("count_by_value", Place::caller()), |row| (row, ())).count_by_key_async()
    }
}

/// Merges values of one type.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Reduce<F>(pub(super) Code<F>);

impl<V, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregator<V, V> for Reduce<F> {
    fn create(&self, value: V) -> V {
        value
    }

    fn merge_value(&self, sum: V, value: V) -> V {
        (self.0)(sum, value)
    }

    fn merge(&self, a: V, b: V) -> V {
        (self.0)(a, b)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "C: Env")]
pub(super) struct Aggregate<C, W, A> {
    pub(super) zero: C,
    pub(super) within: Code<W>,
    pub(super) across: Code<A>,
}

impl<V, C, W, A> Aggregator<V, C> for Aggregate<C, W, A>
where
    C: ExchangeData,
    W: Fn(C, V) -> C + Send + Sync + 'static,
    A: Fn(C, C) -> C + Send + Sync + 'static,
{
    fn create(&self, value: V) -> C {
        (self.within)(self.zero.clone(), value)
    }

    fn merge_value(&self, sum: C, value: V) -> C {
        (self.within)(sum, value)
    }

    fn merge(&self, a: C, b: C) -> C {
        (self.across)(a, b)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Combine<F, W, A> {
    create: Code<F>,
    merge_value: Code<W>,
    merge_combiners: Code<A>,
}

impl<V, C, F, W, A> Aggregator<V, C> for Combine<F, W, A>
where
    F: Fn(V) -> C + Send + Sync + 'static,
    W: Fn(C, V) -> C + Send + Sync + 'static,
    A: Fn(C, C) -> C + Send + Sync + 'static,
{
    fn create(&self, value: V) -> C {
        (self.create)(value)
    }

    fn merge_value(&self, sum: C, value: V) -> C {
        (self.merge_value)(sum, value)
    }

    fn merge(&self, a: C, b: C) -> C {
        (self.merge_combiners)(a, b)
    }
}
