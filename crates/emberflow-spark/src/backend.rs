//! Jobs on Spark: what goes to the driver, and what comes back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env,
    future::Future,
    io::{self, BufReader},
    pin::Pin,
    process::ChildStdout,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use emberflow_core::{
    backend::{Backend, CachedPartition, Job, JobOutput, JobSpec, StoreState, Which},
    codec,
    error::{Error, FailedAttempt, Result},
    event::{JobEnd, JobLabels},
    failure::Failure,
    ids::{JobId, PartitionIndex, RddId, StageId, StoreId, StorePartition, TaskId},
    operator::ActionOperator,
    parcel::Parcel,
    plan::{Sink, StageKind, StagePlan},
    update::Updates,
};
use emberflow_runtime::{Bus, Frame, Order, in_task};
use tokio::sync::oneshot;

use crate::{
    driver::{SparkDriver, SparkError, SparkSettings},
    events::{Events, JobEvents},
    protocol::{self, Addition, FailedTask, Report},
};

/// Attempts at a task, unless Spark was told otherwise (`spark.task.maxFailures`).
const ATTEMPTS: u32 = 4;

/// Stands in the text of an exception of Spark's before a failure of a task of ours.
const SENT_FAILURE: &str = "<emberflow:";

/// Runs jobs on Spark. It lives as long as Spark's driver, which keeps what is cached.
pub struct SparkBackend {
    link: Arc<Link>,
    batch_rows: usize,
    next_job: AtomicU32,
    stopped: AtomicBool,
    reader: Mutex<Option<JoinHandle<()>>>,
}

/// The driver, and what it is at.
struct Link {
    driver: SparkDriver,
    events: Events,
    /// Held while stages are defined, and while a store is released.
    defining: Mutex<()>,
    /// Stores that the driver knows.
    stores: Mutex<HashMap<StoreId, Store>>,
    jobs: Mutex<Jobs>,
}

/// A store, as far as it was told of: nothing is told of the partitions that Spark loses.
struct Store {
    rdd: RddId,
    partitions: usize,
    kept: BTreeMap<PartitionIndex, CachedPartition>,
    computed: u64,
    compute_time: Duration,
}

/// The jobs that run, by their number.
#[derive(Default)]
struct Jobs {
    running: HashMap<u32, Running>,
    /// The additions to accumulators by tasks of stores, where the caller of the job was gone: they are the next one's.
    unclaimed: BTreeMap<StorePartition, Updates>,
    /// Why no further job can run: the driver has ended.
    over: Option<String>,
}

/// A job that runs.
struct Running {
    stages: Vec<Arc<StagePlan>>,
    action: Arc<dyn ActionOperator>,
    labels: JobLabels,
    told: JobEvents,
    output: JobOutput,
    /// The additions of its tasks to accumulators, by the partitions of its stages.
    updates: BTreeMap<StorePartition, Updates>,
    cancelled: bool,
    outcome: oneshot::Sender<Result<JobOutput>>,
}

