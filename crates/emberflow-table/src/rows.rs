//! From columns to rows: the typed rows of a table, by serde.

use std::any::type_name;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use emberflow_core::{
    batch::Batch,
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    place::{OpInfo, Place},
    ship::Env,
};
use serde::de::DeserializeOwned;

use super::{Table, cells::Rows, chunk::Chunk, error::NoSuchRow, known::known};
use emberflow_rdd::{
    Rdd,
    parts::{batches, larger_batches_from},
};

impl Table {
    /// The rows as values of a type of yours, whose fields are called as the columns are, or as tuples of all columns.
    /// Columns that it has no fields for are left out. A column that holds nulls needs an `Option`.
    ///
    /// Narrow. A value may fit its field whatever type was discovered for its column: integers are
    /// read into `f64` and into wider or narrower integers, whole doubles into integers, and integers, dates and timestamps
    /// into `String`, if that loses nothing. So a column of prices may hold integers only today. Dates are also read into
    /// `i32` (days since 1970), timestamps into `i64` (microseconds), and names into enums. A double or a boolean is no
    /// `String`, since it may have stood otherwise in its file: give the type by [`Reader::schema`](super::Reader::schema).
    ///
    /// A value that does not fit fails the task that meets it, with an error that names the column, the value and what
    /// to do.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,\n").unwrap();
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Film {
    ///     title: String,
    ///     year: Option<i32>,
    /// }
    ///
    /// let films = ctx.read().csv(&path)?.rows::<Film>().collect()?;
    /// assert_eq!((films[1].title.as_str(), films[1].year), ("Brazil", None));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn rows<T: Data + DeserializeOwned>(&self) -> Rdd<T> {
        let start = |(): &(), partition: PartitionIndex| (partition, 0_u64);
        let info = OpInfo::new("rows", Place::caller());
        larger_batches_from(&self.chunks, info, (), start, |(), (partition, before), batch: Batch<Chunk>| {
            let mut rows = Vec::new();
            for chunk in batch.as_slice() {
                let known = known(&chunk.0).map_err(TaskError::rejected)?;
                let cells = Rows::of(&known);
                rows.reserve(chunk.0.num_rows());
                for (at, row) in cells.read().enumerate() {
                    rows.push(row.map_err(|cause| {
                        let (row, row_type, partition) = (*before + at as u64 + 1, short_type_name::<T>(), *partition);
                        let shown = cells.describe(at);
                        TaskError::rejected(NoSuchRow { cause, row, partition, row_type, shown })
                    })?);
                }
                *before += chunk.0.num_rows() as u64;
            }
            Ok(Batch::Owned(rows))
        })
    }
}

/// The type's name without the modules that it is in; that of a generic one as it is.
pub(super) fn short_type_name<T>() -> &'static str {
    let name = type_name::<T>();
    if name.contains(['<', '(']) { name } else { name.rsplit("::").next().unwrap_or(name) }
}

/// Makes another chunk of each.
pub(crate) fn try_chunks<E, F>(chunks: &Rdd<Chunk>, info: OpInfo, env: E, f: F) -> Rdd<Chunk>
where
    E: Env,
    F: Fn(&E, &RecordBatch) -> Result<RecordBatch, ArrowError> + Send + Sync + 'static,
{
    batches(chunks, info, env, move |env, batch: Batch<Chunk>| {
        let chunks: Result<Vec<_>, _> = batch.as_slice().iter().map(|chunk| f(env, &chunk.0).map(Chunk)).collect();
        chunks.map(Batch::Owned).map_err(TaskError::rejected)
    })
}
