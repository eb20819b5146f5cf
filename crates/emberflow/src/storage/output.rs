//! Local outputs: a directory that appears when everything in it is written, or not at all.
//!
//! Tasks write into a directory beside the target, each attempt a file of its own. When all have ended, the winners get
//! their final names, and one rename of the directory makes everything visible at once.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    storage::{PartFile, PartFiles, PartId},
    task::TaskContext,
};

/// How often the removal of an unfinished directory is begun again because a file was added to it.
const REMOVALS: usize = 1000;

/// A directory under way. Removed when it is dropped before it is committed.
pub(crate) struct LocalOutput {
    target: PathBuf,
    unfinished: Arc<PathBuf>,
    committed: bool,
}

impl LocalOutput {
    pub(crate) fn begin(target: &Path, rdd: u64) -> Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(Error::OutputExists { path: target.to_owned() });
        }
        let Some(name) = target.file_name() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no directory to be made");
            return Err(Error::File { what: "cannot write", path: target.to_owned(), source: Arc::new(source) });
        };
        // Beside the target, so that a rename is enough; hidden, so that nobody reads it.
        let mut hidden = OsString::from("._");
        hidden.push(name);
        hidden.push(format!(".{}-{rdd}", std::process::id()));
        if let Some(parent) = target.parent() {
            let failed =
                |source| Error::File { what: "cannot make", path: parent.to_owned(), source: Arc::new(source) };
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // A process of the same number, as the first one of a container, may have died and left its own.
        let mut number = 0_u64;
        loop {
            let mut hidden = hidden.clone();
            hidden.push(format!("-{number}.unfinished"));
            let unfinished = target.with_file_name(hidden);
            match fs::create_dir(&unfinished) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(Error::File { what: "cannot make", path: unfinished, source: Arc::new(error) });
                }
                Ok(()) => {
                    return Ok(Self { target: target.to_owned(), unfinished: Arc::new(unfinished), committed: false });
                }
            }
        }
    }

    /// Where its files are until it is committed.
    pub(crate) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// What tasks write to.
    pub(crate) fn files(&self) -> Arc<dyn PartFiles> {
        Arc::new(Files(Arc::clone(&self.unfinished)))
    }

    /// Gives the files of the attempts that won their names, and makes the directory visible.
    pub(crate) fn commit(mut self, won: &[PartId]) -> Result<()> {
        let failed = |path: &Path, source| Error::File {
            what: "cannot commit",
            path: path.to_owned(),
            source: Arc::new(source),
        };
        for part in won {
            let part = self.unfinished.join(name_of(*part));
            fs::rename(&part, part.with_extension("")).map_err(|source| failed(&part, source))?;
        }
        // What is left are attempts that did not win.
        let entries = fs::read_dir(&*self.unfinished).map_err(|source| failed(&self.unfinished, source))?;
        for entry in entries {
            let path = entry.map_err(|source| failed(&self.unfinished, source))?.path();
            if path.extension().is_some() {
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
            }
        }
        let success = self.unfinished.join("_SUCCESS");
        File::create(&success).map_err(|source| failed(&success, source))?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(Error::OutputExists { path: self.target.clone() });
        }
        // First what is in it, then its name: after a power failure it is all there, or not at all.
        sync_dir(&self.unfinished).map_err(|source| failed(&self.unfinished, source))?;
        fs::rename(&*self.unfinished, &self.target).map_err(|source| failed(&self.target, source))?;
        self.committed = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new("."))).map_err(|source| failed(&self.target, source))
    }
}

/// Writes down which files a directory has.
fn sync_dir(dir: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened, and its system has other ways.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

impl Drop for LocalOutput {
    fn drop(&mut self) {
        if !self.committed {
            // A task that has not heard of the end yet may make its file meanwhile: each can do so once, and none when
            // the directory is gone. Nothing can be done about one that cannot be removed; its name says what it is.
            for _ in 0..REMOVALS {
                match fs::remove_dir_all(&*self.unfinished) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    _ => break,
                }
            }
        }
    }
}

/// What the file of an attempt is called until the attempt has won.
fn name_of(PartId { partition, attempt }: PartId) -> String {
    format!("part-{partition:05}.attempt-{attempt}")
}

/// The directory as tasks see it.
struct Files(Arc<PathBuf>);

impl PartFiles for Files {
    fn create(&self, part: PartId, _: &TaskContext) -> Result<Box<dyn PartFile>, TaskError> {
        let path = self.0.join(name_of(part));
        let file = File::create(&path).map_err(|source| TaskError::io(PartError { path: path.clone(), source }))?;
        Ok(Box::new(LocalFile { file, path }))
    }
}

struct LocalFile {
    file: File,
    path: PathBuf,
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl PartFile for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn finish(self: Box<Self>) -> Result<(), TaskError> {
        let Self { file, path } = *self;
        file.sync_all().map_err(|source| TaskError::io(PartError { path, source }))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub(crate) struct PartError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}
