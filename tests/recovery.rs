//! Losing k partitions recomputes those k, with what they need that is gone too, and no others; a task that fails is
//! tried again up to the limit; and whatever happens, the job ends and the context goes on.

mod support;

use std::{
    fmt,
    hash::{Hash, Hasher},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use emberflow::{
    Context, Error, Event, ExchangeData, JobEnd, Rdd, RowSpan, Source, StoreId, TaskError,
    testing::{
        break_cached_partition, break_coordinator, break_governor, cache_store, kill_cached_partition, kill_map_output,
        shuffle_store,
    },
};
use serde::{Deserialize, Serialize};

use self::support::{
    Computed, Gate, ON_PURPOSE, Tally, World, drain, eventually, failures, finished_tasks, finished_tasks_of, lost,
    next_of, skipped, stored_in, within_deadline,
};

/// Rows 0..100 in so many partitions, which write themselves down when they are computed.
fn watched(ctx: &Context, partitions: usize) -> (Rdd<u64>, Computed) {
    let computed = Computed::new();
    let seen = computed.clone();
    let rows = ctx.range_into(0..100_u64, partitions).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        rows
    });
    (rows, computed)
}

/// The store of a cached RDD.
fn store_of<T: ExchangeData>(rdd: &Rdd<T>) -> StoreId {
    cache_store(rdd).expect("cached")
}

/// What every failure must leave behind: a context that works.
fn assert_works(ctx: &Context) {
    assert_eq!(ctx.range_into(0..10_u64, 3).count().unwrap(), 10);
}

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

#[test]
fn a_panic_is_retried_up_to_the_limit_and_then_named_with_all_that_helps() {
    for limit in [1, 2, 4] {
        let world = World::with(|builder| builder.workers(2).task_failure_limit(limit).batch_rows(64));
        let attempts = Tally::new();
        let counter = attempts.clone();
        let mut events = world.events();
        let line = line!() + 2;
        let rows = world.range_into(0..30_u64, 3).map(|n| n + 1);
        let rows = rows.filter(move |n| {
            if *n == 15 {
                counter.add();
                panic!("{ON_PURPOSE}: cannot judge {n}");
            }
            true
        });
        let rdd = rows.id();
        let error = rows.map(|n| n * 2).count().unwrap_err();
        assert_eq!(attempts.get(), limit);

        let text = error.to_string();
        let place = format!("filter at {}:{}", file!(), line);
        let (rdd_text, message) = (rdd.to_string(), format!("{ON_PURPOSE}: cannot judge 15"));
        // How many rows it was given at once depends on how long they took.
        let row = if limit > 1 { "row 4 of" } else { "rows " };
        let attempt = format!("attempt {limit}");
        for part in [&place, &rdd_text, "stage ", "partition 1", &attempt, row, "panicked", &message] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
        assert!(text.contains(&format!("after {limit} attempt")), "{text}");
        let Error::TaskFailed { rdd: blamed, partition: 1, causes, .. } = error else { panic!("{error:?}") };
        assert_eq!(blamed, rdd);
        assert_eq!(
            causes.iter().map(|cause| cause.attempt).collect::<Vec<_>>(),
            (1..=limit as u32).collect::<Vec<_>>()
        );
        assert!(causes.iter().all(|cause| matches!(cause.error, TaskError::Panicked { .. }) && cause.rdd == rdd));

        let tried: Vec<_> = (1..=limit as u32).map(|attempt| (attempt, (attempt as usize) < limit)).collect();
        assert_eq!(failures(&drain(&mut events)), tried);
        assert_works(&world);
    }
}

