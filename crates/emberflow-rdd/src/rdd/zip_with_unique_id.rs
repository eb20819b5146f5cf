//! `zip_with_unique_id`: every row with a number of its own, without counting.

use emberflow_core::{
    data::Data,
    place::{OpInfo, Place},
};

use super::{Rdd, batches::map_batch};

impl<T: Data> Rdd<T> {
    /// Pairs every row with a number that no other row has: row `k` of partition `p` of `n` gets `k * n + p`.
    ///
    /// Narrow. Order is kept. Unlike [`zip_with_index`](Self::zip_with_index), it need not count the rows before, but
    /// the numbers have gaps and are not in the order of rows. After Spark's `zipWithUniqueId`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize_into(vec!['a', 'b', 'c'], 2).zip_with_unique_id();
    /// assert_eq!(rows.collect()?, [('a', 0), ('b', 1), ('c', 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn zip_with_unique_id(&self) -> Rdd<(T, u64)> {
        let step = self.partitions() as u64;
        let info = OpInfo::new("zip_with_unique_id", Place::caller());
        let start = |_: &u64, partition| partition as u64;
        self.batches_from(info, None, step, start, |step, next, batch| {
            Ok(map_batch(batch, |row| {
                let id = *next;
                *next += step;
                (row, id)
            }))
        })
    }
}
