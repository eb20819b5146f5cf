//! Events, in the order in which the coordinator saw them: one stream for progress bars, tests, logs and pages.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, RddId, StageId, StoreId, TaskId},
    plan::StageOutline,
    task::Reads,
};

/// Labels by which a job can be found, besides its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobLabels {
    /// The group that it can be cancelled with.
    pub group: Option<String>,
    /// A description of the job's purpose.
    pub description: Option<String>,
    /// Further names that it can be cancelled by.
    pub tags: BTreeSet<String>,
}

impl JobLabels {
    /// Returns whether there are no labels.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A worker's account of an attempt that has ended on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ran {
    /// The number of the worker, from zero.
    pub worker: usize,
    /// When the attempt began there.
    pub began: SystemTime,
    /// How long it ran there.
    pub duration: Duration,
    /// The rows and bytes that the attempt has read.
    pub reads: Reads,
}

impl Ran {
    /// On this worker, from `began` for so long.
    pub fn new(worker: usize, began: SystemTime, duration: Duration, reads: Reads) -> Self {
        Self { worker, began, duration, reads }
    }
}

/// How a job ended.
///
/// ```
/// use emberflow_core::{error::Error, event::JobEnd, ids::JobId};
///
/// let end = JobEnd::of::<()>(&Err(Error::Cancelled { job: JobId::new(3) }));
/// assert_eq!(end, JobEnd::Cancelled);
/// assert_eq!(end.message(JobId::new(3)).as_deref(), Some("job 3 was cancelled"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JobEnd {
    /// The job gave its result.
    Succeeded,
    /// The job was cancelled, and its action returned [`Error::Cancelled`].
    Cancelled,
    /// The job ended with any other error.
    Failed {
        /// The message of the error that the job's action returned.
        error: String,
    },
}

impl JobEnd {
    /// Returns how a job ended whose action had this outcome.
    pub fn of<T>(outcome: &Result<T>) -> Self {
        match outcome {
            Ok(_) => Self::Succeeded,
            Err(Error::Cancelled { .. }) => Self::Cancelled,
            Err(error) => Self::Failed { error: error.to_string() },
        }
    }

