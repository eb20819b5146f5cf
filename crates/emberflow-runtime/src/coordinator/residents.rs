//! Which stored partitions make room for others, when what is made finds none.
//!
//! Owns what is known of every partition that is kept in memory: what it takes, and what it would cost to get it back.
//! Decides only; the coordinator's actor has it carried out, and the partition's actor does it.
//!
//! A partition is worth what it costs to get it back, per byte: the time that it took to compute or that the disk would
//! take to write and read it, whichever its level may choose. It is worth the less the more jobs have begun since it was
//! last read (after Blankstein, Sen and Freedman, "Hyperbolic Caching", 2017). It makes room only for what is worth
//! several times as much, so that two that are used in turn do not push each other out.

use std::collections::BTreeMap;

use emberflow_core::{
    ids::{PartitionIndex, StoreId, StorePartition, TaskId},
    memory::Keep,
};

/// Rows that come have to be worth so many times as much as those that go.
const DEARER: f64 = 4.0;

/// A partition in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    pub(crate) generation: TaskId,
    /// The memory that its rows take.
    pub(crate) bytes: u64,
    /// The time that it took to compute it, in nanoseconds.
    pub(crate) nanos: u64,
    pub(crate) keep: Keep,
}

impl Resident {
    /// The cost of getting a byte of it back, in nanoseconds, where the disk takes so many for it.
    fn cost(&self, disk: f64) -> f64 {
        if self.is_dropped(disk) { self.nanos as f64 / self.bytes as f64 } else { disk }
    }

    /// Returns whether it would be dropped rather than written.
    fn is_dropped(&self, disk: f64) -> bool {
        self.keep == Keep::Auto && (self.nanos as f64) < disk * self.bytes as f64
    }
}

/// The way in which a partition goes that has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Its lineage makes it again.
    Drop,
    /// It is written to disk.
    Spill,
}

#[derive(Default)]
struct Held {
    /// The last job that could read it.
    read: u64,
    partitions: BTreeMap<PartitionIndex, Resident>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Residents {
    stores: BTreeMap<StoreId, Held>,
    jobs: u64,
    /// The bytes that were evicted for each store since a job began or ended; `None` if there is nothing left to be
    /// evicted for it.
    ordered: BTreeMap<StoreId, Option<u64>>,
}

impl Residents {
    /// A job begins that may read these stores.
    pub(crate) fn job(&mut self, stores: impl IntoIterator<Item = StoreId>) {
        self.jobs += 1;
        self.ordered.clear();
        for store in stores {
            self.stores.entry(store).or_default().read = self.jobs;
        }
    }

    /// A job ends: what it used may go.
    pub(crate) fn job_ended(&mut self) {
        self.ordered.clear();
    }

    /// A partition was stored.
    pub(crate) fn stored(&mut self, (store, partition): StorePartition, resident: Resident) {
        if resident.bytes > 0 && !matches!(resident.keep, Keep::InMemory | Keep::OnDisk) {
            self.stores.entry(store).or_default().partitions.insert(partition, resident);
        }
    }

    /// A partition is not there any more.
    pub(crate) fn gone(&mut self, (store, partition): StorePartition, generation: TaskId) {
        if let Some(held) = self.stores.get_mut(&store)
            && held.partitions.get(&partition).is_some_and(|resident| resident.generation == generation)
        {
            held.partitions.remove(&partition);
        }
    }

    /// A store was released.
    pub(crate) fn forget(&mut self, store: StoreId) {
        self.stores.remove(&store);
    }

    /// Those that make room for `coming`, a partition of `store` that found none, and for as many as are still `pending`
    /// there: the cheapest first, as long as they are cheap enough, and none of a store that is `used`.
    pub(crate) fn evict(
        &mut self,
        store: StoreId,
        coming: Resident,
        pending: usize,
        disk: f64,
        used: impl Fn(StoreId) -> bool,
    ) -> Vec<(StorePartition, TaskId, Eviction)> {
        let ordered = self.ordered.get(&store).copied().unwrap_or(Some(0));
        // Looked for in vain in this job: nothing has become cheaper since.
        let Some(ordered) = ordered else { return Vec::new() };
        let wanted = coming.bytes.saturating_mul(pending as u64).saturating_sub(ordered);
        let (evicted, freed) = self.cheapest(wanted, coming.cost(disk) / DEARER, disk, used);
        self.ordered.insert(store, (freed >= wanted).then_some(ordered + freed));
        evicted
    }

    /// Those that make room for so many bytes, whatever they are worth and whichever jobs use them: they are written.
    pub(crate) fn spill(&mut self, bytes: u64, disk: f64) -> Vec<(StorePartition, TaskId)> {
        let (evicted, _) = self.cheapest(bytes, f64::INFINITY, disk, |_| false);
        evicted.into_iter().map(|(key, generation, _)| (key, generation)).collect()
    }

