//! Contexts: several at once, one after the other, ended while they work, and outlived; nothing of them is left.

mod support;

use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard},
    thread,
};

use emberflow::{Context, Error, Event};

use self::support::{Gate, World, eventually, next_of, thread_names, within_deadline};

/// The test that counts all threads of the process must be alone in it; the others share.
static THREADS: RwLock<()> = RwLock::new(());

fn not_while_counting() -> RwLockReadGuard<'static, ()> {
    THREADS.read().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn two_contexts_at_once_do_not_meet() {
    let _shared = not_while_counting();
    let (one, other) = (World::new(2), World::new(1));
    let (cached, rows) = (one.range_into(0..100_u64, 4).cache(), other.range_into(0..50_u64, 4).cache());
    let (a, b) = (cached.count_async(), rows.count_async());
    assert_eq!((a.wait().unwrap(), b.wait().unwrap()), (100, 50));
    // The same numbers name different stores: losing one of them is of no interest to the other.
    let mut events = other.events();
    assert!(emberflow::testing::kill_cached_partition(&cached, 1).unwrap());
    one.end();
    assert!(events.try_next().is_none());
    assert_eq!(rows.count().unwrap(), 50);
}

#[test]
fn a_hundred_contexts_in_sequence_leave_no_thread() {
    let _alone = THREADS.write().unwrap_or_else(PoisonError::into_inner);
    // Not the test harness's own, which come and go.
    let threads = || {
        let ours = |name: &String| name.starts_with("emberflow-") || name.starts_with("actix-rt");
        thread_names().into_iter().filter(ours).collect::<Vec<_>>()
    };
    let before = threads().len();
    for round in 0..100 {
        let ctx = Context::local(2).unwrap();
        // The count can see what it is to count. A thread gives itself its name when it begins to run.
        if round == 0 && cfg!(target_os = "linux") {
            let seen = eventually(threads, |names| names.len() >= before + 3);
            assert!(seen.len() >= before + 3, "{before} threads before, then {seen:?}");
        }
        let sums = ctx.range_into(0..100_u64, 4).map(|n| (n % 3, n)).cache().reduce_by_key(|a, b| a + b);
        assert_eq!(sums.count().unwrap(), 3);
    }
    let left = eventually(threads, |names| names.len() <= before);
    assert!(left.len() <= before, "{before} threads before, then {left:?}");
}

#[test]
fn a_context_that_is_dropped_while_jobs_run_ends_them_all_as_closed() {
    let _shared = not_while_counting();
    for _ in 0..20 {
        let world = World::new(2);
        let mut events = world.events();
        let jobs: Vec<_> = (0..8)
            .map(|_| {
                let rows = world.range_into(0..100_u64, 4);
                thread::spawn(move || {
                    loop {
                        if let Err(error) = rows.count() {
                            return error;
                        }
                    }
                })
            })
            .collect();
        next_of(&mut events, |event| matches!(event, Event::JobFinished { .. }).then_some(()));
        let endless = world.range_into(0..u64::MAX, 4).count_async();
        world.end();
        for job in jobs {
            let error = within_deadline(move || job.join().unwrap());
            assert!(matches!(error, Error::ContextClosed), "{error:?}");
        }
        assert!(matches!(endless.wait(), Err(Error::ContextClosed)));
    }
}

#[test]
fn an_rdd_of_a_stopped_context_can_be_looked_at_but_not_computed() {
    let _shared = not_while_counting();
    let world = World::new(1);
    let rows = world.range_into(0..10_u64, 2).map(|n| (n, n)).cache();
    let sums = rows.reduce_by_key_into(|a, b| a + b, 2);
    assert_eq!(sums.count().unwrap(), 10);
    world.end();
    let refused = |outcome: Result<(), Error>| assert!(matches!(outcome, Err(Error::ContextClosed)), "{outcome:?}");
    refused(rows.count().map(drop));
    refused(sums.collect().map(drop));
    refused(rows.count_async().wait().map(drop));
    refused(rows.take(3).map(drop));
    refused(emberflow::testing::kill_cached_partition(&rows, 0).map(drop));
    assert_eq!((sums.partitions(), sums.map(|n| n).partitions()), (2, 2));
    assert!(sums.to_debug_string().contains("reduce_by_key"));
    rows.unpersist();
}

#[test]
fn a_stopped_context_refuses_everything_and_can_be_stopped_again() {
    let _shared = not_while_counting();
    let world = World::new(1);
    let rows = world.range_into(0..10_u64, 2);
    world.stop();
    world.stop();
    assert!(world.is_stopped());
    assert!(matches!(rows.count(), Err(Error::ContextClosed)));
    assert!(matches!(world.cancel_all_jobs(), Err(Error::ContextClosed)));
}

