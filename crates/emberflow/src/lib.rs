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

pub mod prelude;

#[cfg(feature = "ui")]
#[doc(inline)]
pub use emberflow_rdd::history;
#[doc(inline)]
pub use emberflow_rdd::{
    Accumulate, Accumulator, Action, BorrowedKey, Broadcast, CachedRdd, Canceller, Code, CollectionAccumulator,
    Context, ContextBuilder, Data, DoubleAccumulator, Error, Event, EventRecord, EventStream, ExchangeData, Explain,
    FailedAttempt, Fingerprint, Gather, HashPartitioner, Hashed, InputDescription, IntoPartitioning, IntoRange, JobEnd,
    JobId, JobLabels, Key, LocalIter, LongAccumulator, MemoryUse, Number, OpInfo, OperatorDescription, Ordered, Pairs,
    PartitionIndex, PartitionIter, Partitioner, Partitioning, Place, Placement, Progress, Random, RangeRow, Rdd, RddId,
    Result, RowSpan, Source, StageDescription, StageId, StageKind, Stats, StorageLevel, StoreId, Sums, TaskError,
    TaskId, TaskInfo, TextOptions, Total, init, system, testing,
};
#[cfg(feature = "s3")]
#[doc(inline)]
pub use emberflow_rdd::{Answer, S3Config, S3Error};
#[cfg(feature = "tables")]
#[doc(inline)]
pub use emberflow_table as table;

/// The README's programs are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
