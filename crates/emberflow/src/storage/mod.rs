//! Where files lie: finds what a path names, and gives the bytes of what was found, from wherever it is.
//!
//! A file is an [`InputFile`]: local ones are here, those of S3 in a crate of their own. What sources do with the bytes
//! (lines, blocks, rows, gzip) is the same for all of them.

mod blocks;
mod local;

use std::{path::Path, sync::Arc};

use emberflow_core::{error::Result, storage::InputFile};

use crate::context::Shared;

pub(crate) use self::blocks::{Ahead, BLOCK_BYTES, BlockReader, Gunzip, read_all, task_error_of};

/// The files that a path or a glob names, in path order: at least one.
pub(crate) fn look_up(shared: &Shared, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    if is_s3(path) { look_up_s3(shared, path) } else { local::look_up(path) }
}

/// Whether the path is one of S3, whether or not that can be read.
pub(crate) fn is_s3(path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    path.starts_with(b"s3://") || path.starts_with(b"s3a://")
}

#[cfg(feature = "s3")]
fn look_up_s3(shared: &Shared, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    shared.s3.find(path)
}

#[cfg(not(feature = "s3"))]
fn look_up_s3(_: &Shared, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    Err(without_s3(path))
}

/// What is said of paths of S3 by a program that knows none.
#[cfg(not(feature = "s3"))]
pub(crate) fn without_s3(path: &Path) -> emberflow_core::error::Error {
    #[derive(Debug, thiserror::Error)]
    #[error("{}: this program was built without emberflow's feature `s3`; build it with the feature", .0.display())]
    struct WithoutS3(std::path::PathBuf);

    emberflow_core::error::Error::Storage { source: Arc::new(WithoutS3(path.to_owned())) }
}

/// Whether a file is to be decompressed: its name says so.
pub(crate) fn is_gzip(file: &dyn InputFile) -> bool {
    file.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}
