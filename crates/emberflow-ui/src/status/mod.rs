//! The status of an application, past and present, as its events tell it: one fold, [`Status::apply`], and questions.
//!
//! It owns no thread, clock, socket or file: its feeder says when each thing happened. It never grows without bound:
//! the oldest that is over is forgotten first, and what was forgotten stays in the [`Totals`]. Events that were missed
//! leave gaps, never a panic: an event about something unknown is left aside.

mod job;
mod quantiles;
mod stage;
mod store;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use emberflow_core::{
    event::{Event, JobEnd},
    ids::{JobId, StageId, StoreId, TaskId},
    plan::StageKind,
    task::Reads,
};
use emberflow_runtime::{EventRecord, MemoryUse};

use self::stage::{FinishedTask, NewStage};
pub use self::{
    job::{Job, JobState, Kept, Tally},
    quantiles::{QUANTILES, Quantiles},
    stage::{Span, Stage, StageState, Task, TaskState},
    store::{Cell, CellState, Store},
};

/// The longest text of an error that is kept.
const ERROR_BYTES: usize = 2 << 10;

/// Memory is looked at no oftener than this.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs; as Spark's `spark.ui.retainedJobs`.
    pub jobs: usize,
    /// Stages; as Spark's `spark.ui.retainedStages`.
    pub stages: usize,
    /// Tasks of all stages; as Spark's `spark.ui.retainedTasks`.
    pub tasks: usize,
    /// Stages in the plans of jobs.
    pub outlines: usize,
    /// Stores that were released.
    pub released: usize,
    /// Samples of memory.
    pub samples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 1000, stages: 1000, tasks: 100_000, outlines: 20_000, released: 50, samples: 1200 }
    }
}

/// Totals over the whole life of the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs that began.
    pub jobs_started: u64,
    /// Jobs that gave their result.
    pub jobs_succeeded: u64,
    /// Jobs that ended with an error.
    pub jobs_failed: u64,
    /// Jobs that were cancelled.
    pub jobs_cancelled: u64,
    /// Stages that began.
    pub stages_started: u64,
    /// Stages that were not run, since what they make was there.
    pub stages_skipped: u64,
    /// Tasks that gave their rows.
    pub tasks_succeeded: u64,
    /// Tasks that ended without them.
    pub tasks_failed: u64,
    /// Time that the tasks which gave their rows took on their workers.
    pub task_time: Duration,
    /// Rows that tasks wrote, or read for a result.
    pub rows: u64,
    /// The reads of tasks that gave their rows.
    pub reads: Reads,
    /// Partitions that were stored.
    pub partitions_stored: u64,
    /// Partitions that were written to disk.
    pub partitions_spilled: u64,
    /// Bytes that they took there.
    pub spilled_file_bytes: u64,
    /// Partitions that were lost.
    pub partitions_lost: u64,
    /// Partitions that were dropped, since to compute them again is quicker than to write them.
    pub partitions_dropped: u64,
    /// Partitions that were there again after a loss.
    pub partitions_rebuilt: u64,
    /// Events that came too fast to be counted.
    pub events_missed: u64,
}

/// The memory that rows took at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The time of the sample.
    pub at: SystemTime,
    /// The memory that rows took then.
    pub memory: MemoryUse,
}

/// Everything that the events have said so far, within [`Limits`].
#[derive(Debug, Default)]
pub struct Status {
    limits: Limits,
    jobs: BTreeMap<JobId, Job>,
    stages: BTreeMap<StageId, Stage>,
    stores: BTreeMap<StoreId, Store>,
    /// The place of each running task in its stage's list.
    running: HashMap<TaskId, (StageId, usize)>,
    kept_tasks: usize,
    memory: VecDeque<Sample>,
    totals: Totals,
    last: Option<SystemTime>,
}

