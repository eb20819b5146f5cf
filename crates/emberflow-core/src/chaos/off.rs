//! No faults: what the points ask when the feature `chaos` is off.

use super::{Kind, Point};
use crate::ids::{PartitionIndex, StoreId};

/// Nothing.
#[derive(Clone, Debug, Default)]
pub struct Chaos;

/// Nothing.
#[must_use]
pub struct AtWork;

/// Never.
#[inline(always)]
pub fn strike(_: Point) -> Option<Kind> {
    None
}

impl Chaos {
    /// Nothing to know.
    #[inline(always)]
    pub fn attempt(&self, _: StoreId, _: PartitionIndex) -> AtWork {
        AtWork
    }

    /// Nothing to know.
    #[inline(always)]
    pub fn afterwards(&self, _: StoreId, _: PartitionIndex) -> AtWork {
        AtWork
    }

    /// Never.
    #[inline(always)]
    pub fn strike_at(&self, _: StoreId, _: PartitionIndex, _: Point) -> Option<Kind> {
        None
    }

    /// Never.
    #[inline(always)]
    pub fn is_bounded(&self) -> bool {
        false
    }
}
