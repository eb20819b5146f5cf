//! W6: PageRank.
//! Called by: the bench runner.
//! Never: moves a contribution; or writes where another thread writes.

use super::super::{data, pagerank};
use super::on_each;
use std::ops::Range;

/// The links turned round, as arrays (compressed sparse rows): for each page, the pages that link to it.
pub struct Web {
    /// Where each page's sources begin; then where all end.
    starts: Vec<u32>,
    sources: Vec<u32>,
    /// One over the number of links of each page.
    shares: Vec<f64>,
}

impl Web {
    pub fn new(pages: u64) -> Web {
        let mut starts = vec![0u32; pages as usize + 1];
        (0..pages).flat_map(|page| data::links(page, pages)).for_each(|to| starts[to as usize + 1] += 1);
        (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
        let (mut next, mut sources) = (starts.clone(), vec![0; starts[pages as usize] as usize]);
        for page in 0..pages {
            for to in data::links(page, pages) {
                let at = &mut next[to as usize];
                sources[*at as usize] = page as u32;
                *at += 1;
            }
        }
        let shares = (0..pages).map(|page| 1.0 / data::links(page, pages).len() as f64).collect();
        Web { starts, sources, shares }
    }

    /// How many links there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// So many ranges of pages that receive about equally many links.
    fn ranges(&self, count: usize) -> Vec<Range<usize>> {
        let pages = self.shares.len();
        let cut = |at: usize| self.starts[..pages].partition_point(|start| (*start as usize) < self.len() * at / count);
        (0..count).map(|at| cut(at)..if at + 1 == count { pages } else { cut(at + 1) }).collect()
    }
}

/// W6: the best pages after ten iterations, and the sum of ranks.
///
/// Knows that pages are numbers without gaps, and that each has a link. Limited by one random read a link, of an array
/// of 8 MB.
pub fn w6(web: &Web, threads: usize) -> String {
    let ranges = web.ranges(threads);
    // What each page gives to each of its links.
    let mut gifts = web.shares.clone();
    let mut ranks = vec![1.0; gifts.len()];
    for _ in 0..pagerank::ITERATIONS {
        let mut rest = &mut ranks[..];
        let targets =
            ranges.iter().map(|range| (range, rest.split_off_mut(..range.len()).expect("a part of the rest")));
        on_each(targets.collect::<Vec<_>>(), |(range, ranks)| {
            let starts = &web.starts[range.start..range.end + 1];
            for (rank, ends) in ranks.iter_mut().zip(starts.windows(2)) {
                let sources = &web.sources[ends[0] as usize..ends[1] as usize];
                *rank = pagerank::rank(sources.iter().map(|source| gifts[*source as usize]).sum());
            }
        });
        gifts.iter_mut().zip(&ranks).zip(&web.shares).for_each(|((gift, rank), share)| *gift = rank * share);
    }
    pagerank::answer_of(&ranks)
}
