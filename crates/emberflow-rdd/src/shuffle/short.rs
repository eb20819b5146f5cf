//! Keys that are short texts, kept inside the slots of their table.
//!
//! Most words, codes and names have at most twelve bytes. Such a key is its own slot: it is hashed and compared as two
//! numbers, and no cache line is read to compare it. Longer keys are the general [`Table`](super::table::Table)'s.

use std::{ffi::OsStr, hash::Hash, hint::black_box, mem, path::Path};

use emberflow_core::partitioner::KeyHasher;

use super::table::Cell;

/// The type that keys are borrowed as, from the rows of
/// [`flat_map_reduce_by_key`](crate::Rdd::flat_map_reduce_by_key): `str` for keys that are strings, `[u8]` for bytes.
///
/// For a type of your own an empty `impl` will do. Its methods, both or neither, let short keys be kept more tightly; they
/// change no result.
///
/// ```
/// use emberflow::BorrowedKey;
///
/// #[derive(PartialEq, Eq, Hash)]
/// #[repr(transparent)]
/// struct Route([u32]);
///
/// impl BorrowedKey for Route {}
/// assert_eq!(<str as BorrowedKey>::from_bytes("word".bytes_of_key().unwrap()), Some("word"));
/// ```
#[diagnostic::on_unimplemented(
    message = "keys cannot be borrowed from rows as `{Self}`",
    note = "borrow them as `str`, as `[u8]` or another slice of integers, or write `impl BorrowedKey for {Self} {{}}`"
)]
pub trait BorrowedKey: Eq + Hash + 'static {
    /// Bytes that are equal for equal keys, and for no others; `None` if there are none at hand.
    fn bytes_of_key(&self) -> Option<&[u8]> {
        None
    }

    /// The key of which these are the [`bytes_of_key`](Self::bytes_of_key).
    fn from_bytes(_bytes: &[u8]) -> Option<&Self> {
        None
    }
}

impl BorrowedKey for str {
    #[inline]
    fn bytes_of_key(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Option<&str> {
        str::from_utf8(bytes).ok()
    }
}

impl BorrowedKey for [u8] {
    #[inline]
    fn bytes_of_key(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn from_bytes(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }
}

macro_rules! borrowed_as_they_are {
    ($($key:ty),*) => { $(impl BorrowedKey for $key {})* };
}

borrowed_as_they_are!([i8], [u16], [i16], [u32], [i32], [u64], [i64], [u128], [i128], [usize], [isize], [char], [bool]);
borrowed_as_they_are!(Path, OsStr);

/// Bytes of a key that fit a slot.
const INLINE: usize = 12;
const FIRST_SLOTS: usize = 16;
/// Entries that are taken out before their memory is given back.
const DRAIN_ROWS: usize = 1 << 14;

/// A key of at most twelve bytes, and zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    head: u64,
    tail: u32,
}

impl Short {
    /// `None` if it is too long, or ends in a zero, which could not be told from those behind it.
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let len = bytes.len();
        let bits = match len {
            // Three numbers of four bytes, which overlap: no branch depends on the length.
            4..=INLINE => {
                let four = |at: usize| {
                    let four = bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
                    u128::from(four) << (8 * at)
                };
                four(0) | four((len - 4).min(4)) | four(len - 4)
            }
            1..=3 => {
                let one = |at: usize| u128::from(bytes[at]) << (8 * at);
                one(0) | one(len / 2) | one(len - 1)
            }
            0 => 0,
            _ => return None,
        };
        (bytes.last() != Some(&0)).then_some(Self { head: bits as u64, tail: (bits >> 64) as u32 })
    }

    /// Calls `f` with the bytes of the key.
    fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut bytes = [0; INLINE];
        bytes[..8].copy_from_slice(&self.head.to_le_bytes());
        bytes[8..].copy_from_slice(&self.tail.to_le_bytes());
        f(&bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)])
    }
}

/// A key and the number of its value, counted from 1; free if that is 0.
#[derive(Clone, Copy)]
struct Slot {
    head: u64,
    tail: u32,
    entry: u32,
}

impl Slot {
    const FREE: Self = Self { head: 0, tail: 0, entry: 0 };

    fn key(&self) -> Short {
        Short { head: self.head, tail: self.tail }
    }
}

/// Short keys with what has been combined for each: open addressing with linear probing, at most seven eighths full.
pub(super) struct ShortTable<K, S> {
    slots: Vec<Slot>,
    /// In the order in which their keys came.
    values: Vec<S>,
    /// Keys in the slots; behind `values` while a batch is merged.
    keys: u32,
    seeds: [u64; 2],
    /// For each pair that is being merged, first where its key's slot is looked for, then its value's number.
    found: Vec<u64>,
    own: fn(&[u8]) -> K,
}

