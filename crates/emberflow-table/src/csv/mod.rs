//! Tables from CSV files: their schema is discovered by a job over all partitions, and their rows are read by a source.

mod records;

use std::{collections::HashSet, path::PathBuf, sync::Arc};

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
    Context, Rdd,
    parts::{Piece, is_gzip, leaf, pack, partition_bytes},
};
use serde::{Deserialize, Serialize};

use self::records::{Record, Records};
use super::{
    Mode, Schema, Table,
    chunk::{CHUNK_ROWS, Chunk},
    error::{RecordFault, TableError},
    kind::{Column, Forms, Kind, Value},
};

/// See the methods of [`Reader`](super::Reader).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CsvOptions {
    pub(super) header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) null_value: Option<String>,
    pub(super) empty_value: String,
    pub(super) date_format: Option<String>,
    pub(super) lossy: bool,
    pub(super) multi_line: bool,
    pub(super) max_record_bytes: usize,
    pub(super) mode: Mode,
    pub(super) corrupt_record: Option<String>,
    pub(super) sampling_ratio: f64,
    pub(super) schema: Option<Schema>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            null_value: None,
            empty_value: String::new(),
            date_format: None,
            lossy: false,
            multi_line: false,
            max_record_bytes: 64 << 20,
            mode: Mode::Permissive,
            corrupt_record: None,
            sampling_ratio: 1.0,
            schema: None,
        }
    }
}

impl CsvOptions {
    /// Text is cut at these characters, so that each of them has to be one by itself, and no two the same.
    fn check(&self) -> Result<(), TableError> {
        let marks = [("quote", self.quote), ("escape", self.escape)];
        let marks: Vec<(&'static str, u8)> = marks.into_iter().filter_map(|(name, mark)| Some((name, mark?))).collect();
        check_marks("Reader", self.delimiter, &marks)
    }

    /// The text of a field: nothing if it is null.
    fn text_of<'a>(&'a self, record: &'a Record, at: usize) -> Option<&'a str> {
        let text = match record.field(at) {
            "" if record.is_quoted(at) => self.empty_value.as_str(),
            "" => return None,
            text => text,
        };
        (self.null_value.as_deref() != Some(text)).then_some(text)
    }
}

/// Fails if a mark is not one character by itself, or the same as the delimiter.
pub(super) fn check_marks(of: &'static str, delimiter: u8, others: &[(&'static str, u8)]) -> Result<(), TableError> {
    let mut marks = [("delimiter", delimiter)].into_iter().chain(others.iter().copied());
    if let Some((name, mark)) = marks.find(|(_, mark)| !mark.is_ascii() || matches!(mark, b'\n' | b'\r')) {
        return Err(TableError::NoMark { of, name, mark });
    }
    match others.iter().find(|(_, mark)| *mark == delimiter) {
        Some((name, mark)) => Err(TableError::TwoUses { of, name, mark: char::from(*mark) }),
        None => Ok(()),
    }
}

pub(super) fn table(
    ctx: &Context,
    info: &OpInfo,
    files: Vec<Arc<dyn InputFile>>,
    options: CsvOptions,
) -> Result<Table> {
    options.check()?;
    let bytes = partition_bytes(&files, None, ctx.default_partitions());
    let partitions = pack(files, bytes, |file| options.multi_line || is_gzip(file));
    let source = Arc::new(CsvFiles { partitions, options });
    let (schema, found) = match &source.options.schema {
        Some(schema) => (schema.clone(), None),
        None => {
            let (schema, forms) = discover(ctx, info, &source)?;
            (schema, (source.options.sampling_ratio < 1.0).then_some(forms))
        }
    };
    let mut kinds = Vec::new();
    for field in schema.arrow().fields() {
        kinds.push(Kind::for_type(field.data_type()).ok_or_else(|| TableError::NotForCsv {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
        })?);
    }
    let corrupt = source.options.corrupt_record.as_ref().map(|name| (name.clone(), Kind::String.data_type()));
    let columns = schema.arrow().fields().iter().map(|field| (field.name().clone(), field.data_type().clone()));
    let schema = Schema::new(columns.chain(corrupt)).check()?;
    let partitions = source.partitions.len();
    let read = Read { source: Held(source), kinds, found, schema: schema.clone() };
    Ok(Table::new(leaf(ctx, info.clone(), partitions, read), schema))
}

