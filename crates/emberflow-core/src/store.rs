//! The contents that a partition actor owns once its partition is computed: rows behind an `Arc`, lent but never
//! changed, in memory or on disk.

use std::{any::Any, sync::Arc};

use crate::{
    batch::AnyStream,
    error::TaskError,
    fingerprint::Fingerprint,
    ids::PartitionIndex,
    memory::Keep,
    segments::Footprint,
    spill::{SpillError, SpillSpace},
    wire::Give,
};

/// The contents of one stored partition, row type forgotten.
pub trait StoredData: Send + Sync + 'static {
    /// The rows as a stream, if this is rows rather than shuffle blocks.
    fn open(self: Arc<Self>, batch_rows: usize) -> Option<AnyStream>;

    /// Returns whether there is anything for the given reducer; asked before the contents are borrowed for it.
    fn has_block(&self, reducer: PartitionIndex) -> bool {
        let _ = reducer;
        true
    }

    /// The rows that a reader of all of it gets, or for shuffle blocks, the given reducer. There are none if it holds
    /// no rows.
    fn holds(&self, reducer: PartitionIndex) -> Footprint {
        let _ = reducer;
        Footprint::default()
    }

    /// Writes the contents to disk and returns the same ones, all of them there; `None` if they are too small to be
    /// worth it.
    ///
    /// # Errors
    /// [`SpillError`] if they can only stay in memory.
    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<(Arc<dyn StoredData>, Footprint)>, SpillError> {
        let _ = space;
        Ok(None)
    }

    /// Returns whether spilled rows were found damaged when they were [checked](Self::check): then all of it is lost.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Looks whether what was spilled is still there. Reads all of it.
    fn check(&self) {}

    /// The fingerprint by which the same contents are known when they are made again. It is empty if there are no rows.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }

    /// Gives the contents as pieces for another process: those that one reader gets, or all of them.
    ///
    /// # Errors
    /// If the rows do not go through the codec, or cannot be read; or those of `give`.
    fn pack(&self, reader: Option<PartitionIndex>, give: &mut Give<'_>) -> Result<(), TaskError>;

    /// The contents, to be downcast by who knows their type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// One stored partition with what the accounts need to know of it.
#[derive(Clone)]
pub struct Stored {
    /// The memory and the disk that it takes.
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

    /// Makes an output of so many rows of so many bytes, in memory.
    pub fn in_memory(rows: u64, bytes: u64, data: impl StoredData) -> Self {
        Self::new(Footprint { rows, bytes, ..Footprint::default() }, data)
    }
}
