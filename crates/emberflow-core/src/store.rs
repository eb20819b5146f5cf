//! What a partition actor owns once its partition is computed: rows behind an `Arc`, lent but never changed, in memory
//! or on disk.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch::{AnyStream, Batch, BoxStream},
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    operator::StoreWriter,
    print::Print,
    segments::{self, Footprint, RowBuffer, Segment, SegmentStream},
    spill::{SpillError, SpillSpace},
    task::TaskContext,
};

/// The contents of one stored partition, row type forgotten.
pub trait StoredData: Send + Sync + 'static {
    /// The rows as a stream, if this is rows rather than shuffle blocks.
    fn open(self: Arc<Self>, batch_rows: usize) -> Option<AnyStream>;

    /// Whether there is anything for the given reducer; asked before the contents are borrowed for it.
    fn has_block(&self, reducer: PartitionIndex) -> bool {
        let _ = reducer;
        true
    }

    /// What a reader of all of it gets; of shuffle blocks, the given reducer. Nothing for what holds no rows.
    fn holds(&self, reducer: PartitionIndex) -> Footprint {
        let _ = reducer;
        Footprint::default()
    }

    /// The same contents, all of them on disk. `None` for what is too small to be worth it.
    ///
    /// # Errors
    /// [`SpillError`] if they can only stay in memory.
    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<(Arc<dyn StoredData>, Footprint)>, SpillError> {
        let _ = space;
        Ok(None)
    }

    /// Whether what was spilled was found damaged when it was [checked](Self::check): then all of it is lost.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Looks whether what was spilled is still there. Reads all of it.
    fn check(&self) {}

    /// By what the same contents are known when they are made again. Nothing, for what holds no rows.
    fn print(&self) -> Print {
        Print::default()
    }

    /// The contents, to be downcast by who knows their type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Where the contents of a partition are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Keep {
    /// In memory while there is room, else on disk.
    #[default]
    IfRoom,
    /// In memory while there is room, else on disk, unless to compute it again is quicker than to write and read it.
    Auto,
    /// In memory, whether there is room or not.
    InMemory,
    /// Serialised in memory while there is room, else on disk.
    Serialized,
    /// On disk.
    OnDisk,
}

/// One stored partition with what the accounts need to know of it.
#[derive(Clone)]
pub struct Stored {
    /// What it takes, and where.
    pub footprint: Footprint,
    /// The rows or blocks.
    pub data: Arc<dyn StoredData>,
    /// Where they are to be.
    pub keep: Keep,
}

impl Stored {
    /// A partition that is kept in memory while there is room.
    pub fn new(footprint: Footprint, data: impl StoredData) -> Self {
        Self { footprint, data: Arc::new(data), keep: Keep::IfRoom }
    }

    /// So many rows of so many bytes, in memory.
    pub fn in_memory(rows: u64, bytes: u64, data: impl StoredData) -> Self {
        Self::new(Footprint { rows, bytes, ..Footprint::default() }, data)
    }
}

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
        let batch_rows = crate::batch::batch_rows_of::<T>(batch_rows);
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

    fn print(&self) -> Print {
        Print::of([(0, &*self.segments)])
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Fills a partition of a persisted RDD: keeps the live rows, so that reading them again parses and copies nothing.
pub struct CacheWriter<T> {
    keep: Keep,
    types: std::marker::PhantomData<fn(T)>,
}

impl<T> CacheWriter<T> {
    /// A writer of rows of type `T`, which are to be where `keep` says.
    pub fn new(keep: Keep) -> Self {
        Self { keep, types: std::marker::PhantomData }
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
                kept.push(std::mem::take(&mut rest).into())?;
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
}
