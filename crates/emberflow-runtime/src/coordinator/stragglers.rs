//! Which tasks are stragglers: much slower than the others of their stage.
//!
//! Owns how long the tasks of a stage took. A task is a straggler once most of its stage is done and it runs several
//! times as long as half of those did (Spark's rule, after the MapReduce paper's backup tasks: Dean and Ghemawat, 2004).

use std::time::Duration;

/// When a task is computed a second time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    /// The share of a stage's tasks that have to be done.
    pub quantile: f64,
    /// How many times the median of their times a task has to run.
    pub multiplier: f64,
    /// and how long at least: a second computation of what is short gains nothing.
    pub least: Duration,
}

/// How long the tasks of a stage took that are done, the shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, took: Duration) {
        let at = self.0.partition_point(|other| *other <= took);
        self.0.insert(at, took);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether a task is slow that has run for so long, while so many of the stage are still to be done.
    pub(crate) fn is_slow(&self, took: Duration, pending: usize, speculation: &Speculation) -> bool {
        let (done, tasks) = (self.0.len(), self.0.len() + pending);
        let Some(median) = self.0.get(done / 2) else { return false };
        let enough = done as f64 >= speculation.quantile * tasks as f64;
        enough && took >= speculation.least && took.as_secs_f64() > speculation.multiplier * median.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_slow_when_most_are_done_and_it_takes_several_times_as_long() {
        let ms = Duration::from_millis;
        let speculation = Speculation { quantile: 0.75, multiplier: 1.5, least: ms(100) };
        let mut times = Times::default();
        assert!(!times.is_slow(ms(10_000), 1, &speculation), "nothing to compare it with");
        [300, 100, 200].into_iter().for_each(|took| times.add(ms(took)));
        assert!(!times.is_slow(ms(10_000), 2, &speculation), "three of five are done");
        assert!(times.is_slow(ms(301), 1, &speculation) && !times.is_slow(ms(300), 1, &speculation));
        let mut short = Times::default();
        [1, 1, 1].into_iter().for_each(|took| short.add(ms(took)));
        assert!(!short.is_slow(ms(99), 1, &speculation) && short.is_slow(ms(100), 1, &speculation));
    }
}
