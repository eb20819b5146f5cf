//! `reduce_by_key_locally`: the values of each key merged, straight to the caller.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    error::Result,
    place::{OpInfo, Place},
    result::ResultClaim,
    ship::With,
    size,
};

use super::Rdd;
use crate::action::Action;

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// Merges the values of each key with `f`, into a map.
    ///
    /// Action, without a shuffle: every partition makes a map of its own, and the caller merges them in partition
    /// order, on one thread. For few keys; for many, [`reduce_by_key`](Self::reduce_by_key) merges them on all workers.
    /// `f` should be associative; values of a key meet in their order. After Spark's `reduceByKeyLocally`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions). A panic of `f` while merging partitions' results comes through as it is.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.parallelize(vec![('a', 1), ('b', 2), ('a', 3)]).reduce_by_key_locally(|a, b| a + b)?;
    /// assert_eq!((sums[&'a'], sums[&'b']), (4, 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_locally<F>(&self, f: F) -> Result<HashMap<K, V>>
    where
        K: Key,
        V: ExchangeData,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_locally(OpInfo::new("reduce_by_key_locally", Place::caller()).with_code::<F>(), f).wait()
    }

    /// As [`reduce_by_key_locally`](Self::reduce_by_key_locally), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let longest = ctx.range(0..9_u64).map(|n| (n % 2, n)).reduce_by_key_locally_async(|a, b| a.max(b));
    /// assert_eq!(longest.wait()?[&1], 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_locally_async<F>(&self, f: F) -> Action<HashMap<K, V>>
    where
        K: Key,
        V: ExchangeData,
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_locally(OpInfo::new("reduce_by_key_locally", Place::caller()).with_code::<F>(), f)
    }
}

impl<K: Key, V: ExchangeData> Rdd<(K, V)> {
    fn reduce_locally<F>(&self, info: OpInfo, f: F) -> Action<HashMap<K, V>>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let (rdd, f) = (self.clone(), With::new((), f));
        Action::start(self.shared(), |driver| async move {
            let parts = driver.run(&rdd, info, rdd.all_partitions(), f.clone(), |f, _, mut rows, cx| {
                // In first-come order, so that the order in which `f` is called is the same every time.
                let mut sums = Sums::default();
                let (mut count, mut room) = (0, ResultClaim::new(cx.workspace()));
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    let (before, a_row) =
                        (sums.values.len(), size::estimate(batch.as_slice()) / batch.len().max(1) as u64);
                    batch.for_each(|(key, value)| sums.add(key, value, f.parts().1));
                    room.force((sums.values.len() - before) as u64 * a_row);
                }
                Ok(((sums.into_pairs().collect::<Vec<_>>(), room), count))
            });
            let mut all = Sums::default();
            for (part, _room) in parts.await? {
                part.into_iter().for_each(|(key, value)| all.add(key, value, f.parts().1));
            }
            Ok(all.into_pairs().collect())
        })
    }
}

/// A value a key, in the order in which keys came.
struct Sums<K, V> {
    places: HashMap<K, usize>,
    /// `None` only while the value is being merged.
    values: Vec<Option<V>>,
}

impl<K, V> Default for Sums<K, V> {
    fn default() -> Self {
        Self { places: HashMap::new(), values: Vec::new() }
    }
}

impl<K: Eq + Hash, V> Sums<K, V> {
    fn add(&mut self, key: K, value: V, f: impl Fn(V, V) -> V) {
        match self.places.entry(key) {
            Entry::Occupied(place) => {
                let sum = &mut self.values[*place.get()];
                *sum = match sum.take() {
                    Some(so_far) => Some(f(so_far, value)),
                    None => Some(value),
                };
            }
            Entry::Vacant(place) => {
                place.insert(self.values.len());
                self.values.push(Some(value));
            }
        }
    }

    fn into_pairs(mut self) -> impl Iterator<Item = (K, V)> {
        let mut keys: Vec<(usize, K)> = self.places.into_iter().map(|(key, place)| (place, key)).collect();
        keys.sort_unstable_by_key(|(place, _)| *place);
        keys.into_iter().filter_map(move |(place, key)| self.values[place].take().map(|value| (key, value)))
    }
}
