//! The facts that a running task knows of itself, and the only things it may ask of its surroundings.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::AddAssign,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    batch,
    chaos::{self, Point},
    codec::CodecError,
    error::TaskError,
    ids::{JobId, PartitionIndex, RddId, RowSpan, StageId, TaskId},
    memory::Workspace,
    segments::Footprint,
    update::{Update, Updates},
};

thread_local! {
    /// The attempt that runs on this thread.
    static CURRENT: RefCell<Option<TaskContext>> = const { RefCell::new(None) };
}

/// Runs reads and writes beside the workers, so that a task can prefetch.
pub trait Io: Send + Sync {
    /// Runs `job`, which may block, on an I/O thread. Returns whether there is one. If not, `job` is dropped.
    #[must_use]
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) -> bool;

    /// Runs `job`, which may use sockets and timers. Returns whether there is a runtime for it. If not, or if the
    /// runtime ends before it does, `job` is dropped.
    #[must_use]
    fn spawn_async(&self, job: Pin<Box<dyn Future<Output = ()> + Send>>) -> bool;
}

/// The status of a worker, to be seen while it works: it is written by the worker alone and may be read at any time. It
/// is an aligned block of its own, so that workers do not wait for each other's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStatus {
    /// The number of the attempt and one, or zero.
    task: AtomicU64,
    /// When it began, in nanoseconds since 1970.
    began: AtomicU64,
    /// The number of the RDD whose operator runs and one, or zero.
    running: AtomicU64,
    /// How many batches operators have begun with, ever.
    beats: AtomicU64,
}

/// The work that a worker was at when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtWork {
    /// The attempt.
    pub task: TaskId,
    /// When it began on the worker.
    pub since: SystemTime,
    /// The RDD whose operator runs; none if it is the stage's sink.
    pub rdd: Option<RddId>,
    /// As long as it stays the same, the attempt does not go on.
    pub beats: u64,
}

impl WorkerStatus {
    /// The worker begins with `task`; says when.
    pub fn begin(&self, task: TaskId) -> SystemTime {
        let began = SystemTime::now();
        let now = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.running.store(0, Ordering::Relaxed);
        // Enough until the year 2554.
        self.began.store(now.as_nanos() as u64, Ordering::Relaxed);
        self.task.store(task.get() + 1, Ordering::Release);
        began
    }

    /// The worker is idle.
    pub fn clear(&self) {
        self.task.store(0, Ordering::Release);
    }

    /// The work that the worker is at, if it is at anything. A look while one task follows another may see the operator
    /// of the one and the time of the other.
    pub fn look(&self) -> Option<AtWork> {
        let task = TaskId::new(self.task.load(Ordering::Acquire).checked_sub(1)?);
        let since = UNIX_EPOCH + Duration::from_nanos(self.began.load(Ordering::Relaxed));
        Some(AtWork { task, since, rdd: self.running(), beats: self.beats.load(Ordering::Relaxed) })
    }

    fn run(&self, rdd: Option<RddId>) {
        // The worker alone writes: no need to add atomically.
        self.beats.store(self.beats.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.running.store(rdd.map_or(0, |rdd| rdd.get() + 1), Ordering::Relaxed);
    }

    fn running(&self) -> Option<RddId> {
        self.running.load(Ordering::Relaxed).checked_sub(1).map(RddId::new)
    }
}

/// The reads of an attempt. A stored partition counts whole if it was opened; a source counts by the rows that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reads {
    /// Rows of sources and persisted RDDs.
    pub rows: u64,
    /// Bytes that those of persisted RDDs take in memory, or would take there.
    pub bytes: u64,
    /// Rows of shuffles.
    pub shuffle_rows: u64,
    /// Bytes that they take in memory, or would take there.
    pub shuffle_bytes: u64,
    /// Bytes of all these that were on disk.
    pub file_bytes: u64,
}

impl Reads {
    /// Adds a stored partition of a persisted RDD.
    pub fn add_stored(&mut self, what: Footprint) {
        self.rows += what.rows;
        self.bytes += what.bytes + what.spilled;
        self.file_bytes += what.file_bytes;
    }

