//! Tables whose schema is discovered when their files are read (feature `tables` of `emberflow`, as `emberflow::table`).
//!
//! A [`Table`] is an RDD of Arrow's batches with a [`Schema`]: lineage, caches, spilling, recovery and events are those
//! of [`Rdd`]. Owns how files become columns and columns become rows; never runs anything itself.
//!
//! ```
//! use emberflow::{prelude::*, table::Mode};
//! use serde::Deserialize;
//!
//! #[derive(Clone, Debug, Deserialize)]
//! struct Film {
//!     title: String,
//!     year: i32,
//! }
//!
//! # let ctx = Context::local(2)?;
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("films.csv");
//! std::fs::write(&path, "title,year\nAlien,1979\n\"Brazil, again\",1985\nno year\n").unwrap();
//! let films = ctx.read().mode(Mode::DropMalformed).csv(&path)?;
//! assert_eq!(
//!     films.schema().to_string(),
//!     "root\n |-- title: string (nullable = true)\n |-- year: integer (nullable = true)\n"
//! );
//! let old = films.rows::<Film>().filter(|film| film.year < 1980).map(|film| film.title);
//! assert_eq!(old.collect()?, ["Alien"]);
//! # Ok::<(), Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod cells;
mod chunk;
mod csv;
mod error;
mod from_batches;
mod json;
mod kind;
mod known;
mod lines;
mod mode;
mod plain;
mod reader;
mod row;
mod rows;
mod schema;
mod show;
mod to_table;
mod write;

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use emberflow_core::{
    error::Result,
    place::{OpInfo, Place},
};
use emberflow_rdd::{Action, Rdd, parts::and_then};

pub use self::{
    chunk::Chunk,
    mode::Mode,
    reader::{ReadTables, Reader},
    row::Row,
    schema::Schema,
    to_table::ToTable,
    write::{Compression, SaveMode, Writer},
};
use self::{error::TableError, rows::try_chunks};

pub use arrow_schema::{DataType, Field, TimeUnit};

/// Rows by columns, with a schema: an RDD of Arrow's batches. See the [crate](self).
#[derive(Clone)]
pub struct Table {
    chunks: Rdd<Chunk>,
    schema: Schema,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("chunks", &self.chunks).field("schema", &self.schema).finish()
    }
}

impl Table {
    pub(crate) fn new(chunks: Rdd<Chunk>, schema: Schema) -> Self {
        Self { chunks, schema }
    }

    /// The names and types of the columns.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,seen\nAlien,2009-12-18\n").unwrap();
    /// let films = ctx.read().csv(&path)?;
    /// print!("{}", films.schema());
    /// # assert_eq!(films.schema().to_string(), "root\n |-- title: string (nullable = true)\n |-- seen: date (nullable = true)\n");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The RDD that the table stands on, for what the table itself has no method for.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let films = ctx.read().csv(&path)?;
    /// assert_eq!(films.chunks().map(|chunk| chunk.batch().num_columns()).collect()?, [2]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn chunks(&self) -> &Rdd<Chunk> {
        &self.chunks
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.chunks.partitions()
    }

    /// Keeps the rows in memory, and on disk what finds no room; see [`Rdd::cache`].
    #[must_use]
    pub fn cache(&self) -> Self {
        Self::new(self.chunks.cache(), self.schema.clone())
    }

    /// The lineage as text; see [`Rdd::to_debug_string`].
    pub fn to_debug_string(&self) -> String {
        self.chunks.to_debug_string()
    }

    /// The columns of these names, in this order. Narrow.
    ///
    /// # Errors
    /// If there is no such column, or one is named twice.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let films = ctx.read().csv(&path)?;
    /// assert_eq!(films.select(&["year"])?.schema().names().collect::<Vec<_>>(), ["year"]);
    /// let error = films.select(&["yaer"]).err().unwrap();
    /// assert_eq!(error.to_string(), "there is no column \"yaer\"; there are title, year");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn select(&self, columns: &[&str]) -> Result<Self> {
        let info = OpInfo::new("select", Place::caller());
        let at = columns.iter().map(|name| self.schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let schema = self.schema.arrow().project(&at).map_err(TableError::from)?;
        let schema = Schema::of(Arc::new(schema)).check()?;
        let chunks = try_chunks(&self.chunks, info, at, |at, batch| batch.project(at));
        Ok(Self::new(chunks, schema))
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    #[track_caller]
    pub fn count(&self) -> Result<u64> {
        self.count_async().wait()
    }

    /// As [`count`](Self::count), without waiting.
    #[track_caller]
    pub fn count_async(&self) -> Action<u64> {
        self.chunks.aggregate_ref_async(0, |rows, chunk| rows + chunk.0.num_rows() as u64, |a, b| a + b)
    }

    /// All rows, as one of Arrow's batches.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    #[track_caller]
    pub fn collect(&self) -> Result<RecordBatch> {
        self.collect_async().wait()
    }

    /// As [`collect`](Self::collect), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,1985\n").unwrap();
    /// assert_eq!(ctx.read().csv(&path)?.collect_async().wait()?.num_rows(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect_async(&self) -> Action<RecordBatch> {
        let schema = self.schema.clone();
        and_then(self.chunks.collect_async(), move |chunks| together(&schema, chunks))
    }
}

/// Chunks as one of Arrow's batches.
fn together(schema: &Schema, chunks: Vec<Chunk>) -> Result<RecordBatch> {
    let batches: Vec<RecordBatch> = chunks.into_iter().map(|chunk| chunk.0).collect();
    Ok(arrow_select::concat::concat_batches(schema.arrow(), &batches).map_err(TableError::from)?)
}
