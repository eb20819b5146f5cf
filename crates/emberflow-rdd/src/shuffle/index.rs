//! The rows of one side of a join, by key.
//!
//! Unlike a table of keys it moves no row, and finds each of several rows of a key. A hit costs one slot and one row.

use emberflow_core::{
    data::{ExchangeData, Key},
    error::TaskError,
    memory::Claim,
    partitioner::KeyHasher,
    task::TaskContext,
};

use super::pieces::{Indexed, Piece};

/// The first row of each key in a slot, and from each row the next one of the same key.
///
/// Open addressing with linear probing over 8-byte slots (32 bits of hash, 32 bits of row number), at most half full.
pub(super) struct Index<K, W> {
    rows: Indexed<(K, W)>,
    slots: Vec<u64>,
    /// For each row, the number of the next one plus one; empty if no key has two rows.
    next: Vec<u32>,
    _claim: Claim,
}

const HASH_BITS: u64 = !0 << 32;

impl<K: Key, W: ExchangeData> Index<K, W> {
    /// The index of the rows of a piece, which are `what` in an error about a budget that is too small.
    ///
    /// # Panics
    /// If there are 2^32 - 1 rows or more.
    pub(super) fn new(
        piece: Piece<(K, W)>,
        what: &'static str,
        hasher: &KeyHasher,
        task: &TaskContext,
    ) -> Result<Self, TaskError> {
        let slots = (piece.rows() * 2).next_power_of_two();
        let mut claim = Claim::new(task.workspace());
        claim.require(piece.bytes_indexed() + (slots * 8) as u64, what)?;
        let (rows, slots) = (piece.indexed()?, vec![0; slots]);
        let mut index = Self { rows, slots, next: Vec::new(), _claim: claim };
        // From the last row to the first, so that every row goes to the head of its key's list.
        for row in (0..index.rows.len()).rev() {
            let key = &index.rows.at(row).0;
            let hash = hasher.hash(key);
            let (slot, next) = index.look_up(hash, key);
            let number = u32::try_from(row + 1).expect("fewer than 2^32 rows in one piece");
            index.slots[slot] = (hash & HASH_BITS) | u64::from(number);
            if let Some(next) = next {
                if index.next.is_empty() {
                    index.next.resize(index.rows.len(), 0);
                }
                // It was in a slot, whose numbers have 32 bits.
                index.next[row] = next as u32 + 1;
            }
        }
        Ok(index)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of this number.
    #[inline]
    pub(super) fn at(&self, row: usize) -> &(K, W) {
        self.rows.at(row)
    }

    /// The number of the first row that has this key.
    #[inline]
    pub(super) fn find(&self, key: &K, hasher: &KeyHasher) -> Option<usize> {
        self.look_up(hasher.hash(key), key).1
    }

    /// The number of the next row that has the same key.
    #[inline]
    pub(super) fn next(&self, row: usize) -> Option<usize> {
        if self.next.is_empty() { None } else { (self.next[row] as usize).checked_sub(1) }
    }

    /// The key's slot, and the row that it names, if it is taken.
    #[inline]
    fn look_up(&self, hash: u64, key: &K) -> (usize, Option<usize>) {
        let mask = self.slots.len() - 1;
        // By its upper half, which is the one that slots keep.
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return (at, None);
            }
            if (slot ^ hash) & HASH_BITS == 0 {
                let row = (slot & !HASH_BITS) as usize - 1;
                if self.rows.at(row).0 == *key {
                    return (at, Some(row));
                }
            }
            at = (at + 1) & mask;
        }
    }
}
