//! Local files: which of them a path names, and their bytes. A file must stay the one that was found: on the machine where
//! that was, as far as its system tells; on others, by its length and time stamp.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    mem,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use emberflow_core::{
    error::{Error, Result, TaskError},
    pattern::{Glob, first_wildcard, is_hidden},
    ship::{self, Descriptor, Held, NotShippable, Shipped},
    storage::{Blocks, InputFile},
    task::TaskContext,
};
use serde::{Deserialize, Serialize};

use super::{blocks::BLOCK_BYTES, fault::FileFault, pipe::Pipe};

/// The files that a path or a glob names, in path order, each once.
pub(super) fn look_up(path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    let mut found = Listing::default();
    if path.exists() {
        found.add(path, &|_| false)?;
    } else {
        let bad = |reason| Error::BadGlob { pattern: path.to_string_lossy().into_owned(), reason };
        let (base, rest) = split(path);
        for glob in Glob::all(&rest).map_err(bad)? {
            found.add_matches(&base, &glob)?;
        }
    }
    if !found.any {
        return Err(Error::NoSuchInput { pattern: path.to_string_lossy().into_owned() });
    }
    found.finish()
}

/// Cuts a path behind the folders that are there as it names them, whatever characters are in their names.
fn split(path: &Path) -> (PathBuf, String) {
    let mut base = PathBuf::new();
    let mut rest = path.components();
    loop {
        let here = rest.clone();
        let Some(component) = rest.next() else { return (base, String::new()) };
        let next = base.join(component);
        if !next.exists() {
            return (base, here.as_path().to_string_lossy().into_owned());
        }
        base = next;
    }
}

/// Files that are found below folders and by globs. Each folder is listed once, by its real path, and each file is found
/// once; so links that lead to the same place, or back to where they are, change nothing.
#[derive(Default)]
struct Listing {
    /// Whether anything was named, even if it is a folder without files.
    any: bool,
    /// Folders that were listed and files that were found: their real paths.
    seen: HashSet<PathBuf>,
    /// The files, as they were reached.
    files: Vec<PathBuf>,
    /// Links, and what was reached through some. They come last: where a link stands beside its target, the target's own
    /// path is the one that counts.
    links: Vec<PathBuf>,
}

impl Listing {
    /// Adds what a path names: a file, or all the files below a folder, but not those whose names begin with `_` or `.`,
    /// unless they are asked for: they are marks and unfinished output, as in Hadoop and Spark.
    fn add(&mut self, path: &Path, asks_for: &dyn Fn(&OsStr) -> bool) -> Result<()> {
        self.any = true;
        match real_path(path)? {
            Some(real) => self.add_real(path, &real, asks_for),
            None => Ok(()),
        }
    }

