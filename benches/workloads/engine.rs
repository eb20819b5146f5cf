//! The workloads as an emberflow user writes them.

use std::{cmp::Reverse, path::Path};

use ecow::{EcoString, EcoVec};
use emberflow::prelude::*;
use memchr::memchr2_iter;

use crate::baselines::{
    Order, Summary, data,
    kmeans::{self, Columns, Point, Sums},
    pagerank,
};

/// W1: a range, a map, a filter and a sum. Bound by arithmetic.
pub(crate) fn w1(ctx: &Context, n: u64) -> Result<u64> {
    ctx.range(0..n)
        .map(|x| x.wrapping_mul(2_654_435_761) ^ (x >> 7))
        .filter(|x| x % 3 == 0)
        .fold(0, |a, b| a.wrapping_add(b))
}

/// W2: the ten most frequent words of a file, whose words are counted where they stand, in one table a worker. Bound by
/// cutting, hashing and comparing words.
pub(crate) fn w2(ctx: &Context, path: &Path) -> Result<Vec<(String, u64)>> {
    let text = ctx.text_files(&[path], &TextOptions::new().block_bytes(64 << 10))?.coalesce(ctx.workers());
    let counts: Rdd<(EcoString, u64)> = text.flat_map_reduce_by_key(
        |block, words| {
            let mut start = 0;
            for end in memchr2_iter(b' ', b'\n', block.as_bytes()).chain([block.len()]) {
                if start < end {
                    words.push(&block[start..end], 1);
                }
                start = end + 1;
            }
        },
        |a, b| a + b,
    );
    let best = counts.top_by(10, |(word, count)| (*count, Reverse(word.clone())))?;
    Ok(best.into_iter().map(|(word, count)| (word.into(), count)).collect())
}

/// The same with rows that are `String`s, each of them allocated: what most programs do first.
pub(crate) fn w2_strings(ctx: &Context, path: &Path) -> Result<Vec<(String, u64)>> {
    ctx.text_file(path)?
        .flat_map(|line| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|word| (word, 1_u64))
        .reduce_by_key(|a, b| a + b)
        .top_by(10, |(word, count)| (*count, Reverse(word.clone())))
}

/// W3: sums by key. Bound by the hash table with few keys, by memory with many.
pub(crate) fn w3(rows: &Rdd<(u64, u64)>) -> Result<Summary> {
    let sums = rows.reduce_by_key(|a, b| a.wrapping_add(b));
    let within = |sum: (u64, u64), (key, value)| merge(sum, Summary::of(key, value));
    let (keys, checksum) = sums.aggregate((0, 0), within, |a, b| merge(a, Summary { keys: b.0, checksum: b.1 }))?;
    Ok(Summary { keys, checksum })
}

/// W4: all rows in order. Bound by the sort of each partition.
pub(crate) fn w4(rows: &Rdd<u64>) -> Result<Order> {
    rows.sort_by(|row| *row).aggregate(Order::default(), Order::add, Order::then)
}

/// W5: matches of equal keys. Bound by moving both sides.
pub(crate) fn w5(left: &Rdd<(u64, u64)>, right: &Rdd<(u64, u64)>) -> Result<Summary> {
    let of = |sum: (u64, u64), (key, (v, w))| merge(sum, Summary::of_match(key, v, w));
    let joined = left.join(right);
    let (keys, checksum) = joined.aggregate((0, 0), of, |a, b| merge(a, Summary { keys: b.0, checksum: b.1 }))?;
    Ok(Summary { keys, checksum })
}

/// W6's pages with their links, cached, placed by page. Cloning an `EcoVec` allocates nothing.
pub(crate) fn w6_links(ctx: &Context, pages: u64) -> Result<Rdd<(u32, EcoVec<u32>)>> {
    let links = ctx.range(0..pages).map(move |page| (page as u32, data::links(page, pages).collect::<EcoVec<u32>>()));
    let links = links.partition_by(ctx.default_partitions()).cache();
    links.count()?;
    Ok(links)
}

/// W6: every iteration joins the links with the ranks, which are placed alike, so that only contributions move.
pub(crate) fn w6(links: &Rdd<(u32, EcoVec<u32>)>) -> Result<String> {
    let mut ranks = links.map_values(|_| 1.0);
    for _ in 0..pagerank::ITERATIONS {
        let contributions = links.join(&ranks).flat_map_extend(|(page, (to, rank)), out| {
            let share = rank / to.len() as f64;
            // Nothing for itself, so that a page that nobody links to has a sum.
            out.push((*page, 0.0));
            out.extend(to.iter().map(|to| (*to, share)));
        });
        let sums = contributions.reduce_by_key_into(|a, b| a + b, links.partitions());
        // Without lineage, so that what the iteration moved is given back.
        ranks = sums.map_values(pagerank::rank).local_checkpoint()?;
    }
    // Ranks are positive, so their bits are in their order.
    let best = ranks.top_by(pagerank::BEST, |(page, rank)| (rank.to_bits(), Reverse(*page)))?;
    let sum = ranks.aggregate_ref(0.0, |sum, (_, rank)| sum + rank, |a, b| a + b)?;
    Ok(pagerank::answer(&best, sum))
}

/// W7's points, cached.
pub(crate) fn w7_points(ctx: &Context, points: u64) -> Result<Rdd<Point>> {
    let points = ctx.range(0..points).map(data::point).cache();
    points.count()?;
    Ok(points)
}

/// W7: k-means. Bound by arithmetic. Sums are boxed since they go through a function for every point.
pub(crate) fn w7(points: &Rdd<Point>) -> Result<String> {
    let mut centres = kmeans::first_centres();
    for _ in 0..kmeans::ITERATIONS {
        let columns = Columns::of(&centres);
        let sums = points.aggregate_ref(
            Box::<Sums>::default(),
            move |mut sums, point| {
                sums.add(columns.nearest(point), point);
                sums
            },
            |mut sums, other| {
                sums.merge(&other);
                sums
            },
        )?;
        centres = sums.centres(&centres);
    }
    Ok(kmeans::answer(&centres))
}

fn merge((keys, checksum): (u64, u64), other: Summary) -> (u64, u64) {
    let sum = Summary { keys, checksum }.merge(other);
    (sum.keys, sum.checksum)
}
