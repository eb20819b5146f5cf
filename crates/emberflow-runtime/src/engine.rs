//! The engine: starts and stops everything, and is the only door to it.
//!
//! The actors run in an actix system on a thread of its own, so that an engine can be started from anywhere, also from
//! inside a tokio runtime: the coordinator and the partition actors on the system's own arbiter, since what they tell
//! each other would else wake a thread each time, and the governor on one of its own. Stopping joins every thread, on a thread that may block.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use actix::{Actor, Addr, Arbiter, System};
use emberflow_core::{
    backend::{Backend, Job, JobSpec, StoreState, Which},
    error::{Error, Result},
    event::Event,
    ids::{JobId, PartitionIndex, RddId, StoreId, TaskId},
    plan::StageOutline,
    task::{AtWork, Io},
};
use tokio::sync::oneshot;

use crate::{
    bus::{Bus, EventStream},
    config::Config,
    console::Console,
    coordinator::{
        CancelAll, CancelJob, CancelMatching, Coordinator, DescribeStore, Forget, KillPartition, Lend, Links, Start,
        Stop, Submit, machine::Limits, watch::Patience,
    },
    governor::{Governor, Ledger, MemoryUse},
    io::TokioIo,
    job::JobHandle,
    mail::{Break, post},
    partition::Kill,
    pool::{Pool, Roster, in_task, is_ours, mark_thread},
    spill::SpillFiles,
    task_run::Elsewhere,
};

/// Losses in a row of what one task reads, after which its job fails.
const LOSS_LIMIT: u32 = 4;

/// Operators in a lineage from which on it is long: then a warning tells of it, and again each time it has doubled.
const LONG_LINEAGE: usize = 500;

/// Events that wait for the console.
const CONSOLE_EVENTS: usize = 1 << 16;

/// Everything that runs on behalf of one context.
pub struct Engine {
    id: u64,
    config: Config,
    coordinator: Addr<Coordinator>,
    governor: Addr<Governor>,
    ledger: Arc<Ledger>,
    roster: Roster,
    bus: Arc<Bus>,
    io: Arc<TokioIo>,
    console: Option<Arc<Console>>,
    threads: Mutex<Option<Threads>>,
    closed: AtomicBool,
    /// The signal that has interrupted it, or zero.
    interrupted: AtomicI32,
    long_lineage: AtomicUsize,
    /// Where tasks run, if not on the workers' own threads.
    elsewhere: Arc<OnceLock<Arc<dyn Elsewhere>>>,
    next_job: AtomicU64,
    next_rdd: AtomicU64,
    next_store: AtomicU64,
}

