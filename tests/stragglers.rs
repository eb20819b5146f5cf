//! A task that takes too long is ended and tried again, its thread replaced if it does not come back; one that is slower
//! than the others is computed twice, and counts once; and a job that does not go on says what it waits for.

mod support;

use std::{
    iter,
    time::{Duration, Instant},
};

use emberflow::{Context, Error, Event, Sums, TaskError, testing::cache_store};

use self::support::{Gate, Tally, World, drain, failures, finished_tasks_of, next_of, stored_in, within_deadline};

/// Far beyond what the tasks here take that do not hang, also where other programs run.
const DEADLINE: Duration = Duration::from_millis(500);

/// A context that works, with all its workers.
fn assert_works(ctx: &Context) {
    assert_eq!(ctx.range_into(0..100_u64, 8).map(|n| n + 1).sum().unwrap(), 5050);
}

fn replaced(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::WorkerReplaced { .. })).count()
}

fn speculated(events: &[Event]) -> Vec<usize> {
    let partition = |event: &Event| match event {
        Event::TaskSpeculated { partition, .. } => Some(*partition),
        _ => None,
    };
    events.iter().filter_map(partition).collect()
}

#[test]
fn a_closure_that_hangs_once_is_tried_again_on_a_thread_in_its_place() {
    let world = World::with(|builder| builder.workers(1).task_deadline(DEADLINE));
    let (gate, calls) = (Gate::new(), Tally::new());
    let (inner, counter) = (gate.clone(), calls.clone());
    let mut events = world.events();
    let rows = world.range_into(0..10_u64, 2).map(move |n| {
        if n == 7 && counter.add() == 0 {
            inner.pass();
        }
        n
    });
    let rows = rows.cache();
    assert_eq!(
        within_deadline({
            let rows = rows.clone();
            move || rows.collect().unwrap()
        }),
        (0..10).collect::<Vec<_>>()
    );
    let seen = drain(&mut events);
    assert_eq!((calls.get(), replaced(&seen), failures(&seen)), (2, 1, vec![(1, true)]));
    assert_eq!(stored_in(&seen, cache_store(&rows).unwrap()), [0, 1]);
    // What comes back too late is not wanted, and its thread ends: the world looks.
    gate.open();
    assert_eq!(rows.sum().unwrap(), 45);
    assert_works(&world);
}

#[test]
fn a_closure_that_always_hangs_fails_its_job_with_its_name_and_no_other_job() {
    let world = World::with(|builder| builder.workers(2).task_deadline(DEADLINE).task_failure_limit(2));
    let gate = Gate::new();
    let inner = gate.clone();
    let stuck =
        world.range_into(0..10_u64, 5).map(|n| (n % 2, n)).reduce_by_key_into(|a, b| a + b, 1).map(move |row| {
            inner.pass();
            row
        });
    let stuck = stuck.count_async();
    gate.wait_for(1);
    assert_works(&world);
    let error = within_deadline(move || stuck.wait().unwrap_err());
    let text = error.to_string();
    assert!(
        text.contains("map at tests/stragglers.rs:") && text.contains("partition 0: failed after 2 attempts"),
        "{text}"
    );
    assert!(text.contains("it ran longer than the task_deadline of 500ms"), "{text}");
    let Error::TaskFailed { causes, .. } = error else { panic!("{error}") };
    assert!(causes.iter().all(|cause| matches!(cause.error, TaskError::Overdue { limit } if limit == DEADLINE)));
    assert_works(&world);
    gate.open();
}

#[test]
fn a_task_that_only_takes_long_ends_at_its_next_batch_and_keeps_its_thread() {
    let world = World::with(|builder| builder.workers(1).task_deadline(DEADLINE).task_failure_limit(1));
    let mut events = world.events();
    let endless = world.range_into(0..1_u64, 1).flat_map(|_| iter::repeat(1_u64));
    let error = within_deadline(move || endless.count().unwrap_err());
    assert!(error.to_string().contains("task_deadline"), "{error}");
    assert_works(&world);
    assert_eq!(replaced(&drain(&mut events)), 0);
}

#[test]
fn a_context_is_dropped_in_bounded_time_while_a_closure_hangs() {
    let world = World::with(|builder| builder.workers(1).task_deadline(DEADLINE));
    let gate = Gate::new();
    let inner = gate.clone();
    let job = world.range_into(0..1_u64, 1).map(move |n| {
        inner.pass();
        n
    });
    let job = job.count_async();
    gate.wait_for(1);
    let ctx = (*world).clone();
    within_deadline(move || ctx.stop());
    assert!(matches!(job.wait(), Err(Error::ContextClosed)));
    gate.open();
}

/// With tasks of which the last hangs until the gate is open, if it is the first to compute its partition.
fn straggling(world: &World, gate: &Gate, calls: &Tally) -> emberflow::Rdd<u64> {
    let (inner, counter) = (gate.clone(), calls.clone());
    world.range_into(0..8_u64, 4).map(move |n| {
        if n == 6 && counter.add() == 0 {
            inner.pass();
        }
        n * n
    })
}

fn speculating(workers: usize) -> World {
    World::with(|builder| builder.workers(workers).speculation(true))
}

