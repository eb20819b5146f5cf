//! One store and its partitions, as their events tell it: what is resident, spilled, lost, being rebuilt.

use std::time::SystemTime;

use emberflow_core::{
    ids::{PartitionIndex, RddId, StoreId, TaskId},
    plan::{StageKind, StageOutline},
};

/// Where the rows of a partition are.
///
/// ```text
///   Empty ──▶ Computing ──▶ Resident or Spilled ──▶ Lost ──▶ Rebuilding ──▶ Resident or Spilled
///     ▲           │                  └──────▶ Released         │
///     └── failed ─┘                                 Lost ◀─────┘ failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CellState {
    /// Not computed, as far as is known.
    Empty,
    /// A task computes them.
    Computing,
    /// In memory.
    Resident,
    /// On disk.
    Spilled,
    /// Dropped on purpose: by the user who had kept them, or because to compute them again is quicker than to write
    /// them.
    Released,
    /// A task computes them again.
    Rebuilding,
    /// Gone, and not asked for yet.
    Lost,
}

/// One partition of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Where its rows are.
    pub state: CellState,
    /// Rows in it.
    pub rows: u64,
    /// Bytes that they take in memory.
    pub bytes: u64,
    /// Bytes that they take on disk.
    pub file_bytes: u64,
    /// How often it was lost.
    pub losses: u32,
    /// Whether it was lost and is not there again.
    is_lost: bool,
    task: Option<TaskId>,
}

impl Cell {
    const EMPTY: Self =
        Self { state: CellState::Empty, rows: 0, bytes: 0, file_bytes: 0, losses: 0, is_lost: false, task: None };

    fn is_stored(&self) -> bool {
        matches!(self.state, CellState::Resident | CellState::Spilled)
    }

    /// Returns whether its rows were lost and are there again.
    pub fn is_rebuilt(&self) -> bool {
        self.losses > 0 && self.is_stored()
    }
}

/// A shuffle's map outputs, or the rows of a persisted RDD.
#[derive(Clone, Debug)]
pub struct Store {
    /// The id of the store.
    pub id: StoreId,
    /// The RDD that it belongs to.
    pub rdd: RddId,
    /// The kind of contents; unknown if nobody listened when its job was submitted.
    pub kind: Option<StageKind>,
    /// The operator that made it.
    pub operator: String,
    /// The name that the user gave the RDD.
    pub name: Option<String>,
    /// The partitions of the store.
    pub cells: Vec<Cell>,
    /// When it was released.
    pub released: Option<SystemTime>,
    /// How often a partition was lost.
    pub losses: u64,
    /// How often one was there again after that.
    pub rebuilt: u64,
}

impl Store {
    pub(super) fn new(id: StoreId, rdd: RddId) -> Self {
        Self {
            id,
            rdd,
            kind: None,
            operator: rdd.to_string(),
            name: None,
            cells: Vec::new(),
            released: None,
            losses: 0,
            rebuilt: 0,
        }
    }

    pub(super) fn describe(&mut self, outline: &StageOutline) {
        self.kind = Some(outline.kind);
        self.operator.clone_from(&outline.name);
        let named = outline.operators.iter().find(|operator| operator.rdd == outline.rdd);
        self.name = named.and_then(|operator| operator.name.clone());
        self.cell(outline.partitions.saturating_sub(1));
    }

    /// Returns whether nothing is in it or on its way.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.state == CellState::Empty)
    }

    /// Partitions whose rows are there.
    pub fn stored_partitions(&self) -> usize {
        self.cells.iter().filter(|cell| cell.is_stored()).count()
    }

    /// Partitions that were lost and are not there again.
    pub fn missing(&self) -> usize {
        self.cells.iter().filter(|cell| cell.is_lost).count()
    }

    /// Rows that are there.
    pub fn rows(&self) -> u64 {
        self.cells.iter().map(|cell| cell.rows).sum()
    }

    /// Bytes that they take in memory.
    pub fn bytes(&self) -> u64 {
        self.cells.iter().map(|cell| cell.bytes).sum()
    }

    /// Bytes that they take on disk.
    pub fn file_bytes(&self) -> u64 {
        self.cells.iter().map(|cell| cell.file_bytes).sum()
    }

    /// The cell of a partition; makes room for those that nobody had told of.
    fn cell(&mut self, partition: PartitionIndex) -> &mut Cell {
        if self.cells.len() <= partition {
            self.cells.resize(partition + 1, Cell::EMPTY);
        }
        &mut self.cells[partition]
    }

    pub(super) fn computing(&mut self, partition: PartitionIndex, task: TaskId) {
        let cell = self.cell(partition);
        cell.task = Some(task);
        cell.state = if cell.is_lost { CellState::Rebuilding } else { CellState::Computing };
    }

    pub(super) fn not_computed(&mut self, partition: PartitionIndex, task: TaskId) {
        let cell = self.cell(partition);
        if cell.task == Some(task) {
            cell.back();
        }
    }

    /// Its stage is over: whatever was under way is not any more.
    pub(super) fn nothing_is_computed(&mut self) {
        let open = |cell: &&mut Cell| matches!(cell.state, CellState::Computing | CellState::Rebuilding);
        self.cells.iter_mut().filter(open).for_each(Cell::back);
    }

    pub(super) fn spilled(&mut self, partition: PartitionIndex, task: TaskId, file_bytes: u64) {
        let cell = self.cell(partition);
        if cell.is_stored() {
            // It was there already, and made room for others.
            *cell = Cell { state: CellState::Spilled, bytes: 0, file_bytes, ..*cell };
        } else if cell.task.is_none_or(|computing| computing == task) {
            (cell.task, cell.file_bytes) = (Some(task), file_bytes);
        }
    }

    /// Says whether the partition had been lost.
    pub(super) fn stored(&mut self, partition: PartitionIndex, task: TaskId, rows: u64, bytes: u64) -> bool {
        let cell = self.cell(partition);
        // It was told before that the rows of this very task are on disk.
        let on_disk = cell.file_bytes > 0 && cell.task == Some(task);
        let rebuilt = cell.is_lost;
        let state = if on_disk { CellState::Spilled } else { CellState::Resident };
        let file_bytes = if on_disk { cell.file_bytes } else { 0 };
        *cell = Cell { state, rows, bytes, file_bytes, losses: cell.losses, ..Cell::EMPTY };
        self.rebuilt += u64::from(rebuilt);
        rebuilt
    }

    pub(super) fn lost(&mut self, partition: PartitionIndex) {
        let cell = self.cell(partition);
        *cell = Cell { state: CellState::Lost, losses: cell.losses + 1, is_lost: true, ..Cell::EMPTY };
        self.losses += 1;
    }

    /// It was dropped on purpose: a job that wants it computes it again.
    pub(super) fn dropped(&mut self, partition: PartitionIndex) {
        let cell = self.cell(partition);
        *cell = Cell { state: CellState::Released, losses: cell.losses, ..Cell::EMPTY };
    }

    pub(super) fn release(&mut self, at: SystemTime) {
        self.released = Some(at);
        for cell in &mut self.cells {
            *cell = Cell { state: CellState::Released, losses: cell.losses, ..Cell::EMPTY };
        }
    }
}

impl Cell {
    /// It is as it was before its task.
    fn back(&mut self) {
        let state = if self.is_lost { CellState::Lost } else { CellState::Empty };
        *self = Self { state, losses: self.losses, is_lost: self.is_lost, ..Self::EMPTY };
    }
}
