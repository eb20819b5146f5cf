//! For how long the workers have been at what they are at, and for how long nothing has happened.
//!
//! Owns the clock of deadlines, speculation and the watchdog. It goes by ticks: while the process does not run, stopped
//! or starved, it stands still, and nobody is late for that.

use std::time::{Duration, Instant};

use emberflow_core::{ids::TaskId, task::AtWork};

/// How long jobs may wait while no worker is at work. Such a wait is never right, so there is no setting for it.
pub(crate) const NOBODY_AT_WORK: Duration = Duration::from_secs(60);

/// How long a thread has to end what was given up before another one takes its place, at most.
const LONGEST_GRACE: Duration = Duration::from_secs(1);
const SPECULATION_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// For how long what is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// An attempt.
    pub(crate) deadline: Option<Duration>,
    /// A sign of life of any task.
    pub(crate) stall: Option<Duration>,
    /// Whether slow tasks are looked for.
    pub(crate) speculation: bool,
}

impl Patience {
    pub(crate) fn shortest(self) -> Option<Duration> {
        self.deadline.into_iter().chain(self.stall).min()
    }

    /// Returns whether a thread that has been at a task for so long since it was given up will not come back.
    pub(crate) fn is_over(self, given_up: Duration) -> bool {
        self.shortest().is_some_and(|shortest| given_up > shortest.min(LONGEST_GRACE))
    }
}

/// The work that a worker is at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtTask {
    pub(crate) worker: usize,
    pub(crate) at: AtWork,
    /// The time for which it has been at it.
    pub(crate) took: Duration,
    /// The time since the task was given up, if it was.
    pub(crate) given_up: Duration,
}

/// An observation of the workers.
pub(crate) struct Seen {
    pub(crate) tasks: Vec<AtTask>,
    /// For how long nothing has happened.
    pub(crate) still: Duration,
}

/// The tasks that the workers were at when all of them waited, if a job came after that which has not begun: a closure
/// may wait for that job on a thread of its own, and the job for a worker.
#[derive(Default)]
pub(crate) struct Waits(Vec<(TaskId, u64)>);

impl Waits {
    /// The time for which all workers have to wait before others stand in for them.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

    /// They all wait. Returns whether they did so at the last look, and nothing has gone on since.
    pub(crate) fn go_on(&mut self, at_work: &[AtWork]) -> bool {
        let now = at_work.iter().map(|at| (at.task, at.beats)).collect();
        let before = std::mem::replace(&mut self.0, now);
        before == self.0
    }
}

/// See the module.
pub(crate) struct Watch {
    interval: Duration,
    looked: Instant,
    workers: Vec<Option<AtTask>>,
    still: Duration,
    stirred: bool,
}

impl Watch {
    pub(crate) fn new(patience: Patience) -> Self {
        let interval = patience.shortest().map_or(LONGEST_INTERVAL, |shortest| shortest / 8);
        let most = if patience.speculation { SPECULATION_INTERVAL } else { LONGEST_INTERVAL };
        let interval = interval.clamp(SHORTEST_INTERVAL, most);
        Self { interval, looked: Instant::now(), workers: Vec::new(), still: Duration::ZERO, stirred: false }
    }

    /// How often to look.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Something has happened.
    pub(crate) fn stirs(&mut self) {
        self.stirred = true;
    }

    /// Takes in what the workers are at now. Nothing, if it looked just before: ticks that were late come all at once.
    pub(crate) fn look(
        &mut self,
        at_work: &[Option<AtWork>],
        is_wanted: impl Fn(TaskId) -> bool,
        is_awaited: bool,
    ) -> Option<Seen> {
        let passed = self.looked.elapsed();
        if passed < self.interval / 2 {
            return None;
        }
        self.looked = Instant::now();
        Some(self.pass(passed.min(self.interval * 2), at_work, is_wanted, is_awaited))
    }

