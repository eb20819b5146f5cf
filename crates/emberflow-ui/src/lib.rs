//! Views of an emberflow application at work: a page, a REST interface shaped after Spark's, and metrics.
//!
//! The principal type is [`status::Status`]: a fold of the event stream, which knows no thread, clock or socket.
//! [`serve`] feeds it on a thread of its own, and answers HTTP requests from it; both threads end when the engine does.
//! Everything is read from events and from what [`Engine`] answers at once: a visitor slows down no job, and a
//! browser that is too slow misses pictures, never holds up anybody.
//!
//! The one surprising rule: unless told otherwise, the server listens on the loopback interface alone, and refuses
//! requests for other hosts than that, since a web page elsewhere may make a browser ask for one. [`security`] says what
//! else is refused.

#![forbid(unsafe_code)]

mod app;
mod application;
pub mod log;
mod metrics;
mod page;
mod rest;
pub mod security;
mod server;
pub mod status;

pub use application::Application;
pub use server::{History, Served, replay, serve};

#[cfg(doc)]
use emberflow_runtime::Engine;
