//! The updates of accumulators by one attempt at a task: they are kept with the attempt, and applied only if it counts.
//! The facade's accumulators make them through [`TaskContext::update`](crate::task::TaskContext::update), and the
//! runtime carries them with the task's report. They are never applied here, but where the attempt is accepted.
//!
//! Updates of attempts in other processes come as bytes. Owns the list of the accumulators of this process that were sent
//! to others, by which such an update finds its accumulator.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::{codec::CodecError, error::TaskError};

/// The update of one accumulator by an attempt.
pub trait Update: Any + Send {
    /// Merges it into the accumulator.
    ///
    /// # Errors
    /// The message of a panic of the user's merge, with the accumulator's name.
    fn apply(self: Box<Self>) -> Result<(), UpdateFailed>;

    /// Writes it for the same accumulator in the process that has sent the accumulator here.
    ///
    /// # Errors
    /// If it cannot be written.
    fn encode(&self) -> Result<Vec<u8>, TaskError>;
}

/// An accumulator that was sent to other processes.
pub trait Sent: Any + Send + Sync {
    /// Reads an update that [`Update::encode`] has written.
    ///
    /// # Errors
    /// If the bytes are no such update.
    fn decode(self: Arc<Self>, bytes: &[u8]) -> Result<Box<dyn Update>, CodecError>;
}

/// The accumulators of this process that were sent to others and are still used.
static SENT: Mutex<BTreeMap<u64, Weak<dyn Sent>>> = Mutex::new(BTreeMap::new());

/// Remembers an accumulator that is sent to other processes, as long as it is used here.
pub fn remember_sent(id: u64, accumulator: Weak<dyn Sent>) {
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    sent.retain(|_, accumulator| accumulator.strong_count() > 0);
    sent.insert(id, accumulator);
}

/// The accumulator with this id if this process has sent it to others and still uses it.
pub fn find_sent(id: u64) -> Option<Arc<dyn Sent>> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
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

    /// Writes all of them, each with the id of its accumulator, in the order of their first use.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn encode(&self) -> Result<Vec<(u64, Vec<u8>)>, TaskError> {
        let updates = self.0.iter().filter_map(|(id, update)| Some((*id, update.as_ref()?)));
        updates.map(|(id, update)| Ok((id, update.encode()?))).collect()
    }

    /// Adds an update of the accumulator with this id, as another process has written it. Nobody can ask for the value of
    /// an accumulator that is not used any more, so its updates are dropped.
    ///
    /// # Errors
    /// If the bytes are no such update.
    pub fn decode(&mut self, id: u64, bytes: &[u8]) -> Result<(), CodecError> {
        if let Some(accumulator) = find_sent(id) {
            self.0.push((id, Some(accumulator.decode(bytes)?)));
        }
        Ok(())
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
