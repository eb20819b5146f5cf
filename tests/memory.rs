//! One budget holds all that rows take: what tasks work on leaves memory like what is kept, with the same bytes as a
//! result; what cannot leave it is a clear error; and sizes are what the system says they are.

mod support;

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use emberflow::{
    Accumulate, Context, Event, EventStream, ExchangeData, Rdd, StorageLevel, Sums,
    testing::{assume_disk_cost, cache_store},
};
use proptest::{collection::vec, prelude::*};

use self::support::{Computed, Gate, World, drain, eventually, sorted, within_deadline};

/// Rows of each partition, in their order.
fn parts<T: ExchangeData + std::fmt::Debug>(rows: &Rdd<T>) -> String {
    format!("{:?}", rows.glom().collect().unwrap())
}

fn mix(n: u64) -> u64 {
    (n ^ (n >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

/// Every operator that gathers rows, over numbers and over strings.
fn every_wide_operator<K: ExchangeData + Hash + Ord + std::fmt::Debug>(
    ctx: &Context,
    rows: u64,
    key: fn(u64) -> K,
) -> Vec<String> {
    let keyed = ctx.range_into(0..rows, 3).map(move |n| (key(mix(n) % (rows / 3)), n));
    let few = ctx.range_into(0..rows, 4).map(move |n| (key(mix(n) % 10), 1.0 / (n + 1) as f64));
    let other = ctx.range_into(0..rows / 2, 2).map(move |n| (key(mix(n + 7) % (rows / 3)), n.to_string()));
    let (left, right) = (keyed.partition_by(2), other.partition_by(2));
    vec![
        parts(&keyed.reduce_by_key_into(|a, b| a ^ b, 2)),
        parts(&few.reduce_by_key_into(|a, b| a + b, 2)),
        parts(&keyed.group_by_key_into(2)),
        parts(&few.group_by_key_into(3).map_values(|values| values.len())),
        parts(&keyed.keys().distinct_into(2)),
        parts(&left.join(&right)),
        parts(&left.full_outer_join(&right)),
        parts(&right.subtract_by_key(&left)),
        parts(&left.cogroup(&right)),
        parts(&left.reduce_by_key(|a, b| a + b)),
        parts(&keyed.sort_by_into(|(key, n)| (key.clone(), n % 5), 2)),
        parts(&other.sort_by_key()),
        parts(&keyed.repartition_and_sort_within_partitions(2)),
        parts(&keyed.cache()),
    ]
}

fn assert_the_same_everywhere<K: ExchangeData + Hash + Ord + std::fmt::Debug>(rows: u64, key: fn(u64) -> K) {
    let expected = every_wide_operator(&World::roomy(2), rows, key);
    let worlds = [
        World::tight(1),
        World::tight(3),
        World::with_budget(2, 100_000),
        World::with_budget(1, 1_000_000),
        World::with(|builder| builder.workers(2).force_spill(true).spill_compression(true)),
    ];
    for world in worlds {
        let seen = every_wide_operator(&world, rows, key);
        for (at, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
            assert!(seen == expected, "operator {at} with {:?}", world.memory());
        }
        assert!(world.memory().spilled_in_all > 0);
        assert_eq!(eventually(|| world.memory().working, |bytes| *bytes == 0), 0);
        assert_eq!(eventually(|| world.memory().spilled, |bytes| *bytes == 0), 0);
        assert_eq!(world.memory().results, 0);
    }
}

#[test]
fn every_wide_operator_gives_the_same_bytes_when_its_rows_do_not_fit() {
    assert_the_same_everywhere(60_000, |n| n);
}

#[test]
fn every_wide_operator_gives_the_same_bytes_when_rows_that_own_memory_do_not_fit() {
    assert_the_same_everywhere(20_000, |n| format!("key number {n}"));
}

#[test]
fn a_sort_that_needs_several_passes_is_stable() {
    let world = World::tight(2);
    // Runs of some forty rows: far more of them than are merged at once.
    let rows = world.range_into(0..10_000_u64, 1).map(|n| (n % 3, format!("{n}")));
    let sorted = rows.sort_by_into(|(key, _)| *key, 1).collect().unwrap();
    let mut expected: Vec<_> = (0..10_000_u64).map(|n| (n % 3, format!("{n}"))).collect();
    expected.sort_by_key(|(key, _)| *key);
    assert!(sorted == expected);
}

#[test]
fn programs_of_all_sizes_give_the_same_bytes_whatever_the_budget() {
    let (roomy, worlds) = (World::roomy(2), [World::tight(2), World::with_budget(2, 20_000)]);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(rows in vec((0_u16..500, "[a-z]{0,40}"), 0..3_000), partitions in 1_usize..4)| {
        let program = |ctx: &Context| {
            let rows = ctx.parallelize_into(rows.clone(), partitions);
            let swapped = rows.map(|(n, text)| (text, n));
            let joined = rows.group_by_key_into(2).join(&rows.map_values(|text| text.len()).reduce_by_key_into(|a, b| a + b, 2));
            [parts(&joined), parts(&swapped.sort_by_into(|row| row.clone(), 2)), parts(&swapped.distinct_into(3))]
        };
        let expected = program(&roomy);
        for world in &worlds {
            prop_assert_eq!(&program(world), &expected);
        }
    });
}

/// 40 MiB, which is more than a small budget and the 16 MiB that are always allowed.
const ROWS: u64 = 40_000;

fn kilobytes(ctx: &Context) -> Rdd<(u64, String)> {
    ctx.range_into(0..ROWS, 8).map(|n| (n % 2, format!("{n:01000}")))
}

#[test]
fn collecting_more_than_the_budget_is_an_error_that_says_what_to_do() {
    let world = World::with_budget(2, 20 << 20);
    let rows = kilobytes(&world);
    let error = rows.collect().unwrap_err().to_string();
    assert!(error.contains("the result would take") && error.contains("the memory_budget of 20971520"), "{error}");
    assert!(error.contains("to_local_iter") && error.contains("save_*"), "{error}");
    assert!(error.contains("failed after 1 attempt"), "to try again would be no use: {error}");
    let others = [
        rows.take(ROWS as usize).map(drop),
        rows.take_sample(true, ROWS as usize, 1).map(drop),
        rows.map(|(_, text)| (0, text)).lookup(&0).map(drop),
    ];
    for (at, other) in others.into_iter().enumerate() {
        let error = other.expect_err(&format!("{at}")).to_string();
        assert!(error.contains("the result would take") && error.contains("1 attempt"), "{at}: {error}");
    }
    assert_eq!(rows.to_local_iter().filter(Result::is_ok).count(), ROWS as usize);
    assert_eq!(eventually(|| world.memory().results, |bytes| *bytes == 0), 0);
    assert_eq!(rows.filter(|(key, _)| *key == 0).map(|(_, text)| text.len()).collect().unwrap().len(), 20_000);
}

#[test]
fn a_group_that_cannot_be_held_is_an_error_and_merging_it_is_none() {
    let world = World::with_budget(2, 20 << 20);
    let rows = kilobytes(&world).map_values(|text| text).filter(|(key, _)| *key == 0).map(|(_, text)| ("hot", text));
    let rows = rows
        .map(|(key, text)| (key.to_owned(), text))
        .union(&kilobytes(&world).map(|(_, text)| ("hot".to_owned(), text)));
    let error = rows.group_by_key_into(2).count().unwrap_err().to_string();
    assert!(error.contains("the values of one group of keys") && error.contains("reduce_by_key"), "{error}");
    assert!(error.contains("group_by_key at tests/memory.rs") && error.contains("1 attempt"), "{error}");
    let lengths = rows.aggregate_by_key(0, |sum, text| sum + text.len(), |a, b| a + b);
    assert_eq!(lengths.collect().unwrap(), [("hot".to_owned(), 60_000_000)]);
    assert_eq!(eventually(|| world.memory().working, |bytes| *bytes == 0), 0);
}

#[test]
fn groups_that_do_not_fit_together_wait_for_each_other() {
    // Two groups of 24 MB: beside the map outputs, which take 48 MB, there is room for one of them.
    let world = World::with_budget(2, 88 << 20);
    let rows =
        world.range_into(0..48_000_u64, 8).map(|n| (n % 2 + 2 * u64::from(n % 50 == 0) * n, format!("{n:0960}")));
    let groups = rows
        .group_by_key_into(2)
        .map(|(key, texts)| (key, texts.len(), texts.into_iter().map(|t| t.len()).sum::<usize>()));
    let mut expected: Option<Vec<_>> = None;
    for _ in 0..20 {
        let found = groups.collect().unwrap();
        assert!(*expected.get_or_insert_with(|| found.clone()) == found);
        assert_eq!(found.iter().filter(|(key, ..)| *key < 2).map(|(_, rows, _)| rows).sum::<usize>(), 47_041);
        if world.memory().waits > 0 {
            break;
        }
    }
    let memory = world.memory();
    assert!(memory.waits > 0 && memory.peak <= 89 << 20, "{memory:?}");
    assert_eq!(eventually(|| world.memory().working, |bytes| *bytes == 0), 0);
    // A group that is larger than all of it is an error still, however long others would be waited for.
    let error = rows.map(|(_, text)| ((), text)).group_by_key_into(2).count().unwrap_err().to_string();
    assert!(error.contains("the values of one group of keys") && error.contains("reduce_by_key"), "{error}");
}

/// Of each partition there are as many candidates as the result will have.
#[test]
fn a_small_result_of_many_partitions_is_within_any_budget() {
    let world = World::with_budget(2, 20 << 20);
    let rows = world.range_into(0..30_000_u64, 30).map(|n| format!("{n:01000}"));
    assert_eq!(rows.top(1_000).unwrap().len(), 1_000);
    assert_eq!(rows.take_sample(false, 1_000, 1).unwrap().len(), 1_000);
    assert_eq!(rows.map(|row| (row.len(), row)).reduce_by_key_locally(|a, _| a).unwrap().len(), 1);
    assert_eq!(eventually(|| world.memory().results, |bytes| *bytes == 0), 0);
}

#[test]
fn groups_are_counted_as_long_as_they_are_there() {
    let world = World::with_budget(1, 256 << 20);
    let rows = world.range_into(0..24_000_u64, 4).map(|n| (1_u64, format!("{n:0960}")));
    let few = world.parallelize_into(vec![(1_u64, 1_u64)], 1).partition_by(1);
    let (here, there) = ((*world).clone(), (*world).clone());
    let grouped = rows.group_by_key_into(1).map(move |(_, texts)| (texts.len() as u64, here.memory().working));
    let rows = rows.partition_by(1);
    let cogrouped = rows.cogroup(&few).map(move |(_, (texts, _))| (texts.len() as u64, there.memory().working));
    for (texts, counted) in [grouped.collect().unwrap()[0], cogrouped.collect().unwrap()[0]] {
        assert!(counted >= texts * 960, "{texts} texts in hand, and {counted} bytes counted");
    }
}

#[test]
fn what_is_kept_makes_room_for_what_cannot_go_to_disk() {
    let world = World::with_budget(1, 100 << 20);
    let kept = world.range_into(0..65_000_u64, 8).map(|n| format!("{n:01000}")).cache();
    assert_eq!((kept.count().unwrap(), world.memory().spilled), (65_000, 0));
    let rows = world.range_into(0..35_000_u64, 4).map(|n| ((), format!("{n:0960}")));
    assert_eq!(rows.group_by_key_into(1).count().unwrap(), 1);
    let memory = world.memory();
    assert!(memory.waits > 0 && memory.spilled > 0 && memory.peak <= 101 << 20, "{memory:?}");
    assert_eq!((kept.count().unwrap(), world.storage().unwrap()[0].computed), (65_000, 8), "nothing was lost");
}

/// The only worker is the one that waits.
#[test]
fn rows_that_were_released_are_room_for_who_waits() {
    let world = World::with_budget(1, 64 << 20);
    let kept = world.range_into(0..46_000_u64, 1).map(|n| format!("{n:0960}")).persist(StorageLevel::MemoryOnly);
    assert_eq!(kept.count().unwrap(), 46_000);
    let (gate, inside) = (Gate::new(), Gate::new());
    let (pass, arrive) = (gate.clone(), inside.clone());
    inside.open();
    let rows = world.range_into(0..24_000_u64, 1).map(|n| (1_u64, n)).partition_by(1).map_values(move |n| {
        if n == 0 {
            arrive.pass();
            pass.pass();
        }
        format!("{n:0960}")
    });
    let counting = rows.group_by_key_into(1).count_async();
    inside.wait_for(1);
    let mut events = world.events();
    kept.unpersist();
    eventually(|| drain(&mut events), |events| events.iter().any(|event| matches!(event, Event::StoreDropped { .. })));
    gate.open();
    assert_eq!(counting.wait().unwrap(), 1);
}

/// What an attempt that gives way has added is dropped by the user's code.
#[test]
fn who_gives_way_begins_again_though_dropping_what_it_has_panics() {
    struct Counting;
    #[derive(Clone)]
    struct Count(u64);
    impl Drop for Count {
        fn drop(&mut self) {
            assert!(self.0 == 0 || thread::panicking(), "on purpose");
        }
    }
    impl Accumulate for Counting {
        type Input = u64;
        type Value = Count;
        fn zero(&self) -> Count {
            Count(0)
        }
        fn add(&self, value: &mut Count, input: u64) {
            value.0 += input;
        }
        fn merge(&self, value: &mut Count, mut other: Count) {
            value.0 += std::mem::take(&mut other.0);
        }
    }
    within_deadline(|| {
        let mut gave_way = 0;
        for _ in 0..20 {
            let world = World::with_budget(2, 56 << 20);
            let seen = std::mem::ManuallyDrop::new(world.accumulator("seen", Counting));
            let told = seen.clone();
            let rows = world.range_into(0..48_000_u64, 2).map(|n| (n % 2, n)).partition_by(2).map_values(move |n| {
                told.add(1);
                format!("{n:0960}")
            });
            let found = rows.group_by_key_into(2).map(|(_, texts)| texts.len()).collect().unwrap();
            assert_eq!(found, [24_000, 24_000]);
            gave_way += world.memory().gave_way;
            if gave_way > 0 {
                break;
            }
        }
        assert!(gave_way > 0, "nobody gave way");
    });
}

#[test]
fn a_join_with_a_right_side_that_cannot_be_held_says_to_turn_it_around() {
    let world = World::with_budget(2, 20 << 20);
    let many = kilobytes(&world).map(|(_, text)| (1_u64, text)).partition_by(2);
    let few = world.parallelize_into(vec![(1_u64, 'x')], 1).partition_by(2);
    let error = few.join(&many).count().unwrap_err().to_string();
    assert!(error.contains("right side of a join") && error.contains("on the left"), "{error}");
    assert_eq!(many.join(&few).count().unwrap(), ROWS);
    let error = few.broadcast_join(&many).count().unwrap_err().to_string();
    assert!(error.contains("broadcast join") && error.contains("use join"), "{error}");
    assert_eq!(eventually(|| world.memory().working, |bytes| *bytes == 0), 0);
}

#[test]
fn rows_that_cannot_leave_memory_stay_there_in_every_operator() {
    /// Can be written, and not be read.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Word(String),
    }
    let either = |n: u64| if n.is_multiple_of(2) { Either::Number(n) } else { Either::Word(n.to_string()) };
    let program = |ctx: &Context| {
        let rows = ctx.range_into(0..3_000_u64, 2).map(move |n| (either(n % 900), either(n)));
        [
            parts(&rows.sort_by_into(|(key, _)| key.clone(), 2)),
            parts(&rows.group_by_key_into(2)),
            parts(&rows.join(&rows.reduce_by_key(|a, _| a))),
            parts(&rows.persist(StorageLevel::DiskOnly)),
        ]
    };
    assert_eq!(program(&World::tight(2)), program(&World::roomy(2)));
}

#[test]
fn serialised_rows_take_less_memory_and_go_to_disk_as_they_are() {
    let rows = |ctx: &Context| ctx.range_into(0..20_000_u64, 4).map(|n| (n, vec![n.to_string(); 3]));
    let expected = rows(&World::roomy(2)).collect().unwrap();
    let roomy = World::roomy(2);
    let (live, packed) = (rows(&roomy).cache(), rows(&roomy).persist(StorageLevel::MemorySerialized));
    let mut taken = Vec::new();
    for kept in [&live, &packed] {
        let before = roomy.memory().persisted;
        assert!(kept.collect().unwrap() == expected && kept.collect().unwrap() == expected);
        taken.push(roomy.memory().persisted - before);
    }
    assert!(taken[1] * 2 < taken[0], "{taken:?}");
    assert_eq!(roomy.memory().spilled, 0);
    for world in [World::tight(2), World::with_budget(2, taken[1] / 2)] {
        let packed = rows(&world).persist(StorageLevel::MemorySerialized);
        assert!(packed.collect().unwrap() == expected && packed.collect().unwrap() == expected);
        let memory = world.memory();
        assert!(memory.spilled > taken[1] / 2 && memory.spilled <= taken[1], "{memory:?} of {taken:?}");
    }
}

#[test]
fn a_level_can_be_changed_by_unpersisting_and_persisting_again() {
    let world = World::roomy(2);
    let rows = world.range_into(0..1_000_u64, 4).map(|n| n.to_string());
    let expected = rows.collect().unwrap();
    for level in
        [StorageLevel::DiskOnly, StorageLevel::MemoryOnly, StorageLevel::MemorySerialized, StorageLevel::MemoryAndDisk]
    {
        let rows = rows.persist(level);
        assert!(rows.collect().unwrap() == expected && rows.collect().unwrap() == expected);
        let on_disk = world.memory().spilled > 0;
        assert_eq!(on_disk, level == StorageLevel::DiskOnly);
        rows.unpersist_and_wait().unwrap();
        assert_eq!(eventually(|| world.memory().persisted + world.memory().spilled, |bytes| *bytes == 0), 0);
    }
}

#[test]
fn another_level_for_rows_that_are_persisted_is_refused_where_it_is_asked_for() {
    let world = World::new(1);
    let rows = world.range_into(0..10_u64, 2);
    rows.persist(StorageLevel::DiskOnly);
    rows.persist(StorageLevel::DiskOnly);
    rows.persist(StorageLevel::Off);
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rows.cache())).unwrap_err();
    let text = support::text_of(&*payload).unwrap();
    assert!(text.contains("persisted already") && text.contains("range at"), "{text}");
    assert_eq!(rows.count().unwrap(), 10);
    rows.unpersist();
    assert!(rows.cache().is_cached());
}

