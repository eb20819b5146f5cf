//! The coordinator's actor: a thin shell around the machine.
//! Told by: callers (`Submit`, `CancelJob`, `Forget`, …), workers (`TaskReport`), partition actors (`PartitionGone`).
//! Owns: the plans, the addresses and slots of all partition actors, the results of jobs under way.
//! It never decides anything, computes over rows, or waits.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult};
use emberflow_core::{
    backend::{CachedPartition, JobOutput, StoreState},
    chaos::Chaos,
    error::{Error, Result},
    event::{Event, JobEnd, JobLabels},
    ids::{JobId, PartitionIndex, RddId, StoreId, StorePartition, TaskId},
    plan::{Sink, StageKind, StageOutline, StagePlan},
    segments::Footprint,
    task::{AtWork, Io},
    update::Updates,
};
use tokio::sync::oneshot;
use tracing::Span;

use super::{
    machine::{Command, Input, Launch, Limits, Machine, StageSpec, TaskEnd, WorkerTime},
    residents::{Eviction, Resident, Residents},
    watch::{AtTask, NOBODY_AT_WORK, Patience, Seen, Waits, Watch},
};
use crate::{
    bus::Bus,
    governor::{Governor, Ledger, PendingRelease},
    mail::{Break, post},
    partition::{Dismiss, Kill, PartitionActor, Spill},
    pool::PoolHandle,
    slot::{Slot, StoreSlots, TaskSlots},
    spans::Spans,
    spill::SpillFiles,
    task_run::{Elsewhere, TaskRun},
};

/// The parts that the shell needs to carry out commands.
pub(crate) struct Start {
    pub(crate) limits: Limits,
    pub(crate) batch_rows: usize,
    pub(crate) pool: PoolHandle,
    pub(crate) io: Arc<dyn Io>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) governor: Addr<Governor>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) files: Arc<SpillFiles>,
    pub(crate) chaos: Chaos,
    pub(crate) patience: Patience,
    pub(crate) elsewhere: Arc<OnceLock<Arc<dyn Elsewhere>>>,
}

/// The addresses that partition actors and tasks talk to. They are shared, since each clone of an address costs two
/// allocations.
pub(crate) struct Links {
    pub(crate) coordinator: Addr<Coordinator>,
    pub(crate) governor: Addr<Governor>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) files: Arc<SpillFiles>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) pool: PoolHandle,
    pub(crate) chaos: Chaos,
    /// Set if tasks run in other processes.
    pub(crate) elsewhere: Arc<OnceLock<Arc<dyn Elsewhere>>>,
}

pub(crate) struct Coordinator {
    machine: Machine,
    with: Start,
    /// Known once the actor has started.
    links: Option<Arc<Links>>,
    stores: HashMap<StoreId, StoreShell>,
    actors: HashMap<TaskId, (StorePartition, Addr<PartitionActor>, Arc<Slot>)>,
    /// Attempts that were handed to the workers: for which job, and whether they are cancelled.
    running: HashMap<TaskId, (JobId, Arc<AtomicBool>)>,
    jobs: HashMap<JobId, JobShell>,
    residents: Residents,
    spans: Spans,
    watch: Watch,
    /// While all workers wait, and a job for one of them.
    waits: Option<Waits>,
    stopped: bool,
}

struct StoreShell {
    plan: Arc<StagePlan>,
    slots: Vec<Option<Arc<Slot>>>,
    /// The same, for the tasks that read all of them; made when asked for, and again after a change.
    shared: Option<StoreSlots>,
    counts: Counts,
    computed: u64,
    compute_time: Duration,
    dropped: u64,
}

impl StoreShell {
    fn new(plan: Arc<StagePlan>) -> Self {
        let slots = vec![None; plan.partitions];
        let counts = Counts::default();
        Self { slots, plan, shared: None, counts, computed: 0, compute_time: Duration::ZERO, dropped: 0 }
    }
}

/// The updates of accumulators by the tasks of a store: of each partition once, however often it is computed.
#[derive(Default)]
struct Counts {
    /// For the first job that reads the store and succeeds.
    waiting: BTreeMap<PartitionIndex, Updates>,
    given: BTreeSet<PartitionIndex>,
}

struct JobShell {
    outcome: oneshot::Sender<Result<JobOutput>>,
    results: JobOutput,
    /// The stores that the job may read, parents first.
    stores: Vec<StoreId>,
    labels: JobLabels,
    /// The stages that the job is made of, until that was told.
    outline: Option<Vec<StageOutline>>,
}

