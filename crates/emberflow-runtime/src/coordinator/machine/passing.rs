//! Partitions that are dropped when they have been read: persisted ones that found no room, and those that have to make
//! some.
//!
//! Owns which tasks are still to read each of them. Called when a task is launched or has ended, and when its job has.
//! Never drops what a living task may read.

use emberflow_core::{
    event::Event,
    ids::{StorePartition, TaskId},
};

use super::{Command, Machine, store::State};

impl Machine {
    /// A task is about to read what was perhaps not there, or not passing, when it was demanded.
    pub(super) fn will_read(&mut self, reader: StorePartition) {
        if self.passing.is_empty() {
            return;
        }
        let Some(store) = self.stores.get(&reader.0) else { return };
        for input in store.spec.inputs.inputs_of(reader.1).persisted {
            if let Some(readers) = self.passing.get_mut(&input) {
                readers.insert(reader);
            }
        }
    }

    /// A task is done with what it reads: by another plan than the newest, perhaps. Few partitions pass at a time.
    pub(super) fn has_read(&mut self, reader: StorePartition) {
        if let Some(store) = self.stores.get(&reader.0).filter(|_| !self.unread.is_empty()) {
            let inputs = store.spec.inputs.inputs_of(reader.1);
            self.unread.retain(|key, _| !inputs.shuffles.contains(&key.0) && !inputs.persisted.contains(key));
        }
        self.forget_readers(|other| *other != reader);
    }

    /// Drops those of these partitions that are passing and have no reader left.
    pub(super) fn drop_passed(&mut self, keys: &[StorePartition]) {
        for key in keys {
            if self.passing.get(key).is_none_or(|readers| !readers.is_empty()) {
                continue;
            }
            self.passing.remove(key);
            let Some(store) = self.stores.get_mut(&key.0) else { continue };
            let State::Done { generation } = store.nodes[key.1].state else { continue };
            // From now on, what is ready may have to wait again.
            self.lossy = true;
            store.was_there(key.1);
            store.all_wanted = false;
            let rdd = store.spec.rdd;
            self.out.push(Command::Discard { task: generation });
            self.emit(Event::PartitionDropped { store: key.0, rdd, partition: key.1, task: generation });
        }
    }

    /// Drops a stored partition that no job reads.
    pub(super) fn evict(&mut self, key: StorePartition, generation: TaskId) {
        if !self.is_used(key.0) && self.state(key) == Some(State::Done { generation }) {
            self.passing.entry(key).or_default();
            self.drop_passed(&[key]);
        }
    }

    /// Readers that are not wanted any more read nothing, either.
    pub(super) fn forget_readers(&mut self, wanted: impl Fn(&StorePartition) -> bool) {
        if self.passing.is_empty() {
            return;
        }
        self.passing.values_mut().for_each(|readers| readers.retain(&wanted));
        let passed: Vec<StorePartition> = self.passing.keys().copied().collect();
        self.drop_passed(&passed);
    }
}
