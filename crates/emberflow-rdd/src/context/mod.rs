//! The context: the door to one engine, which ends with the last handle to it, be it a context, an RDD or an action.

mod app;
mod builder;
mod chaos;
mod checkpoint;
mod jobs;
#[cfg(feature = "s3")]
mod s3;
mod settings;
mod sharing;
mod sources;
#[cfg(feature = "spark")]
mod spark;
#[cfg(feature = "ui")]
mod ui;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use emberflow_core::{
    backend::{Backend, Which},
    data::Data,
    error::Result,
    ids::JobId,
    partitioner::KeyHasher,
    place::{OpInfo, Place},
};
use emberflow_runtime::{Engine, EventStream, MemoryUse};

pub use self::{builder::ContextBuilder, jobs::CachedRdd};
use crate::{
    rdd::Rdd,
    shared::Shared,
    source::{self, IntoRange, RangeRow, Source, Steps, TextOptions},
};

/// Events that wait for a slow subscriber, unless told otherwise.
const EVENT_CAPACITY: usize = 1 << 16;

/// An engine, and the way to make RDDs on it.
///
/// Cheap to clone. An RDD, an action or a broadcast value keeps the engine of its context alive, so that an RDD can be
/// returned from the function that made its context; see [`Rdd::context`]. When the last of these handles is dropped, no
/// thread, actor or file is left. [`stop`](Self::stop) ends the engine at once, though other handles may be left:
/// running jobs end with [`Error::ContextClosed`](crate::Error::ContextClosed). Several contexts can live in one
/// process.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::local(2)?;
/// assert_eq!(ctx.range(0..1000_u64).filter(|n| n % 7 == 0).count()?, 143);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

