//! Turns: which tasks wait for memory that others hold, and which give way.
//!
//! Most of what a task holds can go to disk, so that it never waits. For rows that cannot, such as the values of one
//! key, it waits here until there is room, if the budget would hold them. The oldest of those that wait is served
//! first. If all that hold memory wait, the youngest gives way: it gives everything back, and begins again, in its
//! turn, when those before it have ended. So the oldest always gets on, and no two tasks wait for each other. A task
//! that is left alone asks for rows that are kept to be written to disk, and waits for that, and only then gives up.

use std::{collections::BTreeMap, sync::PoisonError};

use crate::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};

/// A task's place in the order in which tasks began to ask for memory.
pub(crate) type Turn = u64;

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There was room, and it was taken.
    Granted,
    /// There is none, and nobody left who could give any back.
    InVain,
    /// This task has to give back all it has, and to begin again when older ones have [ended](Turns::older_have_ended).
    GiveWay,
    /// The task is not wanted any more.
    Cancelled,
}

/// A request for room that somebody waits for.
pub(crate) trait RoomRequest {
    /// Takes the room, if there is any.
    fn take(&self) -> bool;

    fn is_cancelled(&self) -> bool;

    /// Returns whether room is on its way that no task holds.
    fn is_release_pending(&self) -> bool;

    /// Returns whether there is something to be done that gives room back, and this thread may be the only one that
    /// can.
    fn can_help(&self) -> bool;

    /// Does some of it.
    fn help(&self);

    /// Asks for rows that are kept to make room, as the last resort. Until they have, a release is pending.
    fn request_eviction(&self);
}

#[derive(Default)]
struct Tasks {
    next: Turn,
    /// Those that have asked for memory and have not ended, and whether they wait.
    working: BTreeMap<Turn, bool>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Turns {
    tasks: Mutex<Tasks>,
    changed: Condvar,
    /// How many there are, to be read without the lock.
    working: AtomicUsize,
    /// The number of waiting threads, so that nobody locks when there are none.
    waiting: AtomicUsize,
}

impl Turns {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task begins to ask for memory.
    pub(crate) fn begin(&self) -> Turn {
        let mut tasks = self.tasks();
        let turn = tasks.next;
        tasks.next += 1;
        self.enter(&mut tasks, turn);
        turn
    }

    /// A task that gave way begins again, in its turn.
    pub(crate) fn begin_again(&self, turn: Turn) {
        self.enter(&mut self.tasks(), turn);
    }

    fn enter(&self, tasks: &mut Tasks, turn: Turn) {
        tasks.working.insert(turn, false);
        self.working.fetch_add(1, Ordering::AcqRel);
    }

    /// A task has ended.
    pub(crate) fn end(&self, turn: Turn) {
        self.tasks().working.remove(&turn);
        self.working.fetch_sub(1, Ordering::AcqRel);
        self.notify();
    }

    /// How many tasks have asked for memory and not ended.
    pub(crate) fn working(&self) -> usize {
        self.working.load(Ordering::Acquire)
    }

    /// Wakes the tasks that wait, since memory was given back, or a task is not wanted any more.
    pub(crate) fn notify(&self) {
        // Between what changed and this look: who began to wait before it is seen, who does so after sees the change.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // Whoever has looked and not yet gone to sleep holds the lock.
            drop(self.tasks());
            self.changed.notify_all();
        }
    }

    /// Waits until a request is granted, the oldest first.
    pub(crate) fn wait(&self, turn: Turn, request: &impl RoomRequest) -> Waited {
        let mut tasks = self.begin_to_wait();
        tasks.working.insert(turn, true);
        // If all wait now, somebody has to give way.
        self.changed.notify_all();
        let mut eviction_requested = false;
        let waited = loop {
            // Looked at under the lock: what comes later wakes this thread.
            if request.can_help() {
                drop(tasks);
                request.help();
                tasks = self.tasks();
                continue;
            }
            let first = tasks.working.iter().find(|(_, waits)| **waits).map(|(first, _)| *first);
            if request.is_cancelled() {
                break Waited::Cancelled;
            }
            if first == Some(turn) && request.take() {
                break Waited::Granted;
            }
            if !request.is_release_pending() {
                let last = tasks.working.last_key_value().map(|(last, _)| *last);
                if tasks.working.len() == 1 {
                    if eviction_requested {
                        break Waited::InVain;
                    }
                    eviction_requested = true;
                    request.request_eviction();
                    continue;
                }
                if last == Some(turn) && tasks.working.values().all(|waits| *waits) {
                    break Waited::GiveWay;
                }
            }
            tasks = self.changed.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        };
        tasks.working.insert(turn, false);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        // The next one is the first now.
        self.changed.notify_all();
        waited
    }

