//! How fast is emberflow against the two programs that one would write by hand, on the same data, in the same run?
//!
//! ```text
//! cargo bench --bench workloads -- [W1] [W2] [W2s] [W3a] [W3b] [W4] [W5] [W6] [W7] [tasks] [start] [skew] [scaling] [watched] [--rounds N] [--scale F] [--workers N]
//! ```
//!
//! Programs take turns, twice each, of which the second time counts, so that a noisy machine is unkind to all of them
//! alike; every answer is checked; times are medians, and what counts are their ratios. Peak memory is the anonymous memory of a child process that runs one
//! program once, sampled every two milliseconds, its input included.

#[path = "../baselines/mod.rs"]
mod baselines;
mod engine;

use std::{
    env, fs,
    hint::black_box,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use comfy_table::{Table, presets};
use emberflow::{prelude::*, system};

use crate::baselines::{data, idiom, kmeans, limit, pagerank};

/// The workloads; W2s is W2 with every word a `String`.
const WORKLOADS: [&str; 9] = ["W1", "W2", "W2s", "W3a", "W3b", "W4", "W5", "W6", "W7"];

/// What is measured against another run of ours; `watched` needs the feature `ui`.
const EXTRAS: [&str; 5] = ["tasks", "start", "skew", "scaling", "watched"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Idiom,
    Limit,
    Emberflow,
}

const PROGRAMS: [Program; 3] = [Program::Idiom, Program::Limit, Program::Emberflow];

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Idiom => "idiom",
            Self::Limit => "limit",
            Self::Emberflow => "emberflow",
        }
    }
}

struct Options {
    chosen: Vec<String>,
    rounds: usize,
    scale: f64,
    workers: usize,
    /// Set in the child process that measures memory.
    child: Option<Program>,
}

fn main() -> ExitCode {
    let options = match parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("workloads: {error}");
            return ExitCode::from(2);
        }
    };
    if let Some(program) = options.child {
        println!("{}", measure_memory(&options, program));
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| options.chosen.is_empty() || options.chosen.iter().any(|chosen| chosen == name);
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "idiom s",
        "limit s",
        "emberflow s",
        "idiom / ours",
        "limit / ours",
        "M rows/s",
        "idiom MiB",
        "limit MiB",
        "ours MiB",
        "ours / limit",
    ]);
    for workload in WORKLOADS.into_iter().filter(|name| chosen(name)) {
        table.add_row(compare(&options, workload));
    }
    if table.row_count() > 0 {
        println!("{table}");
    }
    if chosen("tasks") {
        tasks(&options);
    }
    if chosen("start") {
        start(&options);
    }
    if chosen("skew") {
        skew(&options);
    }
    if chosen("scaling") {
        scaling(&options);
    }
    if chosen("watched") {
        watched(&options);
    }
    ExitCode::SUCCESS
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { chosen: Vec::new(), rounds: 5, scale: 1.0, workers, child: None };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or(format!("{argument} needs a number"))?;
            text.parse::<f64>().map_err(|error| format!("{argument} {text}: {error}"))
        };
        match argument.as_str() {
            "--bench" => {}
            "--rounds" => options.rounds = (number()? as usize).max(1),
            "--scale" => options.scale = number()?,
            "--workers" => options.workers = (number()? as usize).max(1),
            "--child" => {
                let name = arguments.next().unwrap_or_default();
                options.child = PROGRAMS.into_iter().find(|program| program.name() == name);
            }
            name if WORKLOADS.contains(&name) || EXTRAS.contains(&name) => {
                options.chosen.push(name.to_owned());
            }
            other => return Err(format!("{other}? give one of {WORKLOADS:?} or {EXTRAS:?}")),
        }
    }
    Ok(options)
}

/// One workload's data, and its three programs over it.
struct Workload {
    rows: u64,
    run: Box<dyn FnMut(Program) -> String>,
}

