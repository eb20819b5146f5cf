//! What a reducer gets, split by other bits of the hash into pieces whose tables fit the cache.
//!
//! At high cardinality nearly every row of one large table costs a cache miss; this costs one more pass instead (radix
//! partitioning, after Manegold, Boncz and Kersten 2002). Rows keep their order within a piece.

use std::{mem, sync::Arc};

use emberflow_core::{
    batch::{Batch, BoxStream, SharedRows},
    data::{Data, Key},
    error::TaskError,
    partitioner::KeyHasher,
    task::TaskContext,
};

/// Shallow bytes of rows that one piece should have: its table fits the second-level cache.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces at most: each needs a cache line and a page to be written to.
const MAX_PIECE_BITS: u32 = 10;

/// So many bits of the hash tell pieces of so many bytes of rows apart.
pub(super) fn bits(bytes: usize) -> u32 {
    (bytes / PIECE_BYTES).next_power_of_two().trailing_zeros().min(MAX_PIECE_BITS)
}

/// The piece of a key, by bits that neither the partition nor the table's index comes from.
#[inline]
fn piece_of(hash: u64, bits: u32) -> usize {
    (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - bits)) as usize
}

/// The rows of a reducer as they came: somebody else's, looked at but not moved.
pub(super) struct Chunks<R>(Vec<SharedRows<R>>);

impl<R: Data> Chunks<R> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds chunks of a block.
    pub(super) fn extend(&mut self, chunks: &[Arc<Vec<R>>]) {
        self.0.extend(chunks.iter().map(|rows| SharedRows::new(Arc::clone(rows), 0..rows.len())));
    }

    /// Reads a stream to its end.
    pub(super) fn gather(mut rows: BoxStream<R>, task: &TaskContext) -> Result<Self, TaskError> {
        let mut chunks = Self::new();
        while let Some(batch) = rows.next()? {
            task.check_cancelled()?;
            match batch {
                Batch::Shared(rows) => chunks.0.push(rows),
                Batch::Owned(rows) => chunks.extend(&[Arc::new(rows)]),
            }
        }
        Ok(chunks)
    }

    /// Shallow bytes of the rows.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|chunk| mem::size_of_val(chunk.as_slice())).sum()
    }
}

impl<K: Key, V: Data> Chunks<(K, V)> {
    /// Splits the rows by so many bits of the hash of their keys.
    pub(super) fn split(self, bits: u32, hasher: &KeyHasher) -> Pieces<(K, V)> {
        let chunks = self.0;
        if bits == 0 {
            return Pieces { split: Split::Whole, chunks: chunks.into() };
        }
        let rows: usize = chunks.iter().map(|chunk| chunk.as_slice().len()).sum();
        // Pieces are about equal: a little more than the mean saves most of them from growing.
        let room = (rows >> bits) + (rows >> (bits + 3));
        let count = 1 << bits;
        if mem::needs_drop::<(K, V)>() {
            let mut pieces: Vec<Vec<(u32, u32)>> = (0..count).map(|_| Vec::with_capacity(room)).collect();
            for (at, chunk) in (0..).zip(&chunks) {
                for (row, (key, _)) in (0..).zip(chunk.as_slice()) {
                    pieces[piece_of(hasher.hash(key), bits)].push((at, row));
                }
            }
            Pieces { split: Split::Located(pieces), chunks: chunks.into() }
        } else {
            let mut pieces: Vec<Vec<(K, V)>> = (0..count).map(|_| Vec::with_capacity(room)).collect();
            for row in chunks.iter().flat_map(|chunk| chunk.as_slice()) {
                pieces[piece_of(hasher.hash(&row.0), bits)].push(row.clone());
            }
            Pieces { split: Split::Copied(pieces), chunks: Arc::default() }
        }
    }
}

/// The rows of a reducer by piece.
pub(super) struct Pieces<R> {
    split: Split<R>,
    chunks: Arc<[SharedRows<R>]>,
}

/// Copied where rows own nothing, else pointed to, so that no string is cloned only to be compared.
enum Split<R> {
    /// There is one piece: all rows.
    Whole,
    /// The rows of each piece.
    Copied(Vec<Vec<R>>),
    /// For each piece, chunk and row of each of its rows.
    Located(Vec<Vec<(u32, u32)>>),
}

impl<R: Data> Pieces<R> {
    /// No piece at all.
    pub(super) fn none() -> Self {
        Self { split: Split::Copied(Vec::new()), chunks: Arc::default() }
    }

    pub(super) fn count(&self) -> usize {
        match &self.split {
            Split::Whole => 1,
            Split::Copied(pieces) => pieces.len(),
            Split::Located(pieces) => pieces.len(),
        }
    }

    /// The rows of one piece; taken once.
    pub(super) fn take(&mut self, piece: usize) -> Piece<R> {
        match &mut self.split {
            Split::Whole => Piece::Chunks(mem::take(&mut self.chunks)),
            Split::Copied(pieces) => Piece::Rows(mem::take(&mut pieces[piece])),
            Split::Located(pieces) => Piece::Located(mem::take(&mut pieces[piece]), Arc::clone(&self.chunks)),
        }
    }
}

/// The rows of one piece.
pub(super) enum Piece<R> {
    /// All chunks.
    Chunks(Arc<[SharedRows<R>]>),
    /// Copies.
    Rows(Vec<R>),
    /// Chunk and row of each.
    Located(Vec<(u32, u32)>, Arc<[SharedRows<R>]>),
}

impl<R: Data> Piece<R> {
    /// Calls `each` with every row, in their order.
    pub(super) fn for_each(&self, each: impl FnMut(&R)) {
        match self {
            Self::Chunks(chunks) => chunks.iter().flat_map(SharedRows::as_slice).for_each(each),
            Self::Rows(rows) => rows.iter().for_each(each),
            Self::Located(rows, chunks) => rows.iter().map(|(chunk, row)| located(chunks, *chunk, *row)).for_each(each),
        }
    }

    /// The rows by number.
    pub(super) fn indexed(self) -> Indexed<R> {
        let owns = mem::needs_drop::<R>();
        match self {
            Self::Chunks(chunks) if owns => {
                let mut located = Vec::new();
                for (at, chunk) in (0..).zip(chunks.iter()) {
                    located.extend((0..).zip(chunk.as_slice()).map(|(row, _)| (at, row)));
                }
                Indexed { rows: Vec::new(), located, chunks }
            }
            Self::Chunks(chunks) => {
                let rows = chunks.iter().flat_map(SharedRows::as_slice).cloned().collect();
                Indexed { rows, located: Vec::new(), chunks: Arc::default() }
            }
            Self::Rows(rows) => Indexed { rows, located: Vec::new(), chunks: Arc::default() },
            Self::Located(located, chunks) => Indexed { rows: Vec::new(), located, chunks },
        }
    }
}

/// The rows of one piece, by number: in `rows` where they own nothing, else where `located` says.
pub(super) struct Indexed<R> {
    rows: Vec<R>,
    located: Vec<(u32, u32)>,
    chunks: Arc<[SharedRows<R>]>,
}

impl<R> Indexed<R> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        if mem::needs_drop::<R>() { self.located.len() } else { self.rows.len() }
    }

    #[inline]
    pub(super) fn at(&self, row: usize) -> &R {
        if mem::needs_drop::<R>() {
            let (chunk, row) = self.located[row];
            located(&self.chunks, chunk, row)
        } else {
            &self.rows[row]
        }
    }
}

#[inline]
fn located<R>(chunks: &[SharedRows<R>], chunk: u32, row: u32) -> &R {
    &chunks[chunk as usize].as_slice()[row as usize]
}
