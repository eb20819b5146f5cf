//! The plans of a job as bytes, and back: what a worker in another process is given.
//!
//! Owns the form of those bytes. They never hold a closure, an address or a pointer; see [`ship`](crate::ship).

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    fmt,
    sync::Arc,
};

use emberflow_code::{BuildId, CodeError, Shipped};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, CodecError},
    error::Error,
    ids::{RddId, StoreId},
    operator::{ActionOperator, OpNode, Operator, PlanInput, StoreWriter},
    place::{Code, OpInfo, Place, known},
    plan::{Sink, StageKind, StagePlan},
    ship::NotShippable,
};

/// The stages of a job as bytes, for another process that runs the same program.
#[derive(Clone, PartialEq, Eq)]
pub struct Parcel(Vec<u8>);

/// Why a parcel could not be packed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParcelError {
    /// The program's own file cannot be read.
    #[error("the executable file of this program cannot be read: {0}")]
    Executable(std::io::Error),
    /// The parcel was packed by another program, or by another build of this one.
    #[error(
        "the plan was made by build {theirs} of the program, and this is build {ours}: run the same executable file"
    )]
    OtherBuild {
        /// The build that packed it.
        theirs: BuildId,
        /// The build that runs here.
        ours: BuildId,
    },
    /// The bytes are no plan.
    #[error("the plan cannot be read: {}", .0.told())]
    Bytes(#[from] CodecError),
    /// An operator could not be made again.
    #[error("{operator} cannot be made again: {source}")]
    Operator {
        /// The operator and where it was written.
        operator: String,
        /// The check that failed.
        source: CodeError,
    },
    /// A stage reads an RDD that is not in the parcel.
    #[error("the plan reads {0}, which it does not have")]
    NoSuchRdd(RddId),
    /// A stage reads a store whose writer is not in the parcel.
    #[error("the plan reads {0}, whose writer it does not have")]
    NoSuchStore(StoreId),
}

#[derive(Serialize, Deserialize)]
struct Header {
    build: BuildId,
}

#[derive(Serialize, Deserialize)]
struct Job {
    /// Inputs first.
    nodes: Vec<Node>,
    stages: Vec<Stage>,
    /// The writers of the stores that stages read and none of them fills.
    stores: Vec<(StoreId, Shipped<dyn StoreWriter>)>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    rdd: RddId,
    info: Info,
    name: Option<String>,
    op: Shipped<dyn Operator>,
    inputs: Vec<Input>,
}

#[derive(Serialize, Deserialize)]
struct Stage {
    store: StoreId,
    kind: StageKind,
    rdd: RddId,
    info: Info,
    partitions: usize,
    root: Input,
    sink: ShippedSink,
}

#[derive(Serialize, Deserialize)]
enum ShippedSink {
    Store(Shipped<dyn StoreWriter>),
    Result(Shipped<dyn ActionOperator>),
}

#[derive(Serialize, Deserialize)]
enum Input {
    Narrow(RddId),
    Persisted { store: StoreId, rdd: RddId },
    Shuffle { store: StoreId },
}

#[derive(Serialize, Deserialize)]
struct Info {
    name: String,
    file: String,
    line: u32,
    column: u32,
    code: Vec<(String, usize, bool)>,
    with: Option<String>,
}

impl Parcel {
    /// Packs the stages of a job, of which each comes after those that it reads.
    ///
    /// # Errors
    /// [`Error::NotShippable`] naming the first operator that cannot be sent, and why.
    pub fn pack(stages: &[Arc<StagePlan>]) -> Result<Self, Error> {
        let mut nodes: BTreeMap<RddId, Node> = BTreeMap::new();
        let mut packed = Vec::with_capacity(stages.len());
        for stage in stages {
            for node in stage.operators() {
                if let Entry::Vacant(place) = nodes.entry(node.rdd) {
                    place.insert(Node::of(node)?);
                }
            }
            packed.push(Stage::of(stage)?);
        }
        let stores = stores(stages)?;
        let job = Job { nodes: nodes.into_values().collect(), stages: packed, stores };
        let failed = |error: &dyn fmt::Display| Error::NotShippable {
            operator: stages.last().map_or_else(|| "a plan".to_owned(), |stage| stage.info.to_string()),
            reason: error.to_string(),
        };
        let build = BuildId::of_this_program().map_err(|error| failed(&ParcelError::Executable(error)))?;
        codec::encode_plan(&(Header { build }, job)).map(Self).map_err(|error| failed(&error.told()))
    }

