//! `to_table`: from rows to columns, by serde.
//!
//! Owns which columns a row type has, and the operator that makes chunks of rows. The columns follow from the type, so that
//! no job runs to find them and no row changes them; serde_arrow does both walks over types and values.

use std::{marker::PhantomData, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef};
use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::ExchangeData,
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{NotShippable, Shipped},
    size,
    task::{Marker, TaskContext},
};
use emberflow_rdd::{Rdd, parts::narrow};
use serde::{Deserialize, Serialize};
use serde_arrow::{
    ArrayBuilder,
    schema::{SchemaLike, TracingOptions},
};

use super::{
    Schema, Table,
    chunk::{CHUNK_ROWS, Chunk},
    error::{NoSuchColumns, TableError},
    rows::short_type_name,
};

/// Bytes of a chunk's rows, by estimate, after which it takes no more.
const CHUNK_BYTES: u64 = 1 << 20;

/// `rows.to_table()`: an RDD of serde rows as a table. The prelude has it, with the feature `tables`.
pub trait ToTable: sealed::Sealed {
    /// The rows as a table: a column for each field of a struct, by its name, or of a tuple, called `_1`, `_2`, … as in
    /// Spark. [`Table::rows`] makes rows of it again.
    ///
    /// Narrow, and no job runs: the columns follow from the row type, as serde reads it. Numbers become columns of their
    /// own width, signed or not; texts and enums without data strings; `Vec`s arrays; structs and tuples structs. Only an
    /// `Option` may be null. A `char` becomes its number, an unsigned integer.
    ///
    /// Some types do not tell their columns: dates of chrono, which are texts to serde, `serde_json::Value`,
    /// `#[serde(flatten)]`. For these, [`to_table_as`](Self::to_table_as) takes a schema.
    ///
    /// # Errors
    /// If the type does not tell its columns; if it has a map, an enum with data, or an integer of 128 bits; if a row is
    /// no struct or tuple, such as a number: make it one by `map(|n| (n,))`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Film {
    ///     title: String,
    ///     year: Option<i32>,
    ///     genres: Vec<String>,
    /// }
    ///
    /// # let ctx = Context::local(2)?;
    /// let alien = Film { title: "Alien".to_owned(), year: Some(1979), genres: vec!["Horror".to_owned()] };
    /// let films = ctx.parallelize([alien.clone()]).to_table()?;
    /// assert_eq!(films.schema().to_string(), "\
    /// root
    ///  |-- title: string (nullable = false)
    ///  |-- year: integer (nullable = true)
    ///  |-- genres: array (nullable = false)
    ///  |    |-- element: string (containsNull = false)
    /// ");
    /// assert_eq!(films.first()?.unwrap().to_string(), "Row(title='Alien', year=1979, genres=['Horror'])");
    /// assert_eq!(films.rows::<Film>().collect()?, [alien]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn to_table(&self) -> Result<Table>;

    /// As [`to_table`](Self::to_table), with the schema that is given: for types that do not tell their columns, and to
    /// choose among fields. Fields that it does not have are left out.
    ///
    /// Narrow. Texts become dates and timestamps if the schema says so, and numbers strings. A value that does not fit
    /// its column fails the task that meets it, with an error that names field and row.
    ///
    /// # Errors
    /// If two columns have the same name; if columns of a type cannot be made of rows.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// use emberflow::table::{DataType, Schema};
    ///
    /// # let ctx = Context::local(2)?;
    /// let films = ctx.parallelize([("Alien".to_owned(), "1979-05-25".to_owned())]);
    /// let films = films.to_table_as(&Schema::new([("title", DataType::Utf8), ("seen", DataType::Date32)]))?;
    /// assert_eq!(films.first()?.unwrap().to_string(), "Row(title='Alien', seen=datetime.date(1979, 5, 25))");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn to_table_as(&self, schema: &Schema) -> Result<Table>;
}

#[allow(unnameable_types, reason = "a sealed trait cannot be named, which is its purpose")]
mod sealed {
    /// The types that can become tables are those of emberflow.
    pub trait Sealed {}

    impl<T: emberflow_rdd::ExchangeData> Sealed for emberflow_rdd::Rdd<T> {}
}

impl<T: ExchangeData> ToTable for Rdd<T> {
    #[track_caller]
    fn to_table(&self) -> Result<Table> {
        let info = OpInfo::new("to_table", Place::caller());
        Ok(to_columns(self, info, schema_of::<T>()?))
    }

    #[track_caller]
    fn to_table_as(&self, schema: &Schema) -> Result<Table> {
        let info = OpInfo::new("to_table_as", Place::caller());
        let schema = schema.clone().check()?;
        builder_of(&schema).map_err(|error| TableError::NoBuilder { reason: reason_of(&error) })?;
        Ok(to_columns(self, info, schema))
    }
}

fn to_columns<T: ExchangeData>(rows: &Rdd<T>, info: OpInfo, schema: Schema) -> Table {
    let columns = ToColumns { schema: schema.clone(), rows: PhantomData::<fn(T)> };
    Table::new(narrow(rows, info, columns), schema)
}

