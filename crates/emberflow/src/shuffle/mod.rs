//! What wide operators are made of: rows placed in blocks by reducer, and rows combined by key.
//!
//! - `partitioning`: which reducer a key belongs to.
//! - `place`: rows as they are, block by block (`partition_by`, `repartition`).
//! - `combine`: rows merged by key before and after the shuffle (`reduce_by_key`, `group_by_key`, `distinct`, …).
//! - `table`: the hash table that combining is made on.

mod combine;
mod partitioning;
mod place;
mod table;

use std::sync::Arc;

use emberflow_core::{
    data::Data,
    lineage::{Dependency, ShuffleDependency},
    operator::StoreWriter,
    place::OpInfo,
};

pub use self::partitioning::{HashPartitioner, IntoPartitioning, Partitioning};
pub(crate) use self::{
    combine::{Aggregator, MapSide, combine},
    place::{place_rows, spread},
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
