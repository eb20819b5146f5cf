//! The spans of `tracing`: a job's, open while it runs, below the span in which its action was called; below it those of
//! its stages; below them those of tasks, entered on their workers; and there what is fetched, written to disk, and read
//! back.
//! Where nobody subscribes they cost a look at a flag.

use std::collections::HashMap;

use emberflow_core::{
    event::Event,
    ids::{JobId, PartitionIndex, StageId, StoreId, TaskId},
};
use tracing::{Span, debug_span, info_span};

/// The spans that are open.
#[derive(Default)]
pub(crate) struct Spans {
    jobs: HashMap<JobId, Span>,
    stages: HashMap<StageId, Span>,
}

impl Spans {
    /// A job was submitted within `caller`.
    pub(crate) fn job(&mut self, job: JobId, action: &str, caller: &Span) {
        let span = info_span!(parent: caller, "job", job = job.get(), action);
        if !span.is_disabled() {
            self.jobs.insert(job, span);
        }
    }

    /// Opens and closes them as things begin and end.
    pub(crate) fn follow(&mut self, event: &Event) {
        match event {
            Event::JobFinished { job, .. } => _ = self.jobs.remove(job),
            Event::StageStarted { stage, job, name, tasks, .. } => {
                let parent = self.jobs.get(job).and_then(Span::id);
                let span = info_span!(parent: parent, "stage", stage = stage.get(), name, tasks);
                if !span.is_disabled() {
                    self.stages.insert(*stage, span);
                }
            }
            Event::StageFinished { stage } => _ = self.stages.remove(stage),
            _ => {}
        }
    }

    /// The span of a stage, for its tasks.
    pub(crate) fn stage(&self, stage: StageId) -> Span {
        self.stages.get(&stage).cloned().unwrap_or_else(Span::none)
    }
}

/// The span of a look for a stored partition.
pub(crate) fn fetch(store: StoreId, partition: PartitionIndex) -> Span {
    debug_span!("fetch", store = store.get(), partition)
}

/// The span of a task, to be entered on its worker.
pub(crate) fn task(stage: &Span, task: TaskId, id: StageId, partition: PartitionIndex, attempt: u32) -> Span {
    debug_span!(parent: stage, "task", task = task.get(), stage = id.get(), partition, attempt)
}
