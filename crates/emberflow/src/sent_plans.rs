//! Plans by way of bytes, for tests: read back in this process, or run by a child process.
//!
//! Owns the account of the plans that were sent and of those that could not be. It is never used where no test asks for
//! it.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use emberflow_core::{
    error::Cause,
    ids::PartitionIndex,
    parcel::Parcel,
    plan::{Sink, StagePlan},
};
#[cfg(unix)]
use emberflow_runtime::ChildProcess;

/// Counts what became of the plans of a context whose plans go by way of bytes; see
/// [`testing::send_plans_as_bytes`](crate::testing::send_plans_as_bytes).
#[derive(Debug, Default)]
pub struct SentPlans {
    sent: AtomicUsize,
    refused: Mutex<Vec<String>>,
    #[cfg(unix)]
    child: Option<ChildProcess>,
}

/// A job whose plan was sent.
pub(crate) enum Sent {
    /// It is to run here, by these stages.
    Here(Vec<Arc<StagePlan>>),
    /// It has run in a child, with these values.
    #[cfg(unix)]
    There(Vec<Box<dyn Any + Send>>),
}

impl SentPlans {
    /// Those that go to a child process.
    #[cfg(unix)]
    pub(crate) fn to(child: ChildProcess) -> Self {
        Self { child: Some(child), ..Self::default() }
    }

    /// How many jobs ran by plans that were read back.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why the other jobs could not: an error for each, which names an operator and its place.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends the stages of a job, if they can be sent.
    ///
    /// # Errors
    /// If they cannot be read back, or the child has failed.
    pub(crate) fn send(&self, stages: Vec<Arc<StagePlan>>, wanted: &[PartitionIndex]) -> Result<Sent, Cause> {
        let parcel = match Parcel::pack(&stages) {
            Ok(parcel) => parcel,
            Err(refusal) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(refusal.to_string());
                return Ok(Sent::Here(stages));
            }
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        #[cfg(unix)]
        if let (Some(child), Some(Sink::Result(action))) = (&self.child, stages.last().map(|stage| &stage.sink)) {
            let values = child.run(&parcel, wanted).map_err(|error| Arc::new(error) as Cause)?;
            let values = values.iter().map(|value| action.decode(value)).collect::<Result<_, _>>();
            return values.map(Sent::There).map_err(|error| Arc::new(error) as Cause);
        }
        parcel.open().map(Sent::Here).map_err(|error| Arc::new(error) as Cause)
    }
}
