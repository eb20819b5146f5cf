//! The files that rows are spilled to. Owns them, and the `unsafe` line that looks into
//! their maps.
//!
//! A file has no name: it is made in the spill directory and unlinked before it is returned (on Linux it never has a
//! name at all), with access for its owner only. So nothing is left behind however the process ends, and nobody else
//! can change it. Files are few and large, since open files and maps are limited; each is written behind its end with
//! `pwrite`, read through one map of all of it, and gone when nothing in it is needed any more.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    slice,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use emberflow_core::{
    chaos::{self, Kind, OnPurpose, Point},
    event::Event,
    spill::{SpillSpace, SpilledBytes},
};
use memmap2::{MmapOptions, MmapRaw};

use crate::{bus::Bus, governor::Ledger};

/// A file that has so many bytes is followed by the next one, or before, if the limit is low.
const FILE_BYTES: u64 = 256 << 20;
/// The bytes that are mapped of a file beyond its length at which the next one follows: the last write may go so far.
const MAPPED_BEYOND: u64 = 16 << 20;
/// The unit in which disks give and take room, as a rule.
const PAGE_BYTES: u64 = 4 << 10;
/// Files that a low limit has room for.
const FILES: u64 = 16;

/// Where the spilled rows of one context go: to its directories in turns, and while one of them fails, to the others.
pub(crate) struct SpillFiles {
    dirs: Vec<SpillDir>,
    turn: AtomicUsize,
    ledger: Arc<Ledger>,
    compress: bool,
    bus: Arc<Bus>,
}

impl SpillFiles {
    pub(crate) fn new(dirs: &[PathBuf], ledger: Arc<Ledger>, compress: bool, bus: Arc<Bus>) -> Self {
        let file_bytes = (ledger.spill_limit() / FILES).clamp(1, FILE_BYTES);
        let dir = |path: &PathBuf| SpillDir {
            path: path.clone(),
            file_bytes,
            ledger: Arc::clone(&ledger),
            open: Mutex::new(None),
            files: Mutex::default(),
            has_failed: AtomicBool::new(false),
            is_short: Arc::default(),
        };
        Self { dirs: dirs.iter().map(dir).collect(), turn: AtomicUsize::new(0), ledger, compress, bus }
    }

    /// Writes to the directory whose turn it is; if that fails, to another one, and to those that have failed before
    /// when there is no other.
    fn write_somewhere(&self, bytes: &[u8]) -> io::Result<Extent> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut dirs: Vec<&SpillDir> =
            (0..self.dirs.len()).map(|at| &self.dirs[(first + at) % self.dirs.len()]).collect();
        dirs.sort_by_key(|dir| dir.has_failed.load(Ordering::Relaxed));
        let mut failures: Vec<(&SpillDir, io::Error)> = Vec::new();
        for dir in dirs {
            match dir.write(bytes) {
                Ok(extent) => {
                    dir.has_failed.store(false, Ordering::Relaxed);
                    return Ok(extent);
                }
                // The limit is for all of them together.
                Err(error) if error.kind() == io::ErrorKind::QuotaExceeded && error.raw_os_error().is_none() => {
                    return Err(error);
                }
                Err(error) => {
                    if self.dirs.len() > 1 && !dir.has_failed.swap(true, Ordering::Relaxed) {
                        tracing::warn!(dir = %dir.path.display(), %error, "cannot spill there: going on elsewhere");
                        let (dir, error) = (dir.path.clone(), error.to_string());
                        self.bus.publish(&Event::SpillDirFailed { dir, error });
                    }
                    failures.push((dir, error));
                }
            }
        }
        let kind = failures.first().map_or(io::ErrorKind::NotFound, |(_, error)| error.kind());
        let each = failures.iter().map(|(dir, error)| format!("{}: {error}", dir.path.display()));
        let mut told = each.collect::<Vec<_>>().join("; ");
        if kind == io::ErrorKind::StorageFull {
            told += &format!(
                "; {} bytes are on disk and {} more were to be: make room there, or choose another disk by spill_dir",
                // What was written, and not what files were to grow to.
                self.ledger.read().spilled,
                bytes.len()
            );
        }
        Err(io::Error::new(kind, told))
    }
}

impl SpillSpace for SpillFiles {
    fn write(&self, bytes: &[u8]) -> io::Result<Arc<dyn SpilledBytes>> {
        let began = Instant::now();
        let _span = tracing::debug_span!("spill", bytes = bytes.len()).entered();
        let extent = self.write_somewhere(bytes)?;
        self.ledger.spill(extent.len, began.elapsed());
        Ok(Arc::new(extent))
    }

    fn compresses(&self) -> bool {
        self.compress
    }
}

