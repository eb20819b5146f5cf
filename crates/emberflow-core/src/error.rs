//! Errors: [`TaskError`] within one attempt of one task, [`Error`] for the caller of an action.
//!
//! A task's error stays typed until the coordinator has judged it: a loss is repaired, a panic is tried again, a
//! failure that would only repeat itself ends the job at once.

use std::{any::Any, error::Error as StdError, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    codec::CodecError,
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, RddId, RowSpan, StageId, StoreId, TaskId},
};

/// The result of everything that a user calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, shared: the cause of a failed task is kept in every report of it.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// A panic's message is kept up to this length.
const MESSAGE_BYTES: usize = 4 << 10;

/// Why one attempt at a task ended without its rows.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The user's code panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// The message of the panic, cut at 4 KiB.
        message: String,
    },
    /// The user's code returned an error. It is not tried again: the same rows would give the same error.
    #[error("{cause}")]
    Rejected {
        /// The error that was returned.
        cause: Cause,
    },
    /// Rows could not be read or written. Tried again unless `permanent`.
    #[error("{cause}")]
    Io {
        /// The error of the source or sink.
        cause: Cause,
        /// Whether trying again is known to be useless.
        permanent: bool,
    },
    /// A partition that the task reads is no longer there. Repaired from lineage, not charged to the task.
    #[error("{store}, partition {partition} was lost")]
    InputLost {
        /// Where the partition lived.
        store: StoreId,
        /// The partition.
        partition: PartitionIndex,
        /// The attempt that had made it; `None` if it was missing from the start.
        generation: Option<TaskId>,
    },
    /// Spilled rows that the task reads cannot be read back. Repaired from lineage, not charged to the task.
    #[error("{cause}")]
    SpillUnreadable {
        /// The reason why they cannot be read.
        cause: Cause,
    },
    /// Rows that have to be in memory together take more than the budget. This is not tried again.
    #[error(
        "{what} would take {bytes} bytes in memory, more than is left of the memory_budget of {budget}: {}",
        way_out(what)
    )]
    OverBudget {
        /// A name for the rows, one of [`over_budget`]'s.
        what: &'static str,
        /// The bytes that the rows would take, by estimate.
        bytes: u64,
        /// The budget.
        budget: u64,
    },
    /// The task gave its memory to an older one, and begins again when that has ended. Nobody sees this as the end of an
    /// attempt.
    #[error("it gave its memory to an older task, and begins again")]
    GaveWay,
    /// The attempt took longer than it may. It was told to end, and is not waited for.
    #[error(
        "it ran longer than the task_deadline of {limit:?}; raise it, use more partitions, or look for what the closure \
         waits for"
    )]
    Overdue {
        /// The deadline.
        limit: Duration,
    },
    /// The actor that should own the rows died before it could take them. This is not charged to the task.
    #[error("the partition's actor died before it could take the rows")]
    OutputLost,
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The plan's operators do not fit together: a bug in an operator.
    #[error("operator wants rows of {wanted}, got {found}")]
    PlanMismatch {
        /// The row type that was asked for.
        wanted: &'static str,
        /// The row type that came.
        found: &'static str,
    },
}

impl TaskError {
    /// An error of the user's code that is not to be tried again.
    pub fn rejected(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Rejected { cause: Arc::from(cause.into()) }
    }

    /// A failed read or write that may succeed next time.
    pub fn io(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Io { cause: Arc::from(cause.into()), permanent: false }
    }

    /// A failed read or write that will fail again.
    pub fn io_permanent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Io { cause: Arc::from(cause.into()), permanent: true }
    }

    /// The error of an attempt whose code panicked with `payload`: what it was [unwound](Unwound) with, or the message.
    pub fn of_panic(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast::<Unwound>() {
            Ok(unwound) => return unwound.0,
            Err(payload) => payload,
        };
        let mut message = match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => match payload.downcast_ref::<&str>() {
                Some(message) => (*message).to_owned(),
                None => {
                    // A payload may panic once more when it is dropped: forgetting it costs little and happens rarely.
                    std::mem::forget(payload);
                    "(a value that is not text)".to_owned()
                }
            },
        };
        if message.len() > MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
            message.push('…');
        }
        Self::Panicked { message }
    }

    /// Returns whether another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Panicked { .. }
            | Self::InputLost { .. }
            | Self::SpillUnreadable { .. }
            | Self::GaveWay
            | Self::Overdue { .. }
            | Self::OutputLost => true,
            Self::Io { permanent, .. } => !permanent,
            Self::Rejected { .. } | Self::Cancelled | Self::PlanMismatch { .. } | Self::OverBudget { .. } => false,
        }
    }
}

