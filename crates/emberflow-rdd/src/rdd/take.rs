//! `take`, `first` and `is_empty`: some rows from the front, computing as few partitions as they need.

use emberflow_core::{
    data::{Data, ExchangeData},
    error::Result,
    place::{OpInfo, Place},
    result::ResultClaim,
    size,
};

use super::Rdd;
use crate::action::Action;

/// How much larger one round of partitions may be than all before it.
const GROWTH: usize = 4;

impl<T: Data> Rdd<T> {
    /// The first `n` rows, or all if there are fewer.
    ///
    /// Action. Looks at the first partition, then at as many more as the rows found so far make likely to be needed,
    /// each round a job; within a partition it stops at the last row that it needs.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..u64::MAX).take(3)?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> Result<Vec<T>>
    where
        T: ExchangeData,
    {
        self.take_async(n).wait()
    }

    /// As [`take`](Self::take), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..9_u64).take_async(2).wait()?, [0, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_async(&self, n: usize) -> Action<Vec<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("take", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move { rdd.take_with(&driver, info, n).await })
    }

    /// The first row; `None` if there is none.
    ///
    /// Action. As [`take`](Self::take) of one.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(5..9_u64).first()?, Some(5));
    /// assert_eq!(ctx.range(5..5_u64).first()?, None);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn first(&self) -> Result<Option<T>>
    where
        T: ExchangeData,
    {
        self.first_async().wait()
    }

    /// As [`first`](Self::first), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(5..9_u64).first_async().wait()?, Some(5));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn first_async(&self) -> Action<Option<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("first", Place::caller());
        let rdd = self.clone();
        Action::start(
            self.shared(),
            |driver| async move { Ok(rdd.take_with(&driver, info, 1).await?.into_iter().next()) },
        )
    }
}

impl<T: ExchangeData> Rdd<T> {
    async fn take_with(&self, driver: &crate::action::Driver, info: OpInfo, n: usize) -> Result<Vec<T>> {
        let (mut found, mut rooms, mut looked_at): (Vec<T>, Vec<ResultClaim>, usize) = (Vec::new(), Vec::new(), 0);
        while found.len() < n && looked_at < self.partitions() {
            let left = n - found.len();
            let round = match (looked_at, found.len()) {
                (0, _) => 1,
                (_, 0) => looked_at * GROWTH,
                (_, some) => left.saturating_mul(looked_at).div_ceil(some).min(looked_at * GROWTH),
            };
            let until = self.partitions().min(looked_at + round);
            let wanted = (looked_at..until).collect();
            let parts = driver.run(self, info.clone(), wanted, left, |left, _, mut rows, cx| {
                let (mut some, mut room): (Vec<T>, _) = (Vec::new(), ResultClaim::new(cx.workspace()));
                while some.len() < *left
                    && let Some(batch) = rows.next()?
                {
                    cx.check_cancelled()?;
                    let taken = &batch.as_slice()[..batch.len().min(*left - some.len())];
                    room.grow(size::estimate(taken))?;
                    some.extend_from_slice(taken);
                }
                let rows = some.len() as u64;
                Ok(((some, room), rows))
            });
            for (some, room) in parts.await? {
                found.extend(some.into_iter().take(n - found.len()));
                rooms.push(room);
            }
            looked_at = until;
        }
        Ok(found)
    }
}

impl<T: Data> Rdd<T> {
    /// Returns whether there is no row.
    ///
    /// Action. Looks at the first partition, then at more and more as long as they are empty; within a partition it
    /// stops at the first row.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(!ctx.range(0..u64::MAX).is_empty()?);
    /// assert!(ctx.range(0..9_u64).filter(|n| *n > 9).is_empty()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        self.is_empty_async().wait()
    }

    /// As [`is_empty`](Self::is_empty), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.empty::<u64>().is_empty_async().wait()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn is_empty_async(&self) -> Action<bool> {
        let info = OpInfo::new("is_empty", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let mut looked_at = 0;
            while looked_at < rdd.partitions() {
                let until = rdd.partitions().min(looked_at + (looked_at * GROWTH).max(1));
                let parts = driver.run(&rdd, info.clone(), (looked_at..until).collect(), (), |(), _, mut rows, cx| {
                    while let Some(batch) = rows.next()? {
                        cx.check_cancelled()?;
                        if !batch.is_empty() {
                            return Ok((true, 1));
                        }
                    }
                    Ok((false, 0))
                });
                if parts.await?.contains(&true) {
                    return Ok(false);
                }
                looked_at = until;
            }
            Ok(true)
        })
    }
}
