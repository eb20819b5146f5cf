//! Local files: which of them a path names, and their bytes. A file must keep its length and time stamp.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    storage::{Blocks, InputFile},
    task::TaskContext,
};

use super::blocks::BLOCK_BYTES;

/// The files that a path or a glob names, in path order: at least one.
pub(super) fn look_up(path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    let pattern = path.to_string_lossy();
    if path.exists() {
        return find_files(path);
    }
    let mut files = Vec::new();
    if pattern.contains(['*', '?', '[']) {
        let bad =
            |error: glob::PatternError| Error::BadGlob { pattern: pattern.to_string(), reason: error.to_string() };
        for found in glob::glob(&pattern).map_err(bad)? {
            let found = found.map_err(|error| {
                let path = error.path().to_owned();
                file_error("cannot list", &path, error.into())
            })?;
            if found.is_file() {
                files.push(describe(&found)?);
            }
        }
    }
    if files.is_empty() {
        return Err(Error::NoSuchInput { pattern: pattern.into_owned() });
    }
    Ok(files)
}

/// A file, or all the files below a directory, but not those whose names begin with `_` or `.`: they are marks and
/// unfinished output, as in Hadoop and Spark.
fn find_files(path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    if path.is_file() {
        return Ok(vec![describe(path)?]);
    }
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().as_encoded_bytes().first().is_some_and(|first| b"_.".contains(first))
    };
    let mut files = Vec::new();
    let entries = walkdir::WalkDir::new(path).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(path).to_owned();
            file_error("cannot list", &at, error.into())
        })?;
        if entry.file_type().is_file() {
            files.push(describe(entry.path())?);
        }
    }
    Ok(files)
}

fn describe(path: &Path) -> Result<Arc<dyn InputFile>> {
    let metadata = fs::metadata(path).map_err(|error| file_error("cannot read", path, error))?;
    Ok(Arc::new(LocalFile { path: path.into(), bytes: metadata.len(), modified: metadata.modified().ok() }))
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.to_owned(), source: Arc::new(source) }
}

#[derive(Debug)]
struct LocalFile {
    path: Arc<Path>,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl InputFile for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn open(&self, range: Range<u64>, _: &TaskContext) -> Result<Box<dyn Blocks>, TaskError> {
        let read = |source| FileFault::Read { path: self.path.to_path_buf(), source }.into_task_error();
        let mut file = File::open(&self.path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.len() != self.bytes || metadata.modified().ok() != self.modified {
            let path = self.path.to_path_buf();
            return Err(FileFault::Changed { path, was: self.bytes, is: metadata.len() }.into_task_error());
        }
        file.seek(SeekFrom::Start(range.start)).map_err(read)?;
        Ok(Box::new(LocalBlocks { file, path: Arc::clone(&self.path), at: range.start, bytes: self.bytes }))
    }
}

/// Reads a file from some point to its end, when it is asked to.
struct LocalBlocks {
    file: File,
    path: Arc<Path>,
    at: u64,
    bytes: u64,
}

impl Blocks for LocalBlocks {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        let path = || self.path.to_path_buf();
        let wanted = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = Vec::with_capacity(wanted);
        let read = (&mut self.file).take(wanted as u64).read_to_end(&mut block);
        let read = read.map_err(|source| FileFault::Read { path: path(), source }.into_task_error())?;
        if read < wanted {
            let fault = FileFault::Short { path: path(), byte: self.at + read as u64, expected: self.bytes };
            return Err(fault.into_task_error());
        }
        self.at += read as u64;
        Ok((read > 0).then_some(block))
    }

    fn reads_ahead(&self) -> bool {
        false
    }
}

/// A file that cannot be read, or is not the one that was found.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} has changed since the rdd was made: it had {was} bytes and has {is}, or another time stamp; \
         make the rdd again",
        path.display()
    )]
    Changed { path: PathBuf, was: u64, is: u64 },
    #[error("{} ended after {byte} bytes of {expected}; it was cut while it was read", path.display())]
    Short { path: PathBuf, byte: u64, expected: u64 },
}

impl FileFault {
    fn into_task_error(self) -> TaskError {
        match self {
            Self::Read { .. } => TaskError::io(self),
            Self::Changed { .. } | Self::Short { .. } => TaskError::io_permanent(self),
        }
    }
}
