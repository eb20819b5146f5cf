//! Tests of the account, of turns and of slots, with threads in interleavings that a scheduler chooses: thousands at
//! random, and thousands with a few changes of priority at the worst of moments (PCT: Burckhardt et al., ASPLOS 2010).
//! A thread that is never woken is found as a deadlock.
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test -p emberflow-runtime --lib interleavings --target-dir target/shuttle
//! ```

use std::{any::Any, sync::Arc};

use emberflow_core::{
    batch::AnyStream,
    error::TaskError,
    ids::{PartitionIndex, TaskId},
    plan::StageKind,
    store::{Stored, StoredData},
    wire::Give,
};
use shuttle::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    governor::{Ledger, Overdraw},
    slot::Slot,
    turns::{RoomRequest, Turn, Waited},
};

const INTERLEAVINGS: usize = 5_000;

fn explore(model: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(model, INTERLEAVINGS);
    shuttle::check_pct(model, INTERLEAVINGS, 3);
}

/// Somebody who wants so much of the account.
struct TestRequest<'a> {
    ledger: &'a Ledger,
    bytes: u64,
    cancelled: &'a AtomicBool,
}

impl RoomRequest for TestRequest<'_> {
    fn take(&self) -> bool {
        self.ledger.take_in_turn(self.bytes)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn is_release_pending(&self) -> bool {
        self.ledger.is_release_pending()
    }

    fn can_help(&self) -> bool {
        false
    }

    fn help(&self) {}

    fn request_eviction(&self) {}
}

/// Works with two thirds of the budget in two steps, however often it has to begin again. Returns how often it had to.
fn work(ledger: &Ledger, budget: u64) -> u64 {
    let (never, turn, mut again) = (AtomicBool::new(false), ledger.turns.begin(), 0);
    loop {
        let (mut held, mut gives_way) = (0, false);
        while held < budget / 3 * 2 && !gives_way {
            match wait(ledger, turn, budget / 3, &never) {
                Waited::Granted => held += budget / 3,
                Waited::GiveWay => gives_way = true,
                other => panic!("{other:?}: the budget holds each of them"),
            }
        }
        ledger.release_work(held);
        ledger.turns.end(turn);
        if !gives_way {
            return again;
        }
        again += 1;
        ledger.turns.older_have_ended(turn, || false);
        ledger.turns.begin_again(turn);
    }
}

fn wait(ledger: &Ledger, turn: Turn, bytes: u64, cancelled: &AtomicBool) -> Waited {
    ledger.turns.wait(turn, &TestRequest { ledger, bytes, cancelled })
}

fn ledger(budget: u64) -> Arc<Ledger> {
    Arc::new(Ledger::new(budget, 2, None, false))
}

fn nothing_is_left(ledger: &Ledger) {
    let memory = ledger.read();
    assert_eq!((memory.working, memory.persisted, memory.map_outputs, ledger.turns.working()), (0, 0, 0, 0));
    assert!(memory.peak <= memory.budget, "{memory:?}");
}

#[test]
fn tasks_that_do_not_fit_together_all_end_and_the_budget_holds() {
    explore(|| {
        let ledger = ledger(90);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || work(&ledger, 90))
            })
            .collect();
        let again = tasks.into_iter().map(|task| task.join().unwrap()).collect::<Vec<_>>();
        // The oldest never gives way, and nobody does so more often than there are older ones.
        assert!(again.iter().any(|again| *again == 0) && again.iter().all(|again| *again <= 2), "{again:?}");
        nothing_is_left(&ledger);
    });
}

#[test]
fn who_waits_is_woken_by_room_that_was_on_its_way() {
    explore(|| {
        let ledger = ledger(90);
        assert!(ledger.reserve_work(0, 60, Overdraw::Allowed));
        let (waiting, pending) = (Arc::clone(&ledger), ledger.pending_release());
        let turn = ledger.turns.begin();
        let waiter = thread::spawn(move || wait(&waiting, turn, 60, &AtomicBool::new(false)));
        // Given back, and only then is it not on its way any more, as the governor does it.
        ledger.release_work(60);
        drop(pending);
        assert_eq!(waiter.join().unwrap(), Waited::Granted);
        ledger.release_work(60);
        ledger.turns.end(turn);
        nothing_is_left(&ledger);
    });
}

