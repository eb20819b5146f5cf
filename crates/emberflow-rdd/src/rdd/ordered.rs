//! `top` and `take_ordered`, `min` and `max`: the largest and the smallest rows, without sorting all.

use std::cmp::{Ordering, Reverse};

use emberflow_core::{
    data::{Data, ExchangeData, Ordered},
    error::Result,
    place::{OpInfo, Place},
    result::ResultClaim,
    ship::With,
    size,
};

use super::Rdd;
use crate::action::Action;

impl<T: Data> Rdd<T> {
    /// The smallest row, the first of several; `None` if there is no row.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![3, 1, 2]).min()?, Some(1));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min(&self) -> Result<Option<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.reduce_as(OpInfo::new("min", Place::caller()), |a, b| if b < a { b } else { a }).wait()
    }

    /// The largest row, the first of several; `None` if there is no row.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![3, 1, 2]).max()?, Some(3));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max(&self) -> Result<Option<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.reduce_as(OpInfo::new("max", Place::caller()), |a, b| if b > a { b } else { a }).wait()
    }

    /// The row with the smallest key, the first of several; `None` if there is no row.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["flow".to_owned(), "ember".to_owned()]);
    /// assert_eq!(words.min_by_key(|word| word.len())?.as_deref(), Some("flow"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by_key<K, F>(&self, key: F) -> Result<Option<T>>
    where
        T: ExchangeData,
        K: Ordered,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.min_by_key_async(key).wait()
    }

    /// As [`min_by_key`](Self::min_by_key), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["flow".to_owned(), "ember".to_owned()]);
    /// assert_eq!(words.min_by_key_async(|word| word.len()).wait()?.as_deref(), Some("flow"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by_key_async<K, F>(&self, key: F) -> Action<Option<T>>
    where
        T: ExchangeData,
        K: Ordered,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let info = OpInfo::new("min_by_key", Place::caller()).with_code::<F>();
        self.reduce_as(info, move |a, b| if key(&b) < key(&a) { b } else { a })
    }

    /// The row with the largest key, the first of several; `None` if there is no row.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["flow".to_owned(), "ember".to_owned()]);
    /// assert_eq!(words.max_by_key(|word| word.len())?.as_deref(), Some("ember"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by_key<K, F>(&self, key: F) -> Result<Option<T>>
    where
        T: ExchangeData,
        K: Ordered,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.max_by_key_async(key).wait()
    }

    /// As [`max_by_key`](Self::max_by_key), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec!["flow".to_owned(), "ember".to_owned()]);
    /// assert_eq!(words.max_by_key_async(|word| word.len()).wait()?.as_deref(), Some("ember"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by_key_async<K, F>(&self, key: F) -> Action<Option<T>>
    where
        T: ExchangeData,
        K: Ordered,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let info = OpInfo::new("max_by_key", Place::caller()).with_code::<F>();
        self.reduce_as(info, move |a, b| if key(&b) > key(&a) { b } else { a })
    }

    /// The smallest row by a comparison, the first of several; `None` if there is no row.
    ///
    /// Action. As [`min`](Self::min) for rows without an order of their own, such as floating-point numbers.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).min_by(f64::total_cmp)?, Some(-2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by<F>(&self, compare: F) -> Result<Option<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        self.min_by_async(compare).wait()
    }

    /// As [`min_by`](Self::min_by), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).min_by_async(f64::total_cmp).wait()?, Some(-2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_by_async<F>(&self, compare: F) -> Action<Option<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        let info = OpInfo::new("min_by", Place::caller()).with_code::<F>();
        self.reduce_as(info, move |a, b| if compare(&b, &a).is_lt() { b } else { a })
    }

    /// The largest row by a comparison, the first of several; `None` if there is no row.
    ///
    /// Action. As [`max`](Self::max) for rows without an order of their own, such as floating-point numbers.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).max_by(f64::total_cmp)?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by<F>(&self, compare: F) -> Result<Option<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        self.max_by_async(compare).wait()
    }

    /// As [`max_by`](Self::max_by), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).max_by_async(f64::total_cmp).wait()?, Some(1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_by_async<F>(&self, compare: F) -> Action<Option<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        let info = OpInfo::new("max_by", Place::caller()).with_code::<F>();
        self.reduce_as(info, move |a, b| if compare(&b, &a).is_gt() { b } else { a })
    }

    /// As [`min`](Self::min), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(3..9_u64).min_async().wait()?, Some(3));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min_async(&self) -> Action<Option<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.reduce_as(OpInfo::new("min", Place::caller()), |a, b| if b < a { b } else { a })
    }

    /// As [`max`](Self::max), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(3..9_u64).max_async().wait()?, Some(8));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max_async(&self) -> Action<Option<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.reduce_as(OpInfo::new("max", Place::caller()), |a, b| if b > a { b } else { a })
    }

    /// The `n` largest rows, the largest first; of equal ones, those that come first.
    ///
    /// Action. Holds about `2n` rows a partition, and all partitions' `n` at the end.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..1000_u64).top(2)?, [999, 998]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top(&self, n: usize) -> Result<Vec<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.smallest(OpInfo::new("top", Place::caller()), n, |row| Reverse(row.clone())).wait()
    }

    /// As [`top`](Self::top), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..1000_u64).top_async(1).wait()?, [999]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_async(&self, n: usize) -> Action<Vec<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.smallest(OpInfo::new("top", Place::caller()), n, |row| Reverse(row.clone()))
    }

    /// The `n` rows with the largest keys, the largest first; of equal ones, those that come first.
    ///
    /// Action. As [`top`](Self::top).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec![("a".to_owned(), 2), ("b".to_owned(), 3)]);
    /// assert_eq!(words.top_by(1, |(_, count)| *count)?, [("b".to_owned(), 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_by<O, F>(&self, n: usize, key: F) -> Result<Vec<T>>
    where
        T: ExchangeData,
        O: Ordered + Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
    {
        self.top_by_async(n, key).wait()
    }

    /// As [`top_by`](Self::top_by), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(vec![("a".to_owned(), 2), ("b".to_owned(), 3)]);
    /// assert_eq!(words.top_by_async(1, |(_, count)| *count).wait()?, [("b".to_owned(), 3)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_by_async<O, F>(&self, n: usize, key: F) -> Action<Vec<T>>
    where
        T: ExchangeData,
        O: Ordered + Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
    {
        let info = OpInfo::new("top_by", Place::caller()).with_code::<F>();
        self.smallest(info, n, move |row| Reverse(key(row)))
    }

    /// The `n` largest rows by a comparison, the largest first; of equal ones, those that come first.
    ///
    /// Action. As [`top`](Self::top).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).top_by_cmp(2, f64::total_cmp)?, [1.0, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_by_cmp<F>(&self, n: usize, compare: F) -> Result<Vec<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        self.top_by_cmp_async(n, compare).wait()
    }

    /// As [`top_by_cmp`](Self::top_by_cmp), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).top_by_cmp_async(2, f64::total_cmp).wait()?, [1.0, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_by_cmp_async<F>(&self, n: usize, compare: F) -> Action<Vec<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        let info = OpInfo::new("top_by_cmp", Place::caller()).with_code::<F>();
        self.smallest_by(info, n, |_| (), move |a, b| compare(b.1, a.1))
    }

    /// The `n` smallest rows, the smallest first; of equal ones, those that come first.
    ///
    /// Action. As [`top`](Self::top), the other way round.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![3, 1, 2]).take_ordered(2)?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered(&self, n: usize) -> Result<Vec<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.smallest(OpInfo::new("take_ordered", Place::caller()), n, T::clone).wait()
    }

    /// As [`take_ordered`](Self::take_ordered), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![3, 1, 2]).take_ordered_async(1).wait()?, [1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_async(&self, n: usize) -> Action<Vec<T>>
    where
        T: ExchangeData,
        T: Ordered,
    {
        self.smallest(OpInfo::new("take_ordered", Place::caller()), n, T::clone)
    }

    /// The `n` rows with the smallest keys, the smallest first; of equal ones, those that come first.
    ///
    /// Action. As [`take_ordered`](Self::take_ordered).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![-3, 1, 2]).take_ordered_by(2, |n: &i64| n.abs())?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_by<O, F>(&self, n: usize, key: F) -> Result<Vec<T>>
    where
        T: ExchangeData,
        O: Ordered + Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
    {
        self.take_ordered_by_async(n, key).wait()
    }

    /// As [`take_ordered_by`](Self::take_ordered_by), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![-3, 1, 2]).take_ordered_by_async(2, |n: &i64| n.abs()).wait()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_by_async<O, F>(&self, n: usize, key: F) -> Action<Vec<T>>
    where
        T: ExchangeData,
        O: Ordered + Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
    {
        self.smallest(OpInfo::new("take_ordered_by", Place::caller()).with_code::<F>(), n, key)
    }

    /// The `n` smallest rows by a comparison, the smallest first; of equal ones, those that come first.
    ///
    /// Action. As [`take_ordered`](Self::take_ordered).
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).take_ordered_by_cmp(2, f64::total_cmp)?, [-2.0, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_by_cmp<F>(&self, n: usize, compare: F) -> Result<Vec<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        self.take_ordered_by_cmp_async(n, compare).wait()
    }

    /// As [`take_ordered_by_cmp`](Self::take_ordered_by_cmp), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![0.5, -2.0, 1.0]).take_ordered_by_cmp_async(2, f64::total_cmp).wait()?, [-2.0, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered_by_cmp_async<F>(&self, n: usize, compare: F) -> Action<Vec<T>>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        let info = OpInfo::new("take_ordered_by_cmp", Place::caller()).with_code::<F>();
        self.smallest_by(info, n, |_| (), move |a, b| compare(a.1, b.1))
    }

    fn smallest<O, F>(&self, info: OpInfo, n: usize, key: F) -> Action<Vec<T>>
    where
        T: ExchangeData,
        O: Ord + Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
    {
        self.smallest_by(info, n, key, |a, b| a.0.cmp(b.0))
    }

    /// The `n` smallest rows, where `compare` sees each with its key.
    fn smallest_by<O, F, C>(&self, info: OpInfo, n: usize, key: F, compare: C) -> Action<Vec<T>>
    where
        T: ExchangeData,
        O: Send + 'static,
        F: Fn(&T) -> O + Send + Sync + 'static,
        C: Fn((&O, &T), (&O, &T)) -> Ordering + Send + Sync + 'static,
    {
        let (rdd, compare) = (self.clone(), With::new((), (key, compare)));
        Action::start(self.shared(), |driver| async move {
            let env = (n, compare.clone());
            let parts = driver.run(&rdd, info, rdd.all_partitions(), env, |(n, order), _, mut rows, cx| {
                let (n, (key, order)) = (*n, order.parts().1);
                let (mut best, mut count): (Vec<(O, T)>, u64) = (Vec::new(), 0);
                // Sorting is rare, since after the first time only rows that beat the worst one come in.
                let (room, mut worst) = (n.saturating_mul(2).saturating_add(64), false);
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    for row in batch.as_slice() {
                        let key = key(row);
                        if n == 0 || (worst && order(of(&best[n - 1]), (&key, row)).is_le()) {
                            continue;
                        }
                        best.push((key, row.clone()));
                        if best.len() >= room {
                            keep_smallest(&mut best, n, order);
                            worst = true;
                        }
                    }
                }
                keep_smallest(&mut best, n, order);
                let mut room = ResultClaim::new(cx.workspace());
                room.force(size::estimate_of(&best, |(_, row)| row));
                let best: Vec<T> = best.into_iter().map(|(_, row)| row).collect();
                Ok(((best, room), count))
            });
            let (key, order) = compare.parts().1;
            let rows = parts.await?.into_iter().flat_map(|(best, _room)| best);
            let mut best: Vec<(O, T)> = rows.map(|row| (key(&row), row)).collect();
            keep_smallest(&mut best, n, order);
            Ok(best.into_iter().map(|(_, row)| row).collect())
        })
    }
}

/// A key with its row, as they are compared.
fn of<O, T>(best: &(O, T)) -> (&O, &T) {
    (&best.0, &best.1)
}

/// Stable, so that of equal rows the first ones stay.
fn keep_smallest<O, T>(best: &mut Vec<(O, T)>, n: usize, compare: impl Fn((&O, &T), (&O, &T)) -> Ordering) {
    best.sort_by(|a, b| compare(of(a), of(b)));
    best.truncate(n);
}
