//! W3: summing by key.
//! Called by: the bench runner.
//! Never: combines before it moves rows; or asks anything of the keys but that their hashes differ in the leading bits.

use super::super::Summary;
use super::parts::{MovedRows, spread};
use super::{Turns, on_threads};
use std::hint::select_unpredictable;

/// W3a: the sum of each key's values, for few keys.
///
/// Knows that a table of all keys fits the first-level cache. Limited by the memory bus.
pub fn w3a(rows: &[(u64, u64)], threads: usize) -> Summary {
    const STEP: usize = 1 << 16;
    let turns = Turns::new(rows.len().div_ceil(STEP));
    let tables = on_threads(threads, || {
        let mut sums = SumTable::new(0, 1 << 11);
        turns
            .take()
            .for_each(|turn| sums.add_all(rows[turn * STEP..rows.len().min((turn + 1) * STEP)].iter().copied()));
        sums
    });
    let mut all = SumTable::new(0, 1 << 11);
    tables.iter().for_each(|table| all.add_all(table.rows()));
    all.summary()
}

/// Leading bits of the hash that choose a part in W3b: 512 parts, so that a part's table stays in the second-level
/// cache and the address of each part's next page in the TLB.
const PART_BITS: u32 = 9;

/// W3b: the sum of each key's values, for many keys.
///
/// Moves the rows into parts by the hash of their keys, then adds up part by part. Knows that each key has few rows,
/// so that summing before moving gains nothing. Limited by the first touch of the room for the moved rows, then by the
/// memory bus.
pub fn w3b(rows: &[(u64, u64)], threads: usize) -> Summary {
    let mut room = MovedRows::new(rows.len());
    let parts = room.fill(rows, threads, 1 << PART_BITS, |&(key, _)| part_of(key));
    let turns = Turns::new(parts.len());
    let summaries = on_threads(threads, || {
        let mut sums = SumTable::new(PART_BITS, 1 << 15);
        let mut summary = Summary::default();
        for turn in turns.take() {
            sums.clear();
            sums.add_all(parts[turn].iter().copied());
            summary = summary.merge(sums.summary());
        }
        summary
    });
    summaries.into_iter().fold(Summary::default(), Summary::merge)
}

/// The part of a row with this key.
#[inline]
fn part_of(key: u64) -> usize {
    (spread(key) >> (u64::BITS - PART_BITS)) as usize
}

/// Sums by key: open addressing, the next slot on a collision. An empty slot has key 0; key 0 is kept aside.
struct SumTable {
    slots: Vec<(u64, u64)>,
    len: usize,
    zero: Option<u64>,
    /// Leading bits of the hash that all keys share.
    shared: u32,
}

impl SumTable {
    /// An empty table of `size` slots, a power of two.
    fn new(shared: u32, size: usize) -> SumTable {
        SumTable { slots: vec![(0, 0); size], len: 0, zero: None, shared }
    }

    fn clear(&mut self) {
        self.slots.fill((0, 0));
        self.len = 0;
        self.zero = None;
    }

    #[inline]
    fn add_all(&mut self, rows: impl IntoIterator<Item = (u64, u64)>) {
        for (key, value) in rows {
            let home = self.home(key);
            let slot = &mut self.slots[home];
            // Most rows find their key at once. Taking this branch out, by giving new keys the same way as known ones,
            // was tried: half as long again, since each row then waits for the key that the row before it stored.
            if slot.0 == key && key != 0 {
                slot.1 = slot.1.wrapping_add(value);
            } else {
                self.add_elsewhere(home, key, value);
            }
        }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        ((spread(key) << self.shared) >> (u64::BITS - self.slots.len().trailing_zeros())) as usize
    }

    fn add_elsewhere(&mut self, mut at: usize, key: u64, value: u64) {
        if key == 0 {
            self.zero = Some(self.zero.unwrap_or(0).wrapping_add(value));
            return;
        }
        let mask = self.slots.len() - 1;
        while self.slots[at].0 != key {
            if self.slots[at].0 == 0 {
                self.slots[at].0 = key;
                self.len += 1;
                break;
            }
            at = (at + 1) & mask;
        }
        self.slots[at].1 = self.slots[at].1.wrapping_add(value);
        if self.len > mask / 4 * 3 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mut bigger = SumTable::new(self.shared, 2 * self.slots.len());
        bigger.add_all(self.rows());
        *self = bigger;
    }

    fn rows(&self) -> impl Iterator<Item = (u64, u64)> {
        self.slots.iter().copied().filter(|slot| slot.0 != 0).chain(self.zero.map(|sum| (0, sum)))
    }

    fn summary(&self) -> Summary {
        let mut all = self.zero.map_or(Summary::default(), |sum| Summary::of(0, sum));
        for &(key, sum) in &self.slots {
            all = all.merge(select_unpredictable(key != 0, Summary::of(key, sum), Summary::default()));
        }
        all
    }
}
