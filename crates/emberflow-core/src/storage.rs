//! Files as readers and writers see them, wherever they lie: a file is found once and opened as often as its rows are
//! needed; it is written by one attempt at a task, and visible with all others of its output.
//!
//! Owns the traits, and the names of an output's files. Where files lie, and how their bytes come and go, is the
//! business of their implementations; what the bytes mean is the business of their callers.

use std::{fmt, io, ops::Range, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::TaskError,
    ids::PartitionIndex,
    ship::{NotShippable, Ship, Shipped},
    task::TaskContext,
};

/// A file as it was when it was found.
pub trait InputFile: fmt::Debug + Send + Sync {
    /// Where it lies, as it is shown to users.
    fn path(&self) -> &Path;

    /// The length of the file; zero if that is not known.
    fn bytes(&self) -> u64;

    /// Returns whether only its end tells how long it is: a pipe, or a file of the system's that has no length.
    fn is_open_ended(&self) -> bool {
        false
    }

    /// Returns whether its bytes are gone when they were read, as those of a pipe are.
    fn is_read_once(&self) -> bool {
        false
    }

    /// Opens it at the beginning of `range`, to be read as far as the reader likes. Bytes behind the range are rarely
    /// wanted, and not read before they are.
    ///
    /// # Errors
    /// If it cannot be read. A file that is not what it was when it was found is an error that is not tried again, here
    /// or when the difference shows.
    fn open(&self, range: Range<u64>, task: &TaskContext) -> Result<Box<dyn Blocks>, TaskError>;

    /// The file as another process of the same program can open it.
    ///
    /// # Errors
    /// If only this process can.
    fn ship(&self) -> Result<Shipped<dyn InputFile>, NotShippable> {
        Err(NotShippable(format!("{} can be read by this process only", self.path().display())))
    }
}

impl Ship for dyn InputFile {
    fn ship(&self) -> Result<Shipped<Self>, NotShippable> {
        InputFile::ship(self)
    }
}

/// The bytes of an open file, block by block.
pub trait Blocks: Send {
    /// The next block, which is not empty; `None` at the end of the file.
    ///
    /// # Errors
    /// If it cannot be read, or the file has ended before its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError>;

    /// Returns whether the next block is on its way while the last one is looked at.
    fn reads_ahead(&self) -> bool;
}

/// The name of a file of an output: that of a partition, by one attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartId {
    /// The partition.
    pub partition: PartitionIndex,
    /// The attempt that writes it.
    pub attempt: u32,
}

/// The name of a partition's file in an output of so many: with as many digits as the last one needs, and five at least,
/// so that the names have the order of the partitions.
///
/// ```
/// # use emberflow_core::storage::part_name;
/// assert_eq!((part_name(7, 100_000), part_name(7, 100_001)), ("part-00007".to_owned(), "part-000007".to_owned()));
/// ```
pub fn part_name(partition: PartitionIndex, partitions: usize) -> String {
    let digits = partitions.saturating_sub(1).to_string().len().max(5);
    format!("part-{partition:0digits$}")
}

/// An output under way: files that tasks write, and that become visible together, or never.
pub trait PartFiles: Send + Sync + 'static {
    /// Begins a file. A file that the same attempt has begun before is forgotten.
    ///
    /// # Errors
    /// If it cannot be written, or the output was given up.
    fn create(&self, part: PartId, task: &TaskContext) -> Result<Box<dyn PartFile>, TaskError>;

    /// The files as another process of the same program can write them.
    ///
    /// # Errors
    /// If only this process can.
    fn ship(&self) -> Result<Shipped<dyn PartFiles>, NotShippable> {
        Err(NotShippable("its files can be written by this process only".to_owned()))
    }
}

impl Ship for dyn PartFiles {
    fn ship(&self) -> Result<Shipped<Self>, NotShippable> {
        PartFiles::ship(self)
    }
}

/// A file that a task writes. If it is dropped before its end, it does not become visible.
pub trait PartFile: io::Write {
    /// Where it will be, or is now, as it is shown to users.
    fn path(&self) -> &Path;

    /// All is written, and will be there after the process has died, should it become visible.
    ///
    /// # Errors
    /// If the last of it cannot be written.
    fn finish(self: Box<Self>) -> Result<(), TaskError>;
}