/// The output of a task besides its rows.
#[derive(Default)]
pub(crate) struct Made {
    /// The result, if it was the action's stage.
    pub(crate) value: Option<Box<dyn Any + Send>>,
    /// The updates of accumulators.
    pub(crate) updates: Updates,
    /// How long it took.
    pub(crate) took: Duration,
    /// The bytes that the task's rows took in memory before they were spilled, and those that they take on disk.
    pub(crate) spilled: Option<(u64, u64)>,
    /// Its rows as far as they are in memory to stay.
    pub(crate) resident: Option<Resident>,
    /// All of them, if they are not, for want of room.
    pub(crate) refused: Option<Resident>,
}

impl Coordinator {
    pub(crate) fn new(with: Start) -> Self {
        Self {
            machine: Machine::new(with.limits),
            watch: Watch::new(with.patience),
            with,
            links: None,
            stores: HashMap::new(),
            actors: HashMap::new(),
            running: HashMap::new(),
            jobs: HashMap::new(),
            residents: Residents::default(),
            spans: Spans::default(),
            waits: None,
            stopped: false,
        }
    }

    fn step(&mut self, input: Input, made: Made) {
        self.watch.stirs();
        self.step_unseen(input, made);
    }

    /// As [`step`](Self::step), of what is no sign of life.
    fn step_unseen(&mut self, input: Input, mut made: Made) {
        let Some(links) = self.links.clone().filter(|_| !self.stopped) else { return };
        for command in self.machine.step(input) {
            match command {
                Command::Emit(event) => {
                    self.with.bus.publish(&event);
                    self.spans.follow(&event);
                    if let Event::PartitionDiffers { rdd, partition, before, after, .. } = &event {
                        tracing::warn!(%rdd, partition, %before, %after, "made again, it is not what it was");
                    }
                    if let Event::PartitionDropped { store, .. } = event
                        && let Some(shell) = self.stores.get_mut(&store)
                    {
                        shell.dropped += 1;
                    }
                    if let Event::JobStarted { job, .. } = event
                        && let Some(JobShell { labels, outline, .. }) = self.jobs.get_mut(&job)
                    {
                        if let Some(stages) = outline.take() {
                            self.with.bus.publish(&Event::JobPlanned { job, stages });
                        }
                        if !labels.is_empty() {
                            self.with.bus.publish(&Event::JobLabelled { job, labels: labels.clone() });
                        }
                    }
                }
                Command::Launch(launch) => self.launch(launch, &links),
                Command::Cancel { task } => {
                    if let Some((_, cancelled)) = self.running.remove(&task) {
                        cancelled.store(true, Ordering::Relaxed);
                        self.with.ledger.turns.notify();
                    }
                }
                Command::Discard { task } => {
                    if let Some((key, actor, _)) = self.actors.remove(&task) {
                        self.residents.gone(key, task);
                        // A dead one has nothing left to discard.
                        let _ = post(&actor, Dismiss);
                    }
                }
                Command::Accept { job, partition } => {
                    if let (Some(job), Some(value)) = (self.jobs.get_mut(&job), made.value.take()) {
                        job.results.push(partition, value, std::mem::take(&mut made.updates));
                    }
                }
                Command::Count { key: (store, partition), task } => {
                    self.is_the_one((store, partition), task);
                    if let Some(resident) = made.resident.take() {
                        self.residents.stored((store, partition), resident);
                    }
                    if let Some(shell) = self.stores.get_mut(&store) {
                        shell.computed += 1;
                        shell.compute_time += made.took;
                    }
                    if let Some(StoreShell { counts, .. }) = self.stores.get_mut(&store)
                        && !made.updates.is_empty()
                        && !counts.given.contains(&partition)
                    {
                        let before = counts.waiting.insert(partition, std::mem::take(&mut made.updates));
                        made.updates = before.unwrap_or_default();
                    }
                }
                Command::DropStore { store } => {
                    self.residents.forget(store);
                    let Some(shell) = self.stores.remove(&store) else { continue };
                    for slot in shell.slots.iter().flatten() {
                        if let Some((_, actor, _)) = self.actors.remove(&slot.generation) {
                            let _ = post(&actor, Dismiss);
                        }
                    }
                    self.drop_on_worker(shell);
                }
                Command::FinishJob { job, outcome } => {
                    self.residents.job_ended();
                    if let Some(JobShell { outcome: send, results, stores, .. }) = self.jobs.remove(&job) {
                        let outcome = match outcome {
                            Ok(()) => Ok(results.finish(self.give_updates(&stores))),
                            Err(error) => {
                                self.drop_on_worker(results);
                                Err(error)
                            }
                        };
                        if let Err(unwanted) = send.send(outcome) {
                            // Whoever dropped the handle does not want to know.
                            let unwanted = unwanted.map(|output| self.take_updates_back(output));
                            self.drop_on_worker(unwanted);
                        }
                    }
                }
            }
        }
        if made.value.is_some() || !made.updates.is_empty() {
            self.drop_on_worker(made);
        }
    }

