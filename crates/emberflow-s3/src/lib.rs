//! S3 for emberflow: objects as files that are found, read in ranges and written in parts, through `aws-sdk-s3`.
//!
//! Owns the client, what is tried again and for how long, and the check that an object is still the one that was found.
//! Called by the facade, from its callers' threads and from workers; requests run in the runtime of the I/O threads.
//! Never: looks into the bytes, starts a thread, or holds a body half read.
//!
//! The one idea: every object is found once, with its ETag, and each request for its bytes says `If-Match`. So rows of
//! two versions are never mixed, however often a lost partition is read again.
//!
//! Settings and locations are plain values; what needs the SDK needs the feature `client`.

#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod blocks;
#[cfg(feature = "client")]
mod client;
mod config;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod find;
mod location;
#[cfg(feature = "client")]
mod pending;

pub use config::S3Config;
pub use location::Location;

#[cfg(feature = "client")]
pub use self::{
    client::S3,
    error::{Answer, S3Error},
};
