//! Losing k partitions that are stored, cached ones or map outputs, recomputes those k, with what they need that is gone
//! too, and no others; and all jobs end well. See `recovery_attempts` for attempts that fail, and `recovery_actors` for
//! actors that die.

mod support;

use std::{sync::mpsc, thread, time::Duration};

use emberflow::{
    Event, JobEnd,
    testing::{kill_cached_partition, kill_map_output, shuffle_store},
};

use self::support::{
    Gate, Tally, World, drain, failures, finished_tasks, finished_tasks_of, lost, next_of, skipped, store_of,
    stored_in, watched, within_deadline,
};

#[test]
fn losing_a_cached_partition_recomputes_that_one() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 5);
    let rows = rows.cache();
    let expected = rows.collect().unwrap();
    assert_eq!(computed.take(), [0, 1, 2, 3, 4]);

    let mut events = world.events();
    assert!(kill_cached_partition(&rows, 3).unwrap());
    assert_eq!(lost(&drain(&mut events)), [(store_of(&rows), 3)]);
    assert_eq!(rows.collect().unwrap(), expected);

    let events = drain(&mut events);
    assert_eq!(computed.take(), [3]);
    assert_eq!(stored_in(&events, store_of(&rows)), [3]);
    assert_eq!(finished_tasks(&events)[&store_of(&rows)], [3]);
    assert_eq!(failures(&events), []);
}

#[test]
fn losing_two_cached_partitions_recomputes_those_two() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 5);
    let rows = rows.cache();
    let expected = rows.collect().unwrap();
    computed.take();

    let mut events = world.events();
    assert!(kill_cached_partition(&rows, 0).unwrap() && kill_cached_partition(&rows, 4).unwrap());
    assert_eq!(rows.map(|n| n + 1).map(|n| n - 1).collect().unwrap(), expected);

    let events = drain(&mut events);
    assert_eq!(lost(&events), [(store_of(&rows), 0), (store_of(&rows), 4)]);
    assert_eq!(computed.take(), [0, 4]);
    assert_eq!(stored_in(&events, store_of(&rows)), [0, 4]);
}

#[test]
fn a_loss_that_nobody_needs_is_not_repaired() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 5);
    let rows = rows.cache();
    rows.count().unwrap();
    computed.take();
    assert!(kill_cached_partition(&rows, 4).unwrap());
    assert_eq!(rows.take(20).unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(computed.take(), [] as [usize; 0]);
    assert_eq!(rows.count().unwrap(), 100);
    assert_eq!(computed.take(), [4]);
}

#[test]
fn losing_everything_that_is_cached_recomputes_everything_once() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 8);
    let rows = rows.cache();
    let expected = rows.collect().unwrap();
    computed.take();
    for partition in 0..8 {
        assert!(kill_cached_partition(&rows, partition).unwrap());
        assert!(!kill_cached_partition(&rows, partition).unwrap(), "it is dead already");
    }
    assert_eq!(rows.collect().unwrap(), expected);
    assert_eq!(computed.take(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn there_is_nothing_to_kill_where_nothing_is_kept() {
    let world = World::new(1);
    let rows = world.range_into(0..10_u64, 2);
    assert!(!kill_cached_partition(&rows, 0).unwrap() && !kill_map_output(&rows, 0).unwrap());
    let rows = rows.cache();
    assert!(!kill_cached_partition(&rows, 0).unwrap());
    rows.count().unwrap();
    assert!(!kill_cached_partition(&rows, 2).unwrap());
    assert!(kill_cached_partition(&rows, 1).unwrap());
}

#[test]
fn losing_a_map_output_reruns_that_map_task_and_the_reducers_of_the_next_job() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 5);
    let sums = rows.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    let shuffle = shuffle_store(&sums).unwrap();
    let expected = sums.collect().unwrap();
    computed.take();

    let mut events = world.events();
    assert!(kill_map_output(&sums, 2).unwrap());
    assert_eq!(sums.collect().unwrap(), expected);

    let events = drain(&mut events);
    assert_eq!(lost(&events), [(shuffle, 2)]);
    assert_eq!(computed.take(), [2]);
    let tasks = finished_tasks(&events);
    assert_eq!(tasks[&shuffle], [2]);
    assert_eq!(tasks.values().filter(|tasks| **tasks == [0, 1, 2]).count(), 1, "one stage of three reducers");
    assert_eq!(tasks.len(), 2);
}

