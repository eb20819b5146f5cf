//! The updates of accumulators by one attempt at a task: they are kept with the attempt, and applied only if it counts.
//! The facade's accumulators make them through [`TaskContext::update`](crate::task::TaskContext::update), and the
//! runtime carries them with the task's report. They are never applied here, but where the attempt is accepted.

use std::any::Any;

/// The update of one accumulator by an attempt.
pub trait Update: Any + Send {
    /// Merges it into the accumulator.
    ///
    /// # Errors
    /// The message of a panic of the user's merge, with the accumulator's name.
    fn apply(self: Box<Self>) -> Result<(), UpdateFailed>;
}

/// An accumulator's own merge panicked: its value may be half merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFailed {
    /// The accumulator.
    pub accumulator: String,
    /// The message of the panic.
    pub message: String,
}

/// The updates of one attempt, an entry for each accumulator in the order of their first use.
#[derive(Default)]
pub struct Updates(pub(crate) Vec<(u64, Option<Box<dyn Update>>)>);

impl Updates {
    /// Returns whether there are no updates, as in most tasks.
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
