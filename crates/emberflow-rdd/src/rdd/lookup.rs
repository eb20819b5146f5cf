//! `lookup`: the values of one key.

use std::{borrow::Borrow, hash::Hash};

use emberflow_core::{
    data::{Data, ExchangeData, Key},
    error::Result,
    ids::PartitionIndex,
    partitioner::{KeyHasher, Placement, partition_of_hash},
    place::{OpInfo, Place},
    result::ResultClaim,
    ship::Local,
    size,
};

use super::Rdd;
use crate::action::Action;

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// All the values of `key`, in the order of partitions and within them. Keys that are strings are looked up by a
    /// `&str`, as in the standard maps.
    ///
    /// Action. Computes one partition only if the rows are placed by the key's hash, as
    /// [`partition_by`](Self::partition_by) and everything that combines by key leave them, and all partitions
    /// otherwise. Rows of other keys are not cloned.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let pairs = ctx.parallelize(vec![('a', 1), ('b', 2), ('a', 3)]);
    /// assert_eq!(pairs.lookup(&'a')?, [1, 3]);
    /// assert_eq!(pairs.partition_by(8).lookup(&'c')?, [0; 0]);
    /// let words = pairs.map(|(letter, n)| (letter.to_string(), n));
    /// assert_eq!(words.lookup("b")?, [2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn lookup<Q>(&self, key: &Q) -> Result<Vec<V>>
    where
        K: Key + Borrow<Q>,
        V: ExchangeData,
        Q: Eq + Hash + ToOwned<Owned: Send + Sync> + ?Sized + 'static,
    {
        self.lookup_async(key).wait()
    }

    /// As [`lookup`](Self::lookup), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec![('a', 1), ('b', 2)]).lookup_async(&'b').wait()?, [2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn lookup_async<Q>(&self, key: &Q) -> Action<Vec<V>>
    where
        K: Key + Borrow<Q>,
        V: ExchangeData,
        Q: Eq + Hash + ToOwned<Owned: Send + Sync> + ?Sized + 'static,
    {
        let info = OpInfo::new("lookup", Place::caller());
        let (rdd, wanted, key) = (self.clone(), self.partitions_with(key), key.to_owned());
        let key = Local::new(key, "the key of a lookup is compared by this process: use filter");
        Action::start(self.shared(), |driver| async move {
            let parts = driver.run(&rdd, info, wanted, key, |key, _, mut rows, cx| {
                let (mut found, mut count): (Vec<V>, u64) = (Vec::new(), 0);
                let mut room = ResultClaim::new(cx.workspace());
                let key: &Q = (**key).borrow();
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    let before = found.len();
                    found.extend(batch.as_slice().iter().filter(|row| row.0.borrow() == key).map(|row| row.1.clone()));
                    room.grow(size::estimate(&found[before..]))?;
                }
                Ok(((found, room), count))
            });
            Ok(parts.await?.into_iter().flat_map(|(found, _room)| found).collect())
        })
    }

    /// The partitions where rows of `key` may be. A borrowed form of a key has the key's own hash.
    fn partitions_with<Q: Hash + ?Sized>(&self, key: &Q) -> Vec<PartitionIndex> {
        match self.node().placement {
            Some(Placement::Hash { partitions, seed }) => {
                vec![partition_of_hash(KeyHasher::new(seed).hash(key), partitions)]
            }
            // Of a partitioner of the user's, the placement knows only that it is the same one.
            _ => self.all_partitions(),
        }
    }
}
