//! Rows combined by key before they are shuffled.
//!
//! A table combines the rows of a partition. Every 65,536 rows it is asked whether that pays: if there are nearly as
//! many keys as rows, combining stops for this partition, and the rest passes as it is. If the table has outgrown
//! [`TABLE_ROWS`], or what it owns [`TABLE_HEAP_BYTES`], it is written out and begun anew. All this is decided by rows alone, so that the tree in which values
//! are merged, and with it a floating-point sum, depends on the data and on nothing else.
//!
//! A row's key is only kept if it is new: rows may be owned, somebody else's, or a value with a key that is borrowed
//! from something longer.

use std::{any::Any, borrow::Borrow, fmt, mem, slice, sync::Arc, vec};

use emberflow_core::{
    batch::AnyStream,
    blocks::{BlockWriter, Blocks},
    data::{ExchangeData, Key},
    error::TaskError,
    fingerprint::Fingerprint,
    ids::PartitionIndex,
    memory::{Claim, Workspace},
    partitioner::KeyHasher,
    segments::Footprint,
    spill::{SpillError, SpillSpace},
    store::{Stored, StoredData},
    wire::{Arrived, Give},
};

use super::{
    Aggregator, Partitioning,
    short::{BorrowedKey, Short, ShortTable},
    table::{Cell, Table},
};

/// Rows between two looks at whether combining pays.
const LOOK_ROWS: usize = 1 << 16;
/// Pairs that are merged at once: what is noted of them stays in the innermost cache.
const PROBE_ROWS: usize = 512;
/// Keys beyond which a map-side table is written out.
const TABLE_ROWS: usize = 1 << 18;
/// The bytes that the keys and values in it may own before it is.
const TABLE_HEAP_BYTES: u64 = 8 << 20;
/// Rows between two looks at what they own, at least.
const HEAP_LOOK_ROWS: u64 = 1 << 10;

/// Whether rows are combined before the shuffle.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum MapSide {
    /// Rows are combined while it pays.
    Combine,
    /// No row is combined, since that would not shrink them.
    Pass,
}

/// The blocks that a map task gives to its reducers.
pub(super) struct CombineBlocks<K, V, C> {
    pub(super) combined: Blocks<(K, C)>,
    pub(super) passed: Blocks<(K, V)>,
}

/// The two kinds of rows in pieces for another process.
const COMBINED: u8 = 0;
const PASSED: u8 = 1;

impl<K: Key, V: ExchangeData, C: ExchangeData> CombineBlocks<K, V, C> {
    /// The blocks in pieces from another process.
    pub(super) fn unpack(pieces: &[Arrived]) -> Result<Stored, TaskError> {
        let blocks = Self { combined: Blocks::unpack(COMBINED, pieces)?, passed: Blocks::unpack(PASSED, pieces)? };
        Ok(Stored::new(blocks.footprint(), blocks))
    }

    fn footprint(&self) -> Footprint {
        self.combined.footprint() + self.passed.footprint()
    }
}

impl<K: Key, V: ExchangeData, C: ExchangeData> StoredData for CombineBlocks<K, V, C> {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn has_block(&self, reducer: PartitionIndex) -> bool {
        self.combined.has(reducer) || self.passed.has(reducer)
    }

    fn holds(&self, reducer: PartitionIndex) -> Footprint {
        self.combined.footprint_of(reducer) + self.passed.footprint_of(reducer)
    }

    fn spill(&self, space: &dyn SpillSpace) -> Result<Option<(Arc<dyn StoredData>, Footprint)>, SpillError> {
        let blocks = Self { combined: self.combined.spilled(space)?, passed: self.passed.spilled(space)? };
        let footprint = blocks.footprint();
        Ok(Some((Arc::new(blocks), footprint)))
    }

    fn is_damaged(&self) -> bool {
        self.combined.are_damaged() || self.passed.are_damaged()
    }

    fn check(&self) {
        self.combined.check();
        self.passed.check();
    }

    fn fingerprint(&self) -> Fingerprint {
        self.combined.fingerprint().and(self.passed.fingerprint())
    }

