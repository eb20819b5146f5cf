//! How many bytes rows take in memory, by estimate.
//!
//! Types that own no heap are exact: `size_of`. For the others, the heap part of a sample of the rows is counted by
//! walking them as serde would write them: what a string or a sequence holds, each with the allocator's own share.
//! Within a sequence a number counts with its width, and a string, sequence or map with its own words. A map counts as a
//! hash table with its free slots; of the entries, only what stands in the slots is multiplied by that, and what they own
//! elsewhere counts once, however deep it is nested. Serde does not tell a `BTreeMap` from a hash table: one of very few
//! entries, whose node has room for eleven, takes up to three times as much. Memory that serde does not see is not
//! counted: spare capacity, the free slots of sets, skipped fields; a `Box` counts with its value only if a sequence
//! holds it.

use std::{fmt, mem};

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
        SerializeTupleVariant,
    },
};

use crate::data::ExchangeData;

/// Rows looked at for one estimate.
pub const SAMPLE_ROWS: usize = 32;

/// The estimated size in bytes of `rows`, heap included.
pub fn estimate<T: ExchangeData>(rows: &[T]) -> u64 {
    mem::size_of_val(rows) as u64 + estimate_heap(rows)
}

/// The heap's share of [`estimate`].
pub fn estimate_heap<T: ExchangeData>(rows: &[T]) -> u64 {
    estimate_heap_of(rows, |row| row)
}

/// The estimated size in bytes of entries that have a row each; of the heap, only what the rows own.
pub fn estimate_of<E, T: ExchangeData>(entries: &[E], row: impl Fn(&E) -> &T) -> u64 {
    mem::size_of_val(entries) as u64 + estimate_heap_of(entries, row)
}

fn estimate_heap_of<E, T: ExchangeData>(entries: &[E], row: impl Fn(&E) -> &T) -> u64 {
    if !mem::needs_drop::<T>() || entries.is_empty() {
        return 0;
    }
    let heaps = sample(entries.len()).map(|at| heap(row(&entries[at])));
    let (sampled, bytes) = heaps.fold((0, 0), |(count, bytes), heap| (count + 1, bytes + heap));
    scaled(bytes, entries.len(), sampled)
}

/// Some of so many rows: one in each of equal windows, and not the same in each, since rows may have a period.
pub fn sample(rows: usize) -> impl Iterator<Item = usize> {
    let window = rows.div_ceil(SAMPLE_ROWS).max(1);
    (0..rows).step_by(window).map(move |start| start + within(start / window, window.min(rows - start)))
}

/// Returns whether row number `at` is one of the [`sample`] of rows whose number is not known.
pub fn is_sampled(at: usize) -> bool {
    at % SAMPLE_ROWS == within(at / SAMPLE_ROWS, SAMPLE_ROWS)
}

/// A number below `window` that looks random.
fn within(at: usize, window: usize) -> usize {
    ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % window
}

/// The bytes that all rows own, if a sample of them owns so many.
pub fn scaled(bytes: u64, rows: usize, sampled: usize) -> u64 {
    (u128::from(bytes) * rows as u128 / sampled.max(1) as u128) as u64
}

/// The heap that one value owns.
pub fn heap<T: Serialize>(value: &T) -> u64 {
    let mut bytes = 0;
    // A value that cannot be serialised counts with what was seen of it.
    let _ = value.serialize(Counter { heap: &mut bytes, stands_in: None });
    bytes
}

/// The bytes that the allocator takes for so many: a word of its own, in steps of two words.
fn allocated(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// The words of a string, a sequence or a map where it stands.
const WORDS: u64 = 24;

/// The slots of a hash table of so many entries: a power of two, of which an eighth is free, or more.
fn slots(entries: u64) -> u64 {
    match entries {
        0 => 0,
        1..4 => 4,
        4..8 => 8,
        _ => (entries * 8 / 7).next_power_of_two(),
    }
}

/// The bytes by which a hash table marks which slots are free, beside one for each slot.
const MARKS: u64 = 16;

/// Counts what a value owns. The part in the row itself counts nothing: that is the row's own size.
struct Counter<'a> {
    /// The bytes of all whole allocations.
    heap: &'a mut u64,
    /// The bytes of the allocation in which the value stands, if it stands in a sequence or a map.
    stands_in: Option<&'a mut u64>,
}

