//! RDDs behind a shuffle: the nodes of the lineage graph that are made of the kernels in `crate::shuffle`.
//!
//! Owns how kernels become nodes: dependencies, stores, placements. Never: looks at a row.

use std::{borrow::Borrow, sync::Arc};

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    error::TaskError,
    ids::PartitionIndex,
    lineage::{Dependency, ShuffleDependency},
    operator::{Operator, StoreWriter},
    partitioner::Placement,
    place::OpInfo,
    ship::{Env, Held},
};

use super::Rdd;
use crate::{
    shared::NodeSpec,
    shuffle::{
        Aggregator, AssignWriter, Assigner, BorrowedKey, Cogroup, CogroupReader, CombineReader, Group,
        IntoPartitioning, Join, MapSide, Pairs, Partitioning, ReadAssigned, Right, comes_back,
        join::Kind,
        sort::{SampleKeys, SortKey, SortPartition, StripTag, TagPart},
        write_emitted, write_pairs,
    },
};

/// A wide dependency on `parent`, whose partitions `writer` writes.
pub(super) fn dependency<T: Data>(parent: &Rdd<T>, info: OpInfo, writer: impl StoreWriter) -> Dependency {
    let shared = parent.shared();
    let store = shared.engine.next_store();
    Dependency::Wide(Arc::new(ShuffleDependency {
        store,
        parent: Arc::clone(parent.node()),
        writer: Arc::new(writer),
        info,
        guard: shared.guard(store),
    }))
}

/// How RDDs placed in these ways meet by key: as the first one that is placed by hash, or else by hash over the default
/// number of partitions; `None` if they are all placed alike already.
pub(super) fn meeting<K: Key, T: Data>(first: &Rdd<T>, placements: &[Option<&Placement>]) -> Option<Partitioning<K>> {
    if placements.iter().all(|placement| placement.is_some() && *placement == placements[0]) {
        return None;
    }
    let shared = first.shared();
    let by_hash = |placement: &&Placement| **placement == Placement::hash(&shared.hasher, placement.partitions());
    let partitions = placements.iter().copied().flatten().find(by_hash).map(Placement::partitions);
    Some(partitions.unwrap_or(shared.default_partitions).into_partitioning(&shared.hasher))
}

/// The rows of `rdd` placed by key; `rdd` itself if they are, or if there is nothing to place them by.
pub(super) fn placed<K: Key, V: ExchangeData>(
    rdd: &Rdd<(K, V)>,
    info: &OpInfo,
    partitioning: Option<&Partitioning<K>>,
) -> Rdd<(K, V)> {
    let Some(partitioning) = partitioning.cloned() else { return rdd.clone() };
    let placement = partitioning.placement().clone();
    if rdd.node().placement.as_ref() == Some(&placement) {
        return rdd.clone();
    }
    let by_key = Assigner {
        env: partitioning,
        start: |_: &Partitioning<K>, _| (),
        assign: |partitioning: &Partitioning<K>, (): &mut (), (key, _): &(K, V)| partitioning.partition(key),
        check: |(key, _): &(K, V)| comes_back(key),
    };
    place_rows(rdd, info.clone(), placement.partitions(), Some(placement), by_key)
}

/// Shuffles the rows of `parent`.
pub(super) fn place_rows<T, E, S, A, P, C>(
    parent: &Rdd<T>,
    info: OpInfo,
    partitions: usize,
    placement: Option<Placement>,
    by: Assigner<E, A, P, C>,
) -> Rdd<T>
where
    T: ExchangeData,
    E: Env,
    S: 'static,
    A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
    P: Fn(&E, &mut S, &T) -> usize + Send + Sync + 'static,
    C: Fn(&T) -> Result<(), TaskError> + Send + Sync + 'static,
{
    let dependency = dependency(parent, info.clone(), AssignWriter::new(by, partitions));
    behind(parent, info, dependency, partitions, placement, ReadAssigned::<T>::new())
}

/// The RDD that `reader` reads behind one dependency, in so many partitions that are placed so.
fn behind<T: Data, U: Data>(
    parent: &Rdd<T>,
    info: OpInfo,
    dependency: Dependency,
    partitions: usize,
    placement: Option<Placement>,
    reader: impl Operator,
) -> Rdd<U> {
    let dependencies = vec![dependency];
    parent.shared().rdd(NodeSpec { info, partitions, op: Arc::new(reader), dependencies, placement })
}

/// Combines the rows of `parent` by key: through a shuffle, or in place if they are placed so already.
#[track_caller]
pub(super) fn combine<K, V, C, A>(
    parent: &Rdd<(K, V)>,
    info: OpInfo,
    into: impl IntoPartitioning<K>,
    map_side: MapSide,
    aggregator: A,
) -> Rdd<(K, C)>
where
    K: Key,
    V: ExchangeData,
    C: ExchangeData,
    A: Aggregator<V, C>,
{
    let hasher = parent.shared().hasher.clone();
    let partitioning = into.into_partitioning(&hasher);
    let placement = partitioning.placement().clone();
    let aggregator = Held::new(aggregator);
    let reader = CombineReader::<K, V, C, A>::new(aggregator.clone(), hasher.clone(), map_side);
    let in_place = parent.node().placement.as_ref() == Some(&placement);
    let dependency = if in_place {
        Dependency::Narrow(Arc::clone(parent.node()))
    } else {
        let writer = write_pairs::<K, V, C, A>(aggregator, hasher, partitioning, map_side);
        dependency(parent, info.clone(), writer)
    };
    behind(parent, info, dependency, placement.partitions(), Some(placement), reader)
}

