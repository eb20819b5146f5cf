//! Schedules of faults, and the dice.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use foldhash::quality::FixedState;

use super::{Kind, Point};
use crate::ids::{PartitionIndex, StoreId, StorePartition};

/// How likely a pair of point and kind is there at all in a run.
const ACTIVE: f64 = 0.3;
/// How likely it strikes, at most, if it is there.
const RATE: f64 = 0.25;
/// How many faults a task may suffer: one fewer than the failures that the default allows, and one more to spare.
const FAULTS_PER_TASK: u32 = 2;
/// How long a delay is: longer than most tasks of a test, so that others overtake.
const DELAY: Duration = Duration::from_micros(300);
/// Delays of one try, which may pass a point for each of its rows.
const MOST_DELAYS: u32 = 64;

/// Which faults strike: drawn from a seed, or named one by one.
///
/// By default there is a bound on the faults of each task, so that every job can succeed: then its result must be the
/// one of a run without faults, to the bit.
///
/// ```
/// use emberflow_core::chaos::{Fault, Kind, Point, Schedule};
///
/// let drawn = Schedule::seeded(7).rate(0.5);
/// let named = Schedule::of([Fault::new(Point::SpillWrite, Kind::Io).nth(3)]);
/// assert_eq!((drawn.seed(), named.seed()), (Some(7), None));
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    faults_per_task: Option<u32>,
}

#[derive(Clone, Debug)]
enum Plan {
    Seeded { seed: u64, active: f64, rate: f64 },
    Named(Vec<Fault>),
}

/// A fault by name: at a point, each time or the n-th time, in any partition or in one.
///
/// ```
/// use emberflow_core::chaos::{Fault, Kind, Point, Schedule};
///
/// // The actor of partition 3 dies when it has taken its rows for the first time.
/// let fault = Fault::new(Point::Filled, Kind::Lost).in_partition(3).nth(1);
/// let schedule = Schedule::of([fault]);
/// # assert_eq!(schedule.seed(), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    point: Point,
    kind: Kind,
    partition: Option<PartitionIndex>,
    /// From which time on, and whether only then.
    nth: u64,
    only: bool,
}

impl Fault {
    /// Strikes each time.
    ///
    /// # Panics
    /// If there are no faults of this kind at this point.
    pub fn new(point: Point, kind: Kind) -> Self {
        assert!(point.kinds().contains(&kind), "at {point} there is no {kind}, but {:?}", point.kinds());
        Self { point, kind, partition: None, nth: 1, only: false }
    }

    /// Strikes the n-th time only, counted from one over the whole context: a question of who comes first, if there is
    /// more than one worker.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { nth: n, only: true, ..self }
    }

    /// Strikes the n-th time and ever after.
    #[must_use]
    pub fn from_nth(self, n: u64) -> Self {
        Self { nth: n, only: false, ..self }
    }

    /// Strikes, and counts, tasks of this partition only.
    #[must_use]
    pub fn in_partition(self, partition: PartitionIndex) -> Self {
        Self { partition: Some(partition), ..self }
    }
}

impl Schedule {
    /// Faults drawn from a seed, by two rolls of the dice: whether a kind of fault is there at all in this run, and how
    /// likely it then is; and whether it strikes this time. So runs differ in what kinds of faults they have, after
    /// FoundationDB's simulation.
    pub fn seeded(seed: u64) -> Self {
        let plan = Plan::Seeded { seed, active: ACTIVE, rate: RATE };
        Self { plan, faults_per_task: Some(FAULTS_PER_TASK) }
    }

    /// These faults and no others. They are not bounded.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { plan: Plan::Named(faults.into_iter().collect()), faults_per_task: None }
    }

    /// The seed, if there is one.
    pub fn seed(&self) -> Option<u64> {
        match self.plan {
            Plan::Seeded { seed, .. } => Some(seed),
            Plan::Named(_) => None,
        }
    }

    /// How likely each kind of fault is to be there at all, from 0 to 1; 0.3 unless told otherwise.
    #[must_use]
    pub fn active(mut self, probability: f64) -> Self {
        if let Plan::Seeded { active, .. } = &mut self.plan {
            *active = probability;
        }
        self
    }

    /// How likely a fault that is there is to strike each time, at most, from 0 to 1; 0.25 unless told otherwise. Each
    /// kind draws whether it is as likely as that, or 4, 16 or 64 times less, so that tasks are also struck late.
    #[must_use]
    pub fn rate(mut self, probability: f64) -> Self {
        if let Plan::Seeded { rate, .. } = &mut self.plan {
            *rate = probability;
        }
        self
    }

    /// How many faults strike each task at most, however often it runs; 2 unless told otherwise. It has to be less than
    /// the context's `task_failure_limit`.
    #[must_use]
    pub fn faults_per_task(mut self, faults: u32) -> Self {
        self.faults_per_task = Some(faults);
        self
    }

    /// Faults without a bound: a job may fail, but it must do so soon, and say why.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.faults_per_task = None;
        self
    }

    /// The bound on the faults of each task.
    pub fn bound(&self) -> Option<u32> {
        self.faults_per_task
    }
}