#[test]
fn rows_that_are_quicker_made_than_read_are_dropped_and_others_written() {
    let world = World::tight(2);
    let computed = Computed::new();
    let told = computed.clone();
    let rows = world.range_into(0..200_u64, 4).map_partitions_with_index(move |at, rows| {
        told.add(at);
        rows
    });
    let rows = rows.persist(StorageLevel::Auto);
    let mut events = world.events();
    // With a disk so slow, anything is quicker made.
    assume_disk_cost(&world, u64::MAX / 2);
    assert_eq!((rows.sum().unwrap(), rows.sum().unwrap()), (19_900, 19_900));
    assert_eq!(computed.take(), [0, 0, 1, 1, 2, 2, 3, 3], "dropped when they were read, and made again");
    assert_eq!(eventually(|| world.memory().persisted, |bytes| *bytes == 0), 0);
    assert_eq!(world.memory().spilled_in_all, 0);
    // Several readers of one job, some of which wait for more than these rows.
    let odd = rows.map(|n| (n % 7, n)).reduce_by_key_into(|a, b| a + b, 2).map(|(key, _)| key);
    let joined = rows.zip(&rows.map(|n| n * 2)).map(|(a, b)| a ^ b).union(&odd).union(&rows);
    assert_eq!(joined.count().unwrap(), 407);
    let dropped = drain(&mut events).into_iter().filter_map(|event| match event {
        Event::PartitionDropped { rdd, partition, .. } if rdd == rows.id() => Some(partition),
        _ => None,
    });
    let dropped = sorted(dropped);
    assert_eq!(computed.take().len() + 8, dropped.len(), "whatever is made is dropped in the end: {dropped:?}");
    let storage = &world.storage().unwrap()[0];
    assert_eq!((storage.computed, storage.dropped), (dropped.len() as u64, dropped.len() as u64));
    let kept = || world.storage().unwrap().iter().map(|kept| (kept.cached_partitions, kept.bytes)).collect::<Vec<_>>();
    assert_eq!(eventually(kept, |kept| *kept == [(0, 0)]), [(0, 0)]);
    // With one that takes no time, nothing is.
    assume_disk_cost(&world, 0);
    assert_eq!((rows.sum().unwrap(), rows.sum().unwrap()), (19_900, 19_900));
    assert_eq!(computed.take(), [0, 1, 2, 3], "written, and read back");
    let storage = &world.storage().unwrap()[0];
    assert_eq!((storage.cached_partitions, storage.spilled_bytes), (4, 8 * 200));
    assert!(!storage.compute_time.is_zero());
    let roomy = World::roomy(2);
    assume_disk_cost(&roomy, u64::MAX / 2);
    let kept = roomy.range_into(0..100_u64, 2).persist(StorageLevel::Auto);
    assert_eq!((kept.count().unwrap(), roomy.memory().persisted, roomy.storage().unwrap()[0].dropped), (100, 800, 0));
}

