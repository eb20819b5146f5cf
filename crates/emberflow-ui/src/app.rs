//! The sources that the handlers of the server answer from: the status that events add up to, and the engine that tells
//! the rest.

use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard, Weak},
    time::SystemTime,
};

use emberflow_core::backend::Backend;
use emberflow_core::{ids::JobId, task::AtWork};
use emberflow_runtime::{Engine, EventStream, MemoryUse};
use tokio::sync::watch;

use crate::{application::Application, status::Status};

/// Events that are taken in at once, so that a request need not wait long.
const AT_ONCE: usize = 1024;

/// The sources that the handlers answer from.
pub(crate) struct App {
    pub(crate) about: Application,
    /// Whether it is a log that tells of it: the application has ended, and time stands still.
    pub(crate) replayed: bool,
    /// The engine that runs it; nothing, if it has ended.
    pub(crate) engine: Weak<Engine>,
    /// The backend that runs its jobs: the engine, or another one.
    pub(crate) backend: Weak<dyn Backend>,
    pub(crate) status: RwLock<Status>,
    pub(crate) news: watch::Sender<News>,
}

/// News for those who wait for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) version: u64,
    pub(crate) over: bool,
}

impl App {
    pub(crate) fn status(&self) -> RwLockReadGuard<'_, Status> {
        self.status.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment for which questions are answered: of a log, its last.
    pub(crate) fn now(&self, status: &Status) -> SystemTime {
        let last = || status.last_event().unwrap_or_else(|| self.about.started());
        if self.replayed { last() } else { SystemTime::now() }
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        match self.engine.upgrade() {
            Some(engine) => engine.memory(),
            None => self.status().memory().next_back().map(|last| last.memory).unwrap_or_default(),
        }
    }

    pub(crate) fn workers_now(&self) -> Vec<Option<AtWork>> {
        self.engine.upgrade().map(|engine| engine.workers_now()).unwrap_or_default()
    }

    pub(crate) fn cancel(&self, job: JobId) {
        // One that stops has cancelled it.
        if let Some(backend) = self.backend.upgrade() {
            backend.cancel(job);
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.news.borrow().version
    }

    /// Takes in events until there are no more.
    pub(crate) fn follow(&self, mut events: EventStream) {
        while let Some(first) = events.next() {
            let memory = self.memory();
            let mut status = self.status.write().unwrap_or_else(PoisonError::into_inner);
            status.sample(first.at, memory);
            status.apply(&first);
            for record in std::iter::from_fn(|| events.try_next()).take(AT_ONCE) {
                status.apply(&record);
            }
            drop(status);
            self.news.send_modify(|news| news.version += 1);
        }
        self.news.send_modify(|news| news.over = true);
    }
}
