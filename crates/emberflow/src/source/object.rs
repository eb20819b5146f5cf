//! `object_file`: rows that `save_as_object_file` wrote, a file a partition; and the stream of one such file.

use std::{marker::PhantomData, path::Path, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream, buffers},
    data::ExchangeData,
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    task::{Marker, TaskContext},
};

use super::{
    leaf,
    text::{FileFault, InputFile, look_up},
};
use crate::{
    context::Shared,
    rdd::Rdd,
    row_file::{Reader, RowFileError},
};

pub(crate) fn object_files<T: ExchangeData>(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<T>> {
    let mut files = Vec::new();
    look_up(path, &mut files)?;
    // The names have five digits or more: `part-100000` comes after `part-99999`.
    files.sort_by(|a, b| {
        let order = |file: &InputFile| (file.path.parent().map(Path::to_owned), file.path.as_os_str().len());
        order(a).cmp(&order(b)).then_with(|| a.path.cmp(&b.path))
    });
    Ok(leaf(shared, info, files.len(), ObjectFiles::<T> { files, rows: PhantomData }))
}

struct ObjectFiles<T> {
    files: Vec<InputFile>,
    rows: PhantomData<fn() -> T>,
}

impl<T: ExchangeData> Operator for ObjectFiles<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        inputs.marker().enter();
        let input = &self.files[partition];
        let file = input.open().map_err(FileFault::into_task_error)?;
        let rows = Reader::<T>::new(file, &input.path, None);
        Ok(AnyStream::new(FileRows::new(rows.map_err(RowFileError::unread)?, inputs)))
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