impl SparkBackend {
    /// Starts Spark's driver for a master, such as `local[2]` or `spark://host:7077`. Takes some seconds. The events of its
    /// jobs go to `bus`.
    ///
    /// # Errors
    /// [`SparkError`] if there is no Spark or no Java, if they do not start, or if the cluster is not protected.
    pub fn start(settings: &SparkSettings, bus: Arc<Bus>) -> std::result::Result<Self, SparkError> {
        let (driver, says) = SparkDriver::start(settings)?;
        let program = env::current_exe()?;
        let program = program.to_str().ok_or_else(|| io::Error::other("the program's path is not UTF-8"))?;
        driver.tell(&Frame::new(protocol::PROGRAM, 0, 0, program.as_bytes().to_vec()))?;
        let events = Events::new(bus);
        let link = Arc::new(Link {
            driver,
            events,
            defining: Mutex::default(),
            stores: Mutex::default(),
            jobs: Mutex::default(),
        });
        let listening = Arc::clone(&link);
        let reader = thread::Builder::new().name("emberflow-spark".to_owned()).spawn(move || listening.listen(says))?;
        Ok(Self {
            link,
            batch_rows: settings.batch_rows,
            next_job: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            reader: Mutex::new(Some(reader)),
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.stopped.load(Ordering::Acquire) { Err(Error::ContextClosed) } else { Ok(()) }
    }

    /// Defines the stages that the driver does not know yet. Returns the stores that the job reads and others have filled.
    fn define(&self, stages: &[Arc<StagePlan>], job: JobId) -> Result<BTreeSet<StoreId>> {
        // No stage is defined twice. What the driver says meanwhile is heard.
        let _defining = self.link.defining.lock().unwrap_or_else(PoisonError::into_inner);
        let stores = || self.link.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |store: &StoreId| stores().contains_key(store);
        let mut needed: BTreeSet<StoreId> = BTreeSet::new();
        // What only a stage reads that is there already need not be there.
        let mut wanted = Vec::new();
        for stage in stages.iter().rev() {
            if stage.kind == StageKind::Result || (needed.contains(&stage.store) && !is_known(&stage.store)) {
                needed.extend(stage.stores().into_keys());
                wanted.push(stage);
            }
        }
        let was_there = needed.into_iter().filter(|store| is_known(store)).collect();
        for stage in wanted.into_iter().rev() {
            let parcel = Parcel::pack(std::slice::from_ref(stage))?;
            let order = Order {
                stage: StageId::new(stage.store.get()),
                task: TaskId::new(0),
                job,
                batch_rows: self.batch_rows,
                last_attempt: ATTEMPTS,
                watched: true,
            };
            let message = codec::encode_plan(&order).map_err(io::Error::other);
            let message = message.and_then(|order| protocol::stage(stage, &parcel, &order));
            let message = message.map_err(|error| ended(&stage.info.to_string(), &SparkError::Files(error)))?;
            self.link.driver.tell(&message).map_err(|error| ended(&stage.info.to_string(), &error))?;
            if stage.kind != StageKind::Result {
                let kept = BTreeMap::new();
                let (rdd, partitions) = (stage.rdd, stage.partitions);
                let store = Store { rdd, partitions, kept, computed: 0, compute_time: Duration::ZERO };
                stores().insert(stage.store, store);
            }
        }
        Ok(was_there)
    }
}

/// The error of a job whose driver has ended.
fn ended(operator: &str, error: &SparkError) -> Error {
    Error::ClusterFailed { operator: operator.to_owned(), reason: error.to_string() }
}

impl Backend for SparkBackend {
    fn submit(&self, JobSpec { stages, wanted, labels }: JobSpec) -> Result<Pin<Box<dyn Job>>> {
        self.check_open()?;
        let Some(last) = stages.last().map(Arc::clone) else { return Err(Error::ContextClosed) };
        if in_task() {
            return Err(Error::NestedAction { what: last.info.name });
        }
        let Sink::Result(action) = &last.sink else { return Err(Error::ContextClosed) };
        let number = self.next_job.fetch_add(1, Ordering::Relaxed);
        let job = JobId::new(u64::from(number));
        let was_there = self.define(&stages, job)?;
        let (send, outcome) = oneshot::channel();
        let (action, output) = (Arc::clone(action), JobOutput::default());
        let told = protocol::job(number, &stages, &last, &wanted).map_err(SparkError::Files);
        let updates = BTreeMap::new();
        let text = last.info.to_string();
        {
            let mut jobs = self.link.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            // What is told to a driver that has just ended may still find its pipe open.
            if let Some(reason) = &jobs.over {
                return Err(Error::ClusterFailed { operator: text, reason: reason.clone() });
            }
            let told = self.link.events.job_started(job, &stages, wanted.len(), &labels, &was_there);
            let running = Running { stages, action, labels, told, output, updates, cancelled: false, outcome: send };
            jobs.running.insert(number, running);
        }
        if let Err(error) = told.and_then(|frame| self.link.driver.tell(&frame)) {
            let error = ended(&text, &error);
            let job = self.link.jobs.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&number);
            if let Some(mut job) = job {
                self.link.events.job_finished(&mut job.told, JobEnd::of::<()>(&Err(error.clone())));
            }
            return Err(error);
        }
        Ok(Box::pin(SparkJob { job, number, outcome, link: Arc::downgrade(&self.link), over: false }))
    }

    fn cancel(&self, job: JobId) {
        if let Ok(number) = u32::try_from(job.get()) {
            self.link.cancel(number);
        }
    }

    fn cancel_all(&self, which: Which<'_>) -> Result<Vec<JobId>> {
        self.check_open()?;
        let is_meant = |labels: &JobLabels| match which {
            Which::All => true,
            Which::Group(group) => labels.group.as_deref() == Some(group),
            Which::Tag(tag) => labels.tags.iter().any(|known| known == tag),
        };
        let mut numbers: Vec<u32> = {
            let jobs = self.link.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.running.iter().filter(|(_, job)| is_meant(&job.labels)).map(|(number, _)| *number).collect()
        };
        numbers.sort_unstable();
        numbers.iter().for_each(|number| self.link.cancel(*number));
        Ok(numbers.into_iter().map(|number| JobId::new(u64::from(number))).collect())
    }

    fn store_state(&self, store: StoreId) -> Result<Option<StoreState>> {
        self.check_open()?;
        let stores = self.link.stores.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stores.get(&store).map(|store| StoreState {
            stored: store.kept.values().copied().collect(),
            partitions: store.partitions,
            bytes: store.kept.values().map(|partition| partition.bytes).sum(),
            computed: store.computed,
            compute_time: store.compute_time,
            dropped: 0,
        }))
    }

