//! The records of the pieces of a partition, one after the other, with their places.
//!
//! Cuts what `emberflow_rdd::parts::Lines` gives as lines into fields (csv-core does). A record is a line or, if it may be more, as
//! many lines as its quotes say; then a file is one piece.

use std::sync::Arc;

use csv_core::{ReadFieldResult, ReadRecordResult, ReaderBuilder, Terminator};
use emberflow_core::{error::TaskError, storage::InputFile, task::TaskContext};

use emberflow_rdd::{
    TextOptions,
    parts::{Piece, of_reader},
};

use super::CsvOptions;
use crate::{
    error::{MalformedRecord, RecordFault, RecordPlace, RecordTooLong},
    lines::PieceLines,
};

pub(super) struct Records {
    pieces: std::vec::IntoIter<Piece>,
    open: Option<Open>,
    task: TaskContext,
    text: TextOptions,
    max_record_bytes: usize,
    header: bool,
    multi_line: bool,
    delimiter: u8,
    quote: Option<u8>,
    parser: csv_core::Reader,
    record: Record,
}

struct Open {
    file: Arc<dyn InputFile>,
    lines: PieceLines,
    /// Whether the next record is the file's header.
    header: bool,
}

/// One record.
pub(super) struct Record {
    pub(super) file: Arc<dyn InputFile>,
    pub(super) place: RecordPlace,
    /// Whether it is the header of its file.
    pub(super) is_header: bool,
    /// Whether a quote was still open at its end.
    pub(super) open_quote: bool,
    /// The record as it stands in the file.
    pub(super) raw: String,
    /// The fields without quotes, one behind the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    /// Whether each field is within quotes; nothing if no empty field may be.
    quoted: Vec<bool>,
    scratch: Vec<u8>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    /// A field's text; fields end where characters end, since delimiters and quotes are ASCII.
    pub(super) fn field(&self, at: usize) -> &str {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        std::str::from_utf8(&self.text[begin..self.ends[at]]).expect("parts of text, cut at ASCII characters, are text")
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        (0..self.fields).map(|at| self.field(at))
    }

    /// Returns whether a field that is empty is within quotes.
    pub(super) fn is_quoted(&self, at: usize) -> bool {
        self.quoted.get(at).copied().unwrap_or(false)
    }

    /// Cuts the record again to see which fields are within quotes, if that can make a difference.
    fn find_quoted(&mut self, parser: &mut csv_core::Reader, quote: Option<u8>) {
        self.quoted.clear();
        let raw = self.raw.as_bytes();
        let has_empty = || (0..self.fields).any(|at| self.field(at).is_empty());
        let Some(quote) = quote.filter(|quote| memchr::memchr(*quote, raw).is_some() && has_empty()) else { return };
        parser.reset();
        if self.scratch.len() <= raw.len() {
            self.scratch.resize(raw.len() + 1, 0);
        }
        let mut begin = 0;
        while begin < raw.len() {
            let (result, read, _) = parser.read_field(&raw[begin..], &mut self.scratch);
            self.quoted.push(raw[begin] == quote);
            match result {
                ReadFieldResult::Field { .. } => begin += read,
                // No field is longer than its record: this was the last one.
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull | ReadFieldResult::End => break,
            }
        }
    }

    pub(super) fn malformed(&self, fault: RecordFault) -> TaskError {
        TaskError::io_permanent(MalformedRecord {
            path: self.file.path().to_path_buf(),
            place: self.place,
            fault,
            record: self.raw.clone(),
        })
    }
}

