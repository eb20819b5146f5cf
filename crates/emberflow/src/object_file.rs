//! The format of object files: rows of one type, serialised, in frames with checksums. Owns the bytes and nothing else:
//! who writes directories and who looks up files stands in `sink` and `source`.
//!
//! ```text
//! file   = "EMBEROBJ" | version: u32 | length of the type's name: u32 | the name | crc32 of all before: u32
//!          frame* end
//! frame  = rows: u32 | bytes: u32 | crc32 of rows, bytes and payload: u32 | payload: `bytes` bytes
//! end    = a frame of no rows whose payload is the number of all rows: u64
//! ```
//! All numbers are little-endian. The payload is the rows, one behind the other, as the codec writes them. Nothing comes
//! after the end, and a file without an end was cut. No length is believed before it was compared with the file's.

use std::{
    io::{self, Read, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    codec::{self, CodecError},
    data::ExchangeData,
};

const MAGIC: &[u8; 8] = b"EMBEROBJ";
const VERSION: u32 = 1;
/// A frame is written when it has so many bytes,
const FRAME_BYTES: usize = 256 << 10;
/// or so many rows.
const FRAME_ROWS: u32 = 1 << 16;
const FRAME_HEAD_BYTES: usize = 12;

/// What is wrong with an object file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}, byte {byte}: {fault}", path.display())]
pub(crate) struct ObjectFileError {
    path: PathBuf,
    byte: u64,
    fault: Fault,
}

impl ObjectFileError {
    /// Whether reading the same bytes again would fail again.
    pub(crate) fn is_permanent(&self) -> bool {
        !matches!(self.fault, Fault::Io { .. })
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{source}")]
    Io { source: io::Error },
    #[error("not a file that save_as_object_file has written")]
    NotObjectFile,
    #[error("the format's version is {found}, and this emberflow reads {VERSION}; read it with the one that wrote it")]
    OtherVersion { found: u32 },
    #[error("it holds rows of {found}, not of {wanted}; read it as object_file::<{found}>")]
    OtherType { found: String, wanted: String },
    #[error("the file ends here, in the middle; it was cut: write it again, or bring it back from a copy")]
    Cut,
    #[error("damaged: the checksum is another; write the file again, or bring it back from a copy")]
    Damaged,
    #[error("{rows} rows were written, and {found} found; the file was put together of others: write it again")]
    OtherRows { rows: u64, found: u64 },
    #[error("there are bytes after the end; the file was put together of others: write it again")]
    BytesAfterEnd,
    #[error("a row is no {wanted}: {}; has the type changed since the rows were written?", told(source))]
    Decode { wanted: String, source: CodecError },
    #[error("a row cannot be written: {}", told(source))]
    Encode { source: CodecError },
    #[error(
        "a row takes {bytes} bytes, and {} is the most that can be read back; cut it up",
        codec::DECODE_LIMIT_BYTES
    )]
    TooLarge { bytes: usize },
}

/// An error with its cause.
fn told(error: &CodecError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The name of a type without the modules of its parts, which may move: `(String, u64)`.
fn name_of<T>() -> String {
    let full = std::any::type_name::<T>();
    let mut name = String::with_capacity(full.len());
    let mut word = String::new();
    for part in full.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_') {
        word.push_str(part);
        if let Some(module) = word.strip_suffix("::") {
            // A word before two colons is a module.
            debug_assert!(!module.is_empty());
            word.clear();
        } else if !word.ends_with(':') {
            name.push_str(&word);
            word.clear();
        }
    }
    name + &word
}

/// Writes one file. Without [`finish`](Self::finish) it is cut.
pub(crate) struct ObjectWriter<W> {
    out: W,
    path: PathBuf,
    frame: Vec<u8>,
    frame_rows: u32,
    rows: u64,
    written: u64,
}

impl<W: Write> ObjectWriter<W> {
    pub(crate) fn new<T>(out: W, path: &Path) -> Result<Self, ObjectFileError> {
        let name = name_of::<T>();
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((name.len() as u32).to_le_bytes());
        head.extend(name.as_bytes());
        head.extend(crc32fast::hash(&head).to_le_bytes());
        let frame = Vec::with_capacity(FRAME_BYTES);
        let mut writer = Self { out, path: path.to_owned(), frame, frame_rows: 0, rows: 0, written: 0 };
        writer.write(&head)?;
        Ok(writer)
    }

