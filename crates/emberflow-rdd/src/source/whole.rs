//! `whole_text_files` and `binary_files`: a row a file, with its path.

use std::{
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
    remake,
    ship::{Code, Held, NotShippable, Shipped},
    storage::InputFile,
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::{
    leaf,
    text::{BYTE_ORDER_MARK, Piece, is_utf16, pack, partition_bytes},
};
use crate::{
    rdd::Rdd,
    shared::Shared,
    storage::{Gunzip, is_gzip, look_up, read_all},
};

pub(crate) fn whole_text_files(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<(PathBuf, String)>> {
    whole_files(shared, info, path, |file, task| {
        let blocks = file.open(0..file.bytes(), task)?;
        let text = if is_gzip(&**file) {
            read_all(Box::new(Gunzip::new(blocks, Arc::clone(file))), file.bytes(), task)?
        } else {
            read_all(blocks, file.bytes(), task)?
        };
        text_of(text).map_err(|fault| TaskError::io_permanent(NotText { path: file.path().to_path_buf(), fault }))
    })
}

pub(crate) fn binary_files(shared: &Arc<Shared>, info: OpInfo, path: &Path) -> Result<Rdd<(PathBuf, Vec<u8>)>> {
    whole_files(shared, info, path, |file, task| read_all(file.open(0..file.bytes(), task)?, file.bytes(), task))
}

fn whole_files<C: Data>(
    shared: &Arc<Shared>,
    info: OpInfo,
    path: &Path,
    read: impl Fn(&Arc<dyn InputFile>, &TaskContext) -> Result<C, TaskError> + Send + Sync + 'static,
) -> Result<Rdd<(PathBuf, C)>> {
    let files = look_up(shared, path)?;
    let bytes = partition_bytes(&files, None, shared.default_partitions);
    let partitions = pack(files, bytes, |_| true);
    let read = Held::new(Code::new(read));
    Ok(leaf(shared, info, partitions.len(), WholeFiles { partitions, read, content: PhantomData }))
}

/// The text of a file, without a byte order mark.
fn text_of(mut bytes: Vec<u8>) -> Result<String, TextFault> {
    if is_utf16(&bytes) {
        return Err(TextFault::Utf16);
    }
    let mark = if bytes.starts_with(&BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    bytes.drain(..mark);
    String::from_utf8(bytes).map_err(|error| TextFault::NotUtf8 { byte: mark + error.utf8_error().valid_up_to() })
}

#[derive(Debug, thiserror::Error)]
#[error("{}, {fault}, or read it with binary_files", path.display())]
struct NotText {
    path: PathBuf,
    fault: TextFault,
}

#[derive(Debug, thiserror::Error)]
enum TextFault {
    #[error("byte {byte}: not UTF-8; convert the file")]
    NotUtf8 { byte: usize },
    #[error("byte 0: it begins with a byte order mark of UTF-16; convert the file to UTF-8")]
    Utf16,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct WholeFiles<C, F> {
    partitions: Vec<Vec<Piece>>,
    read: Held<Code<F>>,
    content: PhantomData<fn() -> C>,
}

impl<C, F> Operator for WholeFiles<C, F>
where
    C: Data,
    F: Fn(&Arc<dyn InputFile>, &TaskContext) -> Result<C, TaskError> + Send + Sync + 'static,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        Ok(AnyStream::new(FileStream {
            files: self.partitions[partition].clone().into_iter(),
            read: self.read.clone(),
            task: inputs.task().clone(),
            marker: inputs.marker(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// A file a batch, since a file may be large.
struct FileStream<F> {
    files: std::vec::IntoIter<Piece>,
    read: Held<Code<F>>,
    task: TaskContext,
    marker: Marker,
}

impl<C: Data, F: Fn(&Arc<dyn InputFile>, &TaskContext) -> Result<C, TaskError>> Stream<(PathBuf, C)> for FileStream<F> {
    fn next(&mut self) -> Result<Option<Batch<(PathBuf, C)>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let Some(piece) = self.files.next() else { return Ok(None) };
        let content = (self.read)(&piece.file.0, &self.task)?;
        Ok(Some(Batch::Owned(vec![(piece.file.path().to_path_buf(), content)])))
    }
}
