//! The errors of tables, before their rows are computed and in them.

use std::{path::PathBuf, sync::Arc};

use arrow_schema::DataType;
use emberflow_core::{error::Error, ids::PartitionIndex};

use super::{cells::CellError, plain::type_name};

/// An error in the use of a table, with advice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("there is no column {name:?}; there are {}", .there.join(", "))]
    NoSuchColumn { name: String, there: Vec<String> },
    #[error("two columns are called {name:?}; rename one of them")]
    TwoColumns { name: String },
    #[error("column {name:?}: CSV cannot be read as {}; give it as string to Reader::schema, and convert it", type_name(.data_type))]
    NotForCsv { name: String, data_type: DataType },
    #[error("column {name:?}: JSON cannot be read as {}; give it as string to Reader::schema, and convert it", type_name(.data_type))]
    NotForJson { name: String, data_type: DataType },
    #[error(
        "no line is an object of JSON with a name in it, so that there is nothing to discover a schema from: {first}. Each line has to be an object by itself; or give a schema by Reader::schema"
    )]
    NoObject { first: String },
    #[error("Reader::multi_line is for CSV: each line of JSON Lines is an object by itself")]
    MultiLineJson,
    #[error("{} has another header than {}: {:?}, not {:?}; read them apart, or give the schema by Reader::schema", .other.display(), .first.display(), .other_names, .first_names)]
    OtherHeader { first: PathBuf, first_names: Vec<String>, other: PathBuf, other_names: Vec<String> },
    #[error("{}: the header names {names} columns, and all records have {fields} fields or more, as if the first field had no name (R writes row names so); name all fields in the file, or give the schema by Reader::schema", .path.display())]
    ShortHeader { path: PathBuf, names: usize, fields: usize },
    #[error("there is neither a header nor a row to discover a schema from; give one with Reader::schema")]
    NothingToDiscover,
    #[error("{of}::{name}({mark:#04x}): give an ASCII character that ends no line, such as b';'")]
    NoMark { of: &'static str, name: &'static str, mark: u8 },
    #[error(
        "{name} and delimiter are both {mark:?}; choose another one for either by {of}::delimiter or {of}::{name}{}",
        if *.of == "Reader" { format!(", or Reader::{name}(None) for no {name}") } else { String::new() }
    )]
    TwoUses { of: &'static str, name: &'static str, mark: char },
    #[error("Reader::sampling_ratio({0}): it is the share of rows to look at, above 0 and up to 1")]
    SamplingRatio(f64),
    #[error(
        "there is no batch, so that nothing says which columns there are; give one without rows for a table without rows"
    )]
    NoBatch,
    #[error("batch {number} has other columns than the first: {columns}, not {first_columns}")]
    OtherColumns { number: usize, columns: String, first_columns: String },
    #[error(
        "no columns can be made of {row_type}: {reason}. Rows are structs and tuples, and a number n becomes one by map(|n| (n,)); Rdd::to_table_as takes a schema for types that do not tell their columns"
    )]
    NoColumns { row_type: &'static str, reason: String },
    #[error("no columns of this schema can be made of rows: {reason}")]
    NoBuilder { reason: String },
    #[error(
        "column {name:?}: {format} has no form for {}; leave the column out by Table::select, or make another one of it",
        type_name(.data_type)
    )]
    NotWritten { name: String, data_type: DataType, format: &'static str },
    #[error("a table without columns cannot be written as CSV, which has no form for its rows")]
    NoColumnsToWrite,
    #[error(
        "{}: a file that is compressed by gzip has a name that ends in .gz, and no other file has, since readers go by it; call it so, or choose by Writer::compression",
        .path.display()
    )]
    OtherEnding { path: PathBuf },
    #[error("rows cannot be appended to a single file; leave Writer::single_file out, or write to another path")]
    AppendToFile,
    #[error("cannot print to standard output: {0}")]
    Print(std::io::Error),
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        Self::Table { source: Arc::new(error) }
    }
}

/// A record that does not fit the schema, in [`Mode::FailFast`](super::Mode).
#[derive(Debug, thiserror::Error)]
#[error("{}, {place}: {fault}; the record is {record:?}. Reader::mode says what becomes of such records", .path.display())]
pub(crate) struct MalformedRecord {
    pub(crate) path: PathBuf,
    pub(crate) place: RecordPlace,
    pub(crate) fault: RecordFault,
    pub(crate) record: String,
}

/// A row of which no value of the row type can be made.
#[derive(Debug, thiserror::Error)]
#[error("{cause}. Row {row} of partition {partition} makes no {row_type}: {shown}")]
pub(crate) struct NoSuchRow {
    pub(crate) cause: CellError,
    /// Counted from 1.
    pub(crate) row: u64,
    pub(crate) partition: PartitionIndex,
    pub(crate) row_type: &'static str,
    pub(crate) shown: String,
}

/// A row that does not fit the columns that are made of its type.
#[derive(Debug, thiserror::Error)]
#[error("{reason}. Row {row} of partition {partition}, a {row_type}, does not fit the table's columns")]
pub(crate) struct NoSuchColumns {
    /// With its field, if that is known.
    pub(crate) reason: String,
    /// Counted from 1.
    pub(crate) row: u64,
    pub(crate) partition: PartitionIndex,
    pub(crate) row_type: &'static str,
}

/// A value that the format of a file has no form for.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} holds {reason}. Row {row} of partition {partition} cannot be written")]
pub(crate) struct NotWritable {
    pub(crate) column: String,
    /// The value, and what to do.
    pub(crate) reason: String,
    /// Counted from 1.
    pub(crate) row: u64,
    pub(crate) partition: PartitionIndex,
}

/// Where a record begins: its line is known if its file is read from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordPlace {
    pub(crate) line: Option<u64>,
    pub(crate) byte: u64,
}

impl std::fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}"),
            None => write!(f, "byte {}", self.byte),
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RecordFault {
    #[error("column {column:?}: {text:?} is not of type {wanted}")]
    Field { column: String, text: String, wanted: String },
    #[error("{found} fields instead of {wanted}")]
    Fields { found: usize, wanted: usize },
    #[error("it is no JSON: {why} at byte {byte} of the line")]
    NoJson { why: String, byte: usize },
    #[error("it is no object of JSON, {{…}}")]
    NoObject,
    #[error("a quote is not closed; does a field hold a line break? see Reader::multi_line")]
    OpenQuote,
}

/// A record that has no end.
#[derive(Debug, thiserror::Error)]
#[error("{}, {place}: a record of more than {most} bytes; is a quote not closed? see Reader::max_record_bytes", .path.display())]
pub(crate) struct RecordTooLong {
    pub(crate) path: PathBuf,
    pub(crate) place: RecordPlace,
    pub(crate) most: usize,
}
