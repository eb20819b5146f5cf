//! The best plain Rust for each workload, on `threads` threads.
//! Called by: the bench runner.
//! Never: written for any other job. Each function says what it knows and what limits it.

mod join;
mod kmeans;
mod pagerank;
mod parts;
mod sort;
mod sums;
mod words;

pub use join::w5;
pub use kmeans::w7;
pub use pagerank::{Web, w6};
pub use sort::w4;
pub use sums::{w3a, w3b};
pub use words::w2;

use std::hint::select_unpredictable;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// W1: range, map, filter, wrapping sum.
///
/// Limited by arithmetic, about two cycles a number: no branch, no memory.
pub fn w1(n: u64, threads: usize) -> u64 {
    const STEP: u64 = 1 << 20;
    let turns = Turns::new(n.div_ceil(STEP) as usize);
    let sums = on_threads(threads, || {
        let ranges = turns.take().map(|turn| turn as u64 * STEP..n.min((turn as u64 + 1) * STEP));
        ranges.map(w1_step).fold(0, u64::wrapping_add)
    });
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn w1_step(xs: Range<u64>) -> u64 {
    const THIRD: u64 = 0xAAAA_AAAA_AAAA_AAAB;
    let mut thirds = 0u64;
    for x in xs {
        let y = x.wrapping_mul(2_654_435_761) ^ (x >> 7);
        // Times the inverse of 3 modulo 2^64: a multiple of 3 gives its third, all else gives more than any third.
        let third = y.wrapping_mul(THIRD);
        // Left alone, the compiler vectorises this for SSE2, which cannot multiply u64s: seven times as slow.
        thirds = thirds.wrapping_add(select_unpredictable(third <= u64::MAX / 3, third, 0));
    }
    thirds.wrapping_mul(3)
}

/// Runs `job` on `threads` threads and returns what they made.
fn on_threads<R: Send>(threads: usize, job: impl Fn() -> R + Sync) -> Vec<R> {
    on_each(0..threads, |_| job())
}

/// Runs `job` on each of `inputs`, each on its own thread, and returns what they made, in order.
fn on_each<I: Send, R: Send>(inputs: impl IntoIterator<Item = I>, job: impl Fn(I) -> R + Sync) -> Vec<R> {
    let job = &job;
    thread::scope(|scope| {
        let workers: Vec<_> = inputs.into_iter().map(|input| scope.spawn(move || job(input))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Hands the numbers `0..n` to whichever thread asks next.
struct Turns {
    next: AtomicUsize,
    n: usize,
}

impl Turns {
    fn new(n: usize) -> Turns {
        Turns { next: AtomicUsize::new(0), n }
    }

    fn take(&self) -> impl Iterator<Item = usize> {
        std::iter::from_fn(|| Some(self.next.fetch_add(1, Ordering::Relaxed))).take_while(|&turn| turn < self.n)
    }
}
