//! PageRank over a generated web: which pages are worth most, if a reader follows links at random?
//!
//! ```text
//! cargo run --release --example pagerank [PAGES]
//! ```
//!
//! The links are cached once, placed by page; every iteration joins them with the ranks, which are placed alike, so that
//! only the contributions move. The result is checked against a plain loop over arrays.

use std::{env, process::ExitCode, time::Instant};

use emberflow::prelude::*;

const ITERATIONS: usize = 10;
/// How often a reader follows a link rather than beginning anew (Brin and Page 1998).
const DAMPING: f64 = 0.85;
const PARTITIONS: usize = 8;

fn main() -> ExitCode {
    let pages = match env::args().nth(1).map(|text| text.parse::<u64>()) {
        None => 20_000,
        Some(Ok(pages)) if pages >= 10 => pages,
        Some(_) => {
            eprintln!("pagerank: give a number of pages, at least 10");
            return ExitCode::from(2);
        }
    };
    match run(pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagerank: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The pages that `page` links to: a few, and low numbers more often, as on the real web.
fn links_of(page: u64, pages: u64) -> Vec<u64> {
    let mut state = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let count = 1 + next() % 9;
    let mut links: Vec<u64> = (0..count).map(|_| (next() % pages) * (next() % pages) / pages).collect();
    links.sort_unstable();
    links.dedup();
    links
}

fn run(pages: u64) -> Result<()> {
    let began = Instant::now();
    let ctx = Context::new()?;
    let links = ctx.range(0..pages).map_with(pages, |pages, page| (page, links_of(page, *pages)));
    let links = links.partition_by(PARTITIONS).cache();
    let edges = links.map_ref(|(_, to)| to.len() as u64).sum()?;

    let mut ranks = links.map_values(|_| 1.0);
    for _ in 0..ITERATIONS {
        let contributions = links.join(&ranks).flat_map_ref(|(_, (to, rank)), out| {
            let share = rank / to.len() as f64;
            out.extend(to.iter().map(|to| (*to, share)));
        });
        let sums = contributions.reduce_by_key_into(|a, b| a + b, PARTITIONS);
        // A page that nobody links to keeps what every reader begins with.
        ranks = links.left_outer_join(&sums).map_values(|(_, sum)| 1.0 - DAMPING + DAMPING * sum.unwrap_or(0.0));
    }
    let ranks = ranks.cache();
    let best = ranks.top_by(10, |(page, rank)| (rank.to_bits(), u64::MAX - page))?;
    let seconds = began.elapsed().as_secs_f64();

    println!("{:>8}  {:>10}", "page", "rank");
    best.iter().for_each(|(page, rank)| println!("{page:>8}  {rank:>10.3}"));
    println!("\n{pages} pages, {edges} links, {ITERATIONS} iterations: {seconds:.2} s");

    let expected = plain(pages);
    let found = ranks.collect_as_map()?;
    let off = (0..pages).map(|page| (found[&page] - expected[page as usize]).abs() / expected[page as usize]);
    let worst = off.fold(0.0, f64::max);
    assert!(found.len() as u64 == pages && worst < 1e-9, "a rank is off by {worst:e}");
    println!("checked against a plain loop: no rank is off by more than {worst:.1e}");
    Ok(())
}

/// The same, by hand.
fn plain(pages: u64) -> Vec<f64> {
    let links: Vec<Vec<u64>> = (0..pages).map(|page| links_of(page, pages)).collect();
    let mut ranks = vec![1.0; pages as usize];
    for _ in 0..ITERATIONS {
        let mut sums = vec![0.0; pages as usize];
        for (to, rank) in links.iter().zip(&ranks) {
            to.iter().for_each(|page| sums[*page as usize] += rank / to.len() as f64);
        }
        ranks = sums.into_iter().map(|sum| 1.0 - DAMPING + DAMPING * sum).collect();
    }
    ranks
}