/// The faults of one context. Cheap to clone; none by default.
#[derive(Clone, Debug, Default)]
pub struct Chaos(Option<Arc<Run>>);

#[derive(Debug)]
struct Run {
    schedule: Schedule,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    tasks: HashMap<StorePartition, Task>,
    /// How often each of the named faults could have struck.
    passed: Vec<u64>,
    struck: BTreeMap<(Point, Kind), u64>,
}

/// A task, over all its attempts.
#[derive(Debug, Default)]
struct Task {
    tries: u32,
    faults: u32,
    /// The delays of this try.
    delays: u32,
    /// How often this try has passed each point.
    passed: [u32; Point::ALL.len()],
}

thread_local! {
    /// The attempt that runs on this thread.
    static CURRENT: RefCell<Option<(Arc<Run>, StorePartition)>> = const { RefCell::new(None) };
}

/// The attempt that runs on this thread is struck as what it is until this is dropped.
#[must_use]
pub struct AtWork(());

impl Drop for AtWork {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Returns whether a fault strikes the attempt that runs on this thread.
pub fn strike(point: Point) -> Option<Kind> {
    CURRENT.with_borrow(|current| current.as_ref().and_then(|(run, key)| run.strike(*key, point)))
}

impl Chaos {
    /// The faults of this schedule.
    pub fn new(schedule: Schedule) -> Self {
        Self(Some(Arc::new(Run { schedule, told: Mutex::default() })))
    }

    /// On the thread of an attempt at this partition: it begins.
    pub fn attempt(&self, store: StoreId, partition: PartitionIndex) -> AtWork {
        if let Some(run) = &self.0 {
            let key = (store, partition);
            let mut told = run.told();
            let task = told.tasks.entry(key).or_default();
            (task.tries, task.delays, task.passed) = (task.tries + 1, 0, Default::default());
            CURRENT.set(Some((Arc::clone(run), key)));
        }
        AtWork(())
    }

    /// On a thread that does something with what an attempt at this partition has made.
    pub fn afterwards(&self, store: StoreId, partition: PartitionIndex) -> AtWork {
        if let Some(run) = &self.0 {
            CURRENT.set(Some((Arc::clone(run), (store, partition))));
        }
        AtWork(())
    }

    /// Returns whether a fault strikes elsewhere than on the thread of an attempt at this partition.
    pub fn strike_at(&self, store: StoreId, partition: PartitionIndex, point: Point) -> Option<Kind> {
        self.0.as_ref()?.strike((store, partition), point)
    }

    /// Returns whether every task can succeed in the end.
    pub fn is_bounded(&self) -> bool {
        self.bound().is_some()
    }

    /// How many faults strike each task at most.
    pub fn bound(&self) -> Option<u32> {
        self.0.as_ref()?.schedule.bound()
    }

    /// How many faults of each kind have struck at each point.
    pub fn injected(&self) -> BTreeMap<(Point, Kind), u64> {
        self.0.as_ref().map(|run| run.told().struck.clone()).unwrap_or_default()
    }
}

impl Run {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Nothing is half done when a fault is told to panic: that is not done in here.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kind of fault that strikes, but for a delay, which is over when this returns.
    fn strike(&self, key: StorePartition, point: Point) -> Option<Kind> {
        let kind = self.roll(key, point)?;
        if kind == Kind::Delay {
            #[expect(clippy::disallowed_methods, reason = "it stands for no synchronisation: it is to disturb it")]
            thread::sleep(DELAY);
            return None;
        }
        Some(kind)
    }

