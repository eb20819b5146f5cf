//! `object_file`: rows that `save_as_object_file` wrote, a file a partition; and the stream of one such file.

use std::{marker::PhantomData, path::Path, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    data::ExchangeData,
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    remake,
    ship::{NotShippable, Sent, Shipped},
    storage::InputFile,
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::leaf;
use crate::{
    rdd::Rdd,
    row_file::{Reader, RowFileError},
    shared::Shared,
    storage::{BlockReader, look_up},
};

pub(crate) fn object_files<T: ExchangeData>(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<T>> {
    let mut files = look_up(shared, path)?;
    // Other programs name them by five digits or more: `part-100000` comes after `part-99999`.
    files.sort_by(|a, b| {
        let order = |path: &Path| (path.parent().map(Path::to_owned), path.as_os_str().len());
        order(a.path()).cmp(&order(b.path())).then_with(|| a.path().cmp(b.path()))
    });
    let files: Vec<_> = files.into_iter().map(Sent).collect();
    Ok(leaf(shared, info, files.len(), ObjectFiles::<T> { files, rows: PhantomData }))
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct ObjectFiles<T> {
    files: Vec<Sent<dyn InputFile>>,
    rows: PhantomData<fn() -> T>,
}

impl<T: ExchangeData> Operator for ObjectFiles<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        inputs.marker().enter();
        let file = &self.files[partition];
        let bytes = BlockReader::new(file.open(0..file.bytes(), inputs.task())?);
        let rows = Reader::<T>::new(bytes, file.bytes(), file.path(), None);
        Ok(AnyStream::new(FileRows::new(rows.map_err(RowFileError::unread)?, inputs)))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// The rows of one file, batch by batch.
pub(super) struct FileRows<T> {
    rows: Reader<T>,
    task: TaskContext,
    marker: Marker,
}

impl<T> FileRows<T> {
    pub(super) fn new(rows: Reader<T>, inputs: &Inputs<'_>) -> Self {
        Self { rows, task: inputs.task().clone(), marker: inputs.marker() }
    }
}

impl<T: ExchangeData> Stream<T> for FileRows<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let mut rows = buffers::take();
        while rows.len() < self.task.batch_rows_of::<T>()
            && let Some(row) = self.rows.next_row().map_err(RowFileError::unread)?
        {
            rows.push(row);
        }
        Ok((!rows.is_empty()).then_some(Batch::Owned(rows)))
    }
}
