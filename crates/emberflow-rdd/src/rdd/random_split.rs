//! `random_split`: every row into one of several parts, by chance.

use std::ops::Range;

use emberflow_core::{
    batch::Batch,
    data::Data,
    place::{OpInfo, Place},
};
use rand::RngExt;

use super::{Rdd, sample::random_of};

impl<T: Data> Rdd<T> {
    /// Splits the rows at random: one RDD for each weight, every row in exactly one of them, decided by `seed` alone.
    ///
    /// Narrow. Order and placement by key are kept. A part's size is its weight's share of all the rows only on average.
    /// Every part reads the rows anew: [cache](Self::cache) them if they are dear. After Spark's `randomSplit`.
    ///
    /// # Panics
    /// If there is no weight, or if one is negative or not finite, or if all are zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let parts = ctx.range(0..10_000_u64).random_split(&[0.8, 0.2], 42);
    /// let (train, test) = (parts[0].count()?, parts[1].count()?);
    /// assert_eq!(train + test, 10_000);
    /// assert!((1_800..2_200).contains(&test));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Vec<Rdd<T>> {
        let sum: f64 = weights.iter().sum();
        let fine = weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite();
        assert!(fine, "weights are at least 0, finite, and not all 0, unlike {weights:?}");
        let info = OpInfo::new("random_split", Place::caller());
        // Where each part ends on the line from 0 to 1. Whatever was rounded away must not make a row fall off its end,
        // so the last part of any weight has no end.
        let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
        let mut before = 0.0;
        let ends = weights.iter().enumerate().map(|(part, weight)| {
            before += weight;
            if part < last { before / sum } else { f64::INFINITY }
        });
        let ends: Vec<f64> = ends.collect();
        let part = |part: usize| {
            let range = if part == 0 { 0.0 } else { ends[part - 1] }..ends[part];
            let start = |(_, seed): &(Range<f64>, u64), partition| random_of("random_split", *seed, partition);
            let placement = self.node().placement.clone();
            self.batches_from(info.clone(), placement, (range, seed), start, |(range, _), random, batch: Batch<T>| {
                let mut is_in = |_: &T| range.contains(&random.random::<f64>());
                Ok(Batch::Owned(match batch {
                    Batch::Owned(mut rows) => {
                        rows.retain(is_in);
                        rows
                    }
                    Batch::Shared(rows) => rows.as_slice().iter().filter(|row| is_in(row)).cloned().collect(),
                }))
            })
        };
        (0..weights.len()).map(part).collect()
    }
}
