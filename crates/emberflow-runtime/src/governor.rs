//! The memory governor: the one account of what rows take in memory, and on disk.
//!
//! Workers reserve room on a fast path, for what they work on and for what they have made, and are refused when the
//! budget is used up: then they write rows to disk, so that hardly anything waits, and a task that makes rows faster
//! than there is room pays for it itself. A task with rows that cannot go to disk [takes its turn](crate::turns). Kept
//! rows may take three quarters of the budget, so that there is always room to work in, and of that each of the tasks
//! that ask for it gets an equal share at most. The account can be read without asking the actor.
//!
//! The [`Governor`] has no field and decides nothing. A reservation is a few atomic operations on the account, so that a
//! worker need not wait for an actor's answer before it goes on. Which kept rows make room is decided by the coordinator,
//! since it follows from the demands of jobs, which the coordinator alone knows; a copy of them in another actor would be
//! late. Turns are taken by the threads that wait, under one lock. The actor does the rest: it gives back the memory of
//! kept rows, and wakes the tasks that wait for it, so that a store of very many partitions that goes does not take that
//! lock once a partition on the coordinator's thread. This is a saving and no necessity: if the actor dies, a
//! [`Release`] that it does not take is dropped by its sender, which frees the same bytes.

use std::{io, sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Handler, Message};
use emberflow_core::{
    chaos::{self, Point},
    plan::StageKind,
};

use crate::{
    mail::{Break, post},
    pressure::Pressure,
    sync::atomic::{AtomicU64, Ordering},
    system,
    turns::Turns,
};

/// Nanoseconds that writing or reading a byte takes, before it is known better: a disk of a gigabyte a second.
const DISK_COST: f64 = 1.0;
/// The bytes that have to be written or read before it is.
const MEASURED_BYTES: u64 = 1 << 20;

/// The memory and the disk that rows take, by estimate, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct MemoryUse {
    /// The bytes that rows may take in memory.
    pub budget: u64,
    /// Persisted rows in memory.
    pub persisted: u64,
    /// Map outputs in memory.
    pub map_outputs: u64,
    /// Rows that running tasks work on: hash tables, sort buffers, rows that they gather or are about to keep.
    pub working: u64,
    /// Results on their way to the callers of actions.
    pub results: u64,
    /// The most that all of these together have taken.
    pub peak: u64,
    /// The bytes on disk of both that are still needed. The files may be longer: their room comes back as a whole.
    pub spilled: u64,
    /// The bytes that were written to disk in all.
    pub spilled_in_all: u64,
    /// The bytes that were read back in all.
    pub read_back_in_all: u64,
    /// How often a task has waited for memory that others held, since what it needed could not go to disk.
    pub waits: u64,
    /// How often one has begun again so that an older one could go on.
    pub gave_way: u64,
}

/// Whether a reservation may go beyond the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdraw {
    /// Rows that can go to disk instead are refused.
    Refused,
    /// Rows that are in memory already and have to stay there are counted, whether there is room or not.
    Allowed,
}

impl Overdraw {
    fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// The account.
pub(crate) struct Ledger {
    budget: u64,
    workers: u64,
    spill_limit: u64,
    /// Whether nothing finds room, whatever the budget.
    force_spill: bool,
    /// The bytes that are reserved of the budget.
    used: AtomicU64,
    persisted: AtomicU64,
    map_outputs: AtomicU64,
    working: AtomicU64,
    results: AtomicU64,
    /// The turns of the tasks that have asked for room to work in.
    pub(crate) turns: Turns,
    pressure: Pressure,
    waits: AtomicU64,
    gave_way: AtomicU64,
    /// The number of [`PendingRelease`]s.
    pending_releases: AtomicU64,
    peak: AtomicU64,
    /// The bytes of the files, whatever of them is still needed.
    on_disk: AtomicU64,
    spilled: AtomicU64,
    spilled_in_all: AtomicU64,
    read_back_in_all: AtomicU64,
    /// Nanoseconds that writing and reading back have taken.
    writing: AtomicU64,
    reading: AtomicU64,
    /// The cost that a test sets instead, for a kilobyte.
    assumed_cost: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(budget: u64, workers: usize, spill_limit: Option<u64>, force_spill: bool) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            budget,
            workers: workers as u64,
            spill_limit: spill_limit.unwrap_or(u64::MAX),
            force_spill,
            used: zero(),
            persisted: zero(),
            map_outputs: zero(),
            working: zero(),
            results: zero(),
            turns: Turns::default(),
            pressure: Pressure::new(system::memory_limit_bytes()),
            waits: zero(),
            gave_way: zero(),
            pending_releases: zero(),
            peak: zero(),
            on_disk: zero(),
            spilled: zero(),
            spilled_in_all: zero(),
            read_back_in_all: zero(),
            writing: zero(),
            reading: zero(),
            assumed_cost: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn read(&self) -> MemoryUse {
        MemoryUse {
            budget: self.budget,
            persisted: self.persisted.load(Ordering::Acquire),
            map_outputs: self.map_outputs.load(Ordering::Acquire),
            working: self.working.load(Ordering::Acquire),
            results: self.results.load(Ordering::Acquire),
            peak: self.peak.load(Ordering::Acquire),
            spilled: self.spilled.load(Ordering::Acquire),
            spilled_in_all: self.spilled_in_all.load(Ordering::Acquire),
            read_back_in_all: self.read_back_in_all.load(Ordering::Acquire),
            waits: self.waits.load(Ordering::Acquire),
            gave_way: self.gave_way.load(Ordering::Acquire),
        }
    }

