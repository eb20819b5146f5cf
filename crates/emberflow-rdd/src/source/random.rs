//! `random`: numbers of a distribution, made batch by batch when they are needed.

use std::{ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{NotShippable, Shipped},
};
use rand::RngExt;
use rand_distr::{Distribution, Exp, LogNormal, Normal, Poisson};
use rand_pcg::Pcg64Mcg;

use serde::{Deserialize, Serialize};

use super::{cut, leaf};
use crate::{
    rdd::{Rdd, random_of},
    shared::Shared,
};

/// How the rows of [`Context::random`](crate::Context::random) are distributed.
///
/// ```
/// # use emberflow::{Random, prelude::*};
/// # let ctx = Context::local(2)?;
/// let heights = ctx.random(Random::normal(170.0, 10.0), 10_000, 42);
/// assert!((heights.mean()?.unwrap() - 170.0).abs() < 1.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Random(Kind);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    Uniform { low: f64, span: f64 },
    Normal(Normal<f64>),
    LogNormal(LogNormal<f64>),
    Exponential(Exp<f64>),
    Poisson(Poisson<f64>),
}

impl Random {
    /// Every number of a range as likely as any other.
    ///
    /// # Panics
    /// If the range is empty or not finite.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.random(Random::uniform(2.0..3.0), 100, 42).filter(|n| !(2.0..3.0).contains(n)).is_empty()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn uniform(range: Range<f64>) -> Self {
        let span = range.end - range.start;
        assert!(span > 0.0 && span.is_finite(), "there are no numbers to choose from in {range:?}");
        Self(Kind::Uniform { low: range.start, span })
    }

    /// The normal distribution of this mean and standard deviation.
    ///
    /// # Panics
    /// If one of them is not finite, or the deviation is negative.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// assert!((ctx.random(Random::normal(0.0, 2.0), 10_000, 42).stdev()?.unwrap() - 2.0).abs() < 0.1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn normal(mean: f64, stdev: f64) -> Self {
        let fine = mean.is_finite() && stdev.is_finite() && stdev >= 0.0;
        match Normal::new(mean, stdev) {
            Ok(normal) if fine => Self(Kind::Normal(normal)),
            _ => panic!("no normal distribution has a mean of {mean} and a standard deviation of {stdev}"),
        }
    }

    /// The distribution of numbers whose logarithms have a normal distribution of this mean and standard deviation.
    ///
    /// # Panics
    /// As [`normal`](Self::normal).
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let logs = ctx.random(Random::log_normal(1.0, 0.5), 10_000, 42).map(f64::ln);
    /// assert!((logs.mean()?.unwrap() - 1.0).abs() < 0.05);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn log_normal(mean: f64, stdev: f64) -> Self {
        let fine = mean.is_finite() && stdev.is_finite() && stdev >= 0.0;
        match LogNormal::new(mean, stdev) {
            Ok(log_normal) if fine => Self(Kind::LogNormal(log_normal)),
            _ => panic!("no log-normal distribution has a mean of {mean} and a standard deviation of {stdev}"),
        }
    }

    /// The exponential distribution of this mean.
    ///
    /// # Panics
    /// If the mean is not above zero, or not finite.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// assert!((ctx.random(Random::exponential(3.0), 10_000, 42).mean()?.unwrap() - 3.0).abs() < 0.2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn exponential(mean: f64) -> Self {
        match Exp::new(mean.recip()) {
            Ok(exponential) if mean > 0.0 && mean.is_finite() => Self(Kind::Exponential(exponential)),
            _ => panic!("no exponential distribution has a mean of {mean}"),
        }
    }

    /// The Poisson distribution of this mean: whole numbers, as `f64`.
    ///
    /// # Panics
    /// If the mean is not above zero, or too large for an `f64` to tell whole numbers of its size apart.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let visits = ctx.random(Random::poisson(3.0), 10_000, 42);
    /// assert!((visits.variance()?.unwrap() - 3.0).abs() < 0.2);
    /// assert!(visits.filter(|n| n.fract() != 0.0).is_empty()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn poisson(mean: f64) -> Self {
        match Poisson::new(mean) {
            Ok(poisson) => Self(Kind::Poisson(poisson)),
            Err(_) => panic!("no Poisson distribution has a mean of {mean}"),
        }
    }

    fn draw(&self, random: &mut Pcg64Mcg) -> f64 {
        match &self.0 {
            Kind::Uniform { low, span } => {
                // Rounding may reach the end, which does not belong to the range.
                let (number, end) = (low + span * random.random::<f64>(), low + span);
                if number < end { number } else { end.next_down().max(*low) }
            }
            Kind::Normal(normal) => normal.sample(random),
            Kind::LogNormal(log_normal) => log_normal.sample(random),
            Kind::Exponential(exponential) => exponential.sample(random),
            Kind::Poisson(poisson) => poisson.sample(random),
        }
    }
}

pub(crate) fn random(shared: &Arc<Shared>, info: OpInfo, draw: Draw) -> Rdd<f64> {
    leaf(shared, info, draw.partitions, draw)
}

/// The numbers that are to be drawn.
#[derive(Serialize, Deserialize)]
pub(crate) struct Draw {
    pub(crate) kind: Random,
    pub(crate) rows: u64,
    pub(crate) partitions: usize,
    pub(crate) seed: u64,
}

impl Operator for Draw {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let at = |part| cut(self.rows, part, self.partitions);
        Ok(AnyStream::new(DrawingStream {
            kind: self.kind,
            random: random_of("random", self.seed, partition),
            left: at(partition + 1) - at(partition),
            batch_rows: inputs.task().batch_rows_of::<f64>() as u64,
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct DrawingStream {
    kind: Random,
    random: Pcg64Mcg,
    left: u64,
    batch_rows: u64,
}

impl Stream<f64> for DrawingStream {
    fn next(&mut self) -> Result<Option<Batch<f64>>, TaskError> {
        if self.left == 0 {
            return Ok(None);
        }
        let some = self.left.min(self.batch_rows);
        self.left -= some;
        let mut rows = buffers::take();
        rows.extend((0..some).map(|_| self.kind.draw(&mut self.random)));
        Ok(Some(Batch::Owned(rows)))
    }
}
