//! `parallelize`: the rows of a collection, shared by all partitions.

use std::{marker::PhantomData, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, SharedRows, SharedStream},
    data::{Data, ExchangeData},
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{Env, Held, Local, NotShippable, Shipped},
};

use serde::{Deserialize, Serialize};

use super::{cut, leaf};
use crate::{rdd::Rdd, shared::Shared};

pub(crate) fn parallelize<T: Data>(shared: &Arc<Shared>, info: OpInfo, rows: Vec<T>, partitions: usize) -> Rdd<T> {
    let reason = "its rows stay in this process, for nothing says that they are serde types: use distribute instead of \
                  parallelize";
    let rows = Local::new(Arc::new(rows), reason);
    leaf(shared, info, partitions, Collection { rows, partitions, types: PhantomData })
}

/// As [`parallelize`], of rows that are part of the plan.
pub(crate) fn distribute<T: ExchangeData>(
    shared: &Arc<Shared>,
    info: OpInfo,
    rows: Vec<T>,
    partitions: usize,
) -> Rdd<T> {
    leaf(shared, info, partitions, Collection { rows: Held::new(rows), partitions, types: PhantomData })
}

/// No rows at all, of whatever type.
pub(crate) fn empty<T: Data>(shared: &Arc<Shared>, info: OpInfo) -> Rdd<T> {
    leaf(shared, info, 0, Collection { rows: NoRows::<T> { none: Arc::default() }, partitions: 0, types: PhantomData })
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct NoRows<T> {
    #[serde(skip)]
    none: Arc<Vec<T>>,
}

impl<T> AsRef<Arc<Vec<T>>> for NoRows<T> {
    fn as_ref(&self) -> &Arc<Vec<T>> {
        &self.none
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "R: Env")]
struct Collection<T, R> {
    rows: R,
    partitions: usize,
    types: PhantomData<fn() -> T>,
}

impl<T: Data, R: AsRef<Arc<Vec<T>>> + Env> Operator for Collection<T, R> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows = self.rows.as_ref();
        let at = |part| cut(rows.len() as u64, part, self.partitions) as usize;
        let rows = SharedRows::new(Arc::clone(rows), at(partition)..at(partition + 1));
        let batch_rows = inputs.task().batch_rows_of::<T>();
        Ok(AnyStream::new(SharedStream::new(vec![rows], batch_rows)))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}
