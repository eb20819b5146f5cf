//! What all promises share: a context in a directory of its own that proves at its end that nothing is left, a
//! deadline for what must not hang, a gate for closures, and questions to a list of events.

#![allow(dead_code, reason = "every test binary includes this module and uses a part of it")]

pub(crate) mod law;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fs,
    ops::Deref,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use emberflow::{
    Context, ContextBuilder, Event, EventStream, ExchangeData, Progress, Rdd, StageId, StoreId, testing::cache_store,
};
use tempfile::TempDir;

/// Far beyond what anything here takes: only a hang lasts so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The text that every panic on purpose carries, so that it is not printed.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// A context with a directory for the test and one for spills. When it is dropped, none of the context's threads may be
/// left, nor anything in its spill directory.
pub(crate) struct World {
    ctx: Option<Context>,
    name: String,
    dir: TempDir,
}

impl World {
    /// A world with so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self::with(|builder| builder.workers(workers))
    }

    /// A world with other settings.
    pub(crate) fn with(settings: impl FnOnce(ContextBuilder) -> ContextBuilder) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        silence_panics_on_purpose();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spill")).unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        // Short: the system shows 15 bytes of a thread's name.
        let name = format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let builder = Context::builder().app_name(&name).progress(Progress::Off).spill_dir(dir.path().join("spill"));
        Self { ctx: Some(settings(builder).build().unwrap()), name, dir }
    }

    /// A world with a budget, which holds whatever the environment says.
    pub(crate) fn with_budget(workers: usize, bytes: u64) -> Self {
        Self::with(|builder| builder.workers(workers).memory_budget(bytes).force_spill(false))
    }

    /// A world where everything stays in memory.
    pub(crate) fn roomy(workers: usize) -> Self {
        Self::with_budget(workers, 8 << 30)
    }

    /// A world where nothing stays in memory.
    pub(crate) fn tight(workers: usize) -> Self {
        Self::with(|builder| builder.workers(workers).force_spill(true))
    }

    /// The directory that it spills to.
    pub(crate) fn spill_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("spill")
    }

    /// A directory for the test's own files.
    pub(crate) fn files(&self) -> std::path::PathBuf {
        self.dir.path().join("files")
    }

    /// Stops the context now, and checks what is left.
    pub(crate) fn end(mut self) {
        self.check();
    }

    fn check(&mut self) {
        let Some(ctx) = self.ctx.take() else { return };
        ctx.stop();
        drop(ctx);
        if thread::panicking() {
            return;
        }
        let left = eventually(|| threads_of(&self.name), Vec::is_empty);
        assert_eq!(left, Vec::<String>::new(), "threads that outlive their context");
        assert_eq!(names_in(&self.dir.path().join("spill")), Vec::<String>::new(), "files that outlive their context");
    }
}

impl Deref for World {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.ctx.as_ref().expect("the context lives as long as its world")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.check();
    }
}

/// The names of this process's threads that a context of this name has started and that are left.
fn threads_of(name: &str) -> Vec<String> {
    let prefix = format!("{name}-");
    thread_names().into_iter().filter(|thread| thread.starts_with(&prefix)).collect()
}

/// The names of this process's threads; none where the system does not say.
pub(crate) fn thread_names() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

/// The names in a directory, sorted.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Looks again until it is so, or the deadline is over; gives what was seen last. For what no event tells of: a thread
/// that was joined leaves the system's list a moment later, and the governor's account is told asynchronously.
pub(crate) fn eventually<R>(mut look: impl FnMut() -> R, is_so: impl Fn(&R) -> bool) -> R {
    let until = Instant::now() + DEADLINE;
    loop {
        let seen = look();
        if is_so(&seen) || Instant::now() > until {
            return seen;
        }
        thread::yield_now();
    }
}

/// Runs `f` on a thread of its own, and fails if it hangs: a hang must be a failed test rather than a stuck one.
pub(crate) fn within_deadline<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        // The receiver has gone if the deadline was missed.
        let _ = send.send(panic::catch_unwind(AssertUnwindSafe(f)));
    });
    match receive.recv_timeout(DEADLINE) {
        Ok(outcome) => {
            thread.join().unwrap();
            outcome.unwrap_or_else(|payload| panic::resume_unwind(payload))
        }
        Err(error) => panic!("hangs: {error}"),
    }
}

/// Panics on purpose are part of many tests; their messages and backtraces would hide the ones that matter.
fn silence_panics_on_purpose() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let on_a_worker = thread::current().name().is_some_and(|name| name.contains("-worker-"));
            match text_of(info.payload()) {
                Some(text) if text.contains(ON_PURPOSE) => {}
                None if on_a_worker => {}
                _ => print(info),
            }
        }));
    });
}

/// What a panic said.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied())
}