/// Finds by a job the schema that the files have, and the forms of their columns.
fn discover(ctx: &Context, info: &OpInfo, source: &Arc<CsvFiles>) -> Result<(Schema, Vec<Forms>)> {
    let ratio = source.options.sampling_ratio;
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(TableError::SamplingRatio(ratio).into());
    }
    let scan = Scan(Held(Arc::clone(source)));
    let scan: Rdd<Found> = leaf(ctx, info.clone(), source.partitions.len(), scan);
    let mut all = Found::default();
    for found in scan.collect()? {
        all.merge(found);
    }
    let names = match all.headers.first() {
        Some((first, first_names)) => {
            if let Some((other, other_names)) = all.headers.iter().find(|(_, names)| names != first_names) {
                let (first, other) = (first.clone(), other.clone());
                let (first_names, other_names) = (first_names.clone(), other_names.clone());
                return Err(TableError::OtherHeader { first, first_names, other, other_names }.into());
            }
            let names = first_names.len();
            let has_more = all.forms.iter().skip(names).any(|forms| *forms != Forms::default());
            if let Some(fields) = all.fewest_fields.filter(|fewest| *fewest > names && has_more) {
                return Err(TableError::ShortHeader { path: first.clone(), names, fields }.into());
            }
            named(first_names)
        }
        None => named(&vec![String::new(); all.first_fields.unwrap_or(0)]),
    };
    if names.is_empty() {
        return Err(TableError::NothingToDiscover.into());
    }
    all.forms.resize(names.len(), Forms::default());
    let types = all.forms.iter().map(|forms| forms.kind().data_type());
    Ok((Schema::new(names.into_iter().zip(types)), all.forms))
}

/// Names for columns as Spark gives them: `_c0` for none, and a number behind those that are there already.
fn named(header: &[String]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut name = |(at, text): (usize, &String)| {
        let mut name = if text.is_empty() { format!("_c{at}") } else { text.clone() };
        while !taken.insert(name.clone()) {
            name.push_str(&at.to_string());
        }
        name
    };
    header.iter().enumerate().map(&mut name).collect()
}

/// The files and how they are read.
#[derive(Serialize, Deserialize)]
struct CsvFiles {
    partitions: Vec<Vec<Piece>>,
    options: CsvOptions,
}

impl CsvFiles {
    fn records(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Option<Records> {
        Records::new(self.partitions[partition].clone(), &self.options, inputs.task())
    }
}

/// The part of the schema that one partition tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Found {
    headers: Vec<(PathBuf, Vec<String>)>,
    /// How many fields the first record has, if there is one.
    first_fields: Option<usize>,
    /// How many fields each record has at least.
    fewest_fields: Option<usize>,
    forms: Vec<Forms>,
}

impl Found {
    fn merge(&mut self, later: Self) {
        self.headers.extend(later.headers);
        self.first_fields = self.first_fields.or(later.first_fields);
        self.fewest_fields = self.fewest_fields.into_iter().chain(later.fewest_fields).min();
        if self.forms.len() < later.forms.len() {
            self.forms.resize(later.forms.len(), Forms::default());
        }
        for (forms, later) in self.forms.iter_mut().zip(later.forms) {
            forms.add(later);
        }
    }

    fn add(&mut self, record: &Record, options: &CsvOptions) {
        self.first_fields.get_or_insert(record.len());
        self.fewest_fields = Some(self.fewest_fields.map_or(record.len(), |fewest| fewest.min(record.len())));
        if self.forms.len() < record.len() {
            self.forms.resize(record.len(), Forms::default());
        }
        for (at, forms) in self.forms.iter_mut().enumerate().take(record.len()) {
            // What fits nothing else is not looked at again. The empty text is of any type: null, unless that is string.
            if forms.are_settled() {
                continue;
            }
            if let Some(text) = options.text_of(record, at).filter(|text| !text.is_empty()) {
                forms.add(Forms::of(text, options.date_format.as_deref()));
            }
        }
    }
}

/// A row a partition: what it says of the schema.
#[derive(Serialize, Deserialize)]
struct Scan(Held<CsvFiles>);

