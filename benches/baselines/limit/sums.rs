//! W3: summing by key.
//! Called by: the bench runner.
//! Never: combines before it moves rows; or asks anything of the keys but that their hashes differ in the leading bits.

use super::super::Summary;
use super::super::data::GOLDEN;
use super::{Turns, on_each, on_threads};
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
    let mut room = vec![(0, 0); rows.len()];
    let shares: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).collect();
    ask_for_huge_pages(&mut room);
    let lens: Vec<Vec<usize>> = on_each(&shares, |share| part_lens(share));
    // Part by part, and in each part share by share, so that a part is one slice in the end.
    let mut targets: Vec<Vec<&mut [(u64, u64)]>> = shares.iter().map(|_| Vec::new()).collect();
    let mut rest = &mut room[..];
    for part in 0..1 << PART_BITS {
        for (lens, targets) in lens.iter().zip(&mut targets) {
            targets.push(rest.split_off_mut(..lens[part]).expect("the lengths add up to all rows"));
        }
    }
    on_each(shares.iter().zip(targets), |(share, mut targets)| move_rows(share, &mut targets));
    let mut rest = &room[..];
    let parts: Vec<_> = (0..1 << PART_BITS)
        .map(|part| {
            let len = lens.iter().map(|lens| lens[part]).sum();
            rest.split_off(..len).expect("the lengths add up to all rows")
        })
        .collect();
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

fn part_lens(rows: &[(u64, u64)]) -> Vec<usize> {
    let mut lens = vec![0; 1 << PART_BITS];
    rows.iter().for_each(|&(key, _)| lens[part_of(key)] += 1);
    lens
}

/// Moves each row to the next place in its part. Small buffers in between were tried: slower, without stores that
/// bypass the cache.
fn move_rows(rows: &[(u64, u64)], parts: &mut [&mut [(u64, u64)]]) {
    let mut filled = vec![0; parts.len()];
    for &row in rows {
        let part = part_of(row.0);
        let at: usize = filled[part];
        parts[part][at] = row;
        filled[part] = at + 1;
    }
}

/// Lets the kernel back `rows`, as yet untouched, by pages of 2 MiB: moving the rows takes a third of the time (0.15 s
/// for 0.50 s), and giving the room back nothing (0.003 s for 0.09 s). Without effect elsewhere than on Linux.
fn ask_for_huge_pages(rows: &mut [(u64, u64)]) {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C" {
            fn madvise(start: *mut std::ffi::c_void, len: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
        }
        const PAGE: usize = 4096;
        const MADV_HUGEPAGE: std::ffi::c_int = 14;
        let bytes = rows.as_mut_ptr_range();
        let start = bytes.start.map_addr(|address| address.next_multiple_of(PAGE));
        let len = bytes.end.addr().saturating_sub(start.addr());
        // SAFETY: the whole pages between `start` and `start + len` belong to `rows`, and this advice changes neither
        // their contents nor whether they may be read and written. A refusal (a kernel without such pages) is fine.
        let _refused = unsafe { madvise(start.cast(), len, MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = rows;
}

/// Spreads neighbouring keys as evenly as can be (Fibonacci hashing); the leading bits are the best.
#[inline]
fn spread(key: u64) -> u64 {
    key.wrapping_mul(GOLDEN)
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
