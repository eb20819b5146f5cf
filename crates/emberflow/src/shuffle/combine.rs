//! Rows combined by key: before the shuffle where that shrinks them, and after it, cache-sized piece by piece.
//!
//! **Map side.** A table combines the rows of a partition. Every 65,536 rows it is asked whether that pays: if there
//! are nearly as many keys as rows, combining stops for this partition, and the rest passes as it is. If the table has
//! outgrown [`TABLE_ROWS`], it is written out and begun anew. Both are decided by rows alone, so that the tree in which
//! values are merged, and with it a floating-point sum, depends on the data and on nothing else.
//!
//! **Reduce side.** What a reducer gets is split into [pieces](super::pieces) whose tables fit the cache, and the pieces
//! are worked through one after the other, each in map order: first all that was combined, then all that was passed.

use std::{any::Any, borrow::Cow, marker::PhantomData, mem, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, IterStream, Stream},
    blocks::{BlockWriter, Blocks},
    data::{ExchangeData, Key},
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator, StoreWriter},
    partitioner::KeyHasher,
    place::OpInfo,
    size,
    store::{Stored, StoredData},
    task::{Marker, TaskContext},
};

use super::{
    IntoPartitioning, Partitioning, dependency,
    pieces::{self, Chunks, Pieces},
    table::{Candidate, Cell, Plain, Table, Taken},
};
use crate::{context::NodeSpec, rdd::Rdd};

/// Rows between two looks at whether combining pays.
const LOOK_ROWS: usize = 1 << 16;
/// Rows that a large table is asked for at once: what is noted of them stays in the innermost cache.
const PROBE_ROWS: usize = 512;
/// Keys beyond which a map-side table is written out.
const TABLE_ROWS: usize = 1 << 18;

/// How values become combiners, and combiners one.
pub(crate) trait Aggregator<V, C>: Send + Sync + 'static {
    fn create(&self, value: V) -> C;

    fn merge_value(&self, sum: C, value: V) -> C;

    fn merge(&self, a: C, b: C) -> C;
}

/// Whether rows are combined before the shuffle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapSide {
    /// While it pays.
    Combine,
    /// Never: combining would not shrink them.
    Pass,
}

/// Combines the rows of `parent` by key: through a shuffle, or in place if they are placed so already.
pub(crate) fn combine<K, V, C, A>(
    parent: &Rdd<(K, V)>,
    info: OpInfo,
    into: impl IntoPartitioning<K>,
    map_side: MapSide,
    aggregator: A,
) -> Rdd<(K, C)>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
{
    let shared = parent.shared();
    let partitioning = into.into_partitioning(&shared.hasher);
    let placement = partitioning.placement().clone();
    let aggregator = Arc::new(aggregator);
    let hasher = shared.hasher.clone();
    let in_place = parent.node().placement.as_ref() == Some(&placement);
    let dependency = if in_place {
        Dependency::Narrow(Arc::clone(parent.node()))
    } else {
        let (aggregator, hasher) = (Arc::clone(&aggregator), hasher.clone());
        let writer = CombineWriter { aggregator, hasher, partitioning, map_side, types: PhantomData };
        dependency(parent, info.clone(), writer)
    };
    shared.rdd(NodeSpec {
        partitions: placement.partitions(),
        op: Arc::new(CombineReader::<K, V, C, A> { aggregator, hasher, types: PhantomData }),
        dependencies: vec![dependency],
        placement: Some(placement),
        info,
    })
}

/// What a map task gives to its reducers.
struct CombineBlocks<K, V, C> {
    combined: Blocks<(K, C)>,
    passed: Blocks<(K, V)>,
}