/// Names of what may be [over budget](TaskError::OverBudget).
pub mod over_budget {
    /// The rows that an action gives to its caller.
    pub const RESULT: &str = "the result";
    /// The values under the keys that a task groups together.
    pub const GROUP: &str = "the values of one group of keys";
    /// The rows of a join's right side that a task joins together.
    pub const JOIN: &str = "the rows of one group of keys on the right side of a join";
    /// The right side of a broadcast join.
    pub const BROADCAST: &str = "the right side of a broadcast join";
    /// A partition that becomes one row.
    pub const PARTITION: &str = "a partition that becomes one row";
}

/// A hint about a path that may have been meant as several.
fn several_paths(pattern: &str) -> &'static str {
    if pattern.contains(',') { "; a comma separates no paths: give several to Context::text_files" } else { "" }
}

/// The advice about rows that are over budget.
fn way_out(what: &str) -> &'static str {
    match what {
        over_budget::RESULT => "read it part by part with to_local_iter, write it with save_*, or raise the budget",
        over_budget::GROUP => {
            "some key has very many values: merge them with reduce_by_key or aggregate_by_key, add a salt to the key, or \
             raise the budget"
        }
        over_budget::JOIN => {
            "some key has very many rows there: put that side on the left, add a salt to the key, or raise the budget"
        }
        over_budget::BROADCAST => "use join, which need not hold it as a whole, or raise the budget",
        over_budget::PARTITION => {
            "use map_partitions, which reads the rows one by one, more partitions, or raise the budget"
        }
        _ => "raise the budget, or use more partitions",
    }
}

/// The payload that unwinds the user's code when the rows that it asks for cannot be read, so that a closure over an
/// iterator does not take their failure for their end. The runtime catches it, and goes on with the error.
#[derive(Debug)]
pub struct Unwound(pub TaskError);

/// One failed attempt, as the final error tells it.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// The attempt's number, from one.
    pub attempt: u32,
    /// The RDD whose operator was running.
    pub rdd: RddId,
    /// The RDD's operator and where it was written, such as `map at src/main.rs:7:10`.
    pub operator: String,
    /// The rows that the operator was at, of those that it was given, if it works on rows: counted from zero in the
    /// order of its partition. The last attempt after panics takes rows one by one, so as to name one.
    pub rows: Option<RowSpan>,
    /// The error of the task.
    pub error: TaskError,
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} in {} ({})", self.attempt, self.operator, self.rdd)?;
        if let Some(rows) = self.rows {
            write!(f, ", {rows} of what it was given")?;
        }
        write!(f, ": {}", self.error)
    }
}