    fn pass(
        &mut self,
        passed: Duration,
        at_work: &[Option<AtWork>],
        is_wanted: impl Fn(TaskId) -> bool,
        is_awaited: bool,
    ) -> Seen {
        let mut stirred = std::mem::take(&mut self.stirred) || !is_awaited;
        self.workers.resize(at_work.len(), None);
        for (worker, (known, at)) in self.workers.iter_mut().zip(at_work).enumerate() {
            let same = known.filter(|known| at.is_some_and(|at| at.task == known.at.task));
            stirred |= known.map(|known| (known.at.task, known.at.beats)) != at.map(|at| (at.task, at.beats));
            *known = at.map(|at| {
                let (took, given_up) = same.map_or_else(Default::default, |same| (same.took, same.given_up));
                let (took, so_far) = if same.is_some() { (took + passed, given_up + passed) } else { (took, given_up) };
                AtTask { worker, at, took, given_up: if is_wanted(at.task) { Duration::ZERO } else { so_far } }
            });
        }
        self.still = if stirred { Duration::ZERO } else { self.still + passed };
        Seen { tasks: self.workers.iter().flatten().copied().collect(), still: self.still }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(task: u64, beats: u64) -> Option<AtWork> {
        Some(AtWork { task: TaskId::new(task), since: SystemTime::UNIX_EPOCH, rdd: None, beats })
    }

    #[test]
    fn time_is_counted_by_task_and_from_when_it_was_given_up() {
        let mut watch = Watch::new(Patience::default());
        let mut look = |at, wanted| {
            let seen = watch.pass(SECOND, &[None, at], |_| wanted, true);
            seen.tasks.first().map(|seen| (seen.worker, seen.took.as_secs(), seen.given_up.as_secs()))
        };
        assert_eq!(look(None, true), None);
        assert_eq!(look(at(7, 0), true), Some((1, 0, 0)), "nobody knows when it began");
        assert_eq!(look(at(7, 1), true), Some((1, 1, 0)));
        assert_eq!(look(at(7, 1), false), Some((1, 2, 1)));
        assert_eq!(look(at(7, 1), false), Some((1, 3, 2)));
        assert_eq!(look(at(8, 1), false), Some((1, 0, 0)), "another one");
    }

    #[test]
    fn nothing_has_happened_while_no_task_goes_on_and_no_message_comes_and_somebody_waits() {
        let mut watch = Watch::new(Patience::default());
        let mut look = |at, stirs: bool, is_awaited| {
            if stirs {
                watch.stirs();
            }
            watch.pass(SECOND, &[at], |_| true, is_awaited).still.as_secs()
        };
        assert_eq!(look(at(7, 0), false, true), 0);
        assert_eq!([look(at(7, 0), false, true), look(at(7, 0), false, true)], [1, 2]);
        assert_eq!(look(at(7, 1), false, true), 0, "a batch more");
        assert_eq!([look(at(7, 1), false, true), look(at(7, 1), true, true)], [1, 0], "a message");
        assert_eq!([look(at(7, 1), false, true), look(at(8, 1), false, true)], [1, 0], "another task");
        assert_eq!([look(at(8, 1), false, true), look(at(8, 1), false, false)], [1, 0], "no job");
        assert_eq!([look(None, false, true), look(None, false, true)], [0, 1], "nobody at work");
    }

    #[test]
    fn ticks_that_come_all_at_once_are_one_and_a_long_pause_is_a_short_one() {
        let mut watch = Watch::new(Patience { deadline: Some(8 * SECOND), stall: None, speculation: false });
        assert_eq!(watch.interval(), SECOND);
        assert!(watch.look(&[at(7, 0)], |_| true, true).is_none());
        for _ in 0..2 {
            watch.looked = Instant::now().checked_sub(60 * SECOND).expect("the machine runs for a minute");
            assert!(watch.look(&[at(7, 0)], |_| true, true).is_some_and(|seen| seen.still <= 2 * SECOND));
        }
        assert!(watch.workers[0].is_some_and(|seen| seen.took == 2 * SECOND));
    }

    #[test]
    fn whoever_looks_for_slow_tasks_looks_often_and_grace_is_never_long() {
        let interval = |deadline: u64, speculation| {
            let deadline = Some(Duration::from_millis(deadline));
            Watch::new(Patience { deadline, stall: None, speculation }).interval().as_millis()
        };
        assert_eq!(
            [interval(80, false), interval(1, false), interval(600_000, false), interval(600_000, true)],
            [10, 1, 1000, 50]
        );
        let patience = Patience { deadline: Some(60 * SECOND), stall: None, speculation: false };
        assert!(patience.is_over(SECOND * 2) && !patience.is_over(SECOND) && !Patience::default().is_over(SECOND * 60));
    }
}
