//! `text_file`: lines of files, directories and globs, one by one or in blocks; and how files are looked up.
//!
//! A partition is a list of pieces: a byte range of a large file, or several small files. A line belongs to the piece
//! in which it begins. Files are read in blocks of 256 KiB, the next one by an I/O thread while the worker cuts the
//! last one into lines.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    mem,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::SystemTime,
};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    error::{Error, Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    task::{Marker, TaskContext},
};
use flate2::read::MultiGzDecoder;

use super::leaf;
use crate::{context::Shared, rdd::Rdd};

/// Bytes read at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that may wait for the worker.
const BLOCKS_AHEAD: usize = 2;
/// What opening a file costs, in bytes that could be read meanwhile: keeps partitions of many tiny files from having
/// too many.
const OPEN_BYTES: u64 = 16 << 10;
/// No partition is larger, if it can be cut.
const MOST_BYTES: u64 = 32 << 20;
/// No partition is smaller, if there is more to read.
const LEAST_BYTES: u64 = 1 << 20;

/// How text is read; see [`Context::text_files`](crate::Context::text_files).
#[derive(Clone, Debug)]
pub struct TextOptions {
    lossy: bool,
    min_partitions: Option<usize>,
    max_line_bytes: usize,
    block_bytes: Option<usize>,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { lossy: false, min_partitions: None, max_line_bytes: 64 << 20, block_bytes: None }
    }
}

impl TextOptions {
    /// The defaults of [`Context::text_file`](crate::Context::text_file).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("text");
    /// # std::fs::write(&path, "one\ntwo\n").unwrap();
    /// assert_eq!(ctx.text_files(&[&path], &TextOptions::new())?.count()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether bytes that are not UTF-8 are replaced by U+FFFD. By default they are an error.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("text");
    /// # std::fs::write(&path, b"caf\xe9").unwrap();
    /// assert!(ctx.text_files(&[&path], &TextOptions::new())?.collect().is_err());
    /// assert_eq!(ctx.text_files(&[&path], &TextOptions::new().lossy(true))?.collect()?, ["caf\u{fffd}"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// Cuts files into at least about so many partitions; by default the context's
    /// [`default_partitions`](crate::Context::default_partitions), but none below a megabyte.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("text");
    /// # std::fs::write(&path, "one\ntwo\n").unwrap();
    /// let lines = ctx.text_files(&[&path], &TextOptions::new().min_partitions(2))?;
    /// assert_eq!((lines.partitions(), lines.collect()?), (2, vec!["one".to_owned(), "two".to_owned()]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn min_partitions(mut self, partitions: usize) -> Self {
        self.min_partitions = Some(partitions);
        self
    }

    /// The longest line that is accepted, in bytes; 64 MiB by default. A longer one is an error rather than a process
    /// that runs out of memory.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("text");
    /// # std::fs::write(&path, "one\ntwo\n").unwrap();
    /// let short = ctx.text_files(&[&path], &TextOptions::new().max_line_bytes(2))?;
    /// assert!(short.collect().unwrap_err().to_string().contains("a line of more than 2 bytes"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = bytes;
        self
    }

    /// Makes rows of whole lines, about so many bytes of them, instead of one row a line: for programs that look at
    /// every byte anyway, and need no `String` for each line. [`str::lines`] cuts a row. Blocks of 64 KiB stay in the
    /// processor's cache.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("text");
    /// # std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    /// let blocks = ctx.text_files(&[&path], &TextOptions::new().block_bytes(10))?;
    /// assert_eq!(blocks.collect()?, ["one\ntwo", "three"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = Some(bytes.max(1));
        self
    }
}

/// A file as it was when the RDD was made.
#[derive(Clone, Debug)]
pub(super) struct InputFile {
    pub(super) path: Arc<Path>,
    pub(super) bytes: u64,
    modified: Option<SystemTime>,
}

impl InputFile {
    pub(super) fn is_gzip(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
    }

    /// Opens it, if it is still what it was.
    pub(super) fn open(&self) -> Result<File, FileFault> {
        let read = |source| FileFault::Read { path: self.path.to_path_buf(), source };
        let file = File::open(&self.path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.len() != self.bytes || metadata.modified().ok() != self.modified {
            let path = self.path.to_path_buf();
            return Err(FileFault::Changed { path, was: self.bytes, is: metadata.len() });
        }
        Ok(file)
    }
}

/// A part of a partition.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: InputFile,
    start: u64,
    end: u64,
}

