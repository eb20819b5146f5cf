//! Running tasks: which ready partition gets a task next, and what the end of a task comes to.
//!
//! Owns the running tasks, their twins, and the failures of each partition. Called at the end of every step, and when a
//! task has ended or takes too long. Never waits for a task that it has stopped; never decides that a job is over.

use std::{ops::Bound, time::Duration};

use emberflow_core::{
    error::{FailedAttempt, TaskError},
    event::Event,
    ids::{RddId, StorePartition, TaskId},
    plan::StageKind,
};

use super::{
    Command, DoneTask, Launch, Machine, Running, TaskEnd, WorkerTime,
    store::{Node, State, Store},
};

impl Machine {
    /// How many tasks may be out: few, so that jobs take turns, but enough that short tasks never wait for orders.
    pub(super) fn width(&self) -> usize {
        const QUEUED: Duration = Duration::from_millis(4);
        let depth = QUEUED.as_nanos() / self.mean_task.as_nanos().max(1);
        self.limits.workers * (depth as usize).clamp(2, 128)
            + self.away.iter().filter(|away| self.running.contains_key(away)).count()
    }

    pub(super) fn launch(&mut self) {
        while self.running.len() < self.width() {
            let Some(key) = self.next_ready() else { break };
            if self.state(key) != Some(State::Ready) {
                continue;
            }
            if self.lossy && !self.inputs_are_there(key) {
                let Some(job) = self.stores[&key.0].run.as_ref().map(|run| run.job) else { continue };
                // The partition stays wanted: so it is demanded before its stage is looked at. Settled first, a stage of
                // which nothing else is pending would be told to be over, and begin again under another number.
                self.set_state(key, State::Idle);
                self.demand(job, key);
                self.settle(key.0);
                self.announce();
                continue;
            }
            self.will_read(key);
            if let Some(task) = self.start(key) {
                self.set_state(key, State::Running { task });
            }
        }
    }

    /// Launches a task for a partition.
    fn start(&mut self, key: StorePartition) -> Option<TaskId> {
        let task = TaskId::new(self.next_task);
        self.next_task += 1;
        let store = self.stores.get_mut(&key.0)?;
        let run = store.run.as_ref()?;
        let (stage, job) = (run.stage, run.job);
        let attempt = store.nodes.update(key.1, |node| {
            node.attempts += 1;
            node.attempts
        });
        self.running.insert(task, Running { key, stage, attempt });
        self.emit(Event::TaskStarted { task, stage, partition: key.1, attempt });
        let care = self.causes.get(&key).is_some_and(|causes| {
            let panicked = |cause: &FailedAttempt| matches!(cause.error, TaskError::Panicked { .. });
            causes.len() + 1 >= self.limits.task_failures && causes.last().is_some_and(panicked)
        });
        self.out.push(Command::Launch(Launch { task, stage, job, key, attempt, care }));
        Some(task)
    }

    /// The next ready partition, the jobs taking turns.
    fn next_ready(&mut self) -> Option<StorePartition> {
        let after = (Bound::Excluded(self.last_job), Bound::Unbounded);
        let job = self.ready.range(after).next().or_else(|| self.ready.iter().next()).map(|(job, _)| *job)?;
        let queue = self.ready.get_mut(&job)?;
        let key = queue.pop_front();
        if queue.is_empty() {
            self.ready.remove(&job);
        }
        self.last_job = job;
        key
    }

    /// Computes a second time, while workers are idle, what takes much longer than the other tasks of its stage.
    pub(super) fn speculate(&mut self, at_work: &[(TaskId, Duration)]) {
        let Some(speculation) = self.limits.speculation else { return };
        for (task, took) in at_work {
            let Some(Running { key, stage, .. }) = self.running.get(task).filter(|_| !self.twins.contains_key(task))
            else {
                continue;
            };
            let (key, stage) = (*key, *stage);
            let store = self.stores.get(&key.0);
            let slow = store.is_some_and(|Store { run, nodes, .. }| {
                run.as_ref().is_some_and(|run| run.times.is_slow(*took, nodes.pending(), &speculation))
            });
            if !slow
                || !self.ready.is_empty()
                || self.running.len() >= self.limits.workers
                || !self.inputs_are_there(key)
            {
                continue;
            }
            let Some(copy) = self.start(key) else { continue };
            self.twins.extend([(*task, copy), (copy, *task)]);
            self.emit(Event::TaskSpeculated { task: copy, stage, partition: key.1, original: *task });
        }
    }

    /// A task of two that compute a partition is out of it, however it ended. Returns the other one, if there is one.
    fn part(&mut self, task: TaskId) -> Option<TaskId> {
        let twin = self.twins.remove(&task)?;
        self.twins.remove(&twin);
        Some(twin)
    }

    /// A running task is not waited for any more, and neither is its twin.
    pub(super) fn stop(&mut self, task: TaskId) {
        for task in [Some(task), self.part(task)].into_iter().flatten() {
            self.running.remove(&task);
            self.out.push(Command::Cancel { task });
            self.out.push(Command::Discard { task });
        }
    }

    /// A task has ended without its rows. Returns whether another one goes on with them.
    fn goes_on(&mut self, key: StorePartition, task: TaskId) -> bool {
        let twin = self.part(task);
        if let Some(task) = twin {
            self.set_state(key, State::Running { task });
        }
        twin.is_some()
    }

