//! The worker threads: a work-stealing pool on crossbeam's deques. Owns threads and queues; knows nothing of tasks.
//!
//! Work comes in through an injector, is taken in small batches into a worker's own deque, and is stolen from there by
//! workers that run dry. Work that gives memory back has an injector of its own, where every worker looks first. A
//! worker that finds nothing says that it is idle, looks once more, and parks; a submitter first puts the work in and
//! then wakes an idle worker. Both sides go through the same lock, so no wake-up is missed.
//!
//! A thread that does not come back from its work can be *relieved*: another one takes its place, and it ends when it
//! comes back. No thread can be stopped from outside. One whose work waits for other work can be *stood in for*: the same,
//! but the pool waits for it when it stops.

#[cfg(target_os = "linux")]
use std::sync::OnceLock;
use std::{
    cell::{Cell, RefCell},
    io, iter, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use crossbeam::{
    channel::{Receiver, RecvTimeoutError, Sender},
    deque::{Injector, Stealer, Worker},
    sync::{Parker, Unparker},
};
use emberflow_core::{
    ids::TaskId,
    task::{AtWork, WorkerStatus},
};

/// Something to run on a worker. A panic of it ends with it, and is logged.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Work taken over from the injector at once: few, since tasks may be long and others may be idle.
const BATCH: usize = 4;

/// Threads that others may stand in for at the same time. More than that is a program that will not end.
const MOST_AWAY: usize = 256;

/// The stack of a worker: a task goes down the whole lineage of its stage, an operator a frame or two.
const STACK_BYTES: usize = 16 << 20;

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static OURS: Cell<bool> = const { Cell::new(false) };
    static WORKER: Cell<usize> = const { Cell::new(0) };
    static STATUS: RefCell<Arc<WorkerStatus>> = RefCell::default();
}

/// The state of a worker that its thread and the pool share.
struct WorkerState {
    /// Shows what the worker does.
    status: Arc<WorkerStatus>,
    /// Wakes it.
    unparker: Unparker,
    /// Whether another thread has taken the thread's place.
    relieved: AtomicBool,
    /// The thread's id in the system, once it runs.
    #[cfg(target_os = "linux")]
    thread: OnceLock<rustix::thread::Pid>,
}

impl WorkerState {
    /// Returns whether the thread waits for something rather than computes. Where the system does not say, it may.
    fn is_waiting(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let Some(thread) = self.thread.get() else { return false };
            let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()));
            // The state follows the name, which is in parentheses and may hold anything.
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
        }
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// Says that the current thread is one of an engine's, so that it must not wait for the engine to end.
pub(crate) fn mark_thread() {
    OURS.with(|flag| flag.set(true));
}

/// Returns whether the current thread is one of an engine's.
pub(crate) fn is_ours() -> bool {
    OURS.with(Cell::get)
}

/// Returns whether the current thread is a worker, so that waiting for a job would wait for itself.
pub fn in_task() -> bool {
    IN_TASK.with(Cell::get)
}

/// The number of the worker that is the current thread.
pub(crate) fn worker() -> usize {
    WORKER.with(Cell::get)
}

struct Shared {
    /// The work that goes before everything else.
    urgent: Injector<Work>,
    injector: Injector<Work>,
    stealers: Vec<Stealer<Work>>,
    idle: Mutex<Vec<Arc<WorkerState>>>,
    workers: Arc<Mutex<Vec<WorkerThread>>>,
    /// Those that others stand in for. Locked after `workers`.
    away: Mutex<Vec<WorkerThread>>,
    stopping: AtomicBool,
}