impl<K, S> ShortTable<K, S> {
    /// A table whose keys `own` makes of the bytes that they were borrowed as.
    pub(super) fn new(hasher: &KeyHasher, own: fn(&[u8]) -> K) -> Self {
        let seeds = [0_u64, 1].map(|n| hasher.hash(&n));
        Self { slots: vec![Slot::FREE; FIRST_SLOTS], values: Vec::new(), keys: 0, seeds, found: Vec::new(), own }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The memory that slots and values take, without that which the values own.
    pub(super) fn slot_bytes(&self) -> u64 {
        (self.slots.capacity() * mem::size_of::<Slot>() + self.values.capacity() * mem::size_of::<S>()) as u64
    }

    /// Merges each value into that of its key. Should a function panic, the table is dropped with its task.
    ///
    /// In several loops, each of which misses the cache or a branch on its own: while one waits for memory, no
    /// mispredicted branch keeps it from asking for the next rows' slots and values.
    pub(super) fn merge<V, C>(
        &mut self,
        pairs: &mut Vec<(Short, V)>,
        create: impl Fn(V) -> C,
        merge: impl Fn(C, V) -> C,
    ) where
        S: Cell<C>,
    {
        let mut found = mem::take(&mut self.found);
        found.clear();
        found.extend(pairs.iter().map(|(key, _)| self.place(*key)));
        let mask = self.slots.len() - 1;
        black_box(found.iter().fold(0, |all, place| all | self.slots[*place as usize & mask].entry));
        for ((key, _), found) in pairs.iter().zip(&mut found) {
            *found = u64::from(self.entry(*key, *found as usize));
        }
        for ((_, value), entry) in pairs.drain(..).zip(&found) {
            match self.values.get_mut(*entry as usize - 1) {
                Some(cell) => cell.update(|sum| merge(sum, value)),
                None => self.values.push(S::new(create(value))),
            }
        }
        self.found = found;
    }

    /// Where the key belongs. It is mixed as foldhash mixes.
    #[inline]
    fn place(&self, key: Short) -> u64 {
        let product = u128::from(key.head ^ self.seeds[0]) * u128::from(u64::from(key.tail) ^ self.seeds[1]);
        product as u64 ^ (product >> 64) as u64
    }

    /// The number of the key's value; the next one if the key is new.
    #[inline]
    fn entry(&mut self, key: Short, mut at: usize) -> u32 {
        let mask = self.slots.len() - 1;
        loop {
            at &= mask;
            let slot = &self.slots[at];
            if slot.key() == key && slot.entry != 0 {
                return slot.entry;
            }
            if slot.entry == 0 {
                return self.insert(at, key);
            }
            at += 1;
        }
    }

    #[inline(never)]
    fn insert(&mut self, free: usize, Short { head, tail }: Short) -> u32 {
        self.keys = self.keys.checked_add(1).expect("fewer than 2^32 keys in one table");
        self.slots[free] = Slot { head, tail, entry: self.keys };
        if self.keys as usize > self.slots.len() / 8 * 7 {
            self.grow();
        }
        self.keys
    }

    /// Doubles the slots. Keys move in the order in which they came: the frequent ones, which mostly came first, get the
    /// places that they belong to.
    #[cold]
    fn grow(&mut self) {
        let bigger = vec![Slot::FREE; self.slots.len() * 2];
        let mask = bigger.len() - 1;
        for slot in in_order(mem::replace(&mut self.slots, bigger)) {
            let mut at = self.place(slot.key()) as usize & mask;
            while self.slots[at].entry != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    /// Takes the entries out, in an order that depends on the pairs alone, and leaves the table empty. Its memory is
    /// given back piece by piece, since what the entries become takes as much.
    pub(super) fn drain(&mut self, mut to: impl FnMut(K, S)) {
        let mut slots = in_order(mem::replace(&mut self.slots, vec![Slot::FREE; FIRST_SLOTS]));
        let mut values = mem::take(&mut self.values);
        self.keys = 0;
        while !slots.is_empty() {
            slots.shrink_to_fit();
            values.shrink_to_fit();
            let from = slots.len().saturating_sub(DRAIN_ROWS);
            for (slot, value) in slots.drain(from..).zip(values.drain(from..)) {
                to(slot.key().with_bytes(self.own), value);
            }
        }
    }
}

/// The slots that are not free, by the numbers of their values, of which none is left out.
fn in_order(mut slots: Vec<Slot>) -> Vec<Slot> {
    slots.retain(|slot| slot.entry != 0);
    for at in 0..slots.len() {
        while slots[at].entry as usize != at + 1 {
            let home = slots[at].entry as usize - 1;
            slots.swap(at, home);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{super::table::Plain, *};

    #[test]
    fn a_short_key_is_told_from_every_other() {
        let letters = |len: usize| (1..=len).map(|byte| byte as u8 * 17).collect::<Vec<_>>();
        for len in 0..=INLINE {
            let key = Short::new(&letters(len)).unwrap();
            assert_eq!(key.with_bytes(<[u8]>::to_vec), letters(len));
            assert_eq!(Short::new(&[letters(len), vec![0]].concat()), None);
        }
        assert_eq!(Short::new(&letters(INLINE + 1)), None);
        assert_eq!(Short::new(b"\0a").unwrap().with_bytes(<[u8]>::to_vec), b"\0a");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_table_sums_as_a_map_does(
            batches in prop::collection::vec(prop::collection::vec("[a-c\\x00]{0,12}[a-c]", 0..200), 0..8),
        ) {
            let mut table: ShortTable<Vec<u8>, Plain<u64>> = ShortTable::new(&KeyHasher::new(0), <[u8]>::to_vec);
            let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
            for keys in &batches {
                let fit = keys.iter().filter_map(|key| Some((key, Short::new(key.as_bytes())?)));
                let mut pairs: Vec<_> = fit.map(|(key, short)| (short, key.len() as u64)).collect();
                for key in keys.iter().filter(|key| key.len() <= INLINE) {
                    *model.entry(key.clone().into_bytes()).or_default() += key.len() as u64;
                }
                table.merge(&mut pairs, |value| value, |a, b| a + b);
            }
            prop_assert_eq!(table.len(), model.len());
            let mut sums = Vec::new();
            table.drain(|key, cell| sums.extend(cell.into_inner().map(|sum| (key, sum))));
            sums.sort();
            prop_assert_eq!(sums, model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(table.len(), 0);
        }
    }
}
