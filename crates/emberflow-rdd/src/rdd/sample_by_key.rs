//! `sample_by_key`: each row with a probability that its key decides.

use emberflow_core::{
    data::{Data, ExchangeData},
    error::TaskError,
    place::{OpInfo, Place},
    ship::Env,
};

use rand_distr::Poisson;
use rand_pcg::Pcg64Mcg;

use super::{
    Rdd,
    map::with_env,
    sample::{Repeat, chosen, random_of, times},
};

impl<K: Data, V: Data> Rdd<(K, V)> {
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
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sample_by_key<F>(&self, with_replacement: bool, fractions: F, seed: u64) -> Rdd<(K, V)>
    where
        F: Fn(&K) -> f64 + Send + Sync + 'static,
    {
        let info = OpInfo::new("sample_by_key", Place::caller()).with_form("sample_by_key_with").with_code::<F>();
        self.sample_by_key_as(info, (), with_replacement, move |(), key| fractions(key), seed)
    }

    /// As [`sample_by_key`](Self::sample_by_key), with an environment, such as a map of the fractions; see
    /// [`map_with`](Rdd::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use std::collections::HashMap;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range(0..10_000_u64).map(|n| (n % 2, n));
    /// let fractions = HashMap::from([(0, 1.0), (1, 0.0)]);
    /// let some = pairs.sample_by_key_with(fractions, false, |fractions, key| fractions[key], 42);
    /// assert_eq!(some.count()?, 5_000);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sample_by_key_with<E, F>(&self, env: E, with_replacement: bool, fractions: F, seed: u64) -> Rdd<(K, V)>
    where
        E: ExchangeData,
        F: Fn(&E, &K) -> f64 + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("sample_by_key", Place::caller()), &env).with_code::<F>();
        self.sample_by_key_as(info, env, with_replacement, fractions, seed)
    }

    fn sample_by_key_as<E, F>(
        &self,
        info: OpInfo,
        env: E,
        with_replacement: bool,
        fractions: F,
        seed: u64,
    ) -> Rdd<(K, V)>
    where
        E: Env,
        F: Fn(&E, &K) -> f64 + Send + Sync + 'static,
    {
        let start = |(_, _, seed): &(E, bool, u64), partition| random_of("sample_by_key", *seed, partition);
        let each = move |(env, with_replacement, _): &(E, bool, u64), random: &mut Pcg64Mcg, row: &(K, V)| {
            let (fraction, with_replacement) = (fractions(env, &row.0), *with_replacement);
            let most = if with_replacement { f64::MAX } else { 1.0 };
            if !(0.0..=most).contains(&fraction) {
                return Err(TaskError::rejected(NoFraction { fraction, with_replacement }));
            }
            Ok(match with_replacement {
                true => times(random, Poisson::new(fraction).ok()),
                false => u64::from(chosen(random, fraction)),
            })
        };
        let repeat = Repeat::new((env, with_replacement, seed), start, each);
        self.narrow(info, repeat, self.node().placement.clone())
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
