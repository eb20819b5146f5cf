//! Messages between a process and its workers: a tag, two numbers, and bytes.

use std::io::{self, ErrorKind, Read, Write};

use emberflow_core::{codec, wire::Piece};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a frame before its content: the tag, two numbers of four bytes and a length of eight, little end first.
const HEAD_BYTES: usize = 17;

/// The reader of a piece that every reader gets.
const EVERY_READER: u32 = u32::MAX;

/// The subject of a frame. To the worker go `Plan` and, for each task, `Task`, `Store` and `Block` as often as needed, and
/// `Go` or `Never`; back come `Working`, `Piece` or `Value`, `Update` as often as needed, and `Done` or `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// The stage of the tasks that follow: a parcel.
    Plan = b'P',
    /// A task begins: partition, number of the attempt, an order.
    Task = b'T',
    /// A shuffle that the task reads: its number among the stores of the stage, how many map outputs it has.
    Store = b'S',
    /// A piece of a store: the store's number, the partition of the store, the piece.
    Block = b'B',
    /// All inputs are there.
    Go = b'G',
    /// The task is not to be run after all.
    Never = b'N',
    /// The task runs: whether it has gone on since, nothing, the RDD whose operator runs.
    Working = b'W',
    /// A piece of what the task has stored: its reader, nothing, the piece.
    Piece = b'D',
    /// The task's share of an action's result.
    Value = b'R',
    /// The sum of the task's additions to an accumulator: the lower and the upper half of its id, the update.
    Update = b'A',
    /// The task has succeeded.
    Done = b'E',
    /// The task has failed: whether it may be tried again, nothing, its error as a text, its failure.
    Failed = b'X',
}

const TAGS: [Tag; 12] = [
    Tag::Plan,
    Tag::Task,
    Tag::Store,
    Tag::Block,
    Tag::Go,
    Tag::Never,
    Tag::Working,
    Tag::Piece,
    Tag::Value,
    Tag::Update,
    Tag::Done,
    Tag::Failed,
];

impl From<Tag> for u8 {
    fn from(tag: Tag) -> Self {
        tag as Self
    }
}

impl TryFrom<u8> for Tag {
    type Error = io::Error;

    fn try_from(byte: u8) -> io::Result<Self> {
        let tag = TAGS.into_iter().find(|tag| *tag as u8 == byte);
        tag.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("a message with the unknown tag {byte}")))
    }
}

/// One message.
#[derive(Debug)]
pub struct Frame {
    /// A [`Tag`], or one of another conversation in the same form.
    pub tag: u8,
    /// The first number.
    pub a: u32,
    /// The second number.
    pub b: u32,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A frame with these bytes.
    pub fn new(tag: impl Into<u8>, a: u32, b: u32, bytes: Vec<u8>) -> Self {
        Self { tag: tag.into(), a, b, bytes }
    }

    /// A frame with a value in it.
    ///
    /// # Errors
    /// If the value cannot be serialised.
    pub fn with<T: Serialize>(tag: Tag, (a, b): (u32, u32), value: &T) -> io::Result<Self> {
        Ok(Self::new(tag, a, b, codec::encode_plan(value).map_err(io::Error::other)?))
    }

    /// A frame with a piece in it.
    pub fn of_piece(tag: Tag, (a, b): (u32, u32), piece: &Piece) -> Self {
        let mut bytes = Vec::with_capacity(4 + piece.bytes.len());
        bytes.extend_from_slice(&piece.reader.unwrap_or(EVERY_READER).to_le_bytes());
        bytes.extend_from_slice(&piece.bytes);
        Self::new(tag, a, b, bytes)
    }

    /// A frame with the sum of a task's additions to the accumulator with this id.
    pub fn of_update(id: u64, update: Vec<u8>) -> Self {
        Self::new(Tag::Update, id as u32, (id >> 32) as u32, update)
    }

    /// The two numbers as one of twice their size.
    pub fn long(&self) -> u64 {
        u64::from(self.a) | u64::from(self.b) << 32
    }

    /// The value in it.
    ///
    /// # Errors
    /// If it is no such value.
    pub fn value<T: DeserializeOwned>(&self) -> io::Result<T> {
        codec::decode_plan(&self.bytes).map_err(io::Error::other)
    }

    /// The piece in it.
    ///
    /// # Errors
    /// If it is too short to be one.
    pub fn into_piece(mut self) -> io::Result<Piece> {
        let reader = self.bytes.first_chunk().map(|reader| u32::from_le_bytes(*reader));
        let reader = Some(reader.ok_or(ErrorKind::InvalidData)?).filter(|reader| *reader != EVERY_READER);
        self.bytes.drain(..4);
        Ok(Piece { reader, bytes: self.bytes })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The error of the system.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        head[0] = self.tag;
        head[1..5].copy_from_slice(&self.a.to_le_bytes());
        head[5..9].copy_from_slice(&self.b.to_le_bytes());
        head[9..].copy_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        to.write_all(&head)?;
        to.write_all(&self.bytes)
    }

    /// The next frame; nothing at the end.
    ///
    /// # Errors
    /// The error of the system, or the end in the middle of a frame.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        match from.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => from.read_exact(&mut head[1..])?,
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = u64::from(number(9)) | u64::from(number(13)) << 32;
        let mut bytes = Vec::new();
        if from.take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Self::new(head[0], number(1), number(5), bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_they_were_sent_and_a_half_one_is_an_error() {
        let mut bytes = Vec::new();
        let piece = Piece { reader: Some(7), bytes: vec![1, 2, 3] };
        for (tag, number) in TAGS.into_iter().zip(0..) {
            Frame::of_piece(tag, (number, u32::MAX), &piece).write(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        for (tag, number) in TAGS.into_iter().zip(0..) {
            let frame = Frame::read(&mut rest).unwrap().unwrap();
            assert_eq!((Tag::try_from(frame.tag).unwrap(), frame.a, frame.b), (tag, number, u32::MAX));
            assert_eq!(frame.into_piece().unwrap(), piece);
        }
        assert!(Frame::read(&mut rest).unwrap().is_none());
        assert!(Frame::read(&mut &bytes[..HEAD_BYTES - 1]).is_err());
        assert!(Frame::read(&mut &bytes[..HEAD_BYTES + 1]).is_err());
        assert!(Tag::try_from(b'?').is_err());
    }
}
