//! One partition of one store: its rows, and the slot through which they are lent.
//! Told by: the worker that computed it (`Fill`) or has spilled it (`Spilled`), the coordinator (`Spill`, `Dismiss`), a
//! test (`Kill`). Tells the coordinator that its task is done, that its rows are on disk, or, when it dies unasked, that
//! the partition is lost.
//! It never runs user code, touches a row or a file itself, or decides to recompute.
//!
//! ```text
//!   Computing ──Fill──▶ Resident ──Spill──▶ Resident, Spilling ──Spilled──▶ On disk
//!                          └──────────────────────┴──────── Dismiss ──────────┴─────▶ (dropped)
//!   any of them ──Kill, panic──▶ (lost: PartitionGone to the coordinator)
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use emberflow_core::{
    chaos::{Kind, OnPurpose, Point},
    ids::StorePartition,
    store::Stored,
};

use crate::{
    coordinator::{Evicted, Links, PartitionGone, TaskReport},
    governor::{Overdraw, PendingRelease, Reservation},
    mail::{Break, post},
    slot::Slot,
};

/// Contents larger than this are freed on a worker, so that no handler spends its time in the allocator.
const FREE_ON_WORKER_BYTES: u64 = 64 << 10;

pub(crate) struct PartitionActor {
    pub(crate) key: StorePartition,
    pub(crate) slot: Arc<Slot>,
    pub(crate) links: Arc<Links>,
    /// The room in the budget that the rows take.
    pub(crate) room: Option<Reservation>,
    pub(crate) dismissed: bool,
}

impl PartitionActor {
    /// Returns whether a fault on purpose strikes that kills this actor.
    ///
    /// # Panics
    /// If it is a panic.
    fn is_struck(&self, point: Point) -> bool {
        let (store, partition) = self.key;
        let kind = self.links.chaos.strike_at(store, partition, point);
        kind.inspect(|kind| assert_ne!(*kind, Kind::Panic, "{}", OnPurpose { point, kind: *kind })).is_some()
    }

    /// Drops rows that are not needed any more, and then gives their room back.
    fn free(&self, data: Option<Stored>, room: Option<Reservation>) {
        let large = |stored: &Stored| stored.footprint.bytes + stored.footprint.file_bytes > FREE_ON_WORKER_BYTES;
        if data.as_ref().is_some_and(large) {
            let pending = self.links.ledger.pending_release();
            self.links.pool.submit_first(Box::new(move || drop((data, room, pending))));
            // Whoever waits for room may be the only one who has time for it.
            self.links.ledger.turns.notify();
        }
    }
}

impl Actor for PartitionActor {
    type Context = Context<Self>;
}

/// The only place where rows leave: however the actor ends, its slot is empty afterwards and the account is right.
impl Drop for PartitionActor {
    fn drop(&mut self) {
        let (data, room) = (self.slot.empty(), self.room.take());
        self.free(data, room);
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
        if self.is_struck(Point::Fill) {
            return ctx.terminate();
        }
        self.slot.fill(stored);
        self.room = Some(room);
        // A dead coordinator means that the context is ending; whoever waits for the job is told by its end.
        let _ = post(&self.links.coordinator, report);
        if self.is_struck(Point::Filled) {
            ctx.terminate();
        }
    }
}

/// From the coordinator: what is in memory has to make room for others. A worker writes it.
pub(crate) struct Spill {
    pub(crate) pending: PendingRelease,
}

impl Message for Spill {
    type Result = ();
}

impl Handler<Spill> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Spill { pending }: Spill, ctx: &mut Self::Context) {
        if self.is_struck(Point::Evict) {
            return ctx.terminate();
        }
        let (Some(stored), Some(kind)) = (self.slot.look(), self.room.as_ref().map(Reservation::kind)) else { return };
        let (owner, links, key) = (ctx.address(), Arc::clone(&self.links), self.key);
        self.links.pool.submit_first(Box::new(move || {
            let _chaos = links.chaos.afterwards(key.0, key.1);
            // Rows are serialised by code of the user's.
            let spilled = match catch_unwind(AssertUnwindSafe(|| stored.data.spill(&*links.files))) {
                Ok(Ok(Some(spilled))) => spilled,
                Ok(Ok(None)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(store = %key.0, partition = key.1, %error, "rows stay in memory");
                    return;
                }
                Err(_) => {
                    tracing::warn!(store = %key.0, partition = key.1, "writing rows panicked: they stay in memory");
                    return;
                }
            };
            let (data, footprint) = spilled;
            let room = Reservation::take(&links.governor, &links.ledger, kind, footprint.bytes, Overdraw::Allowed);
            let stored = Stored { data, footprint, keep: stored.keep };
            // Whoever owned the rows is gone, and they with him.
            let _ = post(&owner, Spilled { stored, room, _pending: pending });
        }));
        self.links.ledger.turns.notify();
    }
}

/// From the worker: the same rows, on disk.
pub(crate) struct Spilled {
    stored: Stored,
    room: Option<Reservation>,
    _pending: PendingRelease,
}

impl Message for Spilled {
    type Result = ();
}

impl Handler<Spilled> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Spilled { stored, room, _pending }: Spilled, ctx: &mut Self::Context) {
        let (bytes, file_bytes) = (stored.footprint.spilled, stored.footprint.file_bytes);
        let (before, before_room) = (self.slot.look(), self.room.take());
        self.slot.fill(stored);
        self.room = room;
        self.free(before, before_room);
        let evicted = Evicted { key: self.key, generation: self.slot.generation, bytes, file_bytes };
        // A dead coordinator asks for nothing any more.
        let _ = post(&self.links.coordinator, evicted);
        if self.is_struck(Point::Evicted) {
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
#[derive(Clone, Copy)]
pub(crate) enum Kill {
    Ends,
    Panics,
}

impl Message for Kill {
    type Result = ();
}

impl Handler<Kill> for PartitionActor {
    type Result = ();

    fn handle(&mut self, how: Kill, ctx: &mut Self::Context) {
        match how {
            Kill::Ends => ctx.terminate(),
            Kill::Panics => Break::strike(),
        }
    }
}