    /// The updates of accumulators by the tasks of these stores, as far as no job was given them before.
    fn give_updates(&mut self, stores: &[StoreId]) -> Vec<(StorePartition, Updates)> {
        let mut given = Vec::new();
        for store in stores {
            let Some(StoreShell { counts, .. }) = self.stores.get_mut(store) else { continue };
            counts.given.extend(counts.waiting.keys());
            let waiting = std::mem::take(&mut counts.waiting);
            given.extend(waiting.into_iter().map(|(partition, updates)| ((*store, partition), updates)));
        }
        given
    }

    /// A job that nobody waited for was given updates: they wait for the next one.
    fn take_updates_back(&mut self, mut output: JobOutput) -> JobOutput {
        for ((store, partition), updates) in output.take_stored_updates() {
            if let Some(StoreShell { counts, .. }) = self.stores.get_mut(&store) {
                counts.given.remove(&partition);
                counts.waiting.insert(partition, updates);
            }
        }
        output
    }

    /// A partition of a store found no room: partitions that are worth less make room for those of it that are still
    /// to come.
    fn make_room(&mut self, store: StoreId, refused: Resident) {
        let (pending, disk) = (self.machine.pending(store), self.with.ledger.disk_cost());
        let evicted = self.residents.evict(store, refused, pending, disk, |store| self.machine.is_used(store));
        for (key, generation, how) in evicted {
            match how {
                Eviction::Drop => self.step(Input::Evict { key, generation }, Made::default()),
                Eviction::Spill => self.spill(generation),
            }
        }
    }

    fn spill(&self, generation: TaskId) {
        if let Some((_, actor, _)) = self.actors.get(&generation) {
            // A dead one holds nothing.
            let _ = post(actor, Spill { pending: self.with.ledger.pending_release() });
        }
    }

    /// Makes this attempt the one whose output readers get: of two at a partition, it was first.
    fn is_the_one(&mut self, key: StorePartition, task: TaskId) {
        if let (Some(store), Some((_, _, slot))) = (self.stores.get_mut(&key.0), self.actors.get(&task)) {
            let current = &mut store.slots[key.1];
            if current.as_ref().is_none_or(|current| current.generation != task) {
                *current = Some(Arc::clone(slot));
                store.shared = None;
            }
        }
    }

    /// Looks what the workers are at, and does what there is to be done about it.
    fn look_around(&mut self, ctx: &mut Context<Self>) {
        if self.stopped {
            return;
        }
        let (at_work, running) = (self.with.pool.roster().at_work(), &self.running);
        let seen = self.watch.look(&at_work, |task| running.contains_key(&task), !self.jobs.is_empty());
        let Some(Seen { tasks, still }) = seen else { return };
        for AtTask { worker, at, took, given_up } in &tasks {
            let (is_wanted, patience) = (self.running.contains_key(&at.task), self.with.patience);
            if is_wanted && patience.deadline.is_some_and(|limit| *took > limit) {
                self.overdue(at.task, at.rdd, patience.deadline.unwrap_or_default());
            } else if !is_wanted && patience.is_over(*given_up) {
                self.relieve(*worker, at.task);
            }
        }
        // Where attempts have a deadline, or jobs may stall for so long only, they end by that.
        if !still.is_zero()
            && self.with.patience.shortest().is_none()
            && self.waits.is_none()
            && self.job_waits(&at_work)
        {
            self.waits = Some(Waits::default());
            self.stand_in(ctx);
        }
        if self.with.limits.speculation.is_some() {
            let tasks = tasks.iter().map(|task| (task.at.task, task.took)).collect();
            self.step_unseen(Input::AtWork { tasks }, Made::default());
        }
        let limit = if tasks.is_empty() { Some(NOBODY_AT_WORK) } else { self.with.patience.stall };
        if let Some(limit) = limit.filter(|limit| still >= *limit) {
            let shell = self.describe(&tasks);
            self.step(Input::Stalled { limit, shell }, Made::default());
        }
    }

