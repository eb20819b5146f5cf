//! The format of files of rows, which checkpoints and object files share: rows of one type, serialised by the core
//! codec, in frames with checksums, read from the beginning in one pass. Owns the bytes and nothing else: who writes
//! directories and who looks up files stands in `sink` and `source`.
//!
//! ```text
//! file   = "EMBERROW" | version: u32 | partition: u32 | length of the type's name: u32 | the name
//!          | crc32 of all before: u32 | frame* | end
//! frame  = rows: u32 (not 0) | length: u32 | checksum: u32 | payload: `length` bytes
//! end    = a frame of no rows whose payload is the number of all rows: u64
//! ```
//!
//! All numbers are little-endian. The payload is the rows, one behind the other. A checksum is the CRC-32 of the frame's
//! offset, as a u64, its first two fields, and its payload: so a frame that is damaged, missing, doubled or elsewhere is
//! found. No length is believed before it was compared with the file's, and nothing is decoded before its checksum is
//! right. It never panics on any bytes, gives a row of a damaged frame, or writes a row that does not come back.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    marker::PhantomData,
    mem,
    path::{Path, PathBuf},
};

use emberflow_core::{
    codec::{self, CodecError, DECODE_LIMIT_BYTES},
    data::ExchangeData,
    error::TaskError,
};

use crate::storage;

const MAGIC: &[u8; 8] = b"EMBERROW";
const VERSION: u32 = 1;
/// Where the type's name begins.
const NAME_AT: u64 = 20;
const FRAME_HEAD_BYTES: usize = 12;
/// A frame is written when it has so many bytes,
const FRAME_BYTES: usize = 256 << 10;
/// or so many rows.
const FRAME_ROWS: u32 = 1 << 16;

/// An error in a file of rows, with its place.
#[derive(Debug, thiserror::Error)]
#[error("{}, byte {byte}: {fault}", path.display())]
pub(crate) struct RowFileError {
    path: PathBuf,
    byte: u64,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("not a file of rows that emberflow has written")]
    Foreign,
    #[error("the format's version is {found}, and this emberflow reads {VERSION}; read it with the one that wrote it")]
    OtherVersion { found: u32 },
    #[error("it holds rows of {found}, not of {wanted}; read it as {found}")]
    OtherType { found: String, wanted: String },
    #[error("it holds partition {found}, not {wanted}; the directory was put together of others: write it again")]
    OtherPartition { found: u32, wanted: u32 },
    #[error("it has {found} bytes instead of {wanted}; write it again, or bring it back from a copy")]
    OtherLength { found: u64, wanted: u64 },
    #[error("the file ends here, in the middle; it was cut: write it again, or bring it back from a copy")]
    Cut,
    #[error("damaged: the checksum is another; write it again, or bring it back from a copy")]
    Damaged,
    #[error("{rows} rows were written, and {found} found; the file was put together of others: write it again")]
    OtherRows { rows: u64, found: u64 },
    #[error("there are bytes after the end; the file was put together of others: write it again")]
    BytesAfterEnd,
    #[error("a row is no {wanted}: {}; has the type changed since the rows were written?", source.told())]
    Decode { wanted: String, source: CodecError },
    #[error("row {row} cannot be written: {}", source.told())]
    Encode { row: u64, source: CodecError },
    #[error(
        "row {row} would not come back: {}; serde does not read {type_name} as it writes it, so change how the type is \
         serialised", source.told()
    )]
    NotReadBack { row: u64, type_name: &'static str, source: CodecError },
    #[error("row {row} takes {bytes} bytes, and {DECODE_LIMIT_BYTES} is the most that can be read back; cut it up")]
    TooLarge { row: u64, bytes: usize },
}

impl RowFileError {
    /// For a task that reads: trying again helps if the system failed, unless there is no such file.
    pub(crate) fn unread(self) -> TaskError {
        let Self { path, byte, fault } = self;
        match fault {
            // Who gave the bytes may have said what is wrong with them.
            Fault::Io { what, source } => storage::task_error_of(source).unwrap_or_else(|source| {
                let passes = source.kind() != io::ErrorKind::NotFound;
                let error = Self { path, byte, fault: Fault::Io { what, source } };
                if passes { TaskError::io(error) } else { TaskError::io_permanent(error) }
            }),
            fault => TaskError::io_permanent(Self { path, byte, fault }),
        }
    }

