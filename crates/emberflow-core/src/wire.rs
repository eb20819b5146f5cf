//! Stored partitions as bytes, for another process of the same program.
//!
//! Owns the form of those bytes: [`Piece`]s, each of which is for one reader or for all of them, and which follow each
//! other as the rows do. The process that gets a piece does not look into it: it passes it on to the task that reads
//! it. Rows in a piece are frames, as they are on disk, so that rows that were spilled are sent as they are, and rows
//! that have arrived can stay as they are until they are read.

use std::{io, mem::size_of, ops::Range, sync::Arc};

use crate::{
    codec,
    data::ExchangeData,
    error::TaskError,
    ids::PartitionIndex,
    memory::Claim,
    segments::{self, Segment},
    spill::{Facts, Frame, InMemory, SpillError, SpillSpace, SpilledBytes},
};

/// A piece ends when it has so many bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// Some of the contents of a stored partition, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The reducer that reads it; none if every reader does.
    pub reader: Option<u32>,
    /// The bytes, which only the store's writer understands.
    pub bytes: Vec<u8>,
}

/// Takes the pieces of a partition, in their order.
pub type Give<'a> = dyn FnMut(Piece) -> Result<(), TaskError> + 'a;

/// A piece that has come from another process: in memory, or on disk if there was no room.
#[derive(Clone)]
pub struct Arrived {
    /// The reducer that it is for; none if it is for every reader.
    pub reader: Option<u32>,
    bytes: Arc<dyn SpilledBytes>,
    len: usize,
}

impl Arrived {
    /// Keeps a piece: in memory if `claim` can grow by its bytes, else in `space`.
    ///
    /// # Errors
    /// [`SpillError::Io`] if it cannot be written.
    pub fn keep(piece: Piece, claim: &mut Claim, space: &dyn SpillSpace) -> Result<Self, SpillError> {
        let Piece { reader, bytes } = piece;
        let len = bytes.len();
        let bytes = if claim.grow(len as u64) { InMemory.write(&bytes)? } else { space.write(&bytes)? };
        Ok(Self { reader, bytes, len })
    }

    /// Reads what [`Piece::of_value`] made.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn value<T: serde::de::DeserializeOwned>(&self) -> Result<T, TaskError> {
        self.show(0..self.len, |bytes| codec::decode(bytes))?.map_err(|error| damaged(error.told()))
    }

    fn show<R>(&self, part: Range<usize>, look: impl FnOnce(&[u8]) -> R) -> Result<R, TaskError> {
        let (mut look, mut seen) = (Some(look), None);
        self.bytes.show(part, &mut |bytes| seen = look.take().map(|look| look(bytes))).map_err(TaskError::io)?;
        seen.ok_or_else(|| damaged("its bytes are not there".to_owned()))
    }
}

impl Piece {
    /// A value that every reader reads.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn of_value<T: serde::Serialize>(value: &T) -> Result<Self, TaskError> {
        let bytes = codec::encode(value).map_err(|error| TaskError::io_permanent(NotSent(error.told())))?;
        Ok(Self { reader: None, bytes })
    }
}

/// Stored rows that cannot be sent, or that have come otherwise than they were sent.
#[derive(Debug, thiserror::Error)]
#[error("stored rows cannot go to another process: {0}")]
struct NotSent(String);

fn damaged(reason: String) -> TaskError {
    TaskError::io(NotSent(reason))
}

/// Gives rows as pieces for `reader`. Rows of which a writer has several kinds are told apart by `kind`.
///
/// # Errors
/// If their type does not go through the codec and back, or the spilled ones among them cannot be read.
pub fn pack<T: ExchangeData>(
    kind: u8,
    reader: Option<u32>,
    rows: &[Segment<T>],
    give: &mut Give<'_>,
) -> Result<(), TaskError> {
    let mut rest = rows;
    while !rest.is_empty() {
        let mut bytes = 0;
        let some = rest.iter().take_while(|segment| {
            let fits = bytes < PIECE_BYTES;
            let footprint = segment.footprint();
            bytes += footprint.bytes + footprint.file_bytes;
            fits
        });
        let (next, later) = rest.split_at(some.count());
        rest = later;
        let frames = match segments::spill([next], &InMemory) {
            Ok(lists) => lists.into_iter().flatten(),
            Err(SpillError::Io(error)) => return Err(TaskError::io(error)),
            Err(error @ SpillError::Rows { .. }) => return Err(TaskError::io_permanent(NotSent(error.to_string()))),
        };
        let (mut index, mut content): (Vec<(Facts, u64)>, Vec<u8>) = (Vec::new(), Vec::new());
        for segment in frames {
            if let Segment::Packed(frame) = segment {
                let before = content.len();
                let facts = frame.append_to(&mut content).map_err(TaskError::io)?;
                index.push((facts, (content.len() - before) as u64));
            }
        }
        give(Piece { reader, bytes: with_index(kind, &index, &content)? })?;
    }
    Ok(())
}

