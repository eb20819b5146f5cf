//! The hash tables of the wide operators: entries in the order in which their keys first came, and an index over them.
//!
//! Output in first-come order is the same on every platform and for every capacity, which a general hash map does not
//! promise. A hit costs one slot and one entry.

use std::mem;

/// Where a combiner is kept, and how it is replaced by what the user's function makes of it.
pub(super) trait Cell<C> {
    fn new(value: C) -> Self;

    fn update(&mut self, f: impl FnOnce(C) -> C);

    fn into_inner(self) -> Option<C>;
}

/// For values that own nothing: the function gets a copy, and the cell is as small as the value.
pub(super) struct Plain<C>(C);

impl<C: Clone> Cell<C> for Plain<C> {
    #[inline]
    fn new(value: C) -> Self {
        Self(value)
    }

    #[inline]
    fn update(&mut self, f: impl FnOnce(C) -> C) {
        self.0 = f(self.0.clone());
    }

    fn into_inner(self) -> Option<C> {
        Some(self.0)
    }
}

/// For values that own something: the function gets the value itself. Should it panic, the cell stays empty and the
/// whole table is dropped with its task. No larger than the value where that has a niche, as strings and vectors do.
pub(super) struct Taken<C>(Option<C>);

impl<C> Cell<C> for Taken<C> {
    fn new(value: C) -> Self {
        Self(Some(value))
    }

    fn update(&mut self, f: impl FnOnce(C) -> C) {
        self.0 = self.0.take().map(f);
    }

    fn into_inner(self) -> Option<C> {
        self.0
    }
}

/// The index: open addressing with linear probing over 8-byte slots (32 bits of hash, 32 bits of entry number), at most
/// half full. What an entry is, its owner knows.
pub(super) struct Slots {
    slots: Vec<u64>,
    mask: usize,
    used: usize,
}

/// An entry with the right hash, or none.
#[derive(Clone, Copy)]
pub(super) struct Candidate(u64);

const FIRST_SLOTS: usize = 16;
const HASH_BITS: u64 = !0 << 32;

impl Slots {
    pub(super) fn new() -> Self {
        Self::with_room(0)
    }

    /// With room for so many entries.
    pub(super) fn with_room(entries: usize) -> Self {
        let size = (entries * 2).next_power_of_two().max(FIRST_SLOTS);
        Self { slots: vec![0; size], mask: size - 1, used: 0 }
    }

    /// Slot and number of the entry that `is_it` recognises, or else the free slot where it belongs.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Result<(usize, usize), usize> {
        let mut at = position(hash, self.mask);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(at);
            }
            if (slot ^ hash) & HASH_BITS == 0 {
                let entry = (slot & !HASH_BITS) as usize - 1;
                if is_it(entry) {
                    return Ok((at, entry));
                }
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Puts an entry into the free slot that [`find`](Self::find) has just named.
    ///
    /// # Panics
    /// If the entry's number is 2^32 - 1 or more: a partition of that many is split by its caller.
    #[inline]
    pub(super) fn insert(&mut self, free: usize, hash: u64, entry: usize) {
        self.replace(free, hash, entry);
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
    }

    /// Puts another entry of the same key into a slot.
    #[inline]
    pub(super) fn replace(&mut self, slot: usize, hash: u64, entry: usize) {
        let entry = u32::try_from(entry + 1).expect("fewer than 2^32 entries in one table");
        self.slots[slot] = (hash & HASH_BITS) | u64::from(entry);
    }

    /// Forgets all entries.
    fn clear(&mut self) {
        self.slots.fill(0);
        self.used = 0;
    }

    /// Doubles the index. The slots hold all of the hash that places them, so no key is hashed again.
    #[cold]
    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let old = mem::replace(&mut self.slots, vec![0; size]);
        self.mask = size - 1;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = position(slot, self.mask);
            while self.slots[at] != 0 {
                at = (at + 1) & self.mask;
            }
            self.slots[at] = slot;
        }
    }
}

/// Where a hash belongs: by its upper half, which is the one that slots keep.
#[inline]
fn position(hash: u64, mask: usize) -> usize {
    (hash >> 32) as usize & mask
}

