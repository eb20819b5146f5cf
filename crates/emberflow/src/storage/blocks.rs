//! What can be done with the blocks of any file: reading them ahead, decompressing them, reading them as one.

use std::{
    io::{self, Read},
    sync::{Arc, mpsc},
};

use emberflow_core::{
    error::TaskError,
    storage::{Blocks, InputFile},
    task::TaskContext,
};
use flate2::read::MultiGzDecoder;

/// Bytes of a block, where nothing else decides.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that may wait for the worker.
const BLOCKS_AHEAD: usize = 2;

/// What is allocated at once because a file is said to be so long.
const TRUSTED_BYTES: usize = 64 << 20;

/// Blocks that an I/O thread reads while the worker is busy with the last one.
pub(crate) struct Ahead(mpsc::Receiver<Result<Vec<u8>, TaskError>>);

impl Ahead {
    /// Reads `blocks` on an I/O thread; if there is none, they are lost with it, and opened again to be read directly.
    pub(crate) fn over(
        mut blocks: Box<dyn Blocks>,
        task: &TaskContext,
        open: impl FnOnce() -> Result<Box<dyn Blocks>, TaskError>,
    ) -> Result<Box<dyn Blocks>, TaskError> {
        let (send, receive) = mpsc::sync_channel(BLOCKS_AHEAD);
        let spawned = task.io().spawn(Box::new(move || {
            // Ends with the file, with an error, or when the reader of the channel has gone.
            while let Some(block) = blocks.next().transpose() {
                let over = block.is_err();
                if send.send(block).is_err() || over {
                    break;
                }
            }
        }));
        if spawned { Ok(Box::new(Self(receive))) } else { open() }
    }
}

impl Blocks for Ahead {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        // The sender has gone when all was read.
        self.0.recv().map_or(Ok(None), |block| block.map(Some))
    }

    fn reads_ahead(&self) -> bool {
        true
    }
}

/// What the blocks of a file decompress to. All members are read, as `gunzip` does.
pub(crate) struct Gunzip {
    packed: MultiGzDecoder<BlockReader>,
    file: Arc<dyn InputFile>,
}

impl Gunzip {
    pub(crate) fn new(packed: Box<dyn Blocks>, file: Arc<dyn InputFile>) -> Self {
        Self { packed: MultiGzDecoder::new(BlockReader::new(packed)), file }
    }
}

impl Blocks for Gunzip {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let read = (&mut self.packed).take(BLOCK_BYTES as u64).read_to_end(&mut block);
        read.map_err(|error| {
            task_error_of(error).unwrap_or_else(|source| {
                TaskError::io(CannotDecompress { path: self.file.path().to_path_buf(), source })
            })
        })?;
        Ok((!block.is_empty()).then_some(block))
    }

    fn reads_ahead(&self) -> bool {
        false
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
struct CannotDecompress {
    path: std::path::PathBuf,
    source: io::Error,
}

/// Blocks as a reader. What is wrong with them comes as an `io::Error` that [`task_error_of`] opens.
pub(crate) struct BlockReader {
    blocks: Box<dyn Blocks>,
    block: Vec<u8>,
    at: usize,
}

impl BlockReader {
    pub(crate) fn new(blocks: Box<dyn Blocks>) -> Self {
        Self { blocks, block: Vec::new(), at: 0 }
    }
}

impl Read for BlockReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            match self.blocks.next().map_err(io::Error::other)? {
                Some(block) => (self.block, self.at) = (block, 0),
                None => return Ok(0),
            }
        }
        let read = (&self.block[self.at..]).read(to)?;
        self.at += read;
        Ok(read)
    }
}

/// What a [`BlockReader`] was told by its blocks, if that is what the error is.
pub(crate) fn task_error_of(error: io::Error) -> Result<TaskError, io::Error> {
    error.downcast::<TaskError>()
}

/// All the bytes of blocks, which are about so many.
pub(crate) fn read_all(mut blocks: Box<dyn Blocks>, about: u64, task: &TaskContext) -> Result<Vec<u8>, TaskError> {
    let mut bytes = Vec::with_capacity(usize::try_from(about).unwrap_or(0).min(TRUSTED_BYTES));
    while let Some(block) = blocks.next()? {
        task.check_cancelled()?;
        bytes.extend_from_slice(&block);
    }
    Ok(bytes)
}