/// The length of the index, the index, the frames.
fn with_index(kind: u8, index: &[(Facts, u64)], content: &[u8]) -> Result<Vec<u8>, TaskError> {
    let index = Piece::of_value(&(kind, index))?.bytes;
    let mut bytes = Vec::with_capacity(size_of::<u64>() + index.len() + content.len());
    bytes.extend_from_slice(&(index.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&index);
    bytes.extend_from_slice(content);
    Ok(bytes)
}

/// The rows of this kind in a piece that [`pack`] made; nothing if they are of another kind.
///
/// # Errors
/// If it is no such piece.
pub fn unpack<T: ExchangeData>(kind: u8, piece: &Arrived) -> Result<Vec<Segment<T>>, TaskError> {
    let mut at = size_of::<u64>();
    let len = piece.show(0..at, |bytes| bytes.try_into().map(u64::from_le_bytes))?;
    let end = len.ok().and_then(|len| at.checked_add(usize::try_from(len).ok()?)).filter(|end| *end <= piece.len);
    let end = end.ok_or_else(|| damaged("a piece is shorter than its index".to_owned()))?;
    let index = piece.show(at..end, codec::decode::<(u8, Vec<(Facts, u64)>)>)?;
    let (found, index) = index.map_err(|error| damaged(error.told()))?;
    if found != kind {
        return Ok(Vec::new());
    }
    at = end;
    let mut rows = Vec::with_capacity(index.len());
    for (facts, len) in index {
        let part = at..at + len as usize;
        at = part.end;
        rows.push(Segment::Packed(Frame::arrived(&piece.bytes, part, facts)));
    }
    Ok(rows)
}

/// A reducer's number, as pieces have it.
pub fn reader(reducer: PartitionIndex) -> u32 {
    u32::try_from(reducer).expect("fewer than 2^32 reducers")
}

/// The error of a piece that is missing.
pub fn missing(what: &str) -> TaskError {
    TaskError::io(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{what} has not arrived")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::unlimited;

    fn sent(rows: &[Segment<String>]) -> Vec<Arrived> {
        let workspace = unlimited();
        let mut claim = Claim::new(&workspace);
        let mut arrived = Vec::new();
        let mut give = |piece| {
            arrived.push(Arrived::keep(piece, &mut claim, workspace.space()).map_err(TaskError::io)?);
            Ok(())
        };
        pack(3, Some(7), rows, &mut give).unwrap();
        arrived
    }

    #[test]
    fn rows_arrive_in_their_order_whether_they_were_in_memory_or_serialised() {
        let texts = |range: Range<u64>| -> Vec<String> { range.map(|n| format!("row {n}")).collect() };
        let packed = segments::spill([&*vec![Segment::from(texts(100_000..100_500))]], &InMemory).unwrap();
        let mut rows = vec![Segment::from(texts(0..70_000)), Segment::from(texts(70_000..100_000))];
        rows.extend(packed.into_iter().flatten());
        let arrived = sent(&rows);
        assert!(arrived.len() > 1 && arrived.iter().all(|piece| piece.reader == Some(7)), "{}", arrived.len());
        let read = arrived.iter().flat_map(|piece| unpack::<String>(3, piece).unwrap());
        let read: Vec<String> = read.flat_map(|segment| segment.read().unwrap().into_vec()).collect();
        assert_eq!(read, texts(0..100_500));
        assert!(unpack::<String>(2, &arrived[0]).unwrap().is_empty());
    }

    #[test]
    fn a_piece_that_is_too_short_or_none_at_all_is_an_error() {
        let workspace = unlimited();
        let keep = |bytes: Vec<u8>| {
            Arrived::keep(Piece { reader: None, bytes }, &mut Claim::new(&workspace), workspace.space()).unwrap()
        };
        for bytes in [vec![], vec![1, 2], u64::MAX.to_le_bytes().to_vec(), [8_u64.to_le_bytes(), [0xff; 8]].concat()] {
            assert!(unpack::<String>(0, &keep(bytes.clone())).is_err(), "{bytes:?}");
            assert!(keep(bytes.clone()).value::<String>().is_err(), "{bytes:?}");
        }
    }
}
