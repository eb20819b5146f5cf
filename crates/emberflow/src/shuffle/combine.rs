//! Rows combined by key: before the shuffle where that shrinks them, and after it, cache-sized piece by piece.
//!
//! **Map side.** A table combines the rows of a partition. Every 65,536 rows it is asked whether that pays: if there
//! are nearly as many keys as rows, combining stops for this partition, and the rest passes as it is. If the table has
//! outgrown [`TABLE_ROWS`], it is written out and begun anew. Both are decided by rows alone, so that the tree in which
//! values are merged, and with it a floating-point sum, depends on the data and on nothing else.
//!
//! **Reduce side.** What a reducer gets is split by other bits of the hash into pieces whose tables fit the cache, and
//! the pieces are worked through one after the other, each in map order: first all that was combined, then all that was
//! passed. At high cardinality nearly every row of one large table costs a cache miss; this costs one more pass
//! instead (radix partitioning, after Manegold, Boncz and Kersten 2002).

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
    table::{Candidate, Cell, Plain, Table, Taken},
};
use crate::{context::NodeSpec, rdd::Rdd};

/// Rows between two looks at whether combining pays.
const LOOK_ROWS: usize = 1 << 16;
/// Rows that a large table is asked for at once: what is noted of them stays in the innermost cache.
const PROBE_ROWS: usize = 512;
/// Keys beyond which a map-side table is written out.
const TABLE_ROWS: usize = 1 << 18;
/// Shallow bytes of rows that one piece of a reducer's input should have: its table fits the second-level cache.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces at most: each needs a cache line and a page to be written to.
const MAX_PIECE_BITS: u32 = 10;

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
    blocks: Vec<Arc<CombineBlocks<K, V, C>>>,
    pieces: Option<Pieces<K, V, C>>,
    table: Table<K, S>,
    out: Option<IterStream<std::vec::IntoIter<(K, C)>>>,
}

/// The rows of a reducer, split by hash.
struct Pieces<K, V, C> {
    combined: Split<(K, C)>,
    passed: Split<(K, V)>,
    next: usize,
    count: usize,
}

/// Rows by piece: copied where they own nothing, else pointed to, so that no string is cloned only to be compared.
enum Split<R> {
    /// There is one piece: all rows.
    Whole,
    /// The rows of each piece.
    Copied(Vec<Vec<R>>),
    /// For each piece, chunk and row of each of its rows.
    Located(Vec<Vec<(u32, u32)>>),
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
        Self { reduce, blocks: Vec::new(), pieces: None, table: Table::new(), out: None }
    }

    /// Gathers the rows and splits them; done when the first batch is asked for.
    fn split(&mut self) -> Result<(), TaskError> {
        match self.reduce.source.take() {
            Some(Source::Blocks(blocks)) => self.blocks = blocks,
            Some(Source::Placed(mut rows)) => {
                let mut writer = BlockWriter::new(1);
                while let Some(batch) = rows.next()? {
                    self.reduce.task.check_cancelled()?;
                    batch.for_each(|row| writer.push(0, row));
                }
                let (combined, passed) = (BlockWriter::new(1).finish().0, writer.finish().0);
                self.blocks = vec![Arc::new(CombineBlocks { combined, passed })];
            }
            None => {}
        }
        let (combined, passed) = (self.combined(), self.passed());
        let bytes = shallow_bytes(&combined) + shallow_bytes(&passed);
        let bits = (bytes / PIECE_BYTES).next_power_of_two().trailing_zeros().min(MAX_PIECE_BITS);
        let pieces = Pieces {
            combined: split(&combined, bits, &self.reduce.hasher),
            passed: split(&passed, bits, &self.reduce.hasher),
            next: 0,
            count: 1 << bits,
        };
        self.pieces = Some(pieces);
        Ok(())
    }

    fn combined(&self) -> Vec<&[(K, C)]> {
        self.blocks.iter().flat_map(|blocks| blocks.combined.of(self.reduce.reducer)).map(|c| c.as_slice()).collect()
    }

    fn passed(&self) -> Vec<&[(K, V)]> {
        self.blocks.iter().flat_map(|blocks| blocks.passed.of(self.reduce.reducer)).map(|c| c.as_slice()).collect()
    }

    /// Merges one piece.
    fn merge(&mut self, piece: usize) -> Vec<(K, C)> {
        let Some(mut pieces) = self.pieces.take() else { return Vec::new() };
        let mut table = mem::replace(&mut self.table, Table::new());
        let (hasher, aggregator) = (&self.reduce.hasher, &self.reduce.aggregator);
        pieces.combined.visit(piece, &self.combined(), |(key, value)| {
            let hash = hasher.hash(key);
            match table.find(hash, |k| k == key) {
                Ok(cell) => cell.update(|sum| aggregator.merge(sum, value.clone())),
                Err(free) => table.insert(free, hash, key.clone(), S::new(value.clone())),
            }
        });
        pieces.passed.visit(piece, &self.passed(), |(key, value)| {
            let (hash, value) = (hasher.hash(key), value.clone());
            match table.find(hash, |k| k == key) {
                Ok(cell) => cell.update(|sum| aggregator.merge_value(sum, value)),
                Err(free) => table.insert(free, hash, key.clone(), S::new(aggregator.create(value))),
            }
        });
        let rows = table.take();
        (self.table, self.pieces) = (table, Some(pieces));
        rows.into_iter().filter_map(|(key, cell)| cell.into_inner().map(|value| (key, value))).collect()
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
            if self.pieces.is_none() {
                self.split()?;
            }
            self.reduce.marker.enter();
            let Some(pieces) = &mut self.pieces else { return Ok(None) };
            if pieces.next == pieces.count {
                return Ok(None);
            }
            let piece = pieces.next;
            pieces.next += 1;
            let rows = self.merge(piece);
            self.out = Some(IterStream::new(rows.into_iter(), self.reduce.batch_rows));
        }
    }
}