    fn forget(&self, store: StoreId) {
        let mut jobs = self.link.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.unclaimed.retain(|(unclaimed, _), _| *unclaimed != store);
        drop(jobs);
        // A stage that is defined meanwhile may read it: the driver hears of that stage before it lets go of the store.
        let _defining = self.link.defining.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.link.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(&store);
        let Some(known) = known else { return };
        if let Err(error) = self.link.driver.tell(&protocol::release(store)) {
            // It keeps nothing any more.
            tracing::debug!(%error, %store, "released after the end");
        }
        self.link.events.store_dropped(store, known.rdd, known.kept.len());
    }

    fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.link.fail_all(|_| Error::ContextClosed);
        self.link.driver.end();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if reader.is_some_and(|reader| reader.join().is_err()) {
            tracing::error!("the thread that listens to Spark's driver had panicked");
        }
    }
}

impl Drop for SparkBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Link {
    fn cancel(&self, number: u32) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = jobs.running.get_mut(&number) else { return };
        job.cancelled = true;
        if let Err(error) = self.driver.tell(&Frame::new(protocol::CANCEL, number, 0, Vec::new())) {
            // Its job fails by itself.
            tracing::debug!(%error, number, "cancelled after the end");
        }
    }

    /// Takes in what the driver says, until it ends.
    fn listen(&self, mut says: BufReader<ChildStdout>) {
        loop {
            match Frame::read(&mut says) {
                Ok(Some(frame)) => self.hear(&frame),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "Spark's driver cannot be understood");
                    break;
                }
            }
        }
        let reason = SparkError::Ended(self.driver.last_lines());
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).over = Some(reason.to_string());
        self.fail_all(|job| ended(&job.operator(), &reason));
    }

    fn fail_all(&self, error: impl Fn(&Running) -> Error) {
        let jobs = std::mem::take(&mut self.jobs.lock().unwrap_or_else(PoisonError::into_inner).running);
        for (_, job) in jobs {
            let error = error(&job);
            // A caller that is gone does not want to know.
            let _ = job.end(&self.events, Err(error));
        }
    }

    /// Takes in that a task of a job has succeeded.
    fn take_report(&self, job: &mut Running, frame: &Frame) {
        let Some(report) = Report::read(&frame.bytes) else {
            tracing::error!("Spark's driver tells of a task in a form that is not known");
            return;
        };
        let partition = frame.b as PartitionIndex;
        let Some(task) = self.events.task_ran(&mut job.told, partition, &report) else { return };
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get_mut(&report.store) {
            let (rows, bytes) = (report.done.rows, report.bytes);
            store.kept.insert(partition, CachedPartition { partition, task, rows, bytes, spilled_bytes: 0 });
            store.computed += 1;
            store.compute_time += report.duration;
        }
    }

    fn hear(&self, frame: &Frame) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = jobs.running.get_mut(&frame.a) else { return };
        let end = match frame.tag {
            protocol::VALUE => match job.take_value(frame) {
                Ok(()) => return,
                Err(error) => Some(Error::ClusterFailed { operator: job.operator(), reason: error }),
            },
            protocol::ADDITION => match job.take_addition(frame) {
                Ok(()) => return,
                Err(error) => Some(Error::ClusterFailed { operator: job.operator(), reason: error }),
            },
            protocol::RAN => return self.take_report(job, frame),
            protocol::ATTEMPT_FAILED => return job.take_failed(&self.events, frame),
            protocol::SUCCEEDED => None,
            protocol::FAILED if job.cancelled => Some(Error::Cancelled { job: JobId::new(u64::from(frame.a)) }),
            protocol::FAILED => Some(job.failure(&String::from_utf8_lossy(&frame.bytes))),
            tag => {
                tracing::error!(tag, "Spark's driver says something unknown");
                return;
            }
        };
        let Some(mut job) = jobs.running.remove(&frame.a) else { return };
        if let Some(error) = end {
            // A caller that is gone does not want to know.
            let _ = job.end(&self.events, Err(error));
            return;
        }
        let mut stored = Vec::new();
        for store in job.stages.iter().map(|stage| stage.store) {
            let of_store = (store, 0)..=(store, PartitionIndex::MAX);
            let unclaimed = jobs.unclaimed.extract_if(of_store.clone(), |_, _| true);
            stored.extend(unclaimed.chain(job.updates.extract_if(of_store, |_, _| true)));
        }
        let output = std::mem::take(&mut job.output).finish(stored);
        if let Some(Ok(mut unwanted)) = job.end(&self.events, Ok(output)) {
            jobs.unclaimed.extend(unwanted.take_stored_updates());
        }
    }
}

