//! Each kind of fault at each point: the result is the one of a run without faults, to the bit.

use std::fs;

use emberflow::{
    Context, Sums,
    testing::{Fault, Kind, Point, Schedule},
};

use super::{
    ends_well, struck,
    support::{World, eventually, within_deadline},
    times,
};

/// A program that passes every point: sources, a cache, a join of shuffles, sums whose order shows, a sort, a sink.
fn program(ctx: &Context, files: &std::path::Path) -> String {
    let rows = ctx.range_into(0..600_u64, 4).cache();
    let sums = rows.map(|n| (n % 10, 1.0 / (n + 1) as f64)).reduce_by_key_into(|a, b| a + b, 3);
    let groups = rows.map(|n| (n % 10, n)).group_by_key_into(3);
    let joined = groups.join(&sums).map(|(key, (rows, sum))| (key, rows, sum.to_bits()));
    let sorted = joined.sort_by_into(|(key, ..)| std::cmp::Reverse(*key), 2);
    let (there, again) = (sorted.collect().unwrap(), sorted.collect().unwrap());
    assert!(there == again && rows.count().unwrap() == 600);
    let sink = files.join("sink");
    rows.save_as_object_file(&sink).unwrap();
    let saved = ctx.object_file::<u64>(&sink).unwrap().collect().unwrap();
    fs::remove_dir_all(&sink).unwrap();
    format!("{there:?} {saved:?}")
}

#[test]
fn every_kind_of_fault_at_every_point_changes_no_bit_of_a_result() {
    let plain = World::tight(2);
    let expected = program(&plain, &plain.files());
    for (point, kind) in Point::ALL.into_iter().flat_map(|point| point.kinds().iter().map(move |kind| (point, *kind))) {
        // See below.
        if matches!(point, Point::Evict | Point::Evicted) {
            continue;
        }
        for nth in [1, 2, 4] {
            let fault = Fault::new(point, kind).nth(nth);
            // What is refused room, and what is mapped, goes to disk at times only.
            let world = match point {
                Point::Memory => World::with(|builder| {
                    builder.workers(2).memory_budget(1 << 20).force_spill(false).chaos(Schedule::of([fault]))
                }),
                _ => struck(2, [fault]),
            };
            assert_eq!(program(&world, &world.files()), expected, "{kind} at {point}, number {nth}");
            // There is one file to be mapped.
            let expected_times = u64::from(point != Point::SpillMap || nth == 1);
            assert_eq!(times(&world, point, kind), expected_times, "{kind} at {point}, number {nth}, did not strike");
            ends_well(world);
        }
    }
}

#[test]
fn faults_that_never_end_are_an_error_that_names_them_and_the_place() {
    for (point, kind) in Point::ALL.into_iter().flat_map(|point| point.kinds().iter().map(move |kind| (point, *kind))) {
        // These can be done without.
        if matches!(point, Point::Memory | Point::SpillMap | Point::Evict | Point::Evicted) || kind == Kind::Delay {
            continue;
        }
        let world = struck(2, [Fault::new(point, kind)]);
        let rows = world.range_into(0..600_u64, 4).cache();
        let saved = rows.reduce_by_key_of_ten().save_as_text_file(world.files().join("sink"));
        let error = saved.unwrap_err().to_string();
        let told = match kind {
            Kind::Lost if matches!(point, Point::Fetch | Point::Filled) => "was lost 4 times in a row".to_owned(),
            Kind::Lost => "died before it could take the rows".to_owned(),
            Kind::Panic if point == Point::Fill => "died before it could take the rows".to_owned(),
            Kind::Damage => "the checksum of".to_owned(),
            _ => format!("a fault on purpose: {kind} at {point}"),
        };
        assert!(error.contains(&told), "{kind} at {point}: {error}");
        assert!(error.contains("at tests/chaos/points.rs:"), "{kind} at {point}: {error}");
        assert_eq!(fs::read_dir(world.files()).unwrap().count(), 0, "{kind} at {point} leaves half a sink");
    }
}

#[test]
fn what_strikes_a_partition_that_makes_room_for_others_changes_no_row() {
    let all = [Point::Evict, Point::Evicted].map(|point| point.kinds().iter().map(move |kind| (point, *kind)));
    let written = [Kind::Io, Kind::Damage].map(|kind| (Point::SpillWrite, kind));
    for (point, kind) in all.into_iter().flatten().chain(written) {
        let faults = Schedule::of([Fault::new(point, kind).nth(1)]);
        let world = World::with(|builder| builder.workers(2).memory_budget(120_000).force_spill(false).chaos(faults));
        let old = world.range_into(0..10_000_u64, 8).cache();
        assert_eq!(old.sum().unwrap(), 49_995_000);
        // It fits, and nothing was written; then it is not read any more.
        assert_eq!((world.memory().spilled_in_all, times(&world, point, kind)), (0, 0));
        (0..4).for_each(|_| assert_eq!(world.range_into(0..2_u64, 2).count().unwrap(), 2));
        let fresh = world.range_into(0..5_000_u64, 8).cache();
        assert_eq!(fresh.sum().unwrap(), 12_497_500);
        assert_eq!(eventually(|| times(&world, point, kind), |times| *times == 1), 1, "{kind} at {point}");
        assert_eq!((old.sum().unwrap(), fresh.sum().unwrap()), (49_995_000, 12_497_500), "{kind} at {point}");
        drop((old, fresh));
        ends_well(world);
    }
}

#[test]
fn map_outputs_that_die_in_turns_do_not_keep_a_job_for_ever() {
    let faults = [Fault::new(Point::Filled, Kind::Lost)];
    let world = World::with(|builder| builder.workers(1).chaos(Schedule::of(faults)));
    let job = world.range_into(0..10_u64, 2).reduce_by_key_of_ten().collect_async();
    let error = within_deadline(|| job.wait()).unwrap_err().to_string();
    assert!(error.contains("was lost 4 times in a row"), "{error}");
    // While one is made again, the other dies: each of them as often as any loss is allowed.
    assert!((4..=8).contains(&times(&world, Point::Filled, Kind::Lost)), "{:?}", world.faults_injected());
    world.end();
}

trait Tens {
    fn reduce_by_key_of_ten(&self) -> emberflow::Rdd<u64>;
}

impl Tens for emberflow::Rdd<u64> {
    fn reduce_by_key_of_ten(&self) -> emberflow::Rdd<u64> {
        self.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3).values()
    }
}

#[test]
fn a_seed_strikes_alike_whatever_the_number_of_workers() {
    // Tasks that read nothing of one another: who has met a loss before it was repaired is a question of time.
    let run = |seed, workers| {
        let faults = Schedule::seeded(seed).active(1.0);
        let world = World::with(|builder| builder.workers(workers).batch_rows(10).chaos(faults));
        world.range_into(0..1600_u64, 16).map(|n| n * 3).save_as_object_file(world.files().join("sink")).unwrap();
        let injected = world.faults_injected();
        world.end();
        injected
    };
    let seeds: Vec<_> = (0..20).map(|seed| (run(seed, 1), run(seed, 7))).collect();
    assert!(seeds.iter().all(|(one, seven)| one == seven && one.len() > 3), "{seeds:?}");
    assert!(seeds.windows(2).all(|two| two[0] != two[1]));
}
