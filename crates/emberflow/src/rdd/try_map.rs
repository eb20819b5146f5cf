//! `try_map`: a map that may refuse a row.

use emberflow_core::{
    batch::Batch,
    data::Data,
    error::TaskError,
    place::{OpInfo, Place},
    task::TaskContext,
};

use super::{Rdd, batches::share};

impl<T: Data> Rdd<T> {
    /// Applies `f` to every row; the first error ends the job.
    ///
    /// Narrow. Unlike a panic, an error is not tried again: the same row would give the same error. The action ends
    /// with [`Error::TaskFailed`](crate::Error::TaskFailed), whose cause is the error that `f` returned.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let numbers = ctx.parallelize(vec!["1", "2", "x"]).try_map(|text| text.parse::<u64>());
    /// assert!(numbers.collect().unwrap_err().to_string().ends_with("invalid digit found in string"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn try_map<U, E, F>(&self, f: F) -> Rdd<U>
    where
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(T) -> Result<U, E> + Send + Sync + 'static,
    {
        self.try_map_as(OpInfo::new("try_map", Place::caller()).with_code::<F>(), f, false)
    }

    /// As [`try_map`](Self::try_map), but an error is tried again like a panic, up to
    /// [`task_failure_limit`](crate::ContextBuilder::task_failure_limit) times: for what may pass, such as a service that
    /// is asked. The whole partition is computed again.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let failed = ctx.parallelize(vec!["x"]).try_map_retrying(|text| text.parse::<u64>()).count();
    /// assert!(failed.unwrap_err().to_string().contains("failed after 4 attempts"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn try_map_retrying<U, E, F>(&self, f: F) -> Rdd<U>
    where
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(T) -> Result<U, E> + Send + Sync + 'static,
    {
        self.try_map_as(OpInfo::new("try_map_retrying", Place::caller()).with_code::<F>(), f, true)
    }

    fn try_map_as<U, E, F>(&self, info: OpInfo, f: F, retried: bool) -> Rdd<U>
    where
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(T) -> Result<U, E> + Send + Sync + 'static,
    {
        let f = share(f);
        self.batches(info, None, move |_| {
            let f = f.clone();
            move |batch| {
                // Which one it was is known here, and is not found out by trying again.
                let mut at = 0;
                let each = |row| f(row).inspect(|_| at += 1);
                let rows: Result<Vec<U>, E> = match batch {
                    Batch::Owned(rows) => rows.into_iter().map(each).collect(),
                    Batch::Shared(rows) => rows.as_slice().iter().cloned().map(each).collect(),
                };
                rows.map(Batch::Owned).map_err(|error| {
                    if let Some(cx) = TaskContext::current() {
                        cx.at_row(at);
                    }
                    if retried { TaskError::io(error) } else { TaskError::rejected(error) }
                })
            }
        })
    }
}
