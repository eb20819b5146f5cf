//! The events of jobs on Spark, in the form in which the engine tells its own.
//!
//! Owns the numbers of stages, tasks and workers in these events, and which stages of a job have begun. Spark's driver tells
//! of a task when it has ended. So a stage begins with the first of them; it ends with the last task that the job wants, or
//! with the job.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use emberflow_core::{
    event::{Event, JobEnd, JobLabels, Ran},
    ids::{JobId, PartitionIndex, RddId, StageId, StoreId, TaskId},
    plan::{StageKind, StageOutline, StagePlan},
};
use emberflow_runtime::Bus;

use crate::protocol::Report;

/// Tells of all jobs of a context.
pub(crate) struct Events {
    bus: Arc<Bus>,
    next_stage: AtomicU64,
    next_task: AtomicU64,
    /// The numbers of the worker processes.
    workers: Mutex<BTreeMap<String, usize>>,
}

/// The stages of a job, as far as they were told of.
pub(crate) struct JobEvents {
    job: JobId,
    stages: BTreeMap<StoreId, StageEvents>,
}

struct StageEvents {
    rdd: RddId,
    name: String,
    /// The number of tasks that the job wants.
    wanted: usize,
    /// Whether its rows are stored.
    stores: bool,
    /// Whether the job reads its store, which an earlier job has filled.
    was_there: bool,
    /// The partitions whose tasks have succeeded.
    done: BTreeSet<PartitionIndex>,
    /// The number under which it runs.
    running: Option<StageId>,
    /// The number under which it ran last.
    last: Option<StageId>,
}

impl Events {
    pub(crate) fn new(bus: Arc<Bus>) -> Self {
        Self { bus, next_stage: AtomicU64::new(0), next_task: AtomicU64::new(0), workers: Mutex::default() }
    }

    /// Tells of a job that wants so many partitions of its last stage. The stores in `was_there` were filled by others.
    pub(crate) fn job_started(
        &self,
        job: JobId,
        stages: &[Arc<StagePlan>],
        wanted: usize,
        labels: &JobLabels,
        was_there: &BTreeSet<StoreId>,
    ) -> JobEvents {
        let action = stages.last().map_or_else(String::new, |stage| stage.info.to_string());
        self.bus.publish(&Event::JobStarted { job, action, partitions: wanted });
        if self.bus.is_heard() {
            let stages = stages.iter().map(|stage| StageOutline::of(stage)).collect();
            self.bus.publish(&Event::JobPlanned { job, stages });
        }
        if !labels.is_empty() {
            self.bus.publish(&Event::JobLabelled { job, labels: labels.clone() });
        }
        let told = |stage: &Arc<StagePlan>| StageEvents {
            rdd: stage.rdd,
            name: stage.info.to_string(),
            wanted: if stage.kind == StageKind::Result { wanted } else { stage.partitions },
            stores: stage.kind != StageKind::Result,
            was_there: was_there.contains(&stage.store),
            done: BTreeSet::new(),
            running: None,
            last: None,
        };
        JobEvents { job, stages: stages.iter().map(|stage| (stage.store, told(stage))).collect() }
    }

    /// Tells of a task that has succeeded. Returns its number, if the job has such a stage.
    pub(crate) fn task_ran(&self, of: &mut JobEvents, partition: PartitionIndex, report: &Report) -> Option<TaskId> {
        let (stage, task) = self.task(of, report.store, partition, report.attempt)?;
        let worker = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let next = workers.len();
            *workers.entry(report.worker.clone()).or_insert(next)
        };
        let Report { began, duration, bytes, done, .. } = report;
        let ran = Box::new(Ran::new(worker, *began, *duration, done.reads));
        self.bus.publish(&Event::TaskRan { task, ran });
        let (rows, bytes, duration) = (done.rows, *bytes, *duration);
        self.bus.publish(&Event::TaskFinished { task, stage, partition, rows, bytes, duration, worker });
        let told = of.stages.get_mut(&report.store)?;
        if told.stores {
            let (store, rdd) = (report.store, told.rdd);
            self.bus.publish(&Event::PartitionStored { store, rdd, partition, task, rows, bytes });
        }
        told.done.insert(partition);
        if told.done.len() >= told.wanted {
            self.stage_ended(told);
        }
        Some(task)
    }

    /// Tells of an attempt at a task that has failed.
    pub(crate) fn task_failed(
        &self,
        of: &mut JobEvents,
        store: StoreId,
        (partition, attempt): (PartitionIndex, u32),
        error: String,
        retried: bool,
    ) {
        let Some((stage, task)) = self.task(of, store, partition, attempt) else { return };
        self.bus.publish(&Event::TaskFailed { task, stage, partition, attempt, error, retried });
    }

    /// Tells that a store was released.
    pub(crate) fn store_dropped(&self, store: StoreId, rdd: RddId, partitions: usize) {
        self.bus.publish(&Event::StoreDropped { store, rdd, partitions });
    }

    /// Tells how a job has ended.
    pub(crate) fn job_finished(&self, of: &mut JobEvents, end: JobEnd) {
        for (store, stage) in &mut of.stages {
            self.stage_ended(stage);
            if stage.was_there && stage.last.is_none() && end == JobEnd::Succeeded {
                let (job, store, name) = (of.job, *store, stage.name.clone());
                self.bus.publish(&Event::StageSkipped { job, store, name });
            }
        }
        self.bus.publish(&Event::JobFinished { job: of.job, end });
    }

    /// Tells of the beginning of a task, and of its stage if it is the first one.
    fn task(
        &self,
        of: &mut JobEvents,
        store: StoreId,
        partition: PartitionIndex,
        attempt: u32,
    ) -> Option<(StageId, TaskId)> {
        let job = of.job;
        let told = of.stages.get_mut(&store)?;
        let stage = *told.running.get_or_insert_with(|| {
            let stage = StageId::new(self.next_stage.fetch_add(1, Ordering::Relaxed));
            // What has ended and begins again computes what was lost.
            let tasks = if told.last.is_some() { 1 } else { told.wanted };
            let (rdd, name) = (told.rdd, told.name.clone());
            self.bus.publish(&Event::StageStarted { stage, job, store, rdd, name, tasks });
            stage
        });
        told.last = Some(stage);
        let task = TaskId::new(self.next_task.fetch_add(1, Ordering::Relaxed));
        self.bus.publish(&Event::TaskStarted { task, stage, partition, attempt });
        Some((stage, task))
    }

    fn stage_ended(&self, told: &mut StageEvents) {
        if let Some(stage) = told.running.take() {
            self.bus.publish(&Event::StageFinished { stage });
        }
    }
}

impl JobEvents {
    /// The number of the stage that fills a store, if it was told of.
    pub(crate) fn stage(&self, store: StoreId) -> Option<StageId> {
        self.stages.get(&store)?.last
    }
}
