//! Rows that have left memory: serialised, in frames with checksums, in bytes that somebody else keeps.
//!
//! Owns what a frame is. Where the bytes are, and how they are mapped, is the business of a [`SpillSpace`]; when rows
//! leave memory, that of the runtime. Facts about a frame's rows, and its checksum, are remembered in memory: the bytes
//! cannot outlive the process that wrote them, so they need not describe themselves.

use std::{any, cell::Cell, io, marker::PhantomData, mem, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    batch::buffers,
    codec::{self, CodecError, DECODE_LIMIT_BYTES},
    data::ExchangeData,
    error::TaskError,
    size,
};

/// A frame ends when it has so many bytes: small, since a merge of many runs holds a frame of each.
const FRAME_BYTES: usize = 64 << 10;
/// and frames are written when there are so many of them.
const WRITE_BYTES: usize = 1 << 20;

thread_local! {
    /// The buffer of the next writer on this thread: a new allocation of this size would cost as much as to fill it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where spilled bytes go.
pub trait SpillSpace: Send + Sync {
    /// Writes `bytes`; they are there until what is returned is dropped.
    ///
    /// # Errors
    /// The system's error, or one that says that there is to be no more room.
    fn write(&self, bytes: &[u8]) -> io::Result<Arc<dyn SpilledBytes>>;

    /// Returns whether frames are compressed before they are written.
    fn compresses(&self) -> bool {
        false
    }
}

/// Bytes that were written to a [`SpillSpace`].
pub trait SpilledBytes: Send + Sync {
    /// Shows a part of the bytes.
    ///
    /// # Errors
    /// The error of the system.
    fn show(&self, part: Range<usize>, to: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Returns whether they are in memory, and nothing was written in truth.
    fn are_in_memory(&self) -> bool {
        false
    }
}

/// A space in memory: for rows that are kept serialised.
pub struct InMemory;

impl SpillSpace for InMemory {
    fn write(&self, bytes: &[u8]) -> io::Result<Arc<dyn SpilledBytes>> {
        Ok(Arc::new(BytesInMemory(bytes.into())))
    }
}

struct BytesInMemory(Box<[u8]>);

impl SpilledBytes for BytesInMemory {
    fn show(&self, part: Range<usize>, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        to(self.0.get(part).ok_or(io::ErrorKind::InvalidInput)?);
        Ok(())
    }

    fn are_in_memory(&self) -> bool {
        true
    }
}

/// Rows that cannot leave memory.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The file could not be written.
    #[error("cannot spill rows: {0}")]
    Io(#[from] io::Error),
    /// The rows' type does not go through the codec and back. They can only stay in memory.
    #[error("rows of {type_name} cannot be spilled: {reason}")]
    Rows {
        /// The type.
        type_name: &'static str,
        /// The reason why it does not work.
        reason: String,
    },
}

/// Spilled rows that cannot be read back.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot read spilled rows: {0}")]
    Io(#[from] io::Error),
    #[error("spilled rows of {type_name} are damaged: the checksum of {bytes} bytes is another")]
    Damaged { type_name: &'static str, bytes: usize },
    #[error("spilled rows of {type_name} cannot be decompressed: {source}")]
    Compressed { type_name: &'static str, source: lz4_flex::block::DecompressError },
    #[error(
        "spilled rows do not come back: {}; serde does not read {type_name} as it wrote it: keep the rows in memory \
         with StorageLevel::MemoryOnly or a larger memory_budget, or change how the type is serialised",
        source.told()
    )]
    Decode { type_name: &'static str, source: CodecError },
}

/// Some rows, serialised: on disk as a rule.
pub struct Frame<T> {
    bytes: Arc<dyn SpilledBytes>,
    part: Range<usize>,
    facts: Facts,
    types: PhantomData<fn() -> T>,
}

/// Facts about a frame that are remembered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Facts {
    rows: usize,
    /// The bytes that the rows take in memory when they are read.
    memory_bytes: u64,
    /// The checksum of the bytes as they were written.
    checksum: u32,
    /// How many bytes there were before they were compressed, if they were, and their checksum.
    decompressed: Option<(usize, u32)>,
}

impl<T> Clone for Frame<T> {
    fn clone(&self) -> Self {
        let (bytes, part) = (Arc::clone(&self.bytes), self.part.clone());
        Self { bytes, part, facts: self.facts, types: PhantomData }
    }
}

impl<T> Frame<T> {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.facts.rows
    }

    /// The bytes that the rows take in memory when they are read, by estimate.
    pub fn memory_bytes(&self) -> u64 {
        self.facts.memory_bytes
    }

    /// The bytes that the rows take as they are.
    pub fn packed_bytes(&self) -> u64 {
        self.part.len() as u64
    }

    /// A checksum of what the rows are serialised as: of some frames together, that of their rows in one frame.
    pub fn content(&self) -> crc32fast::Hasher {
        let (bytes, checksum) = self.facts.decompressed.unwrap_or((self.part.len(), self.facts.checksum));
        crc32fast::Hasher::new_with_initial_len(checksum, bytes as u64)
    }

    /// Appends the bytes of the frame to `out`, as they are. Returns the facts by which a process that gets them makes
    /// the frame again.
    ///
    /// # Errors
    /// The error of the system.
    pub fn append_to(&self, out: &mut Vec<u8>) -> io::Result<Facts> {
        self.bytes.show(self.part.clone(), &mut |bytes| out.extend_from_slice(bytes))?;
        Ok(self.facts)
    }

    /// The frame in a part of bytes that have come from another process.
    pub fn arrived(bytes: &Arc<dyn SpilledBytes>, part: Range<usize>, facts: Facts) -> Self {
        Self { bytes: Arc::clone(bytes), part, facts, types: PhantomData }
    }

    /// Returns whether they are in memory, serialised.
    pub fn is_in_memory(&self) -> bool {
        self.bytes.are_in_memory()
    }
}

impl<T: ExchangeData> Frame<T> {
    /// Reads the rows back.
    ///
    /// # Errors
    /// [`TaskError::SpillUnreadable`] if they are damaged, or cannot be read.
    pub fn read(&self) -> Result<Vec<T>, TaskError> {
        Ok(self.read_in_batches(usize::MAX)?.pop().unwrap_or_default())
    }

    /// As [`read`](Self::read), in batches of so many rows.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_in_batches(&self, rows: usize) -> Result<Vec<Vec<T>>, TaskError> {
        let mut outcome = Ok(Vec::new());
        let shown = self.bytes.show(self.part.clone(), &mut |bytes| outcome = self.decode(bytes, rows));
        shown.map_err(Unreadable::Io).and(outcome).map_err(|cause| match cause {
            // These are the bytes that were written: rows that were made again would come back no better.
            Unreadable::Decode { .. } => TaskError::io_permanent(cause),
            cause => TaskError::SpillUnreadable { cause: Arc::new(cause) },
        })
    }

    /// Returns whether the bytes are still those that were written.
    pub fn is_sound(&self) -> bool {
        let mut sound = false;
        let shown = self.bytes.show(self.part.clone(), &mut |bytes| sound = self.holds(bytes));
        shown.is_ok() && sound
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.part.len() && crc32fast::hash(bytes) == self.facts.checksum
    }

    fn decode(&self, bytes: &[u8], batch: usize) -> Result<Vec<Vec<T>>, Unreadable> {
        // Nothing is decoded that is not what was written.
        if !self.holds(bytes) {
            return Err(Unreadable::Damaged { type_name: any::type_name::<T>(), bytes: self.part.len() });
        }
        let type_name = any::type_name::<T>();
        let decompressed;
        let bytes = match self.facts.decompressed {
            None => bytes,
            Some((len, _)) => {
                decompressed = lz4_flex::block::decompress(bytes, len)
                    .map_err(|source| Unreadable::Compressed { type_name, source })?;
                &decompressed
            }
        };
        codec::decode_many(bytes, self.facts.rows, batch, buffers::take)
            .map_err(|source| Unreadable::Decode { type_name, source })
    }
}

