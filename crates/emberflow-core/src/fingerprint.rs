//! The fingerprint of a stored partition: facts about its rows that are kept when they are gone, so that those that are
//! made again can be compared.
//!
//! Rows are counted in any case, for each reducer by itself. Where all of them were serialised, the checksums of their
//! bytes are compared, too, wherever one frame of them ended and the next began.

use std::fmt;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    rows: u64,
    /// The checksum of the number of rows for each reducer.
    blocks: u32,
    /// The checksum of the bytes of all rows, if all of them were serialised.
    bytes: Option<u32>,
}

impl Fingerprint {
    /// The fingerprint of rows whose numbers for each reducer have this checksum, and whose bytes have that one, if all
    /// are serialised.
    pub(crate) fn new(rows: u64, blocks: u32, bytes: Option<u32>) -> Self {
        Self { rows, blocks, bytes }
    }

    /// The fingerprint of so many rows of which nothing else is known.
    pub fn of_rows(rows: u64) -> Self {
        Self { rows, ..Self::default() }
    }

    /// The fingerprint of two parts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = |one: u32, other: u32| one.rotate_left(16) ^ other;
        let bytes = match (self.bytes, other.bytes) {
            // A part without rows adds no bytes.
            (one, _) if other.rows == 0 => one,
            (_, other) if self.rows == 0 => other,
            (one, other) => one.zip(other).map(|(one, other)| both(one, other)),
        };
        Self { rows: self.rows + other.rows, blocks: both(self.blocks, other.blocks), bytes }
    }

    /// How many rows there were.
    pub fn rows(self) -> u64 {
        self.rows
    }

    /// Returns whether the rows may be the same, as far as is known.
    pub fn is_like(self, other: Self) -> bool {
        let bytes = self.bytes.zip(other.bytes).is_none_or(|(one, other)| one == other);
        self.rows == other.rows && self.blocks == other.blocks && bytes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows)?;
        if self.blocks != 0 {
            write!(f, ", spread as {:08x}", self.blocks)?;
        }
        self.bytes.map_or(Ok(()), |bytes| write!(f, ", checksum {bytes:08x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        segments::{self, Segment},
        spill::{InMemory, SpillSpace, SpilledBytes},
    };

    fn in_memory(rows: &[u64]) -> Vec<Segment<u64>> {
        vec![rows.to_vec().into()]
    }

    struct Compressed;

    impl SpillSpace for Compressed {
        fn write(&self, bytes: &[u8]) -> std::io::Result<std::sync::Arc<dyn SpilledBytes>> {
            InMemory.write(bytes)
        }

        fn compresses(&self) -> bool {
            true
        }
    }

    #[test]
    fn rows_are_like_themselves_however_they_are_cut_and_unlike_others() {
        let rows: Vec<u64> = (0..50_000).collect();
        let packed = |parts: &[&[u64]], space: &dyn SpillSpace| {
            let segments = parts.iter().map(|part| in_memory(part));
            let packed = segments.flat_map(|part| segments::spill([&*part], space).unwrap().remove(0));
            Fingerprint::of([(0, &*packed.collect::<Vec<_>>())])
        };
        let whole = packed(&[&rows], &InMemory);
        assert!(whole.bytes.is_some() && whole.rows() == 50_000);
        assert_eq!(whole, packed(&[&rows[..1], &rows[1..30_000], &rows[30_000..]], &InMemory));
        assert_eq!(whole, packed(&[&rows[..20_000], &rows[20_000..]], &Compressed));
        // Of rows in memory less is known: they may be the same.
        let unknown = Fingerprint::of([(0, &*in_memory(&rows))]);
        assert!(unknown.bytes.is_none() && whole.is_like(unknown) && unknown.is_like(whole));
        let mut others = rows.clone();
        others.swap(3, 4);
        assert!(!whole.is_like(packed(&[&others], &InMemory)));
        assert!(!unknown.is_like(Fingerprint::of([(0, &*in_memory(&rows[1..]))])));
        assert!(!unknown.is_like(Fingerprint::of([(1, &*in_memory(&rows))])), "for another reader");
        let (one, two) = (packed(&[&rows[..7]], &InMemory), packed(&[&rows[7..]], &InMemory));
        assert!(one.and(two).is_like(one.and(two)) && !one.and(two).is_like(two.and(one)));
        let none = Fingerprint::of::<u64>([]);
        assert_eq!((one.and(none).bytes, none.and(one).bytes, one.and(unknown).bytes), (one.bytes, one.bytes, None));
        assert!(whole.to_string().starts_with("50000 rows, spread as "), "{whole}");
        assert_eq!(Fingerprint::of_rows(3).to_string(), "3 rows");
    }
}
