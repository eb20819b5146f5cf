//! Our events in Spark's words: the lines that Spark's `EventLoggingListener` would have written.
//!
//! The one difference that takes thought: Spark numbers the stages of a job when the job starts, ours are numbered when
//! they run. So here each stage of each job's plan gets a number of its own when the job is planned; a run of it is an
//! attempt of that number, and those that never run are what Spark calls skipped. Fields that Spark must have and we
//! have not are zero.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use emberflow_core::{
    event::{Event, JobLabels},
    ids::{JobId, RddId, StageId, StoreId, TaskId},
    plan::{InputDescription, StageKind, StageOutline},
    task::Reads,
};
use emberflow_runtime::EventRecord;
use serde::Serialize;
use serde_json::{Value, json};

use crate::application::Application;

/// The version of Spark whose format this is.
const SPARK_VERSION: &str = "3.5.0";

const NOWHERE: fn() -> Value =
    || json!({ "Use Disk": false, "Use Memory": false, "Deserialized": false, "Replication": 1 });

pub(super) struct Translator {
    memory_budget: u64,
    next_stage: u64,
    /// The job that has started and whose plan and labels may still come.
    starting: Option<Starting>,
    planned: HashMap<(JobId, StoreId), Planned>,
    runs: HashMap<StageId, Run>,
    tasks: HashMap<TaskId, Task>,
    persisted: HashMap<StoreId, RddId>,
    spilled: HashMap<TaskId, Sizes>,
    /// The sizes of the partitions that are kept.
    kept: HashMap<(StoreId, usize), Sizes>,
}

/// Bytes in memory and on disk.
#[derive(Clone, Copy, Default)]
struct Sizes {
    memory: u64,
    disk: u64,
}

struct Starting {
    job: JobId,
    at: SystemTime,
    partitions: usize,
    stages: Vec<StageOutline>,
    labels: JobLabels,
}

/// A stage of a job, by Spark's number.
struct Planned {
    number: u64,
    attempts: u64,
    info: Value,
    kind: StageKind,
}

struct Run {
    number: u64,
    attempt: u64,
    info: Value,
    kind: StageKind,
    failed: Option<String>,
    wanted: usize,
    succeeded: usize,
}

struct Task {
    stage: StageId,
    partition: usize,
    attempt: u32,
    launched: SystemTime,
    duration: Duration,
    reads: Reads,
}

