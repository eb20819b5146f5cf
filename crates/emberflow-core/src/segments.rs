//! Rows in their order, some of them in memory and some on disk.
//!
//! Owns what every holder of rows is made of: persisted partitions, shuffle blocks, and what a task gathers. A
//! [`RowBuffer`] gathers rows as they come, and writes those that find no room.

use std::{iter::Sum, mem, ops::Add, sync::Arc, vec};

use crate::{
    batch::{Batch, SharedRows, SharedStream, Stream},
    data::ExchangeData,
    error::TaskError,
    fingerprint::Fingerprint,
    memory::{Claim, Keep, Workspace},
    size,
    spill::{Frame, FrameWriter, InMemory, SpillError, SpillSpace},
};

/// Some rows, as they are or serialised.
pub enum Segment<T> {
    /// Behind an `Arc`, with the bytes that they take, as [`crate::size`] estimates them.
    Memory(SharedRows<T>, u64),
    /// Serialised: in a spill file, or in memory.
    Packed(Frame<T>),
}

impl<T> Clone for Segment<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Memory(rows, bytes) => Self::Memory(rows.clone(), *bytes),
            Self::Packed(frame) => Self::Packed(frame.clone()),
        }
    }
}

impl<T: ExchangeData> From<SharedRows<T>> for Segment<T> {
    fn from(rows: SharedRows<T>) -> Self {
        let bytes = size::estimate(rows.as_slice());
        Self::Memory(rows, bytes)
    }
}

impl<T: ExchangeData> From<Vec<T>> for Segment<T> {
    fn from(rows: Vec<T>) -> Self {
        let window = 0..rows.len();
        SharedRows::new(Arc::new(rows), window).into()
    }
}

impl<T: ExchangeData> Segment<T> {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        match self {
            Self::Memory(rows, _) => rows.as_slice().len(),
            Self::Packed(frame) => frame.rows(),
        }
    }

    /// The rows, read back if they are on disk.
    ///
    /// # Errors
    /// [`TaskError::SpillUnreadable`].
    pub fn read(&self) -> Result<Batch<T>, TaskError> {
        match self {
            Self::Memory(rows, _) => Ok(Batch::Shared(rows.clone())),
            Self::Packed(frame) => frame.read().map(Batch::Owned),
        }
    }

    /// Returns whether the bytes on disk are still those that were written.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Memory(..) => true,
            Self::Packed(frame) => frame.is_sound(),
        }
    }

    /// The memory and the disk that the rows take.
    pub fn footprint(&self) -> Footprint {
        let rows = self.rows() as u64;
        match self {
            Self::Memory(_, bytes) => Footprint { rows, bytes: *bytes, ..Footprint::default() },
            Self::Packed(frame) => {
                if frame.is_in_memory() {
                    return Footprint { rows, bytes: frame.packed_bytes(), ..Footprint::default() };
                }
                let (file_bytes, spilled) = (frame.packed_bytes(), frame.memory_bytes());
                Footprint { rows, bytes: 0, file_bytes, spilled }
            }
        }
    }
}

impl Fingerprint {
    /// The fingerprint of rows that go to one reader each.
    pub fn of<'a, R: ExchangeData>(lists: impl IntoIterator<Item = (u32, &'a [Segment<R>])>) -> Self {
        let (mut rows, mut blocks, mut bytes) = (0, crc32fast::Hasher::new(), Some(crc32fast::Hasher::new()));
        for (reader, list) in lists {
            let count: u64 = list.iter().map(|segment| segment.rows() as u64).sum();
            rows += count;
            blocks.update(&reader.to_le_bytes());
            blocks.update(&count.to_le_bytes());
            for segment in list {
                match (segment, &mut bytes) {
                    (Segment::Packed(frame), Some(bytes)) => bytes.combine(&frame.content()),
                    _ => bytes = None,
                }
            }
        }
        Self::new(rows, blocks.finalize(), bytes.filter(|_| rows > 0).map(crc32fast::Hasher::finalize))
    }
}

/// The memory and the disk that rows take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Rows.
    pub rows: u64,
    /// Bytes that they take in memory, as [`crate::size`] estimates them.
    pub bytes: u64,
    /// Bytes that they take on disk.
    pub file_bytes: u64,
    /// The bytes that the rows on disk would take in memory.
    pub spilled: u64,
}

impl Add for Footprint {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            file_bytes: self.file_bytes + other.file_bytes,
            spilled: self.spilled + other.spilled,
        }
    }
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// The same lists of rows, on disk.
///
/// # Errors
/// [`SpillError`].
pub fn spill<'a, T: ExchangeData>(
    lists: impl IntoIterator<Item = &'a [Segment<T>]>,
    space: &dyn SpillSpace,
) -> Result<Vec<Vec<Segment<T>>>, SpillError> {
    let mut writer = FrameWriter::new(space);
    let mut spilled: Vec<Vec<Option<Segment<T>>>> = Vec::new();
    for list in lists {
        let mut done = Vec::new();
        // Neighbours go together: a frame holds what many of them have.
        for part in list.chunk_by(|a, b| matches!((a, b), (Segment::Memory(..), Segment::Memory(..)))) {
            if let [Segment::Packed(frame)] = part {
                if frame.is_in_memory() {
                    writer.add_frame(frame)?;
                    done.push(None);
                } else {
                    done.push(Some(Segment::Packed(frame.clone())));
                }
                continue;
            }
            writer.add(part.iter().flat_map(|segment| match segment {
                Segment::Memory(rows, _) => rows.as_slice(),
                Segment::Packed(_) => &[],
            }))?;
            done.push(None);
        }
        spilled.push(done);
    }
    let mut written = writer.finish()?.into_iter();
    let mut whole = |list: Vec<Option<Segment<T>>>| {
        let mut segments = Vec::new();
        for segment in list {
            match segment {
                Some(segment) => segments.push(segment),
                None => segments.extend(written.next().unwrap_or_default().into_iter().map(Segment::Packed)),
            }
        }
        segments
    };
    Ok(spilled.into_iter().map(&mut whole).collect())
}

