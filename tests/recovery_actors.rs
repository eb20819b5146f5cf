//! An actor of the engine that dies costs what it holds and no more, or tells those who wait; no row's destructor kills one;
//! and closures that would wait for the engine in vain are refused.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use emberflow::{
    Context, Error, Event, Rdd,
    testing::{break_cached_partition, break_coordinator, break_governor},
};
use serde::{Deserialize, Serialize};

use self::support::{
    Gate, ON_PURPOSE, World, assert_works, drain, eventually, lost, next_of, store_of, watched, within_deadline,
};

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
