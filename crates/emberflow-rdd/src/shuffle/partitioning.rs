//! Which partition a key belongs to: by hash, or by a rule of the user's.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use emberflow_core::{
    data::Key,
    partitioner::{KeyHasher, Partitioner, Placement, partition_of_hash},
    ship::{self, Code, Descriptor, NotShippable, Sent, Ship, Shipped},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Places keys by their hash over a number of partitions. A plain number means the same.
///
/// ```
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// let pairs = ctx.parallelize(vec![(1, 'a'), (2, 'b')]);
/// assert_eq!(pairs.partition_by(HashPartitioner::new(3)).collect()?, pairs.partition_by(3).collect()?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashPartitioner {
    partitions: usize,
}

impl HashPartitioner {
    /// Over so many partitions.
    ///
    /// # Panics
    /// If there are none.
    #[track_caller]
    pub fn new(partitions: usize) -> Self {
        assert!(partitions > 0, "keys cannot be placed over no partitions");
        Self { partitions }
    }
}

/// A value that says how keys are placed: a number of partitions, a [`HashPartitioner`], or a [`Partitioning`] made
/// from a [`Partitioner`] of your own.
pub trait IntoPartitioning<K> {
    /// The placing. Hashes are those of the context.
    #[track_caller]
    fn into_partitioning(self, hasher: &KeyHasher) -> Partitioning<K>;
}

impl<K: Key> IntoPartitioning<K> for usize {
    #[track_caller]
    fn into_partitioning(self, hasher: &KeyHasher) -> Partitioning<K> {
        HashPartitioner::new(self).into_partitioning(hasher)
    }
}

impl<K: Key> IntoPartitioning<K> for HashPartitioner {
    #[track_caller]
    fn into_partitioning(self, hasher: &KeyHasher) -> Partitioning<K> {
        let placement = Placement::hash(hasher, self.partitions);
        Partitioning { placement, rule: Rule::Hash(hasher.clone(), self.partitions) }
    }
}

impl<K> IntoPartitioning<K> for Partitioning<K> {
    #[track_caller]
    fn into_partitioning(self, _: &KeyHasher) -> Partitioning<K> {
        self
    }
}

impl<K> IntoPartitioning<K> for &Partitioning<K> {
    #[track_caller]
    fn into_partitioning(self, _: &KeyHasher) -> Partitioning<K> {
        self.clone()
    }
}

/// A way to place keys. Clones place alike, so that RDDs placed by clones of one meet without a shuffle.
///
/// ```
/// use emberflow::{Partitioner, Partitioning, prelude::*};
///
/// struct ByInitial;
///
/// impl Partitioner<String> for ByInitial {
///     fn partitions(&self) -> usize {
///         2
///     }
///
///     fn partition(&self, word: &String) -> usize {
///         usize::from(word.as_str() >= "n")
///     }
/// }
///
/// let ctx = Context::local(2)?;
/// let words = ctx.parallelize(["zoo", "ant", "nut"].map(str::to_owned).to_vec()).map(|word| (word, ()));
/// let placed = words.partition_by(Partitioning::custom(ByInitial));
/// assert_eq!(placed.keys().glom().collect()?, [vec!["ant"], vec!["zoo", "nut"]]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "K: 'static")]
pub struct Partitioning<K> {
    placement: Placement,
    rule: Rule<K>,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "K: 'static")]
enum Rule<K> {
    Hash(KeyHasher, usize),
    Custom(Sent<dyn Choose<K>>),
}

/// A rule of the user's.
trait Choose<K>: Send + Sync + 'static {
    /// The partition of a key.
    fn partition(&self, key: &K) -> usize;

    /// The rule as another process can make it again.
    fn ship(&self) -> Result<Shipped<dyn Choose<K>>, NotShippable>;
}

impl<K: 'static> Ship for dyn Choose<K> {
    fn ship(&self) -> Result<Shipped<Self>, NotShippable> {
        Choose::ship(self)
    }
}

/// By a type that implements [`Partitioner`], of which another process can make only one without fields.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct ByPartitioner<P>(Code<P>);

impl<K: 'static, P: Partitioner<K>> Choose<K> for ByPartitioner<P> {
    fn partition(&self, key: &K) -> usize {
        self.0.partition(key)
    }

    fn ship(&self) -> Result<Shipped<dyn Choose<K>>, NotShippable> {
        ship::of(self, Made::<K, Self>::CODE)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct ByClosure<F>(Code<F>);

impl<K: 'static, F: Fn(&K) -> usize + Send + Sync + 'static> Choose<K> for ByClosure<F> {
    fn partition(&self, key: &K) -> usize {
        (self.0)(key)
    }

    fn ship(&self) -> Result<Shipped<dyn Choose<K>>, NotShippable> {
        ship::of(self, Made::<K, Self>::CODE)
    }
}

struct Made<K, C>(PhantomData<(K, C)>);

impl<K: 'static, C: Choose<K> + DeserializeOwned> Made<K, C> {
    const CODE: &'static Descriptor<dyn Choose<K>> = &Descriptor::new::<C>(|state| Ok(ship::read::<C>(state)?));
}

impl<K> Clone for Partitioning<K> {
    fn clone(&self) -> Self {
        let rule = match &self.rule {
            Rule::Hash(hasher, partitions) => Rule::Hash(hasher.clone(), *partitions),
            Rule::Custom(rule) => Rule::Custom(rule.clone()),
        };
        Self { placement: self.placement.clone(), rule }
    }
}

impl<K> fmt::Debug for Partitioning<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.placement.fmt(f)
    }
}

impl<K> Partitioning<K> {
    /// Into so many partitions by a closure, which gives the partition of a key.
    ///
    /// Equal keys must get equal partitions, in every run. A task fails if the closure gives a partition that there is
    /// not: take the remainder, or the last one for all that is above.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let years = ctx.parallelize([1999, 2010, 2005, 2024]).map(|year| (year, ()));
    /// let placed = years.partition_by(Partitioning::by(2, |year| usize::from(*year >= 2010)));
    /// assert_eq!(placed.keys().glom().collect()?, [[1999, 2005], [2010, 2024]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn by(partitions: usize, partition: impl Fn(&K) -> usize + Send + Sync + 'static) -> Self
    where
        K: 'static,
    {
        Self::chosen(partitions, ByClosure(Code::new(partition)))
    }

    /// By a rule of your own; see [`by`](Self::by) for a closure.
    ///
    /// # Panics
    /// If it has no partitions.
    #[track_caller]
    pub fn custom(partitioner: impl Partitioner<K>) -> Self
    where
        K: 'static,
    {
        Self::chosen(partitioner.partitions(), ByPartitioner(Code::new(partitioner)))
    }

    #[track_caller]
    fn chosen(partitions: usize, rule: impl Choose<K>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        assert!(partitions > 0, "keys cannot be placed over no partitions");
        let placement = Placement::Custom { partitions, id: NEXT.fetch_add(1, Ordering::Relaxed) };
        Self { placement, rule: Rule::Custom(Sent(Arc::new(rule))) }
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }
}

impl<K: Key> Partitioning<K> {
    /// The partition of a key.
    #[inline]
    pub(crate) fn partition(&self, key: &K) -> usize {
        match &self.rule {
            Rule::Hash(hasher, partitions) => partition_of_hash(hasher.hash(key), *partitions),
            Rule::Custom(rule) => self.checked(rule.partition(key)),
        }
    }

    fn checked(&self, partition: usize) -> usize {
        let partitions = self.placement.partitions();
        assert!(partition < partitions, "the partitioner chose partition {partition} of {partitions}");
        partition
    }
}