impl Running {
    /// Tells the caller. Returns the outcome if the caller is gone.
    fn end(mut self, events: &Events, outcome: Result<JobOutput>) -> Option<Result<JobOutput>> {
        events.job_finished(&mut self.told, JobEnd::of(&outcome));
        self.outcome.send(outcome).err()
    }

    fn take_value(&mut self, frame: &Frame) -> std::result::Result<(), String> {
        let (partition, last) = (frame.b as PartitionIndex, self.stages.last().map(|stage| stage.store));
        let value = self.action.decode(&frame.bytes).map_err(|error| error.told())?;
        let updates = last.and_then(|last| self.updates.remove(&(last, partition))).unwrap_or_default();
        self.output.push(partition, value, updates);
        Ok(())
    }

    fn take_addition(&mut self, frame: &Frame) -> std::result::Result<(), String> {
        let addition = Addition::read(&frame.bytes).ok_or("a message that ends too early")?;
        let updates = self.updates.entry((addition.store, frame.b as PartitionIndex)).or_default();
        updates.decode(addition.accumulator, addition.update).map_err(|error| error.told())
    }

    /// Tells of an attempt that has failed: one of ours that says where, or one that Spark has lost.
    fn take_failed(&mut self, events: &Events, frame: &Frame) {
        let Some(FailedTask { store, attempt, text }) = FailedTask::read(&frame.bytes) else {
            tracing::error!("Spark's driver tells of a failure in a form that is not known");
            return;
        };
        let sent = text.split_once(SENT_FAILURE).and_then(|(_, sent)| Some((sent, SentFailure::read(sent)?)));
        let is_last = |attempt| attempt >= ATTEMPTS;
        let (store, at, error, retried) = match sent {
            Some((sent, SentFailure { stage, partition, attempt, failure })) => {
                let retried = sent.starts_with("again:") && !is_last(attempt);
                (StoreId::new(stage), (partition, attempt), failure.into_parts().0.to_string(), retried)
            }
            None => (store, (frame.b as PartitionIndex, attempt), text.trim().to_owned(), !is_last(attempt)),
        };
        events.task_failed(&mut self.told, store, at, error, retried);
    }