    pub(crate) fn push<T: ExchangeData>(&mut self, row: &T) -> Result<(), ObjectFileError> {
        let bytes = codec::encode_onto(row, &mut self.frame).map_err(|source| self.fault(Fault::Encode { source }))?;
        if bytes > codec::DECODE_LIMIT_BYTES {
            return Err(self.fault(Fault::TooLarge { bytes }));
        }
        self.frame_rows += 1;
        self.rows += 1;
        if self.frame.len() >= FRAME_BYTES || self.frame_rows == FRAME_ROWS {
            self.write_frame()?;
        }
        Ok(())
    }

    /// Writes the end; gives back where it was written to, with the number of rows.
    pub(crate) fn finish(mut self) -> Result<(W, u64), ObjectFileError> {
        if self.frame_rows > 0 {
            self.write_frame()?;
        }
        self.frame.extend(self.rows.to_le_bytes());
        self.write_frame()?;
        self.out.flush().map_err(|source| self.fault(Fault::Io { source }))?;
        Ok((self.out, self.rows))
    }

    fn write_frame(&mut self) -> Result<(), ObjectFileError> {
        // A row has 64 MiB at most, and there is one beyond the frame's size at most.
        let head = frame_head(self.frame_rows, self.frame.len() as u32, &self.frame);
        self.write(&head)?;
        let frame = std::mem::take(&mut self.frame);
        self.write(&frame)?;
        self.frame = frame;
        self.frame.clear();
        self.frame_rows = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ObjectFileError> {
        self.out.write_all(bytes).map_err(|source| self.fault(Fault::Io { source }))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> ObjectFileError {
        ObjectFileError { path: self.path.clone(), byte: self.written, fault }
    }
}

fn frame_head(rows: u32, bytes: u32, payload: &[u8]) -> [u8; FRAME_HEAD_BYTES] {
    let mut head = [0; FRAME_HEAD_BYTES];
    head[..4].copy_from_slice(&rows.to_le_bytes());
    head[4..8].copy_from_slice(&bytes.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[..8]);
    sum.update(payload);
    head[8..].copy_from_slice(&sum.finalize().to_le_bytes());
    head
}

/// Reads one file, row by row.
pub(crate) struct ObjectReader<T, R> {
    from: R,
    path: Arc<Path>,
    /// The file's length, and how far it was read.
    bytes: u64,
    at: u64,
    /// The open frame: its payload, how much of it is decoded, how many rows are left, and where it begins.
    frame: Vec<u8>,
    decoded: usize,
    frame_rows: u32,
    frame_at: u64,
    rows: u64,
    over: bool,
    types: PhantomData<fn() -> T>,
}

impl<T: ExchangeData, R: Read> ObjectReader<T, R> {
    /// Reads the head of a file of so many bytes.
    pub(crate) fn new(from: R, path: Arc<Path>, bytes: u64) -> Result<Self, ObjectFileError> {
        let (frame, types) = (Vec::new(), PhantomData);
        let mut reader = Self {
            from,
            path,
            bytes,
            at: 0,
            frame,
            decoded: 0,
            frame_rows: 0,
            frame_at: 0,
            rows: 0,
            over: false,
            types,
        };
        reader.read_head()?;
        Ok(reader)
    }

    fn read_head(&mut self) -> Result<(), ObjectFileError> {
        // Of a file that is too short to be one, it does not matter where it ends.
        let not_ours = self.fault(0, Fault::NotObjectFile);
        if self.bytes < MAGIC.len() as u64 {
            return Err(not_ours);
        }
        let mut head = self.read(MAGIC.len())?;
        if head != MAGIC {
            return Err(not_ours);
        }
        let version = self.read_u32(&mut head)?;
        if version != VERSION {
            return Err(self.fault(8, Fault::OtherVersion { found: version }));
        }
        let name_bytes = self.read_u32(&mut head)? as usize;
        let name = self.read(name_bytes)?;
        head.extend(&name);
        let sum = crc32fast::hash(&head);
        let wanted = name_of::<T>();
        match (self.read_u32(&mut head)? == sum, String::from_utf8(name)) {
            (true, Ok(found)) if found == wanted => Ok(()),
            (true, Ok(found)) => Err(self.fault(16, Fault::OtherType { found, wanted })),
            _ => Err(self.fault(0, Fault::Damaged)),
        }
    }

    /// The next row; `None` after the last one, when the end was found to be as it should.
    pub(crate) fn next_row(&mut self) -> Result<Option<T>, ObjectFileError> {
        while self.frame_rows == 0 {
            if self.decoded < self.frame.len() {
                return Err(self.fault(self.frame_at, Fault::Damaged));
            }
            if self.over || !self.read_frame()? {
                self.over = true;
                return Ok(None);
            }
        }
        let (row, bytes) = codec::decode_first(&self.frame[self.decoded..]).map_err(|source| {
            let at = self.frame_at + (FRAME_HEAD_BYTES + self.decoded) as u64;
            self.fault(at, Fault::Decode { wanted: name_of::<T>(), source })
        })?;
        self.decoded += bytes;
        self.frame_rows -= 1;
        self.rows += 1;
        Ok(Some(row))
    }

    /// Opens the next frame; whether there is one.
    fn read_frame(&mut self) -> Result<bool, ObjectFileError> {
        self.frame_at = self.at;
        let mut head = Vec::with_capacity(FRAME_HEAD_BYTES);
        let rows = self.read_u32(&mut head)?;
        let bytes = self.read_u32(&mut head)?;
        self.read_u32(&mut head)?;
        let payload = self.read(bytes as usize)?;
        if head != frame_head(rows, bytes, &payload) {
            return Err(self.fault(self.frame_at, Fault::Damaged));
        }
        if rows > 0 {
            (self.frame, self.decoded, self.frame_rows) = (payload, 0, rows);
            return Ok(true);
        }
        match <[u8; 8]>::try_from(payload).map(u64::from_le_bytes) {
            Ok(rows) if rows != self.rows => {
                Err(self.fault(self.frame_at, Fault::OtherRows { rows, found: self.rows }))
            }
            Ok(_) if self.at < self.bytes => Err(self.fault(self.at, Fault::BytesAfterEnd)),
            Ok(_) => Ok(false),
            Err(_) => Err(self.fault(self.frame_at, Fault::Damaged)),
        }
    }

    fn read_u32(&mut self, head: &mut Vec<u8>) -> Result<u32, ObjectFileError> {
        let bytes = self.read(4)?;
        head.extend(&bytes);
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Exactly so many bytes, which are not allocated before it is known that the file has them.
    fn read(&mut self, len: usize) -> Result<Vec<u8>, ObjectFileError> {
        if len as u64 > self.bytes - self.at {
            return Err(self.fault(self.bytes, Fault::Cut));
        }
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.fault(self.at, Fault::Cut),
            _ => self.fault(self.at, Fault::Io { source }),
        })?;
        self.at += len as u64;
        Ok(bytes)
    }

    fn fault(&self, byte: u64, fault: Fault) -> ObjectFileError {
        ObjectFileError { path: self.path.to_path_buf(), byte, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: ExchangeData>(rows: &[T]) -> Vec<u8> {
        let mut writer = ObjectWriter::new::<T>(Vec::new(), Path::new("part")).unwrap();
        rows.iter().for_each(|row| writer.push(row).unwrap());
        writer.finish().unwrap().0
    }

    fn read<T: ExchangeData>(bytes: &[u8]) -> Result<Vec<T>, ObjectFileError> {
        let mut reader = ObjectReader::new(bytes, Path::new("part").into(), bytes.len() as u64)?;
        std::iter::from_fn(|| reader.next_row().transpose()).collect()
    }

    #[test]
    fn rows_come_back_as_they_went_frame_by_frame() {
        let rows: Vec<(u64, String)> = (0..3000).map(|n| (n, "x".repeat(n as usize % 500))).collect();
        let bytes = written(&rows);
        assert!(bytes.len() > 2 * FRAME_BYTES);
        assert_eq!(read::<(u64, String)>(&bytes).unwrap(), rows);
        assert_eq!(read::<u8>(&written::<u8>(&[])).unwrap(), []);
        // Rows of no bytes make frames, too.
        assert_eq!(read::<()>(&written(&[(); 100_000])).unwrap().len(), 100_000);
    }

    #[test]
    fn a_file_cut_anywhere_or_with_any_bit_changed_is_an_error_and_never_other_rows() {
        let rows: Vec<(u64, String)> = (0..9).map(|n| (n, "ember".to_owned())).collect();
        let bytes = written(&rows);
        for cut in 0..bytes.len() {
            assert!(read::<(u64, String)>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read::<(u64, String)>(&damaged).is_err(), "bit {bit}");
        }
        let twice = [&bytes[..], &bytes[..]].concat();
        assert!(read::<(u64, String)>(&twice).unwrap_err().to_string().contains("bytes after the end"));
    }

    #[test]
    fn types_are_told_apart_by_names_without_modules() {
        assert_eq!(name_of::<(String, Vec<Option<u64>>)>(), "(String, Vec<Option<u64>>)");
        assert_eq!(name_of::<[std::collections::BTreeMap<i8, ()>; 3]>(), "[BTreeMap<i8, ()>; 3]");
        let error = read::<i64>(&written(&["a".to_owned()])).unwrap_err().to_string();
        assert_eq!(error, "part, byte 16: it holds rows of String, not of i64; read it as object_file::<String>");
    }
}
