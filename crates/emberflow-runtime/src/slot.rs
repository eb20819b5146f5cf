//! The window through which a partition's rows are lent: written by its actor alone, read by any worker.
//!
//! A worker never asks an actor for rows. It looks into the slot: either the rows are there, and stay valid for as long
//! as it holds them, or they are lost, and the task says so to the coordinator.

use std::sync::{Arc, PoisonError};

use emberflow_core::{
    chaos::{self, Point},
    error::TaskError,
    ids::{PartitionIndex, StoreId, StorePartition, TaskId},
    operator::Fetch,
    segments::Footprint,
    store::{Stored, StoredData},
};

use crate::{spans, sync::Mutex};

pub(crate) struct Slot {
    pub(crate) generation: TaskId,
    data: Mutex<Option<Stored>>,
}

impl Slot {
    pub(crate) fn new(generation: TaskId) -> Self {
        Self { generation, data: Mutex::new(None) }
    }

    pub(crate) fn fill(&self, stored: Stored) {
        *self.data.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored);
    }

    /// All of what is there.
    pub(crate) fn look(&self) -> Option<Stored> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the rows away. A reader that has borrowed them keeps them until it is done.
    pub(crate) fn empty(&self) -> Option<Stored> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The rows, unless they are gone, or were found damaged where they were spilled to.
    pub(crate) fn borrow(&self) -> Option<Arc<dyn StoredData>> {
        let stored = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        stored.as_ref().filter(|stored| !stored.data.is_damaged()).map(|stored| Arc::clone(&stored.data))
    }

    /// As [`borrow`](Self::borrow), but nothing if there is nothing for the reducer; an error if it is lost.
    fn borrow_block(&self, reducer: PartitionIndex) -> Result<Option<Arc<dyn StoredData>>, ()> {
        let stored = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = stored.as_ref().filter(|stored| !stored.data.is_damaged()).ok_or(())?;
        Ok(stored.data.has_block(reducer).then(|| Arc::clone(&stored.data)))
    }

    /// The memory and the disk that the rows take.
    pub(crate) fn footprint(&self) -> Option<Footprint> {
        let stored = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        stored.as_ref().map(|stored| stored.footprint)
    }
}

/// The slots of all the partitions of a store.
pub(crate) type StoreSlots = Arc<[Option<Arc<Slot>>]>;

/// The slots that one task reads.
#[derive(Default)]
pub(crate) struct TaskSlots {
    pub(crate) shuffles: Vec<(StoreId, StoreSlots)>,
    /// By key.
    pub(crate) persisted: Vec<(StorePartition, Option<Arc<Slot>>)>,
}

impl TaskSlots {
    fn slot(&self, store: StoreId, partition: PartitionIndex) -> Option<&Arc<Slot>> {
        let slot = match self.shuffles.iter().find(|(id, _)| *id == store) {
            Some((_, slots)) => slots.get(partition)?.as_ref(),
            None => {
                let found = self.persisted.binary_search_by_key(&(store, partition), |(key, _)| *key).ok()?;
                self.persisted[found].1.as_ref()
            }
        };
        slot.inspect(|slot| {
            if chaos::strike(Point::Fetch).is_some() {
                drop(slot.empty());
            }
        })
    }

    /// Looks whether anything that was spilled is damaged, and is lost therefore.
    pub(crate) fn check(&self) {
        let shuffled = self.shuffles.iter().flat_map(|(_, slots)| slots.iter().flatten());
        let persisted = self.persisted.iter().filter_map(|(_, slot)| slot.as_ref());
        shuffled.chain(persisted).filter_map(|slot| slot.borrow()).for_each(|data| data.check());
    }

    /// Everything that is gone by now, so that one report tells the coordinator of all of it.
    pub(crate) fn lost(&self) -> Vec<(StorePartition, TaskId)> {
        let shuffled = self.shuffles.iter().flat_map(|(store, slots)| {
            slots.iter().enumerate().map(move |(partition, slot)| ((*store, partition), slot.as_ref()))
        });
        let persisted = self.persisted.iter().map(|(key, slot)| (*key, slot.as_ref()));
        shuffled
            .chain(persisted)
            .filter_map(|(key, slot)| slot.filter(|slot| slot.borrow().is_none()).map(|slot| (key, slot.generation)))
            .collect()
    }
}

impl Fetch for TaskSlots {
    fn fetch(&self, store: StoreId, partition: PartitionIndex) -> Result<(Arc<dyn StoredData>, TaskId), TaskError> {
        let _span = spans::fetch(store, partition).entered();
        let slot = self.slot(store, partition);
        let generation = slot.map(|slot| slot.generation);
        slot.and_then(|slot| slot.borrow().map(|data| (data, slot.generation))).ok_or(TaskError::InputLost {
            store,
            partition,
            generation,
        })
    }

    fn fetch_block(
        &self,
        store: StoreId,
        partition: PartitionIndex,
        reducer: PartitionIndex,
    ) -> Result<Option<Arc<dyn StoredData>>, TaskError> {
        let _span = spans::fetch(store, partition).entered();
        let slot = self.slot(store, partition);
        let generation = slot.map(|slot| slot.generation);
        let lost = TaskError::InputLost { store, partition, generation };
        slot.map_or(Err(()), |slot| slot.borrow_block(reducer)).map_err(|()| lost)
    }

    fn partitions(&self, store: StoreId) -> usize {
        self.shuffles.iter().find(|(id, _)| *id == store).map_or(0, |(_, slots)| slots.len())
    }
}
