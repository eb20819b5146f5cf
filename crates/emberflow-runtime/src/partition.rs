//! One partition of one store: its rows, and the slot through which they are lent.
//! Told by: the worker that computed it (`Fill`), the coordinator (`Dismiss`), a test (`Kill`). Tells the governor what
//! it holds, and the coordinator that its task is done, or, when it dies unasked, that the partition is lost.
//! Never: runs user code, touches a row or a file, or decides to recompute.
//!
//! ```text
//!   Computing ──Fill──▶ Resident ──Dismiss──▶ (dropped)
//!       └──────── Kill, panic ────┴─────────▶ (lost: PartitionGone to the coordinator)
//! ```

use std::sync::Arc;

use actix::{Actor, ActorContext, Context, Handler, Message};
use emberflow_core::{plan::StageKind, store::Stored};

use crate::{
    coordinator::{Links, PartitionGone, TaskReport, machine::Key},
    governor::{Charge, Release},
    mail::post,
    slot::Slot,
};

/// Contents larger than this are freed on a worker, so that no handler spends its time in the allocator.
const FREE_ON_WORKER_BYTES: u64 = 64 << 10;

pub(crate) struct PartitionActor {
    pub(crate) key: Key,
    pub(crate) kind: StageKind,
    pub(crate) slot: Arc<Slot>,
    pub(crate) links: Arc<Links>,
    /// What the governor has been told.
    pub(crate) charged: Option<u64>,
    pub(crate) dismissed: bool,
}

impl Actor for PartitionActor {
    type Context = Context<Self>;
}

/// The only place where rows leave: however the actor ends, its slot is empty afterwards and the account is right.
impl Drop for PartitionActor {
    fn drop(&mut self) {
        let data = self.slot.empty();
        if let Some(bytes) = self.charged {
            // A dead governor needs no account: the context is ending.
            let _ = post(&self.links.governor, Release { kind: self.kind, bytes });
            if bytes > FREE_ON_WORKER_BYTES {
                self.links.pool.submit(Box::new(move || drop(data)));
            }
        }
        if !self.dismissed {
            let gone = PartitionGone { key: self.key, generation: self.slot.generation };
            // A dead coordinator asks for nothing any more.
            let _ = post(&self.links.coordinator, gone);
        }
    }
}

/// From the worker: here are the rows, and the report that the coordinator waits for.
pub(crate) struct Fill {
    pub(crate) stored: Stored,
    pub(crate) report: TaskReport,
}

impl Message for Fill {
    type Result = ();
}

impl Handler<Fill> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Fill { stored, report }: Fill, _: &mut Self::Context) {
        let bytes = stored.bytes;
        self.slot.fill(stored);
        self.charged = Some(bytes);
        // Dead receivers mean that the context is ending; whoever waits for the job is told by the coordinator's end.
        let _ = post(&self.links.governor, Charge { kind: self.kind, bytes });
        let _ = post(&self.links.coordinator, report);
    }
}

/// From the coordinator: nobody will ask for this partition again.
pub(crate) struct Dismiss;

impl Message for Dismiss {
    type Result = ();
}

impl Handler<Dismiss> for PartitionActor {
    type Result = ();

    fn handle(&mut self, _: Dismiss, ctx: &mut Self::Context) {
        self.dismissed = true;
        ctx.terminate();
    }
}

/// From a test: die without a word, as if a fault had struck.
pub(crate) struct Kill;

impl Message for Kill {
    type Result = ();
}

impl Handler<Kill> for PartitionActor {
    type Result = ();

    fn handle(&mut self, _: Kill, ctx: &mut Self::Context) {
        ctx.terminate();
    }
}