    fn of(&self, kind: StageKind) -> &AtomicU64 {
        match kind {
            StageKind::Persist => &self.persisted,
            _ => &self.map_outputs,
        }
    }

    /// The bytes of kept rows.
    fn kept(&self) -> u64 {
        self.persisted.load(Ordering::Acquire) + self.map_outputs.load(Ordering::Acquire)
    }

    /// Takes so many bytes of the budget, or beyond it. Returns whether they were taken.
    fn take(&self, bytes: u64, overdraw: Overdraw) -> bool {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| overdraw.is_allowed() || *sum <= self.budget);
        let Ok(before) = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) else { return false };
        self.peak.fetch_max(before + bytes, Ordering::AcqRel);
        true
    }

    /// Returns whether anything finds room at all.
    fn may_grow(&self, bytes: u64) -> bool {
        !self.force_spill && !self.pressure.is_high(bytes)
    }

    /// Reserves memory for kept rows. Returns whether it was reserved.
    pub(crate) fn reserve(&self, kind: StageKind, bytes: u64, overdraw: Overdraw) -> bool {
        let fits = || self.may_grow(bytes) && self.kept() + bytes <= self.budget / 4 * 3;
        let taken = bytes == 0 || ((overdraw.is_allowed() || fits()) && self.take(bytes, overdraw));
        if taken {
            self.of(kind).fetch_add(bytes, Ordering::AcqRel);
        }
        taken
    }

    /// Reserves memory to work in, for a task that has so much of it already. Returns whether it was reserved.
    pub(crate) fn reserve_work(&self, held: u64, bytes: u64, overdraw: Overdraw) -> bool {
        let fits = || {
            let share = self.budget.saturating_sub(self.kept()) / self.turns.working().max(1) as u64;
            self.may_grow(bytes) && held + bytes <= share
        };
        let taken = (overdraw.is_allowed() || fits()) && self.take(bytes, overdraw);
        if taken {
            self.working.fetch_add(bytes, Ordering::AcqRel);
        }
        taken
    }

    pub(crate) fn release_work(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.working.fetch_sub(bytes, Ordering::AcqRel);
        self.turns.notify();
    }

    /// Takes room to work in of whatever share, for a task that waits for it.
    pub(crate) fn take_in_turn(&self, bytes: u64) -> bool {
        let taken = !self.pressure.is_high(bytes) && self.take(bytes, Overdraw::Refused);
        if taken {
            self.working.fetch_add(bytes, Ordering::AcqRel);
        }
        taken
    }

    /// A task waits, or gives way.
    pub(crate) fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::AcqRel);
    }

    /// A task gives way to an older one.
    pub(crate) fn count_gave_way(&self) {
        self.gave_way.fetch_add(1, Ordering::AcqRel);
    }

    /// Announces that room is on its way, for as long as the returned value lives.
    pub(crate) fn pending_release(self: &Arc<Self>) -> PendingRelease {
        self.pending_releases.fetch_add(1, Ordering::SeqCst);
        PendingRelease(Arc::clone(self))
    }

    /// Returns whether room is on its way.
    pub(crate) fn is_release_pending(&self) -> bool {
        self.pending_releases.load(Ordering::SeqCst) > 0
    }

    /// Takes room for results. Returns whether all results together are within the limit.
    pub(crate) fn reserve_result(&self, bytes: u64, limit: u64) -> bool {
        let room = |results: u64| results.checked_add(bytes).filter(|sum| *sum <= limit);
        if self.results.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_err() {
            return false;
        }
        self.take(bytes, Overdraw::Allowed)
    }

    pub(crate) fn release_result(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.results.fetch_sub(bytes, Ordering::AcqRel);
        self.turns.notify();
    }

    /// Takes room for results, whether there is any or not.
    pub(crate) fn overdraw_result(&self, bytes: u64) {
        self.results.fetch_add(bytes, Ordering::AcqRel);
        self.take(bytes, Overdraw::Allowed);
    }

    /// Returns whether what tasks work on is counted at all.
    pub(crate) fn accounts(&self) -> bool {
        self.budget < u64::MAX
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// The bytes that batches on their way count with in each task at most: a sixteenth of the budget in all, so that a
    /// small one is not used up by what lasts for a moment.
    pub(crate) fn batches_limit(&self) -> u64 {
        self.budget / 16 / self.workers
    }

    pub(crate) fn forces_spill(&self) -> bool {
        self.force_spill
    }

    pub(crate) fn release(&self, kind: StageKind, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.of(kind).fetch_sub(bytes, Ordering::AcqRel);
        self.turns.notify();
    }

    pub(crate) fn spill_limit(&self) -> u64 {
        self.spill_limit
    }

    /// The lengths of all spill files.
    #[cfg(test)]
    pub(crate) fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Acquire)
    }

    /// A file is about to grow by so much.
    pub(crate) fn take_disk(&self, bytes: u64) -> io::Result<()> {
        let room = |on_disk: u64| on_disk.checked_add(bytes).filter(|sum| *sum <= self.spill_limit);
        self.on_disk.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).map_err(|on_disk| {
            let limit = self.spill_limit;
            let text = format!(
                "{bytes} bytes more than the {on_disk} that are on disk already would go beyond the spill_limit of \
                 {limit}; raise it, raise memory_budget, or unpersist what is not needed"
            );
            io::Error::new(io::ErrorKind::QuotaExceeded, text)
        })?;
        Ok(())
    }

    /// A file of this length has gone.
    pub(crate) fn give_disk(&self, bytes: u64) {
        self.on_disk.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The time to serialise, write, read and deserialise a byte, in nanoseconds, by what it has taken so far.
    pub(crate) fn disk_cost(&self) -> f64 {
        let assumed = self.assumed_cost.load(Ordering::Acquire);
        if assumed < u64::MAX {
            return assumed as f64 / 1024.0;
        }
        let cost = |nanos: &AtomicU64, bytes: &AtomicU64| match bytes.load(Ordering::Acquire) {
            // Too few to tell.
            0..MEASURED_BYTES => DISK_COST,
            bytes => nanos.load(Ordering::Acquire) as f64 / bytes as f64,
        };
        // To serialise takes about as long as to deserialise, which is in the time of reading.
        let reading = cost(&self.reading, &self.read_back_in_all);
        cost(&self.writing, &self.spilled_in_all) + 2.0 * reading
    }

    pub(crate) fn assume_memory_limit(&self, bytes: u64) {
        self.pressure.assume_limit(bytes);
    }

    pub(crate) fn assume_disk_cost(&self, nanos_a_kilobyte: u64) {
        self.assumed_cost.store(nanos_a_kilobyte, Ordering::Release);
    }

    /// So many bytes were written in this time.
    pub(crate) fn spill(&self, bytes: u64, took: Duration) {
        self.writing.fetch_add(took.as_nanos() as u64, Ordering::AcqRel);
        self.spilled.fetch_add(bytes, Ordering::AcqRel);
        self.spilled_in_all.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes were read back, and made rows again, in this time.
    pub(crate) fn read_back(&self, bytes: u64, took: Duration) {
        self.reading.fetch_add(took.as_nanos() as u64, Ordering::AcqRel);
        self.read_back_in_all.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes are needed no more.
    pub(crate) fn unspill(&self, bytes: u64) {
        self.spilled.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// A release of memory that is on its way: tasks that wait for memory do not give up while this lives.
pub(crate) struct PendingRelease(Arc<Ledger>);

impl Drop for PendingRelease {
    fn drop(&mut self) {
        self.0.pending_releases.fetch_sub(1, Ordering::SeqCst);
        self.0.turns.notify();
    }
}

/// Room that was taken; given back when it is dropped, wherever that is.
pub(crate) struct Reservation {
    kind: StageKind,
    bytes: u64,
    governor: Addr<Governor>,
    ledger: Arc<Ledger>,
}

impl Reservation {
    /// Reserves memory for so many bytes, if there is any, or if the budget may be overdrawn.
    pub(crate) fn take(
        governor: &Addr<Governor>,
        ledger: &Arc<Ledger>,
        kind: StageKind,
        bytes: u64,
        overdraw: Overdraw,
    ) -> Option<Self> {
        let refused = overdraw == Overdraw::Refused && chaos::strike(Point::Memory).is_some();
        let taken = !refused && ledger.reserve(kind, bytes, overdraw);
        taken.then(|| Self { kind, bytes, governor: governor.clone(), ledger: Arc::clone(ledger) })
    }

    /// The kind of rows that the reservation is for.
    pub(crate) fn kind(&self) -> StageKind {
        self.kind
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // What a dead governor does not take is dropped, which releases it as well.
        let _ = post(
            &self.governor,
            Release { kind: self.kind, bytes: self.bytes, pending: self.ledger.pending_release() },
        );
    }
}

/// Where memory is given back, in the order in which it comes.
pub(crate) struct Governor;

impl Actor for Governor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

/// The holder of so many bytes sends this: they are free again when it is dropped, whether the governor has lived to
/// handle it or not.
pub(crate) struct Release {
    kind: StageKind,
    bytes: u64,
    pending: PendingRelease,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.pending.0.release(self.kind, self.bytes);
    }
}

impl Message for Release {
    type Result = ();
}

impl Handler<Release> for Governor {
    type Result = ();

    fn handle(&mut self, release: Release, _: &mut Self::Context) {
        drop(release);
    }
}

impl Handler<Break> for Governor {
    type Result = ();

    fn handle(&mut self, _: Break, _: &mut Self::Context) {
        Break::strike();
    }
}
