//! Plans by way of bytes, for tests: written out and read back in this process.
//!
//! Owns the account of the plans that were sent and of those that could not be. It is never used where no test asks for
//! it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use emberflow_core::{error::Cause, parcel::Parcel, plan::StagePlan};

/// Counts what became of the plans of a context whose plans go by way of bytes; see
/// [`testing::send_plans_as_bytes`](crate::testing::send_plans_as_bytes).
#[derive(Debug, Default)]
pub struct SentPlans {
    sent: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

impl SentPlans {
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
    /// If they cannot be read back.
    pub(crate) fn send(&self, stages: Vec<Arc<StagePlan>>) -> Result<Vec<Arc<StagePlan>>, Cause> {
        match Parcel::pack(&stages) {
            Ok(parcel) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                parcel.open().map_err(|error| Arc::new(error) as Cause)
            }
            Err(refusal) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(refusal.to_string());
                Ok(stages)
            }
        }
    }
}
