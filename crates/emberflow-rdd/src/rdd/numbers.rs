//! Rows that are numbers: `sum, mean, stats, variance, stdev`. For histograms and quantiles see `distribution`.
//!
//! Each partition is worked through row by row, and the partitions' results are merged in partition order, so that
//! floating-point results are the same bits in every run, whatever the workers and the sizes of batches.

use std::fmt;

use emberflow_core::{
    batch::BoxStream,
    data::{Data, ExchangeData},
    error::{Result, TaskError},
    place::{OpInfo, Place},
    ship::Env,
    task::TaskContext,
    total::Total,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Rdd;
use crate::action::{Action, Driver};

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

/// The sum of rows that are numbers, for every [`Number`]. In the prelude.
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
        self.sum_async().wait()
    }

    #[track_caller]
    fn sum_async(&self) -> Action<T::Sum> {
        let info = OpInfo::new("sum", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
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
        Action::start(self.shared(), move |driver| async move {
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

    /// Folds each partition into a state of its own; the states in partition order.
    pub(super) async fn scan<E: Env, S: Serialize + DeserializeOwned + Send + 'static>(
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

#[cfg(test)]
mod tests {
    use super::*;

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
