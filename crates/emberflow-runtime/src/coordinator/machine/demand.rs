//! Demand: the walk from demanded partitions to those that are there, and the stages that people see of it.
//!
//! Owns what waits for what, the queues of what is ready, and the beginning and end of stages. Called when a job is
//! submitted, when something is there or lost, and when a job has ended early. Never launches a task.

use std::collections::{BTreeSet, HashMap, HashSet, btree_map::Entry};

use emberflow_core::{
    event::{Event, JobEnd},
    ids::{JobId, PartitionIndex, StageId, StoreId, StorePartition},
};

use super::{
    Command, Job, Machine, StageSpec,
    store::{Node, StageRun, State, Store},
};
use crate::coordinator::stragglers::Times;

impl Machine {
    pub(super) fn submit(&mut self, job: JobId, action: String, stages: Vec<StageSpec>, wanted: &[PartitionIndex]) {
        self.emit(Event::JobStarted { job, action, partitions: wanted.len() });
        let Some(result) = stages.last().map(|spec| spec.store) else {
            self.emit(Event::JobFinished { job, end: JobEnd::Succeeded });
            self.out.push(Command::FinishJob { job, outcome: Ok(()) });
            return;
        };
        let stores: BTreeSet<StoreId> = stages.iter().map(|spec| spec.store).collect();
        let mut changed = false;
        for spec in stages {
            match self.stores.entry(spec.store) {
                Entry::Vacant(free) => _ = free.insert(Store::new(spec)),
                // Ancestors may have been persisted or released since: only the newest plan reads what is kept.
                Entry::Occupied(known) => {
                    let store = known.into_mut();
                    let inputs = |spec: &StageSpec, partition| spec.inputs.inputs_of(partition);
                    changed |= store.run.is_some()
                        && (0..spec.partitions).any(|at| inputs(&store.spec, at) != inputs(&spec, at));
                    store.spec = spec;
                }
            }
        }
        // A job that shares a store with this one reads, from now on, what this one reads.
        for other in self.jobs.values_mut().filter(|other| !other.stores.is_disjoint(&stores)) {
            other.stores.extend(&stores);
        }
        let unfinished: BTreeSet<PartitionIndex> = wanted.iter().copied().collect();
        self.jobs.insert(job, Job { result, stores, unfinished: unfinished.clone(), skipped: BTreeSet::new() });
        if changed {
            self.sweep();
        }
        if unfinished.is_empty() {
            self.end_jobs(&[job], Ok(()));
        }
        for partition in unfinished {
            self.demand(job, (result, partition));
        }
    }

    /// Wants a partition: walks from it to what is there, and makes ready what can run.
    pub(super) fn demand(&mut self, job: JobId, key: StorePartition) {
        let mut open = vec![key];
        while let Some(key) = open.pop() {
            let Some(store) = self.stores.get(&key.0) else { continue };
            if store.nodes[key.1].state != State::Idle {
                continue;
            }
            let inputs = store.spec.inputs.inputs_of(key.1);
            let mut missing = 0;
            for &shuffle in &inputs.shuffles {
                if self.is_complete(shuffle) {
                    self.skip(job, shuffle);
                    continue;
                }
                missing += 1;
                let Some(store) = self.stores.get_mut(&shuffle) else { continue };
                store.waiting_for_all.push(key);
                if !store.all_wanted {
                    store.all_wanted = true;
                    open.extend((0..store.nodes.len()).rev().map(|partition| (shuffle, partition)));
                }
            }
            for &input in &inputs.persisted {
                if !self.is_done(input) {
                    missing += 1;
                    self.waiters.entry(input).or_default().push(key);
                    open.push(input);
                } else if let Some(readers) = self.passing.get_mut(&input) {
                    readers.insert(key);
                }
            }
            self.begin_stage(job, key.0);
            if missing == 0 {
                self.make_ready(key, false);
            } else {
                self.set_state(key, State::Waiting { missing });
            }
        }
    }

    pub(super) fn make_ready(&mut self, key: StorePartition, first: bool) {
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        store.nodes.update(key.1, |node| node.state = State::Ready);
        let job = store.run.as_ref().map_or(self.last_job, |run| run.job);
        let queue = self.ready.entry(job).or_default();
        if first { queue.push_front(key) } else { queue.push_back(key) }
    }

    /// A partition of a store is about to be wanted: its stage begins, unless it runs.
    fn begin_stage(&mut self, job: JobId, store: StoreId) {
        let living = |other: &JobId| self.jobs.contains_key(other);
        let Some(store) = self.stores.get_mut(&store) else { return };
        match &mut store.run {
            Some(run) if living(&run.job) => {}
            Some(run) => run.job = job,
            None => {
                let stage = StageId::new(self.next_stage);
                self.next_stage += 1;
                store.run = Some(StageRun { stage, job, announced: false, times: Times::default() });
                self.started.push(store.spec.store);
            }
        }
    }

    /// A partition of a store is not wanted any more, or is there: its stage is over if no other is pending.
    pub(super) fn settle(&mut self, store: StoreId) {
        let Some(store) = self.stores.get_mut(&store) else { return };
        let pending = store.nodes.pending();
        if let Some(run) = store.run.take_if(|_| pending == 0)
            && run.announced
        {
            self.emit(Event::StageFinished { stage: run.stage });
        }
    }

