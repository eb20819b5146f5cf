//! The coordinator's logic as a pure state machine: `step(input)` gives commands. No thread, clock, actor or row.
//!
//! Owns the truth about every partition of every store: is it wanted, running, there? Told what happened by its shell
//! (`super::actor`), which carries out the commands. Never trusts an answer that it no longer waits for.
//!
//! This file owns the tables and the one way into them, [`Machine::step`]. The parts of a step are in rooms by subject:
//! `demand` (what is wanted), `tasks` (what runs), `loss` (what is gone), `passing` (what goes when it has been read) and
//! `ends` (jobs and stores that are over). `messages` has the words, `store` the state of one store.
//!
//! The one idea: **demand**. A job demands partitions of its result; a partition that is not there demands what it
//! reads. Computing for the first time, computing what a second job needs, and rebuilding what was lost are the same
//! walk from the demanded partitions to those that are there.
//!
//! ```text
//!            demand                inputs there            launch               Done
//!   Idle ───────────▶ Waiting(n) ──────────────▶ Ready ───────────▶ Running ───────────▶ Done(generation)
//!    ▲                    │                        │                    │                     │
//!    └────────────────────┴── no job wants it ─────┴── or it failed ────┴── or it was lost ───┘
//! ```
//!
//! Invariants, checked after every step in the tests:
//! 1. A result partition is accepted once; an answer of an attempt that is no longer running changes nothing.
//! 2. No task is launched while something that it reads is missing, as far as the machine has been told.
//!    A partition has one task, or two while it is speculated; the first that is done ends the other.
//! 3. Only partitions that a living job demands are running, ready or waiting.
//! 4. A job ends exactly once, and with the last job the tables are empty.

mod demand;
mod ends;
mod loss;
mod messages;
mod passing;
mod store;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use emberflow_core::{
    error::{Error, FailedAttempt},
    event::Event,
    ids::{JobId, PartitionIndex, StageId, StoreId, StorePartition, TaskId},
};

pub(crate) use self::messages::{Command, DoneTask, Input, Launch, Limits, StageSpec, TaskEnd, WorkerTime};
use self::store::{Node, State, Store};

#[derive(Clone)]
struct Job {
    result: StoreId,
    stores: BTreeSet<StoreId>,
    unfinished: BTreeSet<PartitionIndex>,
    skipped: BTreeSet<StoreId>,
}

#[derive(Clone, Debug)]
struct Running {
    key: StorePartition,
    stage: StageId,
    attempt: u32,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Machine {
    limits: Limits,
    stores: BTreeMap<StoreId, Store>,
    jobs: BTreeMap<JobId, Job>,
    waiters: HashMap<StorePartition, Vec<StorePartition>>,
    /// Stored partitions that are dropped when these have read them.
    passing: BTreeMap<StorePartition, BTreeSet<StorePartition>>,
    ready: BTreeMap<JobId, VecDeque<StorePartition>>,
    running: HashMap<TaskId, Running>,
    /// Tasks that others were let past; some of them may have ended.
    away: Vec<TaskId>,
    /// Tasks of which two compute the same partition: each with the other.
    twins: BTreeMap<TaskId, TaskId>,
    causes: HashMap<StorePartition, Vec<FailedAttempt>>,
    /// How often in a row stored partitions that a job uses were lost before anybody had read them.
    unread: BTreeMap<StorePartition, u32>,
    started: Vec<StoreId>,
    last_job: JobId,
    next_task: u64,
    next_stage: u64,
    /// Whether anything was ever lost: until then, what is ready stays ready.
    lossy: bool,
    mean_task: Duration,
    out: Vec<Command>,
}

impl Machine {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stores: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiters: HashMap::new(),
            passing: BTreeMap::new(),
            ready: BTreeMap::new(),
            running: HashMap::new(),
            away: Vec::new(),
            twins: BTreeMap::new(),
            causes: HashMap::new(),
            unread: BTreeMap::new(),
            started: Vec::new(),
            last_job: JobId::new(0),
            next_task: 0,
            next_stage: 0,
            lossy: false,
            mean_task: Duration::from_millis(2),
            out: Vec::new(),
        }
    }

    /// Takes in what happened and says what is to be done, in this order.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Command> {
        match input {
            Input::Submit { job, action, stages, wanted } => self.submit(job, action, stages, &wanted),
            Input::TaskEnded { task, end, ran } => self.task_ended(task, end, ran),
            Input::PartitionLost { store, partition, generation } => self.gone((store, partition), generation),
            Input::Cancel { job } => {
                if self.jobs.contains_key(&job) {
                    self.end_jobs(&[job], Err(&|job| Error::Cancelled { job }));
                }
            }
            Input::Forget { store } => self.forget(store),
            Input::Evict { key, generation } => self.evict(key, generation),
            Input::Overdue { task, limit, rdd, operator } => self.overdue(task, limit, rdd, operator),
            Input::Away { task } => {
                self.away.retain(|away| self.running.contains_key(away));
                self.away.push(task);
            }
            Input::AtWork { tasks } => self.speculate(&tasks),
            Input::Stalled { limit, shell } => self.stalled(limit, &shell),
        }
        self.announce();
        self.launch();
        std::mem::take(&mut self.out)
    }

    /// Jobs that have not ended.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// The partition that a running task computes.
    pub(crate) fn key_of(&self, task: TaskId) -> Option<StorePartition> {
        self.running.get(&task).map(|running| running.key)
    }

    /// Returns whether a job that has not ended may read the store.
    pub(crate) fn is_used(&self, store: StoreId) -> bool {
        self.jobs.values().any(|job| job.stores.contains(&store))
    }

    /// How many partitions of a store are wanted that are not there.
    pub(crate) fn pending(&self, store: StoreId) -> usize {
        self.stores.get(&store).map_or(0, |store| store.nodes.pending())
    }

    fn emit(&mut self, event: Event) {
        self.out.push(Command::Emit(event));
    }

    /// Changes what is known of a partition, if its store is known, and returns what `change` returns.
    fn update<R>(&mut self, key: StorePartition, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let store = self.stores.get_mut(&key.0).filter(|store| key.1 < store.nodes.len())?;
        Some(store.nodes.update(key.1, change))
    }

    fn set_state(&mut self, key: StorePartition, state: State) {
        self.update(key, |node| node.state = state);
    }

    fn state(&self, key: StorePartition) -> Option<State> {
        self.stores.get(&key.0).and_then(|store| store.nodes.get(key.1)).map(|node| node.state)
    }

    fn is_done(&self, key: StorePartition) -> bool {
        matches!(self.state(key), Some(State::Done { .. }))
    }

    fn is_complete(&self, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(|store| store.nodes.are_all_done())
    }
}

#[cfg(test)]
#[path = "../machine_tests.rs"]
mod tests;
