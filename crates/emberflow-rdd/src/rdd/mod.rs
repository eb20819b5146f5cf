//! `Rdd<T>`: a handle to one node of the lineage graph, with the row type that the graph forgets.
//!
//! One operator a file, in the same order in each: the methods, what they stand for, their tests. A new narrow operator
//! is usually a closure over [`batches`](Rdd::batches); a new wide one is made of `crate::shuffle`.

mod actions;
mod aggregate;
mod approx_distinct;
mod batches;
mod by_ref;
mod cartesian;
mod coalesce;
mod cogroup;
mod combine_by_key;
mod distinct;
mod distribution;
mod driver;
mod explain;
mod filter;
mod flat_map;
mod flat_map_reduce_by_key;
mod fold_by_key;
mod for_each;
mod glom;
mod group_by_key;
mod join;
mod lookup;
mod map;
mod map_partitions;
mod numbers;
mod ordered;
mod pairs;
mod partition_by;
mod persist;
mod pipe;
mod random_split;
mod reduce_by_key_locally;
mod run_job;
mod sample;
mod sample_by_key;
mod sets;
mod sort;
mod take;
mod take_sample;
mod to_local_iter;
mod tree;
mod try_map;
mod union;
mod wide;
mod zip;
mod zip_with_index;
mod zip_with_unique_id;

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use emberflow_core::{
    data::Data,
    error::Result,
    ids::{RddId, StoreId},
    lineage::{Dependency, RddNode},
    operator::Operator,
    parcel,
    partitioner::Placement,
    place::OpInfo,
    plan::{self, ActionSpec, StageDescription},
};

pub use self::{
    explain::Explain,
    map_partitions::PartitionIter,
    numbers::{Number, Stats, Sums},
    persist::StorageLevel,
    to_local_iter::LocalIter,
};
pub(crate) use self::{sample::random_of, union::union};
use crate::shared::{NodeSpec, Shared};

/// A resilient distributed dataset: rows of type `T` in partitions, described by how they are made.
///
/// Nothing is computed before an action; every action computes what it needs from the sources, or from what is
/// [cached](Self::cache) or left over from earlier shuffles. Cloning a handle copies no row. A handle keeps the engine of
/// its [context](Self::context) alive, until that is [stopped](crate::Context::stop).
///
/// # Rows
/// Any type that is `Clone + Send + Sync` can be a row ([`Data`]). Rows that are shuffled, cached or collected are serde
/// types ([`ExchangeData`](crate::ExchangeData)), keys have `Eq` and `Hash` ([`Key`](crate::Key)), and methods take rows
/// of the types that fit together. The compiler refuses everything else:
///
/// ```compile_fail,E0277
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// #[derive(Clone)]
/// struct Film;
/// // `Film` is no serde type, so it cannot be cached.
/// ctx.parallelize([Film]).cache();
/// # Ok::<(), Error>(())
/// ```
///
/// ```compile_fail,E0277
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// // Floating-point numbers have no `Eq`, so they are no keys.
/// ctx.parallelize([(0.5, 1)]).reduce_by_key(|a, b| a + b);
/// # Ok::<(), Error>(())
/// ```
///
/// ```compile_fail,E0308
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// // Unions are of rows of one type; `zip` would make pairs of them.
/// ctx.range(0..3_u64).union(&ctx.range(0..3_i32));
/// # Ok::<(), Error>(())
/// ```
///
/// Rows that went to disk, or to another process, come back as serde gives them. A field with `#[serde(skip)]` is its
/// default then, and nothing can find that out, unless the row is a key: results would depend on the memory that was free.
/// Let serde write all of a row, or make the field again when the row is read. A context that sends
/// [all rows to disk](crate::ContextBuilder::force_spill) shows whether it is so:
///
/// ```
/// # use emberflow::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(from = "Kept")]
/// struct Word {
///     text: String,
///     #[serde(skip)]
///     letters: usize,
/// }
///
/// #[derive(Deserialize)]
/// struct Kept {
///     text: String,
/// }
///
/// impl From<Kept> for Word {
///     fn from(Kept { text }: Kept) -> Self {
///         Self { letters: text.chars().count(), text }
///     }
/// }
///
/// let ctx = Context::builder().force_spill(true).build()?;
/// let words = ctx.parallelize([Word { text: "ember".to_owned(), letters: 5 }]).repartition(2).cache();
/// assert_eq!(words.map(|word| word.letters).collect()?, [5]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Actions
/// Blocking: [`collect`](Self::collect), [`count`](Self::count), [`first`](Self::first), [`take`](Self::take),
/// [`reduce`](Self::reduce), [`fold`](Self::fold), [`aggregate`](Self::aggregate), [`for_each`](Self::for_each),
/// [`top`](Self::top), … Each has an async form, such as [`collect_async`](Self::collect_async), whose
/// [`Action`](crate::Action) can be awaited, waited for, and cancelled.
///
/// All of them fail alike: [`Error::TaskFailed`](crate::Error::TaskFailed) if a task failed too often, with all causes;
/// [`Error::Cancelled`](crate::Error::Cancelled); [`Error::ContextClosed`](crate::Error::ContextClosed); [`Error::NestedAction`](crate::Error::NestedAction) inside a closure that a task runs;
/// [`Error::ForeignRdd`](crate::Error::ForeignRdd) if RDDs of several contexts were mixed.
pub struct Rdd<T> {
    shared: Arc<Shared>,
    node: Arc<RddNode>,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for Rdd<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), node: Arc::clone(&self.node), rows: PhantomData }
    }
}