    /// Adds a block of a shuffle.
    pub fn add_shuffled(&mut self, what: Footprint) {
        self.shuffle_rows += what.rows;
        self.shuffle_bytes += what.bytes + what.spilled;
        self.file_bytes += what.file_bytes;
    }
}

impl AddAssign for Reads {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.shuffle_rows += other.shuffle_rows;
        self.shuffle_bytes += other.shuffle_bytes;
        self.file_bytes += other.file_bytes;
    }
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
    status: Arc<WorkerStatus>,
    /// The rows that the operator that runs has been given last, if it works on rows.
    at_rows: Cell<Option<RowSpan>>,
    rows_read: Cell<u64>,
    stored_reads: Cell<Reads>,
    /// Whether somebody wants to know of them.
    watched: Cell<bool>,
    updates: RefCell<Updates>,
    at_end: RefCell<Vec<AtEnd>>,
}

/// A closure that runs when an attempt ends. It gets the error, if the attempt ended with one.
pub type AtEnd = Box<dyn FnOnce(Option<&TaskError>)>;

/// The names of an attempt to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The attempt.
    pub task: TaskId,
    /// The job that asked for the stage first.
    pub job: JobId,
    /// The stage's number of partitions.
    pub partitions: usize,
}

/// The parts that the context of an attempt is made of.
pub struct TaskSetup {
    /// The stage that the attempt belongs to.
    pub stage: StageId,
    /// The partition that it computes.
    pub partition: PartitionIndex,
    /// Its number among the attempts at the partition.
    pub attempt: u32,
    /// The names of the attempt to its user.
    pub identity: Identity,
    /// The most rows of a batch.
    pub batch_rows: usize,
    /// Set when the attempt is not wanted any more.
    pub cancelled: Arc<AtomicBool>,
    /// The threads that read and write beside the worker.
    pub io: Arc<dyn Io>,
    /// The memory and the disk that the attempt works with.
    pub workspace: Arc<dyn Workspace>,
    /// The status of the worker that it runs on.
    pub status: Arc<WorkerStatus>,
}

impl fmt::Debug for TaskSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSetup").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl TaskContext {
    /// The context of one attempt.
    pub fn new(setup: TaskSetup) -> Self {
        let TaskSetup { stage, partition, attempt, identity, batch_rows, cancelled, io, workspace, status } = setup;
        let (rows_read, stored_reads) = (Cell::default(), Cell::default());
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
                status,
                at_rows: Cell::new(None),
                rows_read,
                stored_reads,
                watched: Cell::new(false),
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

    /// The names of the attempt to its user.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// Returns whether the attempt is not wanted any more.
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

    /// Counts rows that have come from a source.
    #[inline]
    pub fn count_rows(&self, rows: usize) {
        let counted = &self.inner.rows_read;
        counted.set(counted.get() + rows as u64);
    }

    /// Counts from now on what is read of stored partitions: of a hundred thousand blocks that takes time.
    pub fn watch(&self) {
        self.inner.watched.set(true);
    }

    /// Returns whether reads of stored partitions are counted.
    pub fn is_watched(&self) -> bool {
        self.inner.watched.get()
    }

    /// Counts something stored that the attempt has opened.
    pub fn count_stored(&self, count: impl FnOnce(&mut Reads)) {
        if self.inner.watched.get() {
            let mut reads = self.inner.stored_reads.get();
            count(&mut reads);
            self.inner.stored_reads.set(reads);
        }
    }

    /// Counts the reads that it has done in another process.
    pub fn add_reads(&self, reads: Reads) {
        let mut all = self.inner.stored_reads.get();
        all += reads;
        self.inner.stored_reads.set(all);
    }

    /// The reads of the attempt so far.
    pub fn reads(&self) -> Reads {
        let stored = self.inner.stored_reads.get();
        Reads { rows: stored.rows + self.inner.rows_read.get(), ..stored }
    }

    /// Adds an update that the attempt has made in another process to the accumulator with this id.
    ///
    /// # Errors
    /// If the bytes are no such update.
    pub fn add_update(&self, accumulator: u64, bytes: &[u8]) -> Result<(), CodecError> {
        self.inner.updates.borrow_mut().decode(accumulator, bytes)
    }

    /// Takes the updates of accumulators that the attempt has gathered so far.
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
        Marker { inner: Rc::clone(&self.inner), rdd: Some(rdd), rows: Cell::new(RowSpan { first: 0, count: 0 }) }
    }

    /// A marker that says that the stage's sink, a writer or an action, is about to run the user's code.
    pub fn sink_marker(&self) -> Marker {
        Marker { inner: Rc::clone(&self.inner), rdd: None, rows: Cell::new(RowSpan { first: 0, count: 0 }) }
    }

    /// Which rows it worked on last, of those that the operator that [ran last](Self::running) was given; none if it
    /// works on partitions as a whole.
    pub fn at_rows(&self) -> Option<RowSpan> {
        self.inner.at_rows.get()
    }

    /// Notes that the operator works on this one of those rows.
    pub fn at_row(&self, of_batch: usize) {
        let at = self.inner.at_rows.get().map(|rows| RowSpan { first: rows.first + of_batch as u64, count: 1 });
        self.inner.at_rows.set(at);
    }

    /// Says that the operator of `rdd`, or else the stage's sink, runs now, and which rows it is at: for an attempt that
    /// runs in another process.
    pub fn is_at(&self, rdd: Option<RddId>, rows: Option<RowSpan>) {
        self.inner.status.run(rdd);
        self.inner.at_rows.set(rows);
    }

    /// The RDD whose operator ran last, or `None` if it was the stage's sink: who is to blame for a panic.
    pub fn running(&self) -> Option<RddId> {
        self.inner.status.running()
    }
}

