//! A few jobs to look at in the browser: a cache of which half is spilled, shuffles, a join, a task that fails once,
//! partitions that are lost and rebuilt.
//!
//! ```text
//! cargo run --release --features ui --example ui [ROWS] [--stay]
//! ```
//!
//! With `--stay` it goes on, one round after the other, until Enter is pressed, so that there is time to look.

use std::{
    env,
    io::{self, BufRead},
    panic,
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use emberflow::{prelude::*, testing};

const STATIONS: u64 = 200;
const PARTITIONS: usize = 48;
/// Between two rounds, for those who look.
const PAUSE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ui: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (mut rows, mut stay) = (1_000_000_u64, false);
    for argument in arguments {
        match argument.as_str() {
            "--stay" => stay = true,
            number => rows = number.parse().map_err(|_| format!("not a number of rows: {number:?}; or give --stay"))?,
        }
    }
    // Half of the readings fit.
    let ctx = Context::builder().app_name("weather").memory_budget((rows * 16 / 2).max(1)).ui(4040).build()?;
    println!("look at {}", ctx.ui_url().unwrap_or_default());
    let enter = stay.then(|| {
        println!("press Enter to end");
        let (send, enter) = mpsc::channel();
        thread::spawn(move || {
            // Whether it was Enter or the end of the input, it is over.
            let _ = send.send(io::stdin().lock().read_line(&mut String::new()));
        });
        enter
    });
    let readings = ctx
        .range_into(0..rows, PARTITIONS)
        .map(|n| {
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed % STATIONS, 10.0 + (mixed % STATIONS) as f64 / 10.0 + (mixed >> 54) as f64 / 1000.0)
        })
        .set_name("readings")
        .cache();
    let counted = ctx.with_job_description("count the readings", || readings.count())?;
    if counted != rows {
        return Err(format!("{counted} readings of {rows}").into());
    }
    loop {
        let (station, mean) = round(&ctx, &readings)?;
        println!("the hottest is {station}, at {mean:.2} degrees");
        match enter.as_ref().map(|enter| enter.recv_timeout(PAUSE)) {
            Some(Err(RecvTimeoutError::Timeout)) => {}
            _ => break,
        }
    }
    // Before the readings are dropped: so an event log shows at its end what was kept.
    ctx.stop();
    Ok(())
}

/// Some jobs over readings of weather stations. Gives the hottest station and its mean.
fn round(ctx: &Context, readings: &Rdd<(u64, f64)>) -> std::result::Result<(String, f64), Box<dyn std::error::Error>> {
    let stations = ctx.range_into(0..STATIONS, 4).map(|id| (id, format!("station {id:03}"))).set_name("stations");
    let means = readings
        .map_values(|degrees| (degrees, 1_u64))
        .reduce_by_key(|a, b| (a.0 + b.0, a.1 + b.1))
        .map_values(|(sum, count)| sum / count as f64)
        .set_name("means");
    let named = stations.join(&means).values().set_name("named means");
    let hottest = |what: &str| -> Result<Option<(String, f64)>> {
        Ok(ctx.with_job_description(what, || named.top_by(1, |(_, mean)| (*mean * 1e9) as i64))?.pop())
    };
    let first = hottest("the hottest station")?;

    // A task that fails the first time.
    let failed = AtomicBool::new(false);
    let flaky = readings.map(move |(station, degrees)| {
        if station == 7 && !failed.swap(true, Ordering::Relaxed) {
            // A panic, but without its message on the terminal.
            panic::resume_unwind(Box::new("the sensor of station 7 does not answer"));
        }
        degrees
    });
    ctx.with_job_description("the highest reading, by a sensor that fails once", || {
        flaky.reduce(|a: f64, b: f64| a.max(b))
    })?;

    // What is lost is computed again, and nothing else.
    for partition in [3, 17, 40] {
        testing::kill_cached_partition(readings, partition)?;
        testing::kill_map_output(&means, partition)?;
    }
    let again = hottest("the hottest station, after a loss")?;
    if again != first {
        return Err(format!("the loss has changed the result from {first:?} to {again:?}").into());
    }
    first.ok_or_else(|| "there is no station".into())
}
