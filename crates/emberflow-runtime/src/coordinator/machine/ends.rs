//! Ends: of jobs, with all that only they wanted, and of stores that no lineage can reach.
//!
//! Owns that a job ends exactly once. Called when a job has its result, has failed, was cancelled or does not go on.
//! Never stops what another job wants.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use emberflow_core::{
    error::Error,
    event::{Event, JobEnd},
    ids::{JobId, StageId, StoreId, StorePartition},
};

use super::{Command, Machine, store::State};

impl Machine {
    /// Ends jobs, and stops whatever only they wanted.
    pub(super) fn end_jobs(&mut self, jobs: &[JobId], outcome: Result<(), &dyn Fn(JobId) -> Error>) {
        let mut forgotten: BTreeSet<StoreId> = BTreeSet::new();
        let (mut touched, failed) = (false, outcome.is_err());
        for id in jobs {
            let Some(job) = self.jobs.remove(id) else { continue };
            let outcome = outcome.map_err(|error| error(*id));
            let result = self.stores.remove(&job.result);
            for node in result.iter().flat_map(|store| store.nodes.iter()) {
                if let State::Running { task } = node.state {
                    self.stop(task);
                }
            }
            if let Some(run) = result.and_then(|store| store.run)
                && run.announced
            {
                self.emit(Event::StageFinished { stage: run.stage });
            }
            self.causes.retain(|key, _| key.0 != job.result);
            self.forget_readers(|reader| reader.0 != job.result);
            self.out.push(Command::DropStore { store: job.result });
            self.emit(Event::JobFinished { job: *id, end: JobEnd::of(&outcome) });
            self.out.push(Command::FinishJob { job: *id, outcome });
            forgotten.extend(job.stores.iter().filter(|id| self.stores.get(id).is_some_and(|store| store.forgotten)));
            // A job that has what it wanted, and made it all by itself, leaves nothing to others and wants no more.
            touched |= failed || job.stores.iter().any(|id| self.stores.contains_key(id));
        }
        self.unread.retain(|key, _| self.jobs.values().any(|job| job.stores.contains(&key.0)));
        if touched && self.stores.values().any(|store| store.run.is_some()) {
            self.sweep();
        }
        for store in forgotten {
            self.forget(store);
        }
    }

    /// A task has failed for good: so have the jobs that cannot do without it.
    pub(super) fn fail(&mut self, key: StorePartition, stage: StageId) {
        let causes = self.causes.remove(&key).unwrap_or_default();
        let jobs = self.jobs_that_demand(key);
        let Some(first) = causes.first() else { return };
        let (rdd, operator) = (first.rdd, first.operator.clone());
        self.end_jobs(
            &jobs,
            Err(&|_| Error::TaskFailed {
                rdd,
                operator: operator.clone(),
                stage,
                partition: key.1,
                causes: causes.clone(),
            }),
        );
    }

    /// Ends every job, with all that is known of what it waits for.
    pub(super) fn stalled(&mut self, limit: Duration, shell: &str) {
        let jobs = self.jobs();
        let told: BTreeMap<JobId, String> = jobs.iter().map(|job| (*job, self.describe(*job))).collect();
        let error = |job| {
            let waits_for = told.get(&job).map_or("", String::as_str);
            Error::Stalled { job, limit, waits_for: format!("{waits_for}{shell}") }
        };
        self.end_jobs(&jobs, Err(&error));
    }

    /// The partitions that a job still needs, and what each of them waits for; a line each.
    fn describe(&self, job: JobId) -> String {
        const LINES: usize = 20;
        let mut needed: Vec<StorePartition> = self.demanded_by(job).into_iter().collect();
        needed.sort_unstable();
        let mut told = String::new();
        for key in needed.iter().take(LINES) {
            let (Some(store), Some(state)) = (self.stores.get(&key.0), self.state(*key)) else { continue };
            let how = match state {
                State::Idle => "is wanted by nobody who waits".to_owned(),
                State::Waiting { missing } => format!("waits for {missing} of what it reads"),
                State::Ready => "waits for a worker".to_owned(),
                State::Running { task } => format!("is computed by {task}"),
                State::Done { generation } => format!("is there, made by {generation}"),
            };
            told.push_str(&format!("\n  {}, partition {} ({}): {how}", store.spec.name, key.1, key.0));
        }
        if needed.len() > LINES {
            told.push_str(&format!("\n  and {} more", needed.len() - LINES));
        }
        told
    }

    /// Releases a store, now or when the last job that may read it has ended.
    pub(super) fn forget(&mut self, id: StoreId) {
        let used = self.is_used(id);
        let Some(store) = self.stores.get_mut(&id) else { return };
        store.forgotten = true;
        if used {
            return;
        }
        let event = Event::StoreDropped { store: id, rdd: store.spec.rdd, partitions: store.nodes.done() };
        self.stores.remove(&id);
        self.causes.retain(|key, _| key.0 != id);
        self.passing.retain(|key, _| key.0 != id);
        self.out.push(Command::DropStore { store: id });
        self.emit(event);
    }
}