fn shallow_bytes<R>(chunks: &[&[R]]) -> usize {
    chunks.iter().map(|chunk| mem::size_of_val(*chunk)).sum()
}

/// The piece of a key, by bits that neither the partition nor the table's index comes from.
#[inline]
fn piece_of(hash: u64, bits: u32) -> usize {
    (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - bits)) as usize
}

fn split<K: Key, V: Clone>(chunks: &[&[(K, V)]], bits: u32, hasher: &KeyHasher) -> Split<(K, V)> {
    if bits == 0 {
        return Split::Whole;
    }
    let rows: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    // Pieces are about equal: a little more than the mean saves most of them from growing.
    let room = (rows >> bits) + (rows >> (bits + 3));
    let count = 1 << bits;
    if mem::needs_drop::<(K, V)>() {
        let mut pieces: Vec<Vec<(u32, u32)>> = (0..count).map(|_| Vec::with_capacity(room)).collect();
        for (at, chunk) in (0..).zip(chunks) {
            for (row, (key, _)) in (0..).zip(*chunk) {
                pieces[piece_of(hasher.hash(key), bits)].push((at, row));
            }
        }
        Split::Located(pieces)
    } else {
        let mut pieces: Vec<Vec<(K, V)>> = (0..count).map(|_| Vec::with_capacity(room)).collect();
        for row in chunks.iter().copied().flatten() {
            pieces[piece_of(hasher.hash(&row.0), bits)].push(row.clone());
        }
        Split::Copied(pieces)
    }
}

impl<R> Split<R> {
    /// Calls `each` with the rows of one piece, in their order, and forgets the piece.
    fn visit(&mut self, piece: usize, chunks: &[&[R]], mut each: impl FnMut(&R)) {
        match self {
            Self::Whole => chunks.iter().copied().flatten().for_each(each),
            Self::Copied(pieces) => mem::take(&mut pieces[piece]).iter().for_each(each),
            Self::Located(pieces) => {
                for (chunk, row) in mem::take(&mut pieces[piece]) {
                    each(&chunks[chunk as usize][row as usize]);
                }
            }
        }
    }
}
