//! Tasks that run in other processes of the same program.
//!
//! A worker process is given a stage as a [parcel](emberflow_core::parcel), and for each task what the task reads, as
//! [pieces](emberflow_core::wire). It runs the task as its parent's worker thread would, and answers with what the task
//! has made: pieces for a store, or a value of an action. It knows nothing of jobs, lineage or other tasks, keeps
//! nothing between tasks but the stage, and can be killed at any time.
//!
//! `frames` owns the form of the conversation, `link` the worker's way to it, `processes` the parent's end, `serve` the
//! worker's.

mod frames;
mod link;
#[cfg(unix)]
mod processes;
mod serve;

pub use frames::{Frame, Tag};
pub use link::take_link;
#[cfg(unix)]
pub use processes::WorkerProcesses;
pub use serve::{is_worker, serve};

use emberflow_core::{
    ids::{JobId, StageId, TaskId},
    task::Reads,
};
use serde::{Deserialize, Serialize};

/// Tells a process that it is a worker of another one, and how it is linked to it.
const IS_WORKER: &str = "EMBERFLOW_WORKER";

/// The attempt at a task that a worker is to make, besides its partition and its number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The stage.
    pub stage: StageId,
    /// The attempt.
    pub task: TaskId,
    /// The job that asked for the stage first.
    pub job: JobId,
    /// How many rows a batch should hold.
    pub batch_rows: usize,
    /// The number of the attempt that is the last one: it takes rows one by one, so that an error names one.
    pub last_attempt: u32,
    /// Whether its reads are counted.
    pub watched: bool,
}

/// The end of an attempt that has succeeded, after what it has made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Rows that it has stored, or that an action has read.
    pub rows: u64,
    /// The reads of the attempt, if they were counted.
    pub reads: Reads,
}
