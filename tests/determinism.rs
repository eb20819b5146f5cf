//! The same program, input and partitioning give the same bytes, whatever the number of workers and the timing.

mod support;

use emberflow::{Context, Event};

use self::support::{World, drain};

/// Rows of one partition whose keys repeat: combining them before the shuffle pays.
const FEW_KEYS_ROWS: u64 = 70_000;
/// Rows of one partition whose keys are all different: combining them does not pay, and is given up.
const MANY_KEYS_ROWS: u64 = 140_000;
const REDUCERS: usize = 3;

/// Floating-point sums by key, over partitions of both kinds. Adding in another order gives other bits.
fn sums_by_key(ctx: &Context) -> Vec<(u64, u64)> {
    let few = ctx.range_into(0..2 * FEW_KEYS_ROWS, 2).map(|n| (n % 100, 1.0 / (n + 1) as f64));
    let many = ctx.range_into(0..MANY_KEYS_ROWS, 1).map(|n| (n, 1.0 / (n + 3) as f64));
    let sums = few.union(&many).reduce_by_key_into(|a, b| a + b, REDUCERS);
    sums.map(|(key, sum)| (key, sum.to_bits())).collect().unwrap()
}

/// Everything else that could depend on time: order of groups, of rows, of random numbers, of sums.
fn everything_else(ctx: &Context, partitions: usize) -> Vec<u8> {
    let rows = ctx.range_into(0..6_000_u64, partitions);
    let pairs = rows.map(|n| (n % 77, 1.0 / (n + 1) as f64));
    let groups = pairs.map_values(f64::to_bits).group_by_key_into(5);
    let mixed = rows.repartition(7);
    let sample = mixed.sample(true, 0.3, 42).map(|n| (n % 31, n));
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        groups.collect().unwrap(),
        rows.map(|n| n % 501).distinct_into(4).collect().unwrap(),
        mixed.zip_with_index().top(100).unwrap(),
        sample.aggregate_by_key_into(0.5, |sum, n| sum / 3.0 + n as f64, |a, b| a * 0.7 + b, 3).collect().unwrap(),
        mixed.map(|n| 1.0 / (n + 1) as f64).aggregate(0.0, |a, b| a + b, |a, b| a + b).unwrap().to_bits(),
        mixed.map(|n| 1.0 / (n + 1) as f64).reduce(|a, b| a + b).unwrap().unwrap().to_bits(),
        mixed.key_by(|n| n % 9).partition_by(4).coalesce(2).collect().unwrap(),
        mixed.take(700).unwrap(),
    );
    text.into_bytes()
}

#[test]
fn a_hundred_runs_with_one_two_and_seven_workers_give_the_same_bytes() {
    let worlds = [1, 2, 7].map(World::new);
    let first = everything_else(&worlds[0], 6);
    // Were the sums not sensitive to order, nothing would be shown: other partitions give other bits.
    assert_ne!(everything_else(&worlds[0], 5), first);
    for run in 0..100 {
        let world = &worlds[run % worlds.len()];
        assert!(everything_else(world, 6) == first, "run {run} with {} workers differs", world.workers());
    }
}

#[test]
fn sums_of_large_partitions_are_the_same_bits_whether_combining_pays_or_not() {
    let worlds = [1, 2, 7].map(World::roomy);
    let mut events = worlds[0].events();
    let first = sums_by_key(&worlds[0]);
    assert_eq!(first.len() as u64, MANY_KEYS_ROWS);

    // Both decisions were taken: two partitions were combined to their keys, one went through as it was.
    let mut written = [0; 3];
    let mut read_bytes = 0;
    for event in drain(&mut events) {
        if let Event::PartitionStored { partition, rows, bytes, .. } = event {
            (written[partition], read_bytes) = (rows, read_bytes + bytes);
        }
    }
    assert_eq!(written, [100, 100, MANY_KEYS_ROWS]);
    // And what each reducer reads is more than one piece.
    assert!(read_bytes / REDUCERS as u64 > 512 << 10, "{read_bytes} bytes");

    for run in 0..30 {
        let world = &worlds[run % worlds.len()];
        assert!(sums_by_key(world) == first, "run {run} with {} workers differs", world.workers());
    }
}

#[test]
fn losing_what_was_kept_does_not_change_a_bit() {
    let program = |ctx: &Context, lose: bool| {
        let rows = ctx.range_into(0..5_000_u64, 6).repartition(5).cache();
        let sums = rows.map(|n| (n % 13, 1.0 / (n + 1) as f64)).reduce_by_key_into(|a, b| a + b, 3);
        rows.count().unwrap();
        sums.count().unwrap();
        if lose {
            for partition in [0, 3, 4] {
                assert!(emberflow::testing::kill_cached_partition(&rows, partition).unwrap());
            }
            assert!(emberflow::testing::kill_map_output(&sums, 3).unwrap());
            assert!(emberflow::testing::kill_map_output(&rows, 2).unwrap());
        }
        let bits = sums.map(|(key, sum)| (key, sum.to_bits())).collect().unwrap();
        (bits, rows.collect().unwrap())
    };
    let unfaulted = program(&World::new(1), false);
    for workers in [1, 2, 7] {
        assert_eq!(program(&World::new(workers), true), unfaulted);
    }
}
