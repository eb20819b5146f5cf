//! A file that a task writes, compressed or not.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use emberflow_core::{error::TaskError, storage::PartFile};
use emberflow_rdd::parts::{WRITE_BYTES, finish, unwritten};
use flate2::{Compression as Level, write::GzEncoder};

use super::Compression;

pub(super) struct File {
    path: PathBuf,
    to: To,
}

enum To {
    Plain(BufWriter<Box<dyn PartFile>>),
    Gzip(Box<GzEncoder<BufWriter<Box<dyn PartFile>>>>),
}

impl File {
    pub(super) fn new(file: Box<dyn PartFile>, compression: Compression) -> Self {
        let path = file.path().to_owned();
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        let to = match compression {
            Compression::None => To::Plain(file),
            // Its header has no time stamp, so that the same rows give the same bytes.
            Compression::Gzip => To::Gzip(Box::new(GzEncoder::new(file, Level::default()))),
        };
        Self { path, to }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), TaskError> {
        let written = match &mut self.to {
            To::Plain(file) => file.write_all(bytes),
            To::Gzip(file) => file.write_all(bytes),
        };
        written.map_err(|error| unwritten(&self.path, error))
    }

    /// Writes what is still buffered, and ends the file.
    pub(super) fn finish(self) -> Result<(), TaskError> {
        finish(match self.to {
            To::Plain(file) => file,
            To::Gzip(file) => file.finish().map_err(|error| unwritten(&self.path, error))?,
        })
    }
}
