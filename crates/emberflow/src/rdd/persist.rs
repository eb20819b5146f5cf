//! `cache` and `unpersist`: rows that stay in memory between jobs.

use std::sync::{Arc, PoisonError};

use emberflow_core::{
    data::{Data, ExchangeData},
    lineage::Persisted,
    store::CacheWriter,
};

use super::Rdd;

impl<T: ExchangeData> Rdd<T> {
    /// Keeps the rows of this RDD in memory once they are computed.
    ///
    /// Nothing is computed now: each partition is kept when a job first needs it, by an actor of its own, as live rows
    /// that later jobs read in place. A partition that is lost is computed again when it is needed. The rows are
    /// released by [`unpersist`](Self::unpersist), or when the last RDD that is made from this one is dropped.
    ///
    /// Gives the same RDD, so that calls can be chained.
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
    pub fn cache(&self) -> Rdd<T> {
        let mut persisted = self.node().persisted.lock().unwrap_or_else(PoisonError::into_inner);
        if persisted.is_none() {
            let store = self.shared().engine.next_store();
            let guard = self.shared().engine.guard(store);
            *persisted = Some(Persisted { store, writer: Arc::new(CacheWriter::<T>::new()), guard });
        }
        drop(persisted);
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

    /// Whether the rows are kept once they are computed.
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
