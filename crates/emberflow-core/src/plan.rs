//! Stages as values: [`compile`] cuts the lineage graph at wide dependencies and at persisted RDDs.
//!
//! A [`StagePlan`] can be described to another process: what it reads (splits, shuffles, persisted RDDs), its
//! operators (code, environment, name, the caller's file and line), its sink. It holds no context, actor or global, and
//! the local actors run exactly this plan.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, TaskError},
    ids::{PartitionIndex, RddId, StoreId, StorePartition},
    lineage::{Dependency, RddNode},
    operator::{ActionOperator, ActionOutput, Fetch, OpNode, PlanInput, StoreWriter},
    place::OpInfo,
    store::Stored,
    task::TaskContext,
};

/// Where a stage's rows go.
#[derive(Clone)]
pub enum Sink {
    /// Into a store: a shuffle's map outputs, or a persisted RDD.
    Store(Arc<dyn StoreWriter>),
    /// To the caller of the action.
    Result(Arc<dyn ActionOperator>),
}

/// Operators that a task goes through one within the other at most. Each takes some hundred bytes of a worker's stack,
/// without optimisation some kilobytes.
pub const MAX_DEPTH: usize = 4_000;

/// The kind of result that a stage makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StageKind {
    /// Map outputs of a shuffle.
    ShuffleMap,
    /// Partitions of a persisted RDD.
    Persist,
    /// The result of an action.
    Result,
}

/// The result of a task.
pub enum TaskOutput {
    /// A partition for the store.
    Stored(Stored),
    /// A partition's share of the result.
    Result(ActionOutput),
}

/// The partitions that one task reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TaskInputs {
    /// Shuffles, of which it needs every map output.
    pub shuffles: Vec<StoreId>,
    /// Single partitions of persisted RDDs.
    pub persisted: Vec<StorePartition>,
}

/// A part of a store that a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreRead {
    /// A partition of a persisted RDD.
    Partition(StoreId, PartitionIndex),
    /// The blocks for a reducer in all map outputs of a shuffle.
    Reducer(StoreId, PartitionIndex),
}

/// One stage: the same narrow work on each of its partitions, and where the rows go.
pub struct StagePlan {
    /// Where its output lives.
    pub store: StoreId,
    /// The kind of result that the stage makes.
    pub kind: StageKind,
    /// The RDD that it computes.
    pub rdd: RddId,
    /// The operator by which people know the stage: the shuffle, the persisted RDD or the action.
    pub info: OpInfo,
    /// Number of partitions.
    pub partitions: usize,
    /// The input that the sink reads.
    pub root: PlanInput,
    /// Where the rows go.
    pub sink: Sink,
}

impl StagePlan {
    /// Computes one partition. This is the whole of a task: the first time and every time after a loss.
    ///
    /// # Errors
    /// The error that ended the task. Panics of the user's code pass through.
    pub fn run(&self, partition: PartitionIndex, fetch: &dyn Fetch, cx: &TaskContext) -> Result<TaskOutput, TaskError> {
        let input = self.root.open(partition, fetch, cx)?;
        match &self.sink {
            Sink::Store(writer) => writer.write(partition, input, cx).map(TaskOutput::Stored),
            Sink::Result(action) => action.run(partition, input, cx).map(TaskOutput::Result),
        }
    }

    /// The stored partitions that the task of `partition` reads.
    pub fn inputs_of(&self, partition: PartitionIndex) -> TaskInputs {
        let mut inputs = TaskInputs::default();
        let mut persisted: HashSet<StorePartition> = HashSet::new();
        self.walk(partition, |input, partition| match input {
            PlanInput::Persisted { store, .. } => {
                if persisted.insert((*store, partition)) {
                    inputs.persisted.push((*store, partition));
                }
            }
            PlanInput::Shuffle { store, .. } => {
                if !inputs.shuffles.contains(store) {
                    inputs.shuffles.push(*store);
                }
            }
            PlanInput::Narrow(_) => {}
        });
        inputs
    }

    /// The parts of stores that the task of `partition` reads: for each shuffle, the reducers that it is.
    pub fn reads_of(&self, partition: PartitionIndex) -> BTreeSet<StoreRead> {
        let mut reads = BTreeSet::new();
        self.walk(partition, |input, partition| {
            reads.extend(match input {
                PlanInput::Persisted { store, .. } => Some(StoreRead::Partition(*store, partition)),
                PlanInput::Shuffle { store, .. } => Some(StoreRead::Reducer(*store, partition)),
                PlanInput::Narrow(_) => None,
            });
        });
        reads
    }