    /// Returns whether all workers wait, each in a task of a job that is older than one that has not begun.
    fn job_waits(&self, at_work: &[Option<AtWork>]) -> bool {
        let Some(newest) = self.jobs.keys().max() else { return false };
        let is_older = |at: &AtWork| self.running.get(&at.task).is_some_and(|(job, _)| job < newest);
        at_work.iter().all(|at| at.as_ref().is_some_and(is_older)) && self.with.pool.roster().all_wait()
    }

    /// Has other threads stand in for the workers if they wait, until the newest job has begun.
    fn stand_in(&mut self, ctx: &mut Context<Self>) {
        let at_work = self.with.pool.roster().at_work();
        if self.stopped || !self.job_waits(&at_work) {
            self.waits = None;
            return;
        }
        let at_work: Vec<AtWork> = at_work.into_iter().flatten().collect();
        if self.waits.get_or_insert_default().go_on(&at_work) {
            for (worker, at) in at_work.iter().enumerate() {
                match self.with.pool.stand_in(worker, at.task) {
                    Ok(true) => {
                        tracing::debug!(worker, task = %at.task, "a task may wait for a job: another thread stands in");
                        self.step_unseen(Input::Away { task: at.task }, Made::default());
                    }
                    Ok(false) => {}
                    Err(error) => tracing::error!(worker, %error, "tasks may wait for a job, and no thread can start"),
                }
            }
        }
        ctx.run_later(Waits::INTERVAL, Self::stand_in);
    }

    fn overdue(&mut self, task: TaskId, rdd: Option<RddId>, limit: Duration) {
        let Some((store, _)) = self.machine.key_of(task) else { return };
        let Some(plan) = self.stores.get(&store).map(|shell| Arc::clone(&shell.plan)) else { return };
        let (rdd, operator) = match rdd {
            Some(rdd) => (rdd, plan.operator(rdd).to_string()),
            None => (plan.rdd, plan.info.to_string()),
        };
        self.step(Input::Overdue { task, limit, rdd, operator }, Made::default());
    }

