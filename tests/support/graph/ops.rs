//! The operators of random graphs, each with its model.
//!
//! Those that can give more rows than they read take only the first ones of each partition, so that no graph explodes.

use std::{collections::BTreeMap, ops::Bound, path::Path};

use emberflow::{Context, Rdd, Result, StorageLevel};
use proptest::{prelude::*, sample::select};

use super::model::{NOTHING, Parts, Promise, Row, concat, cut, digest, front, function, groups, mix, sorted, then};

/// How many rows of a partition an operator reads that gives several for one.
const MANY: usize = 40;
/// How many rows of a partition an operator reads that pairs rows.
const FEW: usize = 8;
/// How many partitions a union has at most.
const WIDEST: usize = 8;
/// The parameter of closures that capture nothing.
const FIXED: i64 = 3;

/// An operator, or a few that belong together.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Map,
    MapCapturing(i64),
    MapRef,
    MapRefWith(i64),
    MapWith(i64),
    TryMap,
    TryMapWith(i64),
    Rekey(i64),
    Filter,
    FilterWith(i64),
    FilterByRange(i64, i64),
    Flat(Flat, i64),
    RunningSum,
    WithPartitionIndex,
    WithPartitionIndexAnd(i64),
    PartitionsWith(i64),
    MapValues,
    MapValuesWith(i64),
    KeysZipValues,
    Glom,
    ZipWithIndex,
    ZipWithUniqueId,
    ZipPartitions,
    ZipPartitionsWith(i64),
    Pipe,
    Broadcast(i64),
    Sample(bool, f64, u64),
    SampleByKey(bool, f64, u64),
    RandomSplit(u64),
    Coalesce(usize),
    Union,
    UnionOfThree(usize),
    Cartesian,
    Persist(StorageLevel),
    PersistText(StorageLevel),
    Checkpoint,
    LocalCheckpoint,
    ObjectFile,
    TextFile,
    Repartition(usize),
    PartitionBy(usize),
    ReduceByKey(usize),
    ReduceByKeyFirst(usize),
    FoldByKey(usize),
    AggregateByKey(usize),
    CombineByKey(usize),
    FlatMapReduceByKey(usize),
    GroupByKey(usize),
    GroupBy(i64),
    ApproxDistinctByKey(usize),
    Distinct(usize),
    Subtract(usize),
    Intersection(usize),
    Join(usize),
    LeftOuterJoin(usize),
    RightOuterJoin(usize),
    FullOuterJoin(usize),
    LeftSemiJoin,
    SubtractByKey(usize),
    BroadcastJoin,
    BroadcastLeftOuterJoin,
    Cogroup(usize),
    Cogroup3,
    Cogroup4,
    SortBy(bool, usize),
    SortByKey(usize),
    SortByKeyDesc,
    RepartitionAndSort(usize),
}

/// Forms of `flat_map`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flat {
    Map,
    With,
    Ref,
    RefWith,
    Extend,
    ExtendWith,
    Values,
    ValuesWith,
}

impl Flat {
    /// Those whose closures capture nothing have a parameter that is a constant.
    fn is_fixed(self) -> bool {
        matches!(self, Self::Map | Self::Ref | Self::Extend | Self::Values)
    }
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![10 => narrow(), 2 => at_random(), 3 => kept(), 5 => by_key(), 4 => of_two(), 2 => in_order()]
}

