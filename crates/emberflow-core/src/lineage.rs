//! The lineage graph: how each RDD is made from others. Built by the typed API, read by the stage compiler, never run.

use std::{
    any::Any,
    collections::HashSet,
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crate::{
    ids::{RddId, StoreId},
    memory::Keep,
    operator::{Operator, StoreWriter},
    partitioner::Placement,
    place::OpInfo,
};

/// Dropped with what it guards; the runtime hangs the release of a store on it.
pub type Guard = Arc<dyn Any + Send + Sync>;

/// One RDD: an operator over its dependencies.
pub struct RddNode {
    /// The id of the RDD; larger than those of the RDDs that it is made from.
    pub id: RddId,
    /// The context that made the RDD, by number.
    pub context: u64,
    /// Operator name, place and closures.
    pub info: OpInfo,
    /// Number of partitions.
    pub partitions: usize,
    /// The operator that computes the RDD.
    pub op: Arc<dyn Operator>,
    /// The inputs that the operator reads.
    pub dependencies: Vec<Dependency>,
    /// How its rows are placed by key, if they are.
    pub placement: Option<Placement>,
    /// Where its rows are kept, if they are.
    pub persisted: Mutex<Option<Persisted>>,
    /// A name that the user gave it.
    pub name: Mutex<Option<String>>,
    /// The checkpoint that the RDD is read from instead of being computed, if its lineage was cut.
    pub checkpoint: OnceLock<Checkpoint>,
}

/// Where the rows are of an RDD whose lineage was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// In the files of a directory.
    Files(PathBuf),
    /// In memory, with the RDD itself.
    Memory,
}

/// How an RDD depends on another one.
#[derive(Clone)]
pub enum Dependency {
    /// A partition of the parent feeds at most one partition of this RDD, in the same task.
    Narrow(Arc<RddNode>),
    /// Every partition of the parent may feed every partition of this RDD.
    Wide(Arc<ShuffleDependency>),
}

/// A wide dependency: the parent, and how its partitions are written for the reducers.
pub struct ShuffleDependency {
    /// Where the map outputs live.
    pub store: StoreId,
    /// The RDD whose rows are shuffled.
    pub parent: Arc<RddNode>,
    /// Writes one partition of the parent as blocks.
    pub writer: Arc<dyn StoreWriter>,
    /// The operator that asked for the shuffle.
    pub info: OpInfo,
    /// Releases the map outputs.
    pub guard: Guard,
}

/// The place where an RDD's partitions are kept, if they are.
pub struct Persisted {
    /// The store that the partitions are kept in.
    pub store: StoreId,
    /// Whether they are to be in memory, on disk, or both.
    pub keep: Keep,
    /// Keeps one partition.
    pub writer: Arc<dyn StoreWriter>,
    /// Releases the partitions.
    pub guard: Guard,
}

impl Dependency {
    /// The RDD that is depended upon.
    pub fn parent(&self) -> &Arc<RddNode> {
        match self {
            Self::Narrow(parent) => parent,
            Self::Wide(shuffle) => &shuffle.parent,
        }
    }
}

impl RddNode {
    /// The store of the persisted rows, with its writer, if the RDD is persisted.
    pub fn persisted(&self) -> Option<(StoreId, Arc<dyn StoreWriter>)> {
        let persisted = self.persisted.lock().unwrap_or_else(PoisonError::into_inner);
        persisted.as_ref().map(|persisted| (persisted.store, Arc::clone(&persisted.writer)))
    }

    /// The guards that keep the stores alive that a job over this RDD may read, until they are dropped: an RDD that is
    /// unpersisted while its job is being submitted must not leave a store behind that nobody releases.
    pub fn guards(self: &Arc<Self>) -> Vec<Guard> {
        let guard = |node: Arc<RddNode>| {
            let persisted = node.persisted.lock().unwrap_or_else(PoisonError::into_inner);
            persisted.as_ref().map(|persisted| Arc::clone(&persisted.guard))
        };
        self.ancestors().into_iter().filter_map(guard).collect()
    }

