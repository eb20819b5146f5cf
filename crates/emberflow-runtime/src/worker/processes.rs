//! The parent's end: worker processes, each of which runs one task at a time.

use std::{
    collections::HashMap,
    fmt,
    io::{self, BufReader, ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use emberflow_core::{
    error::TaskError,
    failure::Failure,
    ids::{StageId, StoreId},
    memory::Claim,
    operator::{ActionOutput, Fetch},
    parcel::Parcel,
    plan::{Sink, StagePlan, StoreRead, TaskOutput},
    store::StoredData,
    task::TaskContext,
    wire::{Arrived, Piece},
};

use super::{
    Done, IS_WORKER, Order,
    frames::{Frame, Tag},
    link::SOCKET,
};
use crate::{Engine, task_run::Elsewhere};

/// How long to wait for a worker before asking whether the task is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Tells a process how many bytes it may work in.
const MEMORY_BUDGET: &str = "EMBERFLOW_MEMORY_BUDGET";

/// Worker processes of this program, which run the tasks of a context: as many as tasks run at once. Counts the tasks
/// that they have run, and the stages that could not be sent.
pub struct WorkerProcesses {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    /// The bytes that each may work in, once it is known whose tasks they run.
    memory: OnceLock<u64>,
    idle: Mutex<Vec<Process>>,
    stages: Mutex<HashMap<StageId, (Weak<StagePlan>, Sendable)>>,
    tasks: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

/// A stage as bytes; nothing if it cannot be sent.
type Sendable = Option<Arc<Parcel>>;

/// One worker.
struct Process {
    child: Child,
    socket: UnixStream,
    /// The stage that it has.
    stage: Option<StageId>,
}

/// The end of a worker process in the middle of a task.
#[derive(Debug, thiserror::Error)]
#[error("the worker process died ({status}): {cause}")]
struct WorkerDied {
    status: ExitStatus,
    cause: io::Error,
}

impl WorkerProcesses {
    /// Processes that are started as `command` says, when tasks need them. Each has to [take its link](super::take_link)
    /// and [serve](super::serve).
    pub fn new(command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self {
            command: Box::new(command),
            memory: OnceLock::new(),
            idle: Mutex::default(),
            stages: Mutex::default(),
            tasks: AtomicUsize::new(0),
            refused: Mutex::default(),
        }
    }

    /// From now on they run the tasks of the engine, as far as their stages can be sent. Returns whether no other
    /// processes did before.
    pub fn run_tasks_of(self: &Arc<Self>, engine: &Engine) -> bool {
        let config = engine.config();
        self.memory.get_or_init(|| config.memory_budget_bytes / config.workers as u64);
        engine.run_tasks_in(Arc::clone(self) as Arc<dyn Elsewhere>)
    }

    /// How many attempts at tasks were sent to a worker.
    pub fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }

    /// Why the tasks of other stages were not: an error for each stage, which names an operator and its place.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The processes that wait for a task, by their ids.
    pub fn idle(&self) -> Vec<u32> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().map(|process| process.child.id()).collect()
    }

    /// The stage as bytes, made once.
    fn sendable(&self, number: StageId, stage: &Arc<StagePlan>) -> Sendable {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = stages.get(&number) {
            return known.clone();
        }
        stages.retain(|_, (stage, _)| stage.strong_count() > 0);
        let packed = Parcel::pack(std::slice::from_ref(stage)).map(Arc::new);
        let sendable = packed.map_err(|refusal| {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(refusal.to_string());
        });
        let sendable = sendable.ok();
        stages.insert(number, (Arc::downgrade(stage), sendable.clone()));
        sendable
    }

    fn process(&self) -> io::Result<Process> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(idle) = idle {
            return Ok(idle);
        }
        let mut command = (self.command)();
        // Together they have the budget of the context, unless they are told otherwise.
        let is_told = command.get_envs().any(|(name, _)| name == MEMORY_BUDGET);
        if let (false, Some(memory)) = (is_told, self.memory.get()) {
            command.env(MEMORY_BUDGET, memory.to_string());
        }
        Process::start(command)
    }

    /// Runs an attempt in a process, and keeps the process if it can be used again.
    fn run_in(
        &self,
        mut process: Process,
        parcel: &Parcel,
        stage: &StagePlan,
        fetch: &dyn Fetch,
        cx: &TaskContext,
    ) -> Result<TaskOutput, TaskError> {
        let outcome = process.run(parcel, stage, fetch, cx);
        match outcome {
            Ok(outcome) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
                outcome
            }
            // It is at a task that nobody wants any more, and keeps nothing: another one is started when it is needed.
            Err(_) if cx.is_cancelled() => {
                process.kill().map_err(TaskError::io)?;
                Err(TaskError::Cancelled)
            }
            Err(cause) => {
                let status = process.kill().map_err(TaskError::io)?;
                Err(TaskError::io(WorkerDied { status, cause }))
            }
        }
    }
}

