//! `sort_by` and `sort_by_key`: all rows in order; `repartition_and_sort_within_partitions`: those of each partition.

use std::{
    cmp::{Ordering, Reverse},
    marker::PhantomData,
};

use emberflow_core::{
    data::{Data, ExchangeData, Key, Ordered},
    place::{OpInfo, Place},
    ship::{Code, Held},
};

use super::{Rdd, wide};
use crate::shuffle::{
    IntoPartitioning,
    sort::{ByComparison, ByFunction, ByPairKey},
};

impl<T: Data> Rdd<T> {
    /// All rows in the order of a key, the smallest first; rows of equal keys in the order that they had.
    ///
    /// Wide, lazy. A sample of the keys is taken first, so that the partitions of the result are about equal, even if
    /// many rows have the same key: `self` is computed twice if it is not [cached](Self::cache). A reducer holds and
    /// sorts its partition. A key that owns memory is made twice for a row, another one each time that it is compared.
    /// After TeraSort and Spark's `sortBy`.
    ///
    /// Floating-point keys have a total order as [`Total`](crate::Total).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(["flow", "ember", "rust", "a"].map(str::to_owned).to_vec());
    /// assert_eq!(words.sort_by(|word| word.len()).collect()?, ["a", "flow", "rust", "ember"]);
    /// assert_eq!(ctx.parallelize(vec![2.5, -1.0, 0.5]).sort_by(|n| Total(*n)).collect()?, [-1.0, 0.5, 2.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by<K, F>(&self, key: F) -> Rdd<T>
    where
        T: ExchangeData,
        K: Ordered + ExchangeData,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.sort_by_into(key, self.shared().default_partitions)
    }

    /// As [`sort_by`](Self::sort_by), into so many partitions.
    ///
    /// # Panics
    /// If there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sorted = ctx.parallelize(vec![3, 1, 2, 4]).sort_by_into(|n| *n, 1);
    /// assert_eq!(sorted.glom().collect()?, [[1, 2, 3, 4]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_into<K, F>(&self, key: F, partitions: usize) -> Rdd<T>
    where
        T: ExchangeData,
        K: Ordered + ExchangeData,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        assert!(partitions > 0, "rows cannot be sorted into no partitions");
        let info = OpInfo::new("sort_by", Place::caller()).with_code::<F>();
        wide::sort(self, info, partitions, ByFunction(Code::new(key), PhantomData))
    }

    /// As [`sort_by`](Self::sort_by), the largest first; rows of equal keys still in the order that they had.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize(["flow", "ember", "rust", "a"].map(str::to_owned).to_vec());
    /// assert_eq!(words.sort_by_desc(|word| word.len()).collect()?, ["ember", "flow", "rust", "a"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_desc<K, F>(&self, key: F) -> Rdd<T>
    where
        T: ExchangeData,
        K: Ordered + ExchangeData,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        self.sort_by_desc_into(key, self.shared().default_partitions)
    }

    /// As [`sort_by_desc`](Self::sort_by_desc), into so many partitions.
    ///
    /// # Panics
    /// If there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..4_u64).sort_by_desc_into(|n| *n, 2).collect()?, [3, 2, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_desc_into<K, F>(&self, key: F, partitions: usize) -> Rdd<T>
    where
        T: ExchangeData,
        K: Ordered + ExchangeData,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        assert!(partitions > 0, "rows cannot be sorted into no partitions");
        let info = OpInfo::new("sort_by_desc", Place::caller()).with_code::<F>();
        let down = move |row: &T| Reverse(key(row));
        wide::sort(self, info, partitions, ByFunction(Code::new(down), PhantomData))
    }

    /// All rows in the order that `compare` gives, the least first; equal rows in the order that they had.
    ///
    /// Wide, lazy. As [`sort_by`](Self::sort_by), which takes a key instead. Whole rows are sampled, and cloned when
    /// sorted runs are merged. The comparison must be a total order, as that of `slice::sort_by`: a task whose
    /// comparison panics fails.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![("b".to_owned(), 0.5_f64), ("a".to_owned(), 0.5), ("c".to_owned(), 2.0)]);
    /// let sorted = rows.sort_by_cmp(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    /// assert_eq!(sorted.keys().collect()?, ["c", "a", "b"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_cmp<F>(&self, compare: F) -> Rdd<T>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        self.sort_by_cmp_into(compare, self.shared().default_partitions)
    }

    /// As [`sort_by_cmp`](Self::sort_by_cmp), into so many partitions.
    ///
    /// # Panics
    /// If there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sorted = ctx.parallelize(vec![0.5, -1.0, 2.0]).sort_by_cmp_into(f64::total_cmp, 1);
    /// assert_eq!(sorted.glom().collect()?, [[-1.0, 0.5, 2.0]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_cmp_into<F>(&self, compare: F, partitions: usize) -> Rdd<T>
    where
        T: ExchangeData,
        F: Fn(&T, &T) -> Ordering + Send + Sync + 'static,
    {
        assert!(partitions > 0, "rows cannot be sorted into no partitions");
        let info = OpInfo::new("sort_by_cmp", Place::caller()).with_code::<F>();
        wide::sort(self, info, partitions, ByComparison(Held::new(Code::new(compare))))
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// All rows in the order of their keys, the smallest first; as [`sort_by`](Rdd::sort_by), without making keys.
    ///
    /// Wide, lazy.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(2, 'a'), (1, 'b')]).sort_by_key().collect()?, [(1, 'b'), (2, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_key(&self) -> Rdd<(K, V)>
    where
        K: Ordered + ExchangeData,
        V: ExchangeData,
    {
        self.sort_by_key_as("sort_by_key", self.shared().default_partitions, false)
    }

    /// As [`sort_by_key`](Self::sort_by_key), into so many partitions.
    ///
    /// # Panics
    /// If there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(2, 'a'), (1, 'b')]).sort_by_key_into(1).collect()?, [(1, 'b'), (2, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_key_into(&self, partitions: usize) -> Rdd<(K, V)>
    where
        K: Ordered + ExchangeData,
        V: ExchangeData,
    {
        self.sort_by_key_as("sort_by_key", partitions, false)
    }

    /// As [`sort_by_key`](Self::sort_by_key), the largest key first.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sorted = ctx.parallelize(vec![(1, 'a'), (2, 'b'), (1, 'c')]).sort_by_key_desc();
    /// assert_eq!(sorted.collect()?, [(2, 'b'), (1, 'a'), (1, 'c')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_key_desc(&self) -> Rdd<(K, V)>
    where
        K: Ordered + ExchangeData,
        V: ExchangeData,
    {
        self.sort_by_key_as("sort_by_key_desc", self.shared().default_partitions, true)
    }

    /// As [`sort_by_key_desc`](Self::sort_by_key_desc), into so many partitions.
    ///
    /// # Panics
    /// If there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![(1, 'a'), (2, 'b')]).sort_by_key_desc_into(1).collect()?, [(2, 'b'), (1, 'a')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn sort_by_key_desc_into(&self, partitions: usize) -> Rdd<(K, V)>
    where
        K: Ordered + ExchangeData,
        V: ExchangeData,
    {
        self.sort_by_key_as("sort_by_key_desc", partitions, true)
    }

    #[track_caller]
    fn sort_by_key_as(&self, name: &'static str, partitions: usize, descending: bool) -> Rdd<(K, V)>
    where
        K: Ordered + ExchangeData,
        V: ExchangeData,
    {
        assert!(partitions > 0, "rows cannot be sorted into no partitions");
        wide::sort(self, OpInfo::new(name, Place::caller()), partitions, ByPairKey { descending })
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Places the rows by key, as [`partition_by`](Self::partition_by), and sorts each partition by key, stably.
    ///
    /// Wide; narrow if `self` is placed so already. A reducer holds its partition.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![(3, 'a'), (1, 'b'), (3, 'c')]);
    /// let sorted = rows.repartition_and_sort_within_partitions(1);
    /// assert_eq!(sorted.collect()?, [(1, 'b'), (3, 'a'), (3, 'c')]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn repartition_and_sort_within_partitions(&self, into: impl IntoPartitioning<K>) -> Rdd<(K, V)>
    where
        K: Key + Ordered,
        V: ExchangeData,
    {
        let info = OpInfo::new("repartition_and_sort_within_partitions", Place::caller());
        let placed = wide::placed(self, &info, Some(&into.into_partitioning(&self.shared().hasher)));
        wide::sort_within(&placed, info, Held::new(ByPairKey { descending: false }))
    }
}
