//! Memory: what a task may hold while it runs, where its rows go when it may hold no more, and where rows that stay are to
//! be kept.
//!
//! Owns a task's view of the budget. A task that is refused writes rows to disk and goes on; it waits only for rows
//! that cannot go there. The runtime decides which requests are granted, and how.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    error::{TaskError, over_budget},
    spill::{SpillError, SpillSpace},
};

/// The memory and the disk of one attempt at a task.
pub trait Workspace: Send + Sync {
    /// Reserves room for so many bytes. Returns whether there was any.
    #[must_use]
    fn reserve(&self, bytes: u64) -> bool;

    /// Takes room for so many bytes, whether there is any or not.
    fn overdraw(&self, bytes: u64);

    /// An operator of the task will have a batch of so many bytes in its hands until the attempt ends.
    fn hold_batch(&self, bytes: u64);

    /// Waits for others to give room back. Returns whether so many bytes of it were taken. If not, there will be none.
    ///
    /// # Errors
    /// [`TaskError::GaveWay`] and [`TaskError::Cancelled`]: the task has to end, for now or for good.
    fn wait(&self, bytes: u64) -> Result<bool, TaskError>;

    /// Gives room back.
    fn release(&self, bytes: u64);

    /// Takes room for rows that are to go to the caller of an action, if they fit the budget at all, whatever else is
    /// held. It is given back by [`release_result`](Self::release_result).
    ///
    /// # Errors
    /// [`TaskError::OverBudget`].
    fn reserve_result(&self, bytes: u64) -> Result<(), TaskError>;

    /// Takes room for rows of which few go to the caller, whether it is within the budget or not.
    fn overdraw_result(&self, bytes: u64);

    /// Gives back what results have taken.
    fn release_result(&self, bytes: u64);

    /// Where rows go that find no room.
    fn space(&self) -> &dyn SpillSpace;

    /// So many bytes may be held without room before they are written: to write fewer at once is slow.
    fn unit(&self) -> u64;

    /// The bytes that rows which cannot go to disk may take without room.
    fn allowance(&self) -> u64;

    /// The budget, for messages.
    fn budget(&self) -> u64;

    /// Returns whether the task is not wanted any more.
    fn is_cancelled(&self) -> bool;

    /// Returns whether to make so many bytes of rows, as this task has by now, is quicker than to write and read them.
    fn is_quicker_than_disk(&self, bytes: u64) -> bool {
        let _ = bytes;
        false
    }

    /// The error of a task whose rows could not be written.
    fn failed(&self, error: SpillError) -> TaskError {
        if self.is_cancelled() { TaskError::Cancelled } else { TaskError::io(error) }
    }
}

/// Where the contents of a partition are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Keep {
    /// In memory while there is room, else on disk.
    #[default]
    IfRoom,
    /// In memory while there is room, else on disk, unless to compute it again is quicker than to write and read it.
    Auto,
    /// In memory, whether there is room or not.
    InMemory,
    /// Serialised in memory while there is room, else on disk.
    Serialized,
    /// On disk.
    OnDisk,
}

/// Room that a part of a task holds; given back when it is dropped.
pub struct Claim {
    workspace: Arc<dyn Workspace>,
    bytes: u64,
}

impl Claim {
    /// No room yet.
    pub fn new(workspace: &Arc<dyn Workspace>) -> Self {
        Self { workspace: Arc::clone(workspace), bytes: 0 }
    }

    /// The bytes that the reservation holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves so many bytes more. Returns whether there was room.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let granted = bytes == 0 || self.workspace.reserve(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    /// Takes so many bytes more, whether there is room or not.
    pub fn force(&mut self, bytes: u64) {
        self.workspace.overdraw(bytes);
        self.bytes += bytes;
    }

    /// Takes what is missing of so many bytes in all, for `what`, which cannot go to disk. If it is too much to do
    /// without room, it waits for other tasks to give some back.
    ///
    /// # Errors
    /// [`TaskError::OverBudget`] if there will be no room.
    pub fn require(&mut self, bytes: u64, what: &'static str) -> Result<(), TaskError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 || self.grow(more) {
            return Ok(());
        }
        if bytes <= self.workspace.allowance() {
            self.force(more);
            return Ok(());
        }
        // Others may wait for a right side that one task broadcasts to all, and he must not wait for them.
        if what != over_budget::BROADCAST && self.workspace.wait(more)? {
            self.bytes += more;
            return Ok(());
        }
        Err(TaskError::OverBudget { what, bytes, budget: self.workspace.budget() })
    }

    /// Holds so many bytes from now on, whether there is room or not.
    pub fn set(&mut self, bytes: u64) {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if !self.grow(more) {
                self.force(more);
            }
        } else {
            self.shrink(self.bytes - bytes);
        }
    }

    /// Hands over so much of it.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { workspace: Arc::clone(&self.workspace), bytes }
    }

    /// Gives so much back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.workspace.release(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.workspace.release(self.bytes);
        }
    }
}

#[cfg(test)]
pub(crate) fn unlimited() -> Arc<dyn Workspace> {
    struct Unlimited;

    impl SpillSpace for Unlimited {
        fn write(&self, _: &[u8]) -> std::io::Result<Arc<dyn crate::spill::SpilledBytes>> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    impl Workspace for Unlimited {
        fn reserve(&self, _: u64) -> bool {
            true
        }

        fn overdraw(&self, _: u64) {}

        fn hold_batch(&self, _: u64) {}

        fn wait(&self, _: u64) -> Result<bool, TaskError> {
            Ok(true)
        }

        fn release(&self, _: u64) {}

        fn reserve_result(&self, _: u64) -> Result<(), TaskError> {
            Ok(())
        }

        fn overdraw_result(&self, _: u64) {}

        fn release_result(&self, _: u64) {}

        fn space(&self) -> &dyn SpillSpace {
            self
        }

        fn unit(&self) -> u64 {
            u64::MAX
        }

        fn allowance(&self) -> u64 {
            u64::MAX
        }

        fn budget(&self) -> u64 {
            u64::MAX
        }

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    Arc::new(Unlimited)
}
