//! What a budget costs, and whether it holds.
//!
//! ```text
//! cargo bench --bench memory -- [limit] [spill] [accounting] [curve] [WORKLOAD…] [--budget 64MiB] [--times 10]
//! ```
//!
//! `limit` runs each workload over data of ten times the budget, in a child process that may not have more private
//! memory than 1.2 times the budget and 64 MiB (`RLIMIT_DATA`; mapped files do not count), and once more in one where
//! all of it fits. Both must give the same rows in the same order: a digest of every partition is compared. What
//! anonymous memory was resident at most is sampled all the while. `spill` compares writing and reading back with a loop
//! of bincode and `write`, and of a map and bincode, over the same rows. `accounting` sums by key in memory, with every
//! byte counted and with none. `curve` iterates over a cache of which less and less fits in memory.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    hash::{Hash, Hasher},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use emberflow::{ExchangeData, prelude::*, system};

mod accounting;
mod curve;
mod spill;

/// Rows of how many bytes there are, and what is done with them.
const WORKLOADS: [(&str, &str); 7] = [
    ("W3b", "reduce_by_key, a fifth as many keys as rows"),
    ("W4", "sort_by"),
    ("W5", "join"),
    ("group", "group_by_key, five values a key"),
    ("distinct", "distinct"),
    ("words", "reduce_by_key of strings"),
    ("W7", "ten readings of a cache of points"),
];
const ROW_BYTES: u64 = 16;
const PARTITIONS: usize = 32;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run(env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Outcome<()> {
    let (mut chosen, mut budget, mut times, mut child) = (Vec::new(), 64 << 20, 10, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match &*argument {
            "--bench" => {}
            "--budget" => budget = value()?.parse::<ByteSize>()?.as_u64(),
            "--times" => times = value()?.parse()?,
            "--child" => child = Some(value()?.parse::<u64>()?),
            _ => chosen.push(argument),
        }
    }
    let rows = budget * times / ROW_BYTES;
    if let (Some(limit), [workload]) = (child, &*chosen) {
        return in_child(workload, rows, budget, limit);
    }
    let all = chosen.is_empty();
    if all || chosen.iter().any(|name| name == "limit" || WORKLOADS.iter().any(|(known, _)| known == name)) {
        let wanted = |name: &str| all || chosen.iter().any(|chosen| chosen == name || chosen == "limit");
        limit(
            &WORKLOADS.map(|(name, _)| name).into_iter().filter(|name| wanted(name)).collect::<Vec<_>>(),
            rows,
            budget,
        )?;
    }
    if all || chosen.iter().any(|name| name == "spill") {
        spill::compare(rows)?;
    }
    if all || chosen.iter().any(|name| name == "accounting") {
        accounting::compare(rows)?;
    }
    if all || chosen.iter().any(|name| name == "curve") {
        curve::print(rows)?;
    }
    Ok(())
}

/// What a child tells of its run.
struct Told {
    digest: String,
    seconds: f64,
    peak: u64,
    spilled: u64,
}

fn limit(workloads: &[&str], rows: u64, budget: u64) -> Outcome<()> {
    let allowed = budget / 10 * 12 + (64 << 20);
    println!("{rows} rows of {ROW_BYTES} bytes, budget {}, allowed {}:\n", ByteSize(budget), ByteSize(allowed));
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["workload", "peak", "of the allowed", "spilled", "seconds", "in memory", "ratio"]);
    for workload in workloads {
        let tight = start(workload, rows, budget, allowed)?;
        let roomy = start(workload, rows, 64 << 30, u64::MAX)?;
        if tight.digest != roomy.digest {
            return Err(format!("{workload}: the budget changed the result").into());
        }
        if tight.peak > allowed || roomy.spilled > 0 {
            return Err(format!("{workload}: the peak was {}", ByteSize(tight.peak)).into());
        }
        table.add_row([
            (*workload).to_owned(),
            ByteSize(tight.peak).to_string(),
            format!("{:.2}", tight.peak as f64 / allowed as f64),
            ByteSize(tight.spilled).to_string(),
            format!("{:.2}", tight.seconds),
            format!("{:.2}", roomy.seconds),
            format!("{:.2}", tight.seconds / roomy.seconds),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}\n\nEvery digest is that of the run in memory.\n");
    Ok(())
}

fn start(workload: &str, rows: u64, budget: u64, limit: u64) -> Outcome<Told> {
    let times = (rows * ROW_BYTES).div_ceil(budget).max(1);
    let rows_budget = if budget > rows * ROW_BYTES { rows * ROW_BYTES } else { budget };
    let mut command = Command::new(env::current_exe()?);
    command.args([workload, "--child", &limit.to_string()]);
    command.args(["--budget", &rows_budget.to_string(), "--times", &times.to_string()]);
    command.env("EMBERFLOW_MEMORY_BUDGET", budget.to_string());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{workload}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let mut word = || words.next().ok_or("the child said too little");
    Ok(Told {
        digest: word()?.to_owned(),
        seconds: word()?.parse()?,
        peak: word()?.parse()?,
        spilled: word()?.parse()?,
    })
}

fn in_child(workload: &str, rows: u64, _: u64, limit: u64) -> Outcome<()> {
    let ctx = Context::builder().app_name("memory").build()?;
    // Stacks and what the program has begun with are not the budget's.
    let before = status("VmData:")?;
    if limit < u64::MAX {
        let limit = rustix::process::Rlimit { current: Some(before + limit), maximum: Some(before + limit) };
        rustix::process::setrlimit(rustix::process::Resource::Data, limit)?;
    }
    let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (seen, stop) = (Arc::clone(&peak), Arc::clone(&over));
    let sampler = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            seen.fetch_max(system::anonymous_resident_bytes().unwrap_or(0), Ordering::Relaxed);
            thread::park_timeout(Duration::from_millis(2));
        }
    });
    let began = Instant::now();
    let digest = work(&ctx, workload, rows)?;
    let seconds = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    sampler.thread().unpark();
    sampler.join().map_err(|_| "the sampler panicked")?;
    println!("{digest:x} {seconds} {} {}", peak.load(Ordering::Relaxed), ctx.memory().spilled_in_all);
    Ok(())
}

