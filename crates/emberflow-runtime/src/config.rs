//! The settings an engine runs with, all of them decided. Defaults and the environment are `emberflow-rdd`'s business.

use std::{path::PathBuf, time::Duration};

use emberflow_core::chaos::Chaos;

use crate::coordinator::Speculation;

/// Whether progress bars are drawn on standard error, if that is a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Progress {
    /// If standard error is a terminal.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the context's threads.
    pub app_name: String,
    /// Worker threads.
    pub workers: usize,
    /// Bytes that rows may take in memory.
    pub memory_budget_bytes: u64,
    /// Where partitions are spilled.
    pub spill_dirs: Vec<PathBuf>,
    /// Bytes that they may take there.
    pub spill_limit_bytes: Option<u64>,
    /// Whether they are compressed there.
    pub spill_compression: bool,
    /// Whether nothing finds room in memory, whatever the budget.
    pub force_spill: bool,
    /// Failures of one task after which its job fails.
    pub task_failure_limit: usize,
    /// How long an attempt may run.
    pub task_deadline: Option<Duration>,
    /// How long it may be that no task goes on.
    pub stall_timeout: Option<Duration>,
    /// The rule by which tasks are computed twice for being slow, if they are.
    pub speculation: Option<Speculation>,
    /// Whether jobs fail that would mix what a partition is with what it was before it was lost.
    pub check_determinism: bool,
    /// Rows that a batch holds at most.
    pub batch_rows: usize,
    /// The progress bars.
    pub progress: Progress,
    /// Whether a table on standard error tells of each job that has ended.
    pub job_summary: bool,
    /// Faults on purpose.
    pub chaos: Chaos,
}
