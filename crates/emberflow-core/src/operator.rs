//! The three things a stage is made of: operators that open streams, writers that fill stores, actions that give
//! results; and the nodes by which operators read each other. All of them are values without a thread: the runtime calls them on its workers.

use std::{any::Any, ops::Range, sync::Arc};

use crate::{
    batch::{AnyStream, BoxStream},
    chaos::{self, Point},
    codec::CodecError,
    data::Data,
    error::TaskError,
    ids::{PartitionIndex, RddId, StoreId, StorePartition, TaskId},
    place::OpInfo,
    ship::{NotShippable, Shipped},
    store::{Stored, StoredData},
    task::{Marker, TaskContext},
    wire::Arrived,
};

/// One node's work: opens the stream of one partition over the streams of its inputs.
pub trait Operator: Send + Sync + 'static {
    /// Opens `partition`.
    ///
    /// # Errors
    /// The error that ends the task.
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError>;

    /// The operator as another process of the same program can make it again: [`remake::operator`](crate::remake::operator).
    ///
    /// # Errors
    /// If a part of it cannot be sent.
    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable>;

    /// Which partitions of the narrow input number `input` the given partition reads: by default the one of the same
    /// number.
    fn narrow_partitions(&self, input: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        let _ = input;
        partition..partition + 1
    }

    /// Returns whether the given partition reads the shuffle that is input number `input`.
    fn reads_shuffle(&self, input: usize, partition: PartitionIndex) -> bool {
        let _ = (input, partition);
        true
    }
}

/// Fills one partition of a store: a shuffle's map side, or a persisted RDD.
pub trait StoreWriter: Send + Sync + 'static {
    /// Reads the stream to its end.
    ///
    /// # Errors
    /// The error that ends the task.
    fn write(&self, partition: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<Stored, TaskError>;

    /// Makes a partition, or what one reader gets of it, of the pieces that [`StoredData::pack`] has given in another
    /// process, in their order.
    ///
    /// # Errors
    /// If they are no such pieces.
    fn unpack(&self, pieces: &[Arrived]) -> Result<Stored, TaskError>;

    /// The writer as another process of the same program can make it again: [`remake::writer`](crate::remake::writer).
    ///
    /// # Errors
    /// If a part of it cannot be sent.
    fn ship(&self) -> Result<Shipped<dyn StoreWriter>, NotShippable>;
}

/// The output that one task of an action's last stage gives to the caller.
pub struct ActionOutput {
    /// The partition's share of the result.
    pub value: Box<dyn Any + Send>,
    /// Rows that were read for it.
    pub rows: u64,
}

/// The last stage's work: one value for each partition.
pub trait ActionOperator: Send + Sync + 'static {
    /// Reads as much of the stream as it needs.
    ///
    /// # Errors
    /// The error that ends the task.
    fn run(&self, partition: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<ActionOutput, TaskError>;

    /// A task's value as bytes, for a task that ran in another process than its caller's.
    ///
    /// # Errors
    /// If the value is one that cannot leave its process.
    fn encode(&self, value: &(dyn Any + Send)) -> Result<Vec<u8>, NotShippable>;

    /// The value that [`encode`](Self::encode) made bytes of.
    ///
    /// # Errors
    /// If the bytes are no such value.
    fn decode(&self, bytes: &[u8]) -> Result<Box<dyn Any + Send>, CodecError>;

    /// The action as another process of the same program can make it again: [`remake::action`](crate::remake::action).
    ///
    /// # Errors
    /// If a part of it cannot be sent.
    fn ship(&self) -> Result<Shipped<dyn ActionOperator>, NotShippable>;
}

/// Where a task finds the partitions that other tasks have stored. Never waits: what is not there is lost.
pub trait Fetch {
    /// The stored partition with the attempt that made it.
    ///
    /// # Errors
    /// [`TaskError::InputLost`] if it is not there.
    fn fetch(&self, store: StoreId, partition: PartitionIndex) -> Result<(Arc<dyn StoredData>, TaskId), TaskError>;

    /// As [`fetch`](Self::fetch), if there is anything in it for the given reducer.
    ///
    /// # Errors
    /// [`TaskError::InputLost`] if the partition is not there.
    fn fetch_block(
        &self,
        store: StoreId,
        partition: PartitionIndex,
        reducer: PartitionIndex,
    ) -> Result<Option<Arc<dyn StoredData>>, TaskError>;

    /// How many partitions a store has.
    fn partitions(&self, store: StoreId) -> usize;
}

/// An operator of a stage with its inputs: the plan's form of an [`RddNode`](crate::lineage::RddNode), without what only the driver needs.
pub struct OpNode {
    /// The RDD.
    pub rdd: RddId,
    /// Name, place, closures, environment.
    pub info: OpInfo,
    /// The name that the user had given the RDD when the plan was made.
    pub name: Option<String>,
    /// The operator.
    pub op: Arc<dyn Operator>,
    /// The inputs that the operator reads.
    pub inputs: Vec<PlanInput>,
}

