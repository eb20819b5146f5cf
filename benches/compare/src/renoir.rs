//! Renoir: its operators as its own examples use them; it has no sort of a whole stream.

use std::{collections::HashMap, path::Path, sync::Arc};

use foldhash::fast::FixedState;
use renoir::prelude::*;

use crate::{
    Check, Data, Pairs, Run,
    baselines::{
        data,
        kmeans::{self, CENTRES, Columns, Point, Sums},
    },
    timed, words,
};

pub(crate) fn prepare(workload: &str, data: &Data, threads: usize) -> Option<Run> {
    Some(match data {
        Data::Range(n) => {
            let n = *n;
            timed(move || w1(n, threads).to_string())
        }
        Data::Text(path) => {
            let path = path.clone();
            timed(move || words(&w2(&path, threads)))
        }
        Data::Pairs(pairs) => {
            let (pairs, few) = (Arc::clone(pairs), workload == "W3a");
            timed(move || w3(&pairs, few, threads).answer())
        }
        Data::Tables(tables) => {
            let [left, right] = tables.clone();
            timed(move || w5(&left, &right, threads).answer())
        }
        Data::Points(points) => {
            let points: Arc<Vec<Point>> = Arc::new((0..*points).map(data::point).collect());
            timed(move || w7(&points, threads))
        }
        Data::Numbers(_) | Data::Pages(_) => return None,
    })
}

fn context(threads: usize) -> StreamContext {
    StreamContext::new(RuntimeConfig::local(threads as u64).expect("some threads"))
}

/// The share of `rows` of one replica.
fn share<T: Copy + Send + Sync + 'static>(
    rows: &Arc<Vec<T>>,
    replica: u64,
    replicas: u64,
) -> impl Iterator<Item = T> + Send + use<T> {
    let rows = Arc::clone(rows);
    let cut = |at: u64| (rows.len() as u64 * at / replicas) as usize;
    (cut(replica)..cut(replica + 1)).map(move |at| rows[at])
}

fn w1(n: u64, threads: usize) -> u64 {
    let ctx = context(threads);
    let sum = ctx
        .stream_par_iter(move |replica: u64, replicas: u64| n * replica / replicas..n * (replica + 1) / replicas)
        .map(|x| x.wrapping_mul(2_654_435_761) ^ (x >> 7))
        .filter(|x| x % 3 == 0)
        .fold_assoc(0_u64, |sum, x| *sum = sum.wrapping_add(x), |sum, other| *sum = sum.wrapping_add(other))
        .collect_vec();
    ctx.execute_blocking();
    sum.get().expect("a result")[0]
}

/// As its example `wordcount_opt`: a table for each replica, merged in the end.
fn w2(path: &Path, threads: usize) -> Vec<(String, u64)> {
    let ctx = context(threads);
    let counts = ctx
        .stream_file(path)
        .fold_assoc(
            HashMap::<String, u64, FixedState>::default(),
            |counts, line| {
                for word in line.split_ascii_whitespace() {
                    match counts.get_mut(word) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(word.to_owned(), 1)),
                    }
                }
            },
            |counts, others| others.into_iter().for_each(|(word, count)| *counts.entry(word).or_default() += count),
        )
        .collect_vec();
    ctx.execute_blocking();
    crate::best(counts.get().expect("a result").remove(0))
}

/// Few keys are combined before they move, many are not.
fn w3(pairs: &Pairs, few: bool, threads: usize) -> Check {
    let ctx = context(threads);
    let pairs = Arc::clone(pairs);
    let rows = ctx.stream_par_iter(move |replica: u64, replicas: u64| share(&pairs, replica, replicas));
    let add = |check: &mut Check, (key, sum): (u64, u64)| *check = check.add(key ^ sum);
    let merge = |check: &mut Check, other: Check| *check = check.merge(other);
    let check = if few {
        let within = |sum: &mut u64, row: (u64, u64)| *sum = sum.wrapping_add(row.1);
        let sums = rows.group_by_fold(|row| row.0, 0_u64, within, |sum, other| *sum = sum.wrapping_add(other));
        sums.unkey().fold_assoc(Check::default(), add, merge).collect_vec()
    } else {
        let sums = rows.group_by(|row| row.0).fold(0_u64, |sum, row| *sum = sum.wrapping_add(row.1));
        sums.unkey().fold_assoc(Check::default(), add, merge).collect_vec()
    };
    ctx.execute_blocking();
    check.get().expect("a result")[0]
}

/// By sort and merge, which is several times as fast here as its hash join.
fn w5(left: &Pairs, right: &Pairs, threads: usize) -> Check {
    let ctx = context(threads);
    let [left, right] = [left, right].map(|rows| {
        let rows = Arc::clone(rows);
        ctx.stream_par_iter(move |replica: u64, replicas: u64| share(&rows, replica, replicas))
    });
    let check = left
        .join_with(right, |row| row.0, |row| row.0)
        .ship_hash()
        .local_sort_merge()
        .inner()
        .drop_key()
        .fold_assoc(
            Check::default(),
            |check, (left, right)| *check = check.add(left.0 ^ left.1 ^ right.1),
            |check, other| *check = check.merge(other),
        )
        .collect_vec();
    ctx.execute_blocking();
    check.get().expect("a result")[0]
}

/// One stream an iteration: its own `replay` would hold the points in its memory, but gives one summary a point.
fn w7(points: &Arc<Vec<Point>>, threads: usize) -> String {
    let mut centres: [Point; CENTRES] = kmeans::first_centres();
    for _ in 0..kmeans::ITERATIONS {
        let ctx = context(threads);
        let (points, columns) = (Arc::clone(points), Columns::of(&centres));
        let sums = ctx
            .stream_par_iter(move |replica: u64, replicas: u64| share(&points, replica, replicas))
            .fold_assoc(
                Sums::default(),
                move |sums, point| sums.add(columns.nearest(&point), &point),
                |sums, other| sums.merge(&other),
            )
            .collect_vec();
        ctx.execute_blocking();
        centres = sums.get().expect("a result")[0].centres(&centres);
    }
    kmeans::answer(&centres)
}