#[test]
fn losing_everything_of_two_shuffles_and_a_cache_gives_the_same_result() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let cached = rows.cache();
    let sums = cached.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    let groups = sums.map(|(key, sum)| (sum % 4, key)).group_by_key_into(2);
    let expected = groups.collect().unwrap();
    computed.take();
    for partition in 0..4 {
        assert!(kill_cached_partition(&cached, partition).unwrap());
        assert!(kill_map_output(&sums, partition).unwrap());
    }
    for partition in 0..3 {
        assert!(kill_map_output(&groups, partition).unwrap());
    }
    assert_eq!(groups.collect().unwrap(), expected);
    assert_eq!(computed.take(), [0, 1, 2, 3]);
}

#[test]
fn a_lost_output_of_the_second_shuffle_needs_nothing_before_the_first() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let sums = rows.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    let groups = sums.map(|(key, sum)| (sum % 4, key)).group_by_key_into(2);
    let (first, second) = (shuffle_store(&sums).unwrap(), shuffle_store(&groups).unwrap());
    let expected = groups.collect().unwrap();
    computed.take();

    let mut events = world.events();
    assert!(kill_map_output(&groups, 1).unwrap());
    assert_eq!(groups.collect().unwrap(), expected);

    let events = drain(&mut events);
    assert_eq!(computed.take(), [] as [usize; 0]);
    assert_eq!(finished_tasks_of(&events, first), [] as [usize; 0]);
    assert_eq!(finished_tasks_of(&events, second), [1]);
    assert!(skipped(&events).contains(&first));

    // Now the first shuffle has lost something too: that map task alone runs, and what was lost of the second one.
    let mut events = world.events();
    assert!(kill_map_output(&sums, 3).unwrap() && kill_map_output(&groups, 0).unwrap());
    assert_eq!(groups.collect().unwrap(), expected);
    let events = drain(&mut events);
    assert_eq!(computed.take(), [3]);
    assert_eq!(finished_tasks_of(&events, first), [3]);
    assert_eq!(finished_tasks_of(&events, second), [0]);

    // And a loss behind a shuffle whose outputs all live is nobody's business.
    assert!(kill_map_output(&sums, 0).unwrap());
    assert_eq!(groups.collect().unwrap(), expected);
    assert_eq!(computed.take(), [] as [usize; 0]);
}

#[test]
fn a_lost_output_of_a_shuffle_that_two_jobs_share_is_recomputed_once() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let sums = rows.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    assert_eq!(sums.count().unwrap(), 10);
    computed.take();
    assert!(kill_map_output(&sums, 1).unwrap());
    let other = sums.filter(|(key, _)| key % 2 == 0);
    let (all, even) = (sums.count_async(), other.count_async());
    assert_eq!((all.wait().unwrap(), even.wait().unwrap()), (10, 5));
    assert_eq!(computed.take(), [1]);
}

#[test]
fn partitions_lost_while_jobs_run_are_recomputed_and_all_jobs_end_well() {
    let world = World::new(2);
    let rows = world.range_into(0..2_000_u64, 16).map(|n| n * 3).cache();
    let sums = rows.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 4);
    let (expected, expected_sums) = (rows.collect().unwrap(), sums.collect().unwrap());
    let mut events = world.events();
    within_deadline(move || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        assert_eq!(rows.collect().unwrap(), expected);
                        assert_eq!(sums.collect().unwrap(), expected_sums);
                    }
                });
            }
            for round in 0..60 {
                // Whole again first, so that there is something to be killed.
                assert_eq!(rows.count().unwrap(), 2_000);
                assert!(kill_cached_partition(&rows, round % 16).unwrap());
            }
        });
    });
    let events = drain(&mut events);
    assert_eq!(lost(&events).len(), 60);
    let count = |failed: bool| {
        let ended =
            |event: &&Event| matches!(event, Event::JobFinished { end, .. } if (*end != JobEnd::Succeeded) == failed);
        events.iter().filter(ended).count()
    };
    assert_eq!((count(false), count(true)), (260, 0));
}

