//! `cartesian`: every row with every row of another RDD.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    memory::{Claim, Keep},
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    segments::{RowBuffer, Segment},
    ship::{NotShippable, Shipped},
    task::{Marker, TaskContext},
};
use serde::{Deserialize, Serialize};

use super::Rdd;
use crate::shared::NodeSpec;

impl<T: Data> Rdd<T> {
    /// Pairs every row with every row of `other`.
    ///
    /// Narrow. `n × m` rows out of `n` and `m`, in as many partitions as the numbers of partitions multiplied: partition
    /// `i` of `self` meets partition `j` of `other` in partition `i × other.partitions() + j`. Within it, the rows of
    /// `self` come in their order, each with the rows of `other` in theirs.
    ///
    /// A task holds one partition of `other`: in memory while there is room in the budget, then on disk, where it is read
    /// again for each row of `self`. Rows of `other` that are cached are looked at in place. Each partition of either side
    /// is computed once for each partition of the other: [cache](Self::cache) the side that takes long to compute.
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
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn cartesian<U: ExchangeData>(&self, other: &Rdd<U>) -> Rdd<(T, U)> {
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

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Cartesian<T, U> {
    /// Partitions of the right side.
    columns: usize,
    types: PhantomData<fn() -> (T, U)>,
}

impl<T: Data, U: ExchangeData> Operator for Cartesian<T, U> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(Pairs {
            left: inputs.narrow::<T>(0, partition / self.columns)?,
            right: Some(inputs.narrow::<U>(1, partition % self.columns)?),
            held: None,
            row: (Batch::Owned(Vec::new()), 0),
            batch_rows: inputs.task().batch_rows_of::<(T, U)>(),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }

    fn narrow_partitions(&self, input: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        let parent = if input == 0 { partition / self.columns } else { partition % self.columns };
        parent..parent + 1
    }
}

struct Pairs<T, U> {
    left: BoxStream<T>,
    /// The right side, until it is read, which is when there is a row to pair it with.
    right: Option<BoxStream<U>>,
    held: Option<Held<U>>,
    /// The batch of the left side, and how many of its rows are done.
    row: (Batch<T>, usize),
    batch_rows: usize,
    task: TaskContext,
    marker: Marker,
}

/// The rows of the right side, and the one that comes next.
struct Held<U> {
    /// None is empty.
    segments: Vec<Segment<U>>,
    /// The next row's segment, and its place there.
    at: (usize, usize),
    /// The segment, read.
    open: Option<Batch<U>>,
    _claim: Claim,
}

impl<U: ExchangeData> Held<U> {
    fn gather(mut rows: BoxStream<U>, task: &TaskContext) -> Result<Self, TaskError> {
        let mut buffer = RowBuffer::new(task.workspace(), Keep::IfRoom);
        while let Some(batch) = rows.next()? {
            task.check_cancelled()?;
            match batch {
                batch if batch.is_empty() => {}
                Batch::Shared(rows) => buffer.push_lent(Segment::Memory(rows, 0)),
                Batch::Owned(rows) => buffer.push(rows.into())?,
            }
        }
        let (segments, claim) = buffer.finish()?;
        Ok(Self { segments, at: (0, 0), open: None, _claim: claim })
    }

    /// Gives up to `most` rows to `visit`; returns whether the last row was among them, after which the first one comes.
    fn next(&mut self, most: usize, visit: impl FnMut(&U)) -> Result<bool, TaskError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(self.segments[self.at.0].read()?),
        };
        let rest = &open.as_slice()[self.at.1..];
        let some = &rest[..rest.len().min(most)];
        some.iter().for_each(visit);
        if some.len() < rest.len() {
            self.at.1 += some.len();
            return Ok(false);
        }
        self.at = ((self.at.0 + 1) % self.segments.len(), 0);
        if self.segments.len() > 1 {
            self.open = None;
        }
        Ok(self.at.0 == 0)
    }
}

impl<T: Data, U> Pairs<T, U> {
    /// Makes sure that there is a row of the left side; returns whether there is.
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

impl<T: Data, U: ExchangeData> Stream<(T, U)> for Pairs<T, U> {
    fn next(&mut self) -> Result<Option<Batch<(T, U)>>, TaskError> {
        self.task.check_cancelled()?;
        if !self.advance()? {
            return Ok(None);
        }
        if let Some(rows) = self.right.take() {
            self.held = Some(Held::gather(rows, &self.task)?);
        }
        let Some(held) = self.held.as_mut().filter(|held| !held.segments.is_empty()) else { return Ok(None) };
        self.marker.enter();
        let mut pairs = buffers::take();
        while pairs.len() < self.batch_rows && self.row.1 < self.row.0.len() {
            let left = &self.row.0.as_slice()[self.row.1];
            if held.next(self.batch_rows - pairs.len(), |right| pairs.push((left.clone(), right.clone())))? {
                self.row.1 += 1;
            }
        }
        Ok(Some(Batch::Owned(pairs)))
    }
}