struct Threads {
    pool: Pool,
    /// How long a worker may take to end.
    patience: Option<Duration>,
    io: Arc<TokioIo>,
    system: System,
    system_thread: JoinHandle<()>,
    /// Those that read events, and end when there are no more.
    listeners: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts the threads and the actors.
    ///
    /// # Errors
    /// [`Error::NestedAction`] inside a task; [`Error::InvalidSetting`] if the system refuses the threads.
    pub fn start(config: Config) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if in_task() {
            return Err(Error::NestedAction { what: "making a context" });
        }
        let threads_refused = |reason: String| Error::InvalidSetting {
            setting: "workers",
            value: config.workers.to_string(),
            reason: format!("cannot start the threads: {reason}"),
        };
        let name = config.app_name.clone();
        let pool = Pool::start(&name, config.workers).map_err(|error| threads_refused(error.to_string()))?;
        let io = Arc::new(TokioIo::new(&name));
        let bus = Arc::new(Bus::new());
        let ledger = Arc::new(Ledger::new(
            config.memory_budget_bytes,
            config.workers,
            config.spill_limit_bytes,
            config.force_spill,
        ));
        let files = Arc::new(SpillFiles::new(
            &config.spill_dirs,
            Arc::clone(&ledger),
            config.spill_compression,
            Arc::clone(&bus),
        ));
        // Where faults are bounded, so are losses: there may be more of them in a row than life has.
        let losses = if config.chaos.is_bounded() { u32::MAX } else { LOSS_LIMIT };
        let limits = Limits {
            task_failures: config.task_failure_limit,
            losses,
            workers: config.workers,
            speculation: config.speculation,
            deterministic: config.check_determinism,
        };
        let (deadline, stall) = (config.task_deadline, config.stall_timeout);
        let patience = Patience { deadline, stall, speculation: config.speculation.is_some() };
        let chaos = config.chaos.clone();
        let elsewhere: Arc<OnceLock<Arc<dyn Elsewhere>>> = Arc::default();
        let tasks_elsewhere = Arc::clone(&elsewhere);
        let parts = (pool.handle(), Arc::clone(&io), Arc::clone(&bus), Arc::clone(&ledger), files, config.batch_rows);
        let (send, started) = crossbeam::channel::bounded(1);
        let run = move || {
            let (pool, io, bus, ledger, files, batch_rows) = parts;
            mark_thread();
            let system = System::new();
            let govern = system.block_on(async {
                let govern = Arbiter::new();
                govern.spawn_fn(mark_thread);
                let governor = Governor::start_in_arbiter(&govern.handle(), |_| Governor);
                let coordinator = Coordinator::new(Start {
                    limits,
                    batch_rows,
                    pool,
                    io,
                    bus,
                    governor: governor.clone(),
                    ledger,
                    files,
                    chaos,
                    patience,
                    elsewhere: tasks_elsewhere,
                });
                // The receiver waits for this very message.
                let _ = send.send((System::current(), coordinator.start(), governor));
                govern
            });
            if let Err(error) = system.run() {
                tracing::error!(%error, "the actor system ended with an error");
            }
            govern.stop();
            if govern.join().is_err() {
                tracing::error!("the governor's thread had panicked");
            }
        };
        let system_thread = thread::Builder::new().name(format!("{name}-coordinator")).spawn(run);
        let (system_thread, (system, coordinator, governor)) =
            match system_thread.map(|thread| (thread, started.recv())) {
                Ok((thread, Ok(started))) => (thread, started),
                Ok((_, Err(_))) => {
                    pool.stop(None);
                    return Err(threads_refused("the actor system did not start".to_owned()));
                }
                Err(error) => {
                    pool.stop(None);
                    return Err(threads_refused(error.to_string()));
                }
            };
        let console = Console::new(&config, || bus.subscribe(CONSOLE_EVENTS)).map(Arc::new);
        let engine = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            config,
            coordinator,
            governor,
            ledger,
            roster: pool.handle().roster(),
            bus,
            io: Arc::clone(&io),
            console,
            threads: Mutex::new(Some(Threads {
                pool,
                patience: patience.shortest(),
                io,
                system,
                system_thread,
                listeners: Vec::new(),
            })),
            closed: AtomicBool::new(false),
            interrupted: AtomicI32::new(0),
            long_lineage: AtomicUsize::new(LONG_LINEAGE),
            elsewhere,
            next_job: AtomicU64::new(0),
            next_rdd: AtomicU64::new(0),
            next_store: AtomicU64::new(0),
        };
        if let Some(console) = engine.console.clone()
            && let Err(error) = engine.start_listener("console", move || console.run())
        {
            tracing::warn!(%error, "cannot start the thread of the progress bars: they move only when a job ends");
        }
        Ok(engine)
    }

    /// Runs `listener` on a thread of its own, `{app}-{name}`, with all that happens from now on; up to `capacity` events
    /// wait for it. The events end when the engine stops; then the engine waits for the thread to end, too.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn listen(
        &self,
        name: &str,
        capacity: usize,
        listener: impl FnOnce(EventStream) + Send + 'static,
    ) -> std::io::Result<()> {
        let events = self.bus.subscribe(capacity);
        self.start_listener(name, move || listener(events))
    }

    /// Starts a thread that ends when the events do.
    fn start_listener(&self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = thread::Builder::new().name(format!("{}-{name}", self.config.app_name)).spawn(move || {
            mark_thread();
            run();
        })?;
        // After the end there is nobody to wait for it; its events have ended already.
        if let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            threads.listeners.push(thread);
        }
        Ok(())
    }

    /// Tells this engine from the others in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The I/O threads of the engine. After [`stop`](Self::stop) they take nothing more.
    pub fn io(&self) -> Arc<dyn Io> {
        Arc::clone(&self.io) as Arc<dyn Io>
    }

    /// The settings of the engine.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A fresh id for an RDD, larger than all before.
    pub fn next_rdd(&self) -> RddId {
        RddId::new(self.next_rdd.fetch_add(1, Ordering::Relaxed))
    }

    /// A fresh id for a store.
    pub fn next_store(&self) -> StoreId {
        StoreId::new(self.next_store.fetch_add(1, Ordering::Relaxed))
    }

    /// An action looks at a lineage of so many operators. Says so if it has become long.
    pub fn mind_lineage(&self, rdd: RddId, operators: usize, stages: usize) {
        let grown = |told: usize| (operators >= told).then(|| operators.saturating_mul(2));
        if self.long_lineage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok() {
            tracing::warn!(
                %rdd, operators, stages,
                "the lineage grows: each job walks through all of it; cut it with checkpoint or local_checkpoint"
            );
            self.bus.publish(&Event::LineageGrows { rdd, operators, stages });
        }
    }

    /// Has SIGINT and SIGTERM interrupt the engine.
    ///
    /// # Errors
    /// If the system refuses the handlers, or has no signals.
    #[cfg_attr(not(unix), allow(clippy::unused_self, reason = "elsewhere there is nothing to follow"))]
    pub fn follow_signals(self: &Arc<Self>) -> std::io::Result<()> {
        #[cfg(unix)]
        return crate::signals::follow(Arc::downgrade(self));
        #[cfg(not(unix))]
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Ends all jobs, and lets none begin. Returns whether that was not so already.
    pub fn interrupt(&self, signal: i32) -> bool {
        let before = self.interrupted.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        if self.is_closed() || before.is_err() {
            return false;
        }
        tracing::warn!(signal, app = self.config.app_name, "interrupted: all jobs end; once more ends the process");
        // A dead coordinator has no job to cancel.
        let _ = post(&self.coordinator, CancelAll);
        true
    }

    /// The signal that has interrupted it.
    pub fn interrupted(&self) -> Option<i32> {
        Some(self.interrupted.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Kills the actor of a stored partition as a fault would: its rows are gone, and nobody was asked. This is for
    /// tests of recovery. Returns which attempt made the partition, or is making it, if there was such an actor.
    ///
    /// # Errors
    /// [`Error::ContextClosed`] after [`stop`](Self::stop).
    pub fn kill_partition(&self, store: StoreId, partition: PartitionIndex) -> Result<Option<TaskId>> {
        self.ask(KillPartition { store, partition, how: Kill::Ends })
    }

    /// As [`kill_partition`](Self::kill_partition), by a panic in a handler of the actor's.
    ///
    /// # Errors
    /// [`Error::ContextClosed`] after [`stop`](Self::stop).
    pub fn break_partition(&self, store: StoreId, partition: PartitionIndex) -> Result<Option<TaskId>> {
        self.ask(KillPartition { store, partition, how: Kill::Panics })
    }

    /// Has a handler of the coordinator, or else of the governor, panic, as a bug of ours would. This is for tests.
    pub fn break_actor(&self, coordinator: bool) {
        // A dead one is broken already.
        let _ = if coordinator { post(&self.coordinator, Break) } else { post(&self.governor, Break) };
    }

    /// From now on tasks run there, as far as their stages can be sent. Returns whether none did before.
    pub(crate) fn run_tasks_in(&self, elsewhere: Arc<dyn Elsewhere>) -> bool {
        self.elsewhere.set(elsewhere).is_ok()
    }

    /// The addresses that tasks talk to.
    pub(crate) fn links(&self) -> Result<Arc<Links>> {
        self.ask(Lend)?.ok_or(Error::ContextDead { actor: "coordinator" })
    }

    /// The memory that rows take.
    pub fn memory(&self) -> MemoryUse {
        self.ledger.read()
    }

    /// The work that each worker is at now.
    pub fn workers_now(&self) -> Vec<Option<AtWork>> {
        self.roster.at_work()
    }

    /// Has the disk count as one that takes so long for a kilobyte, whatever it takes. This is for tests of decisions
    /// that depend on it.
    pub fn assume_disk_cost(&self, nanos_a_kilobyte: u64) {
        self.ledger.assume_disk_cost(nanos_a_kilobyte);
    }

    /// Has the process count as one that may take so many bytes of memory, whatever the system says. This is for tests.
    pub fn assume_memory_limit(&self, bytes: u64) {
        self.ledger.assume_memory_limit(bytes);
    }

    /// Runs `f` while no progress bar is on the screen.
    pub fn suspend_progress<R>(&self, f: impl FnOnce() -> R) -> R {
        match &self.console {
            Some(console) => console.suspend(f),
            None => f(),
        }
    }

    /// How many faults on purpose of each kind have struck at each point.
    #[cfg(feature = "chaos")]
    pub fn faults_injected(
        &self,
    ) -> std::collections::BTreeMap<(emberflow_core::chaos::Point, emberflow_core::chaos::Kind), u64> {
        self.config.chaos.injected()
    }

    /// The bus of its events, for another backend of the same context.
    pub fn bus(&self) -> Arc<Bus> {
        Arc::clone(&self.bus)
    }

    /// Subscribes to events; up to `capacity` of them wait for a slow reader.
    pub fn subscribe(&self, capacity: usize) -> EventStream {
        self.bus.subscribe(capacity)
    }

    /// Returns whether the engine was stopped.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::ContextClosed) } else { Ok(()) }
    }

    /// Asks the coordinator and waits for its answer, which it gives without waiting for anybody.
    fn ask<M>(&self, message: M) -> Result<M::Result>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send + 'static,
        Coordinator: actix::Handler<M>,
    {
        self.check_open()?;
        let (send, receive) = crossbeam::channel::bounded(1);
        let question = self.coordinator.send(message);
        // The question is put from a thread of actix's own: a mailbox future needs an executor.
        let system = {
            let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.as_ref().map(|threads| threads.system.clone()).ok_or(Error::ContextClosed)?
        };
        system.arbiter().spawn(async move {
            // The asker waits below until this is sent or dropped.
            let _ = send.send(question.await);
        });
        match receive.recv() {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => {
                self.check_open()?;
                Err(Error::ContextDead { actor: "coordinator" })
            }
        }
    }
}

impl Backend for Engine {
    fn submit(&self, JobSpec { stages, wanted, labels }: JobSpec) -> Result<Pin<Box<dyn Job>>> {
        self.check_open()?;
        if let Some(signal) = self.interrupted() {
            return Err(Error::Interrupted { signal });
        }
        if in_task() {
            let what = stages.last().map_or("an action", |stage| stage.info.name);
            return Err(Error::NestedAction { what });
        }
        let job = JobId::new(self.next_job.fetch_add(1, Ordering::Relaxed));
        let (send, receive) = oneshot::channel();
        let handle = JobHandle::new(job, receive, self.coordinator.clone(), self.console.clone());
        let outline = self.bus.is_heard().then(|| stages.iter().map(|stage| StageOutline::of(stage)).collect());
        post(
            &self.coordinator,
            Submit { job, stages, wanted, labels, outline, span: tracing::Span::current(), outcome: send },
        )
        .map_err(|_| Error::ContextDead { actor: "coordinator" })?;
        // Whoever interrupted it meanwhile may have ended the jobs before this one came.
        if self.interrupted().is_some() {
            Backend::cancel(self, job);
        }
        Ok(Box::pin(handle))
    }

    fn cancel(&self, job: JobId) {
        // A dead coordinator has no job to cancel.
        let _ = post(&self.coordinator, CancelJob { job });
    }

    fn cancel_all(&self, which: Which<'_>) -> Result<Vec<JobId>> {
        match which {
            Which::All => self.ask(CancelAll),
            Which::Group(group) => self.ask(CancelMatching::Group(group.to_owned())),
            Which::Tag(tag) => self.ask(CancelMatching::Tag(tag.to_owned())),
        }
    }

    fn store_state(&self, store: StoreId) -> Result<Option<StoreState>> {
        self.ask(DescribeStore { store })
    }

    fn forget(&self, store: StoreId) {
        // A dead coordinator has no store to release.
        let _ = post(&self.coordinator, Forget { store });
    }

    /// Ends all jobs, stops all actors, joins all threads. Safe to call from anywhere, and twice; from one of its own
    /// threads it does not wait, since it would wait for itself.
    fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return };
        let (coordinator, bus) = (self.coordinator.clone(), Arc::clone(&self.bus));
        let elsewhere = Arc::clone(&self.elsewhere);
        let stop = move || {
            // If the coordinator is dead, there is nobody to tell.
            let _ = post(&coordinator, Stop);
            threads.stop(&bus);
            if let Some(elsewhere) = elsewhere.get() {
                elsewhere.stop();
            }
        };
        match thread::Builder::new().name("emberflow-stop".to_owned()).spawn(stop) {
            Ok(thread) if !is_ours() => {
                if thread.join().is_err() {
                    tracing::error!("stopping the context panicked");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot start a thread to stop the context; its threads are left"),
        }
    }
}

impl Threads {
    fn stop(self, bus: &Bus) {
        self.pool.stop(self.patience);
        self.io.stop();
        self.system.stop();
        if self.system_thread.join().is_err() {
            tracing::error!("the coordinator's thread had panicked");
        }
        bus.close();
        for listener in self.listeners {
            if listener.join().is_err() {
                tracing::error!("a thread that read events had panicked");
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
