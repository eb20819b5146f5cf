//! Labels by which jobs are found and cancelled, and what is cached.

use std::{sync::PoisonError, time::Duration};

use emberflow_core::{
    backend::Which,
    error::{Error, Result},
    ids::{JobId, RddId},
};

use super::Context;
use crate::labels::{self, Label};

/// A cached RDD, as [`Context::storage`] tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedRdd {
    /// The RDD.
    pub rdd: RddId,
    /// The name that [`set_name`](crate::Rdd::set_name) gave it.
    pub name: Option<String>,
    /// The RDD's operator and where it was written, such as `map at src/main.rs:7:10`.
    pub operator: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Partitions that are there.
    pub cached_partitions: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes that they take in memory, by estimate.
    pub bytes: u64,
    /// Bytes that they take on disk: of those that found no room.
    pub spilled_bytes: u64,
    /// How often a partition was computed since the RDD was persisted.
    pub computed: u64,
    /// The time that computing the partitions took, added up over all tasks.
    pub compute_time: Duration,
    /// How often a partition was dropped since there was no room for it, by [`StorageLevel::Auto`](crate::StorageLevel).
    pub dropped: u64,
}

impl Context {
    /// Calls `start`; the jobs of the actions that it starts, on this thread and this context, belong to `group`, and
    /// [`cancel_job_group`](Self::cancel_job_group) ends them. An inner group counts rather than an outer one.
    ///
    /// All jobs of such an action do, also those that run after `start` has returned: so an async action is started
    /// within, and awaited without. After Spark's `setJobGroup`, which changes the thread until it is changed back.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let endless = ctx.with_job_group("reports", || ctx.range(0..u64::MAX).count_async());
    /// let other = ctx.range(0..9_u64).count_async();
    /// assert_eq!(ctx.cancel_job_group("reports")?.len(), 1);
    /// assert!(matches!(endless.wait(), Err(Error::Cancelled { .. })));
    /// assert_eq!(other.wait()?, 9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_job_group<R>(&self, group: impl Into<String>, start: impl FnOnce() -> R) -> R {
        labels::within(self.shared().engine.id(), Label::Group(group.into()), start)
    }

    /// As [`with_job_group`](Self::with_job_group), with a description: it stands in
    /// [`Event::JobLabelled`](crate::Event::JobLabelled).
    ///
    /// ```
    /// # use emberflow::{Event, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let events = ctx.events();
    /// ctx.with_job_description("count the films", || ctx.range(0..9_u64).count())?;
    /// ctx.stop();
    /// let described = events.filter_map(|record| match record.event {
    ///     Event::JobLabelled { labels, .. } => labels.description,
    ///     _ => None,
    /// });
    /// assert_eq!(described.collect::<Vec<_>>(), ["count the films"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_job_description<R>(&self, description: impl Into<String>, start: impl FnOnce() -> R) -> R {
        labels::within(self.shared().engine.id(), Label::Description(description.into()), start)
    }

    /// As [`with_job_group`](Self::with_job_group), with a tag; a job has all the tags that it was started within.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.range(0..u64::MAX);
    /// let endless = ctx.with_job_tag("slow", || ctx.with_job_tag("report", || rows.count_async()));
    /// assert_eq!(ctx.cancel_jobs_with_tag("slow")?.len(), 1);
    /// assert!(endless.wait().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_job_tag<R>(&self, tag: impl Into<String>, start: impl FnOnce() -> R) -> R {
        labels::within(self.shared().engine.id(), Label::Tag(tag.into()), start)
    }

    /// Cancels the jobs of a group that run now, and says which. Jobs that start later are not affected.
    ///
    /// # Errors
    /// [`Error::ContextClosed`](crate::Error::ContextClosed) after [`stop`](Self::stop).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.cancel_job_group("nobody")?.is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel_job_group(&self, group: &str) -> Result<Vec<JobId>> {
        self.shared().backend.cancel_all(Which::Group(group))
    }

    /// Cancels the jobs with a tag that run now, and says which.
    ///
    /// # Errors
    /// [`Error::ContextClosed`](crate::Error::ContextClosed) after [`stop`](Self::stop).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.cancel_jobs_with_tag("nobody")?.is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel_jobs_with_tag(&self, tag: &str) -> Result<Vec<JobId>> {
        self.shared().backend.cancel_all(Which::Tag(tag))
    }

    /// The cached RDDs, by id: those that are marked by [`cache`](crate::Rdd::cache) and still reachable, with what is
    /// there of each. After Spark's `getPersistentRDDs` and `getRDDStorageInfo`.
    ///
    /// # Errors
    /// [`Error::ContextClosed`](crate::Error::ContextClosed) after [`stop`](Self::stop).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().memory_budget(1 << 20).build()?;
    /// let rows = ctx.range_into(0..100_u64, 4).set_name("numbers").cache();
    /// rows.take(30)?;
    /// let cached = ctx.storage()?;
    /// assert_eq!((cached[0].rdd, cached[0].name.as_deref()), (rows.id(), Some("numbers")));
    /// assert_eq!((cached[0].cached_partitions, cached[0].partitions), (2, 4));
    /// assert_eq!((cached[0].rows, cached[0].bytes, cached[0].spilled_bytes), (50, 400, 0));
    /// assert_eq!((cached[0].computed, cached[0].dropped), (2, 0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn storage(&self) -> Result<Vec<CachedRdd>> {
        if self.is_stopped() {
            return Err(Error::ContextClosed);
        }
        let mut found = Vec::new();
        for node in self.shared().cached.living() {
            let Some((store, _)) = node.persisted() else { continue };
            let state = self.shared().backend.store_state(store)?;
            let (computed, compute_time, dropped) = state
                .as_ref()
                .map_or_else(Default::default, |state| (state.computed, state.compute_time, state.dropped));
            let stored = state.map(|state| state.stored).unwrap_or_default();
            found.push(CachedRdd {
                rdd: node.id,
                name: node.name.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                operator: node.info.to_string(),
                partitions: node.partitions,
                cached_partitions: stored.len(),
                rows: stored.iter().map(|partition| partition.rows).sum(),
                bytes: stored.iter().map(|partition| partition.bytes).sum(),
                spilled_bytes: stored.iter().map(|partition| partition.spilled_bytes).sum(),
                computed,
                compute_time,
                dropped,
            });
        }
        Ok(found)
    }
}