    fn skip(&mut self, job: JobId, store: StoreId) {
        let first = self.jobs.get_mut(&job).is_some_and(|job| job.skipped.insert(store));
        // A shuffle that this very job has just computed was not skipped.
        if let Some(found) = self.stores.get(&store)
            && first
            && !found.nodes.is_empty()
        {
            let name = found.spec.name.clone();
            self.emit(Event::StageSkipped { job, store, name });
        }
    }

    /// Says which stages began in this step, with the number of their tasks.
    pub(super) fn announce(&mut self) {
        for id in std::mem::take(&mut self.started) {
            let Some(store) = self.stores.get_mut(&id) else { continue };
            let Some(run) = &mut store.run else { continue };
            if run.announced {
                continue;
            }
            run.announced = true;
            let event = Event::StageStarted {
                stage: run.stage,
                job: run.job,
                store: id,
                rdd: store.spec.rdd,
                name: store.spec.name.clone(),
                tasks: store.nodes.pending(),
            };
            // What this job computes itself it does not skip later.
            if let Some(job) = self.jobs.get_mut(&run.job) {
                job.skipped.insert(id);
            }
            self.emit(event);
        }
    }

    pub(super) fn inputs_are_there(&self, key: StorePartition) -> bool {
        let inputs = self.stores[&key.0].spec.inputs.inputs_of(key.1);
        inputs.shuffles.iter().all(|store| self.is_complete(*store))
            && inputs.persisted.iter().all(|key| self.is_done(*key))
    }

    /// One thing that each of these waited for is there. Those that can run now run first, while their input is warm.
    pub(super) fn wake(&mut self, woken: Vec<StorePartition>) {
        let mut ready = Vec::new();
        for key in woken {
            let came = self.update(key, |node| match &mut node.state {
                State::Waiting { missing } => {
                    *missing -= 1;
                    *missing == 0
                }
                _ => false,
            });
            if came == Some(true) {
                ready.push(key);
            }
        }
        ready.sort_unstable();
        for key in ready.into_iter().rev() {
            self.make_ready(key, true);
        }
    }

    /// All the partitions that a job still needs and that are not there. A running task has been given what it reads:
    /// should that be lost meanwhile, it may well end without missing it.
    pub(super) fn demanded_by(&self, job: JobId) -> HashSet<StorePartition> {
        let mut found = HashSet::new();
        let Some(job) = self.jobs.get(&job) else { return found };
        let mut whole: HashSet<StoreId> = HashSet::new();
        let mut open: Vec<StorePartition> = job.unfinished.iter().map(|partition| (job.result, *partition)).collect();
        while let Some(key) = open.pop() {
            let Some(store) = self.stores.get(&key.0) else { continue };
            let state = store.nodes[key.1].state;
            let fresh = !matches!(state, State::Done { .. }) && found.insert(key);
            if !fresh || matches!(state, State::Running { .. }) {
                continue;
            }
            let inputs = store.spec.inputs.inputs_of(key.1);
            for shuffle in inputs.shuffles {
                if !self.is_complete(shuffle) && whole.insert(shuffle) {
                    open.extend((0..self.stores[&shuffle].nodes.len()).map(|partition| (shuffle, partition)));
                }
            }
            open.extend(inputs.persisted);
        }
        found
    }

    pub(super) fn jobs_that_demand(&self, key: StorePartition) -> Vec<JobId> {
        self.jobs.keys().copied().filter(|job| self.demanded_by(*job).contains(&key)).collect()
    }

    /// Starts the bookkeeping of demand afresh from the jobs that live: nothing else may stay wanted.
    pub(super) fn sweep(&mut self) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        let mut needed: HashMap<StorePartition, JobId> = HashMap::new();
        for job in &jobs {
            self.demanded_by(*job).into_iter().for_each(|key| _ = needed.entry(key).or_insert(*job));
        }
        self.ready.clear();
        self.waiters.clear();
        self.causes.retain(|key, _| needed.contains_key(key));
        let (mut over, mut stopped) = (Vec::new(), Vec::new());
        for (id, store) in &mut self.stores {
            store.waiting_for_all.clear();
            store.all_wanted = false;
            let mut heir = None;
            for partition in 0..store.nodes.len() {
                let wanted = needed.get(&(*id, partition));
                store.nodes.update(partition, |node| match node.state {
                    State::Done { .. } => {}
                    State::Running { .. } if wanted.is_some() => heir = heir.or(wanted),
                    State::Running { task } => {
                        stopped.push(task);
                        *node = Node::IDLE;
                    }
                    State::Idle | State::Waiting { .. } | State::Ready if wanted.is_some() => node.state = State::Idle,
                    // A job that wants it next gets all the attempts again.
                    State::Idle | State::Waiting { .. } | State::Ready => *node = Node::IDLE,
                });
            }
            if let Some(run) = &mut store.run {
                if let Some(heir) = heir
                    && !self.jobs.contains_key(&run.job)
                {
                    run.job = *heir;
                }
                over.push(*id);
            }
        }
        stopped.into_iter().for_each(|task| self.stop(task));
        self.forget_readers(|reader| needed.contains_key(reader));
        for id in jobs {
            let Some(job) = self.jobs.get(&id) else { continue };
            let result = job.result;
            for partition in job.unfinished.clone() {
                self.demand(id, (result, partition));
            }
        }
        for id in over {
            self.settle(id);
        }
    }
}