impl<K: Key, V: ExchangeData, C: ExchangeData> StoredData for CombineBlocks<K, V, C> {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn has_block(&self, reducer: PartitionIndex) -> bool {
        self.combined.has(reducer) || self.passed.has(reducer)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct CombineWriter<K, V, C, A> {
    aggregator: Arc<A>,
    hasher: KeyHasher,
    partitioning: Partitioning<K>,
    map_side: MapSide,
    types: PhantomData<fn(V) -> C>,
}

impl<K, V, C, A> StoreWriter for CombineWriter<K, V, C, A>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
{
    fn write(&self, _: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let rows = input.downcast()?;
        if mem::needs_drop::<C>() { self.write_in::<Taken<C>>(rows, cx) } else { self.write_in::<Plain<C>>(rows, cx) }
    }
}

impl<K, V, C, A> CombineWriter<K, V, C, A>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
{
    fn write_in<S: Cell<C>>(&self, mut rows: BoxStream<(K, V)>, cx: &TaskContext) -> Result<Stored, TaskError> {
        let partitions = self.partitioning.placement().partitions();
        let (mut combined, mut passed) = (BlockWriter::new(partitions), BlockWriter::new(partitions));
        let mut table: Table<K, S> = Table::new();
        let mut scratch = Scratch::default();
        let (mut combining, mut seen) = (self.map_side == MapSide::Combine, 0);
        let marker = cx.sink_marker();
        while let Some(batch) = rows.next()? {
            cx.check_cancelled()?;
            marker.enter();
            let mut rest = Rest::of(batch);
            while combining && !rest.is_empty() {
                let taken = rest.len().min(LOOK_ROWS - seen % LOOK_ROWS);
                let taken = if table.is_large() { taken.min(PROBE_ROWS) } else { taken };
                let probed = scratch.probe(&table, &self.hasher, &rest.as_slice()[..taken]);
                match &mut rest {
                    Rest::Owned(rows) if probed => {
                        for (at, (key, value)) in rows.drain(..taken).enumerate() {
                            self.add_probed(&mut table, scratch.at(at), Cow::Owned(key), value);
                        }
                    }
                    Rest::Owned(rows) => {
                        for (key, value) in rows.drain(..taken) {
                            self.add(&mut table, self.hasher.hash(&key), Cow::Owned(key), value);
                        }
                    }
                    Rest::Shared(rows, from) => {
                        let next = &rows.as_slice()[*from..*from + taken];
                        *from += taken;
                        if probed {
                            for (at, (key, value)) in next.iter().enumerate() {
                                self.add_probed(&mut table, scratch.at(at), Cow::Borrowed(key), value.clone());
                            }
                        } else {
                            for (key, value) in next {
                                self.add(&mut table, self.hasher.hash(key), Cow::Borrowed(key), value.clone());
                            }
                        }
                    }
                }
                seen += taken;
                if seen % LOOK_ROWS == 0 {
                    combining = table.len() * 10 <= seen * 8;
                    if !combining || table.len() > TABLE_ROWS {
                        self.flush(&mut table, &mut combined);
                        seen = 0;
                    }
                }
            }
            match rest {
                Rest::Owned(rows) => Batch::Owned(rows).for_each(|row| self.pass(row, &mut passed)),
                Rest::Shared(rows, from) => {
                    rows.as_slice()[from..].iter().cloned().for_each(|row| self.pass(row, &mut passed));
                }
            }
        }
        self.flush(&mut table, &mut combined);
        let ((combined, combined_rows), (passed, passed_rows)) = (combined.finish(), passed.finish());
        let bytes =
            combined.chunks().map(size::estimate).sum::<u64>() + passed.chunks().map(size::estimate).sum::<u64>();
        let data = Arc::new(CombineBlocks { combined, passed });
        Ok(Stored { rows: combined_rows + passed_rows, bytes, data })
    }

    /// Merges one row into the table; its key is only kept if it is new.
    #[inline]
    fn add<S: Cell<C>>(&self, table: &mut Table<K, S>, hash: u64, key: Cow<'_, K>, value: V) {
        match table.find(hash, |k| *k == *key) {
            Ok(cell) => cell.update(|sum| self.aggregator.merge_value(sum, value)),
            Err(free) => table.insert(free, hash, key.into_owned(), S::new(self.aggregator.create(value))),
        }
    }