impl Shared {
    /// Makes the RDD of a new lineage node. The rows that `spec.op` streams must be of type `T`.
    pub(crate) fn rdd<T: Data>(self: &Arc<Self>, spec: NodeSpec) -> Rdd<T> {
        let NodeSpec { info, partitions, op, dependencies, placement } = spec;
        Rdd::new(
            Arc::clone(self),
            Arc::new(RddNode {
                id: self.engine.next_rdd(),
                context: self.engine.id(),
                info,
                partitions,
                op,
                dependencies,
                placement,
                persisted: Mutex::new(None),
                name: Mutex::new(None),
                checkpoint: OnceLock::new(),
            }),
        )
    }
}

impl<T: Data> Rdd<T> {
    pub(crate) fn new(shared: Arc<Shared>, node: Arc<RddNode>) -> Self {
        Self { shared, node, rows: PhantomData }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn node(&self) -> &Arc<RddNode> {
        &self.node
    }

    /// A narrow RDD of this one, partition by partition.
    pub(crate) fn narrow<U: Data>(&self, info: OpInfo, op: impl Operator, placement: Option<Placement>) -> Rdd<U> {
        self.shared.rdd(NodeSpec {
            info,
            partitions: self.node.partitions,
            op: Arc::new(op),
            dependencies: vec![Dependency::Narrow(Arc::clone(&self.node))],
            placement,
        })
    }

    /// The id; larger than those of the RDDs that this one is made from.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let numbers = ctx.range(0..9_u64);
    /// assert!(numbers.map(|n| n + 1).id() > numbers.id());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn id(&self) -> RddId {
        self.node.id
    }

