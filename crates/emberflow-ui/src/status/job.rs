//! One job, as its events tell it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use emberflow_core::{
    event::JobLabels,
    ids::{JobId, StageId, StoreId},
    plan::StageOutline,
};

use super::{
    stage::{Stage, StageState},
    store::Store,
};

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// The job runs.
    Running,
    /// The job gave its result.
    Succeeded,
    /// The job ended with an error.
    Failed,
    /// The job was not wanted any more.
    Cancelled,
}

/// One action, from submission to result.
#[derive(Clone, Debug)]
pub struct Job {
    /// The id of the job.
    pub id: JobId,
    /// The action and where it was called.
    pub action: String,
    /// Partitions of the result that are wanted.
    pub partitions: usize,
    /// Labels by which the job can be found.
    pub labels: JobLabels,
    /// When it was submitted.
    pub started: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// How it stands.
    pub state: JobState,
    /// Why it ended, if that was no success.
    pub error: Option<String>,
    /// The stages that it is made of, parents first; empty if that was forgotten.
    pub plan: Vec<StageOutline>,
    /// The stages that ran for it, or run.
    pub stages: Vec<StageId>,
    /// Stores that were complete, so that their stages did not run.
    pub skipped: BTreeSet<StoreId>,
    /// The results of its stages when it ended: others may have gone on with them.
    pub(super) runs: Vec<Stage>,
    /// The contents of its stores when it ended, and for each the number of losses of partitions that were there again,
    /// or never lost, when the job began.
    pub(super) kept: BTreeMap<StoreId, Kept>,
    /// All of its stages together, once it has ended.
    pub(super) tally: Option<Tally>,
}

/// The part of a job's wanted partitions that a store held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Partitions whose rows were there.
    pub partitions: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes that they took, in memory and on disk.
    pub bytes: u64,
    /// Partitions that were missing when the job began, since they had been lost, and those that were lost since.
    pub losses: u64,
}

impl Kept {
    pub(super) fn of(store: &Store, losses_before: u64) -> Self {
        Self {
            partitions: store.stored_partitions(),
            rows: store.rows(),
            bytes: store.bytes() + store.file_bytes(),
            losses: store.losses.saturating_sub(losses_before),
        }
    }
}

/// The stages and tasks of a job, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tasks of the stages that ran or run.
    pub tasks: usize,
    /// Tasks that were handed to the workers and have not ended.
    pub open: usize,
    /// Tasks that gave their rows.
    pub succeeded: usize,
    /// Attempts that failed.
    pub failed: usize,
    /// Attempts that were not wanted any more.
    pub cancelled: usize,
    /// Stages that have begun and not ended.
    pub active_stages: usize,
    /// Stages that wait for others.
    pub pending_stages: usize,
    /// Stages that gave all that was wanted.
    pub complete_stages: usize,
    /// Stages that failed or were given up.
    pub failed_stages: usize,
    /// Stages whose output was there.
    pub skipped_stages: usize,
    /// Tasks of those.
    pub skipped_tasks: usize,
}

impl Tally {
    pub(super) fn of<'a>(job: &Job, runs: impl Iterator<Item = &'a Stage>) -> Self {
        let mut tally = Self::default();
        for run in runs {
            tally.tasks += run.wanted();
            tally.open += run.running();
            tally.succeeded += run.succeeded;
            tally.failed += run.failed;
            tally.cancelled += run.cancelled;
            let stages = match run.state {
                StageState::Pending => &mut tally.pending_stages,
                StageState::Running => &mut tally.active_stages,
                StageState::Complete => &mut tally.complete_stages,
                StageState::Failed | StageState::Cancelled => &mut tally.failed_stages,
            };
            *stages += 1;
        }
        for outline in job.plan.iter().filter(|outline| job.skipped.contains(&outline.store)) {
            tally.skipped_stages += 1;
            tally.skipped_tasks += outline.partitions;
        }
        tally
    }
}

impl Job {
    pub(super) fn new(id: JobId, action: String, partitions: usize, started: SystemTime) -> Self {
        Self {
            id,
            action,
            partitions,
            labels: JobLabels::default(),
            started,
            ended: None,
            state: JobState::Running,
            error: None,
            plan: Vec::new(),
            stages: Vec::new(),
            skipped: BTreeSet::new(),
            runs: Vec::new(),
            kept: BTreeMap::new(),
            tally: None,
        }
    }

    pub(super) fn finish(&mut self, state: JobState, error: Option<String>, at: SystemTime) {
        (self.state, self.error, self.ended) = (state, error, Some(at));
    }

    /// Returns whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// How long it took, or has taken until `now`.
    pub fn duration(&self, now: SystemTime) -> Duration {
        self.ended.unwrap_or(now).duration_since(self.started).unwrap_or_default()
    }
}