/// As [`combine`], of the pairs that `emit` makes of each row of `parent`.
#[track_caller]
pub(super) fn emit_and_combine<T, K, Q, V, A, E>(
    parent: &Rdd<T>,
    info: OpInfo,
    into: impl IntoPartitioning<K>,
    emit: E,
    aggregator: A,
) -> Rdd<(K, V)>
where
    T: Data,
    K: Key + Borrow<Q> + for<'q> From<&'q Q>,
    Q: BorrowedKey + ?Sized,
    V: ExchangeData,
    A: Aggregator<V, V>,
    E: for<'a> Fn(&'a T, &mut Pairs<'a, Q, V>) + Send + Sync + 'static,
{
    let hasher = parent.shared().hasher.clone();
    let partitioning = into.into_partitioning(&hasher);
    let placement = partitioning.placement().clone();
    let aggregator = Held::new(aggregator);
    let reader = CombineReader::<K, V, V, A>::new(aggregator.clone(), hasher.clone(), MapSide::Combine);
    let writer = write_emitted::<T, K, Q, V, A, E>(emit, aggregator, hasher, partitioning);
    let dependency = dependency(parent, info.clone(), writer);
    behind(parent, info, dependency, placement.partitions(), Some(placement), reader)
}

/// Joins `left` with `right`, whose rows are where `from` says.
#[track_caller]
pub(super) fn join<K, V, W, J>(
    left: &Rdd<(K, V)>,
    right: &Rdd<(K, W)>,
    from: Right,
    info: OpInfo,
    placement: Option<Placement>,
) -> Rdd<(K, J::Out)>
where
    K: Key,
    V: ExchangeData,
    W: ExchangeData,
    J: Kind<V, W>,
{
    let hasher = left.shared().hasher.clone();
    left.shared().rdd(NodeSpec {
        partitions: left.partitions(),
        op: Arc::new(Join::<K, V, W, J>::new(hasher, from)),
        dependencies: [left.node(), right.node()].map(|node| Dependency::Narrow(Arc::clone(node))).to_vec(),
        placement,
        info,
    })
}

/// One side of a cogroup: an RDD, and which of a key's groups its values go to.
pub(super) struct CogroupSide<K, G> {
    dependency: Dependency,
    open: CogroupReader<K, G>,
}

impl<K: Key, G: Default + Data> CogroupSide<K, G> {
    pub(super) fn new<V: ExchangeData>(rdd: &Rdd<(K, V)>, group: impl Group<G, V>) -> Self {
        Self { dependency: Dependency::Narrow(Arc::clone(rdd.node())), open: CogroupReader::new(group) }
    }
}

/// Groups the rows of `sides`, which are placed as `first` is.
#[track_caller]
pub(super) fn cogroup<K, V, G>(first: &Rdd<(K, V)>, info: OpInfo, sides: Vec<CogroupSide<K, G>>) -> Rdd<(K, G)>
where
    K: Key,
    V: Data,
    G: Default + Data,
{
    let hasher = first.shared().hasher.clone();
    let (dependencies, open) = sides.into_iter().map(|side| (side.dependency, side.open)).unzip();
    first.shared().rdd(NodeSpec {
        partitions: first.partitions(),
        op: Arc::new(Cogroup::new(open, hasher)),
        dependencies,
        placement: first.node().placement.clone(),
        info,
    })
}

/// All rows of `parent` in order, in so many parts.
pub(super) fn sort<T: ExchangeData, S: SortKey<T>>(parent: &Rdd<T>, info: OpInfo, parts: usize, by: S) -> Rdd<T> {
    let by = Held::new(by);
    let mut dependencies = vec![Dependency::Narrow(Arc::clone(parent.node()))];
    if parts > 1 {
        let writer = SampleKeys::<T, S>::new(by.clone(), parts, parent.partitions());
        dependencies.push(dependency(parent, info.clone(), writer));
    }
    let tagged: Rdd<(u32, T)> = parent.shared().rdd(NodeSpec {
        partitions: parent.partitions(),
        op: Arc::new(TagPart::<T, S>::new(by.clone(), parts)),
        dependencies,
        placement: None,
        info: info.clone(),
    });
    let dependency = dependency(&tagged, info.clone(), StripTag::<T>::new(parts));
    let placed = behind(&tagged, info.clone(), dependency, parts, None, ReadAssigned::<T>::new());
    sort_within(&placed, info, by)
}

/// The rows of each partition in order; what is placed by key stays so.
pub(super) fn sort_within<T: ExchangeData, S: SortKey<T>>(parent: &Rdd<T>, info: OpInfo, by: Held<S>) -> Rdd<T> {
    parent.narrow(info, SortPartition::<T, S>::new(by), parent.node().placement.clone())
}
