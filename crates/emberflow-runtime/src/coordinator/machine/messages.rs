//! The words of the machine: what can happen to it ([`Input`]) and what it wants done ([`Command`]).
//!
//! Owns types only. The shell (`coordinator::actor`) makes inputs and carries out commands; nothing here decides.

use std::{sync::Arc, time::Duration};

use emberflow_core::{
    error::{Cause, Error, TaskError},
    event::Event,
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, RddId, RowSpan, StageId, StoreId, StorePartition, TaskId},
    plan::{StageKind, StagePlan, TaskInputs},
};

use super::super::stragglers::Speculation;

/// Which stored partitions a task reads; the only thing about a plan that the machine needs to ask.
pub(crate) trait StageInputs: Send + Sync {
    fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs;
}

impl StageInputs for StagePlan {
    fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs {
        StagePlan::inputs_of(self, partition)
    }
}

/// A stage, as far as the machine cares.
#[derive(Clone)]
pub(crate) struct StageSpec {
    pub(crate) store: StoreId,
    pub(crate) kind: StageKind,
    pub(crate) rdd: RddId,
    pub(crate) name: String,
    pub(crate) partitions: usize,
    pub(crate) inputs: Arc<dyn StageInputs>,
}

impl std::fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {:?}, {} partitions)", self.name, self.store, self.kind, self.partitions)
    }
}

/// How often things may go wrong, and how many tasks may be out at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Failures of one task that are the user's, after which its jobs fail.
    pub(crate) task_failures: usize,
    /// Losses in a row of what one task reads, after which its jobs fail.
    pub(crate) losses: u32,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Which tasks are computed twice for being slow.
    pub(crate) speculation: Option<Speculation>,
    /// Whether jobs fail that would mix rows of a partition with others that it had before it was lost.
    pub(crate) deterministic: bool,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// An action: its stages, parents first and its own last, and which of its partitions are wanted.
    Submit { job: JobId, action: String, stages: Vec<StageSpec>, wanted: Vec<PartitionIndex> },
    /// A task ended.
    TaskEnded { task: TaskId, end: TaskEnd, ran: WorkerTime },
    /// The actor of a partition is gone, with what it stored or was to store.
    PartitionLost { store: StoreId, partition: PartitionIndex, generation: TaskId },
    /// A job is not wanted any more.
    Cancel { job: JobId },
    /// No lineage can reach the store any more.
    Forget { store: StoreId },
    /// A stored partition has to make room, if no job uses its store.
    Evict { key: StorePartition, generation: TaskId },
    /// A task runs longer than it may. It is not waited for any more.
    Overdue { task: TaskId, limit: Duration, rdd: RddId, operator: String },
    /// A task waits for something, and another thread works in place of its own.
    Away { task: TaskId },
    /// The tasks that workers are at, and for how long.
    AtWork { tasks: Vec<(TaskId, Duration)> },
    /// Nothing has happened for too long. The shell's own account is to be told, too.
    Stalled { limit: Duration, shell: String },
}

/// The worker that a task ran on, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerTime {
    pub(crate) duration: Duration,
    pub(crate) worker: usize,
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) enum TaskEnd {
    /// Its rows are stored, or its result is at hand. Rows that are `passing` are there for those tasks only that wait
    /// for them by now or come to want them meanwhile.
    Done(DoneTask),
    /// It failed while the operator of `rdd` ran.
    Failed { error: TaskError, rdd: RddId, operator: String, rows: Option<RowSpan> },
    /// Partitions that it reads were not there: which, and the generation that was expected; and why, if that is known.
    InputsLost { lost: Vec<(StorePartition, TaskId)>, cause: Option<Cause> },
}

/// The output of a task that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoneTask {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Whether the rows stay only as long as tasks that wait for them need them.
    pub(crate) passing: bool,
    pub(crate) fingerprint: Fingerprint,
}

/// A task to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    pub(crate) task: TaskId,
    pub(crate) stage: StageId,
    pub(crate) job: JobId,
    /// The partition that the task makes.
    pub(crate) key: StorePartition,
    pub(crate) attempt: u32,
    /// Whether the task is run row by row, to find the one that it panics at.
    pub(crate) care: bool,
}

/// A command to the shell.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Run a task.
    Launch(Launch),
    /// A running task is not wanted any more.
    Cancel { task: TaskId },
    /// The output that this attempt made, or was to make, is not wanted: stop its actor.
    Discard { task: TaskId },
    /// The result that came with this report is the partition's result.
    Accept { job: JobId, partition: PartitionIndex },
    /// The output that this attempt stored is the partition of its store: readers get it, and its updates of
    /// accumulators count.
    Count { key: StorePartition, task: TaskId },
    /// Stop all the actors of a store and forget its plan.
    DropStore { store: StoreId },
    /// A job ended.
    FinishJob { job: JobId, outcome: Result<(), Error> },
    /// Tell the world.
    Emit(Event),
}