/// A directory to spill to.
struct SpillDir {
    path: PathBuf,
    file_bytes: u64,
    ledger: Arc<Ledger>,
    /// The file that is being written, and how many of its bytes are taken.
    open: Mutex<Option<(Arc<SpillFile>, u64)>>,
    /// All that are there.
    files: Mutex<Vec<Weak<SpillFile>>>,
    /// When it was tried last.
    has_failed: AtomicBool,
    /// Whether the disk was ever full: from then on, what is not needed is given back at once.
    is_short: Arc<AtomicBool>,
}

impl SpillDir {
    fn write(&self, bytes: &[u8]) -> io::Result<Extent> {
        match self.try_write(bytes) {
            // What nobody needs any more may be room enough.
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.give_back() => self.try_write(bytes),
            written => written,
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<Extent> {
        let len = bytes.len() as u64;
        let (file, at) = self.take(len)?;
        // Should it fail, dropping it gives back what was written of it.
        let mut extent = Extent { file, at, len, counts: false };
        extent.file.write(bytes, at)?;
        extent.counts = true;
        Ok(extent)
    }

    /// Gives back what nobody needs any more, from now on as soon as that is so. Returns whether there was anything.
    fn give_back(&self) -> bool {
        self.is_short.store(true, Ordering::SeqCst);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        let dead = files.iter().filter_map(Weak::upgrade).map(|file| file.give_back_dead()).sum::<u64>();
        dead > 0
    }

    fn new_file(&self) -> io::Result<Arc<SpillFile>> {
        let map_bytes = self.file_bytes + MAPPED_BEYOND;
        let (file, is_short) = (tempfile::tempfile_in(&self.path)?, Arc::clone(&self.is_short));
        let (bytes, map, ledger) = (AtomicU64::new(0), OnceLock::new(), Arc::clone(&self.ledger));
        let file = Arc::new(SpillFile {
            file,
            bytes,
            map,
            map_bytes,
            dead: Mutex::default(),
            shared: Mutex::default(),
            is_short,
            ledger,
        });
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(&file));
        Ok(file)
    }

    /// Takes the next so many bytes of a file.
    fn take(&self, bytes: u64) -> io::Result<(Arc<SpillFile>, u64)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, taken)) = &mut *open
            && Arc::strong_count(file) == 1
        {
            // Nothing in it is needed any more, and nobody can begin to: it is written from its beginning again.
            *taken = 0;
            file.dead.lock().unwrap_or_else(PoisonError::into_inner).clear();
            file.shared.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let mut next = match open.take() {
            Some((file, taken)) if taken < self.file_bytes => (file, taken),
            _ => (self.new_file()?, 0),
        };
        // What takes a page has its pages to itself, so that all of them can be given back.
        let (at, end) = match bytes >= PAGE_BYTES {
            true => {
                let at = next.1.next_multiple_of(PAGE_BYTES);
                (at, (at + bytes).next_multiple_of(PAGE_BYTES))
            }
            false => (next.1, next.1 + bytes),
        };
        let grown = next.0.grow(at + bytes);
        if grown.is_ok() {
            next.1 = end;
            next.0.share(at, bytes);
        }
        let file = Arc::clone(&next.0);
        *open = Some(next);
        grown.map(|()| (file, at))
    }
}

/// An open file, and how long it has been: what it takes on disk.
struct SpillFile {
    file: File,
    bytes: AtomicU64,
    /// All of it and of what is still to be written, mapped when something is read first: to map each part by itself cost
    /// more than to read it. `None` if the system refuses.
    map: OnceLock<Option<MmapRaw>>,
    map_bytes: u64,
    /// Parts that nobody needs any more: where they begin, and how long they are.
    dead: Mutex<Vec<(u64, u64)>>,
    /// The pages in which there are parts of less than a page, and how many of those parts were not given back yet.
    shared: Mutex<HashMap<u64, u32>>,
    is_short: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
}