pub(crate) fn text_files(
    shared: &Arc<Shared>,
    info: OpInfo,
    paths: &[&Path],
    options: &TextOptions,
) -> Result<Rdd<String>> {
    let mut files = Vec::new();
    for path in paths {
        look_up(path, &mut files)?;
    }
    let partition_bytes = partition_bytes(&files, options.min_partitions, shared.default_partitions);
    let partitions = pack(files, partition_bytes, InputFile::is_gzip);
    Ok(leaf(shared, info, partitions.len(), TextFiles { partitions, options: options.clone() }))
}

/// How many bytes a partition should have.
pub(super) fn partition_bytes(files: &[InputFile], at_least: Option<usize>, about: usize) -> u64 {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    match at_least {
        Some(partitions) => total.div_ceil(partitions.max(1) as u64).clamp(1, MOST_BYTES),
        None => total.div_ceil(about as u64).clamp(LEAST_BYTES, MOST_BYTES),
    }
}

/// The files that a path or a glob names, in path order.
pub(super) fn look_up(path: &Path, files: &mut Vec<InputFile>) -> Result<()> {
    let pattern = path.to_string_lossy();
    let before = files.len();
    if path.exists() {
        return find_files(path, files);
    }
    if pattern.contains(['*', '?', '[']) {
        let bad =
            |error: glob::PatternError| Error::BadGlob { pattern: pattern.to_string(), reason: error.to_string() };
        for found in glob::glob(&pattern).map_err(bad)? {
            let found = found.map_err(|error| {
                let path = error.path().to_owned();
                file_error("cannot list", &path, error.into())
            })?;
            if found.is_file() {
                files.push(describe(&found)?);
            }
        }
    }
    if files.len() == before {
        return Err(Error::NoSuchInput { pattern: pattern.into_owned() });
    }
    Ok(())
}

/// A file, or all the files below a directory, but not those whose names begin with `_` or `.`: they are marks and
/// unfinished output, as in Hadoop and Spark.
fn find_files(path: &Path, files: &mut Vec<InputFile>) -> Result<()> {
    if path.is_file() {
        files.push(describe(path)?);
        return Ok(());
    }
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().as_encoded_bytes().first().is_some_and(|first| b"_.".contains(first))
    };
    let entries = walkdir::WalkDir::new(path).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(path).to_owned();
            file_error("cannot list", &at, error.into())
        })?;
        if entry.file_type().is_file() {
            files.push(describe(entry.path())?);
        }
    }
    Ok(())
}

fn describe(path: &Path) -> Result<InputFile> {
    let metadata = fs::metadata(path).map_err(|error| file_error("cannot read", path, error))?;
    Ok(InputFile { path: path.into(), bytes: metadata.len(), modified: metadata.modified().ok() })
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.to_owned(), source: Arc::new(source) }
}

/// Cuts large files, except those that are to stay `whole`, and packs small ones, in their order, into partitions of
/// about `partition_bytes`.
pub(super) fn pack(files: Vec<InputFile>, partition_bytes: u64, whole: impl Fn(&InputFile) -> bool) -> Vec<Vec<Piece>> {
    let mut partitions: Vec<Vec<Piece>> = Vec::new();
    let (mut open, mut open_bytes): (Vec<Piece>, u64) = (Vec::new(), 0);
    for file in files {
        let whole = file.bytes <= partition_bytes || whole(&file);
        let cost = file.bytes + OPEN_BYTES;
        if !open.is_empty() && open_bytes + cost > partition_bytes + OPEN_BYTES {
            partitions.push(mem::take(&mut open));
            open_bytes = 0;
        }
        if whole {
            open_bytes += cost;
            open.push(Piece { start: 0, end: file.bytes, file });
        } else {
            let parts = file.bytes.div_ceil(partition_bytes) as usize;
            let at = |part| super::cut(file.bytes, part, parts);
            partitions
                .extend((0..parts).map(|part| vec![Piece { file: file.clone(), start: at(part), end: at(part + 1) }]));
        }
    }
    if !open.is_empty() {
        partitions.push(open);
    }
    partitions
}

struct TextFiles {
    partitions: Vec<Vec<Piece>>,
    options: TextOptions,
}

impl Operator for TextFiles {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(LineStream {
            pieces: self.partitions[partition].clone().into_iter(),
            lines: None,
            options: self.options.clone(),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }
}

struct LineStream {
    pieces: std::vec::IntoIter<Piece>,
    lines: Option<Lines>,
    options: TextOptions,
    task: TaskContext,
    marker: Marker,
}

impl Stream<String> for LineStream {
    fn next(&mut self) -> Result<Option<Batch<String>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let one_by_one = self.options.block_bytes.is_some();
        let batch_rows = if one_by_one { 1 } else { self.task.batch_rows_of::<String>() };
        let mut rows = buffers::take();
        while rows.len() < batch_rows {
            let lines = match &mut self.lines {
                Some(lines) => lines,
                None => match self.pieces.next() {
                    Some(piece) => self.lines.insert(Lines::open(piece, &self.task)?),
                    None => break,
                },
            };
            if !lines.read(&mut rows, batch_rows, &self.options)? {
                self.lines = None;
            }
        }
        Ok((!rows.is_empty()).then_some(Batch::Owned(rows)))
    }
}