#[test]
fn a_panic_in_the_closure_of_an_action_is_laid_at_the_action() {
    let world = World::new(1);
    let rows = world.range_into(0..4_u64, 1).map(|n| n);
    let errors = [
        ("for_each", rows.for_each(|_| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("reduce", rows.reduce(|_, _| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("fold", rows.fold(0, |_, _| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("aggregate", rows.aggregate(0_u64, |_, _| panic!("{ON_PURPOSE}"), |a, _| a).unwrap_err()),
        ("top_by", rows.top_by(1, |_| -> u64 { panic!("{ON_PURPOSE}") }).unwrap_err()),
        ("for_each_partition", rows.for_each_partition(|_| panic!("{ON_PURPOSE}")).unwrap_err()),
    ];
    let wrong: Vec<_> = errors.iter().filter(|(action, error)| !error.to_string().starts_with(action)).collect();
    assert!(wrong.is_empty(), "blamed on another operator: {wrong:#?}");
    assert_works(&world);
}

#[test]
fn a_closure_that_panics_once_is_retried_and_nobody_notices() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let mut events = world.events();
    let rows = world.range_into(0..30_u64, 3).map(move |n| {
        assert!(n != 15 || counter.add() > 0, "{ON_PURPOSE}");
        n
    });
    assert_eq!(rows.collect().unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!((attempts.get(), failures(&drain(&mut events))), (2, vec![(1, true)]));
}

#[test]
fn a_map_task_that_panics_once_leaves_no_duplicate_in_the_shuffle() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let pairs = world.range_into(0..3_000_u64, 3).map(move |n| {
        // In the middle: much has been written by then.
        assert!(n != 1_900 || counter.add() > 0, "{ON_PURPOSE}");
        (n % 10, 1_u64)
    });
    let counts = pairs.reduce_by_key_into(|a, b| a + b, 2).collect_as_map().unwrap();
    assert_eq!(attempts.get(), 2);
    assert!(counts.len() == 10 && counts.values().all(|count| *count == 300), "{counts:?}");
}

#[test]
fn a_closure_that_panics_on_one_row_of_a_million_fails_its_job_and_no_other() {
    let world = World::new(2);
    let rows = world.range_into(0..1_000_000_u64, 8).map(|n| {
        assert!(n != 765_432, "{ON_PURPOSE}: row {n}");
        n
    });
    let (bad, good) = (rows.count_async(), world.range_into(0..100_000_u64, 8).map(|n| n + 1).count_async());
    let error = bad.wait().unwrap_err();
    assert!(error.to_string().contains("row 765432"), "{error}");
    // The last attempt has looked at each row by itself: the partition begins with 750,000.
    let Error::TaskFailed { partition: 6, causes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(causes.last().unwrap().rows, Some(RowSpan { first: 15_432, count: 1 }));
    assert!(
        causes
            .iter()
            .all(|cause| cause.rows.is_some_and(|rows| (rows.first..rows.first + rows.count).contains(&15_432)))
    );
    assert!(error.to_string().contains("row 15432 of what it was given: panicked"), "{error}");
    assert_eq!(good.wait().unwrap(), 100_000);
    assert_works(&world);
}

#[test]
fn an_error_of_try_map_is_not_retried() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let mut events = world.events();
    let rows = world.range_into(0..30_u64, 3).try_map(move |n| {
        if n == 15 {
            counter.add();
            return Err(fmt::Error);
        }
        Ok(n)
    });
    let error = rows.collect().unwrap_err();
    assert_eq!((attempts.get(), failures(&drain(&mut events))), (1, vec![(1, false)]));
    let Error::TaskFailed { causes, rdd, .. } = &error else { panic!("{error:?}") };
    let [only] = &causes[..] else { panic!("{error:?}") };
    assert!(matches!(&only.error, TaskError::Rejected { cause } if cause.is::<fmt::Error>()), "{error:?}");
    assert_eq!(*rdd, rows.id());
    assert!(error.to_string().contains("after 1 attempt;") && error.to_string().contains("row 5 of what"), "{error}");
    assert_works(&world);
}

#[test]
fn an_error_of_try_map_retrying_is_retried_as_often_as_a_panic() {
    let world = World::new(2);
    for (fails, outcome) in [(3, Some(30)), (4, None)] {
        let attempts = Tally::new();
        let counter = attempts.clone();
        let mut events = world.events();
        let rows = world.range_into(0..30_u64, 3).try_map_retrying(move |n| match n {
            15 if counter.add() < fails => Err(fmt::Error),
            n => Ok(n),
        });
        assert_eq!((rows.count().ok(), attempts.get()), (outcome, 4));
        let last = if outcome.is_some() { vec![] } else { vec![(4, false)] };
        assert_eq!(failures(&drain(&mut events)), [vec![(1, true), (2, true), (3, true)], last].concat());
    }
}

#[test]
fn the_row_that_every_attempt_panics_at_is_named_wherever_it_is() {
    let world = World::new(2);
    let bad = |n: u64| assert!(n != 77, "{ON_PURPOSE}");
    let rows = world.range_into(0..100_u64, 2);
    let row_of = |outcome: Result<u64, Error>| {
        let Err(Error::TaskFailed { causes, operator, .. }) = outcome else { panic!("{outcome:?}") };
        (
            operator.split(' ').next().unwrap().to_owned(),
            causes.last().unwrap().rows.map(|rows| (rows.first, rows.count)),
        )
    };
    let named = |name: &str, row: u64| (name.to_owned(), Some((row, 1)));
    let count = |rdd: Rdd<u64>| row_of(rdd.count());
    // Of the fifty rows of the second partition.
    let map = rows.map(move |n| (bad(n), n).1);
    assert_eq!(count(map), named("map", 27));
    assert_eq!(count(rows.filter(move |n| (bad(*n), true).1)), named("filter", 27));
    assert_eq!(count(rows.flat_map(move |n| vec![(bad(n), n).1])), named("flat_map", 27));
    assert_eq!(count(rows.flat_map(move |n| (0..3).map(move |k| (bad(n + k), n).1))), named("flat_map", 25));
    // Of those that are left of them.
    assert_eq!(count(rows.filter(|n| n % 2 == 1).map(move |n| (bad(n), n).1)), named("map", 13));
    // Of what was sorted, by another order.
    assert_eq!(count(rows.sort_by_into(|n| u64::MAX - n, 2).map(move |n| (bad(n), n).1)), named("map", 22));
    assert_eq!(count(rows.cache().map(move |n| (bad(n), n).1)), named("map", 27));
    assert_eq!(row_of(rows.for_each(bad).map(|()| 0)), named("for_each", 27));
    let sums = rows.key_by(move |n| (bad(*n), n % 3).1).reduce_by_key(|a, b| a + b);
    assert_eq!(row_of(sums.count()), named("key_by", 27));
    // Whoever works on a partition as a whole is given no row.
    let whole = rows.map_partitions(move |rows| rows.inspect(move |n| bad(*n)));
    assert_eq!(count(whole), ("map_partitions".to_owned(), None));
}

/// Ten rows a partition; partition 1 fails in its middle so many times.
struct Flaky {
    failures: usize,
    reads: Tally,
}

impl Source for Flaky {
    type Row = u64;
    type Error = std::io::Error;
    type Rows = Box<dyn Iterator<Item = Result<u64, std::io::Error>>>;

    fn partitions(&self) -> usize {
        3
    }

    fn read(&self, partition: usize) -> Result<Self::Rows, std::io::Error> {
        let fails = partition == 1 && self.reads.add() < self.failures;
        let first = partition as u64 * 10;
        let row = move |n| if fails && n == first + 5 { Err(std::io::Error::other("the disk hiccups")) } else { Ok(n) };
        Ok(Box::new((first..first + 10).map(row)))
    }
}

#[test]
fn an_error_of_a_source_is_retried_up_to_the_limit() {
    let world = World::with(|builder| builder.workers(2).task_failure_limit(3));
    let reads = Tally::new();
    let rows = world.from_source(Flaky { failures: 2, reads: reads.clone() });
    assert_eq!(rows.collect().unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!(reads.get(), 3);

    let reads = Tally::new();
    let rows = world.from_source(Flaky { failures: usize::MAX, reads: reads.clone() });
    let error = rows.collect().unwrap_err();
    assert_eq!(reads.get(), 3);
    assert!(error.to_string().contains("the disk hiccups"), "{error}");
    assert!(matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 3), "{error:?}");
    assert_works(&world);
}

/// A row that panics in one of its traits if it is 13.
#[derive(Debug, Serialize, Deserialize)]
struct Touchy<const IN: char>(u64);

impl<const IN: char> Touchy<IN> {
    fn touch(&self, what: char) {
        if self.0 == 13 && IN == what && !thread::panicking() {
            panic!("{ON_PURPOSE}: {what}");
        }
    }
}

impl<const IN: char> Clone for Touchy<IN> {
    fn clone(&self) -> Self {
        self.touch('c');
        Self(self.0)
    }
}

impl<const IN: char> PartialEq for Touchy<IN> {
    fn eq(&self, other: &Self) -> bool {
        self.touch('e');
        self.0 == other.0
    }
}

impl<const IN: char> Eq for Touchy<IN> {}

impl<const IN: char> Hash for Touchy<IN> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.touch('h');
        self.0.hash(state);
    }
}

impl<const IN: char> Drop for Touchy<IN> {
    fn drop(&mut self) {
        self.touch('d');
    }
}

/// A job that counts something.
trait CountJob: FnOnce() -> Result<u64, Error> + Send {}

impl<F: FnOnce() -> Result<u64, Error> + Send> CountJob for F {}

/// Jobs over touchy rows: each ends in an error that says what panicked, and the context goes on.
fn assert_touchy_rows_fail_their_job_alone<const IN: char>(panics_in: &[&str]) {
    let world = World::roomy(2);
    let rows = world.range_into(0..40_u64, 4).map(|n| Touchy::<IN>(n % 20));
    let pairs = rows.map(|row| (row, 1_u64));
    let jobs: [(&str, Box<dyn CountJob>); 5] = [
        (
            "distinct",
            Box::new({
                let rows = rows.clone();
                move || rows.distinct_into(2).count()
            }),
        ),
        ("reduce_by_key", Box::new(move || pairs.reduce_by_key_into(|a, b| a + b, 2).count())),
        (
            "filter",
            Box::new({
                let rows = rows.clone();
                move || rows.filter(|row| row.0 != 13).count()
            }),
        ),
        (
            "drop",
            Box::new({
                let rows = rows.clone();
                move || rows.map(|row| row.0).count()
            }),
        ),
        (
            "cache",
            Box::new(move || {
                let cached = rows.cache();
                cached.count()?;
                let copies = cached.map(|row| row.0 + 1).count();
                cached.unpersist();
                copies
            }),
        ),
    ];
    for (name, job) in jobs {
        let outcome = within_deadline(job);
        if panics_in.contains(&name) {
            let error = outcome.expect_err(name).to_string();
            assert!(error.contains(&format!("{ON_PURPOSE}: {IN}")), "{name}: {error}");
        } else {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
        let range = world.range_into(0..10_u64, 3);
        assert_eq!(within_deadline(move || range.count()).unwrap(), 10, "after {name}");
    }
}

#[test]
fn a_panic_in_hash_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'h'>(&["distinct", "reduce_by_key"]);
}

#[test]
fn a_panic_in_eq_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'e'>(&["distinct", "reduce_by_key"]);
}

#[test]
fn a_panic_in_clone_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'c'>(&["distinct", "reduce_by_key", "cache"]);
}

#[test]
fn a_panic_in_drop_within_a_task_fails_its_job_alone() {
    let world = World::new(2);
    let rows = world.range_into(0..40_u64, 4).map(Touchy::<'d'>);
    let error = rows.map(|row| row.0).count().unwrap_err().to_string();
    assert!(error.contains(&format!("{ON_PURPOSE}: d")), "{error}");
    assert_works(&world);
}

/// A row of a size that is freed on a worker, and that panics when it is dropped once the test says so.
#[derive(Clone, Serialize, Deserialize)]
struct Bomb {
    #[serde(skip)]
    armed: Option<Arc<Fuse>>,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Fuse(AtomicBool);

impl Drop for Bomb {
    fn drop(&mut self) {
        let armed = self.armed.as_ref().is_some_and(|fuse| fuse.0.swap(false, Ordering::SeqCst));
        if armed {
            panic!("{ON_PURPOSE}: dropped");
        }
    }
}

/// One bomb, in a partition of so many bytes.
fn bombs(ctx: &Context, bytes: usize) -> (Rdd<Bomb>, Arc<Fuse>) {
    let fuse = Arc::new(Fuse::default());
    let armed = Arc::clone(&fuse);
    // Made by the task: the closure keeps no bomb.
    let bomb = move |_| Bomb { armed: Some(Arc::clone(&armed)), bytes: vec![0; bytes] };
    (ctx.range_into(0..1_u64, 1).map(bomb), fuse)
}

#[test]
fn a_cached_row_that_panics_when_it_is_dropped_costs_no_worker_and_no_actor() {
    for bytes in [10, 1 << 20] {
        let world = World::roomy(1);
        let (rows, fuse) = bombs(&world, bytes);
        let rows = rows.cache();
        assert_eq!(rows.count().unwrap(), 1);
        let mut events = world.events();
        fuse.0.store(true, Ordering::SeqCst);
        rows.unpersist();
        next_of(&mut events, |event| matches!(event, Event::StoreDropped { .. }).then_some(()));
        assert!(!eventually(|| fuse.0.load(Ordering::SeqCst), |armed| !armed), "it never went off");
        let other = world.range_into(0..10_u64, 2).cache();
        assert_eq!(within_deadline(move || other.count().unwrap() + other.count().unwrap()), 20, "{bytes} bytes");
    }
}

#[test]
fn a_collected_row_that_panics_when_it_is_dropped_leaves_the_coordinator_alive() {
    let world = World::new(1);
    let (rows, fuse) = bombs(&world, 10);
    let trigger = Arc::clone(&fuse);
    // Partition 0 gives its row; partition 1 fails for good, and the row is not wanted any more.
    let failing = world.range_into(0..1_u64, 1).map(move |_| -> Bomb {
        trigger.0.store(true, Ordering::SeqCst);
        panic!("{ON_PURPOSE}: partition 1");
    });
    let error = rows.union(&failing).collect().err().unwrap();
    // The caller learns of the failure first, and the row is dropped after that.
    assert!(!eventually(|| fuse.0.load(Ordering::SeqCst), |armed| !armed), "it never went off");
    assert!(matches!(error, Error::TaskFailed { .. }), "{error}");
    assert_works(&world);
}

#[test]
fn a_panic_whose_payload_is_not_text_is_reported_as_such() {
    let world = World::new(2);
    let rows = world.range_into(0..4_u64, 2).map(|n| -> u64 { panic::panic_any(n) });
    let error = rows.count().unwrap_err();
    assert!(error.to_string().contains("(a value that is not text)"), "{error}");
    assert_works(&world);

    /// A payload that panics once more when it is dropped.
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("{ON_PURPOSE}: again");
        }
    }
    let rows = world.range_into(0..4_u64, 2).map(|_| -> u64 { panic::panic_any(Again) });
    assert!(matches!(rows.count(), Err(Error::TaskFailed { .. })));
    assert_works(&world);
}

