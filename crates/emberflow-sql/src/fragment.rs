//! A piece of a plan within a task.
//!
//! Owns how DataFusion's operators run on a worker's thread: an attempt makes an instance of its own of the piece, with
//! memory of its own, and polls it. There is no executor, for all that such a piece ever waits for is its input, which the
//! attempt reads itself when it is asked for it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use datafusion::{
    arrow::array::RecordBatch,
    common::internal_err,
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::RuntimeEnvBuilder,
    },
    physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions},
    prelude::SessionConfig,
};
use emberflow::table::Chunk;

use crate::{
    error::FragmentError,
    input::{InputExec, Slot},
    memory::AttemptPool,
    session::Plan,
};

/// A piece of a plan between a scan or an exchange and the next exchange.
pub(crate) struct Fragment {
    pub(crate) statement: Arc<str>,
    /// The piece over an [`InputExec`]. It is copied by each attempt and never run itself.
    pub(crate) template: Plan,
    /// The columns of the input that are read; all of them if there is none.
    pub(crate) projection: Option<Vec<usize>>,
    pub(crate) config: SessionConfig,
    /// The bytes that the operators of an attempt may reserve.
    pub(crate) memory: usize,
}

impl Fragment {
    /// Runs one attempt at a partition: the batches that come of the chunks, as they are asked for.
    pub(crate) fn open<I>(self: &Arc<Self>, partition: usize, chunks: I) -> Batches<I>
    where
        I: Iterator<Item = Chunk>,
    {
        let slot = Arc::default();
        let state = match self.start(partition, &slot) {
            Ok(stream) => State::Running(stream),
            Err(error) => State::Failed(error),
        };
        Batches { fragment: Arc::clone(self), chunks, slot, wakes: Arc::default(), state }
    }

    fn start(&self, partition: usize, slot: &Arc<Slot>) -> Result<SendableRecordBatchStream> {
        // Without a disk an aggregate behind an exchange that has no room left fails. On disk, it would merge its
        // groups in another order.
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(AttemptPool::new(self.memory)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let (session, config) = ("emberflow".to_owned(), self.config.clone());
        // Functions are looked up by the planner only.
        let (scalar, higher, aggregate, window) = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        let context = TaskContext::new(None, session, config, scalar, higher, aggregate, window, runtime);
        instance(&self.template, slot)?.execute(partition, Arc::new(context))
    }

    fn read(&self, chunk: &Chunk) -> Result<RecordBatch> {
        Ok(match &self.projection {
            Some(columns) => chunk.batch().project(columns)?,
            None => chunk.batch().clone(),
        })
    }
}

/// The same nodes without anything that they have done so far, over another slot.
fn instance(plan: &Plan, slot: &Arc<Slot>) -> Result<Plan> {
    if let Some(input) = plan.downcast_ref::<InputExec>() {
        return Ok(Arc::new(input.over(slot)));
    }
    let children = plan.children().into_iter().map(|child| instance(child, slot)).collect::<Result<Vec<_>>>()?;
    Arc::clone(plan).replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// The batches of one attempt. It ends behind the first error.
pub(crate) struct Batches<I> {
    fragment: Arc<Fragment>,
    chunks: I,
    slot: Arc<Slot>,
    wakes: Arc<Wakes>,
    state: State,
}

enum State {
    Running(SendableRecordBatchStream),
    Failed(DataFusionError),
    Over,
}

impl<I: Iterator<Item = Chunk>> Batches<I> {
    fn poll(&mut self, stream: &mut SendableRecordBatchStream) -> Option<Result<RecordBatch>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        loop {
            if let Poll::Ready(next) = stream.as_mut().poll_next(&mut Context::from_waker(&waker)) {
                return next;
            }
            if self.slot.is_asked() {
                // The iterator does not return if its rows are lost or the attempt is cancelled: it unwinds from here,
                // and no frame of DataFusion's is on the stack.
                match self.chunks.next().map(|chunk| self.fragment.read(&chunk)).transpose() {
                    Ok(next) => self.slot.give(next),
                    Err(error) => return Some(Err(error)),
                }
            } else if !self.wakes.0.swap(false, Ordering::AcqRel) {
                return Some(internal_err!("an operator waits for something else than its input"));
            }
        }
    }
}

impl<I: Iterator<Item = Chunk>> Iterator for Batches<I> {
    type Item = Result<RecordBatch, FragmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = match std::mem::replace(&mut self.state, State::Over) {
            State::Running(mut stream) => match self.poll(&mut stream)? {
                Ok(batch) => {
                    self.state = State::Running(stream);
                    return Some(Ok(batch));
                }
                Err(error) => error,
            },
            State::Failed(error) => error,
            State::Over => return None,
        };
        Some(Err(FragmentError { statement: Arc::clone(&self.fragment.statement), cause: Arc::new(failed) }))
    }
}

impl<I> Batches<I> {
    /// An error of the statement's, for those who go on with its batches.
    pub(crate) fn error(&self, cause: DataFusionError) -> FragmentError {
        FragmentError { statement: Arc::clone(&self.fragment.statement), cause: Arc::new(cause) }
    }
}

/// Returns whether somebody has asked to be polled again.
#[derive(Default)]
struct Wakes(AtomicBool);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