    fn pack(&self, reader: Option<PartitionIndex>, give: &mut Give<'_>) -> Result<(), TaskError> {
        self.combined.pack(COMBINED, reader, give)?;
        self.passed.pack(PASSED, reader, give)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The pairs that a row is turned into: each a value, and a key that may be borrowed from the row. They are merged a few
/// hundred at a time. See [`flat_map_reduce_by_key`](crate::Rdd::flat_map_reduce_by_key).
pub struct Pairs<'a, Q: ?Sized, V> {
    pairs: Emitted<'a, Q, V>,
    room: NextMerge,
    merge: &'a mut dyn FnMut(&mut Emitted<'a, Q, V>) -> NextMerge,
}

impl<Q: ?Sized, V> fmt::Debug for Pairs<'_, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairs").field("room", &self.room.pairs).finish_non_exhaustive()
    }
}

/// How many pairs are merged together next, and whether those with short keys come first. They do while pairs are
/// combined; rows that pass keep their order, wherever batches end.
#[derive(Clone, Copy)]
pub(super) struct NextMerge {
    pairs: usize,
    parted: bool,
}

/// Pairs, parted by whether their keys are short.
pub(super) struct Emitted<'a, Q: ?Sized, V> {
    short: Vec<(Short, V)>,
    other: Vec<Pair<'a, Q, V>>,
}

impl<'a, Q: BorrowedKey + ?Sized, V> Pairs<'a, Q, V> {
    /// Pairs that are given to `merge`, first `room` of them, and then as many as it returns.
    pub(super) fn new(room: NextMerge, merge: &'a mut dyn FnMut(&mut Emitted<'a, Q, V>) -> NextMerge) -> Self {
        Self { pairs: Emitted { short: Vec::with_capacity(room.pairs), other: Vec::new() }, room, merge }
    }

    /// Adds a pair.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec!["a=1".to_owned(), "b=2".to_owned(), "a=3".to_owned()]);
    /// let sums: Rdd<(String, i64)> = rows.flat_map_reduce_by_key(
    ///     |row, pairs| {
    ///         if let Some((key, value)) = row.split_once('=') {
    ///             pairs.push(key, value.parse::<i64>().unwrap_or(0));
    ///         }
    ///     },
    ///     |a, b| a + b,
    /// );
    /// assert_eq!(sums.collect_as_map()?["a"], 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn push(&mut self, key: &'a Q, value: V) {
        match key.bytes_of_key().and_then(Short::new) {
            Some(key) if self.room.parted => self.pairs.short.push((key, value)),
            _ => self.pairs.other.push(Pair { key, value }),
        }
        self.room.pairs -= 1;
        if self.room.pairs == 0 {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        self.room = (self.merge)(&mut self.pairs);
    }
}

/// A value and its key, which is borrowed from a row.
pub(super) struct Pair<'a, Q: ?Sized, V> {
    key: &'a Q,
    value: V,
}

/// A row of whatever kind that is to be merged.
pub(super) trait Entry<K, V>: Sized {
    fn is(&self, key: &K) -> bool;

    fn hash(&self, hasher: &KeyHasher) -> u64;

    fn value(self) -> V;

    fn into_pair(self) -> (K, V);
}

impl<K: Key, V> Entry<K, V> for (K, V) {
    #[inline]
    fn is(&self, key: &K) -> bool {
        self.0 == *key
    }

    #[inline]
    fn hash(&self, hasher: &KeyHasher) -> u64 {
        hasher.hash(&self.0)
    }

    #[inline]
    fn value(self) -> V {
        self.1
    }

    #[inline]
    fn into_pair(self) -> (K, V) {
        self
    }
}

impl<K: Key, V: Clone> Entry<K, V> for &(K, V) {
    #[inline]
    fn is(&self, key: &K) -> bool {
        self.0 == *key
    }

    #[inline]
    fn hash(&self, hasher: &KeyHasher) -> u64 {
        hasher.hash(&self.0)
    }

    #[inline]
    fn value(self) -> V {
        self.1.clone()
    }

    #[inline]
    fn into_pair(self) -> (K, V) {
        self.clone()
    }
}

