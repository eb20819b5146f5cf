//! `zip` and `zip_partitions`: partitions of equal number side by side.

use std::{marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::AnyStream,
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{Env, NotShippable, Shipped, With},
};
use serde::{Deserialize, Serialize};

use super::{
    PartitionIter, Rdd,
    map::with_env,
    map_partitions::{Failure, stream_of},
};
use crate::shared::NodeSpec;

impl<T: Data> Rdd<T> {
    /// Pairs the first row of each partition with the first row of the same partition of `other`, the second with the
    /// second, and so on.
    ///
    /// Narrow. Order is kept. Both sides must have as many rows in every partition, as those have that are made from one
    /// another by [`map`](Self::map) and its like; otherwise the action fails and says where. To pair rows of other
    /// RDDs, number them with [`zip_with_index`](Self::zip_with_index) and join by number. After Spark's `zip`.
    ///
    /// # Panics
    /// If the numbers of partitions differ.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let numbers = ctx.range(1..4_u64);
    /// assert_eq!(numbers.zip(&numbers.map(|n| n * n)).collect()?, [(1, 1), (2, 4), (3, 9)]);
    /// let error = ctx.range_into(0..5_u64, 1).zip(&ctx.range_into(0..4_u64, 1)).collect().unwrap_err();
    /// assert!(error.to_string().contains("has 4 rows, and partition 0 of rdd"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn zip<U: Data>(&self, other: &Rdd<U>) -> Rdd<(T, U)> {
        let info = OpInfo::new("zip", Place::caller());
        let names = [self.described(), other.described()];
        self.side_by_side(info, other, names, |names, partition, left, right, failure| Zip {
            left,
            right,
            failure,
            pairs: 0,
            partition,
            names: names.clone(),
        })
    }

    /// Turns each partition and the same one of `other`, as iterators, into another one.
    ///
    /// Narrow. As [`map_partitions`](Self::map_partitions) over two RDDs; `f` may read them at any pace. They may have
    /// different numbers of rows. After Spark's `zipPartitions`.
    ///
    /// # Panics
    /// If the numbers of partitions differ.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (left, right) = (ctx.range_into(0..4_u64, 2), ctx.range_into(0..100_u64, 2));
    /// let sizes = left.zip_partitions(&right, |left, right| [(left.count(), right.count())]);
    /// assert_eq!(sizes.collect()?, [(2, 50), (2, 50)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn zip_partitions<U, I, F>(&self, other: &Rdd<U>, f: F) -> Rdd<I::Item>
    where
        U: Data,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(PartitionIter<T>, PartitionIter<U>) -> I + Send + Sync + 'static,
    {
        let info = OpInfo::new("zip_partitions", Place::caller()).with_form("zip_partitions_with").with_code::<F>();
        self.side_by_side(info, other, (), move |(), _, left, right, _| f(left, right))
    }

    /// As [`zip_partitions`](Self::zip_partitions), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// As [`zip_partitions`](Self::zip_partitions), and if `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (some, others) = (ctx.range_into(0..4_u64, 2), ctx.range_into(4..8_u64, 2));
    /// let rows = some.zip_partitions_with(&others, 100, |by, a, b| [a.sum::<u64>() * by + b.sum::<u64>()]);
    /// assert_eq!(rows.collect()?, [109, 513]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn zip_partitions_with<E, U, I, F>(&self, other: &Rdd<U>, env: E, f: F) -> Rdd<I::Item>
    where
        E: ExchangeData,
        U: Data,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, PartitionIter<T>, PartitionIter<U>) -> I + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("zip_partitions", Place::caller()), &env).with_code::<F>();
        self.side_by_side(info, other, env, move |env, _, left, right, _| f(env, left, right))
    }

    #[track_caller]
    fn side_by_side<E, U, I, F>(&self, info: OpInfo, other: &Rdd<U>, env: E, f: F) -> Rdd<I::Item>
    where
        E: Env,
        U: Data,
        I: IntoIterator<Item: Data> + 'static,
        F: Fn(&E, PartitionIndex, PartitionIter<T>, PartitionIter<U>, Failure) -> I + Send + Sync + 'static,
    {
        assert!(
            self.partitions() == other.partitions(),
            "{} of {} and {} needs equal numbers of partitions, not {} and {}; see repartition",
            info.name,
            self.described(),
            other.described(),
            self.partitions(),
            other.partitions()
        );
        self.shared().rdd(NodeSpec {
            info,
            partitions: self.partitions(),
            op: Arc::new(SideBySide { with: With::new(env, f), types: PhantomData }),
            dependencies: vec![
                Dependency::Narrow(Arc::clone(self.node())),
                Dependency::Narrow(Arc::clone(other.node())),
            ],
            placement: None,
        })
    }

    /// Id, operator and place.
    fn described(&self) -> String {
        format!("{} ({})", self.id(), self.node().info)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
struct SideBySide<T, U, I, E, F> {
    with: With<E, F>,
    #[allow(clippy::type_complexity, reason = "only names the types")]
    types: PhantomData<fn(T, U) -> I>,
}

impl<T, U, I, E, F> Operator for SideBySide<T, U, I, E, F>
where
    T: Data,
    U: Data,
    I: IntoIterator<Item: Data> + 'static,
    E: Env,
    F: Fn(&E, PartitionIndex, PartitionIter<T>, PartitionIter<U>, Failure) -> I + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (failure, marker) = (Failure::default(), inputs.marker());
        let left = inputs.narrow::<T>(0, partition)?;
        let right = inputs.narrow::<U>(1, partition)?;
        let left = PartitionIter::failing_into(left, marker.clone(), failure.clone());
        let right = PartitionIter::failing_into(right, marker, failure.clone());
        let (with, fails) = (self.with.clone(), failure.clone());
        let open = move || {
            let (env, f) = with.parts();
            f(env, partition, left, right, fails).into_iter()
        };
        Ok(stream_of(open, failure, inputs))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct Zip<T, U> {
    left: PartitionIter<T>,
    right: PartitionIter<U>,
    failure: Failure,
    pairs: u64,
    partition: PartitionIndex,
    names: [String; 2],
}

impl<T: Data, U: Data> Iterator for Zip<T, U> {
    type Item = (T, U);

    fn next(&mut self) -> Option<(T, U)> {
        let [left, right] = &self.names;
        let (shorter, longer) = match (self.left.next(), self.right.next()) {
            (Some(left), Some(right)) => {
                self.pairs += 1;
                return Some((left, right));
            }
            (None, None) => return None,
            (Some(_), None) => (right, left),
            (None, Some(_)) => (left, right),
        };
        // If one side ended because it failed, that has been said already.
        self.failure.set(TaskError::rejected(UnequalRows {
            partition: self.partition,
            rows: self.pairs,
            shorter: shorter.clone(),
            longer: longer.clone(),
        }));
        None
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "partition {partition} of {shorter} has {rows} rows, and partition {partition} of {longer} has more: rows that are \
     zipped must be equally many in each partition; number both with zip_with_index, and join them"
)]
struct UnequalRows {
    partition: PartitionIndex,
    rows: u64,
    shorter: String,
    longer: String,
}