/// 80 KB in eight partitions.
fn ten_thousand(ctx: &Context, level: StorageLevel) -> Rdd<u64> {
    ctx.range_into(0..10_000_u64, 8).persist(level)
}

#[test]
fn what_is_cheap_to_make_again_makes_room_for_what_is_not() {
    // Three quarters of it hold one of the two, and a partition more.
    let world = World::with_budget(5, 120_000);
    assume_disk_cost(&world, u64::MAX / 2);
    let computed = Computed::new();
    let told = computed.clone();
    let cheap = world.range_into(0..10_000_u64, 8).map_partitions_with_index(move |at, rows| {
        told.add(at);
        rows
    });
    let cheap = cheap.persist(StorageLevel::Auto);
    assert_eq!((cheap.count().unwrap(), world.memory().persisted), (10_000, 80_000));
    // The first half tells that there is no room, the second comes when there is.
    let made = Arc::new(AtomicBool::new(false));
    let there_is_room = Arc::clone(&made);
    let dear = world.range_into(0..10_000_u64, 8).map_partitions_with_index(move |at, rows| {
        while at >= 4 && !there_is_room.load(Ordering::Acquire) {
            thread::yield_now();
        }
        rows
    });
    let dear = dear.persist(StorageLevel::MemoryAndDisk);
    let mut events = world.events();
    thread::scope(|threads| {
        let counted = threads.spawn(|| dear.count().unwrap());
        let left = eventually(|| world.memory().persisted, |bytes| *bytes <= 50_000);
        made.store(true, Ordering::Release);
        assert_eq!((counted.join().unwrap(), left <= 50_000), (10_000, true));
    });
    let storage = world.storage().unwrap();
    let [of_cheap, of_dear] = &storage[..] else { panic!("{storage:?}") };
    assert_eq!((of_dear.cached_partitions, of_dear.dropped), (8, 0));
    assert!(of_dear.bytes >= 50_000 && of_cheap.dropped >= 4, "{storage:?}");
    assert_eq!((of_cheap.cached_partitions as u64 + of_cheap.dropped, of_cheap.spilled_bytes), (8, 0));
    let dropped = drain(&mut events).into_iter().filter_map(|event| match event {
        Event::PartitionDropped { rdd, partition, .. } if rdd == cheap.id() => Some(partition),
        _ => None,
    });
    let dropped = sorted(dropped);
    assert_eq!(dropped.len() as u64, of_cheap.dropped);
    // What was dropped is made again when it is wanted, and nothing else is.
    computed.take();
    assert_eq!((cheap.sum().unwrap(), dear.sum().unwrap()), (49_995_000, 49_995_000));
    assert_eq!(computed.take(), dropped);
    let memory = world.memory();
    assert!(memory.peak <= 120_000 + 5 * 16_384, "{memory:?}");
}

