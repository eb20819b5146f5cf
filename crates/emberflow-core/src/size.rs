//! How many bytes rows take in memory, by estimate.
//!
//! Types that own no heap are exact: `size_of`. For the others, the heap part is taken from what bincode would write
//! for a sample of the rows: a string's bytes and its eight-byte length, which stands for the allocator's own share.

use std::mem;

use crate::{codec, data::ExchangeData};

/// Rows looked at for one estimate.
const SAMPLE_ROWS: usize = 64;

/// The estimated size in bytes of `rows`, heap included.
pub fn estimate<T: ExchangeData>(rows: &[T]) -> u64 {
    let shallow = mem::size_of_val(rows) as u64;
    if !mem::needs_drop::<T>() || rows.is_empty() {
        return shallow;
    }
    let step = rows.len().div_ceil(SAMPLE_ROWS);
    let (mut sampled, mut bytes) = (0_u64, 0_u64);
    for row in rows.iter().step_by(step) {
        // A row that cannot be serialised cannot be measured this way; it counts with its shallow size.
        bytes += codec::encoded_len(row).unwrap_or(0) as u64;
        sampled += 1;
    }
    shallow + bytes * rows.len() as u64 / sampled
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn rows_without_a_heap_are_exact_and_strings_count_their_bytes() {
        assert_eq!(estimate(&[1_u64; 10]), 80);
        let words = vec!["x".repeat(1000); 100];
        let bytes = estimate(&words);
        assert!((100_000..110_000).contains(&bytes), "{bytes}");
    }
}
