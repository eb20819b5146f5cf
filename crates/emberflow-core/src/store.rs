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
    batch::{AnyStream, Batch, BoxStream, IterStream, SharedRows, SharedStream, Stream},
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    operator::StoreWriter,
    size,
    spill::{Frame, FrameWriter, SpillError, SpillSpace},
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

    /// The same contents, on disk. `None` for what is too small to be worth it.
    ///
    /// # Errors
    /// [`SpillError`] if they can only stay in memory.
    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<Spilled>, SpillError> {
        let _ = space;
        Ok(None)
    }

    /// Whether they were spilled and could not be read back: then they are lost.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Looks whether what was spilled is still there: where one is damaged, others may be.
    fn check(&self) {}

    /// The contents, to be downcast by who knows their type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Contents that have left memory.
pub struct Spilled {
    /// What is left in memory.
    pub data: Arc<dyn StoredData>,
    /// Bytes on disk.
    pub file_bytes: u64,
}

/// Where the contents of a partition are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Keep {
    /// In memory while there is room, else on disk.
    #[default]
    IfRoom,
    /// In memory, whether there is room or not.
    InMemory,
    /// On disk.
    OnDisk,
}

/// One stored partition with what the accounts need to know of it.
#[derive(Clone)]
pub struct Stored {
    /// Rows in it.
    pub rows: u64,
    /// Bytes they take in memory, as [`crate::size`] estimates them.
    pub bytes: u64,
    /// Bytes they take on disk.
    pub file_bytes: u64,
    /// The rows or blocks.
    pub data: Arc<dyn StoredData>,
    /// Where they are to be.
    pub keep: Keep,
}

impl Stored {
    /// A partition that is kept in memory while there is room.
    pub fn new(rows: u64, bytes: u64, data: impl StoredData) -> Self {
        Self { rows, bytes, file_bytes: 0, data: Arc::new(data), keep: Keep::IfRoom }
    }
}

/// Rows in memory or on disk.
pub(crate) enum Kept<M, T> {
    Memory(M),
    Disk(Vec<Frame<T>>),
}

impl<M, T: ExchangeData> Kept<M, T> {
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Disk(frames) => frames.iter().all(Frame::is_sound),
        }
    }
}

/// The rows of one partition of a persisted RDD, kept as they came.
pub struct CachedRows<T> {
    kept: Kept<Vec<SharedRows<T>>, T>,
    damaged: AtomicBool,
}

impl<T: ExchangeData> StoredData for CachedRows<T> {
    fn open(self: Arc<Self>, batch_rows: usize) -> Option<AnyStream> {
        let batch_rows = crate::batch::batch_rows_of::<T>(batch_rows);
        Some(match &self.kept {
            Kept::Memory(chunks) => AnyStream::new(SharedStream::new(chunks.clone(), batch_rows)),
            Kept::Disk(_) => AnyStream::new(FrameStream { rows: self, next: 0, open: None, batch_rows }),
        })
    }

    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<Spilled>, SpillError> {
        let Kept::Memory(chunks) = &self.kept else { return Ok(None) };
        let mut writer = FrameWriter::new(space);
        writer.add(chunks.iter().flat_map(SharedRows::as_slice))?;
        let (lists, file_bytes) = writer.finish()?;
        let kept = Kept::Disk(lists.into_iter().flatten().collect());
        Ok(Some(Spilled { data: Arc::new(Self { kept, damaged: AtomicBool::new(false) }), file_bytes }))
    }

    fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    fn check(&self) {
        if !self.kept.is_sound() {
            self.damaged.store(true, Ordering::Release);
        }
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Spilled rows, read back frame by frame.
struct FrameStream<T> {
    rows: Arc<CachedRows<T>>,
    next: usize,
    open: Option<IterStream<std::vec::IntoIter<T>>>,
    batch_rows: usize,
}

impl<T: ExchangeData> Stream<T> for FrameStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        loop {
            if let Some(batch) = self.open.as_mut().map(Stream::next).transpose()?.flatten() {
                return Ok(Some(batch));
            }
            let Kept::Disk(frames) = &self.rows.kept else { return Ok(None) };
            let Some(frame) = frames.get(self.next) else { return Ok(None) };
            self.next += 1;
            let rows = frame.read().inspect_err(|_| self.rows.damaged.store(true, Ordering::Release))?;
            self.open = Some(IterStream::new(rows.into_iter(), self.batch_rows));
        }
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
        let mut stream: BoxStream<T> = input.downcast()?;
        let full = cx.batch_rows_of::<T>();
        let (mut chunks, mut rest): (Vec<SharedRows<T>>, Vec<T>) = (Vec::new(), Vec::new());
        let (mut rows, mut bytes) = (0, 0);
        let mut keep = |chunks: &mut Vec<SharedRows<T>>, chunk: SharedRows<T>| {
            rows += chunk.as_slice().len() as u64;
            bytes += size::estimate(chunk.as_slice());
            chunks.push(chunk);
        };
        let owned = |mut rows: Vec<T>| {
            rows.shrink_to_fit();
            let window = 0..rows.len();
            SharedRows::new(Arc::new(rows), window)
        };
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            // Small batches are gathered, so that a selective filter does not leave thousands of tiny chunks behind.
            let gather = batch.len() * 2 < full;
            if (!gather || rest.len() >= full) && !rest.is_empty() {
                keep(&mut chunks, owned(std::mem::take(&mut rest)));
            }
            match batch {
                batch if gather => batch.for_each(|row| rest.push(row)),
                Batch::Owned(rows) => keep(&mut chunks, owned(rows)),
                Batch::Shared(rows) => keep(&mut chunks, rows),
            }
        }
        if !rest.is_empty() {
            keep(&mut chunks, owned(rest));
        }
        let data = CachedRows { kept: Kept::Memory(chunks), damaged: AtomicBool::new(false) };
        Ok(Stored { keep: self.keep, ..Stored::new(rows, bytes, data) })
    }
}
