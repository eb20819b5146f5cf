//! What W6 asks of all programs: the ranks of pages after ten iterations, and what is left of them.
//! Called by: all programs of W6.
//! Never: walks along links.

/// How often the ranks move.
pub const ITERATIONS: usize = 10;
/// How often a reader follows a link rather than beginning anew.
pub const DAMPING: f64 = 0.85;
/// How many pages are named.
pub const BEST: usize = 10;

/// A page's rank, of what its links bring.
#[inline]
pub fn rank(sum: f64) -> f64 {
    1.0 - DAMPING + DAMPING * sum
}

/// The answer: the best pages, best first, and the sum of all ranks, rounded.
pub fn answer(best: &[(u32, f64)], sum: f64) -> String {
    let best: Vec<String> = best.iter().map(|(page, rank)| format!("{page}: {rank:.5}")).collect();
    format!("{}; all: {sum:.3}", best.join(", "))
}

/// The answer for ranks by number.
pub fn answer_of(ranks: &[f64]) -> String {
    let mut pages: Vec<(u32, f64)> = (0..).zip(ranks.iter().copied()).collect();
    let n = BEST.min(pages.len());
    if n < pages.len() {
        pages.select_nth_unstable_by(n, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    pages.truncate(n);
    pages.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    answer(&pages, ranks.iter().sum())
}
