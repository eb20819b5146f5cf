//! Rows in a global order: sampled, placed by range, and sorted where they meet.
//!
//! Three steps (after TeraSort, and Spark's `RangePartitioner`). Every partition gives a *sample* of its keys, which is
//! a store like any other: kept, lost and recomputed like map outputs. From all samples, *bounds* are chosen that cut
//! the rows into equal parts, and every row is placed by them. Each part is *sorted* by itself, stably: in memory, or as
//! sorted runs that are merged where there is no room for all of it. Runs follow each other as their rows do, so that the
//! order is the same.
//!
//! A bound is a key with the place of a row: its partition and number. Rows of equal keys are told apart by where they
//! stand, so that a key that holds half of the rows fills several parts, and the order is stable across them.

use std::{
    any::Any,
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    marker::PhantomData,
    mem,
    sync::{Arc, OnceLock},
    vec,
};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, IterStream, Stream, buffers},
    blocks::{BlockWriter, Blocks},
    data::{Data, ExchangeData},
    error::TaskError,
    fingerprint::Fingerprint,
    ids::PartitionIndex,
    memory::{Claim, Keep},
    operator::{Inputs, Operator, StoreWriter},
    remake,
    segments::{self, RowBuffer, Segment, SegmentStream},
    ship::{Code, Env, Held, NotShippable, Shipped},
    size,
    spill::SpillError,
    store::{Stored, StoredData},
    task::{Marker, TaskContext},
    wire::{self, Arrived, Give, Piece},
};

use serde::{Deserialize, Serialize};

/// Sampled keys for each part that is to be made: enough for parts that differ by a tenth or so.
const SAMPLES_A_PART: usize = 128;
/// Sampled keys of one partition, whatever the numbers of parts and partitions.
const FEWEST_SAMPLES: usize = 16;

/// How rows compare.
pub(crate) trait SortKey<T>: Env {
    type Key: Ord + Data;
    /// The form of a key in another process, to which the order itself was sent before.
    type Sent: ExchangeData;

    fn key(&self, row: &T) -> Self::Key;

    /// The part of the row number `at`, whose bounds are those of its partition.
    fn part(&self, row: &T, bounds: &[LocalBound<Self::Key>], at: u64) -> usize;

    /// Sorts, stably.
    fn sort(&self, rows: &mut [T]);

    /// The form in which a key is sent.
    fn sent(&self, key: &Self::Key) -> Self::Sent;

    /// The key that was sent.
    fn arrived(&self, key: Self::Sent) -> Self::Key;

    /// The estimated size in bytes of sampled keys.
    fn estimate(&self, keys: &[Sample<Self::Key>]) -> u64;
}

/// An order by the key that a function makes of a row.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct ByFunction<F, K>(pub(crate) Code<F>, pub(crate) PhantomData<fn() -> K>);

impl<T, K, F> SortKey<T> for ByFunction<F, K>
where
    K: Ord + ExchangeData,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    type Key = K;
    type Sent = K;

    #[inline]
    fn key(&self, row: &T) -> K {
        (self.0)(row)
    }

    #[inline]
    fn part(&self, row: &T, bounds: &[LocalBound<K>], at: u64) -> usize {
        let key = (self.0)(row);
        part(bounds, at, |bound| key.cmp(bound))
    }

    fn sort(&self, rows: &mut [T]) {
        // A key that owns memory is made once a row; another one is cheaper to make again than to keep.
        if mem::needs_drop::<K>() {
            rows.sort_by_cached_key(&*self.0);
        } else {
            rows.sort_by_key(&*self.0);
        }
    }

    fn sent(&self, key: &K) -> K {
        key.clone()
    }

    fn arrived(&self, key: K) -> K {
        key
    }

    fn estimate(&self, keys: &[Sample<K>]) -> u64 {
        size::estimate(keys)
    }
}

/// By comparing rows with each other.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct ByComparison<F>(pub(crate) Held<Code<F>>);

/// A row as its own key.
pub(crate) struct Compared<T, F> {
    row: T,
    compare: Held<Code<F>>,
}

impl<T: Clone, F> Clone for Compared<T, F> {
    fn clone(&self) -> Self {
        Self { row: self.row.clone(), compare: self.compare.clone() }
    }
}

impl<T, F: Fn(&T, &T) -> Ordering> Ord for Compared<T, F> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.compare)(&self.row, &other.row)
    }
}

impl<T, F: Fn(&T, &T) -> Ordering> PartialOrd for Compared<T, F> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, F: Fn(&T, &T) -> Ordering> PartialEq for Compared<T, F> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T, F: Fn(&T, &T) -> Ordering> Eq for Compared<T, F> {}

