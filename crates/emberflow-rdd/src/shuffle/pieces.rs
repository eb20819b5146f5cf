//! A reducer's rows, split by other bits of the hash into pieces whose tables fit the cache.
//!
//! At high cardinality nearly every row of one large table costs a cache miss; this costs one more pass instead (radix
//! partitioning, after Manegold, Boncz and Kersten 2002). Rows keep their order within a piece.
//!
//! The number of pieces is decided by the rows alone. The budget decides only where they are meanwhile: if there is no
//! room to split all of them in memory, they are first scattered to disk by the highest of those bits, and one part
//! after the other is split (the Grace hash join's way, after Kitsuregawa, Tanaka and Moto-Oka 1983). The pieces, and
//! the order of their rows, are the same.

use std::{mem, sync::Arc, vec};

use emberflow_core::{
    batch::{Batch, BoxStream, SharedRows},
    blocks::BlockWriter,
    data::{ExchangeData, Key},
    error::TaskError,
    memory::{Claim, Keep},
    partitioner::KeyHasher,
    segments::{RowBuffer, Segment},
    size,
    task::TaskContext,
};

/// Shallow bytes of rows that one piece should have: its table fits the second-level cache.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces at most: each needs a cache line and a page to be written to.
const MAX_PIECE_BITS: u32 = 10;
/// Bits that rows are scattered to disk by.
const SCATTER_BITS: u32 = 5;
/// Rows that are scattered between two looks at the memory that they take.
const SETTLE_ROWS: usize = 1024;

/// So many bits of the hash tell pieces of so many bytes of rows apart.
pub(super) fn bits(bytes: usize) -> u32 {
    (bytes / PIECE_BYTES).next_power_of_two().trailing_zeros().min(MAX_PIECE_BITS)
}

/// Pieces that so many bits tell apart, of which all but the last ones are the same for all rows.
#[derive(Clone, Copy)]
struct Level {
    bits: u32,
    left: u32,
}

impl Level {
    /// The piece of a key among those that are left, by bits that neither the partition nor the table's index comes from.
    #[inline]
    fn piece(self, hash: u64) -> usize {
        let piece = (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - self.bits)) as usize;
        piece & ((1 << self.left) - 1)
    }
}

/// The rows of a reducer as they came.
pub(super) struct Chunks<R> {
    segments: Vec<Segment<R>>,
    /// The room that those of the task's own have.
    claim: Option<Claim>,
}

impl<R: ExchangeData> Chunks<R> {
    pub(super) fn new() -> Self {
        Self { segments: Vec::new(), claim: None }
    }

    /// Adds rows of a block, which is somebody else's.
    pub(super) fn extend(&mut self, segments: &[Segment<R>]) {
        self.segments.extend(segments.iter().map(|segment| match segment {
            Segment::Memory(rows, _) => Segment::Memory(rows.clone(), 0),
            Segment::Packed(frame) => Segment::Packed(frame.clone()),
        }));
    }

    /// Reads a stream to its end. Rows that find no room go to disk.
    pub(super) fn gather(mut rows: BoxStream<R>, task: &TaskContext) -> Result<Self, TaskError> {
        let mut buffer = RowBuffer::new(task.workspace(), Keep::IfRoom);
        while let Some(batch) = rows.next()? {
            task.check_cancelled()?;
            match batch {
                Batch::Shared(rows) => buffer.push_lent(Segment::Memory(rows, 0)),
                Batch::Owned(rows) => buffer.push(rows.into())?,
            }
        }
        let (segments, claim) = buffer.finish()?;
        Ok(Self { segments, claim: Some(claim) })
    }

    fn rows(&self) -> usize {
        self.segments.iter().map(Segment::rows).sum()
    }

    /// Shallow bytes of the rows.
    pub(super) fn bytes(&self) -> usize {
        self.rows() * mem::size_of::<R>()
    }

    /// All rows as one piece.
    pub(super) fn whole(self) -> Piece<R> {
        let runs = self.segments.into_iter().map(Part::Segment).collect::<Vec<_>>().into_iter();
        Piece { runs, _claim: self.claim }
    }
}