fn narrow() -> impl Strategy<Value = Op> {
    use Flat::{Extend, ExtendWith, Map, Ref, RefWith, Values, ValuesWith, With};
    let flat = select(vec![Map, With, Ref, RefWith, Extend, ExtendWith, Values, ValuesWith]);
    prop_oneof![
        2 => Just(Op::Map),
        1 => (-9_i64..9).prop_map(Op::MapCapturing),
        1 => Just(Op::MapRef),
        1 => (-9_i64..9).prop_map(Op::MapRefWith),
        1 => (-9_i64..9).prop_map(Op::MapWith),
        1 => Just(Op::TryMap),
        1 => (-9_i64..9).prop_map(Op::TryMapWith),
        3 => (1_i64..40).prop_map(Op::Rekey),
        1 => Just(Op::Filter),
        1 => (1_i64..5).prop_map(Op::FilterWith),
        1 => (-1_i64..3, 2_i64..6).prop_map(|(from, to)| Op::FilterByRange(from, to)),
        3 => (flat, 1_i64..4).prop_map(|(form, by)| Op::Flat(form, if form.is_fixed() { FIXED } else { by })),
        1 => Just(Op::RunningSum),
        1 => Just(Op::WithPartitionIndex),
        1 => (-9_i64..9).prop_map(Op::WithPartitionIndexAnd),
        1 => (-9_i64..9).prop_map(Op::PartitionsWith),
        1 => Just(Op::MapValues),
        1 => (-9_i64..9).prop_map(Op::MapValuesWith),
        1 => Just(Op::KeysZipValues),
        1 => Just(Op::Glom),
        1 => Just(Op::ZipWithIndex),
        1 => Just(Op::ZipWithUniqueId),
        2 => Just(Op::ZipPartitions),
        1 => (-9_i64..9).prop_map(Op::ZipPartitionsWith),
        1 => (-9_i64..9).prop_map(Op::Broadcast),
        1 => (1_usize..5).prop_map(Op::Coalesce),
        2 => Just(Op::Union),
        1 => (1_usize..9).prop_map(Op::UnionOfThree),
        1 => Just(Op::Cartesian),
    ]
}

fn at_random() -> impl Strategy<Value = Op> {
    let sample = || (any::<bool>(), 0.0..=1.0, any::<u64>());
    prop_oneof![
        sample().prop_map(|(again, fraction, seed)| Op::Sample(again, fraction, seed)),
        sample().prop_map(|(again, fraction, seed)| Op::SampleByKey(again, fraction, seed)),
        any::<u64>().prop_map(Op::RandomSplit),
    ]
}

fn kept() -> impl Strategy<Value = Op> {
    use StorageLevel::{Auto, DiskOnly, MemoryAndDisk, MemoryOnly, MemorySerialized, Off};
    let level = || select(vec![MemoryAndDisk, Auto, MemoryOnly, MemorySerialized, DiskOnly, Off]);
    prop_oneof![
        6 => level().prop_map(Op::Persist),
        3 => level().prop_map(Op::PersistText),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::LocalCheckpoint),
        1 => Just(Op::ObjectFile),
        1 => Just(Op::TextFile),
        1 => Just(Op::Pipe),
    ]
}

fn by_key() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1_usize..5).prop_map(Op::Repartition),
        (1_usize..5).prop_map(Op::PartitionBy),
        (1_usize..5).prop_map(Op::ReduceByKey),
        (1_usize..5).prop_map(Op::ReduceByKeyFirst),
        (1_usize..5).prop_map(Op::FoldByKey),
        (1_usize..5).prop_map(Op::AggregateByKey),
        (1_usize..5).prop_map(Op::CombineByKey),
        (1_usize..5).prop_map(Op::FlatMapReduceByKey),
        (1_usize..5).prop_map(Op::GroupByKey),
        (1_i64..9).prop_map(Op::GroupBy),
        (1_usize..5).prop_map(Op::ApproxDistinctByKey),
        (1_usize..5).prop_map(Op::Distinct),
    ]
}

fn of_two() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1_usize..5).prop_map(Op::Subtract),
        (1_usize..5).prop_map(Op::Intersection),
        (1_usize..5).prop_map(Op::Join),
        (1_usize..5).prop_map(Op::LeftOuterJoin),
        (1_usize..5).prop_map(Op::RightOuterJoin),
        (1_usize..5).prop_map(Op::FullOuterJoin),
        Just(Op::LeftSemiJoin),
        (1_usize..5).prop_map(Op::SubtractByKey),
        Just(Op::BroadcastJoin),
        Just(Op::BroadcastLeftOuterJoin),
        (1_usize..5).prop_map(Op::Cogroup),
        Just(Op::Cogroup3),
        Just(Op::Cogroup4),
    ]
}

