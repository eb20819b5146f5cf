//! `text_file`: lines of files, directories and globs, one by one or in blocks.
//!
//! A partition is a list of pieces: a byte range of a large file, or several small files. A line belongs to the piece
//! in which it begins. Files are read in blocks, the next one while the worker cuts the last one into lines.
//!
//! A line ends at LF, CRLF or CR, as in Hadoop. A CR ends its line at once, so that no reader waits for the byte behind
//! it; if that is an LF, it is skipped, whether it is in the same block, in the next one, or in the next piece.

use std::{
    fmt, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{NotShippable, Sent, Shipped},
    storage::{Blocks, InputFile},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::leaf;
use crate::{
    rdd::Rdd,
    shared::Shared,
    storage::{Ahead, BLOCK_BYTES, Gunzip, is_gzip, look_up},
};

/// The cost of opening a file, in bytes that could be read meanwhile: it keeps partitions of many tiny files from
/// having too many.
const OPEN_BYTES: u64 = 16 << 10;
/// No partition is larger, if it can be cut.
const MOST_BYTES: u64 = 32 << 20;
/// No partition is smaller, if there is more to read.
const LEAST_BYTES: u64 = 1 << 20;

/// How text is read; see [`Context::text_files`](crate::Context::text_files).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextOptions {
    lossy: bool,
    min_partitions: Option<usize>,
    max_line_bytes: usize,
    block_bytes: Option<usize>,
    names: OptionNames,
}

/// The names by which errors advise options: those of the reader that was used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum OptionNames {
    /// [`TextOptions`].
    Text,
    /// The reader of tables.
    Reader,
}

impl OptionNames {
    fn lossy(self) -> &'static str {
        match self {
            Self::Text => "TextOptions::lossy",
            Self::Reader => "Reader::lossy",
        }
    }

    fn max_line_bytes(self) -> &'static str {
        match self {
            Self::Text => "TextOptions::max_line_bytes",
            Self::Reader => "Reader::max_record_bytes",
        }
    }
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            lossy: false,
            min_partitions: None,
            max_line_bytes: 64 << 20,
            block_bytes: None,
            names: OptionNames::Text,
        }
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

    /// Sets whether bytes that are not UTF-8 are replaced by U+FFFD. By default they are an error.
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
    /// every byte anyway, and need no `String` for each line. [`str::lines`] cuts a row: a line end that is a lone
    /// carriage return is given as a line feed, and a row whose last line is empty ends with a line feed. Blocks of
    /// 64 KiB stay in the processor's cache.
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

    fn too_long(&self) -> LineFault {
        LineFault::TooLong { most: self.max_line_bytes, option: self.names.max_line_bytes() }
    }

    /// Sets the names by which errors advise the options, for readers that call them otherwise.
    pub(crate) fn named(mut self, names: OptionNames) -> Self {
        self.names = names;
        self
    }
}

/// A byte range of a file that a task reads: the lines that begin in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// The file.
    pub file: Sent<dyn InputFile>,
    /// The offset of the first byte.
    pub start: u64,
    /// The offset behind the last byte.
    pub end: u64,
}

pub(crate) fn text_files(
    shared: &Arc<Shared>,
    info: OpInfo,
    paths: &[&Path],
    options: &TextOptions,
) -> Result<Rdd<String>> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(look_up(shared, path)?);
    }
    let partition_bytes = partition_bytes(&files, options.min_partitions, shared.default_partitions);
    let partitions = pack(files, partition_bytes, is_gzip);
    Ok(leaf(shared, info, partitions.len(), TextFiles { partitions, options: options.clone() }))
}

/// How many bytes a partition of these files should have, for `at_least` so many partitions, or `about` so many.
pub fn partition_bytes(files: &[Arc<dyn InputFile>], at_least: Option<usize>, about: usize) -> u64 {
    let total: u64 = files.iter().map(|file| file.bytes()).sum();
    match at_least {
        Some(partitions) => total.div_ceil(partitions.max(1) as u64).clamp(1, MOST_BYTES),
        None => total.div_ceil(about as u64).clamp(LEAST_BYTES, MOST_BYTES),
    }
}

