//! `sample`: each row with a probability.

use std::{iter, marker::PhantomData, mem};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    pace::Pace,
    place::{OpInfo, Place},
    remake,
    ship::{Env, NotShippable, Shipped, With},
    task::Marker,
};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

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
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Rdd<T> {
        let most = if with_replacement { f64::MAX } else { 1.0 };
        assert!(
            (0.0..=most).contains(&fraction),
            "a fraction of {fraction} is none (with_replacement: {with_replacement})"
        );
        let info = OpInfo::new("sample", Place::caller());
        let placement = self.node().placement.clone();
        if !with_replacement {
            let start = |(_, seed): &(f64, u64), partition| random_of("sample", *seed, partition);
            let each = |(fraction, _): &(f64, u64), random: &mut Pcg64Mcg, batch: Batch<T>| {
                let mut out = buffers::take();
                out.extend(batch.as_slice().iter().filter(|_| chosen(random, *fraction)).cloned());
                Ok(Batch::Owned(out))
            };
            return self.batches_from(info, placement, (fraction, seed), start, each);
        }
        let start = |(fraction, seed): &(f64, u64), partition| {
            (random_of("sample", *seed, partition), Poisson::new(*fraction).ok())
        };
        let repeat = Repeat::new((fraction, seed), start, |_, (random, poisson), _: &T| Ok(times(random, *poisson)));
        self.narrow(info, repeat, placement)
    }
}

/// Gives each row as often as a function says, which is made for each partition by `start`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
pub(super) struct Repeat<T, E, S, A, F> {
    with: With<E, (A, F)>,
    #[allow(clippy::type_complexity, reason = "only names the types")]
    types: PhantomData<fn(T) -> S>,
}

impl<T, E, S, A, F> Repeat<T, E, S, A, F>
where
    A: Fn(&E, PartitionIndex) -> S,
    F: Fn(&E, &mut S, &T) -> Result<u64, TaskError>,
{
    /// Repeats each row as often as `times` says, with a state that `start` makes for a partition.
    pub(super) fn new(env: E, start: A, times: F) -> Self {
        Self { with: With::new(env, (start, times)), types: PhantomData }
    }
}

impl<T, E, S, A, F> Operator for Repeat<T, E, S, A, F>
where
    T: Data,
    E: Env,
    S: 'static,
    A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
    F: Fn(&E, &mut S, &T) -> Result<u64, TaskError> + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(RepeatStream {
            rows: inputs.narrow::<T>(0, partition)?,
            batch: Batch::Owned(Vec::new()),
            next: 0,
            left: None,
            state: {
                let (env, (start, _)) = self.with.parts();
                start(env, partition)
            },
            with: self.with.clone(),
            marker: inputs.marker(),
            batch_rows: inputs.task().batch_rows_of::<T>(),
            pace: Pace::new(),
        })
        .paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct RepeatStream<T, E, S, A, F> {
    rows: BoxStream<T>,
    batch: Batch<T>,
    /// The row of the batch that is repeated, or will be next.
    next: usize,
    /// How often it is still to come; none before it was asked.
    left: Option<u64>,
    state: S,
    with: With<E, (A, F)>,
    marker: Marker,
    batch_rows: usize,
    pace: Pace,
}

impl<T: Data, E, S, A, F: Fn(&E, &mut S, &T) -> Result<u64, TaskError>> Stream<T> for RepeatStream<T, E, S, A, F> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        let mut out = buffers::take();
        let enough = self.pace.next_rows().min(self.batch_rows);
        self.marker.enter_again();
        let (env, (_, times)) = self.with.parts();
        loop {
            while let Some(row) = self.batch.as_slice().get(self.next) {
                let left = match self.left {
                    Some(left) => left,
                    None => times(env, &mut self.state, row)?,
                };
                let now = left.min((enough - out.len()) as u64);
                out.extend(iter::repeat_n(row, now as usize).cloned());
                self.left = Some(left - now);
                if out.len() == enough {
                    return Ok(Some(Batch::Owned(out)));
                }
                (self.next, self.left) = (self.next + 1, None);
            }
            if !out.is_empty() && self.pace.is_late() {
                return Ok(Some(Batch::Owned(out)));
            }
            self.marker.check_cancelled()?;
            let Some(batch) = self.rows.next()? else {
                return Ok((!out.is_empty()).then_some(Batch::Owned(out)));
            };
            self.next = 0;
            self.marker.enter_with(batch.len());
            if let Batch::Owned(used) = mem::replace(&mut self.batch, batch) {
                buffers::give(used);
            }
        }
    }
}

/// Returns how often a row comes with replacement. A Poisson variable of mean zero is zero, but not to the crate.
pub(super) fn times(random: &mut Pcg64Mcg, poisson: Option<Poisson<f64>>) -> u64 {
    poisson.map_or(0, |poisson| poisson.sample(random) as u64)
}

/// The random numbers of one partition: PCG's, which do not change between platforms or versions. Every operator has
/// numbers of its own, so that the same seed may be used for several.
pub(crate) fn random_of(operator: &str, seed: u64, partition: PartitionIndex) -> Pcg64Mcg {
    let salt = operator.bytes().fold(0_u64, |salt, byte| salt.rotate_left(8) ^ u64::from(byte));
    Pcg64Mcg::seed_from_u64(seed ^ salt ^ (partition as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Returns whether a row is taken that is wanted with probability `fraction`.
pub(super) fn chosen(random: &mut Pcg64Mcg, fraction: f64) -> bool {
    random.random::<f64>() < fraction
}
