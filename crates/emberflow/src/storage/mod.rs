//! Where files lie: finds what a path names, and gives the bytes of what was found, from wherever it is.
//!
//! A file is an [`InputFile`]: local ones are here. What sources do with the bytes (lines, blocks, rows, gzip) is the
//! same for all of them.

mod blocks;
mod local;

use std::{path::Path, sync::Arc};

use emberflow_core::{error::Result, storage::InputFile};

pub(crate) use self::blocks::{Ahead, BLOCK_BYTES, BlockReader, Gunzip, read_all, task_error_of};

/// The files that a path or a glob names, in path order: at least one.
pub(crate) fn look_up(path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    local::look_up(path)
}

/// Whether a file is to be decompressed: its name says so.
pub(crate) fn is_gzip(file: &dyn InputFile) -> bool {
    file.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}
