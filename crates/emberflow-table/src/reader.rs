//! `Reader`: how files become a table.

use std::{io, path::Path, sync::Arc};

use emberflow_core::{
    error::{Error, Result},
    place::{OpInfo, Place},
    storage::InputFile,
};

use emberflow_rdd::{Context, parts::look_up};

use super::{
    Schema, Table,
    csv::{self, CsvOptions},
    json,
    mode::Mode,
};

/// How files become a table; made by [`ctx.read()`](ReadTables::read).
///
/// ```
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("films.csv");
/// # std::fs::write(&path, "title;year\nAlien;1979\nBrazil;NA\n").unwrap();
/// let films = ctx.read().delimiter(b';').null_value("NA").csv(&path)?;
/// assert_eq!(films.show_string(20)?, "\
/// +------+----+
/// | title|year|
/// +------+----+
/// | Alien|1979|
/// |Brazil|NULL|
/// +------+----+
/// ");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Reader {
    ctx: Context,
    csv: CsvOptions,
}

/// `ctx.read()`: reads files as tables. The prelude has it, with the feature `tables`.
pub trait ReadTables: sealed::Sealed {
    /// Reads files as tables.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// assert_eq!(ctx.read().csv(&path)?.count()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    fn read(&self) -> Reader;
}

#[allow(unnameable_types, reason = "a sealed trait cannot be named, which is its purpose")]
mod sealed {
    /// The types that can read tables are those of emberflow.
    pub trait Sealed {}

    impl Sealed for emberflow_rdd::Context {}
}

impl ReadTables for Context {
    fn read(&self) -> Reader {
        Reader { ctx: self.clone(), csv: CsvOptions::default() }
    }
}

impl Reader {
    /// Sets whether the first record of each file names the columns; it does by default. Without names they are called
    /// `_c0`, `_c1`, …
    pub fn header(mut self, header: bool) -> Self {
        self.csv.header = header;
        self
    }