impl Operator for Scan {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(ScanStream {
            source: Arc::clone(&self.0.0),
            records: self.0.records(partition, inputs),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ScanStream {
    source: Arc<CsvFiles>,
    records: Option<Records>,
    task: TaskContext,
    marker: Marker,
}

impl Stream<Found> for ScanStream {
    fn next(&mut self) -> Result<Option<Batch<Found>>, TaskError> {
        self.marker.enter();
        let Some(mut records) = self.records.take() else { return Ok(None) };
        let options = &self.source.options;
        let (mut found, mut seen) = (Found::default(), 0_u64);
        let sampled = |n: u64| (n as f64 * options.sampling_ratio).ceil() as u64;
        while let Some(record) = records.next()? {
            if record.is_header {
                found.headers.push((record.file.path().to_path_buf(), record.fields().map(str::to_owned).collect()));
                continue;
            }
            // Evenly spread, and the first in any case.
            if sampled(seen) < sampled(seen + 1) {
                found.add(record, options);
            }
            seen += 1;
            if seen.is_multiple_of(CHUNK_ROWS as u64) {
                self.task.check_cancelled()?;
            }
        }
        Ok(Some(Batch::Owned(vec![found])))
    }
}

/// The rows, as chunks.
#[derive(Serialize, Deserialize)]
struct Read {
    source: Held<CsvFiles>,
    kinds: Vec<Kind>,
    /// The forms that were found in the columns, if not all values were looked at.
    found: Option<Vec<Forms>>,
    schema: Schema,
}

impl Operator for Read {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(ReadStream {
            source: Arc::clone(&self.source.0),
            kinds: self.kinds.clone(),
            found: self.found.clone(),
            schema: Arc::clone(self.schema.arrow()),
            records: self.source.records(partition, inputs),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct ReadStream {
    source: Arc<CsvFiles>,
    kinds: Vec<Kind>,
    found: Option<Vec<Forms>>,
    schema: SchemaRef,
    records: Option<Records>,
    task: TaskContext,
    marker: Marker,
}

impl Stream<Chunk> for ReadStream {
    fn next(&mut self) -> Result<Option<Batch<Chunk>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let Some(records) = &mut self.records else { return Ok(None) };
        let options = &self.source.options;
        let mut columns: Vec<Column> = self.kinds.iter().map(|kind| Column::new(*kind)).collect();
        let mut corrupt = options.corrupt_record.as_ref().map(|_| Column::new(Kind::String));
        let mut rows = 0;
        while rows < CHUNK_ROWS {
            let Some(record) = records.next()? else { break };
            if record.is_header {
                continue;
            }
            let mut values = Vec::with_capacity(self.kinds.len());
            let fault = values_of(record, &self.kinds, self.found.as_deref(), &self.schema, options, &mut values);
            match (options.mode, &fault) {
                (Mode::FailFast, Some(fault)) => return Err(record.malformed(fault.clone())),
                (Mode::DropMalformed, Some(_)) => continue,
                _ => {}
            }
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
            if let Some(corrupt) = &mut corrupt {
                corrupt.push(if fault.is_some() { Value::String(&record.raw) } else { Value::Null });
            }
            rows += 1;
        }
        if rows == 0 {
            self.records = None;
            return Ok(None);
        }
        let arrays = columns.iter_mut().chain(&mut corrupt).map(Column::finish).collect();
        let counted = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &counted);
        Ok(Some(Batch::Owned(vec![Chunk(batch.map_err(TaskError::rejected)?)])))
    }
}

/// The record's values, null where they are missing or do not fit; and the first that is wrong with it.
fn values_of<'a>(
    record: &'a Record,
    kinds: &[Kind],
    found: Option<&[Forms]>,
    schema: &SchemaRef,
    options: &'a CsvOptions,
    values: &mut Vec<Value<'a>>,
) -> Option<RecordFault> {
    let mut fault = record.open_quote.then_some(RecordFault::OpenQuote);
    if record.len() != kinds.len() {
        fault = fault.or(Some(RecordFault::Fields { found: record.len(), wanted: kinds.len() }));
    }
    for (at, kind) in kinds.iter().enumerate() {
        let text = if at < record.len() { options.text_of(record, at) } else { None };
        let Some(text) = text.filter(|text| !text.is_empty() || *kind == Kind::String) else {
            values.push(Value::Null);
            continue;
        };
        let date_format = options.date_format.as_deref();
        let is_as_found = found.is_none_or(|found| found[at].take(text, date_format));
        let value = kind.parse(text, date_format).filter(|_| is_as_found);
        values.push(value.unwrap_or(Value::Null));
        if value.is_none() && fault.is_none() {
            let field = schema.field(at);
            fault = Some(RecordFault::Field {
                column: field.name().clone(),
                text: text.to_owned(),
                wanted: super::plain::type_name(field.data_type()),
            });
        }
    }
    fault
}
