//! The actions of random graphs, each with its model. Results are compared as texts.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    path::Path,
};

use emberflow::{Context, Error, Rdd, Result, StorageLevel, Sums, testing};
use proptest::{prelude::*, sample::select};

use super::model::{NOTHING, Parts, Row, concat, function, groups, sorted, then};

/// An action.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Collect,
    Count,
    IsEmpty,
    First,
    Take(usize),
    TakeSample(bool, usize, u64),
    Top(usize),
    TakeOrderedBy(usize),
    MinAndMax,
    Reduce,
    Fold,
    Aggregate,
    AggregateRef,
    TreeReduce,
    TreeAggregate,
    Sum,
    Stats,
    Histogram,
    Quantiles,
    ApproxDistinct,
    CountByKey,
    CountByValue,
    CollectAsMap,
    ReduceByKeyLocally,
    Lookup(i64),
    LocalIter,
    RunJob,
    ForEach,
    /// Rows are counted on their way into a shuffle, which is then read twice.
    CountIntoShuffle,
    /// Rows are counted on their way into a cache, which is then read twice, and loses a partition in between.
    CountIntoCache,
    /// Rows are kept that, where there is little memory, drive others out that nobody has read for some jobs.
    Crowd,
    SaveText,
    SaveObjects,
    Unpersist,
    /// The job is cancelled at once, or when another one is done, and may have ended before.
    Cancel(bool),
    /// Nobody waits for the job.
    Abandon,
    /// A kept partition dies.
    Kill(usize),
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let plain = select(vec![
        Act::Collect,
        Act::Count,
        Act::IsEmpty,
        Act::First,
        Act::MinAndMax,
        Act::Reduce,
        Act::Fold,
        Act::Aggregate,
        Act::AggregateRef,
        Act::TreeReduce,
        Act::TreeAggregate,
        Act::Sum,
        Act::Stats,
        Act::Histogram,
        Act::Quantiles,
        Act::ApproxDistinct,
        Act::CountByKey,
        Act::CountByValue,
        Act::CollectAsMap,
        Act::ReduceByKeyLocally,
        Act::LocalIter,
        Act::RunJob,
        Act::ForEach,
        Act::CountIntoShuffle,
        Act::CountIntoCache,
        Act::Unpersist,
        Act::Cancel(false),
        Act::Cancel(true),
        Act::Abandon,
        Act::SaveText,
        Act::SaveObjects,
    ]);
    prop_oneof![
        20 => plain,
        1 => (0_usize..90).prop_map(Act::Take),
        1 => (any::<bool>(), 0_usize..20, any::<u64>()).prop_map(|(again, n, seed)| Act::TakeSample(again, n, seed)),
        1 => (0_usize..20).prop_map(Act::Top),
        1 => (0_usize..20).prop_map(Act::TakeOrderedBy),
        1 => (-2_i64..7).prop_map(Act::Lookup),
        2 => (0_usize..8).prop_map(Act::Kill),
        4 => Just(Act::Crowd),
    ]
}

fn text(result: impl Debug) -> String {
    format!("{result:?}")
}

fn in_order<V: Ord>(map: HashMap<i64, V>) -> BTreeMap<i64, V> {
    map.into_iter().collect()
}

