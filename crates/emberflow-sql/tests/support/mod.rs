//! Tables for tests, and DataFusion's own answers.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray},
        util::pretty::pretty_format_batches,
    },
    datasource::MemTable,
    prelude::SessionContext,
};
use emberflow::{
    Context, PartitionIndex,
    table::{Chunk, ReadTables, Schema, Table},
};
use emberflow_sql::SqlContext;

/// A context with so many workers, and four partitions behind an exchange.
pub(crate) fn context(workers: usize) -> Context {
    Context::builder().workers(workers).default_partitions(4).build().unwrap()
}

/// The films of the examples.
pub(crate) fn films(ctx: &Context) -> Table {
    ctx.read().csv(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/films.csv")).unwrap()
}

/// The same rows in so many partitions.
pub(crate) fn spread(ctx: &Context, table: &Table, partitions: usize) -> Table {
    Table::from_batches_into(ctx, [table.collect().unwrap()], partitions).unwrap()
}

/// The rows as lines in order, below the names and types of the columns.
pub(crate) fn lines(batch: &RecordBatch) -> Vec<String> {
    let text = pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().skip(3).filter(|line| line.starts_with('|')).map(str::to_owned).collect();
    lines.sort();
    let columns = batch.schema_ref().fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type()));
    lines.insert(0, columns.collect::<Vec<_>>().join(", "));
    lines
}

/// DataFusion's own answer.
pub(crate) fn answer(name: &str, batch: RecordBatch, statement: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batch = runtime.block_on(async {
        let session = SessionContext::new();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        session.register_table(name, Arc::new(table)).unwrap();
        let frame = session.sql(statement).await.unwrap();
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await.unwrap();
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        datafusion::arrow::compute::concat_batches(&schema, &batches).unwrap()
    });
    lines(&batch)
}

/// The table that a statement makes of one table.
pub(crate) fn table_of(ctx: &Context, name: &str, table: &Table, statement: &str) -> Table {
    let sql = SqlContext::new(ctx);
    sql.register(name, table).unwrap();
    sql.sql(statement).unwrap()
}

/// Rows of a chunk of [`sales`].
pub(crate) const CHUNK_ROWS: usize = 4096;

/// A table of `region`, `shop`, `units` and `price`, computed chunk by chunk. `look` is told of each partition that is
/// computed. Sums of the prices depend on their order in their last digits.
pub(crate) fn sales(
    ctx: &Context,
    partitions: usize,
    chunks: usize,
    look: impl Fn(PartitionIndex) + Send + Sync + 'static,
) -> Table {
    let chunks =
        ctx.range_into(0..(partitions * chunks) as u64, partitions).map_partitions_with_index(move |at, rows| {
            look(at);
            rows.map(|number| Chunk::new(sales_of(number as usize)).unwrap())
        });
    Table::from_chunks(&chunks, &Schema::from(sales_of(0).schema())).unwrap()
}

fn sales_of(number: usize) -> RecordBatch {
    let rows = (0..CHUNK_ROWS).map(|row| row + number * CHUNK_ROWS);
    let mixed: Vec<usize> = rows.map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).collect();
    let of = |text: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(mixed.iter().map(|n| text(*n))))
    };
    let units: ArrayRef =
        Arc::new(Int64Array::from_iter(mixed.iter().map(|n| (n % 11 > 0).then_some((n % 97) as i64))));
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values(mixed.iter().map(|n| (n % 10_007) as f64 / 7.0)));
    RecordBatch::try_from_iter_with_nullable([
        ("region", of(&|n| (n % 13 > 0).then(|| format!("region {}", n % 13))), true),
        ("shop", of(&|n| Some(format!("shop {}", n % 101))), true),
        ("units", units, true),
        ("price", price, true),
    ])
    .unwrap()
}
