//! The leaf of a piece of a plan: it gives the batches that the task hands it, one at a time.
//!
//! Owns the [`Slot`] between both sides. The operators ask by finding it empty, which makes them pend; the task then looks
//! for the next batch and polls them again, all on one thread. So the task's rows, which may not leave its thread, need not
//! be part of a stream, which has to be able to.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    common::tree_node::TreeNodeRecursion,
    error::Result,
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
        ReplaceChildrenOptions,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
    },
};
use futures::Stream;

/// The properties of a leaf: nothing is known of its rows.
pub(crate) fn properties(schema: SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    let equal = EquivalenceProperties::new(schema);
    let spread = Partitioning::UnknownPartitioning(partitions);
    let properties = PlanProperties::new(equal, spread, EmissionType::Incremental, Boundedness::Bounded);
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// Where a task leaves the next batch for the operators.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nobody has asked since the last batch was taken.
    #[default]
    Empty,
    Asked,
    Full(RecordBatch),
    /// There are no more batches.
    Over,
}

impl Slot {
    /// Returns whether the operators wait for a batch.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(*self.lock(), State::Asked)
    }

    /// Leaves the next batch, or says that there is none.
    pub(crate) fn give(&self, next: Option<RecordBatch>) {
        *self.lock() = next.map_or(State::Over, State::Full);
    }

    /// The next batch for the operators.
    fn take(&self) -> Poll<Option<RecordBatch>> {
        let mut state = self.lock();
        match std::mem::take(&mut *state) {
            State::Full(batch) => Poll::Ready(Some(batch)),
            State::Over => {
                *state = State::Over;
                Poll::Ready(None)
            }
            State::Empty | State::Asked => {
                *state = State::Asked;
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No closure runs under the lock: a state is whole whenever it can be seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leaf. The one of a template gives no batch; each attempt gets one over a slot of its own.
#[derive(Debug)]
pub(crate) struct InputExec {
    properties: Arc<PlanProperties>,
    slot: Arc<Slot>,
}

impl InputExec {
    /// A leaf in place of a node with these properties.
    pub(crate) fn new(properties: &Arc<PlanProperties>) -> Self {
        Self { properties: Arc::clone(properties), slot: Arc::default() }
    }

    /// The same leaf over another slot.
    pub(crate) fn over(&self, slot: &Arc<Slot>) -> Self {
        Self { properties: Arc::clone(&self.properties), slot: Arc::clone(slot) }
    }
}

impl DisplayAs for InputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputExec")
    }
}

impl ExecutionPlan for InputExec {
    fn name(&self) -> &'static str {
        "InputExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(InputStream { schema: self.schema(), slot: Arc::clone(&self.slot) }))
    }
}

struct InputStream {
    schema: SchemaRef,
    slot: Arc<Slot>,
}

impl Stream for InputStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        // Nobody is woken: the task polls again when it has filled the slot.
        self.slot.take().map(|next| next.map(Ok))
    }
}

impl RecordBatchStream for InputStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