    /// The bytes, to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A parcel that has come from another process.
    ///
    /// # Safety
    /// The bytes are those of a parcel that was packed by a process that this one trusts as itself, such as the parent
    /// that started it: they are run as code. [`open`](Self::open) checks that it runs the same executable file.
    #[allow(unsafe_code, reason = "to believe bytes that become code is the caller's promise")]
    pub unsafe fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Makes the stages again.
    ///
    /// # Errors
    /// If the parcel was packed by another build, or is damaged.
    pub fn open(&self) -> Result<Vec<Arc<StagePlan>>, ParcelError> {
        let ours = BuildId::of_this_program().map_err(ParcelError::Executable)?;
        let (Header { build: theirs }, read) = codec::decode_first_of_plan(&self.0)?;
        if theirs != ours {
            return Err(ParcelError::OtherBuild { theirs, ours });
        }
        let job: Job = codec::decode_plan(&self.0[read..])?;
        #[allow(unsafe_code, reason = "operators are made of bytes here and nowhere else")]
        // SAFETY: the bytes are those of a parcel, by `pack` in this process or by the promise of `from_bytes`, and were
        // packed by the same executable file, as was just checked.
        unsafe {
            emberflow_code::trusting(|| job.open())
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a parcel of {} bytes", self.0.len())
    }
}

/// Asks everything that a stage is made of whether it can be sent.
///
/// # Errors
/// [`Error::NotShippable`] naming the first operator that cannot, and why.
pub fn check(stage: &StagePlan) -> Result<(), Error> {
    stage.operators().into_iter().try_for_each(|node| Node::of(node).map(drop))?;
    Stage::of(stage).map(drop)
}

/// Ships a part of an operator. The operator's own closures are looked at first, for they are what its user wrote.
fn shipped<D: ?Sized>(
    info: &OpInfo,
    ship: impl FnOnce() -> Result<Shipped<D>, NotShippable>,
) -> Result<Shipped<D>, Error> {
    let refused = |reason| Error::NotShippable { operator: info.to_string(), reason };
    if let Some(code) = info.code.iter().find(|code| !code.is_capture_free()) {
        let advice = match info.with {
            Some(with) => format!("pass them as a value: {with}(env, |env, ...| ...)"),
            None => "compute what it needs of them before, in a map_with(env, |env, row| ...), or make them constants"
                .to_owned(),
        };
        return Err(refused(format!(
            "its closure ({}) captures {} bytes of its surroundings, which cannot be sent to another process; {advice}",
            code.type_name, code.captured_bytes
        )));
    }
    ship().map_err(|NotShippable(reason)| refused(reason))
}

impl Node {
    fn of(node: &OpNode) -> Result<Self, Error> {
        Ok(Self {
            rdd: node.rdd,
            info: Info::of(&node.info),
            name: node.name.clone(),
            op: shipped(&node.info, || node.op.ship())?,
            inputs: node.inputs.iter().map(Input::of).collect(),
        })
    }
}

impl Stage {
    fn of(stage: &StagePlan) -> Result<Self, Error> {
        Ok(Self {
            store: stage.store,
            kind: stage.kind,
            rdd: stage.rdd,
            info: Info::of(&stage.info),
            partitions: stage.partitions,
            root: Input::of(&stage.root),
            sink: match &stage.sink {
                Sink::Store(writer) => ShippedSink::Store(shipped(&stage.info, || writer.ship())?),
                Sink::Result(action) => ShippedSink::Result(shipped(&stage.info, || action.ship())?),
            },
        })
    }
}

impl Input {
    fn of(input: &PlanInput) -> Self {
        match input {
            PlanInput::Narrow(node) => Self::Narrow(node.rdd),
            PlanInput::Persisted { store, rdd, .. } => Self::Persisted { store: *store, rdd: *rdd },
            PlanInput::Shuffle { store, .. } => Self::Shuffle { store: *store },
        }
    }