/// Makes the data for the given programs: a child that measures one program's memory holds it only once.
fn prepare(options: &Options, workload: &str, programs: &[Program]) -> Workload {
    let workers = options.workers;
    let ctx = Context::local(workers).expect("a context starts");
    let scaled = |rows: f64| (rows * options.scale) as u64;
    match workload {
        "W1" => {
            let rows = scaled(200e6);
            let run = move |program| match program {
                Program::Idiom => idiom::w1(rows).to_string(),
                Program::Limit => limit::w1(rows, workers).to_string(),
                Program::Emberflow => engine::w1(&ctx, rows).expect("W1 runs").to_string(),
            };
            Workload { rows, run: Box::new(run) }
        }
        "W2" | "W2s" => {
            let strings = workload == "W2s";
            let path = text_file(scaled(400e6));
            let text = fs::read(&path).expect("the text was written");
            let rows = text.split(|byte| *byte == b' ' || *byte == b'\n').filter(|word| !word.is_empty()).count();
            drop(text);
            let run = move |program| match program {
                Program::Idiom => format!("{:?}", idiom::w2(&path)),
                Program::Limit => format!("{:?}", limit::w2(&path, workers)),
                Program::Emberflow if strings => format!("{:?}", engine::w2_strings(&ctx, &path).expect("W2s runs")),
                Program::Emberflow => format!("{:?}", engine::w2(&ctx, &path).expect("W2 runs")),
            };
            Workload { rows: rows as u64, run: Box::new(run) }
        }
        "W4" => {
            let plain = data::numbers(scaled(30e6) as usize);
            let rows = plain.len() as u64;
            let (plain, rdd) = ours_and_theirs(&ctx, plain, programs);
            let run = move |program| {
                let order = match program {
                    Program::Idiom => idiom::w4(&plain),
                    Program::Limit => limit::w4(&plain, workers),
                    Program::Emberflow => engine::w4(&rdd).expect("W4 runs"),
                };
                let _ = &ctx;
                format!("{order:?}")
            };
            Workload { rows, run: Box::new(run) }
        }
        "W5" => {
            let [left, right] = data::permutations(scaled(10e6) as usize);
            let rows = (left.len() + right.len()) as u64;
            let (left, left_rdd) = ours_and_theirs(&ctx, left, programs);
            let (right, right_rdd) = ours_and_theirs(&ctx, right, programs);
            let run = move |program| {
                let summary = match program {
                    Program::Idiom => idiom::w5(&left, &right),
                    Program::Limit => limit::w5(&left, &right, workers),
                    Program::Emberflow => engine::w5(&left_rdd, &right_rdd).expect("W5 runs"),
                };
                let _ = &ctx;
                format!("{summary:?}")
            };
            Workload { rows, run: Box::new(run) }
        }
        "W6" => {
            let pages = scaled(1e6).max(10);
            let lists = |page| data::links(page, pages).collect::<Vec<_>>();
            let lists: Option<Vec<_>> = programs.contains(&Program::Idiom).then(|| (0..pages).map(lists).collect());
            let web = programs.contains(&Program::Limit).then(|| limit::Web::new(pages));
            let links = programs.contains(&Program::Emberflow).then(|| engine::w6_links(&ctx, pages).expect("W6 runs"));
            let rows = (0..pages).map(|page| data::links(page, pages).len()).sum::<usize>() * pagerank::ITERATIONS;
            let run = move |program| {
                let _ = &ctx;
                match program {
                    Program::Idiom => idiom::w6(lists.as_ref().expect("made")),
                    Program::Limit => limit::w6(web.as_ref().expect("made"), workers),
                    Program::Emberflow => engine::w6(links.as_ref().expect("made")).expect("W6 runs"),
                }
            };
            Workload { rows: rows as u64, run: Box::new(run) }
        }
        "W7" => {
            let rows = scaled(2e6).max(10);
            let theirs = programs.iter().any(|program| *program != Program::Emberflow);
            let plain: Vec<_> = (0..if theirs { rows } else { 0 }).map(data::point).collect();
            let rdd = programs.contains(&Program::Emberflow).then(|| engine::w7_points(&ctx, rows).expect("W7 runs"));
            let run = move |program| {
                let _ = &ctx;
                match program {
                    Program::Idiom => idiom::w7(&plain),
                    Program::Limit => limit::w7(&plain, workers),
                    Program::Emberflow => engine::w7(rdd.as_ref().expect("made")).expect("W7 runs"),
                }
            };
            Workload { rows: rows * kmeans::ITERATIONS as u64, run: Box::new(run) }
        }
        _ => {
            let few = workload == "W3a";
            let keys = if few { 1000 } else { scaled(10e6) };
            let plain = data::pairs(scaled(50e6) as usize, keys);
            let rows = plain.len() as u64;
            let (plain, rdd) = ours_and_theirs(&ctx, plain, programs);
            let run = move |program| {
                let summary = match program {
                    Program::Idiom => idiom::w3(&plain),
                    Program::Limit if few => limit::w3a(&plain, workers),
                    Program::Limit => limit::w3b(&plain, workers),
                    Program::Emberflow => engine::w3(&rdd).expect("W3 runs"),
                };
                let _ = &ctx;
                format!("{summary:?}")
            };
            Workload { rows, run: Box::new(run) }
        }
    }
}

