//! W5: joining.
//! Called by: the bench runner.
//! Never: makes a row of a match.

use super::super::Summary;
use super::parts::{MovedRows, spread};
use super::{Turns, on_threads};

/// Leading bits of the hash that choose a part: 512 parts, whose tables stay in the second-level cache.
const PART_BITS: u32 = 9;

/// W5: a summary of all matches.
///
/// Moves both sides into parts by the hash of their keys, then joins part with part. Knows that no key comes twice on
/// the right. Limited by moving the rows, then by a lookup a row in the cache.
pub fn w5(left: &[(u64, u64)], right: &[(u64, u64)], threads: usize) -> Summary {
    let part_of = |&(key, _): &(u64, u64)| (spread(key) >> (u64::BITS - PART_BITS)) as usize;
    let (mut left_room, mut right_room) = (MovedRows::new(left.len()), MovedRows::new(right.len()));
    let left = left_room.fill(left, threads, 1 << PART_BITS, part_of);
    let right = right_room.fill(right, threads, 1 << PART_BITS, part_of);
    let turns = Turns::new(left.len());
    let summaries = on_threads(threads, || {
        let (mut slots, mut all): (Vec<(u64, u64)>, _) = (Vec::new(), Summary::default());
        for turn in turns.take() {
            let bits = (right[turn].len() * 2).next_power_of_two().trailing_zeros().max(1);
            slots.clear();
            slots.resize(1 << bits, (0, 0));
            let home = |key: u64| ((spread(key) << PART_BITS) >> (u64::BITS - bits)) as usize;
            let mask = slots.len() - 1;
            // A taken slot holds the key plus one.
            for &(key, value) in right[turn].iter() {
                let mut at = home(key);
                while slots[at].0 != 0 {
                    at = (at + 1) & mask;
                }
                slots[at] = (key + 1, value);
            }
            for &(key, value) in left[turn].iter() {
                let mut at = home(key);
                while slots[at].0 != 0 {
                    if slots[at].0 == key + 1 {
                        all = all.merge(Summary::of_match(key, value, slots[at].1));
                        break;
                    }
                    at = (at + 1) & mask;
                }
            }
        }
        all
    });
    summaries.into_iter().fold(Summary::default(), Summary::merge)
}
