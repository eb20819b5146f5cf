//! A world for one [`Machine`]: carries out its commands, as the shell does, and foretells from a plain model of demand
//! what each step has to do. If the machine does anything besides, or leaves something undone, an assertion fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use emberflow_core::{
    error::TaskError,
    fingerprint::Fingerprint,
    ids::{RddId, StorePartition},
    plan::{StageKind, TaskInputs},
};

use super::super::{messages::StageInputs, *};
use crate::coordinator::Speculation;

/// How long every task takes: such that the width stays at two for each worker.
const TASK: Duration = Duration::from_millis(2);

/// With speculation of whatever takes longer than others, once half of the tasks are done.
pub(super) fn limits(task_failures: usize, losses: u32, workers: usize) -> Limits {
    let speculation = Some(Speculation { quantile: 0.5, multiplier: 1.5, least: TASK });
    Limits { task_failures, losses, workers, speculation, deterministic: true }
}

/// The input of each task of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// All of a shuffle.
    All(u64),
    /// The partition of the same number of a persisted RDD.
    Same(u64, usize),
}

struct Reads(Vec<Read>);

impl StageInputs for Reads {
    fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs {
        let mut inputs = TaskInputs::default();
        for read in &self.0 {
            match read {
                Read::All(store) => inputs.shuffles.push(StoreId::new(*store)),
                Read::Same(store, of) => inputs.persisted.push((StoreId::new(*store), partition % of)),
            }
        }
        inputs
    }
}

pub(super) fn stage(kind: StageKind, store: u64, partitions: usize, reads: &[Read]) -> StageSpec {
    let (store, rdd, name) = (StoreId::new(store), RddId::new(store), format!("stage of store {store}"));
    StageSpec { store, kind, rdd, name, partitions, inputs: Arc::new(Reads(reads.to_vec())) }
}

pub(super) fn maps(store: u64, partitions: usize, reads: &[Read]) -> StageSpec {
    stage(StageKind::ShuffleMap, store, partitions, reads)
}

pub(super) fn persist(store: u64, partitions: usize, reads: &[Read]) -> StageSpec {
    stage(StageKind::Persist, store, partitions, reads)
}

pub(super) fn result(store: u64, partitions: usize, reads: &[Read]) -> StageSpec {
    stage(StageKind::Result, store, partitions, reads)
}

pub(super) fn panicked() -> TaskEnd {
    failed(TaskError::Panicked { message: "boom".into() })
}

pub(super) fn failed(error: TaskError) -> TaskEnd {
    TaskEnd::Failed { error, rdd: RddId::new(7), operator: "map at src/main.rs:7:10".into(), rows: None }
}

pub(super) fn done() -> TaskEnd {
    TaskEnd::Done(DoneTask { rows: 1, bytes: 8, passing: false, fingerprint: Fingerprint::of_rows(1) })
}

/// Done, for those only who wait for it.
pub(super) fn passed() -> TaskEnd {
    TaskEnd::Done(DoneTask { rows: 1, bytes: 8, passing: true, fingerprint: Fingerprint::of_rows(1) })
}

/// Done, with other rows than before.
pub(super) fn done_otherwise() -> TaskEnd {
    TaskEnd::Done(DoneTask { rows: 2, bytes: 8, passing: false, fingerprint: Fingerprint::of_rows(2) })
}

pub(super) fn key(store: u64, partition: PartitionIndex) -> StorePartition {
    (StoreId::new(store), partition)
}

/// A hash that is quick without the optimiser's help.
#[derive(Default)]
struct QuickHash(u64);

impl Hasher for QuickHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 29;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A launched task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) key: StorePartition,
    pub(super) attempt: u32,
    /// The partitions that it was given to read, and their generations.
    pub(super) seen: Vec<(StorePartition, TaskId)>,
}

#[derive(Clone, Debug)]
struct Living {
    result: StoreId,
    stores: BTreeSet<StoreId>,
    unfinished: BTreeSet<PartitionIndex>,
}

/// How a job has to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Ok,
    Cancelled,
    Failed,
    Lost,
    Differs,
    Stalled,
}

