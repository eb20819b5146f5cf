//! Local outputs: a directory that appears when everything in it is written, or not at all.
//!
//! Tasks write into a directory beside the target, each attempt a file of its own. When all have ended, the winners get
//! their final names, and one rename of the directory makes everything visible at once. An output of one file is written the
//! same way; then it is the file that is renamed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    ship::{self, Descriptor, NotShippable, Shipped},
    storage::{PartFile, PartFiles, PartId, part_name},
    task::TaskContext,
};
use serde::{Deserialize, Serialize};

use super::Shape;

/// The file that says that an output is whole.
const SUCCESS: &str = "_SUCCESS";
/// How often the removal of an unfinished directory is begun again because a file was added to it.
const REMOVALS: usize = 1000;

/// A directory under way. Removed when it is dropped before it is committed.
pub(crate) struct LocalOutput {
    target: PathBuf,
    files: Arc<Files>,
    shape: Shape,
    committed: bool,
}

impl LocalOutput {
    /// Begins one of this shape.
    pub(crate) fn begin(target: &Path, rdd: u64, shape: Shape) -> Result<Self> {
        check_target(target, shape)?;
        let Some(name) = target.file_name() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no directory to be made");
            return Err(Error::File { what: "cannot write", path: target.to_owned(), source: Arc::new(source) });
        };
        // Beside the target, so that a rename is enough; hidden, so that nobody reads it.
        if let Some(parent) = target.parent() {
            let failed =
                |source| Error::File { what: "cannot make", path: parent.to_owned(), source: Arc::new(source) };
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // A process of the same number, as the first one of a container, may have died and left its own.
        let mut number = 0_u64;
        loop {
            let end = format!(".{}-{rdd}-{number}.unfinished", std::process::id());
            let unfinished = target.with_file_name(hidden_name(name, &end));
            match fs::create_dir(&unfinished) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(Error::File { what: "cannot make", path: unfinished, source: Arc::new(error) });
                }
                Ok(()) => {
                    let files = Arc::new(Files {
                        dir: unfinished,
                        partitions: shape.partitions,
                        ending: shape.ending.to_owned(),
                    });
                    return Ok(Self { target: target.to_owned(), files, shape, committed: false });
                }
            }
        }
    }

    /// Where its files are until it is committed.
    pub(crate) fn unfinished(&self) -> &Path {
        &self.files.dir
    }

    /// The files that tasks write to.
    pub(crate) fn files(&self) -> Arc<dyn PartFiles> {
        Arc::<Files>::clone(&self.files)
    }

    /// Gives the files of the attempts that won their names, and makes them visible.
    pub(crate) fn commit(mut self, won: &[PartId]) -> Result<()> {
        let failed = |path: &Path, source| Error::File {
            what: "cannot commit",
            path: path.to_owned(),
            source: Arc::new(source),
        };
        let unfinished = &self.files.dir;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if self.shape.is_file {
            // The directory is removed when this is dropped, with all attempts that did not win.
            check_target(&self.target, self.shape)?;
            for part in won {
                let part = self.files.path_of(*part);
                fs::rename(&part, &self.target).map_err(|source| failed(&self.target, source))?;
            }
            return sync_dir(parent).map_err(|source| failed(&self.target, source));
        }
        for part in won {
            let part = self.files.path_of(*part);
            fs::rename(&part, part.with_extension("")).map_err(|source| failed(&part, source))?;
        }
        // What is left are attempts that did not win.
        let entries = fs::read_dir(unfinished).map_err(|source| failed(unfinished, source))?;
        for entry in entries {
            let path = entry.map_err(|source| failed(unfinished, source))?.path();
            if is_attempt(&path) {
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
            }
        }
        let success = unfinished.join(SUCCESS);
        File::create(&success).map_err(|source| failed(&success, source))?;
        check_target(&self.target, self.shape)?;
        // First what is in it, then its name: after a power failure it is all there, or not at all.
        sync_dir(unfinished).map_err(|source| failed(unfinished, source))?;
        // Beside it, under a name that is as much this output's own.
        let old = unfinished.with_extension("replaced");
        let replaces = fs::symlink_metadata(&self.target).is_ok();
        if replaces {
            fs::rename(&self.target, &old).map_err(|source| failed(&self.target, source))?;
        }
        if let Err(source) = fs::rename(unfinished, &self.target) {
            if replaces {
                fs::rename(&old, &self.target).map_err(|source| failed(&old, source))?;
            }
            return Err(failed(&self.target, source));
        }
        self.committed = true;
        sync_dir(parent).map_err(|source| failed(&self.target, source))?;
        if replaces {
            let kept = |source| Error::File { what: "cannot remove", path: old.clone(), source: Arc::new(source) };
            fs::remove_dir_all(&old).map_err(kept)?;
        }
        Ok(())
    }
}

