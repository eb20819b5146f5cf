//! `try_map`: a map that may refuse a row.

use emberflow_core::{
    batch::Batch,
    data::{Data, ExchangeData},
    error::TaskError,
    place::{OpInfo, Place},
    ship::Env,
    task::TaskContext,
};

use super::{Rdd, map::with_env};

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
        let info = OpInfo::new("try_map", Place::caller()).with_form("try_map_with").with_code::<F>();
        self.try_map_as(info, ((), false), move |(), row| f(row))
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
        let info = OpInfo::new("try_map_retrying", Place::caller()).with_form("try_map_retrying_with").with_code::<F>();
        self.try_map_as(info, ((), true), move |(), row| f(row))
    }

    /// As [`try_map`](Self::try_map), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let numbers = ctx.parallelize(vec!["11", "ff"]).try_map_with(16, |radix, text| u64::from_str_radix(text, *radix));
    /// assert_eq!(numbers.collect()?, [17, 255]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn try_map_with<V, U, E, F>(&self, env: V, f: F) -> Rdd<U>
    where
        V: ExchangeData,
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(&V, T) -> Result<U, E> + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("try_map", Place::caller()), &env).with_code::<F>();
        self.try_map_as(info, (env, false), f)
    }

    /// As [`try_map_retrying`](Self::try_map_retrying), with an environment; see [`map_with`](Self::map_with).
    ///
    /// # Panics
    /// If `env` cannot be serialised.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let failed = ctx.parallelize(vec!["x"]).try_map_retrying_with(10, |radix, text| u64::from_str_radix(text, *radix));
    /// assert!(failed.count().unwrap_err().to_string().contains("failed after 4 attempts"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn try_map_retrying_with<V, U, E, F>(&self, env: V, f: F) -> Rdd<U>
    where
        V: ExchangeData,
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(&V, T) -> Result<U, E> + Send + Sync + 'static,
    {
        let info = with_env(OpInfo::new("try_map_retrying", Place::caller()), &env).with_code::<F>();
        self.try_map_as(info, (env, true), f)
    }

    fn try_map_as<V, U, E, F>(&self, info: OpInfo, env: (V, bool), f: F) -> Rdd<U>
    where
        V: Env,
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(&V, T) -> Result<U, E> + Send + Sync + 'static,
    {
        self.batches(info, None, env, move |(env, retried), batch| {
            // Which one it was is known here, and is not found out by trying again.
            let mut at = 0;
            let each = |row| f(env, row).inspect(|_| at += 1);
            let rows: Result<Vec<U>, E> = match batch {
                Batch::Owned(rows) => rows.into_iter().map(each).collect(),
                Batch::Shared(rows) => rows.as_slice().iter().cloned().map(each).collect(),
            };
            rows.map(Batch::Owned).map_err(|error| {
                if let Some(cx) = TaskContext::current() {
                    cx.at_row(at);
                }
                if *retried { TaskError::io(error) } else { TaskError::rejected(error) }
            })
        })
    }
}