/// A worker's thread.
struct WorkerThread {
    state: Arc<WorkerState>,
    /// Disconnected when it has ended.
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

/// The list of the workers, to see what they do.
#[derive(Clone)]
pub(crate) struct Roster(Arc<Mutex<Vec<WorkerThread>>>);

impl Roster {
    /// The work that each of them is at; none if it is idle.
    pub(crate) fn at_work(&self) -> Vec<Option<AtWork>> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|worker| worker.state.status.look()).collect()
    }

    /// Returns whether every worker's thread waits for something.
    pub(crate) fn all_wait(&self) -> bool {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().all(|worker| worker.state.is_waiting())
    }
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

    /// Returns whether there is work that goes before all that waits.
    pub(crate) fn is_urgent(&self) -> bool {
        !self.shared.urgent.is_empty()
    }

    /// Does one piece of it, if there is any left, on this thread.
    pub(crate) fn help(&self) {
        if let Some(work) = self.shared.find_urgent() {
            run(work);
        }
    }

    /// Shows that the current worker is at work on `task`, until what this gives is dropped.
    pub(crate) fn at_work(&self, task: TaskId) -> Busy {
        let status = STATUS.with_borrow(Arc::clone);
        Busy { since: status.begin(task), status }
    }

    /// The list of the workers.
    pub(crate) fn roster(&self) -> Roster {
        Roster(Arc::clone(&self.shared.workers))
    }

    /// Has another thread take the place of a worker that is at `task`, for good. Returns whether that was so, and it did.
    pub(crate) fn relieve(&self, worker: usize, task: TaskId) -> io::Result<bool> {
        self.replace(worker, task, drop)
    }

    /// Has another thread take the place of a worker that is at `task`, which waits and will come back. Returns whether
    /// that was so, and it did: if very many are away already, it does not.
    pub(crate) fn stand_in(&self, worker: usize, task: TaskId) -> io::Result<bool> {
        let away = || self.shared.away.lock().unwrap_or_else(PoisonError::into_inner);
        away().retain(|one| !one.thread.is_finished());
        let has_room = away().len() < MOST_AWAY;
        Ok(has_room && self.replace(worker, task, |one| away().push(one))?)
    }

    /// Starts a thread for the place of a worker that is at `task`, and gives the old one to `keep`, so that no stop comes
    /// between.
    fn replace(&self, worker: usize, task: TaskId, keep: impl FnOnce(WorkerThread)) -> io::Result<bool> {
        let mut workers = self.shared.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = workers.get_mut(worker) else { return Ok(false) };
        let is_at_it = one.state.status.look().is_some_and(|at| at.task == task);
        if !is_at_it || self.shared.stopping.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let name = one.thread.thread().name().unwrap_or_default().to_owned();
        // What is left in the deque of the old one is stolen from there. A deque that nobody knows has to stay empty.
        let fresh = self.shared.start_thread(&name, worker, None)?;
        let old = mem::replace(one, fresh);
        old.state.relieved.store(true, Ordering::SeqCst);
        keep(old);
        Ok(true)
    }
}

/// A worker is at work while this lives.
pub(crate) struct Busy {
    since: SystemTime,
    status: Arc<WorkerStatus>,
}

impl Busy {
    /// When it began.
    pub(crate) fn since(&self) -> SystemTime {
        self.since
    }

    /// The status that shows what the worker does.
    pub(crate) fn status(&self) -> Arc<WorkerStatus> {
        Arc::clone(&self.status)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.status.clear();
    }
}