    /// Number of partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_into(0..9_u64, 3).map(|n| n + 1).partitions(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn partitions(&self) -> usize {
        self.node.partitions
    }

    /// Names the RDD in [`to_debug_string`](Self::to_debug_string).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.range(0..3_u64).set_name("numbers").to_debug_string().contains("numbers"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_name(&self, name: impl Into<String>) -> Self {
        *self.node.name.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
        self.clone()
    }

    /// The name that [`set_name`](Self::set_name) gave it, if it did.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let numbers = ctx.range(0..3_u64);
    /// assert_eq!(numbers.name(), None);
    /// assert_eq!(numbers.set_name("numbers").name().as_deref(), Some("numbers"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.node.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the rows are placed by key, if they are. RDDs with equal placements are combined by key without a shuffle.
    /// After Spark's `partitioner`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.range(0..9_u64).map(|n| (n % 3, n));
    /// assert!(pairs.placement().is_none());
    /// let (placed, sums) = (pairs.partition_by(4), pairs.reduce_by_key_into(|a, b| a + b, 4));
    /// assert!(placed.placement().is_some() && placed.placement() == sums.placement());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn placement(&self) -> Option<Placement> {
        self.node.placement.clone()
    }

    /// The lineage as a tree, as Spark's `toDebugString` draws it: a line an RDD, with its operator, place and id;
    /// indented by a step for each shuffle, with the number of partitions and the stage at its head; and what is
    /// cached, with the stage that computes it. Stages are numbered parents first, as in
    /// [`describe_stages`](Self::describe_stages), [`explain`](Self::explain) and on the page of a job.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range_into(0..9_u64, 3).map(|n| (n % 2, n)).reduce_by_key_into(|a, b| a + b, 2);
    /// let lineage = sums.to_debug_string();
    /// let heads: Vec<_> = lineage.lines().map(|line| line.split(" at ").next().unwrap()).collect();
    /// assert_eq!(heads, ["(2) reduce_by_key", " +-(3) map", "    |  range"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_debug_string(&self) -> String {
        let kept = |store| {
            // A stopped context keeps nothing.
            let state = self.shared.backend.store_state(store).ok().flatten();
            state.map_or((0, 0), |state| (state.stored.len(), state.bytes))
        };
        // What no job can run, for it has an RDD of another context in it, has no stages.
        let stages = self.stages().unwrap_or_default();
        let numbers: HashMap<StoreId, usize> = stages.iter().enumerate().map(|(at, stage)| (stage.store, at)).collect();
        self.node.debug_string(&kept, &|store| match store {
            Some(store) => numbers.get(&store).copied(),
            None => stages.len().checked_sub(1),
        })
    }

    /// The stages that a job over all the rows would run, as values: what they read, their operators with places,
    /// closures and environments, and where their rows go. Parents come first.
    ///
    /// # Errors
    /// [`Error::ForeignRdd`](crate::Error::ForeignRdd).
    ///
    /// ```
    /// # use emberflow::{StageKind, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range(0..9_u64).map_with(3_u32, |by, n| (n % u64::from(*by), n)).reduce_by_key(|a, b| a + b);
    /// let stages = sums.describe_stages()?;
    /// assert_eq!(stages[0].kind, StageKind::ShuffleMap);
    /// assert_eq!(stages[0].operators[1].info.name, "map");
    /// assert_eq!(stages[0].operators[1].info.env, Some(vec![3, 0, 0, 0]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn describe_stages(&self) -> Result<Vec<StageDescription>> {
        Ok(self.stages()?.iter().map(|stage| stage.describe()).collect())
    }

    /// Checks that another process of the same program could compute this RDD: that no closure of its lineage captures
    /// its surroundings, and that no operator holds a value that cannot leave this process.
    ///
    /// Everything that the lineage is made of is serialised for the check, rows of collections too.
    ///
    /// # Errors
    /// [`Error::NotShippable`](crate::Error::NotShippable) naming the operator, its place, and what to write instead.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let by = 3;
    /// let error = ctx.range(0..9_u64).map(move |n| n * by).check_shippable().unwrap_err().to_string();
    /// assert!(error.contains("captures 8 bytes") && error.ends_with("map_with(env, |env, ...| ...)"));
    /// ctx.range(0..9_u64).map_with(3, |by, n| n * by).check_shippable()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_shippable(&self) -> Result<()> {
        self.stages()?.iter().try_for_each(|stage| parcel::check(stage))
    }

    fn stages(&self) -> Result<Vec<Arc<plan::StagePlan>>> {
        let info = OpInfo { name: "describe", code: Vec::new(), env: None, ..self.node.info.clone() };
        let engine = &self.shared.engine;
        let spec = ActionSpec { info, action: Arc::new(actions::Nothing), store: engine.next_store() };
        plan::compile(&self.node, engine.id(), spec)
    }
}

impl<T> fmt::Debug for Rdd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} partitions)", self.node.id, self.node.info, self.node.partitions)
    }
}
