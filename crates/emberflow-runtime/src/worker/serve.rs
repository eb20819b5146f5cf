//! The worker's end: runs the tasks that it is given, one at a time.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use emberflow_core::{
    error::TaskError,
    failure::Failure,
    ids::{PartitionIndex, StoreId, TaskId},
    memory::{Claim, Workspace},
    operator::{Fetch, StoreWriter},
    parcel::Parcel,
    plan::{Sink, StagePlan, TaskOutput},
    store::StoredData,
    task::{Identity, Io, TaskContext, TaskSetup},
    wire::{Arrived, Piece},
};

use super::{
    Done, IS_WORKER, Order,
    frames::{Frame, Tag},
};
use crate::{Engine, coordinator::Links, pool::Roster, task_run::ended, workspace::TaskMemory};

/// How often the parent is told that a task goes on.
const WORKING: Duration = Duration::from_millis(50);

/// Messages of a task that wait to be sent.
const WAITING_FRAMES: usize = 4;

/// Returns whether this process was started by another one as its worker.
pub fn is_worker() -> bool {
    std::env::var_os(IS_WORKER).is_some()
}

/// Runs the tasks that come through `input`, until it ends.
///
/// # Errors
/// If the process is no [worker](is_worker), or the parent is gone in the middle of a message.
pub fn serve(engine: &Engine, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    if !is_worker() {
        return Err(io::Error::other("the process was not started by another one that has tasks for it"));
    }
    let links = engine.links().map_err(io::Error::other)?;
    let mut stage: Result<Arc<StagePlan>, String> = Err("no stage has come before the task".to_owned());
    let mut open: Option<Inbox> = None;
    while let Some(frame) = Frame::read(&mut input)? {
        let unexpected = || io::Error::new(ErrorKind::InvalidData, "a message that belongs to no task");
        match (Tag::try_from(frame.tag)?, &mut open) {
            (Tag::Plan, _) => stage = open_stage(frame.bytes),
            (Tag::Task, _) => open = Some(Inbox::new(&frame, &links)?),
            (Tag::Store, Some(inbox)) => _ = inbox.maps.insert(frame.a, frame.b as PartitionIndex),
            (Tag::Block, Some(inbox)) => inbox.keep(frame)?,
            (Tag::Never, _) => open = None,
            (Tag::Go, _) => {
                let inbox = open.take().ok_or_else(unexpected)?;
                let (send, receive) = bounded(WAITING_FRAMES);
                match &stage {
                    Ok(stage) => {
                        let (stage, links, io) = (Arc::clone(stage), Arc::clone(&links), engine.io());
                        links.pool.clone().submit(Box::new(move || inbox.run(&stage, &links, io, &send)));
                    }
                    Err(reason) => {
                        let error = TaskError::io_permanent(reason.clone());
                        send.send(failed(&error, &Failure::before_it_ran(&error))?).ok();
                        drop(send);
                    }
                }
                answer(&receive, &links.pool.roster(), &mut output)?;
            }
            _ => return Err(unexpected()),
        }
    }
    Ok(())
}

fn failed(error: &TaskError, failure: &Failure) -> io::Result<Frame> {
    Frame::with(Tag::Failed, (u32::from(error.is_retryable()), 0), &(error.to_string(), failure))
}