/// The memory that these rows take.
fn taken<T: ExchangeData>(lists: &[Vec<Segment<T>>]) -> u64 {
    lists.iter().flatten().map(|segment| segment.footprint().bytes).sum()
}

/// Reads segments one after the other.
pub struct SegmentStream<T> {
    segments: vec::IntoIter<Segment<T>>,
    open: Option<Open<T>>,
    batch_rows: usize,
}

enum Open<T> {
    Shared(SharedStream<T>),
    Owned(vec::IntoIter<Vec<T>>),
}

impl<T> SegmentStream<T> {
    /// Streams the rows of `segments` in batches of `batch_rows`.
    pub fn new(segments: Vec<Segment<T>>, batch_rows: usize) -> Self {
        Self { segments: segments.into_iter(), open: None, batch_rows }
    }
}

impl<T: ExchangeData> Stream<T> for SegmentStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        loop {
            let batch = match &mut self.open {
                Some(Open::Shared(rows)) => rows.next()?,
                Some(Open::Owned(rows)) => rows.next().map(Batch::Owned),
                None => None,
            };
            if batch.is_some() {
                return Ok(batch);
            }
            let Some(segment) = self.segments.next() else { return Ok(None) };
            self.open = Some(match segment {
                Segment::Memory(rows, _) => Open::Shared(SharedStream::new(vec![rows], self.batch_rows)),
                // Nobody else holds what was read back: whoever keeps it has to count it.
                Segment::Packed(frame) => Open::Owned(frame.read_in_batches(self.batch_rows)?.into_iter()),
            });
        }
    }
}

/// Rows that a task gathers, in their order: in memory while there is room, else on disk.
pub struct RowBuffer<T> {
    segments: Vec<Segment<T>>,
    /// From here on, segments are in memory without room.
    pending: usize,
    /// The bytes that the pending rows take.
    pending_bytes: u64,
    claim: Claim,
    keep: Keep,
    workspace: Arc<dyn Workspace>,
}

impl<T: ExchangeData> RowBuffer<T> {
    /// An empty buffer whose rows are to be where `keep` says.
    pub fn new(workspace: &Arc<dyn Workspace>, keep: Keep) -> Self {
        Self {
            segments: Vec::new(),
            pending: 0,
            pending_bytes: 0,
            claim: Claim::new(workspace),
            keep,
            workspace: Arc::clone(workspace),
        }
    }

    /// Adds rows, which are counted here.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn push(&mut self, segment: Segment<T>) -> Result<(), TaskError> {
        let bytes = segment.footprint().bytes;
        self.segments.push(segment);
        let granted = match self.keep {
            Keep::InMemory => {
                self.claim.force(bytes);
                true
            }
            Keep::OnDisk | Keep::Serialized => false,
            Keep::IfRoom => self.pending_bytes == 0 && self.claim.grow(bytes),
            Keep::Auto if self.pending_bytes == 0 => {
                let all = self.claim.bytes() + bytes;
                self.claim.grow(bytes) || {
                    let quicker = self.workspace.is_quicker_than_disk(all);
                    if quicker {
                        self.claim.force(bytes);
                    }
                    quicker
                }
            }
            Keep::Auto => false,
        };
        if granted {
            self.pending = self.segments.len();
            return Ok(());
        }
        self.claim.force(bytes);
        self.pending_bytes += bytes;
        if self.pending_bytes >= self.workspace.unit() { self.write() } else { Ok(()) }
    }

    /// Adds rows that somebody else counts.
    pub fn push_lent(&mut self, segment: Segment<T>) {
        if self.pending == self.segments.len() {
            self.pending += 1;
        }
        self.segments.push(segment);
    }

    /// Writes the rows that have no room, or are to be serialised.
    fn write(&mut self) -> Result<(), TaskError> {
        let bytes = mem::take(&mut self.pending_bytes);
        let pending = &self.segments[self.pending..];
        let packed = (self.keep == Keep::Serialized).then(|| spill([pending], &InMemory)).transpose();
        let packed = packed.map(|lists| lists.filter(|lists| self.claim.grow(taken(lists))));
        let written = match packed {
            Ok(None) => spill([pending], self.workspace.space()),
            Ok(Some(lists)) => Ok(lists),
            Err(error) => Err(error),
        };
        match written {
            Ok(lists) => {
                self.segments.truncate(self.pending);
                self.segments.extend(lists.into_iter().flatten());
                self.claim.shrink(bytes);
            }
            // They can only stay in memory.
            Err(SpillError::Rows { .. }) => self.keep = Keep::InMemory,
            Err(error @ SpillError::Io(_)) => return Err(self.workspace.failed(error)),
        }
        self.pending = self.segments.len();
        Ok(())
    }

    /// The rows, and the room that those in memory have.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn finish(mut self) -> Result<(Vec<Segment<T>>, Claim), TaskError> {
        if self.keep == Keep::Serialized && self.pending_bytes > 0 {
            self.write()?;
        }
        Ok((self.segments, self.claim))
    }
}