/// The rows for the hand-written programs, and as an RDD for ours; for one of them only, if no other is to run.
fn ours_and_theirs<T: ExchangeData>(ctx: &Context, rows: Vec<T>, programs: &[Program]) -> (Vec<T>, Rdd<T>) {
    match (programs.contains(&Program::Emberflow), programs.len()) {
        (true, 1) => (Vec::new(), ctx.parallelize(rows)),
        (true, _) => (rows.clone(), ctx.parallelize(rows)),
        (false, _) => (rows, ctx.empty()),
    }
}

/// The text of W2, written once and kept beside the other build products.
fn text_file(bytes: u64) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = dir.join(format!("zipf-{bytes}.txt"));
    if !path.exists() {
        let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
        data::zipf_text(&unfinished, bytes).expect("the text can be written");
        fs::rename(&unfinished, &path).expect("the text can be named");
    }
    path
}

fn compare(options: &Options, name: &str) -> Vec<String> {
    eprintln!("{name}: making the data");
    let mut workload = prepare(options, name, &PROGRAMS);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); PROGRAMS.len()];
    let mut answer: Option<String> = None;
    for _ in 0..options.rounds {
        for (program, times) in PROGRAMS.into_iter().zip(&mut times) {
            // The second of two runs counts: memory that lay idle while the others ran costs whole seconds to touch again.
            black_box((workload.run)(program));
            let began = Instant::now();
            let got = black_box((workload.run)(program));
            let seconds = began.elapsed().as_secs_f64();
            let expected = answer.get_or_insert_with(|| got.clone());
            assert_eq!(&got, expected, "{name}: {} disagrees", program.name());
            times.push(seconds);
            eprintln!("{name}: {} {seconds:.3} s", program.name());
        }
    }
    let rows = workload.rows as f64;
    drop(workload);
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let [idiom, limit, ours] = [0, 1, 2].map(|program| median(&mut times[program]));
    let memory = PROGRAMS.map(|program| memory_of(options, name, program));
    vec![
        name.to_owned(),
        format!("{idiom:.3}"),
        format!("{limit:.3}"),
        format!("{ours:.3}"),
        format!("{:.2}", idiom / ours),
        format!("{:.2}", limit / ours),
        format!("{:.0}", rows / ours / 1e6),
        format!("{:.0}", memory[0]),
        format!("{:.0}", memory[1]),
        format!("{:.0}", memory[2]),
        format!("{:.2}", memory[2] / memory[1]),
    ]
}

/// Peak memory of one program, in MiB, from a child process.
fn memory_of(options: &Options, workload: &str, program: Program) -> f64 {
    let executable = env::current_exe().expect("this program has a path");
    let output = Command::new(executable)
        .args([workload, "--child", program.name()])
        .args(["--scale", &options.scale.to_string(), "--workers", &options.workers.to_string()])
        .output()
        .expect("this program can be started again");
    assert!(output.status.success(), "the child failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse::<f64>().expect("the child prints a number") / f64::from(1 << 20)
}

fn measure_memory(options: &Options, program: Program) -> u64 {
    let workload = options.chosen.first().expect("the parent names a workload");
    let mut workload = prepare(options, workload, &[program]);
    let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (seen, stop) = (Arc::clone(&peak), Arc::clone(&over));
    let sampler = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            seen.fetch_max(system::anonymous_resident_bytes().unwrap_or(0), Ordering::Relaxed);
            #[allow(clippy::disallowed_methods, reason = "a sampling interval, not a wait for anything")]
            thread::sleep(Duration::from_millis(2));
        }
    });
    black_box((workload.run)(program));
    over.store(true, Ordering::Relaxed);
    sampler.join().expect("the sampler does not panic");
    peak.load(Ordering::Relaxed)
}

