//! The smaller words of the vocabulary: each gives what the same operation gives on a plain `Vec`, the same bits
//! whatever the workers and batches, and a clear error where there is nothing right to give.

#[path = "../support/mod.rs"]
mod support;

mod by_chance;
mod keys;
mod numbers;
mod pipes;
mod side_by_side;
mod sources;
mod to_the_caller;

use std::collections::HashMap;

use emberflow::{Context, Event, Rdd, Sums};
use proptest::{collection::vec, prelude::*};

use self::support::{Computed, World, drain, law::law, sorted};

/// Rows and the number of partitions that they are in; sometimes none of either.
fn rows_in_partitions() -> impl Strategy<Value = (Vec<i64>, usize)> {
    prop_oneof![9 => (vec(-50_i64..50, 0..120), 1_usize..8), 1 => Just((Vec::new(), 0))]
}

/// The documented cut of a collection: equal neighbouring parts.
fn cut<T: Clone>(rows: &[T], partitions: usize) -> Vec<Vec<T>> {
    let at = |part: usize| rows.len() * part / partitions;
    (0..partitions).map(|part| rows[at(part)..at(part + 1)].to_vec()).collect()
}

fn pairs_in_partitions() -> impl Strategy<Value = (Vec<(i64, i64)>, usize)> {
    rows_in_partitions().prop_map(|(rows, partitions)| {
        let pairs = (0..).zip(rows).map(|(at, row)| (row.rem_euclid(7), row * 1000 + at));
        (pairs.collect(), partitions)
    })
}

/// The values of each key, in their order.
fn groups(pairs: &[(i64, i64)]) -> HashMap<i64, Vec<i64>> {
    let mut groups: HashMap<i64, Vec<i64>> = HashMap::new();
    pairs.iter().for_each(|(key, value)| groups.entry(*key).or_default().push(*value));
    groups
}

/// How many tasks have ended well since the events were read last.
fn tasks(events: &mut emberflow::EventStream) -> usize {
    drain(events).iter().filter(|event| matches!(event, Event::TaskFinished { .. })).count()
}

/// The text of an error that must have come.
fn text_of<R>(outcome: emberflow::Result<R>) -> String {
    match outcome {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.to_string(),
    }
}
