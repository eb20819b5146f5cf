//! `distinct`: one of each row.

use crate::IntoPartitioning;
use emberflow_core::{
    data::{Data, Key},
    place::{OpInfo, Place},
};

use serde::{Deserialize, Serialize};

use super::{Rdd, wide};
use crate::shuffle::{Aggregator, MapSide};

impl<T: Data> Rdd<T> {
    /// One of each of equal rows.
    ///
    /// Wide. Duplicates are dropped before the shuffle where that shrinks the rows. The order is fixed, but another
    /// one. Holds the distinct rows of a partition.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let mut rows = ctx.parallelize(vec![1, 2, 1]).distinct().collect()?;
    /// rows.sort_unstable();
    /// assert_eq!(rows, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn distinct(&self) -> Rdd<T>
    where
        T: Key,
    {
        self.distinct_into(self.shared().default_partitions)
    }

    /// As [`distinct`](Self::distinct), into so many partitions or by a partitioner of rows.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![1, 2, 1]).distinct_into(1);
    /// assert_eq!((rows.partitions(), rows.count()?), (1, 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn distinct_into(&self, into: impl IntoPartitioning<T>) -> Rdd<T>
    where
        T: Key,
    {
        let info = OpInfo::new("distinct", Place::caller());
        self.distinct_keys(&info, into).map_info(info, |(row, ())| row)
    }

    /// The distinct rows as keys, placed by hash.
    #[track_caller]
    pub(super) fn distinct_keys(&self, info: &OpInfo, into: impl IntoPartitioning<T>) -> Rdd<(T, ())>
    where
        T: Key,
    {
        wide::combine(&self.as_keys(info), info.clone(), into, MapSide::Combine, First)
    }
}

#[derive(Serialize, Deserialize)]
struct First;

impl Aggregator<(), ()> for First {
    fn create(&self, (): ()) {}

    fn merge_value(&self, (): (), (): ()) {}

    fn merge(&self, (): (), (): ()) {}
}
