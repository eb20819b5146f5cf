//! The memory and the disk that one attempt at a task works with.
//!
//! Asks the account on the task's behalf, and remembers how much the task has, so that it gets no more than its share.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use emberflow_core::{
    chaos::{self, Point},
    error::{TaskError, over_budget},
    memory::Workspace,
    spill::{SpillSpace, SpilledBytes},
};

use crate::{
    governor::Ledger,
    spill::SpillFiles,
    turns::{Turn, Waited},
};

/// What is held without room before it is written: a sixty-fourth of the budget, but within these bounds.
const UNIT_BYTES: (u64, u64) = (16 << 10, 1 << 20);
/// The same if everything is to be spilled: so small that tests, which are small, reach it.
const FORCED_UNIT_BYTES: u64 = 2 << 10;
/// What cannot go to disk may take so much in each task, however small the budget is; and so may all results.
const ALLOWANCE_BYTES: u64 = 16 << 20;

pub(crate) struct TaskMemory {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) files: Arc<SpillFiles>,
    pub(crate) cancelled: Arc<AtomicBool>,
    began: Instant,
    held: AtomicU64,
    /// Of batches on their way.
    batches: AtomicU64,
    /// Since it first asked.
    turn: OnceLock<Turn>,
    gave_way: AtomicBool,
}

impl TaskMemory {
    pub(crate) fn new(ledger: Arc<Ledger>, files: Arc<SpillFiles>, cancelled: Arc<AtomicBool>) -> Self {
        let (held, batches, gave_way) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { ledger, files, cancelled, began: Instant::now(), held, batches, turn: OnceLock::new(), gave_way }
    }

    /// The attempt has ended; some of its memory may still be held by its results. `false` if it has to begin again,
    /// since it gave way to older tasks. By then, they have ended.
    pub(crate) fn end(&self) -> bool {
        let batches = self.batches.swap(0, Ordering::Relaxed);
        if batches > 0 {
            self.ledger.release_work(batches);
        }
        let Some(turn) = self.turn.get() else { return true };
        self.ledger.turns.end(*turn);
        let gave_way = self.gave_way.load(Ordering::Relaxed);
        if gave_way {
            self.ledger.turns.older_have_ended(*turn, || self.is_cancelled());
        }
        !gave_way
    }

    fn turn(&self) -> Turn {
        *self.turn.get_or_init(|| self.ledger.turns.begin())
    }

    fn take(&self, bytes: u64, anyhow: bool) -> bool {
        if !self.ledger.accounts() {
            return true;
        }
        self.turn();
        let refused = !anyhow && chaos::strike(Point::Memory).is_some();
        let taken = !refused && self.ledger.reserve_work(self.held.load(Ordering::Relaxed), bytes, anyhow);
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
        self.files.write(bytes)
    }

    fn compresses(&self) -> bool {
        self.files.compress
    }
}

impl Workspace for TaskMemory {
    fn reserve(&self, bytes: u64) -> bool {
        self.take(bytes, false)
    }

    fn overdraw(&self, bytes: u64) {
        self.take(bytes, true);
    }

    fn hold_batch(&self, bytes: u64) {
        if self.ledger.accounts() {
            let bytes = bytes.min(self.ledger.batches_limit() - self.batches.load(Ordering::Relaxed));
            self.batches.fetch_add(bytes, Ordering::Relaxed);
            self.ledger.reserve_work(0, bytes, true);
        }
    }

    fn wait(&self, bytes: u64) -> bool {
        let waited = self.ledger.wait_for_work(self.turn(), bytes, || self.is_cancelled());
        match waited {
            Waited::Granted => _ = self.held.fetch_add(bytes, Ordering::Relaxed),
            Waited::GiveWay => self.gave_way.store(true, Ordering::Relaxed),
            Waited::InVain | Waited::Cancelled => {}
        }
        waited == Waited::Granted
    }

    fn release(&self, bytes: u64) {
        if !self.ledger.accounts() {
            return;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.ledger.release_work(bytes);
    }

    fn reserve_result(&self, bytes: u64) -> Result<(), TaskError> {
        let budget = self.budget();
        if self.ledger.reserve_result(bytes, budget.max(ALLOWANCE_BYTES)) {
            return Ok(());
        }
        let bytes = self.ledger.read().results + bytes;
        Err(TaskError::OverBudget { what: over_budget::RESULT, bytes, budget })
    }

    fn release_result(&self, bytes: u64) {
        self.ledger.release_result(bytes);
    }

    fn space(&self) -> &dyn SpillSpace {
        self
    }

    fn unit(&self) -> u64 {
        if self.ledger.forces_spill() {
            return FORCED_UNIT_BYTES;
        }
        (self.budget() / 64).clamp(UNIT_BYTES.0, UNIT_BYTES.1)
    }

    fn allowance(&self) -> u64 {
        if self.ledger.forces_spill() { self.budget() } else { ALLOWANCE_BYTES }
    }

    fn budget(&self) -> u64 {
        self.ledger.budget()
    }

    fn is_quicker_than_disk(&self, bytes: u64) -> bool {
        (self.began.elapsed().as_nanos() as f64) < self.ledger.disk_cost() * bytes as f64
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
