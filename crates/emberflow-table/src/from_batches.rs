//! `Table::from_batches`: a table of Arrow's batches that the program has. `Table::from_chunks`: of those that an RDD makes.
//!
//! Owns how their rows are dealt out to partitions: by number alone. The values of the batches are not copied.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Field, Fields, SchemaRef};
use emberflow_core::{
    batch::{AnyStream, SharedRows, SharedStream},
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{Held, NotShippable, Shipped},
};
use emberflow_rdd::{Context, Rdd, parts::leaf};
use serde::{Deserialize, Serialize};

use super::{
    Schema, Table,
    chunk::{CHUNK_ROWS, Chunk},
    error::TableError,
    plain::type_name,
    rows::try_chunks,
};

impl Table {
    /// The table of Arrow's batches, in their order. They have the same columns, and one at least; a batch without rows
    /// gives a schema, too.
    ///
    /// The rows are shared with the batches, not copied. They are the program's own, as those of
    /// [`parallelize`](Context::parallelize) are, and so not counted in [`Context::memory`]; unlike these they are part of
    /// the plan that is sent to another process. Columns may be of all types that Arrow's IPC format has;
    /// [`rows`](Self::rows) reads most of them.
    ///
    /// The batches are those of the crates of Arrow that the library is built with, `arrow` 59: a batch of another major
    /// is another type.
    ///
    /// # Errors
    /// If there is no batch; if two of them have other columns; if two columns have the same name.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arrow_array::{Int32Array, RecordBatch, StringArray};
    /// use emberflow::{prelude::*, table::Table};
    ///
    /// let ctx = Context::local(2)?;
    /// let titles = Arc::new(StringArray::from(vec!["Alien", "Brazil"]));
    /// let years = Arc::new(Int32Array::from(vec![Some(1979), None]));
    /// let batch = RecordBatch::try_from_iter_with_nullable([
    ///     ("title", titles as _, false),
    ///     ("year", years as _, true),
    /// ]).unwrap();
    /// let films = Table::from_batches(&ctx, [batch.clone(), batch])?;
    /// assert_eq!(films.first()?.unwrap().to_string(), "Row(title='Alien', year=1979)");
    /// assert_eq!(films.count()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn from_batches(ctx: &Context, batches: impl IntoIterator<Item = RecordBatch>) -> Result<Self> {
        let info = OpInfo::new("from_batches", Place::caller());
        let batches: Vec<RecordBatch> = batches.into_iter().collect();
        let chunks = rows_of(&batches).div_ceil(CHUNK_ROWS);
        of_batches(ctx, info, batches, chunks.clamp(1, ctx.default_partitions()))
    }

    /// As [`from_batches`](Self::from_batches), with the rows in so many partitions of equal size, to a row.
    ///
    /// # Errors
    /// Those of [`from_batches`](Self::from_batches).
    ///
    /// # Panics
    /// If `partitions` is zero.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Int32Array, RecordBatch};
    /// # use emberflow::{prelude::*, table::Table};
    /// # let ctx = Context::local(2)?;
    /// let years = Arc::new(Int32Array::from(vec![1979, 1985, 1997]));
    /// let batch = RecordBatch::try_from_iter([("year", years as _)]).unwrap();
    /// let films = Table::from_batches_into(&ctx, [batch], 2)?;
    /// assert_eq!(films.rows::<(i32,)>().glom().collect()?, [vec![(1979,)], vec![(1985,), (1997,)]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn from_batches_into(
        ctx: &Context,
        batches: impl IntoIterator<Item = RecordBatch>,
        partitions: usize,
    ) -> Result<Self> {
        assert!(partitions > 0, "a table needs at least one partition");
        of_batches(ctx, OpInfo::new("from_batches", Place::caller()), batches.into_iter().collect(), partitions)
    }
}

fn rows_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn of_batches(ctx: &Context, info: OpInfo, batches: Vec<RecordBatch>, partitions: usize) -> Result<Table> {
    let schema = common_schema(&batches)?;
    let rows = rows_of(&batches);
    let (mut chunks, mut ends) = (Vec::new(), Vec::with_capacity(partitions));
    let (mut batches, mut open, mut taken) = (batches.into_iter(), None, 0);
    for partition in 1..=partitions {
        // Never more than `rows`, so it fits again.
        let end = (rows as u128 * partition as u128 / partitions as u128) as usize;
        while taken < end {
            let (batch, from): (RecordBatch, usize) = match open.take() {
                Some(open) => open,
                None => (batches.next().expect("all rows are those of the batches"), 0),
            };
            let len = (batch.num_rows() - from).min(CHUNK_ROWS).min(end - taken);
            if len > 0 {
                chunks.push(Chunk(with_columns_of(&schema, &batch.slice(from, len)).map_err(TableError::from)?));
            }
            taken += len;
            if from + len < batch.num_rows() {
                open = Some((batch, from + len));
            }
        }
        ends.push(chunks.len());
    }
    let source = Batches { chunks: Held::new(chunks), ends };
    Ok(Table::new(leaf(ctx, info, partitions, source), Schema::of(schema)))
}