impl SpillFile {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match chaos::strike(Point::SpillWrite) {
            None => write_all_at(&self.file, bytes, at),
            Some(Kind::Damage) => write_all_at(&self.file, &damaged(bytes), at),
            // A disk that is full takes a part.
            Some(kind) => write_all_at(&self.file, &bytes[..bytes.len() / 2], at)
                .and(Err(io::Error::other(OnPurpose { point: Point::SpillWrite, kind }))),
        }
    }

    /// Shows bytes that were written.
    fn show(&self, at: u64, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let map = || {
            let map = MmapOptions::new().len(usize::try_from(self.map_bytes).ok()?).map_raw_read_only(&self.file).ok();
            map.filter(|_| chaos::strike(Point::SpillMap).is_none())
        };
        let Some(map) = self.map.get_or_init(map).as_ref().filter(|_| at + len as u64 <= self.map_bytes) else {
            let mut bytes = vec![0; len];
            read_exact_at(&self.file, &mut bytes, at)?;
            to(&bytes);
            return Ok(());
        };
        // SAFETY: the part lies within the map. A map is undefined behaviour if its file is changed or cut by anybody
        // while it is looked at. This file has no name and is open nowhere but here; it is never cut; and these bytes
        // were written before there was an extent that could be shown, and are not written again before it has gone.
        // Other parts may be written meanwhile, and no reference to them exists: only this part's bytes are borrowed,
        // and only for this call. A disk that fails under the map raises a signal, which no program can turn into an
        // error.
        #[allow(unsafe_code, reason = "to look at a mapped file is unsafe by nature; see above")]
        let bytes = unsafe { slice::from_raw_parts(map.as_ptr().add(at as usize), len) };
        to(bytes);
        Ok(())
    }

    /// A part is not needed any more.
    fn is_dead(&self, at: u64, len: u64) {
        // Asked for under the lock: when the disk is found to be full, either this part is in the list already, which is
        // taken then, or that is seen here.
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_short.load(Ordering::SeqCst) {
            drop(dead);
            self.give_back(at, len);
        } else {
            dead.push((at, len));
        }
    }

    /// Gives back all that is not needed. Returns how many bytes that were. The caller holds the file, so that nothing
    /// of it is written anew meanwhile.
    fn give_back_dead(&self) -> u64 {
        let dead = std::mem::take(&mut *self.dead.lock().unwrap_or_else(PoisonError::into_inner));
        dead.iter().for_each(|(at, len)| self.give_back(*at, *len));
        dead.iter().map(|(_, len)| len).sum()
    }

    /// Remembers in which pages a part is that has taken no pages of its own.
    fn share(&self, at: u64, len: u64) {
        if len < PAGE_BYTES {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            pages(at, len).for_each(|page| *shared.entry(page).or_default() += 1);
        }
    }

    /// Gives the room of a part that nobody needs back to the disk, while the rest of the file stays. Pages that several
    /// parts share go with the last one of them.
    fn give_back(&self, at: u64, len: u64) {
        if len >= PAGE_BYTES {
            return self.punch(at, len.next_multiple_of(PAGE_BYTES));
        }
        // The lock is held while a page goes: a part that takes what is left of the page is written after that.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for page in pages(at, len) {
            if let Some(parts) = shared.get_mut(&page) {
                *parts -= 1;
                if *parts == 0 {
                    shared.remove(&page);
                    self.punch(page * PAGE_BYTES, PAGE_BYTES);
                }
            }
        }
    }

    /// Makes a hole of whole pages. Where the system cannot do that, the room comes back with the file.
    fn punch(&self, at: u64, len: u64) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = rustix::fs::fallocate(&self.file, punch, at, len) {
                tracing::debug!(%error, "the disk does not take back a part of a file");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (at, len);
    }

    /// Has the account know that the file is about to end at `to`. Called under a lock.
    fn grow(&self, to: u64) -> io::Result<()> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if to > bytes {
            self.ledger.take_disk(to - bytes)?;
            self.bytes.store(to, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The numbers of the pages in which a part is.
fn pages(at: u64, len: u64) -> Range<u64> {
    at / PAGE_BYTES..(at + len).div_ceil(PAGE_BYTES)
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.ledger.give_disk(*self.bytes.get_mut());
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                at += written as u64;
            }
        }
    }
    Ok(())
}

