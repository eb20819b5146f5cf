//! Readers over the blocks of any file: reading them ahead, decompressing them, reading them as one.

use std::{
    io::{self, BufRead, Read},
    mem,
    sync::{Arc, mpsc},
};

use emberflow_core::{
    error::TaskError,
    storage::{Blocks, InputFile},
    task::TaskContext,
};
use flate2::bufread::GzDecoder;

/// Bytes of a block, where nothing else decides.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that may wait for the worker.
const BLOCKS_AHEAD: usize = 2;

/// The bytes that are allocated at once because a file is said to be so long.
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

/// The blocks of a file, decompressed: all members, as `gunzip` does, without zeros behind them, by which tapes and
/// block devices fill what they write. An empty file gives nothing.
pub(crate) struct Gunzip {
    packed: Packed,
    file: Arc<dyn InputFile>,
}

/// How far a compressed file was read.
enum Packed {
    Begin(BlockReader),
    Member(GzDecoder<BlockReader>),
    Between(BlockReader),
    End,
}

impl Gunzip {
    pub(crate) fn new(packed: Box<dyn Blocks>, file: Arc<dyn InputFile>) -> Self {
        Self { packed: Packed::Begin(BlockReader::new(packed)), file }
    }

    fn read(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        while block.len() < BLOCK_BYTES {
            self.packed = match mem::replace(&mut self.packed, Packed::End) {
                Packed::Begin(mut packed) => match packed.fill_buf()? {
                    [] => Packed::End,
                    _ => Packed::Member(GzDecoder::new(packed)),
                },
                Packed::Member(mut member) => {
                    let wanted = BLOCK_BYTES - block.len();
                    let read = (&mut member).take(wanted as u64).read_to_end(block)?;
                    if read < wanted { Packed::Between(member.into_inner()) } else { Packed::Member(member) }
                }
                Packed::Between(mut packed) => {
                    let bytes = packed.fill_buf()?;
                    let (is_end, zeros) = (bytes.is_empty(), bytes.iter().take_while(|byte| **byte == 0).count());
                    let is_member = zeros < bytes.len();
                    packed.consume(zeros);
                    match (is_end, is_member) {
                        (true, _) => Packed::End,
                        (false, true) => Packed::Member(GzDecoder::new(packed)),
                        (false, false) => Packed::Between(packed),
                    }
                }
                Packed::End => break,
            };
        }
        Ok(())
    }
}

impl Blocks for Gunzip {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        self.read(&mut block).map_err(|error| {
            // What is not of the file's own reader is of the bytes, and will be the same next time.
            task_error_of(error).unwrap_or_else(|source| {
                TaskError::io_permanent(CannotDecompress { path: self.file.path().to_path_buf(), source })
            })
        })?;
        Ok((!block.is_empty()).then_some(block))
    }

    fn reads_ahead(&self) -> bool {
        false
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot decompress {}: {source}; is it a gzip file, and complete?", path.display())]
struct CannotDecompress {
    path: std::path::PathBuf,
    source: io::Error,
}

/// Blocks as a reader. An error of theirs comes as an `io::Error` that [`task_error_of`] opens.
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

impl BufRead for BlockReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.block.len() {
            match self.blocks.next().map_err(io::Error::other)? {
                Some(block) => (self.block, self.at) = (block, 0),
                None => return Ok(&[]),
            }
        }
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for BlockReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

/// The error that a [`BlockReader`] got from its blocks, if the error is one.
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
