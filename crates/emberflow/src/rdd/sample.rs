//! `sample`: each row with a probability.

use emberflow_core::{
    batch::Batch,
    data::Data,
    ids::PartitionIndex,
    place::{OpInfo, Place},
};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};
use rand_pcg::Pcg64Mcg;

use super::Rdd;

impl<T: Data> Rdd<T> {
    /// A random part of the rows, decided by `seed` alone: the same seed gives the same rows.
    ///
    /// Narrow. Order and placement by key are kept. Without replacement each row comes with probability `fraction`;
    /// with replacement it comes as often as a Poisson variable of that mean says. The size is `fraction` of the rows
    /// only on average. The random numbers are PCG's, which do not change between platforms or versions.
    ///
    /// # Panics
    /// If `fraction` is negative or not finite, or above 1 without replacement.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let some = ctx.range(0..10_000_u64).sample(false, 0.1, 42);
    /// assert!((900..1100).contains(&some.count()?));
    /// assert_eq!(some.collect()?, some.collect()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Rdd<T> {
        let most = if with_replacement { f64::MAX } else { 1.0 };
        assert!(
            (0.0..=most).contains(&fraction),
            "a fraction of {fraction} is none (with_replacement: {with_replacement})"
        );
        let info = OpInfo::new("sample", Place::caller());
        // A Poisson variable of mean zero is zero, but not to the crate.
        let poisson = Poisson::new(fraction).ok().filter(|_| with_replacement);
        self.batches(info, self.node().placement.clone(), move |partition| {
            let mut random = random_of("sample", seed, partition);
            move |batch: Batch<T>| {
                let mut out = Vec::new();
                for row in batch.as_slice() {
                    let times = match &poisson {
                        Some(poisson) => poisson.sample(&mut random) as usize,
                        None => usize::from(chosen(&mut random, fraction)),
                    };
                    out.extend(std::iter::repeat_n(row, times).cloned());
                }
                Ok(Batch::Owned(out))
            }
        })
    }
}

/// The random numbers of one partition: PCG's, which do not change between platforms or versions. Every operator has
/// numbers of its own, so that the same seed may be used for several.
pub(crate) fn random_of(operator: &str, seed: u64, partition: PartitionIndex) -> Pcg64Mcg {
    let salt = operator.bytes().fold(0_u64, |salt, byte| salt.rotate_left(8) ^ u64::from(byte));
    Pcg64Mcg::seed_from_u64(seed ^ salt ^ (partition as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Whether a row is taken that is wanted with probability `fraction`.
pub(super) fn chosen(random: &mut Pcg64Mcg, fraction: f64) -> bool {
    random.random::<f64>() < fraction
}
