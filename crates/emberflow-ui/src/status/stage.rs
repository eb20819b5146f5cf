//! One run of a stage, with its tasks, as their events tell it.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use emberflow_core::{
    event::Ran,
    ids::{JobId, PartitionIndex, RddId, StageId, StoreId, TaskId},
    plan::StageKind,
    task::Reads,
};

use super::quantiles::Quantiles;

/// Texts of errors that one stage keeps.
const ERRORS: usize = 50;

/// How a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    /// Partitions of it are wanted, but what they are made of is not there yet: no task of it has been started.
    Pending,
    /// Partitions of it are wanted.
    Running,
    /// All that was wanted is there.
    Complete,
    /// A task failed for good.
    Failed,
    /// Nobody wanted it any more.
    Cancelled,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    /// Handed to the workers.
    Running,
    /// The attempt gave its rows.
    Succeeded,
    /// The attempt ended without them.
    Failed,
    /// The attempt was not wanted any more.
    Cancelled,
}

/// One attempt at one partition.
#[derive(Clone, Debug)]
pub struct Task {
    /// The attempt.
    pub id: TaskId,
    /// The partition that the task computes.
    pub partition: PartitionIndex,
    /// The attempt's number, from one.
    pub attempt: u32,
    /// How it stands.
    pub state: TaskState,
    /// When it was handed to the workers.
    pub launched: SystemTime,
    /// When it began on its worker, if that told.
    pub on_worker: Option<SystemTime>,
    /// When its end was told.
    pub ended: Option<SystemTime>,
    /// How long it ran on its worker, if that told.
    pub duration: Duration,
    /// The number of the worker, if it told.
    pub worker: Option<usize>,
    /// The reads of the task.
    pub reads: Reads,
    /// Rows that it wrote, or read for a result.
    pub rows: u64,
    /// Bytes that it keeps in memory.
    pub bytes: u64,
    /// Bytes that the rows would have taken in memory, of those that it wrote to disk.
    pub spilled_bytes: u64,
    /// Bytes that they take there.
    pub file_bytes: u64,
    /// Why it failed.
    pub error: Option<Box<str>>,
}

impl Task {
    pub(super) fn new(id: TaskId, partition: PartitionIndex, attempt: u32, launched: SystemTime) -> Self {
        Self {
            id,
            partition,
            attempt,
            state: TaskState::Running,
            launched,
            on_worker: None,
            ended: None,
            duration: Duration::ZERO,
            worker: None,
            reads: Reads::default(),
            rows: 0,
            bytes: 0,
            spilled_bytes: 0,
            file_bytes: 0,
            error: None,
        }
    }

    /// When it began on its worker, as far as that is known.
    pub fn began(&self) -> SystemTime {
        self.on_worker.unwrap_or(self.launched)
    }
}

/// A stretch of a worker's time that tasks of one stage filled: one task, or several that followed each other closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The worker.
    pub worker: usize,
    /// When the first task began.
    pub began: SystemTime,
    /// When the last one ended.
    pub ended: SystemTime,
    /// How many there were.
    pub tasks: usize,
}

/// One run of a stage: from the first partition that was wanted to the last one that was there.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The id of the run.
    pub id: StageId,
    /// The job that wanted it first.
    pub job: JobId,
    /// Where its output lives.
    pub store: StoreId,
    /// The RDD that it computes.
    pub rdd: RddId,
    /// The stage's number in the job that wanted it first, parents first; unknown like its kind.
    pub number: Option<usize>,
    /// The kind of result that the stage makes; unknown if nobody listened when its job was submitted.
    pub kind: Option<StageKind>,
    /// The operator by which people know it.
    pub name: String,
    /// When it was first wanted.
    pub submitted: SystemTime,
    /// When its first task was handed to the workers: it may have waited for others until then.
    pub began: Option<SystemTime>,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// How it stands.
    pub state: StageState,
    /// Attempts that were handed to the workers.
    pub started: usize,
    /// Attempts that gave their rows.
    pub succeeded: usize,
    /// Attempts that ended without them.
    pub failed: usize,
    /// Attempts that were not wanted any more.
    pub cancelled: usize,
    /// Rows that tasks wrote, or read for a result.
    pub rows: u64,
    /// Bytes that they keep in memory.
    pub bytes: u64,
    /// Bytes that they would have taken in memory, of those that were written to disk.
    pub spilled_bytes: u64,
    /// Bytes that they take there.
    pub file_bytes: u64,
    /// The reads of the tasks.
    pub reads: Reads,
    /// Time that they took on their workers.
    pub task_time: Duration,
    /// Why it failed.
    pub error: Option<String>,
    /// The attempts at its tasks, in the order in which they were started, as far as they are remembered.
    pub tasks: Vec<Task>,
    wanted: usize,
    errors: usize,
}