/// A line of what the system says of this process, in bytes.
fn status(name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ (n >> 27)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs the workload; a digest of all rows in their order.
fn work(ctx: &Context, workload: &str, rows: u64) -> Outcome<u64> {
    let keys = rows / 5;
    let pairs = ctx.range_into(0..rows, PARTITIONS).map(move |n| (mix(n) % keys, n));
    Ok(match workload {
        "W3b" => digest(&pairs.reduce_by_key_into(u64::wrapping_add, PARTITIONS))?,
        // Rows of half the size, so twice as many.
        "W4" => digest(&ctx.range_into(0..2 * rows, PARTITIONS).map(mix).sort_by_into(|row| *row, PARTITIONS))?,
        "W5" => {
            let side =
                |seed: u64| ctx.range_into(0..rows / 2, PARTITIONS).map(move |n| (mix(n ^ seed) % (2 * keys), n));
            let [left, right] = [0, 0x5555_5555].map(|seed| side(seed).partition_by(PARTITIONS));
            digest(&left.join(&right))?
        }
        "group" => digest(&pairs.group_by_key_into(PARTITIONS))?,
        "distinct" => digest(&pairs.map(|(key, n)| (key, n % 2)).distinct_into(PARTITIONS))?,
        // A third as many, since each has some heap.
        "words" => {
            let words =
                ctx.range_into(0..rows / 3, PARTITIONS).map(move |n| (format!("word {:020}", mix(n) % keys), 1_u64));
            digest(&words.reduce_by_key_into(u64::wrapping_add, PARTITIONS))?
        }
        "W7" => {
            let points =
                ctx.range_into(0..rows / 4, PARTITIONS).map(|n| [0, 1, 2, 3, 4, 5, 6, 7].map(|d| mix(n + d) as f64));
            let points = points.cache();
            let mut sum = 0.0;
            for _ in 0..10 {
                sum += points.aggregate_ref(0.0, |sum, point| sum + point.iter().sum::<f64>(), |a, b| a + b)?;
            }
            sum.to_bits()
        }
        _ => return Err(format!("no workload {workload}").into()),
    })
}

fn digest<T: ExchangeData + Hash>(rows: &Rdd<T>) -> Outcome<u64> {
    let parts = rows.map_partitions(|rows| {
        let mut hasher = DefaultHasher::new();
        rows.for_each(|row| row.hash(&mut hasher));
        [hasher.finish()]
    });
    let mut hasher = DefaultHasher::new();
    parts.collect()?.hash(&mut hasher);
    Ok(hasher.finish())
}
