//! Tables from JSON Lines: an object a line, whose schema is discovered by a job over all partitions, and whose rows are
//! read by a source.

mod shape;
mod text;
mod values;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use emberflow_core::{
    batch::{AnyStream, Batch, Stream},
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{Held, NotShippable, Shipped},
    storage::InputFile,
    task::{Marker, TaskContext},
};
use emberflow_rdd::{
    Context, Rdd, TextOptions,
    parts::{Piece, is_gzip, leaf, of_reader, pack, partition_bytes},
};
use serde::{Deserialize, Serialize};

use self::{
    shape::Shape,
    text::{Json, RawValue},
    values::{Builder, Parsed, Parser, Parts},
};
use super::{
    Mode, Schema, Table,
    chunk::{CHUNK_ROWS, Chunk},
    csv::CsvOptions,
    error::{MalformedRecord, RecordFault, RecordPlace, TableError},
    lines::PieceLines,
};

/// Bytes of text from which a chunk is full even if its rows are few.
const CHUNK_BYTES: usize = 16 << 20;

pub(super) fn table(
    ctx: &Context,
    info: &OpInfo,
    files: Vec<Arc<dyn InputFile>>,
    options: CsvOptions,
) -> Result<Table> {
    if options.multi_line {
        return Err(TableError::MultiLineJson.into());
    }
    let bytes = partition_bytes(&files, None, ctx.default_partitions());
    let partitions = pack(files, bytes, is_gzip);
    let source = Arc::new(JsonFiles { partitions, options });
    let schema = match &source.options.schema {
        Some(schema) => schema.clone(),
        None => discover(ctx, info, &source)?,
    };
    let parts = Parts::of(schema.arrow().fields()).ok_or_else(|| {
        let is_not_for = |field: &&arrow_schema::FieldRef| values::Wanted::of(field.data_type()).is_none();
        let field = schema.arrow().fields().iter().find(is_not_for).expect("one of them is none of JSON's");
        TableError::NotForJson { name: field.name().clone(), data_type: field.data_type().clone() }
    })?;
    let corrupt = source.options.corrupt_record.as_ref().map(|name| (name.clone(), super::DataType::Utf8));
    let columns = schema.arrow().fields().iter().map(|field| (field.name().clone(), field.data_type().clone()));
    let schema = Schema::new(columns.chain(corrupt)).check()?;
    let partitions = source.partitions.len();
    let read = Read { source: Held(source), parts: Held::new(parts), schema: schema.clone() };
    Ok(Table::new(leaf(ctx, info.clone(), partitions, read), schema))
}

/// Finds by a job the schema that the files have.
fn discover(ctx: &Context, info: &OpInfo, source: &Arc<JsonFiles>) -> Result<Schema> {
    let ratio = source.options.sampling_ratio;
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(TableError::SamplingRatio(ratio).into());
    }
    let scan: Rdd<Found> = leaf(ctx, info.clone(), source.partitions.len(), Scan(Held(Arc::clone(source))));
    let mut all = Found::default();
    for found in scan.collect()? {
        all.shape.merge(found.shape);
        all.fault = all.fault.or(found.fault);
    }
    let fields = all.shape.fields();
    if fields.is_empty() {
        let first = all.fault.unwrap_or_else(|| "there is no line that is not blank".to_owned());
        return Err(TableError::NoObject { first }.into());
    }
    Ok(Schema::of(Arc::new(arrow_schema::Schema::new(fields))))
}

/// The files and how they are read.
#[derive(Serialize, Deserialize)]
struct JsonFiles {
    partitions: Vec<Vec<Piece>>,
    options: CsvOptions,
}

impl JsonFiles {
    fn records(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Records {
        Records {
            pieces: self.partitions[partition].clone().into_iter(),
            open: None,
            text: of_reader(TextOptions::new().lossy(self.options.lossy).max_line_bytes(self.options.max_record_bytes)),
            task: inputs.task().clone(),
        }
    }
}

/// The lines of a partition that are not blank.
struct Records {
    pieces: std::vec::IntoIter<Piece>,
    open: Option<(Arc<dyn InputFile>, PieceLines)>,
    text: TextOptions,
    task: TaskContext,
}

impl Records {
    fn next(&mut self) -> Result<Option<Record>, TaskError> {
        loop {
            let (file, lines) = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(piece) = self.pieces.next() else { return Ok(None) };
                    let file = Arc::clone(&piece.file.0);
                    self.open.insert((file, PieceLines::open(piece, &self.task)?))
                }
            };
            match lines.next(&self.text)? {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => return Ok(Some(Record { file: Arc::clone(file), place: lines.place(), line })),
                None => self.open = None,
            }
        }
    }
}

/// One line, which should be an object.
struct Record {
    file: Arc<dyn InputFile>,
    place: RecordPlace,
    line: String,
}

impl Record {
    fn raw(&self) -> Result<&RawValue, RecordFault> {
        let raw: &RawValue = serde_json::from_str(&self.line).map_err(|error| no_json(&error))?;
        if raw.get().starts_with('{') { Ok(raw) } else { Err(RecordFault::NoObject) }
    }

