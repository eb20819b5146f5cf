//! S3 for emberflow: objects as files that are found, read in ranges and written in parts, through `aws-sdk-s3`.
//!
//! Owns the client, what is tried again and for how long, and the check that an object is still the one that was found.
//! The typed API calls it, from its callers' threads and from workers; requests run in the runtime of the I/O threads. It
//! never looks into the bytes, starts a thread, or holds a body half read.
//!
//! The one idea: every object is found once, with its ETag, and each request for its bytes says `If-Match`. So rows of
//! two versions are never mixed, however often a lost partition is read again. And every object is written as an upload
//! that nobody sees before the whole output is there.
//!
//! Settings and locations are plain values; all parts that need the SDK need the feature `client`.

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
mod output;
#[cfg(feature = "client")]
mod pending;

pub use config::S3Config;
pub use location::Location;

#[cfg(feature = "client")]
pub use self::{
    client::S3,
    error::{Answer, S3Error},
    output::Output,
};
