//! `partition_by`: rows placed by key.

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
};

use super::{Rdd, wide};
use crate::shuffle::IntoPartitioning;

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Places the rows by key: over so many partitions by hash, or by a [partitioner](crate::Partitioner) of your own.
    ///
    /// Wide; `self`, unchanged, if it is placed so already. Every row moves; within a partition the order is that of
    /// the parent's partitions. Worth it, together with [`cache`](Rdd::cache), before several operations by the same
    /// key, which then move nothing.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let placed = ctx.range(0..100_u64).map(|n| (n % 10, n)).partition_by(4).cache();
    /// assert_eq!(placed.partitions(), 4);
    /// // No shuffle any more: one stage.
    /// assert_eq!(placed.reduce_by_key_into(|a, b| a + b, 4).to_debug_string().matches("+-").count(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn partition_by(&self, into: impl IntoPartitioning<K>) -> Rdd<(K, V)>
    where
        K: Key,
        V: ExchangeData,
    {
        let info = OpInfo::new("partition_by", Place::caller());
        let partitioning = into.into_partitioning(&self.shared().hasher);
        wide::placed(self, &info, Some(&partitioning))
    }
}
