//! `Writer`: how a table becomes files.
//!
//! Owns which files there are, what becomes of those that are there already, and their compression; `csv` and `json` own what
//! stands in them. Where files lie, and how they appear together, is the business of [`Output`].

mod csv;
mod file;
mod json;

use std::{borrow::Cow, path::Path};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use emberflow_core::{
    chaos::{self, Point},
    error::{Error, Result, TaskError},
    place::{OpInfo, Place},
    ship::Sent,
    storage::PartId,
};
use emberflow_rdd::{
    Action, Rdd,
    parts::{Output, Shape, look_up, start},
};
use serde::{Deserialize, Serialize};

use self::{csv::CsvStyle, file::File};
use super::{
    Schema, Table,
    cells::{Cell, Rows},
    chunk::Chunk,
    error::{NotWritable, TableError},
    kind::Kind,
    known::{known, known_or_same},
};

/// The treatment of an output that is there already where a table is written. After Spark's `SaveMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SaveMode {
    /// It stays, and [`Error::OutputExists`] is the result.
    #[default]
    ErrorIfExists,
    /// It stays, and the rows are put behind its own, as a directory in it: `part-append-0000000001` and so on, by number.
    Append,
    /// It stays, and nothing is written. No job runs.
    Ignore,
    /// The new output takes its place when all of that is written. A directory is replaced only if it has the file
    /// `_SUCCESS`, or nothing in it; and on S3 only a [single file](Writer::single_file) is, since S3 has no rename.
    Overwrite,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// By gzip: the names of the files end in `.gz`.
    Gzip,
}

/// How a table becomes files; made by [`Table::write`].
///
/// ```
/// # use emberflow::prelude::*;
/// use emberflow::table::{Compression, SaveMode};
///
/// # let ctx = Context::local(2)?;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("films");
/// let films = ctx.parallelize([("Alien".to_owned(), Some(1979)), ("Brazil".to_owned(), None)]).to_table()?;
/// films.write().compression(Compression::Gzip).csv(&path)?;
/// films.write().mode(SaveMode::Append).csv(&path)?;
/// assert_eq!(ctx.read().csv(&path)?.count()?, 4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a writer writes nothing before `csv` or `json_lines`"]
pub struct Writer {
    table: Table,
    mode: SaveMode,
    compression: Compression,
    single_file: bool,
    csv: CsvStyle,
}

impl Table {
    /// Writes the table to files.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films");
    /// let films = ctx.parallelize([("Alien".to_owned(), 1979), ("Brazil".to_owned(), 1985)]).to_table()?;
    /// films.write().csv(&path)?;
    /// assert_eq!(ctx.read().csv(&path)?.rows::<(String, i32)>().collect()?, films.rows().collect()?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write(&self) -> Writer {
        Writer {
            table: self.clone(),
            mode: SaveMode::default(),
            compression: Compression::default(),
            single_file: false,
            csv: CsvStyle::default(),
        }
    }
}

impl Writer {
    /// Sets what becomes of an output that is there already; it is an error by default.
    pub fn mode(mut self, mode: SaveMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how files are compressed; they are not by default.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Writes one file at the path itself, in place of a directory of files; one task reads all partitions one after the
    /// other, and writes it. [Cache](Table::cache) the table before, if its rows are costly. There is no `_SUCCESS`, for the
    /// file appears when all is written, or not at all.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// use emberflow::table::SaveMode;
    ///
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// let films = ctx.parallelize([("Alien".to_owned(), 1979), ("Brazil".to_owned(), 1985)]).to_table()?;
    /// films.write().single_file().mode(SaveMode::Overwrite).csv(&path)?;
    /// assert_eq!(std::fs::read_to_string(&path).unwrap(), "_1,_2\nAlien,1979\nBrazil,1985\n");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn single_file(mut self) -> Self {
        self.single_file = true;
        self
    }

    /// Sets whether the first line of each CSV file names the columns; it does by default.
    pub fn header(mut self, header: bool) -> Self {
        self.csv.header = header;
        self
    }