    /// All the RDDs that this one is made from, itself included, parents first.
    pub fn ancestors(self: &Arc<Self>) -> Vec<Arc<RddNode>> {
        // Ids are unique within a context only, and one that was mixed in by mistake must not be overlooked.
        let mut seen = HashSet::from([(self.context, self.id)]);
        let mut found = vec![Arc::clone(self)];
        let mut next = 0;
        while next < found.len() {
            let node = Arc::clone(&found[next]);
            next += 1;
            for dependency in &node.dependencies {
                let parent = dependency.parent();
                if seen.insert((parent.context, parent.id)) {
                    found.push(Arc::clone(parent));
                }
            }
        }
        found.sort_unstable_by_key(|node| node.id);
        found
    }

    /// The lineage as Spark's `toDebugString` draws it: one line an RDD, indented by one step for each shuffle, with
    /// the number of partitions at the head of each stage. `kept` says what is stored of a store: partitions, bytes;
    /// `number` the number of the stage that fills a store, without a store that of the stage of the result.
    pub fn debug_string(
        self: &Arc<Self>,
        kept: &dyn Fn(StoreId) -> (usize, u64),
        number: &dyn Fn(Option<StoreId>) -> Option<usize>,
    ) -> String {
        let mut drawing = Drawing { text: String::new(), kept, number, drawn: HashSet::new() };
        drawing.stage(self, None, "", "");
        drawing.text
    }
}

/// A chain of a hundred thousand RDDs must not overflow the stack when it is dropped.
impl Drop for RddNode {
    fn drop(&mut self) {
        let mut orphans = std::mem::take(&mut self.dependencies);
        while let Some(orphan) = orphans.pop() {
            let parent = match orphan {
                Dependency::Narrow(parent) => Some(parent),
                Dependency::Wide(shuffle) => Arc::into_inner(shuffle).map(|shuffle| shuffle.parent),
            };
            if let Some(mut node) = parent.and_then(Arc::into_inner) {
                orphans.append(&mut node.dependencies);
            }
        }
    }
}

struct Drawing<'a> {
    text: String,
    kept: &'a dyn Fn(StoreId) -> (usize, u64),
    number: &'a dyn Fn(Option<StoreId>) -> Option<usize>,
    drawn: HashSet<RddId>,
}

impl Drawing<'_> {
    /// The mark of the stage that fills a store, or of that of the result.
    fn mark(&self, store: Option<StoreId>) -> String {
        (self.number)(store).map(|number| format!(" [stage {number}]")).unwrap_or_default()
    }

    /// Draws the RDDs of the stage that fills a store, from `top` down to its inputs, and then the stages that it reads.
    /// `first` stands before the stage's first line, `rest` before all others.
    fn stage(&mut self, top: &Arc<RddNode>, store: Option<StoreId>, first: &str, rest: &str) {
        let head = format!("({})", top.partitions);
        let left = " ".repeat((head.len() - 1) / 2);
        let right = " ".repeat(head.len() - left.len());
        let mut shuffles: Vec<Arc<ShuffleDependency>> = Vec::new();
        let mut open = vec![Arc::clone(top)];
        let mut lead = format!("{first}{head} ");
        while let Some(node) = open.pop() {
            let again = !self.drawn.insert(node.id);
            let name = node.name.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let name = name.map(|name| format!("{name} ")).unwrap_or_default();
            let stage = if node.id == top.id { self.mark(store) } else { String::new() };
            let above = if again { " (drawn above)" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(self.text, "{lead}{name}{} [{}]{stage}{above}", node.info, node.id.get());
            lead = format!("{rest}{left}|{right}");
            if again {
                continue;
            }
            if let Some((store, _)) = node.persisted() {
                let (partitions, bytes) = (self.kept)(store);
                let all = node.partitions;
                let mark = self.mark(Some(store));
                let _ =
                    writeln!(self.text, "{lead}    cached partitions: {partitions} of {all}; memory: {bytes} B{mark}");
            }
            for dependency in node.dependencies.iter().rev() {
                match dependency {
                    Dependency::Narrow(parent) => open.push(Arc::clone(parent)),
                    Dependency::Wide(shuffle) => shuffles.push(Arc::clone(shuffle)),
                }
            }
        }
        while let Some(shuffle) = shuffles.pop() {
            let bar = if shuffles.is_empty() { "  " } else { "| " };
            self.stage(&shuffle.parent, Some(shuffle.store), &format!("{rest}{left}+-"), &format!("{rest}{left}{bar}"));
        }
    }
}