fn in_order() -> impl Strategy<Value = Op> {
    prop_oneof![
        (any::<bool>(), 1_usize..5).prop_map(|(down, into)| Op::SortBy(down, into)),
        (1_usize..5).prop_map(Op::SortByKey),
        Just(Op::SortByKeyDesc),
        (1_usize..5).prop_map(Op::RepartitionAndSort),
    ]
}

/// The first rows of each partition, which are then not read to their end.
fn front_of(rdd: &Rdd<Row>, rows: usize) -> Rdd<Row> {
    rdd.map_partitions_with(rows, |rows, all| all.take(*rows))
}

fn text((key, value): Row) -> String {
    format!("{key} {value}")
}

/// As a text of any length up to a kilobyte.
fn long_text((key, value): Row) -> String {
    format!("{key} {value} {}", ".".repeat(value.unsigned_abs() as usize * 7 % 1024))
}

fn row(text: String) -> Row {
    let mut numbers = text.split(' ').map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a key"), numbers.next().expect("a value"))
}

fn maybe(value: Option<i64>) -> i64 {
    value.unwrap_or(-1)
}

/// What comes of each row in `flat_map`.
fn several((key, value): Row, by: i64) -> Vec<Row> {
    (0..value.rem_euclid(by + 1)).map(|more| (key, mix(value, more))).collect()
}

/// What keys emit in `flat_map_reduce_by_key`: some of them longer than what is kept inside a table.
fn emitted((key, value): Row) -> String {
    format!("{} {}", key, "7".repeat(1 + (value.rem_euclid(2) * 14) as usize))
}

impl Op {
    /// Whether it reads the second input, too.
    pub(super) fn reads_both(&self) -> bool {
        use Op::*;
        matches!(
            self,
            ZipPartitions
                | ZipPartitionsWith(_)
                | Union
                | UnionOfThree(_)
                | Cartesian
                | Subtract(_)
                | Intersection(_)
                | Join(_)
                | LeftOuterJoin(_)
                | RightOuterJoin(_)
                | FullOuterJoin(_)
                | LeftSemiJoin
                | SubtractByKey(_)
                | BroadcastJoin
                | BroadcastLeftOuterJoin
                | Cogroup(_)
                | Cogroup3
                | Cogroup4
        )
    }

