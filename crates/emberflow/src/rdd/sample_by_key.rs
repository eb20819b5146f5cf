//! `sample_by_key`: each row with a probability that its key decides.

use emberflow_core::{
    batch::Batch,
    data::{Data, Key},
    error::TaskError,
    place::{OpInfo, Place},
};
use rand_distr::{Distribution, Poisson};

use super::{
    Rdd,
    batches::share,
    sample::{chosen, random_of},
};

impl<K: Key, V: Data> Rdd<(K, V)> {
    /// A random part of the rows, of each key another fraction, decided by `seed` alone.
    ///
    /// Narrow. Order and placement by key are kept. As [`sample`](Rdd::sample), with the fraction that `fractions` gives
    /// for the row's key: a stratified sample whose strata have about the wanted sizes. After Spark's `sampleByKey`,
    /// which takes a map: `move |key| map.get(key).copied().unwrap_or(0.0)` is one.
    ///
    /// A fraction that is negative or not finite, or above 1 without replacement, fails the action.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range(0..10_000_u64).map(|n| (n % 2, n));
    /// let some = pairs.sample_by_key(false, |key| if *key == 0 { 1.0 } else { 0.1 }, 42).count_by_key()?;
    /// assert_eq!(some[&0], 5_000);
    /// assert!((400..600).contains(&some[&1]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_by_key<F>(&self, with_replacement: bool, fractions: F, seed: u64) -> Rdd<(K, V)>
    where
        F: Fn(&K) -> f64 + Send + Sync + 'static,
    {
        let most = if with_replacement { f64::MAX } else { 1.0 };
        let info = OpInfo::new("sample_by_key", Place::caller()).with_code::<F>();
        let fractions = share(fractions);
        self.batches(info, self.node().placement.clone(), move |partition| {
            let (mut random, fractions) = (random_of("sample_by_key", seed, partition), fractions.clone());
            move |batch: Batch<(K, V)>| {
                let mut out = Vec::new();
                for row in batch.as_slice() {
                    let fraction = fractions(&row.0);
                    if !(0.0..=most).contains(&fraction) {
                        return Err(TaskError::rejected(NoFraction { fraction, with_replacement }));
                    }
                    let times = match Poisson::new(fraction) {
                        Ok(poisson) if with_replacement => poisson.sample(&mut random) as usize,
                        _ => usize::from(chosen(&mut random, fraction)),
                    };
                    out.extend(std::iter::repeat_n(row, times).cloned());
                }
                Ok(Batch::Owned(out))
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "a fraction of {fraction} is none (with_replacement: {with_replacement}); give one of at least 0, and of at most 1 \
     without replacement"
)]
struct NoFraction {
    fraction: f64,
    with_replacement: bool,
}