/// An input of an operator or of a sink.
#[derive(Clone)]
pub enum PlanInput {
    /// Another operator, in the same task.
    Narrow(Arc<OpNode>),
    /// A persisted RDD, partition by partition.
    Persisted {
        /// Where it is kept.
        store: StoreId,
        /// The RDD that the rows belong to.
        rdd: RddId,
        /// The writer that has filled it.
        writer: Arc<dyn StoreWriter>,
    },
    /// A shuffle: the outputs of all its map tasks.
    Shuffle {
        /// Where they are kept.
        store: StoreId,
        /// The writer that has filled it.
        writer: Arc<dyn StoreWriter>,
    },
}

impl PlanInput {
    /// The store that is read, and the writer that has filled it; none if another operator is read.
    pub fn store(&self) -> Option<(StoreId, &Arc<dyn StoreWriter>)> {
        match self {
            Self::Narrow(_) => None,
            Self::Persisted { store, writer, .. } | Self::Shuffle { store, writer } => Some((*store, writer)),
        }
    }

    pub(crate) fn open(
        &self,
        partition: PartitionIndex,
        fetch: &dyn Fetch,
        cx: &TaskContext,
    ) -> Result<AnyStream, TaskError> {
        match self {
            Self::Narrow(node) => {
                if node.inputs.is_empty() {
                    cx.marker(node.rdd).enter();
                    chaos::pass(Point::Source)?;
                }
                let stream = node.op.open(partition, &Inputs { node, fetch, cx })?;
                cx.marker(node.rdd).enter();
                cx.workspace().hold_batch(stream.batch_bytes(cx.batch_rows()));
                Ok(stream)
            }
            Self::Persisted { store, .. } => {
                let (data, _) = fetch.fetch(*store, partition)?;
                cx.count_stored(|reads| reads.add_stored(data.holds(partition)));
                data.open(cx.batch_rows())
                    .ok_or(TaskError::PlanMismatch { wanted: "rows of a persisted rdd", found: "blocks" })
            }
            Self::Shuffle { .. } => Err(TaskError::PlanMismatch { wanted: "a narrow input", found: "a shuffle" }),
        }
    }
}

/// The inputs of the operator that is being opened.
pub struct Inputs<'a> {
    pub(crate) node: &'a OpNode,
    pub(crate) fetch: &'a dyn Fetch,
    pub(crate) cx: &'a TaskContext,
}

impl Inputs<'_> {
    /// The task.
    pub fn task(&self) -> &TaskContext {
        self.cx
    }

    /// Marks the operator's own code.
    pub fn marker(&self) -> Marker {
        self.cx.marker(self.node.rdd)
    }

    /// Opens one partition of the narrow input number `input`.
    ///
    /// # Errors
    /// If it is lost, cannot be opened, or has rows of another type.
    pub fn narrow<T: Data>(&self, input: usize, partition: PartitionIndex) -> Result<BoxStream<T>, TaskError> {
        self.node.inputs[input].open(partition, self.fetch, self.cx)?.read(self.cx)
    }

    /// The outputs of each map task for the shuffle that is input number `input`, in map order. They are fetched one by
    /// one as the iterator is advanced.
    pub fn map_outputs<B: Any + Send + Sync>(
        &self,
        input: usize,
    ) -> impl Iterator<Item = Result<Arc<B>, TaskError>> + '_ {
        self.maps(input).map(|(store, map)| downcast(self.fetch.fetch(store, map)?.0))
    }

    /// As [`map_outputs`](Self::map_outputs), but only of those map tasks that stored anything for `reducer`: of a
    /// hundred thousand, few may have.
    pub fn blocks<B: Any + Send + Sync>(
        &self,
        input: usize,
        reducer: PartitionIndex,
    ) -> impl Iterator<Item = Result<Arc<B>, TaskError>> + '_ {
        self.maps(input).filter_map(move |(store, map)| {
            self.fetch.fetch_block(store, map, reducer).transpose().map(|data| {
                let data = data?;
                self.cx.count_stored(|reads| reads.add_shuffled(data.holds(reducer)));
                downcast(data)
            })
        })
    }

    fn maps(&self, input: usize) -> impl Iterator<Item = StorePartition> + '_ {
        let store = match &self.node.inputs[input] {
            PlanInput::Shuffle { store, .. } => Some(*store),
            PlanInput::Narrow(_) | PlanInput::Persisted { .. } => None,
        };
        store.into_iter().flat_map(|store| (0..self.fetch.partitions(store)).map(move |map| (store, map)))
    }

    /// Returns whether input number `input` is a shuffle.
    pub fn is_shuffle(&self, input: usize) -> bool {
        matches!(self.node.inputs[input], PlanInput::Shuffle { .. })
    }
}

fn downcast<B: Any + Send + Sync>(data: Arc<dyn StoredData>) -> Result<Arc<B>, TaskError> {
    let wanted = std::any::type_name::<B>();
    data.into_any().downcast().map_err(|_| TaskError::PlanMismatch { wanted, found: "blocks of another type" })
}