    /// Sets the delimiter between the fields of CSV, an ASCII character; it is a comma by default.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.csv.delimiter = delimiter;
        self
    }

    /// Sets the quote around those fields of CSV that need it, an ASCII character; it is `"` by default. Within quotes it is
    /// written twice.
    pub fn quote(mut self, quote: u8) -> Self {
        self.csv.quote = quote;
        self
    }

    /// The text that stands for null in CSV; no characters at all by default. A value whose text is the same is an error,
    /// since it would be read as null. Readers need it, too: [`Reader::null_value`](super::Reader::null_value).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("notes.csv");
    /// let notes = ctx.parallelize([(Some("good".to_owned()),), (None,)]).to_table()?;
    /// notes.write().null_value("NA").single_file().csv(&path)?;
    /// assert_eq!(std::fs::read_to_string(&path).unwrap(), "_1\ngood\nNA\n");
    /// assert_eq!(ctx.read().null_value("NA").csv(&path)?.collect()?, notes.collect()?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn null_value(mut self, text: impl Into<String>) -> Self {
        self.csv.null_value = text.into();
        self
    }

    /// Writes CSV: a directory at `path`, with one file `part-00000.csv`, … a partition, each with a header, and an empty
    /// file `_SUCCESS`. [`Reader::csv`](super::Reader::csv) reads it back.
    ///
    /// Action. The directory appears when everything is written, or not at all, and its names have the order of the rows,
    /// locally as on S3; see [`save_as_text_file`](emberflow_rdd::Rdd::save_as_text_file).
    ///
    /// Null is a field of no characters, and the empty string two quotes. Doubles have all digits that they need, dates and
    /// timestamps are as in ISO 8601. Fields are within quotes if they would be read as something else without; one that
    /// holds a line break is read by [`multi_line`](super::Reader::multi_line), all kinds of line breaks as `\n`. A schema
    /// that is discovered has the narrowest types, so that a column of strings such as `7` is one of integers:
    /// [`Reader::schema`](super::Reader::schema) takes the table's own.
    ///
    /// # Errors
    /// [`Error::OutputExists`] if there is something at `path`, unless [`mode`](Self::mode) says otherwise; if a column is of
    /// a type that CSV has no form for, such as an array; if a year is not one of four digits; if the only column is one of
    /// strings and holds a null, which would be a line without characters; those of
    /// [`save_as_text_file`](emberflow_rdd::Rdd::save_as_text_file).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films");
    /// let films = [("Alien, again".to_owned(), Some(7.5)), (String::new(), None)];
    /// ctx.parallelize_into(films, 1).to_table()?.write().csv(&path)?;
    /// let text = std::fs::read_to_string(path.join("part-00000.csv")).unwrap();
    /// assert_eq!(text, "_1,_2\n\"Alien, again\",7.5\n\"\",\n");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn csv(self, path: impl AsRef<Path>) -> Result<()> {
        self.csv_async(path).wait()
    }

    /// As [`csv`](Self::csv), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.parallelize([(1, 2)]).to_table()?.write().csv_async(dir.path().join("pairs")).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn csv_async(self, path: impl AsRef<Path>) -> Action<()> {
        let format = Format::Csv(self.csv.clone());
        self.save(OpInfo::new("write_csv", Place::caller()), path.as_ref(), format)
    }

    /// Writes JSON Lines, an object a row: a directory at `path`, with one file `part-00000.json`, … a partition, and an
    /// empty file `_SUCCESS`. [`Reader::json_lines`](super::Reader::json_lines) reads it back.
    ///
    /// Action, as [`csv`](Self::csv). Each object has all columns, in their order, so that a reader finds them all; null is
    /// `null`. Arrays and structs are those of JSON. Dates and timestamps are texts as in ISO 8601, which are read as strings
    /// unless [`Reader::schema`](super::Reader::schema) says what they are.
    ///
    /// # Errors
    /// Those of [`csv`](Self::csv), but for arrays, structs, and a null in the only column; if a double is infinite or not a
    /// number, for which JSON has no form.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films");
    /// let films = [("Alien".to_owned(), Some(7.5), vec!["horror".to_owned()]), ("Brazil".to_owned(), None, vec![])];
    /// ctx.parallelize_into(films, 1).to_table()?.write().json_lines(&path)?;
    /// let text = std::fs::read_to_string(path.join("part-00000.json")).unwrap();
    /// assert_eq!(text, "\
    /// {\"_1\":\"Alien\",\"_2\":7.5,\"_3\":[\"horror\"]}
    /// {\"_1\":\"Brazil\",\"_2\":null,\"_3\":[]}
    /// ");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn json_lines(self, path: impl AsRef<Path>) -> Result<()> {
        self.json_lines_async(path).wait()
    }

    /// As [`json_lines`](Self::json_lines), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.parallelize([(1, 2)]).to_table()?.write().json_lines_async(dir.path().join("pairs")).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn json_lines_async(self, path: impl AsRef<Path>) -> Action<()> {
        self.save(OpInfo::new("write_json_lines", Place::caller()), path.as_ref(), Format::JsonLines)
    }

    /// Writes a file for each partition, or one for all.
    #[track_caller]
    fn save(self, info: OpInfo, path: &Path, format: Format) -> Action<()> {
        let path = path.to_owned();
        let ctx = self.table.chunks.context();
        let chunks = self.check(&path, &format).and_then(|()| self.parts());
        let Self { table, mode, compression, single_file, .. } = self;
        start(&ctx, |driver| async move {
            let chunks = chunks?;
            let shape = Shape {
                partitions: chunks.partitions(),
                ending: format.ending(compression),
                is_file: single_file,
                replaces: mode == SaveMode::Overwrite,
            };
            let Some(output) = begin(&chunks, &path, mode, shape)? else { return Ok(()) };
            let env = (Sent(output.files()), table.schema, format, compression);
            let parts =
                driver.run(&chunks, info, (0..chunks.partitions()).collect(), env, |env, partition, mut rows, cx| {
                    let (files, schema, format, compression) = env;
                    let part = PartId { partition, attempt: cx.attempt() };
                    let mut file = File::new(files.create(part, cx)?, *compression);
                    let (mut bytes, mut count) = (Vec::new(), 0);
                    format.push_header(schema, &mut bytes);
                    while let Some(batch) = rows.next()? {
                        chaos::pass(Point::Sink)?;
                        for Chunk(batch) in batch.as_slice() {
                            cx.check_cancelled()?;
                            let known = known(batch).map_err(TaskError::rejected)?;
                            let rows = Rows::of(&known);
                            for at in 0..batch.num_rows() {
                                count += 1;
                                format.push_row(&rows, at, &mut bytes).map_err(|Unwritable { column, reason }| {
                                    TaskError::rejected(NotWritable { column, reason, row: count, partition })
                                })?;
                                file.write(&bytes)?;
                                bytes.clear();
                            }
                        }
                    }
                    // The header, if there was no row.
                    file.write(&bytes)?;
                    file.finish()?;
                    Ok((part, count))
                });
            output.commit(&parts.await?).await
        })
    }

    /// Fails if what is to be written cannot be, whatever the rows are.
    fn check(&self, path: &Path, format: &Format) -> Result<()> {
        let is_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        if self.single_file && is_gzip != (self.compression == Compression::Gzip) {
            return Err(TableError::OtherEnding { path: path.to_owned() }.into());
        }
        if self.single_file && self.mode == SaveMode::Append {
            return Err(TableError::AppendToFile.into());
        }
        Ok(format.check(&self.table.schema)?)
    }

    /// The rows in as many partitions as files are written: one at least, so that the names of the columns are.
    #[track_caller]
    fn parts(&self) -> Result<Rdd<Chunk>> {
        let Table { chunks, schema } = &self.table;
        match chunks.partitions() {
            0 => {
                let none = RecordBatch::new_empty(schema.arrow().clone());
                Ok(Table::from_batches(&chunks.context(), [none])?.chunks)
            }
            2.. if self.single_file => Ok(chunks.coalesce(1)),
            _ => Ok(chunks.clone()),
        }
    }
}

