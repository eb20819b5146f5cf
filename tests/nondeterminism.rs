//! Rows that are not the same when they are made again are found out where that can be, and never mixed unseen.

mod support;

use emberflow::{
    Error, Event, Rdd,
    testing::{kill_cached_partition, kill_map_output},
};

use self::support::{Gate, Tally, World, drain};

/// Sums of rows of which the second of two partitions differs each time it is made, and a gate in the first of two
/// reducers, for the first job.
fn sums(world: &World, gate: &Gate, one_more: bool) -> Rdd<(u64, u64)> {
    let (made, passed, inner) = (Tally::new(), Tally::new(), gate.clone());
    let rows = world.range_into(0..100_u64, 2).map_partitions_with_index(move |at, rows| {
        let before = if at == 1 { made.add() as u64 } else { 0 };
        // One row more each time, or other rows of the same number.
        let more = if one_more { before } else { 0 };
        rows.map(move |n| n + 1000 * before).chain((0..more).map(|n| 5000 + n))
    });
    let sums = rows.map(|n| (n % 50, n)).group_by_key_into(2).map_values(|values| values.into_iter().sum::<u64>());
    sums.map_partitions_with_index(move |at, rows| {
        if at == 0 && passed.add() == 0 {
            inner.pass();
        }
        rows
    })
}

fn differences(events: &[Event]) -> Vec<(usize, u64, u64)> {
    let difference = |event: &Event| match event {
        Event::PartitionDiffers { partition, before, after, .. } => Some((*partition, before.rows(), after.rows())),
        _ => None,
    };
    events.iter().filter_map(difference).collect()
}

/// One reducer has read what the other one finds gone. One worker: so the other waits.
fn lose_between_two_reducers(world: &World, one_more: bool) -> (Result<Vec<(u64, u64)>, Error>, Vec<Event>) {
    let gate = Gate::new();
    let sums = sums(world, &gate, one_more);
    let mut events = world.events();
    let job = sums.collect_async();
    gate.wait_for(1);
    assert!(kill_map_output(&sums, 1).unwrap());
    gate.open();
    let outcome = job.wait();
    let told = drain(&mut events);
    // Whoever comes now gets what was made again, whole.
    let again = sums.collect().unwrap();
    assert!(again.iter().map(|(_, sum)| sum).sum::<u64>() >= 4950 + 50_000);
    (outcome, told)
}

#[test]
fn a_map_output_that_is_made_again_with_other_rows_ends_the_job_that_would_mix_them() {
    let world = World::with(|builder| builder.workers(1));
    let (outcome, events) = lose_between_two_reducers(&world, true);
    let error = outcome.unwrap_err();
    let text = error.to_string();
    for part in [
        "group_by_key at tests/nondeterminism.rs:",
        "partition 1: it was lost",
        "(50 rows",
        "now 51 rows",
        "checkpoint",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(matches!(error, Error::NotDeterministic { partition: 1, .. }));
    assert_eq!(differences(&events), [(1, 50, 51)]);
}

#[test]
fn rows_of_the_same_number_are_told_apart_by_their_checksum_where_they_were_serialised() {
    let world = World::with(|builder| builder.workers(1).force_spill(true));
    let (outcome, events) = lose_between_two_reducers(&world, false);
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("50 rows") && text.matches(", checksum ").count() == 2, "{text}");
    assert_eq!(differences(&events), [(1, 50, 50)]);
    // The bytes are compressed, or not.
    let world = World::with(|builder| builder.workers(1).force_spill(true).spill_compression(true));
    assert_eq!(differences(&lose_between_two_reducers(&world, false).1), [(1, 50, 50)]);
}

#[test]
fn whoever_does_not_want_to_know_gets_a_result_and_an_event() {
    let world = World::with(|builder| builder.workers(1).check_determinism(false));
    let (outcome, events) = lose_between_two_reducers(&world, true);
    assert_eq!((outcome.unwrap().len(), differences(&events)), (50, vec![(1, 50, 51)]));
}

#[test]
fn a_lost_partition_that_no_living_job_has_read_may_be_another_one() {
    let world = World::new(2);
    let made = Tally::new();
    let rows = world.range_into(0..10_u64, 2).map_partitions(move |rows| {
        let more = made.add() as u64;
        rows.chain(0..more)
    });
    let rows = rows.cache();
    let first = rows.count().unwrap();
    assert!(kill_cached_partition(&rows, 0).unwrap());
    let mut events = world.events();
    let second = rows.count().unwrap();
    assert!(second > first, "{second} rows after {first}");
    assert_eq!(differences(&drain(&mut events)).len(), 1);
}

#[test]
fn what_is_deterministic_never_differs_however_often_it_is_lost() {
    for force_spill in [false, true] {
        let world = World::with(|builder| builder.workers(2).force_spill(force_spill));
        let rows = world.range_into(0..20_000_u64, 4).map(|n| (n % 700, n.to_string())).cache();
        let sorted = rows.group_by_key_into(3).map_values(|values| values.len()).sort_by_key().cache();
        let expected = sorted.collect().unwrap();
        let mut events = world.events();
        for round in 0..8 {
            for rdd in [kill_cached_partition(&rows, round % 4), kill_cached_partition(&sorted, round % 3)] {
                rdd.unwrap();
            }
            kill_map_output(&sorted, round % 3).unwrap();
            assert_eq!(sorted.collect().unwrap(), expected);
        }
        assert_eq!(differences(&drain(&mut events)), []);
    }
}