    /// The cheapest that are worth no more than `most`, until they have so many bytes together; and how many they have.
    /// They count as gone from now on, also those that will turn out to have to stay, since their rows cannot be written.
    fn cheapest(
        &mut self,
        bytes: u64,
        most: f64,
        disk: f64,
        used: impl Fn(StoreId) -> bool,
    ) -> (Vec<(StorePartition, TaskId, Eviction)>, u64) {
        if bytes == 0 {
            return (Vec::new(), 0);
        }
        let mut known: Vec<(f64, StorePartition, Resident)> = Vec::new();
        for (store, held) in self.stores.iter().filter(|(store, _)| !used(**store)) {
            let age = (self.jobs - held.read + 1) as f64;
            known.extend(held.partitions.iter().map(|(at, one)| (one.cost(disk) / age, (*store, *at), *one)));
        }
        known.retain(|(worth, ..)| *worth <= most);
        known.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut freed, mut evicted) = (0, Vec::new());
        for (_, key, one) in known {
            if freed >= bytes {
                break;
            }
            freed += one.bytes;
            let how = if one.is_dropped(disk) { Eviction::Drop } else { Eviction::Spill };
            self.gone(key, one.generation);
            evicted.push((key, one.generation, how));
        }
        (evicted, freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nanoseconds that the disk takes for a byte.
    const DISK: f64 = 10.0;

    fn store(number: u64) -> StoreId {
        StoreId::new(number)
    }

    fn resident(keep: Keep, nanos: u64) -> Resident {
        Resident { generation: TaskId::new(nanos), bytes: 100, nanos, keep }
    }

    /// Store 1 is cheap to make, store 2 is not, store 3 is written in any case; all of them were read by the first job.
    fn residents() -> Residents {
        let mut residents = Residents::default();
        residents.job([1, 2, 3].map(store));
        for at in 0..3 {
            residents.stored((store(1), at), resident(Keep::Auto, 100 + at as u64));
            residents.stored((store(2), at), resident(Keep::Auto, 100_000));
            residents.stored((store(3), at), resident(Keep::IfRoom, 1));
        }
        residents
    }

    /// Which go for what is to be written in any case, while a job uses store 9.
    fn evicted(residents: &mut Residents, bytes: u64) -> Vec<(u64, usize, Eviction)> {
        // Of a partition of one byte that found no room, so many are still to come.
        let coming = Resident { bytes: 1, ..resident(Keep::IfRoom, 1) };
        let evicted = residents.evict(store(8), coming, bytes as usize, DISK, |used| used == store(9));
        evicted.into_iter().map(|((store, at), _, how)| (store.get(), at, how)).collect()
    }

    #[test]
    fn what_is_cheapest_to_get_back_goes_first_and_no_more_than_is_needed() {
        let mut residents = residents();
        assert_eq!(evicted(&mut residents, 101), [(1, 0, Eviction::Drop), (1, 1, Eviction::Drop)]);
        assert_eq!(evicted(&mut residents, 100), [], "that was ordered already");
        assert_eq!(evicted(&mut residents, 1_000), [(1, 2, Eviction::Drop)], "the others are worth too much");
        assert_eq!(evicted(&mut residents, 1_000), []);
        residents.stored((store(1), 0), resident(Keep::Auto, 100));
        assert_eq!(evicted(&mut residents, 1_000), [], "not looked for again in this job");
        residents.job_ended();
        assert_eq!(evicted(&mut residents, 1_000), [(1, 0, Eviction::Drop)]);
        assert_eq!(residents.spill(101, DISK).len(), 2, "whatever they are worth");
    }

    #[test]
    fn what_nobody_reads_any_more_goes_for_what_is_worth_the_same() {
        let mut residents = residents();
        for _ in 0..3 {
            residents.job([store(2)]);
        }
        let (drop, spill) = (Eviction::Drop, Eviction::Spill);
        let expected = [(1, 0, drop), (1, 1, drop), (1, 2, drop), (3, 0, spill), (3, 1, spill)];
        assert_eq!(evicted(&mut residents, 450), expected);
    }

    #[test]
    fn what_a_job_uses_and_what_has_to_stay_in_memory_does_not_go() {
        let mut residents = residents();
        residents.stored((store(9), 0), resident(Keep::Auto, 1));
        residents.stored((store(4), 0), resident(Keep::InMemory, 1));
        residents.stored((store(5), 0), Resident { bytes: 0, ..resident(Keep::Auto, 1) });
        residents.gone((store(1), 0), TaskId::new(7));
        residents.gone((store(1), 1), TaskId::new(101));
        assert_eq!(evicted(&mut residents, 1_000), [(1, 0, Eviction::Drop), (1, 2, Eviction::Drop)]);
        residents.forget(store(9));
        assert!(!residents.stores.contains_key(&store(9)));
    }
}
