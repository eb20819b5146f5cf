//! How fast is emberflow next to other engines, on the same data, with the same answers?
//!
//! ```text
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- [W1] [W2] [W3a] [W3b] [W4] [W5] [W6] [W7]
//!     [--only NAME] .. [--rounds N] [--scale F]
//! ```
//!
//! Programs take turns, twice each, of which the second time counts; every answer is checked; times are medians. Making
//! and loading the data is not timed, but for W2, whose time includes reading. Programs in other languages live in
//! processes of their own, which load the data once and then run whenever they are told to.

#[allow(unused_imports, reason = "only the data and the answers are wanted")]
#[path = "../../baselines/mod.rs"]
mod baselines;
#[allow(dead_code, reason = "W3 and W5 have another answer here")]
#[path = "../../workloads/engine.rs"]
mod engine;
mod ours;
mod renoir;
mod script;
mod timely;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Instant,
};

use baselines::data;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

const WORKLOADS: [&str; 8] = ["W1", "W2", "W3a", "W3b", "W4", "W5", "W6", "W7"];
const PROGRAMS: [&str; 6] = ["emberflow", "renoir", "timely", "polars", "duckdb", "spark"];

/// One program with its data, ready to run: gives the seconds that it took and its answer.
type Run = Box<dyn FnMut() -> Result<(f64, String), String>>;

type Pairs = Arc<Vec<(u64, u64)>>;

/// What a workload reads.
enum Data {
    Range(u64),
    Text(PathBuf),
    Pairs(Pairs),
    Numbers(Arc<Vec<u64>>),
    Tables([Pairs; 2]),
    Pages(u64),
    Points(u64),
}

/// What is left of a table of keys and numbers: how many rows, and the wrapping sum of what their numbers give when
/// they are combined by exclusive or. Every program can say this in its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Check {
    rows: u64,
    sum: u64,
}

impl Check {
    #[inline]
    fn add(self, mixed: u64) -> Check {
        Check { rows: self.rows + 1, sum: self.sum.wrapping_add(mixed) }
    }

    fn merge(self, other: Check) -> Check {
        Check { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }

    fn answer(self) -> String {
        format!("{} {}", self.rows, self.sum)
    }
}

/// The most frequent words, as all programs print them.
fn words(counts: &[(String, u64)]) -> String {
    counts.iter().map(|(word, count)| format!("{word}:{count}")).collect::<Vec<_>>().join(" ")
}

/// The ten most frequent of all words.
fn best(counts: impl IntoIterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(left, more), (right, most)| most.cmp(more).then_with(|| left.cmp(right)));
    counts.truncate(10);
    counts
}

/// `run`, timed.
fn timed(mut run: impl FnMut() -> String + 'static) -> Run {
    Box::new(move || {
        let began = Instant::now();
        let answer = run();
        Ok((began.elapsed().as_secs_f64(), answer))
    })
}

struct Options {
    workloads: Vec<String>,
    programs: Vec<String>,
    rounds: usize,
    scale: f64,
}

fn main() -> ExitCode {
    let options = match parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("compare: {error}");
            return ExitCode::from(2);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let chosen = |names: &[String], name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    let programs: Vec<&str> = PROGRAMS.into_iter().filter(|name| chosen(&options.programs, name)).collect();
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([&[""], &programs[..]].concat());
    let mut failed = false;
    for workload in WORKLOADS.into_iter().filter(|name| chosen(&options.workloads, name)) {
        match compare(&options, workload, &programs, threads) {
            Ok(row) => drop(table.add_row(row)),
            Err(error) => {
                eprintln!("{workload}: {error}");
                failed = true;
            }
        }
    }
    println!("Seconds, and how many times as long as emberflow; {threads} threads, scale {}.\n{table}", options.scale);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { workloads: Vec::new(), programs: Vec::new(), rounds: 5, scale: 1.0 };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<f64>().map_err(|error| format!("{text}: {error}"));
        match argument.as_str() {
            "--rounds" => options.rounds = (number(value()?)? as usize).max(1),
            "--scale" => options.scale = number(value()?)?,
            "--only" => match value()? {
                name if PROGRAMS.contains(&name.as_str()) => options.programs.push(name),
                name => return Err(format!("{name}? --only takes one of {PROGRAMS:?}")),
            },
            name if WORKLOADS.contains(&name) => options.workloads.push(name.to_owned()),
            other => return Err(format!("{other}? give one of {WORKLOADS:?}, --only, --rounds or --scale")),
        }
    }
    Ok(options)
}

