//! `Chunk`: some rows of a table, as one row of the RDD that the table stands on.
//!
//! Owns how Arrow's batches leave a task: by Arrow's own IPC format, which is also what their size is estimated by.

use std::{fmt, io::Cursor};

use arrow_array::RecordBatch;
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
    ser,
};

/// Rows of a chunk, unless they are the last ones.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Some rows of a table, by columns: at least one. A row of the RDD that a [`Table`](super::Table) stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk(pub(crate) RecordBatch);

impl Chunk {
    /// The rows of a batch; `None` if it has none. Nothing is copied.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arrow_array::{Int32Array, RecordBatch};
    /// use emberflow::table::Chunk;
    ///
    /// let years = Arc::new(Int32Array::from(vec![1979, 1985]));
    /// let batch = RecordBatch::try_from_iter([("year", years as _)]).unwrap();
    /// assert_eq!(Chunk::new(batch.clone()).unwrap().batch(), &batch);
    /// assert!(Chunk::new(batch.slice(0, 0)).is_none());
    /// ```
    pub fn new(batch: RecordBatch) -> Option<Self> {
        (batch.num_rows() > 0).then_some(Self(batch))
    }

    /// The rows, as Arrow has them.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// The first `n` rows.
    pub(crate) fn head(&self, n: usize) -> Self {
        Self(self.0.slice(0, n.min(self.0.num_rows())))
    }
}

impl Serialize for Chunk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.0.schema()).map_err(ser::Error::custom)?;
        writer.write(&self.0).map_err(ser::Error::custom)?;
        serializer.serialize_bytes(&writer.into_inner().map_err(ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Chunk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch in Arrow's IPC format")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Chunk, E> {
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(E::custom)?;
        let batch = reader.next().ok_or_else(|| E::custom("a stream without a batch"))?;
        batch.map(Chunk).map_err(E::custom)
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Chunk, E> {
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_part_of_a_batch_is_serialised_without_the_rest_and_comes_back() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..10_000).map(|n| (n % 3 > 0).then_some(n))));
        let texts: ArrayRef = Arc::new(StringArray::from_iter((0..10_000).map(|n| (n % 5 > 0).then(|| n.to_string()))));
        let all = Chunk(RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap());
        let part = Chunk(all.0.slice(4321, 10));
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&part, config).unwrap();
        assert!(bytes.len() < 2000, "{} bytes", bytes.len());
        let (back, _): (Chunk, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
        assert_eq!(back, part);
    }
}