    /// The same, for a row that the table was asked for ahead of time.
    #[inline]
    fn add_probed<S: Cell<C>>(
        &self,
        table: &mut Table<K, S>,
        (hash, candidate): (u64, Candidate),
        key: Cow<'_, K>,
        value: V,
    ) {
        match table.get(candidate, |k| *k == *key) {
            Some(cell) => cell.update(|sum| self.aggregator.merge_value(sum, value)),
            None => self.add(table, hash, key, value),
        }
    }

    #[inline]
    fn pass(&self, row: (K, V), passed: &mut BlockWriter<(K, V)>) {
        let to = self.partitioning.partition(&row.0);
        passed.push(to, row);
    }

    fn flush<S: Cell<C>>(&self, table: &mut Table<K, S>, combined: &mut BlockWriter<(K, C)>) {
        for (key, cell) in table.take() {
            if let Some(value) = cell.into_inner() {
                let to = self.partitioning.partition(&key);
                combined.push(to, (key, value));
            }
        }
    }
}

/// What is known of the next rows before they are merged, if the table is large enough to be asked ahead of time.
#[derive(Default)]
struct Scratch {
    hashes: Vec<u64>,
    found: Vec<Candidate>,
}

impl Scratch {
    /// Asks the table ahead of time if that pays; whether it did.
    fn probe<K: Key, V, S>(&mut self, table: &Table<K, S>, hasher: &KeyHasher, rows: &[(K, V)]) -> bool {
        let probed = table.is_large();
        if probed {
            self.hashes.clear();
            self.hashes.extend(rows.iter().map(|(key, _)| hasher.hash(key)));
            table.probe(&self.hashes, &mut self.found);
        }
        probed
    }

