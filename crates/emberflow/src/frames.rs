//! Files of rows: serialised by the core codec, in checksummed frames, readable from their beginning in one pass.
//!
//! ```text
//! file   = "EMBERROW" | version: u32 | partition: u32 | frame … | end
//! frame  = rows: u32 (not 0) | length: u32 | checksum: u32 | the rows, one after the other: length bytes
//! end    = 0: u32 | 8: u32 | checksum: u32 | rows of the file: u64
//! ```
//!
//! All numbers are little-endian. A checksum is the CRC-32 of the frame's offset, as a u64, its first two fields, and
//! what follows the checksum: so a frame that is damaged, missing, doubled or elsewhere is found, and nothing is
//! allocated or decoded before its checksum is right. Never: panics on any bytes, gives a row of a damaged frame.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use emberflow_core::{
    codec::{self, CodecError, DECODE_LIMIT_BYTES},
    data::ExchangeData,
};

const MAGIC: [u8; 8] = *b"EMBERROW";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 16;
const FRAME_HEADER_BYTES: u64 = 12;

/// A frame is closed when it has so many bytes, or rows.
const FRAME_BYTES: usize = 256 << 10;
const FRAME_ROWS: u32 = 1 << 20;

/// What can go wrong with a file of rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The system's word.
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The bytes are not what was written.
    #[error("{}: damaged at byte {offset}: {reason}; write it again", path.display())]
    Damaged { path: PathBuf, offset: u64, reason: String },
    /// The frame is as it was written, but its rows are others.
    #[error("{}: the rows at byte {offset} are no {type_name}: {source}; read them as what they were written as", path.display())]
    OtherRows { path: PathBuf, offset: u64, type_name: &'static str, source: CodecError },
    /// The row's `Serialize` refused.
    #[error("cannot write row {row} of {}: {source}", path.display())]
    Row { path: PathBuf, row: u64, source: CodecError },
    /// The row could be written but never read.
    #[error("row {row} of {} takes {bytes} bytes, and can have {DECODE_LIMIT_BYTES} at most; split it", path.display())]
    LargeRow { path: PathBuf, row: u64, bytes: usize },
}

impl FrameError {
    /// Whether trying again is useless.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => true,
        }
    }
}

fn checksum(offset: u64, rows: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&offset.to_le_bytes());
    crc.update(&rows.to_le_bytes());
    // Shorter than `u32::MAX`, as `Writer` and `Reader` see to.
    crc.update(&(payload.len() as u32).to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Writes one file.
pub(crate) struct Writer<T> {
    file: BufWriter<File>,
    path: PathBuf,
    payload: Vec<u8>,
    in_frame: u32,
    offset: u64,
    rows: u64,
    types: PhantomData<fn(T)>,
}

impl<T: ExchangeData> Writer<T> {
    /// Makes the file, which is to hold the rows of `partition`.
    pub(crate) fn create(path: &Path, partition: usize) -> Result<Self, FrameError> {
        let failed = |source| FrameError::Io { what: "write", path: path.to_owned(), source };
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let header = [&MAGIC[..], &VERSION.to_le_bytes(), &(partition as u32).to_le_bytes()].concat();
        file.write_all(&header).map_err(failed)?;
        let (payload, types) = (Vec::new(), PhantomData);
        Ok(Self { file, path: path.to_owned(), payload, in_frame: 0, offset: HEADER_BYTES, rows: 0, types })
    }

    pub(crate) fn write(&mut self, row: &T) -> Result<(), FrameError> {
        let (before, path) = (self.payload.len(), || self.path.clone());
        codec::encode_onto(row, &mut self.payload).map_err(|source| FrameError::Row {
            path: path(),
            row: self.rows,
            source,
        })?;
        let bytes = self.payload.len() - before;
        if bytes > DECODE_LIMIT_BYTES {
            return Err(FrameError::LargeRow { path: path(), row: self.rows, bytes });
        }
        self.rows += 1;
        self.in_frame += 1;
        if self.payload.len() >= FRAME_BYTES || self.in_frame == FRAME_ROWS {
            self.flush_frame()?;
        }
        Ok(())
    }

    fn flush_frame(&mut self) -> Result<(), FrameError> {
        let (rows, payload) = (std::mem::take(&mut self.in_frame), std::mem::take(&mut self.payload));
        let length = payload.len() as u32;
        let sum = checksum(self.offset, rows, &payload);
        let write = |file: &mut BufWriter<File>| {
            for field in [rows, length, sum] {
                file.write_all(&field.to_le_bytes())?;
            }
            file.write_all(&payload)
        };
        write(&mut self.file).map_err(|source| FrameError::Io { what: "write", path: self.path.clone(), source })?;
        self.offset += FRAME_HEADER_BYTES + payload.len() as u64;
        self.payload = payload;
        self.payload.clear();
        Ok(())
    }

    /// Ends the file, and waits until it is on the disk. Gives the number of its rows and of its bytes.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), FrameError> {
        if self.in_frame > 0 {
            self.flush_frame()?;
        }
        self.payload = self.rows.to_le_bytes().to_vec();
        self.flush_frame()?;
        let failed = |source| FrameError::Io { what: "write", path: self.path.clone(), source };
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        Ok((self.rows, self.offset))
    }
}

