//! Shuffle blocks: what one map task wrote, one block for each reducer that gets any row.
//!
//! A block is a list of chunks that double in size up to 64 KiB, so that rows are written once and never moved, and a
//! map task of one row and a hundred thousand reducers costs one small allocation.

use std::{any::Any, mem, sync::Arc};

use crate::{batch::AnyStream, store::StoredData};

const FIRST_CHUNK_BYTES: usize = 512;
const LAST_CHUNK_BYTES: usize = 64 << 10;

/// The finished blocks of one map task, ordered by reducer.
pub struct Blocks<R> {
    blocks: Vec<(u32, Vec<Arc<Vec<R>>>)>,
}

impl<R> Blocks<R> {
    /// The chunks for `reducer`, in the order in which they were written.
    pub fn of(&self, reducer: usize) -> &[Arc<Vec<R>>] {
        match self.blocks.binary_search_by_key(&reducer, |(at, _)| *at as usize) {
            Ok(found) => &self.blocks[found].1,
            Err(_) => &[],
        }
    }

    /// Whether there is a block for `reducer`.
    pub fn has(&self, reducer: usize) -> bool {
        self.blocks.binary_search_by_key(&reducer, |(at, _)| *at as usize).is_ok()
    }

    /// All the chunks, for measuring.
    pub fn chunks(&self) -> impl Iterator<Item = &[R]> {
        self.blocks.iter().flat_map(|(_, chunks)| chunks.iter().map(|chunk| chunk.as_slice()))
    }
}

impl<R: Send + Sync + 'static> StoredData for Blocks<R> {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn has_block(&self, reducer: usize) -> bool {
        self.has(reducer)
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
                blocks.push((u32::try_from(reducer).expect("fewer than 2^32 reducers"), chunks));
            }
        }
        (Blocks { blocks }, self.rows)
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
        let even: Vec<u64> = blocks.of(7).iter().flat_map(|chunk| chunk.iter().copied()).collect();
        assert!(even.iter().copied().eq((0..50_000).step_by(2)));
        assert!(blocks.of(8).is_empty());
    }
}
