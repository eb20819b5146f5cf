//! Sources without settings of their own: whole files, files of serialised rows, random numbers.

use std::path::{Path, PathBuf};

use emberflow_core::{
    data::ExchangeData,
    error::Result,
    place::{OpInfo, Place},
};

use super::Context;
use crate::{
    rdd::Rdd,
    source::{self, Draw, Random},
};

impl Context {
    /// As [`parallelize`](Self::parallelize), of rows that are serde types, and that can so be part of what is sent to
    /// another process; see [`check_shippable`](Rdd::check_shippable).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.parallelize([3, 1, 2]).check_shippable().is_err());
    /// ctx.distribute([3, 1, 2]).check_shippable()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn distribute<T: ExchangeData>(&self, rows: impl IntoIterator<Item = T>) -> Rdd<T> {
        let rows: Vec<T> = rows.into_iter().collect();
        let partitions = rows.len().clamp(1, self.default_partitions());
        source::distribute(self.shared(), OpInfo::new("distribute", Place::caller()), rows, partitions)
    }

    /// As [`distribute`](Self::distribute), into so many partitions. With none, the rows must be none.
    ///
    /// # Panics
    /// If there are rows but no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.distribute_into([1, 2, 3], 2).glom().collect()?, [vec![1], vec![2, 3]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn distribute_into<T: ExchangeData>(&self, rows: impl IntoIterator<Item = T>, partitions: usize) -> Rdd<T> {
        let rows: Vec<T> = rows.into_iter().collect();
        assert!(partitions > 0 || rows.is_empty(), "{} rows cannot be put into no partitions", rows.len());
        source::distribute(self.shared(), OpInfo::new("distribute", Place::caller()), rows, partitions)
    }

    /// Files as they are, one row each: the path and the text. A file, all the files below a directory, or all that a
    /// glob matches, in path order; `*.gz` files are decompressed, and a byte order mark of UTF-8 is taken off.
    ///
    /// Files are looked up now and read when rows are needed; small ones are packed together into partitions, by sizes
    /// alone. A task holds a whole file in memory. A file that is changed or replaced before it is read is an
    /// error. For lines, see [`text_file`](Self::text_file). After Spark's `wholeTextFiles`.
    ///
    /// # Errors
    /// As [`text_file`](Self::text_file). A file that is not UTF-8, as one in UTF-16, fails the task that reads it, with the file and the
    /// byte.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("a.txt"), "one\ntwo\n").unwrap();
    /// let files = ctx.whole_text_files(dir.path())?;
    /// assert_eq!(files.collect()?, [(dir.path().join("a.txt"), "one\ntwo\n".to_owned())]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn whole_text_files(&self, path: impl AsRef<Path>) -> Result<Rdd<(PathBuf, String)>> {
        source::whole_text_files(self.shared(), OpInfo::new("whole_text_files", Place::caller()), path.as_ref())
    }

    /// As [`whole_text_files`](Self::whole_text_files), with each file's bytes as they are: nothing is decompressed, and
    /// nothing needs to be UTF-8. After Spark's `binaryFiles`.
    ///
    /// # Errors
    /// As [`text_file`](Self::text_file).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("image"), [0xff, 0xd8]).unwrap();
    /// assert_eq!(ctx.binary_files(dir.path())?.values().collect()?, [[0xff, 0xd8]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn binary_files(&self, path: impl AsRef<Path>) -> Result<Rdd<(PathBuf, Vec<u8>)>> {
        source::binary_files(self.shared(), OpInfo::new("binary_files", Place::caller()), path.as_ref())
    }

    /// The rows that [`save_as_object_file`](Rdd::save_as_object_file) wrote, in the partitions that they had.
    ///
    /// `path` may also be one of the files, or a glob. Files are looked up now, and read when rows are needed. After
    /// Spark's `objectFile`.
    ///
    /// # Errors
    /// As [`text_file`](Self::text_file). A file that is cut or damaged, or that holds rows of another type, fails the
    /// task that reads it, with the file and the byte: it never gives wrong rows.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("numbers");
    /// ctx.range_into(0..9_u64, 3).save_as_object_file(&path)?;
    /// assert_eq!(ctx.object_file::<u64>(&path)?.partitions(), 3);
    /// let error = ctx.object_file::<String>(&path)?.collect().unwrap_err().to_string();
    /// assert!(error.contains("it holds rows of u64, not of String"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn object_file<T: ExchangeData>(&self, path: impl AsRef<Path>) -> Result<Rdd<T>> {
        source::object_files(self.shared(), OpInfo::new("object_file", Place::caller()), path.as_ref())
    }

    /// The given number of random numbers, decided by `seed` and the number of partitions alone.
    ///
    /// There are as many partitions as [`default_partitions`](Self::default_partitions), but no more than rows, and at
    /// least one. Numbers are made when they are needed, the same ones every time; for functions such as the logarithm,
    /// their last bits are those of the platform's mathematics. After MLlib's `RandomRDDs`.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let points = ctx.random(Random::uniform(-1.0..1.0), 20_000, 1).zip(&ctx.random(Random::uniform(-1.0..1.0), 20_000, 2));
    /// let inside = points.filter(|(x, y)| x * x + y * y < 1.0).count()?;
    /// assert!((4.0 * inside as f64 / 20_000.0 - std::f64::consts::PI).abs() < 0.1);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn random(&self, distribution: Random, rows: u64, seed: u64) -> Rdd<f64> {
        let partitions = usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, self.default_partitions());
        let info = OpInfo::new("random", Place::caller());
        source::random(self.shared(), info, Draw { kind: distribution, rows, partitions, seed })
    }

    /// As [`random`](Self::random), in so many partitions.
    ///
    /// # Panics
    /// If `partitions` is zero.
    ///
    /// ```
    /// # use emberflow::{Random, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.random_into(Random::poisson(4.0), 1000, 42, 7).partitions(), 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn random_into(&self, distribution: Random, rows: u64, seed: u64, partitions: usize) -> Rdd<f64> {
        assert!(partitions > 0, "random numbers need at least one partition; see Context::empty");
        let info = OpInfo::new("random", Place::caller());
        source::random(self.shared(), info, Draw { kind: distribution, rows, partitions, seed })
    }
}
