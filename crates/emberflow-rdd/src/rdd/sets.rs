//! RDDs as multisets: `subtract` and `intersection`. (`union` and `distinct` have files of their own.)

use emberflow_core::{
    data::{Data, Key},
    place::{OpInfo, Place},
};

use super::Rdd;
use crate::shuffle::{
    IntoPartitioning,
    join::{LeftAnti, LeftSemi},
};

impl<T: Data> Rdd<T> {
    /// The rows that `other` has not; duplicates are kept.
    ///
    /// Wide. The order is fixed, but another one. A reducer holds its share of `other`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (a, b) = (ctx.parallelize(vec![1, 1, 2, 3]), ctx.parallelize(vec![2, 4]));
    /// let mut rest = a.subtract(&b).collect()?;
    /// rest.sort_unstable();
    /// assert_eq!(rest, [1, 1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn subtract(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Key,
    {
        self.subtract_into(other, self.shared().default_partitions)
    }

    /// As [`subtract`](Self::subtract), into so many partitions or by a partitioner of rows.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).subtract_into(&ctx.range(1..3), 1).collect()?, [0, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn subtract_into(&self, other: &Rdd<T>, into: impl IntoPartitioning<T>) -> Rdd<T>
    where
        T: Key,
    {
        let info = OpInfo::new("subtract", Place::caller());
        let (left, right) = (self.as_keys(&info), other.as_keys(&info));
        let into = into.into_partitioning(&self.shared().hasher);
        left.join_as::<(), LeftAnti>(&right, info.clone(), Some(into)).map_info(info, |(row, ())| row)
    }

    /// The rows that both have, once each.
    ///
    /// Wide. Duplicates of `self` are dropped before the shuffle where that shrinks the rows. The order is fixed, but
    /// another one. A reducer holds its share of both.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (a, b) = (ctx.parallelize(vec![1, 1, 2, 3]), ctx.parallelize(vec![3, 1, 1, 4]));
    /// let mut both = a.intersection(&b).collect()?;
    /// both.sort_unstable();
    /// assert_eq!(both, [1, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn intersection(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Key,
    {
        self.intersection_into(other, self.shared().default_partitions)
    }

    /// As [`intersection`](Self::intersection), into so many partitions or by a partitioner of rows.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).intersection_into(&ctx.range(1..3), 1).collect()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn intersection_into(&self, other: &Rdd<T>, into: impl IntoPartitioning<T>) -> Rdd<T>
    where
        T: Key,
    {
        let info = OpInfo::new("intersection", Place::caller());
        let into = into.into_partitioning(&self.shared().hasher);
        let left = self.distinct_keys(&info, &into);
        let right = other.as_keys(&info);
        left.join_as::<(), LeftSemi>(&right, info.clone(), Some(into)).map_info(info, |(row, ())| row)
    }

    /// The rows as keys.
    pub(super) fn as_keys(&self, info: &OpInfo) -> Rdd<(T, ())>
    where
        T: Key,
    {
        self.map_info(info.clone(), |row| (row, ()))
    }
}