/// Cuts large files, except those that are to stay `whole`, and packs small ones, in their order, into partitions of
/// about `partition_bytes`.
pub fn pack(
    files: Vec<Arc<dyn InputFile>>,
    partition_bytes: u64,
    whole: impl Fn(&dyn InputFile) -> bool,
) -> Vec<Vec<Piece>> {
    let mut partitions: Vec<Vec<Piece>> = Vec::new();
    let (mut open, mut open_bytes): (Vec<Piece>, u64) = (Vec::new(), 0);
    for file in files {
        let bytes = file.bytes();
        let whole = bytes <= partition_bytes || whole(&*file);
        let cost = bytes + OPEN_BYTES;
        if !open.is_empty() && open_bytes + cost > partition_bytes + OPEN_BYTES {
            partitions.push(mem::take(&mut open));
            open_bytes = 0;
        }
        if whole {
            open_bytes += cost;
            open.push(Piece { start: 0, end: bytes, file: Sent(file) });
        } else {
            let parts = bytes.div_ceil(partition_bytes) as usize;
            let at = |part| super::cut(bytes, part, parts);
            partitions.extend(
                (0..parts).map(|part| vec![Piece { file: Sent(file.clone()), start: at(part), end: at(part + 1) }]),
            );
        }
    }
    if !open.is_empty() {
        partitions.push(open);
    }
    partitions
}

#[derive(Serialize, Deserialize)]
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

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
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
pub struct Lines {
    file: Arc<dyn InputFile>,
    blocks: Box<dyn Blocks>,
    /// A line that begins here or later belongs to another piece.
    end: u64,
    /// The block that is being cut, and how far.
    block: Vec<u8>,
    at: usize,
    /// Where the block begins in the file (or in what the file decompresses to).
    offset: u64,
    /// The beginning of a line that began in an earlier block.
    carry: Vec<u8>,
    /// Whether the rest of a line that began before the piece is still to be skipped.
    skipping: bool,
    /// Whether the last block ended with a carriage return; a line feed that follows belongs to it.
    after_return: bool,
    /// Where the last line began.
    begin: u64,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("file", &self.file).field("begin", &self.begin).finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens the file of a piece. Files whose names end in `.gz` are decompressed.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(piece: Piece, task: &TaskContext) -> Result<Self, TaskError> {
        // The byte before the piece says whether the piece begins with a line or in the middle of one.
        let skipping = piece.start > 0;
        let offset = piece.start.saturating_sub(u64::from(skipping));
        let Piece { file, end, .. } = piece;
        let (range, gzip) = (offset..end, is_gzip(&*file));
        let open = || {
            let blocks = file.open(range.clone(), task)?;
            Ok::<Box<dyn Blocks>, TaskError>(if gzip {
                Box::new(Gunzip::new(blocks, Arc::clone(&file.0)))
            } else {
                blocks
            })
        };
        let blocks = open()?;
        // What fits one block is not worth a thread.
        let ahead = blocks.reads_ahead() || end - offset <= BLOCK_BYTES as u64;
        let blocks = if ahead { blocks } else { Ahead::over(blocks, task, open)? };
        // How long a file is that is decompressed, or that has no length, its end will tell.
        let end = if gzip || file.is_open_ended() { u64::MAX } else { end };
        Ok(Self {
            file: file.0,
            blocks,
            end,
            block: Vec::new(),
            at: 0,
            offset,
            carry: Vec::new(),
            skipping,
            after_return: false,
            begin: offset,
        })
    }

    /// Adds lines until there are `limit` rows. Returns whether there may be more.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is too long or not text, by the options.
    pub fn read(&mut self, rows: &mut Vec<String>, limit: usize, options: &TextOptions) -> Result<bool, TaskError> {
        loop {
            if self.at == self.block.len() {
                self.offset += self.block.len() as u64;
                self.at = 0;
                self.block = match self.blocks.next()? {
                    Some(block) => block,
                    None => {
                        // The file's last line may have no end; a byte order mark alone is no line.
                        let line = mem::take(&mut self.carry);
                        let begin = self.offset - line.len() as u64;
                        if !line.is_empty() && (begin > 0 || line != BYTE_ORDER_MARK) {
                            rows.push(self.line(line, begin, false, options)?);
                        }
                        return Ok(false);
                    }
                };
                if mem::take(&mut self.after_return) && self.block.first() == Some(&b'\n') {
                    self.at = 1;
                }
                continue;
            }
            let position = self.offset + self.at as u64;
            if self.carry.is_empty() && !self.skipping && position >= self.end {
                return Ok(false);
            }
            if rows.len() >= limit {
                return Ok(true);
            }
            let rest = &self.block[self.at..];
            let end = match options.block_bytes {
                Some(bytes) if self.carry.is_empty() && !self.skipping => self.block_end(rest, position, bytes),
                _ => LineEnd::first(rest),
            };
            let part = &rest[..end.map_or(rest.len(), |end| end.at)];
            if let Some(LineEnd { at, bytes }) = end {
                self.after_return = at + bytes == rest.len() && rest[at + bytes - 1] == b'\r';
            }
            self.at += part.len() + end.map_or(0, |end| end.bytes);
            if self.skipping {
                self.skipping = end.is_none();
                continue;
            }
            let begin = position - self.carry.len() as u64;
            if self.carry.len() + part.len() > options.max_line_bytes
                && self.has_long_line(part, options.max_line_bytes)
            {
                return Err(self.bad_line(begin, options.too_long()));
            }
            match end {
                None => self.carry.extend_from_slice(part),
                Some(_) if self.carry.is_empty() => {
                    let line = part.to_vec();
                    rows.push(self.line(line, begin, true, options)?);
                }
                Some(_) => {
                    self.carry.extend_from_slice(part);
                    let line = mem::take(&mut self.carry);
                    rows.push(self.line(line, begin, true, options)?);
                }
            }
        }
    }

