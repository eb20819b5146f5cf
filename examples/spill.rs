//! A job whose data is many times its memory budget, and what that costs.
//!
//! ```text
//! cargo run --release --example spill [MILLIONS OF ROWS [BUDGET]]
//! ```
//!
//! Rows of a key and a value are made, cached, summed by key, sorted, and read again and again; once in a context whose
//! budget is a tenth of them, and once where all of it fits. Both must give the same results to the byte, and the first
//! must not take much more memory than its budget. Then the same cache is read with all of it in memory, three quarters,
//! half, a quarter, and none, which is drawn as a PNG file.

#[path = "support/plot.rs"]
mod plot;

use std::{
    env,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use emberflow::{MemoryUse, prelude::*, system};
use plotters::prelude::{BLUE, ChartBuilder, Color, LineSeries, TRANSPARENT};

/// Bytes of a row in memory.
const ROW_BYTES: u64 = 16;
/// Of which each is a third of the default budget: none has to be in memory as a whole.
const PARTITIONS: usize = 32;
/// Readings of the cache, of which the fastest counts.
const READINGS: usize = 5;

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spill: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    mut arguments: impl Iterator<Item = String>,
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let millions: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let rows = millions * 1_000_000;
    let budget = arguments.next().map_or(Ok(ByteSize(rows * ROW_BYTES / 10)), |text| text.parse())?.as_u64();
    let context = |budget| Context::builder().app_name("spill").memory_budget(budget).build();

    // The small budget comes first: the peak of the large one would hide its own.
    let tight = measure(&context(budget)?, rows)?;
    let roomy = measure(&context(64 * rows * ROW_BYTES)?, rows)?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["budget", "peak of the account", "peak memory", "spilled", "read back", "seconds"]);
    for run in [&tight, &roomy] {
        table.add_row([
            ByteSize(run.memory.budget).to_string(),
            ByteSize(run.memory.peak).to_string(),
            ByteSize(run.peak).to_string(),
            ByteSize(run.memory.spilled_in_all).to_string(),
            ByteSize(run.memory.read_back_in_all).to_string(),
            format!("{:.2}", run.seconds),
        ]);
    }
    align(&mut table);
    println!(
        "{rows} rows of {ROW_BYTES} bytes, {}, in {PARTITIONS} partitions:\n\n{table}\n",
        ByteSize(rows * ROW_BYTES)
    );
    if tight.result != roomy.result {
        return Err(format!("the budget changed the result: {:?} and {:?}", tight.result, roomy.result).into());
    }

    let most = budget / 10 * 12 + (64 << 20);
    if tight.peak > most {
        return Err(format!("the peak was {}, and should be below {}", ByteSize(tight.peak), ByteSize(most)).into());
    }

    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "of the cache in memory",
        "seconds a reading",
        "of the first",
    ]);
    let (mut first, mut curve) = (None, Vec::new());
    for quarters in (0..=4).rev() {
        // What is kept may take three quarters of a budget.
        let ctx = context((rows * ROW_BYTES * quarters / 3).max(1 << 20) + (1 << 20))?;
        let kept = make(&ctx, rows).cache();
        let sum = total(&kept)?;
        let mut seconds = f64::INFINITY;
        for _ in 0..READINGS {
            let began = Instant::now();
            if total(&kept)? != sum {
                return Err("the sum of the cached rows has changed".into());
            }
            seconds = began.elapsed().as_secs_f64().min(seconds);
        }
        let first = *first.get_or_insert(seconds);
        let in_memory = ctx.memory().persisted * 100 / (rows * ROW_BYTES);
        curve.push((in_memory as f64, seconds * 1e3));
        table.add_row([format!("{in_memory} %"), format!("{seconds:.3}"), format!("{:.1} ×", seconds / first)]);
    }
    align(&mut table);
    let path = env::temp_dir().join("emberflow-spill.png");
    draw(&path, &curve)?;
    println!("{table}\n\nThe results are the same, and nothing is left on disk. The curve: {}", path.display());
    Ok(())
}

/// The time of a reading by how much of the cache is in memory: the figure of the RDD paper (Zaharia et al., NSDI 2012).
fn draw(path: &Path, curve: &[(f64, f64)]) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let slowest = curve.iter().map(|(_, milliseconds)| *milliseconds).fold(0.0, f64::max);
    let image = plot::picture(path, (640, 480))?;
    let mut chart = ChartBuilder::on(&image)
        .caption("a cache that does not fit", ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(0.0..100.0, 0.0..slowest * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("of the cache in memory, %")
        .y_desc("milliseconds a reading")
        .draw()?;
    chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.stroke_width(2)).point_size(4))?;
    image.present()?;
    Ok(())
}

fn align(table: &mut Table) {
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

/// Rows that look random, the same every time.
fn make(ctx: &Context, rows: u64) -> Rdd<(u64, u64)> {
    let keys = rows / 5;
    ctx.range_into(0..rows, PARTITIONS).map(move |n| {
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ (mixed >> 29)) % keys, n)
    })
}

fn total(rows: &Rdd<(u64, u64)>) -> Result<u64> {
    rows.aggregate_ref(0, |sum: u64, (_, value)| sum.wrapping_add(*value), u64::wrapping_add)
}

/// What one run has given, and what it took.
struct Measured {
    result: (u64, u64, u64, u64),
    memory: MemoryUse,
    /// Anonymous memory of the process: mapped files are not in it.
    peak: u64,
    seconds: f64,
}

fn measure(ctx: &Context, rows: u64) -> std::result::Result<Measured, Box<dyn std::error::Error + Send + Sync>> {
    let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (seen, stop) = (Arc::clone(&peak), Arc::clone(&over));
    let sampler = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            seen.fetch_max(system::anonymous_resident_bytes().unwrap_or(0), Ordering::Relaxed);
            thread::park_timeout(Duration::from_millis(2));
        }
    });
    let began = Instant::now();
    let result = job(ctx, rows);
    let seconds = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    sampler.thread().unpark();
    sampler.join().map_err(|_| "the sampler panicked")?;
    Ok(Measured { result: result?, memory: ctx.memory(), peak: peak.load(Ordering::Relaxed), seconds })
}

/// The sum of the rows; how many keys there are, and a checksum of their sums; a checksum of the order.
fn job(ctx: &Context, rows: u64) -> Result<(u64, u64, u64, u64)> {
    let kept = make(ctx, rows).cache();
    let sum = total(&kept)?;
    let sums = kept.reduce_by_key_into(u64::wrapping_add, PARTITIONS);
    let checked = |(keys, check): (u64, u64), (key, sum): &(u64, u64)| (keys + 1, check.wrapping_add(key ^ sum));
    let (keys, check) = sums.aggregate_ref((0, 0), checked, |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))?;
    let sorted = kept.sort_by_into(|(key, value)| (*key, *value), PARTITIONS);
    let order = |check: u64, (key, value): &(u64, u64)| check.wrapping_mul(31).wrapping_add(key ^ value);
    let order = sorted.aggregate_ref(0, order, |a, b| a.wrapping_mul(37).wrapping_add(b))?;
    Ok((sum, keys, check, order))
}
