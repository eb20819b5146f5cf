//! What one attempt at a task adds to accumulators: kept with the attempt, and applied only if the attempt counts.
//! Made by the facade's accumulators through [`TaskContext::update`](crate::task::TaskContext::update), carried by the
//! runtime with the task's report. Never: applied here; whoever accepts the attempt does that.

use std::any::Any;

/// What an attempt adds to one accumulator.
pub trait Update: Any + Send {
    /// Merges it into the accumulator.
    ///
    /// # Errors
    /// What a panic of the user's merge said, with the accumulator's name.
    fn apply(self: Box<Self>) -> Result<(), UpdateFailed>;
}

/// An accumulator's own merge panicked: its value may be half merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFailed {
    /// The accumulator.
    pub accumulator: String,
    /// What the panic said.
    pub message: String,
}

/// The updates of one attempt, an entry for each accumulator in the order of their first use.
#[derive(Default)]
pub struct Updates(pub(crate) Vec<(u64, Option<Box<dyn Update>>)>);

impl Updates {
    /// Whether there are none, as in most tasks.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Merges all of them, even if one cannot be merged.
    ///
    /// # Errors
    /// The first merge that panicked.
    pub fn apply(self) -> Result<(), UpdateFailed> {
        let mut outcome = Ok(());
        for update in self.0.into_iter().filter_map(|(_, update)| update) {
            outcome = outcome.and(update.apply());
        }
        outcome
    }
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "updates of {} accumulators", self.0.len())
    }
}
