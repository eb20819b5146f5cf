//! The hash table of the wide operators: keys with what has been combined for each.
//!
//! It is hashbrown's, the table of the standard library, with the hash given from outside.

use std::{hash::Hash, mem};

use emberflow_core::{partitioner::KeyHasher, size};
use hashbrown::HashTable;
use serde::Serialize;

/// Entries that are asked for what they own.
const SIZED_ENTRIES: usize = 32;

/// Where a combiner is kept, and how it is replaced by what the user's function makes of it.
pub(super) trait Cell<C> {
    fn new(value: C) -> Self;

    fn update(&mut self, f: impl FnOnce(C) -> C);

    fn into_inner(self) -> Option<C>;

    /// The value, to look at.
    fn get(&self) -> Option<&C>;
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

    fn get(&self) -> Option<&C> {
        Some(&self.0)
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

    fn get(&self) -> Option<&C> {
        self.0.as_ref()
    }
}

/// Keys with what has been combined for each, side by side in one slot, so that a hit costs one line of the cache.
///
/// On one kind of processor, entries come out in an order that depends on the keys and on when they came, and on nothing
/// else.
pub(super) struct Table<K, S> {
    entries: HashTable<(K, S)>,
}

impl<K, S> Table<K, S> {
    pub(super) fn new() -> Self {
        Self { entries: HashTable::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of the key that `is_key` recognises.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<&mut S> {
        self.entries.find_mut(hash, |(key, _)| is_key(key)).map(|(_, value)| value)
    }

    /// Adds a key that has not been [found](Self::find).
    #[inline]
    pub(super) fn insert(&mut self, hasher: &KeyHasher, hash: u64, key: K, value: S)
    where
        K: Hash,
    {
        self.entries.insert_unique(hash, (key, value), |(key, _)| hasher.hash(key));
    }

    /// The memory that the slots take.
    pub(super) fn slot_bytes(&self) -> u64 {
        self.entries.allocation_size() as u64
    }

    /// The memory that keys and values own, by estimate from some of them.
    pub(super) fn heap_bytes<C>(&self) -> u64
    where
        K: Serialize,
        C: Serialize,
        S: Cell<C>,
    {
        if !mem::needs_drop::<(K, C)>() || self.entries.is_empty() {
            return 0;
        }
        let some = self.entries.iter().take(SIZED_ENTRIES);
        let sizes = some.map(|(key, cell)| size::heap(key) + cell.get().map_or(0, size::heap));
        let sampled = self.entries.len().min(SIZED_ENTRIES) as u64;
        sizes.sum::<u64>() * self.entries.len() as u64 / sampled
    }

    /// Takes the entries out, and leaves the table empty, with its room for the next ones.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, S)> {
        self.entries.drain()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn count(keys: &[u16], hash: impl Fn(&u16) -> u64) -> Vec<(u16, u64)> {
        let (mut table, hasher): (Table<u16, Plain<u64>>, _) = (Table::new(), KeyHasher::new(0));
        for key in keys {
            let hash = hash(key);
            match table.find(hash, |k| k == key) {
                Some(cell) => cell.update(|n| n + 1),
                None => table.insert(&hasher, hash, *key, Plain::new(1)),
            }
        }
        table.drain().map(|(key, cell)| (key, cell.into_inner().unwrap())).collect()
    }

    proptest! {
        #[test]
        fn a_table_counts_as_a_map_does(keys in prop::collection::vec(0_u16..400, 0..2000)) {
            let hasher = KeyHasher::new(0);
            let mut counted = count(&keys, |key| hasher.hash(key));
            prop_assert_eq!(&counted, &count(&keys, |key| hasher.hash(key)));
            let mut model: HashMap<u16, u64> = HashMap::new();
            for key in keys {
                *model.entry(key).or_insert(0) += 1;
            }
            counted.sort_unstable();
            let mut model: Vec<_> = model.into_iter().collect();
            model.sort_unstable();
            prop_assert_eq!(counted, model);
        }
    }
}