/// Writes rows in frames, many of them at once.
pub struct FrameWriter<'a, T> {
    space: &'a dyn SpillSpace,
    /// The bytes that are not written yet.
    buffer: Vec<u8>,
    /// The frames in the buffer, each with the number of its list.
    pending: Vec<(usize, Range<usize>, Facts)>,
    lists: Vec<Vec<Frame<T>>>,
}

impl<'a, T: ExchangeData> FrameWriter<'a, T> {
    /// A writer to `space`.
    pub fn new(space: &'a dyn SpillSpace) -> Self {
        Self { space, buffer: BUFFER.take(), pending: Vec::new(), lists: Vec::new() }
    }

    /// Adds a list of rows, whose frames are of no other list.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn add<'r>(&mut self, rows: impl IntoIterator<Item = &'r T>) -> Result<(), SpillError>
    where
        T: 'r,
    {
        let refused = |reason: String| SpillError::Rows { type_name: any::type_name::<T>(), reason };
        let list = self.lists.len();
        self.lists.push(Vec::new());
        let (mut start, mut count, mut heap, mut sized) = (self.buffer.len(), 0, 0, 0);
        for row in rows {
            let bytes = codec::encode_onto(row, &mut self.buffer).map_err(|error| refused(error.told()))?;
            if bytes > DECODE_LIMIT_BYTES {
                return Err(refused(format!("a row takes {bytes} bytes, and {DECODE_LIMIT_BYTES} is the most")));
            }
            if count == 0 {
                // A type may be written and yet not be read, as with `#[serde(untagged)]`: better known now than then.
                let row = codec::decode::<T>(&self.buffer[start..]).map_err(|error| refused(error.told()))?;
                drop(row);
            }
            if mem::needs_drop::<T>() && (count == 0 || size::is_sampled(count)) {
                heap += size::heap(row);
                sized += 1;
            }
            count += 1;
            if self.buffer.len() - start >= FRAME_BYTES {
                let heap = size::scaled(mem::take(&mut heap), count, mem::take(&mut sized));
                self.end_frame(list, start, mem::take(&mut count), heap)?;
                start = self.buffer.len();
            }
        }
        if count > 0 {
            self.end_frame(list, start, count, size::scaled(heap, count, sized))?;
        }
        Ok(())
    }

