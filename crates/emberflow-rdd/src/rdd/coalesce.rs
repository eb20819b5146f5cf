//! `coalesce` and `repartition`: other numbers of partitions, without and with a shuffle.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, ChainStream},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    lineage::Dependency,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{NotShippable, Shipped},
};
use serde::{Deserialize, Serialize};

use super::{Rdd, wide};
use crate::{
    shared::NodeSpec,
    shuffle::{self, Assigner},
};

impl<T: Data> Rdd<T> {
    /// At most so many partitions, each of them several neighbours read one after the other.
    ///
    /// Narrow. The order of rows is kept. The parallelism of everything back to the last shuffle falls with it; to
    /// spread rows evenly, or over more partitions, see [`repartition`](Self::repartition).
    ///
    /// # Panics
    /// If `partitions` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..5_u64, 5).coalesce(2);
    /// assert_eq!(rows.glom().collect()?, [vec![0, 1], vec![2, 3, 4]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn coalesce(&self, partitions: usize) -> Rdd<T> {
        assert!(partitions > 0, "rows cannot be put into no partitions");
        let from = self.partitions();
        let partitions = partitions.min(from);
        self.shared().rdd(NodeSpec {
            info: OpInfo::new("coalesce", Place::caller()),
            partitions,
            op: Arc::new(Coalesce::<T> { from, partitions, rows: PhantomData }),
            dependencies: vec![Dependency::Narrow(Arc::clone(self.node()))],
            placement: None,
        })
    }
}

impl<T: Data> Rdd<T> {
    /// Exactly so many partitions, the rows dealt out evenly.
    ///
    /// Wide. Every row moves. The order is fixed, but another one: row by row to the next partition, beginning with
    /// another one for each partition of the parent.
    ///
    /// # Panics
    /// If `partitions` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sizes = ctx.range_into(0..100_u64, 1).repartition(4).glom().map(|rows| rows.len());
    /// assert_eq!(sizes.collect()?, [25, 25, 25, 25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> Rdd<T>
    where
        T: ExchangeData,
    {
        assert!(partitions > 0, "rows cannot be put into no partitions");
        let info = OpInfo::new("repartition", Place::caller());
        wide::place_rows(
            self,
            info,
            partitions,
            None,
            Assigner {
                env: partitions,
                // Without another beginning, many small partitions would all deal to the first ones.
                start: |partitions: &usize, map| shuffle::spread(map, *partitions),
                assign: |partitions: &usize, next: &mut usize, _: &T| {
                    let to = *next;
                    *next = (to + 1) % partitions;
                    to
                },
                check: |_: &T| Ok(()),
            },
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Coalesce<T> {
    from: usize,
    partitions: usize,
    rows: PhantomData<fn() -> T>,
}

impl<T: Data> Operator for Coalesce<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let parts = self.narrow_partitions(0, partition).map(|parent| inputs.narrow::<T>(0, parent));
        Ok(AnyStream::new(ChainStream::new(parts.collect::<Result<_, _>>()?)).paced())
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }

    fn narrow_partitions(&self, _: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        let cut = |at: usize| at * self.from / self.partitions;
        cut(partition)..cut(partition + 1)
    }
}
