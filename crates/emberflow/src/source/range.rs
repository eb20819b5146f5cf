//! `range`: integers, made batch by batch when they are needed.

use std::{ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
};

use super::{cut, leaf};
use crate::{context::Shared, rdd::Rdd};

/// The integers that [`Context::range`](crate::Context::range) can count by.
pub trait RangeRow: ExchangeData + Copy + sealed::Sealed {
    /// Number of integers in a range.
    #[doc(hidden)]
    fn len(range: &Range<Self>) -> u64;

    /// The integers from the given one to another one, counted from the start of a range.
    #[doc(hidden)]
    fn batch(start: Self, from: u64, to: u64) -> Vec<Self>;
}

#[allow(unnameable_types, reason = "a sealed trait cannot be named, which is its purpose")]
mod sealed {
    pub trait Sealed {}
}

macro_rules! range_row {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}

        impl RangeRow for $integer {
            fn len(range: &Range<Self>) -> u64 {
                if range.start < range.end { (range.end as i128 - range.start as i128) as u64 } else { 0 }
            }

            fn batch(start: Self, from: u64, to: u64) -> Vec<Self> {
                // Between the range's start and end, so the sum wraps back to where it belongs.
                let first = start.wrapping_add(from as $integer);
                let mut rows = buffers::take();
                rows.extend((0..to - from).map(|n| first.wrapping_add(n as $integer)));
                rows
            }
        }
    )*};
}

range_row!(i32, i64, isize, u32, u64, usize);

pub(crate) fn range<T: RangeRow>(shared: &Arc<Shared>, info: OpInfo, range: Range<T>, partitions: usize) -> Rdd<T> {
    leaf(shared, info, partitions, Counting { range, partitions })
}

struct Counting<T> {
    range: Range<T>,
    partitions: usize,
}

impl<T: RangeRow> Operator for Counting<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let len = T::len(&self.range);
        let at = |part| cut(len, part, self.partitions);
        let (start, batch_rows) = (self.range.start, inputs.task().batch_rows_of::<T>() as u64);
        Ok(AnyStream::new(CountingStream { start, next: at(partition), end: at(partition + 1), batch_rows }))
    }
}

struct CountingStream<T> {
    start: T,
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
        let rows = T::batch(self.start, self.next, to);
        self.next = to;
        Ok(Some(Batch::Owned(rows)))
    }
}
