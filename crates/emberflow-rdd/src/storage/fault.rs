//! The faults of a local file when it is read.

use std::{io, path::PathBuf};

use emberflow_core::error::TaskError;

/// A file that cannot be read, or is not the one that was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} has changed since the rdd was made: it had {was} bytes and has {is}, or another time stamp, or it is \
         another file; make the rdd again",
        path.display()
    )]
    Changed { path: PathBuf, was: u64, is: u64 },
    #[error("{} ended after {byte} bytes of {expected}; it was cut while it was read", path.display())]
    Short { path: PathBuf, byte: u64, expected: u64 },
    #[error(
        "{} is a pipe, and what was in it is gone, since it was read before: cache the rdd before its first action, or \
         copy what comes out of the pipe into a file and read that",
        path.display()
    )]
    Gone { path: PathBuf },
}

impl FileFault {
    pub(super) fn into_task_error(self) -> TaskError {
        match self {
            Self::Read { .. } => TaskError::io(self),
            Self::Changed { .. } | Self::Short { .. } | Self::Gone { .. } => TaskError::io_permanent(self),
        }
    }
}
