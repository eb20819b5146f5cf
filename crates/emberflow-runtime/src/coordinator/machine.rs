//! The coordinator's logic as a pure state machine: `step(input)` gives commands. No thread, clock, actor or row.
//!
//! Owns the truth about every partition of every store: is it wanted, running, there? Told what happened by its shell
//! (`super::actor`), which carries out the commands. Never trusts an answer that it no longer waits for.
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

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque, btree_map::Entry},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use emberflow_core::{
    error::{Cause, Error, FailedAttempt, TaskError},
    event::{Event, JobEnd},
    ids::{JobId, PartitionIndex, RddId, RowSpan, StageId, StoreId, TaskId},
    plan::{StageKind, StagePlan, TaskInputs},
    print::Print,
};

use super::stragglers::{Speculation, Times};

/// A partition of a store: the unit of all bookkeeping.
pub(crate) type Key = (StoreId, PartitionIndex);

/// Which stored partitions a task reads; the only thing about a plan that the machine needs to ask.
pub(crate) trait StageInputs: Send + Sync {
    fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs;
}

impl StageInputs for StagePlan {
    fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs {
        StagePlan::inputs_of(self, partition)
    }
}

/// A stage, as far as the machine cares.
#[derive(Clone)]
pub(crate) struct StageSpec {
    pub(crate) store: StoreId,
    pub(crate) kind: StageKind,
    pub(crate) rdd: RddId,
    pub(crate) name: String,
    pub(crate) partitions: usize,
    pub(crate) inputs: Arc<dyn StageInputs>,
}

impl std::fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {:?}, {} partitions)", self.name, self.store, self.kind, self.partitions)
    }
}

/// How often things may go wrong, and how many tasks may be out at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Failures of one task that are the user's, after which its jobs fail.
    pub(crate) task_failures: usize,
    /// Losses in a row of what one task reads, after which its jobs fail.
    pub(crate) losses: u32,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Which tasks are computed twice for being slow.
    pub(crate) speculation: Option<Speculation>,
    /// Whether jobs fail that would mix rows of a partition with others that it had before it was lost.
    pub(crate) deterministic: bool,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// An action: its stages, parents first and its own last, and which of its partitions are wanted.
    Submit { job: JobId, action: String, stages: Vec<StageSpec>, wanted: Vec<PartitionIndex> },
    /// A task ended.
    TaskEnded { task: TaskId, end: TaskEnd, ran: Ran },
    /// The actor of a partition is gone, with what it stored or was to store.
    PartitionLost { store: StoreId, partition: PartitionIndex, generation: TaskId },
    /// A job is not wanted any more.
    Cancel { job: JobId },
    /// No lineage can reach the store any more.
    Forget { store: StoreId },
    /// A stored partition has to make room, if no job uses its store.
    Evict { key: Key, generation: TaskId },
    /// A task runs longer than it may. It is not waited for any more.
    Overdue { task: TaskId, limit: Duration, rdd: RddId, operator: String },
    /// A task waits for something, and another thread works in place of its own.
    Away { task: TaskId },
    /// What workers are at, and for how long.
    AtWork { tasks: Vec<(TaskId, Duration)> },
    /// Nothing has happened for too long. What the shell knows of it is to be told, too.
    Stalled { limit: Duration, shell: String },
}

