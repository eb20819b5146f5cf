//! The rows of checkpoints: in files ([`checkpoint_files`]), or in memory ([`kept`]).

use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    batch::{AnyStream, SharedRows, SharedStream},
    data::{Data, ExchangeData},
    error::{Error, Result, TaskError},
    ids::PartitionIndex,
    lineage::Checkpoint,
    operator::{Inputs, Operator},
    partitioner::Placement,
    place::OpInfo,
    remake,
    ship::{Local, NotShippable, Shipped},
    storage::part_name,
};
use serde::{Deserialize, Serialize};

use super::object::FileRows;
use crate::{
    rdd::Rdd,
    row_file::{Reader, RowFileError, name_of},
    shared::{NodeSpec, Shared},
};

/// The name of the file that says what a checkpoint holds.
pub(crate) const MANIFEST: &str = "_manifest";

/// The contents of a checkpoint.
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
    let read = || {
        let mut manifest = Reader::<Manifest>::open(&dir.join(MANIFEST), None)?;
        std::iter::from_fn(|| manifest.next_row().transpose()).collect::<Result<Vec<_>, RowFileError>>()
    };
    let manifest = read().map_err(|error| failed(error.into_io()))?;
    let invalid = |reason: String| failed(io::Error::new(io::ErrorKind::InvalidData, reason));
    let [Manifest { row_type: found, parts }] = <[Manifest; 1]>::try_from(manifest)
        .map_err(|manifests| invalid(format!("its manifest has {} entries instead of one", manifests.len())))?;
    let wanted = name_of::<T>();
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

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Files<T> {
    dir: PathBuf,
    parts: Vec<Part>,
    types: PhantomData<fn() -> T>,
}

impl<T: ExchangeData> Operator for Files<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        inputs.marker().enter();
        let expected = Some((partition, self.parts[partition].bytes));
        let rows = Reader::<T>::open(&self.dir.join(part_name(partition, self.parts.len())), expected);
        Ok(AnyStream::new(FileRows::new(rows.map_err(RowFileError::unread)?, inputs)))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// The RDD of rows that were computed before, in these partitions.
pub(crate) fn kept<T: Data>(
    shared: &Arc<Shared>,
    info: OpInfo,
    parts: Vec<Arc<Vec<T>>>,
    placement: Option<Placement>,
) -> Rdd<T> {
    let partitions = parts.len();
    let reason =
        "the rows of a local checkpoint are in the memory of this process: use checkpoint, whose files others can read";
    let op = Arc::new(Kept(Local::new(parts, reason)));
    let rdd: Rdd<T> = shared.rdd(NodeSpec { info, partitions, op, dependencies: Vec::new(), placement });
    // The node is new: nobody has set it before.
    let _ = rdd.node().checkpoint.set(Checkpoint::Memory);
    rdd
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Kept<T>(Local<Vec<Arc<Vec<T>>>>);

impl<T: Data> Operator for Kept<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows = &self.0[partition];
        let rows = SharedRows::new(Arc::clone(rows), 0..rows.len());
        Ok(AnyStream::new(SharedStream::new(vec![rows], inputs.task().batch_rows_of::<T>())))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}
