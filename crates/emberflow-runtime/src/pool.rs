//! The worker threads: a work-stealing pool on crossbeam's deques. Owns threads and queues; knows nothing of tasks.
//!
//! Work comes in through an injector, is taken in small batches into a worker's own deque, and is stolen from there by
//! whoever runs dry. What gives memory back has an injector of its own, where everybody looks first. A worker that finds nothing says that it is idle, looks once more, and parks; whoever submits
//! first puts the work in and then wakes an idle worker. Both sides go through the same lock, so no wake-up is missed.

use std::{
    cell::Cell,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam::{
    deque::{Injector, Stealer, Worker},
    sync::{Parker, Unparker},
};
use emberflow_core::ids::TaskId;

/// Something to run on a worker. What it throws ends with it, and is logged.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Work taken over from the injector at once: few, since tasks may be long and others may be idle.
const BATCH: usize = 4;

/// The stack of a worker: a task goes down the whole lineage of its stage, an operator a frame or two.
const STACK_BYTES: usize = 16 << 20;

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static OURS: Cell<bool> = const { Cell::new(false) };
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Says that the current thread is one of an engine's, so that it must not wait for the engine to end.
pub(crate) fn mark_thread() {
    OURS.with(|flag| flag.set(true));
}

/// Whether the current thread is one of an engine's.
pub(crate) fn is_ours() -> bool {
    OURS.with(Cell::get)
}

/// Whether the current thread is a worker, so that waiting for a job would wait for itself.
pub fn in_task() -> bool {
    IN_TASK.with(Cell::get)
}

/// The number of the worker that is the current thread.
pub(crate) fn worker() -> usize {
    WORKER.with(Cell::get)
}

struct Shared {
    /// What goes before everything else.
    urgent: Injector<Work>,
    injector: Injector<Work>,
    stealers: Vec<Stealer<Work>>,
    unparkers: Vec<Unparker>,
    idle: Mutex<Vec<usize>>,
    desks: Arc<Desks>,
    stopping: AtomicBool,
}

/// A handle to put work in.
#[derive(Clone)]
pub(crate) struct PoolHandle {
    shared: Arc<Shared>,
}

impl PoolHandle {
    pub(crate) fn submit(&self, work: Work) {
        self.shared.injector.push(work);
        self.shared.wake_one();
    }

    /// As [`submit`](Self::submit), before all that waits.
    pub(crate) fn submit_first(&self, work: Work) {
        self.shared.urgent.push(work);
        self.shared.wake_one();
    }

    /// Shows that the current worker is at work on `task`, until what this gives is dropped.
    pub(crate) fn at_work(&self, task: TaskId) -> AtWork<'_> {
        let desk = self.shared.desks.0.get(worker());
        if let Some(desk) = desk {
            desk.store(task.get() + 1, Ordering::Relaxed);
        }
        AtWork(desk)
    }

    /// Where to see what the workers do.
    pub(crate) fn desks(&self) -> Arc<Desks> {
        Arc::clone(&self.shared.desks)
    }
}

/// What each worker does now: the number of a task and one, or zero.
pub(crate) struct Desks(Vec<AtomicU64>);

impl Desks {
    pub(crate) fn look(&self) -> Vec<Option<TaskId>> {
        let tasks = self.0.iter().map(|desk| desk.load(Ordering::Relaxed));
        tasks.map(|task| task.checked_sub(1).map(TaskId::new)).collect()
    }
}

/// Shows what a worker does while it lives.
pub(crate) struct AtWork<'a>(Option<&'a AtomicU64>);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.0 {
            desk.store(0, Ordering::Relaxed);
        }
    }
}

/// The threads. Stopped and joined by [`Pool::stop`].
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(crate) fn start(name: &str, workers: usize) -> std::io::Result<Self> {
        let deques: Vec<Worker<Work>> = (0..workers).map(|_| Worker::new_fifo()).collect();
        let parkers: Vec<Parker> = (0..workers).map(|_| Parker::new()).collect();
        let shared = Arc::new(Shared {
            urgent: Injector::new(),
            injector: Injector::new(),
            stealers: deques.iter().map(Worker::stealer).collect(),
            unparkers: parkers.iter().map(|parker| parker.unparker().clone()).collect(),
            idle: Mutex::new(Vec::with_capacity(workers)),
            desks: Arc::new(Desks((0..workers).map(|_| AtomicU64::new(0)).collect())),
            stopping: AtomicBool::new(false),
        });
        let mut pool = Self { shared: Arc::clone(&shared), threads: Vec::with_capacity(workers) };
        for (index, (deque, parker)) in iter::zip(deques, parkers).enumerate() {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("{name}-worker-{index}")).stack_size(STACK_BYTES);
            let thread = thread.spawn(move || {
                IN_TASK.with(|flag| flag.set(true));
                WORKER.with(|worker| worker.set(index));
                mark_thread();
                shared.work(index, &deque, &parker);
            });
            match thread {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    pub(crate) fn handle(&self) -> PoolHandle {
        PoolHandle { shared: Arc::clone(&self.shared) }
    }

    /// Ends the threads after the work that is under way; what has not begun is dropped.
    pub(crate) fn stop(self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for unparker in &self.shared.unparkers {
            unparker.unpark();
        }
        for thread in self.threads {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a worker thread had panicked outside a task");
            }
        }
    }
}

impl Shared {
    fn work(&self, index: usize, deque: &Worker<Work>, parker: &Parker) {
        while !self.stopping.load(Ordering::SeqCst) {
            if let Some(work) = self.find(index, deque) {
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!("dropping what a task had made panicked");
                }
                continue;
            }
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(index);
            let nothing =
                self.urgent.is_empty() && self.injector.is_empty() && self.stealers.iter().all(Stealer::is_empty);
            if nothing && !self.stopping.load(Ordering::SeqCst) {
                parker.park();
            }
            // Whoever woke this worker took it off the list; a worker that found work by itself does so here.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| *idle != index);
        }
    }

    fn find(&self, index: usize, deque: &Worker<Work>) -> Option<Work> {
        let urgent = (!self.urgent.is_empty())
            .then(|| iter::repeat_with(|| self.urgent.steal()).find(|steal| !steal.is_retry())?.success())
            .flatten();
        urgent.or_else(|| deque.pop()).or_else(|| {
            iter::repeat_with(|| {
                let others = self.stealers.iter().enumerate().filter(|(other, _)| *other != index);
                self.injector
                    .steal_batch_with_limit_and_pop(deque, BATCH)
                    .or_else(|| others.map(|(_, stealer)| stealer.steal()).collect())
            })
            .find(|steal| !steal.is_retry())
            .and_then(crossbeam::deque::Steal::success)
            .inspect(|_| {
                // While a batch moved from there to here it was in no queue: who looked then is asleep.
                if !deque.is_empty() {
                    self.wake_one();
                }
            })
        })
    }

    fn wake_one(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(worker) = idle {
            self.unparkers[worker].unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn all_work_is_done_whoever_takes_it_and_the_threads_end() {
        let pool = Pool::start("test", 3).unwrap();
        let (done, (send, receive)) = (Arc::new(AtomicUsize::new(0)), crossbeam::channel::bounded(0));
        for _ in 0..10_000 {
            let (done, send) = (Arc::clone(&done), send.clone());
            pool.handle().submit(Box::new(move || {
                assert!(in_task());
                if done.fetch_add(1, Ordering::SeqCst) + 1 == 10_000 {
                    send.send(()).unwrap();
                }
            }));
        }
        receive.recv().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 10_000);
        pool.stop();
        assert!(!in_task());
    }
}