#[test]
fn who_is_not_wanted_any_more_is_woken_wherever_it_waits() {
    explore(|| {
        let ledger = ledger(90);
        assert!(ledger.reserve_work(0, 90, Overdraw::Allowed));
        let cancelled = Arc::new(AtomicBool::new(false));
        let [older, younger] = [ledger.turns.begin(), ledger.turns.begin()];
        let pending = ledger.pending_release();
        let (one, flag) = (Arc::clone(&ledger), Arc::clone(&cancelled));
        let waiter = thread::spawn(move || wait(&one, older, 60, &flag));
        let (other, flag) = (Arc::clone(&ledger), Arc::clone(&cancelled));
        let again = thread::spawn(move || other.turns.older_have_ended(younger, || flag.load(Ordering::SeqCst)));
        cancelled.store(true, Ordering::SeqCst);
        ledger.turns.notify();
        assert_eq!(waiter.join().unwrap(), Waited::Cancelled);
        again.join().unwrap();
        drop(pending);
        [older, younger].into_iter().for_each(|turn| ledger.turns.end(turn));
        ledger.release_work(90);
        nothing_is_left(&ledger);
    });
}

#[test]
fn what_is_reserved_by_many_at_once_is_never_more_than_there_is() {
    explore(|| {
        let ledger = ledger(100);
        let threads: Vec<_> = (0..3_u64)
            .map(|at| {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || {
                    let kept = ledger.reserve(StageKind::Persist, 30, Overdraw::Refused);
                    let working = ledger.reserve_work(0, 20 + at, Overdraw::Refused);
                    let result = ledger.reserve_result(10, 20);
                    if kept {
                        ledger.release(StageKind::Persist, 30);
                    }
                    if working {
                        ledger.release_work(20 + at);
                    }
                    if result {
                        ledger.release_result(10);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let memory = ledger.read();
        assert_eq!((memory.working, memory.persisted, memory.results), (0, 0, 0));
        // Results are taken whether there is room or not, two of them here; nothing else is.
        assert!(memory.peak <= 100 + 20, "{memory:?}");
        assert!(ledger.reserve_work(0, 100, Overdraw::Refused), "all of it is free again");
    });
}

/// Rows that know which of two they are.
struct Rows(u32);

impl StoredData for Rows {
    fn open(self: Arc<Self>, _: usize) -> Option<AnyStream> {
        None
    }

    fn pack(&self, _: Option<PartitionIndex>, _: &mut Give<'_>) -> Result<(), TaskError> {
        unreachable!("no other process reads them")
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[test]
fn a_reader_of_a_slot_finds_what_was_stored_or_what_replaced_it_or_nothing_and_keeps_what_it_has() {
    explore(|| {
        let slot = Arc::new(Slot::new(TaskId::new(7)));
        slot.fill(Stored::in_memory(1, 8, Rows(1)));
        let owner = Arc::clone(&slot);
        // The actor fills it, replaces what is there by the same rows on disk, and dies.
        let actor = thread::spawn(move || {
            let before = owner.look();
            owner.fill(Stored::in_memory(1, 0, Rows(2)));
            drop(before);
            owner.empty()
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    let seen: Vec<_> = (0..3).map(|_| slot.borrow()).collect();
                    let seen =
                        seen.into_iter().map(|data| data.map(|data| data.into_any().downcast::<Rows>().unwrap().0));
                    seen.collect::<Vec<_>>()
                })
            })
            .collect();
        let last = actor.join().unwrap().expect("it was there");
        for seen in readers.into_iter().map(|reader| reader.join().unwrap()) {
            // What is gone does not come back, and what was replaced does not, either.
            let order = seen.iter().map(|rows| rows.unwrap_or(3)).collect::<Vec<_>>();
            assert!(order.is_sorted(), "{order:?}");
        }
        assert!(slot.borrow().is_none() && slot.look().is_none());
        // Nobody holds it any more.
        assert_eq!(Arc::strong_count(&last.data), 1);
    });
}