    /// Adds what a path names that was found below `base`: later, if there is a link between them.
    fn add_match(&mut self, path: PathBuf, base: &Path, real_base: &Path) -> Result<()> {
        self.any = true;
        match real_path(&path)? {
            Some(real) if path.strip_prefix(base).is_ok_and(|below| real_base.join(below) == real) => {
                self.add_real(&path, &real, &|_| false)
            }
            Some(_) => {
                self.links.push(path);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn add_real(&mut self, path: &Path, real: &Path, asks_for: &dyn Fn(&OsStr) -> bool) -> Result<()> {
        if !real.is_dir() {
            if self.seen.insert(real.to_owned()) {
                self.files.push(path.to_owned());
            }
            return Ok(());
        }
        let is_hidden = |name: &OsStr| is_hidden(&name.to_string_lossy()) && !asks_for(name);
        let mut entries = walkdir::WalkDir::new(path).into_iter();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| {
                let at = error.path().unwrap_or(path).to_owned();
                file_error("cannot list", &at, error.into())
            })?;
            let below = entry.path().strip_prefix(path).unwrap_or(Path::new(""));
            let root = entry.depth() == 0;
            let is_dir = root || entry.file_type().is_dir();
            if !root && is_hidden(entry.file_name()) {
                if is_dir {
                    entries.skip_current_dir();
                }
            } else if !root && entry.path_is_symlink() {
                self.links.push(entry.into_path());
            } else {
                let is_new = self.seen.insert(if root { real.to_owned() } else { real.join(below) });
                match (is_dir, is_new) {
                    (true, false) => entries.skip_current_dir(),
                    (false, true) => self.files.push(entry.into_path()),
                    (true, true) | (false, false) => {}
                }
            }
        }
        Ok(())
    }

    /// Adds what a glob matches below `base`.
    fn add_matches(&mut self, base: &Path, glob: &Glob) -> Result<()> {
        if glob.is_recursive() {
            return self.add_matches_at_any_depth(base, glob);
        }
        let (base, rest) = match split(&base.join(glob.text())) {
            // An alternative in braces may be there as it stands.
            (found, rest) if rest.is_empty() => return self.add(&found, &|_| false),
            split => split,
        };
        if first_wildcard(&rest).is_none() {
            return Ok(());
        }
        let Some(real_base) = real_path(&base)? else { return Ok(()) };
        let pattern = Path::new(&glob::Pattern::escape(&base.to_string_lossy())).join(&rest);
        let bad = |error: glob::PatternError| Error::BadGlob {
            pattern: pattern.to_string_lossy().into_owned(),
            reason: error.to_string(),
        };
        let names = Glob::all(&rest).unwrap_or_default();
        for found in glob::glob(&pattern.to_string_lossy()).map_err(bad)? {
            let found = found.map_err(|error| {
                let path = error.path().to_owned();
                file_error("cannot list", &path, error.into())
            })?;
            let below = found.strip_prefix(&base).unwrap_or(&found).to_string_lossy();
            if names.iter().any(|names| names.shows(&below)) {
                self.add_match(found, &base, &real_base)?;
            }
        }
        Ok(())
    }

    /// As [`add_matches`](Self::add_matches), for `**`: all that is below is listed, and each folder once, so that a link
    /// that leads back ends.
    fn add_matches_at_any_depth(&mut self, base: &Path, glob: &Glob) -> Result<()> {
        let here = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        let Some(real_base) = real_path(base)? else { return Ok(()) };
        let asks_for = |name: &OsStr| glob.shows_somewhere(&name.to_string_lossy());
        let mut all = Self::default();
        all.add(here, &asks_for)?;
        all.follow_links(&asks_for)?;
        for file in all.files {
            let Ok(below) = file.strip_prefix(here) else { continue };
            if !below.as_os_str().is_empty() && glob.matches(&below.to_string_lossy()) {
                self.add_match(base.join(below), base, &real_base)?;
            }
        }
        Ok(())
    }

    fn follow_links(&mut self, asks_for: &dyn Fn(&OsStr) -> bool) -> Result<()> {
        while !self.links.is_empty() {
            let mut links = mem::take(&mut self.links);
            links.sort();
            for link in links {
                if let Some(real) = real_path(&link)?
                    && !self.seen.contains(&real)
                {
                    self.add_real(&link, &real, asks_for)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Arc<dyn InputFile>>> {
        self.follow_links(&|_| false)?;
        // Names in a folder stand together, and in their order.
        self.files.sort();
        self.files.iter().map(|file| describe(file)).collect()
    }
}

/// The path without links; `None` for a link that leads to itself.
fn real_path(path: &Path) -> Result<Option<PathBuf>> {
    match fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path }) {
        Ok(real) => Ok(Some(real)),
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(None),
        Err(error) => Err(file_error("cannot read", path, error)),
    }
}

fn describe(path: &Path) -> Result<Arc<dyn InputFile>> {
    let metadata = fs::metadata(path).map_err(|error| file_error("cannot read", path, error))?;
    if metadata.is_file() {
        Ok(Arc::new(LocalFile {
            path: Held::new(path.to_owned()),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            here: Here::of(&metadata),
        }))
    } else {
        Ok(Arc::new(Pipe::new(path)))
    }
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.to_owned(), source: Arc::new(source) }
}

#[derive(Debug, Serialize, Deserialize)]
struct LocalFile {
    path: Held<PathBuf>,
    bytes: u64,
    modified: Option<SystemTime>,
    /// The marks of the file that count on this machine only.
    #[serde(skip)]
    here: Option<Here>,
}

/// The marks that tell a file from another one, and from its own former contents, though its length and its time stamp be
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    /// When the file, its name or its permissions were last changed, in seconds and nanoseconds. Programs cannot set it,
    /// as they can the time stamp.
    changed: (i64, i64),
    /// The device and the number of the inode, where a file keeps its number: on a disk. On what a program or another
    /// machine serves, it may get another one whenever it is looked up.
    inode: Option<(u64, u64)>,
}

impl Here {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        // File systems without a disk share the major number zero.
        let on_disk = rustix::fs::major(metadata.dev()) != 0;
        Some(Self {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: on_disk.then(|| (metadata.dev(), metadata.ino())),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Self> {
        None
    }
}

impl LocalFile {
    /// Returns whether the metadata are still those of the file that was found, but for its length.
    fn is_still(&self, metadata: &Metadata) -> bool {
        metadata.modified().ok() == self.modified && self.here.is_none_or(|here| Here::of(metadata) == Some(here))
    }
}

impl InputFile for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_open_ended(&self) -> bool {
        // Files by which the system shows its state say so, whatever there is to read.
        self.bytes == 0
    }

    fn open(&self, range: Range<u64>, _: &TaskContext) -> Result<Box<dyn Blocks>, TaskError> {
        let read = |source| FileFault::Read { path: self.path.to_path_buf(), source }.into_task_error();
        let mut file = File::open(&*self.path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        // The time stamp of a file that the system makes when it is looked at says nothing.
        let changed = !self.is_still(&metadata) && !self.is_open_ended();
        if metadata.len() != self.bytes || changed {
            let path = self.path.to_path_buf();
            return Err(FileFault::Changed { path, was: self.bytes, is: metadata.len() }.into_task_error());
        }
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).map_err(read)?;
        }
        let bytes = (!self.is_open_ended()).then_some(self.bytes);
        Ok(Box::new(LocalBlocks { file, path: Arc::clone(&self.path.0), at: range.start, bytes }))
    }

    fn ship(&self) -> Result<Shipped<dyn InputFile>, NotShippable> {
        const CODE: &Descriptor<dyn InputFile> =
            &Descriptor::new::<LocalFile>(|state| Ok(ship::read::<LocalFile>(state)?));
        ship::of(self, CODE)
    }
}

/// Reads a file from some point to its end, when it is asked to.
struct LocalBlocks {
    file: File,
    path: Arc<PathBuf>,
    at: u64,
    /// Where its end is to be, if that is known.
    bytes: Option<u64>,
}

impl Blocks for LocalBlocks {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        let path = || self.path.to_path_buf();
        let left = self.bytes.map_or(u64::MAX, |bytes| bytes - self.at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = Vec::with_capacity(wanted);
        let read = (&mut self.file).take(wanted as u64).read_to_end(&mut block);
        let read = read.map_err(|source| FileFault::Read { path: path(), source }.into_task_error())?;
        if let Some(expected) = self.bytes
            && read < wanted
        {
            let fault = FileFault::Short { path: path(), byte: self.at + read as u64, expected };
            return Err(fault.into_task_error());
        }
        self.at += read as u64;
        Ok((read > 0).then_some(block))
    }

    fn reads_ahead(&self) -> bool {
        false
    }
}