/// Says which operator runs: one store a batch, so that a panic can be laid at the right door, and so that a look shows
/// what a worker is at.
#[derive(Clone)]
pub struct Marker {
    inner: Rc<Inner>,
    rdd: Option<RddId>,
    /// The rows that the operator was given last.
    rows: Cell<RowSpan>,
}

impl Marker {
    /// The operator's own code runs from here on.
    #[inline]
    pub fn enter(&self) {
        self.inner.status.run(self.rdd);
        self.inner.at_rows.set(None);
    }

    /// As [`enter`](Self::enter), with so many rows more.
    #[inline]
    pub fn enter_with(&self, rows: usize) {
        let before = self.rows.get();
        self.rows.set(RowSpan { first: before.first + before.count, count: rows as u64 });
        self.enter_again();
    }

    /// As [`enter`](Self::enter), with what is left of the rows that it was given last.
    #[inline]
    pub fn enter_again(&self) {
        self.inner.status.run(self.rdd);
        self.inner.at_rows.set(Some(self.rows.get()));
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

        fn encode(&self) -> Result<Vec<u8>, TaskError> {
            Ok(self.0.to_le_bytes().to_vec())
        }
    }

    fn attempt() -> TaskContext {
        let identity = Identity { task: TaskId::new(7), job: JobId::new(0), partitions: 3 };
        TaskContext::new(setup(identity, Arc::default()))
    }

    fn setup(identity: Identity, status: Arc<WorkerStatus>) -> TaskSetup {
        TaskSetup {
            stage: StageId::new(1),
            partition: 2,
            attempt: 1,
            identity,
            batch_rows: 8,
            cancelled: Arc::default(),
            io: Arc::new(NoIo),
            workspace: crate::memory::unlimited(),
            status,
        }
    }

    #[test]
    fn a_worker_status_shows_the_task_its_beginning_and_the_operator_that_runs() {
        let status = Arc::new(WorkerStatus::default());
        assert_eq!(status.look(), None);
        let began = status.begin(TaskId::new(0));
        assert_eq!(status.look(), Some(AtWork { task: TaskId::new(0), since: began, rdd: None, beats: 0 }));
        let identity = Identity { task: TaskId::new(0), job: JobId::new(0), partitions: 1 };
        let cx = TaskContext::new(setup(identity, Arc::clone(&status)));
        cx.marker(RddId::new(5)).enter();
        assert_eq!((status.look().unwrap().rdd, status.look().unwrap().beats), (Some(RddId::new(5)), 1));
        cx.sink_marker().enter();
        assert_eq!((status.look().unwrap().rdd, cx.running()), (None, None));
        status.clear();
        assert_eq!(status.look(), None);
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
