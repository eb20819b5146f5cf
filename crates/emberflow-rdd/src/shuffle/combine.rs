//! Rows combined by key: before the shuffle where that shrinks them, and after it, cache-sized piece by piece.
//!
//! **Map side.** Rows are [combined](super::map_side) while that pays. Their keys may be borrowed from longer rows.
//!
//! **Reduce side.** The rows that a reducer gets are split into [pieces](super::pieces) whose tables fit the cache, and
//! the pieces are worked through one after the other, each in map order: first all that was combined, then all that was
//! passed.

use std::{borrow::Borrow, marker::PhantomData, mem, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, IterStream, Stream, buffers},
    data::{Data, ExchangeData, Key},
    error::{TaskError, over_budget},
    ids::PartitionIndex,
    memory::Claim,
    operator::{Inputs, Operator, StoreWriter},
    partitioner::KeyHasher,
    remake,
    ship::{Code, Env, Held, NotShippable, Shipped},
    store::Stored,
    task::{Marker, TaskContext},
    wire::Arrived,
};

use serde::{Deserialize, Serialize};

use super::{
    Partitioning,
    aggregator::Aggregator,
    comes_back,
    map_side::{CombineBlocks, Combining, Emitted, MapSide, Pairs, merge},
    pieces::{self, Chunks, Pieces},
    short::BorrowedKey,
    table::{Cell, Plain, Table, Taken},
};

/// How the rows of a batch are given to the map side's table.
trait Feed<T, K, V>: Env {
    /// A key of the batch, if they are at hand.
    fn sample<'b>(&self, batch: &'b Batch<T>) -> Option<&'b K>;

    fn feed<C, A, S>(&self, batch: Batch<T>, to: &mut Combining<'_, K, V, C, A, S>)
    where
        C: ExchangeData,
        A: Aggregator<V, C>,
        S: Cell<C>;
}

/// Rows that are pairs.
#[derive(Serialize, Deserialize)]
struct AsTheyAre;

impl<K: Key, V: ExchangeData> Feed<(K, V), K, V> for AsTheyAre {
    fn sample<'b>(&self, batch: &'b Batch<(K, V)>) -> Option<&'b K> {
        batch.as_slice().first().map(|(key, _)| key)
    }

    fn feed<C, A, S>(&self, batch: Batch<(K, V)>, to: &mut Combining<'_, K, V, C, A, S>)
    where
        C: ExchangeData,
        A: Aggregator<V, C>,
        S: Cell<C>,
    {
        match batch {
            Batch::Owned(mut rows) => {
                to.add(rows.drain(..));
                buffers::give(rows);
            }
            Batch::Shared(rows) => to.add(rows.as_slice().iter()),
        }
    }
}

/// Pairs that a function makes of each row, and whose keys it may borrow from it.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Emit<E, Q: ?Sized>(Code<E>, PhantomData<fn(&Q)>);

impl<T, K, Q, V, E> Feed<T, K, V> for Emit<E, Q>
where
    T: Data,
    K: Key + Borrow<Q> + for<'q> From<&'q Q>,
    Q: BorrowedKey + ?Sized,
    V: ExchangeData,
    E: for<'a> Fn(&'a T, &mut Pairs<'a, Q, V>) + Send + Sync + 'static,
{
    /// Texts and bytes come back as they are.
    fn sample<'b>(&self, _: &'b Batch<T>) -> Option<&'b K> {
        None
    }

    fn feed<C, A, S>(&self, batch: Batch<T>, to: &mut Combining<'_, K, V, C, A, S>)
    where
        C: ExchangeData,
        A: Aggregator<V, C>,
        S: Cell<C>,
    {
        let room = to.room();
        let mut merge = |pairs: &mut Emitted<'_, Q, V>| {
            to.add_borrowed(pairs);
            to.room()
        };
        let mut pairs = Pairs::new(room, &mut merge);
        batch.as_slice().iter().for_each(|row| (self.0)(row, &mut pairs));
        pairs.flush();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "K: 'static, A: Env, F: Env")]
struct CombineWriter<T, K, V, C, A, F> {
    feed: F,
    aggregator: Held<A>,
    hasher: KeyHasher,
    partitioning: Partitioning<K>,
    map_side: MapSide,
    types: PhantomData<fn(T, V) -> C>,
}

