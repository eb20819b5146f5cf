//! What it costs to count every byte: sums by key in memory (W3b), with a budget that all fits in, and with none.

use std::{hint::black_box, time::Instant};

use emberflow::prelude::*;

use crate::{Outcome, PARTITIONS, median, mix};

const ROUNDS: usize = 25;

pub(crate) fn compare(rows: u64) -> Outcome<()> {
    let keys = rows / 5;
    let contexts = [64 << 30, u64::MAX].map(|budget| Context::builder().memory_budget(budget).build());
    let contexts = contexts.into_iter().collect::<Result<Vec<_>>>()?;
    // Made anew each time: where data lies in memory makes a difference of more than a tenth.
    let pairs = |ctx: &Context| ctx.range_into(0..rows, PARTITIONS).map(move |n| (mix(n) % keys, n));
    let inputs: Vec<_> = contexts.iter().map(pairs).collect();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        // Each goes first as often as the other, and the first pair only warms up.
        for at in [round % 2, (round + 1) % 2] {
            let began = Instant::now();
            black_box(inputs[at].reduce_by_key_into(u64::wrapping_add, PARTITIONS).count()?);
            if round > 0 {
                times[at].push(began.elapsed().as_secs_f64());
            }
        }
    }
    let ratio = median(times[0].iter().zip(&times[1]).map(|(counted, not)| counted / not).collect());
    let [counted, not_counted] = times.map(median);
    println!(
        "W3b over {rows} rows: {counted:.4} s with every byte counted, {not_counted:.4} s with none; {ratio:.3} times \
         in the median of rounds\n"
    );
    Ok(())
}
