//! The caller's end of a job: a future for its results, which cancels the job when it is dropped unfinished.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use actix::Addr;
use emberflow_core::{
    error::{Error, Result},
    ids::{JobId, PartitionIndex},
};
use tokio::sync::oneshot;

use crate::{
    coordinator::{CancelJob, Coordinator},
    mail::post,
};

/// What a job gives: one value for each wanted partition, in partition order.
pub type JobOutput = Vec<(PartitionIndex, Box<dyn Any + Send>)>;

/// A job under way. Await it, from any executor; drop it to cancel.
#[must_use = "dropping the handle cancels the job"]
pub struct JobHandle {
    job: JobId,
    outcome: oneshot::Receiver<Result<JobOutput>>,
    coordinator: Addr<Coordinator>,
    finished: bool,
}

impl JobHandle {
    pub(crate) fn new(
        job: JobId,
        outcome: oneshot::Receiver<Result<JobOutput>>,
        coordinator: Addr<Coordinator>,
    ) -> Self {
        Self { job, outcome, coordinator, finished: false }
    }

    /// The job.
    pub fn id(&self) -> JobId {
        self.job
    }
}

impl Future for JobHandle {
    type Output = Result<JobOutput>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.outcome).poll(cx);
        outcome.map(|outcome| {
            self.finished = true;
            outcome.unwrap_or(Err(Error::ContextDead { actor: "coordinator" }))
        })
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if !self.finished {
            // A dead coordinator has no job to cancel.
            let _ = post(&self.coordinator, CancelJob { job: self.job });
        }
    }
}