/// The facts about a stage that are known when it begins.
pub(super) struct NewStage {
    pub(super) id: StageId,
    pub(super) job: JobId,
    pub(super) store: StoreId,
    pub(super) rdd: RddId,
    pub(super) number: Option<usize>,
    pub(super) kind: Option<StageKind>,
    pub(super) name: String,
    pub(super) wanted: usize,
    pub(super) submitted: SystemTime,
}

/// A task that has finished.
pub(super) struct FinishedTask {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) worker: usize,
    pub(super) at: SystemTime,
}

impl Stage {
    pub(super) fn new(new: NewStage) -> Self {
        let NewStage { id, job, store, rdd, number, kind, name, wanted, submitted } = new;
        Self {
            id,
            job,
            store,
            rdd,
            number,
            kind,
            name,
            submitted,
            began: None,
            ended: None,
            state: StageState::Pending,
            started: 0,
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            rows: 0,
            bytes: 0,
            spilled_bytes: 0,
            file_bytes: 0,
            reads: Reads::default(),
            task_time: Duration::ZERO,
            error: None,
            tasks: Vec::new(),
            wanted,
            errors: 0,
        }
    }

    /// Returns whether it has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.state, StageState::Pending | StageState::Running)
    }

    pub(super) fn task_started(&mut self, task: Task) {
        self.began.get_or_insert(task.launched);
        if self.state == StageState::Pending {
            self.state = StageState::Running;
        }
        self.tasks.push(task);
        self.started += 1;
    }

    /// The stage as it is for a job that ends now, without its tasks. If others go on with it, or nobody does, that is
    /// none of the job's business.
    pub(super) fn at_end_of_job(&self, succeeded: bool, at: SystemTime) -> Self {
        let mut seen = Self { tasks: Vec::new(), name: self.name.clone(), error: self.error.clone(), ..*self };
        if seen.is_running() {
            let running = seen.running();
            seen.ended = Some(at);
            if succeeded {
                seen.state = StageState::Complete;
                seen.started -= running;
                seen.wanted = seen.succeeded;
            } else {
                seen.state = StageState::Cancelled;
                seen.cancelled += running;
            }
        }
        seen
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.started - (self.succeeded + self.failed + self.cancelled).min(self.started)
    }

    /// Partitions that are wanted, as far as is known: more may have been since the stage began.
    pub fn wanted(&self) -> usize {
        self.wanted.max(self.succeeded + self.running())
    }

    /// How long it took since its first task was started, or has taken until `now`; nothing if none was.
    pub fn duration(&self, now: SystemTime) -> Option<Duration> {
        Some(self.ended.unwrap_or(now).duration_since(self.began?).unwrap_or_default())
    }

    /// How `measure` is spread over the tasks that gave their rows.
    pub fn quantiles(&self, measure: impl Fn(&Task) -> u64) -> Option<Quantiles> {
        let done = self.tasks.iter().filter(|task| task.state == TaskState::Succeeded);
        Quantiles::of(done.map(measure).collect())
    }

    /// The work of each worker for this stage over time, in about as many spans a worker as a picture has room for.
    pub fn timeline(&self, spans: u32) -> Vec<Span> {
        let done = || self.tasks.iter().filter(|task| task.state == TaskState::Succeeded);
        let bounds = done().map(|task| (task.began(), task.began() + task.duration));
        let Some((first, last)) = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else { return Vec::new() };
        let small = last.duration_since(first).unwrap_or_default() / spans.max(1);
        let mut tasks: Vec<&Task> = done().collect();
        tasks.sort_unstable_by_key(|task| (task.worker, task.began()));
        let mut found: Vec<Span> = Vec::new();
        for task in tasks {
            let (began, ended) = (task.began(), task.began() + task.duration);
            let worker = task.worker.unwrap_or_default();
            let joins = |span: &Span| {
                let short = |a: SystemTime, b: SystemTime| b.duration_since(a).unwrap_or_default() <= small;
                span.worker == worker && short(span.began, ended) && short(span.ended, began)
            };
            match found.last_mut().filter(|span| joins(span)) {
                Some(span) => (span.ended, span.tasks) = (span.ended.max(ended), span.tasks + 1),
                None => found.push(Span { worker, began, ended, tasks: 1 }),
            }
        }
        found
    }

    pub(super) fn task_finished(&mut self, task: Option<usize>, finished: FinishedTask) -> Reads {
        let FinishedTask { rows, bytes, duration, worker, at } = finished;
        self.succeeded += 1;
        self.rows += rows;
        self.bytes += bytes;
        self.task_time += duration;
        let Some(task) = task.and_then(|task| self.tasks.get_mut(task)) else { return Reads::default() };
        (task.state, task.ended, task.duration, task.worker) = (TaskState::Succeeded, Some(at), duration, Some(worker));
        (task.rows, task.bytes) = (rows, bytes);
        // Nobody may have told.
        task.on_worker = task.on_worker.or(at.checked_sub(duration));
        self.reads += task.reads;
        task.reads
    }

    pub(super) fn task_ran(&mut self, task: usize, ran: &Ran) {
        if let Some(task) = self.tasks.get_mut(task) {
            (task.on_worker, task.worker) = (Some(ran.began), Some(ran.worker));
            (task.duration, task.reads) = (ran.duration, ran.reads);
        }
    }

    pub(super) fn task_failed(&mut self, task: Option<usize>, error: String, retried: bool, at: SystemTime) {
        self.failed += 1;
        if !retried {
            self.state = StageState::Failed;
            self.error = Some(error.clone());
        }
        self.errors += 1;
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(task)) {
            (task.state, task.ended) = (TaskState::Failed, Some(at));
            let kept = self.errors <= ERRORS;
            task.error = Some(if kept { error.into() } else { "(see the first failures of this stage)".into() });
        }
    }

    pub(super) fn task_spilled(&mut self, task: usize, bytes: u64, file_bytes: u64) {
        self.spilled_bytes += bytes;
        self.file_bytes += file_bytes;
        if let Some(task) = self.tasks.get_mut(task) {
            (task.spilled_bytes, task.file_bytes) = (bytes, file_bytes);
        }
    }

    /// Nothing of it is wanted any more. Gives the attempts that were still running.
    pub(super) fn finish(&mut self, at: SystemTime) -> Vec<TaskId> {
        let open = self.tasks.iter_mut().filter(|task| task.state == TaskState::Running);
        let over = open.map(|task| {
            (task.state, task.ended) = (TaskState::Cancelled, Some(at));
            task.id
        });
        let over: Vec<TaskId> = over.collect();
        let short = self.succeeded < self.wanted;
        self.cancelled += self.running();
        self.ended = Some(at);
        if self.is_running() {
            self.state = if short || !over.is_empty() { StageState::Cancelled } else { StageState::Complete };
        }
        over
    }

    /// Forgets about so many of its oldest attempts that have ended; says how many.
    pub(super) fn forget_tasks(&mut self, most: usize, running: &mut HashMap<TaskId, (StageId, usize)>) -> usize {
        let before = self.tasks.len();
        let mut left = most;
        self.tasks.retain(|task| {
            let goes = left > 0 && task.state != TaskState::Running;
            left -= usize::from(goes);
            !goes
        });
        for (at, task) in self.tasks.iter().enumerate() {
            if let Some(place) = running.get_mut(&task.id) {
                place.1 = at;
            }
        }
        before - self.tasks.len()
    }
}
