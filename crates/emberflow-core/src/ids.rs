//! Ids, and the numbers by which rows of a partition are named. Ids are newtypes, so that a stage's number passed where a job's is meant does not compile.
//!
//! ```compile_fail,E0308
//! use emberflow_core::ids::{JobId, StageId};
//! let stage: StageId = JobId::new(1);
//! ```

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// The id with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number behind the id.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// One node of the lineage graph; unique in a context, and larger than the ids of its parents.
    RddId, "rdd"
);
id!(
    /// One action, from submission to result.
    JobId, "job"
);
id!(
    /// One run of a stage: the narrow steps up to a shuffle, a persisted RDD or the action.
    StageId, "stage"
);
id!(
    /// One attempt at computing one partition of a stage. Never used twice, so it also names what the attempt made:
    /// the *generation* of a stored partition is the task that filled it.
    TaskId, "task"
);
id!(
    /// Where the partitions of a materialised dataset live: a shuffle's map outputs, a persisted RDD's rows, or the
    /// results of a job. Each of its partitions is owned by an actor of its own.
    StoreId, "store"
);

/// The number of a partition within its RDD or store, from zero.
pub type PartitionIndex = usize;

/// A partition of a store: the unit of all bookkeeping.
pub type StorePartition = (StoreId, PartitionIndex);

/// Some rows in the order in which an operator was given those of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowSpan {
    /// The first one, from zero.
    pub first: u64,
    /// The number of rows.
    pub count: u64,
}

impl fmt::Display for RowSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "row {}", self.first),
            count => write!(f, "rows {} to {}", self.first, (self.first + count).saturating_sub(1)),
        }
    }
}
