//! A trace of a job for chrome://tracing or Perfetto: which worker was at which task when, and what it wrote to disk.
//!
//! ```text
//! cargo run --release --example trace [FILE]
//! ```
//!
//! The file is `emberflow-trace.json` in the directory for temporary files unless another is given.

use std::{env, fs, path::PathBuf, process::ExitCode};

use emberflow::{Event, prelude::*};
use tracing_subscriber::prelude::*;

const ROWS: u64 = 1_000_000;

fn main() -> ExitCode {
    let file = env::args_os().nth(1).map_or_else(|| env::temp_dir().join("emberflow-trace.json"), PathBuf::from);
    match run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trace: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &std::path::Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Tasks are shown on the threads of their workers.
    let (layer, written) = tracing_chrome::ChromeLayerBuilder::new().file(file).include_args(true).build();
    tracing_subscriber::registry().with(layer).try_init()?;

    // Half of what is cached finds no room, so that there is something to write.
    let ctx = Context::builder().app_name("trace").memory_budget(ROWS * 16 / 2).build()?;
    let events = ctx.events();
    let readings = ctx.range_into(0..ROWS, 24).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56, n)).cache();
    let keys = readings.reduce_by_key(|a, b| a.max(b)).count()?;
    let highest = readings.values().max()?;
    drop((readings, ctx));
    drop(written);
    if (keys, highest) != (256, Some(ROWS - 1)) {
        return Err(format!("{keys} keys and {highest:?} are not what was put in").into());
    }

    let tasks = events.filter(|record| matches!(record.event, Event::TaskFinished { .. })).count();
    let spans = fs::read_to_string(file)?.matches(r#""name":"task""#).count();
    // Each begins and ends.
    if spans != 2 * tasks {
        return Err(format!("{spans} lines of the trace tell of {tasks} tasks").into());
    }
    println!("{tasks} tasks are in {}; open it with chrome://tracing or ui.perfetto.dev", file.display());
    Ok(())
}