/// The same bytes, but for a bit.
fn damaged(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

/// Bytes of a file. When the last ones go, and the next file is being written, so does the file.
struct Extent {
    file: Arc<SpillFile>,
    at: u64,
    len: u64,
    /// Whether the account knows of it.
    counts: bool,
}

impl SpilledBytes for Extent {
    fn show(&self, part: Range<usize>, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if part.is_empty() {
            to(&[]);
            return Ok(());
        }
        if part.end as u64 > self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let began = Instant::now();
        let _span = tracing::debug_span!("read_back", bytes = part.len()).entered();
        let at = self.at + part.start as u64;
        match chaos::strike(Point::SpillRead) {
            None => self.file.show(at, part.len(), to)?,
            Some(Kind::Damage) => self.file.show(at, part.len(), &mut |bytes| to(&damaged(bytes)))?,
            Some(kind) => return Err(io::Error::other(OnPurpose { point: Point::SpillRead, kind })),
        }
        self.file.ledger.read_back(part.len() as u64, began.elapsed());
        Ok(())
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if self.counts {
            self.file.ledger.unspill(self.len);
        }
        self.file.is_dead(self.at, self.len);
    }
}

#[cfg(test)]
mod tests {
    use emberflow_core::spill::FrameWriter;

    use super::*;

    fn files(limit: Option<u64>) -> (tempfile::TempDir, SpillFiles, Arc<Ledger>) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::new(1 << 20, 1, limit, false));
        let files = SpillFiles::new(&[dir.path().to_owned()], Arc::clone(&ledger), false, Arc::new(Bus::new()));
        (dir, files, ledger)
    }

    #[test]
    fn rows_come_back_from_many_frames_and_lists_and_take_no_room_afterwards() {
        let (_dir, files, ledger) = files(None);
        let lists: Vec<Vec<String>> =
            (0..5).map(|list| (0..list * 9_000).map(|n| format!("row {n}")).collect()).collect();
        let mut writer = FrameWriter::new(&files);
        for list in &lists {
            writer.add(list).unwrap();
        }
        let frames = writer.finish().unwrap();
        let bytes: u64 = lists.iter().flatten().map(|row| row.len() as u64 + 8).sum();
        assert_eq!(ledger.read().spilled, bytes);
        assert_eq!(frames.iter().flatten().map(emberflow_core::spill::Frame::packed_bytes).sum::<u64>(), bytes);
        let read = |frames: &[emberflow_core::spill::Frame<String>]| {
            frames.iter().flat_map(|frame| frame.read().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(frames.iter().map(|frames| read(frames)).collect::<Vec<_>>(), lists);
        assert!(frames.iter().any(|frames| frames.len() > 1));
        drop(frames);
        assert_eq!(ledger.read().spilled, 0);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_row() {
        let (_dir, files, _) = files(None);
        let mut writer = FrameWriter::new(&files);
        writer.add(&vec!["ember".to_owned(); 100]).unwrap();
        let frames = writer.finish().unwrap();
        let file = Arc::clone(&files.dirs[0].open.lock().unwrap().as_ref().unwrap().0);
        write_all_at(&file.file, b"X", 50).unwrap();
        let error = frames[0][0].read().unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn what_would_go_beyond_the_limit_is_refused_with_its_name() {
        let (_dir, files, ledger) = files(Some(100));
        assert!(files.write(&[0; 101]).err().unwrap().to_string().contains("spill_limit"));
        let held = files.write(&[0; 60]).unwrap();
        assert!(files.write(&[0; 60]).is_err());
        drop(held);
        assert_eq!(ledger.read().spilled, 0);
        assert!(files.write(&[0; 60]).is_ok());
    }

    #[test]
    fn a_page_that_parts_share_goes_with_the_last_of_them() {
        const LEN: usize = 1000;
        let (_dir, files, _) = files(None);
        let dir = &files.dirs[0];
        // Nine of them lie in three pages; two cross from one page to the next.
        let mut parts: Vec<_> = (0..9).map(|_| Some(files.write(&[1; LEN]).unwrap())).collect();
        let file = Arc::clone(&dir.open.lock().unwrap().as_ref().unwrap().0);
        let shared = || {
            let mut pages: Vec<_> = file.shared.lock().unwrap().iter().map(|(page, parts)| (*page, *parts)).collect();
            pages.sort_unstable();
            pages
        };
        assert_eq!(shared(), [(0, 5), (1, 5), (2, 1)]);
        parts[0] = None;
        assert_eq!(shared(), [(0, 5), (1, 5), (2, 1)], "as long as there is room, nothing is given back");
        assert!(dir.give_back());
        parts[1] = None;
        assert_eq!(shared(), [(0, 3), (1, 5), (2, 1)]);
        parts[2..8].fill_with(|| None);
        assert_eq!(shared(), [(1, 1), (2, 1)]);
        // The rest of the last page is taken, and stays what it is when the others go.
        let next = files.write(&[2; LEN]).unwrap();
        parts[8] = None;
        assert_eq!(shared(), [(2, 1)]);
        next.show(0..LEN, &mut |bytes| assert_eq!(bytes, [2; LEN])).unwrap();
        drop(next);
        assert_eq!(shared(), []);
    }

    #[test]
    fn files_do_not_grow_for_ever_while_little_of_them_is_needed() {
        const LIMIT: u64 = 64 << 10;
        let (_dir, files, ledger) = files(Some(LIMIT));
        // Each file keeps a little, and there is room for sixteen of them.
        let mut kept = Vec::new();
        for round in 0..1_000 {
            drop(files.write(&[0; 1 << 10]).unwrap());
            if round % 100 == 0 {
                kept.push(files.write(&[0; 10]).unwrap());
            }
        }
        assert_eq!(ledger.read().spilled, 100);
        assert!(ledger.on_disk() <= LIMIT);
        drop(kept);
        drop(files);
        assert_eq!((ledger.read().spilled, ledger.on_disk()), (0, 0));
    }
}