    fn relieve(&self, worker: usize, task: TaskId) {
        match self.with.pool.relieve(worker, task) {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(worker, %task, "a thread does not end what was given up: another one takes its place");
                self.with.bus.publish(&Event::WorkerReplaced { worker, task });
            }
            Err(error) => tracing::error!(worker, %task, %error, "a thread does not come back, and no other can start"),
        }
    }

    /// The work that the workers are at, and the state of the memory; a line each.
    fn describe(&self, tasks: &[AtTask]) -> String {
        let mut told = String::new();
        for AtTask { worker, at, took, .. } in tasks {
            let plan = self.machine.key_of(at.task).and_then(|key| Some(&self.stores.get(&key.0)?.plan));
            let operator = match (plan, at.rdd) {
                (Some(plan), Some(rdd)) => plan.operator(rdd).to_string(),
                (Some(plan), None) => plan.info.to_string(),
                (None, _) => "what was given up".to_owned(),
            };
            told.push_str(&format!("\n  worker {worker} has been at {} for {took:?}, in {operator}", at.task));
        }
        if tasks.is_empty() {
            told.push_str("\n  no worker is at work: this is a bug of emberflow, please report it");
        }
        let memory = self.with.ledger.read();
        told + &format!("\n  {} of {} bytes of memory are taken", memory.persisted + memory.working, memory.budget)
    }

    /// Drops what may be large, or the user's: not here, where it would hold up everybody, and where a panic would be
    /// the end.
    fn drop_on_worker(&self, value: impl Send + 'static) {
        self.with.pool.submit(Box::new(move || drop(value)));
    }

    fn launch(&mut self, launch: Launch, links: &Arc<Links>) {
        let Launch { task, stage, job, key, attempt, care } = launch;
        let Some(plan) = self.stores.get(&key.0).map(|store| Arc::clone(&store.plan)) else { return };
        let slots = self.slots_of(&plan, key.1);
        let owner = matches!(plan.sink, Sink::Store(_)).then(|| self.start_partition(task, key, links));
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running.insert(task, (job, Arc::clone(&cancelled)));
        let run = TaskRun {
            task,
            stage,
            job,
            partition: key.1,
            attempt,
            plan,
            slots,
            cancelled,
            batch_rows: if care { 1 } else { self.with.batch_rows },
            io: Arc::clone(&self.with.io),
            owner,
            links: Arc::clone(links),
            span: self.spans.stage(stage),
        };
        self.with.pool.submit(Box::new(move || run.run()));
    }

    fn start_partition(&mut self, task: TaskId, key: StorePartition, links: &Arc<Links>) -> Addr<PartitionActor> {
        let slot = Arc::new(Slot::new(task));
        if let Some(store) = self.stores.get_mut(&key.0) {
            store.slots[key.1] = Some(Arc::clone(&slot));
            store.shared = None;
        }
        let actor =
            PartitionActor { key, slot: Arc::clone(&slot), links: Arc::clone(links), room: None, dismissed: false };
        let addr = actor.start();
        self.actors.insert(task, (key, addr.clone(), slot));
        addr
    }

    fn slots_of(&mut self, plan: &StagePlan, partition: PartitionIndex) -> TaskSlots {
        let inputs = plan.inputs_of(partition);
        let mut slots = TaskSlots::default();
        for store in inputs.shuffles {
            if let Some(shell) = self.stores.get_mut(&store) {
                let shared = shell.shared.get_or_insert_with(|| shell.slots.as_slice().into());
                slots.shuffles.push((store, Arc::clone(shared)));
            }
        }
        for key in inputs.persisted {
            let slot = self.stores.get(&key.0).and_then(|shell| shell.slots[key.1].clone());
            slots.persisted.push((key, slot));
        }
        slots.persisted.sort_unstable_by_key(|(key, _)| *key);
        slots
    }
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 20);
        ctx.run_interval(self.watch.interval(), Self::look_around);
        self.links = Some(Arc::new(Links {
            coordinator: ctx.address(),
            governor: self.with.governor.clone(),
            ledger: Arc::clone(&self.with.ledger),
            files: Arc::clone(&self.with.files),
            bus: Arc::clone(&self.with.bus),
            pool: self.with.pool.clone(),
            chaos: self.with.chaos.clone(),
            elsewhere: Arc::clone(&self.with.elsewhere),
        }));
    }
}

/// From a caller: run these stages, parents first and the action's last, and give what it makes of `wanted`.
pub(crate) struct Submit {
    pub(crate) job: JobId,
    pub(crate) stages: Vec<Arc<StagePlan>>,
    pub(crate) wanted: Vec<PartitionIndex>,
    pub(crate) labels: JobLabels,
    /// The stages, if anybody wants to know them.
    pub(crate) outline: Option<Vec<StageOutline>>,
    /// The span in which the job's action was called.
    pub(crate) span: Span,
    pub(crate) outcome: oneshot::Sender<Result<JobOutput>>,
}

impl Message for Submit {
    type Result = ();
}

impl Handler<Submit> for Coordinator {
    type Result = ();

    fn handle(&mut self, submit: Submit, _: &mut Self::Context) {
        let Submit { job, stages, wanted, labels, outline, span, outcome } = submit;
        if self.stopped {
            // Whoever dropped the handle does not want to know.
            let _ = outcome.send(Err(Error::ContextClosed));
            return;
        }
        let action = stages.last().map(|plan| plan.info.to_string()).unwrap_or_default();
        self.spans.job(job, &action, &span);
        let specs = stages.iter().map(|plan| StageSpec {
            store: plan.store,
            kind: plan.kind,
            rdd: plan.rdd,
            name: plan.info.to_string(),
            partitions: plan.partitions,
            inputs: Arc::clone(plan) as _,
        });
        let stores = stages.iter().map(|plan| plan.store).collect();
        self.residents.job(stages.iter().filter(|plan| plan.kind != StageKind::Result).map(|plan| plan.store));
        let input = Input::Submit { job, action, stages: specs.collect(), wanted };
        for plan in stages {
            match self.stores.entry(plan.store) {
                // The newest plan counts: what it reads may have been persisted, or released, since the last one.
                Entry::Occupied(mut known) => known.get_mut().plan = plan,
                Entry::Vacant(free) => _ = free.insert(StoreShell::new(plan)),
            }
        }
        self.jobs.insert(job, JobShell { outcome, results: JobOutput::default(), stores, labels, outline });
        self.step(input, Made::default());
    }
}

