//! One attempt at one task, on a worker: opens the plan, catches what the user's code throws, reports what came out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix::Addr;
use emberflow_core::{
    chaos::{self, Kind, OnPurpose, Point},
    error::TaskError,
    event::{self, Event},
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, StageId, TaskId},
    memory::{Keep, Workspace},
    operator::{ActionOutput, Fetch},
    plan::{StagePlan, TaskOutput},
    segments::Footprint,
    spill::SpillError,
    store::Stored,
    task::{Identity, Io, TaskContext, TaskSetup},
    update::Updates,
};

use crate::{
    coordinator::{
        Links, Made, TaskReport,
        machine::{DoneTask, TaskEnd, WorkerTime},
        residents::Resident,
    },
    governor::{Overdraw, Reservation},
    mail::post,
    partition::{Fill, Kill, PartitionActor},
    pool::{Busy, worker},
    slot::TaskSlots,
    spans,
    turns::Turn,
    workspace::TaskMemory,
};

/// Where tasks run that do not run on the worker's own thread.
pub(crate) trait Elsewhere: Send + Sync {
    /// Runs an attempt, and waits for it; nothing if the stage cannot be sent there.
    fn run(&self, stage: &Arc<StagePlan>, fetch: &dyn Fetch, cx: &TaskContext)
    -> Option<Result<TaskOutput, TaskError>>;

    /// The engine has stopped: nothing is to be left.
    fn stop(&self);
}

pub(crate) struct TaskRun {
    pub(crate) task: TaskId,
    pub(crate) stage: StageId,
    pub(crate) job: JobId,
    pub(crate) partition: PartitionIndex,
    pub(crate) attempt: u32,
    pub(crate) plan: Arc<StagePlan>,
    pub(crate) slots: TaskSlots,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) batch_rows: usize,
    pub(crate) io: Arc<dyn Io>,
    /// The actor that takes the rows, if this is not a result.
    pub(crate) owner: Option<Addr<PartitionActor>>,
    pub(crate) links: Arc<Links>,
    /// The span of the stage.
    pub(crate) span: tracing::Span,
}

