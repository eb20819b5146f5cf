//! What a running task knows of itself, and the only things it may ask of its surroundings.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch,
    chaos::{self, Point},
    error::TaskError,
    ids::{JobId, PartitionIndex, RddId, StageId, TaskId},
    memory::Workspace,
    update::{Update, Updates},
};

thread_local! {
    /// The attempt that runs on this thread.
    static CURRENT: RefCell<Option<TaskContext>> = const { RefCell::new(None) };
}

/// Runs reads and writes beside the workers, so that a task can prefetch.
pub trait Io: Send + Sync {
    /// Runs `job`, which may block, on an I/O thread; whether there is one. If not, `job` is dropped.
    #[must_use]
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) -> bool;

    /// Runs `job`, which may use sockets and timers; whether there is a runtime for it. If not, or if the runtime ends
    /// before it does, `job` is dropped.
    #[must_use]
    fn spawn_async(&self, job: Pin<Box<dyn Future<Output = ()> + Send>>) -> bool;
}

/// One attempt at a task, as operators see it. Cheap to clone; stays on its worker thread.
#[derive(Clone)]
pub struct TaskContext {
    inner: Rc<Inner>,
}

struct Inner {
    stage: StageId,
    partition: PartitionIndex,
    attempt: u32,
    batch_rows: usize,
    cancelled: Arc<AtomicBool>,
    io: Arc<dyn Io>,
    workspace: Arc<dyn Workspace>,
    identity: Identity,
    running: Cell<Option<RddId>>,
    updates: RefCell<Updates>,
    at_end: RefCell<Vec<AtEnd>>,
}

/// What is to run when an attempt ends. Gets the error, if it ended with one.
pub type AtEnd = Box<dyn FnOnce(Option<&TaskError>)>;

/// What names an attempt to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The attempt.
    pub task: TaskId,
    /// The job that asked for the stage first.
    pub job: JobId,
    /// The stage's number of partitions.
    pub partitions: usize,
}

impl TaskContext {
    /// The context of one attempt.
    pub fn new(
        (stage, partition, attempt): (StageId, PartitionIndex, u32),
        identity: Identity,
        batch_rows: usize,
        cancelled: Arc<AtomicBool>,
        (io, workspace): (Arc<dyn Io>, Arc<dyn Workspace>),
    ) -> Self {
        let running = Cell::new(None);
        let (updates, at_end) = (RefCell::default(), RefCell::default());
        Self {
            inner: Rc::new(Inner {
                stage,
                partition,
                attempt,
                batch_rows,
                cancelled,
                io,
                workspace,
                identity,
                running,
                updates,
                at_end,
            }),
        }
    }

    /// Calls `run` as this attempt: what it calls finds it by [`current`](Self::current).
    pub fn enter<R>(&self, run: impl FnOnce() -> R) -> R {
        /// Puts back what was there, also after a panic.
        struct Leave(Option<TaskContext>);
        impl Drop for Leave {
            fn drop(&mut self) {
                let before = self.0.take();
                CURRENT.with(|current| *current.borrow_mut() = before);
            }
        }
        let _leave = Leave(CURRENT.with(|current| current.borrow_mut().replace(self.clone())));
        run()
    }

