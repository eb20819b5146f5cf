//! Which partition a key belongs to.
//!
//! Hashes have a fixed seed, so that the same key goes to the same partition in every run and every process.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

/// Hashes keys the same way in every run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct KeyHasher {
    state: FixedState,
    seed: u64,
}

impl From<u64> for KeyHasher {
    fn from(seed: u64) -> Self {
        Self::new(seed)
    }
}

impl From<KeyHasher> for u64 {
    fn from(hasher: KeyHasher) -> Self {
        hasher.seed
    }
}

impl KeyHasher {
    /// A hasher of this seed. Choose one at random where keys come from an adversary.
    pub fn new(seed: u64) -> Self {
        Self { state: FixedState::with_seed(seed), seed }
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.state.hash_one(key)
    }
}

/// Spreads a hash over `partitions`, by multiplication rather than by division.
///
/// The hash is mixed once more, since tables within a partition index by the same hash: without it all keys of a
/// partition would share the bits that chose it.
#[inline]
pub fn partition_of_hash(hash: u64, partitions: usize) -> usize {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed * partitions as u64) >> 32) as usize
}

/// Places keys: the same key always in the same partition.
///
/// Implement it to place rows by a rule of your own, as with Spark's `Partitioner`.
pub trait Partitioner<K>: Send + Sync + 'static {
    /// How many partitions there are.
    fn partitions(&self) -> usize;

    /// The partition of `key`, less than [`partitions`](Self::partitions).
    fn partition(&self, key: &K) -> usize;
}

/// How the rows of a keyed RDD are placed. Two RDDs with equal placements have equal keys in equal partitions, so that
/// combining them by key moves no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// By hash.
    Hash {
        /// Number of partitions.
        partitions: usize,
        /// The hasher's seed.
        seed: u64,
    },
    /// By a partitioner of the user's; equal only to itself.
    Custom {
        /// Number of partitions.
        partitions: usize,
        /// Tells one partitioner from another.
        id: u64,
    },
}

impl Placement {
    /// Placement by the hash of `hasher` over `partitions`.
    pub fn hash(hasher: &KeyHasher, partitions: usize) -> Self {
        Self::Hash { partitions, seed: hasher.seed }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        match self {
            Self::Hash { partitions, .. } | Self::Custom { partitions, .. } => *partitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_evenly_and_the_same_way_every_time() {
        let hasher = KeyHasher::new(0);
        let mut counts = [0_u32; 10];
        for key in 0..100_000_u64 {
            counts[partition_of_hash(hasher.hash(&key), 10)] += 1;
            assert_eq!(hasher.hash(&key), KeyHasher::new(0).hash(&key));
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}
