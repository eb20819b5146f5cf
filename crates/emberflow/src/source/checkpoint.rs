//! The rows of checkpoints: in files ([`checkpoint_files`]), or in memory ([`kept`]).

use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    batch::{AnyStream, Batch, SharedRows, SharedStream, Stream},
    data::{Data, ExchangeData},
    error::{Error, Result, TaskError},
    ids::PartitionIndex,
    lineage::Checkpoint,
    operator::{Inputs, Operator},
    partitioner::Placement,
    place::OpInfo,
    task::{Marker, TaskContext},
};
use serde::{Deserialize, Serialize};

use crate::{
    context::{NodeSpec, Shared},
    frames::{FrameError, Reader},
    rdd::Rdd,
};

/// The name of the file that says what a checkpoint holds.
pub(crate) const MANIFEST: &str = "_manifest";

/// What a checkpoint holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) row_type: String,
    pub(crate) parts: Vec<Part>,
}

/// One file of a checkpoint.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// The file of a partition, as [`crate::sink`] names it.
fn part_of(dir: &Path, partition: PartitionIndex) -> PathBuf {
    dir.join(format!("part-{partition:05}"))
}

/// The name of a row type without its modules, which may differ from program to program.
pub(crate) fn row_type<T>() -> String {
    bare(std::any::type_name::<T>())
}

fn bare(name: &str) -> String {
    let mut bare = String::with_capacity(name.len());
    for piece in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        bare.push_str(piece.rsplit("::").next().unwrap_or(piece));
    }
    bare
}

/// The RDD of a checkpoint at `dir`.
pub(crate) fn checkpoint_files<T: ExchangeData>(
    shared: &Arc<Shared>,
    info: OpInfo,
    dir: &Path,
    placement: Option<Placement>,
) -> Result<Rdd<T>> {
    let failed = |source: io::Error| Error::File {
        what: "cannot read the checkpoint",
        path: dir.to_owned(),
        source: Arc::new(source),
    };
    let read = || Reader::<Manifest>::open(&dir.join(MANIFEST), 0, None)?.next_rows(2);
    let manifest = read().map_err(|error| match error {
        FrameError::Io { source, .. } => failed(source),
        error => failed(io::Error::new(io::ErrorKind::InvalidData, error)),
    })?;
    let invalid = |reason: String| failed(io::Error::new(io::ErrorKind::InvalidData, reason));
    let [Manifest { row_type: found, parts }] = <[Manifest; 1]>::try_from(manifest)
        .map_err(|manifests| invalid(format!("its manifest has {} entries instead of one", manifests.len())))?;
    let wanted = row_type::<T>();
    if found != wanted {
        return Err(invalid(format!("its rows are {found}, not {wanted}; read them as what they were written as")));
    }
    let partitions = parts.len();
    let files: Files<T> = Files { dir: dir.to_owned(), parts, types: PhantomData };
    let rdd: Rdd<T> =
        shared.rdd(NodeSpec { info, partitions, op: Arc::new(files), dependencies: Vec::new(), placement });
    // The node is new: nobody has set it before.
    let _ = rdd.node().checkpoint.set(Checkpoint::Files(dir.to_owned()));
    Ok(rdd)
}

struct Files<T> {
    dir: PathBuf,
    parts: Vec<Part>,
    types: PhantomData<fn() -> T>,
}

impl<T: ExchangeData> Operator for Files<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (task, marker) = (inputs.task().clone(), inputs.marker());
        marker.enter();
        let file = Reader::<T>::open(&part_of(&self.dir, partition), partition, Some(self.parts[partition].bytes));
        let batch_rows = task.batch_rows_of::<T>();
        Ok(AnyStream::new(FileRows { file: file.map_err(unreadable)?, batch_rows, task, marker }))
    }
}

fn unreadable(error: FrameError) -> TaskError {
    if error.is_permanent() { TaskError::io_permanent(error) } else { TaskError::io(error) }
}

struct FileRows<T> {
    file: Reader<T>,
    batch_rows: usize,
    task: TaskContext,
    marker: Marker,
}

impl<T: ExchangeData> Stream<T> for FileRows<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let rows = self.file.next_rows(self.batch_rows).map_err(unreadable)?;
        Ok((!rows.is_empty()).then_some(Batch::Owned(rows)))
    }
}

/// The RDD of rows that were computed before, in these partitions.
pub(crate) fn kept<T: Data>(
    shared: &Arc<Shared>,
    info: OpInfo,
    parts: Vec<Arc<Vec<T>>>,
    placement: Option<Placement>,
) -> Rdd<T> {
    let (partitions, op) = (parts.len(), Arc::new(Kept(parts)));
    let rdd: Rdd<T> = shared.rdd(NodeSpec { info, partitions, op, dependencies: Vec::new(), placement });
    // The node is new: nobody has set it before.
    let _ = rdd.node().checkpoint.set(Checkpoint::Memory);
    rdd
}

struct Kept<T>(Vec<Arc<Vec<T>>>);

impl<T: Data> Operator for Kept<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows = &self.0[partition];
        let rows = SharedRows::new(Arc::clone(rows), 0..rows.len());
        Ok(AnyStream::new(SharedStream::new(vec![rows], inputs.task().batch_rows_of::<T>())))
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_row_type_is_named_without_its_modules() {
        assert_eq!(
            bare("(u64, alloc::vec::Vec<a::b_1::Row<core::option::Option<&str>>>)"),
            "(u64, Vec<Row<Option<&str>>>)"
        );
        assert_eq!(bare("u64"), "u64");
    }
}