    /// The attempt that runs on this thread, if one does.
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// What names the attempt to its user.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// Whether the attempt is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Relaxed)
    }

    /// Lets `add` change what this attempt adds to the accumulator with this id; it begins as `start` makes it.
    ///
    /// # Panics
    /// If the id was used for updates of another type: ids must be unique.
    #[inline]
    pub fn update<U: Update>(&self, accumulator: u64, start: impl FnOnce() -> U, add: impl FnOnce(&mut U)) {
        /// The entry is out while the user's code runs, which may use accumulators, too.
        struct Entry<'a> {
            updates: &'a RefCell<Updates>,
            at: usize,
            update: Option<Box<dyn Update>>,
        }
        impl Drop for Entry<'_> {
            fn drop(&mut self) {
                self.updates.borrow_mut().0[self.at].1 = self.update.take();
            }
        }
        let updates = &self.inner.updates;
        let mut entry = {
            let mut updates_now = updates.borrow_mut();
            let known = |(id, update): &(u64, Option<_>)| *id == accumulator && update.is_some();
            let (at, update) = match updates_now.0.iter().position(known) {
                Some(at) => (at, updates_now.0[at].1.take()),
                None => {
                    updates_now.0.push((accumulator, None));
                    (updates_now.0.len() - 1, None)
                }
            };
            Entry { updates, at, update }
        };
        let update: &mut dyn std::any::Any = &mut **entry.update.get_or_insert_with(|| Box::new(start()));
        add(update.downcast_mut().expect("an accumulator's id names updates of one type"));
    }

    /// What the attempt has added to accumulators so far.
    pub fn take_updates(&self) -> Updates {
        self.inner.updates.take()
    }

    /// Runs `f` when the attempt ends, however it ends.
    pub fn at_end(&self, f: AtEnd) {
        self.inner.at_end.borrow_mut().push(f);
    }

    /// Takes what is to run next now that the attempt has ended: what was registered last comes first.
    pub fn next_at_end(&self) -> Option<AtEnd> {
        self.inner.at_end.borrow_mut().pop()
    }

    /// The stage that runs.
    pub fn stage(&self) -> StageId {
        self.inner.stage
    }

    /// The partition of the stage.
    pub fn partition(&self) -> PartitionIndex {
        self.inner.partition
    }

    /// The attempt's number, from one.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How many rows of type `T` a batch should hold.
    pub fn batch_rows_of<T>(&self) -> usize {
        batch::batch_rows_of::<T>(self.inner.batch_rows)
    }

    /// How many rows a batch should hold, whatever their size.
    pub fn batch_rows(&self) -> usize {
        self.inner.batch_rows
    }

    /// Where blocking reads and writes can run.
    pub fn io(&self) -> &Arc<dyn Io> {
        &self.inner.io
    }

    /// The memory that it may work in.
    pub fn workspace(&self) -> &Arc<dyn Workspace> {
        &self.inner.workspace
    }

    /// Ends the task if its job was cancelled. Sources and sinks ask once a batch.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`].
    #[inline]
    pub fn check_cancelled(&self) -> Result<(), TaskError> {
        if self.is_cancelled() { Err(TaskError::Cancelled) } else { chaos::pass(Point::InTask) }
    }

    /// A marker that says that the operator of `rdd` is about to run the user's code.
    pub fn marker(&self, rdd: RddId) -> Marker {
        Marker { inner: Rc::clone(&self.inner), rdd: Some(rdd) }
    }

    /// A marker that says that the stage's sink, a writer or an action, is about to run the user's code.
    pub fn sink_marker(&self) -> Marker {
        Marker { inner: Rc::clone(&self.inner), rdd: None }
    }

    /// The RDD whose operator ran last, or `None` if it was the stage's sink: who is to blame for a panic.
    pub fn running(&self) -> Option<RddId> {
        self.inner.running.get()
    }
}

/// Says which operator runs: one store a batch, so that a panic can be laid at the right door.
#[derive(Clone)]
pub struct Marker {
    inner: Rc<Inner>,
    rdd: Option<RddId>,
}

impl Marker {
    /// The operator's own code runs from here on.
    #[inline]
    pub fn enter(&self) {
        self.inner.running.set(self.rdd);
    }

    /// As [`TaskContext::check_cancelled`].
    ///
    /// # Errors
    /// [`TaskError::Cancelled`].
    #[inline]
    pub fn check_cancelled(&self) -> Result<(), TaskError> {
        if self.inner.cancelled.load(Ordering::Relaxed) {
            Err(TaskError::Cancelled)
        } else {
            chaos::pass(Point::InTask)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::UpdateFailed;

    struct NoIo;

    impl Io for NoIo {
        fn spawn(&self, _: Box<dyn FnOnce() + Send>) -> bool {
            false
        }

        fn spawn_async(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) -> bool {
            false
        }
    }

    struct Sum(u64);

    impl Update for Sum {
        fn apply(self: Box<Self>) -> Result<(), UpdateFailed> {
            Err(UpdateFailed { accumulator: "sum".to_owned(), message: self.0.to_string() })
        }
    }

    fn attempt() -> TaskContext {
        let identity = Identity { task: TaskId::new(7), job: JobId::new(0), partitions: 3 };
        TaskContext::new(
            (StageId::new(1), 2, 1),
            identity,
            8,
            Arc::default(),
            (Arc::new(NoIo), crate::memory::unlimited()),
        )
    }

    #[test]
    fn an_attempt_is_current_while_it_runs_and_not_after_a_panic() {
        let cx = attempt();
        assert!(TaskContext::current().is_none());
        cx.enter(|| assert_eq!(TaskContext::current().unwrap().identity().task, TaskId::new(7)));
        let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cx.enter(|| std::panic::resume_unwind(Box::new(1)))
        }));
        assert!(thrown.is_err() && TaskContext::current().is_none());
    }

    #[test]
    fn updates_are_kept_by_accumulator_and_one_may_use_another() {
        let cx = attempt();
        cx.update(
            1,
            || Sum(0),
            |sum| {
                cx.update(2, || Sum(10), |other| other.0 += 1);
                sum.0 += 5;
            },
        );
        cx.update(1, || Sum(0), |sum| sum.0 += 5);
        let updates = cx.take_updates();
        assert_eq!(updates.0.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(updates.apply().unwrap_err().message, "10");
        assert!(cx.take_updates().is_empty());
    }
}
