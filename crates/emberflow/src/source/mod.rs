//! Where rows come from: collections, ranges, random numbers, files, and sources of the user's own.
//!
//! A source is an operator without inputs. What it splits into is decided when the RDD is made, by the data alone.

mod checkpoint;
mod collection;
mod custom;
mod object;
mod random;
mod range;
mod text;
mod whole;

use std::sync::Arc;

use emberflow_core::{data::Data, operator::Operator, place::OpInfo};

pub(crate) use self::{
    checkpoint::{MANIFEST, Manifest, Part, checkpoint_files, kept},
    collection::parallelize,
    custom::custom,
    object::object_files,
    random::random,
    range::range,
    text::text_files,
    whole::{binary_files, whole_text_files},
};
pub use self::{custom::Source, random::Random, range::RangeRow, text::TextOptions};
use crate::{
    context::{NodeSpec, Shared},
    rdd::Rdd,
};

/// The RDD of a source.
fn leaf<T: Data>(shared: &Arc<Shared>, info: OpInfo, partitions: usize, op: impl Operator) -> Rdd<T> {
    shared.rdd(NodeSpec { info, partitions, op: Arc::new(op), dependencies: Vec::new(), placement: None })
}

/// Where the given one of `parts` equal parts of `len` begins.
fn cut(len: u64, part: usize, parts: usize) -> u64 {
    // Never more than `len`, so it fits again.
    (u128::from(len) * part as u128 / parts as u128) as u64
}
