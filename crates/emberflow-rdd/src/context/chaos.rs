//! Faults on purpose: what they are from the settings, and what has struck. See [`crate::testing`].

use emberflow_core::chaos::Chaos;
#[cfg(feature = "chaos")]
use emberflow_core::error::Result;

#[cfg(feature = "chaos")]
use super::settings::invalid;

#[cfg(feature = "chaos")]
mod on {
    use std::collections::BTreeMap;

    use emberflow_core::chaos::{Kind, Point};

    use crate::Context;

    impl Context {
        /// How many faults on purpose of each kind have struck at each point so far. Only with the feature `chaos`.
        ///
        /// ```
        /// # use emberflow::{prelude::*, testing::{Fault, Kind, Point, Schedule}};
        /// let fault = Fault::new(Point::BeforeTask, Kind::Error).nth(2);
        /// let ctx = Context::builder().chaos(Schedule::of([fault])).build()?;
        /// assert_eq!(ctx.range_into(0..10_u64, 3).count()?, 10);
        /// assert_eq!(ctx.faults_injected()[&(Point::BeforeTask, Kind::Error)], 1);
        /// # Ok::<(), Error>(())
        /// ```
        pub fn faults_injected(&self) -> BTreeMap<(Point, Kind), u64> {
            self.shared().engine.faults_injected()
        }
    }
}

/// The faults of a context whose tasks may fail so often.
#[cfg(feature = "chaos")]
pub(super) fn faults(schedule: Option<emberflow_core::chaos::Schedule>, task_failure_limit: usize) -> Result<Chaos> {
    let Some(schedule) = schedule else { return Ok(Chaos::default()) };
    match schedule.bound() {
        Some(bound) if bound as usize >= task_failure_limit => {
            let reason = format!(
                "with a task_failure_limit of {task_failure_limit}, so many faults of a task would fail its job; give \
                 fewer, or let Schedule::unbounded say that jobs may fail"
            );
            Err(invalid("faults_per_task", &bound.to_string(), reason))
        }
        _ => Ok(Chaos::new(schedule)),
    }
}

/// No faults: the points are not there.
#[cfg(not(feature = "chaos"))]
pub(super) fn faults() -> Chaos {
    Chaos
}
