//! The edges: no rows, no partitions, partitions without rows, a hundred thousand partitions, deep lineage, rows of no
//! size and of much, and arguments that mean nothing.

mod support;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    hash::{Hash, Hasher},
    time::Duration,
};

use emberflow::{Context, Error, Event, HashPartitioner, Rdd, Result};
use serde::{Deserialize, Serialize};

use self::support::{World, sorted, within_deadline};

/// What an operator or an action gives, as text, and what it should give for these rows.
type Case = (&'static str, fn(&Rdd<i64>) -> Result<String>, fn(&[i64]) -> String);

fn text(value: impl Debug) -> String {
    format!("{value:?}")
}

fn any_order<T: Ord + Debug>(rows: Result<Vec<T>>) -> Result<String> {
    rows.map(|rows| text(sorted(rows)))
}

fn keyed(rdd: &Rdd<i64>) -> Rdd<(i64, i64)> {
    rdd.map(|n| (n % 3, n))
}

fn groups(rows: &[i64]) -> BTreeMap<i64, Vec<i64>> {
    let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    rows.iter().for_each(|n| groups.entry(n % 3).or_default().push(*n));
    groups
}

fn sums(rows: &[i64]) -> String {
    text(groups(rows).into_iter().map(|(key, rows)| (key, rows.iter().sum())).collect::<Vec<(i64, i64)>>())
}

fn group_rows(rows: &[i64]) -> String {
    text(groups(rows).into_iter().collect::<Vec<_>>())
}

fn distinct(rows: &[i64]) -> Vec<i64> {
    let mut rows = sorted(rows.to_vec());
    rows.dedup();
    rows
}

const CASES: &[Case] = &[
    ("collect", |r| r.collect().map(text), |v| text(v)),
    ("count", |r| r.count().map(text), |v| text(v.len())),
    ("first", |r| r.first().map(text), |v| text(v.first())),
    ("take", |r| r.take(2).map(text), |v| text(&v[..v.len().min(2)])),
    ("reduce", |r| r.reduce(|a, b| a + b).map(text), |v| text(v.iter().copied().reduce(|a, b| a + b))),
    ("fold", |r| r.fold(0, |a, b| a + b).map(text), |v| text(v.iter().sum::<i64>())),
    ("aggregate", |r| r.aggregate(0, |n, _| n + 1, |a, b| a + b).map(text), |v| text(v.len())),
    ("for_each", |r| r.for_each(|_| {}).map(text), |_| text(())),
    ("for_each_partition", |r| r.for_each_partition(|rows| rows.for_each(drop)).map(text), |_| text(())),
    ("top", |r| r.top(2).map(text), |v| text(sorted(v.to_vec()).into_iter().rev().take(2).collect::<Vec<_>>())),
    ("top_by", |r| r.top_by(9, |n| *n).map(text), |v| text(sorted(v.to_vec()).into_iter().rev().collect::<Vec<_>>())),
    ("take_ordered", |r| r.take_ordered(9).map(text), |v| text(sorted(v.to_vec()))),
    ("take_ordered_by", |r| r.take_ordered_by(9, |n| *n).map(text), |v| text(sorted(v.to_vec()))),
    ("count_by_value", |r| r.count_by_value().map(|m| text(m.len())), |v| text(distinct(v).len())),
    ("count_by_key", |r| keyed(r).count_by_key().map(|m| text(m.len())), |v| text(groups(v).len())),
    ("collect_as_map", |r| keyed(r).collect_as_map().map(|m| text(m.len())), |v| text(groups(v).len())),
    ("map", |r| r.map(|n| n + 1).collect().map(text), |v| text(v.iter().map(|n| n + 1).collect::<Vec<_>>())),
    (
        "map_with",
        |r| r.map_with(1, |by, n| n + by).collect().map(text),
        |v| text(v.iter().map(|n| n + 1).collect::<Vec<_>>()),
    ),
    ("try_map", |r| r.try_map(Ok::<_, std::fmt::Error>).collect().map(text), |v| text(v)),
    ("filter", |r| r.filter(|_| true).collect().map(text), |v| text(v)),
    ("filter to nothing", |r| r.filter(|_| false).collect().map(text), |_| text([] as [i64; 0])),
    ("flat_map", |r| r.flat_map(|n| [n, n]).count().map(text), |v| text(v.len() * 2)),
    ("flat_map to nothing", |r| r.flat_map(|_| [] as [i64; 0]).count().map(text), |_| text(0)),
    ("map_partitions", |r| r.map_partitions(|rows| rows).collect().map(text), |v| text(v)),
    ("map_partitions_with_index", |r| r.map_partitions_with_index(|_, rows| rows).collect().map(text), |v| text(v)),
    ("glom", |r| r.glom().collect().map(|parts| text(parts.concat())), |v| text(v)),
    ("union", |r| r.union(r).collect().map(text), |v| text([v, v].concat())),
    ("key_by", |r| r.key_by(|n| *n).keys().collect().map(text), |v| text(v)),
    ("values", |r| keyed(r).values().collect().map(text), |v| text(v)),
    ("map_values", |r| keyed(r).map_values(|n| n).values().collect().map(text), |v| text(v)),
    ("flat_map_values", |r| keyed(r).flat_map_values(|n| [n]).values().collect().map(text), |v| text(v)),
    ("sample", |r| r.sample(false, 1.0, 1).collect().map(text), |v| text(v)),
    ("sample with replacement", |r| r.sample(true, 0.0, 1).collect().map(text), |_| text([] as [i64; 0])),
    ("zip_with_index", |r| r.zip_with_index().collect().map(text), |v| text(v.iter().zip(0..).collect::<Vec<_>>())),
    ("coalesce", |r| r.coalesce(2).collect().map(text), |v| text(v)),
    ("coalesce to more", |r| r.coalesce(1000).collect().map(text), |v| text(v)),
    ("repartition", |r| any_order(r.repartition(3).collect()), |v| text(sorted(v.to_vec()))),
    ("partition_by", |r| any_order(keyed(r).partition_by(3).values().collect()), |v| text(sorted(v.to_vec()))),
    ("distinct", |r| any_order(r.distinct().collect()), |v| text(distinct(v))),
    ("distinct_into", |r| any_order(r.distinct_into(1).collect()), |v| text(distinct(v))),
    ("reduce_by_key", |r| any_order(keyed(r).reduce_by_key(|a, b| a + b).collect()), sums),
    ("reduce_by_key_into", |r| any_order(keyed(r).reduce_by_key_into(|a, b| a + b, 50).collect()), sums),
    ("aggregate_by_key", |r| any_order(keyed(r).aggregate_by_key(0, |a, n| a + n, |a, b| a + b).collect()), sums),
    ("combine_by_key", |r| any_order(keyed(r).combine_by_key(|n| n, |a, n| a + n, |a, b| a + b).collect()), sums),
    ("group_by_key", |r| any_order(keyed(r).group_by_key().collect()), group_rows),
    ("group_by_key_into", |r| any_order(keyed(r).group_by_key_into(HashPartitioner::new(1)).collect()), group_rows),
    ("group_by", |r| any_order(r.group_by(|n| n % 3).collect()), group_rows),
    (
        "two shuffles",
        |r| any_order(keyed(r).reduce_by_key(|a, b| a + b).group_by_key_into(2).keys().collect()),
        |v| text(groups(v).into_keys().collect::<Vec<_>>()),
    ),
    ("cache", |r| r.cache().collect().map(text), |v| text(v)),
    ("cached again", |r| r.cache().collect().map(text), |v| text(v)),
];

#[test]
fn every_operator_and_action_takes_every_shape_of_no_rows_and_few() {
    let world = World::new(2);
    let shapes: Vec<(&str, Rdd<i64>, Vec<i64>)> = vec![
        ("no partitions", world.empty(), vec![]),
        ("one partition without rows", world.parallelize(vec![]), vec![]),
        ("an empty range", world.range(5..5), vec![]),
        ("partitions without rows", world.parallelize_into(vec![], 7), vec![]),
        ("one row", world.parallelize(vec![7]), vec![7]),
        ("more partitions than rows", world.parallelize_into(vec![3, 1, 2], 10), vec![3, 1, 2]),
        ("some partitions without rows", world.range_into(0..40, 8).filter(|n| n % 10 == 9), vec![9, 19, 29, 39]),
        ("shuffled into more than there are keys", world.range_into(0..4, 2).repartition(9), vec![]),
        ("two kinds of nothing", world.union(&[world.empty(), world.parallelize(vec![])]), vec![]),
    ];
    for (shape, rdd, rows) in shapes {
        // The order after a shuffle is fixed, but not known from here.
        let rows = if shape.starts_with("shuffled") { rdd.collect().unwrap() } else { rows };
        for (name, run, expected) in CASES {
            assert_eq!(run(&rdd).unwrap(), expected(&rows), "{name} over {shape}");
        }
    }
}

#[test]
fn a_hundred_thousand_partitions_of_one_row_each_are_counted_and_reduced() {
    let world = World::new(2);
    let rows = world.range_into(0..100_000_u64, 100_000);
    let sums = rows.map(|n| (n % 1_000, 1_u64)).reduce_by_key_into(|a, b| a + b, 100);
    let (count, sums) = within_deadline(move || (rows.count().unwrap(), sums.collect().unwrap()));
    assert_eq!((count, sums.len()), (100_000, 1_000));
    assert!(sums.iter().all(|(_, n)| *n == 100));
}

#[test]
fn five_hundred_maps_are_computed_with_a_cache_in_their_middle() {
    let world = World::new(2);
    let maps = |rdd: Rdd<u64>| (0..250).fold(rdd, |rdd, _| rdd.map(|n| n + 1));
    let middle = maps(world.range_into(0..10_u64, 2)).cache();
    let all = maps(middle.clone());
    for _ in 0..2 {
        assert_eq!(all.collect().unwrap(), (500..510).collect::<Vec<_>>());
    }
    assert_eq!(middle.collect().unwrap(), (250..260).collect::<Vec<_>>());
    assert!(all.to_debug_string().contains("cached partitions: 2 of 2"));
}

#[test]
fn a_lineage_too_deep_for_a_task_is_refused_and_a_checkpoint_helps() {
    let world = World::new(2);
    // As deep as it may be, of operators whose rows and closures take room on the stack.
    let one = world.range_into(0..10_u64, 2).map(|n| [n; 32]);
    let deep = (0..3_998_u64).fold(one, |rdd, n| match n % 4 {
        0 => rdd.map(|row| row.map(|n| n + 1)),
        1 => rdd.flat_map(Some),
        2 => rdd.map_partitions(|rows| rows),
        _ => rdd.filter(|row| row[0] < u64::MAX),
    });
    assert_eq!(deep.map_ref(|row| row[31]).count().unwrap_err().to_string().matches("4000 operators").count(), 1);
    assert_eq!(deep.count().unwrap(), 10);
    let error = deep.map(|row| row).map(|row| row).collect().unwrap_err();
    assert!(matches!(&error, Error::LineageTooDeep { limit: 4_000, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("map at tests/edges.rs") && text.contains("checkpoint, local_checkpoint or cache"), "{text}");
    // Either way it goes on from there.
    assert_eq!(deep.local_checkpoint().unwrap().map(|row| row[0]).count().unwrap(), 10);
    let kept = deep.cache();
    assert_eq!(kept.map(|row| row[31]).collect().unwrap(), (1_000..1_010).collect::<Vec<_>>());
}

#[test]
fn a_very_deep_lineage_is_dropped_without_overflowing_the_stack() {
    let world = World::new(1);
    let one = world.range_into(0..1_u64, 1);
    let unions = (0..5_000).fold(one.clone(), |rdd, _| rdd.union(&one));
    assert_eq!(unions.partitions(), 5_001);
    drop(unions);
    let maps = (0..100_000).fold(one.clone(), |rdd, _| rdd.map(|n| n));
    drop(maps);
    let shuffles = (0..20_000).fold(one.clone(), |rdd, _| rdd.repartition(1));
    drop(shuffles);
    assert_eq!(one.count().unwrap(), 1);
}

#[test]
fn many_unions_at_once_are_counted() {
    let world = World::new(2);
    let one = world.range_into(0..1_u64, 1);
    let unions = world.union(&vec![one.clone(); 5_000]);
    assert_eq!(unions.count().unwrap(), 5_000);
    let nested = (0..200).fold(one.clone(), |rdd, _| rdd.union(&one));
    assert_eq!(nested.count().unwrap(), 201);
}

#[test]
fn rows_of_no_size_are_rows() {
    let world = World::new(2);
    let rows = world.range_into(0..5_000_u64, 3).map(|_| ());
    assert_eq!((rows.count().unwrap(), rows.collect().unwrap().len()), (5_000, 5_000));
    assert_eq!(rows.distinct().collect().unwrap(), [()]);
    assert_eq!(rows.count_by_value().unwrap()[&()], 5_000);
    assert_eq!(rows.cache().repartition(4).count().unwrap(), 5_000);
    assert_eq!(rows.take(7).unwrap().len(), 7);
    assert_eq!(rows.map(|()| ((), ())).reduce_by_key(|(), ()| ()).count().unwrap(), 1);
    assert_eq!(rows.glom().map(|rows| rows.len()).reduce(|a, b| a + b).unwrap(), Some(5_000));
    assert_eq!(world.parallelize(vec![(); 10]).zip_with_index().count().unwrap(), 10);
}

#[test]
fn large_rows_go_through_caches_and_shuffles() {
    let world = World::new(2);
    let rows = world.range_into(0..24_u64, 4).map(|n| (n % 3, vec![n as u8; 1 << 20])).cache();
    let groups = rows.group_by_key_into(2).map_values(|rows| rows.iter().map(Vec::len).sum::<usize>());
    assert_eq!(sorted(groups.collect().unwrap()), [(0, 8 << 20), (1, 8 << 20), (2, 8 << 20)]);
    let wide = world.range_into(0..100_u64, 3).map(|n| [n; 20_000]);
    assert_eq!(wide.map(|row| row[19_999]).collect().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn ranges_reach_the_ends_of_their_types() {
    let world = World::new(2);
    let ends = |rdd: Rdd<i64>| (rdd.first().unwrap(), rdd.partitions());
    assert_eq!(ends(world.range(i64::MIN..i64::MAX)), (Some(i64::MIN), world.default_partitions()));
    assert_eq!(world.range(i64::MAX - 2..i64::MAX).collect().unwrap(), [i64::MAX - 2, i64::MAX - 1]);
    assert_eq!(world.range_into(u64::MAX - 3..u64::MAX, 2).count().unwrap(), 3);
    assert_eq!(world.range_into(i32::MIN..i32::MIN + 2, 5).collect().unwrap(), [i32::MIN, i32::MIN + 1]);
    #[allow(clippy::reversed_empty_ranges, reason = "this is what is tested")]
    let backwards = world.range(7..3_i64);
    assert_eq!(backwards.count().unwrap(), 0);
}

fn rows(ctx: &Context) -> Rdd<u64> {
    ctx.range_into(0..10_u64, 2)
}

#[test]
#[should_panic(expected = "rows cannot be put into no partitions")]
fn coalesce_into_no_partitions_panics() {
    let _ = rows(&World::new(1)).coalesce(0);
}

#[test]
#[should_panic(expected = "rows cannot be put into no partitions")]
fn repartition_into_no_partitions_panics() {
    let _ = rows(&World::new(1)).repartition(0);
}

#[test]
#[should_panic(expected = "keys cannot be placed over no partitions")]
fn reduce_by_key_into_no_partitions_panics() {
    let _ = rows(&World::new(1)).map(|n| (n, n)).reduce_by_key_into(|a, _| a, 0);
}

#[test]
#[should_panic(expected = "keys cannot be placed over no partitions")]
fn a_partitioner_without_partitions_panics() {
    let _ = HashPartitioner::new(0);
}

#[test]
#[should_panic(expected = "3 rows cannot be put into no partitions")]
fn parallelize_into_no_partitions_panics() {
    let _ = World::new(1).parallelize_into(vec![1, 2, 3], 0);
}

#[test]
#[should_panic(expected = "a range needs at least one partition")]
fn a_range_into_no_partitions_panics() {
    let _ = World::new(1).range_into(0..3_u64, 0);
}

#[test]
#[should_panic(expected = "a fraction of 1.5 is none (with_replacement: false)")]
fn a_sample_of_more_than_all_panics() {
    let _ = rows(&World::new(1)).sample(false, 1.5, 1);
}

#[test]
#[should_panic(expected = "a fraction of NaN is none (with_replacement: true)")]
fn a_sample_of_no_number_panics() {
    let _ = rows(&World::new(1)).sample(true, f64::NAN, 1);
}

/// Ten rows out of eleven have one hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Clash(u64);

impl Hash for Clash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.is_multiple_of(11).hash(state);
    }
}

/// A number that is equal to itself, whatever it is, and to nothing that prints otherwise.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bits(f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Bits {}

impl Hash for Bits {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Bits {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bits {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Everything that works by key, against maps.
fn keys_are_told_apart<K: emberflow::Key + Ord + std::fmt::Debug>(world: &World, keys: &[K]) {
    let rows: Vec<(K, u64)> = keys.iter().cloned().zip(0..).collect();
    let mut groups: BTreeMap<K, Vec<u64>> = BTreeMap::new();
    for (key, n) in &rows {
        groups.entry(key.clone()).or_default().push(*n);
    }
    let groups: Vec<(K, Vec<u64>)> = groups.into_iter().collect();
    let rdd = world.parallelize_into(rows.clone(), 5);
    let sums = sorted(rdd.reduce_by_key_into(|a, b| a + b, 3).collect().unwrap());
    assert_eq!(sums, groups.iter().map(|(key, all)| (key.clone(), all.iter().sum())).collect::<Vec<(K, u64)>>());
    assert_eq!(sorted(rdd.group_by_key_into(3).collect().unwrap()), groups);
    assert_eq!(
        sorted(rdd.keys().distinct().collect().unwrap()),
        groups.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()
    );
    let joined = sorted(rdd.join(&rdd.map_values(|n| n + 1)).collect().unwrap());
    let pairs = groups
        .iter()
        .flat_map(|(key, all)| all.iter().flat_map(move |a| all.iter().map(move |b| (key.clone(), (*a, b + 1)))));
    assert_eq!(joined, sorted(pairs));
    let (first, all) = &groups[groups.len() / 2];
    assert_eq!(&sorted(rdd.lookup(first).unwrap()), all);
    let by_key = rdd.sort_by_key().collect().unwrap();
    assert_eq!(
        by_key,
        groups.iter().flat_map(|(key, all)| all.iter().map(move |n| (key.clone(), *n))).collect::<Vec<_>>()
    );
    let rest = rdd.subtract_by_key(&world.parallelize(vec![(first.clone(), ())]));
    assert_eq!(rest.count().unwrap() as usize, rows.len() - all.len());
}

#[test]
fn keys_of_equal_hashes_not_a_number_and_both_zeros_are_told_apart() {
    let clashing: Vec<Clash> = (0..600).map(|n| Clash(n * n % 150)).collect();
    let odd = [f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 1.0];
    let odd: Vec<Bits> = odd.iter().cycle().take(100).copied().map(Bits).collect();
    let sentinels: Vec<u64> = [0, u64::MAX, u64::MAX - 1, 1 << 63, 0x9e37_79b9_7f4a_7c15].repeat(20);
    for force_spill in [false, true] {
        let world = World::with(|builder| builder.workers(2).force_spill(force_spill));
        keys_are_told_apart(&world, &clashing);
        keys_are_told_apart(&world, &odd);
        keys_are_told_apart(&world, &sentinels);
    }
}

#[test]
fn a_row_of_a_hundred_megabytes_goes_through_with_a_budget_of_sixteen() {
    const BYTES: usize = 100 << 20;
    let world = World::with_budget(2, 16 << 20);
    let rows = world.range_into(0..4_u64, 2).map(|n| (n, if n == 1 { "x".repeat(BYTES) } else { n.to_string() }));
    let told = |row: &(u64, String)| (row.0, row.1.len());
    let expected = vec![(0, 1), (1, BYTES), (2, 1), (3, 1)];
    let kept = rows.cache();
    assert_eq!(kept.map_ref(told).collect().unwrap(), expected);
    assert_eq!(sorted(kept.partition_by(3).map_ref(told).collect().unwrap()), expected);
    assert_eq!(kept.sort_by(|row| row.0).map_ref(told).collect().unwrap(), expected);
    // It cannot go to the driver as a whole, and says so.
    let error = kept.collect().unwrap_err().to_string();
    assert!(error.contains("more than is left of the memory_budget") && error.contains("to_local_iter"), "{error}");
    assert_eq!(kept.count().unwrap(), 4);
}

#[test]
fn a_million_tasks_are_handed_out_a_few_at_a_time_and_all_of_them_end() {
    const TASKS: usize = 1_000_000;
    let world = World::new(2);
    let mut events = world.events();
    let rows = world.range_into(0..TASKS as u64, TASKS);
    let (job, mut out, mut most, mut ended) = (rows.count_async(), 0_u64, 0, 0_u64);
    while ended < TASKS as u64 {
        let event = events.next_within(Duration::from_secs(60)).expect("tasks go on").event;
        match event {
            Event::TaskStarted { .. } => out += 1,
            Event::TaskFinished { .. } => (out, ended) = (out - 1, ended + 1),
            Event::Gap { .. } => break,
            _ => {}
        }
        most = most.max(out);
    }
    assert_eq!(job.wait().unwrap(), TASKS as u64);
    // Mailboxes and queues hold what is out, and no more.
    assert!((1..=2 * 128).contains(&most), "{most} tasks were out at once");
}

/// So many rounds over a few rows, each with a shuffle and a join; what a round gives is kept if `keeps` says so, and a
/// job of its own computes it.
fn rounds(
    ctx: &Context,
    rounds: usize,
    mut keep: impl FnMut(usize, Rdd<(u64, u64)>) -> Rdd<(u64, u64)>,
) -> Rdd<(u64, u64)> {
    let links = ctx.parallelize_into((0..4_u64).map(|n| (n, (n + 1) % 4)).collect::<Vec<_>>(), 2).cache();
    let mut ranks = ctx.parallelize_into((0..4_u64).map(|n| (n, 1_u64)).collect::<Vec<_>>(), 2);
    for round in 0..rounds {
        let given = links.join_into(&ranks, 2).map(|(_, (to, rank))| (to, rank + 1));
        ranks = keep(round, given.reduce_by_key_into(|a, b| a + b, 2));
    }
    ranks
}

/// Stages of the job that has just ended, and tasks that it ran.
fn work(events: &mut emberflow::EventStream) -> (usize, usize) {
    let (mut stages, mut tasks) = (0, 0);
    for event in support::drain(events) {
        match event {
            Event::JobPlanned { stages: all, .. } => stages = all.len(),
            Event::TaskStarted { .. } => tasks += 1,
            _ => {}
        }
    }
    (stages, tasks)
}

#[test]
fn a_lineage_that_grows_for_five_hundred_rounds_costs_as_much_more_as_it_is_longer() {
    let world = World::new(2);
    let mut events = world.events();
    let mut run = |of: usize| {
        let ranks = sorted(rounds(&world, of, |_, ranks| ranks).collect().unwrap());
        assert_eq!(ranks, (0..4).map(|n| (n, 1 + of as u64)).collect::<Vec<_>>());
        work(&mut events)
    };
    let (short, long) = (run(250), run(500));
    assert!(long.0 <= 2 * short.0 && long.1 <= 2 * short.1 && long.0 > 500, "{short:?} and {long:?} stages and tasks");
}

#[test]
fn whoever_grows_a_lineage_is_told_and_a_checkpoint_cuts_it() {
    let world = World::new(2);
    world.set_checkpoint_dir(world.files()).unwrap();
    let mut events = world.events();
    let told = |events: &mut emberflow::EventStream| {
        let grown = |event: &Event| match event {
            Event::LineageGrows { operators, .. } => Some(*operators),
            _ => None,
        };
        support::drain(events).iter().filter_map(grown).collect::<Vec<_>>()
    };
    let rows = world.range_into(0..10_u64, 2);
    let grown = |from: &Rdd<u64>, by: usize| (0..by).fold(from.clone(), |rdd, _| rdd.map(|n| n + 1));
    let long = grown(&rows, 400);
    assert_eq!((long.count().unwrap(), told(&mut events)), (10, vec![]));
    let longer = grown(&long, 200);
    assert_eq!((longer.count().unwrap(), longer.count().unwrap(), told(&mut events)), (10, 10, vec![601]), "once");
    let longest = grown(&longer, 700);
    assert_eq!((longest.count().unwrap(), told(&mut events)), (10, vec![1301]), "and when it has doubled");
    let cut = longest.checkpoint().unwrap();
    told(&mut events);
    // Jobs of a loop that cuts it now and then stay as small as they are.
    let mut most = (0, 0);
    let cut_by = cut.map(|n| (n % 4, n)).reduce_by_key_into(|a, _| a, 2);
    assert_eq!(cut_by.count().unwrap(), 4);
    work(&mut events);
    let ranks = rounds(&world, 60, |round, ranks| {
        let ranks = if round % 10 == 9 { ranks.checkpoint().unwrap() } else { ranks.cache() };
        work(&mut events);
        assert_eq!(ranks.count().unwrap(), 4);
        let (stages, tasks) = work(&mut events);
        most = (most.0.max(stages), most.1.max(tasks));
        ranks
    });
    assert_eq!(sorted(ranks.collect().unwrap())[0], (0, 61));
    assert!(most.0 <= 50 && most.1 <= 20, "{most:?} stages and tasks in a job");
}