/// The columns that a row type has.
fn schema_of<T: ExchangeData>() -> Result<Schema, TableError> {
    let no_columns = |reason: String| TableError::NoColumns { row_type: short_type_name::<T>(), reason };
    // What has no type of its own in a table is traced as what is recognised, and refused below with its name.
    let options = TracingOptions::default()
        .allow_null_fields(true)
        .map_as_struct(false)
        .sequence_as_large_list(false)
        .strings_as_large_utf8(false)
        .bytes_as_large_binary(false)
        .enums_without_data_as_strings(true);
    let fields = Vec::<FieldRef>::from_type::<T>(options).map_err(|error| no_columns(reason_of(&error)))?;
    if fields.is_empty() {
        return Err(no_columns("it has no fields".to_owned()));
    }
    let fields = columns_of(&fields, "").map_err(no_columns)?;
    let schema = arrow_schema::Schema::new(fields);
    Schema::of(Arc::new(schema)).check()
}

/// The columns for traced fields, or why there are none. `within` is where the fields are, with a dot behind it.
fn columns_of(fields: &[FieldRef], within: &str) -> Result<Vec<Field>, String> {
    // Fields of tuples are numbered from 0.
    let of_tuple = fields.iter().enumerate().all(|(at, field)| *field.name() == at.to_string());
    let columns = fields.iter().enumerate().map(|(at, field)| {
        let name = if of_tuple { format!("_{}", at + 1) } else { field.name().clone() };
        let data_type = type_of(field.data_type(), &format!("{within}{name}"))?;
        Ok(Field::new(name, data_type, field.is_nullable()))
    });
    columns.collect()
}

/// The type of a column for a traced one, or why there is none.
fn type_of(traced: &DataType, path: &str) -> Result<DataType, String> {
    Ok(match traced {
        // Enums without data: their variants' names.
        DataType::Dictionary(..) => DataType::Utf8,
        DataType::Map(..) => {
            return Err(format!("field {path} is a map, and a table has none; make it a struct or a Vec of pairs"));
        }
        DataType::Union(..) => {
            return Err(format!(
                "field {path} is an enum with data, and a table has none; make it a struct of Options"
            ));
        }
        DataType::List(element) => {
            let of = type_of(element.data_type(), path)?;
            DataType::List(Arc::new(Field::new(element.name(), of, element.is_nullable())))
        }
        DataType::Struct(fields) => DataType::Struct(columns_of(fields, &format!("{path}."))?.into()),
        other => other.clone(),
    })
}

fn builder_of(schema: &Schema) -> Result<ArrayBuilder, serde_arrow::Error> {
    ArrayBuilder::from_arrow(schema.arrow().fields().as_ref())
}

/// The error's first sentence, with the field that it is about: the others advise how to use another library.
fn reason_of(error: &serde_arrow::Error) -> String {
    let (message, text) = (error.message(), error.to_string());
    let sentence = match message.split(". ").next().unwrap_or(message) {
        dynamic if dynamic.starts_with("non self describing") => "its values alone tell what they are",
        sentence => sentence.trim_end_matches('.'),
    };
    let named = |key: &str| text.rsplit_once(key)?.1.split('"').next()?.strip_prefix("$.");
    match named("field: \"").or_else(|| named("path: \"")) {
        Some(field) => format!("field {field}: {sentence}"),
        None => sentence.to_owned(),
    }
}

/// Chunks of rows.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct ToColumns<T> {
    schema: Schema,
    rows: PhantomData<fn(T)>,
}

impl<T: ExchangeData> Operator for ToColumns<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows: BoxStream<T> = inputs.narrow(0, partition)?;
        Ok(AnyStream::new(ColumnsStream {
            rows,
            open: Batch::Owned(Vec::new()),
            at: 0,
            number: 0,
            builder: builder_of(&self.schema).map_err(TaskError::rejected)?,
            schema: self.schema.clone(),
            partition,
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ColumnsStream<T> {
    rows: BoxStream<T>,
    /// The batch whose rows are being taken, and the next of them.
    open: Batch<T>,
    at: usize,
    /// The number of the next row in its partition.
    number: usize,
    builder: ArrayBuilder,
    schema: Schema,
    partition: PartitionIndex,
    task: TaskContext,
    marker: Marker,
}

impl<T: ExchangeData> Stream<Chunk> for ColumnsStream<T> {
    fn next(&mut self) -> Result<Option<Batch<Chunk>>, TaskError> {
        let (mut count, mut bytes) = (0, 0);
        // Chunks end where the rows say, not where batches do, which follow the clock.
        while count < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let Some(row) = self.open.as_slice().get(self.at) else {
                self.task.check_cancelled()?;
                match self.rows.next()? {
                    Some(batch) => (self.open, self.at) = (batch, 0),
                    None => break,
                }
                self.marker.enter_with(self.open.len());
                continue;
            };
            self.builder.push(row).map_err(|error| no_such_columns::<T>(&error, self.number, self.partition))?;
            bytes += size_of::<T>() as u64;
            if std::mem::needs_drop::<T>() && size::is_sampled(self.number) {
                bytes += size::heap(row) * size::SAMPLE_ROWS as u64;
            }
            self.at += 1;
            self.number += 1;
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let batch = self.builder.to_record_batch().map_err(TaskError::rejected)?;
        let counted = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(self.schema.arrow());
        let batch = RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &counted);
        Ok(Some(Batch::Owned(vec![Chunk(batch.map_err(TaskError::rejected)?)])))
    }
}

fn no_such_columns<T>(error: &serde_arrow::Error, number: usize, partition: PartitionIndex) -> TaskError {
    let (row, row_type) = (number as u64 + 1, short_type_name::<T>());
    TaskError::rejected(NoSuchColumns { reason: reason_of(error), row, partition, row_type })
}
