//! The hand-written programs that emberflow is measured against, and the data that all of them read.
//! Called by: the bench runner, which times them and holds their answers against each other.
//! Never: uses emberflow, prints, or measures time.
//!
//! [`idiom`] is the Rayon program that a good engineer writes in ten lines. [`limit`] is the best plain Rust for the
//! one job: it knows the workload, and has no lineage, no recovery and no budget. Allocating and freeing scratch
//! memory is part of the work of both.
//!
//! A virtual machine may hand memory that lay idle for some seconds back to its host, and whoever touches it next pays
//! several times the price of the run itself. So run each of them twice in succession, and time the second run.

// A bench binary has no reachable items, and no bench calls every baseline.
#![allow(dead_code, unreachable_pub)]

pub mod data;
pub mod idiom;
pub mod kmeans;
pub mod limit;
pub mod pagerank;

/// What is left of an aggregated table: equal for equal tables, in whatever order their rows come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Distinct keys.
    pub keys: u64,
    /// Wrapping sum of a mix of each key with its sum.
    pub checksum: u64,
}

impl Summary {
    /// The summary of a table of one row.
    #[inline]
    pub fn of(key: u64, sum: u64) -> Summary {
        // The rotation keeps (key, sum) and (sum, key) apart.
        let mixed = data::mix(key.wrapping_mul(data::GOLDEN) ^ sum.rotate_left(32));
        Summary { keys: 1, checksum: mixed }
    }

    /// The summary of one match of a join.
    #[inline]
    pub fn of_match(key: u64, left: u64, right: u64) -> Summary {
        Summary::of(key, left.wrapping_mul(3) ^ right)
    }

    /// The summary of two tables that share no key.
    #[inline]
    pub fn merge(self, other: Summary) -> Summary {
        Summary { keys: self.keys + other.keys, checksum: self.checksum.wrapping_add(other.checksum) }
    }
}

/// Summarises the rows `(key, sum)` of an aggregated table; each key appears once.
pub fn summarise(rows: impl IntoIterator<Item = (u64, u64)>) -> Summary {
    rows.into_iter().map(|(key, sum)| Summary::of(key, sum)).fold(Summary::default(), Summary::merge)
}

/// What is left of a sequence: other for another order of the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// How many.
    pub count: u64,
    /// Their wrapping sum.
    pub sum: u64,
    /// The wrapping sum of each times its place.
    pub weighted: u64,
}

impl Order {
    /// Of a sequence.
    #[inline]
    pub fn of(rows: impl IntoIterator<Item = u64>) -> Order {
        rows.into_iter().fold(Order::default(), Order::add)
    }

    /// With one more number at the end.
    #[inline]
    pub fn add(self, row: u64) -> Order {
        let weighted = self.weighted.wrapping_add(row.wrapping_mul(self.count));
        Order { count: self.count + 1, sum: self.sum.wrapping_add(row), weighted }
    }

    /// With another sequence at the end.
    #[inline]
    pub fn then(self, other: Order) -> Order {
        let moved = self.count.wrapping_mul(other.sum);
        Order {
            count: self.count + other.count,
            sum: self.sum.wrapping_add(other.sum),
            weighted: self.weighted.wrapping_add(other.weighted).wrapping_add(moved),
        }
    }
}