impl Translator {
    pub(super) fn new(app: &Application) -> Self {
        Self {
            memory_budget: app.memory_budget,
            next_stage: 0,
            starting: None,
            planned: HashMap::new(),
            runs: HashMap::new(),
            tasks: HashMap::new(),
            persisted: HashMap::new(),
            spilled: HashMap::new(),
            kept: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self, out: &mut impl Write, app: &Application) -> io::Result<()> {
        let properties: serde_json::Map<String, Value> =
            app.settings.iter().map(|(name, value)| (format!("emberflow.{name}"), json!(value))).collect();
        let at = app.started_ms;
        let lines = [
            json!({ "Event": "SparkListenerLogStart", "Spark Version": SPARK_VERSION }),
            json!({
                "Event": "SparkListenerExecutorAdded", "Timestamp": at, "Executor ID": "driver",
                "Executor Info": {
                    "Host": "localhost", "Total Cores": app.workers, "Log Urls": {}, "Attributes": {}, "Resources": {},
                    "Resource Profile Id": 0,
                },
            }),
            json!({
                "Event": "SparkListenerBlockManagerAdded", "Block Manager ID": block_manager(), "Timestamp": at,
                "Maximum Memory": self.memory_budget, "Maximum Onheap Memory": self.memory_budget, "Maximum Offheap Memory": 0,
            }),
            json!({
                "Event": "SparkListenerEnvironmentUpdate", "JVM Information": {}, "Spark Properties": properties,
                "Hadoop Properties": {}, "System Properties": {}, "Metrics Properties": {}, "Classpath Entries": {},
            }),
            json!({
                "Event": "SparkListenerApplicationStart", "App Name": app.name, "App ID": app.id, "Timestamp": at, "User": "",
            }),
        ];
        lines.iter().try_for_each(|line| write_line(out, line))
    }

    pub(super) fn end(&mut self, out: &mut impl Write, at: SystemTime) -> io::Result<()> {
        self.start_job(out)?;
        write_line(out, &json!({ "Event": "SparkListenerApplicationEnd", "Timestamp": millis(at) }))
    }

    pub(super) fn tell(&mut self, out: &mut impl Write, record: &EventRecord) -> io::Result<()> {
        let at = record.at;
        if !matches!(record.event, Event::JobPlanned { .. } | Event::JobLabelled { .. }) {
            self.start_job(out)?;
        }
        match &record.event {
            Event::JobStarted { job, partitions, .. } => {
                let (stages, labels) = (Vec::new(), JobLabels::default());
                self.starting = Some(Starting { job: *job, at, partitions: *partitions, stages, labels });
            }
            Event::JobPlanned { stages, .. } => {
                if let Some(starting) = &mut self.starting {
                    starting.stages.clone_from(stages);
                }
            }
            Event::JobLabelled { labels, .. } => {
                if let Some(starting) = &mut self.starting {
                    starting.labels = labels.clone();
                }
            }
            Event::JobFinished { job, end } => {
                self.planned.retain(|(of, _), _| of != job);
                // Spark has two ends only: a cancelled job has failed, with a message that says so.
                let result = match end.message(*job) {
                    None => json!({ "Result": "JobSucceeded" }),
                    Some(error) => {
                        json!({ "Result": "JobFailed", "Exception": { "Message": error, "Stack Trace": [] } })
                    }
                };
                let (job, at) = (job.get(), millis(at));
                let line = json!({ "Event": "SparkListenerJobEnd", "Job ID": job, "Completion Time": at, "Job Result": result });
                write_line(out, &line)?;
            }
            Event::StageStarted { stage, job, store, rdd, name, tasks } => {
                let run = self.run(*job, *store, *rdd, name, *tasks, at);
                let line = json!({ "Event": "SparkListenerStageSubmitted", "Stage Info": run.info, "Properties": {} });
                self.runs.insert(*stage, run);
                write_line(out, &line)?;
            }
            Event::StageFinished { stage } => self.stage_finished(out, *stage, at)?,
            Event::TaskStarted { task, stage, partition, attempt } => {
                let (stage, partition, attempt) = (*stage, *partition, *attempt);
                let (duration, reads) = (Duration::ZERO, Reads::default());
                let started = Task { stage, partition, attempt, launched: at, duration, reads };
                if let Some(run) = self.runs.get(&stage) {
                    let line = json!({
                        "Event": "SparkListenerTaskStart", "Stage ID": run.number, "Stage Attempt ID": run.attempt,
                        "Task Info": task_info(*task, &started, None),
                    });
                    write_line(out, &line)?;
                }
                self.tasks.insert(*task, started);
            }
            Event::TaskRan { task, ran } => {
                if let Some(task) = self.tasks.get_mut(task) {
                    (task.duration, task.reads) = (ran.duration, ran.reads);
                }
            }
            Event::TaskFinished { task, stage, rows, bytes, .. } => {
                if let Some(run) = self.runs.get_mut(stage) {
                    run.succeeded += 1;
                }
                self.task_ended(out, *task, at, json!({ "Reason": "Success" }), *rows, *bytes)?;
            }
            Event::TaskFailed { task, stage, error, retried, .. } => {
                if let Some(run) = self.runs.get_mut(stage).filter(|_| !retried) {
                    run.failed = Some(error.clone());
                }
                let reason = json!({
                    "Reason": "ExceptionFailure", "Class Name": "TaskError", "Description": error, "Stack Trace": [],
                    "Full Stack Trace": error, "Accumulator Updates": [],
                });
                self.task_ended(out, *task, at, reason, 0, 0)?;
            }
            Event::PartitionSpilled { store, partition, task, bytes, file_bytes } => {
                match (self.persisted.get(store), self.kept.get_mut(&(*store, *partition))) {
                    // It was there already, and made room for others.
                    (Some(rdd), Some(sizes)) => {
                        *sizes = Sizes { memory: 0, disk: *file_bytes };
                        write_line(out, &block(*rdd, *partition, *sizes, true))?;
                    }
                    _ => _ = self.spilled.insert(*task, Sizes { memory: *bytes, disk: *file_bytes }),
                }
            }
            Event::PartitionStored { store, rdd, partition, task, bytes, .. } => {
                let Sizes { disk, .. } = self.spilled.remove(task).unwrap_or_default();
                let sizes = Sizes { memory: *bytes, disk };
                if self.persisted.contains_key(store) {
                    self.take_away(out, *store, *rdd, *partition)?;
                    self.kept.insert((*store, *partition), sizes);
                    write_line(out, &block(*rdd, *partition, sizes, true))?;
                }
            }
            Event::PartitionLost { store, rdd, partition, .. }
            | Event::PartitionDropped { store, rdd, partition, .. } => {
                self.take_away(out, *store, *rdd, *partition)?;
            }
            Event::StoreDropped { store, .. } => {
                if let Some(rdd) = self.persisted.remove(store) {
                    self.kept.retain(|(of, _), _| of != store);
                    write_line(out, &json!({ "Event": "SparkListenerUnpersistRDD", "RDD ID": rdd.get() }))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes that a partition is not kept any more, if it was. Spark adds up what blocks bring and take: so what goes has
    /// the size with which it came.
    fn take_away(&mut self, out: &mut impl Write, store: StoreId, rdd: RddId, partition: usize) -> io::Result<()> {
        match self.kept.remove(&(store, partition)) {
            Some(sizes) => write_line(out, &block(rdd, partition, sizes, false)),
            None => Ok(()),
        }
    }

    /// Writes the start of the job whose plan and labels are known by now.
    fn start_job(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Some(Starting { job, at, partitions, stages, labels }) = self.starting.take() else { return Ok(()) };
        let numbers: HashMap<StoreId, u64> = stages.iter().map(|stage| stage.store).zip(self.next_stage..).collect();
        self.next_stage += stages.len() as u64;
        let rdds: HashMap<StoreId, RddId> = stages.iter().map(|stage| (stage.store, stage.rdd)).collect();
        let mut infos = Vec::with_capacity(stages.len());
        for stage in &stages {
            let number = numbers[&stage.store];
            let parents: Vec<u64> = stage.reads.iter().filter_map(|store| numbers.get(store).copied()).collect();
            let tasks = if stage.kind == StageKind::Result { partitions } else { stage.partitions };
            let info = stage_info(number, &stage.name, tasks, &parents, rdd_infos(stage, &rdds));
            infos.push(info.clone());
            if stage.kind == StageKind::Persist {
                self.persisted.insert(stage.store, stage.rdd);
            }
            self.planned.insert((job, stage.store), Planned { number, attempts: 0, info, kind: stage.kind });
        }
        let mut properties = serde_json::Map::new();
        let tags = (!labels.tags.is_empty()).then(|| labels.tags.into_iter().collect::<Vec<_>>().join(","));
        let named = [
            ("spark.job.description", labels.description),
            ("spark.jobGroup.id", labels.group),
            ("spark.job.tags", tags),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                properties.insert(name.to_owned(), json!(value));
            }
        }
        let ids: Vec<&Value> = infos.iter().map(|info| &info["Stage ID"]).collect();
        let line = json!({
            "Event": "SparkListenerJobStart", "Job ID": job.get(), "Submission Time": millis(at), "Stage IDs": ids,
            "Stage Infos": infos, "Properties": properties,
        });
        write_line(out, &line)
    }

    /// The next attempt at a planned stage; one of a number of its own, if nobody has planned it.
    fn run(&mut self, job: JobId, store: StoreId, rdd: RddId, name: &str, tasks: usize, at: SystemTime) -> Run {
        let planned = self.planned.entry((job, store)).or_insert_with(|| {
            let number = self.next_stage;
            self.next_stage += 1;
            let info = stage_info(number, name, tasks, &[], vec![rdd_info(rdd, name, None, &[], NOWHERE())]);
            Planned { number, attempts: 0, info, kind: StageKind::Result }
        });
        let (attempt, mut info) = (planned.attempts, planned.info.clone());
        planned.attempts += 1;
        info["Stage Attempt ID"] = json!(attempt);
        info["Number of Tasks"] = json!(tasks);
        info["Submission Time"] = json!(millis(at));
        Run { number: planned.number, attempt, info, kind: planned.kind, failed: None, wanted: tasks, succeeded: 0 }
    }

    fn stage_finished(&mut self, out: &mut impl Write, stage: StageId, at: SystemTime) -> io::Result<()> {
        let mut open: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| task.stage == stage).map(|(task, _)| *task).collect();
        open.sort_unstable();
        for task in open {
            let reason =
                json!({ "Reason": "TaskKilled", "Kill Reason": "not wanted any more", "Accumulator Updates": [] });
            self.task_ended(out, task, at, reason, 0, 0)?;
        }
        let Some(mut run) = self.runs.remove(&stage) else { return Ok(()) };
        run.info["Completion Time"] = json!(millis(at));
        let unfinished = (run.succeeded < run.wanted).then(|| "not wanted any more".to_owned());
        if let Some(reason) = run.failed.or(unfinished) {
            run.info["Failure Reason"] = json!(reason);
        }
        write_line(out, &json!({ "Event": "SparkListenerStageCompleted", "Stage Info": run.info }))
    }

    fn task_ended(
        &mut self,
        out: &mut impl Write,
        id: TaskId,
        at: SystemTime,
        reason: Value,
        rows: u64,
        bytes: u64,
    ) -> io::Result<()> {
        let Some(task) = self.tasks.remove(&id) else { return Ok(()) };
        let Some(run) = self.runs.get(&task.stage) else { return Ok(()) };
        let Task { duration, reads, .. } = task;
        let Sizes { memory, disk } = self.spilled.get(&id).copied().unwrap_or_default();
        let shuffles = run.kind == StageKind::ShuffleMap;
        let written = bytes + memory;
        let of = |is_shuffle: bool, n: u64| if is_shuffle == shuffles { n } else { 0 };
        write_line(
            out,
            &json!({
                "Event": "SparkListenerTaskEnd", "Stage ID": run.number, "Stage Attempt ID": run.attempt,
                "Task Type": if shuffles { "ShuffleMapTask" } else { "ResultTask" }, "Task End Reason": reason,
                "Task Info": task_info(id, &task, Some((at, &reason))),
                "Task Executor Metrics": {},
                "Task Metrics": {
                    "Executor Deserialize Time": 0, "Executor Deserialize CPU Time": 0,
                    "Executor Run Time": duration.as_millis() as u64, "Executor CPU Time": duration.as_nanos() as u64,
                    "Peak Execution Memory": 0, "Result Size": 0, "JVM GC Time": 0, "Result Serialization Time": 0,
                    "Memory Bytes Spilled": memory, "Disk Bytes Spilled": disk,
                    "Shuffle Read Metrics": {
                        "Remote Blocks Fetched": 0, "Local Blocks Fetched": 0, "Fetch Wait Time": 0, "Remote Bytes Read": 0,
                        "Remote Bytes Read To Disk": 0, "Local Bytes Read": reads.shuffle_bytes,
                        "Total Records Read": reads.shuffle_rows,
                    },
                    "Shuffle Write Metrics": {
                        "Shuffle Bytes Written": of(true, written), "Shuffle Write Time": 0,
                        "Shuffle Records Written": of(true, rows),
                    },
                    "Input Metrics": { "Bytes Read": reads.bytes, "Records Read": reads.rows },
                    "Output Metrics": { "Bytes Written": of(false, written), "Records Written": of(false, rows) },
                    "Updated Blocks": [],
                },
            }),
        )
    }
}

/// Writes a line with its event's name first: the History Server looks for lines that begin so.
fn write_line(out: &mut impl Write, line: &Value) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(rename = "Event")]
        event: &'a Value,
        #[serde(flatten)]
        rest: BTreeMap<&'a str, &'a Value>,
    }
    let fields = line.as_object().into_iter().flatten();
    let rest = fields.filter(|(name, _)| *name != "Event").map(|(name, value)| (name.as_str(), value)).collect();
    serde_json::to_writer(&mut *out, &Line { event: &line["Event"], rest })?;
    out.write_all(b"\n")
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Spark refuses a port of zero; nobody listens at this one.
fn block_manager() -> Value {
    json!({ "Executor ID": "driver", "Host": "localhost", "Port": 1 })
}

/// A partition of a persisted RDD, so many bytes in memory and on disk, is there from now on, or no more.
fn block(rdd: RddId, partition: usize, Sizes { memory, disk }: Sizes, there: bool) -> Value {
    let (in_memory, on_disk) = (there && memory > 0, there && disk > 0);
    let level = json!({ "Use Disk": on_disk, "Use Memory": in_memory, "Deserialized": in_memory, "Replication": 1 });
    json!({
        "Event": "SparkListenerBlockUpdated",
        "Block Updated Info": {
            "Block Manager ID": block_manager(), "Block ID": format!("rdd_{}_{partition}", rdd.get()), "Storage Level": level,
            "Memory Size": memory, "Disk Size": disk,
        },
    })
}

fn task_info(id: TaskId, task: &Task, ended: Option<(SystemTime, &Value)>) -> Value {
    let failed = ended.is_some_and(|(_, reason)| reason["Reason"] == "ExceptionFailure");
    let killed = ended.is_some_and(|(_, reason)| reason["Reason"] == "TaskKilled");
    json!({
        "Task ID": id.get(), "Index": task.partition, "Attempt": task.attempt - 1, "Partition ID": task.partition,
        "Launch Time": millis(task.launched), "Executor ID": "driver", "Host": "localhost", "Locality": "PROCESS_LOCAL",
        "Speculative": false, "Getting Result Time": 0, "Finish Time": ended.map_or(0, |(at, _)| millis(at)),
        "Failed": failed, "Killed": killed, "Accumulables": [],
    })
}

fn stage_info(number: u64, name: &str, tasks: usize, parents: &[u64], rdds: Vec<Value>) -> Value {
    json!({
        "Stage ID": number, "Stage Attempt ID": 0, "Stage Name": name, "Number of Tasks": tasks, "RDD Info": rdds,
        "Parent IDs": parents, "Details": name, "Accumulables": [], "Resource Profile Id": 0,
        "Shuffle Push Enabled": false, "Shuffle Push Mergers Count": 0,
    })
}

fn rdd_infos(stage: &StageOutline, rdds: &HashMap<StoreId, RddId>) -> Vec<Value> {
    let kept = |rdd| {
        let kept = stage.kind == StageKind::Persist && rdd == stage.rdd;
        json!({ "Use Disk": kept, "Use Memory": kept, "Deserialized": kept, "Replication": 1 })
    };
    let parent = |input: &InputDescription| match input {
        InputDescription::Operator(rdd) => Some(*rdd),
        InputDescription::Persisted(store) | InputDescription::Shuffle(store) => rdds.get(store).copied(),
    };
    let operators = stage.operators.iter().map(|operator| {
        let parents: Vec<RddId> = operator.inputs.iter().filter_map(parent).collect();
        rdd_info(operator.rdd, &operator.operator, operator.name.as_deref(), &parents, kept(operator.rdd))
    });
    let infos: Vec<Value> = operators.collect();
    // What reads kept rows and does nothing more with them still has an RDD.
    if infos.is_empty() { vec![rdd_info(stage.rdd, &stage.name, None, &[], NOWHERE())] } else { infos }
}

fn rdd_info(rdd: RddId, operator: &str, name: Option<&str>, parents: &[RddId], level: Value) -> Value {
    let method = operator.split(" at ").next().unwrap_or(operator);
    json!({
        "RDD ID": rdd.get(), "Name": name.unwrap_or(method),
        "Scope": json!({ "id": rdd.get().to_string(), "name": method }).to_string(), "Callsite": operator,
        "Parent IDs": parents.iter().map(|rdd| rdd.get()).collect::<Vec<_>>(), "Storage Level": level, "Barrier": false,
        "DeterministicLevel": "DETERMINATE", "Number of Partitions": 0, "Number of Cached Partitions": 0, "Memory Size": 0,
        "Disk Size": 0,
    })
}