impl<'a, K, Q, V> Entry<K, V> for Pair<'a, Q, V>
where
    K: Borrow<Q> + From<&'a Q>,
    Q: BorrowedKey + ?Sized,
{
    #[inline]
    fn is(&self, key: &K) -> bool {
        self.key == key.borrow()
    }

    #[inline]
    fn hash(&self, hasher: &KeyHasher) -> u64 {
        hasher.hash(self.key)
    }

    #[inline]
    fn value(self) -> V {
        self.value
    }

    #[inline]
    fn into_pair(self) -> (K, V) {
        (self.key.into(), self.value)
    }
}

/// Rows that come one by one.
pub(super) trait Entries<K, V>: Iterator<Item: Entry<K, V>> {
    /// How many are left.
    fn left(&self) -> usize;

    /// The next ones, so many of them.
    fn take_next(&mut self, rows: usize) -> impl Iterator<Item = Self::Item>;
}

impl<K, V, R: Entry<K, V>> Entries<K, V> for vec::Drain<'_, R> {
    fn left(&self) -> usize {
        self.as_slice().len()
    }

    fn take_next(&mut self, rows: usize) -> impl Iterator<Item = R> {
        self.by_ref().take(rows)
    }
}

impl<'a, K, V, R> Entries<K, V> for slice::Iter<'a, R>
where
    &'a R: Entry<K, V>,
{
    fn left(&self) -> usize {
        self.as_slice().len()
    }

    fn take_next(&mut self, rows: usize) -> impl Iterator<Item = &'a R> {
        let (next, rest) = self.as_slice().split_at(rows);
        *self = rest.iter();
        next.iter()
    }
}

/// One map task's combining.
pub(super) struct Combining<'a, K, V, C, A, S> {
    aggregator: &'a A,
    hasher: &'a KeyHasher,
    partitioning: &'a Partitioning<K>,
    table: Table<K, S>,
    /// Beside it, if keys are borrowed, those that are short texts.
    short: Option<ShortTable<K, S>>,
    /// Whether it still pays.
    on: bool,
    /// Rows that the tables have seen, how many it will be when they are looked at next, and when it is asked whether
    /// combining pays.
    seen: usize,
    next_look: usize,
    next_verdict: usize,
    /// The tables' room.
    claim: Claim,
    combined: BlockWriter<(K, C)>,
    passed: BlockWriter<(K, V)>,
}