impl Context {
    /// A context with the settings of the environment, and defaults for the rest: as many workers as the process may
    /// use cores. `docs/configuration.md` lists the settings.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) if an environment variable cannot be used.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert!(Context::new()?.workers() >= 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A context with this many worker threads, whatever the environment says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::local(3)?.workers(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn local(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).build()
    }

    /// Settings to choose.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().app_name("films").build()?;
    /// assert_eq!(ctx.app_name(), "films");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

    fn start(
        engine: Arc<Engine>,
        backend: Arc<dyn Backend>,
        hash_seed: u64,
        default_partitions: usize,
        checkpoint_dir: Option<PathBuf>,
        #[cfg(feature = "s3")] s3: emberflow_s3::S3Config,
    ) -> Self {
        let hasher = KeyHasher::new(hash_seed);
        let (checkpoint_dir, started_at) = (Mutex::new(checkpoint_dir), SystemTime::now());
        let shared = Arc::new(Shared {
            #[cfg(feature = "s3")]
            s3: emberflow_s3::S3::new(s3, engine.io()),
            backend,
            engine,
            hasher,
            default_partitions,
            checkpoint_dir,
            started_at,
            cached: Default::default(),
            sent_plans: Default::default(),
            #[cfg(feature = "ui")]
            ui: Default::default(),
            #[cfg(feature = "ui")]
            event_log: Default::default(),
        });
        Self { shared }
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The rows of a collection, a range, a map, or any other iterator. They are gathered now, shared by all partitions,
    /// and cloned only by operators that keep rows; a `Vec` is moved in as it is.
    ///
    /// It has [`default_partitions`](Self::default_partitions) partitions, but no more than rows, and at least one.
    ///
    /// Rows of `&str` can be mapped and counted, but not collected, shuffled or cached: the compiler then says
    /// "implementation of `Deserialize` is not general enough". Make them `String`s, as below.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![3, 1, 2]).collect()?, [3, 1, 2]);
    /// assert_eq!(ctx.parallelize((1..=4).rev()).collect()?, [4, 3, 2, 1]);
    /// assert_eq!(ctx.parallelize(["to", "be"].map(str::to_owned)).collect()?, ["to", "be"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn parallelize<T: Data>(&self, rows: impl IntoIterator<Item = T>) -> Rdd<T> {
        let rows: Vec<T> = rows.into_iter().collect();
        let partitions = rows.len().clamp(1, self.default_partitions());
        source::parallelize(self.shared(), OpInfo::new("parallelize", Place::caller()), rows, partitions)
    }

    /// As [`parallelize`](Self::parallelize), into so many partitions. With none, the rows must be none.
    ///
    /// # Panics
    /// If there are rows but no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize_into(vec![1, 2, 3], 2).glom().collect()?, [vec![1], vec![2, 3]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn parallelize_into<T: Data>(&self, rows: impl IntoIterator<Item = T>, partitions: usize) -> Rdd<T> {
        let rows: Vec<T> = rows.into_iter().collect();
        assert!(partitions > 0 || rows.is_empty(), "{} rows cannot be put into no partitions", rows.len());
        source::parallelize(self.shared(), OpInfo::new("parallelize", Place::caller()), rows, partitions)
    }

    /// An RDD without partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.empty::<u64>().partitions(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn empty<T: Data>(&self) -> Rdd<T> {
        source::empty(self.shared(), OpInfo::new("empty", Place::caller()))
    }

    /// The integers of a range, made when they are needed. The range is `a..b` or `a..=b`.
    ///
    /// It has [`default_partitions`](Self::default_partitions) partitions, but no more than rows, and at least one.
    /// See [`range_step`](Self::range_step) for every third one, or for counting down.
    ///
    /// # Panics
    /// If there are 2^64 rows: `0..=u64::MAX` is one too many.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(-2..2_i64).collect()?, [-2, -1, 0, 1]);
    /// assert_eq!(ctx.range(1..=3).collect()?, [1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn range<T: RangeRow>(&self, range: impl IntoRange<T>) -> Rdd<T> {
        self.steps("range", Steps::new(range, 1), None)
    }

    /// As [`range`](Self::range), into so many partitions.
    ///
    /// # Panics
    /// As [`range`](Self::range), and if `partitions` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_into(0..100_000_u64, 1000).partitions(), 1000);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn range_into<T: RangeRow>(&self, range: impl IntoRange<T>, partitions: usize) -> Rdd<T> {
        self.steps("range", Steps::new(range, 1), Some(partitions))
    }

    /// As [`range`](Self::range), from `start` on in steps, without `end`. A negative step counts down. After Spark's
    /// `range(start, end, step)`.
    ///
    /// # Panics
    /// If `step` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_step(0_u64, 10, 3).collect()?, [0, 3, 6, 9]);
    /// assert_eq!(ctx.range_step(9, 0, -3).collect()?, [9, 6, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn range_step<T: RangeRow>(&self, start: T, end: T, step: i64) -> Rdd<T> {
        self.steps("range_step", Steps::new(start..end, step), None)
    }

    /// As [`range_step`](Self::range_step), into so many partitions.
    ///
    /// # Panics
    /// As [`range_step`](Self::range_step), and if `partitions` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range_step_into(0_i64, 4, 2, 2).glom().collect()?, [[0], [2]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn range_step_into<T: RangeRow>(&self, start: T, end: T, step: i64, partitions: usize) -> Rdd<T> {
        self.steps("range_step", Steps::new(start..end, step), Some(partitions))
    }

    #[track_caller]
    fn steps<T: RangeRow>(&self, name: &'static str, steps: Steps<T>, partitions: Option<usize>) -> Rdd<T> {
        let rows = usize::try_from(steps.len()).unwrap_or(usize::MAX);
        let partitions = partitions.unwrap_or_else(|| rows.clamp(1, self.default_partitions()));
        assert!(partitions > 0, "a range needs at least one partition; see Context::empty");
        source::range(self.shared(), OpInfo::new(name, Place::caller()), steps, partitions)
    }

    /// The lines of a text file, of all the files below a directory, or of all that a glob matches, without their line
    /// ends; `*.gz` files are decompressed.
    ///
    /// A line ends at LF, CRLF or CR, as in Hadoop and Spark, whatever the others of its file end at; so `\r\r\n` ends a
    /// line and an empty one behind it. A byte order mark of UTF-8 at the beginning of a file is no part of its text.
    ///
    /// A path that is there is taken as it stands. Otherwise it is a glob, of `*`, `?`, `[a-z]`, `{a,b}`, and `**` for
    /// folders of any depth; folders that match are read, too. Names that begin with `_` or `.` are left out, unless the
    /// path says so, as `_*` does. Each file is read once, however many links lead to it; `**` follows a link only to what
    /// it does not reach otherwise. `file:///a/b` is `/a/b`. A comma separates nothing: see
    /// [`text_files`](Self::text_files).
    ///
    /// Files are looked up now, in path order, and read when rows are needed. Large ones are cut at line boundaries,
    /// small ones packed together, by sizes alone, so that the partitions are the same on every machine. A file that
    /// is changed or replaced before it is read is an error, not a mixture: its length and its time stamp tell, and on the
    /// machine where it was found, if that is a Unix, its inode too, with the time at which that was last changed, be it
    /// only by a new name or other permissions. A file whose length is zero is read
    /// all the same, for those in which the system shows its state have none. A pipe is read once, to its end: a second
    /// reading, by another action, a retry or a speculative copy, is an error; [`cache`](Rdd::cache) the RDD to keep its
    /// lines.
    ///
    /// # Errors
    /// [`Error::NoSuchInput`](crate::Error::NoSuchInput), [`Error::BadGlob`](crate::Error::BadGlob),
    /// [`Error::File`](crate::Error::File). A line that is not UTF-8 fails the task that reads it, with the file and
    /// the byte at which it stands; see [`TextOptions::lossy`]. So does a file that begins with a byte order mark of
    /// UTF-16.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("a.txt"), "one\ntwo\n").unwrap();
    /// let lines = ctx.text_file(dir.path().join("*.txt"))?;
    /// assert_eq!(lines.collect()?, ["one", "two"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn text_file(&self, path: impl AsRef<Path>) -> Result<Rdd<String>> {
        let info = OpInfo::new("text_file", Place::caller());
        source::text_files(self.shared(), info, &[path.as_ref()], &TextOptions::new())
    }

    /// As [`text_file`](Self::text_file), over several paths and with options.
    ///
    /// # Errors
    /// As [`text_file`](Self::text_file).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    /// # std::fs::write(&a, b"caf\xe9").unwrap();
    /// # std::fs::write(&b, "two").unwrap();
    /// let lines = ctx.text_files(&[a, b], &TextOptions::new().lossy(true))?;
    /// assert_eq!(lines.collect()?, ["caf\u{fffd}", "two"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn text_files<P: AsRef<Path>>(&self, paths: &[P], options: &TextOptions) -> Result<Rdd<String>> {
        let info = OpInfo::new("text_files", Place::caller());
        let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        source::text_files(self.shared(), info, &paths, options)
    }

    /// The rows of a source of your own; see [`Source`].
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # struct Ones;
    /// # impl Source for Ones {
    /// #     type Row = u64;
    /// #     type Error = std::io::Error;
    /// #     type Rows = std::vec::IntoIter<std::io::Result<u64>>;
    /// #     fn partitions(&self) -> usize { 3 }
    /// #     fn read(&self, _: usize) -> std::io::Result<Self::Rows> { Ok(vec![Ok(1)].into_iter()) }
    /// # }
    /// assert_eq!(ctx.from_source(Ones).count()?, 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn from_source<S: Source>(&self, from: S) -> Rdd<S::Row> {
        source::custom(self.shared(), OpInfo::new("from_source", Place::caller()), from)
    }

    /// The rows of several RDDs, one after the other. See [`Rdd::union`].
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let parts: Vec<_> = (0..3_u64).map(|n| ctx.range(n..n + 2)).collect();
    /// assert_eq!(ctx.union(&parts).collect()?, [0, 1, 1, 2, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn union<T: Data>(&self, rdds: &[Rdd<T>]) -> Rdd<T> {
        crate::rdd::union(self.shared(), OpInfo::new("union", Place::caller()), rdds)
    }

    /// Number of worker threads.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.workers(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn workers(&self) -> usize {
        self.shared().engine.config().workers
    }

    /// The partitions that sources and shuffles make unless told otherwise. It does not depend on the number of
    /// workers, so that the same program gives the same bytes on every machine.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..1000_u64).partitions(), ctx.default_partitions());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn default_partitions(&self) -> usize {
        self.shared().default_partitions
    }

    /// The name given to the application; its threads carry it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.app_name(), "emberflow");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn app_name(&self) -> &str {
        &self.shared().engine.config().app_name
    }

    /// The memory that persisted rows and map outputs take, by estimate.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let memory = ctx.memory();
    /// assert!(memory.budget > 0 && memory.persisted == 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn memory(&self) -> MemoryUse {
        self.shared().engine.memory()
    }

    /// Runs `f` while no progress bar is on the screen: for what a program writes while its own jobs run. When an action
    /// has returned, there is none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::local(2)?;
    /// let counted = ctx.range(0..9_u64).count_async();
    /// ctx.suspend_progress(|| println!("it is being counted"));
    /// assert_eq!(counted.wait()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn suspend_progress<R>(&self, f: impl FnOnce() -> R) -> R {
        self.shared().engine.suspend_progress(f)
    }

    /// Everything that happens from now on. A reader that falls behind by more than 65,536 events misses some, and is
    /// told so by [`Event::Gap`](crate::Event::Gap); see [`events_with_capacity`](Self::events_with_capacity).
    ///
    /// ```
    /// # use emberflow::{Event, prelude::*};
    /// let ctx = Context::local(2)?;
    /// let mut events = ctx.events();
    /// ctx.range_into(0..100_u64, 4).count()?;
    /// ctx.stop();
    /// let tasks = events.filter(|record| matches!(record.event, Event::TaskFinished { .. })).count();
    /// assert_eq!(tasks, 4);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn events(&self) -> EventStream {
        self.events_with_capacity(EVENT_CAPACITY)
    }

    /// As [`events`](Self::events), keeping so many events for a slow reader.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let mut few = ctx.events_with_capacity(10);
    /// ctx.range(0..9_u64).count()?;
    /// assert!(few.next().is_some());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn events_with_capacity(&self, capacity: usize) -> EventStream {
        self.shared().engine.subscribe(capacity.max(1))
    }

    /// Cancels a job, by the id that its events carry. One that has ended stays as it is.
    ///
    /// ```
    /// # use emberflow::{Event, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let mut events = ctx.events();
    /// let endless = ctx.range(0..u64::MAX).count_async();
    /// if let Some(Event::JobStarted { job, .. }) = events.next().map(|record| record.event) {
    ///     ctx.cancel_job(job);
    /// }
    /// assert!(matches!(endless.wait(), Err(Error::Cancelled { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel_job(&self, job: JobId) {
        self.shared().backend.cancel(job);
    }

    /// Cancels all the jobs that run now, and says which.
    ///
    /// # Errors
    /// [`Error::ContextClosed`](crate::Error::ContextClosed) after [`stop`](Self::stop).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let endless = ctx.range(0..u64::MAX).count_async();
    /// assert_eq!(ctx.cancel_all_jobs()?.len(), 1);
    /// assert!(endless.wait().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel_all_jobs(&self) -> Result<Vec<JobId>> {
        self.shared().backend.cancel_all(Which::All)
    }

    /// The number of the signal that has [ended its jobs](ContextBuilder::cancel_on_signal), if one has.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::local(2)?.interrupted(), None);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn interrupted(&self) -> Option<i32> {
        self.shared.engine.interrupted()
    }

    /// Ends the context now, though other handles may be left: jobs end with
    /// [`Error::ContextClosed`](crate::Error::ContextClosed), threads are joined. A task ends at its next batch; code
    /// of yours that never returns is waited for.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..9_u64);
    /// ctx.stop();
    /// assert!(matches!(rows.count(), Err(Error::ContextClosed)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stop(&self) {
        self.shared().backend.stop();
        self.shared().engine.stop();
    }

    /// Returns whether the context was stopped.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(!ctx.is_stopped());
    /// ctx.stop();
    /// assert!(ctx.is_stopped());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_stopped(&self) -> bool {
        self.shared().engine.is_closed()
    }
}

impl<T: Data> Rdd<T> {
    /// The context that made it. After Spark's `context`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// fn numbers() -> Result<Rdd<u64>, Error> {
    ///     Ok(Context::local(2)?.range(0..9_u64))
    /// }
    /// let numbers = numbers()?;
    /// let more = numbers.context().range(9..12_u64);
    /// assert_eq!(numbers.union(&more).count()?, 12);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn context(&self) -> Context {
        Context::of(self.shared())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("app_name", &self.app_name())
            .field("workers", &self.workers())
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}