impl<T, F> SortKey<T> for ByComparison<F>
where
    T: ExchangeData,
    F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
{
    type Key = Compared<T, F>;
    type Sent = T;

    fn key(&self, row: &T) -> Compared<T, F> {
        Compared { row: row.clone(), compare: self.0.clone() }
    }

    fn part(&self, row: &T, bounds: &[LocalBound<Compared<T, F>>], at: u64) -> usize {
        part(bounds, at, |bound| (self.0)(row, &bound.row))
    }

    fn sort(&self, rows: &mut [T]) {
        rows.sort_by(|a, b| (self.0)(a, b));
    }

    fn sent(&self, key: &Compared<T, F>) -> T {
        key.row.clone()
    }

    fn arrived(&self, row: T) -> Compared<T, F> {
        Compared { row, compare: self.0.clone() }
    }

    fn estimate(&self, keys: &[Sample<Compared<T, F>>]) -> u64 {
        size::estimate_of(keys, |(key, _)| &key.row)
    }
}

/// Pairs by their key, up or down.
#[derive(Serialize, Deserialize)]
pub(crate) struct ByPairKey {
    pub(crate) descending: bool,
}

/// A pair's key as it is sorted by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directed<K> {
    key: K,
    descending: bool,
}

impl<K: Ord> Ord for Directed<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        directed(&self.key, &other.key, self.descending)
    }
}

impl<K: Ord> PartialOrd for Directed<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[inline]
fn directed<K: Ord>(a: &K, b: &K, descending: bool) -> Ordering {
    if descending { b.cmp(a) } else { a.cmp(b) }
}

impl<K: Ord + ExchangeData, V> SortKey<(K, V)> for ByPairKey {
    type Key = Directed<K>;
    type Sent = Directed<K>;

    fn key(&self, row: &(K, V)) -> Directed<K> {
        Directed { key: row.0.clone(), descending: self.descending }
    }

    #[inline]
    fn part(&self, row: &(K, V), bounds: &[LocalBound<Directed<K>>], at: u64) -> usize {
        part(bounds, at, |bound| directed(&row.0, &bound.key, self.descending))
    }

    fn sort(&self, rows: &mut [(K, V)]) {
        if self.descending {
            rows.sort_by(|a, b| b.0.cmp(&a.0));
        } else {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
        }
    }

    fn sent(&self, key: &Directed<K>) -> Directed<K> {
        key.clone()
    }

    fn arrived(&self, key: Directed<K>) -> Directed<K> {
        key
    }

    fn estimate(&self, keys: &[Sample<Directed<K>>]) -> u64 {
        size::estimate(keys)
    }
}

/// A key with its row's number in its partition.
pub(crate) type Sample<K> = (K, u64);

/// Some keys of a partition, each for `weight` rows.
struct Samples<T, S: SortKey<T>> {
    keys: Vec<Sample<S::Key>>,
    weight: u64,
    by: Held<S>,
}

