//! The builder of a context: a method for each setting, and the start. `settings` says what they are and which values
//! are right.

use std::{env, path::Path, sync::Arc, time::Duration};

#[cfg(not(feature = "spark"))]
use emberflow_core::backend::Backend;
use emberflow_core::error::Result;
use emberflow_runtime::{Config, Engine, Progress, Speculation};
#[cfg(feature = "ui")]
use emberflow_ui::security::Listen;

use super::{
    Context, chaos,
    settings::{Env, Given, invalid},
};

/// A task is not slow before it has run for so long.
const SPECULATION_LEAST: Duration = Duration::from_millis(100);

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
    pub(super) given: Given,
    #[cfg(feature = "s3")]
    pub(super) s3: Option<emberflow_s3::S3Config>,
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
        self.given.app_name = Some(name.into());
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
        self.given.workers = Some(workers);
        self
    }

    /// Bytes that rows may take in memory. `EMBERFLOW_MEMORY_BUDGET`, such as `2GiB`; by default 60 % of what the
    /// container or the machine has.
    ///
    /// Counted in [`Context::memory`] are persisted partitions and map outputs, what tasks work on (hash tables, sort
    /// buffers, rows that they gather), and the results of [`collect`](crate::Rdd::collect). Rows that find no room go
    /// to the [`spill_dir`](Self::spill_dir), and come back as serde gives them (see
    /// [`ExchangeData`](crate::ExchangeData)). Kept rows may take three quarters of the budget, and the rows that a
    /// task works on an equal share of the rest. Not counted are the batches that move through a task (64 KiB for each
    /// of its operators, and what their rows own) and 1 MiB a worker for what is being written; the least that makes
    /// sense is some MiB.
    ///
    /// Results do not depend on it. Rows that have to be in memory as a whole and do not fit, a result or the values of
    /// one key that are to be grouped, are an error; 16 MiB are always allowed. With `u64::MAX`, nothing is counted but
    /// what is kept.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().memory_budget(1 << 30).build()?.memory().budget, 1 << 30);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.given.memory_budget = Some(bytes);
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
    pub fn spill_dir(self, dir: impl AsRef<Path>) -> Self {
        self.spill_dirs([dir])
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
        let dirs: Vec<_> = dirs.into_iter().map(|dir| dir.as_ref().to_owned()).collect();
        self.given.spill_dir = (!dirs.is_empty()).then_some(dirs);
        self
    }

    /// Bytes that the files of spilled partitions may have. `EMBERFLOW_SPILL_LIMIT`, such as `100GiB`; by default there is no limit
    /// but the disk. A job that would go beyond it fails, and the context goes on.
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
        self.given.spill_limit = Some(Some(bytes));
        self
    }

    /// Sets whether spilled rows are compressed with LZ4: for slow disks, and rows that repeat themselves.
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
        self.given.spill_compression = Some(compress);
        self
    }

    /// Sets whether nothing finds room in memory, whatever the budget: every operator goes to disk. This is for tests
    /// of that, and of rows that must come back from there. `EMBERFLOW_FORCE_SPILL`, which is `on` or `off`; off by
    /// default.
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
        self.given.force_spill = Some(force);
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
        self.given.checkpoint_dir = Some(Some(dir.as_ref().to_owned()));
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
        self.given.task_failure_limit = Some(failures);
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
        self.given.task_deadline = Some(Some(limit));
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
        self.given.stall_timeout = Some(Some(limit));
        self
    }

    /// Sets whether a task that is much slower than the others of its stage is computed a second time while workers are
    /// idle: the first to be done ends the other. `EMBERFLOW_SPECULATION`, which is `on` or `off`; off by default.
    /// Results do not depend on it; a closure's effects on the outside may be done twice.
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
        self.given.speculation = Some(on);
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
        self.given.speculation_quantile = Some(share);
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
        self.given.speculation_multiplier = Some(times);
        self
    }

    /// Sets whether a job fails with [`Error::NotDeterministic`](crate::Error::NotDeterministic) when a partition that
    /// was lost is made again and is not what it was, while others have been made of what it was: its result would mix
    /// both. `EMBERFLOW_CHECK_DETERMINISM`, which is `on` or `off`; on by default. If off, the log and an
    /// [event](crate::Event::PartitionDiffers) tell of it, and the job goes on.
    ///
    /// The numbers of rows are compared, for each reducer by itself, and their checksums where rows were serialised both
    /// times, on disk as a rule. Other differences are not seen. Rows that serde writes in another way each time, such
    /// as those that own a `HashMap`, differ for this check though they are equal: use a `BTreeMap` there.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().check_determinism(false).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_determinism(mut self, check: bool) -> Self {
        self.given.check_determinism = Some(check);
        self
    }

    /// Sets whether SIGINT (Ctrl-C) and SIGTERM end the jobs of this context: those that run as
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
        self.given.cancel_on_signal = Some(cancel);
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
        self.given.default_partitions = Some(partitions);
        self
    }

    /// Rows that a batch holds at most (and no more than 64 KiB). `EMBERFLOW_BATCH_ROWS`; 1024 by default. This is for
    /// tests and measurements.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// assert_eq!(Context::builder().batch_rows(1).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.given.batch_rows = Some(rows);
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
        self.given.hash_seed = Some(seed);
        self
    }

    /// Progress bars on standard error, one line a stage that has run for half a second. `EMBERFLOW_PROGRESS`, which is
    /// `auto`, `on` or `off`; by default on if it is a terminal. They are gone before an action returns; output that is
    /// to be written meanwhile goes through [`Context::suspend_progress`].
    ///
    /// ```
    /// # use emberflow::{Progress, prelude::*};
    /// assert_eq!(Context::builder().progress(Progress::Off).build()?.range(0..99_u64).count()?, 99);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn progress(mut self, progress: Progress) -> Self {
        self.given.progress = Some(progress);
        self
    }

    /// Sets whether a table on standard error tells of each job when it has ended: its stages with their tasks, rows,
    /// bytes, what they spilled, and times. `EMBERFLOW_JOB_SUMMARY`, which is `on` or `off`; off by default. It is
    /// written before the action returns.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().job_summary(true).build()?;
    /// assert_eq!(ctx.range(0..99_u64).map(|n| (n % 9, n)).reduce_by_key(|a, b| a + b).count()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn job_summary(mut self, wanted: bool) -> Self {
        self.given.job_summary = Some(wanted);
        self
    }

    /// Runs the jobs on Apache Spark, if it is given: `local[2]`, `local-cluster[2,1,1024]`, `spark://host:7077`, or what
    /// else Spark's `--master` takes. `EMBERFLOW_MASTER`; none by default: jobs run in this process. `SPARK_HOME` says
    /// where Spark is. The tasks are run by this program, which Spark starts once more for each of them: call
    /// [`init`](crate::init) first of all in `main`. Only with the feature `spark`.
    ///
    /// ```no_run
    /// use emberflow::prelude::*;
    ///
    /// emberflow::init();
    /// let ctx = Context::builder().master("local[2]").build()?;
    /// assert_eq!(ctx.range(0..1_000_u64).map(|n| (n % 7, n)).reduce_by_key(|a, b| a + b).count()?, 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "spark")]
    pub fn master(mut self, master: impl Into<String>) -> Self {
        self.given.master = Some(Some(master.into()));
        self
    }

    /// Gives Spark its own settings by a file of properties, in place of `conf/spark-defaults.conf` of `SPARK_HOME`:
    /// addresses, memory and cores of executors, the secret of the cluster. `EMBERFLOW_SPARK_CONF`; none by default. A file
    /// that holds a secret has to be its owner's alone (mode 0600). Only with the feature `spark`, and only with a
    /// [`master`](Self::master).
    ///
    /// ```no_run
    /// use emberflow::prelude::*;
    ///
    /// emberflow::init();
    /// let ctx = Context::builder().master("spark://host:7077").spark_conf("cluster.conf").build()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[cfg(feature = "spark")]
    pub fn spark_conf(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.given.spark_conf = Some(Some(file.into()));
        self
    }

    /// Starts the context.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) naming the setting and what would be right;
    /// [`Error::NestedAction`](crate::Error::NestedAction) inside a task.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().workers(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "workers = \"0\": give a whole number, at least 1");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn build(self) -> Result<Context> {
        crate::worker::check_is_none()?;
        self.build_from(&|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    pub(crate) fn build_from(self, env: Env<'_>) -> Result<Context> {
        #[cfg(feature = "spark")]
        let is_budget_given = self.given.memory_budget.is_some() || env("EMBERFLOW_MEMORY_BUDGET").is_some();
        let set = self.given.settle(env)?;
        #[cfg(feature = "chaos")]
        let chaos = chaos::faults(set.chaos, set.task_failure_limit)?;
        #[cfg(not(feature = "chaos"))]
        let chaos = chaos::faults();
        #[cfg(feature = "s3")]
        let s3 = super::s3::config(self.s3, env)?;
        let speculation = set.speculation.then_some(Speculation {
            quantile: set.speculation_quantile,
            multiplier: set.speculation_multiplier,
            least: SPECULATION_LEAST,
        });
        let engine = Engine::start(Config {
            app_name: set.app_name,
            workers: set.workers,
            memory_budget_bytes: set.memory_budget,
            spill_dirs: set.spill_dir,
            spill_limit_bytes: set.spill_limit,
            spill_compression: set.spill_compression,
            force_spill: set.force_spill,
            task_failure_limit: set.task_failure_limit,
            task_deadline: set.task_deadline,
            stall_timeout: set.stall_timeout,
            speculation,
            check_determinism: set.check_determinism,
            batch_rows: set.batch_rows,
            progress: set.progress,
            job_summary: set.job_summary,
            chaos,
        })?;
        let engine = Arc::new(engine);
        #[cfg(feature = "spark")]
        let backend = super::spark::backend(&engine, set.master, set.spark_conf, is_budget_given)?;
        #[cfg(not(feature = "spark"))]
        let backend = Arc::clone(&engine) as Arc<dyn Backend>;
        let ctx = Context::start(
            engine,
            backend,
            set.hash_seed,
            set.default_partitions,
            set.checkpoint_dir,
            #[cfg(feature = "s3")]
            s3,
        );
        if set.cancel_on_signal {
            ctx.shared()
                .engine
                .follow_signals()
                .map_err(|error| invalid("cancel_on_signal", "on", format!("cannot handle signals here: {error}")))?;
        }
        #[cfg(feature = "ui")]
        {
            let listen = |port| Listen { address: set.ui_address, port, hosts: set.ui_host, token: set.ui_token };
            ctx.show(set.ui.map(listen), set.event_log)?;
        }
        Ok(ctx)
    }
}

#[cfg(feature = "chaos")]
impl ContextBuilder {
    /// Faults on purpose: see [`testing`](crate::testing). `EMBERFLOW_CHAOS`, which is a seed; none by default.
    /// Only with the feature `chaos`.
    ///
    /// ```
    /// # use emberflow::{prelude::*, testing::Schedule};
    /// let ctx = Context::builder().chaos(Schedule::seeded(7)).build()?;
    /// assert_eq!(ctx.range(0..1000_u64).map(|n| n % 7).distinct().count()?, 7);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn chaos(mut self, schedule: emberflow_core::chaos::Schedule) -> Self {
        self.given.chaos = Some(Some(schedule));
        self
    }
}
