//! Apache Spark as the engine of emberflow's jobs.
//!
//! The principal type is [`SparkBackend`]: it starts Spark's driver through `spark-submit` and gives it jobs. Spark
//! schedules, shuffles, keeps, repeats and recovers; a task is the same binary as a worker process
//! ([`emberflow_runtime::serve`]), which is given its stage and what it reads, and never talks to anybody but the task
//! that started it.
//!
//! `driver` owns the process of Spark's driver and the Java classes that run there, `protocol` what is said to it, `backend`
//! what becomes of a job, and `events` what is told of it. The boundary: nothing here knows a row, an operator or an actor.
//!
//! The one surprising decision: the Java classes are compiled when a context starts, from the source that stands in
//! this crate, so that no binary is part of it and any version of Spark will do that has the methods. It takes seconds
//! and a JDK.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("emberflow-spark needs Unix: its processes talk through pipes that they inherit");

mod backend;
mod driver;
mod events;
mod protocol;

pub use backend::SparkBackend;
pub use driver::{SparkError, SparkSettings};
