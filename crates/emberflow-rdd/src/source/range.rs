//! `range`: integers, made batch by batch when they are needed.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{NotShippable, Shipped},
};

use serde::{Deserialize, Serialize};

use super::{cut, leaf};
use crate::{rdd::Rdd, shared::Shared};

/// The integers that [`Context::range`](crate::Context::range) can count by.
pub trait RangeRow: ExchangeData + Copy + sealed::Sealed {
    /// The same number.
    #[doc(hidden)]
    fn wide(self) -> i128;

    /// The rows from the given one to another one, counted from the start of a range.
    #[doc(hidden)]
    fn batch(start: Self, step: i64, from: u64, to: u64) -> Vec<Self>;
}

/// The ranges that [`Context::range`](crate::Context::range) takes: `a..b` and `a..=b`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a range that a context counts through",
    note = "give both ends, as in `0..10_u64` or `1..=10`, of one of the types i32, i64, isize, u32, u64, usize"
)]
pub trait IntoRange<T>: sealed::SealedRange {
    /// First and last number, and whether the last one belongs to the range.
    #[doc(hidden)]
    fn ends(self) -> (T, T, bool);
}

impl<T: RangeRow> IntoRange<T> for Range<T> {
    fn ends(self) -> (T, T, bool) {
        (self.start, self.end, false)
    }
}

impl<T: RangeRow> IntoRange<T> for RangeInclusive<T> {
    fn ends(self) -> (T, T, bool) {
        let (start, end) = self.into_inner();
        (start, end, true)
    }
}

#[allow(unnameable_types, reason = "a sealed trait cannot be named, which is its purpose")]
mod sealed {
    use std::ops::{Range, RangeInclusive};

    pub trait Sealed {}

    pub trait SealedRange {}

    impl<T> SealedRange for Range<T> {}

    impl<T> SealedRange for RangeInclusive<T> {}
}

macro_rules! range_row {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}

        impl RangeRow for $integer {
            fn wide(self) -> i128 {
                self as i128
            }

            fn batch(start: Self, step: i64, from: u64, to: u64) -> Vec<Self> {
                // Every row is between the ends, so sums and products wrap back to where they belong.
                let first = start.wrapping_add((from as $integer).wrapping_mul(step as $integer));
                let mut rows = buffers::take();
                if step == 1 {
                    rows.extend((0..to - from).map(|n| first.wrapping_add(n as $integer)));
                } else {
                    let step = step as $integer;
                    rows.extend((0..to - from).map(|n| first.wrapping_add((n as $integer).wrapping_mul(step))));
                }
                rows
            }
        }
    )*};
}

range_row!(i32, i64, isize, u32, u64, usize);

/// The numbers of a range, some of them left out.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(bound = "T: RangeRow")]
pub(crate) struct Steps<T> {
    start: T,
    step: i64,
    len: u64,
}

impl<T: RangeRow> Steps<T> {
    #[track_caller]
    pub(crate) fn new(range: impl IntoRange<T>, step: i64) -> Self {
        assert!(step != 0, "a range whose step is zero never ends");
        let (start, end, inclusive) = range.ends();
        let way = if step > 0 { end.wide() - start.wide() } else { start.wide() - end.wide() } + i128::from(inclusive);
        let len = u128::try_from(way).unwrap_or(0).div_ceil(u128::from(step.unsigned_abs()));
        let len = u64::try_from(len).expect("a range has less than 2^64 rows: leave its last number out");
        Self { start, step, len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

pub(crate) fn range<T: RangeRow>(shared: &Arc<Shared>, info: OpInfo, steps: Steps<T>, partitions: usize) -> Rdd<T> {
    leaf(shared, info, partitions, Counting { steps, partitions })
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "T: RangeRow")]
struct Counting<T> {
    steps: Steps<T>,
    partitions: usize,
}

impl<T: RangeRow> Operator for Counting<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let at = |part| cut(self.steps.len, part, self.partitions);
        let (steps, batch_rows) = (self.steps, inputs.task().batch_rows_of::<T>() as u64);
        Ok(AnyStream::new(CountingStream { steps, next: at(partition), end: at(partition + 1), batch_rows }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct CountingStream<T> {
    steps: Steps<T>,
    next: u64,
    end: u64,
    batch_rows: u64,
}

impl<T: RangeRow> Stream<T> for CountingStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        if self.next == self.end {
            return Ok(None);
        }
        let to = self.end.min(self.next.saturating_add(self.batch_rows));
        let rows = T::batch(self.steps.start, self.steps.step, self.next, to);
        self.next = to;
        Ok(Some(Batch::Owned(rows)))
    }
}
