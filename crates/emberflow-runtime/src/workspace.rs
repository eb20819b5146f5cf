//! The memory and the disk that one attempt at a task works with.
//!
//! Asks the account on the task's behalf, and remembers how much the task has, so that it gets no more than its share.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use emberflow_core::{
    chaos::{self, Point},
    error::{TaskError, over_budget},
    memory::Workspace,
    spill::{SpillSpace, SpilledBytes},
};

use crate::{
    coordinator::{Links, MakeRoom},
    governor::{Ledger, Overdraw},
    mail::post,
    turns::{RoomRequest, Turn, Waited},
};

/// The bytes that are held without room before they are written: a sixty-fourth of the budget, but within these bounds.
const UNIT_BYTES: (u64, u64) = (16 << 10, 1 << 20);
/// The same if everything is to be spilled: so small that tests, which are small, reach it.
const FORCED_UNIT_BYTES: u64 = 2 << 10;
/// Rows that cannot go to disk may take so much in each task, however small the budget is; and so may all results.
const ALLOWANCE_BYTES: u64 = 16 << 20;

pub(crate) struct TaskMemory {
    links: Arc<Links>,
    pub(crate) cancelled: Arc<AtomicBool>,
    began: Instant,
    held: AtomicU64,
    /// The bytes of batches on their way.
    batches: AtomicU64,
    /// Since it first asked.
    turn: OnceLock<Turn>,
}

impl TaskMemory {
    /// The memory of an attempt; if it gave way and begins again, with its turn.
    pub(crate) fn new(links: &Arc<Links>, cancelled: Arc<AtomicBool>, again: Option<Turn>) -> Self {
        let (links, held, batches) = (Arc::clone(links), AtomicU64::new(0), AtomicU64::new(0));
        let turn = OnceLock::new();
        if let Some(again) = again {
            links.ledger.turns.begin_again(again);
            turn.get_or_init(|| again);
        }
        Self { links, cancelled, began: Instant::now(), held, batches, turn }
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.links.ledger
    }

    /// How long ago the attempt began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The attempt has ended, and dropped what it held; its results may be held for longer.
    pub(crate) fn end(&self) {
        let batches = self.batches.swap(0, Ordering::Relaxed);
        if batches > 0 {
            self.ledger().release_work(batches);
        }
        if let Some(turn) = self.turn.get() {
            self.ledger().turns.end(*turn);
        }
    }

    /// Waits until the tasks have ended to which this one gave way; says which turn it has when it begins again.
    pub(crate) fn older_have_ended(&self) -> Option<Turn> {
        let turn = *self.turn.get()?;
        self.ledger().turns.older_have_ended(turn, || self.is_cancelled());
        Some(turn)
    }

    fn turn(&self) -> Turn {
        *self.turn.get_or_init(|| self.ledger().turns.begin())
    }

    fn take(&self, bytes: u64, overdraw: Overdraw) -> bool {
        if !self.ledger().accounts() {
            return true;
        }
        self.turn();
        let refused = overdraw == Overdraw::Refused && chaos::strike(Point::Memory).is_some();
        let taken = !refused && self.ledger().reserve_work(self.held.load(Ordering::Relaxed), bytes, overdraw);
        if taken {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }
}

impl SpillSpace for TaskMemory {
    fn write(&self, bytes: &[u8]) -> io::Result<Arc<dyn SpilledBytes>> {
        if self.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.links.files.write(bytes)
    }

    fn compresses(&self) -> bool {
        self.links.files.compresses()
    }
}

impl Workspace for TaskMemory {
    fn reserve(&self, bytes: u64) -> bool {
        self.take(bytes, Overdraw::Refused)
    }

    fn overdraw(&self, bytes: u64) {
        self.take(bytes, Overdraw::Allowed);
    }

    fn hold_batch(&self, bytes: u64) {
        if self.ledger().accounts() {
            let bytes = bytes.min(self.ledger().batches_limit() - self.batches.load(Ordering::Relaxed));
            self.batches.fetch_add(bytes, Ordering::Relaxed);
            self.ledger().reserve_work(0, bytes, Overdraw::Allowed);
        }
    }

    fn wait(&self, bytes: u64) -> Result<bool, TaskError> {
        self.ledger().count_wait();
        match self.ledger().turns.wait(self.turn(), &WorkRequest { memory: self, bytes }) {
            Waited::Granted => {
                self.held.fetch_add(bytes, Ordering::Relaxed);
                Ok(true)
            }
            Waited::InVain => Ok(false),
            Waited::Cancelled => Err(TaskError::Cancelled),
            Waited::GiveWay => {
                self.ledger().count_gave_way();
                Err(TaskError::GaveWay)
            }
        }
    }

    fn release(&self, bytes: u64) {
        if !self.ledger().accounts() {
            return;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.ledger().release_work(bytes);
    }

    fn reserve_result(&self, bytes: u64) -> Result<(), TaskError> {
        let budget = self.budget();
        if self.ledger().reserve_result(bytes, budget.max(ALLOWANCE_BYTES)) {
            return Ok(());
        }
        let bytes = self.ledger().read().results + bytes;
        Err(TaskError::OverBudget { what: over_budget::RESULT, bytes, budget })
    }

    fn overdraw_result(&self, bytes: u64) {
        self.ledger().overdraw_result(bytes);
    }

    fn release_result(&self, bytes: u64) {
        self.ledger().release_result(bytes);
    }

    fn space(&self) -> &dyn SpillSpace {
        self
    }

    fn unit(&self) -> u64 {
        if self.ledger().forces_spill() {
            return FORCED_UNIT_BYTES;
        }
        (self.budget() / 64).clamp(UNIT_BYTES.0, UNIT_BYTES.1)
    }

    fn allowance(&self) -> u64 {
        if self.ledger().forces_spill() { self.budget() } else { ALLOWANCE_BYTES }
    }

    fn budget(&self) -> u64 {
        self.ledger().budget()
    }

    fn is_quicker_than_disk(&self, bytes: u64) -> bool {
        (self.began.elapsed().as_nanos() as f64) < self.ledger().disk_cost() * bytes as f64
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A request of a task for room to work in.
struct WorkRequest<'a> {
    memory: &'a TaskMemory,
    bytes: u64,
}

impl RoomRequest for WorkRequest<'_> {
    fn take(&self) -> bool {
        self.memory.ledger().take_in_turn(self.bytes)
    }

    fn is_cancelled(&self) -> bool {
        self.memory.is_cancelled()
    }

    fn is_release_pending(&self) -> bool {
        self.memory.ledger().is_release_pending()
    }

    fn can_help(&self) -> bool {
        self.memory.links.pool.is_urgent()
    }

    fn help(&self) {
        self.memory.links.pool.help();
    }

    fn request_eviction(&self) {
        let make_room = MakeRoom { bytes: self.bytes, _pending: self.memory.ledger().pending_release() };
        // A dead coordinator means that the context is ending.
        let _ = post(&self.memory.links.coordinator, make_room);
    }
}