#[test]
fn what_no_job_reads_any_more_goes_to_disk_for_what_comes() {
    let world =
        World::with(|builder| builder.workers(2).memory_budget(120_000).force_spill(false).spill_compression(true));
    let old = ten_thousand(&world, StorageLevel::MemoryAndDisk);
    assert_eq!((old.count().unwrap(), world.memory().persisted, world.memory().spilled), (10_000, 80_000, 0));
    let fresh = ten_thousand(&world, StorageLevel::MemoryAndDisk);
    // As long as the old one was just read, it stays.
    assert_eq!(fresh.sum().unwrap(), 49_995_000);
    let (of_old, of_fresh) = (world.storage().unwrap()[0].clone(), world.storage().unwrap()[1].clone());
    assert_eq!((of_old.bytes, of_old.spilled_bytes, of_old.dropped), (80_000, 0, 0));
    assert!(of_fresh.spilled_bytes > 0 && of_fresh.bytes <= 10_000);
    fresh.unpersist_and_wait().unwrap();
    for _ in 0..3 {
        assert_eq!(world.parallelize(vec![1_u64]).count().unwrap(), 1);
    }
    let mut events = world.events();
    // So many that the first of them are refused already, serialised as they are: each takes some 12 KB of the 10 KB left.
    let fresh = world.range_into(0..32_000_u64, 8).persist(StorageLevel::MemorySerialized);
    assert_eq!(fresh.sum().unwrap(), 511_984_000);
    let of_old = eventually(|| world.storage().unwrap()[0].clone(), |of_old| of_old.spilled_bytes > 0);
    assert!(of_old.spilled_bytes < 80_000 - of_old.bytes, "compressed as all that is spilled: {of_old:?}");
    assert_eq!((of_old.cached_partitions, of_old.dropped, of_old.computed), (8, 0, 8));
    let spilled = |events: &mut EventStream| {
        let store = cache_store(&old).unwrap();
        let found = |event: &Event| matches!(event, Event::PartitionSpilled { store: of, .. } if *of == store);
        drain(events).iter().filter(|event| found(event)).count()
    };
    let told = eventually(|| spilled(&mut events), |told| *told > 0);
    assert!(told > 0, "it is told when it is on disk");
    assert_eq!((old.sum().unwrap(), fresh.sum().unwrap()), (49_995_000, 511_984_000));
    drop((old, fresh));
    assert_eq!(eventually(|| world.memory().persisted + world.memory().spilled, |bytes| *bytes == 0), 0);
}

