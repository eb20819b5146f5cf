//! An embeddable, actor-based, in-memory dataflow runtime: Spark's RDD model as a Rust library.
//!
//! A program says *what* to compute as a lazy lineage graph over a [`Context`]; an [action](Rdd#actions) computes it.
//! Each partition of what is kept is owned by an actor that holds its rows in memory; a partition that is lost, by any
//! cause, is rebuilt from its lineage, and only that.
//!
//! ```
//! use emberflow::prelude::*;
//!
//! let ctx = Context::local(2)?;
//! let text = ctx.parallelize(vec!["to be or".to_owned(), "not to be".to_owned()]);
//! let counts = text
//!     .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!     .map(|word| (word, 1_u64))
//!     .reduce_by_key(|a, b| a + b);
//! assert_eq!(counts.collect_as_map()?["be"], 2);
//! # Ok::<(), Error>(())
//! ```
//!
//! [`Rdd<T>`] is one plain type, cheap to clone and easy to name. Its methods are narrow (each partition feeds one
//! partition, in the same task), wide (rows meet by key, through a shuffle), or actions (they run a job). The same
//! program over the same input and partitioning gives the same bytes, whatever the number of workers and the faults.
//!
//! The one surprising rule: a row that *leaves its task*, through a shuffle, a cache or an action's result, must be a
//! serde type ([`ExchangeData`]); a row that stays within its task need not be ([`Data`]).

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
#[cfg(feature = "tables")]
pub mod table;
mod worker;

pub mod prelude;
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

/// The README's programs are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