    pub(super) fn on_rdds(&self, a: &Rdd<Row>, b: &Rdd<Row>, ctx: &Context, path: &Path) -> Result<Rdd<Row>> {
        Ok(match *self {
            Self::Map => a.map(|(key, value)| (key, mix(value, FIXED))),
            Self::MapCapturing(by) => a.map(move |(key, value)| (key, mix(value, by))),
            Self::MapRef => a.map_ref(|row| (row.0, mix(row.1, FIXED))),
            Self::MapRefWith(by) => a.map_ref_with(by, |by, row| (row.0, mix(row.1, *by))),
            Self::MapWith(by) => a.map_with(by, |by, (key, value)| (key, mix(value, *by))),
            Self::TryMap => a.try_map(|(key, value)| value.checked_add(FIXED).map(|n| (key, n)).ok_or("overflow")),
            Self::TryMapWith(by) => {
                a.try_map_with(by, |by, (key, value)| value.checked_add(*by).map(|n| (key, n)).ok_or("overflow"))
            }
            Self::Rekey(by) => {
                let keyed = match by {
                    FIXED => a.key_by(|row| row.1.rem_euclid(FIXED)),
                    _ => a.key_by_with(by, |by, row| row.1.rem_euclid(*by)),
                };
                keyed.map(|(key, (old, n))| (key, mix(old, n)))
            }
            Self::Filter => a.filter(|row| row.1 % FIXED == 0),
            Self::FilterWith(by) => a.filter_with(by, |by, row| row.1 % by == 0),
            Self::FilterByRange(from, to) => a.filter_by_range((Bound::Excluded(from), Bound::Included(to))),
            Self::Flat(form, by) => {
                let a = front_of(a, MANY);
                match form {
                    Flat::Map => a.flat_map(|row| several(row, FIXED)),
                    Flat::With => a.flat_map_with(by, |by, row| several(row, *by)),
                    Flat::Ref => a.flat_map_ref(|row, out| out.extend(several(*row, FIXED))),
                    Flat::RefWith => a.flat_map_ref_with(by, |by, row, out| out.extend(several(*row, *by))),
                    Flat::Extend => a.flat_map_extend(|row, out| out.extend(several(*row, FIXED))),
                    Flat::ExtendWith => a.flat_map_extend_with(by, |by, row, out| out.extend(several(*row, *by))),
                    Flat::Values => a.flat_map_values(|n| several((0, n), FIXED).into_iter().map(|(_, n)| n)),
                    Flat::ValuesWith => {
                        a.flat_map_values_with(by, |by, n| several((0, n), *by).into_iter().map(|(_, n)| n))
                    }
                }
            }
            Self::RunningSum => a.map_partitions(|rows| rows.scan(0, running_sum)),
            Self::WithPartitionIndex => {
                a.map_partitions_with_index(|at, rows| rows.map(move |(key, n)| (key, mix(n, at as i64))))
            }
            Self::WithPartitionIndexAnd(by) => a.map_partitions_with_index_with(by, |by, at, rows| {
                let by = mix(*by, at as i64);
                rows.map(move |(key, n)| (key, mix(n, by)))
            }),
            Self::PartitionsWith(by) => {
                a.map_partitions_with(by, |by, rows| [(*by, digest(rows.map(|row| row.1).collect::<Vec<_>>().iter()))])
            }
            Self::MapValues => a.map_values(|n| mix(n, FIXED)),
            Self::MapValuesWith(by) => a.map_values_with(by, |by, n| mix(n, *by)),
            Self::KeysZipValues => a.keys().zip(&a.values()),
            Self::Glom => a.glom().flat_map(|rows| rows.into_iter().rev()),
            Self::ZipWithIndex => a.zip_with_index().map(|((key, n), at)| (key, mix(n, at as i64))),
            Self::ZipWithUniqueId => a.zip_with_unique_id().map(|((key, n), id)| (key, mix(n, id as i64))),
            Self::ZipPartitions => {
                let b = if a.partitions() == b.partitions() { b } else { a };
                a.zip_partitions(b, |a, b| {
                    let b = b.map(|row| row.1).collect::<Vec<_>>();
                    a.map(move |(key, n)| (key, mix(n, digest(&b)))).collect::<Vec<_>>()
                })
            }
            Self::ZipPartitionsWith(by) => {
                let b = if a.partitions() == b.partitions() { b } else { a };
                a.zip_partitions_with(b, by, |by, a, b| {
                    let by = mix(*by, digest(&b.map(|row| row.1).collect::<Vec<_>>()));
                    a.map(move |(key, n)| (key, mix(n, by)))
                })
            }
            Self::Pipe => a.map(text).pipe(["cat"]).map(row),
            Self::Broadcast(by) => {
                let shared = ctx.broadcast(vec![by; 100]);
                a.map_with(shared, |shared, (key, n)| (key, mix(n, shared[n.rem_euclid(100) as usize])))
            }
            Self::Sample(again, fraction, seed) => front_of(a, MANY).sample(again, fraction, seed),
            Self::SampleByKey(again, fraction, seed) => {
                let of = |fraction: &f64, key: &i64| if key % 2 == 0 { *fraction } else { 1.0 - fraction };
                let a = front_of(a, MANY);
                match seed % 2 {
                    0 => a.sample_by_key_with(fraction, again, of, seed),
                    _ => a.sample_by_key(again, |key| if key % 2 == 0 { 0.75 } else { 0.25 }, seed),
                }
            }
            Self::RandomSplit(seed) => ctx.union(&a.random_split(&[0.5, 0.2, 0.3], seed)),
            Self::Coalesce(into) => a.coalesce(into),
            Self::Union => front_of(a, MANY).union(&front_of(b, MANY)).coalesce(WIDEST),
            Self::UnionOfThree(into) => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, MANY));
                ctx.union(&[a.clone(), b, a]).coalesce(into)
            }
            Self::Cartesian => {
                let [a, b] = [a, b].map(|rdd| front_of(&front_of(rdd, FEW).coalesce(2), FEW));
                a.cartesian(&b).map(|((key, n), (other, m))| (key, mix(n, mix(other, m))))
            }
            // What is kept is another RDD than the one that is read: that may be kept already, at another level.
            Self::Persist(level) => a.map(|row| row).persist(level),
            Self::PersistText(level) => a.map(long_text).persist(level).map(row),
            Self::Checkpoint => a.checkpoint()?,
            Self::LocalCheckpoint => a.local_checkpoint()?,
            Self::ObjectFile => {
                a.save_as_object_file(path)?;
                ctx.object_file(path)?
            }
            Self::TextFile => {
                a.map(text).save_as_text_file(path)?;
                ctx.text_file(path)?.map(row)
            }
            Self::Repartition(into) => a.repartition(into),
            Self::PartitionBy(into) => a.partition_by(into),
            Self::ReduceByKey(into) => a.map_values(function).reduce_by_key_into(then, into),
            Self::ReduceByKeyFirst(into) => a.reduce_by_key_into(|first, _| first, into),
            Self::FoldByKey(into) => a.map_values(function).fold_by_key_into(NOTHING, then, into),
            Self::AggregateByKey(into) => a.aggregate_by_key_into(NOTHING, |all, n| then(all, function(n)), then, into),
            Self::CombineByKey(into) => a
                .combine_by_key_into(|n| vec![n], |all, n| [all, vec![n]].concat(), |a, b| [a, b].concat(), into)
                .map_values(|all| digest(&all)),
            Self::FlatMapReduceByKey(into) => {
                let texts = front_of(a, MANY).map(emitted);
                let sums: Rdd<(String, i64)> = texts.flat_map_reduce_by_key_into(
                    |text, pairs| text.split(' ').for_each(|word| pairs.push(word, function(text.len() as i64))),
                    then,
                    into,
                );
                sums.map(|(word, n)| (word.len() as i64, mix(n, digest_of(&word))))
            }
            Self::GroupByKey(into) => a.group_by_key_into(into).map_values(|all| digest(&all)),
            Self::GroupBy(by) => {
                let groups = match by {
                    FIXED => a.group_by(|row| row.1.rem_euclid(FIXED)),
                    _ => a.group_by_with(by, |by, row| row.1.rem_euclid(*by)),
                };
                groups.map(|(key, rows)| (key, digest(rows.iter().map(|row| row.1).collect::<Vec<_>>().iter())))
            }
            Self::ApproxDistinctByKey(into) => {
                a.count_approx_distinct_by_key_into(0.05, into).map_values(|count| i64::from(count > 0))
            }
            Self::Distinct(into) => a.distinct_into(into),
            Self::Subtract(into) => a.subtract_into(b, into),
            Self::Intersection(into) => a.intersection_into(b, into),
            Self::Join(into) => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.join_into(&b, into).map_values(|(n, m)| mix(n, m))
            }
            Self::LeftOuterJoin(into) => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.left_outer_join_into(&b, into).map_values(|(n, m)| mix(n, maybe(m)))
            }
            Self::RightOuterJoin(into) => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.right_outer_join_into(&b, into).map_values(|(n, m)| mix(maybe(n), m))
            }
            Self::FullOuterJoin(into) => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.full_outer_join_into(&b, into).map_values(|(n, m)| mix(maybe(n), maybe(m)))
            }
            Self::LeftSemiJoin => a.left_semi_join(b),
            Self::SubtractByKey(into) => a.subtract_by_key_into(b, into),
            Self::BroadcastJoin => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.broadcast_join(&b).map_values(|(n, m)| mix(n, m))
            }
            Self::BroadcastLeftOuterJoin => {
                let [a, b] = [a, b].map(|rdd| front_of(rdd, FEW));
                a.broadcast_left_outer_join(&b).map_values(|(n, m)| mix(n, maybe(m)))
            }
            Self::Cogroup(into) => a.cogroup_into(b, into).map_values(|(n, m)| mix(digest(&n), digest(&m))),
            Self::Cogroup3 => a.cogroup3(b, a).map_values(|(n, m, o)| mix(mix(digest(&n), digest(&m)), digest(&o))),
            Self::Cogroup4 => a
                .cogroup4(b, a, b)
                .map_values(|(n, m, o, p)| mix(mix(digest(&n), digest(&m)), mix(digest(&o), digest(&p)))),
            Self::SortBy(false, into) => a.sort_by_into(|row| row.1 % 50, into),
            Self::SortBy(true, into) => a.sort_by_desc_into(|row| row.1 % 50, into),
            Self::SortByKey(into) => a.sort_by_key_into(into),
            Self::SortByKeyDesc => a.sort_by_key_desc(),
            Self::RepartitionAndSort(into) => a.repartition_and_sort_within_partitions(into),
        })
    }

    /// What is promised of the rows, given those of the inputs.
    pub(super) fn promise(&self, a: &Parts, b: &Parts) -> Promise {
        let each = |rows: &Parts, f: &dyn Fn(Row) -> Vec<Row>| -> Parts {
            rows.iter().map(|part| part.iter().flat_map(|row| f(*row)).collect()).collect()
        };
        let exact = |f: &dyn Fn(Row) -> Vec<Row>| Promise::Exact(each(a, f));
        let parts = |f: &dyn Fn(usize, &[Row]) -> Vec<Row>| {
            Promise::Exact(a.iter().enumerate().map(|(at, rows)| f(at, rows)).collect())
        };
        let of_groups = |f: &dyn Fn(&[i64]) -> i64| {
            Promise::AnyOrder(groups(&concat(a)).into_iter().map(|(key, all)| (key, f(&all))).collect())
        };
        let functions = |all: &[i64]| all.iter().map(|n| function(*n)).reduce(then).expect("no group is empty");
        let coalesced = |parts: Parts, into: usize| -> Parts {
            let into = into.min(parts.len());
            cut(&parts, into).iter().map(concat).collect()
        };
        let few = |parts: &Parts| concat(&front(parts, FEW));
        match *self {
            Self::Map | Self::MapRef | Self::MapValues => exact(&|(key, n)| vec![(key, mix(n, FIXED))]),
            Self::MapCapturing(by) | Self::MapRefWith(by) | Self::MapWith(by) | Self::MapValuesWith(by) => {
                exact(&|(key, n)| vec![(key, mix(n, by))])
            }
            Self::Broadcast(by) => exact(&|(key, n)| vec![(key, mix(n, by))]),
            Self::TryMap => exact(&|(key, n)| vec![(key, n + FIXED)]),
            Self::TryMapWith(by) => exact(&|(key, n)| vec![(key, n + by)]),
            Self::Rekey(by) => exact(&|(key, n)| vec![(n.rem_euclid(by), mix(key, n))]),
            Self::Filter => exact(&|row| if row.1 % FIXED == 0 { vec![row] } else { vec![] }),
            Self::FilterWith(by) => exact(&|row| if row.1 % by == 0 { vec![row] } else { vec![] }),
            Self::FilterByRange(from, to) => exact(&|row| if row.0 > from && row.0 <= to { vec![row] } else { vec![] }),
            Self::Flat(_, by) => Promise::Exact(each(&front(a, MANY), &|row| several(row, by))),
            Self::RunningSum => parts(&|_, rows| rows.iter().copied().scan(0, running_sum).collect()),
            Self::WithPartitionIndex => {
                parts(&|at, rows| rows.iter().map(|(key, n)| (*key, mix(*n, at as i64))).collect())
            }
            Self::WithPartitionIndexAnd(by) => {
                parts(&|at, rows| rows.iter().map(|(key, n)| (*key, mix(*n, mix(by, at as i64)))).collect())
            }
            Self::PartitionsWith(by) => parts(&|_, rows| vec![(by, digest(rows.iter().map(|row| &row.1)))]),
            Self::KeysZipValues
            | Self::Pipe
            | Self::Persist(_)
            | Self::PersistText(_)
            | Self::Checkpoint
            | Self::LocalCheckpoint
            | Self::ObjectFile => Promise::Exact(a.clone()),
            Self::TextFile => Promise::InOrder(concat(a), None),
            Self::Glom => parts(&|_, rows| rows.iter().rev().copied().collect()),
            Self::ZipWithIndex => {
                let before = |at: usize| a[..at].iter().map(Vec::len).sum::<usize>() as i64;
                parts(&|at, rows| (before(at)..).zip(rows).map(|(at, (key, n))| (*key, mix(*n, at))).collect())
            }
            Self::ZipWithUniqueId => parts(&|at, rows| {
                let ids = (at as i64..).step_by(a.len());
                ids.zip(rows).map(|(id, (key, n))| (*key, mix(*n, id))).collect()
            }),
            Self::ZipPartitions => {
                let b = if a.len() == b.len() { b } else { a };
                parts(&|at, rows| {
                    let other = digest(b[at].iter().map(|row| &row.1));
                    rows.iter().map(|(key, n)| (*key, mix(*n, other))).collect()
                })
            }
            Self::ZipPartitionsWith(by) => {
                let b = if a.len() == b.len() { b } else { a };
                parts(&|at, rows| {
                    let by = mix(by, digest(b[at].iter().map(|row| &row.1)));
                    rows.iter().map(|(key, n)| (*key, mix(*n, by))).collect()
                })
            }
            Self::Sample(again, ..) | Self::SampleByKey(again, ..) => {
                Promise::Some(front(a, MANY), if again { usize::MAX } else { 1 })
            }
            Self::RandomSplit(_) => Promise::Split(a.clone(), 3),
            Self::Coalesce(into) => Promise::Exact(coalesced(a.clone(), into)),
            Self::Union => Promise::Exact(coalesced([front(a, MANY), front(b, MANY)].concat(), WIDEST)),
            Self::UnionOfThree(into) => {
                let [a, b] = [a, b].map(|rows| front(rows, MANY));
                Promise::Exact(coalesced([a.clone(), b, a].concat(), into))
            }
            Self::Cartesian => {
                let [a, b] = [a, b].map(|rows| front(&coalesced(front(rows, FEW), 2), FEW));
                let pairs = |rows: &[Row], others: &[Row]| {
                    let pairs = rows.iter().flat_map(|row| others.iter().map(move |other| (*row, *other)));
                    pairs.map(|((key, n), (other, m))| (key, mix(n, mix(other, m)))).collect()
                };
                Promise::Exact(a.iter().flat_map(|rows| b.iter().map(move |others| pairs(rows, others))).collect())
            }
            Self::Repartition(_) => Promise::AnyOrder(concat(a)),
            Self::PartitionBy(_) => Promise::KeysInOrder(concat(a)),
            Self::ReduceByKey(_) | Self::FoldByKey(_) | Self::AggregateByKey(_) => of_groups(&functions),
            Self::ReduceByKeyFirst(_) => of_groups(&|all| all[0]),
            Self::CombineByKey(_) | Self::GroupByKey(_) => of_groups(&|all| digest(all)),
            Self::FlatMapReduceByKey(_) => {
                let mut sums: BTreeMap<String, i64> = BTreeMap::new();
                for text in concat(&front(a, MANY)).into_iter().map(emitted) {
                    for word in text.split(' ') {
                        let len = function(text.len() as i64);
                        sums.entry(word.to_owned()).and_modify(|all| *all = then(*all, len)).or_insert(len);
                    }
                }
                Promise::AnyOrder(
                    sums.into_iter().map(|(word, n)| (word.len() as i64, mix(n, digest_of(&word)))).collect(),
                )
            }
            Self::GroupBy(by) => {
                let keyed: Vec<Row> = concat(a).into_iter().map(|row| (row.1.rem_euclid(by), row.1)).collect();
                Promise::AnyOrder(groups(&keyed).into_iter().map(|(key, all)| (key, digest(&all))).collect())
            }
            Self::ApproxDistinctByKey(_) => of_groups(&|_| 1),
            Self::Distinct(_) => Promise::AnyOrder(distinct(concat(a))),
            Self::Subtract(_) => {
                let others = concat(b);
                Promise::AnyOrder(concat(a).into_iter().filter(|row| !others.contains(row)).collect())
            }
            Self::Intersection(_) => {
                let others = concat(b);
                Promise::AnyOrder(distinct(concat(a).into_iter().filter(|row| others.contains(row)).collect()))
            }
            Self::Join(_) | Self::BroadcastJoin => Promise::AnyOrder(joined(&few(a), &few(b), false, false)),
            Self::LeftOuterJoin(_) | Self::BroadcastLeftOuterJoin => {
                Promise::AnyOrder(joined(&few(a), &few(b), true, false))
            }
            Self::RightOuterJoin(_) => Promise::AnyOrder(joined(&few(a), &few(b), false, true)),
            Self::FullOuterJoin(_) => Promise::AnyOrder(joined(&few(a), &few(b), true, true)),
            Self::LeftSemiJoin | Self::SubtractByKey(_) => {
                let (keys, wanted) = (groups(&concat(b)), matches!(self, Self::LeftSemiJoin));
                Promise::AnyOrder(concat(a).into_iter().filter(|row| keys.contains_key(&row.0) == wanted).collect())
            }
            Self::Cogroup(_) => cogrouped(a, b, &|n, m| mix(n, m)),
            Self::Cogroup3 => cogrouped(a, b, &|n, m| mix(mix(n, m), n)),
            Self::Cogroup4 => cogrouped(a, b, &|n, m| mix(mix(n, m), mix(n, m))),
            Self::SortBy(down, into) => {
                let mut rows = concat(a);
                match down {
                    true => rows.sort_by_key(|row| std::cmp::Reverse(row.1 % 50)),
                    false => rows.sort_by_key(|row| row.1 % 50),
                }
                Promise::InOrder(rows, Some(into))
            }
            Self::SortByKey(_) | Self::SortByKeyDesc => {
                let mut rows = concat(a);
                match self {
                    Self::SortByKeyDesc => rows.sort_by_key(|row| std::cmp::Reverse(row.0)),
                    _ => rows.sort_by_key(|row| row.0),
                }
                Promise::InOrder(rows, None)
            }
            Self::RepartitionAndSort(_) => Promise::SortedParts(concat(a)),
        }
    }
}

