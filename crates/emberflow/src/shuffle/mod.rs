//! What wide operators are made of: rows placed in blocks by reducer, combined or joined by key, or sorted.
//!
//! - `partitioning`: which reducer a key belongs to.
//! - `place`: rows as they are, block by block (`partition_by`, `repartition`).
//! - `combine`: rows merged by key before and after the shuffle (`reduce_by_key`, `group_by_key`, `distinct`, …).
//! - `join`: rows of two placed RDDs that have equal keys (`join`, `left_outer_join`, `subtract`, …).
//! - `cogroup`: the rows of several placed RDDs, grouped by key.
//! - `map_side`: combining before the shuffle.
//! - `pieces`: what a reducer gets, split so that its tables fit the cache.
//! - `short`: the hash table of keys that are short texts.
//! - `sort`: rows in a global order (`sort_by`, …), or in order within partitions.
//! - `table`: the hash table that rows are combined in.
//! - `index`: what joins find rows in.

mod cogroup;
mod combine;
mod index;
pub(crate) mod join;
mod map_side;
mod partitioning;
mod pieces;
mod place;
mod short;
pub(crate) mod sort;
mod table;

use std::sync::Arc;

use emberflow_core::{
    codec,
    data::{Data, ExchangeData, Key},
    error::TaskError,
    lineage::{Dependency, ShuffleDependency},
    operator::StoreWriter,
    partitioner::Placement,
    place::OpInfo,
};

pub(crate) use self::{
    cogroup::{CogroupSide, cogroup},
    combine::{Aggregator, combine, emit_and_combine},
    join::{Right, join},
    map_side::MapSide,
    place::{Placer, place_rows, spread},
};
pub use self::{
    map_side::Pairs,
    partitioning::{HashPartitioner, IntoPartitioning, Partitioning},
    short::BorrowedKey,
};
use crate::rdd::Rdd;

/// A wide dependency on `parent`, whose partitions `writer` writes.
pub(crate) fn dependency<T: Data>(parent: &Rdd<T>, info: OpInfo, writer: impl StoreWriter) -> Dependency {
    let engine = &parent.shared().engine;
    let store = engine.next_store();
    Dependency::Wide(Arc::new(ShuffleDependency {
        store,
        parent: Arc::clone(parent.node()),
        writer: Arc::new(writer),
        info,
        guard: engine.guard(store),
    }))
}

/// How RDDs placed in these ways meet by key: as the first one that is placed by hash, or else by hash over the default
/// number of partitions; `None` if they are all placed alike already.
pub(crate) fn meeting<K: Key, T: Data>(first: &Rdd<T>, placements: &[Option<&Placement>]) -> Option<Partitioning<K>> {
    if placements.iter().all(|placement| placement.is_some() && *placement == placements[0]) {
        return None;
    }
    let shared = first.shared();
    let by_hash = |placement: &&Placement| **placement == Placement::hash(&shared.hasher, placement.partitions());
    let partitions = placements.iter().copied().flatten().find(by_hash).map(Placement::partitions);
    Some(partitions.unwrap_or(shared.default_partitions).into_partitioning(&shared.hasher))
}

/// Checks that a key is equal to what serde makes of it, as it has to be if it goes to disk. Keys that serde cannot write
/// or read stay in memory.
fn comes_back<K: Key>(key: &K) -> Result<(), TaskError> {
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

/// The rows of `rdd` placed by key; `rdd` itself if they are, or if there is nothing to place them by.
pub(crate) fn placed<K: Key, V: ExchangeData>(
    rdd: &Rdd<(K, V)>,
    info: &OpInfo,
    partitioning: Option<&Partitioning<K>>,
) -> Rdd<(K, V)> {
    let Some(partitioning) = partitioning.cloned() else { return rdd.clone() };
    let placement = partitioning.placement().clone();
    if rdd.node().placement.as_ref() == Some(&placement) {
        return rdd.clone();
    }
    let by_key = Placer {
        env: partitioning,
        start: |_: &Partitioning<K>, _| (),
        place: |partitioning: &Partitioning<K>, (): &mut (), (key, _): &(K, V)| partitioning.partition(key),
        check: |(key, _): &(K, V)| comes_back(key),
    };
    place_rows(rdd, info.clone(), placement.partitions(), Some(placement), by_key)
}
