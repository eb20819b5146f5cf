//! The I/O threads: a tokio runtime that starts when the first read asks for it. Owns that runtime and nothing else.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use emberflow_core::task::Io;
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) struct TokioIo {
    name: String,
    state: Mutex<State>,
}

enum State {
    Unused,
    Running(Runtime),
    Stopped,
}

impl TokioIo {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: format!("{name}-io"), state: Mutex::new(State::Unused) }
    }

    fn handle(&self) -> Option<Handle> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unused) {
            match Builder::new_multi_thread().worker_threads(1).thread_name(&self.name).enable_all().build() {
                Ok(runtime) => *state = State::Running(runtime),
                Err(error) => {
                    tracing::warn!(%error, "cannot start the i/o runtime; reading on the worker instead");
                    return None;
                }
            }
        }
        match &*state {
            State::Running(runtime) => Some(runtime.handle().clone()),
            State::Unused | State::Stopped => None,
        }
    }

    /// Waits for what runs and ends the threads. Not to be called where blocking is not allowed.
    pub(crate) fn stop(&self) {
        let state = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Stopped);
        drop(state);
    }
}

impl Io for TokioIo {
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) -> bool {
        self.handle().map(|handle| drop(handle.spawn_blocking(job))).is_some()
    }

    fn spawn_async(&self, job: Pin<Box<dyn Future<Output = ()> + Send>>) -> bool {
        self.handle().map(|handle| drop(handle.spawn(job))).is_some()
    }
}