/// Returns whether a file is one that an attempt has written and that has not got its name yet.
fn is_attempt(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with("attempt-"))
}

/// Fails if what is at the target is to stay. A whole output, an empty directory and a file may be replaced by their like,
/// and nothing else: a wrong path must not cost anybody their files.
fn check_target(target: &Path, shape: Shape) -> Result<()> {
    let failed = |source| Error::File { what: "cannot look at", path: target.to_owned(), source: Arc::new(source) };
    let refused = |reason: &str| {
        let source = Arc::new(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        Err(Error::File { what: "cannot overwrite", path: target.to_owned(), source })
    };
    let Ok(there) = fs::symlink_metadata(target) else { return Ok(()) };
    if !shape.replaces {
        return Err(Error::OutputExists { path: target.to_owned() });
    }
    match (shape.is_file, there.is_dir()) {
        (true, false) => Ok(()),
        (true, true) => refused("it is a directory, and a single file is to be written; remove it first"),
        (false, false) => refused("it is a file, and a directory is to be written; remove it first"),
        (false, true) if fs::read_dir(target).map_err(failed)?.next().is_none() => Ok(()),
        (false, true) if target.join(SUCCESS).try_exists().map_err(failed)? => Ok(()),
        (false, true) => refused("it has no file _SUCCESS, as an output would; remove it first, if it may go"),
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
                match fs::remove_dir_all(&self.files.dir) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    _ => break,
                }
            }
        }
    }
}

/// The most bytes that a name may have, nearly everywhere.
const NAME_BYTES: usize = 255;

/// A name for the directory that becomes `name`: hidden, so that nobody reads it, with this `end`, and short enough to be
/// one. The end makes it its own.
fn hidden_name(name: &OsStr, end: &str) -> String {
    let begin = "._";
    let name = name.to_string_lossy();
    let most = name.floor_char_boundary(NAME_BYTES - begin.len() - end.len());
    format!("{begin}{}{end}", &name[..most])
}

/// The directory as tasks see it.
#[derive(Serialize, Deserialize)]
struct Files {
    dir: PathBuf,
    partitions: usize,
    ending: String,
}

impl Files {
    /// Where the file of an attempt is until the attempt has won.
    fn path_of(&self, PartId { partition, attempt }: PartId) -> PathBuf {
        let name = part_name(partition, self.partitions);
        self.dir.join(format!("{name}{}.attempt-{attempt}", self.ending))
    }
}

impl PartFiles for Files {
    fn create(&self, part: PartId, _: &TaskContext) -> Result<Box<dyn PartFile>, TaskError> {
        let path = self.path_of(part);
        let file = File::create(&path).map_err(|source| TaskError::io(PartError { path: path.clone(), source }))?;
        Ok(Box::new(LocalFile { file, path }))
    }

    fn ship(&self) -> Result<Shipped<dyn PartFiles>, NotShippable> {
        const CODE: &Descriptor<dyn PartFiles> = &Descriptor::new::<Files>(|state| Ok(ship::read::<Files>(state)?));
        ship::of(self, CODE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_an_output_of_many_partitions_have_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let partitions = 1_000_001;
        let shape = Shape { ending: ".csv.gz", ..Shape::parts(partitions) };
        let output = LocalOutput::begin(&target, 0, shape).unwrap();
        let won = [0, 9, 99_999, 100_000, 999_999, 1_000_000].map(|partition| PartId { partition, attempt: 3 });
        for part in won {
            fs::write(output.files.path_of(part), part.partition.to_string()).unwrap();
        }
        output.commit(&won).unwrap();
        let mut paths: Vec<PathBuf> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let texts: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["", "0", "9", "99999", "100000", "999999", "1000000"]);
        assert!(paths[1].ends_with("part-0000000.csv.gz"), "{}", paths[1].display());
    }
}
