//! `object_file`: rows that `save_as_object_file` wrote, a file a partition.

use std::{fs::File, io::BufReader, marker::PhantomData, path::Path, sync::Arc};

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
    object_file::{ObjectFileError, ObjectReader},
    rdd::Rdd,
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
        let file = BufReader::with_capacity(256 << 10, input.open().map_err(FileFault::into_task_error)?);
        let reader = ObjectReader::<T, _>::new(file, Arc::clone(&input.path), input.bytes).map_err(not_read)?;
        Ok(AnyStream::new(ObjectStream { reader, task: inputs.task().clone(), marker: inputs.marker() }))
    }
}

struct ObjectStream<T> {
    reader: ObjectReader<T, BufReader<File>>,
    task: TaskContext,
    marker: Marker,
}

impl<T: ExchangeData> Stream<T> for ObjectStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let mut rows = buffers::take();
        while rows.len() < self.task.batch_rows_of::<T>()
            && let Some(row) = self.reader.next_row().map_err(not_read)?
        {
            rows.push(row);
        }
        Ok((!rows.is_empty()).then_some(Batch::Owned(rows)))
    }
}

fn not_read(error: ObjectFileError) -> TaskError {
    if error.is_permanent() { TaskError::io_permanent(error) } else { TaskError::io(error) }
}