impl Elsewhere for WorkerProcesses {
    fn run(
        &self,
        stage: &Arc<StagePlan>,
        fetch: &dyn Fetch,
        cx: &TaskContext,
    ) -> Option<Result<TaskOutput, TaskError>> {
        let parcel = self.sendable(cx.stage(), stage)?;
        self.tasks.fetch_add(1, Ordering::Relaxed);
        let process = self.process().map_err(TaskError::io);
        Some(process.and_then(|process| self.run_in(process, &parcel, stage, fetch, cx)))
    }

    fn stop(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for WorkerProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerProcesses").field("tasks", &self.tasks()).finish_non_exhaustive()
    }
}

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(POLL_INTERVAL))?;
        ours.set_write_timeout(Some(POLL_INTERVAL))?;
        let child = command.env(IS_WORKER, SOCKET).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { child, socket: ours, stage: None })
    }

    /// Ends the process, and says how it has ended.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        // One that has ended already cannot be killed, and has its own status.
        let _ = self.child.kill();
        self.child.wait()
    }

    /// Has the worker run an attempt. The outer error is that of a worker that cannot be used any more.
    fn run(
        &mut self,
        parcel: &Parcel,
        stage: &StagePlan,
        fetch: &dyn Fetch,
        cx: &TaskContext,
    ) -> io::Result<Result<TaskOutput, TaskError>> {
        let patient = Patient { socket: &self.socket, cx };
        if self.stage != Some(cx.stage()) {
            Frame::new(Tag::Plan, 0, 0, parcel.as_bytes().to_vec()).write(&mut &patient)?;
            self.stage = Some(cx.stage());
        }
        let at = (number(cx.partition())?, cx.attempt());
        let identity = cx.identity();
        let order = Order {
            stage: cx.stage(),
            task: identity.task,
            job: identity.job,
            batch_rows: cx.batch_rows(),
            // The batches of the last one are those of its context.
            last_attempt: u32::MAX,
            watched: cx.is_watched(),
        };
        Frame::with(Tag::Task, at, &order)?.write(&mut &patient)?;
        if let Err(error) = send_inputs(stage, fetch, cx, &patient)? {
            Frame::new(Tag::Never, 0, 0, Vec::new()).write(&mut &patient)?;
            return Ok(Err(error));
        }
        Frame::new(Tag::Go, 0, 0, Vec::new()).write(&mut &patient)?;
        receive(stage, cx, &patient)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself where its input does; one that does not, or that has ended already, need not be asked.
        let _ = self.kill();
    }
}

fn number(partition: usize) -> io::Result<u32> {
    u32::try_from(partition).map_err(io::Error::other)
}

