//! One partition of one store: its rows, and the slot through which they are lent.
//! Told by: the worker that computed it (`Fill`), the coordinator (`Dismiss`), a test (`Kill`). Tells the coordinator
//! that its task is done, or, when it dies unasked, that the partition is lost.
//! Never: runs user code, touches a row or a file, or decides to recompute.
//!
//! ```text
//!   Computing ──Fill──▶ Resident ──Dismiss──▶ (dropped)
//!       └──────── Kill, panic ────┴─────────▶ (lost: PartitionGone to the coordinator)
//! ```

use std::sync::Arc;

use actix::{Actor, ActorContext, Context, Handler, Message};
use emberflow_core::{
    chaos::{Kind, OnPurpose, Point},
    store::Stored,
};

use crate::{
    coordinator::{Links, PartitionGone, TaskReport, machine::Key},
    governor::Reservation,
    mail::post,
    slot::Slot,
};

/// Contents larger than this are freed on a worker, so that no handler spends its time in the allocator.
const FREE_ON_WORKER_BYTES: u64 = 64 << 10;

pub(crate) struct PartitionActor {
    pub(crate) key: Key,
    pub(crate) slot: Arc<Slot>,
    pub(crate) links: Arc<Links>,
    /// What the rows take of the budget.
    pub(crate) room: Option<Reservation>,
    pub(crate) dismissed: bool,
}

impl PartitionActor {
    /// Whether a fault on purpose strikes.
    fn strike(&self, point: Point) -> Option<Kind> {
        let (store, partition) = self.key;
        self.links.chaos.strike_at(store, partition, point)
    }
}

impl Actor for PartitionActor {
    type Context = Context<Self>;
}

/// The only place where rows leave: however the actor ends, its slot is empty afterwards and the account is right.
impl Drop for PartitionActor {
    fn drop(&mut self) {
        let (data, room) = (self.slot.empty(), self.room.take());
        if data
            .as_ref()
            .is_some_and(|stored| stored.footprint.bytes + stored.footprint.file_bytes > FREE_ON_WORKER_BYTES)
        {
            self.links.pool.submit(Box::new(move || drop((data, room))));
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
    pub(crate) room: Reservation,
    pub(crate) report: TaskReport,
}

impl Message for Fill {
    type Result = ();
}

impl Handler<Fill> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Fill { stored, room, report }: Fill, ctx: &mut Self::Context) {
        if let Some(kind) = self.strike(Point::Fill) {
            assert_ne!(kind, Kind::Panic, "{}", OnPurpose { point: Point::Fill, kind });
            return ctx.terminate();
        }
        self.slot.fill(stored);
        self.room = Some(room);
        // A dead coordinator means that the context is ending; whoever waits for the job is told by its end.
        let _ = post(&self.links.coordinator, report);
        if self.strike(Point::Filled).is_some() {
            ctx.terminate();
        }
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