    /// For a task that writes: a row that cannot be written will not be so next time; a full disk may have room.
    pub(crate) fn unwritten(self) -> TaskError {
        let Self { path, byte, fault } = self;
        match fault {
            // Who took the bytes may have said what is wrong.
            Fault::Io { what, source } => storage::task_error_of(source)
                .unwrap_or_else(|source| TaskError::io(Self { path, byte, fault: Fault::Io { what, source } })),
            fault => TaskError::rejected(Self { path, byte, fault }),
        }
    }

    /// For the driver.
    pub(crate) fn into_io(self) -> io::Error {
        match self.fault {
            Fault::Io { source, .. } => source,
            _ => io::Error::new(io::ErrorKind::InvalidData, self),
        }
    }
}

/// The name of a type without its modules, which may differ from program to program.
pub(crate) fn name_of<T>() -> String {
    let full = std::any::type_name::<T>();
    let words = full.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.map(|word| word.rsplit("::").next().unwrap_or(word)).collect()
}

fn frame_head(offset: u64, rows: u32, payload: &[u8]) -> [u8; FRAME_HEAD_BYTES] {
    let mut head = [0; FRAME_HEAD_BYTES];
    head[..4].copy_from_slice(&rows.to_le_bytes());
    // A row has 64 MiB at most, and there is one beyond the frame's size at most.
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    [&offset.to_le_bytes(), &head[..8], payload].into_iter().for_each(|bytes| sum.update(bytes));
    head[8..].copy_from_slice(&sum.finalize().to_le_bytes());
    head
}

/// Writes one file. Without [`finish`](Self::finish) it is cut.
pub(crate) struct Writer<T, W: Write> {
    file: BufWriter<W>,
    path: PathBuf,
    frame: Vec<u8>,
    frame_rows: u32,
    rows: u64,
    written: u64,
    types: PhantomData<fn(T)>,
}

/// The size of a file that was written.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl<T: ExchangeData> Writer<T, File> {
    /// Makes the file, which is to hold the rows of `partition`.
    pub(crate) fn create(path: &Path, partition: usize) -> Result<Self, RowFileError> {
        let failed =
            |source| RowFileError { path: path.to_owned(), byte: 0, fault: Fault::Io { what: "write", source } };
        Self::new(File::create(path).map_err(failed)?, path, partition)
    }
}

impl<T: ExchangeData, W: Write> Writer<T, W> {
    /// Writes into `file`, which is empty and is to hold the rows of `partition`.
    pub(crate) fn new(file: W, path: &Path, partition: usize) -> Result<Self, RowFileError> {
        let file = BufWriter::with_capacity(FRAME_BYTES, file);
        let name = name_of::<T>();
        let mut head = MAGIC.to_vec();
        [VERSION, partition as u32, name.len() as u32].iter().for_each(|field| head.extend(field.to_le_bytes()));
        head.extend(name.as_bytes());
        head.extend(crc32fast::hash(&head).to_le_bytes());
        let (path, types) = (path.to_owned(), PhantomData);
        let mut writer = Self { file, path, frame: Vec::new(), frame_rows: 0, rows: 0, written: 0, types };
        writer.write(&head)?;
        Ok(writer)
    }

    pub(crate) fn push(&mut self, row: &T) -> Result<(), RowFileError> {
        let encoded = codec::encode_onto(row, &mut self.frame);
        let bytes = encoded.map_err(|source| self.fault(Fault::Encode { row: self.rows, source }))?;
        if bytes > DECODE_LIMIT_BYTES {
            return Err(self.fault(Fault::TooLarge { row: self.rows, bytes }));
        }
        // A type may be written and yet not be read, as with `#[serde(untagged)]`, or only some of its values may: found out
        // now, before anybody gives up what the rows were made of.
        let row = codec::decode::<T>(&self.frame[self.frame.len() - bytes..]).map_err(|source| {
            self.fault(Fault::NotReadBack { row: self.rows, type_name: std::any::type_name::<T>(), source })
        })?;
        drop(row);
        self.rows += 1;
        self.frame_rows += 1;
        if self.frame.len() >= FRAME_BYTES || self.frame_rows == FRAME_ROWS {
            self.write_frame()?;
        }
        Ok(())
    }

    /// Writes the end, and gives the file back.
    pub(crate) fn finish(mut self) -> Result<(W, Written), RowFileError> {
        if self.frame_rows > 0 {
            self.write_frame()?;
        }
        self.frame.extend(self.rows.to_le_bytes());
        self.write_frame()?;
        let Self { file, path, rows, written: bytes, .. } = self;
        let failed = |source| RowFileError { path, byte: bytes, fault: Fault::Io { what: "write", source } };
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        Ok((file, Written { rows, bytes }))
    }

