//! W4: sorting.
//! Called by: the bench runner.
//! Never: compares rows of different parts.

use super::super::Order;
use super::parts::MovedRows;
use super::{Turns, on_threads};
use std::sync::Mutex;

/// Leading bits that choose a part: 512 parts of half a megabyte, which stay in the second-level cache.
const PART_BITS: u32 = 9;

/// W4: all rows in order, and what is left of the order.
///
/// Knows that rows are any `u64`, evenly: their leading bits cut them into equal parts in order, without a sample.
/// Limited by the sort of each part in the cache.
pub fn w4(rows: &[u64], threads: usize) -> Order {
    let mut room = MovedRows::new(rows.len());
    let parts = room.fill(rows, threads, 1 << PART_BITS, |row| (row >> (u64::BITS - PART_BITS)) as usize);
    let turns = Turns::new(parts.len());
    let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
    let orders = on_threads(threads, || {
        let sorted = turns.take().map(|turn| {
            let mut part = parts[turn].lock().expect("taken once");
            part.sort_unstable();
            (turn, Order::of(part.iter().copied()))
        });
        sorted.collect::<Vec<_>>()
    });
    let mut orders = orders.concat();
    orders.sort_unstable_by_key(|(turn, _)| *turn);
    orders.into_iter().map(|(_, order)| order).fold(Order::default(), Order::then)
}
