//! Apache Spark as the engine of emberflow's jobs.
//!
//! The principal type is [`SparkBackend`]: it starts Spark's driver through `spark-submit` and gives it jobs. Spark
//! schedules, shuffles, keeps, repeats and recovers; a task is the same binary as a worker process
//! ([`emberflow_runtime::serve`]), which is given its stage and what it reads, and never talks to anybody but the task
//! that started it.
//!
//! `driver` owns the process of Spark's driver and the Java class that runs there, `protocol` what is said to it, and
//! `backend` what becomes of a job. The boundary: nothing here knows a row, an operator or an actor.
//!
//! The one surprising decision: the Java class is compiled when the first context starts, from the source that stands in
//! this crate, so that no binary is part of it and any version of Spark will do that has the methods. It takes seconds
//! and a JDK.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("emberflow-spark needs Unix: its processes talk through pipes that they inherit");

mod backend;
mod driver;
mod protocol;

pub use backend::SparkBackend;
pub use driver::{SparkError, SparkSettings};
