//! From columns to rows: the typed rows of a table, by serde.

use std::{any::type_name, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, FieldRef};
use emberflow_core::{
    batch::Batch,
    data::Data,
    error::TaskError,
    place::{OpInfo, Place},
};
use serde::de::DeserializeOwned;

use super::{Table, chunk::Chunk, error::TableError, schema::type_name as name_of};
use crate::rdd::Rdd;

impl Table {
    /// The rows as values of a type of yours, whose fields are called as the columns are. Columns that it has no fields
    /// for are left out; a column that may hold nulls needs an `Option`, if it does hold some.
    ///
    /// Narrow. A column that is missing or of another type, or a null where `T` takes none, fails the task that meets it,
    /// with an error that names the column, the row type and the columns that there are.
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
        let of = |field: &FieldRef| format!("{}: {}", field.name(), name_of(field.data_type()));
        let columns: Arc<str> = self.schema.arrow().fields().iter().map(of).collect::<Vec<_>>().join(", ").into();
        self.chunks.batches(OpInfo::new("rows", Place::caller()), None, move |_| {
            let columns = Arc::clone(&columns);
            move |batch: Batch<Chunk>| {
                let mut rows = Vec::new();
                for chunk in batch.as_slice() {
                    let some: Vec<T> = serde_arrow::from_record_batch(&chunk.0).map_err(|cause| {
                        let (row_type, columns) = (type_name::<T>(), columns.to_string());
                        TaskError::rejected(TableError::RowType { row_type, columns, cause })
                    })?;
                    rows.extend(some);
                }
                Ok(Batch::Owned(rows))
            }
        })
    }
}

impl Rdd<Chunk> {
    /// Makes another chunk of each.
    pub(crate) fn try_chunks<F>(&self, info: OpInfo, f: F) -> Self
    where
        F: Fn(&RecordBatch) -> Result<RecordBatch, ArrowError> + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        self.batches(info, None, move |_| {
            let f = Arc::clone(&f);
            move |batch: Batch<Chunk>| {
                let chunks: Result<Vec<_>, _> = batch.as_slice().iter().map(|chunk| f(&chunk.0).map(Chunk)).collect();
                chunks.map(Batch::Owned).map_err(TaskError::rejected)
            }
        })
    }
}
