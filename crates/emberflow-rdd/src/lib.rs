//! The typed API of emberflow: contexts, RDDs with one file for each operator, shuffles, sources, sinks and actions.
//!
//! Programs depend on the crate `emberflow`, which gives these names under its own, and see its documentation. This crate
//! owns what a [`Context`] and an [`Rdd`] are, and how rows meet in a shuffle; it starts no thread itself.

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod action;
mod context;
#[cfg(feature = "ui")]
pub mod history;
mod labels;
mod rdd;
mod row_file;
mod sent_plans;
mod shared;
mod sharing;
mod shuffle;
mod sink;
mod source;
mod storage;
mod worker;

pub mod parts;
pub mod testing;

pub use action::{Action, Canceller};
pub use context::{CachedRdd, Context, ContextBuilder};
pub use emberflow_core::{
    data::{Data, ExchangeData, Hashed, Key, Ordered},
    error::{Error, FailedAttempt, Result, TaskError},
    event::{Event, JobEnd, JobLabels},
    fingerprint::Fingerprint,
    ids::{JobId, PartitionIndex, RddId, RowSpan, StageId, StoreId, TaskId},
    partitioner::{Partitioner, Placement},
    place::{Code, OpInfo, Place},
    plan::{InputDescription, OperatorDescription, StageDescription, StageKind},
    total::Total,
};
pub use emberflow_runtime::{EventRecord, EventStream, MemoryUse, Progress, system};
#[cfg(feature = "s3")]
pub use emberflow_s3::{Answer, S3Config, S3Error};
pub use rdd::{Explain, LocalIter, Number, PartitionIter, Rdd, Stats, StorageLevel, Sums};
pub use sharing::{
    accumulator::{Accumulate, Accumulator, CollectionAccumulator, DoubleAccumulator, Gather, LongAccumulator},
    broadcast::Broadcast,
    task_info::TaskInfo,
};
pub use shuffle::{BorrowedKey, HashPartitioner, IntoPartitioning, Pairs, Partitioning};
pub use source::{IntoRange, Random, RangeRow, Source, TextOptions};
pub use worker::init;