/// The threads. Stopped and joined by [`Pool::stop`].
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    pub(crate) fn start(name: &str, workers: usize) -> std::io::Result<Self> {
        let deques: Vec<Worker<Work>> = (0..workers).map(|_| Worker::new_fifo()).collect();
        let shared = Arc::new(Shared {
            urgent: Injector::new(),
            injector: Injector::new(),
            stealers: deques.iter().map(Worker::stealer).collect(),
            idle: Mutex::new(Vec::with_capacity(workers)),
            workers: Arc::default(),
            away: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let pool = Self { shared: Arc::clone(&shared) };
        for (index, deque) in deques.into_iter().enumerate() {
            match shared.start_thread(&format!("{name}-worker-{index}"), index, Some(deque)) {
                Ok(worker) => shared.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker),
                Err(error) => {
                    pool.stop(None);
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    pub(crate) fn handle(&self) -> PoolHandle {
        PoolHandle { shared: Arc::clone(&self.shared) }
    }

    /// Ends the threads after the work that is under way, for which each is given so long, if not for ever; what has not
    /// begun is dropped.
    pub(crate) fn stop(self, patience: Option<Duration>) {
        let workers = {
            let mut workers = self.shared.workers.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.stopping.store(true, Ordering::SeqCst);
            let mut away = self.shared.away.lock().unwrap_or_else(PoisonError::into_inner);
            workers.drain(..).chain(away.drain(..)).collect::<Vec<_>>()
        };
        for one in &workers {
            one.state.unparker.unpark();
        }
        for WorkerThread { thread, ended, .. } in workers {
            if thread.thread().id() == thread::current().id() {
                continue;
            }
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if let Some(patience) = patience
                && ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout)
            {
                tracing::warn!(thread = name, "a worker does not come back from its task, and is left to itself");
            } else if thread.join().is_err() {
                tracing::error!(thread = name, "a worker thread had panicked outside a task");
            }
        }
    }
}

fn run(work: Work) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("dropping what a task had made panicked");
    }
}

impl Shared {
    /// Starts a thread that works as this worker, with a deque of which the others know, or with none.
    fn start_thread(
        self: &Arc<Self>,
        name: &str,
        index: usize,
        deque: Option<Worker<Work>>,
    ) -> io::Result<WorkerThread> {
        let (shared, parker) = (Arc::clone(self), Parker::new());
        let (unparker, relieved) = (parker.unparker().clone(), AtomicBool::new(false));
        let state = Arc::new(WorkerState {
            status: Arc::default(),
            unparker,
            relieved,
            #[cfg(target_os = "linux")]
            thread: OnceLock::new(),
        });
        let (ends, ended) = crossbeam::channel::bounded(0);
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        let own = Arc::clone(&state);
        let thread = thread.spawn(move || {
            let _ends: Sender<()> = ends;
            IN_TASK.with(|flag| flag.set(true));
            WORKER.with(|worker| worker.set(index));
            STATUS.set(Arc::clone(&own.status));
            mark_thread();
            #[cfg(target_os = "linux")]
            own.thread.get_or_init(rustix::thread::gettid);
            shared.work(index, deque.as_ref(), &parker, &own);
        })?;
        Ok(WorkerThread { state, ended, thread })
    }

    fn work(&self, index: usize, deque: Option<&Worker<Work>>, parker: &Parker, state: &Arc<WorkerState>) {
        let goes_on = || !self.stopping.load(Ordering::SeqCst) && !state.relieved.load(Ordering::SeqCst);
        while goes_on() {
            if let Some(work) = self.find(index, deque) {
                run(work);
                continue;
            }
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(state));
            let nothing =
                self.urgent.is_empty() && self.injector.is_empty() && self.stealers.iter().all(Stealer::is_empty);
            if nothing && goes_on() {
                parker.park();
            }
            // Whoever woke this worker took it off the list; a worker that found work by itself does so here.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| !Arc::ptr_eq(idle, state));
        }
    }

    fn find(&self, index: usize, deque: Option<&Worker<Work>>) -> Option<Work> {
        self.find_urgent().or_else(|| deque?.pop()).or_else(|| {
            iter::repeat_with(|| {
                // A thread without a deque of its own steals from that of the one that it has relieved, too.
                let others = self.stealers.iter().enumerate().filter(|(other, _)| deque.is_none() || *other != index);
                let injected = match deque {
                    Some(deque) => self.injector.steal_batch_with_limit_and_pop(deque, BATCH),
                    None => self.injector.steal(),
                };
                injected.or_else(|| others.map(|(_, stealer)| stealer.steal()).collect())
            })
            .find(|steal| !steal.is_retry())
            .and_then(crossbeam::deque::Steal::success)
            .inspect(|_| {
                // While a batch moved from there to here it was in no queue: who looked then is asleep.
                if deque.is_some_and(|deque| !deque.is_empty()) {
                    self.wake_one();
                }
            })
        })
    }

    fn find_urgent(&self) -> Option<Work> {
        if self.urgent.is_empty() {
            return None;
        }
        iter::repeat_with(|| self.urgent.steal()).find(|steal| !steal.is_retry())?.success()
    }

    fn wake_one(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(worker) = idle {
            worker.unparker.unpark();
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
        pool.stop(None);
        assert!(!in_task());
    }

    #[test]
    fn a_worker_that_does_not_come_back_is_relieved_and_what_waited_for_it_is_done() {
        let pool = Pool::start("test", 1).unwrap();
        let (handle, roster) = (pool.handle(), pool.handle().roster());
        let (let_go, held) = crossbeam::channel::bounded::<()>(0);
        let (send, receive) = crossbeam::channel::bounded(0);
        let (at_it, began) = (pool.handle(), send.clone());
        handle.submit(Box::new(move || {
            let busy = at_it.at_work(TaskId::new(7));
            began.send(worker()).unwrap();
            held.recv().unwrap_err();
            drop((busy, began));
        }));
        assert_eq!(receive.recv().unwrap(), 0);
        for _ in 0..10 {
            let send = send.clone();
            handle.submit(Box::new(move || send.send(worker()).unwrap()));
        }
        drop(send);
        assert!(!handle.relieve(0, TaskId::new(6)).unwrap(), "it is at another task");
        assert!(!handle.relieve(1, TaskId::new(7)).unwrap(), "there is no such worker");
        assert_eq!(roster.at_work()[0].unwrap().task, TaskId::new(7));
        assert!(handle.relieve(0, TaskId::new(7)).unwrap());
        assert_eq!(roster.at_work(), [None]);
        (0..10).for_each(|_| assert_eq!(receive.recv().unwrap(), 0, "as the same worker"));
        // The old one ends when it comes back: then nobody sends any more.
        drop(let_go);
        assert!(receive.recv().is_err());
        pool.stop(Some(Duration::from_secs(600)));
    }
}