impl TaskRun {
    pub(crate) fn run(self) {
        let began = Instant::now();
        let busy = self.links.pool.at_work(self.task);
        let _span = spans::task(&self.span, self.task, self.stage, self.partition, self.attempt).entered();
        let mut again = None;
        let (cx, outcome) = loop {
            let (memory, cx, outcome) = self.attempt(again, &busy);
            memory.end();
            if !matches!(outcome, Err(TaskError::GaveWay)) {
                break (cx, outcome);
            }
            // What it leaves may be the user's, and may panic when it is dropped.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop((cx, outcome)))) {
                tracing::warn!(stage = %self.stage, partition = self.partition, error = %TaskError::of_panic(payload), "gave way");
            }
            again = memory.older_have_ended();
        };
        // Those of an attempt that failed are dropped here, where the user's own drop may panic.
        let updates = match outcome {
            Ok(_) => cx.take_updates(),
            Err(_) => Updates::default(),
        };
        if self.links.bus.is_heard() {
            let ran = Box::new(event::Ran::new(worker(), busy.since(), began.elapsed(), cx.reads()));
            self.links.bus.publish(&Event::TaskRan { task: self.task, ran });
        }
        let report = |end, made| TaskReport { task: self.task, end, made, ran: WorkerTime::since(began) };
        let failed = |error: TaskError| {
            let (rdd, operator) = match cx.running() {
                Some(rdd) => (rdd, self.plan.operator(rdd)),
                None => (self.plan.rdd, &self.plan.info),
            };
            let end = match error {
                // Where one is damaged, others may be: better found now than one loss after the other.
                TaskError::SpillUnreadable { cause } => {
                    tracing::warn!(stage = %self.stage, partition = self.partition, %cause, "spilled rows are lost");
                    self.slots.check();
                    match self.slots.lost() {
                        // What the task itself had written to disk.
                        lost if lost.is_empty() => TaskEnd::Failed {
                            error: TaskError::SpillUnreadable { cause },
                            rdd,
                            operator: operator.to_string(),
                            rows: cx.at_rows(),
                        },
                        lost => TaskEnd::InputsLost { lost, cause: Some(cause) },
                    }
                }
                TaskError::InputLost { .. } => TaskEnd::InputsLost { lost: self.slots.lost(), cause: None },
                error => TaskEnd::Failed { error, rdd, operator: operator.to_string(), rows: cx.at_rows() },
            };
            report(end, Made::default())
        };
        let report = match (outcome, &self.owner) {
            (Ok(Output::Stored { stored, room, found, nanos }), Some(owner)) => {
                let Footprint { rows, bytes, file_bytes, spilled } = stored.footprint;
                let passing = found == FoundRoom::ToPass;
                // A long one went to disk as it came; what is left of it may well have found room.
                let refused = stored.keep != Keep::OnDisk && (found != FoundRoom::ToKeep || spilled > 0);
                let resident = |bytes| Resident { generation: self.task, bytes, nanos, keep: stored.keep };
                let made = Made {
                    updates,
                    spilled: (spilled > 0).then_some((spilled, file_bytes)),
                    resident: (!passing).then_some(resident(bytes)),
                    refused: refused.then_some(resident(bytes + spilled)),
                    ..Made::default()
                };
                let done = report(
                    TaskEnd::Done(DoneTask { rows, bytes, passing, fingerprint: stored.data.fingerprint() }),
                    made,
                );
                match post(owner, Fill { stored, room, report: done }) {
                    Ok(()) => return,
                    Err(_) => failed(TaskError::OutputLost),
                }
            }
            (Ok(Output::Result(output)), _) => {
                let made = Made { value: Some(output.value), updates, ..Made::default() };
                let fingerprint = Fingerprint::default();
                report(TaskEnd::Done(DoneTask { rows: output.rows, bytes: 0, passing: false, fingerprint }), made)
            }
            (Ok(Output::Stored { .. }), None) => {
                failed(TaskError::PlanMismatch { wanted: "a result", found: "rows for a store" })
            }
            (Err(error), _) => failed(error),
        };
        // A dead coordinator waits for nobody; the job's handle learns of it by itself.
        let _ = post(&self.links.coordinator, report);
    }

    /// A point at which a fault on purpose may strike this task, or the actor that is to take its rows.
    fn strike(&self, point: Point) -> Result<(), TaskError> {
        match (chaos::strike(point), &self.owner) {
            (None, _) => Ok(()),
            (Some(Kind::Lost), Some(owner)) => {
                // One that is dead already is lost as well.
                let _ = post(owner, Kill::Ends);
                Ok(())
            }
            (Some(Kind::Lost), None) => Err(TaskError::OutputLost),
            (Some(kind), _) => chaos::fail(OnPurpose { point, kind }),
        }
    }

    /// Runs the plan, once.
    fn attempt(&self, again: Option<Turn>, busy: &Busy) -> (Arc<TaskMemory>, TaskContext, Result<Output, TaskError>) {
        let _chaos = self.links.chaos.attempt(self.plan.store, self.partition);
        let cancelled = Arc::clone(&self.cancelled);
        let identity = Identity { task: self.task, job: self.job, partitions: self.plan.partitions };
        let memory = Arc::new(TaskMemory::new(&self.links, Arc::clone(&cancelled), again));
        let workspace: Arc<dyn Workspace> = Arc::clone(&memory) as _;
        let cx = TaskContext::new(TaskSetup {
            stage: self.stage,
            partition: self.partition,
            attempt: self.attempt,
            identity,
            batch_rows: self.batch_rows,
            cancelled,
            io: Arc::clone(&self.io),
            workspace,
            status: busy.status(),
        });
        if self.links.bus.is_heard() {
            cx.watch();
        }
        let outcome = match self.cancelled.load(Ordering::Relaxed) {
            true => Err(TaskError::Cancelled),
            // The operators' state is dropped with the plan's streams; nothing of it is looked at after a panic.
            false => catch_unwind(AssertUnwindSafe(|| {
                cx.enter(|| {
                    self.strike(Point::BeforeTask)?;
                    let elsewhere = self.links.elsewhere.get();
                    let output = elsewhere.and_then(|elsewhere| elsewhere.run(&self.plan, &self.slots, &cx));
                    let output = output.unwrap_or_else(|| self.plan.run(self.partition, &self.slots, &cx))?;
                    let output = self.keep(output, &memory)?;
                    self.strike(Point::AfterTask)?;
                    Ok(output)
                })
            }))
            .unwrap_or_else(|payload| Err(TaskError::of_panic(payload))),
        };
        let outcome = ended(&cx, outcome);
        (memory, cx, outcome)
    }

    /// Takes room for the rows that are to be stored, or spills them if there is none.
    fn keep(&self, output: TaskOutput, memory: &Arc<TaskMemory>) -> Result<Output, TaskError> {
        let mut stored = match output {
            TaskOutput::Result(output) => return Ok(Output::Result(output)),
            TaskOutput::Stored(stored) => stored,
        };
        let nanos = memory.elapsed().as_nanos() as u64;
        let room = |overdraw, bytes| {
            let Links { governor, ledger, .. } = &*self.links;
            Reservation::take(governor, ledger, self.plan.kind, bytes, overdraw)
        };
        let overdraw = if stored.keep == Keep::InMemory { Overdraw::Allowed } else { Overdraw::Refused };
        if stored.keep != Keep::OnDisk
            && let Some(room) = room(overdraw, stored.footprint.bytes)
        {
            return Ok(Output::Stored { stored, room, found: FoundRoom::ToKeep, nanos });
        }
        let all = stored.footprint.bytes + stored.footprint.spilled;
        if stored.keep == Keep::Auto && memory.is_quicker_than_disk(all) {
            let room = room(Overdraw::Allowed, stored.footprint.bytes).ok_or(TaskError::OutputLost)?;
            return Ok(Output::Stored { stored, room, found: FoundRoom::ToPass, nanos });
        }
        match stored.data.spill(&**memory) {
            Ok(Some((data, footprint))) => (stored.data, stored.footprint) = (data, footprint),
            Ok(None) => {}
            Err(error @ SpillError::Io(_)) => return Err(memory.failed(error)),
            Err(error @ SpillError::Rows { .. }) => {
                tracing::warn!(rdd = %self.plan.rdd, operator = %self.plan.info, %error, "rows stay in memory");
            }
        }
        let room = room(Overdraw::Allowed, stored.footprint.bytes).ok_or(TaskError::OutputLost)?;
        Ok(Output::Stored { stored, room, found: FoundRoom::None, nanos })
    }
}

impl WorkerTime {
    /// On this worker, from then to now.
    fn since(began: Instant) -> Self {
        Self { duration: began.elapsed(), worker: worker() }
    }
}

/// The output of a task, and where it is.
enum Output {
    Result(ActionOutput),
    Stored {
        stored: Stored,
        room: Reservation,
        found: FoundRoom,
        /// The time that it took to compute it.
        nanos: u64,
    },
}

/// Whether rows found room in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FoundRoom {
    ToKeep,
    /// For as long as tasks that wait for the rows need them.
    ToPass,
    None,
}

/// Runs what the user's code has left for the end of its attempt. If that panics, the attempt has failed.
pub(crate) fn ended<R>(cx: &TaskContext, mut outcome: Result<R, TaskError>) -> Result<R, TaskError> {
    while let Some(at_end) = cx.next_at_end() {
        let ended = catch_unwind(AssertUnwindSafe(|| cx.enter(|| at_end(outcome.as_ref().err()))));
        if let (Err(payload), Ok(_)) = (ended, &outcome) {
            outcome = Err(TaskError::of_panic(payload));
        }
    }
    outcome
}
