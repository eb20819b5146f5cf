//! One job, as its events tell it.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use emberflow_core::{
    event::JobLabels,
    ids::{JobId, StageId, StoreId},
    plan::StageOutline,
};

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It runs.
    Running,
    /// It gave its result.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// It was not wanted any more.
    Cancelled,
}

/// One action, from submission to result.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The action and where it was called.
    pub action: String,
    /// Partitions of the result that are wanted.
    pub partitions: usize,
    /// By what people find it.
    pub labels: JobLabels,
    /// When it was submitted.
    pub started: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// How it stands.
    pub state: JobState,
    /// Why it ended, if that was no success.
    pub error: Option<String>,
    /// What it is made of, parents first; empty if that was forgotten.
    pub plan: Vec<StageOutline>,
    /// The stages that ran for it, or run.
    pub stages: Vec<StageId>,
    /// Stores that were complete, so that their stages did not run.
    pub skipped: BTreeSet<StoreId>,
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
        }
    }

    pub(super) fn finish(&mut self, state: JobState, error: Option<String>, at: SystemTime) {
        (self.state, self.error, self.ended) = (state, error, Some(at));
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// How long it took, or has taken until `now`.
    pub fn duration(&self, now: SystemTime) -> Duration {
        self.ended.unwrap_or(now).duration_since(self.started).unwrap_or_default()
    }
}
