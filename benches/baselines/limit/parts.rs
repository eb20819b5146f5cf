//! Rows moved into parts, so that each part's work stays in the second-level cache.
//! Called by: the limits of W3b, W4 and W5.
//! Never: allocates a part by itself.

use super::super::data::GOLDEN;
use super::on_each;

/// Room for the moved rows; part by part, and in each part share by share, so that a part is one slice in the end.
pub(super) struct MovedRows<R>(Vec<R>);

impl<R: Copy + Default + Send + Sync> MovedRows<R> {
    pub(super) fn new(rows: usize) -> MovedRows<R> {
        let mut room = vec![R::default(); rows];
        ask_for_huge_pages(&mut room);
        MovedRows(room)
    }

    /// Moves each row to the next place in its part. Returns the parts.
    pub(super) fn fill(
        &mut self,
        rows: &[R],
        threads: usize,
        count: usize,
        part_of: impl Fn(&R) -> usize + Sync,
    ) -> Vec<&mut [R]> {
        let shares: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).collect();
        let lens: Vec<Vec<usize>> = on_each(&shares, |share| {
            let mut lens = vec![0; count];
            share.iter().for_each(|row| lens[part_of(row)] += 1);
            lens
        });
        let mut targets: Vec<Vec<&mut [R]>> = shares.iter().map(|_| Vec::new()).collect();
        let mut rest = &mut self.0[..];
        for part in 0..count {
            for (lens, targets) in lens.iter().zip(&mut targets) {
                targets.push(rest.split_off_mut(..lens[part]).expect("the lengths add up to all rows"));
            }
        }
        on_each(shares.iter().zip(targets), |(share, mut targets)| move_rows(share, &mut targets, &part_of));
        let mut rest = &mut self.0[..];
        (0..count)
            .map(|part| {
                let len = lens.iter().map(|lens| lens[part]).sum();
                rest.split_off_mut(..len).expect("the lengths add up to all rows")
            })
            .collect()
    }
}

/// Moves each row to the next place in its part. Small buffers in between were tried: slower, without stores that
/// bypass the cache.
fn move_rows<R: Copy>(rows: &[R], parts: &mut [&mut [R]], part_of: impl Fn(&R) -> usize) {
    let mut filled = vec![0; parts.len()];
    for row in rows {
        let part = part_of(row);
        let at: usize = filled[part];
        parts[part][at] = *row;
        filled[part] = at + 1;
    }
}

/// Lets the kernel back `rows`, as yet untouched, by pages of 2 MiB: moving the rows takes a third of the time (0.15 s
/// for 0.50 s), and giving the room back nothing (0.003 s for 0.09 s). Without effect elsewhere than on Linux.
fn ask_for_huge_pages<R>(rows: &mut [R]) {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C" {
            fn madvise(start: *mut std::ffi::c_void, len: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
        }
        const PAGE: usize = 4096;
        const MADV_HUGEPAGE: std::ffi::c_int = 14;
        let bytes = rows.as_mut_ptr_range();
        let start = bytes.start.map_addr(|address| address.next_multiple_of(PAGE));
        let len = bytes.end.addr().saturating_sub(start.addr());
        // SAFETY: the whole pages between `start` and `start + len` belong to `rows`, and this advice changes neither
        // their contents nor whether they may be read and written. A refusal (a kernel without such pages) is fine.
        let _refused = unsafe { madvise(start.cast(), len, MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = rows;
}

/// Spreads neighbouring keys as evenly as can be (Fibonacci hashing); the leading bits are the best.
#[inline]
pub(super) fn spread(key: u64) -> u64 {
    key.wrapping_mul(GOLDEN)
}
