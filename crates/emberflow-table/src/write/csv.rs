//! A table's rows as CSV.
//!
//! Owns the form of each value, such that a reader finds it again, and which fields are within quotes. Not left to
//! `csv-core` or `arrow-csv`, which write null and the empty string alike, nor doubles so that they are found to be some.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Unwritable, time_text};
use crate::{
    cells::{Cell, Column, Rows},
    csv::check_marks,
    error::TableError,
};

/// See the methods of [`Writer`](super::Writer).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CsvStyle {
    pub(super) header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) null_value: String,
}

impl Default for CsvStyle {
    fn default() -> Self {
        Self { header: true, delimiter: b',', quote: b'"', null_value: String::new() }
    }
}

impl CsvStyle {
    pub(super) fn check(&self) -> Result<(), TableError> {
        check_marks("Writer", self.delimiter, &[("quote", self.quote)])
    }

    /// Writes the names of the columns.
    pub(super) fn push_header<'n>(&self, names: impl Iterator<Item = &'n str>, to: &mut Vec<u8>) {
        for (at, name) in names.enumerate() {
            if at > 0 {
                to.push(self.delimiter);
            }
            self.push(name, to);
        }
        to.push(b'\n');
    }

    /// Writes a row.
    pub(super) fn push_row(&self, rows: &Rows<'_>, at: usize, to: &mut Vec<u8>) -> Result<(), Unwritable> {
        let (mut text, mut fields) = (String::new(), 0);
        let begin = to.len();
        for cell in rows.cells(at) {
            if fields > 0 {
                to.push(self.delimiter);
            }
            fields += 1;
            if cell.is_null() {
                if !self.null_value.is_empty() {
                    self.push(&self.null_value, to);
                }
                continue;
            }
            text.clear();
            push_text(cell, &mut text)?;
            if text == self.null_value && !text.is_empty() {
                let reason = format!("{text:?}, which stands for null; choose another text by Writer::null_value");
                return Err(Unwritable::new(cell, reason));
            }
            self.push(&text, to);
        }
        if fields == 1 && to.len() == begin {
            // A line without characters is no record. The empty text is null in all columns but those of strings.
            let cell = rows.cells(at).next().expect("the cell that was written");
            if let Column::String(_) = cell.column {
                let reason = "a null, and is the only column: a line without characters is no record, and an empty \
                              field within quotes is the empty string; choose a text for null by Writer::null_value";
                return Err(Unwritable::new(cell, reason.to_owned()));
            }
            self.push("", to);
        }
        to.push(b'\n');
        Ok(())
    }

    /// Writes a field: within quotes, if it would be read as something else without.
    fn push(&self, text: &str, to: &mut Vec<u8>) {
        let [delimiter, quote] = [self.delimiter, self.quote].map(char::from);
        let is_special = |c: char| c == delimiter || c == quote || c.is_control() || c == '\u{feff}';
        let has_space = text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
        if !text.is_empty() && !has_space && !text.contains(is_special) {
            to.extend_from_slice(text.as_bytes());
            return;
        }
        to.push(self.quote);
        for byte in text.bytes() {
            to.push(byte);
            if byte == self.quote {
                to.push(byte);
            }
        }
        to.push(self.quote);
    }
}

/// Writes a value as readers look for it.
fn push_text(cell: Cell<'_, '_>, to: &mut String) -> Result<(), Unwritable> {
    match cell.column {
        Column::Double(array) => {
            let double = array.value(cell.at);
            match double {
                _ if double.is_nan() => to.push_str("NaN"),
                f64::INFINITY => to.push_str("Inf"),
                f64::NEG_INFINITY => to.push_str("-Inf"),
                _ => {
                    write!(to, "{double:?}").expect("a string takes whatever is written to it");
                    // Without a point, `1e16` could be the beginning of a hash, and a column of such would be strings.
                    if let Some(e) = to.find('e').filter(|e| !to[..*e].contains('.')) {
                        to.insert_str(e, ".0");
                    }
                }
            }
        }
        Column::Date(_) | Column::Timestamp(_) => to.push_str(&time_text(cell)?),
        Column::String(array) => to.push_str(array.value(cell.at)),
        _ => to.push_str(&cell.text()),
    }
    Ok(())
}
