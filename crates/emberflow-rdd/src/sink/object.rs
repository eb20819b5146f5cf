//! `save_as_object_file`: serialised rows, a file a partition, the whole or nothing.

use std::path::Path;

use emberflow_core::{
    batch::BoxStream,
    chaos::{self, Point},
    data::{Data, ExchangeData},
    error::{Result, TaskError},
    place::{OpInfo, Place},
    ship::Sent,
    storage::{PartFiles, PartId},
    task::TaskContext,
};

use crate::{
    action::Action,
    rdd::Rdd,
    row_file::{Writer, Written},
    storage::{Output, Shape},
};

impl<T: Data> Rdd<T> {
    /// Writes the rows in a form of our own, to be read back by [`object_file`](crate::Context::object_file): a
    /// directory at `path`, with one file `part-00000`, … a partition, and an empty file `_SUCCESS`.
    ///
    /// Action. Rows are written as bincode writes them, in frames with checksums, under the name of their type without
    /// its modules. For results that the same program goes on with, not for archives: a type that has changed cannot be
    /// read back. The directory appears when everything is written, or not at all; nothing is overwritten; it may be on
    /// S3, as that of [`save_as_text_file`](Self::save_as_text_file). After Spark's `saveAsObjectFile`.
    ///
    /// # Errors
    /// [`Error::OutputExists`](crate::Error::OutputExists) if there is something at `path`;
    /// [`Error::File`](crate::Error::File) if the directory cannot be made; those of all [actions](Rdd#actions), also
    /// for a row that cannot be serialised, or takes more than 64 MiB.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("pairs");
    /// ctx.parallelize(vec![('a', 1.5), ('b', 2.5)]).save_as_object_file(&path)?;
    /// assert_eq!(ctx.object_file::<(char, f64)>(&path)?.collect()?, [('a', 1.5), ('b', 2.5)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save_as_object_file(&self, path: impl AsRef<Path>) -> Result<()>
    where
        T: ExchangeData,
    {
        self.save_objects(OpInfo::new("save_as_object_file", Place::caller()), path.as_ref()).wait()
    }

    /// As [`save_as_object_file`](Self::save_as_object_file), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// ctx.range(0..4_u64).save_as_object_file_async(dir.path().join("numbers")).wait()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save_as_object_file_async(&self, path: impl AsRef<Path>) -> Action<()>
    where
        T: ExchangeData,
    {
        self.save_objects(OpInfo::new("save_as_object_file", Place::caller()), path.as_ref())
    }
}

impl<T: ExchangeData> Rdd<T> {
    fn save_objects(&self, info: OpInfo, path: &Path) -> Action<()> {
        let (rdd, path) = (self.clone(), path.to_owned());
        Action::start(self.shared(), |driver| async move {
            let output = Output::begin(rdd.shared(), &path, rdd.id(), Shape::parts(rdd.partitions()))?;
            let files = Sent(output.files());
            let parts = driver.run(&rdd, info, rdd.all_partitions(), files, |files, partition, rows, cx| {
                let part = PartId { partition, attempt: cx.attempt() };
                let Written { rows, .. } = write_part(&**files, part, rows, cx)?;
                Ok((part, rows))
            });
            output.commit(&parts.await?).await
        })
    }
}

/// Writes the rows of one partition into a file of their own.
pub(super) fn write_part<T: ExchangeData>(
    files: &dyn PartFiles,
    part: PartId,
    mut rows: BoxStream<T>,
    cx: &TaskContext,
) -> Result<Written, TaskError> {
    let file = files.create(part, cx)?;
    let path = file.path().to_owned();
    let mut file = Writer::new(file, &path, part.partition).map_err(|error| error.unwritten())?;
    while let Some(batch) = rows.next()? {
        cx.check_cancelled()?;
        chaos::pass(Point::Sink)?;
        batch.as_slice().iter().try_for_each(|row| file.push(row)).map_err(|error| error.unwritten())?;
    }
    let (file, written) = file.finish().map_err(|error| error.unwritten())?;
    file.finish()?;
    Ok(written)
}