    /// The end of the last line that fits a block of so many bytes, or else of the next line, if it is in sight.
    fn block_end(&self, rest: &[u8], position: u64, bytes: usize) -> Option<LineEnd> {
        // What begins behind the piece is not its own.
        let own = self.end - position;
        let window = rest.len().min(bytes).min(usize::try_from(own).unwrap_or(usize::MAX));
        LineEnd::last(rest, window).or_else(|| LineEnd::first(rest))
    }

    /// Returns whether what is carried and `part` hold a line of more than `most` bytes.
    fn has_long_line(&self, part: &[u8], most: usize) -> bool {
        let mut carried = self.carry.len();
        part.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| mem::take(&mut carried) + line.len() > most)
    }

    /// Where the last line that was read begins in the file (or in what the file decompresses to).
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The row of these bytes, which stand at `begin` in the file, without the end of the last line, if that has `ended`.
    fn line(
        &mut self,
        mut bytes: Vec<u8>,
        begin: u64,
        ended: bool,
        options: &TextOptions,
    ) -> Result<String, TaskError> {
        self.begin = begin;
        let mut mark = 0;
        if begin == 0 {
            if is_utf16(&bytes) {
                return Err(self.bad_line(0, LineFault::Utf16));
            }
            if bytes.starts_with(&BYTE_ORDER_MARK) {
                mark = BYTE_ORDER_MARK.len();
                bytes.drain(..mark);
            }
        }
        if options.block_bytes.is_some() {
            as_str_lines(&mut bytes, ended);
        }
        match String::from_utf8(bytes) {
            Ok(line) => Ok(line),
            Err(error) if options.lossy => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
            Err(error) => {
                let at = begin + (mark + error.utf8_error().valid_up_to()) as u64;
                Err(self.bad_line(at, LineFault::NotUtf8 { option: options.names.lossy() }))
            }
        }
    }

    fn bad_line(&self, byte: u64, fault: LineFault) -> TaskError {
        TaskError::io_permanent(LineError { path: self.file.path().to_path_buf(), byte, fault })
    }
}

/// The bytes that many programs put before text to say that it is UTF-8. They are no part of the text.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Returns whether a file that begins with these bytes says that it is UTF-16, which begins so in either byte order.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

/// The end of a line: LF, CRLF or CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LineEnd {
    at: usize,
    bytes: usize,
}

impl LineEnd {
    /// The first one.
    fn first(text: &[u8]) -> Option<Self> {
        memchr::memchr2(b'\n', b'\r', text).map(|at| Self::begins(text, at))
    }

    /// The last one that begins in `text[..window]`.
    fn last(text: &[u8], window: usize) -> Option<Self> {
        let at = memchr::memrchr2(b'\n', b'\r', &text[..window])?;
        let is_pair = text[at] == b'\n' && at > 0 && text[at - 1] == b'\r';
        Some(Self::begins(text, if is_pair { at - 1 } else { at }))
    }

    fn begins(text: &[u8], at: usize) -> Self {
        let is_pair = text[at] == b'\r' && text.get(at + 1) == Some(&b'\n');
        Self { at, bytes: 1 + usize::from(is_pair) }
    }
}

/// Changes a block of lines, without the end of the last one if that has `ended`, so that `str::lines` finds all of them.
fn as_str_lines(block: &mut Vec<u8>, ended: bool) {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\r', &block[from..]).map(|at| from + at) {
        if block.get(at + 1) != Some(&b'\n') {
            block[at] = b'\n';
        }
        from = at + 1;
    }
    if ended && matches!(block.last(), None | Some(b'\n')) {
        block.push(b'\n');
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
    #[error("not UTF-8; convert the file, or read it with {option}")]
    NotUtf8 { option: &'static str },
    #[error("it begins with a byte order mark of UTF-16; convert the file to UTF-8, such as with iconv")]
    Utf16,
    #[error("a line of more than {most} bytes; is this a text file? see {option}")]
    TooLong { most: usize, option: &'static str },
}