impl<K: Key, V: ExchangeData> Chunks<(K, V)> {
    /// Splits the rows by so many bits of the hash of their keys.
    pub(super) fn split(self, bits: u32, hasher: &KeyHasher, task: &TaskContext) -> Result<Pieces<K, V>, TaskError> {
        self.split_at(Level { bits, left: bits }, hasher, task)
    }

    fn split_at(self, level: Level, hasher: &KeyHasher, task: &TaskContext) -> Result<Pieces<K, V>, TaskError> {
        if level.left == 0 {
            return Ok(Pieces { split: Split::Whole(self.whole()), _claims: [None, None] });
        }
        let rows = self.rows();
        let mut claim = Claim::new(task.workspace());
        if mem::needs_drop::<(K, V)>() {
            let on_disk = self.segments.iter().map(|segment| segment.footprint().spilled).sum::<u64>();
            if claim.grow(on_disk + (rows * mem::size_of::<(u32, u32)>()) as u64) {
                return self.locate(level, hasher, claim);
            }
        } else if claim.grow((rows * mem::size_of::<(K, V)>()) as u64) {
            return self.copy(level, hasher, claim);
        }
        self.scatter(level, hasher, task)
    }

    /// Room for a piece, of which there are so many bits, of so many rows: a little more than the mean saves most of
    /// them from growing.
    fn room(rows: usize, bits: u32) -> usize {
        (rows >> bits) + (rows >> (bits + 3))
    }

    fn locate(self, level: Level, hasher: &KeyHasher, claim: Claim) -> Result<Pieces<K, V>, TaskError> {
        let room = Self::room(self.rows(), level.left);
        let chunks = self.segments.iter().map(in_memory).collect::<Result<Arc<[_]>, _>>()?;
        let mut pieces: Vec<Vec<(u32, u32)>> = (0..1 << level.left).map(|_| Vec::with_capacity(room)).collect();
        for (at, chunk) in (0..).zip(chunks.iter()) {
            for (row, (key, _)) in (0..).zip(chunk.as_slice()) {
                pieces[level.piece(hasher.hash(key))].push((at, row));
            }
        }
        Ok(Pieces { split: Split::Located(pieces, chunks), _claims: [Some(claim), self.claim] })
    }

    fn copy(self, level: Level, hasher: &KeyHasher, claim: Claim) -> Result<Pieces<K, V>, TaskError> {
        let room = Self::room(self.rows(), level.left);
        let mut pieces: Vec<Vec<(K, V)>> = (0..1 << level.left).map(|_| Vec::with_capacity(room)).collect();
        for segment in self.segments {
            for row in segment.read()?.as_slice() {
                pieces[level.piece(hasher.hash(&row.0))].push(row.clone());
            }
        }
        Ok(Pieces { split: Split::Copied(pieces), _claims: [Some(claim), None] })
    }

    /// Moves the rows to parts, each of several pieces; to disk as far as there is no room.
    fn scatter(mut self, level: Level, hasher: &KeyHasher, task: &TaskContext) -> Result<Pieces<K, V>, TaskError> {
        let bits = level.left.min(SCATTER_BITS);
        let low = level.left - bits;
        let mut writer = BlockWriter::new(1 << bits, task.workspace());
        for segment in mem::take(&mut self.segments) {
            task.check_cancelled()?;
            let own = segment.footprint().bytes;
            let part = |(key, _): &(K, V)| level.piece(hasher.hash(key)) >> low;
            match segment.read()? {
                Batch::Owned(rows) => {
                    rows.into_iter().for_each(|row| writer.push(part(&row), row));
                    writer.settle()?;
                }
                Batch::Shared(rows) => {
                    for rows in rows.as_slice().chunks(SETTLE_ROWS) {
                        rows.iter().for_each(|row| writer.push(part(row), row.clone()));
                        writer.settle()?;
                    }
                }
            }
            drop(segment);
            if let Some(claim) = &mut self.claim {
                claim.shrink(own);
            }
        }
        let (blocks, claim) = writer.finish();
        let parts = blocks.into_lists(1 << bits);
        let next = Level { bits: level.bits, left: low };
        let (hasher, task) = (hasher.clone(), task.clone());
        let scattered = Scattered { parts, claim, next, open: None, hasher, task };
        Ok(Pieces { split: Split::Scattered(Box::new(scattered)), _claims: [None, None] })
    }
}