impl Status {
    /// Nothing has happened yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// All jobs that are remembered, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values()
    }

    /// The job with this id.
    pub fn job(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(&job)
    }

    /// The runs of stages that a job has come to, the last one last: as they are, or as they were when it ended.
    pub fn runs<'a>(&'a self, job: &'a Job) -> impl DoubleEndedIterator<Item = &'a Stage> {
        let live = job.stages.iter().filter(|_| job.is_running()).filter_map(|id| self.stage(*id));
        job.runs.iter().chain(live)
    }

    /// The tally of a job: as it is, or as it was when the job ended.
    pub fn tally(&self, job: &Job) -> Tally {
        job.tally.unwrap_or_else(|| Tally::of(job, self.runs(job)))
    }

    /// The part that a store of a job holds, or held when the job ended.
    pub fn kept(&self, job: &Job, store: StoreId) -> Option<Kept> {
        let kept = job.kept.get(&store)?;
        if !job.is_running() {
            return Some(*kept);
        }
        self.store(store).map(|store| Kept::of(store, kept.losses))
    }

    /// All stages that are remembered, oldest first.
    pub fn stages(&self) -> impl DoubleEndedIterator<Item = &Stage> {
        self.stages.values()
    }

    /// The run of a stage with this id.
    pub fn stage(&self, stage: StageId) -> Option<&Stage> {
        self.stages.get(&stage)
    }

    /// The stores that are there, and those that were released lately.
    pub fn stores(&self) -> impl DoubleEndedIterator<Item = &Store> {
        self.stores.values()
    }

    /// The store with this id.
    pub fn store(&self, store: StoreId) -> Option<&Store> {
        self.stores.get(&store)
    }

    /// The stage and the attempt of a running task.
    pub fn running_task(&self, task: TaskId) -> Option<(&Stage, &Task)> {
        let (stage, at) = self.running.get(&task)?;
        let stage = self.stages.get(stage)?;
        Some((stage, stage.tasks.get(*at)?))
    }

    /// Tasks that were handed to the workers and have not ended.
    pub fn running_tasks(&self) -> usize {
        self.running.len()
    }

    /// The totals over the application's life.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Memory over time, oldest first.
    pub fn memory(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.memory.iter()
    }

    /// When the last event happened.
    pub fn last_event(&self) -> Option<SystemTime> {
        self.last
    }

    /// Notes what rows take in memory, unless that was noted just before. Older samples are thinned out: when there is
    /// no room for more samples, every second one goes.
    pub fn sample(&mut self, at: SystemTime, memory: MemoryUse) {
        let since = self.memory.back().map(|last| at.duration_since(last.at).unwrap_or_default());
        if since.is_some_and(|since| since < SAMPLE_EVERY) {
            return;
        }
        if self.memory.len() >= self.limits.samples.max(2) {
            let mut odd = false;
            self.memory.retain(|_| {
                odd = !odd;
                !odd
            });
        }
        self.memory.push_back(Sample { at, memory });
    }

    /// Takes in what happened.
    pub fn apply(&mut self, record: &EventRecord) {
        let at = record.at;
        self.last = Some(at);
        match &record.event {
            Event::JobStarted { job, action, partitions } => {
                self.totals.jobs_started += 1;
                self.jobs.insert(*job, Job::new(*job, action.clone(), *partitions, at));
                self.forget_jobs();
            }
            Event::JobPlanned { job, stages } => {
                for outline in stages.iter().filter(|outline| outline.kind != StageKind::Result) {
                    let store =
                        self.stores.entry(outline.store).or_insert_with(|| Store::new(outline.store, outline.rdd));
                    store.describe(outline);
                }
                // One that another job is computing already is this one's, too.
                let shared =
                    |store| self.stages.values().rev().find(|stage| stage.is_running() && stage.store == store);
                let shared = stages.iter().filter_map(|outline| shared(outline.store)).map(|stage| stage.id).collect();
                // What was lost and is there again is not this job's.
                let before = |store: &Store| store.losses - store.missing() as u64;
                let before =
                    |id: StoreId| Some((id, Kept { losses: before(self.stores.get(&id)?), ..Kept::default() }));
                let before = stages.iter().filter_map(|outline| before(outline.store)).collect();
                if let Some(job) = self.jobs.get_mut(job) {
                    job.kept = before;
                    job.plan = stages.clone();
                    job.stages = shared;
                }
                self.forget_outlines();
            }
            Event::JobLabelled { job, labels } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.labels = labels.clone();
                }
            }
            Event::JobFinished { job, end } => self.job_finished(*job, end, at),
            Event::StageStarted { stage, job, store, rdd, name, tasks } => {
                self.totals.stages_started += 1;
                for other in self.jobs.values_mut().rev().filter(|job| job.is_running()) {
                    if other.id == *job || other.plan.iter().any(|outline| outline.store == *store) {
                        other.stages.push(*stage);
                    }
                }
                let plan = self.jobs.get(job).map_or(&[][..], |job| &job.plan);
                let number = plan.iter().position(|outline| outline.store == *store);
                let kind = number.map(|number| plan[number].kind);
                let fresh = Stage::new(NewStage {
                    id: *stage,
                    job: *job,
                    store: *store,
                    rdd: *rdd,
                    number,
                    kind,
                    name: name.clone(),
                    wanted: *tasks,
                    submitted: at,
                });
                self.stages.insert(*stage, fresh);
                self.forget_stages();
            }
            Event::StageFinished { stage } => {
                if let Some(stage) = self.stages.get_mut(stage) {
                    for task in stage.finish(at) {
                        self.running.remove(&task);
                    }
                    if let Some(store) = self.stores.get_mut(&stage.store) {
                        store.nothing_is_computed();
                    }
                }
            }
            Event::StageSkipped { job, store, .. } => {
                self.totals.stages_skipped += 1;
                if let Some(job) = self.jobs.get_mut(job) {
                    job.skipped.insert(*store);
                }
            }
            Event::TaskStarted { task, stage, partition, attempt } => {
                if let Some(found) = self.stages.get_mut(stage) {
                    found.task_started(Task::new(*task, *partition, *attempt, at));
                    self.kept_tasks += 1;
                    self.running.insert(*task, (*stage, found.tasks.len() - 1));
                    if let Some(store) = self.stores.get_mut(&found.store) {
                        store.computing(*partition, *task);
                    }
                }
                self.forget_tasks();
            }
            Event::TaskRan { task, ran } => {
                if let Some((stage, at)) = self.running.get(task)
                    && let Some(stage) = self.stages.get_mut(stage)
                {
                    stage.task_ran(*at, ran);
                }
            }
            Event::TaskFinished { task, stage, rows, bytes, duration, worker, .. } => {
                self.totals.tasks_succeeded += 1;
                self.totals.rows += rows;
                self.totals.task_time += *duration;
                let at_task = self.running.remove(task).map(|(_, at)| at);
                let finished = FinishedTask { rows: *rows, bytes: *bytes, duration: *duration, worker: *worker, at };
                if let Some(stage) = self.stages.get_mut(stage) {
                    self.totals.reads += stage.task_finished(at_task, finished);
                }
            }
            Event::TaskFailed { task, stage, partition, error, retried, .. } => {
                self.totals.tasks_failed += 1;
                let at_task = self.running.remove(task).map(|(_, at)| at);
                if let Some(stage) = self.stages.get_mut(stage) {
                    stage.task_failed(at_task, shortened(error), *retried, at);
                    if let Some(store) = self.stores.get_mut(&stage.store) {
                        store.not_computed(*partition, *task);
                    }
                }
            }
            Event::PartitionSpilled { store, partition, task, bytes, file_bytes } => {
                self.totals.partitions_spilled += 1;
                self.totals.spilled_file_bytes += file_bytes;
                if let Some((stage, at)) = self.running.get(task)
                    && let Some(stage) = self.stages.get_mut(stage)
                {
                    stage.task_spilled(*at, *bytes, *file_bytes);
                }
                if let Some(store) = self.stores.get_mut(store) {
                    store.spilled(*partition, *task, *file_bytes);
                }
            }
            Event::PartitionStored { store, rdd, partition, task, rows, bytes } => {
                self.totals.partitions_stored += 1;
                let found = self.stores.entry(*store).or_insert_with(|| Store::new(*store, *rdd));
                self.totals.partitions_rebuilt += u64::from(found.stored(*partition, *task, *rows, *bytes));
            }
            Event::PartitionLost { store, partition, .. } => {
                self.totals.partitions_lost += 1;
                if let Some(store) = self.stores.get_mut(store) {
                    store.lost(*partition);
                }
            }
            Event::PartitionDropped { store, partition, .. } => {
                self.totals.partitions_dropped += 1;
                if let Some(store) = self.stores.get_mut(store) {
                    store.dropped(*partition);
                }
            }
            Event::StoreDropped { store, .. } => {
                if let Some(store) = self.stores.get_mut(store) {
                    store.release(at);
                }
                self.forget_released();
            }
            Event::Gap { missed } => self.totals.events_missed += missed,
            // Whatever else may be told some day is not shown yet.
            _ => {}
        }
    }

    fn job_finished(&mut self, id: JobId, end: &JobEnd, at: SystemTime) {
        let state = match end {
            JobEnd::Succeeded => JobState::Succeeded,
            JobEnd::Cancelled => JobState::Cancelled,
            _ => JobState::Failed,
        };
        match state {
            JobState::Succeeded => self.totals.jobs_succeeded += 1,
            JobState::Cancelled => self.totals.jobs_cancelled += 1,
            _ => self.totals.jobs_failed += 1,
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let runs = job.stages.iter().filter_map(|id| self.stages.get(id));
        job.runs = runs.map(|run| run.at_end_of_job(state == JobState::Succeeded, at)).collect();
        job.tally = Some(Tally::of(job, job.runs.iter()));
        for (id, kept) in &mut job.kept {
            *kept = self.stores.get(id).map(|store| Kept::of(store, kept.losses)).unwrap_or_default();
        }
        job.finish(state, end.message(id).as_deref().map(shortened), at);
        // A store that no stage has filled, and none will, is not worth a look.
        let planned: Vec<StoreId> = job.plan.iter().map(|outline| outline.store).collect();
        let is_idle = |store: &Store| store.is_empty() && store.released.is_none();
        let wanted = |id: StoreId| {
            let in_plan = |job: &Job| job.plan.iter().any(|outline| outline.store == id);
            self.jobs.values().any(|job| job.is_running() && in_plan(job))
        };
        for store in planned {
            if self.stores.get(&store).is_some_and(is_idle) && !wanted(store) {
                self.stores.remove(&store);
            }
        }
    }

    fn forget_jobs(&mut self) {
        while self.jobs.len() > self.limits.jobs {
            let Some(oldest) = self.jobs.values().find(|job| !job.is_running()).map(|job| job.id) else { return };
            self.jobs.remove(&oldest);
        }
    }

    fn forget_outlines(&mut self) {
        let mut kept: usize = self.jobs.values().map(|job| job.plan.len().max(job.runs.len())).sum();
        for job in self.jobs.values_mut().filter(|job| !job.is_running()) {
            if kept <= self.limits.outlines {
                return;
            }
            kept -= job.plan.len().max(job.runs.len());
            (job.plan, job.runs, job.kept) = (Vec::new(), Vec::new(), BTreeMap::new());
        }
    }

    fn forget_stages(&mut self) {
        while self.stages.len() > self.limits.stages {
            let Some(oldest) = self.stages.values().find(|stage| !stage.is_running()).map(|stage| stage.id) else {
                return;
            };
            if let Some(stage) = self.stages.remove(&oldest) {
                self.kept_tasks -= stage.tasks.len();
            }
        }
    }

    fn forget_tasks(&mut self) {
        if self.kept_tasks <= self.limits.tasks {
            return;
        }
        // A tenth at once, so that it is not done for each task.
        let wanted = self.limits.tasks - self.limits.tasks / 10;
        for stage in self.stages.values_mut() {
            if self.kept_tasks <= wanted {
                return;
            }
            self.kept_tasks -= stage.forget_tasks(self.kept_tasks - wanted, &mut self.running);
        }
    }

    fn forget_released(&mut self) {
        let released: Vec<StoreId> =
            self.stores.values().filter(|store| store.released.is_some()).map(|store| store.id).collect();
        for store in released.iter().take(released.len().saturating_sub(self.limits.released)) {
            self.stores.remove(store);
        }
    }
}

/// The text, or as much of it as is kept.
fn shortened(text: &str) -> String {
    if text.len() <= ERROR_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(ERROR_BYTES)])
}

#[cfg(test)]
mod tests;