    fn write_frame(&mut self) -> Result<(), RowFileError> {
        let (rows, mut frame) = (mem::take(&mut self.frame_rows), mem::take(&mut self.frame));
        self.write(&frame_head(self.written, rows, &frame))?;
        self.write(&frame)?;
        frame.clear();
        self.frame = frame;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RowFileError> {
        self.file.write_all(bytes).map_err(|source| self.fault(Fault::Io { what: "write", source }))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> RowFileError {
        RowFileError { path: self.path.clone(), byte: self.written, fault }
    }
}

/// Reads one file, row by row.
pub(crate) struct Reader<T> {
    file: BufReader<Box<dyn Read>>,
    path: PathBuf,
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

impl<T: ExchangeData> Reader<T> {
    /// Opens the file at `path`, which holds this partition and has so many bytes, if that is known.
    pub(crate) fn open(path: &Path, expected: Option<(usize, u64)>) -> Result<Self, RowFileError> {
        let failed =
            |source| RowFileError { path: path.to_owned(), byte: 0, fault: Fault::Io { what: "read", source } };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Self::new(file, bytes, path, expected)
    }

    /// As [`open`](Self::open), of a file that is open and has so many bytes.
    pub(crate) fn new(
        file: impl Read + 'static,
        bytes: u64,
        path: &Path,
        expected: Option<(usize, u64)>,
    ) -> Result<Self, RowFileError> {
        let mut reader = Self {
            file: BufReader::with_capacity(FRAME_BYTES, Box::new(file)),
            path: path.to_owned(),
            bytes,
            at: 0,
            frame: Vec::new(),
            decoded: 0,
            frame_rows: 0,
            frame_at: 0,
            rows: 0,
            over: false,
            types: PhantomData,
        };
        reader.read_head(expected)?;
        Ok(reader)
    }

    fn read_head(&mut self, expected: Option<(usize, u64)>) -> Result<(), RowFileError> {
        // Of a file that is too short to be one, it does not matter where it ends.
        if self.bytes < MAGIC.len() as u64 {
            return Err(self.fault(0, Fault::Foreign));
        }
        let mut head = self.read(MAGIC.len())?;
        if head != MAGIC {
            return Err(self.fault(0, Fault::Foreign));
        }
        let version = self.read_u32(&mut head)?;
        if version != VERSION {
            return Err(self.fault(8, Fault::OtherVersion { found: version }));
        }
        let partition = self.read_u32(&mut head)?;
        let name_bytes = self.read_u32(&mut head)? as usize;
        let name = self.read(name_bytes)?;
        head.extend(&name);
        let sum = crc32fast::hash(&head);
        if self.read_u32(&mut head)? != sum {
            return Err(self.fault(0, Fault::Damaged));
        }
        let (found, wanted) = (String::from_utf8_lossy(&name).into_owned(), name_of::<T>());
        if found != wanted {
            return Err(self.fault(NAME_AT, Fault::OtherType { found, wanted }));
        }
        match expected {
            Some((wanted, _)) if wanted as u32 != partition => {
                Err(self.fault(12, Fault::OtherPartition { found: partition, wanted: wanted as u32 }))
            }
            Some((_, wanted)) if wanted != self.bytes => {
                Err(self.fault(self.bytes.min(wanted), Fault::OtherLength { found: self.bytes, wanted }))
            }
            _ => Ok(()),
        }
    }

    /// The next row; `None` after the last one, when the end was found to be as it should.
    pub(crate) fn next_row(&mut self) -> Result<Option<T>, RowFileError> {
        while self.frame_rows == 0 {
            if self.decoded < self.frame.len() {
                let (type_name, left) = (std::any::type_name::<T>(), self.frame.len() - self.decoded);
                return Err(self.no_row(CodecError::TrailingBytes { type_name, left }));
            }
            if self.over || !self.read_frame()? {
                self.over = true;
                return Ok(None);
            }
        }
        let row = codec::decode_first(&self.frame[self.decoded..]);
        let (row, bytes) = row.map_err(|source| self.no_row(source))?;
        self.decoded += bytes;
        self.frame_rows -= 1;
        self.rows += 1;
        Ok(Some(row))
    }

    fn no_row(&self, source: CodecError) -> RowFileError {
        let at = self.frame_at + (FRAME_HEAD_BYTES + self.decoded) as u64;
        self.fault(at, Fault::Decode { wanted: name_of::<T>(), source })
    }

    /// Opens the next frame. Returns whether there is one.
    fn read_frame(&mut self) -> Result<bool, RowFileError> {
        self.frame_at = self.at;
        let mut head = Vec::with_capacity(FRAME_HEAD_BYTES);
        let rows = self.read_u32(&mut head)?;
        let bytes = self.read_u32(&mut head)?;
        self.read_u32(&mut head)?;
        let payload = self.read(bytes as usize)?;
        if head != frame_head(self.frame_at, rows, &payload) {
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

    fn read_u32(&mut self, head: &mut Vec<u8>) -> Result<u32, RowFileError> {
        let bytes = self.read(4)?;
        head.extend(&bytes);
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Exactly so many bytes, which are not allocated before it is known that the file has them.
    fn read(&mut self, len: usize) -> Result<Vec<u8>, RowFileError> {
        if len as u64 > self.bytes - self.at {
            return Err(self.fault(self.bytes, Fault::Cut));
        }
        let mut bytes = vec![0; len];
        self.file.read_exact(&mut bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.fault(self.at, Fault::Cut),
            _ => self.fault(self.at, Fault::Io { what: "read", source }),
        })?;
        self.at += len as u64;
        Ok(bytes)
    }

    fn fault(&self, byte: u64, fault: Fault) -> RowFileError {
        RowFileError { path: self.path.clone(), byte, fault }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    type Row = (u64, String);

    fn write<T: ExchangeData>(path: &Path, rows: &[T]) -> Vec<u8> {
        let mut writer = Writer::create(path, 3).unwrap();
        rows.iter().for_each(|row| writer.push(row).unwrap());
        let written = writer.finish().unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!((written.1.rows, written.1.bytes), (rows.len() as u64, bytes.len() as u64));
        bytes
    }

    fn read<T: ExchangeData>(path: &Path) -> Result<Vec<T>, RowFileError> {
        let mut reader = Reader::open(path, None)?;
        std::iter::from_fn(|| reader.next_row().transpose()).collect()
    }

    #[test]
    fn rows_come_back_as_they_went_frame_by_frame() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        for (rows, bytes) in [(0, 0), (1, 3), (5, 200_000), (1000, 1000)] {
            let rows: Vec<Row> = (0..rows).map(|n| (n, "x".repeat(bytes))).collect();
            write(&path, &rows);
            assert!(read::<Row>(&path).unwrap() == rows);
        }
        // Rows of no bytes make frames, too.
        write(&path, &[(); 100_000]);
        assert_eq!(read::<()>(&path).unwrap().len(), 100_000);
    }

    #[test]
    fn any_bit_that_is_changed_or_byte_that_is_missing_or_added_is_found_and_nothing_panics() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let rows: Vec<Row> = (0..3).map(|n| (n, "ember".to_owned())).collect();
        let whole = write(&path, &rows);
        let mut cases: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        cases.extend((0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }));
        cases.extend([[&whole[..], &[0]].concat(), [&whole[..], &whole].concat()]);
        for bytes in cases {
            fs::write(&path, &bytes).unwrap();
            let error = read::<Row>(&path).unwrap_err();
            assert!(error.byte <= bytes.len() as u64 && !matches!(error.fault, Fault::Io { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_is_refused_that_holds_another_type_partition_or_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let bytes = write(&path, &["a".to_owned()]).len() as u64;
        let refused = |error: Option<RowFileError>| error.unwrap().to_string().replace(path.to_str().unwrap(), "rows");
        let told = refused(Reader::<i64>::open(&path, None).err());
        assert_eq!(told, "rows, byte 20: it holds rows of String, not of i64; read it as String");
        assert!(Reader::<String>::open(&path, Some((3, bytes))).is_ok());
        let told = refused(Reader::<String>::open(&path, Some((2, bytes))).err());
        assert!(told.starts_with("rows, byte 12: it holds partition 3, not 2;"), "{told}");
        let told = refused(Reader::<String>::open(&path, Some((3, bytes + 1))).err());
        assert!(
            told.starts_with(&format!("rows, byte {bytes}: it has {bytes} bytes instead of {}", bytes + 1)),
            "{told}"
        );
        let none = Reader::<String>::open(&dir.path().join("none"), None).err().unwrap();
        assert!(none.to_string().contains("none, byte 0: cannot read: "), "{none}");
    }

    #[test]
    fn types_are_named_without_their_modules() {
        assert_eq!(name_of::<(String, Vec<Option<&str>>)>(), "(String, Vec<Option<&str>>)");
        assert_eq!(name_of::<[std::collections::BTreeMap<i8, ()>; 3]>(), "[BTreeMap<i8, ()>; 3]");
        assert_eq!(name_of::<u64>(), "u64");
    }
}
