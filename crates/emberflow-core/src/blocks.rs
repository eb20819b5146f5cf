//! Shuffle blocks: what one map task wrote, one block for each reducer that gets any row, in memory or on disk.
//!
//! A block is a list of chunks that double in size up to 64 KiB, so that rows are written once and never moved, and a
//! map task of one row and a hundred thousand reducers costs one small allocation.

use std::{
    any::Any,
    collections::BTreeMap,
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
    fingerprint::Fingerprint,
    memory::{Claim, Workspace},
    segments::{self, Footprint, Segment},
    spill::{SpillError, SpillSpace},
    store::{Stored, StoredData},
    wire::{self, Arrived, Give},
};

const FIRST_CHUNK_BYTES: usize = 512;
const LAST_CHUNK_BYTES: usize = 64 << 10;

/// The finished blocks of one map task, ordered by reducer.
pub struct Blocks<R> {
    blocks: Vec<(u32, Vec<Segment<R>>)>,
    damaged: AtomicBool,
}

impl<R: ExchangeData> Blocks<R> {
    fn new(blocks: Vec<(u32, Vec<Segment<R>>)>) -> Self {
        Self { blocks, damaged: AtomicBool::new(false) }
    }

    /// The memory and the disk that the blocks take.
    pub fn footprint(&self) -> Footprint {
        self.blocks.iter().flat_map(|(_, segments)| segments).map(Segment::footprint).sum()
    }

    /// The memory and the disk that the rows for `reducer` take.
    pub fn footprint_of(&self, reducer: usize) -> Footprint {
        self.of(reducer).iter().map(Segment::footprint).sum()
    }

    /// The fingerprint by which the blocks are known when they are made again.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.blocks.iter().map(|(reducer, segments)| (*reducer, &**segments)))
    }

    /// Looks whether what was spilled is still there.
    pub fn check(&self) {
        if !self.blocks.iter().flat_map(|(_, segments)| segments).all(Segment::is_sound) {
            self.damaged.store(true, Ordering::Release);
        }
    }

    /// Gives the rows for one reducer, or those for all of them, as pieces of this kind.
    ///
    /// # Errors
    /// As [`wire::pack`].
    pub fn pack(&self, kind: u8, reducer: Option<usize>, give: &mut Give<'_>) -> Result<(), TaskError> {
        match reducer {
            Some(reducer) => wire::pack(kind, Some(wire::reader(reducer)), self.of(reducer), give),
            None => self.blocks.iter().try_for_each(|(reader, rows)| wire::pack(kind, Some(*reader), rows, give)),
        }
    }

    /// The data of a store that has blocks of one kind, in its pieces.
    ///
    /// # Errors
    /// As [`wire::unpack`].
    pub fn unpack_stored(pieces: &[Arrived]) -> Result<Stored, TaskError> {
        let blocks = Self::unpack(0, pieces)?;
        Ok(Stored::new(blocks.footprint(), blocks))
    }

    /// The blocks in pieces of this kind.
    ///
    /// # Errors
    /// As [`wire::unpack`].
    pub fn unpack(kind: u8, pieces: &[Arrived]) -> Result<Self, TaskError> {
        let mut blocks: BTreeMap<u32, Vec<Segment<R>>> = BTreeMap::new();
        for piece in pieces {
            let reader = piece.reader.ok_or_else(|| wire::missing("the reducer of a block"))?;
            let rows = wire::unpack(kind, piece)?;
            if !rows.is_empty() {
                blocks.entry(reader).or_default().extend(rows);
            }
        }
        Ok(Self::new(blocks.into_iter().collect()))
    }

    /// Writes the blocks to disk and returns the same ones, all of them there.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn spilled(&self, space: &dyn SpillSpace) -> Result<Self, SpillError> {
        let lists = segments::spill(self.blocks.iter().map(|(_, segments)| &**segments), space)?;
        Ok(Self::new(self.blocks.iter().map(|(reducer, _)| *reducer).zip(lists).collect()))
    }
}