/// Sends on what the task says, and in between whether it goes on.
fn answer(task: &Receiver<Frame>, roster: &Roster, output: &mut impl Write) -> io::Result<()> {
    let mut beats = None;
    loop {
        match task.recv_timeout(WORKING) {
            Ok(frame) => frame.write(output)?,
            Err(RecvTimeoutError::Timeout) => {
                // It is told in any case: if the parent is gone, this fails.
                for work in roster.at_work().into_iter().flatten() {
                    let goes_on = beats.replace(work.beats) != Some(work.beats);
                    Frame::with(Tag::Working, (u32::from(goes_on), 0), &work.rdd)?.write(output)?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return output.flush(),
        }
        output.flush()?;
    }
}

fn open_stage(parcel: Vec<u8>) -> Result<Arc<StagePlan>, String> {
    #[allow(unsafe_code, reason = "to believe the parent's plan is the purpose of a worker")]
    // SAFETY: the bytes have come through the input that the parent gave to this process when it started it as its
    // worker, and that nobody else can write to.
    let parcel = unsafe { Parcel::from_bytes(parcel) };
    let mut stages = parcel.open().map_err(|error| error.to_string())?;
    match (stages.pop(), stages.pop()) {
        (Some(stage), None) => Ok(stage),
        _ => Err("the plan is not one stage".to_owned()),
    }
}

/// The inputs of a task, as they arrive.
struct Inbox {
    partition: PartitionIndex,
    attempt: u32,
    order: Order,
    memory: Arc<TaskMemory>,
    claim: Claim,
    /// The number of map outputs of each shuffle, by the number of the store.
    maps: BTreeMap<u32, PartitionIndex>,
    pieces: HashMap<(u32, PartitionIndex), Vec<Arrived>>,
}

impl Inbox {
    fn new(task: &Frame, links: &Arc<Links>) -> io::Result<Self> {
        let memory = Arc::new(TaskMemory::new(links, Arc::new(AtomicBool::new(false)), None));
        let workspace: Arc<dyn Workspace> = Arc::clone(&memory) as _;
        Ok(Self {
            partition: task.a as PartitionIndex,
            attempt: task.b,
            order: task.value()?,
            memory,
            claim: Claim::new(&workspace),
            maps: BTreeMap::new(),
            pieces: HashMap::new(),
        })
    }

    fn keep(&mut self, frame: Frame) -> io::Result<()> {
        let at = (frame.a, frame.b as PartitionIndex);
        let kept = Arrived::keep(frame.into_piece()?, &mut self.claim, &*self.memory).map_err(io::Error::other)?;
        self.pieces.entry(at).or_default().push(kept);
        Ok(())
    }

    /// Runs the task, and tells `parent` of what it has made, or why it has failed.
    fn run(self, stage: &StagePlan, links: &Arc<Links>, io: Arc<dyn Io>, parent: &Sender<Frame>) {
        let Self { partition, attempt, order, memory, claim, maps, pieces } = self;
        let Order { stage: number, task, job, batch_rows, last_attempt, watched } = order;
        let batch_rows = if attempt >= last_attempt { 1 } else { batch_rows };
        let busy = links.pool.at_work(task);
        let workspace: Arc<dyn Workspace> = Arc::clone(&memory) as _;
        let identity = Identity { task, job, partitions: stage.partitions };
        let cancelled = Arc::clone(&memory.cancelled);
        let cx = TaskContext::new(TaskSetup {
            stage: number,
            partition,
            attempt,
            identity,
            batch_rows,
            cancelled,
            io,
            workspace,
            status: busy.status(),
        });
        if watched {
            cx.watch();
        }
        let inputs = Received::new(stage, &maps, pieces);
        // The parent may be gone. Then nobody wants to know.
        let tell = |frame: io::Result<Frame>| match frame.map(|frame| parent.send(frame)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(TaskError::Cancelled),
            Err(error) => Err(TaskError::io_permanent(error)),
        };
        let run = || {
            cx.enter(|| match stage.run(partition, &inputs, &cx)? {
                TaskOutput::Stored(stored) => {
                    let mut give = |piece: Piece| {
                        let reader = piece.reader.unwrap_or(u32::MAX);
                        tell(Ok(Frame::of_piece(Tag::Piece, (reader, 0), &piece)))
                    };
                    stored.data.pack(None, &mut give).map(|()| stored.footprint.rows)
                }
                TaskOutput::Result(output) => {
                    let Sink::Result(action) = &stage.sink else { return Ok(0) };
                    let value = action.encode(&*output.value);
                    let value = value.map_err(|refusal| TaskError::io_permanent(refusal.to_string()))?;
                    tell(Ok(Frame::new(Tag::Value, 0, 0, value)))?;
                    Ok(output.rows)
                }
            })
        };
        // The operators' state is dropped with the plan's streams; nothing of it is looked at after a panic.
        let outcome = catch_unwind(AssertUnwindSafe(run));
        let outcome = ended(&cx, outcome.unwrap_or_else(|payload| Err(TaskError::of_panic(payload))));
        let outcome = outcome.and_then(|rows| {
            // To write an update is the user's code, too.
            let updates = catch_unwind(AssertUnwindSafe(|| cx.take_updates().encode()));
            let updates = updates.unwrap_or_else(|payload| Err(TaskError::of_panic(payload)))?;
            updates.into_iter().try_for_each(|(id, update)| tell(Ok(Frame::of_update(id, update))))?;
            Ok(rows)
        });
        let last = match outcome {
            Ok(rows) => Frame::with(Tag::Done, (0, 0), &Done { rows, reads: cx.reads() }),
            Err(error) => failed(&error, &Failure::of(&error, &cx)),
        };
        drop((inputs, claim));
        memory.end();
        if let Err(error) = tell(last) {
            tracing::debug!(%error, "the end of a task could not be told");
        }
    }
}

/// The inputs of a task that have arrived.
struct Received {
    stores: HashMap<StoreId, (u32, Arc<dyn StoreWriter>)>,
    maps: HashMap<StoreId, PartitionIndex>,
    pieces: HashMap<(u32, PartitionIndex), Vec<Arrived>>,
    made: Mutex<HashMap<(u32, PartitionIndex), Arc<dyn StoredData>>>,
}

impl Received {
    fn new(
        stage: &StagePlan,
        maps: &BTreeMap<u32, PartitionIndex>,
        pieces: HashMap<(u32, PartitionIndex), Vec<Arrived>>,
    ) -> Self {
        let stores = stage.stores().into_iter().zip(0..);
        let stores: HashMap<_, _> = stores.map(|((store, writer), number)| (store, (number, writer))).collect();
        let maps = stores.iter().filter_map(|(store, (number, _))| Some((*store, *maps.get(number)?))).collect();
        Self { stores, maps, pieces, made: Mutex::default() }
    }

    fn make(&self, store: StoreId, partition: PartitionIndex) -> Result<Arc<dyn StoredData>, TaskError> {
        let lost = TaskError::InputLost { store, partition, generation: None };
        let (number, writer) = self.stores.get(&store).ok_or(lost)?;
        let at = (*number, partition);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(&at) {
            return Ok(Arc::clone(made));
        }
        let pieces = self.pieces.get(&at).map_or(&[][..], Vec::as_slice);
        let data = writer.unpack(pieces)?.data;
        made.insert(at, Arc::clone(&data));
        Ok(data)
    }
}

impl Fetch for Received {
    fn fetch(&self, store: StoreId, partition: PartitionIndex) -> Result<(Arc<dyn StoredData>, TaskId), TaskError> {
        // Whoever asks for the attempt that made it wants to report a loss, which the parent does.
        Ok((self.make(store, partition)?, TaskId::new(0)))
    }

    fn fetch_block(
        &self,
        store: StoreId,
        partition: PartitionIndex,
        reducer: PartitionIndex,
    ) -> Result<Option<Arc<dyn StoredData>>, TaskError> {
        let number = self.stores.get(&store).map(|(number, _)| *number);
        if number.is_none_or(|number| !self.pieces.contains_key(&(number, partition))) {
            return Ok(None);
        }
        Ok(Some(self.make(store, partition)?).filter(|data| data.has_block(reducer)))
    }

    fn partitions(&self, store: StoreId) -> usize {
        self.maps.get(&store).copied().unwrap_or(0)
    }
}
