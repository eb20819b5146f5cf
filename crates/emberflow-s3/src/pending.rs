//! Requests under way: they run in the runtime of the I/O threads, and somebody on another thread waits.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use emberflow_core::{error::TaskError, task::Io};
use tokio::sync::oneshot;

use crate::S3Error;

/// How often a task that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// The result of a request that was begun. Dropping it ends the request.
pub(crate) struct Pending<T> {
    result: mpsc::Receiver<Result<T, S3Error>>,
    /// A message comes when the result is there, for callers that do not wait on a thread.
    told: oneshot::Receiver<()>,
    /// The error if there is none.
    none: S3Error,
    /// Closed when this is dropped, which the request sees, if that is to end it.
    _wanted: Option<oneshot::Sender<()>>,
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn begin(io: &Arc<dyn Io>, request: impl Future<Output = Result<T, S3Error>> + Send + 'static) -> Self {
        let (wanted, unwanted) = oneshot::channel::<()>();
        let until = async move { _ = unwanted.await };
        Self { _wanted: Some(wanted), ..Self::start(io, request, until) }
    }

    /// As [`begin`](Self::begin), but the request goes on when this is dropped.
    pub(crate) fn begin_for_good(
        io: &Arc<dyn Io>,
        request: impl Future<Output = Result<T, S3Error>> + Send + 'static,
    ) -> Self {
        Self::start(io, request, std::future::pending())
    }

    fn start(
        io: &Arc<dyn Io>,
        request: impl Future<Output = Result<T, S3Error>> + Send + 'static,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (send, result) = mpsc::sync_channel(1);
        let (tell, told) = oneshot::channel();
        let job = Box::pin(async move {
            tokio::select! {
                biased;
                done = request => {
                    // Nobody may be there to take it any more.
                    let _ = (send.send(done), tell.send(()));
                }
                () = until => {}
            }
        });
        // Without a runtime the request is dropped, and with it the sender; also if the runtime ends before it.
        let none = if io.spawn_async(job) { S3Error::Died } else { S3Error::Stopped };
        Self { result, told, none, _wanted: None }
    }

    /// Waits for the result.
    pub(crate) fn wait(self) -> Result<T, S3Error> {
        self.result.recv().unwrap_or(Err(self.none))
    }

    /// The result, as a future.
    pub(crate) async fn done(mut self) -> Result<T, S3Error> {
        // Whether it was told or will never be.
        let _ = (&mut self.told).await;
        self.wait()
    }

    /// Waits for the result as long as the task is wanted.
    pub(crate) fn wait_in_task(self, is_cancelled: impl Fn() -> bool) -> Result<T, TaskError> {
        loop {
            match self.result.recv_timeout(LOOK) {
                Ok(result) => return result.map_err(S3Error::into_task_error),
                Err(_) if is_cancelled() => return Err(TaskError::Cancelled),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.none.into_task_error()),
            }
        }
    }
}
