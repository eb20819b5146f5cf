//! What a partition actor owns once its partition is computed: rows behind an `Arc`, lent but never changed.

use std::{any::Any, sync::Arc};

use crate::{
    batch::{AnyStream, Batch, BoxStream, SharedRows, SharedStream},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    operator::StoreWriter,
    size,
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

    /// The contents, to be downcast by who knows their type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// One stored partition with what the accounts need to know of it.
#[derive(Clone)]
pub struct Stored {
    /// Rows in it.
    pub rows: u64,
    /// Bytes they take in memory, as [`crate::size`] estimates them.
    pub bytes: u64,
    /// The rows or blocks.
    pub data: Arc<dyn StoredData>,
}

/// The rows of one partition of a persisted RDD, kept as they came.
pub struct CachedRows<T> {
    chunks: Vec<SharedRows<T>>,
}

impl<T: Data> StoredData for CachedRows<T> {
    fn open(self: Arc<Self>, batch_rows: usize) -> Option<AnyStream> {
        let batch_rows = crate::batch::batch_rows_of::<T>(batch_rows);
        Some(AnyStream::new(SharedStream::new(self.chunks.clone(), batch_rows)))
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Fills a partition of a persisted RDD: keeps the live rows, so that reading them again parses and copies nothing.
pub struct CacheWriter<T>(std::marker::PhantomData<fn(T)>);

impl<T> CacheWriter<T> {
    /// A writer of rows of type `T`.
    pub fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T> Default for CacheWriter<T> {
    fn default() -> Self {
        Self::new()
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
        Ok(Stored { rows, bytes, data: Arc::new(CachedRows { chunks }) })
    }
}
