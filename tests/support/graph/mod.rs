//! Random graphs: programs over the whole vocabulary, drawn and shrunk by proptest, with a naive `Vec` model of every
//! operator and action.
//!
//! A graph is a list of sources, of operators that read what comes before them, and of actions. All rows are pairs of
//! numbers, so that every operator can follow every other one. An operator is compared with its model on the rows that
//! its inputs were seen to have, so that one whose result depends on the order of rows can follow one that promises none;
//! that everything is the same to the bit in other contexts is then for the caller to compare.

#![allow(dead_code, reason = "every test binary that includes this module uses a part of it")]

mod actions;
mod model;
mod ops;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use emberflow::{Context, Rdd, Result};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use self::{
    actions::{Act, act},
    model::{Parts, Row, concat, cut},
    ops::{Op, op},
};

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    sources: Vec<GraphSource>,
    nodes: Vec<Node>,
    acts: Vec<(usize, Act)>,
}

/// An operator, and what it reads: counted back from here, round and round.
#[derive(Clone, Debug)]
struct Node {
    op: Op,
    left: usize,
    right: usize,
}

/// Where rows come from.
#[derive(Clone, Debug)]
enum GraphSource {
    Rows(Vec<Row>, usize),
    Range(i64, usize),
    Random(u64, u64, usize),
    Empty,
}

/// What a graph came to: each action's result, and each end's rows, by partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) acts: Vec<String>,
    pub(crate) ends: Vec<Parts>,
}

/// Graphs with so many operators at most.
pub(crate) fn graphs(operators: usize) -> impl Strategy<Value = Graph> {
    let back = || prop_oneof![3 => Just(0_usize), 2 => 1_usize..8];
    let node = (op(), back(), 0_usize..8).prop_map(|(op, left, right)| Node { op, left, right });
    (vec(source(), 1..4), vec(node, 1..=operators), vec((back(), act()), 0..6))
        .prop_map(|(sources, nodes, acts)| Graph { sources, nodes, acts })
}

/// What all operators and actions are called, by drawing many of them.
pub(crate) fn vocabulary() -> BTreeSet<String> {
    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let drawn = (op(), act()).new_tree(&mut runner).expect("nothing is filtered").current();
        [name(&drawn.0), name(&drawn.1)]
    };
    (0..5_000).flat_map(|_| draw()).collect()
}