    /// Returns the message of the error that the action of `job` returned, if it returned one.
    pub fn message(&self, job: JobId) -> Option<String> {
        match self {
            Self::Succeeded => None,
            Self::Cancelled => Some(Error::Cancelled { job }.to_string()),
            Self::Failed { error } => Some(error.clone()),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// An action was submitted.
    JobStarted {
        /// The job.
        job: JobId,
        /// The action and where it was called.
        action: String,
        /// Partitions of the result that are wanted.
        partitions: usize,
    },
    /// The stages of the job that has just started. This is told only if somebody listened when it was submitted.
    JobPlanned {
        /// The job.
        job: JobId,
        /// The stages of the job, parents first and the action's last.
        stages: Vec<StageOutline>,
    },
    /// The job that has just started belongs to a group, or has a description or tags.
    JobLabelled {
        /// The job.
        job: JobId,
        /// The labels of the job.
        labels: JobLabels,
    },
    /// A job ended.
    JobFinished {
        /// The job.
        job: JobId,
        /// How it ended.
        end: JobEnd,
    },
    /// The lineage of an RDD has become long, or has doubled since this was told last in this context: each job walks
    /// through all of it. [`checkpoint`](https://docs.rs/emberflow/latest/emberflow/struct.Rdd.html#method.checkpoint)
    /// and `local_checkpoint` cut it.
    LineageGrows {
        /// The RDD.
        rdd: RddId,
        /// Operators in its lineage, its own among them.
        operators: usize,
        /// Stages of the job.
        stages: usize,
    },
    /// The first partitions of a stage are wanted.
    StageStarted {
        /// The stage.
        stage: StageId,
        /// The job that wants them.
        job: JobId,
        /// Where its output lives.
        store: StoreId,
        /// The RDD that it computes.
        rdd: RddId,
        /// The operator by which people know the stage.
        name: String,
        /// Tasks that are wanted so far.
        tasks: usize,
    },
    /// No partition of the stage is wanted any more.
    StageFinished {
        /// The stage.
        stage: StageId,
    },
    /// A job wants a stage whose output is all there.
    StageSkipped {
        /// The job.
        job: JobId,
        /// Where the output lives.
        store: StoreId,
        /// The operator by which people know the stage.
        name: String,
    },
    /// A task was handed to the workers.
    TaskStarted {
        /// The attempt.
        task: TaskId,
        /// The stage of the task.
        stage: StageId,
        /// The partition that it computes.
        partition: PartitionIndex,
        /// The attempt's number, from one.
        attempt: u32,
    },
    /// The task that has just started computes what a much slower one is computing: the first to be done ends the other.
    TaskSpeculated {
        /// The second attempt.
        task: TaskId,
        /// The stage of the task.
        stage: StageId,
        /// The partition that both compute.
        partition: PartitionIndex,
        /// The first one.
        original: TaskId,
    },
    /// A worker would not end a task that had been given up: another thread took its place.
    WorkerReplaced {
        /// The number of the worker, from zero.
        worker: usize,
        /// The task that the worker runs.
        task: TaskId,
    },
    /// An attempt has ended on its worker, well or not. Its result follows, unless it had been given up. The worker
    /// itself tells this, and only if somebody listens.
    TaskRan {
        /// The attempt.
        task: TaskId,
        /// Where, when, over what.
        ran: Box<Ran>,
    },
    /// A task gave its rows.
    TaskFinished {
        /// The attempt.
        task: TaskId,
        /// The stage of the task.
        stage: StageId,
        /// The partition that it computed.
        partition: PartitionIndex,
        /// Rows that it wrote, or read for a result.
        rows: u64,
        /// Bytes that it stored.
        bytes: u64,
        /// How long it ran on its worker.
        duration: Duration,
        /// The number of the worker that it ran on, from zero.
        worker: usize,
    },
    /// A task ended without its rows.
    TaskFailed {
        /// The attempt.
        task: TaskId,
        /// The stage of the task.
        stage: StageId,
        /// The partition that it was to compute.
        partition: PartitionIndex,
        /// The attempt's number, from one.
        attempt: u32,
        /// The error that ended the attempt.
        error: String,
        /// Whether it will be tried again.
        retried: bool,
    },
    /// A partition is in the hands of its actor.
    PartitionStored {
        /// The store that the partition belongs to.
        store: StoreId,
        /// The RDD that it belongs to.
        rdd: RddId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that made it.
        task: TaskId,
        /// Rows in it.
        rows: u64,
        /// Bytes they take, by estimate.
        bytes: u64,
    },
    /// There was no room for a partition's rows, or they were to be on disk: they were written there.
    PartitionSpilled {
        /// Where the partition is stored.
        store: StoreId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that made it.
        task: TaskId,
        /// Bytes that the rows took in memory, by estimate.
        bytes: u64,
        /// Bytes that they take on disk.
        file_bytes: u64,
    },
    /// Nothing could be written to one of several directories for spilled rows: others are used.
    SpillDirFailed {
        /// The directory.
        dir: PathBuf,
        /// The error of the system.
        error: String,
    },
    /// A persisted partition found no room, and to compute it again is quicker than to write and read it: it was dropped
    /// when those that waited for it had read it.
    PartitionDropped {
        /// The store that the partition belonged to.
        store: StoreId,
        /// The RDD that it belongs to.
        rdd: RddId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that had made it.
        task: TaskId,
    },
    /// A stored partition is gone, unasked: it will be rebuilt when it is needed.
    PartitionLost {
        /// The store that the partition belonged to.
        store: StoreId,
        /// The RDD that it belongs to.
        rdd: RddId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that had made it.
        task: TaskId,
    },
    /// A partition that had been lost or dropped was made again, and is not what it was: a closure is not deterministic.
    PartitionDiffers {
        /// The store that the partition belongs to.
        store: StoreId,
        /// The RDD that it belongs to.
        rdd: RddId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that has made it now.
        task: TaskId,
        /// The fingerprint of the partition's earlier rows.
        before: Fingerprint,
        /// The fingerprint of its present rows.
        after: Fingerprint,
    },
    /// A whole store was released: unpersisted, or no lineage can reach it any more.
    StoreDropped {
        /// The store that was released.
        store: StoreId,
        /// The RDD that it belonged to.
        rdd: RddId,
        /// Partitions that were there.
        partitions: usize,
    },
    /// This subscriber was too slow: events are missing here.
    Gap {
        /// The number of events that are missing.
        missed: u64,
    },
}