/// The things that one step has to do.
#[derive(Debug, Default, PartialEq)]
struct Step {
    accepted: Vec<(JobId, PartitionIndex)>,
    counted: Vec<StorePartition>,
    ended: BTreeMap<JobId, Ending>,
    dropped: BTreeSet<StoreId>,
    cancelled: BTreeSet<TaskId>,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) machine: Machine,
    /// Launched, neither answered nor cancelled.
    pub(super) running: BTreeMap<TaskId, Task>,
    /// Answered or cancelled, with what they computed: all they say now is late.
    pub(super) late: BTreeMap<TaskId, StorePartition>,
    pub(super) stored: BTreeMap<StorePartition, TaskId>,
    /// The stored partitions that are dropped when they have been read.
    passing: BTreeMap<StorePartition, TaskId>,
    pub(super) ended: BTreeMap<JobId, Result<(), Error>>,
    pub(super) launched: Vec<StorePartition>,
    pub(super) events: Vec<Event>,
    pub(super) forgotten: BTreeSet<StoreId>,
    specs: BTreeMap<StoreId, Arc<StageSpec>>,
    /// Partition actors that nobody has stopped yet.
    actors: BTreeMap<TaskId, StoreId>,
    jobs: BTreeMap<JobId, Living>,
    /// The fingerprints of stored partitions, and of those that were stored last where nothing is.
    fingerprints: BTreeMap<StorePartition, Fingerprint>,
    /// The partition that is to be computed a second time in this step.
    speculated: Option<StorePartition>,
    /// The wanted partitions of each result.
    wanted: BTreeMap<StoreId, BTreeSet<PartitionIndex>>,
    failures: BTreeMap<StorePartition, u32>,
    losses: BTreeMap<StorePartition, u32>,
    /// How often in a row what is stored was lost before it was read, of stores that a job uses.
    unread: BTreeMap<StorePartition, u32>,
    /// Stages and jobs that have begun, by the events, and not ended.
    stages: BTreeSet<StageId>,
    told: BTreeSet<JobId>,
    /// True if each kind of world is checked once, by a test that steps through many that are alike.
    pub(super) checked_elsewhere: bool,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::new(limits),
            running: BTreeMap::new(),
            late: BTreeMap::new(),
            stored: BTreeMap::new(),
            passing: BTreeMap::new(),
            ended: BTreeMap::new(),
            launched: Vec::new(),
            events: Vec::new(),
            forgotten: BTreeSet::new(),
            specs: BTreeMap::new(),
            actors: BTreeMap::new(),
            jobs: BTreeMap::new(),
            fingerprints: BTreeMap::new(),
            speculated: None,
            wanted: BTreeMap::new(),
            failures: BTreeMap::new(),
            losses: BTreeMap::new(),
            unread: BTreeMap::new(),
            stages: BTreeSet::new(),
            told: BTreeSet::new(),
            checked_elsewhere: false,
        }
    }

    pub(super) fn submit(&mut self, job: u64, stages: &[StageSpec]) {
        let wanted = stages.last().map_or(0, |spec| spec.partitions);
        self.submit_some(job, stages, (0..wanted).collect());
    }

    pub(super) fn submit_some(&mut self, job: u64, stages: &[StageSpec], wanted: Vec<PartitionIndex>) {
        let (job, action) = (JobId::new(job), "collect at src/main.rs:9:5".into());
        self.step(Input::Submit { job, action, stages: stages.to_vec(), wanted });
    }

    pub(super) fn end(&mut self, task: TaskId, end: TaskEnd) {
        self.step(Input::TaskEnded { task, end, ran: WorkerTime { duration: TASK, worker: 0 } });
    }

    /// The running task of a partition ends.
    pub(super) fn end_at(&mut self, at: StorePartition, end: TaskEnd) {
        let task = self.task_at(at).unwrap_or_else(|| panic!("no task runs for {at:?}: {:?}", self.running));
        self.end(task, end);
    }

    pub(super) fn task_at(&self, at: StorePartition) -> Option<TaskId> {
        self.running.iter().find(|(_, task)| task.key == at).map(|(id, _)| *id)
    }

    pub(super) fn lose(&mut self, (store, partition): StorePartition, generation: TaskId) {
        self.step(Input::PartitionLost { store, partition, generation });
    }

    pub(super) fn lose_stored(&mut self, at: StorePartition) {
        self.lose(at, self.stored[&at]);
    }

    pub(super) fn cancel(&mut self, job: u64) {
        self.step(Input::Cancel { job: JobId::new(job) });
    }

    /// A task has run for long enough to be taken for slow.
    pub(super) fn linger(&mut self, task: TaskId) {
        self.step(Input::AtWork { tasks: vec![(task, 100 * TASK)] });
    }

    /// A task has run longer than it may.
    pub(super) fn overdue(&mut self, task: TaskId) {
        let operator = "map at src/main.rs:7:10".into();
        self.step(Input::Overdue { task, limit: TASK, rdd: RddId::new(7), operator });
    }

    pub(super) fn stall(&mut self) {
        self.step(Input::Stalled { limit: TASK, shell: "\n  the shell's word".into() });
    }

    /// A stored partition is to make room.
    pub(super) fn evict(&mut self, at: StorePartition) {
        self.step(Input::Evict { key: at, generation: self.stored[&at] });
    }

    pub(super) fn forget(&mut self, store: u64) {
        self.step(Input::Forget { store: StoreId::new(store) });
    }

    /// Every task ends well, the oldest first, until none runs.
    pub(super) fn finish(&mut self) {
        while let Some(task) = self.running.keys().next().copied() {
            self.end(task, done());
        }
        assert!(self.jobs.is_empty(), "nothing runs, and yet these wait: {:?}", self.jobs);
    }

    pub(super) fn living(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Stores that are not a job's results.
    pub(super) fn kept_stores(&self) -> Vec<StoreId> {
        let kept = self.specs.values().filter(|spec| spec.kind != StageKind::Result);
        kept.map(|spec| spec.store).collect()
    }

    pub(super) fn is_result(&self, store: StoreId) -> bool {
        self.specs.get(&store).is_some_and(|spec| spec.kind == StageKind::Result)
    }

    fn inputs(&self, (store, partition): StorePartition) -> Vec<StorePartition> {
        let inputs = self.specs[&store].inputs.inputs_of(partition);
        let all = |store: StoreId| (0..self.specs[&store].partitions).map(move |partition| (store, partition));
        inputs.shuffles.into_iter().flat_map(all).chain(inputs.persisted).collect()
    }

    /// The partitions that have to be computed for a job, given what is there and what runs.
    fn needs(&self, job: &Living) -> BTreeSet<StorePartition> {
        fn walk(world: &World, at: StorePartition, found: &mut BTreeSet<StorePartition>) {
            if !world.stored.contains_key(&at) && found.insert(at) && world.task_at(at).is_none() {
                world.inputs(at).into_iter().for_each(|input| walk(world, input, found));
            }
        }
        let mut found = BTreeSet::new();
        job.unfinished.iter().for_each(|partition| walk(self, (job.result, *partition), &mut found));
        found
    }

    fn needed(&self) -> BTreeSet<StorePartition> {
        self.jobs.values().flat_map(|job| self.needs(job)).collect()
    }

    fn jobs_that_need(&self, at: StorePartition) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| self.needs(job).contains(&at)).map(|(id, _)| *id).collect()
    }

    pub(super) fn step(&mut self, input: Input) {
        let quiet = match &input {
            Input::TaskEnded { task, .. } => !self.running.contains_key(task),
            Input::PartitionLost { store, partition, generation } => {
                self.stored.get(&(*store, *partition)) != Some(generation) && !self.running.contains_key(generation)
            }
            Input::Cancel { job } => !self.jobs.contains_key(job),
            Input::Overdue { task, .. } => !self.running.contains_key(task),
            Input::AtWork { tasks } => !self.is_slow(tasks[0].0),
            Input::Evict { key, .. } => self.jobs.values().any(|job| job.stores.contains(&key.0)),
            _ => false,
        };
        if quiet {
            let before = self.state_hash();
            let commands = self.machine.step(input);
            let ignored = commands.iter().all(|command| matches!(command, Command::Discard { .. }));
            assert!(ignored && before == self.state_hash(), "late, and not ignored: {commands:?}");
            commands.into_iter().for_each(|command| self.carry_out(command, &mut Step::default()));
            return;
        }
        let expected = self.foretell(&input);
        let mut found = Step::default();
        for command in self.machine.step(input) {
            self.carry_out(command, &mut found);
        }
        assert_eq!(found, expected);
        if !self.checked_elsewhere {
            self.check();
        }
    }

    /// Takes the input into the model, and says what the machine has to make of it.
    fn foretell(&mut self, input: &Input) -> Step {
        let mut step = Step::default();
        match input {
            Input::Submit { job, stages, wanted, .. } => {
                let stores: BTreeSet<StoreId> = stages.iter().map(|spec| spec.store).collect();
                for other in self.jobs.values_mut().filter(|other| !other.stores.is_disjoint(&stores)) {
                    other.stores.extend(&stores);
                }
                self.specs.extend(stages.iter().map(|spec| (spec.store, Arc::new(spec.clone()))));
                let result = stages.last().expect("jobs of the tests have stages").store;
                self.wanted.insert(result, wanted.iter().copied().collect());
                self.jobs.insert(*job, Living { result, stores, unfinished: wanted.iter().copied().collect() });
                if wanted.is_empty() {
                    step.ended.insert(*job, Ending::Ok);
                }
            }
            Input::TaskEnded { task, end, .. } => self.foretell_end(*task, end, &mut step),
            Input::PartitionLost { store, partition, generation } => {
                let at = (*store, *partition);
                if self.stored.get(&at) == Some(generation) {
                    self.stored.remove(&at);
                    if self.jobs.values().any(|job| job.stores.contains(store)) {
                        let losses = self.unread.entry(at).or_default();
                        *losses += 1;
                        if *losses >= self.machine.limits.losses {
                            self.unread.remove(&at);
                            step.ended.extend(self.jobs_that_need(at).into_iter().map(|job| (job, Ending::Lost)));
                        }
                    }
                } else if self.running.contains_key(generation) {
                    // Its owner died before the rows came: they will never come.
                    step.cancelled.insert(*generation);
                    self.foretell_end(*generation, &failed(TaskError::OutputLost), &mut step);
                }
            }
            Input::Cancel { job } => {
                if self.jobs.contains_key(job) {
                    step.ended.insert(*job, Ending::Cancelled);
                }
            }
            Input::Forget { store } => {
                self.forgotten.extend(self.specs.contains_key(store).then_some(*store));
            }
            Input::Away { .. } => {}
            Input::Evict { key, generation } => _ = self.passing.insert(*key, *generation),
            Input::Overdue { task, limit, .. } => {
                step.cancelled.insert(*task);
                self.foretell_end(*task, &failed(TaskError::Overdue { limit: *limit }), &mut step);
            }
            Input::AtWork { tasks } => {
                self.speculated = Some(self.running[&tasks[0].0].key);
            }
            Input::Stalled { .. } => step.ended.extend(self.jobs.keys().map(|job| (*job, Ending::Stalled))),
        }
        for job in step.ended.keys() {
            step.dropped.extend(self.jobs.remove(job).map(|job| job.result));
        }
        self.passing.retain(|at, generation| self.stored.get(at) == Some(generation));
        let used = |store: &StoreId| self.jobs.values().any(|job| job.stores.contains(store));
        self.unread.retain(|at, _| used(&at.0));
        step.dropped.extend(self.forgotten.iter().filter(|store| self.specs.contains_key(store) && !used(store)));
        let needed = self.needed();
        step.cancelled.extend(self.running.iter().filter(|(_, task)| !needed.contains(&task.key)).map(|(id, _)| *id));
        self.failures.retain(|at, _| needed.contains(at));
        self.losses.retain(|at, _| needed.contains(at));
        step
    }

    fn foretell_end(&mut self, task: TaskId, end: &TaskEnd, step: &mut Step) {
        let Some(Task { key, .. }) = self.running.get(&task).cloned() else { return };
        let jobs = self.jobs_that_need(key);
        assert!(!jobs.is_empty(), "a task runs for nobody");
        self.running.remove(&task);
        self.late.insert(task, key);
        let limits = self.machine.limits;
        let mut differs = Vec::new();
        let ending = match end {
            TaskEnd::Done(DoneTask { passing, fingerprint, .. }) => {
                // Whoever computes the same is late.
                let twin = self.task_at(key);
                step.cancelled.extend(twin);
                self.failures.remove(&key);
                self.losses.remove(&key);
                self.inputs(key).iter().for_each(|input| _ = self.unread.remove(input));
                if self.is_result(key.0) {
                    let unfinished = &mut self.jobs.get_mut(&jobs[0]).expect("it needs this").unfinished;
                    assert!(unfinished.remove(&key.1), "a result came twice");
                    step.accepted.push((jobs[0], key.1));
                    unfinished.is_empty().then_some(Ending::Ok)
                } else {
                    step.counted.push(key);
                    self.stored.insert(key, task);
                    if self.fingerprints.insert(key, *fingerprint).is_some_and(|before| before != *fingerprint) {
                        differs = self.jobs_that_mix(key);
                    }
                    if *passing && self.specs[&key.0].kind == StageKind::Persist {
                        self.passing.insert(key, task);
                    }
                    None
                }
            }
            TaskEnd::Failed { error, .. } if !matches!(error, TaskError::OutputLost) => {
                let failures = self.failures.entry(key).or_default();
                *failures += 1;
                let last = !error.is_retryable() || *failures as usize >= limits.task_failures;
                last.then_some(Ending::Failed)
            }
            TaskEnd::Failed { .. } | TaskEnd::InputsLost { .. } => {
                if let TaskEnd::InputsLost { lost, .. } = end {
                    self.stored.retain(|at, generation| !lost.contains(&(*at, *generation)));
                }
                let losses = self.losses.entry(key).or_default();
                *losses += 1;
                (*losses >= limits.losses).then_some(Ending::Lost)
            }
        };
        step.ended.extend(jobs.into_iter().filter_map(|job| ending.map(|ending| (job, ending))));
        step.ended.extend(differs.into_iter().map(|job| (job, Ending::Differs)));
    }

    /// Jobs that have made, or are making, something of this partition as it was before it is what it is now.
    fn jobs_that_mix(&self, key: StorePartition) -> Vec<JobId> {
        let reads = |at: &StorePartition| self.inputs(*at).contains(&key);
        let mixes = |job: &Living| {
            let wanted = self.wanted.get(&job.result).into_iter().flatten();
            let given = wanted.filter(|at| !job.unfinished.contains(at)).map(|at| (job.result, *at));
            let stored = self.stored.keys().copied().filter(|at| job.stores.contains(&at.0));
            let running = self.running.values().map(|task| task.key).filter(|at| job.stores.contains(&at.0));
            let running = running.filter(|at| at.0 == job.result || !self.is_result(at.0));
            job.stores.contains(&key.0) && given.chain(stored).chain(running).any(|at| reads(&at))
        };
        self.jobs.iter().filter(|(_, job)| mixes(job)).map(|(id, _)| *id).collect()
    }

    /// Returns whether a task is to be computed a second time if it lingers.
    pub(super) fn is_slow(&self, task: TaskId) -> bool {
        let Some(Task { key, .. }) = self.running.get(&task) else { return false };
        let (done, pending) = self.machine.stores[&key.0]
            .run
            .as_ref()
            .map_or((0, 0), |run| (run.times.len(), self.machine.pending(key.0)));
        let alone = self.running.values().filter(|other| other.key == *key).count() == 1;
        let idle = self.machine.ready.is_empty() && self.running.len() < self.machine.limits.workers;
        let readable = self.inputs(*key).iter().all(|input| self.stored.contains_key(input));
        done > 0 && done >= pending && alone && idle && readable
    }

    /// Does what the shell would do.
    fn carry_out(&mut self, command: Command, found: &mut Step) {
        match command {
            Command::Launch(Launch { task, stage, job, key, attempt, care }) => {
                let last =
                    self.failures.get(&key).copied().unwrap_or(0) + 1 >= self.machine.limits.task_failures as u32;
                assert!(!care || last, "{key:?} is not at its last attempt");
                assert!(self.jobs.contains_key(&job), "{key:?} runs for {job}, which is over");
                if self.speculated.take() == Some(key) {
                    let tasks = self.running.values().filter(|task| task.key == key).count();
                    assert_eq!(tasks, 1, "a second task for {key:?}");
                } else {
                    assert!(self.task_at(key).is_none(), "two tasks for {key:?}");
                }
                assert!(!self.stored.contains_key(&key), "{key:?} is there already");
                assert!(self.needed().contains(&key), "nobody wants {key:?}");
                assert!(self.stages.contains(&stage), "{stage} has not begun, or is over");
                let tried = |counts: &BTreeMap<StorePartition, u32>| counts.get(&key).copied().unwrap_or(0);
                let running = self.running.values().filter(|task| task.key == key).count() as u32;
                let tried = 1 + tried(&self.failures) + tried(&self.losses) + running;
                assert_eq!(attempt, tried, "attempts are numbered from one");
                let seen = self.inputs(key).into_iter().map(|input| {
                    (input, *self.stored.get(&input).unwrap_or_else(|| panic!("{key:?} launched without {input:?}")))
                });
                let seen = seen.collect();
                if !self.is_result(key.0) {
                    self.actors.insert(task, key.0);
                }
                self.launched.push(key);
                let known = self.running.insert(task, Task { key, attempt, seen });
                assert!(known.is_none() && !self.late.contains_key(&task), "{task} twice");
            }
            Command::Cancel { task } => {
                self.late.extend(self.running.remove(&task).map(|running| (task, running.key)));
                found.cancelled.insert(task);
            }
            Command::Discard { task } => {
                assert!(!self.running.contains_key(&task), "{task} runs, and its output is wanted");
                let passed = self.passing.iter().find(|(_, generation)| **generation == task).map(|(at, _)| *at);
                if let Some(at) = passed {
                    // Others that want it did so when an earlier one was there: they will have it made again.
                    let reader = self.running.values().find(|running| running.seen.contains(&(at, task)));
                    assert!(reader.is_none(), "{at:?} is dropped before {reader:?} has read it");
                    self.passing.remove(&at);
                    self.stored.remove(&at);
                }
                assert!(!self.stored.values().any(|generation| *generation == task), "what {task} made is wanted");
                self.actors.remove(&task);
            }
            Command::Accept { job, partition } => found.accepted.push((job, partition)),
            Command::Count { key, task } => {
                assert_eq!(self.stored.get(&key), Some(&task), "another one was first");
                found.counted.push(key);
            }
            Command::DropStore { store } => {
                assert!(found.dropped.insert(store), "{store} dropped twice");
                self.specs.remove(&store);
                self.stored.retain(|at, _| at.0 != store);
                self.fingerprints.retain(|at, _| at.0 != store);
                self.passing.retain(|at, _| at.0 != store);
                self.actors.retain(|_, of| *of != store);
            }
            Command::FinishJob { job, outcome } => {
                let ending = match &outcome {
                    Ok(()) => Ending::Ok,
                    Err(Error::Cancelled { job: named }) if *named == job => Ending::Cancelled,
                    Err(Error::TaskFailed { causes, .. }) if !causes.is_empty() => Ending::Failed,
                    Err(Error::LostTooOften { .. }) => Ending::Lost,
                    Err(Error::NotDeterministic { .. }) => Ending::Differs,
                    Err(Error::Stalled { job: named, .. }) if *named == job => Ending::Stalled,
                    Err(error) => panic!("{error}"),
                };
                found.ended.insert(job, ending);
                assert!(self.ended.insert(job, outcome).is_none(), "{job} ended twice");
            }
            Command::Emit(event) => {
                match &event {
                    Event::StageStarted { stage, job, tasks, .. } => {
                        assert!(self.stages.insert(*stage), "{stage} began twice");
                        assert!(*tasks > 0 && self.jobs.contains_key(job), "{event:?}");
                    }
                    Event::StageFinished { stage } => assert!(self.stages.remove(stage), "{stage} ended twice"),
                    Event::TaskStarted { stage, .. } => assert!(self.stages.contains(stage)),
                    Event::JobStarted { job, .. } => assert!(self.told.insert(*job), "{job} began twice"),
                    Event::JobFinished { job, .. } => assert!(self.told.remove(job), "{job} ended twice"),
                    Event::StageSkipped { store, .. } => assert!(self.machine.is_complete(*store)),
                    _ => {}
                }
                self.events.push(event);
            }
        }
    }

    /// The machine's tables against the model, and against one another.
    pub(super) fn check(&self) {
        let machine = &self.machine;
        assert!(self.jobs.keys().eq(machine.jobs.keys()) && self.jobs.keys().eq(&self.told));
        assert!(self.specs.keys().eq(machine.stores.keys()));
        assert!(self.running.keys().copied().collect::<BTreeSet<_>>() == machine.running.keys().copied().collect());
        assert!(machine.started.is_empty() && machine.out.is_empty());
        for (task, running) in &self.running {
            let twin = machine.twins.get(task);
            assert_eq!(twin.and_then(|twin| machine.twins.get(twin)).is_some(), twin.is_some());
            assert!(twin.is_none_or(|twin| self.running[twin].key == running.key && twin != task));
            let named = machine.state(running.key) == Some(State::Running { task: *task });
            assert!(named || twin.is_some(), "nobody waits for {task}");
        }
        assert!(machine.twins.keys().all(|task| self.running.contains_key(task)));
        assert!(self.jobs.is_empty() || !self.running.is_empty(), "nothing runs: {:?} will never end", self.jobs);
        let made = self.running.iter().filter(|(_, task)| !self.is_result(task.key.0)).map(|(id, _)| *id);
        let owned: BTreeSet<TaskId> = made.chain(self.stored.values().copied()).collect();
        assert!(self.actors.keys().copied().eq(owned), "actors {:?} for {:?}", self.actors, self.stored);

        let needed = self.needed();
        assert_eq!(self.unread, machine.unread);
        assert!(machine.passing.keys().eq(self.passing.keys()));
        for (at, readers) in &machine.passing {
            assert!(
                !readers.is_empty() && readers.iter().all(|at| needed.contains(at)),
                "{at:?} passes for {readers:?}"
            );
        }
        let queued: Vec<StorePartition> = machine.ready.values().flatten().copied().collect();
        assert!(machine.ready.keys().all(|job| self.jobs.contains_key(job)), "an ended job has its turn");
        assert!(queued.is_empty() || self.running.len() >= machine.width(), "workers are idle");
        assert!(machine.causes.keys().all(|at| needed.contains(at)));
        let by_store = machine.stores.values().flat_map(|store| &store.waiting_for_all);
        let waits: Vec<StorePartition> = machine.waiters.values().flatten().chain(by_store).copied().collect();
        let (mut waiting, mut ready, mut open) = (0, 0, 0);
        for (id, store) in &machine.stores {
            let mut pending = 0;
            for (partition, node) in store.nodes.iter().enumerate() {
                let at = (*id, partition);
                match node.state {
                    State::Idle => assert_eq!((node.attempts, node.losses), (0, 0), "{at:?} begins anew"),
                    State::Waiting { missing } => {
                        assert_eq!(waits.iter().filter(|waiter| **waiter == at).count(), missing as usize, "{at:?}");
                        waiting += missing as usize;
                    }
                    State::Ready => {
                        assert_eq!(queued.iter().filter(|ready| **ready == at).count(), 1, "{at:?}");
                        ready += 1;
                    }
                    State::Running { task } => assert_eq!(self.running[&task].key, at),
                    State::Done { generation } => {
                        assert!(self.is_result(*id) || self.stored.get(&at) == Some(&generation));
                    }
                }
                if !matches!(node.state, State::Idle | State::Done { .. }) {
                    pending += 1;
                    assert!(needed.contains(&at), "nobody wants {at:?}");
                }
            }
            let there = store.nodes.iter().filter(|node| matches!(node.state, State::Done { .. })).count();
            assert_eq!(store.nodes.done(), there);
            assert_eq!(store.nodes.pending(), pending, "store {id}");
            assert_eq!(store.run.is_some(), pending > 0);
            if let Some(run) = &store.run {
                assert!(run.announced && self.stages.contains(&run.stage) && self.jobs.contains_key(&run.job));
                open += 1;
            }
            let idle = store.nodes.iter().any(|node| node.state == State::Idle);
            assert!(!store.all_wanted || !idle, "{id}: not all of it is wanted");
        }
        assert_eq!((waiting, ready, open), (waits.len(), queued.len(), self.stages.len()));
        for (at, generation) in &self.stored {
            assert_eq!(machine.state(*at), Some(State::Done { generation: *generation }));
        }
        if self.jobs.is_empty() {
            assert!(machine.ready.is_empty() && machine.waiters.is_empty() && machine.causes.is_empty());
            assert!(self.kept_stores().len() == machine.stores.len(), "results were left behind");
        }
    }

    /// The state, but for the numbers of tasks and stages.
    pub(super) fn state_hash(&self) -> u64 {
        let mut hash = QuickHash::default();
        let machine = &self.machine;
        for (id, store) in &machine.stores {
            (id, store.nodes.done(), &store.waiting_for_all, store.all_wanted, store.forgotten).hash(&mut hash);
            store
                .run
                .as_ref()
                .map(|run| (run.job, store.nodes.pending(), run.announced, run.times.len()))
                .hash(&mut hash);
            store.before.iter().for_each(|(at, fingerprint)| (at, fingerprint.rows()).hash(&mut hash));
            for node in store.nodes.iter() {
                let state = match node.state {
                    State::Idle => (0, 0),
                    State::Waiting { missing } => (1, missing),
                    State::Ready => (2, 0),
                    State::Running { .. } => (3, 0),
                    State::Done { .. } => (4, 0),
                };
                (state, node.attempts, node.losses, node.fingerprint.map(Fingerprint::rows)).hash(&mut hash);
            }
        }
        for (id, job) in &machine.jobs {
            (id, &job.unfinished, &job.skipped).hash(&mut hash);
        }
        let waiters: BTreeMap<_, _> = machine.waiters.iter().collect();
        let causes: BTreeMap<_, _> = machine.causes.iter().map(|(at, causes)| (at, causes.len())).collect();
        (waiters, causes, &machine.ready, machine.last_job, machine.lossy).hash(&mut hash);
        (&machine.passing, &machine.unread).hash(&mut hash);
        for task in self.running.values() {
            let fresh: Vec<bool> = task.seen.iter().map(|(at, seen)| self.stored.get(at) == Some(seen)).collect();
            (task.key, fresh).hash(&mut hash);
        }
        for (job, outcome) in &self.ended {
            (job, outcome.as_ref().err().map(std::mem::discriminant)).hash(&mut hash);
        }
        (&self.forgotten, self.jobs.len(), self.actors.len(), self.stages.len(), self.told.len()).hash(&mut hash);
        self.stored.keys().for_each(|at| at.hash(&mut hash));
        hash.finish()
    }

    /// Checks that messages which come late, or for the second time, are ignored: `step` does it.
    pub(super) fn hear_it_all_again(&self) {
        let mut world = self.clone();
        let mut heard: HashSet<(StorePartition, bool)> = HashSet::new();
        for (task, at) in self.late.iter().rev() {
            let kept = self.stored.get(at) == Some(task);
            // All the late tasks of a partition are alike.
            if !heard.insert((*at, kept)) {
                continue;
            }
            world.end(*task, done());
            world.end(
                *task,
                TaskEnd::InputsLost { lost: self.stored.iter().map(|(at, made)| (*at, *made)).collect(), cause: None },
            );
            // Results have no actor that could die.
            if !kept && self.kept_stores().contains(&at.0) {
                world.lose(*at, *task);
            }
        }
    }
}
