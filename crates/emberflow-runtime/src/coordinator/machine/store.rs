//! A store as the machine knows it: the state of each of its partitions, and the stage that computes them.
//!
//! Owns the balance of the counts: a partition's state changes through [`Partitions::update`] only, which counts how many
//! partitions are there and how many are pending. Never decides what a partition's next state is.

use std::{collections::BTreeMap, ops::Deref};

use emberflow_core::{
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, StageId, StorePartition, TaskId},
};

use super::messages::StageSpec;
use crate::coordinator::stragglers::Times;

/// How a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is neither there nor wanted.
    Idle,
    /// It is wanted, and so many things that it reads are not there.
    Waiting { missing: u32 },
    /// It is wanted, and its task can be launched.
    Ready,
    /// A task computes it.
    Running { task: TaskId },
    /// It is there, made by this attempt.
    Done { generation: TaskId },
}

impl State {
    fn is_done(self) -> bool {
        matches!(self, Self::Done { .. })
    }

    fn is_pending(self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Ready | Self::Running { .. })
    }
}

/// One partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) state: State,
    /// Tasks that were launched for the partition since it was there last.
    pub(super) attempts: u32,
    /// Tasks in a row that could not run, or whose rows could not be kept.
    pub(super) losses: u32,
    /// The fingerprint of the rows that are there.
    pub(super) fingerprint: Option<Fingerprint>,
}

impl Node {
    pub(super) const IDLE: Self = Self { state: State::Idle, attempts: 0, losses: 0, fingerprint: None };
}

/// The partitions of a store. Reads as a slice; changes through [`update`](Self::update).
#[derive(Clone, Debug)]
pub(super) struct Partitions {
    nodes: Vec<Node>,
    done: usize,
    pending: usize,
}

impl Partitions {
    fn new(partitions: usize) -> Self {
        Self { nodes: vec![Node::IDLE; partitions], done: 0, pending: 0 }
    }

    /// Changes what is known of a partition, and keeps the counts right. Returns what `change` returns.
    pub(super) fn update<R>(&mut self, partition: PartitionIndex, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.nodes[partition];
        self.done -= usize::from(node.state.is_done());
        self.pending -= usize::from(node.state.is_pending());
        let result = change(node);
        self.done += usize::from(node.state.is_done());
        self.pending += usize::from(node.state.is_pending());
        result
    }

    /// Returns the number of partitions that are there.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Returns the number of partitions that are wanted and not there: waiting, ready or running.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Returns whether every partition is there.
    pub(super) fn are_all_done(&self) -> bool {
        self.done == self.nodes.len()
    }
}

impl Deref for Partitions {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.nodes
    }
}

/// The partitions of one store that are being computed, as people see it: one stage.
#[derive(Clone, Debug)]
pub(super) struct StageRun {
    pub(super) stage: StageId,
    pub(super) job: JobId,
    pub(super) announced: bool,
    /// How long the tasks took that are done.
    pub(super) times: Times,
}

/// A store whose plan the machine has.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) spec: StageSpec,
    pub(super) nodes: Partitions,
    /// Tasks that need all of this store.
    pub(super) waiting_for_all: Vec<StorePartition>,
    /// Whether every partition has been demanded and none lost since: saves a walk for each reducer.
    pub(super) all_wanted: bool,
    pub(super) run: Option<StageRun>,
    /// The fingerprints of partitions that were there.
    pub(super) before: BTreeMap<PartitionIndex, Fingerprint>,
    pub(super) forgotten: bool,
}

impl Store {
    pub(super) fn new(spec: StageSpec) -> Self {
        Self {
            nodes: Partitions::new(spec.partitions),
            spec,
            waiting_for_all: Vec::new(),
            all_wanted: false,
            run: None,
            before: BTreeMap::new(),
            forgotten: false,
        }
    }

    /// Notes that a partition is not there any more.
    pub(super) fn was_there(&mut self, partition: PartitionIndex) {
        let fingerprint = self.nodes.update(partition, |node| {
            node.state = State::Idle;
            node.fingerprint.take()
        });
        self.before.extend(fingerprint.map(|fingerprint| (partition, fingerprint)));
    }
}