impl Counter<'_> {
    fn plain(self, width: u64) -> Result<(), Uncountable> {
        if let Some(holder) = self.stands_in {
            *holder += width;
        }
        Ok(())
    }

    fn owned(self, bytes: usize) -> Result<(), Uncountable> {
        *self.heap += allocated(bytes as u64);
        self.plain(WORDS)
    }
}

/// Serde's own error: the type refused.
#[derive(Debug, thiserror::Error)]
#[error("not serialisable")]
struct Uncountable;

impl serde::ser::Error for Uncountable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// The parts of a value that is made of others.
struct Parts<'a> {
    heap: &'a mut u64,
    held: Holder<'a>,
}

/// Where the parts of a value stand.
enum Holder<'a> {
    /// Where the value itself stands: those of a tuple or a struct.
    Same(Option<&'a mut u64>),
    /// In an allocation of the value's own, which has so many bytes so far: those of a sequence.
    Sequence(u64),
    /// In an allocation of the value's own, which is a table of slots, too: those of a map.
    Table { bytes: u64, entries: u64 },
}

impl Parts<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncountable> {
        let stands_in = match &mut self.held {
            Holder::Same(holder) => holder.as_deref_mut(),
            Holder::Sequence(bytes) | Holder::Table { bytes, .. } => Some(bytes),
        };
        value.serialize(Counter { heap: self.heap, stands_in })
    }

    fn done(self) -> Result<(), Uncountable> {
        // Only what stands in this allocation is rounded and has free slots beside it. What its entries own has been
        // counted: were it in here, each level of nesting would multiply it.
        *self.heap += match self.held {
            Holder::Same(_) | Holder::Table { entries: 0, .. } => 0,
            Holder::Sequence(bytes) => allocated(bytes),
            Holder::Table { bytes, entries } => {
                let slots = slots(entries);
                allocated(bytes.div_ceil(entries) * slots + slots + MARKS)
            }
        };
        Ok(())
    }
}

macro_rules! plain {
    ($($method:ident($type:ty)),*) => {
        $(#[inline]
        fn $method(self, _: $type) -> Result<(), Uncountable> {
            self.plain(mem::size_of::<$type>() as u64)
        })*
    };
}

