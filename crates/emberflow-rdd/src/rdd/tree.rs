//! `tree_reduce` and `tree_aggregate`: partitions' results merged in levels, on the workers.

use emberflow_core::{
    data::{Data, ExchangeData},
    error::Result,
    place::{OpInfo, Place},
    ship::{Env, With},
};

use super::{PartitionIter, Rdd, wide};
use crate::{action::Action, shuffle::Assigner};

impl<T: Data> Rdd<T> {
    /// Merges all the rows by `f`, as [`reduce`](Self::reduce), but in a tree of about `depth` levels; `None` if there
    /// is no row.
    ///
    /// Action, with a small shuffle for each level but the last. The caller merges only what is left after the other
    /// levels, about the `depth`-th root of the number of partitions: worth it where many partitions give large values
    /// or `f` is slow. `f` should be associative; neighbours meet, in their order, so that the result is the same every
    /// time. After Spark's `treeReduce`, whose depth is 2 unless it is told.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions). A panic of `f` in the last level comes through as it is.
    ///
    /// # Panics
    /// If `depth` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_into(1..101_u64, 50).tree_reduce(|a, b| a + b, 2)?, Some(5050));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tree_reduce<F: Fn(T, T) -> T + Send + Sync + 'static>(&self, f: F, depth: usize) -> Result<Option<T>>
    where
        T: ExchangeData,
    {
        self.tree_reduce_async(f, depth).wait()
    }

    /// As [`tree_reduce`](Self::tree_reduce), without waiting.
    ///
    /// # Panics
    /// As [`tree_reduce`](Self::tree_reduce).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_into(0..100_u64, 50).tree_reduce_async(|a, b| a.max(b), 3).wait()?, Some(99));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tree_reduce_async<F>(&self, f: F, depth: usize) -> Action<Option<T>>
    where
        T: ExchangeData,
        F: Fn(T, T) -> T + Send + Sync + 'static,
    {
        let info = OpInfo::new("tree_reduce", Place::caller()).with_code::<F>();
        let f = With::new((), f);
        let parts = self.partitions_info(info.clone(), f.clone(), |f, _, rows| [rows.reduce(|a, b| f.parts().1(a, b))]);
        let across = |f: &With<(), F>, a: Option<T>, b: Option<T>| match (a, b) {
            (Some(a), Some(b)) => Some(f.parts().1(a, b)),
            (a, b) => a.or(b),
        };
        parts.merge_in_levels(info, None, f, across, depth)
    }
}

impl<T: Data> Rdd<T> {
    /// Folds the rows of each partition by `within`, and merges these values by `across`, as
    /// [`aggregate`](Self::aggregate), but in a tree of about `depth` levels.
    ///
    /// Action. Levels, order and cost as [`tree_reduce`](Self::tree_reduce). `zero` comes in once for each partition and
    /// once at the end. After Spark's `treeAggregate`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions). A panic of `across` in the last level comes through as it is.
    ///
    /// # Panics
    /// If `depth` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["to", "be", "or", "not", "to", "be"]);
    /// assert_eq!(words.tree_aggregate(0, |sum, word| sum + word.len(), |a, b| a + b, 2)?, 13);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tree_aggregate<U, W, A>(&self, zero: U, within: W, across: A, depth: usize) -> Result<U>
    where
        U: ExchangeData,
        W: Fn(U, T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        self.tree_aggregate_async(zero, within, across, depth).wait()
    }

    /// As [`tree_aggregate`](Self::tree_aggregate), without waiting.
    ///
    /// # Panics
    /// As [`tree_aggregate`](Self::tree_aggregate).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let digits = ctx.range_into(0..10_u64, 10);
    /// let text = digits.tree_aggregate_async(String::new(), |s, n| s + &n.to_string(), |a, b| a + &b, 2);
    /// assert_eq!(text.wait()?, "0123456789");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tree_aggregate_async<U, W, A>(&self, zero: U, within: W, across: A, depth: usize) -> Action<U>
    where
        U: ExchangeData,
        W: Fn(U, T) -> U + Send + Sync + 'static,
        A: Fn(U, U) -> U + Send + Sync + 'static,
    {
        let info = OpInfo::new("tree_aggregate", Place::caller()).with_code::<W>().with_code::<A>();
        let within = move |zero: &U, _, rows: PartitionIter<T>| [rows.fold(zero.clone(), &within)];
        let parts = self.partitions_info(info.clone(), zero.clone(), within);
        let across = With::new((), across);
        parts.merge_in_levels(info, zero, across, |across: &With<(), A>, a, b| across.parts().1(a, b), depth)
    }
}

impl<U: ExchangeData> Rdd<U> {
    /// Merges rows, one in each partition: by shuffles that bring neighbours together, as long as they leave less to do,
    /// and what is left on the caller's thread.
    #[track_caller]
    fn merge_in_levels<E, M>(self, info: OpInfo, zero: U, env: E, merge: M, depth: usize) -> Action<U>
    where
        E: Env + Clone,
        M: Fn(&E, U, U) -> U + Copy + Send + Sync + 'static,
    {
        assert!(depth > 0, "a tree has at least one level");
        let mut parts = self;
        for (from, into) in levels(parts.partitions(), depth) {
            let neighbours = Assigner {
                env: (from, into),
                start: |(from, into): &(usize, usize), map| map * into / from,
                assign: |_: &(usize, usize), to: &mut usize, _: &U| *to,
                check: |_: &U| Ok(()),
            };
            let placed = wide::place_rows(&parts, info.clone(), into, None, neighbours);
            let level = move |env: &E, _, rows: PartitionIter<U>| rows.reduce(|a, b| merge(env, a, b));
            parts = placed.partitions_info(info.clone(), env.clone(), level);
        }
        Action::start(&parts.shared().clone(), |driver| async move {
            let parts = parts.collect_partitions(&driver, info, parts.all_partitions()).await?;
            Ok(parts.into_iter().fold(zero, |a, b| merge(&env, a, b)))
        })
    }
}

/// The shuffles of a tree: from how many partitions into how many. Spark decides it in the same way.
fn levels(mut partitions: usize, depth: usize) -> Vec<(usize, usize)> {
    let scale = ((partitions as f64).powf(1.0 / depth as f64).ceil() as usize).max(2);
    let mut levels = Vec::new();
    while partitions > scale + partitions.div_ceil(scale) {
        let into = partitions.div_ceil(scale);
        levels.push((partitions, into));
        partitions = into;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::levels;

    #[test]
    fn a_tree_has_as_many_levels_as_it_should() {
        assert_eq!(levels(0, 2), []);
        assert_eq!(levels(1000, 1), []);
        assert_eq!(levels(100, 2), [(100, 10)]);
        assert_eq!(levels(1000, 3), [(1000, 100), (100, 10)]);
        assert_eq!(levels(4, 9), []);
        assert_eq!(levels(16, 9), [(16, 8), (8, 4)]);
    }
}