/// Reads one file from its beginning to its end.
pub(crate) struct Reader<T> {
    file: BufReader<File>,
    path: PathBuf,
    length: u64,
    /// Where the current frame begins.
    frame: u64,
    /// Where the next one does.
    offset: u64,
    payload: Vec<u8>,
    used: usize,
    in_frame: u32,
    rows: u64,
    over: bool,
    types: PhantomData<fn() -> T>,
}

impl<T: ExchangeData> Reader<T> {
    /// Opens the file of `partition`, which has `length` bytes if that is known.
    pub(crate) fn open(path: &Path, partition: usize, length: Option<u64>) -> Result<Self, FrameError> {
        let failed = |source| FrameError::Io { what: "read", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let mut reader = Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            length: found,
            frame: 0,
            offset: 0,
            payload: Vec::new(),
            used: 0,
            in_frame: 0,
            rows: 0,
            over: false,
            types: PhantomData,
        };
        let mut header = [0; HEADER_BYTES as usize];
        reader.read(&mut header, "the header")?;
        if header[..8] != MAGIC {
            return Err(reader.damaged(0, "it is no file of rows"));
        }
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if number(8) != VERSION {
            let reason = format!("its format is version {}, and this is emberflow's version {VERSION}", number(8));
            return Err(reader.damaged(8, reason));
        }
        if number(12) != partition as u32 {
            return Err(reader.damaged(12, format!("it holds partition {}, not {partition}", number(12))));
        }
        match length.filter(|length| *length != found) {
            Some(length) => Err(reader.damaged(found.min(length), format!("it has {found} bytes instead of {length}"))),
            None => Ok(reader),
        }
    }

    fn damaged(&self, offset: u64, reason: impl Into<String>) -> FrameError {
        FrameError::Damaged { path: self.path.clone(), offset, reason: reason.into() }
    }

