//! The settings of a context: the builder's word comes first, then the environment's, then the default.

#[cfg(feature = "ui")]
use std::net::IpAddr;
use std::{
    env,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::Duration,
};

use bytesize::ByteSize;
use emberflow_core::error::{Error, Result};
use emberflow_runtime::{Config, Engine, Progress, Speculation, system};
#[cfg(feature = "ui")]
use emberflow_ui::security::{Listen, Token};

use super::{Context, chaos};
use crate::storage;

/// The share of the memory that the process may use, in hundredths, that is the budget unless told otherwise.
const MEMORY_SHARE_PERCENT: u64 = 60;

/// The budget where the system does not say how much memory there is.
const FALLBACK_MEMORY_BYTES: u64 = 1 << 30;

const DEFAULT_PARTITIONS: usize = 32;
const DEFAULT_TASK_FAILURE_LIMIT: usize = 4;
const DEFAULT_BATCH_ROWS: usize = 1024;
const SPECULATION_QUANTILE: f64 = 0.75;
const SPECULATION_MULTIPLIER: f64 = 1.5;
const SPECULATION_LEAST: Duration = Duration::from_millis(100);

/// The port of the page unless another is given.
#[cfg(feature = "ui")]
const UI_PORT: u16 = 4040;

/// Chooses the settings of a [`Context`]; `docs/configuration.md` lists them with their environment variables.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::builder().app_name("films").workers(2).memory_budget(512 << 20).build()?;
/// assert_eq!(ctx.memory().budget, 512 << 20);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing starts before `build`"]
pub struct ContextBuilder {
    app_name: Option<String>,
    workers: Option<usize>,
    memory_budget: Option<u64>,
    spill_dirs: Vec<PathBuf>,
    spill_limit: Option<u64>,
    spill_compression: Option<bool>,
    force_spill: Option<bool>,
    checkpoint_dir: Option<PathBuf>,
    task_failure_limit: Option<usize>,
    task_deadline: Option<Duration>,
    stall_timeout: Option<Duration>,
    speculation: Option<bool>,
    speculation_quantile: Option<f64>,
    speculation_multiplier: Option<f64>,
    check_determinism: Option<bool>,
    cancel_on_signal: Option<bool>,
    default_partitions: Option<usize>,
    batch_rows: Option<usize>,
    hash_seed: Option<u64>,
    progress: Option<Progress>,
    #[cfg(feature = "chaos")]
    pub(super) chaos: Option<emberflow_core::chaos::Schedule>,
    #[cfg(feature = "s3")]
    s3: Option<emberflow_s3::S3Config>,
    job_summary: Option<bool>,
    #[cfg(feature = "ui")]
    ui: Option<u16>,
    #[cfg(feature = "ui")]
    ui_address: Option<IpAddr>,
    #[cfg(feature = "ui")]
    ui_hosts: Vec<String>,
    #[cfg(feature = "ui")]
    ui_token: Option<Secret>,
    #[cfg(feature = "ui")]
    event_log: Option<PathBuf>,
}