    /// Sets the delimiter between fields, an ASCII character; it is a comma by default.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.csv.delimiter = delimiter;
        self
    }

    /// Sets the quote around fields that hold a delimiter, an ASCII character; it is `"` by default. Within quotes it
    /// is written twice. With `None`, quotes are characters like others.
    pub fn quote(mut self, quote: impl Into<Option<u8>>) -> Self {
        self.csv.quote = quote.into();
        self
    }

    /// Sets the character that makes a quote within quotes a character like others, besides a second quote; there is
    /// none by default. (Spark's default is a backslash.)
    pub fn escape(mut self, escape: impl Into<Option<u8>>) -> Self {
        self.csv.escape = escape.into();
        self
    }

    /// A text that stands for null, within quotes or not. A field of no characters is always null; an empty one within
    /// quotes, `""`, is the empty string, unless this is `null_value("")`. After Spark's `nullValue`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// std::fs::write(&path, "title,note\nAlien,\nBrazil,\"\"\nCube,NA\n").unwrap();
    /// let notes = |reader: emberflow::table::Reader| {
    ///     let table = reader.csv(&path)?.select(&["note"])?;
    ///     table.rows::<(Option<String>,)>().map(|(note,)| note).collect()
    /// };
    /// let some = |text: &str| Some(text.to_owned());
    /// assert_eq!(notes(ctx.read())?, [None, some(""), some("NA")]);
    /// assert_eq!(notes(ctx.read().null_value("NA"))?, [None, some(""), None]);
    /// assert_eq!(notes(ctx.read().null_value(""))?, [None, None, some("NA")]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn null_value(mut self, text: impl Into<String>) -> Self {
        self.csv.null_value = Some(text.into());
        self
    }

    /// Sets the value that an empty field within quotes, `""`, is read as: the empty string by default, which is null
    /// in columns of other types than string. After Spark's `emptyValue`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// std::fs::write(&path, "title,note\nAlien,\nBrazil,\"\"\n").unwrap();
    /// let films = ctx.read().empty_value("none").csv(&path)?;
    /// assert_eq!(films.show_string(20)?, "\
    /// +------+----+
    /// | title|note|
    /// +------+----+
    /// | Alien|NULL|
    /// |Brazil|none|
    /// +------+----+
    /// ");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn empty_value(mut self, text: impl Into<String>) -> Self {
        self.csv.empty_value = text.into();
        self
    }

    /// How dates are written, such as `%d.%m.%Y`, after [chrono]; `%Y-%m-%d` by default.
    ///
    /// [chrono]: https://docs.rs/chrono/latest/chrono/format/strftime/index.html
    pub fn date_format(mut self, format: impl Into<String>) -> Self {
        self.csv.date_format = Some(format.into());
        self
    }

    /// Sets whether bytes that are not UTF-8 are replaced by U+FFFD. By default they are an error that names file and
    /// byte.
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.csv.lossy = lossy;
        self
    }

    /// Sets whether a field within quotes may hold line breaks, which are read as `\n`. Then files are not cut into
    /// parts, since only a reader that starts at the beginning knows what is quoted.
    pub fn multi_line(mut self, multi_line: bool) -> Self {
        self.csv.multi_line = multi_line;
        self
    }

    /// The longest record that is accepted, in bytes; 64 MiB by default. A longer one is an error rather than a process
    /// that runs out of memory: it is no text, or a quote is not closed.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let error = ctx.read().max_record_bytes(9).csv(&path).err().unwrap().to_string();
    /// assert!(error.contains("a line of more than 9 bytes"), "{error}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.csv.max_record_bytes = bytes;
        self
    }

    /// Sets the treatment of records that do not fit the schema.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.csv.mode = mode;
        self
    }

    /// Adds a last column of this name that holds, for records that do not fit the schema, what stands in the file.
    pub fn corrupt_record(mut self, column: impl Into<String>) -> Self {
        self.csv.corrupt_record = Some(column.into());
        self
    }

    /// The share of rows that the schema is discovered from, spread evenly over each partition; all by default. Values
    /// of the others that do not fit are malformed.
    pub fn sampling_ratio(mut self, ratio: f64) -> Self {
        self.csv.sampling_ratio = ratio;
        self
    }

    /// Sets the schema, in place of one that is discovered. For CSV, it has columns in the order of the files' fields,
    /// and headers are skipped; for JSON Lines, it has the columns that are wanted, by their names.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.csv.schema = Some(schema);
        self
    }

    /// The table of a CSV file, of all files below a directory, or of all that a glob matches; locally or on S3.
    ///
    /// Unless a [`schema`](Self::schema) is given, this runs a job that reads the files and finds the narrowest type
    /// for each column that loses nothing of its values, of integer, long, unsigned long, double, date, timestamp,
    /// boolean and string. So `00501` and `+4930` are strings, as are integers of more than 64 bits. Large files are cut
    /// into partitions at line ends; `*.gz` files are decompressed. A lost partition reads its part of the files again.
    ///
    /// # Errors
    /// As [`text_file`](Context::text_file); if files have different headers; if there is nothing to discover a schema
    /// from; if there is no schema, and a file is a pipe, which can be read only once.
    #[track_caller]
    pub fn csv(self, path: impl AsRef<Path>) -> Result<Table> {
        let files = self.look_up(path.as_ref())?;
        csv::table(&self.ctx, &OpInfo::new("csv", Place::caller()), files, self.csv)
    }

    /// The table of a file of JSON Lines, an object a line; of all files below a directory, or of all that a glob matches;
    /// locally or on S3.
    ///
    /// Unless a [`schema`](Self::schema) is given, this runs a job that reads the files and finds a column for each name,
    /// in the order in which names are first seen: numbers become integer, long, unsigned long or double, whichever is the
    /// narrowest that loses nothing of them; `true` and `false` boolean, texts string, lists arrays, and objects structs.
    /// Values of several sorts under one name become strings, as they stand in the file; so does what is nested deeper
    /// than 20 levels. A name that a record does not have is null there. Dates and timestamps are texts in JSON: they are
    /// read as what they are if a schema says so.
    ///
    /// Large files are cut into partitions at line ends; `*.gz` files are decompressed. A lost partition reads its part of
    /// the files again. The reader's options about text within a line ([`header`](Self::header),
    /// [`delimiter`](Self::delimiter), [`quote`](Self::quote), [`escape`](Self::escape),
    /// [`null_value`](Self::null_value), [`empty_value`](Self::empty_value)) are CSV's and do nothing here.
    ///
    /// # Errors
    /// As [`text_file`](Context::text_file); if no line is an object to discover a schema from; if there is no schema, and
    /// a file is a pipe, which can be read only once; if [`multi_line`](Self::multi_line) is set.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.jsonl");
    /// std::fs::write(&path, r#"
    /// {"title": "Alien", "year": 1979, "crew": {"director": "Scott"}}
    /// {"title": "Brazil", "genres": ["Drama", "Satire"]}
    /// "#).unwrap();
    /// let films = ctx.read().json_lines(&path)?;
    /// assert_eq!(films.schema().to_string(), "\
    /// root
    ///  |-- title: string (nullable = true)
    ///  |-- year: integer (nullable = true)
    ///  |-- crew: struct (nullable = true)
    ///  |    |-- director: string (nullable = true)
    ///  |-- genres: array (nullable = true)
    ///  |    |-- element: string (containsNull = true)
    /// ");
    /// assert_eq!(
    ///     films.first()?.unwrap().to_string(),
    ///     "Row(title='Alien', year=1979, crew=Row(director='Scott'), genres=None)"
    /// );
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn json_lines(self, path: impl AsRef<Path>) -> Result<Table> {
        let files = self.look_up(path.as_ref())?;
        json::table(&self.ctx, &OpInfo::new("json_lines", Place::caller()), files, self.csv)
    }

    fn look_up(&self, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
        let files = look_up(&self.ctx, path)?;
        if let (None, Some(pipe)) = (&self.csv.schema, files.iter().find(|file| file.is_read_once())) {
            let reason = "it is a pipe, and what is read to discover a schema cannot be read again; give a schema by \
                          Reader::schema, or copy what comes out of the pipe into a file";
            let source = Arc::new(io::Error::new(io::ErrorKind::Unsupported, reason));
            return Err(Error::File { what: "cannot read", path: pipe.path().to_owned(), source });
        }
        Ok(files)
    }
}
