//! Faults on purpose: where they may strike, of what kind they are, and, with the feature `chaos`, which ones do.
//!
//! Owns the names of the points and the dice. The points stand where things go wrong in life: around a task, where rows
//! are read and written, where an actor takes a message. A point asks [`strike`], which knows by the thread which
//! attempt is running; what a fault of that kind does there is the point's own business. Without the feature, asking is
//! a constant, and nothing of this is left in the program.
//!
//! A hash decides whether a fault strikes: of the seed, the point, the partition, how often that was tried, and how
//! often this try has passed the point, and never of which thread came first. So a seed names one schedule, however
//! threads race.

use std::fmt;

use crate::error::TaskError;

#[cfg(not(feature = "chaos"))]
mod off;
#[cfg(feature = "chaos")]
mod on;

#[cfg(not(feature = "chaos"))]
pub use off::{AtWork, Chaos, strike};
#[cfg(feature = "chaos")]
pub use on::{AtWork, Chaos, Fault, Schedule, strike};

/// Where a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Point {
    /// A task is about to begin.
    BeforeTask,
    /// A task is at work: where it asks whether it is cancelled, which is once a batch.
    InTask,
    /// A task has its rows, and nobody has taken them yet.
    AfterTask,
    /// The actor of a partition gets the rows, and has not taken them yet.
    Fill,
    /// The actor of a partition has taken the rows.
    Filled,
    /// The actor of a partition is told to make room: its rows are to go to disk.
    Evict,
    /// The actor of a partition hears that its rows are on disk.
    Evicted,
    /// A task looks for a stored partition that it reads.
    Fetch,
    /// A task opens its part of a source.
    Source,
    /// A task writes to the file of a sink.
    Sink,
    /// A task asks for room in memory.
    Memory,
    /// A task writes rows to a spill file.
    SpillWrite,
    /// A task reads spilled rows back.
    SpillRead,
    /// A spill file is about to be mapped.
    SpillMap,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A panic.
    Panic,
    /// The task's own code ends with an error that may pass.
    Error,
    /// The actor of a partition dies, and its rows are lost.
    Lost,
    /// The system says that it cannot read or write.
    Io,
    /// Bytes are not what was written.
    Damage,
    /// There is no room, whatever the budget. Nothing fails for that: rows go to disk.
    Refused,
    /// It takes a while, so that others come first.
    Delay,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::BeforeTask,
        Self::InTask,
        Self::AfterTask,
        Self::Fill,
        Self::Filled,
        Self::Evict,
        Self::Evicted,
        Self::Fetch,
        Self::Source,
        Self::Sink,
        Self::Memory,
        Self::SpillWrite,
        Self::SpillRead,
        Self::SpillMap,
    ];

    /// The kinds of faults that may strike here.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::BeforeTask | Self::AfterTask => &[Kind::Panic, Kind::Error, Kind::Lost, Kind::Delay],
            Self::InTask => &[Kind::Panic, Kind::Error, Kind::Delay],
            Self::Fill | Self::Evict => &[Kind::Panic, Kind::Lost, Kind::Delay],
            Self::Filled | Self::Evicted | Self::Fetch => &[Kind::Lost, Kind::Delay],
            Self::Source | Self::Sink | Self::SpillMap => &[Kind::Io, Kind::Delay],
            Self::Memory => &[Kind::Refused, Kind::Delay],
            Self::SpillWrite | Self::SpillRead => &[Kind::Io, Kind::Damage, Kind::Delay],
        }
    }

    /// The name of the point in errors and counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeTask => "task.before",
            Self::InTask => "task.in",
            Self::AfterTask => "task.after",
            Self::Fill => "actor.fill",
            Self::Filled => "actor.filled",
            Self::Evict => "actor.evict",
            Self::Evicted => "actor.evicted",
            Self::Fetch => "fetch",
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Memory => "memory",
            Self::SpillWrite => "spill.write",
            Self::SpillRead => "spill.read",
            Self::SpillMap => "spill.map",
        }
    }
}

impl Kind {
    /// The name of the kind in errors and counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Lost => "lost",
            Self::Io => "io",
            Self::Damage => "damage",
            Self::Refused => "refused",
            Self::Delay => "delay",
        }
    }

    /// Returns whether somebody has to make up for it: a task tries again, or a partition is computed again.
    pub const fn costs_an_attempt(self) -> bool {
        !matches!(self, Self::Refused | Self::Delay)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of a fault on purpose.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a fault on purpose: {kind} at {point}")]
pub struct OnPurpose {
    /// Where it struck.
    pub point: Point,
    /// The kind of the fault.
    pub kind: Kind,
}

/// For a point where a task may panic, or end with an error.
///
/// # Errors
/// If such a fault strikes.
///
/// # Panics
/// If such a fault strikes.
#[inline]
pub fn pass(point: Point) -> Result<(), TaskError> {
    match strike(point) {
        None => Ok(()),
        Some(kind) => fail(OnPurpose { point, kind }),
    }
}

/// Fails the task that the fault strikes, as its kind says, if that is not the point's own business.
///
/// # Errors
/// Always, unless it panics.
///
/// # Panics
/// If it is a panic.
#[cold]
pub fn fail(fault: OnPurpose) -> Result<(), TaskError> {
    match fault.kind {
        Kind::Panic => panic!("{fault}"),
        _ => Err(TaskError::io(fault)),
    }
}