#[test]
fn the_level_off_keeps_nothing() {
    let world = World::roomy(1);
    let rows = ten_thousand(&world, StorageLevel::Off);
    assert!(!rows.is_cached() && rows.count().unwrap() == 10_000 && world.memory().persisted == 0);
    let rows = rows.cache().persist(StorageLevel::Off);
    assert!(rows.is_cached(), "what is persisted stays so");
}

#[cfg(target_os = "linux")]
mod sizes {
    use std::{collections::HashMap, env, hint::black_box, process::Command};

    use emberflow::{ExchangeData, system};
    use serde::{Deserialize, Serialize};

    use super::World;

    const CHILD: &str = "EMBERFLOW_TEST_SIZES_OF";

    #[derive(Clone, Serialize, Deserialize)]
    struct Film {
        id: u64,
        title: String,
        year: Option<u16>,
        rating: f64,
        genres: Vec<String>,
        studio: Studio,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Studio {
        name: String,
        city: String,
    }

    #[derive(Clone, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Named { name: String, corners: Vec<(f64, f64)> },
    }

    fn film(n: u64) -> Film {
        Film {
            id: n,
            title: "x".repeat(10 + (n % 50) as usize),
            year: (!n.is_multiple_of(3)).then_some(1990),
            rating: n as f64,
            genres: (0..n % 4).map(|at| format!("a genre of number {at}")).collect(),
            studio: Studio { name: format!("studio {n}"), city: "a city with a name".to_owned() },
        }
    }

