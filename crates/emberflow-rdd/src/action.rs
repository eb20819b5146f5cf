//! Actions under way: one future for each, made of one job or of several.
//!
//! Every action is written once, as a future, and starts when it is made; the blocking form waits for it on the
//! caller's thread, with a waker of its own, so that it works inside and outside of any executor.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    event::JobLabels,
    ids::JobId,
    place::OpInfo,
};
use emberflow_runtime::in_task;

use crate::{labels, shared::Shared};

/// An action under way: a future for its result.
///
/// It has started already. Await it in any executor, or [`wait`](Self::wait) for it; dropping it cancels its job.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::local(2)?;
/// let (odd, even) = (ctx.range(0..1000_u64).filter(|n| n % 2 == 1), ctx.range(0..1000_u64).filter(|n| n % 2 == 0));
/// // Both run at the same time.
/// let (odd, even) = (odd.count_async(), even.count_async());
/// assert_eq!(odd.wait()? + even.wait()?, 1000);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropping an action cancels it"]
pub struct Action<R> {
    state: State<R>,
    canceller: Canceller,
}

enum State<R> {
    Running(Pin<Box<dyn Future<Output = Result<R>> + Send>>),
    Done(Option<Result<R>>),
}

impl<R: 'static> Action<R> {
    /// Starts `work`, which submits its jobs through the [`Driver`].
    pub(crate) fn start<W>(shared: &Arc<Shared>, work: impl FnOnce(Driver) -> W) -> Self
    where
        W: Future<Output = Result<R>> + Send + 'static,
    {
        let canceller = Canceller {
            shared: Arc::clone(shared),
            progress: Arc::new(Mutex::new(Running { job: None, over: false, operator: None })),
            labels: labels::current(shared.engine.id()),
        };
        let work = Box::pin(work(Driver(canceller.clone())));
        let mut action = Self { state: State::Running(work), canceller };
        // Polled once, so that the first job is under way when the caller gets the action.
        if let Poll::Ready(outcome) = Pin::new(&mut action).poll(&mut Context::from_waker(Waker::noop())) {
            action.state = State::Done(Some(outcome));
        }
        action
    }

    /// The action whose result `then` makes of this one's.
    pub(crate) fn and_then<S: 'static>(self, then: impl FnOnce(R) -> Result<S> + Send + 'static) -> Action<S>
    where
        R: Send,
    {
        let canceller = self.canceller.clone();
        Action { state: State::Running(Box::pin(async move { then(self.await?) })), canceller }
    }

    /// Waits for the result on this thread.
    ///
    /// # Errors
    /// Those of the action; [`Error::Cancelled`] if it was cancelled meanwhile; [`Error::NestedAction`] inside a task,
    /// which would wait for a worker that waits for it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..9_u64).count_async().wait()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait(mut self) -> Result<R> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut cx) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending if in_task() => return Err(Error::NestedAction { what: "Action::wait" }),
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Something to cancel this action by, from anywhere.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let endless = ctx.range(0..u64::MAX).count_async();
    /// endless.canceller().cancel();
    /// assert!(endless.wait().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }
}

/// # Panics
/// If the action is polled again after it has given its result. The message names the action and its line.
impl<R> Future for Action<R> {
    type Output = Result<R>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, canceller } = &mut *self;
        let outcome = match state {
            State::Running(work) => match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                Ok(Poll::Ready(outcome)) => outcome,
                Ok(Poll::Pending) => return Poll::Pending,
                // A closure that panics here is an error, as it is in a task.
                Err(payload) => Err(canceller.merge_failed(TaskError::of_panic(payload))),
            },
            State::Done(outcome) => match outcome.take() {
                Some(outcome) => outcome,
                None => panic!("{} is polled again after its result; wait for it once", canceller.operator()),
            },
        };
        *state = State::Done(None);
        Poll::Ready(outcome)
    }
}

impl<R> fmt::Debug for Action<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_over = matches!(self.state, State::Done(_));
        f.debug_struct("Action").field("job", &self.canceller.job()).field("is_over", &is_over).finish_non_exhaustive()
    }
}

// Nothing in an action is pinned in place: the future is behind its own pointer.
impl<R> Unpin for Action<R> {}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Cancels an [`Action`] from another thread.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::local(2)?;
/// let action = ctx.range(0..u64::MAX).filter(|n| *n == 0).count_async();
/// let canceller = action.canceller();
/// std::thread::spawn(move || canceller.cancel());
/// assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Canceller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) progress: Arc<Mutex<Running>>,
    pub(crate) labels: JobLabels,
}

/// How far an action has come.
pub(crate) struct Running {
    /// The job that runs, or ran last.
    pub(crate) job: Option<JobId>,
    /// Whether it was cancelled.
    pub(crate) over: bool,
    /// The action, once it has begun a job.
    pub(crate) operator: Option<OpInfo>,
}

impl Canceller {
    /// Ends the action with [`Error::Cancelled`], unless it has ended already.
    pub fn cancel(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.over = true;
        if let Some(job) = progress.job {
            self.shared.backend.cancel(job);
        }
    }

    /// The job that runs now, or ran last.
    fn job(&self) -> Option<JobId> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).job
    }

    fn merge_failed(&self, error: TaskError) -> Error {
        Error::MergeFailed { operator: self.operator(), error }
    }

    /// The action, with its place; empty before it has begun a job.
    fn operator(&self) -> String {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.operator.as_ref().map_or_else(String::new, OpInfo::to_string)
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("job", &self.job()).finish_non_exhaustive()
    }
}

/// Runs the jobs of one action; `rdd::driver` says how.
#[derive(Debug)]
pub struct Driver(pub(crate) Canceller);
