//! What losing a partition costs, and what it costs to be ready for it.
//!
//! ```text
//! cargo bench --bench recovery -- [figure] [overhead [W1] [W2] …] [--rounds N] [--scale F] [--workers N]
//! ```
//!
//! - `figure`: ten iterations of W7 over cached points; one of the partitions is lost before the sixth (the RDD paper's
//!   figure 11: Zaharia et al., NSDI 2012). The sixth may take (1 + 1.5 / partitions) times what it takes to make one
//!   partition longer than the others, those after it no longer.
//! - `overhead`: the share of the processor's time in W1 to W7 that goes to the threads that keep the books: who made
//!   what of what, what is wanted, what is there, what it takes. As many tasks that take as long and keep nothing have to
//!   be handed out by the same threads in any case; what goes beyond that may be 2 % while nothing is lost.
//!
//! Exits with an error if a promise is not kept.

// Ours alone runs here; the hand-written programs are the other bench's.
#[allow(unused_imports, reason = "shared with the bench of the workloads, which uses all of it")]
#[path = "../baselines/mod.rs"]
mod baselines;
#[allow(dead_code, unused_imports, reason = "shared with the bench of the workloads, which uses all of it")]
#[path = "../workloads/engine.rs"]
mod engine;

use std::{
    env, fs,
    hint::black_box,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets};
use emberflow::{Event, prelude::*, testing};

use crate::baselines::{
    data,
    kmeans::{Columns, ITERATIONS, Point, Sums, first_centres},
};

/// A partition for each of so many tasks.
const PARTITIONS: usize = 16;
/// The iteration before which one is lost, from one.
const LOST_IN: usize = 6;
/// The threads that keep books; the governor's and that of the partitions' actors are actix's.
const BOOKS: &[&str] = &["b-coordinator", "actix-rt"];
/// What is measured for its overhead.
const WORKLOADS: [&str; 8] = ["W1", "W2", "W3a", "W3b", "W4", "W5", "W6", "W7"];
/// The share of the processor's time that keeping books may take.
const MOST_OVERHEAD: f64 = 0.02;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Options {
    /// The workloads to measure; all, if none is named.
    only: Vec<String>,
    rounds: usize,
    scale: f64,
    workers: usize,
}

