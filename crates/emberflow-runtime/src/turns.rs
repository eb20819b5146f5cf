//! Who waits for memory that other tasks hold, and who gives way.
//!
//! Most of what a task holds can go to disk, so that it never waits. What cannot, such as the values of one key, waits
//! here until other tasks have ended, if the budget would hold it. The oldest of those that wait is served first. If all
//! that hold memory wait, the youngest gives way: it gives everything back, and begins again when those before it have
//! ended. So the oldest always gets on, and nobody waits for somebody who waits for him.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering, fence},
    },
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
    /// Who waits here for anything, so that nobody locks when nobody does.
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
        tasks.working.insert(turn, false);
        self.working.fetch_add(1, Ordering::AcqRel);
        turn
    }

    /// A task has ended.
    pub(crate) fn end(&self, turn: Turn) {
        self.tasks().working.remove(&turn);
        self.working.fetch_sub(1, Ordering::AcqRel);
        self.look_again();
    }

    /// How many tasks have asked for memory and not ended.
    pub(crate) fn working(&self) -> usize {
        self.working.load(Ordering::Acquire)
    }

    /// Something has changed: memory was given back, or a task is not wanted any more.
    pub(crate) fn look_again(&self) {
        // Between what changed and this look: who began to wait before it is seen, who does so after sees the change.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // Whoever has looked and not yet gone to sleep holds the lock.
            drop(self.tasks());
            self.changed.notify_all();
        }
    }

    /// Waits until `take` finds room. It is asked for the oldest of those that wait only.
    pub(crate) fn wait(&self, turn: Turn, take: impl Fn() -> bool, is_cancelled: impl Fn() -> bool) -> Waited {
        let mut tasks = self.begin_to_wait();
        tasks.working.insert(turn, true);
        // If all wait now, somebody has to give way.
        self.changed.notify_all();
        let waited = loop {
            let first = tasks.working.iter().find(|(_, waits)| **waits).map(|(first, _)| *first);
            if is_cancelled() {
                break Waited::Cancelled;
            }
            if first == Some(turn) && take() {
                break Waited::Granted;
            }
            if tasks.working.len() == 1 {
                break Waited::InVain;
            }
            let last = tasks.working.last_key_value().map(|(last, _)| *last);
            if last == Some(turn) && tasks.working.values().all(|waits| *waits) {
                break Waited::GiveWay;
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64},
        },
        thread,
    };

    use super::*;

    /// What is free.
    struct Room(AtomicU64);

    impl Room {
        fn take(&self, bytes: u64) -> bool {
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(bytes)).is_ok()
        }
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn who_is_alone_waits_for_nobody() {
        let turns = Turns::default();
        let turn = turns.begin();
        assert_eq!(turns.wait(turn, || false, never), Waited::InVain);
        assert_eq!(turns.wait(turn, || true, never), Waited::Granted);
        assert_eq!(turns.wait(turn, || false, || true), Waited::Cancelled);
    }

    #[test]
    fn the_youngest_gives_way_to_the_oldest_when_all_wait() {
        let (turns, room) = (Turns::default(), Room(AtomicU64::new(0)));
        let [old, young] = [turns.begin(), turns.begin()];
        thread::scope(|threads| {
            let waiting = threads.spawn(|| turns.wait(old, || room.take(10), never));
            assert_eq!(turns.wait(young, || room.take(10), never), Waited::GiveWay);
            // What it gives back is the other's.
            room.0.fetch_add(10, Ordering::SeqCst);
            turns.end(young);
            assert_eq!(waiting.join().unwrap(), Waited::Granted);
            let again = threads.spawn(|| turns.older_have_ended(young, never));
            turns.end(old);
            again.join().unwrap();
        });
        assert_eq!((turns.working(), turns.waiting.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn who_is_not_wanted_any_more_stops_waiting() {
        let (turns, cancelled) = (Turns::default(), AtomicBool::new(false));
        let [first, second] = [turns.begin(), turns.begin()];
        thread::scope(|threads| {
            let waiting = threads.spawn(|| turns.wait(first, || false, || cancelled.load(Ordering::SeqCst)));
            let for_older = threads.spawn(|| turns.older_have_ended(second, || cancelled.load(Ordering::SeqCst)));
            cancelled.store(true, Ordering::SeqCst);
            turns.look_again();
            assert_eq!(waiting.join().unwrap(), Waited::Cancelled);
            for_older.join().unwrap();
        });
    }

    /// Tasks that need two thirds of the room each, in two steps, on four threads.
    #[test]
    fn tasks_that_do_not_fit_together_all_end_whoever_comes_first() {
        const ROOM: u64 = 90;
        let (turns, room) = (Arc::new(Turns::default()), Arc::new(Room(AtomicU64::new(ROOM))));
        let gave_way = Arc::new(AtomicU64::new(0));
        let work = |_: usize| {
            let (turns, room, gave_way) = (Arc::clone(&turns), Arc::clone(&room), Arc::clone(&gave_way));
            thread::spawn(move || {
                for _ in 0..500 {
                    loop {
                        let (turn, mut held) = (turns.begin(), 0);
                        let mut give = false;
                        for _ in 0..2 {
                            match turns.wait(turn, || room.take(30), never) {
                                Waited::Granted => held += 30,
                                Waited::GiveWay => give = true,
                                other => panic!("{other:?}: the room holds each of them"),
                            }
                            if give {
                                break;
                            }
                        }
                        room.0.fetch_add(held, Ordering::SeqCst);
                        turns.end(turn);
                        if !give {
                            break;
                        }
                        gave_way.fetch_add(1, Ordering::SeqCst);
                        turns.older_have_ended(turn, never);
                    }
                }
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((turns.working(), room.0.load(Ordering::SeqCst)), (0, ROOM));
        println!("{gave_way:?} gave way");
    }
}
