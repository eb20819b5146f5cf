//! See it run.

#![forbid(unsafe_code)]

pub mod status;