/// Begins what is to be written; nothing if there is an output already that is to stay as it is.
fn begin(chunks: &Rdd<Chunk>, path: &Path, mode: SaveMode, shape: Shape) -> Result<Option<Output>> {
    let ctx = chunks.context();
    let begin = |path: &Path| Output::begin(&ctx, path, chunks.id(), shape);
    match (mode, begin(path)) {
        (SaveMode::Ignore, Err(Error::OutputExists { .. })) => Ok(None),
        (SaveMode::Append, Err(Error::OutputExists { .. })) => {
            let mut number = last_append(chunks, path)?;
            loop {
                number += 1;
                match begin(&path.join(format!("{APPENDED}{number:010}"))) {
                    Err(Error::OutputExists { .. }) => {}
                    begun => return begun.map(Some),
                }
            }
        }
        (_, begun) => begun.map(Some),
    }
}

/// The beginning of the names of directories that were appended: behind the files of the first output, in the order of names.
const APPENDED: &str = "part-append-";

/// The number of the directory that was appended last, as far as it has files; zero for none.
fn last_append(chunks: &Rdd<Chunk>, path: &Path) -> Result<u64> {
    let files = match look_up(&chunks.context(), path) {
        Err(Error::NoSuchInput { .. }) => return Ok(0),
        files => files?,
    };
    let number = |file: &Path| file.parent()?.file_name()?.to_str()?.strip_prefix(APPENDED)?.parse().ok();
    Ok(files.iter().filter_map(|file| number(file.path())).max().unwrap_or(0))
}

