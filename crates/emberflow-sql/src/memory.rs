//! The memory of one attempt: a fixed limit, counted in emberflow's account.
//!
//! Owns why it is fixed: an aggregate that is refused memory adds up in another order, and floats then have other last
//! digits. So nothing but the rows of its own partition may decide when that happens; neither the budget nor the tasks
//! beside it. The account hears of each reservation and never refuses one.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use emberflow_core::{memory::Claim, task::TaskContext};

/// The memory of the operators of one attempt.
pub(crate) struct AttemptPool {
    limit: usize,
    used: Mutex<Used>,
}

struct Used {
    bytes: usize,
    /// The same bytes in the account of the task that runs; none outside of tasks.
    claim: Option<Claim>,
}

impl AttemptPool {
    /// So many bytes for the attempt that runs on this thread.
    pub(crate) fn new(limit: usize) -> Self {
        let claim = TaskContext::current().map(|task| Claim::new(task.workspace()));
        Self { limit, used: Mutex::new(Used { bytes: 0, claim }) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Used) -> R) -> R {
        f(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Used {
    fn set(&mut self, bytes: usize) {
        self.bytes = bytes;
        if let Some(claim) = &mut self.claim {
            claim.set(bytes as u64);
        }
    }
}

impl fmt::Debug for AttemptPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptPool").field("limit", &self.limit).field("used", &self.reserved()).finish()
    }
}

impl fmt::Display for AttemptPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes of a task", self.reserved(), self.limit)
    }
}

impl MemoryPool for AttemptPool {
    fn name(&self) -> &'static str {
        "emberflow"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.with(|used| used.set(used.bytes.saturating_add(additional)));
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.with(|used| used.set(used.bytes.saturating_sub(shrink)));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer: &MemoryConsumer = reservation.consumer();
        self.with(|used| match used.bytes.checked_add(additional) {
            Some(bytes) if bytes <= self.limit => {
                used.set(bytes);
                Ok(())
            }
            _ => Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {additional} bytes beside {} that its task holds, of {} that it may hold; raise \
                 SqlContext::task_memory, or give the context more default_partitions",
                consumer.name(),
                used.bytes,
                self.limit
            ))),
        })
    }

    fn reserved(&self) -> usize {
        self.with(|used| used.bytes)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_attempt_gets_as_much_as_its_limit_and_has_back_what_it_gives_back() {
        let pool: Arc<dyn MemoryPool> = Arc::new(AttemptPool::new(1000));
        let table = MemoryConsumer::new("table").register(&pool);
        table.try_grow(900).unwrap();
        let refused = MemoryConsumer::new("another").register(&pool).try_grow(101).unwrap_err();
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)), "{refused}");
        assert!(refused.to_string().contains("another needs 101 bytes beside 900"), "{refused}");
        table.shrink(1);
        table.try_grow(101).unwrap();
        drop(table);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn memory_that_cannot_be_refused_is_counted() {
        let pool: Arc<dyn MemoryPool> = Arc::new(AttemptPool::new(1000));
        let batch = MemoryConsumer::new("batch").register(&pool);
        batch.grow(1500);
        assert_eq!(pool.reserved(), 1500);
        assert!(batch.try_grow(1).is_err());
    }
}