#[test]
fn a_partition_killed_while_it_is_computed_is_computed_again_and_the_killer_does_not_hang() {
    let world = World::new(1);
    let (gate, calls) = (Gate::new(), Tally::new());
    let (inner, counter) = (gate.clone(), calls.clone());
    let rows = world
        .range_into(0..10_u64, 1)
        .map(move |n| {
            if n == 0 {
                counter.add();
                inner.pass();
            }
            n
        })
        .cache();
    let job = rows.count_async();
    gate.wait_for(1);
    let victim = rows.clone();
    let (send, killed) = mpsc::channel();
    let killer = thread::spawn(move || send.send(kill_cached_partition(&victim, 0)));
    // It may come back now, or only when the loss has been seen; what matters is that it does.
    let now = killed.recv_timeout(Duration::from_millis(500)).ok();
    gate.open();
    assert_eq!(job.wait().unwrap(), 10);
    assert_eq!(rows.count().unwrap(), 10);
    let killed = now.unwrap_or_else(|| within_deadline(move || killed.recv().unwrap()));
    assert!(killed.unwrap() && killer.join().unwrap().is_ok());
    assert!(calls.get() >= 2, "the fault did not fire");
    assert!(calls.get() <= 3, "{} computations", calls.get());
}

#[test]
fn unpersisting_forgets_the_rows_and_a_second_cache_keeps_them_anew() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 3);
    let rows = rows.cache();
    rows.count().unwrap();
    let first = store_of(&rows);
    computed.take();
    let mut events = world.events();
    rows.unpersist();
    let dropped = |event: &Event| match event {
        Event::StoreDropped { store, partitions, .. } => Some((*store, *partitions)),
        _ => None,
    };
    assert_eq!(next_of(&mut events, dropped), (first, 3));
    assert!(!kill_cached_partition(&rows, 0).unwrap());
    assert_eq!(rows.count().unwrap(), 100);
    assert_eq!(computed.take(), [0, 1, 2]);
    assert_ne!(store_of(&rows.cache()), first);
    assert_eq!((rows.count().unwrap(), rows.count().unwrap()), (100, 100));
    assert_eq!(computed.take(), [0, 1, 2]);
}

#[test]
fn a_half_filled_cache_is_filled_after_the_cache_before_it_was_unpersisted() {
    let world = World::new(2);
    let before = world.range_into(0..100_u64, 4).map(|n| n + 1).cache();
    let after = before.map(|n| n * 2).cache();
    assert_eq!(after.first().unwrap(), Some(2));
    before.unpersist();
    let expected: Vec<u64> = (1..101).map(|n| n * 2).collect();
    assert_eq!(within_deadline(move || after.collect().unwrap()), expected);
}

#[test]
fn a_lost_partition_is_rebuilt_from_the_source_after_the_cache_before_it_was_unpersisted() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let before = rows.cache();
    let after = before.map(|n| n * 2).cache();
    let expected = after.collect().unwrap();
    computed.take();
    before.unpersist();
    assert!(kill_cached_partition(&after, 2).unwrap());
    assert_eq!(within_deadline(move || after.collect().unwrap()), expected);
    assert_eq!(computed.take(), [2]);
}

#[test]
fn a_lost_map_output_is_rebuilt_from_the_source_after_the_cache_before_it_was_unpersisted() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let before = rows.cache();
    let sums = before.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    let expected = sums.collect().unwrap();
    computed.take();
    before.unpersist();
    assert!(kill_map_output(&sums, 1).unwrap());
    assert_eq!(within_deadline(move || sums.collect().unwrap()), expected);
    assert_eq!(computed.take(), [1]);
}

#[test]
fn a_lost_map_output_is_rebuilt_from_a_cache_that_was_made_again() {
    let world = World::new(2);
    let before = world.range_into(0..100_u64, 4).cache();
    let sums = before.map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    let expected = sums.collect().unwrap();
    before.unpersist();
    assert!(before.cache().is_cached());
    assert!(kill_map_output(&sums, 1).unwrap());
    assert_eq!(within_deadline(move || sums.collect().unwrap()), expected);
}

#[test]
fn zip_with_index_recounts_only_what_was_lost() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 4);
    let numbered = rows.zip_with_index();
    let expected = numbered.collect().unwrap();
    computed.take();
    assert!(kill_map_output(&numbered, 1).unwrap());
    assert_eq!(numbered.collect().unwrap(), expected);
    // Partition 1 is counted again; and all are computed for the job itself.
    assert_eq!(computed.take(), [0, 1, 1, 2, 3]);
}