/// Keys with what has been combined for each.
pub(super) struct Table<K, S> {
    entries: Vec<(K, S)>,
    index: Slots,
}

impl<K, S> Table<K, S> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), index: Slots::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of the key that `is_key` recognises, or the free slot where it belongs.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, is_key: impl Fn(&K) -> bool) -> Result<&mut S, usize> {
        let (_, entry) = self.index.find(hash, |entry| is_key(&self.entries[entry].0))?;
        Ok(&mut self.entries[entry].1)
    }

    /// Whether the table has outgrown the inner caches, so that [`probe`](Self::probe) pays.
    pub(super) fn is_large(&self) -> bool {
        const INNER_CACHE_BYTES: usize = 256 << 10;
        let slots = self.index.slots.as_slice();
        mem::size_of_val(slots) + mem::size_of_val(self.entries.as_slice()) > INNER_CACHE_BYTES
    }

    /// Looks up many hashes at once: for each, the entry that probably has it.
    ///
    /// One lookup in a large table is two or three cache misses, one after the other. Here each loop misses on its own:
    /// no load waits for another row's, so that the processor has many of them under way at a time.
    pub(super) fn probe(&self, hashes: &[u64], found: &mut Vec<Candidate>) {
        let Slots { slots, mask, .. } = &self.index;
        found.clear();
        found.extend(hashes.iter().map(|hash| Candidate(slots[position(*hash, *mask)])));
        for (candidate, hash) in found.iter_mut().zip(hashes) {
            let mut at = position(*hash, *mask);
            while candidate.0 != 0 && (candidate.0 ^ hash) & HASH_BITS != 0 {
                at = (at + 1) & mask;
                candidate.0 = slots[at];
            }
        }
    }

    /// The value of the entry that [`probe`](Self::probe) found, if it is the key that `is_key` recognises.
    #[inline]
    pub(super) fn get(&mut self, candidate: Candidate, is_key: impl Fn(&K) -> bool) -> Option<&mut S> {
        let entry = ((candidate.0 & !HASH_BITS) as usize).checked_sub(1)?;
        let (key, value) = &mut self.entries[entry];
        is_key(key).then_some(value)
    }

    /// Puts a new key into the free slot that [`find`](Self::find) has just named.
    ///
    /// # Panics
    /// If there are 2^32 - 1 keys: a partition of that many is split by its caller.
    #[inline]
    pub(super) fn insert(&mut self, free: usize, hash: u64, key: K, value: S) {
        self.index.insert(free, hash, self.entries.len());
        self.entries.push((key, value));
    }

    /// Takes the entries out, in the order in which they came, and leaves the table empty for the next ones.
    pub(super) fn take(&mut self) -> Vec<(K, S)> {
        self.index.clear();
        mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use emberflow_core::partitioner::KeyHasher;
    use proptest::prelude::*;

    use super::*;

    fn count(keys: &[u16], hash: impl Fn(&u16) -> u64) -> Vec<(u16, u64)> {
        let mut table: Table<u16, Plain<u64>> = Table::new();
        for key in keys {
            let hash = hash(key);
            match table.find(hash, |k| k == key) {
                Ok(cell) => cell.update(|n| n + 1),
                Err(free) => table.insert(free, hash, *key, Plain::new(1)),
            }
        }
        table.take().into_iter().map(|(key, cell)| (key, cell.into_inner().unwrap())).collect()
    }

    proptest! {
        #[test]
        fn a_table_counts_as_a_map_does_in_first_come_order(keys in prop::collection::vec(0_u16..400, 0..2000)) {
            let hasher = KeyHasher::new(0);
            let counted = count(&keys, |key| hasher.hash(key));
            // The worst hash of all changes the cost, never the result.
            prop_assert_eq!(&counted, &count(&keys, |_| 7));
            let mut model: HashMap<u16, u64> = HashMap::new();
            let mut order = Vec::new();
            for key in keys {
                let n = model.entry(key).or_insert(0);
                *n += 1;
                if *n == 1 {
                    order.push(key);
                }
            }
            prop_assert_eq!(counted, order.into_iter().map(|key| (key, model[&key])).collect::<Vec<_>>());
        }
    }
}