    fn shape(n: u64) -> Shape {
        match n % 3 {
            0 => Shape::Empty,
            1 => Shape::Circle(1.0),
            _ => Shape::Named { name: format!("shape number {n}"), corners: vec![(0.0, 1.0); (n % 9) as usize] },
        }
    }

    /// What rows of a type take by estimate, over what the system says that they take.
    fn ratio<T: ExchangeData>(rows: u64, make: fn(u64) -> T) -> f64 {
        let world = World::roomy(1);
        // What the context itself takes is taken by now.
        assert_eq!(world.range_into(0..1_000_u64, 2).map(make).cache().count().unwrap(), 1_000);
        let resident = || system::anonymous_resident_bytes().unwrap();
        let (before, counted) = (resident(), world.memory().persisted);
        let kept = world.range_into(0..rows, 4).map(make).cache();
        assert_eq!(kept.count().unwrap(), rows);
        let (taken, counted) = (resident() - before, world.memory().persisted - counted);
        black_box(&kept);
        counted as f64 / taken as f64
    }

    fn of(name: &str) -> f64 {
        match name {
            "u64" => ratio(8_000_000, |n| n),
            "(u64, u64)" => ratio(4_000_000, |n| (n, n)),
            "String" => ratio(1_000_000, |n| "x".repeat((n % 60) as usize)),
            "Vec<f64>" => ratio(500_000, |n| vec![1.0_f64; (n % 20) as usize]),
            "Film" => ratio(150_000, film),
            "Shape" => ratio(1_000_000, shape),
            "HashMap" => ratio(30_000, |n| (0..n % 100).map(|k| (k, n)).collect::<HashMap<u64, u64>>()),
            "nested HashMap" => ratio(20_000, |n| {
                let inner = |k| (0..=k % 3).map(|at| (at, vec![n; 4])).collect();
                (0..1 + n % 9).map(|k| (k, inner(k))).collect::<HashMap<u64, HashMap<u64, Vec<u64>>>>()
            }),
            _ => panic!("no type {name}"),
        }
    }

    #[test]
    fn estimates_are_within_a_quarter_of_what_the_system_says() {
        if let Ok(name) = env::var(CHILD) {
            println!("ratio={}", of(&name));
            return;
        }
        let name = "sizes::estimates_are_within_a_quarter_of_what_the_system_says";
        // One process a type: memory that was freed before would hide what is taken.
        let types = ["u64", "(u64, u64)", "String", "Vec<f64>", "Film", "Shape", "HashMap", "nested HashMap"];
        let ratios = types.map(|of| {
            let child = Command::new(env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, of)
                .env_remove("EMBERFLOW_BATCH_ROWS")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&child.stdout);
            let ratio = text.lines().find_map(|line| line.split_once("ratio=")?.1.parse::<f64>().ok());
            (of, ratio.unwrap_or_else(|| panic!("{of}: {text}{}", String::from_utf8_lossy(&child.stderr))))
        });
        println!("{ratios:?}");
        assert!(ratios.iter().all(|(_, ratio)| (0.8..1.25).contains(ratio)), "{ratios:?}");
    }
}
