//! `whole_text_files` and `binary_files`: a row a file, with its path.

use std::{
    io::Read,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    batch::{AnyStream, Batch, Stream},
    data::Data,
    error::{Result, TaskError},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::OpInfo,
    task::{Marker, TaskContext},
};
use flate2::read::MultiGzDecoder;

use super::{
    leaf,
    text::{FileFault, InputFile, Piece, look_up, pack, partition_bytes},
};
use crate::{context::Shared, rdd::Rdd};

pub(crate) fn whole_text_files(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<(PathBuf, String)>> {
    whole_files(shared, info, path, |file| {
        let bytes = if file.is_gzip() { decompressed(file) } else { content(file) };
        String::from_utf8(bytes?).map_err(|error| {
            let (path, byte) = (file.path.to_path_buf(), error.utf8_error().valid_up_to());
            TaskError::io_permanent(NotText { path, byte })
        })
    })
}

pub(crate) fn binary_files(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<(PathBuf, Vec<u8>)>> {
    whole_files(shared, info, path, content)
}

fn whole_files<C: Data>(
    shared: &Arc<Shared>,
    info: OpInfo,
    path: &Path,
    read: impl Fn(&InputFile) -> Result<C, TaskError> + Send + Sync + 'static,
) -> Result<Rdd<(PathBuf, C)>> {
    let mut files = Vec::new();
    look_up(path, &mut files)?;
    let bytes = partition_bytes(&files, None, shared.default_partitions);
    let partitions = pack(files, bytes, |_| true);
    let read = Arc::new(read);
    Ok(leaf(shared, info, partitions.len(), WholeFiles { partitions, read, content: PhantomData }))
}

/// The bytes of a file that is still as long as it was.
fn content(file: &InputFile) -> Result<Vec<u8>, TaskError> {
    let path = || file.path.to_path_buf();
    let mut bytes = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or(0));
    let read = file
        .open()
        .and_then(|mut from| from.read_to_end(&mut bytes).map_err(|source| FileFault::Read { path: path(), source }));
    let read = read.map_err(FileFault::into_task_error)? as u64;
    if read != file.bytes {
        return Err(FileFault::Changed { path: path(), was: file.bytes, is: read }.into_task_error());
    }
    Ok(bytes)
}

fn decompressed(file: &InputFile) -> Result<Vec<u8>, TaskError> {
    let (packed, mut bytes) = (content(file)?, Vec::new());
    match MultiGzDecoder::new(&*packed).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(FileFault::Read { path: file.path.to_path_buf(), source }.into_task_error()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}, byte {byte}: not UTF-8; convert the file, or read it with binary_files", path.display())]
struct NotText {
    path: PathBuf,
    byte: usize,
}

struct WholeFiles<C, F> {
    partitions: Vec<Vec<Piece>>,
    read: Arc<F>,
    content: PhantomData<fn() -> C>,
}

impl<C, F> Operator for WholeFiles<C, F>
where
    C: Data,
    F: Fn(&InputFile) -> Result<C, TaskError> + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(FileStream {
            files: self.partitions[partition].clone().into_iter(),
            read: Arc::clone(&self.read),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }
}

/// A file a batch, since a file may be large.
struct FileStream<F> {
    files: std::vec::IntoIter<Piece>,
    read: Arc<F>,
    task: TaskContext,
    marker: Marker,
}

impl<C: Data, F: Fn(&InputFile) -> Result<C, TaskError>> Stream<(PathBuf, C)> for FileStream<F> {
    fn next(&mut self) -> Result<Option<Batch<(PathBuf, C)>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let Some(piece) = self.files.next() else { return Ok(None) };
        let content = (self.read)(&piece.file)?;
        Ok(Some(Batch::Owned(vec![(piece.file.path.to_path_buf(), content)])))
    }
}
