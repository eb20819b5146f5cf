//! `flat_map_reduce_by_key`: pairs made of rows and merged by key where they stand.

use std::borrow::Borrow;

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    place::{OpInfo, Place},
    ship::Code,
};

use super::{Rdd, combine_by_key::Reduce, wide};
use crate::shuffle::{BorrowedKey, IntoPartitioning, Pairs};

impl<T: Data> Rdd<T> {
    /// Turns each row into any number of pairs, and merges the values of each key with `reduce`. The keys may be
    /// borrowed from the row: one that is known already is only compared, so that words of a line, say, are not
    /// allocated to be counted.
    ///
    /// The same as `flat_map(…).reduce_by_key(reduce)`, in one operator without rows in between. Wide: one shuffle. The
    /// kind of key that is kept, such as `String` for `&str`, is that of the result, whose type is usually to be
    /// written down.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let lines = ctx.parallelize(vec!["to be or".to_owned(), "not to be".to_owned()]);
    /// let counts: Rdd<(String, u64)> = lines.flat_map_reduce_by_key(
    ///     |line, pairs| line.split(' ').for_each(|word| pairs.push(word, 1)),
    ///     |a, b| a + b,
    /// );
    /// assert_eq!(counts.collect_as_map()?["be"], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_reduce_by_key<K, Q, V, E, F>(&self, emit: E, reduce: F) -> Rdd<(K, V)>
    where
        K: Key + Borrow<Q> + for<'q> From<&'q Q>,
        Q: BorrowedKey + ?Sized,
        V: ExchangeData,
        E: for<'a> Fn(&'a T, &mut Pairs<'a, Q, V>) + Send + Sync + 'static,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.flat_map_reduce_by_key_into(emit, reduce, self.shared().default_partitions)
    }

    /// As [`flat_map_reduce_by_key`](Self::flat_map_reduce_by_key), into so many partitions or by a partitioner.
    ///
    /// # Panics
    /// If there are no partitions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.parallelize(vec![b"abc".to_vec(), b"cab".to_vec()]);
    /// let bytes: Rdd<(Vec<u8>, u64)> =
    ///     rows.flat_map_reduce_by_key_into(|row, pairs| row.chunks(1).for_each(|b| pairs.push(b, 1)), |a, b| a + b, 1);
    /// assert_eq!((bytes.partitions(), bytes.collect_as_map()?[b"a".as_slice()]), (1, 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn flat_map_reduce_by_key_into<K, Q, V, E, F>(
        &self,
        emit: E,
        reduce: F,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, V)>
    where
        K: Key + Borrow<Q> + for<'q> From<&'q Q>,
        Q: BorrowedKey + ?Sized,
        V: ExchangeData,
        E: for<'a> Fn(&'a T, &mut Pairs<'a, Q, V>) + Send + Sync + 'static,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let info = OpInfo::new("flat_map_reduce_by_key", Place::caller()).with_code::<E>().with_code::<F>();
        wide::emit_and_combine(self, info, into, emit, Reduce(Code::new(reduce)))
    }
}
