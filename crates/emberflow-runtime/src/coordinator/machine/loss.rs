//! Losses: partitions whose actor died, tasks that missed their input, and what was made again otherwise.
//!
//! Owns how often something may be lost, and which jobs a loss ends. Called when an actor is gone or a task has not found
//! what it reads. Never rebuilds anything itself: it demands it.

use emberflow_core::{
    error::{Error, TaskError},
    event::Event,
    fingerprint::Fingerprint,
    ids::{JobId, StageId, StoreId, StorePartition, TaskId},
    plan::TaskInputs,
};

use super::{
    Command, Job, Machine, Running,
    store::{Node, State, Store},
};

impl Machine {
    /// The actor of a partition died. Before its task was done, it takes the rows, and their report, with it.
    pub(super) fn gone(&mut self, key: StorePartition, generation: TaskId) {
        if self.state(key) == Some(State::Done { generation }) {
            self.lost(key, generation);
            self.lost_unread(key, generation);
        } else if let Some(Running { stage, attempt, .. }) = self.running.remove(&generation) {
            self.out.push(Command::Cancel { task: generation });
            self.out.push(Command::Discard { task: generation });
            let alone = self.set_idle(key, generation);
            self.lost_again(generation, Running { key, stage, attempt }, alone, TaskError::OutputLost);
        }
    }

    /// A stored partition is gone. It is rebuilt at once if a task waits for it, else when it is demanded.
    pub(super) fn lost(&mut self, key: StorePartition, generation: TaskId) {
        if self.state(key) != Some(State::Done { generation }) {
            return;
        }
        self.lossy = true;
        self.passing.remove(&key);
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        store.was_there(key.1);
        let rdd = store.spec.rdd;
        let waiter = store.waiting_for_all.first().copied();
        store.all_wanted = waiter.is_some();
        self.out.push(Command::Discard { task: generation });
        self.emit(Event::PartitionLost { store: key.0, rdd, partition: key.1, task: generation });
        if let Some(waiter) = waiter
            && let Some(run) = &self.stores[&waiter.0].run
        {
            let job = run.job;
            self.demand(job, key);
        }
    }

    /// A stored partition died. If it does so again and again before anybody has read it, jobs would wait for ever: what
    /// they read may never be there all at once.
    fn lost_unread(&mut self, key: StorePartition, generation: TaskId) {
        if !self.jobs.values().any(|job| job.stores.contains(&key.0)) {
            return;
        }
        let losses = self.unread.entry(key).or_default();
        *losses += 1;
        let losses = *losses;
        if losses < self.limits.losses {
            return;
        }
        self.unread.remove(&key);
        let jobs = self.jobs_that_demand(key);
        let Some(job) = jobs.first() else { return };
        // Unless it is being computed again already: it takes a stage to name.
        self.demand(*job, key);
        let last = TaskError::InputLost { store: key.0, partition: key.1, generation: Some(generation) };
        if let Some(stage) = self.stores[&key.0].run.as_ref().map(|run| run.stage) {
            self.lost_too_often(key, stage, losses, &jobs, &last);
        }
    }

    /// A task could not run, or its rows could not be kept, for no fault of its own.
    pub(super) fn lost_again(
        &mut self,
        task: TaskId,
        Running { key, stage, attempt }: Running,
        alone: bool,
        error: TaskError,
    ) {
        self.lossy = true;
        let limit = self.limits.losses;
        let count = |node: &mut Node| {
            node.losses += 1;
            node.losses
        };
        let Some(losses) = self.update(key, count) else { return };
        let retried = losses < limit;
        let text = error.to_string();
        self.emit(Event::TaskFailed { task, stage, partition: key.1, attempt, error: text, retried });
        if retried {
            let Some(job) = self.stores[&key.0].run.as_ref().map(|run| run.job).filter(|_| alone) else { return };
            // In this order, so that its stage goes on, as when a task is launched whose input is gone.
            self.demand(job, key);
            self.settle(key.0);
            return;
        }
        let jobs = self.jobs_that_demand(key);
        self.lost_too_often(key, stage, losses, &jobs, &error);
    }

    fn lost_too_often(&mut self, key: StorePartition, stage: StageId, losses: u32, jobs: &[JobId], last: &TaskError) {
        let spec = &self.stores[&key.0].spec;
        let (rdd, operator) = (spec.rdd, spec.name.clone());
        self.end_jobs(
            jobs,
            Err(&|_| Error::LostTooOften {
                rdd,
                operator: operator.clone(),
                stage,
                partition: key.1,
                losses,
                last: last.clone(),
            }),
        );
    }

    /// A partition was made again, and is not what it was. Jobs that have read the one and are about to read the other
    /// would mix them.
    pub(super) fn differs(&mut self, key: StorePartition, task: TaskId, before: Fingerprint, after: Fingerprint) {
        let Some(store) = self.stores.get(&key.0) else { return };
        let (rdd, operator) = (store.spec.rdd, store.spec.name.clone());
        self.emit(Event::PartitionDiffers { store: key.0, rdd, partition: key.1, task, before, after });
        if !self.limits.deterministic {
            return;
        }
        let has_read = |(_, job): &(&JobId, &Job)| {
            // A store that is shared brings others with it, also the results of others.
            let of_others =
                |store: &StoreId| *store != job.result && self.jobs.values().any(|job| job.result == *store);
            let mut own = job.stores.iter().filter(|store| !of_others(store));
            job.stores.contains(&key.0) && own.any(|store| self.has_read_before(*store, key))
        };
        let jobs: Vec<JobId> = self.jobs.iter().filter(has_read).map(|(id, _)| *id).collect();
        let error = |_| Error::NotDeterministic { rdd, operator: operator.clone(), partition: key.1, before, after };
        self.end_jobs(&jobs, Err(&error));
    }

    /// Returns whether any partition of `store` was made, or is being made, of this one as it was before it was there
    /// again.
    fn has_read_before(&self, store: StoreId, key: StorePartition) -> bool {
        let Some(Store { nodes, spec, .. }) = self.stores.get(&store).filter(|_| store != key.0) else { return false };
        (0..).zip(nodes.iter()).any(|(at, node)| {
            let inputs = || spec.inputs.inputs_of(at);
            let reads = |inputs: TaskInputs| inputs.shuffles.contains(&key.0) || inputs.persisted.contains(&key);
            matches!(node.state, State::Done { .. } | State::Running { .. }) && reads(inputs())
        })
    }
}
