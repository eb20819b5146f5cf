//! What most programs need: `use emberflow::prelude::*;`.

pub use crate::{
    Context, Data, Error, ExchangeData, HashPartitioner, Key, Rdd, Result, Source, Sums, TextOptions, Total,
};
