//! Where checkpoints go, and how they are read again.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use emberflow_core::{
    data::ExchangeData,
    error::Result,
    place::{OpInfo, Place},
};

use super::{Context, settings::check_checkpoint_dir};
use crate::{rdd::Rdd, source, storage};

impl Context {
    /// Chooses the directory for [checkpoints](Rdd::checkpoint) that are written from now on: a local one, by its path or
    /// as `file:///a/b`. It is made when the first one is. Each context writes into a directory of its own below it, and
    /// removes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) if there is something else than a directory, or if it is
    /// one of S3 or of another URL.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.set_checkpoint_dir(dir.path())?;
    /// assert_eq!(ctx.checkpoint_dir().as_deref(), Some(dir.path()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_checkpoint_dir(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = check_checkpoint_dir(dir.as_ref())?;
        let mut current = self.shared().checkpoint_dir.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(dir);
        Ok(())
    }

    /// The directory for checkpoints, if one was chosen.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let ctx = Context::builder().checkpoint_dir(dir.path()).build()?;
    /// assert_eq!(ctx.checkpoint_dir().as_deref(), Some(dir.path()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn checkpoint_dir(&self) -> Option<PathBuf> {
        self.shared().checkpoint_dir.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rows of a checkpoint, as [`Rdd::checkpoint`] wrote them: in this process or another one.
    ///
    /// It has as many partitions as the RDD had. The checkpoint is checked now as far as its manifest tells; each file
    /// is read, and its checksums checked, when its rows are needed.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if there is no checkpoint, or one of other rows: the type must have the name
    /// that it was written under, whatever its module. A damaged file fails the job that reads it, naming the file and
    /// the byte, and is not tried again.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # ctx.set_checkpoint_dir(dir.path())?;
    /// let squares = ctx.range_into(0..4_u64, 2).map(|n| n * n).checkpoint()?;
    /// let path = squares.checkpoint_file().unwrap();
    /// let other = Context::local(1)?;
    /// let read = other.checkpoint_file::<u64>(path)?;
    /// assert_eq!((read.partitions(), read.collect()?), (2, vec![0, 1, 4, 9]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn checkpoint_file<T: ExchangeData>(&self, path: impl AsRef<Path>) -> Result<Rdd<T>> {
        let (info, path) = (OpInfo::new("checkpoint_file", Place::caller()), storage::without_scheme(path.as_ref()));
        source::checkpoint_files(self.shared(), info, path, None)
    }
}