    #[inline]
    fn at(&self, row: usize) -> (u64, Candidate) {
        (self.hashes[row], self.found[row])
    }
}

/// What is left of a batch.
enum Rest<T> {
    Owned(Vec<T>),
    Shared(emberflow_core::batch::SharedRows<T>, usize),
}

impl<T> Rest<T> {
    fn of(batch: Batch<T>) -> Self {
        match batch {
            Batch::Owned(rows) => Self::Owned(rows),
            Batch::Shared(rows) => Self::Shared(rows, 0),
        }
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Self::Owned(rows) => rows.as_slice(),
            Self::Shared(rows, from) => &rows.as_slice()[*from..],
        }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct CombineReader<K, V, C, A> {
    aggregator: Arc<A>,
    hasher: KeyHasher,
    types: PhantomData<fn(K, V) -> C>,
}

impl<K, V, C, A> Operator for CombineReader<K, V, C, A>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (task, marker) = (inputs.task().clone(), inputs.marker());
        let reducer = if inputs.is_shuffle(0) { partition } else { 0 };
        let source = if inputs.is_shuffle(0) {
            Source::Blocks(inputs.blocks(0, reducer).collect::<Result<_, _>>()?)
        } else {
            Source::Placed(inputs.narrow(0, partition)?)
        };
        let (aggregator, hasher) = (Arc::clone(&self.aggregator), self.hasher.clone());
        let batch_rows = task.batch_rows_of::<(K, C)>();
        let reduce = Reduce { source: Some(source), reducer, aggregator, hasher, marker, task, batch_rows };
        Ok(if mem::needs_drop::<C>() {
            AnyStream::new(ReduceStream::<K, V, C, A, Taken<C>>::new(reduce))
        } else {
            AnyStream::new(ReduceStream::<K, V, C, A, Plain<C>>::new(reduce))
        })
    }
}

/// Where a reducer's rows come from.
enum Source<K, V, C> {
    /// The map outputs, in map order.
    Blocks(Vec<Arc<CombineBlocks<K, V, C>>>),
    /// The parent's partition, whose keys are all here already.
    Placed(BoxStream<(K, V)>),
}

struct Reduce<K, V, C, A> {
    source: Option<Source<K, V, C>>,
    reducer: usize,
    aggregator: Arc<A>,
    hasher: KeyHasher,
    marker: Marker,
    task: TaskContext,
    batch_rows: usize,
}

/// A reducer's output: piece by piece, batch by batch.
struct ReduceStream<K, V, C, A, S> {
    reduce: Reduce<K, V, C, A>,
    input: Option<Input<K, V, C>>,
    next: usize,
    table: Table<K, S>,
    out: Option<IterStream<std::vec::IntoIter<(K, C)>>>,
}

/// The rows of a reducer, split by hash.
struct Input<K, V, C> {
    combined: Pieces<(K, C)>,
    passed: Pieces<(K, V)>,
}

impl<K, V, C, A, S> ReduceStream<K, V, C, A, S>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
    S: Cell<C>,
{
    fn new(reduce: Reduce<K, V, C, A>) -> Self {
        Self { reduce, input: None, next: 0, table: Table::new(), out: None }
    }

    /// Gathers the rows and splits them; done when the first batch is asked for.
    fn gather(&mut self) -> Result<Input<K, V, C>, TaskError> {
        let (mut combined, mut passed) = (Chunks::new(), Chunks::new());
        match self.reduce.source.take() {
            Some(Source::Blocks(blocks)) => {
                for blocks in blocks {
                    combined.extend(blocks.combined.of(self.reduce.reducer));
                    passed.extend(blocks.passed.of(self.reduce.reducer));
                }
            }
            Some(Source::Placed(rows)) => passed = Chunks::gather(rows, &self.reduce.task)?,
            None => {}
        }
        self.reduce.marker.enter();
        let (bits, hasher) = (pieces::bits(combined.bytes() + passed.bytes()), &self.reduce.hasher);
        Ok(Input { combined: combined.split(bits, hasher), passed: passed.split(bits, hasher) })
    }

    /// Merges the next piece, if there is one.
    fn merge(&mut self) -> Result<Option<Vec<(K, C)>>, TaskError> {
        let mut input = match self.input.take() {
            Some(input) => input,
            None => self.gather()?,
        };
        let piece = self.next;
        if piece == input.passed.count() {
            self.input = Some(input);
            return Ok(None);
        }
        self.next += 1;
        self.reduce.marker.enter();
        let mut table = mem::replace(&mut self.table, Table::new());
        let (hasher, aggregator) = (&self.reduce.hasher, &self.reduce.aggregator);
        input.combined.take(piece).for_each(|(key, value)| {
            let hash = hasher.hash(key);
            match table.find(hash, |k| k == key) {
                Ok(cell) => cell.update(|sum| aggregator.merge(sum, value.clone())),
                Err(free) => table.insert(free, hash, key.clone(), S::new(value.clone())),
            }
        });
        input.passed.take(piece).for_each(|(key, value)| {
            let (hash, value) = (hasher.hash(key), value.clone());
            match table.find(hash, |k| k == key) {
                Ok(cell) => cell.update(|sum| aggregator.merge_value(sum, value)),
                Err(free) => table.insert(free, hash, key.clone(), S::new(aggregator.create(value))),
            }
        });
        let rows = table.take();
        (self.table, self.input) = (table, Some(input));
        Ok(Some(rows.into_iter().filter_map(|(key, cell)| cell.into_inner().map(|value| (key, value))).collect()))
    }
}

impl<K, V, C, A, S> Stream<(K, C)> for ReduceStream<K, V, C, A, S>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
    S: Cell<C>,
{
    fn next(&mut self) -> Result<Option<Batch<(K, C)>>, TaskError> {
        loop {
            if let Some(out) = &mut self.out {
                if let Some(batch) = out.next()? {
                    return Ok(Some(batch));
                }
                self.out = None;
            }
            self.reduce.task.check_cancelled()?;
            let Some(rows) = self.merge()? else { return Ok(None) };
            self.out = Some(IterStream::new(rows.into_iter(), self.reduce.batch_rows));
        }
    }
}