    fn read(&mut self, bytes: &mut [u8], what: &str) -> Result<(), FrameError> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(self.offset, format!("the file ends within {what}")))
            }
            Err(source) => Err(FrameError::Io { what: "read", path: self.path.clone(), source }),
        }
    }

    /// Reads the next frame and checks it; whether there was one.
    fn next_frame(&mut self) -> Result<bool, FrameError> {
        self.frame = self.offset;
        let mut fields = [0; FRAME_HEADER_BYTES as usize];
        self.read(&mut fields, "a frame")?;
        let number = |at: usize| u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
        let (rows, length, sum) = (number(0), number(4), number(8));
        let left = self.length.saturating_sub(self.offset);
        if u64::from(length) > left {
            return Err(self.damaged(self.frame, format!("a frame of {length} bytes where {left} are left")));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length as usize, 0);
        self.read(&mut payload, "a frame")?;
        if checksum(self.frame, rows, &payload) != sum {
            return Err(self.damaged(self.frame, "the checksum of the frame is wrong"));
        }
        if rows > 0 {
            (self.payload, self.used, self.in_frame) = (payload, 0, rows);
            return Ok(true);
        }
        let total = <[u8; 8]>::try_from(payload).map(u64::from_le_bytes);
        if total != Ok(self.rows) {
            return Err(self.damaged(self.frame, format!("the file ends after {} rows, not all of them", self.rows)));
        }
        if self.offset != self.length {
            return Err(self.damaged(self.offset, "there are bytes after the end"));
        }
        self.over = true;
        Ok(false)
    }

    /// Up to so many rows; none at the end.
    pub(crate) fn next_rows(&mut self, most: usize) -> Result<Vec<T>, FrameError> {
        let mut rows = Vec::new();
        while rows.len() < most && !self.over {
            if self.in_frame == 0 && !self.next_frame()? {
                break;
            }
            let (row, used) = codec::decode_first(&self.payload[self.used..]).map_err(|source| self.others(source))?;
            self.used += used;
            self.in_frame -= 1;
            self.rows += 1;
            rows.push(row);
            if self.in_frame == 0 && self.used != self.payload.len() {
                let (type_name, left) = (std::any::type_name::<T>(), self.payload.len() - self.used);
                return Err(self.others(CodecError::TrailingBytes { type_name, left }));
            }
        }
        Ok(rows)
    }

    fn others(&self, source: CodecError) -> FrameError {
        let type_name = std::any::type_name::<T>();
        FrameError::OtherRows { path: self.path.clone(), offset: self.frame, type_name, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, rows: &[(u64, String)]) -> (u64, u64) {
        let mut writer = Writer::create(path, 3).unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap()
    }

    fn read(path: &Path) -> Result<Vec<(u64, String)>, FrameError> {
        let mut reader = Reader::open(path, 3, None)?;
        let mut rows = Vec::new();
        loop {
            let some = reader.next_rows(7)?;
            if some.is_empty() {
                return Ok(rows);
            }
            rows.extend(some);
        }
    }

    #[test]
    fn rows_come_back_from_one_frame_or_many_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        for (rows, bytes) in [(0, 0), (1, 3), (5, 200_000), (1000, 1000)] {
            let rows: Vec<_> = (0..rows).map(|n| (n, "x".repeat(bytes))).collect();
            let (count, length) = write(&path, &rows);
            assert_eq!((count, length), (rows.len() as u64, std::fs::metadata(&path).unwrap().len()));
            assert!(read(&path).unwrap() == rows);
        }
    }

    #[test]
    fn any_byte_that_is_changed_or_missing_or_added_is_found_and_nothing_panics() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        write(&path, &[(1, "one".to_owned()), (2, "two".to_owned())]);
        let whole = std::fs::read(&path).unwrap();
        let mut cases: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        cases.extend((0..whole.len()).flat_map(|at| {
            [1, 0x80, 0xff].map(|bits| {
                let mut bytes = whole.clone();
                bytes[at] ^= bits;
                bytes
            })
        }));
        cases.push([&whole[..], &[0]].concat());
        for bytes in cases {
            std::fs::write(&path, &bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(&error, FrameError::Damaged { offset, .. } if *offset <= bytes.len() as u64), "{error}");
            assert!(error.is_permanent() && error.to_string().contains("rows: damaged at byte"), "{error}");
        }
    }

    #[test]
    fn rows_of_another_type_are_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        write(&path, &[(1, "one".to_owned())]);
        let rows = Reader::<u64>::open(&path, 3, None).unwrap().next_rows(9);
        assert!(rows.unwrap_err().to_string().contains("the rows at byte 16 are no u64"));
        assert!(matches!(Reader::<u64>::open(&dir.path().join("none"), 3, None), Err(error) if error.is_permanent()));
    }
}
