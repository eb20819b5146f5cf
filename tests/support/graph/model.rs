//! What operators promise about rows, and whether they keep it.

use std::{collections::BTreeMap, hash::Hash};

/// What all RDDs of a graph are made of.
pub(super) type Row = (i64, i64);

/// The rows of each partition.
pub(super) type Parts = Vec<Vec<Row>>;

/// What is known of an operator's rows.
pub(super) enum Promise {
    /// These rows, in these partitions, in this order.
    Exact(Parts),
    /// These rows in this order, in so many partitions, if that is known.
    InOrder(Vec<Row>, Option<usize>),
    /// These rows, in any order and partition.
    AnyOrder(Vec<Row>),
    /// These rows; equal keys are in one partition, in this order.
    KeysInOrder(Vec<Row>),
    /// As `KeysInOrder`, and each partition is sorted by key.
    SortedParts(Vec<Row>),
    /// In each partition some of these rows, in this order, each so often at most.
    Some(Parts, usize),
    /// Each of these rows once, spread over so many times as many partitions, in this order.
    Split(Parts, usize),
}

impl Promise {
    /// What is not as promised.
    pub(super) fn check(&self, seen: &Parts) -> Result<(), String> {
        let kept = match self {
            Self::Exact(rows) => rows == seen,
            Self::InOrder(rows, partitions) => {
                concat(seen) == *rows && partitions.is_none_or(|partitions| partitions == seen.len())
            }
            Self::AnyOrder(rows) => sorted(&concat(seen)) == sorted(rows),
            Self::KeysInOrder(rows) => keys_in_order(rows, seen),
            Self::SortedParts(rows) => {
                keys_in_order(rows, seen) && seen.iter().all(|part| part.is_sorted_by_key(|row| row.0))
            }
            Self::Some(rows, most) => {
                rows.len() == seen.len() && rows.iter().zip(seen).all(|(rows, some)| is_some(rows, some, *most))
            }
            Self::Split(rows, into) => {
                let part = |at: usize| seen.iter().skip(at).step_by(rows.len().max(1));
                rows.len() * into == seen.len()
                    && (0..rows.len()).all(|at| {
                        let all = part(at).flatten().copied().collect::<Vec<_>>();
                        sorted(&all) == sorted(&rows[at]) && part(at).all(|some| is_some(&rows[at], some, 1))
                    })
            }
        };
        let expected = match self {
            _ if kept => return Ok(()),
            Self::Exact(rows) => format!("exactly {rows:?}"),
            Self::InOrder(rows, partitions) => format!("in order, in {partitions:?} partitions, {rows:?}"),
            Self::AnyOrder(rows) => format!("in any order {:?}", sorted(rows)),
            Self::KeysInOrder(rows) => format!("each key in one partition, in the order of {rows:?}"),
            Self::SortedParts(rows) => format!("each key in one partition, and sorted by key, {rows:?}"),
            Self::Some(rows, most) => format!("in order, each {most} times at most, some of {rows:?}"),
            Self::Split(rows, into) => format!("split into {into}, {rows:?}"),
        };
        Err(format!("{seen:?} rather than {expected}"))
    }
}

/// Whether these are some of the rows, in their order, each so often at most.
fn is_some(rows: &[Row], some: &[Row], most: usize) -> bool {
    let (mut at, mut times) = (0, 0);
    some.iter().all(|row| {
        while at < rows.len() && (rows[at] != *row || times == most) {
            (at, times) = (at + 1, 0);
        }
        times += 1;
        at < rows.len()
    })
}

fn keys_in_order(rows: &[Row], seen: &Parts) -> bool {
    let homes = seen.iter().map(|part| groups(part)).fold(BTreeMap::new(), |mut homes, part| {
        part.into_iter().for_each(|(key, values)| homes.entry(key).or_insert_with(Vec::new).push(values));
        homes
    });
    let expected = groups(rows);
    homes.len() == expected.len()
        && homes.iter().all(|(key, values)| values.len() == 1 && expected.get(key) == Some(&values[0]))
}

/// The values of each key, in order.
pub(super) fn groups<K: Ord + Hash + Copy, V: Copy>(rows: &[(K, V)]) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    rows.iter().for_each(|(key, value)| groups.entry(*key).or_default().push(*value));
    groups
}

pub(super) fn concat(parts: &Parts) -> Vec<Row> {
    parts.concat()
}

pub(super) fn sorted<T: Ord + Clone>(rows: &[T]) -> Vec<T> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}

/// The documented cut of a collection: equal neighbouring parts.
pub(super) fn cut<T: Clone>(rows: &[T], parts: usize) -> Vec<Vec<T>> {
    let at = |part: usize| rows.len() * part / parts;
    (0..parts).map(|part| rows[at(part)..at(part + 1)].to_vec()).collect()
}

/// The first rows of each partition.
pub(super) fn front(parts: &Parts, rows: usize) -> Parts {
    parts.iter().map(|part| part.iter().take(rows).copied().collect()).collect()
}

/// Two numbers in one: which, and which first. Numbers stay small.
pub(super) fn mix(a: i64, b: i64) -> i64 {
    (a * 31 + b).rem_euclid(100_003)
}

/// Many numbers in one, whose order shows.
pub(super) fn digest<'a>(numbers: impl IntoIterator<Item = &'a i64>) -> i64 {
    numbers.into_iter().fold(7, |all, n| mix(all, *n))
}

const MODULUS: i64 = 1009;

/// A number as a function `x -> m * x + c`, which can be joined with others: whose order shows, and nothing else.
pub(super) fn function(n: i64) -> i64 {
    n.rem_euclid(MODULUS) * MODULUS + n.div_euclid(MODULUS).rem_euclid(MODULUS)
}

/// The function that does nothing.
pub(super) const NOTHING: i64 = MODULUS;

/// First one function, and then the other.
pub(super) fn then(a: i64, b: i64) -> i64 {
    let ((am, ac), (bm, bc)) = ((a / MODULUS, a % MODULUS), (b / MODULUS, b % MODULUS));
    (am * bm % MODULUS) * MODULUS + (bm * ac + bc) % MODULUS
}