#[test]
fn a_slow_task_is_computed_twice_and_the_copy_that_is_first_counts_alone() {
    let world = speculating(2);
    let (gate, calls) = (Gate::new(), Tally::new());
    let seen = world.long_accumulator("seen");
    let counted = seen.clone();
    let rows = straggling(&world, &gate, &calls).map(move |n| {
        counted.add(1);
        n
    });
    let rows = rows.cache();
    let mut events = world.events();
    let expected: Vec<u64> = (0..8).map(|n| n * n).collect();
    assert_eq!(
        within_deadline({
            let rows = rows.clone();
            move || rows.collect().unwrap()
        }),
        expected
    );
    gate.open();
    let told = drain(&mut events);
    let store = cache_store(&rows).unwrap();
    assert_eq!((speculated(&told), finished_tasks_of(&told, store)), (vec![3], vec![0, 1, 2, 3]));
    assert_eq!((calls.get(), seen.value(), failures(&told)), (2, 8, vec![]));
    // What the copy stored is what is read from now on.
    assert_eq!((rows.collect().unwrap(), calls.get(), world.storage().unwrap()[0].computed), (expected, 2, 4));
}

#[test]
fn a_slow_task_that_is_first_after_all_ends_its_copy() {
    let world = speculating(2);
    let (first, second, calls) = (Gate::new(), Gate::new(), Tally::new());
    let (slow, copy, counter) = (first.clone(), second.clone(), calls.clone());
    let rows = world.range_into(0..8_u64, 4).map(move |n| {
        match (n, if n == 6 { counter.add() } else { 9 }) {
            (6, 0) => slow.pass(),
            (6, 1) => copy.pass(),
            _ => {}
        }
        n
    });
    let rows = rows.cache();
    let mut events = world.events();
    let job = rows.count_async();
    second.wait_for(1);
    first.open();
    assert_eq!(within_deadline(move || job.wait().unwrap()), 8);
    second.open();
    let told = drain(&mut events);
    let original = told.iter().find_map(|event| match event {
        Event::TaskSpeculated { original, .. } => Some(*original),
        _ => None,
    });
    let stored = told.iter().filter_map(|event| match event {
        Event::PartitionStored { partition: 3, task, .. } => Some(*task),
        _ => None,
    });
    assert_eq!(stored.map(Some).collect::<Vec<_>>(), [original]);
    assert_eq!((rows.sum().unwrap(), calls.get()), (28, 2));
}

#[test]
fn the_copy_of_a_task_that_writes_files_leaves_nothing_twice() {
    let world = speculating(2);
    let (gate, calls) = (Gate::new(), Tally::new());
    let mut events = world.events();
    let out = world.files().join("squares");
    let (rows, to) = (straggling(&world, &gate, &calls).map(|n| n.to_string()), out.clone());
    within_deadline(move || rows.save_as_text_file(to).unwrap());
    gate.open();
    assert_eq!(speculated(&drain(&mut events)), [3]);
    assert_eq!(support::names_in(&out), ["_SUCCESS", "part-00000", "part-00001", "part-00002", "part-00003"]);
    let read = world.text_file(&out).unwrap().collect().unwrap();
    assert_eq!(read, (0..8_u64).map(|n| (n * n).to_string()).collect::<Vec<_>>());
}

#[test]
fn a_job_that_does_not_go_on_says_what_it_waits_for_and_the_context_goes_on() {
    let world = World::with(|builder| builder.workers(2).stall_timeout(DEADLINE));
    let gate = Gate::new();
    let inner = gate.clone();
    let sums = world.range_into(0..10_u64, 5).map(move |n| {
        if n == 3 {
            inner.pass();
        }
        (n % 2, n)
    });
    let sums = sums.reduce_by_key_into(|a, b| a + b, 2);
    let mut events = world.events();
    let began = Instant::now();
    let error = within_deadline(move || sums.collect().unwrap_err());
    assert!(began.elapsed() >= DEADLINE);
    let text = error.to_string();
    for part in [
        "is stalled: for 500ms no task has begun, gone on, or ended",
        "reduce_by_key at tests/stragglers.rs:",
        ", partition 1 (store 0): is computed by task 1",
        "collect at tests/stragglers.rs:",
        "waits for 1 of what it reads",
        " has been at task 1 for ",
        "in map at tests/stragglers.rs:",
        "bytes of memory are taken",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(matches!(error, Error::Stalled { limit: DEADLINE, .. }));
    // Its thread does not come back until we let it.
    next_of(&mut events, |event| matches!(event, Event::WorkerReplaced { .. }).then_some(()));
    assert_works(&world);
    gate.open();
}

#[test]
fn a_job_that_goes_on_slowly_is_not_stalled() {
    let world = World::with(|builder| builder.workers(2).stall_timeout(DEADLINE).batch_rows(1));
    // Each row takes a tenth of the time, all of them twice as long.
    let rows = world.range_into(0..40_u64, 2).map(|n| {
        let until = Instant::now() + DEADLINE / 10;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        n
    });
    assert_eq!(rows.count().unwrap(), 40);
}
