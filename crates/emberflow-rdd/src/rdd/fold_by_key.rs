//! `fold_by_key`: the values of each key merged, beginning with a zero.

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
    ship::{Code, Env},
};

use serde::{Deserialize, Serialize};

use super::{Rdd, map::with_env, wide};
use crate::shuffle::{Aggregator, IntoPartitioning, MapSide};

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Merges the values of each key with `f`, beginning with `zero`, which should change nothing: it comes in once for
    /// each partition that has the key.
    ///
    /// Wide or narrow, rows, order and cost as [`reduce_by_key`](Self::reduce_by_key). Unlike
    /// [`aggregate_by_key`](Self::aggregate_by_key), the result is of the values' own type. After Spark's `foldByKey`.
    ///
    /// # Panics
    /// If `zero` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let largest = ctx.parallelize(vec![('a', 1_u32), ('b', 5), ('a', 3)]).fold_by_key(0, |a, b| a.max(b));
    /// assert_eq!(largest.collect_as_map()?[&'a'], 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn fold_by_key<F: Fn(V, V) -> V + Send + Sync + 'static>(&self, zero: V, f: F) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        self.fold_by_key_into(zero, f, self.shared().default_partitions)
    }

    /// As [`fold_by_key`](Self::fold_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// As [`fold_by_key`](Self::fold_by_key), and if there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range(0..1000_u64).map(|n| (n % 10, n)).fold_by_key_into(0, |a, b| a + b, 4);
    /// assert_eq!((sums.partitions(), sums.count()?), (4, 10));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn fold_by_key_into<F>(&self, zero: V, f: F, into: impl IntoPartitioning<K>) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("fold_by_key", Place::caller()), &zero).with_code::<F>();
        wide::combine(self, info, into, MapSide::Combine, Fold { zero, f: Code::new(f) })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "V: Env")]
struct Fold<V, F> {
    zero: V,
    f: Code<F>,
}

impl<V: ExchangeData, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregator<V, V> for Fold<V, F> {
    fn create(&self, value: V) -> V {
        (self.f)(self.zero.clone(), value)
    }

    fn merge_value(&self, sum: V, value: V) -> V {
        (self.f)(sum, value)
    }

    fn merge(&self, a: V, b: V) -> V {
        (self.f)(a, b)
    }
}
