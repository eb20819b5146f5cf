//! The failure of a task as a value for another process: the error's kind, its text, the operator that ran, and the rows
//! that it was at.
//!
//! Errors of the user's own types arrive as texts, with their sources: they print the same, and cannot be downcast.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Cause, TaskError},
    ids::{PartitionIndex, RddId, RowSpan, StoreId, TaskId},
    place::known,
    task::TaskContext,
};

/// A failed attempt at a task that ran in another process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    error: SentError,
    rdd: Option<RddId>,
    rows: Option<RowSpan>,
}

#[derive(Debug, Serialize, Deserialize)]
enum SentError {
    Panicked { message: String },
    Rejected { cause: SentCause },
    Io { cause: SentCause, permanent: bool },
    InputLost { store: StoreId, partition: PartitionIndex, generation: Option<TaskId> },
    SpillUnreadable { cause: SentCause },
    OverBudget { what: String, bytes: u64, budget: u64 },
    GaveWay,
    Overdue { limit: Duration },
    OutputLost,
    Cancelled,
    PlanMismatch { wanted: String, found: String },
}

/// An error that has come from another process, with its source.
#[derive(Debug, Serialize, Deserialize)]
struct SentCause {
    text: String,
    source: Option<Box<SentCause>>,
}

impl SentCause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        Self { text: error.to_string(), source: error.source().map(|source| Box::new(Self::of(source))) }
    }

    fn shared(self) -> Cause {
        Arc::new(self)
    }
}

impl fmt::Display for SentCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for SentCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Failure {
    /// The failure of an attempt that could not begin.
    pub fn before_it_ran(error: &TaskError) -> Self {
        Self { error: SentError::of(error), rdd: None, rows: None }
    }

    /// The failure of the attempt of `cx`.
    pub fn of(error: &TaskError, cx: &TaskContext) -> Self {
        Self { error: SentError::of(error), rdd: cx.running(), rows: cx.at_rows() }
    }

    /// The error, the RDD whose operator ran (none if it was the stage's sink), and the rows that it was at.
    pub fn into_parts(self) -> (TaskError, Option<RddId>, Option<RowSpan>) {
        (self.error.open(), self.rdd, self.rows)
    }

    /// The error. The attempt of `cx`, which stands for it here, is said to have been at the operator and the rows that
    /// failed there.
    pub fn told_to(self, cx: &TaskContext) -> TaskError {
        cx.is_at(self.rdd, self.rows);
        self.error.open()
    }
}

impl SentError {
    fn of(error: &TaskError) -> Self {
        match error {
            TaskError::Panicked { message } => Self::Panicked { message: message.clone() },
            TaskError::Rejected { cause } => Self::Rejected { cause: SentCause::of(&**cause) },
            TaskError::Io { cause, permanent } => Self::Io { cause: SentCause::of(&**cause), permanent: *permanent },
            TaskError::InputLost { store, partition, generation } => {
                Self::InputLost { store: *store, partition: *partition, generation: *generation }
            }
            TaskError::SpillUnreadable { cause } => Self::SpillUnreadable { cause: SentCause::of(&**cause) },
            TaskError::OverBudget { what, bytes, budget } => {
                Self::OverBudget { what: (*what).to_owned(), bytes: *bytes, budget: *budget }
            }
            TaskError::GaveWay => Self::GaveWay,
            TaskError::Overdue { limit } => Self::Overdue { limit: *limit },
            TaskError::OutputLost => Self::OutputLost,
            TaskError::Cancelled => Self::Cancelled,
            TaskError::PlanMismatch { wanted, found } => {
                Self::PlanMismatch { wanted: (*wanted).to_owned(), found: (*found).to_owned() }
            }
        }
    }

    fn open(self) -> TaskError {
        match self {
            Self::Panicked { message } => TaskError::Panicked { message },
            Self::Rejected { cause } => TaskError::Rejected { cause: cause.shared() },
            Self::Io { cause, permanent } => TaskError::Io { cause: cause.shared(), permanent },
            Self::InputLost { store, partition, generation } => TaskError::InputLost { store, partition, generation },
            Self::SpillUnreadable { cause } => TaskError::SpillUnreadable { cause: cause.shared() },
            Self::OverBudget { what, bytes, budget } => TaskError::OverBudget { what: known(what), bytes, budget },
            Self::GaveWay => TaskError::GaveWay,
            Self::Overdue { limit } => TaskError::Overdue { limit },
            Self::OutputLost => TaskError::OutputLost,
            Self::Cancelled => TaskError::Cancelled,
            Self::PlanMismatch { wanted, found } => {
                TaskError::PlanMismatch { wanted: known(wanted), found: known(found) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn every_kind_of_error_arrives_with_its_text_its_sources_and_whether_it_may_be_tried_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("row 7 is bad")]
        struct Bad(#[source] std::num::ParseIntError);
        let bad = || Bad("x".parse::<u8>().unwrap_err());
        let errors = [
            TaskError::Panicked { message: "no".to_owned() },
            TaskError::rejected(bad()),
            TaskError::io(bad()),
            TaskError::io_permanent(bad()),
            TaskError::InputLost { store: StoreId::new(1), partition: 2, generation: Some(TaskId::new(3)) },
            TaskError::SpillUnreadable { cause: Arc::new(bad()) },
            TaskError::OverBudget { what: crate::error::over_budget::GROUP, bytes: 2, budget: 1 },
            TaskError::GaveWay,
            TaskError::Overdue { limit: Duration::from_secs(1) },
            TaskError::OutputLost,
            TaskError::Cancelled,
            TaskError::PlanMismatch { wanted: "u64", found: "u32" },
        ];
        for error in errors {
            let bytes = codec::encode_plan(&SentError::of(&error)).unwrap();
            let arrived = codec::decode_plan::<SentError>(&bytes).unwrap().open();
            assert_eq!((arrived.to_string(), arrived.is_retryable()), (error.to_string(), error.is_retryable()));
            let source = |error: &TaskError| match error {
                TaskError::Rejected { cause } | TaskError::Io { cause, .. } => cause.source().map(ToString::to_string),
                _ => None,
            };
            assert_eq!(source(&arrived), source(&error));
        }
    }
}