impl Table {
    /// The table of an RDD whose rows are chunks: the way back from [`chunks`](Self::chunks).
    ///
    /// Narrow. The chunks share their columns with those of `chunks`.
    ///
    /// # Errors
    /// If two columns have the same name. A task ends with an error if a chunk has other columns than the schema, or a
    /// null where the schema says that there is none.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Int32Array, RecordBatch};
    /// # use emberflow::{prelude::*, table::{Chunk, DataType, Schema, Table}};
    /// # let ctx = Context::local(2)?;
    /// let years = Arc::new(Int32Array::from(vec![1979, 1985, 1997]));
    /// let batch = RecordBatch::try_from_iter([("year", years as _)]).unwrap();
    /// let films = Table::from_batches(&ctx, [batch])?;
    /// let last = films.chunks().flat_map(|chunk| Chunk::new(chunk.batch().slice(2, 1)));
    /// let last = Table::from_chunks(&last, &Schema::new([("year", DataType::Int32)]))?;
    /// assert_eq!(last.first()?.unwrap().to_string(), "Row(year=1997)");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn from_chunks(chunks: &Rdd<Chunk>, schema: &Schema) -> Result<Self> {
        let info = OpInfo::new("from_chunks", Place::caller());
        let schema = schema.clone().check()?;
        let chunks = try_chunks(chunks, info, schema.clone(), |schema, batch| {
            let alike = |(field, other): (&Arc<Field>, &Arc<Field>)| {
                field.name() == other.name() && field.data_type() == other.data_type()
            };
            let (wanted, found) = (schema.arrow().fields(), batch.schema_ref().fields());
            if wanted.len() != found.len() || !wanted.iter().zip(found).all(alike) {
                let of = |fields: &Fields| described(fields.iter().map(AsRef::as_ref));
                let text = format!("a chunk has the columns {}, and its table {}", of(found), of(wanted));
                return Err(ArrowError::SchemaError(text));
            }
            with_columns_of(schema.arrow(), batch)
        });
        Ok(Self::new(chunks, schema))
    }
}

/// The columns that all batches have. A column may hold nulls if it may in one of them.
fn common_schema(batches: &[RecordBatch]) -> Result<SchemaRef, TableError> {
    let first = batches.first().ok_or(TableError::NoBatch)?.schema();
    let mut fields: Vec<Field> = first.fields().iter().map(|field| field.as_ref().clone()).collect();
    for (number, batch) in batches.iter().enumerate().skip(1) {
        let others = batch.schema_ref().fields();
        let alike =
            |(field, other): (&Field, &Field)| field.name() == other.name() && field.data_type() == other.data_type();
        let pairs = fields.iter().zip(others.iter().map(AsRef::as_ref));
        if others.len() != fields.len() || !pairs.clone().all(alike) {
            return Err(TableError::OtherColumns {
                number: number + 1,
                columns: described(others.iter().map(AsRef::as_ref)),
                first_columns: described(fields.iter()),
            });
        }
        for (field, other) in fields.iter_mut().zip(others) {
            field.set_nullable(field.is_nullable() || other.is_nullable());
        }
    }
    let schema = arrow_schema::Schema::new_with_metadata(fields, first.metadata().clone());
    Ok(Arc::clone(Schema::of(Arc::new(schema)).check()?.arrow()))
}

fn described<'a>(fields: impl Iterator<Item = &'a Field>) -> String {
    fields.map(|field| format!("{}: {}", field.name(), type_name(field.data_type()))).collect::<Vec<_>>().join(", ")
}

/// The rows under a schema that differs at most in which columns may hold nulls.
fn with_columns_of(schema: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let counted = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &counted)
}

/// Chunks that are part of the plan.
#[derive(Serialize, Deserialize)]
struct Batches {
    chunks: Held<Vec<Chunk>>,
    /// For each partition, the number of chunks up to its end.
    ends: Vec<usize>,
}

impl Operator for Batches {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let begin = if partition == 0 { 0 } else { self.ends[partition - 1] };
        let chunks = SharedRows::new(Arc::clone(&self.chunks.0), begin..self.ends[partition]);
        Ok(AnyStream::new(SharedStream::new(vec![chunks], inputs.task().batch_rows_of::<Chunk>())))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}
