//! What a file is to those who read it, wherever it lies: found once, opened as often as its rows are needed.
//!
//! Owns the two traits and nothing else. Where files lie, and how their bytes come, is the business of who implements
//! them; what the bytes mean is the business of who calls them.

use std::{fmt, ops::Range, path::Path};

use crate::{error::TaskError, task::TaskContext};

/// A file as it was when it was found.
pub trait InputFile: fmt::Debug + Send + Sync {
    /// Where it lies, as it is shown to users.
    fn path(&self) -> &Path;

    /// Its length.
    fn bytes(&self) -> u64;

    /// Opens it at the beginning of `range`, to be read as far as the reader likes. What lies behind the range is rarely
    /// wanted, and not read before it is.
    ///
    /// # Errors
    /// If it cannot be read. A file that is not what it was when it was found is an error that is not tried again, here
    /// or when the difference shows.
    fn open(&self, range: Range<u64>, task: &TaskContext) -> Result<Box<dyn Blocks>, TaskError>;
}

/// The bytes of an open file, block by block.
pub trait Blocks: Send {
    /// The next block, which is not empty; `None` at the end of the file.
    ///
    /// # Errors
    /// If it cannot be read, or the file has ended before its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError>;

    /// Whether the next block is on its way while the last one is looked at.
    fn reads_ahead(&self) -> bool;
}