#[test]
fn a_job_that_cannot_succeed_fails_whoever_else_waits_for_the_same_stage() {
    let world = World::new(2);
    let gate = Gate::new();
    let inner = gate.clone();
    let rows = world
        .range_into(0..4_u64, 4)
        .map(move |n| {
            inner.pass();
            assert!(n != 2, "{ON_PURPOSE}");
            (n, n)
        })
        .reduce_by_key_into(|a, b| a + b, 2);
    let (one, other) = (rows.count_async(), rows.collect_async());
    gate.wait_for(1);
    gate.open();
    assert!(matches!(one.wait(), Err(Error::TaskFailed { partition: 2, .. })));
    assert!(matches!(other.wait(), Err(Error::TaskFailed { partition: 2, .. })));
    assert_works(&world);
}

/// What a closure does behind its loop over the rows, such as a commit, is not done for half of them.
#[test]
fn a_closure_over_rows_that_cannot_be_read_does_not_see_their_end() {
    let world = World::new(2);
    let rows = world.range_into(0..10_000_u64, 1);
    let failing = rows.try_map(|n| if n == 5_000 { Err(format!("{ON_PURPOSE}: no {n}")) } else { Ok(n) });
    let (seen, ended) = (Tally::new(), Tally::new());
    let (see, end) = (seen.clone(), ended.clone());
    let each = move |rows: emberflow::PartitionIter<u64>| {
        for _ in rows {
            see.add();
        }
        end.add();
    };
    let error = failing.for_each_partition(each.clone()).unwrap_err().to_string();
    assert!(error.contains("no 5000") && error.contains("try_map at tests/recovery.rs"), "{error}");
    assert!(seen.get() > 0 && seen.get() < 5_001);
    assert_eq!(ended.get(), 0);

    // Nor is it when the job is cancelled: here by its own rows.
    let ctx = world.clone();
    let endless = world.range_into(0..u64::MAX, 1).map(move |n| {
        if n == 100_000 {
            ctx.cancel_jobs_with_tag("endless").unwrap();
        }
        n
    });
    let action = world.with_job_tag("endless", || endless.for_each_partition_async(each));
    assert!(matches!(within_deadline(move || action.wait()), Err(Error::Cancelled { .. })));
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
    assert_eq!(ended.get(), 0);
}

