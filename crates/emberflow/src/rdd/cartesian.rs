//! `cartesian`: every row with every row of another RDD.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    task::{Marker, TaskContext},
};

use super::Rdd;
use crate::context::NodeSpec;

impl<T: Data> Rdd<T> {
    /// Pairs every row with every row of `other`.
    ///
    /// Narrow. `n × m` rows out of `n` and `m`, in as many partitions as the numbers of partitions multiplied: partition
    /// `i` of `self` meets partition `j` of `other` in partition `i × other.partitions() + j`. Within it, the rows of
    /// `self` come in their order, each with the rows of `other` in theirs.
    ///
    /// A task holds one partition of `other` in memory; if that is cached, it looks at the kept rows in place. Each
    /// partition of either side is computed once for each partition of the other: [cache](Self::cache) what is dear.
    /// After Spark's `cartesian`.
    ///
    /// # Panics
    /// If there would be more partitions than a `usize` can count.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range_into(0..2_u64, 1).cartesian(&ctx.parallelize_into(vec!['a', 'b'], 1));
    /// assert_eq!(pairs.collect()?, [(0, 'a'), (0, 'b'), (1, 'a'), (1, 'b')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cartesian<U: Data>(&self, other: &Rdd<U>) -> Rdd<(T, U)> {
        let columns = other.partitions();
        let partitions = self.partitions().checked_mul(columns);
        self.shared().rdd(NodeSpec {
            info: OpInfo::new("cartesian", Place::caller()),
            partitions: partitions.expect("the partitions of a cartesian product can be counted"),
            op: Arc::new(Cartesian::<T, U> { columns, types: PhantomData }),
            dependencies: vec![
                Dependency::Narrow(Arc::clone(self.node())),
                Dependency::Narrow(Arc::clone(other.node())),
            ],
            placement: None,
        })
    }
}

struct Cartesian<T, U> {
    /// Partitions of the right side.
    columns: usize,
    types: PhantomData<fn() -> (T, U)>,
}

impl<T: Data, U: Data> Operator for Cartesian<T, U> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(Pairs {
            left: inputs.narrow::<T>(0, partition / self.columns)?,
            right: Some(inputs.narrow::<U>(1, partition % self.columns)?),
            row: (Batch::Owned(Vec::new()), 0),
            held: Vec::new(),
            at: (0, 0),
            batch_rows: inputs.task().batch_rows_of::<(T, U)>(),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn narrow_partitions(&self, input: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        let parent = if input == 0 { partition / self.columns } else { partition % self.columns };
        parent..parent + 1
    }
}

struct Pairs<T, U> {
    left: BoxStream<T>,
    /// Until it is read, which is when there is a row to pair it with.
    right: Option<BoxStream<U>>,
    /// The batch of the left side, and how many of its rows are done.
    row: (Batch<T>, usize),
    /// The right side's batches; none is empty.
    held: Vec<Batch<U>>,
    /// Which batch of the right side is next, and which of its rows.
    at: (usize, usize),
    batch_rows: usize,
    task: TaskContext,
    marker: Marker,
}

impl<T: Data, U: Data> Pairs<T, U> {
    /// Makes sure that there is a row of the left side; whether there is.
    fn advance(&mut self) -> Result<bool, TaskError> {
        while self.row.1 == self.row.0.len() {
            match self.left.next()? {
                Some(batch) => self.row = (batch, 0),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl<T: Data, U: Data> Stream<(T, U)> for Pairs<T, U> {
    fn next(&mut self) -> Result<Option<Batch<(T, U)>>, TaskError> {
        self.task.check_cancelled()?;
        if !self.advance()? {
            return Ok(None);
        }
        if let Some(mut right) = self.right.take() {
            while let Some(batch) = right.next()? {
                self.task.check_cancelled()?;
                if !batch.is_empty() {
                    self.held.push(batch);
                }
            }
        }
        if self.held.is_empty() {
            return Ok(None);
        }
        self.marker.enter();
        let mut pairs = buffers::take();
        while pairs.len() < self.batch_rows && self.row.1 < self.row.0.len() {
            let left = &self.row.0.as_slice()[self.row.1];
            let rest = &self.held[self.at.0].as_slice()[self.at.1..];
            let some = &rest[..rest.len().min(self.batch_rows - pairs.len())];
            pairs.extend(some.iter().map(|right| (left.clone(), right.clone())));
            self.at.1 += some.len();
            if some.len() == rest.len() {
                self.at = (self.at.0 + 1, 0);
            }
            if self.at.0 == self.held.len() {
                self.at = (0, 0);
                self.row.1 += 1;
            }
        }
        Ok(Some(Batch::Owned(pairs)))
    }
}
