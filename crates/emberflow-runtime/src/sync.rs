//! The locks and atomic numbers of what threads share here: those of the standard library, or, with `--cfg shuttle`, those
//! of [shuttle](https://docs.rs/shuttle), whose scheduler tries interleavings one after the other.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