#[test]
fn waiting_in_a_task_for_an_action_from_outside_is_an_error_and_no_deadlock() {
    let world = World::new(2);
    let gate = Gate::new();
    let (inside, rows) = (gate.clone(), world.range_into(0..1_u64, 1));
    let slow = rows.map(move |n| {
        inside.pass();
        n
    });
    let action = Arc::new(std::sync::Mutex::new(Some(slow.count_async())));
    let waiting = rows.map(move |_| {
        let action = action.lock().unwrap().take().unwrap();
        action.wait().unwrap_err().to_string()
    });
    gate.wait_for(1);
    let told = within_deadline(move || waiting.collect());
    gate.open();
    assert!(told.as_ref().unwrap()[0].contains("Action::wait inside a task"), "{told:?}");
}

#[test]
fn a_bug_in_a_handler_of_a_partitions_actor_is_a_loss_and_no_more() {
    let world = World::new(2);
    let (rows, computed) = watched(&world, 5);
    let rows = rows.cache();
    let expected = rows.collect().unwrap();
    computed.take();
    let mut events = world.events();
    assert!(break_cached_partition(&rows, 2).unwrap());
    assert_eq!(lost(&drain(&mut events)), [(store_of(&rows), 2)]);
    assert_eq!((rows.collect().unwrap(), computed.take()), (expected, vec![2]));
    assert_eq!(world.memory().persisted + world.memory().spilled, 800);
}