fn in_memory<R: ExchangeData>(segment: &Segment<R>) -> Result<SharedRows<R>, TaskError> {
    Ok(match segment.read()? {
        Batch::Shared(rows) => rows,
        Batch::Owned(rows) => {
            let window = 0..rows.len();
            SharedRows::new(Arc::new(rows), window)
        }
    })
}

/// The rows of a reducer by piece.
pub(super) struct Pieces<K, V> {
    split: Split<K, V>,
    /// The room that rows in memory have.
    _claims: [Option<Claim>; 2],
}

/// Copied where rows own nothing, else pointed to, so that no string is cloned only to be compared.
enum Split<K, V> {
    /// There is one piece: all rows.
    Whole(Piece<(K, V)>),
    /// The rows of each piece.
    Copied(Vec<Vec<(K, V)>>),
    /// For each piece, chunk and row of each of its rows.
    Located(Vec<Vec<(u32, u32)>>, Arc<[SharedRows<(K, V)>]>),
    /// Parts of several pieces.
    Scattered(Box<Scattered<K, V>>),
}

/// Parts of several pieces each, which are split when the first of them is taken.
struct Scattered<K, V> {
    parts: Vec<Vec<Segment<(K, V)>>>,
    /// The room that those in memory have.
    claim: Claim,
    next: Level,
    open: Option<(usize, Box<Pieces<K, V>>)>,
    hasher: KeyHasher,
    task: TaskContext,
}

impl<K: Key, V: ExchangeData> Pieces<K, V> {
    /// No piece at all.
    pub(super) fn none() -> Self {
        Self { split: Split::Copied(Vec::new()), _claims: [None, None] }
    }

    pub(super) fn count(&self) -> usize {
        match &self.split {
            Split::Whole(_) => 1,
            Split::Copied(pieces) => pieces.len(),
            Split::Located(pieces, _) => pieces.len(),
            Split::Scattered(scattered) => scattered.parts.len() << scattered.next.left,
        }
    }

    /// The rows of one piece; taken once, in their order.
    pub(super) fn take(&mut self, piece: usize) -> Result<Piece<(K, V)>, TaskError> {
        let part = match &mut self.split {
            Split::Whole(whole) => return Ok(mem::replace(whole, Piece::none())),
            Split::Copied(pieces) => Part::Rows(mem::take(&mut pieces[piece])),
            Split::Located(pieces, chunks) => Part::Located(mem::take(&mut pieces[piece]), Arc::clone(chunks)),
            Split::Scattered(scattered) => return scattered.take(piece),
        };
        Ok(Piece { runs: vec![part].into_iter(), _claim: None })
    }
}

impl<K: Key, V: ExchangeData> Scattered<K, V> {
    fn take(&mut self, piece: usize) -> Result<Piece<(K, V)>, TaskError> {
        let part = piece >> self.next.left;
        let pieces = match &mut self.open {
            Some((at, pieces)) if *at == part => pieces,
            _ => {
                self.open = None;
                let segments = mem::take(&mut self.parts[part]);
                let claim = self.claim.split(segments.iter().map(|segment| segment.footprint().bytes).sum());
                let chunks = Chunks { segments, claim: Some(claim) };
                let pieces = Box::new(chunks.split_at(self.next, &self.hasher, &self.task)?);
                &mut self.open.insert((part, pieces)).1
            }
        };
        pieces.take(piece & ((1 << self.next.left) - 1))
    }
}

/// The rows of one piece, in runs of those that are in memory together.
pub(super) struct Piece<R> {
    runs: vec::IntoIter<Part<R>>,
    _claim: Option<Claim>,
}

enum Part<R> {
    Segment(Segment<R>),
    /// All rows, if they own nothing; then it is the only part.
    Rows(Vec<R>),
    /// The places of all rows, if they own something; then it is the only part.
    Located(Vec<(u32, u32)>, Arc<[SharedRows<R>]>),
}

impl<R: ExchangeData> Piece<R> {
    fn none() -> Self {
        Self { runs: Vec::new().into_iter(), _claim: None }
    }