/// Where closures wait for the test, and the test for closures.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    inner: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    arrived: usize,
    open: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// For a closure: says that it is here, and waits until the gate is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.inner;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived += 1;
        changed.notify_all();
        let (state, _) = changed.wait_timeout_while(state, 2 * DEADLINE, |state| !state.open).unwrap();
        assert!(state.open, "nobody opened the gate");
    }

    /// For the test: waits until so many closures have come.
    pub(crate) fn wait_for(&self, arrivals: usize) {
        let (state, changed) = &*self.inner;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = changed.wait_timeout_while(state, DEADLINE, |state| state.arrived < arrivals).unwrap();
        assert!(state.arrived >= arrivals, "{} of {arrivals} closures came to the gate", state.arrived);
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        let (state, changed) = &*self.inner;
        state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        changed.notify_all();
    }
}

/// A number that closures count up.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Counts one more, and says how many there were before.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Which partitions a closure has computed, in no order.
#[derive(Clone, Default)]
pub(crate) struct Computed(Arc<Mutex<Vec<usize>>>);

impl Computed {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&self, partition: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
    }

    /// What was computed since the last time, sorted.
    pub(crate) fn take(&self) -> Vec<usize> {
        let mut taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        taken.sort_unstable();
        taken
    }
}

/// Rows 0..100 in so many partitions, which write themselves down when they are computed.
pub(crate) fn watched(ctx: &Context, partitions: usize) -> (Rdd<u64>, Computed) {
    let computed = Computed::new();
    let seen = computed.clone();
    let rows = ctx.range_into(0..100_u64, partitions).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        rows
    });
    (rows, computed)
}

/// The store of a cached RDD.
pub(crate) fn store_of<T: ExchangeData>(rdd: &Rdd<T>) -> StoreId {
    cache_store(rdd).expect("cached")
}

/// Asserts that the context works, as it has to after every failure.
pub(crate) fn assert_works(ctx: &Context) {
    assert_eq!(ctx.range_into(0..10_u64, 3).count().unwrap(), 10);
}

/// The events that have come by now. When an action has returned, all the events of its job have.
pub(crate) fn drain(events: &mut EventStream) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).map(|record| record.event).collect()
}

/// The next event of which `find` makes something; fails if none comes before the deadline.
pub(crate) fn next_of<R>(events: &mut EventStream, find: impl Fn(&Event) -> Option<R>) -> R {
    let until = Instant::now() + DEADLINE;
    while let Some(record) = events.next_within(until.saturating_duration_since(Instant::now())) {
        if let Some(found) = find(&record.event) {
            return found;
        }
    }
    panic!("the event never came")
}

/// Partitions that were stored in a store, sorted.
pub(crate) fn stored_in(events: &[Event], store: StoreId) -> Vec<usize> {
    sorted(events.iter().filter_map(|event| match event {
        Event::PartitionStored { store: at, partition, .. } if *at == store => Some(*partition),
        _ => None,
    }))
}

/// Everything that was lost, sorted.
pub(crate) fn lost(events: &[Event]) -> Vec<(StoreId, usize)> {
    sorted(events.iter().filter_map(|event| match event {
        Event::PartitionLost { store, partition, .. } => Some((*store, *partition)),
        _ => None,
    }))
}

/// The partitions of finished tasks by the store that their stage writes, sorted.
pub(crate) fn finished_tasks(events: &[Event]) -> BTreeMap<StoreId, Vec<usize>> {
    let mut stores: HashMap<StageId, StoreId> = HashMap::new();
    let mut tasks: BTreeMap<StoreId, Vec<usize>> = BTreeMap::new();
    for event in events {
        match event {
            Event::StageStarted { stage, store, .. } => {
                stores.insert(*stage, *store);
            }
            Event::TaskFinished { stage, partition, .. } => tasks.entry(stores[stage]).or_default().push(*partition),
            _ => {}
        }
    }
    tasks.values_mut().for_each(|partitions| partitions.sort_unstable());
    tasks
}

/// The partitions of finished tasks that wrote this store, sorted.
pub(crate) fn finished_tasks_of(events: &[Event], store: StoreId) -> Vec<usize> {
    finished_tasks(events).remove(&store).unwrap_or_default()
}

/// The stores whose stages were skipped, sorted.
pub(crate) fn skipped(events: &[Event]) -> Vec<StoreId> {
    sorted(events.iter().filter_map(|event| match event {
        Event::StageSkipped { store, .. } => Some(*store),
        _ => None,
    }))
}

/// Failed attempts: number, and whether there is another one.
pub(crate) fn failures(events: &[Event]) -> Vec<(u32, bool)> {
    sorted(events.iter().filter_map(|event| match event {
        Event::TaskFailed { attempt, retried, .. } => Some((*attempt, *retried)),
        _ => None,
    }))
}

/// In ascending order.
pub(crate) fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}
