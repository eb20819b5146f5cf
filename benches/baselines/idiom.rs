//! The workloads as a good engineer writes them with Rayon in ten lines.
//! Called by: the bench runner.
//! Never: tuned; what would not come to mind on the first day does not belong here.

use super::kmeans::{self, CENTRES, Point};
use super::{Order, Summary, pagerank};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// W1: range, map, filter, wrapping sum. Limited by the branch of the filter, which no predictor learns.
pub fn w1(n: u64) -> u64 {
    (0..n)
        .into_par_iter()
        .map(|x| x.wrapping_mul(2_654_435_761) ^ (x >> 7))
        .filter(|y| y % 3 == 0)
        .reduce(|| 0, u64::wrapping_add)
}

/// W2: the ten most frequent words, by count down, then by word up. Limited by one table look-up a word.
pub fn w2(path: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(path).expect("the runner wrote the text");
    let counts = text
        .par_lines()
        .fold(HashMap::<&str, u64>::new, |mut counts, line| {
            line.split_ascii_whitespace().for_each(|word| *counts.entry(word).or_default() += 1);
            counts
        })
        .reduce(HashMap::new, merge);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.par_sort_unstable_by_key(|&(word, count)| (Reverse(count), word));
    counts.into_iter().take(10).map(|(word, count)| (word.to_owned(), count)).collect()
}

/// W3: the sum of each key's values. Limited by cache misses once the tables outgrow the cache, and by merging them.
pub fn w3(rows: &[(u64, u64)]) -> Summary {
    let sums = rows
        .par_iter()
        .fold(HashMap::<u64, u64>::new, |mut sums, &(key, value)| {
            let sum = sums.entry(key).or_default();
            *sum = sum.wrapping_add(value);
            sums
        })
        .reduce(HashMap::new, merge);
    sums.par_iter().map(|(&key, &sum)| Summary::of(key, sum)).reduce(Summary::default, Summary::merge)
}

/// W4: all rows in order. Limited by comparisons, whose branches no predictor learns.
pub fn w4(rows: &[u64]) -> Order {
    let mut rows = rows.to_vec();
    rows.par_sort_unstable();
    Order::of(rows)
}

/// W5: a summary of all matches. Limited by cache misses of one large table, and by filling it.
pub fn w5(left: &[(u64, u64)], right: &[(u64, u64)]) -> Summary {
    let right: HashMap<u64, u64> = right.iter().copied().collect();
    let matches = left.par_iter().filter_map(|&(key, value)| right.get(&key).map(|other| (key, value, *other)));
    matches.map(|(key, value, other)| Summary::of_match(key, value, other)).reduce(Summary::default, Summary::merge)
}

/// W6: ranks over lists of links. Limited by one random write a link, and by merging whole arrays of sums.
pub fn w6(links: &[Vec<u32>]) -> String {
    let mut ranks = vec![1.0; links.len()];
    for _ in 0..pagerank::ITERATIONS {
        let sums = (links.par_chunks(1 << 16).zip(ranks.par_chunks(1 << 16)))
            .fold(
                || vec![0.0; links.len()],
                |mut sums, (links, ranks)| {
                    for (to, rank) in links.iter().zip(ranks) {
                        to.iter().for_each(|page| sums[*page as usize] += rank / to.len() as f64);
                    }
                    sums
                },
            )
            .reduce_with(|mut sums, other| {
                sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
                sums
            });
        ranks = sums.unwrap_or_default().into_par_iter().map(pagerank::rank).collect();
    }
    pagerank::answer_of(&ranks)
}

/// W7: k-means. Limited by arithmetic: a squared distance to every centre.
pub fn w7(points: &[Point]) -> String {
    let mut centres = kmeans::first_centres();
    let distance = |a: &Point, b: &Point| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    for _ in 0..kmeans::ITERATIONS {
        let sums = points
            .par_iter()
            .fold(kmeans::Sums::default, |mut sums, point| {
                let far = |at: &usize| distance(point, &centres[*at]);
                let nearest = (0..CENTRES).min_by(|a, b| far(a).total_cmp(&far(b)));
                sums.add(nearest.expect("there are centres"), point);
                sums
            })
            .reduce(kmeans::Sums::default, |mut sums, other| {
                sums.merge(&other);
                sums
            });
        centres = sums.centres(&centres);
    }
    kmeans::answer(&centres)
}

/// Adds the smaller table to the larger.
fn merge<K: Eq + std::hash::Hash>(mut into: HashMap<K, u64>, mut from: HashMap<K, u64>) -> HashMap<K, u64> {
    if into.len() < from.len() {
        std::mem::swap(&mut into, &mut from);
    }
    for (key, value) in from {
        let sum = into.entry(key).or_default();
        *sum = sum.wrapping_add(value);
    }
    into
}
