//! The caller's end of a job: a future for its results, which cancels the job when it is dropped unfinished.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::Addr;
use emberflow_core::{
    backend::{Job, JobOutput},
    error::{Error, Result},
    ids::JobId,
};
use tokio::sync::oneshot;

use crate::{
    console::Console,
    coordinator::{CancelJob, Coordinator},
    mail::post,
};

/// A job under way. Await it, from any executor; drop it to cancel.
#[must_use = "dropping the handle cancels the job"]
pub(crate) struct JobHandle {
    job: JobId,
    outcome: oneshot::Receiver<Result<JobOutput>>,
    coordinator: Addr<Coordinator>,
    /// The console, whose output for the job comes before its caller goes on.
    console: Option<Arc<Console>>,
    finished: bool,
}

impl JobHandle {
    pub(crate) fn new(
        job: JobId,
        outcome: oneshot::Receiver<Result<JobOutput>>,
        coordinator: Addr<Coordinator>,
        console: Option<Arc<Console>>,
    ) -> Self {
        Self { job, outcome, coordinator, console, finished: false }
    }
}

impl Job for JobHandle {
    fn id(&self) -> JobId {
        self.job
    }
}

impl Future for JobHandle {
    type Output = Result<JobOutput>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.outcome).poll(cx);
        outcome.map(|outcome| {
            self.finished = true;
            if let Some(console) = &self.console {
                console.catch_up();
            }
            outcome.unwrap_or(Err(Error::ContextDead { actor: "coordinator" }))
        })
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // From here on the coordinator sees that nobody listens. If it has answered before, the job has succeeded: what
        // its tasks have added counts, though nobody wants its values.
        self.outcome.close();
        match self.outcome.try_recv() {
            Ok(Ok(output)) => {
                if let Err(error) = output.into_values() {
                    tracing::error!(%error, "a job that was dropped when it had ended");
                }
            }
            // A dead coordinator has no job to cancel.
            _ => _ = post(&self.coordinator, CancelJob { job: self.job }),
        }
    }
}
