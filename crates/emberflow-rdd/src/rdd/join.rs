//! Joins: rows of two RDDs that have equal keys.

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
};

use super::{Rdd, wide};
use crate::shuffle::{
    Assigner, IntoPartitioning, Partitioning, Right,
    join::{FullOuter, Inner, Kind, LeftAnti, LeftOuter, LeftSemi, RightOuter},
};

/// # Joins
///
/// All of them place both sides by key and join partition with partition. A side that is placed so already does not
/// move: joining two RDDs that [`partition_by`](Rdd::partition_by) has placed alike is narrow. If no partitioning is
/// given, it is that of the side that is placed by hash, the left one first; otherwise hash, over the default number of
/// partitions. The result is placed in the same way.
///
/// The order of rows is fixed, but another one than that of the inputs; the matches of one row come in the order of the
/// right side. A reducer holds the rows of its keys: all of the right side, and of the left one if the right one has
/// outgrown the cache. Results are streamed, however many there are of one key.
impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Each pair of rows of equal keys.
    ///
    /// Wide; narrow if both sides are placed alike. A key with m and n rows gives m × n.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let ages = ctx.parallelize(vec![("ann".to_owned(), 31), ("bob".to_owned(), 27)]);
    /// let towns = ctx.parallelize(vec![("ann".to_owned(), 'A'), ("ann".to_owned(), 'B'), ("eve".to_owned(), 'C')]);
    /// let joined = ages.join(&towns).collect()?;
    /// assert_eq!(joined, [("ann".to_owned(), (31, 'A')), ("ann".to_owned(), (31, 'B'))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn join<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, W))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, Inner>(other, OpInfo::new("join", Place::caller()), None)
    }

    /// As [`join`](Self::join), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 'a'), (2, 'b')]);
    /// assert_eq!(pairs.join_into(&pairs, 1).collect()?, [(1, ('a', 'a')), (2, ('b', 'b'))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn join_into<W: ExchangeData>(&self, other: &Rdd<(K, W)>, into: impl IntoPartitioning<K>) -> Rdd<(K, (V, W))>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, Inner>(other, OpInfo::new("join", Place::caller()), Some(into))
    }

    /// Each row of `self` with each row of `other` of its key, or with `None` if there is none.
    ///
    /// Wide; narrow if both sides are placed alike.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (left, right) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, 'x'), (3, 'y')]));
    /// let joined = left.left_outer_join_into(&right, 1).collect()?;
    /// assert_eq!(joined, [(1, ('a', None)), (2, ('b', Some('x')))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn left_outer_join<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, Option<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, LeftOuter>(other, OpInfo::new("left_outer_join", Place::caller()), None)
    }

    /// As [`left_outer_join`](Self::left_outer_join), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 'a')]);
    /// assert_eq!(pairs.left_outer_join_into(&ctx.empty::<(i32, ())>(), 3).collect()?, [(1, ('a', None))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn left_outer_join_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (V, Option<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, LeftOuter>(other, OpInfo::new("left_outer_join", Place::caller()), Some(into))
    }

    /// Each row of `other` with each row of `self` of its key, or with `None` if there is none.
    ///
    /// Wide; narrow if both sides are placed alike.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (left, right) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, 'x'), (3, 'y')]));
    /// let joined = left.right_outer_join_into(&right, 1).collect()?;
    /// assert_eq!(joined, [(2, (Some('b'), 'x')), (3, (None, 'y'))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn right_outer_join<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, W))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, RightOuter>(other, OpInfo::new("right_outer_join", Place::caller()), None)
    }

    /// As [`right_outer_join`](Self::right_outer_join), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 'a')]);
    /// assert_eq!(ctx.empty::<(i32, ())>().right_outer_join_into(&pairs, 3).collect()?, [(1, (None, 'a'))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn right_outer_join_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (Option<V>, W))>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, RightOuter>(other, OpInfo::new("right_outer_join", Place::caller()), Some(into))
    }

    /// Each pair of rows of equal keys, and each row of either side that has none, with `None`.
    ///
    /// Wide; narrow if both sides are placed alike.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (left, right) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, 'x'), (3, 'y')]));
    /// let joined = left.full_outer_join_into(&right, 1).collect()?;
    /// assert_eq!(joined, [(1, (Some('a'), None)), (2, (Some('b'), Some('x'))), (3, (None, Some('y')))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn full_outer_join<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, FullOuter>(other, OpInfo::new("full_outer_join", Place::caller()), None)
    }

    /// As [`full_outer_join`](Self::full_outer_join), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![(1, 'a')]);
    /// assert_eq!(pairs.full_outer_join_into(&pairs, 3).collect()?, [(1, (Some('a'), Some('a')))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn full_outer_join_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, FullOuter>(other, OpInfo::new("full_outer_join", Place::caller()), Some(into))
    }

    /// The rows whose key `other` has, once each.
    ///
    /// Wide; narrow if both sides are placed alike. SQL's left semi join; Spark's RDDs have no name for it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (rows, wanted) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, ()), (2, ())]));
    /// assert_eq!(rows.left_semi_join(&wanted).collect()?, [(2, 'b')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn left_semi_join<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, LeftSemi>(other, OpInfo::new("left_semi_join", Place::caller()), None)
    }

    /// As [`left_semi_join`](Self::left_semi_join), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (rows, wanted) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, ())]));
    /// assert_eq!(rows.left_semi_join_into(&wanted, 1).collect()?, [(2, 'b')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn left_semi_join_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, LeftSemi>(other, OpInfo::new("left_semi_join", Place::caller()), Some(into))
    }

    /// The rows whose key `other` has not.
    ///
    /// Wide; narrow if both sides are placed alike.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (rows, unwanted) = (ctx.parallelize(vec![(1, 'a'), (2, 'b')]), ctx.parallelize(vec![(2, ())]));
    /// assert_eq!(rows.subtract_by_key(&unwanted).collect()?, [(1, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn subtract_by_key<W: ExchangeData>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        self.join_as::<W, LeftAnti>(other, OpInfo::new("subtract_by_key", Place::caller()), None)
    }

    /// As [`subtract_by_key`](Self::subtract_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![(1, 'a'), (2, 'b')]);
    /// assert_eq!(rows.subtract_by_key_into(&ctx.empty::<(i32, ())>(), 1).collect()?, [(1, 'a'), (2, 'b')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn subtract_by_key_into<W: ExchangeData>(
        &self,
        other: &Rdd<(K, W)>,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        let into = into.into_partitioning(&self.shared().hasher);
        self.join_as::<W, LeftAnti>(other, OpInfo::new("subtract_by_key", Place::caller()), Some(into))
    }

    /// As [`join`](Self::join), where `small` fits the memory of every worker: its rows are gathered once, and `self`
    /// does not move.
    ///
    /// Narrow for `self`, whose partitions, order and placement stay; `small` is gathered through a shuffle into one
    /// partition, and indexed once for all tasks that run at the same time.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let names = ctx.parallelize(vec![(0, "even".to_owned()), (1, "odd".to_owned())]);
    /// let named = ctx.range(5..8_u64).map(|n| ((n % 2) as i32, n)).broadcast_join(&names).values().collect()?;
    /// assert_eq!(named, [(5, "odd".to_owned()), (6, "even".to_owned()), (7, "odd".to_owned())]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn broadcast_join<W: ExchangeData>(&self, small: &Rdd<(K, W)>) -> Rdd<(K, (V, W))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.broadcast_join_as::<W, Inner>(small, OpInfo::new("broadcast_join", Place::caller()))
    }

    /// As [`left_outer_join`](Self::left_outer_join), where `small` fits the memory of every worker; see
    /// [`broadcast_join`](Self::broadcast_join).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let names = ctx.parallelize(vec![(0, 'e')]);
    /// let named = ctx.parallelize(vec![(0, 4), (1, 5)]).broadcast_left_outer_join(&names).collect()?;
    /// assert_eq!(named, [(0, (4, Some('e'))), (1, (5, None))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn broadcast_left_outer_join<W: ExchangeData>(&self, small: &Rdd<(K, W)>) -> Rdd<(K, (V, Option<W>))>
    where
        K: Key,
        V: ExchangeData,
    {
        self.broadcast_join_as::<W, LeftOuter>(small, OpInfo::new("broadcast_left_outer_join", Place::caller()))
    }

    pub(super) fn join_as<W: ExchangeData, J: Kind<V, W>>(
        &self,
        other: &Rdd<(K, W)>,
        info: OpInfo,
        into: Option<Partitioning<K>>,
    ) -> Rdd<(K, J::Out)>
    where
        K: Key,
        V: ExchangeData,
    {
        let placements = [self.node().placement.as_ref(), other.node().placement.as_ref()];
        let into = into.or_else(|| wide::meeting(self, &placements));
        let (left, right) = (wide::placed(self, &info, into.as_ref()), wide::placed(other, &info, into.as_ref()));
        let placement = left.node().placement.clone();
        wide::join::<K, V, W, J>(&left, &right, Right::SamePartition, info, placement)
    }

    fn broadcast_join_as<W: ExchangeData, J: Kind<V, W>>(&self, small: &Rdd<(K, W)>, info: OpInfo) -> Rdd<(K, J::Out)>
    where
        K: Key,
        V: ExchangeData,
    {
        let to_one = Assigner {
            env: (),
            start: |(): &(), _| (),
            assign: |(): &(), (): &mut (), _: &(K, W)| 0,
            check: |_: &(K, W)| Ok(()),
        };
        let one = wide::place_rows(small, info.clone(), 1, None, to_one);
        wide::join::<K, V, W, J>(self, &one, Right::Only, info, self.node().placement.clone())
    }
}
