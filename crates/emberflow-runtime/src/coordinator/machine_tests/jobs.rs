//! Small jobs of every kind of dependency. A job of number `n` keeps its results in store `100 + n`.

use super::{
    super::*,
    world::{Read, maps, persist, result},
};

/// Two partitions of nothing but sources.
pub(super) fn one_stage() -> Vec<StageSpec> {
    vec![result(101, 2, &[])]
}

/// Two maps, two reducers.
pub(super) fn shuffle() -> Vec<StageSpec> {
    vec![maps(1, 2, &[]), result(101, 2, &[Read::All(1)])]
}

/// Two shuffles, one after the other.
pub(super) fn chain() -> Vec<StageSpec> {
    vec![maps(1, 2, &[]), maps(2, 2, &[Read::All(1)]), result(101, 2, &[Read::All(2)])]
}

/// A persisted RDD, read partition by partition.
pub(super) fn persisted() -> Vec<StageSpec> {
    vec![persist(1, 2, &[]), result(101, 2, &[Read::Same(1, 2)])]
}

/// Two shuffles of one persisted RDD, joined.
pub(super) fn diamond() -> Vec<StageSpec> {
    vec![
        persist(1, 2, &[]),
        maps(2, 2, &[Read::Same(1, 2)]),
        maps(3, 2, &[Read::Same(1, 2)]),
        result(101, 2, &[Read::All(2), Read::All(3)]),
    ]
}

/// Two jobs over the same shuffle.
pub(super) fn sharing() -> [Vec<StageSpec>; 2] {
    [shuffle(), vec![maps(1, 2, &[]), result(102, 2, &[Read::All(1)])]]
}

/// Two jobs over the same two shuffles: the second job wants the first shuffle, too, and is done sooner.
pub(super) fn sharing_chain() -> [Vec<StageSpec>; 2] {
    [chain(), vec![maps(1, 2, &[]), result(102, 1, &[Read::All(1)])]]
}