/// Where a task ran, and how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ran {
    pub(crate) duration: Duration,
    pub(crate) worker: usize,
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) enum TaskEnd {
    /// Its rows are stored, or its result is at hand. Rows that are `passing` are there for those tasks only that wait
    /// for them by now or come to want them meanwhile.
    Done { rows: u64, bytes: u64, passing: bool, print: Print },
    /// It failed while the operator of `rdd` ran.
    Failed { error: TaskError, rdd: RddId, operator: String, rows: Option<RowSpan> },
    /// Partitions that it reads were not there: which, and the generation that was expected; and why, if that is known.
    InputsLost { lost: Vec<(Key, TaskId)>, cause: Option<Cause> },
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Run a task; with `care`, row by row, to find the one that it panics at.
    Launch { task: TaskId, stage: StageId, job: JobId, key: Key, attempt: u32, care: bool },
    /// A running task is not wanted any more.
    Cancel { task: TaskId },
    /// What this attempt made, or was to make, is not wanted: stop its actor.
    Discard { task: TaskId },
    /// The result that came with this report is the partition's result.
    Accept { job: JobId, partition: PartitionIndex },
    /// What this attempt stored is the partition of its store: readers get it, and what it added to accumulators counts.
    Count { key: Key, task: TaskId },
    /// Stop all the actors of a store and forget its plan.
    DropStore { store: StoreId },
    /// A job ended.
    FinishJob { job: JobId, outcome: Result<(), Error> },
    /// Tell the world.
    Emit(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting { missing: u32 },
    Ready,
    Running { task: TaskId },
    Done { generation: TaskId },
}

#[derive(Clone, Copy, Debug)]
struct Node {
    state: State,
    attempts: u32,
    losses: u32,
    /// Of the rows that are there.
    print: Option<Print>,
}

impl Node {
    const IDLE: Self = Self { state: State::Idle, attempts: 0, losses: 0, print: None };
}

/// The partitions of one store that are being computed, as people see it: one stage.
#[derive(Clone, Debug)]
struct StageRun {
    stage: StageId,
    job: JobId,
    pending: usize,
    announced: bool,
    /// Of its tasks that are done.
    times: Times,
}

#[derive(Clone)]
struct Store {
    spec: StageSpec,
    nodes: Vec<Node>,
    done: usize,
    /// Tasks that need all of this store.
    waiting_for_all: Vec<Key>,
    /// Whether every partition has been demanded and none lost since: saves a walk for each reducer.
    all_wanted: bool,
    run: Option<StageRun>,
    /// What is known of partitions that were there.
    before: BTreeMap<PartitionIndex, Print>,
    forgotten: bool,
}

impl Store {
    fn new(spec: StageSpec) -> Self {
        Self {
            nodes: vec![Node::IDLE; spec.partitions],
            spec,
            done: 0,
            waiting_for_all: Vec::new(),
            all_wanted: false,
            run: None,
            before: BTreeMap::new(),
            forgotten: false,
        }
    }

    /// A partition is not there any more.
    fn was_there(&mut self, partition: PartitionIndex) {
        let node = &mut self.nodes[partition];
        node.state = State::Idle;
        self.done -= 1;
        self.before.extend(node.print.take().map(|print| (partition, print)));
    }
}

#[derive(Clone)]
struct Job {
    result: StoreId,
    stores: BTreeSet<StoreId>,
    unfinished: BTreeSet<PartitionIndex>,
    skipped: BTreeSet<StoreId>,
}

#[derive(Clone, Debug)]
struct Running {
    key: Key,
    stage: StageId,
    attempt: u32,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Machine {
    limits: Limits,
    stores: BTreeMap<StoreId, Store>,
    jobs: BTreeMap<JobId, Job>,
    waiters: HashMap<Key, Vec<Key>>,
    /// Stored partitions that are dropped when these have read them.
    passing: BTreeMap<Key, BTreeSet<Key>>,
    ready: BTreeMap<JobId, VecDeque<Key>>,
    running: HashMap<TaskId, Running>,
    /// Tasks that others were let past; some of them may have ended.
    away: Vec<TaskId>,
    /// Tasks of which two compute the same partition: each with the other.
    twins: BTreeMap<TaskId, TaskId>,
    causes: HashMap<Key, Vec<FailedAttempt>>,
    /// How often in a row stored partitions that a job uses were lost before anybody had read them.
    unread: BTreeMap<Key, u32>,
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
    pub(crate) fn key_of(&self, task: TaskId) -> Option<Key> {
        self.running.get(&task).map(|running| running.key)
    }

    /// Whether a job that has not ended may read the store.
    pub(crate) fn is_used(&self, store: StoreId) -> bool {
        self.jobs.values().any(|job| job.stores.contains(&store))
    }

    /// How many partitions of a store are wanted that are not there.
    pub(crate) fn pending(&self, store: StoreId) -> usize {
        self.stores.get(&store).and_then(|store| store.run.as_ref()).map_or(0, |run| run.pending)
    }

    fn emit(&mut self, event: Event) {
        self.out.push(Command::Emit(event));
    }

    fn node(&mut self, key: Key) -> Option<&mut Node> {
        self.stores.get_mut(&key.0).and_then(|store| store.nodes.get_mut(key.1))
    }

    fn state(&self, key: Key) -> Option<State> {
        self.stores.get(&key.0).and_then(|store| store.nodes.get(key.1)).map(|node| node.state)
    }

    fn is_done(&self, key: Key) -> bool {
        matches!(self.state(key), Some(State::Done { .. }))
    }

    fn is_complete(&self, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(|store| store.done == store.nodes.len())
    }

    fn submit(&mut self, job: JobId, action: String, stages: Vec<StageSpec>, wanted: &[PartitionIndex]) {
        self.emit(Event::JobStarted { job, action, partitions: wanted.len() });
        let Some(result) = stages.last().map(|spec| spec.store) else {
            self.emit(Event::JobFinished { job, end: JobEnd::Succeeded });
            self.out.push(Command::FinishJob { job, outcome: Ok(()) });
            return;
        };
        let stores: BTreeSet<StoreId> = stages.iter().map(|spec| spec.store).collect();
        let mut changed = false;
        for spec in stages {
            match self.stores.entry(spec.store) {
                Entry::Vacant(free) => _ = free.insert(Store::new(spec)),
                // Ancestors may have been persisted or released since: only the newest plan reads what is kept.
                Entry::Occupied(known) => {
                    let store = known.into_mut();
                    let inputs = |spec: &StageSpec, partition| spec.inputs.inputs_of(partition);
                    changed |= store.run.is_some()
                        && (0..spec.partitions).any(|at| inputs(&store.spec, at) != inputs(&spec, at));
                    store.spec = spec;
                }
            }
        }
        // So whoever shares a store with this job reads, from now on, what this job reads.
        for other in self.jobs.values_mut().filter(|other| !other.stores.is_disjoint(&stores)) {
            other.stores.extend(&stores);
        }
        let unfinished: BTreeSet<PartitionIndex> = wanted.iter().copied().collect();
        self.jobs.insert(job, Job { result, stores, unfinished: unfinished.clone(), skipped: BTreeSet::new() });
        if changed {
            self.sweep();
        }
        if unfinished.is_empty() {
            self.end_jobs(&[job], Ok(()));
        }
        for partition in unfinished {
            self.demand(job, (result, partition));
        }
    }

    /// Wants a partition: walks from it to what is there, and makes ready what can run.
    fn demand(&mut self, job: JobId, key: Key) {
        let mut open = vec![key];
        while let Some(key) = open.pop() {
            let Some(store) = self.stores.get(&key.0) else { continue };
            if store.nodes[key.1].state != State::Idle {
                continue;
            }
            let inputs = store.spec.inputs.inputs_of(key.1);
            let mut missing = 0;
            for &shuffle in &inputs.shuffles {
                if self.is_complete(shuffle) {
                    self.skip(job, shuffle);
                    continue;
                }
                missing += 1;
                let Some(store) = self.stores.get_mut(&shuffle) else { continue };
                store.waiting_for_all.push(key);
                if !store.all_wanted {
                    store.all_wanted = true;
                    open.extend((0..store.nodes.len()).rev().map(|partition| (shuffle, partition)));
                }
            }
            for &input in &inputs.persisted {
                if !self.is_done(input) {
                    missing += 1;
                    self.waiters.entry(input).or_default().push(key);
                    open.push(input);
                } else if let Some(readers) = self.passing.get_mut(&input) {
                    readers.insert(key);
                }
            }
            self.one_more(job, key.0);
            if missing == 0 {
                self.make_ready(key, false);
            } else if let Some(node) = self.node(key) {
                node.state = State::Waiting { missing };
            }
        }
    }

    fn make_ready(&mut self, key: Key, first: bool) {
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        store.nodes[key.1].state = State::Ready;
        let job = store.run.as_ref().map_or(self.last_job, |run| run.job);
        let queue = self.ready.entry(job).or_default();
        if first { queue.push_front(key) } else { queue.push_back(key) }
    }

    /// One more partition of a store is wanted: its stage begins, or grows.
    fn one_more(&mut self, job: JobId, store: StoreId) {
        let living = |other: &JobId| self.jobs.contains_key(other);
        let Some(store) = self.stores.get_mut(&store) else { return };
        match &mut store.run {
            Some(run) => {
                run.pending += 1;
                if !living(&run.job) {
                    run.job = job;
                }
            }
            None => {
                let stage = StageId::new(self.next_stage);
                self.next_stage += 1;
                store.run = Some(StageRun { stage, job, pending: 1, announced: false, times: Times::default() });
                self.started.push(store.spec.store);
            }
        }
    }

    /// One partition fewer of a store is wanted: its stage may be over.
    fn settled(&mut self, store: StoreId) {
        let Some(store) = self.stores.get_mut(&store) else { return };
        let Some(run) = &mut store.run else { return };
        run.pending -= 1;
        if run.pending == 0 {
            let (stage, announced) = (run.stage, run.announced);
            store.run = None;
            if announced {
                self.emit(Event::StageFinished { stage });
            }
        }
    }

    fn skip(&mut self, job: JobId, store: StoreId) {
        let first = self.jobs.get_mut(&job).is_some_and(|job| job.skipped.insert(store));
        // A shuffle that this very job has just computed was not skipped.
        if let Some(found) = self.stores.get(&store)
            && first
            && !found.nodes.is_empty()
        {
            let name = found.spec.name.clone();
            self.emit(Event::StageSkipped { job, store, name });
        }
    }

    /// Says which stages began in this step, with the number of their tasks.
    fn announce(&mut self) {
        for id in std::mem::take(&mut self.started) {
            let Some(store) = self.stores.get_mut(&id) else { continue };
            let Some(run) = &mut store.run else { continue };
            if run.announced {
                continue;
            }
            run.announced = true;
            let event = Event::StageStarted {
                stage: run.stage,
                job: run.job,
                store: id,
                rdd: store.spec.rdd,
                name: store.spec.name.clone(),
                tasks: run.pending,
            };
            // What this job computes itself it does not skip later.
            if let Some(job) = self.jobs.get_mut(&run.job) {
                job.skipped.insert(id);
            }
            self.emit(event);
        }
    }

    /// How many tasks may be out: few, so that jobs take turns, but enough that short tasks never wait for orders.
    fn width(&self) -> usize {
        const QUEUED: Duration = Duration::from_millis(4);
        let depth = QUEUED.as_nanos() / self.mean_task.as_nanos().max(1);
        self.limits.workers * (depth as usize).clamp(2, 128)
            + self.away.iter().filter(|away| self.running.contains_key(away)).count()
    }

    fn launch(&mut self) {
        while self.running.len() < self.width() {
            let Some(key) = self.next_ready() else { break };
            if self.state(key) != Some(State::Ready) {
                continue;
            }
            if self.lossy && !self.inputs_are_there(key) {
                let Some(job) = self.stores[&key.0].run.as_ref().map(|run| run.job) else { continue };
                if let Some(node) = self.node(key) {
                    node.state = State::Idle;
                }
                self.demand(job, key);
                self.settled(key.0);
                self.announce();
                continue;
            }
            self.will_read(key);
            if let Some(task) = self.start(key)
                && let Some(node) = self.node(key)
            {
                node.state = State::Running { task };
            }
        }
    }

    /// Launches a task for a partition.
    fn start(&mut self, key: Key) -> Option<TaskId> {
        let task = TaskId::new(self.next_task);
        self.next_task += 1;
        let store = self.stores.get_mut(&key.0)?;
        let run = store.run.as_ref()?;
        let (stage, job) = (run.stage, run.job);
        let node = &mut store.nodes[key.1];
        node.attempts += 1;
        let attempt = node.attempts;
        self.running.insert(task, Running { key, stage, attempt });
        self.emit(Event::TaskStarted { task, stage, partition: key.1, attempt });
        let care = self.causes.get(&key).is_some_and(|causes| {
            let panicked = |cause: &FailedAttempt| matches!(cause.error, TaskError::Panicked { .. });
            causes.len() + 1 >= self.limits.task_failures && causes.last().is_some_and(panicked)
        });
        self.out.push(Command::Launch { task, stage, job, key, attempt, care });
        Some(task)
    }

    /// Computes a second time, while workers are idle, what takes much longer than the other tasks of its stage.
    fn speculate(&mut self, at_work: &[(TaskId, Duration)]) {
        let Some(speculation) = self.limits.speculation else { return };
        for (task, took) in at_work {
            let Some(Running { key, stage, .. }) = self.running.get(task).filter(|_| !self.twins.contains_key(task))
            else {
                continue;
            };
            let (key, stage) = (*key, *stage);
            let run = self.stores.get(&key.0).and_then(|store| store.run.as_ref());
            let slow = run.is_some_and(|run| run.times.is_slow(*took, run.pending, &speculation));
            if !slow
                || !self.ready.is_empty()
                || self.running.len() >= self.limits.workers
                || !self.inputs_are_there(key)
            {
                continue;
            }
            let Some(copy) = self.start(key) else { continue };
            self.twins.extend([(*task, copy), (copy, *task)]);
            self.emit(Event::TaskSpeculated { task: copy, stage, partition: key.1, original: *task });
        }
    }

    /// A task of two that compute a partition is out of it, however it ended. The other one, if there is one.
    fn part(&mut self, task: TaskId) -> Option<TaskId> {
        let twin = self.twins.remove(&task)?;
        self.twins.remove(&twin);
        Some(twin)
    }

    /// A running task is not waited for any more, and neither is its twin.
    fn stop(&mut self, task: TaskId) {
        for task in [Some(task), self.part(task)].into_iter().flatten() {
            self.running.remove(&task);
            self.out.push(Command::Cancel { task });
            self.out.push(Command::Discard { task });
        }
    }

    /// A task has ended without its rows. Whether another one goes on with them.
    fn goes_on(&mut self, key: Key, task: TaskId) -> bool {
        let twin = self.part(task);
        if let (Some(task), Some(node)) = (twin, self.node(key)) {
            node.state = State::Running { task };
        }
        twin.is_some()
    }

    fn overdue(&mut self, task: TaskId, limit: Duration, rdd: RddId, operator: String) {
        if self.running.contains_key(&task) {
            self.out.push(Command::Cancel { task });
            let end = TaskEnd::Failed { error: TaskError::Overdue { limit }, rdd, operator, rows: None };
            self.task_ended(task, end, Ran { duration: limit, worker: 0 });
        }
    }

    /// Ends every job, with all that is known of what it waits for.
    fn stalled(&mut self, limit: Duration, shell: &str) {
        let jobs = self.jobs();
        let told: BTreeMap<JobId, String> = jobs.iter().map(|job| (*job, self.describe(*job))).collect();
        let error = |job| {
            let waits_for = told.get(&job).map_or("", String::as_str);
            Error::Stalled { job, limit, waits_for: format!("{waits_for}{shell}") }
        };
        self.end_jobs(&jobs, Err(&error));
    }

    /// What a job still needs, and what each of that waits for; a line each.
    fn describe(&self, job: JobId) -> String {
        const LINES: usize = 20;
        let mut needed: Vec<Key> = self.demanded_by(job).into_iter().collect();
        needed.sort_unstable();
        let mut told = String::new();
        for key in needed.iter().take(LINES) {
            let (Some(store), Some(state)) = (self.stores.get(&key.0), self.state(*key)) else { continue };
            let how = match state {
                State::Idle => "is wanted by nobody who waits".to_owned(),
                State::Waiting { missing } => format!("waits for {missing} of what it reads"),
                State::Ready => "waits for a worker".to_owned(),
                State::Running { task } => format!("is computed by {task}"),
                State::Done { generation } => format!("is there, made by {generation}"),
            };
            told.push_str(&format!("\n  {}, partition {} ({}): {how}", store.spec.name, key.1, key.0));
        }
        if needed.len() > LINES {
            told.push_str(&format!("\n  and {} more", needed.len() - LINES));
        }
        told
    }

    /// The next ready partition, the jobs taking turns.
    fn next_ready(&mut self) -> Option<Key> {
        let after = (Bound::Excluded(self.last_job), Bound::Unbounded);
        let job = self.ready.range(after).next().or_else(|| self.ready.iter().next()).map(|(job, _)| *job)?;
        let queue = self.ready.get_mut(&job)?;
        let key = queue.pop_front();
        if queue.is_empty() {
            self.ready.remove(&job);
        }
        self.last_job = job;
        key
    }

    fn inputs_are_there(&self, key: Key) -> bool {
        let inputs = self.stores[&key.0].spec.inputs.inputs_of(key.1);
        inputs.shuffles.iter().all(|store| self.is_complete(*store))
            && inputs.persisted.iter().all(|key| self.is_done(*key))
    }

    fn task_ended(&mut self, task: TaskId, end: TaskEnd, Ran { duration, worker }: Ran) {
        let Some(Running { key, stage, attempt }) = self.running.remove(&task) else {
            // Late: cancelled, or answered before. Whatever it made is not wanted.
            if self.state_of_generation(task).is_none() {
                self.out.push(Command::Discard { task });
            }
            return;
        };
        self.mean_task = (self.mean_task * 7 + duration) / 8;
        match end {
            TaskEnd::Done { rows, bytes, passing, print } => {
                if let Some(twin) = self.part(task) {
                    self.stop(twin);
                }
                if self.limits.speculation.is_some()
                    && let Some(run) = self.stores.get_mut(&key.0).and_then(|store| store.run.as_mut())
                {
                    run.times.add(duration);
                }
                self.emit(Event::TaskFinished { task, stage, partition: key.1, rows, bytes, duration, worker });
                self.done(key, task, (rows, bytes, print), passing);
            }
            TaskEnd::InputsLost { lost, cause } => {
                self.out.push(Command::Discard { task });
                let error = match (cause, lost.first()) {
                    (Some(cause), _) => TaskError::SpillUnreadable { cause },
                    (None, Some(((store, partition), generation))) => {
                        TaskError::InputLost { store: *store, partition: *partition, generation: Some(*generation) }
                    }
                    (None, None) => TaskError::OutputLost,
                };
                let alone = self.set_idle(key, task);
                for (input, generation) in lost {
                    self.lost(input, generation);
                }
                self.lost_again(key, (task, stage, attempt), alone, error);
            }
            TaskEnd::Failed { error: error @ (TaskError::OutputLost | TaskError::InputLost { .. }), .. } => {
                self.out.push(Command::Discard { task });
                let alone = self.set_idle(key, task);
                self.lost_again(key, (task, stage, attempt), alone, error);
            }
            TaskEnd::Failed { error, rdd, operator, rows } => {
                self.out.push(Command::Discard { task });
                let causes = self.causes.entry(key).or_default();
                let retried = error.is_retryable() && causes.len() + 1 < self.limits.task_failures;
                let text = error.to_string();
                causes.push(FailedAttempt { attempt, rdd, operator, rows, error });
                self.emit(Event::TaskFailed { task, stage, partition: key.1, attempt, error: text, retried });
                let alone = self.set_idle(key, task);
                if !retried {
                    self.fail(key, stage);
                } else if alone {
                    self.make_ready(key, false);
                }
            }
        }
    }

    /// The partition that holds what this attempt made, if that still counts.
    fn state_of_generation(&self, task: TaskId) -> Option<Key> {
        self.stores.iter().find_map(|(id, store)| {
            let at = store.nodes.iter().position(|node| node.state == State::Done { generation: task })?;
            Some((*id, at))
        })
    }

    /// Nobody computes the partition any more, unless another task than the one that ended does: whether that is so.
    fn set_idle(&mut self, key: Key, ended: TaskId) -> bool {
        if self.goes_on(key, ended) {
            return false;
        }
        if let Some(node) = self.node(key) {
            node.state = State::Idle;
        }
        true
    }

    /// A task could not run, or its rows could not be kept, for no fault of its own.
    fn lost_again(&mut self, key: Key, (task, stage, attempt): (TaskId, StageId, u32), alone: bool, error: TaskError) {
        self.lossy = true;
        let limit = self.limits.losses;
        let Some(node) = self.node(key) else { return };
        node.losses += 1;
        let losses = node.losses;
        let retried = losses < limit;
        let text = error.to_string();
        self.emit(Event::TaskFailed { task, stage, partition: key.1, attempt, error: text, retried });
        if retried {
            let Some(job) = self.stores[&key.0].run.as_ref().map(|run| run.job).filter(|_| alone) else { return };
            self.demand(job, key);
            self.settled(key.0);
            return;
        }
        let jobs = self.jobs_that_demand(key);
        self.lost_too_often(key, stage, losses, &jobs, &error);
    }

    fn lost_too_often(&mut self, key: Key, stage: StageId, losses: u32, jobs: &[JobId], last: &TaskError) {
        let spec = &self.stores[&key.0].spec;
        let (rdd, operator) = (spec.rdd, spec.name.clone());
        self.end_jobs(
            jobs,
            Err(&|_| Error::LostTooOften {
                rdd,
                operator: operator.clone(),
                stage,
                partition: key.1,
                losses,
                last: last.clone(),
            }),
        );
    }

    fn done(&mut self, key: Key, task: TaskId, (rows, bytes, print): (u64, u64, Print), passing: bool) {
        self.causes.remove(&key);
        self.has_read(key);
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        let (kind, rdd) = (store.spec.kind, store.spec.rdd);
        store.nodes[key.1] =
            Node { state: State::Done { generation: task }, attempts: 0, losses: 0, print: Some(print) };
        store.done += 1;
        let before = store.before.remove(&key.1).filter(|before| !before.is_like(print));
        let mut woken = self.waiters.remove(&key).unwrap_or_default();
        if store.done == store.nodes.len() {
            woken.append(&mut store.waiting_for_all);
        }
        if kind == StageKind::Result {
            let job = self.jobs.iter().find(|(_, job)| job.result == key.0).map(|(id, _)| *id);
            if let Some(job) = job {
                self.out.push(Command::Accept { job, partition: key.1 });
                self.settled(key.0);
                let over = self.jobs.get_mut(&job).is_some_and(|job| {
                    job.unfinished.remove(&key.1);
                    job.unfinished.is_empty()
                });
                if over {
                    self.end_jobs(&[job], Ok(()));
                }
                return;
            }
        } else {
            self.out.push(Command::Count { key, task });
            self.emit(Event::PartitionStored { store: key.0, rdd, partition: key.1, task, rows, bytes });
        }
        self.settled(key.0);
        if passing && kind == StageKind::Persist {
            self.passing.insert(key, woken.iter().copied().collect());
            self.wake(woken);
            self.drop_passed(&[key]);
        } else {
            self.wake(woken);
        }
        if let Some(before) = before {
            self.differs(key, task, (before, print));
        }
    }

    /// A partition was made again, and is not what it was. Jobs that have read the one and are about to read the other
    /// would mix them.
    fn differs(&mut self, key: Key, task: TaskId, (before, after): (Print, Print)) {
        let Some(store) = self.stores.get(&key.0) else { return };
        let (rdd, operator) = (store.spec.rdd, store.spec.name.clone());
        self.emit(Event::PartitionDiffers { store: key.0, rdd, partition: key.1, task, before, after });
        if !self.limits.deterministic {
            return;
        }
        let has_read = |(_, job): &(&JobId, &Job)| {
            // A store that is shared brings others with it, also the results of others.
            let of_others =
                |store: &StoreId| *store != job.result && self.jobs.values().any(|job| job.result == *store);
            let mut own = job.stores.iter().filter(|store| !of_others(store));
            job.stores.contains(&key.0) && own.any(|store| self.has_read_before(*store, key))
        };
        let jobs: Vec<JobId> = self.jobs.iter().filter(has_read).map(|(id, _)| *id).collect();
        let error = |_| Error::NotDeterministic { rdd, operator: operator.clone(), partition: key.1, before, after };
        self.end_jobs(&jobs, Err(&error));
    }

    /// Whether any partition of `store` was made, or is being made, of this one as it was before it was there again.
    fn has_read_before(&self, store: StoreId, key: Key) -> bool {
        let Some(Store { nodes, spec, .. }) = self.stores.get(&store).filter(|_| store != key.0) else { return false };
        (0..).zip(nodes).any(|(at, node)| {
            let inputs = || spec.inputs.inputs_of(at);
            let reads = |inputs: TaskInputs| inputs.shuffles.contains(&key.0) || inputs.persisted.contains(&key);
            matches!(node.state, State::Done { .. } | State::Running { .. }) && reads(inputs())
        })
    }

    /// A task is about to read what was perhaps not there, or not passing, when it was demanded.
    fn will_read(&mut self, reader: Key) {
        if self.passing.is_empty() {
            return;
        }
        let Some(store) = self.stores.get(&reader.0) else { return };
        for input in store.spec.inputs.inputs_of(reader.1).persisted {
            if let Some(readers) = self.passing.get_mut(&input) {
                readers.insert(reader);
            }
        }
    }

    /// A task is done with what it reads: by another plan than the newest, perhaps. Few partitions pass at a time.
    fn has_read(&mut self, reader: Key) {
        if let Some(store) = self.stores.get(&reader.0).filter(|_| !self.unread.is_empty()) {
            let inputs = store.spec.inputs.inputs_of(reader.1);
            self.unread.retain(|key, _| !inputs.shuffles.contains(&key.0) && !inputs.persisted.contains(key));
        }
        self.forget_readers(|other| *other != reader);
    }

    /// Drops those of these partitions that are passing and have no reader left.
    fn drop_passed(&mut self, keys: &[Key]) {
        for key in keys {
            if self.passing.get(key).is_none_or(|readers| !readers.is_empty()) {
                continue;
            }
            self.passing.remove(key);
            let Some(store) = self.stores.get_mut(&key.0) else { continue };
            let State::Done { generation } = store.nodes[key.1].state else { continue };
            // From now on, what is ready may have to wait again.
            self.lossy = true;
            store.was_there(key.1);
            store.all_wanted = false;
            let rdd = store.spec.rdd;
            self.out.push(Command::Discard { task: generation });
            self.emit(Event::PartitionDropped { store: key.0, rdd, partition: key.1, task: generation });
        }
    }

    /// Drops a stored partition that nobody reads.
    fn evict(&mut self, key: Key, generation: TaskId) {
        if !self.is_used(key.0) && self.state(key) == Some(State::Done { generation }) {
            self.passing.entry(key).or_default();
            self.drop_passed(&[key]);
        }
    }

    /// Whoever does not want anything any more reads nothing, either.
    fn forget_readers(&mut self, wanted: impl Fn(&Key) -> bool) {
        if self.passing.is_empty() {
            return;
        }
        self.passing.values_mut().for_each(|readers| readers.retain(&wanted));
        let passed: Vec<Key> = self.passing.keys().copied().collect();
        self.drop_passed(&passed);
    }

    /// One thing that each of these waited for is there. What can run now runs first, while its input is warm.
    fn wake(&mut self, woken: Vec<Key>) {
        let mut ready = Vec::new();
        for key in woken {
            let Some(node) = self.node(key) else { continue };
            if let State::Waiting { missing } = &mut node.state {
                *missing -= 1;
                if *missing == 0 {
                    ready.push(key);
                }
            }
        }
        ready.sort_unstable();
        for key in ready.into_iter().rev() {
            self.make_ready(key, true);
        }
    }

    /// The actor of a partition died. Before its task was done, it takes the rows, and their report, with it.
    fn gone(&mut self, key: Key, generation: TaskId) {
        if self.state(key) == Some(State::Done { generation }) {
            self.lost(key, generation);
            self.lost_unread(key, generation);
        } else if let Some(Running { stage, attempt, .. }) = self.running.remove(&generation) {
            self.out.push(Command::Cancel { task: generation });
            self.out.push(Command::Discard { task: generation });
            let alone = self.set_idle(key, generation);
            self.lost_again(key, (generation, stage, attempt), alone, TaskError::OutputLost);
        }
    }

    /// A stored partition is gone. It is rebuilt at once if somebody waits for it, else when it is demanded.
    fn lost(&mut self, key: Key, generation: TaskId) {
        if self.state(key) != Some(State::Done { generation }) {
            return;
        }
        self.lossy = true;
        self.passing.remove(&key);
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        store.was_there(key.1);
        let rdd = store.spec.rdd;
        let waiter = store.waiting_for_all.first().copied();
        store.all_wanted = waiter.is_some();
        self.out.push(Command::Discard { task: generation });
        self.emit(Event::PartitionLost { store: key.0, rdd, partition: key.1, task: generation });
        if let Some(waiter) = waiter
            && let Some(run) = &self.stores[&waiter.0].run
        {
            let job = run.job;
            self.demand(job, key);
        }
    }

    /// A stored partition died. If it does so again and again before anybody has read it, jobs would wait for ever: what
    /// they read may never be there all at once.
    fn lost_unread(&mut self, key: Key, generation: TaskId) {
        if !self.jobs.values().any(|job| job.stores.contains(&key.0)) {
            return;
        }
        let losses = self.unread.entry(key).or_default();
        *losses += 1;
        let losses = *losses;
        if losses < self.limits.losses {
            return;
        }
        self.unread.remove(&key);
        let jobs = self.jobs_that_demand(key);
        let Some(job) = jobs.first() else { return };
        // Unless it is being computed again already: it takes a stage to name.
        self.demand(*job, key);
        let last = TaskError::InputLost { store: key.0, partition: key.1, generation: Some(generation) };
        if let Some(stage) = self.stores[&key.0].run.as_ref().map(|run| run.stage) {
            self.lost_too_often(key, stage, losses, &jobs, &last);
        }
    }

    /// A task has failed for good: so have the jobs that cannot do without it.
    fn fail(&mut self, key: Key, stage: StageId) {
        let causes = self.causes.remove(&key).unwrap_or_default();
        let jobs = self.jobs_that_demand(key);
        let Some(first) = causes.first() else { return };
        let (rdd, operator) = (first.rdd, first.operator.clone());
        self.end_jobs(
            &jobs,
            Err(&|_| Error::TaskFailed {
                rdd,
                operator: operator.clone(),
                stage,
                partition: key.1,
                causes: causes.clone(),
            }),
        );
    }

    fn jobs_that_demand(&self, key: Key) -> Vec<JobId> {
        self.jobs.keys().copied().filter(|job| self.demanded_by(*job).contains(&key)).collect()
    }

    /// All the partitions that a job still needs and that are not there. A running task has been given what it reads:
    /// should that be lost meanwhile, it may well end without missing it.
    fn demanded_by(&self, job: JobId) -> HashSet<Key> {
        let mut found = HashSet::new();
        let Some(job) = self.jobs.get(&job) else { return found };
        let mut whole: HashSet<StoreId> = HashSet::new();
        let mut open: Vec<Key> = job.unfinished.iter().map(|partition| (job.result, *partition)).collect();
        while let Some(key) = open.pop() {
            let Some(store) = self.stores.get(&key.0) else { continue };
            let state = store.nodes[key.1].state;
            let fresh = !matches!(state, State::Done { .. }) && found.insert(key);
            if !fresh || matches!(state, State::Running { .. }) {
                continue;
            }
            let inputs = store.spec.inputs.inputs_of(key.1);
            for shuffle in inputs.shuffles {
                if !self.is_complete(shuffle) && whole.insert(shuffle) {
                    open.extend((0..self.stores[&shuffle].nodes.len()).map(|partition| (shuffle, partition)));
                }
            }
            open.extend(inputs.persisted);
        }
        found
    }

    /// Ends jobs, and stops whatever only they wanted.
    fn end_jobs(&mut self, jobs: &[JobId], outcome: Result<(), &dyn Fn(JobId) -> Error>) {
        let mut forgotten: BTreeSet<StoreId> = BTreeSet::new();
        let (mut touched, failed) = (false, outcome.is_err());
        for id in jobs {
            let Some(job) = self.jobs.remove(id) else { continue };
            let outcome = outcome.map_err(|error| error(*id));
            let result = self.stores.remove(&job.result);
            for node in result.iter().flat_map(|store| &store.nodes) {
                if let State::Running { task } = node.state {
                    self.stop(task);
                }
            }
            if let Some(run) = result.and_then(|store| store.run)
                && run.announced
            {
                self.emit(Event::StageFinished { stage: run.stage });
            }
            self.causes.retain(|key, _| key.0 != job.result);
            self.forget_readers(|reader| reader.0 != job.result);
            self.out.push(Command::DropStore { store: job.result });
            self.emit(Event::JobFinished { job: *id, end: JobEnd::of(&outcome) });
            self.out.push(Command::FinishJob { job: *id, outcome });
            forgotten.extend(job.stores.iter().filter(|id| self.stores.get(id).is_some_and(|store| store.forgotten)));
            // A job that has what it wanted, and made it all by itself, leaves nothing to others and wants no more.
            touched |= failed || job.stores.iter().any(|id| self.stores.contains_key(id));
        }
        self.unread.retain(|key, _| self.jobs.values().any(|job| job.stores.contains(&key.0)));
        if touched && self.stores.values().any(|store| store.run.is_some()) {
            self.sweep();
        }
        for store in forgotten {
            self.forget(store);
        }
    }

    /// Starts the bookkeeping of demand afresh from the jobs that live: nothing else may stay wanted.
    fn sweep(&mut self) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        let mut needed: HashMap<Key, JobId> = HashMap::new();
        for job in &jobs {
            self.demanded_by(*job).into_iter().for_each(|key| _ = needed.entry(key).or_insert(*job));
        }
        self.ready.clear();
        self.waiters.clear();
        self.causes.retain(|key, _| needed.contains_key(key));
        let (mut over, mut stopped) = (Vec::new(), Vec::new());
        for (id, store) in &mut self.stores {
            store.waiting_for_all.clear();
            store.all_wanted = false;
            let (mut running, mut heir) = (0, None);
            for (partition, node) in store.nodes.iter_mut().enumerate() {
                let wanted = needed.get(&(*id, partition));
                match node.state {
                    State::Done { .. } => {}
                    State::Running { .. } if wanted.is_some() => {
                        running += 1;
                        heir = heir.or(wanted);
                    }
                    State::Running { task } => {
                        stopped.push(task);
                        *node = Node::IDLE;
                    }
                    State::Idle | State::Waiting { .. } | State::Ready if wanted.is_some() => node.state = State::Idle,
                    // Whoever wants it next gets all the attempts again.
                    State::Idle | State::Waiting { .. } | State::Ready => *node = Node::IDLE,
                }
            }
            if let Some(run) = &mut store.run {
                run.pending = running;
                if let Some(heir) = heir
                    && !self.jobs.contains_key(&run.job)
                {
                    run.job = *heir;
                }
                over.push(*id);
            }
        }
        stopped.into_iter().for_each(|task| self.stop(task));
        self.forget_readers(|reader| needed.contains_key(reader));
        for id in jobs {
            let Some(job) = self.jobs.get(&id) else { continue };
            let result = job.result;
            for partition in job.unfinished.clone() {
                self.demand(id, (result, partition));
            }
        }
        for id in over {
            let Some(store) = self.stores.get_mut(&id) else { continue };
            if let Some(run) = store.run.take_if(|run| run.pending == 0)
                && run.announced
            {
                self.emit(Event::StageFinished { stage: run.stage });
            }
        }
    }

    /// Releases a store, now or when the last job that may read it has ended.
    fn forget(&mut self, id: StoreId) {
        let used = self.is_used(id);
        let Some(store) = self.stores.get_mut(&id) else { return };
        store.forgotten = true;
        if used {
            return;
        }
        let event = Event::StoreDropped { store: id, rdd: store.spec.rdd, partitions: store.done };
        self.stores.remove(&id);
        self.causes.retain(|key, _| key.0 != id);
        self.passing.retain(|key, _| key.0 != id);
        self.out.push(Command::DropStore { store: id });
        self.emit(event);
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
