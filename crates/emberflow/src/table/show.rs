//! `show`: the first rows, as an aligned table.

use arrow_array::RecordBatch;
use arrow_cast::{display::FormatOptions, pretty::pretty_format_batches_with_options};
use emberflow_core::error::Result;

use super::{Table, error::TableError, together};
use crate::action::Action;

impl Table {
    /// The first `n` rows, as one of Arrow's batches. Computes no more partitions than it takes.
    ///
    /// # Errors
    /// As those of all [actions](crate::Rdd#actions).
    #[track_caller]
    pub fn head(&self, n: usize) -> Result<RecordBatch> {
        self.head_async(n).wait()
    }

    /// As [`head`](Self::head), without waiting.
    #[track_caller]
    pub fn head_async(&self, n: usize) -> Action<RecordBatch> {
        let schema = self.schema().clone();
        // No chunk is empty.
        self.chunks.map(move |chunk| chunk.head(n)).take_async(n).and_then(move |chunks| {
            let rows = together(&schema, chunks)?;
            Ok(rows.slice(0, n.min(rows.num_rows())))
        })
    }

    /// The first `n` rows, as text in aligned columns, to be printed. After Spark's `show`.
    ///
    /// # Errors
    /// As those of all [actions](crate::Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,1985\n").unwrap();
    /// assert_eq!(ctx.read().csv(&path)?.show(1)?, "\
    /// +-------+------+
    /// | title | year |
    /// +-------+------+
    /// | Alien | 1979 |
    /// +-------+------+
    /// ");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn show(&self, n: usize) -> Result<String> {
        self.show_async(n).wait()
    }

    /// As [`show`](Self::show), without waiting.
    #[track_caller]
    pub fn show_async(&self, n: usize) -> Action<String> {
        self.head_async(n).and_then(|rows| {
            let options = FormatOptions::default().with_null("null");
            let table = pretty_format_batches_with_options(&[rows], &options).map_err(TableError::from)?;
            Ok(format!("{table}\n"))
        })
    }
}
