//! Faults on purpose: the builder's word for them, the environment's, and what has struck. See [`crate::testing`].

use emberflow_core::{chaos::Chaos, error::Result};

use super::builder::invalid;

#[cfg(feature = "chaos")]
mod on {
    use std::collections::BTreeMap;

    use emberflow_core::chaos::{Kind, Point, Schedule};

    use crate::{Context, ContextBuilder};

    impl ContextBuilder {
        /// Faults on purpose: see [`testing`](crate::testing). `EMBERFLOW_CHAOS`, which is a seed; none by default.
        /// Only with the feature `chaos`.
        ///
        /// ```
        /// # use emberflow::{prelude::*, testing::Schedule};
        /// let ctx = Context::builder().chaos(Schedule::seeded(7)).build()?;
        /// assert_eq!(ctx.range(0..1000_u64).map(|n| n % 7).distinct().count()?, 7);
        /// # Ok::<(), Error>(())
        /// ```
        pub fn chaos(mut self, schedule: Schedule) -> Self {
            self.chaos = Some(schedule);
            self
        }
    }

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
pub(super) fn faults(
    given: Option<emberflow_core::chaos::Schedule>,
    task_failure_limit: usize,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Chaos> {
    use emberflow_core::chaos::Schedule;

    let schedule = match (given, env("EMBERFLOW_CHAOS").as_deref().map(str::trim)) {
        (Some(schedule), _) => schedule,
        (None, None | Some("off")) => return Ok(Chaos::default()),
        (None, Some(text)) => match text.parse() {
            Ok(seed) => Schedule::seeded(seed),
            Err(_) => {
                let reason = "give off, or a seed: a number from 0 to 2^64 - 1".to_owned();
                return Err(invalid("EMBERFLOW_CHAOS", text, reason));
            }
        },
    };
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

#[cfg(not(feature = "chaos"))]
pub(super) fn faults(env: &dyn Fn(&str) -> Option<String>) -> Result<Chaos> {
    match env("EMBERFLOW_CHAOS").as_deref().map(str::trim) {
        None | Some("off") => Ok(Chaos),
        Some(text) => {
            let reason = "this program was built without emberflow's feature `chaos`; build it with the feature, or \
                          unset the variable";
            Err(invalid("EMBERFLOW_CHAOS", text, reason.to_owned()))
        }
    }
}