    /// Shows every input that the task of `partition` reads of a store, with the partition or the reducer that it reads
    /// there: some of them more than once.
    fn walk<'a>(&'a self, partition: PartitionIndex, mut found: impl FnMut(&'a PlanInput, PartitionIndex)) {
        let mut seen: HashSet<(RddId, PartitionIndex)> = HashSet::new();
        let mut open: Vec<(&PlanInput, PartitionIndex)> = vec![(&self.root, partition)];
        while let Some((input, partition)) = open.pop() {
            let PlanInput::Narrow(node) = input else {
                found(input, partition);
                continue;
            };
            // Only where paths can meet again is it worth remembering the way.
            if node.inputs.len() > 1 && !seen.insert((node.rdd, partition)) {
                continue;
            }
            for (at, input) in node.inputs.iter().enumerate() {
                match input {
                    PlanInput::Shuffle { .. } if node.op.reads_shuffle(at, partition) => open.push((input, partition)),
                    PlanInput::Shuffle { .. } => {}
                    _ => open.extend(node.op.narrow_partitions(at, partition).map(|parent| (input, parent))),
                }
            }
        }
    }

    /// The stores that the stage reads, each with the writer that fills it.
    pub fn stores(&self) -> BTreeMap<StoreId, Arc<dyn StoreWriter>> {
        let operators = self.operators();
        let inputs = operators.iter().flat_map(|node| &node.inputs).chain([&self.root]);
        inputs.filter_map(|input| input.store().map(|(store, writer)| (store, Arc::clone(writer)))).collect()
    }

    /// The stage's operators, inputs first.
    pub fn operators(&self) -> Vec<&OpNode> {
        let mut found: BTreeMap<RddId, &OpNode> = BTreeMap::new();
        let mut open = vec![&self.root];
        while let Some(input) = open.pop() {
            if let PlanInput::Narrow(node) = input
                && found.insert(node.rdd, node).is_none()
            {
                open.extend(&node.inputs);
            }
        }
        found.into_values().collect()
    }

    /// The operator of `rdd`, or the stage's own if it is not among them.
    pub fn operator(&self, rdd: RddId) -> &OpInfo {
        self.operators().into_iter().find(|node| node.rdd == rdd).map_or(&self.info, |node| &node.info)
    }

    /// The stage as a value for another process, or for a person.
    pub fn describe(&self) -> StageDescription {
        let operators = self.operators().into_iter().map(|node| OperatorDescription {
            rdd: node.rdd,
            info: node.info.clone(),
            inputs: node.inputs.iter().map(InputDescription::of).collect(),
        });
        StageDescription {
            store: self.store,
            kind: self.kind,
            partitions: self.partitions,
            operators: operators.collect(),
            root: InputDescription::of(&self.root),
            sink: self.info.clone(),
        }
    }
}

/// A stage in words and numbers. Serialisable.
#[derive(Clone, Debug, Serialize)]
pub struct StageDescription {
    /// Where its output lives.
    pub store: StoreId,
    /// The kind of result that the stage makes.
    pub kind: StageKind,
    /// Number of partitions.
    pub partitions: usize,
    /// The operators of the stage, inputs first.
    pub operators: Vec<OperatorDescription>,
    /// The input that the sink reads.
    pub root: InputDescription,
    /// The operator that the sink belongs to.
    pub sink: OpInfo,
}

/// An operator of a described stage.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorDescription {
    /// The RDD.
    pub rdd: RddId,
    /// Name, place, closures, environment.
    pub info: OpInfo,
    /// The inputs that the operator reads.
    pub inputs: Vec<InputDescription>,
}

/// An input of a described operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputDescription {
    /// An operator of the same stage.
    Operator(RddId),
    /// A persisted RDD.
    Persisted(StoreId),
    /// A shuffle.
    Shuffle(StoreId),
}

impl InputDescription {
    fn of(input: &PlanInput) -> Self {
        match input {
            PlanInput::Narrow(node) => Self::Operator(node.rdd),
            PlanInput::Persisted { store, .. } => Self::Persisted(*store),
            PlanInput::Shuffle { store, .. } => Self::Shuffle(*store),
        }
    }
}

/// Operators of one stage that an outline names: a lineage of a hundred thousand is no picture.
const OUTLINED_OPERATORS: usize = 50;

/// A stage as a picture shows it: without closures and environments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutline {
    /// Where its output lives.
    pub store: StoreId,
    /// The kind of result that the stage makes.
    pub kind: StageKind,
    /// The RDD that it computes.
    pub rdd: RddId,
    /// The operator by which people know the stage.
    pub name: String,
    /// Number of partitions.
    pub partitions: usize,
    /// The operators of the stage, inputs first; of a very long lineage those nearest to the end.
    pub operators: Vec<OperatorOutline>,
    /// Operators that are not named.
    pub more_operators: usize,
    /// The stores that it reads: shuffles and persisted RDDs.
    pub reads: Vec<StoreId>,
}

/// An operator of an outlined stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorOutline {
    /// The RDD.
    pub rdd: RddId,
    /// The operator and where it was written.
    pub operator: String,
    /// The name that the user gave the RDD.
    pub name: Option<String>,
    /// The inputs that the operator reads.
    pub inputs: Vec<InputDescription>,
}