/// The lines of one piece.
struct Lines {
    piece: Piece,
    blocks: Blocks,
    /// The block that is being cut, and how far.
    block: Vec<u8>,
    at: usize,
    /// Where the block begins in the file (or in what the file decompresses to).
    offset: u64,
    /// The beginning of a line that began in an earlier block.
    carry: Vec<u8>,
    /// Whether the rest of a line that began before the piece is still to be skipped.
    skipping: bool,
}

impl Lines {
    fn open(piece: Piece, task: &TaskContext) -> Result<Self, TaskError> {
        // The byte before the piece says whether the piece begins with a line or in the middle of one.
        let skipping = piece.start > 0;
        let offset = piece.start.saturating_sub(u64::from(skipping));
        let blocks = Blocks::open(&piece, offset, task)?;
        Ok(Self { piece, blocks, block: Vec::new(), at: 0, offset, carry: Vec::new(), skipping })
    }

    /// Adds lines until there are `limit` rows; whether there may be more.
    fn read(&mut self, rows: &mut Vec<String>, limit: usize, options: &TextOptions) -> Result<bool, TaskError> {
        loop {
            if self.at == self.block.len() {
                self.offset += self.block.len() as u64;
                self.at = 0;
                self.block = match self.blocks.next()? {
                    Some(block) => block,
                    None => {
                        // The file's last line may have no end.
                        if !self.carry.is_empty() {
                            let begin = self.offset - self.carry.len() as u64;
                            let line = mem::take(&mut self.carry);
                            rows.push(self.line(line, begin, options)?);
                        }
                        return Ok(false);
                    }
                };
                continue;
            }
            let position = self.offset + self.at as u64;
            if self.carry.is_empty() && !self.skipping && position >= self.piece.end && !self.piece.file.is_gzip() {
                return Ok(false);
            }
            if rows.len() >= limit {
                return Ok(true);
            }
            let rest = &self.block[self.at..];
            let end = match options.block_bytes {
                Some(bytes) if self.carry.is_empty() && !self.skipping => self.block_end(rest, position, bytes),
                _ => memchr::memchr(b'\n', rest),
            };
            let part = &rest[..end.unwrap_or(rest.len())];
            self.at += part.len() + usize::from(end.is_some());
            if self.skipping {
                self.skipping = end.is_none();
                continue;
            }
            let begin = position - self.carry.len() as u64;
            if self.carry.len() + part.len() > options.max_line_bytes
                && self.has_long_line(part, options.max_line_bytes)
            {
                return Err(self.bad_line(begin, LineFault::TooLong { most: options.max_line_bytes }));
            }
            match end {
                None => self.carry.extend_from_slice(part),
                Some(_) if self.carry.is_empty() => {
                    let line = part.to_vec();
                    rows.push(self.ended_line(line, begin, options)?);
                }
                Some(_) => {
                    self.carry.extend_from_slice(part);
                    let line = mem::take(&mut self.carry);
                    rows.push(self.ended_line(line, begin, options)?);
                }
            }
        }
    }

    /// The end of the last line that fits a block of so many bytes, or else of the next line, if it is in sight.
    fn block_end(&self, rest: &[u8], position: u64, bytes: usize) -> Option<usize> {
        // What begins behind the piece is not its own.
        let own = if self.piece.file.is_gzip() { u64::MAX } else { self.piece.end - position };
        let window = rest.len().min(bytes).min(usize::try_from(own).unwrap_or(usize::MAX));
        memchr::memrchr(b'\n', &rest[..window]).or_else(|| memchr::memchr(b'\n', rest))
    }

    /// Whether what is carried and `part` hold a line of more than `most` bytes.
    fn has_long_line(&self, part: &[u8], most: usize) -> bool {
        let mut carried = self.carry.len();
        part.split(|byte| *byte == b'\n').any(|line| mem::take(&mut carried) + line.len() > most)
    }

    /// A line that ended with a line feed: a carriage return before it belongs to the line's end.
    fn ended_line(&self, mut bytes: Vec<u8>, begin: u64, options: &TextOptions) -> Result<String, TaskError> {
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        self.line(bytes, begin, options)
    }