    /// The next run, read back if it was on disk.
    pub(super) fn next(&mut self) -> Result<Option<Run<R>>, TaskError> {
        let Some(part) = self.runs.next() else { return Ok(None) };
        Ok(Some(match part {
            Part::Segment(segment) => Run::Batch(segment.read()?),
            Part::Rows(rows) => Run::Batch(Batch::Owned(rows)),
            Part::Located(rows, chunks) => Run::Located(rows, chunks),
        }))
    }

    /// The bytes that the rows take in memory beyond those that they take now, if all of them are
    /// [`indexed`](Self::indexed).
    pub(super) fn bytes_indexed(&self) -> u64 {
        let place = if mem::needs_drop::<R>() { mem::size_of::<(u32, u32)>() } else { mem::size_of::<R>() };
        let parts = self.runs.as_slice().iter().map(|part| match part {
            Part::Segment(segment) => segment.footprint().spilled + (segment.rows() * place) as u64,
            Part::Rows(_) | Part::Located(..) => 0,
        });
        parts.sum()
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        let parts = self.runs.as_slice().iter().map(|part| match part {
            Part::Segment(segment) => segment.rows(),
            Part::Rows(rows) => rows.len(),
            Part::Located(rows, _) => rows.len(),
        });
        parts.sum()
    }

    /// The rows by number.
    pub(super) fn indexed(self) -> Result<Indexed<R>, TaskError> {
        let (mut rows, mut located, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
        for part in self.runs {
            match part {
                Part::Located(located, chunks) => return Ok(Indexed { rows, located, chunks, _claim: self._claim }),
                Part::Rows(rows) => return Ok(Indexed { rows, located, chunks: Arc::default(), _claim: self._claim }),
                Part::Segment(segment) if mem::needs_drop::<R>() => chunks.push(in_memory(&segment)?),
                Part::Segment(segment) => match segment.read()? {
                    Batch::Owned(mut read) => rows.append(&mut read),
                    Batch::Shared(read) => rows.extend_from_slice(read.as_slice()),
                },
            }
        }
        for (at, chunk) in (0..).zip(&chunks) {
            located.extend((0..).zip(chunk.as_slice()).map(|(row, _)| (at, row)));
        }
        Ok(Indexed { rows, located, chunks: chunks.into(), _claim: self._claim })
    }
}

/// Some rows of a piece, in memory.
pub(super) enum Run<R> {
    Batch(Batch<R>),
    /// Chunk and row of each.
    Located(Vec<(u32, u32)>, Arc<[SharedRows<R>]>),
}

impl<R: ExchangeData> Run<R> {
    /// Calls `each` with every row, in their order.
    pub(super) fn for_each(&self, each: impl FnMut(&R)) {
        match self {
            Self::Batch(rows) => rows.as_slice().iter().for_each(each),
            Self::Located(rows, chunks) => rows.iter().map(|(chunk, row)| located(chunks, *chunk, *row)).for_each(each),
        }
    }

    #[inline]
    pub(super) fn at(&self, row: usize) -> Option<&R> {
        match self {
            Self::Batch(rows) => rows.as_slice().get(row),
            Self::Located(rows, chunks) => rows.get(row).map(|(chunk, row)| located(chunks, *chunk, *row)),
        }
    }

    /// The memory that the rows take, by estimate.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Batch(rows) => size::estimate(rows.as_slice()),
            Self::Located(rows, chunks) => {
                let sizes = size::sample(rows.len()).map(|at| size::heap(located(chunks, rows[at].0, rows[at].1)));
                let (sampled, bytes) = sizes.fold((0, 0), |(count, bytes), heap| (count + 1, bytes + heap));
                (rows.len() * mem::size_of::<R>()) as u64 + size::scaled(bytes, rows.len(), sampled)
            }
        }
    }
}

/// The rows of one piece, by number: in `rows` where they own nothing, else where `located` says.
pub(super) struct Indexed<R> {
    rows: Vec<R>,
    located: Vec<(u32, u32)>,
    chunks: Arc<[SharedRows<R>]>,
    _claim: Option<Claim>,
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