fn main() -> ExitCode {
    let mut options = Options { only: Vec::new(), rounds: 9, scale: 1.0, workers: 2 };
    let mut chosen = Vec::new();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
        match &*arg {
            "--rounds" => options.rounds = (number() as usize).max(1),
            "--scale" => options.scale = number(),
            "--workers" => options.workers = (number() as usize).max(1),
            // From cargo itself.
            "--bench" => {}
            "figure" | "overhead" => chosen.push(arg),
            name if WORKLOADS.contains(&name) => options.only.push(arg),
            other => {
                eprintln!("recovery: {other:?} is none of figure, overhead, --rounds, --scale, --workers");
                return ExitCode::from(2);
            }
        }
    }
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let mut kept = true;
    for (name, run) in [("figure", figure as fn(&Options) -> Outcome<bool>), ("overhead", overhead)] {
        if is_chosen(name) {
            match run(&options) {
                Ok(is_kept) => kept &= is_kept,
                Err(error) => {
                    eprintln!("recovery: {name}: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Points as lines of text, which take longer to read than to use.
fn write_points(path: &Path, points: u64) -> Result<()> {
    let line = |point: Point| point.map(|x| format!("{x:.9}")).join(" ");
    let ctx = Context::new()?;
    ctx.range_into(0..points, PARTITIONS).map(move |n| line(data::point(n))).save_as_text_file(path)
}

fn parse(line: &str) -> Point {
    let mut numbers = line.split(' ').map(|word| word.parse().unwrap_or(f64::NAN));
    std::array::from_fn(|_| numbers.next().unwrap_or(f64::NAN))
}

/// One iteration of W7.
fn iterate(points: &Rdd<Point>, centres: &[Point; 10]) -> Result<[Point; 10]> {
    let columns = Columns::of(centres);
    let sums = points.aggregate_ref(
        Box::<Sums>::default(),
        move |mut sums, point| {
            sums.add(columns.nearest(point), point);
            sums
        },
        |mut sums, other| {
            sums.merge(&other);
            sums
        },
    )?;
    Ok(sums.centres(centres))
}

fn figure(options: &Options) -> Outcome<bool> {
    let dir = tempfile::tempdir()?;
    let text = dir.path().join("points");
    write_points(&text, ((500_000.0 * options.scale) as u64).max(100))?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); ITERATIONS];
    let mut shares = Vec::new();
    let mut answer = None;
    for round in 0..options.rounds {
        let ctx = Context::builder().workers(options.workers).memory_budget(4 << 30).build()?;
        let files: Vec<_> = (0..PARTITIONS).map(|at| text.join(format!("part-{at:05}"))).collect();
        let parts = files.iter().map(|file| ctx.text_file(file)).collect::<Result<Vec<_>>>()?;
        let points = ctx.union(&parts).map(|line| parse(&line)).coalesce(PARTITIONS).cache();
        points.count()?;
        let mut centres = first_centres();
        for (iteration, times) in (1..).zip(&mut times) {
            if iteration == LOST_IN {
                let before = ctx.storage()?.remove(0);
                shares.push(before.compute_time.as_secs_f64() / before.computed as f64);
                assert!(testing::kill_cached_partition(&points, round % PARTITIONS)?);
            }
            let began = Instant::now();
            centres = iterate(&points, &centres)?;
            times.push(began.elapsed().as_secs_f64());
        }
        assert_eq!(ctx.storage()?[0].computed as usize, points.partitions() + 1, "one partition was made again");
        // The same to the bit, whichever partition was lost.
        assert_eq!(*answer.get_or_insert(centres), centres);
    }
    let share = median(shares);
    let times: Vec<f64> = times.into_iter().map(median).collect();
    let others = |range: std::ops::Range<usize>| median(times[range].to_vec());
    // The first one touches what the others find in the caches.
    let (before, after) = (others(1..LOST_IN - 1), others(LOST_IN..ITERATIONS));
    println!(
        "W7 over {PARTITIONS} cached partitions, {} workers; one is lost before iteration {LOST_IN}",
        options.workers
    );
    for (iteration, seconds) in (1..).zip(&times) {
        let bar = "#".repeat((seconds / before * 20.0).round().min(200.0) as usize);
        println!("{iteration:>3} {:>8.2} ms {bar}", seconds * 1e3);
    }
    let extra = (times[LOST_IN - 1] - before) / share;
    let most = 1.0 + 1.5 / PARTITIONS as f64;
    println!(
        "to make one partition takes {:.2} ms; the iteration that misses it takes {extra:.2} of that longer ({most:.2} \
         at most); those after it take {:.3} of those before it",
        share * 1e3,
        after / before
    );
    Ok(extra <= most)
}

/// Seconds of processor time of the threads of this process: of those whose names begin so, and of all.
fn processor_time(of: &[&str]) -> Outcome<(f64, f64)> {
    let (mut some, mut all) = (0.0, 0.0);
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let text = fs::read_to_string(task.join("schedstat"))?;
        let seconds = text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9;
        all += seconds;
        if of.iter().any(|prefix| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(prefix))) {
            some += seconds;
        }
    }
    Ok((some, all))
}

/// What some runs take of the processor's time: of the threads that keep books, and in all.
fn measure(options: &Options, run: &dyn Fn() -> Result<()>) -> Outcome<(f64, f64)> {
    let before = processor_time(BOOKS)?;
    for _ in 0..options.rounds.min(4) {
        run()?;
    }
    let after = processor_time(BOOKS)?;
    Ok((after.0 - before.0, after.1 - before.1))
}

fn overhead(options: &Options) -> Outcome<bool> {
    if !Path::new("/proc/self/schedstat").exists() {
        println!("overhead: not measured, since this system does not tell the time that threads take");
        return Ok(true);
    }
    let scaled = |rows: f64| ((rows * options.scale) as u64).max(100);
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "",
        "seconds of processor",
        "tasks",
        "keeping books",
        "handing out alone",
        "share",
        "beyond",
    ]);
    (1..7).for_each(|column| table.column_mut(column).expect("there").set_cell_alignment(CellAlignment::Right));
    let mut worst: f64 = 0.0;
    let dir = tempfile::tempdir()?;
    let words = dir.path().join("words");
    data::zipf_text(&words, scaled(400e6))?;
    for workload in
        WORKLOADS.into_iter().filter(|name| options.only.is_empty() || options.only.iter().any(|only| only == name))
    {
        // Its threads are "b-coordinator", "b-worker-0", …
        let ctx = Context::builder().app_name("b").workers(options.workers).memory_budget(8 << 30).build()?;
        let run: Box<dyn Fn() -> Result<()>> = match workload {
            "W1" => Box::new(|| engine::w1(&ctx, scaled(200e6)).map(|sum| _ = black_box(sum))),
            "W2" => Box::new(|| engine::w2(&ctx, &words).map(|words| _ = black_box(words))),
            "W3a" | "W3b" => {
                let keys = if workload == "W3a" { 1000 } else { scaled(10e6) };
                let rows = ctx.parallelize(data::pairs(scaled(50e6) as usize, keys));
                Box::new(move || engine::w3(&rows).map(|sums| _ = black_box(sums)))
            }
            "W4" => {
                let rows = ctx.parallelize(data::numbers(scaled(30e6) as usize));
                Box::new(move || engine::w4(&rows).map(|order| _ = black_box(order)))
            }
            "W5" => {
                let [left, right] = data::permutations(scaled(10e6) as usize).map(|rows| ctx.parallelize(rows));
                Box::new(move || engine::w5(&left, &right).map(|matches| _ = black_box(matches)))
            }
            "W6" => {
                let links = engine::w6_links(&ctx, scaled(1e6))?;
                Box::new(move || engine::w6(&links).map(|best| _ = black_box(best)))
            }
            _ => {
                let points = engine::w7_points(&ctx, scaled(2e6))?;
                Box::new(move || engine::w7(&points).map(|centres| _ = black_box(centres)))
            }
        };
        run()?;
        let mut events = ctx.events();
        run()?;
        let started = std::iter::from_fn(|| events.try_next());
        let tasks = started.filter(|record| matches!(record.event, Event::TaskStarted { .. })).count() as u64;
        drop(events);
        let (books, all) = measure(options, &run)?;
        let each = Duration::from_secs_f64((all - books) / (tasks * options.rounds.min(4) as u64) as f64);
        let idle = ctx.range_into(0..tasks, tasks as usize).map(move |n| {
            let until = Instant::now() + each;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            n
        });
        let (alone, _) = measure(options, &|| idle.count().map(|_| ()))?;
        let (share, beyond) = (books / all, (books - alone).max(0.0) / all);
        worst = worst.max(beyond);
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        table.add_row([
            workload.to_owned(),
            format!("{all:.3}"),
            tasks.to_string(),
            format!("{books:.4}"),
            format!("{alone:.4}"),
            percent(share),
            percent(beyond),
        ]);
    }
    println!("{table}\nat most {:.2} % (asked: {:.0} %)", worst * 100.0, MOST_OVERHEAD * 100.0);
    Ok(worst <= MOST_OVERHEAD)
}
