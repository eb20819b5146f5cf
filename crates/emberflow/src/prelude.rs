//! The names that most programs need: `use emberflow::prelude::*;`.
//!
//! Its `Result` has a default for the error only, so that a program's own errors still have theirs:
//!
//! ```
//! use emberflow::prelude::*;
//!
//! fn parsed(text: &str) -> Result<u64, std::num::ParseIntError> {
//!     text.parse()
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::local(2)?;
//!     let numbers = ctx.parallelize(["1", "2"].map(str::to_owned)).try_map(|text| parsed(&text));
//!     assert_eq!(numbers.sum()?, 3);
//!     Ok(())
//! }
//! ```

pub use crate::{
    Accumulate, Context, Data, Error, ExchangeData, HashPartitioner, Key, Partitioner, Partitioning, Rdd, Result,
    Source, StorageLevel, Sums, TaskInfo, TextOptions, Total,
};
// Without names of their own, so that those of a program stay its own.
#[cfg(feature = "tables")]
pub use crate::table::{ReadTables as _, ToTable as _};