impl<'a> Serializer for Counter<'a> {
    type Ok = ();
    type Error = Uncountable;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    plain!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char)
    );

    fn serialize_str(self, value: &str) -> Result<(), Uncountable> {
        self.owned(value.len())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Uncountable> {
        self.owned(value.len())
    }

    fn serialize_none(self) -> Result<(), Uncountable> {
        self.plain(8)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Uncountable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Uncountable> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Uncountable> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Uncountable> {
        self.plain(8)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Uncountable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Uncountable> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Uncountable> {
        if let Some(holder) = self.stands_in {
            *holder += WORDS;
        }
        Ok(Parts { heap: self.heap, held: Holder::Sequence(0) })
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Uncountable> {
        Ok(Parts { heap: self.heap, held: Holder::Same(self.stands_in) })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Uncountable> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Uncountable> {
        self.serialize_tuple(len)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Uncountable> {
        if let Some(holder) = self.stands_in {
            *holder += 2 * WORDS;
        }
        Ok(Parts { heap: self.heap, held: Holder::Table { bytes: 0, entries: 0 } })
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Uncountable> {
        self.serialize_tuple(len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Uncountable> {
        self.serialize_tuple(len)
    }
}

macro_rules! parts {
    ($($part:ident::$method:ident),*) => {
        $(impl $part for Parts<'_> {
            type Ok = ();
            type Error = Uncountable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncountable> {
                self.add(value)
            }

            fn end(self) -> Result<(), Uncountable> {
                self.done()
            }
        })*
    };
}

parts!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! fields {
    ($($part:ident),*) => {
        $(impl $part for Parts<'_> {
            type Ok = ();
            type Error = Uncountable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Uncountable> {
                self.add(value)
            }

            fn end(self) -> Result<(), Uncountable> {
                self.done()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Uncountable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Uncountable> {
        if let Holder::Table { entries, .. } = &mut self.held {
            *entries += 1;
        }
        self.add(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncountable> {
        self.add(value)
    }

    fn end(self) -> Result<(), Uncountable> {
        self.done()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn rows_without_a_heap_are_exact_and_strings_count_their_bytes() {
        assert_eq!(estimate(&[1_u64; 10]), 80);
        let words = vec!["x".repeat(1000); 100];
        let bytes = estimate(&words);
        assert!((100_000..110_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_stands_in_the_row_counts_nothing_and_what_it_owns_counts_whole() {
        assert_eq!(heap(&(1_u64, 2.0_f64, [3_u8; 5])), 0);
        assert_eq!(heap(&("seven b".to_owned(), 1_u64)), 32);
        assert_eq!(heap(&vec![1.0_f64; 100]), 816);
        assert_eq!(heap(&vec!["ab".to_owned(); 2]), 2 * 32 + allocated(2 * 24));
        assert_eq!(heap(&Some(Some(String::new()))), 0);
    }

    /// A value in a chain of others of its kind, as a tree or a JSON document has them.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Nested {
        End(u64),
        Sorted(BTreeMap<u64, Nested>),
        Hashed(HashMap<String, Nested>),
        List(Vec<Nested>),
        Maybe(Vec<Option<(u8, Nested)>>),
    }

    impl Nested {
        /// So many levels, each made of the one below it.
        fn levels(levels: usize, level: fn(Nested) -> Nested) -> Self {
            (0..levels).fold(Self::End(7), |below, _| level(below))
        }
    }

    #[test]
    fn what_is_nested_costs_the_same_on_each_level() {
        let kinds: [(fn(Nested) -> Nested, u64); 5] = [
            // Four slots of a key and a map, a mark for each, and the marks at the end.
            (|below| Nested::Sorted(BTreeMap::from([(1, below)])), allocated(4 * (8 + 48) + 4 + 16)),
            (|below| Nested::Hashed(HashMap::from([("key".to_owned(), below)])), allocated(4 * (24 + 48) + 20) + 32),
            (|below| Nested::List(vec![below]), allocated(24)),
            (|below| Nested::Maybe(vec![Some((1, below))]), allocated(1 + 24)),
            // One level of each: what stands in the slots of the map is a list.
            (
                |below| Nested::Sorted(BTreeMap::from([(1, Nested::List(vec![below]))])),
                allocated(4 * (8 + 24) + 20) + allocated(48),
            ),
        ];
        for (level, bytes) in kinds {
            let of = |levels| heap(&Nested::levels(levels, level));
            assert_eq!([of(21) - of(20), of(40) - of(39)], [bytes; 2]);
            assert!(of(40) <= 40 * bytes, "{} of 40 levels", of(40));
        }
    }

    #[test]
    fn many_entries_count_with_their_free_slots_and_own_what_they_own_once() {
        let numbers: HashMap<u64, u64> = (0..1000).map(|n| (n, n)).collect();
        assert_eq!(heap(&numbers), allocated(2048 * 16 + 2048 + 16));
        let texts: BTreeMap<u64, String> = (0..7).map(|n| (n, "x".repeat(1000))).collect();
        assert_eq!(heap(&texts), 7 * allocated(1000) + allocated(8 * (8 + 24) + 8 + 16));
        assert_eq!(heap(&HashMap::<u64, String>::new()), 0);
    }
}