#[test]
fn every_handle_keeps_the_engine_alive_until_the_last_one_is_dropped() {
    let _shared = not_while_counting();
    let ctx = Context::local(1).unwrap();
    let mut events = ctx.events();
    let (clone, rows) = (ctx.clone(), ctx.range_into(0..10_u64, 2));
    drop(ctx);
    assert_eq!(clone.range(0..3_u64).count().unwrap(), 3);
    drop(clone);
    let sums = rows.map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b).cache();
    drop(rows);
    assert_eq!(sums.count().unwrap(), 3);
    let action = sums.context().range_into(0..1_000_u64, 4).count_async();
    drop(sums);
    assert_eq!(action.wait().unwrap(), 1_000);
    // The stream ends when the engine does.
    within_deadline(move || while events.next().is_some() {});
}

#[test]
fn a_context_can_be_made_and_dropped_inside_a_tokio_runtime() {
    let _shared = not_while_counting();
    let use_one = || async {
        let world = World::new(2);
        assert_eq!(world.range_into(0..10_u64, 2).count_async().await.unwrap(), 10);
        let unfinished = world.range_into(0..u64::MAX, 2).count_async();
        world.end();
        assert!(matches!(unfinished.await, Err(Error::ContextClosed)));
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(use_one());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(runtime.spawn(use_one())).unwrap();
}

#[test]
fn a_context_that_a_closure_holds_ends_with_the_last_rdd_of_that_closure() {
    let _shared = not_while_counting();
    let ctx = Context::local(1).unwrap();
    let (mut events, inner) = (ctx.events(), ctx.clone());
    let pairs = ctx.range_into(0..20_u64, 2).map(move |n| (n % 3, inner.workers()));
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 2);
    assert_eq!(sums.count().unwrap(), 3);
    drop((ctx, pairs));
    drop(sums);
    // The stream ends when the context does.
    within_deadline(move || while events.next().is_some() {});
}

#[test]
fn a_context_can_be_stopped_by_one_of_its_own_tasks() {
    let _shared = not_while_counting();
    let world = World::new(2);
    let ctx = world.clone();
    // Endless, so that the job cannot end before the context does.
    let rows = world.range_into(0..u64::MAX, 2).map(move |n| {
        if n == 0 {
            ctx.stop();
        }
        n
    });
    let outcome = within_deadline(move || rows.count());
    assert!(matches!(outcome, Err(Error::ContextClosed)), "{outcome:?}");
}

#[test]
fn memory_is_accounted_for_and_given_back() {
    let _shared = not_while_counting();
    let world = World::with_budget(2, 64 << 20);
    let taken = || (world.memory().persisted, world.memory().map_outputs);
    let rows = world.range_into(0..10_000_u64, 4).map(|n| (n % 100, n)).cache();
    let sums = rows.reduce_by_key_into(|a, b| a + b, 2);
    assert_eq!((world.memory().budget, world.memory().peak, taken()), (64 << 20, 0, (0, 0)));
    assert_eq!(sums.count().unwrap(), 100);
    // The governor is told by the partitions' actors, asynchronously, so it is looked at until it knows.
    let row = 2 * size_of::<u64>() as u64;
    let expected = (10_000 * row, 4 * 100 * row);
    assert_eq!(eventually(taken, |taken| *taken == expected), expected);
    rows.unpersist();
    assert_eq!(eventually(taken, |taken| taken.0 == 0), (0, expected.1));
    drop(sums);
    assert_eq!(eventually(taken, |taken| taken.1 == 0), (0, 0));
    assert!(world.memory().peak >= expected.0);
}

#[test]
fn memory_is_given_back_when_a_cached_rdd_is_dropped_or_lost_or_its_job_cancelled() {
    let _shared = not_while_counting();
    let world = World::roomy(2);
    let persisted = || world.memory().persisted;
    let rows = world.range_into(0..1_000_u64, 4).cache();
    rows.count().unwrap();
    assert_eq!(eventually(persisted, |bytes| *bytes == 8_000), 8_000);
    assert!(emberflow::testing::kill_cached_partition(&rows, 0).unwrap());
    assert_eq!(eventually(persisted, |bytes| *bytes == 6_000), 6_000);
    rows.count().unwrap();
    assert_eq!(eventually(persisted, |bytes| *bytes == 8_000), 8_000);
    drop(rows);
    assert_eq!(eventually(persisted, |bytes| *bytes == 0), 0);

    let gate = Gate::new();
    let inner = gate.clone();
    let wait_at_the_end = move |n| {
        if n == 999 {
            inner.pass();
        }
        n
    };
    let rows = world.range_into(0..1_000_u64, 4).map(wait_at_the_end).cache();
    let job = rows.count_async();
    gate.wait_for(1);
    drop((job, rows));
    gate.open();
    assert_eq!(eventually(persisted, |bytes| *bytes == 0), 0);
}
