//! The kernels that wide operators are made of: rows placed in blocks by reducer, combined or joined by key, or sorted.
//!
//! - `partitioning`: which reducer a key belongs to.
//! - `assign`: rows as they are, block by block (`partition_by`, `repartition`).
//! - `aggregator`: how values are merged.
//! - `combine`: rows merged by key before and after the shuffle (`reduce_by_key`, `group_by_key`, `distinct`, …).
//! - `join`: rows of two placed RDDs that have equal keys (`join`, `left_outer_join`, `subtract`, …).
//! - `cogroup`: the rows of several placed RDDs, grouped by key.
//! - `map_side`: combining before the shuffle.
//! - `pieces`: what a reducer gets, split so that its tables fit the cache.
//! - `short`: the hash table of keys that are short texts.
//! - `sort`: rows in a global order (`sort_by`, …), or in order within partitions.
//! - `table`: the hash table that rows are combined in.
//! - `index`: what joins find rows in.

mod aggregator;
mod assign;
mod cogroup;
mod combine;
mod index;
pub(crate) mod join;
mod map_side;
mod partitioning;
mod pieces;
mod short;
pub(crate) mod sort;
mod table;

use emberflow_core::{codec, data::Key, error::TaskError};

pub(crate) use self::{
    aggregator::Aggregator,
    assign::{AssignWriter, Assigner, ReadAssigned, spread},
    cogroup::{Cogroup, Group, Reader as CogroupReader},
    combine::{CombineReader, write_emitted, write_pairs},
    join::{Join, Right},
    map_side::MapSide,
};
pub use self::{
    map_side::Pairs,
    partitioning::{HashPartitioner, IntoPartitioning, Partitioning},
    short::BorrowedKey,
};

/// Checks that a key is equal to what serde makes of it, as it has to be if it goes to disk. Keys that serde cannot write
/// or read stay in memory.
pub(crate) fn comes_back<K: Key>(key: &K) -> Result<(), TaskError> {
    let back = codec::encode(key).and_then(|bytes| codec::decode::<K>(&bytes));
    match back {
        Ok(back) if back != *key => {
            Err(TaskError::rejected(KeyDoesNotComeBack { type_name: std::any::type_name::<K>() }))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "a key of type {type_name} is another one after serde has written and read it, and would be another key where rows go \
     to disk: serialise all that makes two keys equal (is there a field with #[serde(skip)]?), or leave it out of the key"
)]
struct KeyDoesNotComeBack {
    type_name: &'static str,
}
