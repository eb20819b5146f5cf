//! `save_as_text_file`: a line a row, a file a partition, the whole or nothing.
//!
//! Where the files are, and how they appear together, is the business of [`storage`].

use std::{
    fmt::Display,
    io::{BufWriter, Write},
    path::Path,
};

use emberflow_core::{
    chaos::{self, Point},
    data::Data,
    error::Result,
    place::{OpInfo, Place},
    ship::Sent,
    storage::PartId,
};

use crate::{
    action::Action,
    rdd::Rdd,
    storage::{self, Output, Shape, WRITE_BYTES},
};

impl<T: Data> Rdd<T> {
    /// Writes the rows as text: a directory at `path`, with one file `part-00000`, … a partition, a line a row, and an
    /// empty file `_SUCCESS`.
    ///
    /// Action. If there are more than 100,000 partitions, the names have more digits, so that they have the partitions'
    /// order. The directory appears when everything is written, or not at all; nothing is overwritten. A path such as
    /// `s3://bucket/directory` (with the feature `s3`) is written by multipart uploads, which become objects when all of
    /// them are complete, `_SUCCESS` last; after a failure they are aborted.
    ///
    /// # Errors
    /// [`Error::OutputExists`](crate::Error::OutputExists) if there is something at `path`;
    /// [`Error::File`](crate::Error::File) if the directory cannot be made; [`Error::Storage`](crate::Error::Storage) if
    /// S3 says no; those of all [actions](Rdd#actions).
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
    pub fn save_as_text_file(&self, path: impl AsRef<Path>) -> Result<()>
    where
        T: Display,
    {
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
    pub fn save_as_text_file_async(&self, path: impl AsRef<Path>) -> Action<()>
    where
        T: Display,
    {
        self.save_text(OpInfo::new("save_as_text_file", Place::caller()), path.as_ref())
    }
}

impl<T: Data + Display> Rdd<T> {
    fn save_text(&self, info: OpInfo, path: &Path) -> Action<()> {
        let (rdd, path) = (self.clone(), path.to_owned());
        Action::start(self.shared(), |driver| async move {
            let output = Output::begin(rdd.shared(), &path, rdd.id(), Shape::parts(rdd.partitions()))?;
            let files = Sent(output.files());
            let parts = driver.run(&rdd, info, rdd.all_partitions(), files, |files, partition, mut rows, cx| {
                let part = PartId { partition, attempt: cx.attempt() };
                let mut file = BufWriter::with_capacity(WRITE_BYTES, files.create(part, cx)?);
                let mut count = 0;
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    chaos::pass(Point::Sink)?;
                    for row in batch.as_slice() {
                        writeln!(file, "{row}").map_err(|error| storage::unwritten(file.get_ref().path(), error))?;
                    }
                    count += batch.len() as u64;
                }
                storage::finish(file)?;
                Ok((part, count))
            });
            output.commit(&parts.await?).await
        })
    }
}