impl StageOutline {
    /// The outline of a plan.
    pub fn of(plan: &StagePlan) -> Self {
        let all = plan.operators();
        let inputs = all.iter().flat_map(|node| &node.inputs).chain([&plan.root]);
        let reads = inputs.filter_map(|input| input.store().map(|(store, _)| store));
        let more_operators = all.len().saturating_sub(OUTLINED_OPERATORS);
        let operators = all[more_operators..].iter().map(|node| OperatorOutline {
            rdd: node.rdd,
            operator: node.info.to_string(),
            name: node.name.clone(),
            inputs: node.inputs.iter().map(InputDescription::of).collect(),
        });
        Self {
            store: plan.store,
            kind: plan.kind,
            rdd: plan.rdd,
            name: plan.info.to_string(),
            partitions: plan.partitions,
            operators: operators.collect(),
            more_operators,
            reads: reads.collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }
}

/// The action at the end of a job.
pub struct ActionSpec {
    /// Name, place, closures.
    pub info: OpInfo,
    /// The action that is done with each partition.
    pub action: Arc<dyn ActionOperator>,
    /// Where its results go while the job runs.
    pub store: StoreId,
}

/// Cuts the lineage of `target` into stages: one for each shuffle and each persisted RDD among its ancestors, and the
/// action's own, which comes last. Parents come before children.
///
/// # Errors
/// [`Error::ForeignRdd`] if an ancestor belongs to another context than `context`; [`Error::LineageTooDeep`] if a task
/// would have to go through more operators than its stack may hold.
pub fn compile(target: &Arc<RddNode>, context: u64, action: ActionSpec) -> Result<Vec<Arc<StagePlan>>, Error> {
    let mut nodes: HashMap<RddId, PlanInput> = HashMap::new();
    // How many operators a task goes through to get there.
    let mut depths: HashMap<RddId, usize> = HashMap::new();
    let mut stages: Vec<Arc<StagePlan>> = Vec::new();
    let mut cut: HashSet<StoreId> = HashSet::new();
    let ancestors = target.ancestors();
    if let Some(foreign) = ancestors.iter().find(|rdd| rdd.context != context) {
        return Err(Error::ForeignRdd { rdd: foreign.id, operator: foreign.info.to_string() });
    }
    for rdd in ancestors {
        let mut inputs = Vec::with_capacity(rdd.dependencies.len());
        for dependency in &rdd.dependencies {
            match dependency {
                Dependency::Narrow(parent) => inputs.push(nodes[&parent.id].clone()),
                Dependency::Wide(shuffle) => {
                    inputs.push(PlanInput::Shuffle { store: shuffle.store, writer: Arc::clone(&shuffle.writer) });
                    if cut.insert(shuffle.store) {
                        stages.push(Arc::new(StagePlan {
                            store: shuffle.store,
                            kind: StageKind::ShuffleMap,
                            rdd: shuffle.parent.id,
                            info: shuffle.info.clone(),
                            partitions: shuffle.parent.partitions,
                            root: nodes[&shuffle.parent.id].clone(),
                            sink: Sink::Store(Arc::clone(&shuffle.writer)),
                        }));
                    }
                }
            }
        }
        let narrow = rdd.dependencies.iter().filter_map(|dependency| match dependency {
            Dependency::Narrow(parent) => depths.get(&parent.id).copied(),
            Dependency::Wide(_) => None,
        });
        let depth = narrow.max().unwrap_or(0) + 1;
        if depth > MAX_DEPTH {
            let operator = rdd.info.to_string();
            return Err(Error::LineageTooDeep { rdd: rdd.id, operator, limit: MAX_DEPTH });
        }
        depths.insert(rdd.id, if rdd.persisted().is_some() { 0 } else { depth });
        let name = rdd.name.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let node = OpNode { rdd: rdd.id, info: rdd.info.clone(), name, op: Arc::clone(&rdd.op), inputs };
        let root = PlanInput::Narrow(Arc::new(node));
        let input = match rdd.persisted() {
            None => root,
            Some((store, writer)) => {
                stages.push(Arc::new(StagePlan {
                    store,
                    kind: StageKind::Persist,
                    rdd: rdd.id,
                    info: rdd.info.clone(),
                    partitions: rdd.partitions,
                    root,
                    sink: Sink::Store(Arc::clone(&writer)),
                }));
                PlanInput::Persisted { store, rdd: rdd.id, writer }
            }
        };
        nodes.insert(rdd.id, input);
    }
    stages.push(Arc::new(StagePlan {
        store: action.store,
        kind: StageKind::Result,
        rdd: target.id,
        info: action.info,
        partitions: target.partitions,
        root: nodes[&target.id].clone(),
        sink: Sink::Result(action.action),
    }));
    Ok(stages)
}