    /// The action.
    fn operator(&self) -> String {
        self.stages.last().map_or_else(String::new, |stage| stage.info.to_string())
    }

    /// The error that Spark tells of by this text: that of the task that has failed last, with all its attempts, if it is
    /// one of ours.
    fn failure(&self, text: &str) -> Error {
        let mut failed: BTreeMap<(u64, usize), BTreeMap<u32, FailedAttempt>> = BTreeMap::new();
        let mut last = None;
        for told in text.split(SENT_FAILURE).skip(1).filter_map(SentFailure::read) {
            let Some(stage) = self.stages.iter().find(|stage| stage.store.get() == told.stage) else { continue };
            let (error, rdd, rows) = told.failure.into_parts();
            let (rdd, operator) = match rdd {
                Some(rdd) => (rdd, stage.operator(rdd).to_string()),
                None => (stage.rdd, stage.info.to_string()),
            };
            let at = (told.stage, told.partition);
            let cause = FailedAttempt { attempt: told.attempt, rdd, operator, rows, error };
            failed.entry(at).or_default().insert(told.attempt, cause);
            last = Some(at);
        }
        let causes = last.and_then(|at| Some((at, failed.remove(&at)?)));
        let Some(((stage, partition), causes)) = causes else {
            return Error::ClusterFailed { operator: self.operator(), reason: text.trim().to_owned() };
        };
        let causes: Vec<FailedAttempt> = causes.into_values().collect();
        let FailedAttempt { rdd, operator, .. } = causes[0].clone();
        let stage = self.told.stage(StoreId::new(stage)).unwrap_or(StageId::new(stage));
        Error::TaskFailed { rdd, operator, stage, partition, causes }
    }
}

/// A failure of a task as the exception of Spark's task tells it.
struct SentFailure {
    stage: u64,
    partition: usize,
    attempt: u32,
    failure: Failure,
}

impl SentFailure {
    /// Reads one at the beginning of a text: whether it may be tried again, stage, partition, attempt, and the failure.
    fn read(text: &str) -> Option<Self> {
        let mut fields = text.split_once('>')?.0.splitn(5, ':').skip(1);
        let stage = fields.next()?.parse().ok()?;
        let (partition, attempt) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let bytes = BASE64_STANDARD.decode(fields.next()?).ok()?;
        let (_, failure) = codec::decode_plan::<(String, Failure)>(&bytes).ok()?;
        Some(Self { stage, partition, attempt, failure })
    }
}

/// A job on Spark.
struct SparkJob {
    job: JobId,
    number: u32,
    outcome: oneshot::Receiver<Result<JobOutput>>,
    link: Weak<Link>,
    over: bool,
}

impl Job for SparkJob {
    fn id(&self) -> JobId {
        self.job
    }
}

impl Future for SparkJob {
    type Output = Result<JobOutput>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(cx).map(|outcome| {
            self.over = true;
            outcome.unwrap_or(Err(Error::ContextClosed))
        })
    }
}

impl Drop for SparkJob {
    fn drop(&mut self) {
        if !self.over
            && let Some(link) = self.link.upgrade()
        {
            link.cancel(self.number);
        }
    }
}