#[test]
fn a_bug_in_the_governor_leaves_accounts_right_and_jobs_unharmed() {
    let world = World::new(2);
    let rows = world.range_into(0..100_000_u64, 8).cache();
    rows.count().unwrap();
    // Rows are released while it dies, before, and after.
    let other = world.range_into(0..100_000_u64, 8).cache();
    other.count().unwrap();
    drop(other);
    break_governor(&world);
    let sorted = rows.sort_by(|n| n.reverse_bits()).collect().unwrap();
    assert_eq!(sorted.len(), 100_000);
    drop(rows);
    let held =
        eventually(|| world.memory().persisted + world.memory().spilled + world.memory().working, |held| *held == 0);
    assert_eq!(held, 0);
    assert_works(&world);
}

#[test]
fn a_bug_in_the_coordinator_is_told_to_everybody_who_waits_and_to_all_who_come() {
    let world = World::new(2);
    let gate = Gate::new();
    let inner = gate.clone();
    let stuck = world.range_into(0..2_u64, 2).map(move |n| {
        inner.pass();
        n
    });
    let waiting: Vec<_> = (0..3).map(|_| stuck.count_async()).collect();
    gate.wait_for(2);
    break_coordinator(&world);
    let is_dead = |error: Error| {
        let text = error.to_string();
        assert_eq!(text, "the context's coordinator died; make a new context, and report this as a bug");
        matches!(error, Error::ContextDead { .. })
    };
    for waiting in waiting {
        assert!(is_dead(within_deadline(move || waiting.wait().unwrap_err())));
    }
    let late = stuck.clone();
    assert!(is_dead(within_deadline(move || late.count().unwrap_err())));
    assert!(is_dead(world.cancel_all_jobs().unwrap_err()));
    // The context can still be dropped, and its threads end: the world looks.
    gate.open();
}

#[test]
fn a_context_made_inside_a_closure_is_refused_and_one_made_on_a_thread_of_its_own_is_another_one() {
    let world = World::new(1);
    let made = world.range_into(0..1_u64, 1).map(|_| Context::local(1).err().map(|error| error.to_string()));
    let error = made.collect().unwrap().pop().flatten().expect("it was refused");
    assert!(error.starts_with("making a context inside a task: "), "{error}");
    let apart = world.range_into(0..1_u64, 1).map(|_| {
        let count = || Context::local(1).unwrap().range(0..9_u64).count().unwrap();
        thread::spawn(count).join().unwrap()
    });
    assert_eq!(apart.collect().unwrap(), [9]);
    assert_works(&world);
}
