//! The memory governor: the one account of what rows take in memory. Told by partition actors what they hold.
//!
//! It accounts and does not yet refuse: enforcement is a later step, and goes through this same actor. Everybody may
//! read the account without asking it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actix::{Actor, Context, Handler, Message};
use emberflow_core::plan::StageKind;

/// What rows take in memory, by estimate, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// What they may take.
    pub budget: u64,
    /// Persisted rows.
    pub persisted: u64,
    /// Map outputs.
    pub map_outputs: u64,
    /// The most that both together have taken.
    pub peak: u64,
}

/// The account. Written by the governor alone.
pub(crate) struct Ledger {
    budget: u64,
    persisted: AtomicU64,
    map_outputs: AtomicU64,
    peak: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(budget: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { budget, persisted: zero(), map_outputs: zero(), peak: zero() }
    }

    pub(crate) fn read(&self) -> MemoryUse {
        MemoryUse {
            budget: self.budget,
            persisted: self.persisted.load(Ordering::Acquire),
            map_outputs: self.map_outputs.load(Ordering::Acquire),
            peak: self.peak.load(Ordering::Acquire),
        }
    }

    fn of(&self, kind: StageKind) -> &AtomicU64 {
        match kind {
            StageKind::Persist => &self.persisted,
            _ => &self.map_outputs,
        }
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

/// From a partition actor: it holds this much now.
pub(crate) struct Charge {
    pub(crate) kind: StageKind,
    pub(crate) bytes: u64,
}

impl Message for Charge {
    type Result = ();
}

impl Handler<Charge> for Governor {
    type Result = ();

    fn handle(&mut self, charge: Charge, _: &mut Self::Context) {
        self.ledger.of(charge.kind).fetch_add(charge.bytes, Ordering::AcqRel);
        let MemoryUse { persisted, map_outputs, .. } = self.ledger.read();
        self.ledger.peak.fetch_max(persisted + map_outputs, Ordering::AcqRel);
    }
}

/// From a partition actor: it holds this much no more.
pub(crate) struct Release {
    pub(crate) kind: StageKind,
    pub(crate) bytes: u64,
}

impl Message for Release {
    type Result = ();
}

impl Handler<Release> for Governor {
    type Result = ();

    fn handle(&mut self, release: Release, _: &mut Self::Context) {
        self.ledger.of(release.kind).fetch_sub(release.bytes, Ordering::AcqRel);
    }
}