/// The format of the files, with its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Format {
    Csv(CsvStyle),
    JsonLines,
}

impl Format {
    fn ending(&self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Csv(_), Compression::None) => ".csv",
            (Self::Csv(_), Compression::Gzip) => ".csv.gz",
            (Self::JsonLines, Compression::None) => ".json",
            (Self::JsonLines, Compression::Gzip) => ".json.gz",
        }
    }

    /// Fails if it has no form for a column, or a setting makes no sense.
    fn check(&self, schema: &Schema) -> Result<(), TableError> {
        if let Self::Csv(style) = self {
            style.check()?;
            if schema.arrow().fields().is_empty() {
                return Err(TableError::NoColumnsToWrite);
            }
        }
        match schema.arrow().fields().iter().find(|field| !self.has(&known_or_same(field.data_type()))) {
            Some(field) => Err(TableError::NotWritten {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                format: if let Self::Csv(_) = self { "CSV" } else { "JSON" },
            }),
            None => Ok(()),
        }
    }

    /// Returns whether it has a form for values of a type.
    fn has(&self, of: &DataType) -> bool {
        match (self, of) {
            (Self::JsonLines, DataType::List(element)) => self.has(element.data_type()),
            (Self::JsonLines, DataType::Struct(fields)) => fields.iter().all(|field| self.has(field.data_type())),
            _ => Kind::for_type(of).is_some(),
        }
    }

    fn push_header(&self, schema: &Schema, to: &mut Vec<u8>) {
        match self {
            Self::Csv(style) if style.header => style.push_header(schema.names(), to),
            Self::Csv(_) | Self::JsonLines => {}
        }
    }

    fn push_row(&self, rows: &Rows<'_>, at: usize, to: &mut Vec<u8>) -> Result<(), Unwritable> {
        match self {
            Self::Csv(style) => style.push_row(rows, at, to),
            Self::JsonLines => json::push_row(rows, at, to),
        }
    }
}

/// Why a row cannot be written: its column, and what that holds.
#[derive(Debug)]
struct Unwritable {
    column: String,
    reason: String,
}

impl Unwritable {
    fn new(cell: Cell<'_, '_>, reason: String) -> Self {
        Self { column: cell.name.to_owned(), reason }
    }
}

/// A date or a timestamp as readers know it: its year has four digits.
fn time_text<'a>(cell: Cell<'_, 'a>) -> Result<Cow<'a, str>, Unwritable> {
    let text = cell.text();
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(text);
    }
    let text = if text.is_empty() { "a time beyond all calendars" } else { &text };
    let reason = format!("{text}, and only years from 0000 to 9999 are read from files; make a null or a number of it");
    Err(Unwritable::new(cell, reason))
}
