//! `save_as_text_file`: a line a row, a file a partition, the whole or nothing.
//!
//! Tasks write into a directory beside the target, each attempt a file of its own. When all have ended, the winners get
//! their final names, and one rename of the directory makes everything visible at once.

use std::{
    ffi::OsString,
    fmt::Display,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    chaos::{self, Point},
    data::Data,
    error::{Error, Result, TaskError},
    place::{OpInfo, Place},
};

use crate::{action::Action, rdd::Rdd};

/// How often the removal of an unfinished directory is begun again because a file was added to it.
const REMOVALS: usize = 1000;

impl<T: Data + Display> Rdd<T> {
    /// Writes the rows as text: a directory at `path`, with one file `part-00000`, … a partition, a line a row, and an
    /// empty file `_SUCCESS`.
    ///
    /// Action. The directory appears when everything is written, or not at all; nothing is overwritten.
    ///
    /// # Errors
    /// [`Error::OutputExists`] if there is something at `path`; [`Error::File`] if the directory cannot be made; those
    /// of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("numbers");
    /// ctx.range_into(0..4_u64, 2).save_as_text_file(&path)?;
    /// assert_eq!(std::fs::read_to_string(path.join("part-00001")).unwrap(), "2\n3\n");
    /// assert_eq!(ctx.text_file(&path)?.collect()?, ["0", "1", "2", "3"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save_as_text_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_text(OpInfo::new("save_as_text_file", Place::caller()), path.as_ref()).wait()
    }

    /// As [`save_as_text_file`](Self::save_as_text_file), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.range(0..4_u64).save_as_text_file_async(dir.path().join("numbers")).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save_as_text_file_async(&self, path: impl AsRef<Path>) -> Action<()> {
        self.save_text(OpInfo::new("save_as_text_file", Place::caller()), path.as_ref())
    }

    fn save_text(&self, info: OpInfo, path: &Path) -> Action<()> {
        let (rdd, path) = (self.clone(), path.to_owned());
        Action::start(&self.shared().engine, |driver| async move {
            let output = Output::begin(&path, rdd.id().get())?;
            let dir = Arc::clone(&output.unfinished);
            let parts = driver.run(&rdd, info, rdd.all_partitions(), move |partition, mut rows, cx| {
                let file = dir.join(format!("part-{partition:05}.attempt-{}", cx.attempt()));
                let failed = |source| TaskError::io(PartError { path: file.clone(), source });
                let mut writer = BufWriter::with_capacity(256 << 10, File::create(&file).map_err(failed)?);
                let mut count = 0;
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    chaos::pass(Point::Sink)?;
                    for row in batch.as_slice() {
                        writeln!(writer, "{row}").map_err(failed)?;
                    }
                    count += batch.len() as u64;
                }
                writer.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
                Ok((file.clone(), count))
            });
            output.commit(&parts.await?)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub(super) struct PartError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// A directory under way. Removed when it is dropped before it is committed.
pub(super) struct Output {
    target: PathBuf,
    pub(super) unfinished: Arc<PathBuf>,
    committed: bool,
}

impl Output {
    pub(super) fn begin(target: &Path, rdd: u64) -> Result<Self> {
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

    /// Gives the files of the attempts that won their names, and makes the directory visible.
    pub(super) fn commit(mut self, parts: &[PathBuf]) -> Result<()> {
        let failed = |path: &Path, source| Error::File {
            what: "cannot commit",
            path: path.to_owned(),
            source: Arc::new(source),
        };
        for part in parts {
            fs::rename(part, part.with_extension("")).map_err(|source| failed(part, source))?;
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

impl Drop for Output {
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