    /// Waits until the tasks that are older than `turn` have ended. The one that waits holds nothing.
    pub(crate) fn older_have_ended(&self, turn: Turn, is_cancelled: impl Fn() -> bool) {
        let mut tasks = self.begin_to_wait();
        while !is_cancelled() && tasks.working.first_key_value().is_some_and(|(first, _)| *first < turn) {
            tasks = self.changed.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn begin_to_wait(&self) -> MutexGuard<'_, Tasks> {
        let tasks = self.tasks();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        tasks
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64},
        },
        thread,
    };

    use super::*;

    /// The free room.
    struct FreeRoom(AtomicU64);

    struct TestRequest<'a> {
        room: &'a FreeRoom,
        bytes: u64,
        cancelled: &'a AtomicBool,
        pending: &'a AtomicU64,
        /// The bytes that an eviction frees.
        kept: u64,
    }

    impl RoomRequest for TestRequest<'_> {
        fn take(&self) -> bool {
            self.room.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(self.bytes)).is_ok()
        }

        fn is_cancelled(&self) -> bool {
            self.cancelled.load(Ordering::SeqCst)
        }

        fn is_release_pending(&self) -> bool {
            self.pending.load(Ordering::SeqCst) > 0
        }

        fn can_help(&self) -> bool {
            false
        }

        fn help(&self) {}

        fn request_eviction(&self) {
            self.room.0.fetch_add(self.kept, Ordering::SeqCst);
        }
    }

    static NEVER: AtomicBool = AtomicBool::new(false);
    static NONE_PENDING: AtomicU64 = AtomicU64::new(0);

    fn request(room: &FreeRoom, bytes: u64) -> TestRequest<'_> {
        TestRequest { room, bytes, cancelled: &NEVER, pending: &NONE_PENDING, kept: 0 }
    }

    #[test]
    fn who_is_alone_waits_for_nobody_but_may_request_an_eviction() {
        let (turns, room) = (Turns::default(), FreeRoom(AtomicU64::new(5)));
        let turn = turns.begin();
        assert_eq!(turns.wait(turn, &request(&room, 10)), Waited::InVain);
        assert_eq!(turns.wait(turn, &TestRequest { kept: 5, ..request(&room, 10) }), Waited::Granted);
        assert_eq!(turns.wait(turn, &request(&room, 0)), Waited::Granted);
        let cancelled = AtomicBool::new(true);
        assert_eq!(turns.wait(turn, &TestRequest { cancelled: &cancelled, ..request(&room, 1) }), Waited::Cancelled);
    }

    #[test]
    fn who_is_alone_waits_for_room_that_is_on_its_way() {
        let (turns, room, pending) = (Turns::default(), FreeRoom(AtomicU64::new(0)), AtomicU64::new(1));
        let turn = turns.begin();
        thread::scope(|threads| {
            let waiting = threads.spawn(|| turns.wait(turn, &TestRequest { pending: &pending, ..request(&room, 10) }));
            room.0.fetch_add(10, Ordering::SeqCst);
            pending.fetch_sub(1, Ordering::SeqCst);
            turns.notify();
            assert_eq!(waiting.join().unwrap(), Waited::Granted);
        });
    }

    #[test]
    fn the_youngest_gives_way_to_the_oldest_when_all_wait() {
        let (turns, room) = (Turns::default(), FreeRoom(AtomicU64::new(0)));
        let [old, young] = [turns.begin(), turns.begin()];
        thread::scope(|threads| {
            let waiting = threads.spawn(|| turns.wait(old, &request(&room, 10)));
            assert_eq!(turns.wait(young, &request(&room, 10)), Waited::GiveWay);
            // What it gives back is the other's.
            room.0.fetch_add(10, Ordering::SeqCst);
            turns.end(young);
            assert_eq!(waiting.join().unwrap(), Waited::Granted);
            let younger = turns.begin();
            let again = threads.spawn(|| turns.older_have_ended(young, || false));
            turns.end(old);
            again.join().unwrap();
            turns.begin_again(young);
            assert!(young < younger, "it keeps its turn");
            [young, younger].into_iter().for_each(|turn| turns.end(turn));
        });
        assert_eq!((turns.working(), turns.waiting.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn who_is_not_wanted_any_more_stops_waiting() {
        let (turns, cancelled, room) = (Turns::default(), AtomicBool::new(false), FreeRoom(AtomicU64::new(0)));
        let [first, second] = [turns.begin(), turns.begin()];
        thread::scope(|threads| {
            let waiting =
                threads.spawn(|| turns.wait(first, &TestRequest { cancelled: &cancelled, ..request(&room, 1) }));
            let for_older = threads.spawn(|| turns.older_have_ended(second, || cancelled.load(Ordering::SeqCst)));
            cancelled.store(true, Ordering::SeqCst);
            turns.notify();
            assert_eq!(waiting.join().unwrap(), Waited::Cancelled);
            for_older.join().unwrap();
        });
    }

    /// Tasks that need two thirds of the room each, in two steps, on four threads.
    #[test]
    fn tasks_that_do_not_fit_together_all_end_whoever_comes_first() {
        const ROOM: u64 = 90;
        let (turns, room) = (Arc::new(Turns::default()), Arc::new(FreeRoom(AtomicU64::new(ROOM))));
        let work = |_: usize| {
            let (turns, room) = (Arc::clone(&turns), Arc::clone(&room));
            thread::spawn(move || {
                for _ in 0..500 {
                    let turn = turns.begin();
                    loop {
                        let (mut held, mut gives_way) = (0, false);
                        while held < 60 && !gives_way {
                            match turns.wait(turn, &request(&room, 30)) {
                                Waited::Granted => held += 30,
                                Waited::GiveWay => gives_way = true,
                                other => panic!("{other:?}: the room holds each of them"),
                            }
                        }
                        room.0.fetch_add(held, Ordering::SeqCst);
                        turns.end(turn);
                        if !gives_way {
                            break;
                        }
                        turns.older_have_ended(turn, || false);
                        turns.begin_again(turn);
                    }
                }
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((turns.working(), room.0.load(Ordering::SeqCst)), (0, ROOM));
    }
}
