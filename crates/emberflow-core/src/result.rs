//! Memory for the rows that go to the caller of an action. It is counted from the task that makes them until they are used,
//! also if the task runs in another process: then from their arrival.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::TaskError, memory::Workspace, task::TaskContext};

/// Room for rows on their way to the caller of an action; given back when it is dropped.
pub struct ResultClaim {
    /// The account, unless the rows have arrived where no task runs.
    workspace: Option<Arc<dyn Workspace>>,
    bytes: u64,
}

impl ResultClaim {
    /// No room yet.
    pub fn new(workspace: &Arc<dyn Workspace>) -> Self {
        Self { workspace: Some(Arc::clone(workspace)), bytes: 0 }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`TaskError::OverBudget`] if results would take more than the budget.
    pub fn grow(&mut self, bytes: u64) -> Result<(), TaskError> {
        if let Some(workspace) = &self.workspace {
            workspace.reserve_result(bytes)?;
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes so many bytes more for rows that are candidates only: most of them will not be in the result.
    pub fn force(&mut self, bytes: u64) {
        if let Some(workspace) = &self.workspace {
            workspace.overdraw_result(bytes);
        }
        self.bytes += bytes;
    }
}

impl Drop for ResultClaim {
    fn drop(&mut self) {
        if let Some(workspace) = &self.workspace {
            workspace.release_result(self.bytes);
        }
    }
}

/// Room is not sent along, but how much it is: rows that arrive take as much in the account of the task that they arrive
/// at.
impl Serialize for ResultClaim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ResultClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = u64::deserialize(deserializer)?;
        let workspace = TaskContext::current().map(|task| Arc::clone(task.workspace()));
        let mut claim = Self { workspace, bytes: 0 };
        claim.force(bytes);
        Ok(claim)
    }
}
