//! An S3 server on the loopback interface, for tests and examples: objects in a temporary directory, and faults on order.
//!
//! Owns a thread with a runtime, which ends with the [`Server`]. The protocol is s3s's, the storage s3s-fs's; a layer
//! between them does what s3s-fs leaves out (`If-Match`, ETags in listings), counts what is asked, and breaks what a test
//! wants broken. Connections break below the protocol: that is the [`Proxy`]'s part. It is never part of a release.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), allow(rustdoc::broken_intra_doc_links, reason = "there is no server then"))]

#[cfg(feature = "server")]
mod faults;
#[cfg(feature = "server")]
mod layer;
#[cfg(feature = "server")]
mod proxy;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use self::{
    faults::{Fault, Op, Request},
    layer::PUBLIC_BUCKET,
    proxy::{Break, Proxy},
    server::{ACCESS_KEY, SECRET_KEY, Server},
};
