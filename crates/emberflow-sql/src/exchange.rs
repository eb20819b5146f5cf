//! The writing side of an exchange: batches as chunks for the partitions behind it.
//!
//! Owns which row goes where, by DataFusion's own hash with its fixed seeds, and that small pieces are put together before
//! they are shuffled.

use std::{collections::VecDeque, sync::Arc};

use datafusion::{
    arrow::{array::RecordBatch, compute::concat_batches},
    error::Result,
    physical_plan::{PhysicalExpr, metrics::Time, repartition::BatchPartitioner},
};
use emberflow::table::Chunk;

use crate::{error::FragmentError, fragment::Batches, session::BATCH_ROWS};

/// How rows are spread over the partitions behind an exchange.
pub(crate) enum Spread {
    /// By the hash of the keys.
    Hash {
        /// Expressions over the rows.
        keys: Vec<Arc<dyn PhysicalExpr>>,
        /// The number of partitions.
        partitions: usize,
    },
    /// All rows in one partition.
    One,
}

impl Spread {
    /// The number of partitions behind the exchange.
    pub(crate) fn partitions(&self) -> usize {
        match self {
            Self::Hash { partitions, .. } => *partitions,
            Self::One => 1,
        }
    }
}

/// The chunks that come of batches, each with the partition that it is for.
pub(crate) fn exchanged<I>(batches: Batches<I>, spread: &Spread) -> Exchange<I>
where
    I: Iterator<Item = Chunk>,
{
    let waiting = std::iter::repeat_with(Waiting::default).take(spread.partitions()).collect();
    let (partitioner, failed) = match spread {
        Spread::One => (None, None),
        Spread::Hash { keys, partitions } => {
            match BatchPartitioner::new_hash_partitioner(keys.clone(), *partitions, Time::new()) {
                Ok(partitioner) => (Some(partitioner), None),
                Err(error) => (None, Some(batches.error(error))),
            }
        }
    };
    Exchange { batches, partitioner, waiting, ready: VecDeque::new(), failed, is_over: false }
}

/// Chunks for the partitions behind an exchange, in the order of the rows for each.
pub(crate) struct Exchange<I> {
    batches: Batches<I>,
    /// None if all rows go to one partition.
    partitioner: Option<BatchPartitioner>,
    /// The pieces for each partition that are too few for a chunk so far.
    waiting: Vec<Waiting>,
    ready: VecDeque<(usize, Chunk)>,
    failed: Option<FragmentError>,
    is_over: bool,
}

#[derive(Default)]
struct Waiting {
    pieces: Vec<RecordBatch>,
    rows: usize,
}

impl Waiting {
    /// The pieces as one chunk; none if there is no row.
    fn together(&mut self) -> Result<Option<Chunk>> {
        self.rows = 0;
        let pieces = std::mem::take(&mut self.pieces);
        let Some(first) = pieces.first() else { return Ok(None) };
        Ok(Chunk::new(if pieces.len() == 1 { first.clone() } else { concat_batches(&first.schema(), &pieces)? }))
    }
}

impl<I> Exchange<I> {
    fn spread(&mut self, batch: RecordBatch) -> Result<()> {
        let Self { partitioner, waiting, ready, .. } = self;
        let mut wait = |partition: usize, piece: RecordBatch| {
            let of = &mut waiting[partition];
            of.rows += piece.num_rows();
            of.pieces.push(piece);
            if of.rows >= BATCH_ROWS {
                ready.extend(of.together()?.map(|chunk| (partition, chunk)));
            }
            Ok(())
        };
        match partitioner {
            Some(partitioner) => partitioner.partition(batch, wait),
            None => wait(0, batch),
        }
    }

    fn flush(&mut self) -> Result<()> {
        for (partition, waiting) in self.waiting.iter_mut().enumerate() {
            self.ready.extend(waiting.together()?.map(|chunk| (partition, chunk)));
        }
        Ok(())
    }
}

impl<I: Iterator<Item = Chunk>> Iterator for Exchange<I> {
    type Item = Result<(usize, Chunk), FragmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(chunk));
            }
            if let Some(error) = self.failed.take() {
                self.is_over = true;
                return Some(Err(error));
            }
            if self.is_over {
                return None;
            }
            let done = match self.batches.next() {
                Some(Ok(batch)) => self.spread(batch),
                Some(Err(error)) => {
                    self.failed = Some(error);
                    continue;
                }
                None => {
                    self.is_over = true;
                    self.flush()
                }
            };
            if let Err(error) = done {
                self.failed = Some(self.batches.error(error));
            }
        }
    }
}
