//! The job plane: what a context asks of the engine that runs its jobs.
//!
//! The runtime's engine is one [`Backend`], and a cluster's is another. The rest of a context (ids, events, files, the
//! page) stays as it is, whichever runs the jobs.

use std::{any::Any, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    error::{Error, Result},
    event::JobLabels,
    ids::{JobId, PartitionIndex, StoreId, StorePartition, TaskId},
    plan::StagePlan,
    update::{UpdateFailed, Updates},
};

/// A job that is to be run.
pub struct JobSpec {
    /// The stages: parents first, the action's own last.
    pub stages: Vec<Arc<StagePlan>>,
    /// The partitions of the last stage whose values are wanted.
    pub wanted: Vec<PartitionIndex>,
    /// The labels by which the job is found.
    pub labels: JobLabels,
}

/// A job under way. Await it, from any executor; drop it to cancel.
pub trait Job: Future<Output = Result<JobOutput>> + Send {
    /// The job's id.
    fn id(&self) -> JobId;
}

/// The jobs that are to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those of a group.
    Group(&'a str),
    /// Those with a tag.
    Tag(&'a str),
}

/// Runs the jobs of a context, and keeps what they store.
pub trait Backend: Send + Sync {
    /// Starts a job.
    ///
    /// # Errors
    /// [`Error::NestedAction`] inside a task; [`Error::ContextClosed`] after [`stop`](Self::stop);
    /// [`Error::Interrupted`] after a signal; [`Error::NotShippable`] where stages have to be sent and cannot be.
    fn submit(&self, job: JobSpec) -> Result<Pin<Box<dyn Job>>>;

    /// Cancels a job. One that has ended stays as it is.
    fn cancel(&self, job: JobId);

    /// Cancels jobs, and says which there were.
    ///
    /// # Errors
    /// [`Error::ContextClosed`] after [`stop`](Self::stop).
    fn cancel_all(&self, which: Which<'_>) -> Result<Vec<JobId>>;

    /// The state of a store; `None` if no job has needed it yet, or it was released.
    ///
    /// # Errors
    /// [`Error::ContextClosed`] after [`stop`](Self::stop).
    fn store_state(&self, store: StoreId) -> Result<Option<StoreState>>;

    /// Releases a store.
    fn forget(&self, store: StoreId);

    /// Ends all jobs, and releases everything.
    fn stop(&self);
}

/// One stored partition, as [`StoreState`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The attempt that made it.
    pub task: TaskId,
    /// Rows.
    pub rows: u64,
    /// Bytes they take in memory, by estimate.
    pub bytes: u64,
    /// Bytes they take on disk.
    pub spilled_bytes: u64,
}

/// The state of a store: the shuffle or persisted RDD as far as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Partitions that are there.
    pub stored: Vec<CachedPartition>,
    /// Partitions in all.
    pub partitions: usize,
    /// Bytes they take in memory, by estimate.
    pub bytes: u64,
    /// How often a partition was computed.
    pub computed: u64,
    /// The time that computing them took.
    pub compute_time: Duration,
    /// How often one was dropped for want of room.
    pub dropped: u64,
}

/// The result of a job: one value for each wanted partition, and the updates of accumulators by its tasks.
#[derive(Default)]
pub struct JobOutput {
    values: Vec<(PartitionIndex, Value, Updates)>,
    /// The updates of the tasks that have filled stores: stores in the order of the plan, partitions in theirs.
    stored: Vec<(StorePartition, Updates)>,
}

/// One partition's share of a result.
type Value = Box<dyn Any + Send>;

impl JobOutput {
    /// Adds the value of a partition.
    pub fn push(&mut self, partition: PartitionIndex, value: Value, updates: Updates) {
        self.values.push((partition, value, updates));
    }

    /// All values are there, and so are the updates of the tasks that have filled stores.
    #[must_use]
    pub fn finish(mut self, stored: Vec<(StorePartition, Updates)>) -> Self {
        self.values.sort_unstable_by_key(|(partition, ..)| *partition);
        self.stored = stored;
        self
    }

    /// Takes the updates of the tasks that have filled stores: for a job whose caller is gone.
    pub fn take_stored_updates(&mut self) -> Vec<(StorePartition, Updates)> {
        std::mem::take(&mut self.stored)
    }

    /// Merges what the tasks have added into their accumulators, parents first and in partition order, and gives the
    /// values in partition order.
    ///
    /// # Errors
    /// [`Error::AccumulatorPanicked`] if a merge panicked; the others were merged nevertheless.
    pub fn into_values(self) -> Result<Vec<(PartitionIndex, Value)>> {
        let mut outcome = Ok(());
        for (_, updates) in self.stored {
            outcome = outcome.and(updates.apply());
        }
        let mut values = Vec::with_capacity(self.values.len());
        for (partition, value, updates) in self.values {
            outcome = outcome.and(updates.apply());
            values.push((partition, value));
        }
        match outcome {
            Ok(()) => Ok(values),
            Err(UpdateFailed { accumulator, message }) => Err(Error::AccumulatorPanicked { accumulator, message }),
        }
    }
}
