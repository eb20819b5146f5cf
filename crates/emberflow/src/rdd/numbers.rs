//! Rows that are numbers: `sum, mean, stats, variance, stdev, histogram, approx_quantiles`.
//!
//! Each partition is worked through row by row, and the partitions' results are merged in partition order, so that
//! floating-point results are the same bits in every run, whatever the workers and the sizes of batches.

use std::fmt;

use datasketches::tdigest::TDigestMut;
use emberflow_core::{
    batch::BoxStream,
    data::{Data, ExchangeData},
    error::{Result, TaskError},
    place::{OpInfo, Place},
    ship::Env,
    task::TaskContext,
    total::Total,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

use super::Rdd;
use crate::action::{Action, Driver};

/// Centroids of a t-digest, about: ranks are then off by well below one per cent.
const DIGEST_CENTROIDS: u16 = 200;

/// The primitive numbers, and floating-point numbers as [`Total`], that [`sum`](Sums::sum), [`stats`](Rdd::stats) and their siblings work on.
#[diagnostic::on_unimplemented(
    message = "rows of `{Self}` are no numbers, which sums, means and histograms are made of",
    note = "make them numbers first, as in `.map(|row| row.price)`, or `.values()` of pairs; `reduce` adds up other types"
)]
pub trait Number: ExchangeData + Copy + sealed::Sealed {
    /// The type of their sum: `i128` or `u128` for integers, so that no sum overflows, and `f64` for the others.
    type Sum: ExchangeData + Copy;

    /// The sum of no rows.
    #[doc(hidden)]
    const ZERO: Self::Sum;

    /// One more row.
    #[doc(hidden)]
    fn add_to(self, sum: Self::Sum) -> Self::Sum;

    /// Two sums together.
    #[doc(hidden)]
    fn merge_sums(a: Self::Sum, b: Self::Sum) -> Self::Sum;

    /// The nearest `f64`.
    #[doc(hidden)]
    fn to_f64(self) -> f64;
}

#[allow(unnameable_types, reason = "a sealed trait cannot be named, which is its purpose")]
mod sealed {
    pub trait Sealed {}

    pub trait Summed {}

    impl<T: super::Number> Summed for crate::Rdd<T> {}
}

