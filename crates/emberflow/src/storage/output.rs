//! Local outputs: a directory that appears when everything in it is written, or not at all.
//!
//! Tasks write into a directory beside the target, each attempt a file of its own. When all have ended, the winners get
//! their final names, and one rename of the directory makes everything visible at once.

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

/// How often the removal of an unfinished directory is begun again because a file was added to it.
const REMOVALS: usize = 1000;

/// A directory under way. Removed when it is dropped before it is committed.
pub(crate) struct LocalOutput {
    target: PathBuf,
    files: Arc<Files>,
    committed: bool,
}

impl LocalOutput {
    /// Begins one of a file for each of so many partitions.
    pub(crate) fn begin(target: &Path, rdd: u64, partitions: usize) -> Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(Error::OutputExists { path: target.to_owned() });
        }
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
                    let files = Arc::new(Files { dir: unfinished, partitions });
                    return Ok(Self { target: target.to_owned(), files, committed: false });
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

    /// Gives the files of the attempts that won their names, and makes the directory visible.
    pub(crate) fn commit(mut self, won: &[PartId]) -> Result<()> {
        let failed = |path: &Path, source| Error::File {
            what: "cannot commit",
            path: path.to_owned(),
            source: Arc::new(source),
        };
        let unfinished = &self.files.dir;
        for part in won {
            let part = self.files.path_of(*part);
            fs::rename(&part, part.with_extension("")).map_err(|source| failed(&part, source))?;
        }
        // What is left are attempts that did not win.
        let entries = fs::read_dir(unfinished).map_err(|source| failed(unfinished, source))?;
        for entry in entries {
            let path = entry.map_err(|source| failed(unfinished, source))?.path();
            if path.extension().is_some() {
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
            }
        }
        let success = unfinished.join("_SUCCESS");
        File::create(&success).map_err(|source| failed(&success, source))?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(Error::OutputExists { path: self.target.clone() });
        }
        // First what is in it, then its name: after a power failure it is all there, or not at all.
        sync_dir(unfinished).map_err(|source| failed(unfinished, source))?;
        fs::rename(unfinished, &self.target).map_err(|source| failed(&self.target, source))?;
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
}

impl Files {
    /// Where the file of an attempt is until the attempt has won.
    fn path_of(&self, PartId { partition, attempt }: PartId) -> PathBuf {
        self.dir.join(format!("{}.attempt-{attempt}", part_name(partition, self.partitions)))
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
        let output = LocalOutput::begin(&target, 0, partitions).unwrap();
        let won = [0, 9, 99_999, 100_000, 999_999, 1_000_000].map(|partition| PartId { partition, attempt: 3 });
        for part in won {
            fs::write(output.files.path_of(part), part.partition.to_string()).unwrap();
        }
        output.commit(&won).unwrap();
        let mut paths: Vec<PathBuf> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let texts: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["", "0", "9", "99999", "100000", "999999", "1000000"]);
        assert!(paths[1].ends_with("part-0000000"), "{}", paths[1].display());
    }
}