impl<R> Blocks<R> {
    fn find(&self, reducer: usize) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&reducer, |(at, _)| *at as usize)
    }

    /// The rows for `reducer`, in the order in which they were written.
    pub fn of(&self, reducer: usize) -> &[Segment<R>] {
        self.find(reducer).map_or(&[], |found| &self.blocks[found].1)
    }

    /// The rows of each of so many reducers.
    pub fn into_lists(self, reducers: usize) -> Vec<Vec<Segment<R>>> {
        let mut lists: Vec<_> = (0..reducers).map(|_| Vec::new()).collect();
        self.blocks.into_iter().for_each(|(reducer, segments)| lists[reducer as usize] = segments);
        lists
    }

    /// Returns whether there is a block for `reducer`.
    pub fn has(&self, reducer: usize) -> bool {
        self.find(reducer).is_ok()
    }

    /// Returns whether some of them were found damaged on disk.
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

    fn holds(&self, reducer: usize) -> Footprint {
        self.footprint_of(reducer)
    }

    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<(Arc<dyn StoredData>, Footprint)>, SpillError> {
        let blocks = self.spilled(space)?;
        let footprint = blocks.footprint();
        Ok(Some((Arc::new(blocks), footprint)))
    }

    fn is_damaged(&self) -> bool {
        self.are_damaged()
    }

    fn check(&self) {
        Self::check(self);
    }

    fn fingerprint(&self) -> Fingerprint {
        Self::fingerprint(self)
    }

    fn pack(&self, reader: Option<usize>, give: &mut Give<'_>) -> Result<(), TaskError> {
        Self::pack(self, 0, reader, give)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Collects rows by reducer: in memory while there is room, else on disk.
pub struct BlockWriter<R> {
    open: Vec<Vec<R>>,
    /// The segments that are full, or on disk.
    done: Vec<Vec<Segment<R>>>,
    claim: Claim,
    /// The bytes that are not claimed yet.
    grown: u64,
    /// Whether rows can go to disk, as far as is known.
    spillable: bool,
    workspace: Arc<dyn Workspace>,
}

impl<R: ExchangeData> BlockWriter<R> {
    /// A writer for this many reducers.
    pub fn new(reducers: usize, workspace: &Arc<dyn Workspace>) -> Self {
        Self {
            open: (0..reducers).map(|_| Vec::new()).collect(),
            done: Vec::new(),
            claim: Claim::new(workspace),
            grown: 0,
            spillable: true,
            workspace: Arc::clone(workspace),
        }
    }

    /// Appends a row to the block of `reducer`. After some of them, the writer wants to [settle](Self::settle).
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
        // The rows that are to come are taken to own as much as those before them.
        self.grown += (rows * size) as u64;
        if !done.is_empty() {
            let heap = self.done_with(reducer, done);
            self.grown += heap * rows as u64 / last as u64;
        }
    }

    /// Adds a chunk that is full. Returns the bytes that its rows own.
    fn done_with(&mut self, reducer: usize, rows: Vec<R>) -> u64 {
        if self.done.is_empty() {
            self.done.resize_with(self.open.len(), Vec::new);
        }
        let shallow = mem::size_of_val(&*rows) as u64;
        let segment = Segment::from(rows);
        let heap = segment.footprint().bytes - shallow;
        self.done[reducer].push(segment);
        heap
    }

    /// Takes room for what was pushed, or writes it to disk if there is none. To be called once a batch.
    ///
    /// # Errors
    /// If the rows cannot be written.
    #[inline]
    pub fn settle(&mut self) -> Result<(), TaskError> {
        if self.grown == 0 {
            return Ok(());
        }
        let grown = mem::take(&mut self.grown);
        if self.claim.grow(grown) {
            return Ok(());
        }
        self.claim.force(grown);
        if self.spillable && self.claim.bytes() >= self.workspace.unit() { self.write() } else { Ok(()) }
    }

    /// Writes all rows.
    #[cold]
    #[inline(never)]
    fn write(&mut self) -> Result<(), TaskError> {
        for reducer in 0..self.open.len() {
            let rows = mem::take(&mut self.open[reducer]);
            if !rows.is_empty() {
                self.done_with(reducer, rows);
            }
        }
        // What is on disk already is at the beginning of each list.
        let fresh = |list: &Vec<Segment<R>>| {
            list.iter().rposition(|segment| matches!(segment, Segment::Packed(_))).map_or(0, |last| last + 1)
        };
        let lists = self.done.iter().map(|list| &list[fresh(list)..]);
        match segments::spill(lists, self.workspace.space()) {
            Ok(spilled) => {
                for (list, spilled) in self.done.iter_mut().zip(spilled) {
                    list.truncate(fresh(list));
                    list.extend(spilled);
                }
                self.claim.shrink(self.claim.bytes());
            }
            Err(SpillError::Rows { .. }) => self.spillable = false,
            Err(error @ SpillError::Io(_)) => return Err(self.workspace.failed(error)),
        }
        Ok(())
    }

    /// The blocks, and the room that those in memory have.
    pub fn finish(mut self) -> (Blocks<R>, Claim) {
        let mut blocks = Vec::new();
        for (reducer, mut last) in self.open.into_iter().enumerate() {
            let mut segments = self.done.get_mut(reducer).map(mem::take).unwrap_or_default();
            if !last.is_empty() {
                last.shrink_to_fit();
                segments.push(Segment::from(last));
            }
            if !segments.is_empty() {
                let reducer = u32::try_from(reducer).expect("fewer than 2^32 reducers");
                blocks.push((reducer, segments));
            }
        }
        (Blocks::new(blocks), self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_their_order_and_empty_blocks_take_no_room() {
        let mut writer = BlockWriter::new(1000, &crate::memory::unlimited());
        for row in 0..50_000_u64 {
            writer.push(if row % 2 == 0 { 7 } else { 900 }, row);
        }
        let (blocks, _claim) = writer.finish();
        assert_eq!(blocks.footprint().rows, 50_000);
        assert_eq!(blocks.blocks.len(), 2);
        let even: Vec<u64> = blocks.of(7).iter().flat_map(|chunk| chunk.read().unwrap().into_vec()).collect();
        assert!(even.iter().copied().eq((0..50_000).step_by(2)));
        assert!(blocks.of(8).is_empty());
    }
}