fn running_sum(sum: &mut i64, (key, n): Row) -> Option<Row> {
    *sum = mix(*sum, n);
    Some((key, *sum))
}

fn digest_of(word: &str) -> i64 {
    word.bytes().fold(7, |all, byte| mix(all, i64::from(byte)))
}

fn distinct(rows: Vec<Row>) -> Vec<Row> {
    let mut rows = sorted(&rows);
    rows.dedup();
    rows
}

/// All pairs of values of a key; those without a partner, too, if they are wanted.
fn joined(a: &[Row], b: &[Row], all_left: bool, all_right: bool) -> Vec<Row> {
    let (lefts, rights) = (groups(a), groups(b));
    let pairs = a.iter().flat_map(|(key, n)| {
        let found = rights.get(key).into_iter().flatten().map(|m| Some(*m)).collect::<Vec<_>>();
        let found = if found.is_empty() && all_left { vec![None] } else { found };
        found.into_iter().map(|m| (*key, mix(*n, maybe(m)))).collect::<Vec<_>>()
    });
    let alone = b.iter().filter(|row| all_right && !lefts.contains_key(&row.0)).map(|(key, m)| (*key, mix(-1, *m)));
    pairs.chain(alone).collect()
}

fn cogrouped(a: &Parts, b: &Parts, f: &dyn Fn(i64, i64) -> i64) -> Promise {
    let (lefts, rights) = (groups(&concat(a)), groups(&concat(b)));
    let keys = sorted(&lefts.keys().chain(rights.keys()).copied().collect::<Vec<_>>());
    let values = |of: &BTreeMap<i64, Vec<i64>>, key: &i64| digest(of.get(key).into_iter().flatten());
    let mut rows: Vec<Row> = keys.iter().map(|key| (*key, f(values(&lefts, key), values(&rights, key)))).collect();
    rows.dedup();
    Promise::AnyOrder(rows)
}