macro_rules! numbers {
    ($($sum:ty, $zero:literal: $($number:ty),*;)*) => {$($(
        impl sealed::Sealed for $number {}

        impl Number for $number {
            type Sum = $sum;

            const ZERO: $sum = $zero;

            fn add_to(self, sum: $sum) -> $sum {
                sum + self as $sum
            }

            fn merge_sums(a: $sum, b: $sum) -> $sum {
                a + b
            }

            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*)*};
}

numbers! {
    i128, 0: i8, i16, i32, i64, isize;
    u128, 0: u8, u16, u32, u64, usize;
    f64, 0.0: f32, f64;
}

macro_rules! total_numbers {
    ($($number:ty),*) => {$(
        impl sealed::Sealed for Total<$number> {}

        impl Number for Total<$number> {
            type Sum = f64;

            const ZERO: f64 = 0.0;

            fn add_to(self, sum: f64) -> f64 {
                self.0.add_to(sum)
            }

            fn merge_sums(a: f64, b: f64) -> f64 {
                a + b
            }

            fn to_f64(self) -> f64 {
                self.0.to_f64()
            }
        }
    )*};
}

total_numbers!(f32, f64);

/// Count, mean, variance, extremes: what [`Rdd::stats`] finds in one pass.
///
/// Made row by row after Welford and merged after Chan, so that it stays exact where sums of squares would cancel.
/// Spark's `StatCounter`. A row that is NaN makes everything but the count NaN. With an infinite row the mean is
/// infinite, or NaN if there are both infinities, and the variance is NaN. Printed in one line, with the precision that
/// the format asks for.
///
/// ```
/// use emberflow::Stats;
///
/// let (mut left, mut right) = (Stats::default(), Stats::default());
/// left.add(1.0);
/// left.add(2.0);
/// right.add(6.0);
/// let all = left.merge(right);
/// assert_eq!((all.count(), all.mean(), all.min(), all.max()), (3, Some(3.0), Some(1.0), Some(6.0)));
/// assert_eq!((all.variance(), all.sample_variance()), (Some(14.0 / 3.0), Some(7.0)));
/// assert_eq!(format!("{all:.2}"), "count 3, mean 3.00, stdev 2.16, min 1.00, max 6.00");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    count: u64,
    mean: f64,
    /// The sum of squared differences from the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Stats {
    /// Adds one more number.
    pub fn add(&mut self, x: f64) {
        if self.count == 0 {
            (self.min, self.max) = (x, x);
        }
        self.count += 1;
        let (off, count) = (x - self.mean, self.count as f64);
        self.mean = match off.is_finite() {
            true => self.mean + off / count,
            // The distance of two extremes is infinite, but the distance of their shares is not.
            false if x.is_finite() && self.mean.is_finite() => self.mean + (x / count - self.mean / count),
            false => self.mean + x,
        };
        self.squares += off * (x - self.mean);
        self.min = smaller(self.min, x);
        self.max = larger(self.max, x);
    }

    /// Merges these numbers with those of `other`.
    pub fn merge(self, other: Self) -> Self {
        match (self.count, other.count) {
            (_, 0) => return self,
            (0, _) => return other,
            _ => {}
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let off = other.mean - self.mean;
        let mean = match off.is_finite() {
            true => self.mean + off * (b / (a + b)),
            false if self.mean.is_finite() && other.mean.is_finite() => {
                self.mean * (a / (a + b)) + other.mean * (b / (a + b))
            }
            false => self.mean + other.mean,
        };
        Self {
            count: self.count + other.count,
            mean,
            squares: self.squares + other.squares + off * off * (a * b / (a + b)),
            min: smaller(self.min, other.min),
            max: larger(self.max, other.max),
        }
    }

    /// How many numbers there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the numbers, as mean times count. [`Sums::sum`] adds them up.
    pub fn sum(&self) -> f64 {
        self.mean * self.count as f64
    }

    /// The mean of the numbers; `None` if there were none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The smallest one; `None` if there were none.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest one; `None` if there were none.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The variance of a whole population: squared differences from the mean, divided by the count. `None` if there
    /// were none.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }

    /// The root of [`variance`](Self::variance).
    pub fn stdev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The variance as a sample tells it: divided by one less than the count. `None` if there were less than two.
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The root of [`sample_variance`](Self::sample_variance).
    pub fn sample_stdev(&self) -> Option<f64> {
        self.sample_variance().map(f64::sqrt)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count {}", self.count)?;
        let (mean, stdev) = (self.mean(), self.stdev());
        for (name, number) in [("mean", mean), ("stdev", stdev), ("min", self.min()), ("max", self.max())] {
            let Some(number) = number else { continue };
            write!(f, ", {name} ")?;
            number.fmt(f)?;
        }
        Ok(())
    }
}

/// The smaller one; NaN if either is, unlike `f64::min`.
fn smaller(a: f64, b: f64) -> f64 {
    if b < a || b.is_nan() { b } else { a }
}

fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// The sum of rows that are numbers, for every [`Number`]. In the [prelude](crate::prelude).
///
/// It is a trait, and [`Rdd<f64>`](Rdd#method.sum) and `Rdd<i32>` have methods of the same names besides, so that rows
/// of unsuffixed literals are taken as `f64` and `i32` before the type of their sum is asked for.
pub trait Sums: sealed::Summed {
    /// The type of the sum: `i128` or `u128` for integers, `f64` for floating-point numbers.
    type Sum;

    /// The sum of the rows: an `i128` or `u128` of integers, exactly; an `f64` of floating-point numbers.
    ///
    /// Action. Floating-point rows are added in their order within partitions, then partition by partition. Zero if
    /// there is no row.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).sum()?, 10);
    /// assert_eq!(ctx.parallelize(vec![0.5, 0.25]).sum()?, 0.75);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn sum(&self) -> Result<Self::Sum>;

    /// As [`sum`](Self::sum), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(-5..5_i64).sum_async().wait()?, -5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn sum_async(&self) -> Action<Self::Sum>;
}

impl<T: Number> Sums for Rdd<T> {
    type Sum = T::Sum;

    #[track_caller]
    fn sum(&self) -> Result<T::Sum> {
        self.sum_as(OpInfo::new("sum", Place::caller())).wait()
    }

    #[track_caller]
    fn sum_async(&self) -> Action<T::Sum> {
        self.sum_as(OpInfo::new("sum", Place::caller()))
    }
}

// `{float}: Number` has two candidates, so `<{float} as Number>::Sum` stays open until literals fall back to `f64`; but
// `?` makes the open type fall back to `!` in the same step. An inherent method is found before that of a trait, and
// only one of them fits `{float}`, which settles the literal's type when the method is looked up.
macro_rules! sums_of_literals {
    ($($number:ty => $sum:ty),*) => {$(
        impl Rdd<$number> {
            /// The sum of the rows; that of other numbers is [`Sums::sum`].
            ///
            /// # Errors
            /// Those of all [actions](Rdd#actions).
            #[track_caller]
            pub fn sum(&self) -> Result<$sum> {
                Sums::sum(self)
            }

            /// As [`sum`](Self::sum), without waiting.
            #[track_caller]
            pub fn sum_async(&self) -> Action<$sum> {
                Sums::sum_async(self)
            }
        }
    )*};
}

sums_of_literals!(f64 => f64, i32 => i128);

impl<T: Data> Rdd<T> {
    fn sum_as(&self, info: OpInfo) -> Action<T::Sum>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(&self.shared().engine, |driver| async move {
            let parts = rdd.scan(
                &driver,
                info,
                (),
                |()| T::ZERO,
                |(), sum, row| {
                    *sum = row.add_to(*sum);
                    Ok(())
                },
            );
            Ok(parts.await?.into_iter().reduce(T::merge_sums).unwrap_or(T::ZERO))
        })
    }

    /// The mean of the rows; `None` if there is no row.
    ///
    /// Action. As [`stats`](Self::stats).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).mean()?, Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("mean", Place::caller()), |stats| stats.mean()).wait()
    }

    /// As [`mean`](Self::mean), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).mean_async().wait()?, Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean_async(&self) -> Action<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("mean", Place::caller()), |stats| stats.mean())
    }

    /// Count, mean, variance, smallest and largest row in one pass.
    ///
    /// Action. Integers are taken as the nearest `f64`. Rows meet in their order within partitions, and the partitions'
    /// results in partition order, so that the result is the same bits every time. After Spark's `stats`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let stats = ctx.parallelize(vec![2, 4, 4, 4, 5, 5, 7, 9]).stats()?;
    /// assert_eq!((stats.count(), stats.mean(), stats.stdev()), (8, Some(5.0), Some(2.0)));
    /// assert_eq!((stats.min(), stats.max()), (Some(2.0), Some(9.0)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stats(&self) -> Result<Stats>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("stats", Place::caller()), |stats| stats).wait()
    }

    /// As [`stats`](Self::stats), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).stats_async().wait()?.variance(), Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stats_async(&self) -> Action<Stats>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("stats", Place::caller()), |stats| stats)
    }

    /// The variance of a whole population: divided by the number of rows. `None` if there is no row.
    ///
    /// Action. As [`stats`](Self::stats), which gives all of these at once.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).variance()?, Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn variance(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        self.variance_async().wait()
    }

    /// As [`variance`](Self::variance), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).variance_async().wait()?, Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn variance_async(&self) -> Action<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("variance", Place::caller()), |stats| stats.variance())
    }

    /// The standard deviation of a whole population: the root of [`variance`](Self::variance).
    ///
    /// Action. As [`stats`](Self::stats).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![1.0, 3.0]).stdev()?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stdev(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        self.stdev_async().wait()
    }

    /// As [`stdev`](Self::stdev), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![1.0, 3.0]).stdev_async().wait()?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stdev_async(&self) -> Action<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("stdev", Place::caller()), |stats| stats.stdev())
    }

    /// The variance as a sample tells it: divided by one less than the number of rows. `None` below two rows.
    ///
    /// Action. As [`stats`](Self::stats).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).sample_variance()?, Some(2.5));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_variance(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        self.sample_variance_async().wait()
    }

    /// As [`sample_variance`](Self::sample_variance), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..5_u64).sample_variance_async().wait()?, Some(2.5));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_variance_async(&self) -> Action<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("sample_variance", Place::caller()), |stats| stats.sample_variance())
    }

    /// The standard deviation as a sample tells it: the root of [`sample_variance`](Self::sample_variance).
    ///
    /// Action. As [`stats`](Self::stats).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![1.0, 2.0, 3.0]).sample_stdev()?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_stdev(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        self.sample_stdev_async().wait()
    }

    /// As [`sample_stdev`](Self::sample_stdev), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![1.0, 2.0, 3.0]).sample_stdev_async().wait()?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_stdev_async(&self) -> Action<Option<f64>>
    where
        T: Number,
    {
        self.stats_as(OpInfo::new("sample_stdev", Place::caller()), |stats| stats.sample_stdev())
    }

    fn stats_as<R: 'static>(&self, info: OpInfo, pick: fn(Stats) -> R) -> Action<R>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(&self.shared().engine, move |driver| async move {
            let parts = rdd.scan(
                &driver,
                info,
                (),
                |()| Stats::default(),
                |(), stats, row| {
                    stats.add(row.to_f64());
                    Ok(())
                },
            );
            Ok(pick(parts.await?.into_iter().fold(Stats::default(), Stats::merge)))
        })
    }

    /// How many rows lie between each two neighbouring edges.
    ///
    /// Action. A bucket holds its lower edge and not its upper one, but for the last bucket, which holds both. Rows
    /// below the first edge or above the last, and NaN, are in no bucket. After Spark's `histogram(buckets)`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// # Panics
    /// If there are less than two edges, or if they do not rise from each to the next.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let ages = ctx.parallelize(vec![3, 17, 18, 64, 65, 90]);
    /// assert_eq!(ages.histogram_edges(&[0.0, 18.0, 65.0, 90.0])?, [2, 2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_edges(&self, edges: &[f64]) -> Result<Vec<u64>>
    where
        T: Number,
    {
        self.histogram_edges_as(OpInfo::new("histogram_edges", Place::caller()), checked_edges(edges)).wait()
    }

    /// As [`histogram_edges`](Self::histogram_edges), without waiting.
    ///
    /// # Panics
    /// As [`histogram_edges`](Self::histogram_edges).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..9_u64).histogram_edges_async(&[0.0, 5.0, 10.0]).wait()?, [5, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_edges_async(&self, edges: &[f64]) -> Action<Vec<u64>>
    where
        T: Number,
    {
        self.histogram_edges_as(OpInfo::new("histogram_edges", Place::caller()), checked_edges(edges))
    }

    fn histogram_edges_as(&self, info: OpInfo, edges: Vec<f64>) -> Action<Vec<u64>>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(&self.shared().engine, |driver| async move { rdd.count_between(&driver, info, edges).await })
    }

    async fn count_between(&self, driver: &Driver, info: OpInfo, edges: Vec<f64>) -> Result<Vec<u64>>
    where
        T: Number,
    {
        let buckets = edges.len() - 1;
        let parts = self.scan(
            driver,
            info,
            edges,
            |edges| vec![0_u64; edges.len() - 1],
            |edges, counts, row| {
                let (row, buckets) = (row.to_f64(), edges.len() - 1);
                // Neither is so of NaN.
                if edges[0] <= row && row <= edges[buckets] {
                    let bucket = edges.partition_point(|edge| *edge <= row) - 1;
                    counts[bucket.min(buckets - 1)] += 1;
                }
                Ok(())
            },
        );
        let mut counts = vec![0; buckets];
        for part in parts.await? {
            counts.iter_mut().zip(part).for_each(|(count, more)| *count += more);
        }
        Ok(counts)
    }

    /// So many equally wide buckets between the smallest and the largest row: their edges, and how many rows each
    /// holds. `None` if there is no row; one bucket if all rows are equal.
    ///
    /// Action, of two jobs: one for the edges, one to count. Buckets are those of [`histogram_edges`](Self::histogram_edges).
    /// After Spark's `histogram(bucketCount)`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions); a row that is infinite or NaN fails the action, since no equal buckets can
    /// be made.
    ///
    /// # Panics
    /// If `buckets` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (edges, counts) = ctx.range(0..51_u64).histogram(2)?.unwrap();
    /// assert_eq!((edges, counts), (vec![0.0, 25.0, 50.0], vec![25, 26]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        assert!(buckets > 0, "rows cannot be counted in no buckets");
        self.histogram_as(OpInfo::new("histogram", Place::caller()), buckets).wait()
    }

    /// As [`histogram`](Self::histogram), without waiting.
    ///
    /// # Panics
    /// As [`histogram`](Self::histogram).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (_, counts) = ctx.range(0..9_u64).histogram_async(3).wait()?.unwrap();
    /// assert_eq!(counts, [3, 3, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_async(&self, buckets: usize) -> Action<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        assert!(buckets > 0, "rows cannot be counted in no buckets");
        self.histogram_as(OpInfo::new("histogram", Place::caller()), buckets)
    }

    fn histogram_as(&self, info: OpInfo, buckets: usize) -> Action<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(&self.shared().engine, move |driver| async move {
            let parts = rdd.scan(
                &driver,
                info.clone(),
                (),
                |()| None,
                |(), extremes: &mut Option<(f64, f64)>, row| {
                    let row = finite(row, "equally wide buckets; filter it out, or give the edges")?;
                    let (min, max) = extremes.unwrap_or((row, row));
                    *extremes = Some((min.min(row), max.max(row)));
                    Ok(())
                },
            );
            let extremes = parts.await?.into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let Some((min, max)) = extremes else { return Ok(None) };
            let edges = equal_edges(min, max, buckets);
            let counts = rdd.count_between(&driver, info, edges.clone()).await?;
            Ok(Some((edges, counts)))
        })
    }

    /// About the rows at the given ranks, if all rows were sorted: `0.5` asks for the median. `None` if there is no row.
    ///
    /// Action. One pass, with a t-digest of a few kilobytes a partition, merged in partition order: the same result
    /// every time. Ranks are off by well below one per cent, by less towards both ends; the ends themselves are exact.
    /// After Dunning's t-digest; Spark has it as `approxQuantile`, with another sketch.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions); a row that is infinite or NaN fails the action.
    ///
    /// # Panics
    /// If a rank is not between 0 and 1.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let found = ctx.range(0..10_001_u64).approx_quantiles(&[0.0, 0.5, 1.0])?.unwrap();
    /// assert_eq!((found[0], found[2]), (0.0, 10_000.0));
    /// assert!((found[1] - 5_000.0).abs() < 100.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn approx_quantiles(&self, ranks: &[f64]) -> Result<Option<Vec<f64>>>
    where
        T: Number,
    {
        self.quantiles_as(OpInfo::new("approx_quantiles", Place::caller()), checked_ranks(ranks)).wait()
    }

    /// As [`approx_quantiles`](Self::approx_quantiles), without waiting.
    ///
    /// # Panics
    /// As [`approx_quantiles`](Self::approx_quantiles).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(7..8_u64).approx_quantiles_async(&[0.5]).wait()?, Some(vec![7.0]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn approx_quantiles_async(&self, ranks: &[f64]) -> Action<Option<Vec<f64>>>
    where
        T: Number,
    {
        self.quantiles_as(OpInfo::new("approx_quantiles", Place::caller()), checked_ranks(ranks))
    }

    fn quantiles_as(&self, info: OpInfo, ranks: Vec<f64>) -> Action<Option<Vec<f64>>>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(&self.shared().engine, |driver| async move {
            let parts = rdd.scan(
                &driver,
                info,
                (),
                |()| Digest(new_digest()),
                |(), Digest(digest), row| {
                    digest.update(finite(row, "quantiles; filter it out")?);
                    Ok(())
                },
            );
            let mut all = new_digest();
            parts.await?.iter().for_each(|part| all.merge(&part.settled()));
            Ok(all.quantiles(&ranks).expect("ranks were checked when the action was made"))
        })
    }

    /// Folds each partition into a state of its own; the states in partition order.
    async fn scan<E: Env, S: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        driver: &Driver,
        info: OpInfo,
        env: E,
        start: impl Fn(&E) -> S + Send + Sync + 'static,
        each: impl Fn(&E, &mut S, T) -> Result<(), TaskError> + Send + Sync + 'static,
    ) -> Result<Vec<S>>
    where
        T: Number,
    {
        let scan = move |env: &E, _, mut rows: BoxStream<T>, cx: &TaskContext| {
            let (mut state, mut count) = (start(env), 0);
            while let Some(batch) = rows.next()? {
                cx.check_cancelled()?;
                count += batch.len() as u64;
                batch.as_slice().iter().try_for_each(|row| each(env, &mut state, *row))?;
            }
            Ok((state, count))
        };
        driver.run(self, info, self.all_partitions(), env, scan).await
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a row is {row}, which has no place among {place}")]
struct NotFinite {
    row: f64,
    place: &'static str,
}

fn finite<T: Number>(row: T, place: &'static str) -> Result<f64, TaskError> {
    let row = row.to_f64();
    if row.is_finite() { Ok(row) } else { Err(TaskError::rejected(NotFinite { row, place })) }
}

/// A digest that can be sent.
struct Digest(TDigestMut);

impl Digest {
    /// The digest as it is when it was sent, so that it makes no difference whether it was.
    fn settled(&self) -> TDigestMut {
        let bytes = self.0.clone().serialize();
        TDigestMut::deserialize(&bytes).expect("a digest reads what a digest has written")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.clone().serialize().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        TDigestMut::deserialize(&bytes).map(Self).map_err(|error| de::Error::custom(error.to_string()))
    }
}

fn new_digest() -> TDigestMut {
    TDigestMut::new(DIGEST_CENTROIDS).expect("as many centroids as this are allowed")
}

#[track_caller]
fn checked_edges(edges: &[f64]) -> Vec<f64> {
    let rising = edges.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(edges.len() >= 2 && rising, "a histogram needs two or more edges that rise, not {edges:?}");
    edges.to_vec()
}

#[track_caller]
fn checked_ranks(ranks: &[f64]) -> Vec<f64> {
    let bad = ranks.iter().find(|rank| !(0.0..=1.0).contains(*rank));
    assert!(bad.is_none(), "a rank lies between 0 and 1, not at {bad:?}");
    ranks.to_vec()
}

/// Never falls from one edge to the next, since every step of the sum is monotonous; ends exactly at both ends.
fn equal_edges(min: f64, max: f64, buckets: usize) -> Vec<f64> {
    if min == max {
        return vec![min, max];
    }
    let share = |bucket: usize| bucket as f64 / buckets as f64;
    // The span of very large numbers is infinite, but half of it is not.
    let half_span = max / 2.0 - min / 2.0;
    let inner = (1..buckets).map(|bucket| match (max - min).is_finite() {
        true => min + (max - min) * share(bucket),
        false => (min / 2.0 + half_span * share(bucket)) * 2.0,
    });
    [min].into_iter().chain(inner.map(|edge| edge.clamp(min, max))).chain([max]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_edges_rise_and_end_where_they_should() {
        for (min, max) in [(0.0, 1.0), (-3.5, 7.25), (1.0, 1.0 + f64::EPSILON), (f64::MIN, f64::MAX), (-0.1, 0.2)] {
            for buckets in [1, 2, 3, 7, 10] {
                let edges = equal_edges(min, max, buckets);
                assert_eq!((edges.len(), edges[0], edges[buckets]), (buckets + 1, min, max));
                assert!(edges.windows(2).all(|pair| pair[0] <= pair[1]), "{edges:?}");
            }
        }
        assert_eq!(equal_edges(2.0, 2.0, 5), [2.0, 2.0]);
    }

    #[test]
    fn one_nan_makes_the_extremes_nan_wherever_it_comes() {
        for at in 0..3 {
            let mut rows = [1.0, 2.0, 3.0];
            rows[at] = f64::NAN;
            let mut stats = Stats::default();
            rows.iter().for_each(|row| stats.add(*row));
            assert!(stats.min().unwrap().is_nan() && stats.max().unwrap().is_nan() && stats.sum().is_nan());
            let mut more = Stats::default();
            more.add(0.0);
            assert!(more.merge(stats).min().unwrap().is_nan() && stats.merge(more).max().unwrap().is_nan());
        }
    }
}