/// Writes pairs as they are.
pub(crate) fn write_pairs<K: Key, V: ExchangeData, C: ExchangeData, A: Aggregator<V, C>>(
    aggregator: Held<A>,
    hasher: KeyHasher,
    partitioning: Partitioning<K>,
    map_side: MapSide,
) -> impl StoreWriter {
    let types = PhantomData::<fn((K, V), V) -> C>;
    CombineWriter { feed: AsTheyAre, aggregator, hasher, partitioning, map_side, types }
}

/// Writes the pairs that `emit` makes of each row.
pub(crate) fn write_emitted<T, K, Q, V, A, E>(
    emit: E,
    aggregator: Held<A>,
    hasher: KeyHasher,
    partitioning: Partitioning<K>,
) -> impl StoreWriter
where
    T: Data,
    K: Key + Borrow<Q> + for<'q> From<&'q Q>,
    Q: BorrowedKey + ?Sized,
    V: ExchangeData,
    A: Aggregator<V, V>,
    E: for<'a> Fn(&'a T, &mut Pairs<'a, Q, V>) + Send + Sync + 'static,
{
    let (feed, types) = (Emit(Code::new(emit), PhantomData), PhantomData::<fn(T, V) -> V>);
    CombineWriter { feed, aggregator, hasher, partitioning, map_side: MapSide::Combine, types }
}

