//! Where files lie: finds what a path names, gives the bytes of what was found, from wherever it is, and takes the bytes
//! of what is to be there.
//!
//! A file that is read is an [`InputFile`], and one that is written a [`PartFile`] of an [`Output`]: local ones are here,
//! those of S3 in a crate of their own. Sources and sinks treat the bytes of all of them alike (lines, blocks, rows,
//! gzip).

mod blocks;
mod fault;
mod local;
mod output;
mod pipe;

use std::{
    io::{self, BufWriter},
    path::Path,
    sync::Arc,
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    ids::RddId,
    storage::{InputFile, PartFile, PartFiles, PartId},
};

use crate::shared::Shared;

use self::output::PartError;
pub(crate) use self::{
    blocks::{Ahead, BLOCK_BYTES, BlockReader, Gunzip, read_all, task_error_of},
    output::LocalOutput,
};

/// The files that a path or a glob names, in path order, each once.
pub(crate) fn look_up(shared: &Shared, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    if is_s3(path) { look_up_s3(shared, path) } else { local::look_up(without_scheme(path)) }
}

/// The path of a local URL such as `file:///data/a.txt`, as Spark takes it: nothing is decoded. Other paths stay as they are.
pub(crate) fn without_scheme(path: &Path) -> &Path {
    let rest = path.to_str().and_then(|path| path.strip_prefix("file:"));
    let rest = rest.map(|rest| rest.strip_prefix("//localhost").or_else(|| rest.strip_prefix("//")).unwrap_or(rest));
    rest.filter(|rest| rest.starts_with('/')).map_or(path, Path::new)
}

/// The local path that output at `path` goes to: for URLs of local files, the same as for input.
///
/// # Errors
/// For other URLs; the text says what would be right. Taken as a path, `hdfs://a/b` would be written into a new folder `hdfs:`.
pub(crate) fn local_target(path: &Path) -> Result<&Path, &'static str> {
    let local = without_scheme(path);
    if is_url(local) {
        return Err("a URL of no known kind; give a path, file:///path/to/it or s3://bucket/key");
    }
    Ok(local)
}

/// Returns whether the path begins as a URL does. A single letter is a drive of Windows.
fn is_url(path: &Path) -> bool {
    let scheme = path.to_str().and_then(|path| path.split_once("://")).map_or("", |(scheme, _)| scheme);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    scheme.len() > 1 && scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.chars().all(is_letter)
}

/// Returns whether the path is one of S3, whether or not that can be read.
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

/// The error about a path of S3 in a program that knows none.
#[cfg(not(feature = "s3"))]
pub(crate) fn without_s3(path: &Path) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("{}: this program was built without emberflow's feature `s3`; build it with the feature", .0.display())]
    struct WithoutS3(std::path::PathBuf);

    Error::Storage { source: Arc::new(WithoutS3(path.to_owned())) }
}

/// Returns whether a file is to be decompressed: its name says so.
pub fn is_gzip(file: &dyn InputFile) -> bool {
    file.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// How an output lies at its path.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many files it has.
    pub partitions: usize,
    /// The ending of the names of its files.
    pub ending: &'static str,
    /// Whether its only file lies at the path itself, and not in a directory there.
    pub is_file: bool,
    /// Whether it takes the place of an output that is there.
    pub replaces: bool,
}

impl Shape {
    /// A directory of a file for each of so many partitions, where there is nothing yet.
    pub(crate) fn parts(partitions: usize) -> Self {
        Self { partitions, ending: "", is_file: false, replaces: false }
    }
}

/// Bytes that are written at once.
pub const WRITE_BYTES: usize = 256 << 10;

/// Files of an RDD that become visible together. Removed when it is dropped before it is committed.
pub(crate) enum Output {
    Local(LocalOutput),
    #[cfg(feature = "s3")]
    S3(emberflow_s3::Output),
}

impl Output {
    /// Begins an output at `path`.
    pub(crate) fn begin(shared: &Shared, path: &Path, rdd: RddId, shape: Shape) -> Result<Self> {
        if is_s3(path) {
            begin_s3(shared, path, shape)
        } else {
            let target = local_target(path).map_err(|reason| {
                let source = Arc::new(io::Error::new(io::ErrorKind::InvalidInput, reason));
                Error::File { what: "cannot write", path: path.to_owned(), source }
            })?;
            LocalOutput::begin(target, rdd.get(), shape).map(Self::Local)
        }
    }

    /// The files that tasks write to.
    pub(crate) fn files(&self) -> Arc<dyn PartFiles> {
        match self {
            Self::Local(output) => output.files(),
            #[cfg(feature = "s3")]
            Self::S3(output) => output.files(),
        }
    }

    /// Makes the files of the attempts that won visible.
    pub(crate) async fn commit(self, won: &[PartId]) -> Result<()> {
        match self {
            Self::Local(output) => output.commit(won),
            #[cfg(feature = "s3")]
            Self::S3(output) => output.commit(won).await,
        }
    }
}

#[cfg(feature = "s3")]
fn begin_s3(shared: &Shared, path: &Path, shape: Shape) -> Result<Output> {
    let Shape { partitions, ending, is_file, replaces } = shape;
    let output = match (is_file, replaces) {
        (true, _) => shared.s3.begin_object(path, replaces),
        (false, false) => shared.s3.begin_output(path, partitions, ending),
        (false, true) => {
            let reason = "S3 has no rename, so that several objects cannot be replaced at once; write to another path, \
                          remove what is there first, or write a single file";
            let source = Arc::new(io::Error::new(io::ErrorKind::Unsupported, reason));
            return Err(Error::File { what: "cannot overwrite", path: path.to_owned(), source });
        }
    };
    output.map(Output::S3)
}

#[cfg(not(feature = "s3"))]
fn begin_s3(_: &Shared, path: &Path, _: Shape) -> Result<Output> {
    Err(without_s3(path))
}

/// The task's error if a file could not be written.
pub fn unwritten(path: &Path, error: io::Error) -> TaskError {
    task_error_of(error).unwrap_or_else(|source| TaskError::io(PartError { path: path.to_owned(), source }))
}

/// Writes what is still buffered, and ends the file.
///
/// # Errors
/// If it cannot be written; the error names its path.
pub fn finish(file: BufWriter<Box<dyn PartFile>>) -> Result<(), TaskError> {
    let path = file.get_ref().path().to_owned();
    file.into_inner().map_err(|error| unwritten(&path, error.into_error()))?.finish()
}