/// From a worker, or from the partition actor that took its rows: a task ended.
pub(crate) struct TaskReport {
    pub(crate) task: TaskId,
    pub(crate) end: TaskEnd,
    pub(crate) made: Made,
    pub(crate) ran: WorkerTime,
}

impl Message for TaskReport {
    type Result = ();
}

impl Handler<TaskReport> for Coordinator {
    type Result = ();

    fn handle(&mut self, report: TaskReport, _: &mut Self::Context) {
        let TaskReport { task, end, mut made, ran } = report;
        made.took = ran.duration;
        self.running.remove(&task);
        if let (Some((bytes, file_bytes)), Some(((store, partition), ..))) = (made.spilled, self.actors.get(&task)) {
            let (store, partition) = (*store, *partition);
            self.with.bus.publish(&Event::PartitionSpilled { store, partition, task, bytes, file_bytes });
        }
        let refused = made.refused.and_then(|refused| Some((self.actors.get(&task)?.0.0, refused)));
        self.step(Input::TaskEnded { task, end, ran }, made);
        if let Some((store, refused)) = refused {
            self.make_room(store, refused);
        }
    }
}

/// From a task that waits for room to work in, and is alone: rows that are kept are to be written.
pub(crate) struct MakeRoom {
    pub(crate) bytes: u64,
    /// Until that was ordered.
    pub(crate) _pending: PendingRelease,
}

impl Message for MakeRoom {
    type Result = ();
}

impl Handler<MakeRoom> for Coordinator {
    type Result = ();

    fn handle(&mut self, MakeRoom { bytes, _pending }: MakeRoom, _: &mut Self::Context) {
        for (_, generation) in self.residents.spill(bytes, self.with.ledger.disk_cost()) {
            self.spill(generation);
        }
    }
}

/// From a partition actor that was told to spill: its rows are on disk.
pub(crate) struct Evicted {
    pub(crate) key: StorePartition,
    pub(crate) generation: TaskId,
    pub(crate) bytes: u64,
    pub(crate) file_bytes: u64,
}

impl Message for Evicted {
    type Result = ();
}

impl Handler<Evicted> for Coordinator {
    type Result = ();

    fn handle(&mut self, evicted: Evicted, _: &mut Self::Context) {
        let Evicted { key: (store, partition), generation: task, bytes, file_bytes } = evicted;
        if self.actors.contains_key(&task) {
            self.with.bus.publish(&Event::PartitionSpilled { store, partition, task, bytes, file_bytes });
        }
    }
}

/// From a partition actor that died unasked.
pub(crate) struct PartitionGone {
    pub(crate) key: StorePartition,
    pub(crate) generation: TaskId,
}

impl Message for PartitionGone {
    type Result = ();
}

impl Handler<PartitionGone> for Coordinator {
    type Result = ();

    fn handle(&mut self, PartitionGone { key, generation }: PartitionGone, _: &mut Self::Context) {
        let (store, partition) = key;
        self.step(Input::PartitionLost { store, partition, generation }, Made::default());
    }
}

/// From a job's handle: its result is not wanted any more.
pub(crate) struct CancelJob {
    pub(crate) job: JobId,
}

impl Message for CancelJob {
    type Result = ();
}

impl Handler<CancelJob> for Coordinator {
    type Result = ();

    fn handle(&mut self, CancelJob { job }: CancelJob, _: &mut Self::Context) {
        self.step(Input::Cancel { job }, Made::default());
    }
}

/// From the context: end every job. Answers with their ids.
pub(crate) struct CancelAll;

impl Message for CancelAll {
    type Result = Vec<JobId>;
}

impl Handler<CancelAll> for Coordinator {
    type Result = MessageResult<CancelAll>;

    fn handle(&mut self, _: CancelAll, _: &mut Self::Context) -> Self::Result {
        let jobs = self.machine.jobs();
        for job in &jobs {
            self.step(Input::Cancel { job: *job }, Made::default());
        }
        MessageResult(jobs)
    }
}

/// From the context: end the jobs with this label. Answers with their ids.
pub(crate) enum CancelMatching {
    Group(String),
    Tag(String),
}

impl Message for CancelMatching {
    type Result = Vec<JobId>;
}

impl Handler<CancelMatching> for Coordinator {
    type Result = MessageResult<CancelMatching>;