    /// Returns whether nothing computes the partition any more: another task than the one that ended may.
    pub(super) fn set_idle(&mut self, key: StorePartition, ended: TaskId) -> bool {
        if self.goes_on(key, ended) {
            return false;
        }
        self.set_state(key, State::Idle);
        true
    }

    pub(super) fn overdue(&mut self, task: TaskId, limit: Duration, rdd: RddId, operator: String) {
        if self.running.contains_key(&task) {
            self.out.push(Command::Cancel { task });
            let end = TaskEnd::Failed { error: TaskError::Overdue { limit }, rdd, operator, rows: None };
            self.task_ended(task, end, WorkerTime { duration: limit, worker: 0 });
        }
    }

    pub(super) fn task_ended(&mut self, task: TaskId, end: TaskEnd, WorkerTime { duration, worker }: WorkerTime) {
        let Some(Running { key, stage, attempt }) = self.running.remove(&task) else {
            // Late: cancelled, or answered before. Whatever it made is not wanted.
            if self.state_of_generation(task).is_none() {
                self.out.push(Command::Discard { task });
            }
            return;
        };
        self.mean_task = (self.mean_task * 7 + duration) / 8;
        match end {
            TaskEnd::Done(done) => {
                let DoneTask { rows, bytes, .. } = done;
                if let Some(twin) = self.part(task) {
                    self.stop(twin);
                }
                if self.limits.speculation.is_some()
                    && let Some(run) = self.stores.get_mut(&key.0).and_then(|store| store.run.as_mut())
                {
                    run.times.add(duration);
                }
                self.emit(Event::TaskFinished { task, stage, partition: key.1, rows, bytes, duration, worker });
                self.done(key, task, done);
            }
            TaskEnd::InputsLost { lost, cause } => {
                self.out.push(Command::Discard { task });
                let error = match (cause, lost.first()) {
                    (Some(cause), _) => TaskError::SpillUnreadable { cause },
                    (None, Some(((store, partition), generation))) => {
                        TaskError::InputLost { store: *store, partition: *partition, generation: Some(*generation) }
                    }
                    (None, None) => TaskError::OutputLost,
                };
                let alone = self.set_idle(key, task);
                for (input, generation) in lost {
                    self.lost(input, generation);
                }
                self.lost_again(task, Running { key, stage, attempt }, alone, error);
            }
            TaskEnd::Failed { error: error @ (TaskError::OutputLost | TaskError::InputLost { .. }), .. } => {
                self.out.push(Command::Discard { task });
                let alone = self.set_idle(key, task);
                self.lost_again(task, Running { key, stage, attempt }, alone, error);
            }
            TaskEnd::Failed { error, rdd, operator, rows } => {
                self.out.push(Command::Discard { task });
                let causes = self.causes.entry(key).or_default();
                let retried = error.is_retryable() && causes.len() + 1 < self.limits.task_failures;
                let text = error.to_string();
                causes.push(FailedAttempt { attempt, rdd, operator, rows, error });
                self.emit(Event::TaskFailed { task, stage, partition: key.1, attempt, error: text, retried });
                let alone = self.set_idle(key, task);
                if !retried {
                    self.fail(key, stage);
                } else if alone {
                    self.make_ready(key, false);
                }
            }
        }
    }

    fn done(&mut self, key: StorePartition, task: TaskId, done: DoneTask) {
        let DoneTask { rows, bytes, passing, fingerprint } = done;
        self.causes.remove(&key);
        self.has_read(key);
        let Some(store) = self.stores.get_mut(&key.0) else { return };
        let (kind, rdd) = (store.spec.kind, store.spec.rdd);
        let node =
            Node { state: State::Done { generation: task }, attempts: 0, losses: 0, fingerprint: Some(fingerprint) };
        store.nodes.update(key.1, |known| *known = node);
        let before = store.before.remove(&key.1).filter(|before| !before.is_like(fingerprint));
        let mut woken = self.waiters.remove(&key).unwrap_or_default();
        if store.nodes.are_all_done() {
            woken.append(&mut store.waiting_for_all);
        }
        if kind == StageKind::Result {
            let job = self.jobs.iter().find(|(_, job)| job.result == key.0).map(|(id, _)| *id);
            if let Some(job) = job {
                self.out.push(Command::Accept { job, partition: key.1 });
                self.settle(key.0);
                let over = self.jobs.get_mut(&job).is_some_and(|job| {
                    job.unfinished.remove(&key.1);
                    job.unfinished.is_empty()
                });
                if over {
                    self.end_jobs(&[job], Ok(()));
                }
                return;
            }
        } else {
            self.out.push(Command::Count { key, task });
            self.emit(Event::PartitionStored { store: key.0, rdd, partition: key.1, task, rows, bytes });
        }
        self.settle(key.0);
        if passing && kind == StageKind::Persist {
            self.passing.insert(key, woken.iter().copied().collect());
            self.wake(woken);
            self.drop_passed(&[key]);
        } else {
            self.wake(woken);
        }
        if let Some(before) = before {
            self.differs(key, task, before, fingerprint);
        }
    }

    /// The partition that holds what this attempt made, if that still counts.
    fn state_of_generation(&self, task: TaskId) -> Option<StorePartition> {
        self.stores.iter().find_map(|(id, store)| {
            let at = store.nodes.iter().position(|node| node.state == State::Done { generation: task })?;
            Some((*id, at))
        })
    }
}