/// Sends all that the task reads. The outer error is that of the worker.
fn send_inputs(
    stage: &StagePlan,
    fetch: &dyn Fetch,
    cx: &TaskContext,
    worker: &Patient<'_>,
) -> io::Result<Result<(), TaskError>> {
    let stores = stage.stores();
    let number_of = |store: StoreId| stores.keys().position(|known| *known == store).unwrap_or_default();
    let mut broken = None;
    let mut before = None;
    for read in stage.reads_of(cx.partition()) {
        let mut send = |store: usize, partition, reader, again: bool, data: &dyn StoredData| {
            data.pack(reader, &mut |piece: Piece| {
                // A task may be several reducers, and the pieces that every reader gets are sent for the first of them.
                if again && piece.reader.is_none() {
                    return Ok(());
                }
                let sent = number(store).and_then(|store| Ok((store, number(partition)?)));
                let sent = sent.and_then(|at| Frame::of_piece(Tag::Block, at, &piece).write(&mut &*worker));
                sent.map_err(|error| {
                    broken = Some(error);
                    TaskError::Cancelled
                })
            })
        };
        let sent = match read {
            StoreRead::Partition(store, partition) => fetch
                .fetch(store, partition)
                .and_then(|(data, _)| send(number_of(store), partition, None, false, &*data)),
            StoreRead::Reducer(store, reducer) => {
                let (maps, again) = (fetch.partitions(store), before.replace(store) == Some(store));
                if !again {
                    let at = (number(number_of(store))?, number(maps)?);
                    Frame::new(Tag::Store, at.0, at.1, Vec::new()).write(&mut &*worker)?;
                }
                (0..maps).try_for_each(|map| match fetch.fetch_block(store, map, reducer)? {
                    Some(data) => send(number_of(store), map, Some(reducer), again, &*data),
                    None => Ok(()),
                })
            }
        };
        if let Some(error) = broken {
            return Err(error);
        }
        if let Err(error) = sent {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// Receives what the task has made.
fn receive(stage: &StagePlan, cx: &TaskContext, worker: &Patient<'_>) -> io::Result<Result<TaskOutput, TaskError>> {
    let mut input = BufReader::new(worker);
    let (mut claim, mut pieces, mut value) = (Claim::new(cx.workspace()), Vec::new(), None);
    loop {
        let frame = Frame::read(&mut input)?.ok_or(ErrorKind::UnexpectedEof)?;
        match Tag::try_from(frame.tag)? {
            Tag::Working if frame.a > 0 => cx.is_at(frame.value()?, None),
            Tag::Working => {}
            Tag::Piece => match Arrived::keep(frame.into_piece()?, &mut claim, cx.workspace().space()) {
                Ok(piece) => pieces.push(piece),
                Err(error) => return Err(io::Error::other(error)),
            },
            Tag::Value => value = Some(frame.bytes),
            Tag::Update => cx.add_update(frame.long(), &frame.bytes).map_err(io::Error::other)?,
            Tag::Failed => return Ok(Err(frame.value::<(String, Failure)>()?.1.told_to(cx))),
            Tag::Done => {
                let Done { rows, reads } = frame.value()?;
                cx.add_reads(reads);
                return Ok(match &stage.sink {
                    Sink::Store(writer) => writer.unpack(&pieces).map(TaskOutput::Stored),
                    Sink::Result(action) => {
                        let value = value.ok_or(ErrorKind::UnexpectedEof)?;
                        let value = action.decode(&value).map_err(io::Error::other)?;
                        // Results that have arrived count like those that are made here.
                        cx.workspace().reserve_result(0).map(|()| TaskOutput::Result(ActionOutput { value, rows }))
                    }
                });
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The socket to a worker, which gives up when the task is not wanted any more.
struct Patient<'a> {
    socket: &'a UnixStream,
    cx: &'a TaskContext,
}

impl Patient<'_> {
    fn wait<R>(&self, mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            match attempt() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.cx.is_cancelled() {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

impl Read for &Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(|| (&mut &*self.socket).read(buffer))
    }
}

impl Write for &Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|| (&mut &*self.socket).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