impl Act {
    pub(super) fn on_rdd(&self, rdd: &Rdd<Row>, ctx: &Context, path: &Path) -> Result<String> {
        let functions = || rdd.map(|row| function(row.1));
        let add = |all, row: Row| then(all, function(row.1));
        Ok(match *self {
            Self::Collect => text(rdd.collect()?),
            Self::Count => text(rdd.count()?),
            Self::IsEmpty => text(rdd.is_empty()?),
            Self::First => text(rdd.first()?),
            Self::Take(n) => text(rdd.take(n)?),
            Self::TakeSample(again, n, seed) => text(rdd.take_sample(again, n, seed)?),
            Self::Top(n) => text(rdd.top(n)?),
            Self::TakeOrderedBy(n) => text(rdd.take_ordered_by(n, |row| row.1 % 10)?),
            Self::MinAndMax => text((rdd.min()?, rdd.max()?)),
            Self::Reduce => text(functions().reduce(then)?),
            Self::Fold => text(functions().fold(NOTHING, then)?),
            Self::Aggregate => text(rdd.aggregate(NOTHING, add, then)?),
            Self::AggregateRef => text(rdd.aggregate_ref(NOTHING, move |all, row| add(all, *row), then)?),
            Self::TreeReduce => text(functions().tree_reduce(then, 2)?),
            Self::TreeAggregate => text(rdd.tree_aggregate(NOTHING, add, then, 3)?),
            Self::Sum => text(rdd.values().sum()?),
            Self::Stats => {
                let stats = rdd.map(|row| 1.0 / (row.1.abs() + 1) as f64).stats()?;
                text((stats.count(), stats.sum().to_bits(), stats.variance().map(f64::to_bits)))
            }
            Self::Histogram => text(rdd.map(|row| row.1 as f64).histogram_edges(&[0.0, 100.0, 1e3, 1e9])?),
            Self::Quantiles => text(rdd.map(|row| row.1 as f64).approx_quantiles(&[0.0, 0.5, 1.0])?),
            Self::ApproxDistinct => text(rdd.count_approx_distinct(0.05)?),
            Self::CountByKey => text(in_order(rdd.count_by_key()?)),
            Self::CountByValue => text(in_order(rdd.values().count_by_value()?)),
            Self::CollectAsMap => text(in_order(rdd.collect_as_map()?)),
            Self::ReduceByKeyLocally => text(in_order(rdd.map_values(function).reduce_by_key_locally(then)?)),
            Self::Lookup(key) => text(rdd.lookup(&key)?),
            Self::LocalIter => text(rdd.to_local_iter().collect::<Result<Vec<_>>>()?),
            Self::RunJob => {
                let last = rdd.partitions().checked_sub(1);
                text(rdd.run_job(last, |_, rows| rows.collect::<Vec<_>>())?)
            }
            Self::ForEach => {
                let (sum, rows) = (ctx.long_accumulator("sum"), ctx.collection_accumulator("rows"));
                let (added, gathered) = (sum.clone(), rows.clone());
                rdd.for_each(move |row| {
                    added.add(row.1);
                    gathered.add(row);
                })?;
                text((sum.value(), sorted(&rows.value())))
            }
            Self::CountIntoShuffle | Self::CountIntoCache => {
                let rows = ctx.long_accumulator("rows");
                let counted = rows.clone();
                let passing = rdd.map(move |row| {
                    counted.add(1);
                    row
                });
                let kept = match self {
                    Self::CountIntoCache => passing.cache(),
                    _ => passing.partition_by(2),
                };
                let first = kept.count()?;
                if kept.is_cached() && kept.partitions() > 0 {
                    testing::kill_cached_partition(&kept, 0)?;
                }
                text((first, kept.count()?, rows.value()))
            }
            Self::Crowd => {
                let six_thousand = |level| ctx.range_into(0..6_000_u64, 4).persist(level);
                let old = six_thousand(StorageLevel::MemoryAndDisk);
                let first = old.count()?;
                for _ in 0..4 {
                    ctx.range_into(0..2_u64, 2).count()?;
                }
                let fresh = six_thousand(StorageLevel::MemorySerialized);
                text((first, fresh.count()?, old.sum()?, fresh.sum()?))
            }
            Self::SaveText => {
                rdd.map(|(key, n)| format!("{key} {n}")).save_as_text_file(path)?;
                text(ctx.text_file(path)?.collect()?)
            }
            Self::SaveObjects => {
                rdd.save_as_object_file(path)?;
                text(ctx.object_file::<Row>(path)?.collect()?)
            }
            Self::Unpersist => {
                rdd.unpersist();
                text(rdd.is_cached())
            }
            Self::Cancel(later) => {
                let job = rdd.glom().collect_async();
                if later {
                    ctx.range_into(0..10_u64, 2).count()?;
                }
                job.canceller().cancel();
                match job.wait() {
                    Ok(_) | Err(Error::Cancelled { .. }) => text(()),
                    Err(error) => return Err(error),
                }
            }
            Self::Abandon => {
                drop(rdd.glom().collect_async());
                text(())
            }
            Self::Kill(partition) => {
                // Whether there is one is a question of what has run, and of what has died already.
                if rdd.is_cached() && rdd.partitions() > 0 {
                    testing::kill_cached_partition(rdd, partition % rdd.partitions())?;
                }
                text(())
            }
        })
    }

