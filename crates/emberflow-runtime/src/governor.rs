//! The memory governor: the one account of what rows take in memory, and on disk.
//!
//! Workers reserve room for what they have made on a fast path, and are refused when the budget is used up: they spill
//! what they have made before they hand it to its actor, so that nothing waits for anything, and whoever makes rows
//! faster than there is room pays for it himself. What is given back goes through the actor. Everybody may read the
//! account without asking it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actix::{Actor, Addr, Context, Handler, Message};
use emberflow_core::plan::StageKind;

use crate::mail::post;

/// What rows take, by estimate, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct MemoryUse {
    /// What they may take in memory.
    pub budget: u64,
    /// Persisted rows in memory.
    pub persisted: u64,
    /// Map outputs in memory.
    pub map_outputs: u64,
    /// The most that both together have taken.
    pub peak: u64,
    /// What is needed of what is on disk of both. The files may be longer: their room comes back as a whole.
    pub spilled: u64,
    /// What was written to disk in all.
    pub spilled_in_all: u64,
    /// What was read back in all.
    pub read_back_in_all: u64,
}

/// The account.
pub(crate) struct Ledger {
    budget: u64,
    spill_limit: u64,
    /// What is reserved of the budget.
    used: AtomicU64,
    persisted: AtomicU64,
    map_outputs: AtomicU64,
    peak: AtomicU64,
    /// Of the files, whatever of them is still needed.
    on_disk: AtomicU64,
    spilled: AtomicU64,
    spilled_in_all: AtomicU64,
    read_back_in_all: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(budget: u64, spill_limit: Option<u64>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            budget,
            spill_limit: spill_limit.unwrap_or(u64::MAX),
            used: zero(),
            persisted: zero(),
            map_outputs: zero(),
            peak: zero(),
            on_disk: zero(),
            spilled: zero(),
            spilled_in_all: zero(),
            read_back_in_all: zero(),
        }
    }

    pub(crate) fn read(&self) -> MemoryUse {
        MemoryUse {
            budget: self.budget,
            persisted: self.persisted.load(Ordering::Acquire),
            map_outputs: self.map_outputs.load(Ordering::Acquire),
            peak: self.peak.load(Ordering::Acquire),
            spilled: self.spilled.load(Ordering::Acquire),
            spilled_in_all: self.spilled_in_all.load(Ordering::Acquire),
            read_back_in_all: self.read_back_in_all.load(Ordering::Acquire),
        }
    }

    fn of(&self, kind: StageKind) -> &AtomicU64 {
        match kind {
            StageKind::Persist => &self.persisted,
            _ => &self.map_outputs,
        }
    }

    /// Takes room for so many bytes; whether there was any. If it is to be taken anyhow, there is.
    fn reserve(&self, kind: StageKind, bytes: u64, anyhow: bool) -> bool {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| anyhow || *sum <= self.budget);
        let Ok(before) = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) else { return false };
        self.of(kind).fetch_add(bytes, Ordering::AcqRel);
        self.peak.fetch_max(before + bytes, Ordering::AcqRel);
        true
    }

    fn release(&self, kind: StageKind, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.of(kind).fetch_sub(bytes, Ordering::AcqRel);
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

    /// So many bytes were written.
    pub(crate) fn spill(&self, bytes: u64) {
        self.spilled.fetch_add(bytes, Ordering::AcqRel);
        self.spilled_in_all.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes were read back.
    pub(crate) fn read_back(&self, bytes: u64) {
        self.read_back_in_all.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes are needed no more.
    pub(crate) fn unspill(&self, bytes: u64) {
        self.spilled.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Room that was taken; given back when it is dropped, wherever that is.
pub(crate) struct Reservation {
    kind: StageKind,
    bytes: u64,
    governor: Addr<Governor>,
}

impl Reservation {
    /// Room for so many bytes, if there is any, or if it is to be taken `anyhow`.
    pub(crate) fn take(
        (governor, ledger): (&Addr<Governor>, &Ledger),
        kind: StageKind,
        bytes: u64,
        anyhow: bool,
    ) -> Option<Self> {
        ledger.reserve(kind, bytes, anyhow).then(|| Self { kind, bytes, governor: governor.clone() })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A dead governor needs no account: the context is ending.
        let _ = post(&self.governor, Release { kind: self.kind, bytes: self.bytes });
    }
}

pub(crate) struct Governor {
    pub(crate) ledger: Arc<Ledger>,
}

impl Actor for Governor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

/// From whoever held so much: it is free again.
pub(crate) struct Release {
    kind: StageKind,
    bytes: u64,
}

impl Message for Release {
    type Result = ();
}

impl Handler<Release> for Governor {
    type Result = ();

    fn handle(&mut self, release: Release, _: &mut Self::Context) {
        self.ledger.release(release.kind, release.bytes);
    }
}