impl ContextBuilder {
    /// Names the application; its threads carry the name. `EMBERFLOW_APP_NAME`; "emberflow" by default.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().app_name("films").build()?.app_name(), "films");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = Some(name.into());
        self
    }

    /// Worker threads. `EMBERFLOW_WORKERS`; by default as many as the process may use cores.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().workers(3).build()?.workers(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Bytes that rows may take in memory. `EMBERFLOW_MEMORY_BUDGET`, such as `2GiB`; by default 60 % of what the
    /// container or the machine has.
    ///
    /// Counted in [`Context::memory`] are persisted partitions and map outputs, what tasks work on (hash tables, sort
    /// buffers, rows that they gather), and the results of [`collect`](crate::Rdd::collect). What finds no room goes to
    /// the [`spill_dir`](Self::spill_dir), and comes back as serde gives it (see
    /// [`ExchangeData`](crate::ExchangeData)). What is kept may take three quarters, and what a task works on an equal
    /// share of the rest of the budget. Not counted are the batches that move through a task (64 KiB for each of its
    /// operators, and what their rows own) and 1 MiB a worker for what is being written; the least that makes sense is
    /// some MiB.
    ///
    /// Results do not depend on it. What has to be in memory as a whole and does not fit, a result or the values of one
    /// key that are to be grouped, is an error; 16 MiB are always allowed. With `u64::MAX`, nothing is counted but what
    /// is kept.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().memory_budget(1 << 30).build()?.memory().budget, 1 << 30);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// The directory for spilled partitions; it must exist. `EMBERFLOW_SPILL_DIR`; by default the system's directory
    /// for temporary files. Choose one on a real disk: a `/tmp` in memory only moves the problem. The files have no
    /// names, so that nothing is left behind, even if the process is killed.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let missing = Context::builder().spill_dir("/no/such/directory").build();
    /// assert!(missing.unwrap_err().to_string().contains("not a directory"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn spill_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.spill_dirs = vec![dir.as_ref().to_owned()];
        self
    }

    /// Several directories for spilled partitions, on disks of their own as a rule: they are written to in turns, and
    /// while one of them fails, which the log and an [event](crate::Event::SpillDirFailed) tell, the others take its
    /// turns. `EMBERFLOW_SPILL_DIR`, with what separates paths in `PATH` between them.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    /// let ctx = Context::builder().force_spill(true).spill_dirs([one.path(), two.path()]).build()?;
    /// assert_eq!(ctx.range(0..1000_u64).cache().count()?, 1000);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn spill_dirs<P: AsRef<Path>>(mut self, dirs: impl IntoIterator<Item = P>) -> Self {
        self.spill_dirs = dirs.into_iter().map(|dir| dir.as_ref().to_owned()).collect();
        self
    }

    /// Bytes that the files of spilled partitions may have. `EMBERFLOW_SPILL_LIMIT`, such as `100GiB`; by default there is no limit
    /// but the disk. What would go beyond it is an error of the job, and the context goes on.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().memory_budget(1).spill_limit(100).task_failure_limit(1).build()?;
    /// let error = ctx.range(0..1000_u64).cache().count().unwrap_err();
    /// assert!(error.to_string().contains("spill_limit"));
    /// assert_eq!(ctx.range(0..1000_u64).count()?, 1000);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn spill_limit(mut self, bytes: u64) -> Self {
        self.spill_limit = Some(bytes);
        self
    }

    /// Whether what is spilled is compressed with LZ4: for slow disks, and rows that repeat themselves.
    /// `EMBERFLOW_SPILL_COMPRESSION`, which is `on` or `off`; off by default, since compressing takes longer than
    /// writing to a fast disk.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().force_spill(true).spill_compression(true).build()?;
    /// assert_eq!(ctx.range(0..10_000_u64).map(|_| 7_u64).cache().count()?, 10_000);
    /// assert!(ctx.memory().spilled < 8 * 10_000 / 10);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn spill_compression(mut self, compress: bool) -> Self {
        self.spill_compression = Some(compress);
        self
    }

    /// Whether nothing finds room in memory, whatever the budget: every operator goes to disk. For tests of that, and of
    /// rows that must come back from there. `EMBERFLOW_FORCE_SPILL`, which is `on` or `off`; off by default.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().force_spill(true).build()?;
    /// let kept = ctx.range(0..1000_u64).cache();
    /// assert_eq!(kept.count()?, 1000);
    /// assert_eq!((ctx.memory().persisted, ctx.memory().spilled), (0, 8000));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn force_spill(mut self, force: bool) -> Self {
        self.force_spill = Some(force);
        self
    }

    /// The directory for [checkpoints](crate::Rdd::checkpoint), made when the first one is written.
    /// `EMBERFLOW_CHECKPOINT_DIR`; none by default. See also [`Context::set_checkpoint_dir`].
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let ctx = Context::builder().checkpoint_dir(dir.path()).build()?;
    /// assert_eq!(ctx.range(0..3_u64).checkpoint()?.collect()?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn checkpoint_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.checkpoint_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// How often one task may fail before its job does. `EMBERFLOW_TASK_FAILURE_LIMIT`; 4 by default, 1 to fail at
    /// once.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().task_failure_limit(1).build()?;
    /// let failed = ctx.range(0..9_u64).for_each(|n| assert_ne!(n, 5));
    /// assert!(failed.unwrap_err().to_string().contains("failed after 1 attempt;"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn task_failure_limit(mut self, failures: usize) -> Self {
        self.task_failure_limit = Some(failures);
        self
    }

    /// How long one attempt at a task may run. `EMBERFLOW_TASK_DEADLINE`, such as `90s` or `10min`; by default there is
    /// no deadline.
    ///
    /// An attempt that takes longer counts as failed, and is tried again as often as
    /// [`task_failure_limit`](Self::task_failure_limit) allows; the error names the operator that it was in. Its thread
    /// is told to end at the next batch. One that does not, since a closure never returns, is left to itself, which the
    /// log tells, and another thread takes its place: what such a closure holds is not given back.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// use std::{thread, time::Duration};
    ///
    /// let ctx = Context::builder().task_deadline(Duration::from_millis(50)).task_failure_limit(1).build()?;
    /// let stuck = ctx.range(0..9_u64).map(|n| if n == 5 { loop { thread::park() } } else { n });
    /// assert!(stuck.count().unwrap_err().to_string().contains("task_deadline of 50ms"));
    /// assert_eq!(ctx.range(0..9_u64).count()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn task_deadline(mut self, limit: Duration) -> Self {
        self.task_deadline = Some(limit);
        self
    }

    /// How long it may be that no task begins, goes on by a batch, or ends, before all jobs fail with
    /// [`Error::Stalled`](crate::Error::Stalled), which tells what waits for what. `EMBERFLOW_STALL_TIMEOUT`, such as
    /// `90s` or `10min`; by default there is none, since a closure may take its time. If no worker is at work at all,
    /// jobs fail after a minute in any case.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// use std::{thread, time::Duration};
    ///
    /// let ctx = Context::builder().stall_timeout(Duration::from_millis(50)).build()?;
    /// let stuck = ctx.range(0..9_u64).map(|n| if n == 5 { loop { thread::park() } } else { n });
    /// assert!(stuck.count().unwrap_err().to_string().contains("is stalled: for 50ms"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stall_timeout(mut self, limit: Duration) -> Self {
        self.stall_timeout = Some(limit);
        self
    }

    /// Whether a task that is much slower than the others of its stage is computed a second time while workers are idle:
    /// the first to be done ends the other. `EMBERFLOW_SPECULATION`, which is `on` or `off`; off by default. Results do
    /// not depend on it; what a closure does to the outside may be done twice.
    ///
    /// As in Spark, a task is slow that has run for [1.5](Self::speculation_multiplier) times the median of its stage,
    /// and for 100 ms, once [three quarters](Self::speculation_quantile) of the stage are done.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().speculation(true).speculation_quantile(0.9).speculation_multiplier(3.0).build()?;
    /// assert_eq!(ctx.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn speculation(mut self, on: bool) -> Self {
        self.speculation = Some(on);
        self
    }

    /// The share of a stage's tasks that have to be done before slow ones are [speculated](Self::speculation).
    /// `EMBERFLOW_SPECULATION_QUANTILE`; 0.75 by default.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().speculation_quantile(75.0).build().unwrap_err();
    /// assert!(error.to_string().contains("give a number from 0 to 1"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn speculation_quantile(mut self, share: f64) -> Self {
        self.speculation_quantile = Some(share);
        self
    }

    /// How many times the median of its stage a task has to take to be [speculated](Self::speculation).
    /// `EMBERFLOW_SPECULATION_MULTIPLIER`; 1.5 by default.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().speculation_multiplier(0.5).build().unwrap_err();
    /// assert!(error.to_string().contains("give a number of at least 1"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn speculation_multiplier(mut self, times: f64) -> Self {
        self.speculation_multiplier = Some(times);
        self
    }

    /// Whether a job fails with [`Error::NotDeterministic`](crate::Error::NotDeterministic) when a partition that was
    /// lost is made again and is not what it was, while others have been made of what it was: its result would mix both.
    /// `EMBERFLOW_CHECK_DETERMINISM`, which is `on` or `off`; on by default. If off, the log and an
    /// [event](crate::Event::PartitionDiffers) tell of it, and the job goes on.
    ///
    /// The numbers of rows are compared, for each reducer by itself, and their checksums where rows were serialised both
    /// times, on disk as a rule. What differs otherwise is not seen. Rows that serde writes in another way each time, such
    /// as those that own a `HashMap`, differ for this check though they are equal: use a `BTreeMap` there.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().check_determinism(false).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_determinism(mut self, check: bool) -> Self {
        self.check_determinism = Some(check);
        self
    }

    /// Whether SIGINT (Ctrl-C) and SIGTERM end the jobs of this context: those that run as
    /// [`Error::Cancelled`](crate::Error::Cancelled), those that come later as
    /// [`Error::Interrupted`](crate::Error::Interrupted). `EMBERFLOW_CANCEL_ON_SIGNAL`, which is `on` or `off`; off by
    /// default, when signals are none of the library's business.
    ///
    /// So the program comes to its end as after any error, and what was being written is removed;
    /// [`Context::interrupted`] says why. A second signal, or one that no such context is there for, ends the process at
    /// once. The handlers are the process's, and stay. Not on Windows.
    ///
    /// ```
    /// use std::process::ExitCode;
    ///
    /// use emberflow::prelude::*;
    ///
    /// fn main() -> ExitCode {
    ///     let ctx = Context::builder().cancel_on_signal(true).build().expect("the settings are right");
    ///     let counted = ctx.range(0..1000_u64).count();
    ///     match (ctx.interrupted(), counted) {
    ///         (Some(signal), _) => ExitCode::from(128 + signal as u8),
    ///         (None, Ok(rows)) => {
    ///             println!("{rows} rows");
    ///             ExitCode::SUCCESS
    ///         }
    ///         (None, Err(error)) => {
    ///             eprintln!("{error}");
    ///             ExitCode::FAILURE
    ///         }
    ///     }
    /// }
    /// ```
    pub fn cancel_on_signal(mut self, cancel: bool) -> Self {
        self.cancel_on_signal = Some(cancel);
        self
    }

    /// Partitions of sources and shuffles unless they are given. `EMBERFLOW_DEFAULT_PARTITIONS`; 32 by default, on
    /// every machine, so that results do not depend on it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().default_partitions(8).build()?.range(0..99_u64).partitions(), 8);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn default_partitions(mut self, partitions: usize) -> Self {
        self.default_partitions = Some(partitions);
        self
    }

    /// Rows that a batch holds at most (and no more than 64 KiB). `EMBERFLOW_BATCH_ROWS`; 1024 by default. For tests
    /// and measurements.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().batch_rows(1).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// The seed of the hash that places keys. `EMBERFLOW_HASH_SEED`; 0 by default. Choose one at random where keys come
    /// from an adversary; the order of results depends on it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().hash_seed(7).build()?.range(0..99_u64).distinct().count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn hash_seed(mut self, seed: u64) -> Self {
        self.hash_seed = Some(seed);
        self
    }

    /// Progress bars on standard error, one line a stage that has run for half a second. `EMBERFLOW_PROGRESS`, which is
    /// `auto`, `on` or `off`; by default on if it is a terminal. They are gone before an action returns; what is to be
    /// written meanwhile goes through [`Context::suspend_progress`].
    ///
    /// ```
    /// # use emberflow::{Progress, prelude::*};
    /// assert_eq!(Context::builder().progress(Progress::Off).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Where S3 is and who asks, for paths such as `s3://bucket/key`. By default as the environment says: `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, the chain of credentials, and `EMBERFLOW_S3_PATH_STYLE` and `EMBERFLOW_S3_ANONYMOUS`, which
    /// are `on` or `off`. Only with the feature `s3`.
    ///
    /// ```no_run
    /// use emberflow::{S3Config, prelude::*};
    ///
    /// let ctx = Context::builder().s3(S3Config::new().region("eu-central-1").anonymous()).build()?;
    /// println!("{}", ctx.text_file("s3://a-public-bucket/films/*.csv.gz")?.count()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "s3")]
    pub fn s3(mut self, config: emberflow_s3::S3Config) -> Self {
        self.s3 = Some(config);
        self
    }

    /// Whether a table on standard error tells of each job when it has ended: its stages with their tasks, rows, bytes,
    /// what they spilled, and times. `EMBERFLOW_JOB_SUMMARY`, which is `on` or `off`; off by default. It is written
    /// before the action returns.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().job_summary(true).build()?;
    /// assert_eq!(ctx.range(0..99_u64).map(|n| (n % 9, n)).reduce_by_key(|a, b| a + b).count()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn job_summary(mut self, wanted: bool) -> Self {
        self.job_summary = Some(wanted);
        self
    }

    /// A page that shows what the application does, on the loopback interface at this port or, if it is taken, one of
    /// the next sixteen; 0 for any. `EMBERFLOW_UI`, which is `on` (port 4040, as Spark's), `off` or a port; off by
    /// default. Only with the feature `ui`.
    ///
    /// The page is gone when the engine has [stopped](Context::stop). [`Context::ui_url`] says where it is; so does the log,
    /// without the token that allows changes.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).build()?;
    /// assert!(ctx.ui_url().unwrap().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "ui")]
    pub fn ui(mut self, port: u16) -> Self {
        self.ui = Some(port);
        self
    }

    /// The interface that the [page](Self::ui) listens on, for those who are to come from other machines.
    /// `EMBERFLOW_UI_ADDRESS`; the loopback interface by default. Elsewhere, whoever wants to see anything needs the
    /// token; it is sent as it is, so put a proxy that speaks TLS in between, or use a tunnel instead. Only with the
    /// feature `ui`. [More](https://github.com/emberflow-rs/emberflow/blob/main/docs/ui.md#whom-it-answers).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).ui_address([0, 0, 0, 0]).build()?;
    /// assert!(ctx.ui_url().unwrap().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "ui")]
    pub fn ui_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.ui_address = Some(address.into());
        self
    }

    /// One more name under which the [page](Self::ui) is known, such as that of a proxy: requests for other names than
    /// its own address are refused. With its port, as browsers say it, or without, for any. `EMBERFLOW_UI_HOSTS`, with
    /// commas between them. With any such name, whoever wants to see anything needs the token. Only with the feature
    /// `ui`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().ui(0).ui_host("https://jobs.example/").build().unwrap_err();
    /// assert!(error.to_string().contains("give a name such as jobs.example or jobs.example:8443"));
    /// let ctx = Context::builder().ui(0).ui_host("jobs.example").build()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "ui")]
    pub fn ui_host(mut self, host: impl Into<String>) -> Self {
        self.ui_hosts.push(host.into());
        self
    }

    /// The token of the [page](Self::ui), for those who must know it before the context starts: proxies, and
    /// Prometheus. `EMBERFLOW_UI_TOKEN`; a random one by default. Only with the feature `ui`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).ui_token("0f3c2b1a99d84e75").build()?;
    /// assert!(ctx.ui_url().unwrap().ends_with("/#token=0f3c2b1a99d84e75"));
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "ui")]
    pub fn ui_token(mut self, token: impl Into<String>) -> Self {
        self.ui_token = Some(Secret(token.into()));
        self
    }

    /// A log of all that happens, in a file of this directory, which is made if it is missing. `EMBERFLOW_EVENT_LOG`;
    /// none by default. Only with the feature `ui`.
    ///
    /// JSON lines in the format of Spark's event log: Spark's History Server shows the application, and so does
    /// [`history::replay`](crate::history::replay). The file is complete when the engine has [stopped](Context::stop);
    /// [`Context::event_log`] says its name.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let ctx = Context::builder().event_log(dir.path()).build()?;
    /// let log = ctx.event_log().unwrap().to_owned();
    /// ctx.range(0..9_u64).count()?;
    /// ctx.stop();
    /// assert!(std::fs::read_to_string(log).unwrap().contains("SparkListenerJobEnd"));
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "ui")]
    pub fn event_log(mut self, dir: impl AsRef<Path>) -> Self {
        self.event_log = Some(dir.as_ref().to_owned());
        self
    }

    /// Starts the context.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] naming the setting and what would be right; [`Error::NestedAction`] inside a task.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().workers(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "workers = \"0\": give a whole number, at least 1");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn build(self) -> Result<Context> {
        self.build_from(&|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn build_from(self, env: &dyn Fn(&str) -> Option<String>) -> Result<Context> {
        let shown = self.shown(env)?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = positive("workers", "EMBERFLOW_WORKERS", self.workers, env)?.unwrap_or_else(cores);
        let share = || system::memory_limit_bytes().unwrap_or(FALLBACK_MEMORY_BYTES) / 100 * MEMORY_SHARE_PERCENT;
        let memory_budget_bytes = size("EMBERFLOW_MEMORY_BUDGET", self.memory_budget, env)?.unwrap_or_else(share);
        if memory_budget_bytes == 0 {
            return Err(invalid("memory_budget", "0", "give at least one byte, such as 512 << 20".to_owned()));
        }
        let spill_dirs = match (&*self.spill_dirs, env("EMBERFLOW_SPILL_DIR")) {
            ([], None) => vec![env::temp_dir()],
            ([], Some(dirs)) => env::split_paths(&dirs).collect(),
            (dirs, _) => dirs.to_vec(),
        };
        if let Some(dir) = spill_dirs.iter().find(|dir| !dir.is_dir()) {
            let reason = "not a directory; create it first, or choose another one".to_owned();
            return Err(invalid("spill_dir", &dir.display().to_string(), reason));
        }
        let spill_limit_bytes = size("EMBERFLOW_SPILL_LIMIT", self.spill_limit, env)?;
        let checkpoint_dir = self.checkpoint_dir.or_else(|| env("EMBERFLOW_CHECKPOINT_DIR").map(PathBuf::from));
        if let Some(dir) = &checkpoint_dir {
            check_checkpoint_dir(dir)?;
        }
        let app_name = self.app_name.or_else(|| env("EMBERFLOW_APP_NAME")).unwrap_or_else(|| "emberflow".to_owned());
        if app_name.contains('\0') {
            return Err(invalid("app_name", &app_name, "threads cannot be named with a null byte".to_owned()));
        }
        let limit = self.task_failure_limit;
        let limit = positive("task_failure_limit", "EMBERFLOW_TASK_FAILURE_LIMIT", limit, env)?;
        let partitions = self.default_partitions;
        let partitions = positive("default_partitions", "EMBERFLOW_DEFAULT_PARTITIONS", partitions, env)?;
        let batch_rows = positive("batch_rows", "EMBERFLOW_BATCH_ROWS", self.batch_rows, env)?;
        let hash_seed = match (self.hash_seed, env("EMBERFLOW_HASH_SEED")) {
            (Some(seed), _) => seed,
            (None, Some(text)) => text
                .trim()
                .parse()
                .map_err(|_| invalid("EMBERFLOW_HASH_SEED", &text, "give a number from 0 to 2^64 - 1".to_owned()))?,
            (None, None) => 0,
        };
        let spill_compression = switch("EMBERFLOW_SPILL_COMPRESSION", self.spill_compression, env)?;
        let force_spill = switch("EMBERFLOW_FORCE_SPILL", self.force_spill, env)?;
        let job_summary = switch("EMBERFLOW_JOB_SUMMARY", self.job_summary, env)?;
        let check_determinism = env("EMBERFLOW_CHECK_DETERMINISM").is_none_or(|text| text == "on");
        let check_determinism = match self.check_determinism {
            None if !check_determinism => switch("EMBERFLOW_CHECK_DETERMINISM", None, env)?,
            given => given.unwrap_or(true),
        };
        let cancel_on_signal = switch("EMBERFLOW_CANCEL_ON_SIGNAL", self.cancel_on_signal, env)?;
        let task_deadline = duration(("task_deadline", "EMBERFLOW_TASK_DEADLINE"), self.task_deadline, env)?;
        let stall_timeout = duration(("stall_timeout", "EMBERFLOW_STALL_TIMEOUT"), self.stall_timeout, env)?;
        let quantile = ("speculation_quantile", "EMBERFLOW_SPECULATION_QUANTILE");
        let quantile = number(quantile, self.speculation_quantile, 0.0..=1.0, "a number from 0 to 1", env)?;
        let multiplier = ("speculation_multiplier", "EMBERFLOW_SPECULATION_MULTIPLIER");
        let multiplier =
            number(multiplier, self.speculation_multiplier, 1.0..=f64::MAX, "a number of at least 1", env)?;
        let speculation = switch("EMBERFLOW_SPECULATION", self.speculation, env)?.then(|| Speculation {
            quantile: quantile.unwrap_or(SPECULATION_QUANTILE),
            multiplier: multiplier.unwrap_or(SPECULATION_MULTIPLIER),
            least: SPECULATION_LEAST,
        });
        let progress = match (self.progress, env("EMBERFLOW_PROGRESS").as_deref()) {
            (Some(progress), _) => progress,
            (None, None | Some("auto")) => Progress::Auto,
            (None, Some("on")) => Progress::On,
            (None, Some("off")) => Progress::Off,
            (None, Some(text)) => {
                return Err(invalid("EMBERFLOW_PROGRESS", text, "give auto, on or off".to_owned()));
            }
        };
        let task_failure_limit = limit.unwrap_or(DEFAULT_TASK_FAILURE_LIMIT);
        #[cfg(feature = "chaos")]
        let chaos = chaos::faults(self.chaos, task_failure_limit, env)?;
        #[cfg(not(feature = "chaos"))]
        let chaos = chaos::faults(env)?;
        #[cfg(feature = "s3")]
        let s3 = s3_from(self.s3, env)?;
        let engine = Engine::start(Config {
            app_name,
            workers,
            memory_budget_bytes,
            spill_dirs,
            spill_limit_bytes,
            spill_compression,
            force_spill,
            task_failure_limit,
            task_deadline,
            stall_timeout,
            speculation,
            check_determinism,
            batch_rows: batch_rows.unwrap_or(DEFAULT_BATCH_ROWS),
            progress,
            job_summary,
            chaos,
        })?;
        let partitions = partitions.unwrap_or(DEFAULT_PARTITIONS);
        let ctx = Context::start(
            engine,
            hash_seed,
            partitions,
            checkpoint_dir,
            #[cfg(feature = "s3")]
            s3,
        );
        if cancel_on_signal {
            ctx.shared()
                .engine
                .follow_signals()
                .map_err(|error| invalid("cancel_on_signal", "on", format!("cannot handle signals here: {error}")))?;
        }
        ctx.show(shown)?;
        Ok(ctx)
    }

    /// The port of the page, and the directory of the event log, if they are wanted.
    #[cfg(feature = "ui")]
    fn shown(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Shown> {
        let port = match env("EMBERFLOW_UI").filter(|_| self.ui.is_none()).as_deref().map(str::trim) {
            None => self.ui,
            Some("off") => None,
            Some("on") => Some(UI_PORT),
            Some(text) => match text.parse() {
                Ok(port) => Some(port),
                Err(_) => return Err(invalid("EMBERFLOW_UI", text, "give on, off, or a port such as 4040".to_owned())),
            },
        };
        let event_log = self.event_log.clone().or_else(|| env("EMBERFLOW_EVENT_LOG").map(PathBuf::from));
        let page = port.map(|port| self.listen(port, env)).transpose()?;
        Ok(Shown { page, event_log })
    }

    /// Where the page listens, and to whom it answers.
    #[cfg(feature = "ui")]
    fn listen(&self, port: u16, env: &dyn Fn(&str) -> Option<String>) -> Result<Listen> {
        let local = Listen::locally(port);
        let address = match (self.ui_address, env("EMBERFLOW_UI_ADDRESS")) {
            (Some(address), _) => address,
            (None, None) => local.address,
            (None, Some(text)) => text.trim().parse().map_err(|_| {
                let reason = "give an address of this machine such as 127.0.0.1, or 0.0.0.0 for all of them";
                invalid("EMBERFLOW_UI_ADDRESS", &text, reason.to_owned())
            })?,
        };
        let (setting, hosts) = match (&*self.ui_hosts, env("EMBERFLOW_UI_HOSTS")) {
            ([], Some(text)) => ("EMBERFLOW_UI_HOSTS", text.split(',').map(|host| host.trim().to_owned()).collect()),
            (hosts, _) => ("ui_host", hosts.to_vec()),
        };
        let parse = |host: &String| host.parse().map_err(|reason: &str| invalid(setting, host, reason.to_owned()));
        let hosts = hosts.iter().map(parse).collect::<Result<_>>()?;
        let (setting, token) = match &self.ui_token {
            Some(token) => ("ui_token", Some(token.0.clone())),
            None => ("EMBERFLOW_UI_TOKEN", env("EMBERFLOW_UI_TOKEN")),
        };
        let chosen = |token: String| Token::chosen(&token).map_err(|reason| invalid(setting, "***", reason.to_owned()));
        Ok(Listen { address, hosts, token: token.map(chosen).transpose()?, ..local })
    }

    #[cfg(not(feature = "ui"))]
    fn shown(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Shown> {
        for name in ["EMBERFLOW_UI", "EMBERFLOW_EVENT_LOG"] {
            if let Some(text) = env(name).filter(|text| text.trim() != "off") {
                let reason = "this program was built without emberflow's feature `ui`; build it with the feature, or \
                              unset the variable";
                return Err(invalid(name, &text, reason.to_owned()));
            }
        }
        Ok(Shown {})
    }
}

/// What the environment says of S3 beyond what the AWS SDK reads there itself.
#[cfg(feature = "s3")]
fn s3_from(
    given: Option<emberflow_s3::S3Config>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<emberflow_s3::S3Config> {
    if let Some(config) = given {
        return Ok(config);
    }
    let mut config = emberflow_s3::S3Config::new();
    if let Some(url) = env("AWS_ENDPOINT_URL_S3").or_else(|| env("AWS_ENDPOINT_URL")) {
        config = config.endpoint(url);
    }
    if env("EMBERFLOW_S3_PATH_STYLE").is_some() {
        config = config.path_style(switch("EMBERFLOW_S3_PATH_STYLE", None, env)?);
    }
    if switch("EMBERFLOW_S3_ANONYMOUS", None, env)? {
        config = config.anonymous();
    }
    Ok(config)
}

/// What is not to be printed.
#[cfg(feature = "ui")]
#[derive(Clone)]
struct Secret(String);

#[cfg(feature = "ui")]
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How the application is to be seen.
pub(super) struct Shown {
    #[cfg(feature = "ui")]
    pub(super) page: Option<Listen>,
    #[cfg(feature = "ui")]
    pub(super) event_log: Option<PathBuf>,
}

/// It need not exist yet.
pub(super) fn check_checkpoint_dir(dir: &Path) -> Result<()> {
    if storage::is_s3(dir) {
        let reason = "checkpoints are written to local directories; write to S3 with save_as_object_file, and read it \
                      with object_file"
            .to_owned();
        return Err(invalid("checkpoint_dir", &dir.display().to_string(), reason));
    }
    if dir.as_os_str().is_empty() || (dir.exists() && !dir.is_dir()) {
        let reason = "not a directory; choose another one, existing or not".to_owned();
        return Err(invalid("checkpoint_dir", &dir.display().to_string(), reason));
    }
    Ok(())
}

pub(super) fn invalid(setting: &'static str, value: &str, reason: String) -> Error {
    Error::InvalidSetting { setting, value: value.to_owned(), reason }
}

/// Something that is on or off, and off unless told otherwise.
fn switch(name: &'static str, given: Option<bool>, env: &dyn Fn(&str) -> Option<String>) -> Result<bool> {
    match (given, env(name).as_deref()) {
        (Some(on), _) => Ok(on),
        (None, None | Some("off")) => Ok(false),
        (None, Some("on")) => Ok(true),
        (None, Some(text)) => Err(invalid(name, text, "give on or off".to_owned())),
    }
}

/// A number of bytes: what the builder was given, or else the environment.
fn size(name: &'static str, given: Option<u64>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<u64>> {
    let Some(text) = env(name).filter(|_| given.is_none()) else { return Ok(given) };
    match ByteSize::from_str(&text) {
        Ok(size) => Ok(Some(size.as_u64())),
        Err(reason) => Err(invalid(name, &text, format!("{reason}; give a size such as 512MiB or 2GiB"))),
    }
}

/// A time that is not zero, from the builder or else from the environment.
fn duration(
    (setting, variable): (&'static str, &'static str),
    given: Option<Duration>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Duration>> {
    let reason = || "give a time such as 90s or 10min".to_owned();
    match (given, env(variable)) {
        (Some(Duration::ZERO), _) => Err(invalid(setting, "0s", reason())),
        (Some(time), _) => Ok(Some(time)),
        (None, Some(text)) => match humantime::parse_duration(text.trim()) {
            Ok(time) if !time.is_zero() => Ok(Some(time)),
            _ => Err(invalid(variable, &text, reason())),
        },
        (None, None) => Ok(None),
    }
}

/// A number within bounds, from the builder or else from the environment.
fn number(
    (setting, variable): (&'static str, &'static str),
    given: Option<f64>,
    bounds: RangeInclusive<f64>,
    right: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<f64>> {
    let reason = || format!("give {right}");
    match (given, env(variable)) {
        (Some(number), _) if bounds.contains(&number) => Ok(Some(number)),
        (Some(number), _) => Err(invalid(setting, &number.to_string(), reason())),
        (None, Some(text)) => match text.trim().parse() {
            Ok(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => Err(invalid(variable, &text, reason())),
        },
        (None, None) => Ok(None),
    }
}

/// A setting that must be at least one, from the builder or else from the environment.
fn positive(
    setting: &'static str,
    variable: &'static str,
    given: Option<usize>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<usize>> {
    let reason = || "give a whole number, at least 1".to_owned();
    match (given, env(variable)) {
        (Some(0), _) => Err(invalid(setting, "0", reason())),
        (Some(number), _) => Ok(Some(number)),
        (None, Some(text)) => match text.trim().parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(invalid(variable, &text, reason())),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_of(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_builder_outranks_the_environment_and_the_environment_the_default() {
        let env = env_of(&[
            ("EMBERFLOW_WORKERS", "3"),
            ("EMBERFLOW_MEMORY_BUDGET", "2MiB"),
            ("EMBERFLOW_APP_NAME", "films"),
            ("EMBERFLOW_DEFAULT_PARTITIONS", "5"),
            ("EMBERFLOW_PROGRESS", "off"),
        ]);
        let ctx = ContextBuilder::default().workers(1).build_from(&env).unwrap();
        assert_eq!((ctx.workers(), ctx.memory().budget, ctx.app_name()), (1, 2 << 20, "films"));
        assert_eq!(ctx.default_partitions(), 5);
        let ctx = ContextBuilder::default().build_from(&env).unwrap();
        assert_eq!(ctx.workers(), 3);
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_what_would_be_right() {
        let error = |pairs| ContextBuilder::default().build_from(&env_of(pairs)).err().unwrap().to_string();
        assert_eq!(
            error(&[("EMBERFLOW_WORKERS", "many")]),
            "EMBERFLOW_WORKERS = \"many\": give a whole number, at least 1"
        );
        assert!(error(&[("EMBERFLOW_MEMORY_BUDGET", "lots")]).contains("such as 512MiB"));
        assert!(error(&[("EMBERFLOW_PROGRESS", "yes")]).contains("auto, on or off"));
        // Either it is no seed, or the feature that it needs is missing.
        assert!(error(&[("EMBERFLOW_CHAOS", "much")]).contains("EMBERFLOW_CHAOS = \"much\": "));
        assert!(error(&[("EMBERFLOW_FORCE_SPILL", "1")]).contains("give on or off"));
        // Either it is no port, or the feature that it needs is missing.
        assert!(error(&[("EMBERFLOW_UI", "everywhere")]).contains("EMBERFLOW_UI = \"everywhere\": "));
        assert!(error(&[("EMBERFLOW_TASK_DEADLINE", "soon")]).contains("such as 90s"));
        assert!(error(&[("EMBERFLOW_STALL_TIMEOUT", "0s")]).contains("such as 90s"));
        assert!(error(&[("EMBERFLOW_SPECULATION_QUANTILE", "75%")]).contains("from 0 to 1"));
        assert!(error(&[("EMBERFLOW_CHECK_DETERMINISM", "no")]).contains("give on or off"));
        assert!(error(&[("EMBERFLOW_SPILL_DIR", "/no/such/dir")]).contains("not a directory"));
        assert!(error(&[("EMBERFLOW_CHECKPOINT_DIR", "/dev/null")]).contains("not a directory"));
        #[cfg(feature = "ui")]
        {
            let on = ("EMBERFLOW_UI", "0");
            let error = |pair| {
                let env = [on, pair];
                let env =
                    move |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
                ContextBuilder::default().build_from(&env).err().map(|error| error.to_string()).unwrap_or_default()
            };
            assert!(error(("EMBERFLOW_UI_ADDRESS", "localhost")).contains("such as 127.0.0.1"));
            assert!(
                error(("EMBERFLOW_UI_HOSTS", "a.example, b/c")).contains("EMBERFLOW_UI_HOSTS = \"b/c\": give a name")
            );
            let token = error(("EMBERFLOW_UI_TOKEN", "hunter2"));
            assert!(token.contains("at least 16") && !token.contains("hunter2"), "{token}");
            assert_eq!(error(("EMBERFLOW_UI_HOSTS", "a.example,b.example:8443")), "");
        }
        let error = ContextBuilder::default().workers(0).build().err().unwrap().to_string();
        assert_eq!(error, "workers = \"0\": give a whole number, at least 1");
    }
}
