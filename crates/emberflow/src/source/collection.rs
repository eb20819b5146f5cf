//! `parallelize`: the rows of a collection, shared by all partitions.

use std::sync::Arc;

use emberflow_core::{
    batch::{AnyStream, SharedRows, SharedStream},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
};

use super::{cut, leaf};
use crate::{rdd::Rdd, shared::Shared};

pub(crate) fn parallelize<T: Data>(shared: &Arc<Shared>, info: OpInfo, rows: Vec<T>, partitions: usize) -> Rdd<T> {
    leaf(shared, info, partitions, Collection { rows: Arc::new(rows), partitions })
}

struct Collection<T> {
    rows: Arc<Vec<T>>,
    partitions: usize,
}

impl<T: Data> Operator for Collection<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let at = |part| cut(self.rows.len() as u64, part, self.partitions) as usize;
        let rows = SharedRows::new(Arc::clone(&self.rows), at(partition)..at(partition + 1));
        let batch_rows = inputs.task().batch_rows_of::<T>();
        Ok(AnyStream::new(SharedStream::new(vec![rows], batch_rows)))
    }
}