/// One row of the table.
fn compare(options: &Options, workload: &str, names: &[&str], threads: usize) -> Result<Vec<String>, String> {
    eprintln!("{workload}: making the data");
    let data = make(workload, options.scale);
    let mut programs: Vec<(usize, Run, Vec<f64>)> = Vec::new();
    let mut row = vec![String::new(); names.len() + 1];
    row[0] = workload.to_owned();
    for (at, name) in names.iter().enumerate() {
        let run = match *name {
            "emberflow" => ours::prepare(workload, &data, threads).map(Some),
            "renoir" => Ok(renoir::prepare(workload, &data, threads)),
            "timely" => Ok(timely::prepare(workload, &data, threads)),
            script => script::prepare(script, workload, &data, threads),
        };
        match run {
            Ok(Some(run)) => programs.push((at, run, Vec::new())),
            Ok(None) => row[at + 1] = "–".to_owned(),
            Err(why) => {
                println!("{workload}: {name} is skipped: {why}");
                row[at + 1] = "skipped".to_owned();
            }
        }
    }
    let mut expected: Option<String> = None;
    for _ in 0..options.rounds {
        for (at, run, times) in &mut programs {
            // The second of two runs counts: the first one warms caches, compilers and memory.
            let (cold, _) = run()?;
            let (seconds, got) = run()?;
            let expected = expected.get_or_insert_with(|| got.clone());
            if got != *expected {
                return Err(format!("{} disagrees: {got}\nand not {expected}", names[*at]));
            }
            times.push(seconds);
            eprintln!("{workload}: {} {seconds:.3} s, the time before {cold:.3} s", names[*at]);
        }
    }
    let medians = programs.iter_mut().map(|(at, _, times)| {
        times.sort_by(f64::total_cmp);
        (*at, times[times.len() / 2])
    });
    let medians: Vec<(usize, f64)> = medians.collect();
    let ours = medians.iter().find(|(at, _)| names[*at] == "emberflow").map(|(_, seconds)| *seconds);
    for (at, seconds) in medians {
        row[at + 1] = match ours {
            Some(ours) if names[at] != "emberflow" => format!("{seconds:.3} ({:.1} ×)", seconds / ours),
            _ => format!("{seconds:.3}"),
        };
    }
    Ok(row)
}

fn make(workload: &str, scale: f64) -> Data {
    let scaled = |rows: f64| (rows * scale) as u64;
    match workload {
        "W1" => Data::Range(scaled(200e6)),
        "W2" => {
            let bytes = scaled(400e6);
            let path = folder().join(format!("zipf-{bytes}.txt"));
            once(&path, |path| data::zipf_text(path, bytes));
            Data::Text(path)
        }
        "W3a" => Data::Pairs(Arc::new(data::pairs(scaled(50e6) as usize, 1000))),
        "W3b" => Data::Pairs(Arc::new(data::pairs(scaled(50e6) as usize, scaled(10e6)))),
        "W4" => Data::Numbers(Arc::new(data::numbers(scaled(30e6) as usize))),
        "W5" => Data::Tables(data::permutations(scaled(10e6) as usize).map(Arc::new)),
        "W6" => Data::Pages(scaled(1e6).max(10)),
        _ => Data::Points(scaled(2e6).max(10)),
    }
}

/// The target folder, beside whose products the data and the other languages' packages lie.
fn target() -> PathBuf {
    let executable = env::current_exe().expect("this program has a path");
    executable.ancestors().nth(2).expect("a profile's folder in the target folder").to_owned()
}

/// Where files of data are kept.
fn folder() -> PathBuf {
    let folder = target().join("compare-data");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Writes a file, unless an earlier run has.
fn once(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) {
    if !path.exists() {
        let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
        write(&unfinished).expect("the data can be written");
        fs::rename(&unfinished, path).expect("the data can be named");
    }
}
