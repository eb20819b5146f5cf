//! A cached partition dies before your eyes, and is rebuilt from its lineage: that one, and nothing else.
//!
//! ```text
//! cargo run --release --example lost_partition [MILLIONS OF ROWS]
//! ```
//!
//! Rows are made, mixed for a while, and cached in sixteen partitions. A sum over the cache is fast. Then the actor that
//! owns partition 5 is killed, as a fault would kill it, and the sum is asked for again: the events show that one
//! partition is computed, and the sum is the same to the bit.

use std::{env, process::ExitCode, time::Instant};

use comfy_table::{CellAlignment, Table, presets};
use emberflow::{Event, EventStream, RddId, prelude::*, testing};

const PARTITIONS: usize = 16;
/// The one that dies.
const LOST: usize = 5;

fn main() -> ExitCode {
    match run(env::args().nth(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lost_partition: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(millions: Option<String>) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let millions: u64 = millions.map_or(Ok(2), |text| text.parse())?;
    let ctx = Context::builder().app_name("lost_partition").build()?;
    let rows = ctx.range_into(0..millions * 1_000_000, PARTITIONS).map(mixed).cache();
    let sum = |rows: &Rdd<f64>| rows.sum();

    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["", "computed", "milliseconds", "sum"]);
    let (mut events, mut sums) = (ctx.events(), Vec::new());
    let mut measure = |what: &str, events: &mut EventStream| -> Result<Vec<usize>> {
        let began = Instant::now();
        let found = sum(&rows)?;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        let computed = computed(events, rows.id());
        let told = match &computed[..] {
            [] => "nothing".to_owned(),
            [one] => format!("partition {one}"),
            many => format!("{} partitions", many.len()),
        };
        table.add_row([what.to_owned(), told, format!("{milliseconds:.1}"), format!("{found:.6}")]);
        sums.push(found.to_bits());
        Ok(computed)
    };

    let first = measure("the first time", &mut events)?;
    let cached = measure("from the cache", &mut events)?;
    println!("The lineage, and what is cached of it:\n\n{}\n", rows.to_debug_string());
    assert!(testing::kill_cached_partition(&rows, LOST)?, "partition {LOST} is cached");
    println!("The actor of partition {LOST} is dead:\n\n{}\n", rows.to_debug_string());
    let rebuilt = measure("after the loss", &mut events)?;
    let again = measure("once more", &mut events)?;

    for column in [2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}\n");
    if first.len() != PARTITIONS || !cached.is_empty() || rebuilt != [LOST] || !again.is_empty() {
        return Err(format!("computed {first:?}, {cached:?}, {rebuilt:?} and {again:?}").into());
    }
    if sums.iter().any(|sum| *sum != sums[0]) {
        return Err("the sums differ".into());
    }
    println!("Partition {LOST} was rebuilt from its lineage, nothing else was, and every sum is the same to the bit.");
    Ok(())
}

/// Something that takes a while.
fn mixed(n: u64) -> f64 {
    (0..64).fold(n as f64, |x, step| (x + f64::from(step)).sin() + n as f64 * 1e-6)
}

/// Which partitions of an RDD were computed since the last time, in order.
fn computed(events: &mut EventStream, rdd: RddId) -> Vec<usize> {
    let mut found = Vec::new();
    while let Some(record) = events.try_next() {
        if let Event::PartitionStored { rdd: of, partition, .. } = record.event
            && of == rdd
        {
            found.push(partition);
        }
    }
    found.sort_unstable();
    found
}