impl Records {
    /// `None` if there are no pieces.
    pub(super) fn new(pieces: Vec<Piece>, options: &CsvOptions, task: &TaskContext) -> Option<Self> {
        let file = Arc::clone(&pieces.first()?.file.0);
        let mut parser = ReaderBuilder::new();
        parser.delimiter(options.delimiter).terminator(Terminator::Any(b'\n')).escape(options.escape);
        match options.quote {
            Some(quote) => parser.quote(quote),
            None => parser.quoting(false),
        };
        Some(Self {
            pieces: pieces.into_iter(),
            open: None,
            task: task.clone(),
            text: of_reader(TextOptions::new().lossy(options.lossy).max_line_bytes(options.max_record_bytes)),
            max_record_bytes: options.max_record_bytes,
            header: options.header,
            multi_line: options.multi_line,
            delimiter: options.delimiter,
            quote: options.quote,
            parser: parser.build(),
            record: Record {
                file,
                place: RecordPlace { line: None, byte: 0 },
                is_header: false,
                open_quote: false,
                raw: String::new(),
                text: vec![0; 256],
                ends: vec![0; 32],
                fields: 0,
                quoted: Vec::new(),
                scratch: Vec::new(),
            },
        })
    }

    /// The next record. A line without characters is none, since it may as well be a record of one empty field; nor is
    /// one of white space before the header.
    pub(super) fn next(&mut self) -> Result<Option<&Record>, TaskError> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(piece) = self.pieces.next() else { return Ok(None) };
                    let (file, from_start) = (Arc::clone(&piece.file.0), piece.start == 0);
                    let lines = PieceLines::open(piece, &self.task)?;
                    self.open.insert(Open { file, lines, header: from_start && self.header })
                }
            };
            let Some(line) = open.lines.next(&self.text)? else {
                self.open = None;
                continue;
            };
            let blank = |line: &str| line.trim().is_empty() && !line.as_bytes().contains(&self.delimiter);
            if line.is_empty() || (open.header && blank(&line)) {
                continue;
            }
            let record = &mut self.record;
            record.file = Arc::clone(&open.file);
            record.place = open.lines.place();
            record.is_header = std::mem::take(&mut open.header);
            record.raw = line;
            let mut cut = Cut { parser: &mut self.parser, record, text: 0 };
            cut.parser.reset();
            cut.record.fields = 0;
            let mut ended = cut.feed_raw(0);
            while !ended && self.multi_line {
                let Some(line) = open.lines.next(&self.text)? else { break };
                let fed = cut.record.raw.len() + 1;
                cut.record.raw.push('\n');
                cut.record.raw.push_str(&line);
                if cut.record.raw.len() > self.max_record_bytes {
                    return Err(TaskError::io_permanent(RecordTooLong {
                        path: open.file.path().to_path_buf(),
                        place: cut.record.place,
                        most: self.max_record_bytes,
                    }));
                }
                ended = cut.feed_raw(fed);
            }
            cut.record.open_quote = !ended;
            if !ended {
                // Nothing more: what there is, is the record.
                cut.feed(b"");
                // The last line feed is the line's, and was taken for the field's.
                let last = cut.record.fields - 1;
                cut.record.ends[last] -= 1;
            }
            self.record.find_quoted(&mut self.parser, self.quote);
            return Ok(Some(&self.record));
        }
    }
}

/// A record on its way through the parser.
struct Cut<'a> {
    parser: &'a mut csv_core::Reader,
    record: &'a mut Record,
    /// Bytes of text so far.
    text: usize,
}

impl Cut<'_> {
    /// Goes on with the raw text from `at`, as a line. Returns whether that ended the record.
    fn feed_raw(&mut self, at: usize) -> bool {
        let raw = std::mem::take(&mut self.record.raw);
        // To the parser, no input is the end; so an empty line within quotes is only its line feed.
        let ended = (at < raw.len() && self.feed(&raw.as_bytes()[at..])) || self.feed(b"\n");
        self.record.raw = raw;
        ended
    }

    /// Goes on with `input`, or ends the record with none. Returns whether it has ended.
    fn feed(&mut self, mut input: &[u8]) -> bool {
        let record = &mut *self.record;
        loop {
            let (result, read, text, ends) =
                self.parser.read_record(input, &mut record.text[self.text..], &mut record.ends[record.fields..]);
            input = &input[read..];
            self.text += text;
            record.fields += ends;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return true,
                ReadRecordResult::InputEmpty => return false,
                ReadRecordResult::OutputFull => record.text.resize(record.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => record.ends.resize(record.ends.len() * 2, 0),
            }
        }
    }
}