/// An operator or action without its parameters.
fn name(of: &impl Debug) -> String {
    format!("{of:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn source() -> impl Strategy<Value = GraphSource> {
    prop_oneof![
        6 => (vec((-2_i64..7, -500_i64..500), 0..60), 1_usize..6).prop_map(|(rows, parts)| GraphSource::Rows(rows, parts)),
        2 => (0_i64..80, 1_usize..6).prop_map(|(rows, parts)| GraphSource::Range(rows, parts)),
        1 => (0_u64..60, any::<u64>(), 1_usize..5).prop_map(|(rows, seed, parts)| GraphSource::Random(rows, seed, parts)),
        1 => Just(GraphSource::Empty),
    ]
}

impl GraphSource {
    fn open(&self, ctx: &Context) -> Rdd<Row> {
        match self {
            Self::Rows(rows, partitions) => ctx.distribute_into(rows.clone(), *partitions),
            Self::Range(rows, partitions) => ctx.range_into(0..*rows, *partitions).map(|n| (n % 5, n)),
            Self::Random(rows, seed, partitions) => {
                let numbers = ctx.random_into(emberflow::Random::uniform(0.0..100.0), *rows, *seed, *partitions);
                numbers.map(|x| (x as i64 % 6, (x * 1000.0) as i64))
            }
            Self::Empty => ctx.empty(),
        }
    }

    /// The rows that it should have; those that are drawn by chance are what they are.
    fn model(&self) -> Option<Parts> {
        match self {
            Self::Rows(rows, partitions) => Some(cut(rows, *partitions)),
            Self::Range(rows, partitions) => {
                Some(cut(&(0..*rows).map(|n| (n % 5, n)).collect::<Vec<_>>(), *partitions))
            }
            Self::Random(..) => None,
            Self::Empty => Some(Vec::new()),
        }
    }
}

impl Graph {
    /// The number before `len`, so far back.
    fn back(len: usize, by: usize) -> usize {
        len - 1 - by % len
    }

    /// Describes it all; what is written goes into this directory.
    fn build(&self, ctx: &Context, dir: &Path) -> Result<Vec<Rdd<Row>>> {
        let mut rdds: Vec<_> = self.sources.iter().map(|source| source.open(ctx)).collect();
        for node in &self.nodes {
            let (left, right) = self.inputs(rdds.len(), node);
            let made = node.op.on_rdds(&rdds[left], &rdds[right], ctx, &dir.join(rdds.len().to_string()))?;
            rdds.push(made.set_name(format!("node {}", rdds.len())));
        }
        Ok(rdds)
    }

    fn inputs(&self, len: usize, node: &Node) -> (usize, usize) {
        (Self::back(len, node.left), Self::back(len, node.right))
    }

    /// What nobody reads.
    fn ends(&self) -> Vec<usize> {
        let all = self.sources.len() + self.nodes.len();
        let mut read = vec![false; all];
        for (len, node) in (self.sources.len()..).zip(&self.nodes) {
            let (left, right) = self.inputs(len, node);
            read[left] = true;
            read[right] |= node.op.reads_both();
        }
        (self.sources.len()..all).filter(|at| !read[*at]).collect()
    }

    /// Runs it all; what nobody reads at the end, and at once.
    ///
    /// # Errors
    /// Those of its jobs.
    pub(crate) fn run(&self, ctx: &Context, dir: PathBuf) -> Result<Outcome> {
        fs::create_dir(&dir).unwrap();
        ctx.set_checkpoint_dir(dir.join("checkpoints"))?;
        let rdds = self.build(ctx, &dir)?;
        let act = |(number, (at, act)): (usize, &(usize, Act))| {
            act.on_rdd(&rdds[Self::back(rdds.len(), *at)], ctx, &dir.join(format!("act-{number}")))
        };
        let acts = self.acts.iter().enumerate().map(act).collect::<Result<_>>()?;
        let ends: Vec<_> = self.ends().into_iter().map(|at| rdds[at].glom().collect_async()).collect();
        let ends = ends.into_iter().map(emberflow::Action::wait).collect::<Result<_>>()?;
        Ok(Outcome { acts, ends })
    }

    /// Runs it all, and compares every operator and every action with its model. Counts those that had rows to work on.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check(
        &self,
        ctx: &Context,
        dir: PathBuf,
        checked: &mut BTreeMap<String, usize>,
    ) -> Result<Outcome, TestCaseError> {
        let fail = |text: String| TestCaseError::fail(text);
        let outcome = self.run(ctx, dir.clone()).map_err(|error| fail(error.to_string()))?;
        let dir = dir.join("again");
        fs::create_dir(&dir).unwrap();
        let rdds = self.build(ctx, &dir).map_err(|error| fail(error.to_string()))?;
        let mut seen: Vec<Parts> = Vec::new();
        for (at, rdd) in rdds.iter().enumerate() {
            let rows: Parts = rdd.glom().collect().map_err(|error| fail(format!("node {at}: {error}")))?;
            if rows.len() != rdd.partitions() {
                return Err(fail(format!("node {at}: {} partitions, and {} of rows", rdd.partitions(), rows.len())));
            }
            match at.checked_sub(self.sources.len()) {
                None if self.sources[at].model().is_some_and(|model| model != rows) => {
                    return Err(fail(format!("node {at}, {:?}, has {rows:?}", self.sources[at])));
                }
                None => {}
                Some(node) => {
                    let (left, right) = self.inputs(at, &self.nodes[node]);
                    let op = &self.nodes[node].op;
                    let promise = op.promise(&seen[left], &seen[right]);
                    promise.check(&rows).map_err(|text| fail(format!("node {at}, {op:?}: {text}")))?;
                    let has_rows = |at: usize| seen[at].iter().any(|part| !part.is_empty());
                    if has_rows(left) && (!op.reads_both() || has_rows(right)) {
                        *checked.entry(name(op)).or_default() += 1;
                    }
                }
            }
            seen.push(rows);
        }
        for ((at, act), result) in self.acts.iter().zip(&outcome.acts) {
            let rows = &seen[Self::back(rdds.len(), *at)];
            if !concat(rows).is_empty() {
                *checked.entry(name(act)).or_default() += 1;
            }
            if let Some(expected) = act.on_model(rows).filter(|expected| expected != result) {
                return Err(fail(format!("{act:?} gave {result} rather than {expected} of {rows:?}")));
            }
        }
        for (at, rows) in self.ends().into_iter().zip(&outcome.ends) {
            if *rows != seen[at] {
                return Err(fail(format!("node {at}: first {rows:?}, then {:?}", seen[at])));
            }
        }
        Ok(outcome)
    }
}
