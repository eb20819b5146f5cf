//! `try_map`: a map that may refuse a row.

use emberflow_core::{
    batch::Batch,
    data::Data,
    error::TaskError,
    place::{OpInfo, Place},
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
    #[track_caller]
    pub fn try_map<U, E, F>(&self, f: F) -> Rdd<U>
    where
        U: Data,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(T) -> Result<U, E> + Send + Sync + 'static,
    {
        let info = OpInfo::new("try_map", Place::caller()).with_code::<F>();
        let f = share(f);
        self.batches(info, None, move |_| {
            let f = f.clone();
            move |batch| {
                let rows: Result<Vec<U>, E> = match batch {
                    Batch::Owned(rows) => rows.into_iter().map(|row| f(row)).collect(),
                    Batch::Shared(rows) => rows.as_slice().iter().cloned().map(|row| f(row)).collect(),
                };
                rows.map(Batch::Owned).map_err(TaskError::rejected)
            }
        })
    }
}
