//! A partition of a persisted RDD: how it is filled, and how its rows are read. The rows are kept as they came, so that
//! reading them again parses and copies nothing.

use std::{
    any::Any,
    marker::PhantomData,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch::{AnyStream, Batch, BoxStream, batch_rows_of},
    data::ExchangeData,
    error::TaskError,
    fingerprint::Fingerprint,
    ids::PartitionIndex,
    memory::Keep,
    operator::StoreWriter,
    remake,
    segments::{self, Footprint, RowBuffer, Segment, SegmentStream},
    ship::{NotShippable, Shipped},
    spill::{SpillError, SpillSpace},
    store::{Stored, StoredData},
    task::TaskContext,
    wire::{self, Arrived, Give},
};

/// The rows of one partition of a persisted RDD, kept as they came.
pub struct CachedRows<T> {
    segments: Vec<Segment<T>>,
    damaged: AtomicBool,
}

impl<T: ExchangeData> CachedRows<T> {
    fn new(segments: Vec<Segment<T>>) -> (Footprint, Self) {
        let footprint = segments.iter().map(Segment::footprint).sum();
        (footprint, Self { segments, damaged: AtomicBool::new(false) })
    }
}

impl<T: ExchangeData> StoredData for CachedRows<T> {
    fn open(self: Arc<Self>, batch_rows: usize) -> Option<AnyStream> {
        let batch_rows = batch_rows_of::<T>(batch_rows);
        Some(AnyStream::new(SegmentStream::new(self.segments.clone(), batch_rows)))
    }

    fn holds(&self, _: PartitionIndex) -> Footprint {
        self.segments.iter().map(Segment::footprint).sum()
    }

    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<(Arc<dyn StoredData>, Footprint)>, SpillError> {
        let segments = segments::spill([&*self.segments], space)?;
        let (footprint, rows) = Self::new(segments.into_iter().flatten().collect());
        Ok(Some((Arc::new(rows), footprint)))
    }

    fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    fn check(&self) {
        if !self.segments.iter().all(Segment::is_sound) {
            self.damaged.store(true, Ordering::Release);
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([(0, &*self.segments)])
    }

    fn pack(&self, _: Option<PartitionIndex>, give: &mut Give<'_>) -> Result<(), TaskError> {
        wire::pack(0, None, &self.segments, give)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Fills a partition of a persisted RDD: keeps the live rows, so that reading them again parses and copies nothing.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(bound = "")]
pub struct CacheWriter<T> {
    keep: Keep,
    types: PhantomData<fn(T)>,
}

impl<T> CacheWriter<T> {
    /// A writer of rows of type `T`, which are to be where `keep` says.
    pub fn new(keep: Keep) -> Self {
        Self { keep, types: PhantomData }
    }
}

impl<T: ExchangeData> StoreWriter for CacheWriter<T> {
    fn write(&self, _: usize, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<T> = input.read(cx)?;
        let full = cx.batch_rows_of::<T>();
        let (mut kept, mut rest): (RowBuffer<T>, Vec<T>) = (RowBuffer::new(cx.workspace(), self.keep), Vec::new());
        let marker = cx.sink_marker();
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            marker.enter();
            // Small batches are gathered, so that a selective filter does not leave thousands of tiny chunks behind.
            let gather = batch.len() * 2 < full;
            if (!gather || rest.len() >= full) && !rest.is_empty() {
                rest.shrink_to_fit();
                kept.push(mem::take(&mut rest).into())?;
            }
            match batch {
                batch if gather => batch.for_each(|row| rest.push(row)),
                Batch::Owned(mut rows) => {
                    rows.shrink_to_fit();
                    kept.push(rows.into())?;
                }
                Batch::Shared(rows) => kept.push(rows.into())?,
            }
        }
        if !rest.is_empty() {
            rest.shrink_to_fit();
            kept.push(rest.into())?;
        }
        let (segments, _claim) = kept.finish()?;
        let (footprint, rows) = CachedRows::new(segments);
        Ok(Stored { keep: self.keep, ..Stored::new(footprint, rows) })
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        let segments = pieces.iter().map(|piece| wire::unpack(0, piece)).collect::<Result<Vec<Vec<_>>, _>>()?;
        let (footprint, rows) = CachedRows::<T>::new(segments.into_iter().flatten().collect());
        Ok(Stored { keep: self.keep, ..Stored::new(footprint, rows) })
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}
