//! The errors of statements, before their rows are computed and in them.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use emberflow::Error;

/// A statement or a name that cannot be used so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    #[error("a table needs a name that statements can use, such as \"films\"")]
    NoName,
    #[error("the table {name:?} cannot be registered: {}", .cause.strip_backtrace())]
    Register { name: String, cause: DataFusionError },
    #[error("{}. The statement is: {statement}", .cause.strip_backtrace())]
    Plan { statement: Arc<str>, cause: DataFusionError },
    #[error(
        "the statement needs {needs}, which emberflow does not run on its stages; it runs scans, filters, projections, \
         group by, and the aggregates count, sum, min, max and avg. The statement is: {statement}"
    )]
    Refused { statement: Arc<str>, needs: String },
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        Self::Table { source: Arc::new(error) }
    }
}

/// A piece of a plan that failed within a task.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}. The statement is: {statement}", .cause.strip_backtrace())]
pub(crate) struct FragmentError {
    pub(crate) statement: Arc<str>,
    pub(crate) cause: Arc<DataFusionError>,
}