    /// What it should give; those that are drawn by chance, or estimates, are what they are.
    pub(super) fn on_model(&self, parts: &Parts) -> Option<String> {
        let rows = concat(parts);
        let by_key = || groups(&rows);
        let functions = || rows.iter().map(|row| function(row.1)).reduce(then);
        let front = |mut rows: Vec<Row>, n: usize| {
            rows.truncate(n);
            rows
        };
        Some(match *self {
            Self::Collect | Self::LocalIter | Self::SaveObjects => text(rows),
            Self::SaveText => text(rows.iter().map(|(key, n)| format!("{key} {n}")).collect::<Vec<_>>()),
            Self::Count => text(rows.len()),
            Self::IsEmpty => text(rows.is_empty()),
            Self::First => text(rows.first()),
            Self::Take(n) => text(front(rows, n)),
            Self::Top(n) => text(front(sorted(&rows).into_iter().rev().collect(), n)),
            Self::TakeOrderedBy(n) => {
                let mut rows = rows;
                rows.sort_by_key(|row| row.1 % 10);
                text(front(rows, n))
            }
            Self::MinAndMax => text((rows.iter().min(), rows.iter().max())),
            Self::Reduce | Self::TreeReduce => text(functions()),
            Self::Fold | Self::Aggregate | Self::AggregateRef | Self::TreeAggregate => {
                text(functions().unwrap_or(NOTHING))
            }
            Self::Sum => text(rows.iter().map(|row| row.1).sum::<i64>()),
            Self::Histogram => {
                let within = |from: i64, to: i64| rows.iter().filter(|row| (from..to).contains(&row.1)).count();
                text([within(0, 100), within(100, 1000), within(1000, 1_000_000_001)])
            }
            Self::CountByKey => {
                text(by_key().into_iter().map(|(key, all)| (key, all.len())).collect::<BTreeMap<_, _>>())
            }
            Self::CountByValue => {
                let swapped: Vec<Row> = rows.iter().map(|(key, n)| (*n, *key)).collect();
                text(groups(&swapped).into_iter().map(|(n, all)| (n, all.len())).collect::<BTreeMap<_, _>>())
            }
            Self::CollectAsMap => text(rows.into_iter().collect::<BTreeMap<_, _>>()),
            Self::ReduceByKeyLocally => {
                let of = |all: Vec<i64>| all.into_iter().map(function).reduce(then).expect("no group is empty");
                text(by_key().into_iter().map(|(key, all)| (key, of(all))).collect::<BTreeMap<_, _>>())
            }
            Self::Lookup(key) => text(by_key().remove(&key).unwrap_or_default()),
            Self::RunJob => text((0..).zip(parts).last().into_iter().collect::<Vec<(usize, _)>>()),
            Self::ForEach => text((rows.iter().map(|row| row.1).sum::<i64>(), sorted(&rows))),
            Self::CountIntoShuffle | Self::CountIntoCache => text((rows.len(), rows.len(), rows.len())),
            Self::Crowd => text((6_000, 6_000, 17_997_000, 17_997_000)),
            Self::Unpersist => text(false),
            Self::Cancel(_) | Self::Abandon | Self::Kill(_) => text(()),
            Self::TakeSample(..) | Self::Stats | Self::Quantiles | Self::ApproxDistinct => return None,
        })
    }
}