    fn open(self, nodes: &BTreeMap<RddId, Arc<OpNode>>, writers: &Writers) -> Result<PlanInput, ParcelError> {
        let writer = |store| writers.get(&store).cloned().ok_or(ParcelError::NoSuchStore(store));
        Ok(match self {
            Self::Narrow(rdd) => PlanInput::Narrow(nodes.get(&rdd).cloned().ok_or(ParcelError::NoSuchRdd(rdd))?),
            Self::Persisted { store, rdd } => PlanInput::Persisted { store, rdd, writer: writer(store)? },
            Self::Shuffle { store } => PlanInput::Shuffle { store, writer: writer(store)? },
        })
    }
}

impl Job {
    fn open(self) -> Result<Vec<Arc<StagePlan>>, ParcelError> {
        let failed = |operator: String| |source| ParcelError::Operator { operator, source };
        let filled = self.stages.iter().filter_map(|stage| match &stage.sink {
            ShippedSink::Store(writer) => Some((stage.store, writer)),
            ShippedSink::Result(_) => None,
        });
        let writers = self.stores.iter().map(|(store, writer)| (*store, writer)).chain(filled);
        let writers = writers
            .map(|(store, writer)| Ok((store, writer.make().map_err(failed(format!("the writer of {store}")))?)));
        let writers: Writers = writers.collect::<Result<_, ParcelError>>()?;
        let mut nodes: BTreeMap<RddId, Arc<OpNode>> = BTreeMap::new();
        for Node { rdd, info, name, op, inputs } in self.nodes {
            let info = info.open();
            let op = op.make().map_err(failed(info.to_string()))?;
            let inputs = inputs.into_iter().map(|input| input.open(&nodes, &writers)).collect::<Result<_, _>>()?;
            nodes.insert(rdd, Arc::new(OpNode { rdd, info, name, op, inputs }));
        }
        let open = |stage: Stage| {
            let Stage { store, kind, rdd, partitions, root, .. } = stage;
            let info = stage.info.open();
            let sink = match stage.sink {
                ShippedSink::Store(_) => Sink::Store(Arc::clone(&writers[&store])),
                ShippedSink::Result(action) => Sink::Result(action.make().map_err(failed(info.to_string()))?),
            };
            Ok(Arc::new(StagePlan { store, kind, rdd, info, partitions, root: root.open(&nodes, &writers)?, sink }))
        };
        self.stages.into_iter().map(open).collect()
    }
}

/// The writers of stores that the parcel does not fill itself.
fn stores(stages: &[Arc<StagePlan>]) -> Result<Vec<(StoreId, Shipped<dyn StoreWriter>)>, Error> {
    let filled: HashSet<StoreId> = stages.iter().map(|stage| stage.store).collect();
    let mut found = BTreeMap::new();
    for stage in stages {
        let operators = stage.operators();
        let inputs = operators.iter().flat_map(|node| node.inputs.iter().map(|input| (&node.info, input)));
        for (info, input) in inputs.chain([(&stage.info, &stage.root)]) {
            if let Some((store, writer)) = input.store()
                && !filled.contains(&store)
                && let Entry::Vacant(place) = found.entry(store)
            {
                place.insert(shipped(info, || writer.ship())?);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The writers of the stores that stages read.
type Writers = BTreeMap<StoreId, Arc<dyn StoreWriter>>;

impl Info {
    fn of(info: &OpInfo) -> Self {
        Self {
            name: info.name.to_owned(),
            file: info.place.file.to_owned(),
            line: info.place.line,
            column: info.place.column,
            code: info
                .code
                .iter()
                .map(|code| (code.type_name.to_owned(), code.captured_bytes, code.needs_drop))
                .collect(),
            with: info.with.map(str::to_owned),
        }
    }

    fn open(self) -> OpInfo {
        let code = |(type_name, captured_bytes, needs_drop): (String, _, _)| Code {
            type_name: known(type_name),
            captured_bytes,
            needs_drop,
        };
        OpInfo {
            name: known(self.name),
            place: Place { file: known(self.file), line: self.line, column: self.column },
            code: self.code.into_iter().map(code).collect(),
            // The operator has it; the copy in words is for those who look at the plan where it was made.
            env: None,
            with: self.with.map(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_of_another_build_or_with_bytes_missing_is_refused() {
        let parcel = Parcel::pack(&[]).unwrap();
        assert!(parcel.open().unwrap().is_empty());
        let mut other = parcel.clone();
        other.0[0] ^= 1;
        let refusal = other.open().err().unwrap();
        assert!(matches!(refusal, ParcelError::OtherBuild { .. }), "{refusal}");
        assert!(refusal.to_string().ends_with("run the same executable file"), "{refusal}");
        let short = Parcel(parcel.0[..parcel.0.len() - 1].to_vec());
        assert!(matches!(short.open(), Err(ParcelError::Bytes(_))));
    }
}
