//! `to_local_iter`: all the rows to the caller, a partition at a time.

use std::{fmt, iter::FusedIterator};

use emberflow_core::{
    data::{Data, ExchangeData},
    error::Result,
    ids::PartitionIndex,
    place::{OpInfo, Place},
};

use super::Rdd;
use crate::action::Action;

impl<T: Data> Rdd<T> {
    /// An iterator over all the rows, in the order of partitions and within them.
    ///
    /// Each partition is an action of its own, run when its first row is asked for, so that the caller holds one
    /// partition at a time where [`collect`](Self::collect) holds all of them. Nothing runs between two calls, and what
    /// was not asked for is not computed: to stop early, drop it. Shuffles run once for all partitions. After Spark's
    /// `toLocalIterator`.
    ///
    /// # Errors
    /// The iterator gives those of all [actions](Rdd#actions), once, and then ends.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let mut sum = 0;
    /// for row in ctx.range_into(0..1_000_000_u64, 1000).to_local_iter().take(100) {
    ///     sum += row?;
    /// }
    /// assert_eq!(sum, 99 * 100 / 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_local_iter(&self) -> LocalIter<T>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("to_local_iter", Place::caller());
        LocalIter { rdd: self.clone(), info, next: 0, rows: Vec::new().into_iter() }
    }
}

/// The rows of an RDD, a partition in memory at a time; see [`Rdd::to_local_iter`].
#[must_use = "an iterator is lazy: nothing is computed before its first row is asked for"]
pub struct LocalIter<T> {
    rdd: Rdd<T>,
    info: OpInfo,
    next: PartitionIndex,
    rows: std::vec::IntoIter<T>,
}

impl<T> fmt::Debug for LocalIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIter").field("rdd", &self.rdd).field("next_partition", &self.next).finish_non_exhaustive()
    }
}

impl<T: ExchangeData> LocalIter<T> {
    fn rows_of(&self, partition: PartitionIndex) -> Result<Vec<T>> {
        let (rdd, info) = (self.rdd.clone(), self.info.clone());
        let rows = Action::start(self.rdd.shared(), move |driver| async move {
            rdd.collect_partitions(&driver, info, vec![partition]).await
        });
        rows.wait()
    }
}

impl<T: ExchangeData> Iterator for LocalIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            if self.next >= self.rdd.partitions() {
                return None;
            }
            // The rows before are gone before those that come.
            self.rows = Vec::new().into_iter();
            match self.rows_of(self.next) {
                Ok(rows) => {
                    self.next += 1;
                    self.rows = rows.into_iter();
                }
                Err(error) => {
                    self.next = self.rdd.partitions();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<T: ExchangeData> FusedIterator for LocalIter<T> {}