    fn line(&self, bytes: Vec<u8>, begin: u64, options: &TextOptions) -> Result<String, TaskError> {
        match String::from_utf8(bytes) {
            Ok(line) => Ok(line),
            Err(error) if options.lossy => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
            Err(error) => {
                let at = begin + error.utf8_error().valid_up_to() as u64;
                Err(self.bad_line(at, LineFault::NotUtf8))
            }
        }
    }

    fn bad_line(&self, byte: u64, fault: LineFault) -> TaskError {
        TaskError::io_permanent(LineError { path: self.piece.file.path.to_path_buf(), byte, fault })
    }
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}, byte {byte}: {fault}", path.display())]
struct LineError {
    path: PathBuf,
    byte: u64,
    fault: LineFault,
}

#[derive(Debug, thiserror::Error)]
enum LineFault {
    #[error("not UTF-8; convert the file, or read it with TextOptions::lossy")]
    NotUtf8,
    #[error("a line of more than {most} bytes; is this a text file? see TextOptions::max_line_bytes")]
    TooLong { most: usize },
}

/// A file that cannot be read, or is not the one that was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} has changed since the rdd was made: it had {was} bytes and has {is}, or another time stamp; \
         make the rdd again",
        path.display()
    )]
    Changed { path: PathBuf, was: u64, is: u64 },
    #[error("{} ended after {byte} bytes of {expected}; it was cut while it was read", path.display())]
    Short { path: PathBuf, byte: u64, expected: u64 },
}

impl FileFault {
    pub(super) fn into_task_error(self) -> TaskError {
        match self {
            Self::Read { .. } => TaskError::io(self),
            Self::Changed { .. } | Self::Short { .. } => TaskError::io_permanent(self),
        }
    }
}

/// The bytes of a piece, block by block.
enum Blocks {
    /// Read by the worker itself: what fits one block is not worth a thread.
    Direct(Reader),
    /// Read ahead by an I/O thread.
    Ahead(mpsc::Receiver<Result<Vec<u8>, FileFault>>),
}

impl Blocks {
    fn open(piece: &Piece, from: u64, task: &TaskContext) -> Result<Self, TaskError> {
        let mut reader = Reader::open(piece, from).map_err(FileFault::into_task_error)?;
        if piece.end - from <= BLOCK_BYTES as u64 {
            return Ok(Self::Direct(reader));
        }
        let (send, receive) = mpsc::sync_channel(BLOCKS_AHEAD);
        let spawned = task.io().spawn(Box::new(move || {
            // Ends with the file, with an error, or when the reader of the channel has gone.
            while let Some(block) = reader.next_block().transpose() {
                let over = block.is_err();
                if send.send(block).is_err() || over {
                    break;
                }
            }
        }));
        if !spawned {
            return Reader::open(piece, from).map(Self::Direct).map_err(FileFault::into_task_error);
        }
        Ok(Self::Ahead(receive))
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        match self {
            Self::Direct(reader) => reader.next_block().map_err(FileFault::into_task_error),
            Self::Ahead(blocks) => match blocks.recv() {
                Ok(block) => block.map(Some).map_err(FileFault::into_task_error),
                Err(mpsc::RecvError) => Ok(None),
            },
        }
    }
}

/// Reads a file from some point to its end.
struct Reader {
    file: InputFile,
    from: Input,
    at: u64,
}

enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<io::BufReader<File>>>),
}

impl Reader {
    fn open(piece: &Piece, from: u64) -> Result<Self, FileFault> {
        let path = &piece.file.path;
        let read = |source| FileFault::Read { path: path.to_path_buf(), source };
        let mut file = piece.file.open()?;
        let from_input = if piece.file.is_gzip() {
            Input::Gzip(Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, file))))
        } else {
            file.seek(SeekFrom::Start(from)).map_err(read)?;
            Input::Plain(file)
        };
        Ok(Self { file: piece.file.clone(), from: from_input, at: from })
    }

    /// The next block; `None` at the end of the file.
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, FileFault> {
        let path = || self.file.path.to_path_buf();
        let read = match &mut self.from {
            Input::Plain(file) => {
                let left = usize::try_from(self.file.bytes - self.at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
                let mut block = Vec::with_capacity(left);
                file.take(left as u64).read_to_end(&mut block).map(|read| (read == left).then_some(block))
            }
            Input::Gzip(file) => {
                let mut block = Vec::with_capacity(BLOCK_BYTES);
                file.take(BLOCK_BYTES as u64).read_to_end(&mut block).map(|_| Some(block))
            }
        };
        match read {
            Ok(Some(block)) => {
                self.at += block.len() as u64;
                Ok((!block.is_empty()).then_some(block))
            }
            Ok(None) => Err(FileFault::Short { path: path(), byte: self.at, expected: self.file.bytes }),
            Err(source) => Err(FileFault::Read { path: path(), source }),
        }
    }
}