    fn handle(&mut self, which: CancelMatching, _: &mut Self::Context) -> Self::Result {
        let matches = |labels: &JobLabels| match &which {
            CancelMatching::Group(group) => labels.group.as_ref() == Some(group),
            CancelMatching::Tag(tag) => labels.tags.contains(tag),
        };
        let found = self.jobs.iter().filter(|(_, shell)| matches(&shell.labels)).map(|(job, _)| *job);
        let mut jobs: Vec<JobId> = found.collect();
        jobs.sort_unstable();
        for job in &jobs {
            self.step(Input::Cancel { job: *job }, Made::default());
        }
        MessageResult(jobs)
    }
}

/// From a lineage node that was dropped, or unpersisted: the store is not needed any more.
pub(crate) struct Forget {
    pub(crate) store: StoreId,
}

impl Message for Forget {
    type Result = ();
}

impl Handler<Forget> for Coordinator {
    type Result = ();

    fn handle(&mut self, Forget { store }: Forget, _: &mut Self::Context) {
        self.step(Input::Forget { store }, Made::default());
    }
}

/// From a test: kill the actor of a stored partition, as a fault would. Answers with the attempt that made
/// it, or is making it, if there was one; by then it is dead or has the order to die in its mailbox.
pub(crate) struct KillPartition {
    pub(crate) store: StoreId,
    pub(crate) partition: PartitionIndex,
    pub(crate) how: Kill,
}

impl Message for KillPartition {
    type Result = Option<TaskId>;
}

impl Handler<KillPartition> for Coordinator {
    type Result = MessageResult<KillPartition>;

    fn handle(&mut self, kill: KillPartition, _: &mut Self::Context) -> Self::Result {
        let slot = self.stores.get(&kill.store).and_then(|store| store.slots.get(kill.partition)?.as_ref());
        MessageResult(slot.map(|slot| slot.generation).filter(|generation| {
            self.actors.get(generation).is_some_and(|(_, actor, _)| post(actor, kill.how).is_ok())
        }))
    }
}

impl Handler<Break> for Coordinator {
    type Result = ();

    fn handle(&mut self, _: Break, _: &mut Self::Context) {
        Break::strike();
    }
}

/// From the engine, in a worker process: the addresses that its tasks talk to.
pub(crate) struct Lend;

impl Message for Lend {
    type Result = Option<Arc<Links>>;
}

impl Handler<Lend> for Coordinator {
    type Result = MessageResult<Lend>;

    fn handle(&mut self, _: Lend, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.links.clone())
    }
}

/// From anybody: what is there of a store? `None` if no job has needed it yet, or it was released.
pub(crate) struct DescribeStore {
    pub(crate) store: StoreId,
}

impl Message for DescribeStore {
    type Result = Option<StoreState>;
}

impl Handler<DescribeStore> for Coordinator {
    type Result = MessageResult<DescribeStore>;

    fn handle(&mut self, DescribeStore { store }: DescribeStore, _: &mut Self::Context) -> Self::Result {
        let state = self.stores.get(&store).map(|shell| {
            let stored = shell.slots.iter().enumerate().filter_map(|(partition, slot)| {
                let slot = slot.as_ref()?;
                let Footprint { rows, bytes, file_bytes, .. } = slot.footprint()?;
                Some(CachedPartition { partition, task: slot.generation, rows, bytes, spilled_bytes: file_bytes })
            });
            let stored: Vec<CachedPartition> = stored.collect();
            let bytes = stored.iter().map(|partition| partition.bytes).sum();
            let StoreShell { computed, compute_time, dropped, .. } = *shell;
            StoreState { stored, partitions: shell.slots.len(), bytes, computed, compute_time, dropped }
        });
        MessageResult(state)
    }
}

/// From the engine: the context ends. All jobs end with [`Error::ContextClosed`], all tasks are told to stop.
pub(crate) struct Stop;

impl Message for Stop {
    type Result = ();
}

impl Handler<Stop> for Coordinator {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.stopped = true;
        for (_, (_, cancelled)) in self.running.drain() {
            cancelled.store(true, Ordering::Relaxed);
        }
        self.with.ledger.turns.notify();
        for (job, shell) in self.jobs.drain() {
            let outcome = Err(Error::ContextClosed);
            self.with.bus.publish(&Event::JobFinished { job, end: JobEnd::of(&outcome) });
            // A caller that dropped the handle does not want to know.
            let _ = shell.outcome.send(outcome);
        }
        for (_, (_, actor, _)) in self.actors.drain() {
            let _ = post(&actor, Dismiss);
        }
    }
}
