//! The name of an application, and the settings that it runs with: the same on its page and in its log.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use emberflow_runtime::Engine;
use serde::{Deserialize, Serialize};

use crate::security;

/// An application, as its page and its log name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// No other of this process has it: `local-` and when it started, as Spark's.
    pub id: String,
    /// The name that it was given.
    pub name: String,
    /// The number of worker threads.
    pub workers: usize,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Bytes that its rows may take in memory.
    pub memory_budget: u64,
    /// The settings of the application; the values of those whose names look like secrets are left out.
    pub settings: Vec<(String, String)>,
}

impl Application {
    /// The application that an engine runs for.
    pub fn new(engine: &Engine, settings: Vec<(String, String)>) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        // Two that start in one millisecond are told apart.
        let later = |last: u64| Some(now.max(last + 1));
        let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or_default();
        let started_ms = now.max(before + 1);
        let redacted = |(name, value): (String, String)| {
            let value = if security::is_secret(&name) { "***".to_owned() } else { value };
            (name, value)
        };
        Self {
            id: format!("local-{started_ms}"),
            name: engine.config().app_name.clone(),
            workers: engine.config().workers,
            started_ms,
            memory_budget: engine.config().memory_budget_bytes,
            settings: settings.into_iter().map(redacted).collect(),
        }
    }

    /// When it started.
    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.started_ms)
    }
}