    /// Ends a frame of so many rows, which own so much.
    fn end_frame(&mut self, list: usize, start: usize, rows: usize, heap: u64) -> Result<(), SpillError> {
        let mut decompressed = None;
        if self.space.compresses() {
            let compressed = lz4_flex::block::compress(&self.buffer[start..]);
            // What does not shrink stays as it is.
            if compressed.len() < self.buffer.len() - start {
                let bytes = &self.buffer[start..];
                decompressed = Some((bytes.len(), crc32fast::hash(bytes)));
                self.buffer.truncate(start);
                self.buffer.extend_from_slice(&compressed);
            }
        }
        let checksum = crc32fast::hash(&self.buffer[start..]);
        let memory_bytes = (rows * mem::size_of::<T>()) as u64 + heap;
        self.frame_ends(list, start, Facts { rows, memory_bytes, checksum, decompressed })
    }

    fn frame_ends(&mut self, list: usize, start: usize, facts: Facts) -> Result<(), SpillError> {
        self.pending.push((list, start..self.buffer.len(), facts));
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Adds a list of one frame that was made before, as it is.
    ///
    /// # Errors
    /// [`SpillError::Io`].
    pub fn add_frame(&mut self, frame: &Frame<T>) -> Result<(), SpillError> {
        let (list, start) = (self.lists.len(), self.buffer.len());
        self.lists.push(Vec::new());
        let facts = frame.append_to(&mut self.buffer)?;
        self.frame_ends(list, start, facts)
    }

    fn write(&mut self) -> Result<(), SpillError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = self.space.write(&self.buffer)?;
        self.buffer.clear();
        for (list, part, facts) in self.pending.drain(..) {
            self.lists[list].push(Frame { bytes: Arc::clone(&bytes), part, facts, types: PhantomData });
        }
        Ok(())
    }

    /// The frames of each list, in the order of its rows.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn finish(mut self) -> Result<Vec<Vec<Frame<T>>>, SpillError> {
        self.write()?;
        Ok(mem::take(&mut self.lists))
    }
}

impl<T> Drop for FrameWriter<'_, T> {
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        buffer.shrink_to(2 * WRITE_BYTES);
        BUFFER.set(buffer);
    }
}