    fn malformed(&self, fault: RecordFault) -> MalformedRecord {
        let (path, record) = (self.file.path().to_path_buf(), self.line.clone());
        MalformedRecord { path, place: self.place, fault, record }
    }
}

fn no_json(error: &serde_json::Error) -> RecordFault {
    let why = error.to_string();
    // The line that it names is the only one that it has seen.
    let why = why.split_once(" at line ").map_or(why.as_str(), |(why, _)| why).to_owned();
    RecordFault::NoJson { why, byte: error.column() }
}

/// The part of the schema that one partition tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Found {
    shape: Shape,
    /// The fault of the first record that is no object.
    fault: Option<String>,
}

/// A row a partition: what it says of the schema.
#[derive(Serialize, Deserialize)]
struct Scan(Held<JsonFiles>);

impl Operator for Scan {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(ScanStream {
            ratio: self.0.options.sampling_ratio,
            records: Some(self.0.records(partition, inputs)),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ScanStream {
    ratio: f64,
    records: Option<Records>,
    marker: Marker,
}

impl Stream<Found> for ScanStream {
    fn next(&mut self) -> Result<Option<Batch<Found>>, TaskError> {
        self.marker.enter();
        let Some(mut records) = self.records.take() else { return Ok(None) };
        let (mut found, mut seen) = (Found::default(), 0_u64);
        let sampled = |n: u64| (n as f64 * self.ratio).ceil() as u64;
        while let Some(record) = records.next()? {
            // Evenly spread, and the first in any case.
            if sampled(seen) < sampled(seen + 1) {
                match record.raw() {
                    Ok(raw) => found.shape.add(raw, 0),
                    Err(fault) if found.fault.is_none() => found.fault = Some(record.malformed(fault).to_string()),
                    Err(_) => {}
                }
            }
            seen += 1;
            if seen.is_multiple_of(CHUNK_ROWS as u64) {
                records.task.check_cancelled()?;
            }
        }
        Ok(Some(Batch::Owned(vec![found])))
    }
}

/// The rows, as chunks.
#[derive(Serialize, Deserialize)]
struct Read {
    source: Held<JsonFiles>,
    parts: Held<Parts>,
    schema: Schema,
}

impl Operator for Read {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(ReadStream {
            source: Arc::clone(&self.source.0),
            parts: Arc::clone(&self.parts.0),
            schema: Arc::clone(self.schema.arrow()),
            records: Some(self.source.records(partition, inputs)),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ReadStream {
    source: Arc<JsonFiles>,
    parts: Arc<Parts>,
    schema: SchemaRef,
    records: Option<Records>,
    marker: Marker,
}

impl Stream<Chunk> for ReadStream {
    fn next(&mut self) -> Result<Option<Batch<Chunk>>, TaskError> {
        self.marker.enter();
        let Some(records) = &mut self.records else { return Ok(None) };
        records.task.check_cancelled()?;
        let options = &self.source.options;
        let columns = self.schema.fields().iter().take(self.parts.len());
        let mut columns: Vec<Builder> = columns.map(|field| Builder::new(field.data_type())).collect();
        let mut corrupt = options.corrupt_record.as_ref().map(|_| Builder::new(&super::DataType::Utf8));
        let (mut rows, mut bytes) = (0, 0);
        while rows < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let Some(record) = records.next()? else { break };
            let (values, fault) = values_of(&record, &self.parts, options);
            match (options.mode, &fault) {
                (Mode::FailFast, Some(fault)) => {
                    return Err(TaskError::io_permanent(record.malformed(fault.clone())));
                }
                (Mode::DropMalformed, Some(_)) => continue,
                _ => {}
            }
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
            if let Some(corrupt) = &mut corrupt {
                corrupt.push(if fault.is_some() { Parsed::Text((&*record.line).into()) } else { Parsed::Null });
            }
            rows += 1;
            bytes += record.line.len();
        }
        if rows == 0 {
            self.records = None;
            return Ok(None);
        }
        let arrays = columns.into_iter().chain(corrupt).map(Builder::finish).collect::<Result<_, _>>();
        let counted = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch =
            arrays.and_then(|arrays| RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &counted));
        Ok(Some(Batch::Owned(vec![Chunk(batch.map_err(TaskError::rejected)?)])))
    }
}

/// The record's values, null where they are missing or do not fit; and the first that is wrong with it.
fn values_of<'a>(record: &'a Record, parts: &Parts, options: &CsvOptions) -> (Vec<Parsed<'a>>, Option<RecordFault>) {
    let none = || (0..parts.len()).map(|_| Parsed::Null).collect();
    let raw = match record.raw() {
        Ok(raw) => raw,
        Err(fault) => return (none(), Some(fault)),
    };
    match Json::of(raw) {
        Ok(Json::Object(entries)) => {
            // What a sample did not see must lose nothing by what it did.
            let exact = options.schema.is_none() && options.sampling_ratio < 1.0;
            let mut parser = Parser { date_format: options.date_format.as_deref(), exact, fault: None };
            let values = parser.record(parts, entries);
            (values, parser.fault)
        }
        Ok(_) => (none(), Some(RecordFault::NoObject)),
        Err(error) => (none(), Some(no_json(&error))),
    }
}
