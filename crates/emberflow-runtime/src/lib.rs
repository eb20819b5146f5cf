//! The engine of emberflow: it executes stage plans and keeps what they made.
//!
//! The principal type is [`Engine`]: it starts a coordinator actor, a governor actor, and one partition actor for each
//! partition of every materialised dataset (all on actix), a pool of worker threads (crossbeam), and I/O threads
//! (tokio). A job goes in as stage plans ([`Backend::submit`]) and comes out through a future, its job.
//!
//! [`Backend::submit`]: emberflow_core::backend::Backend::submit
//!
//! Three planes, kept apart: **control** is messages between actors, whose handlers are short and never touch a row;
//! **compute** is worker threads that never wait for an actor; **data** is batches behind `Arc`s, lent by partition
//! actors through slots that a worker reads without asking anybody.
//!
//! The one surprising decision: all of the coordinator's logic is a pure state machine (`coordinator::machine`), tested
//! without a thread; the actor around it only carries out its commands.

#![deny(unsafe_code)]

mod bus;
mod config;
mod console;
mod coordinator;
mod engine;
mod governor;
mod io;
mod job;
mod mail;
mod partition;
mod pool;
mod pressure;
#[cfg(unix)]
mod signals;
mod slot;
mod spans;
mod spill;
mod summary;
mod sync;
mod task_run;
mod turns;
mod worker;
mod workspace;

#[cfg(all(test, shuttle))]
mod interleavings;

pub mod system;

pub use bus::{Bus, EventRecord, EventStream};
pub use config::{Config, Progress};
pub use coordinator::Speculation;
pub use engine::Engine;
pub use governor::MemoryUse;
pub use pool::in_task;
#[cfg(unix)]
pub use worker::WorkerProcesses;
pub use worker::{Done, Frame, Order, Tag, is_worker, serve, take_link};
