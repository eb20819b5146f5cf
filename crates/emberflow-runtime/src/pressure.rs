//! Whether the process takes so much memory that nothing more may be kept in it, whatever the account says.
//!
//! The account knows rows only, by estimate. The memory of the program around, and errors of the estimates, show in the
//! system's own figure: it is looked at whenever so much has been asked for, and compared with what the process may
//! take (the smallest limit of its cgroups, or the machine's memory).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::system;

/// The bytes that are asked for between two looks: each takes some microseconds.
const LOOK_BYTES: u64 = 32 << 20;

/// Nothing is to be kept from here on: fifteen sixteenths of what the process may take.
fn high_water(limit: u64) -> u64 {
    limit / 16 * 15
}

/// See the module.
pub(crate) struct Pressure {
    /// The memory that the process may take; the largest number if the system does not say.
    limit: AtomicU64,
    asked: AtomicU64,
    high: AtomicBool,
}

impl Pressure {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            asked: AtomicU64::new(0),
            high: AtomicBool::new(false),
        }
    }

    /// Notes that so many bytes are asked for. Returns whether the process takes too much already.
    pub(crate) fn is_high(&self, bytes: u64) -> bool {
        let before = self.asked.fetch_add(bytes, Ordering::Relaxed);
        if before / LOOK_BYTES != before.wrapping_add(bytes) / LOOK_BYTES {
            self.look();
        }
        self.high.load(Ordering::Relaxed)
    }

    fn look(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = system::anonymous_resident_bytes().filter(|_| limit < u64::MAX).unwrap_or(0);
        let high = taken > high_water(limit);
        if high != self.high.swap(high, Ordering::Relaxed) && high {
            tracing::warn!(
                taken,
                limit,
                "the process has hardly any memory left: rows go to disk, whatever the budget"
            );
        }
    }

    /// Has the process count as one that may take so much, whatever the system says.
    pub(crate) fn assume_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.look();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_high_as_long_as_the_process_takes_nearly_all_that_it_may() {
        let pressure = Pressure::new(None);
        assert!(!pressure.is_high(2 * LOOK_BYTES));
        pressure.assume_limit(1 << 10);
        assert!(pressure.is_high(1));
        pressure.limit.store(1 << 60, Ordering::Relaxed);
        assert!(pressure.is_high(1), "not looked at yet");
        assert!(!pressure.is_high(LOOK_BYTES));
    }
}