impl<T: 'static, S: SortKey<T>> StoredData for Samples<T, S> {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_rows(self.keys.len() as u64)
    }

    fn pack(&self, _: Option<PartitionIndex>, give: &mut Give<'_>) -> Result<(), TaskError> {
        let keys: Vec<(S::Sent, u64)> = self.keys.iter().map(|(key, row)| (self.by.sent(key), *row)).collect();
        give(Piece::of_value(&(keys, self.weight))?)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Env")]
pub(crate) struct SampleKeys<T, S> {
    by: Held<S>,
    most: usize,
    rows: PhantomData<fn(T)>,
}

impl<T, S> SampleKeys<T, S> {
    /// Samples one of so many partitions, of which so many parts are to be made.
    pub(crate) fn new(by: Held<S>, parts: usize, partitions: usize) -> Self {
        let most = (SAMPLES_A_PART * parts).div_ceil(partitions.max(1)).max(FEWEST_SAMPLES);
        Self { by, most, rows: PhantomData }
    }
}

impl<T: Data, S: SortKey<T>> StoreWriter for SampleKeys<T, S> {
    fn write(&self, _: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<T> = input.read(cx)?;
        let marker = cx.sink_marker();
        // One row of each window; windows double when there are too many.
        let (mut keys, mut window, mut start, mut seen): (Vec<Sample<S::Key>>, u64, u64, u64) = (Vec::new(), 1, 0, 0);
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            marker.enter();
            let rows = batch.as_slice();
            let end = seen + rows.len() as u64;
            loop {
                // Not the same row of each window: data may have a period.
                let next = start + (mix(start) >> 1) % window;
                if next >= end {
                    break;
                }
                keys.push((self.by.key(&rows[(next - seen) as usize]), next));
                start += window;
                // An even number, so that pairs of windows become one.
                if keys.len() == 2 * self.most {
                    let mut at = 0_u64;
                    keys.retain(|_| {
                        at += 1;
                        mix((at - 1) / 2) & 1 == (at - 1) & 1
                    });
                    window *= 2;
                }
            }
            seen = end;
        }
        let bytes = self.by.estimate(&keys);
        Ok(Stored::in_memory(keys.len() as u64, bytes, Samples::<T, S> { keys, weight: window, by: self.by.clone() }))
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        let [sample] = pieces else { return Err(wire::missing("a sample of keys")) };
        let (keys, weight): (Vec<(S::Sent, u64)>, u64) = sample.value()?;
        let keys: Vec<Sample<S::Key>> = keys.into_iter().map(|(key, row)| (self.by.arrived(key), row)).collect();
        let bytes = self.by.estimate(&keys);
        Ok(Stored::in_memory(keys.len() as u64, bytes, Samples::<T, S> { keys, weight, by: self.by.clone() }))
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}

/// A number that looks random: SplitMix64's output function.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Where parts begin: key, partition and row.
type Bound<K> = (K, PartitionIndex, u64);

/// A bound as one partition sees it: of rows with the bound's key, those from this number on are behind it.
pub(crate) type LocalBound<K> = (K, u64);

/// How many bounds row number `at` is behind, or at. Without a branch that depends on the row: none could be foreseen.
#[inline]
fn part<K>(bounds: &[LocalBound<K>], at: u64, compare: impl Fn(&K) -> Ordering) -> usize {
    bounds.partition_point(|(key, from)| {
        let order = compare(key);
        (order == Ordering::Greater) | ((order == Ordering::Equal) & (*from <= at))
    })
}

/// The bounds for the rows of one partition: equal keys in earlier ones are before its own, those in later ones behind.
fn local<K: Clone>(bounds: &[Bound<K>], partition: PartitionIndex) -> Vec<LocalBound<K>> {
    let local = |(key, of, number): &Bound<K>| {
        let from = match of.cmp(&partition) {
            Ordering::Less => 0,
            Ordering::Equal => *number,
            Ordering::Greater => u64::MAX,
        };
        (key.clone(), from)
    };
    bounds.iter().map(local).collect()
}

/// Passes rows with the number of the part that they belong to.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: SortKey<T>")]
pub(crate) struct TagPart<T, S: SortKey<T>> {
    by: Held<S>,
    parts: usize,
    /// Chosen once, so that all partitions are cut alike.
    #[serde(skip)]
    bounds: OnceLock<Arc<[Bound<S::Key>]>>,
    rows: PhantomData<fn(T)>,
}

impl<T, S: SortKey<T>> TagPart<T, S> {
    pub(crate) fn new(by: Held<S>, parts: usize) -> Self {
        Self { by, parts, bounds: OnceLock::new(), rows: PhantomData }
    }
}

impl<T: ExchangeData, S: SortKey<T>> TagPart<T, S> {
    fn choose(&self, inputs: &Inputs<'_>) -> Result<Arc<[Bound<S::Key>]>, TaskError> {
        let mut samples: Vec<(Bound<S::Key>, u64)> = Vec::new();
        for (partition, of_one) in inputs.map_outputs::<Samples<T, S>>(1).enumerate() {
            let of_one = of_one?;
            let keys = of_one.keys.iter().cloned();
            samples.extend(keys.map(|(key, row)| ((key, partition, row), of_one.weight)));
        }
        inputs.marker().enter();
        samples.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let total: u128 = samples.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let (mut bounds, mut passed) = (Vec::with_capacity(self.parts - 1), 0_u128);
        for (bound, weight) in samples {
            // How many parts should have ended before this row.
            let due = passed * self.parts as u128 / total.max(1);
            if due > bounds.len() as u128 {
                bounds.push(bound);
            }
            passed += u128::from(weight);
        }
        Ok(bounds.into())
    }
}

impl<T: ExchangeData, S: SortKey<T>> Operator for TagPart<T, S> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let bounds = match self.bounds.get() {
            Some(bounds) => Arc::clone(bounds),
            None if self.parts > 1 => {
                let chosen = self.choose(inputs)?;
                Arc::clone(self.bounds.get_or_init(|| chosen))
            }
            None => Arc::default(),
        };
        let rows: BoxStream<T> = inputs.narrow(0, partition)?;
        let by = Arc::clone(&self.by.0);
        Ok(AnyStream::new(Tagging { rows, by, bounds: local(&bounds, partition), row: 0, marker: inputs.marker() }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct Tagging<T, S: SortKey<T>> {
    rows: BoxStream<T>,
    by: Arc<S>,
    bounds: Vec<LocalBound<S::Key>>,
    row: u64,
    marker: Marker,
}

impl<T: ExchangeData, S: SortKey<T>> Stream<(u32, T)> for Tagging<T, S> {
    fn next(&mut self) -> Result<Option<Batch<(u32, T)>>, TaskError> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        self.marker.enter();
        let (bounds, by, mut at) = (&self.bounds, &self.by, self.row);
        self.row += batch.len() as u64;
        let mut out = buffers::take();
        batch.map_into(&mut out, |row| {
            let part = by.part(&row, bounds, at);
            at += 1;
            (part as u32, row)
        });
        Ok(Some(Batch::Owned(out)))
    }
}

/// Writes tagged rows into their parts.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct StripTag<T> {
    parts: usize,
    rows: PhantomData<fn(T)>,
}

impl<T> StripTag<T> {
    pub(crate) fn new(parts: usize) -> Self {
        Self { parts, rows: PhantomData }
    }
}

impl<T: ExchangeData> StoreWriter for StripTag<T> {
    fn write(&self, _: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError> {
        let mut stream: BoxStream<(u32, T)> = input.read(cx)?;
        let mut writer = BlockWriter::new(self.parts, cx.workspace());
        while let Some(batch) = stream.next()? {
            cx.check_cancelled()?;
            batch.for_each(|(part, row)| writer.push(part as usize, row));
            writer.settle()?;
        }
        let (blocks, _claim) = writer.finish();
        Ok(Stored::new(blocks.footprint(), blocks))
    }

    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError> {
        Blocks::<T>::unpack_stored(pieces)
    }

    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
        remake::writer(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Env")]
pub(crate) struct SortPartition<T, S> {
    by: Held<S>,
    rows: PhantomData<fn(T)>,
}

impl<T, S> SortPartition<T, S> {
    pub(crate) fn new(by: Held<S>) -> Self {
        Self { by, rows: PhantomData }
    }
}

impl<T: ExchangeData, S: SortKey<T>> Operator for SortPartition<T, S> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(Sorting {
            input: Some(inputs.narrow::<T>(0, partition)?),
            sorted: None,
            by: Arc::clone(&self.by.0),
            marker: inputs.marker(),
            task: inputs.task().clone(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct Sorting<T, S: SortKey<T>> {
    /// Until it is read.
    input: Option<BoxStream<T>>,
    sorted: Option<Sorted<T, S>>,
    by: Arc<S>,
    marker: Marker,
    task: TaskContext,
}

enum Sorted<T, S: SortKey<T>> {
    InMemory(IterStream<vec::IntoIter<T>>, #[allow(dead_code, reason = "held until the rows are given out")] Claim),
    Merged(Merge<T, S>),
}

/// Rows in order, in memory or on disk.
type SortedRun<T> = Vec<Segment<T>>;

impl<T: ExchangeData, S: SortKey<T>> Sorting<T, S> {
    /// Reads the input, and sorts as much of it at a time as there is room for.
    fn sort(&self, mut input: BoxStream<T>) -> Result<Sorted<T, S>, TaskError> {
        let workspace = self.task.workspace();
        let (mut batches, mut runs, mut claim) = (Vec::new(), Vec::new(), Claim::new(workspace));
        let mut spillable = true;
        while let Some(batch) = input.next()? {
            self.task.check_cancelled()?;
            // Rows are gathered, then moved together, and the sort works with half of a copy.
            let bytes = size::estimate(batch.as_slice()) + mem::size_of_val(batch.as_slice()) as u64;
            batches.push(batch);
            if claim.grow(bytes) {
                continue;
            }
            claim.force(bytes);
            if !spillable || claim.bytes() < workspace.unit() {
                continue;
            }
            self.marker.enter();
            let run = Segment::from(self.sort_in_memory(mem::take(&mut batches)));
            match segments::spill([&[run.clone()][..]], workspace.space()) {
                Ok(spilled) => {
                    runs.push(spilled.into_iter().flatten().collect());
                    claim.shrink(claim.bytes());
                }
                // They can only stay in memory.
                Err(SpillError::Rows { .. }) => {
                    runs.push(vec![run]);
                    spillable = false;
                }
                Err(error @ SpillError::Io(_)) => return Err(workspace.failed(error)),
            }
        }
        self.marker.enter();
        let rows = self.sort_in_memory(batches);
        if runs.is_empty() {
            return Ok(Sorted::InMemory(IterStream::new(rows.into_iter(), self.task.batch_rows_of::<T>()), claim));
        }
        runs.push(vec![Segment::from(rows)]);
        while runs.len() > MERGED_RUNS {
            let mut merged = Vec::with_capacity(runs.len().div_ceil(MERGED_RUNS));
            let mut left = runs.into_iter();
            while left.len() > 0 {
                merged.push(self.merge_to_disk(left.by_ref().take(MERGED_RUNS).collect())?);
            }
            runs = merged;
        }
        Ok(Sorted::Merged(Merge::new(runs, &self.by, self.task.batch_rows_of::<T>(), claim)?))
    }

    fn sort_in_memory(&self, batches: Vec<Batch<T>>) -> Vec<T> {
        let mut rows = Vec::with_capacity(batches.iter().map(Batch::len).sum());
        for batch in batches {
            match batch {
                Batch::Owned(mut owned) => rows.append(&mut owned),
                Batch::Shared(shared) => rows.extend_from_slice(shared.as_slice()),
            }
        }
        self.by.sort(&mut rows);
        rows
    }

    /// One run of several that follow each other.
    fn merge_to_disk(&self, runs: Vec<SortedRun<T>>) -> Result<SortedRun<T>, TaskError> {
        let workspace = self.task.workspace();
        let mut merge = Merge::new(runs, &self.by, self.task.batch_rows_of::<T>(), Claim::new(workspace))?;
        let mut run = RowBuffer::new(workspace, Keep::OnDisk);
        while let Some(rows) = merge.next()? {
            self.task.check_cancelled()?;
            run.push(rows.into())?;
        }
        Ok(run.finish()?.0)
    }
}

impl<T: ExchangeData, S: SortKey<T>> Stream<T> for Sorting<T, S> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        if let Some(input) = self.input.take() {
            self.sorted = Some(self.sort(input)?);
        }
        self.task.check_cancelled()?;
        match &mut self.sorted {
            None => Ok(None),
            Some(Sorted::InMemory(rows, _)) => rows.next(),
            Some(Sorted::Merged(merge)) => {
                self.marker.enter();
                Ok(merge.next()?.map(Batch::Owned))
            }
        }
    }
}

/// Runs that are merged at once: a frame of each is in memory.
const MERGED_RUNS: usize = 64;

/// The rows of several runs in order; of equal keys, those of earlier runs first.
struct Merge<T, S: SortKey<T>> {
    runs: Vec<RunReader<T>>,
    /// The first key that is left of each run.
    heads: BinaryHeap<Reverse<(S::Key, usize)>>,
    by: Arc<S>,
    batch_rows: usize,
    _claim: Claim,
}

struct RunReader<T> {
    stream: SegmentStream<T>,
    rows: vec::IntoIter<T>,
    /// The row whose key is in the heap.
    head: Option<T>,
}

impl<T: ExchangeData> RunReader<T> {
    fn advance(&mut self) -> Result<Option<&T>, TaskError> {
        self.head = self.rows.next();
        while self.head.is_none() {
            let Some(batch) = self.stream.next()? else { return Ok(None) };
            self.rows = batch.into_vec().into_iter();
            self.head = self.rows.next();
        }
        Ok(self.head.as_ref())
    }
}

impl<T: ExchangeData, S: SortKey<T>> Merge<T, S> {
    fn new(runs: Vec<SortedRun<T>>, by: &Arc<S>, batch_rows: usize, claim: Claim) -> Result<Self, TaskError> {
        let reader = |segments| {
            let stream = SegmentStream::new(segments, batch_rows);
            RunReader { stream, rows: Vec::new().into_iter(), head: None }
        };
        let mut runs: Vec<RunReader<T>> = runs.into_iter().map(reader).collect();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (at, run) in runs.iter_mut().enumerate() {
            heads.extend(run.advance()?.map(|row| Reverse((by.key(row), at))));
        }
        Ok(Self { runs, heads, by: Arc::clone(by), batch_rows, _claim: claim })
    }

    fn next(&mut self) -> Result<Option<Vec<T>>, TaskError> {
        let mut rows = buffers::take();
        while rows.len() < self.batch_rows {
            let Some(Reverse((_, at))) = self.heads.pop() else { break };
            let run = &mut self.runs[at];
            rows.extend(run.head.take());
            self.heads.extend(run.advance()?.map(|row| Reverse((self.by.key(row), at))));
        }
        Ok((!rows.is_empty()).then_some(rows))
    }
}
