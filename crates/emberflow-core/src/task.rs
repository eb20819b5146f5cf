//! What a running task knows of itself, and the only things it may ask of its surroundings.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch,
    error::TaskError,
    ids::{PartitionIndex, RddId, StageId},
};

/// Runs blocking reads and writes beside the workers, so that a task can prefetch.
pub trait Io: Send + Sync {
    /// Runs `job` on an I/O thread; whether there is one. If not, `job` is dropped.
    #[must_use]
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) -> bool;
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
    running: Cell<Option<RddId>>,
}

impl TaskContext {
    /// The context of one attempt.
    pub fn new(
        (stage, partition, attempt): (StageId, PartitionIndex, u32),
        batch_rows: usize,
        cancelled: Arc<AtomicBool>,
        io: Arc<dyn Io>,
    ) -> Self {
        let running = Cell::new(None);
        Self { inner: Rc::new(Inner { stage, partition, attempt, batch_rows, cancelled, io, running }) }
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

    /// Ends the task if its job was cancelled. Sources and sinks ask once a batch.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`].
    #[inline]
    pub fn check_cancelled(&self) -> Result<(), TaskError> {
        if self.inner.cancelled.load(Ordering::Relaxed) { Err(TaskError::Cancelled) } else { Ok(()) }
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
        if self.inner.cancelled.load(Ordering::Relaxed) { Err(TaskError::Cancelled) } else { Ok(()) }
    }
}