impl<'a, K, V, C, A, S> Combining<'a, K, V, C, A, S>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
    S: Cell<C>,
{
    pub(super) fn new(
        aggregator: &'a A,
        hasher: &'a KeyHasher,
        partitioning: &'a Partitioning<K>,
        map_side: MapSide,
        workspace: &Arc<dyn Workspace>,
    ) -> Self {
        let partitions = partitioning.placement().partitions();
        Self {
            aggregator,
            hasher,
            partitioning,
            table: Table::new(),
            short: None,
            on: map_side == MapSide::Combine,
            seen: 0,
            next_look: if mem::needs_drop::<(K, C)>() { HEAP_LOOK_ROWS as usize } else { LOOK_ROWS },
            next_verdict: LOOK_ROWS,
            claim: Claim::new(workspace),
            combined: BlockWriter::new(partitions, workspace),
            passed: BlockWriter::new(partitions, workspace),
        }
    }

    /// Adds all of `rows`.
    pub(super) fn add(&mut self, mut rows: impl Entries<K, V>) {
        while self.on && rows.left() > 0 {
            let next = rows.left().min(self.next_look - self.seen);
            let (hasher, aggregator, table) = (self.hasher, self.aggregator, &mut self.table);
            for row in rows.take_next(next) {
                merge(table, aggregator, hasher, row);
            }
            self.seen += next;
            self.look();
        }
        for row in rows {
            let (key, value) = row.into_pair();
            self.passed.push(self.partitioning.partition(&key), (key, value));
        }
    }

    /// How many pairs may be [added](Self::add_borrowed) together, at least one: the tables are looked at between them.
    pub(super) fn room(&self) -> NextMerge {
        let pairs = if self.on { PROBE_ROWS.min(self.next_look - self.seen) } else { PROBE_ROWS };
        NextMerge { pairs, parted: self.on }
    }

    /// Adds all of `pairs`, at most as many as there is [room](Self::room) for.
    pub(super) fn add_borrowed<Q>(&mut self, pairs: &mut Emitted<'_, Q, V>)
    where
        K: Borrow<Q> + for<'k> From<&'k Q>,
        Q: BorrowedKey + ?Sized,
    {
        if !pairs.short.is_empty() {
            let (hasher, aggregator) = (self.hasher, self.aggregator);
            let short = self.short.get_or_insert_with(|| {
                let own = |bytes: &[u8]| K::from(Q::from_bytes(bytes).expect("what BorrowedKey::bytes_of_key gave"));
                ShortTable::new(hasher, own)
            });
            self.seen += pairs.short.len();
            short.merge(
                &mut pairs.short,
                |value| aggregator.create(value),
                |sum, value| aggregator.merge_value(sum, value),
            );
        }
        self.add(pairs.other.drain(..));
        self.look();
    }

    /// Decides whether combining goes on, and whether the table does.
    fn look(&mut self) {
        if !self.on || self.seen < self.next_look {
            return;
        }
        let keys = self.table.len() + self.short.as_ref().map_or(0, ShortTable::len);
        let heap = self.table.heap_bytes();
        self.claim.set(self.table.slot_bytes() + heap + self.short.as_ref().map_or(0, ShortTable::slot_bytes));
        let full = keys > TABLE_ROWS || heap > TABLE_HEAP_BYTES;
        if full || self.seen >= self.next_verdict {
            self.on = keys * 10 <= self.seen * 8;
            self.next_verdict = self.seen + LOOK_ROWS;
        }
        if !self.on || full {
            self.flush();
            (self.seen, self.next_verdict) = (0, LOOK_ROWS);
        }
        if !self.on {
            (self.table, self.short) = (Table::new(), None);
            self.claim.set(0);
        }
        self.next_look = self.next_verdict;
        if mem::needs_drop::<(K, C)>() {
            // Rows that own much are looked at more often, so that they cannot outgrow the limit by far.
            let rows = TABLE_HEAP_BYTES * keys.max(1) as u64 / heap.max(1);
            let rows = rows.clamp(HEAP_LOOK_ROWS, LOOK_ROWS as u64) as usize;
            self.next_look = self.next_verdict.min(self.seen + rows);
        }
    }

    /// Takes room for what was written, or writes it to disk if there is none. To be called once a batch.
    pub(super) fn settle(&mut self) -> Result<(), TaskError> {
        self.combined.settle()?;
        self.passed.settle()
    }

    fn flush(&mut self) {
        let (combined, partitioning) = (&mut self.combined, self.partitioning);
        let mut push = |key, cell: S| {
            if let Some(value) = cell.into_inner() {
                combined.push(partitioning.partition(&key), (key, value));
            }
        };
        if let Some(short) = &mut self.short {
            short.drain(&mut push);
        }
        self.table.drain().for_each(|(key, cell)| push(key, cell));
    }

    /// The blocks that have been written.
    pub(super) fn finish(mut self) -> Stored {
        self.flush();
        let ((combined, _combined_room), (passed, _passed_room)) = (self.combined.finish(), self.passed.finish());
        let blocks = CombineBlocks { combined, passed };
        Stored::new(blocks.footprint(), blocks)
    }
}

/// Merges one row into the table.
#[inline]
pub(super) fn merge<K, V, C, A, S>(table: &mut Table<K, S>, aggregator: &A, hasher: &KeyHasher, row: impl Entry<K, V>)
where
    K: Key,
    A: Aggregator<V, C>,
    S: Cell<C>,
{
    let hash = row.hash(hasher);
    match table.find(hash, |key| row.is(key)) {
        Some(cell) => cell.update(|sum| aggregator.merge_value(sum, row.value())),
        None => {
            let (key, value) = row.into_pair();
            table.insert(hasher, hash, key, S::new(aggregator.create(value)));
        }
    }
}