/// What a task costs that has next to nothing to do.
fn tasks(options: &Options) {
    const PARTITIONS: u64 = 100_000;
    let ctx = Context::local(options.workers).expect("a context starts");
    let rows = ctx.range_into(0..PARTITIONS, PARTITIONS as usize);
    let time = |name: &str, run: &dyn Fn()| {
        let times = (0..options.rounds).map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64()
        });
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        let seconds = times[times.len() / 2];
        println!(
            "{name} over {PARTITIONS} partitions: {seconds:.3} s, {:.1} µs a task",
            seconds * 1e6 / PARTITIONS as f64
        );
    };
    time("count", &|| assert_eq!(rows.count().expect("count runs"), PARTITIONS));
    time("reduce_by_key into 100", &|| {
        let sums = rows.map(|n| (n % 1000, n)).reduce_by_key_into(|a, b| a + b, 100);
        assert_eq!(sums.count().expect("reduce_by_key runs"), 1000);
    });
}

/// From nothing to a first result.
fn start(options: &Options) {
    let times = (0..options.rounds.max(20)).map(|_| {
        let began = Instant::now();
        let ctx = Context::local(options.workers).expect("a context starts");
        assert_eq!(ctx.range(0..10_u64).count().expect("count runs"), 10);
        began.elapsed().as_secs_f64()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    println!("start to first result: {:.2} ms", times[times.len() / 2] * 1e3);
}

/// A run of ours that is measured against others of ours.
type Run<'a> = (&'a str, Box<dyn Fn() + 'a>);

/// Median seconds of each run; they take turns, twice each, of which the second time counts.
fn medians(options: &Options, runs: &[Run<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::new(); runs.len()];
    for _ in 0..options.rounds {
        for ((_, run), times) in runs.iter().zip(&mut times) {
            run();
            let began = Instant::now();
            run();
            times.push(began.elapsed().as_secs_f64());
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}

/// What keys cost that are not spread evenly: time over that of the first run.
fn skew(options: &Options) {
    let ctx = Context::local(options.workers).expect("a context starts");
    let scaled = |rows: f64| (rows * options.scale) as usize;
    let even = data::pairs(scaled(20e6), scaled(4e6) as u64);
    let half = (0_u64..).zip(&even).map(|(at, row)| if at % 2 == 0 { (7, row.1) } else { *row }).collect::<Vec<_>>();
    let [even, half] = [even, half].map(|rows| ctx.parallelize(rows));
    let sum = |rows: &Rdd<(u64, u64)>| {
        black_box(engine::w3(rows).expect("W3 runs"));
    };
    let runs: [Run<'_>; 2] =
        [("even keys", Box::new(|| sum(&even))), ("one key holds half of the rows", Box::new(|| sum(&half)))];
    print_against_first("reduce_by_key", &runs, &medians(options, &runs));
    let random = data::numbers(scaled(10e6));
    let rows = random.len() as u64;
    let inputs = [random, (0..rows).collect(), (0..rows).rev().collect(), vec![7; rows as usize]];
    let [random, up, down, equal] = inputs.map(|rows| ctx.parallelize(rows));
    let sort = |rows: &Rdd<u64>| {
        black_box(engine::w4(rows).expect("W4 runs"));
    };
    let runs: [Run<'_>; 4] = [
        ("random", Box::new(|| sort(&random))),
        ("sorted", Box::new(|| sort(&up))),
        ("reversed", Box::new(|| sort(&down))),
        ("all equal", Box::new(|| sort(&equal))),
    ];
    print_against_first("sort_by", &runs, &medians(options, &runs));
}

/// What a second worker brings, and what ten times the rows cost.
fn scaling(options: &Options) {
    let [one, two] = [1, 2].map(|workers| Context::local(workers).expect("a context starts"));
    for workload in ["W2", "W3b", "W4"] {
        let runs: [Run<'_>; 3] = [
            ("2 workers", ours(workload, options.scale, &two)),
            ("1 worker", ours(workload, options.scale, &one)),
            ("2 workers, a tenth of the rows", ours(workload, options.scale / 10.0, &two)),
        ];
        let seconds = medians(options, &runs);
        print_against_first(workload, &runs, &seconds);
        println!("{workload}, ten times the rows: {:.1} times the time", seconds[0] / seconds[2]);
    }
}

/// What it costs to be looked at: W3b with the page and the event log, over W3b without them. The page is open all the
/// time, as in a browser: somebody takes its news.
#[cfg(feature = "ui")]
fn watched(options: &Options) {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpStream,
    };

    const PARTITIONS: usize = 32;
    let scaled = |rows: f64| (rows * options.scale) as u64;
    let (rows, keys) = (scaled(50e6), scaled(10e6).max(1));
    let logs = tempfile::tempdir().expect("there is a directory for temporary files");
    let builder = || Context::builder().workers(options.workers);
    let unseen = builder().build().expect("a context starts");
    let seen = builder().ui(0).event_log(logs.path()).build().expect("a context starts");
    let url = seen.ui_url().expect("the context has a page");
    let address = url.trim_start_matches("http://").split('/').next().expect("the page has an address").to_owned();
    let mut browser = TcpStream::connect(&address).expect("the page can be reached");
    write!(browser, "GET /news HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("the page can be asked");
    let news = thread::spawn(move || {
        BufReader::new(browser).lines().map_while(Result::ok).filter(|line| line.starts_with("data: ")).count()
    });
    // The rows are made anew each time: where data lies in memory makes a greater difference than what is measured.
    let inputs = [&unseen, &seen].map(|ctx| {
        let mixed = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        ctx.range_into(0..rows, PARTITIONS).map(move |n| (mixed(n) % keys, n))
    });
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..2 * options.rounds + 1 {
        // Each goes first as often as the other, and the first round only warms up.
        for at in [round % 2, (round + 1) % 2] {
            let began = Instant::now();
            black_box(engine::w3(&inputs[at]).expect("W3 runs"));
            if round > 0 {
                times[at].push(began.elapsed().as_secs_f64());
            }
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = median(times[1].iter().zip(&times[0]).map(|(seen, unseen)| seen / unseen).collect());
    let rounds = times[0].len();
    let [unseen_s, seen_s] = times.map(median);
    drop((inputs, seen, unseen));
    let news = news.join().expect("the reader of news does not panic");
    println!(
        "W3b, watched: {seen_s:.4} s with page and event log, {unseen_s:.4} s without; {ratio:.3} of it in the median \
         of {rounds} rounds; {news} news were taken"
    );
}

#[cfg(not(feature = "ui"))]
fn watched(_: &Options) {
    println!("W3b, watched: not measured; give --features ui");
}

/// A workload of this scale over two workers' partitions, as a run without an answer.
fn ours<'a>(workload: &str, scale: f64, ctx: &'a Context) -> Box<dyn Fn() + 'a> {
    const PARTITIONS: usize = 32;
    let scaled = |rows: f64| (rows * scale) as usize;
    match workload {
        "W2" => {
            let text = text_file(scaled(400e6) as u64);
            Box::new(move || {
                black_box(engine::w2(ctx, &text).expect("W2 runs"));
            })
        }
        "W3b" => {
            let pairs = data::pairs(scaled(50e6), scaled(10e6) as u64);
            let rows = ctx.parallelize_into(pairs, PARTITIONS);
            Box::new(move || {
                black_box(engine::w3(&rows).expect("W3 runs"));
            })
        }
        _ => {
            let rows = ctx.parallelize_into(data::numbers(scaled(30e6)), PARTITIONS);
            Box::new(move || {
                black_box(engine::w4(&rows).expect("W4 runs"));
            })
        }
    }
}

fn print_against_first(what: &str, runs: &[Run<'_>], seconds: &[f64]) {
    for ((name, _), time) in runs.iter().zip(seconds) {
        println!("{what}, {name}: {time:.3} s, {:.2} of the first", time / seconds[0]);
    }
}