impl<T, K, V, C, A, F> StoreWriter for CombineWriter<T, K, V, C, A, F>
where
    T: Data,
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
    F: Feed<T, K, V>,
{
    fn write(&self, _: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let rows = input.read(cx)?;
        if mem::needs_drop::<C>() { self.write_in::<Taken<C>>(rows, cx) } else { self.write_in::<Plain<C>>(rows, cx) }
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        CombineBlocks::<K, V, C>::unpack(pieces)
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}

impl<T, K, V, C, A, F> CombineWriter<T, K, V, C, A, F>
where
    T: Data,
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
    F: Feed<T, K, V>,
{
    fn write_in<S: Cell<C>>(&self, mut rows: BoxStream<T>, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut side: Combining<'_, K, V, C, A, S> =
            Combining::new(&*self.aggregator, &self.hasher, &self.partitioning, self.map_side, cx.workspace());
        let (marker, mut batches) = (cx.sink_marker(), 0_u64);
        while let Some(batch) = rows.next()? {
            cx.check_cancelled()?;
            marker.enter_with(batch.len());
            batches += 1;
            if batches.is_power_of_two() {
                self.feed.sample(&batch).map_or(Ok(()), comes_back)?;
            }
            self.feed.feed(batch, &mut side);
            side.settle()?;
        }
        Ok(side.finish())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "A: Env")]
pub(crate) struct CombineReader<K, V, C, A> {
    aggregator: Held<A>,
    hasher: KeyHasher,
    map_side: MapSide,
    types: PhantomData<fn(K, V) -> C>,
}

impl<K, V, C, A> CombineReader<K, V, C, A> {
    pub(crate) fn new(aggregator: Held<A>, hasher: KeyHasher, map_side: MapSide) -> Self {
        Self { aggregator, hasher, map_side, types: PhantomData }
    }
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
            ReduceInput::Blocks(inputs.blocks(0, reducer).collect::<Result<_, _>>()?)
        } else {
            ReduceInput::Placed(inputs.narrow(0, partition)?)
        };
        let (aggregator, hasher) = (Arc::clone(&self.aggregator.0), self.hasher.clone());
        let batch_rows = task.batch_rows_of::<(K, C)>();
        let groups = self.map_side == MapSide::Pass;
        let reduce = Reduce { source: Some(source), reducer, aggregator, hasher, groups, marker, task, batch_rows };
        Ok(if mem::needs_drop::<C>() {
            AnyStream::new(ReduceStream::<K, V, C, A, Taken<C>>::new(reduce))
        } else {
            AnyStream::new(ReduceStream::<K, V, C, A, Plain<C>>::new(reduce))
        })
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// The rows that a reducer is given.
enum ReduceInput<K, V, C> {
    /// The map outputs, in map order.
    Blocks(Vec<Arc<CombineBlocks<K, V, C>>>),
    /// The parent's partition, whose keys are all here already.
    Placed(BoxStream<(K, V)>),
}

struct Reduce<K, V, C, A> {
    source: Option<ReduceInput<K, V, C>>,
    reducer: usize,
    aggregator: Arc<A>,
    hasher: KeyHasher,
    /// Whether combiners hold all values, as groups do.
    groups: bool,
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
    /// The table's room, and that of the rows that came out of it, until they are used.
    claim: Claim,
    out: Option<IterStream<std::vec::IntoIter<(K, C)>>>,
    /// The bytes that each of those takes, and all of the batch that was given last.
    row_bytes: u64,
    lent: u64,
}

/// The rows of a reducer, split by hash.
struct Input<K, V, C> {
    combined: Pieces<K, C>,
    passed: Pieces<K, V>,
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
        let claim = Claim::new(reduce.task.workspace());
        Self { reduce, input: None, next: 0, table: Table::new(), claim, out: None, row_bytes: 0, lent: 0 }
    }

    /// Gathers the rows and splits them; done when the first batch is asked for.
    fn gather(&mut self) -> Result<Input<K, V, C>, TaskError> {
        let (mut combined, mut passed) = (Chunks::new(), Chunks::new());
        match self.reduce.source.take() {
            Some(ReduceInput::Blocks(blocks)) => {
                for blocks in blocks {
                    combined.extend(blocks.combined.of(self.reduce.reducer));
                    passed.extend(blocks.passed.of(self.reduce.reducer));
                }
            }
            Some(ReduceInput::Placed(rows)) => passed = Chunks::gather(rows, &self.reduce.task)?,
            None => {}
        }
        self.reduce.marker.enter();
        let (bits, hasher, task) =
            (pieces::bits(combined.bytes() + passed.bytes()), &self.reduce.hasher, &self.reduce.task);
        Ok(Input { combined: combined.split(bits, hasher, task)?, passed: passed.split(bits, hasher, task)? })
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
        let Reduce { hasher, aggregator, groups, .. } = &self.reduce;
        let (table, claim) = (&mut self.table, &mut self.claim);
        let mut grouped = table.slot_bytes();
        let mut settle = |table: &Table<K, S>, run: u64| {
            grouped += run;
            let bytes = if *groups { grouped } else { table.slot_bytes() + table.heap_bytes() };
            claim.require(bytes, over_budget::GROUP)
        };
        // Merging may take its time for each row: what is cancelled merges no more.
        let cancelled = || self.reduce.task.is_cancelled();
        let mut combined = input.combined.take(piece)?;
        while let Some(run) = combined.next()? {
            run.for_each(|(key, value)| {
                if cancelled() {
                    return;
                }
                let hash = hasher.hash(key);
                match table.find(hash, |k| k == key) {
                    Some(cell) => cell.update(|sum| aggregator.merge(sum, value.clone())),
                    None => table.insert(hasher, hash, key.clone(), S::new(value.clone())),
                }
            });
            self.reduce.task.check_cancelled()?;
            settle(table, if *groups { run.bytes() } else { 0 })?;
        }
        let mut passed = input.passed.take(piece)?;
        while let Some(run) = passed.next()? {
            run.for_each(|row| {
                if !cancelled() {
                    merge(table, &**aggregator, hasher, row);
                }
            });
            self.reduce.task.check_cancelled()?;
            settle(table, if *groups { run.bytes() } else { 0 })?;
        }
        let rows: Vec<(K, C)> = table.drain().filter_map(|(key, cell)| Some((key, cell.into_inner()?))).collect();
        self.row_bytes = claim.bytes().saturating_sub(table.slot_bytes()) / rows.len().max(1) as u64;
        self.input = Some(input);
        Ok(Some(rows))
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
        self.claim.shrink(mem::take(&mut self.lent));
        loop {
            if let Some(out) = &mut self.out {
                if let Some(batch) = out.next()? {
                    self.lent = batch.len() as u64 * self.row_bytes;
                    return Ok(Some(batch));
                }
                self.out = None;
            }
            self.claim.set(self.table.slot_bytes());
            self.reduce.task.check_cancelled()?;
            let Some(rows) = self.merge()? else { return Ok(None) };
            self.out = Some(IterStream::new(rows.into_iter(), self.reduce.batch_rows));
        }
    }
}
