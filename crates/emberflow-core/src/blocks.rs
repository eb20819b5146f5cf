//! Shuffle blocks: what one map task wrote, one block for each reducer that gets any row, in memory or on disk.
//!
//! A block is a list of chunks that double in size up to 64 KiB, so that rows are written once and never moved, and a
//! map task of one row and a hundred thousand reducers costs one small allocation.

use std::{
    any::Any,
    borrow::Cow,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch::AnyStream,
    data::ExchangeData,
    error::TaskError,
    size,
    spill::{FrameWriter, SpillError, SpillSpace},
    store::{Kept, Spilled, StoredData},
};

const FIRST_CHUNK_BYTES: usize = 512;
const LAST_CHUNK_BYTES: usize = 64 << 10;

/// The finished blocks of one map task, ordered by reducer.
pub struct Blocks<R> {
    blocks: Vec<(u32, Kept<Vec<Arc<Vec<R>>>, R>)>,
    damaged: AtomicBool,
}

impl<R: ExchangeData> Blocks<R> {
    /// The chunks for `reducer`, in the order in which they were written; read back if they were spilled.
    ///
    /// # Errors
    /// [`TaskError::SpillUnreadable`] if they cannot be read back.
    pub fn of(&self, reducer: usize) -> Result<Cow<'_, [Arc<Vec<R>>]>, TaskError> {
        let Ok(found) = self.find(reducer) else { return Ok(Cow::Borrowed(&[])) };
        match &self.blocks[found].1 {
            Kept::Memory(chunks) => Ok(Cow::Borrowed(chunks)),
            Kept::Disk(frames) => {
                let chunks = frames.iter().map(|frame| frame.read().map(Arc::new)).collect::<Result<_, _>>();
                chunks.map(Cow::Owned).inspect_err(|_| self.damaged.store(true, Ordering::Release))
            }
        }
    }

    /// What they take in memory, by estimate.
    pub fn bytes(&self) -> u64 {
        let chunks = self.blocks.iter().filter_map(|(_, block)| match block {
            Kept::Memory(chunks) => Some(chunks),
            Kept::Disk(_) => None,
        });
        chunks.flatten().map(|chunk| size::estimate(chunk)).sum()
    }

    /// Looks whether what was spilled is still there.
    pub fn check(&self) {
        if !self.blocks.iter().all(|(_, block)| block.is_sound()) {
            self.damaged.store(true, Ordering::Release);
        }
    }

    /// The same blocks on disk, and how many bytes they take there.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn spilled(&self, space: &dyn SpillSpace) -> Result<(Self, u64), SpillError> {
        let mut writer = FrameWriter::new(space);
        for (_, block) in &self.blocks {
            if let Kept::Memory(chunks) = block {
                writer.add(chunks.iter().flat_map(|chunk| chunk.iter()))?;
            }
        }
        let (lists, bytes) = writer.finish()?;
        let mut lists = lists.into_iter();
        let blocks = self.blocks.iter().map(|(reducer, block)| match block {
            Kept::Memory(_) => (*reducer, Kept::Disk(lists.next().unwrap_or_default())),
            Kept::Disk(frames) => (*reducer, Kept::Disk(frames.clone())),
        });
        let blocks = blocks.collect();
        Ok((Self { blocks, damaged: AtomicBool::new(false) }, bytes))
    }
}

impl<R> Blocks<R> {
    fn find(&self, reducer: usize) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&reducer, |(at, _)| *at as usize)
    }

    /// Whether there is a block for `reducer`.
    pub fn has(&self, reducer: usize) -> bool {
        self.find(reducer).is_ok()
    }

    /// Whether they were spilled and could not be read back.
    pub fn are_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

impl<R: ExchangeData> StoredData for Blocks<R> {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn has_block(&self, reducer: usize) -> bool {
        self.has(reducer)
    }

    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<Spilled>, SpillError> {
        let (blocks, file_bytes) = self.spilled(space)?;
        Ok(Some(Spilled { data: Arc::new(blocks), file_bytes }))
    }

    fn is_damaged(&self) -> bool {
        self.are_damaged()
    }

    fn check(&self) {
        Self::check(self);
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Collects rows by reducer.
pub struct BlockWriter<R> {
    open: Vec<Vec<R>>,
    full: Vec<Vec<Arc<Vec<R>>>>,
    rows: u64,
}

impl<R> BlockWriter<R> {
    /// A writer for this many reducers.
    pub fn new(reducers: usize) -> Self {
        Self { open: (0..reducers).map(|_| Vec::new()).collect(), full: Vec::new(), rows: 0 }
    }

    /// Appends a row to the block of `reducer`.
    ///
    /// # Panics
    /// If there is no such reducer.
    #[inline]
    pub fn push(&mut self, reducer: usize, row: R) {
        let chunk = &mut self.open[reducer];
        if chunk.len() == chunk.capacity() {
            self.start_chunk(reducer);
        }
        self.open[reducer].push(row);
    }

    #[cold]
    #[inline(never)]
    fn start_chunk(&mut self, reducer: usize) {
        let size = mem::size_of::<R>().max(1);
        let last = self.open[reducer].len();
        let rows = (last * 2).clamp((FIRST_CHUNK_BYTES / size).clamp(1, 64), (LAST_CHUNK_BYTES / size).max(1));
        // A first row alone is worth one slot: most blocks of many tiny map tasks hold no more.
        let rows = if last == 0 { 1 } else { rows };
        let done = mem::replace(&mut self.open[reducer], Vec::with_capacity(rows));
        if done.is_empty() {
            return;
        }
        self.rows += done.len() as u64;
        if self.full.is_empty() {
            self.full.resize_with(self.open.len(), Vec::new);
        }
        self.full[reducer].push(Arc::new(done));
    }

    /// The blocks, and the number of rows in them.
    pub fn finish(mut self) -> (Blocks<R>, u64) {
        let mut blocks = Vec::new();
        for (reducer, mut last) in self.open.into_iter().enumerate() {
            let mut chunks = self.full.get_mut(reducer).map(mem::take).unwrap_or_default();
            if !last.is_empty() {
                self.rows += last.len() as u64;
                last.shrink_to_fit();
                chunks.push(Arc::new(last));
            }
            if !chunks.is_empty() {
                let reducer = u32::try_from(reducer).expect("fewer than 2^32 reducers");
                blocks.push((reducer, Kept::Memory(chunks)));
            }
        }
        (Blocks { blocks, damaged: AtomicBool::new(false) }, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_their_order_and_empty_blocks_take_no_room() {
        let mut writer = BlockWriter::new(1000);
        for row in 0..50_000_u64 {
            writer.push(if row % 2 == 0 { 7 } else { 900 }, row);
        }
        let (blocks, rows) = writer.finish();
        assert_eq!(rows, 50_000);
        assert_eq!(blocks.blocks.len(), 2);
        let even: Vec<u64> = blocks.of(7).unwrap().iter().flat_map(|chunk| chunk.iter().copied()).collect();
        assert!(even.iter().copied().eq((0..50_000).step_by(2)));
        assert!(blocks.of(8).unwrap().is_empty());
    }
}
