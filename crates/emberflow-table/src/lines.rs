//! The lines of a piece of a file, with their places: what records are made of.

use std::sync::Arc;

use emberflow_core::{error::TaskError, storage::InputFile, task::TaskContext};

use emberflow_rdd::{
    TextOptions,
    parts::{Lines, Piece},
};

use super::error::RecordPlace;

/// The character that DOS and CP/M put behind the end of a text, once or more often.
const END_OF_FILE: char = '\u{1a}';

pub(super) struct PieceLines {
    file: Arc<dyn InputFile>,
    lines: Lines,
    /// A line that was read to see whether there is one, and where it begins.
    ahead: Option<(String, u64)>,
    /// Whether the file ends where the lines do.
    to_end: bool,
    /// Where the last line begins.
    begin: u64,
    /// Whether there may be more lines.
    more: bool,
    /// How many lines were read, if the piece begins with its file's first.
    number: Option<u64>,
    buffer: Vec<String>,
}

impl PieceLines {
    pub(super) fn open(piece: Piece, task: &TaskContext) -> Result<Self, TaskError> {
        let file = Arc::clone(&piece.file.0);
        let to_end = piece.end >= file.bytes();
        let number = (piece.start == 0).then_some(0);
        let lines = Lines::open(piece, task)?;
        Ok(Self { file, lines, ahead: None, to_end, begin: 0, more: true, number, buffer: Vec::new() })
    }

    /// Where the last line begins.
    pub(super) fn place(&self) -> RecordPlace {
        RecordPlace { line: self.number, byte: self.begin }
    }

    /// The next line, without what marks the end of the file.
    pub(super) fn next(&mut self, options: &TextOptions) -> Result<Option<String>, TaskError> {
        let Some((mut text, begin)) = self.read(options)? else { return Ok(None) };
        self.begin = begin;
        if let Some(number) = &mut self.number {
            *number += 1;
        }
        // Behind what is cut here, another piece goes on, unless the line is the file's last.
        let ends_file = |open: &Self| open.to_end || begin + text.len() as u64 >= open.file.bytes();
        if text.ends_with(END_OF_FILE) && ends_file(self) {
            self.ahead = self.read(options)?;
            if self.ahead.is_none() {
                text.truncate(text.trim_end_matches(END_OF_FILE).len());
            }
        }
        Ok(Some(text))
    }

    fn read(&mut self, options: &TextOptions) -> Result<Option<(String, u64)>, TaskError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        self.buffer.clear();
        // Lines that have ended must not be asked again.
        self.more = self.more && self.lines.read(&mut self.buffer, 1, options)?;
        Ok(self.buffer.pop().map(|text| (text, self.lines.begin())))
    }
}
