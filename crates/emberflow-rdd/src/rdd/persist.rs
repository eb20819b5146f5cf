//! `cache`, `persist` and `unpersist`: rows that stay between jobs, in memory or on disk.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use emberflow_core::{
    cache::CacheWriter,
    data::{Data, ExchangeData},
    error::{Error, Result},
    event::Event,
    lineage::Persisted,
    memory::Keep,
};

use emberflow_runtime::in_task;

use super::Rdd;

/// Events that wait while `unpersist_and_wait` looks away.
const EVENTS: usize = 1 << 10;

/// How long it waits for an event before it asks again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Where the rows of a persisted RDD are kept; see [`Rdd::persist`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StorageLevel {
    /// Rows stay in memory as live rows while the budget has room; those that come then go to disk. [`Rdd::cache`]
    /// chooses this level.
    #[default]
    MemoryAndDisk,
    /// As [`MemoryAndDisk`](Self::MemoryAndDisk), but a partition that finds no room is not written if it was computed
    /// faster than it could be written and read back, by what the disk has taken so far: it is dropped when the tasks
    /// that wait for it have read it, and computed again for those that come later. For RDDs that are made of what is
    /// at hand, where the disk would be the slower one.
    Auto,
    /// In memory, whether the budget has room or not. For rows that cannot be serialised, or are too slow to be.
    MemoryOnly,
    /// Serialised in memory while the budget has room, and on disk what comes then: less memory for rows that own many
    /// small things, and time to read them back whenever they are used.
    MemorySerialized,
    /// On disk: memory is left to others.
    DiskOnly,
    /// Nowhere: the RDD is left as it is. For programs that take the level from their settings.
    Off,
}

impl StorageLevel {
    fn keep(self) -> Option<Keep> {
        match self {
            Self::MemoryAndDisk => Some(Keep::IfRoom),
            Self::Auto => Some(Keep::Auto),
            Self::MemoryOnly => Some(Keep::InMemory),
            Self::MemorySerialized => Some(Keep::Serialized),
            Self::DiskOnly => Some(Keep::OnDisk),
            Self::Off => None,
        }
    }
}

impl<T: Data> Rdd<T> {
    /// Keeps the rows of this RDD once they are computed: in memory, and on disk when memory is tight.
    ///
    /// [`persist`](Self::persist) with [`StorageLevel::MemoryAndDisk`]. It holds for this RDD whatever becomes of the handle
    /// that it gives, so `rows.cache();` is a statement that does something.
    ///
    /// # Panics
    /// As [`persist`](Self::persist).
    ///
    /// Nothing is computed now: each partition is kept when a job first needs it, by an actor of its own, as live rows
    /// that later jobs read in place. A partition that finds no room in the
    /// [budget](crate::ContextBuilder::memory_budget) is written to a file in the
    /// [spill directory](crate::ContextBuilder::spill_dir), and read back by each job that needs it. A partition that
    /// is lost, or damaged on disk, is computed again when it is needed. The rows are released by [`unpersist`](Self::unpersist), or when the last RDD that is made from this one is dropped.
    ///
    /// Gives the same RDD, so that calls can be chained. Rows that went to disk come back
    /// [as serde gives them](Rdd#rows): let serde write all of their fields.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # let ctx = Context::local(2)?;
    /// let calls = Arc::new(AtomicU64::new(0));
    /// let counter = Arc::clone(&calls);
    /// let rows = ctx.range(0..100_u64).map(move |n| { counter.fetch_add(1, Ordering::Relaxed); n }).cache();
    /// assert_eq!(rows.count()? + rows.count()?, 200);
    /// assert_eq!(calls.load(Ordering::Relaxed), 100);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cache(&self) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.persist(StorageLevel::MemoryAndDisk)
    }

    /// As [`cache`](Self::cache), where `level` says.
    ///
    /// # Panics
    /// If the RDD is persisted already at another level: [`unpersist`](Self::unpersist) it first. Spark throws, too.
    ///
    /// ```
    /// # use emberflow::{prelude::*, StorageLevel};
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["to".to_owned(), "be".to_owned()]).persist(StorageLevel::DiskOnly);
    /// assert_eq!((words.count()?, words.collect()?.concat()), (2, "tobe".to_owned()));
    /// assert!(ctx.memory().persisted == 0 && ctx.memory().spilled > 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A partition that is kept makes room for others, of RDDs that no running job reads, when they are worth several
    /// times as much: by what it would take to get a byte of it back (to compute it, with [`StorageLevel::Auto`], or to
    /// write and read it), and by how many jobs ago it could last be read. It is dropped if its level lets it be computed
    /// again and that is quicker, and else written to disk.
    #[track_caller]
    pub fn persist(&self, level: StorageLevel) -> Rdd<T>
    where
        T: ExchangeData,
    {
        let Some(keep) = level.keep() else { return self.clone() };
        let mut persisted = self.node().persisted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = persisted.as_ref().map(|persisted| persisted.keep);
        if before.is_none() {
            let store = self.shared().engine.next_store();
            let guard = self.shared().guard(store);
            *persisted = Some(Persisted { store, keep, writer: Arc::new(CacheWriter::<T>::new(keep)), guard });
            self.shared().cached.add(self.node());
        }
        drop(persisted);
        assert!(
            before.is_none_or(|before| before == keep),
            "{self:?} is persisted already, at another level than {level:?}: unpersist it first"
        );
        self.clone()
    }
}

impl<T: Data> Rdd<T> {
    /// Releases the rows that [`cache`](Self::cache) has kept. Jobs that run now still finish with them.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..100_u64).cache();
    /// rows.count()?;
    /// rows.unpersist();
    /// assert!(!rows.is_cached());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unpersist(&self) {
        // The guard releases the store when it is dropped.
        drop(self.node().persisted.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// As [`unpersist`](Self::unpersist), and waits until the rows are released: for the jobs that still read them.
    ///
    /// # Errors
    /// [`Error::NestedAction`] inside a task; [`Error::ContextClosed`] if the context is stopped: then nothing is kept.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..100_u64).cache();
    /// rows.count()?;
    /// rows.unpersist_and_wait()?;
    /// assert!(ctx.storage()?.is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unpersist_and_wait(&self) -> Result<()> {
        if in_task() {
            return Err(Error::NestedAction { what: "unpersist_and_wait" });
        }
        let engine = &self.shared().engine;
        let mut events = engine.subscribe(EVENTS);
        let taken = self.node().persisted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(store) = taken.map(|persisted| persisted.store) else { return Ok(()) };
        // Events are missed by who is slow, so the store itself is asked now and then.
        while self.shared().backend.store_state(store)?.is_some() {
            let over = |event| matches!(event, Event::StoreDropped { store: dropped, .. } if dropped == store);
            while events.next_within(POLL_INTERVAL).is_some_and(|record| !over(record.event)) {}
        }
        Ok(())
    }

    /// Returns whether the rows are kept once they are computed.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.range(0..9_u64).cache().is_cached());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_cached(&self) -> bool {
        self.node().persisted().is_some()
    }
}
