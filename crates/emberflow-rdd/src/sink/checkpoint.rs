//! `checkpoint` and `local_checkpoint`: rows written out, or kept, and the lineage cut.
//!
//! Spark marks an RDD, writes it after the next job, computes it once more for that unless it is cached, and cuts the
//! lineage under a handle that others hold. Lineage here never changes, so a checkpoint is a job of its own that runs
//! now, computes each partition once, and gives a *new* RDD; the old one stays as it is.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use emberflow_core::{
    data::{Data, ExchangeData},
    error::{Error, Result},
    lineage::Checkpoint,
    place::{OpInfo, Place},
    ship::{Held, Sent},
    storage::PartId,
};

use super::object::write_part;
use crate::{
    action::Action,
    rdd::Rdd,
    row_file::{RowFileError, Writer, Written, name_of},
    source::{self, MANIFEST, Manifest, Part},
    storage::{LocalOutput, Shape},
};

impl<T: Data> Rdd<T> {
    /// Writes the rows to files below the [checkpoint directory](crate::Context::set_checkpoint_dir), and gives an RDD
    /// that reads them: with the same partitions, placed alike by key, and without the lineage of this one.
    ///
    /// Action. A job that computes each partition once. The files appear when all are written and on the disk, or not at
    /// all; they stay when the context ends, and [`Context::checkpoint_file`](crate::Context::checkpoint_file) reads
    /// them in another process. This RDD stays as it is: go on with the new one, and drop this one to let go of what its
    /// lineage holds. Unlike [`cache`](Self::cache), nothing is kept in memory, and a lost partition is read again
    /// rather than computed again.
    ///
    /// For lineages that grow, as in iterative programs: after Spark's `checkpoint`, which is lazy.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if no checkpoint directory was chosen; [`Error::File`] if the files cannot be made; a
    /// row that cannot be serialised, or takes more than 64 MiB, fails its task; those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.set_checkpoint_dir(dir.path())?;
    /// let mut ranks = ctx.range_into(0..4_u64, 2);
    /// for round in 0..20 {
    ///     ranks = ranks.map(|n| n + 1);
    ///     if round % 10 == 9 {
    ///         ranks = ranks.checkpoint()?;
    ///     }
    /// }
    /// assert_eq!(ranks.collect()?, [20, 21, 22, 23]);
    /// assert_eq!(ranks.to_debug_string().lines().count(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn checkpoint(&self) -> Result<Rdd<T>>
    where
        T: ExchangeData,
    {
        self.checkpoint_async().wait()
    }

    /// As [`checkpoint`](Self::checkpoint), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # ctx.set_checkpoint_dir(dir.path())?;
    /// let rows = ctx.range(0..4_u64).checkpoint_async();
    /// assert_eq!(rows.wait()?.count()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn checkpoint_async(&self) -> Action<Rdd<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("checkpoint", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let dir = rdd.next_checkpoint()?;
            let output = LocalOutput::begin(&dir, rdd.id().get(), Shape::parts(rdd.partitions()))?;
            let files = Sent(output.files());
            let parts = driver.run(&rdd, info.clone(), rdd.all_partitions(), files, |files, partition, rows, cx| {
                let part = PartId { partition, attempt: cx.attempt() };
                let Written { rows, bytes } = write_part(&**files, part, rows, cx)?;
                Ok(((part, Part { rows, bytes }), rows))
            });
            let (won, parts): (Vec<PartId>, Vec<Part>) = parts.await?.into_iter().unzip();
            let manifest = Manifest { row_type: name_of::<T>(), parts };
            write_manifest(output.unfinished(), &manifest)?;
            output.commit(&won)?;
            source::checkpoint_files(rdd.shared(), info, &dir, rdd.node().placement.clone())
        })
    }

    /// A directory that no other checkpoint has: not there yet.
    fn next_checkpoint(&self) -> Result<PathBuf> {
        let shared = self.shared();
        let dir = shared.checkpoint_dir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let dir = dir.ok_or_else(|| Error::InvalidSetting {
            setting: "checkpoint_dir",
            value: String::new(),
            reason: "a checkpoint needs a directory; choose one by Context::set_checkpoint_dir, by the builder, or by \
                     EMBERFLOW_CHECKPOINT_DIR"
                .to_owned(),
        })?;
        let serial = shared.engine.next_rdd().get();
        Ok(dir.join(shared.application_id()).join(format!("rdd-{}-{serial}", self.id().get())))
    }

    /// Computes the rows now, keeps them in memory, and gives an RDD of them without the lineage of this one.
    ///
    /// Action. The rows belong to the new RDD, as those of [`parallelize`](crate::Context::parallelize) do: they are
    /// not counted in [`Context::memory`](crate::Context::memory), cannot be lost, and go when it is dropped. Unlike
    /// Spark's, it is fault tolerant, short of the end of the process. Same partitions, placed alike by key.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range_into(0..4_u64, 2).map(|n| n * n).local_checkpoint()?;
    /// assert_eq!(rows.glom().collect()?, [[0, 1], [4, 9]]);
    /// assert_eq!(rows.to_debug_string().lines().count(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn local_checkpoint(&self) -> Result<Rdd<T>>
    where
        T: ExchangeData,
    {
        self.local_checkpoint_async().wait()
    }

    /// As [`local_checkpoint`](Self::local_checkpoint), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).local_checkpoint_async().wait()?.count()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn local_checkpoint_async(&self) -> Action<Rdd<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("local_checkpoint", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let parts = driver.run(&rdd, info.clone(), rdd.all_partitions(), (), |(), _, mut rows, cx| {
                let mut all: Vec<T> = Vec::new();
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    all.append(&mut batch.into_vec());
                }
                all.shrink_to_fit();
                let rows = all.len() as u64;
                Ok((Held::new(all), rows))
            });
            let parts = parts.await?.into_iter().map(|Held(rows)| rows).collect();
            Ok(source::kept(rdd.shared(), info, parts, rdd.node().placement.clone()))
        })
    }
}

impl<T: Data> Rdd<T> {
    /// Returns whether this RDD reads a checkpoint: one in files, or a local one.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..4_u64);
    /// assert!(rows.local_checkpoint()?.is_checkpointed() && !rows.is_checkpointed());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_checkpointed(&self) -> bool {
        self.node().checkpoint.get().is_some()
    }

    /// The directory of the checkpoint that this RDD reads, if it reads one in files.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.set_checkpoint_dir(dir.path())?;
    /// let rows = ctx.range(0..4_u64).checkpoint()?;
    /// assert!(rows.checkpoint_file().unwrap().starts_with(dir.path()));
    /// assert!(rows.map(|n| n + 1).checkpoint_file().is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn checkpoint_file(&self) -> Option<PathBuf> {
        match self.node().checkpoint.get() {
            Some(Checkpoint::Files(dir)) => Some(dir.clone()),
            Some(Checkpoint::Memory) | None => None,
        }
    }
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<()> {
    let path = dir.join(MANIFEST);
    let write = || {
        let mut file = Writer::create(&path, 0)?;
        file.push(manifest)?;
        file.finish()
    };
    let written = write().map_err(RowFileError::into_io).and_then(|(file, _)| file.sync_all());
    written.map_err(|source| Error::File { what: "cannot write", path: path.clone(), source: Arc::new(source) })
}
