//! `Mode`: the treatment of records that do not fit.

use serde::{Deserialize, Serialize};

/// The treatment of a record that does not fit the schema: one with too few or too many fields, with a field that is
/// not of its column's type, or with a quote that is not closed; in JSON Lines, a line that is no object, or a value of
/// another type than its column's. After Spark's `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// A value that does not fit is null; [`Reader::corrupt_record`](super::Reader::corrupt_record) keeps the whole record.
    #[default]
    Permissive,
    /// The record is left out.
    DropMalformed,
    /// The job ends with an error that names file, line, column and text.
    FailFast,
}