    fn roll(&self, key: StorePartition, point: Point) -> Option<Kind> {
        let mut told = self.told();
        let Told { tasks, passed, struck } = &mut *told;
        let task = tasks.entry(key).or_default();
        task.passed[point as usize] += 1;
        let exhausted = self.schedule.faults_per_task.is_some_and(|bound| task.faults >= bound);
        let kind = match &self.schedule.plan {
            Plan::Seeded { seed, active, rate } => {
                let at = (key.0.get(), key.1, task.tries, task.passed[point as usize]);
                let strikes = |kind: &Kind| {
                    let dice = |what: (u8, (u64, usize, u32, u32))| {
                        // The last dice of a run decides alike for all that the point is passed by.
                        let hash = FixedState::with_seed(*seed).hash_one((point as u8, *kind as u8, what));
                        (hash >> 11) as f64 / (1_u64 << 53) as f64
                    };
                    let of_run = |number| dice((number, (0, 0, 0, 0)));
                    let scale = [1.0, 4.0, 16.0, 64.0][(of_run(1) * 4.0) as usize];
                    of_run(0) < *active && dice((2, at)) < rate / scale
                };
                point.kinds().iter().copied().find(strikes)
            }
            Plan::Named(faults) => {
                passed.resize(faults.len(), 0);
                let mut found = None;
                for (fault, passed) in faults.iter().zip(passed) {
                    if fault.point == point && fault.partition.is_none_or(|partition| partition == key.1) {
                        *passed += 1;
                        if *passed == fault.nth || (!fault.only && *passed > fault.nth) {
                            found = found.or(Some(fault.kind));
                        }
                    }
                }
                found
            }
        };
        let kind = kind.filter(|kind| !kind.costs_an_attempt() || !exhausted)?;
        let kind = Some(kind).filter(|kind| *kind != Kind::Delay || task.delays < MOST_DELAYS)?;
        task.delays += u32::from(kind == Kind::Delay);
        task.faults += u32::from(kind.costs_an_attempt());
        *struck.entry((point, kind)).or_default() += 1;
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId::new(3);

    /// The faults that strike so many tries of a task, each of which passes each point so many times.
    fn faults(chaos: &Chaos, partition: usize, tries: usize, times: usize) -> Vec<(usize, Point, Kind)> {
        let mut found = Vec::new();
        for attempt in 0..tries {
            let _at_work = chaos.attempt(STORE, partition);
            for point in Point::ALL.into_iter().flat_map(|point| vec![point; times]) {
                found.extend(strike(point).map(|kind| (attempt, point, kind)));
            }
        }
        found
    }

    #[test]
    fn a_seed_is_one_schedule_whoever_comes_first() {
        let run = |partitions: [usize; 4]| {
            let chaos = Chaos::new(Schedule::seeded(11).active(1.0).unbounded());
            let mut found = partitions.map(|partition| (partition, faults(&chaos, partition, 3, 20)));
            found.sort_by_key(|(partition, _)| *partition);
            (found, chaos.injected())
        };
        let (found, struck) = run([0, 1, 2, 3]);
        assert_eq!((found.clone(), struck.clone()), run([2, 0, 3, 1]));
        // A delay is over when the point hears of it.
        let told = struck.iter().filter(|((_, kind), _)| *kind != Kind::Delay).map(|(_, times)| times);
        assert_eq!(found.iter().map(|(_, found)| found.len() as u64).sum::<u64>(), told.sum());
        // The tries of a task are not struck alike, or it could never succeed.
        let of_try = |number: usize| {
            let found = found[0].1.iter().filter(move |(attempt, ..)| *attempt == number);
            found.map(|(_, point, kind)| (*point, *kind)).collect::<Vec<_>>()
        };
        assert!(of_try(0) != of_try(1) && of_try(1) != of_try(2));
    }

    #[test]
    fn runs_differ_in_what_kinds_of_faults_they_have_and_all_kinds_come() {
        let of = |seed| {
            let chaos = Chaos::new(Schedule::seeded(seed).rate(1.0).unbounded());
            faults(&chaos, 0, 2, 100);
            chaos.injected().into_keys().collect::<Vec<_>>()
        };
        let runs: Vec<_> = (0..40).map(of).collect();
        let all: std::collections::BTreeSet<_> = runs.iter().flatten().collect();
        assert_eq!(all.len(), Point::ALL.iter().map(|point| point.kinds().len()).sum::<usize>());
        assert!(runs.iter().all(|kinds| kinds.len() < all.len()));
        assert!(runs.windows(2).filter(|two| two[0] == two[1]).count() < 5);
    }

    #[test]
    fn a_task_suffers_no_more_than_the_bound_however_often_it_runs() {
        let chaos = Chaos::new(Schedule::seeded(1).active(1.0).rate(1.0).faults_per_task(2));
        let found = faults(&chaos, 0, 50, 10);
        assert_eq!(found.iter().filter(|(.., kind)| kind.costs_an_attempt()).count(), 2);
        // What costs nothing is not bounded.
        assert!(found.iter().filter(|(.., kind)| *kind == Kind::Refused).count() > 2);
    }

    #[test]
    fn named_faults_strike_when_they_are_told_to_and_nothing_else_does() {
        let write = Fault::new(Point::SpillWrite, Kind::Io);
        let chaos = Chaos::new(Schedule::of([write.nth(3), Fault::new(Point::Fetch, Kind::Lost).in_partition(1)]));
        let all = [faults(&chaos, 0, 1, 5), faults(&chaos, 1, 1, 1)].concat();
        assert_eq!(all, [(0, Point::SpillWrite, Kind::Io), (0, Point::Fetch, Kind::Lost)]);
        let chaos = Chaos::new(Schedule::of([write.from_nth(4)]));
        assert_eq!(faults(&chaos, 0, 1, 9).len(), 6);
        assert_eq!(chaos.injected(), BTreeMap::from([((Point::SpillWrite, Kind::Io), 6)]));
    }

    #[test]
    fn nothing_strikes_where_no_attempt_runs() {
        let chaos = Chaos::new(Schedule::of([Fault::new(Point::InTask, Kind::Panic)]));
        drop(chaos.attempt(STORE, 0));
        assert_eq!(strike(Point::InTask), None);
        assert_eq!(chaos.strike_at(STORE, 0, Point::InTask), Some(Kind::Panic));
        assert_eq!(Chaos::default().strike_at(STORE, 0, Point::InTask), None);
    }

    #[test]
    #[should_panic(expected = "at fetch there is no damage")]
    fn a_fault_that_cannot_be_is_refused() {
        let _ = Fault::new(Point::Fetch, Kind::Damage);
    }
}