/// The error of an action, or of the context itself.
///
/// Its `Debug` form is its message, so that a `main` that returns it prints what happened and what to do; `{:#?}` shows
/// the fields.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A task failed as often as it may, or in a way that would only repeat itself.
    #[error(
        "{operator} ({rdd}), {stage}, partition {partition}: failed after {} attempt{}; {}",
        causes.len(), if causes.len() == 1 { "" } else { "s" }, first_and_last(causes)
    )]
    TaskFailed {
        /// The RDD whose operator failed first.
        rdd: RddId,
        /// The RDD's operator and where it was written.
        operator: String,
        /// The stage that was running.
        stage: StageId,
        /// The partition of that stage.
        partition: PartitionIndex,
        /// Every attempt, the first one first.
        causes: Vec<FailedAttempt>,
    },
    /// Partitions that a task reads were lost again and again.
    #[error(
        "{operator} ({rdd}), {stage}, partition {partition}: what it reads was lost {losses} times in a row; \
         last: {last}"
    )]
    LostTooOften {
        /// The RDD that the task computes.
        rdd: RddId,
        /// The RDD's operator and where it was written.
        operator: String,
        /// The stage that was running.
        stage: StageId,
        /// The partition of that stage.
        partition: PartitionIndex,
        /// The number of times that it was lost.
        losses: u32,
        /// The last loss.
        last: TaskError,
    },
    /// A partition was lost when others had been made of it, and what was made in its place is something else: the
    /// result would be made of both.
    #[error(
        "{operator} ({rdd}), partition {partition}: it was lost, and made again it is not what it was ({before}; now \
         {after}), while others are made of what it was. A closure before it does not always give the same rows: seed \
         its random numbers, sort what comes from a HashMap, or checkpoint what depends on the time or the outside; or \
         turn check_determinism off"
    )]
    NotDeterministic {
        /// The RDD whose partition it is.
        rdd: RddId,
        /// The RDD's operator and where it was written.
        operator: String,
        /// The partition that differs.
        partition: PartitionIndex,
        /// The fingerprint of the partition's earlier rows.
        before: Fingerprint,
        /// The fingerprint of its present rows.
        after: Fingerprint,
    },
    /// Nothing happened any more: no task ended, and none that ran went on.
    #[error("{job} is stalled: for {limit:?} no task has begun, gone on, or ended{waits_for}")]
    Stalled {
        /// The job.
        job: JobId,
        /// The time for which nothing happened.
        limit: Duration,
        /// A list of what the job still needed, what that waited for, and what the workers were at; a line each.
        waits_for: String,
    },
    /// The job was cancelled: by its handle, by dropping its future, or through the context.
    #[error("{job} was cancelled")]
    Cancelled {
        /// The job that was cancelled.
        job: JobId,
    },
    /// A signal has interrupted the context: the jobs that ran were cancelled, and no other begins.
    #[error("the context was interrupted by signal {signal}: its jobs have ended, and no other begins")]
    Interrupted {
        /// The signal's number: 2 for SIGINT, 15 for SIGTERM.
        signal: i32,
    },
    /// A closure panicked in the caller's thread, where the results of partitions are merged.
    #[error("{operator}: {error}, while the results of partitions were merged")]
    MergeFailed {
        /// The action, and where it was called.
        operator: String,
        /// The panic.
        error: TaskError,
    },
    /// The context was stopped; make a new one.
    #[error("the context was stopped; make a new one")]
    ContextClosed,
    /// An actor that the context cannot work without has died. This is a bug of emberflow.
    #[error("the context's {actor} died; make a new context, and report this as a bug")]
    ContextDead {
        /// The name of the actor.
        actor: &'static str,
    },
    /// An action was called, or a context made, inside a closure that a task runs.
    #[error(
        "{what} inside a task: a closure that runs on a worker cannot wait for other tasks; run the action first and \
         move its result into the closure, or join the two RDDs"
    )]
    NestedAction {
        /// The method that was called.
        what: &'static str,
    },
    /// More operators follow each other in one stage than a task can go through.
    #[error(
        "{operator} ({rdd}): {limit} operators come before it without a shuffle, and a task cannot go through more; cut \
         the lineage with checkpoint, local_checkpoint or cache now and then"
    )]
    LineageTooDeep {
        /// The first RDD that is too deep.
        rdd: RddId,
        /// The RDD's operator, and where it was called.
        operator: String,
        /// How many operators there may be.
        limit: usize,
    },
    /// An RDD of one context was used with another one.
    #[error("{rdd} ({operator}) belongs to another context; an RDD can only be used with the context that made it")]
    ForeignRdd {
        /// The RDD that was refused.
        rdd: RddId,
        /// The RDD's operator and where it was written.
        operator: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{setting} = {value:?}: {reason}")]
    InvalidSetting {
        /// The setting, as the builder or the environment names it.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// The reason why the value is wrong, and what would be right.
        reason: String,
    },
    /// A file or directory could not be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// The action that failed, such as "cannot read".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// A store of files, such as S3, could not be used.
    #[error("{source}")]
    Storage {
        /// The error, which names the file.
        source: Cause,
    },
    /// A table cannot be read or used so.
    #[error("{source}")]
    Table {
        /// The error, which says what to do.
        source: Cause,
    },
    /// A path or glob names nothing.
    #[error(
        "{pattern:?} matches no file; give a file, a directory, or a glob such as \"data/*.txt\"{}",
        several_paths(pattern)
    )]
    NoSuchInput {
        /// The path or glob that was given.
        pattern: String,
    },
    /// A glob could not be understood.
    #[error("{pattern:?} is not a glob: {reason}")]
    BadGlob {
        /// The glob that was given.
        pattern: String,
        /// The reason why it is wrong.
        reason: String,
    },
    /// A sink's path is taken, and nothing is overwritten unasked.
    #[error("{} exists; choose another path, or remove it first", path.display())]
    OutputExists {
        /// The path.
        path: PathBuf,
    },
    /// A value could not be serialised.
    #[error("{operator}: {source}")]
    Codec {
        /// The operator whose value it was.
        operator: String,
        /// The error of the codec.
        source: Arc<CodecError>,
    },
    /// An accumulator's merge panicked when a job had succeeded; the other accumulators were merged.
    #[error("accumulator {accumulator:?}: its merge panicked: {message}; its value may be half merged, so reset it")]
    AccumulatorPanicked {
        /// The accumulator's name.
        accumulator: String,
        /// The message of the panic.
        message: String,
    },
    /// A partition was asked for that the RDD does not have.
    #[error("{rdd} ({operator}) has {partitions} partitions, numbered from 0; there is no partition {partition}")]
    NoSuchPartition {
        /// The RDD.
        rdd: RddId,
        /// The RDD's operator and where it was written.
        operator: String,
        /// The partition that was asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: usize,
    },
    /// A job whose plan was sent as bytes has failed: the plan could not be read, or a task failed in the other process.
    #[error("{operator}, by a plan that was sent as bytes: {cause}")]
    SentJobFailed {
        /// The operator and where it was written.
        operator: String,
        /// The reason, with the operator that failed.
        cause: Cause,
    },
    /// The cluster that runs the jobs has failed, and no task of ours.
    #[error("{operator}: the cluster has failed: {reason}")]
    ClusterFailed {
        /// The operator and where it was written.
        operator: String,
        /// The cluster's own words.
        reason: String,
    },
    /// A stage has something in it that cannot be sent to another process.
    #[error("{operator}: {reason}")]
    NotShippable {
        /// The operator and where it was written.
        operator: String,
        /// The part that cannot be sent, and what to do instead.
        reason: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        macro_rules! fields {
            ($name:ident: $($field:ident)*) => {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), $field))*.finish()
            };
        }
        match self {
            Self::TaskFailed { rdd, operator, stage, partition, causes } => {
                fields!(TaskFailed: rdd operator stage partition causes)
            }
            Self::LostTooOften { rdd, operator, stage, partition, losses, last } => {
                fields!(LostTooOften: rdd operator stage partition losses last)
            }
            Self::NotDeterministic { rdd, operator, partition, before, after } => {
                fields!(NotDeterministic: rdd operator partition before after)
            }
            Self::Stalled { job, limit, waits_for } => fields!(Stalled: job limit waits_for),
            Self::Cancelled { job } => fields!(Cancelled: job),
            Self::Interrupted { signal } => fields!(Interrupted: signal),
            Self::MergeFailed { operator, error } => fields!(MergeFailed: operator error),
            Self::ContextClosed => f.write_str("ContextClosed"),
            Self::ContextDead { actor } => fields!(ContextDead: actor),
            Self::NestedAction { what } => fields!(NestedAction: what),
            Self::LineageTooDeep { rdd, operator, limit } => fields!(LineageTooDeep: rdd operator limit),
            Self::ForeignRdd { rdd, operator } => fields!(ForeignRdd: rdd operator),
            Self::InvalidSetting { setting, value, reason } => fields!(InvalidSetting: setting value reason),
            Self::File { what, path, source } => fields!(File: what path source),
            Self::Storage { source } => fields!(Storage: source),
            Self::Table { source } => fields!(Table: source),
            Self::NoSuchInput { pattern } => fields!(NoSuchInput: pattern),
            Self::BadGlob { pattern, reason } => fields!(BadGlob: pattern reason),
            Self::OutputExists { path } => fields!(OutputExists: path),
            Self::Codec { operator, source } => fields!(Codec: operator source),
            Self::AccumulatorPanicked { accumulator, message } => fields!(AccumulatorPanicked: accumulator message),
            Self::NoSuchPartition { rdd, operator, partition, partitions } => {
                fields!(NoSuchPartition: rdd operator partition partitions)
            }
            Self::SentJobFailed { operator, cause } => fields!(SentJobFailed: operator cause),
            Self::ClusterFailed { operator, reason } => fields!(ClusterFailed: operator reason),
            Self::NotShippable { operator, reason } => fields!(NotShippable: operator reason),
        }
    }
}

fn first_and_last(causes: &[FailedAttempt]) -> String {
    match causes {
        [] => "no attempt was made".to_owned(),
        [only] => only.to_string(),
        // The last one knows best which row it was.
        [first, .., last] if first.error.to_string() == last.error.to_string() => format!("every time; last: {last}"),
        [first, .., last] => format!("first: {first}; last: {last}"),
    }
}
