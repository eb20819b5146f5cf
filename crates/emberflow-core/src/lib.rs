//! The vocabulary of emberflow: what a lineage graph, a stage and an event *are*.
//!
//! The principal type is [`lineage::RddNode`], one node of the lineage graph: an [`operator::Operator`] and the
//! [`lineage::Dependency`]s it reads. [`plan::compile`] cuts the graph at wide dependencies and at persisted RDDs
//! into [`plan::StagePlan`]s, which are values: they hold operators and places, and no context, actor or global.
//! Rows move as [`batch::Batch`]es, owned or shared, through [`batch::Stream`]s.
//!
//! The boundary: this crate starts no thread, sends no message, opens no file and reads no clock. The runtime crate
//! executes what is described here; `emberflow-rdd` writes the operators.
//!
//! The one surprising decision: types are erased between operators ([`batch::AnyStream`]) and checked again when a
//! stage is opened, once a task. So `Rdd<T>` stays one plain type, and a row never pays a dynamic call.

#![deny(unsafe_code)]

pub mod backend;
pub mod batch;
pub mod blocks;
pub mod cache;
pub mod chaos;
pub mod codec;
pub mod data;
pub mod error;
pub mod event;
pub mod failure;
mod faithful;
pub mod fingerprint;
pub mod ids;
pub mod lineage;
pub mod memory;
pub mod operator;
pub mod pace;
pub mod parcel;
pub mod partitioner;
pub mod pattern;
pub mod picture;
pub mod place;
pub mod plan;
pub mod remake;
pub mod result;
pub mod segments;
pub mod ship;
pub mod size;
pub mod spill;
pub mod storage;
pub mod store;
pub mod task;
pub mod total;
pub mod update;
pub mod wire;
