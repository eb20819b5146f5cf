//! `cogroup`: for each key, all the values that each of several RDDs has of it.

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
};

use super::{Rdd, wide};
use crate::shuffle::{IntoPartitioning, Partitioning};

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// For each key of either RDD, its values in `self` and its values in `other`, each in the order of their RDD.
    ///
    /// Wide; narrow if both are placed alike, as with [joins](Self::join). One row a key out. A reducer holds its share
    /// of both, and all values of a key at once.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (left, right) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, 8), (2, 9)]));
    /// let groups = left.cogroup(&right).collect_as_map()?;
    /// assert_eq!(groups[&1], (vec!['a'], vec![]));
    /// assert_eq!(groups[&2], (vec!['b'], vec![8, 9]));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.cogroup_by(other, OpInfo::new("cogroup", Place::caller()), None)
    }

    /// As [`cogroup`](Self::cogroup), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 'a'), (1, 'b')]);
    /// assert_eq!(pairs.cogroup_into(&pairs, 1).collect()?, [(1, (vec!['a', 'b'], vec!['a', 'b']))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.cogroup_by(other, OpInfo::new("cogroup", Place::caller()), Some(into))
    }

    fn cogroup_by<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        info: OpInfo,
        into: Option<Partitioning<K>>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        let placements = [self.node().placement.as_ref(), other.node().placement.as_ref()];
        let into = into.or_else(|| wide::meeting(self, &placements));
        let first = wide::placed(self, &info, into.as_ref());
        let second = wide::placed(other, &info, into.as_ref());
        let sides = vec![
            wide::CogroupSide::new(&first, |(a, _): &mut (Vec<V>, Vec<W>)| a),
            wide::CogroupSide::new(&second, |(_, b): &mut (Vec<V>, Vec<W>)| b),
        ];
        wide::cogroup(&first, info, sides)
    }

    /// As [`cogroup`](Self::cogroup), of three RDDs.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (a, b) = (ctx.parallelize(vec![(1, 'a')]), ctx.parallelize(vec![(1, 2.5)]));
    /// let groups = a.cogroup3(&b, &ctx.parallelize(vec![(1, 7), (1, 8)])).collect()?;
    /// assert_eq!(groups, [(1, (vec!['a'], vec![2.5], vec![7, 8]))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup3<W, X>(&self, second: &Rdd<(K, W)>, third: &Rdd<(K, X)>) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
    {
        self.cogroup3_as(second, third, OpInfo::new("cogroup3", Place::caller()), None)
    }

    /// As [`cogroup3`](Self::cogroup3), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (a, b) = (ctx.parallelize(vec![(1, 'a')]), ctx.parallelize(vec![(1, 2.5)]));
    /// assert_eq!(a.cogroup3_into(&b, &b, 1).collect()?, [(1, (vec!['a'], vec![2.5], vec![2.5]))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup3_into<W, X>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.cogroup3_as(second, third, OpInfo::new("cogroup3", Place::caller()), Some(into))
    }

    fn cogroup3_as<W, X>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
        info: OpInfo,
        into: Option<Partitioning<K>>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
    {
        type Groups<V, W, X> = (Vec<V>, Vec<W>, Vec<X>);
        let placements = [&self.node().placement, &second.node().placement, &third.node().placement];
        let into = into.or_else(|| wide::meeting(self, &placements.map(Option::as_ref)));
        let first = wide::placed(self, &info, into.as_ref());
        let second = wide::placed(second, &info, into.as_ref());
        let third = wide::placed(third, &info, into.as_ref());
        let sides = vec![
            wide::CogroupSide::new(&first, |(a, ..): &mut Groups<V, W, X>| a),
            wide::CogroupSide::new(&second, |(_, b, _): &mut Groups<V, W, X>| b),
            wide::CogroupSide::new(&third, |(.., c): &mut Groups<V, W, X>| c),
        ];
        wide::cogroup(&first, info, sides)
    }

    /// As [`cogroup`](Self::cogroup), of four RDDs.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let a = ctx.parallelize(vec![(1, 'a')]);
    /// assert_eq!(a.cogroup4(&a, &a, &a).collect()?, [(1, (vec!['a'], vec!['a'], vec!['a'], vec!['a']))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup4<W, X, Y>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
        fourth: &Rdd<(K, Y)>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
        Y: ExchangeData,
    {
        self.cogroup4_as(second, third, fourth, OpInfo::new("cogroup4", Place::caller()), None)
    }

    /// As [`cogroup4`](Self::cogroup4), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let a = ctx.parallelize(vec![(1, 'a')]);
    /// assert_eq!(a.cogroup4_into(&a, &a, &a, 1).partitions(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cogroup4_into<W, X, Y>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
        fourth: &Rdd<(K, Y)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
        Y: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.cogroup4_as(second, third, fourth, OpInfo::new("cogroup4", Place::caller()), Some(into))
    }

    fn cogroup4_as<W, X, Y>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
        fourth: &Rdd<(K, Y)>,
        info: OpInfo,
        into: Option<Partitioning<K>>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
        Y: ExchangeData,
    {
        type Groups<V, W, X, Y> = (Vec<V>, Vec<W>, Vec<X>, Vec<Y>);
        let placements =
            [&self.node().placement, &second.node().placement, &third.node().placement, &fourth.node().placement];
        let into = into.or_else(|| wide::meeting(self, &placements.map(Option::as_ref)));
        let first = wide::placed(self, &info, into.as_ref());
        let second = wide::placed(second, &info, into.as_ref());
        let third = wide::placed(third, &info, into.as_ref());
        let fourth = wide::placed(fourth, &info, into.as_ref());
        let sides = vec![
            wide::CogroupSide::new(&first, |(a, ..): &mut Groups<V, W, X, Y>| a),
            wide::CogroupSide::new(&second, |(_, b, ..): &mut Groups<V, W, X, Y>| b),
            wide::CogroupSide::new(&third, |(.., c, _): &mut Groups<V, W, X, Y>| c),
            wide::CogroupSide::new(&fourth, |(.., d): &mut Groups<V, W, X, Y>| d),
        ];
        wide::cogroup(&first, info, sides)
    }
}
