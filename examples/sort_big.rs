//! A global sort of many rows, beside the sorts of the standard library and of Rayon.
//!
//! ```text
//! cargo run --release --example sort_big [ROWS] [DIRECTORY]
//! ```
//!
//! The rows come from a generator and are kept by nobody: each sorted partition is looked at and let go. All three sorts
//! make their rows anew and look at each sorted row, so that both are part of every time. With a directory, which must
//! not be there yet, the sorted keys are saved in it as text and read back.

#[path = "support/table.rs"]
mod table;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use emberflow::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A key, and the number of the row as its payload.
type Row = (u64, u64);

/// Keys are below this: few enough that some are equal, whose rows must stay in their order.
const KEYS: u64 = 1 << 24;
const PARTITIONS: usize = 16;
/// Each sort runs so often, in turns; its best time counts.
const ROUNDS: usize = 2;
/// How many rows Rayon looks at in one piece, once they are sorted.
const SUMMED: usize = 1 << 16;

fn main() -> ExitCode {
    let (rows, directory) = match arguments(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("sort_big: {error}; usage: sort_big [ROWS] [DIRECTORY]");
            return ExitCode::from(2);
        }
    };
    match run(rows, directory.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sort_big: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(u64, Option<PathBuf>), Failure> {
    let rows = match given.next() {
        None => 5_000_000,
        Some(argument) => {
            let number = argument.to_str().and_then(|text| text.parse().ok()).filter(|rows| *rows > 0);
            number.ok_or_else(|| format!("{} is not a number of rows, at least 1", argument.to_string_lossy()))?
        }
    };
    let directory = given.next().map(PathBuf::from);
    match (given.next(), &directory) {
        (Some(more), _) => Err(format!("{} is one argument too many", more.to_string_lossy()).into()),
        (None, Some(directory)) if directory.exists() => Err(format!("{} exists already", directory.display()).into()),
        (None, _) => Ok((rows, directory)),
    }
}

/// The row with this number, and the same one whoever asks.
fn row(number: u64) -> Row {
    (mixed(number) % KEYS, number)
}

/// A number that looks random, another one for each number (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// What one pass over sorted rows tells of them. Two that are equal are as good as equal rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Summary {
    count: u64,
    first: Option<Row>,
    last: Option<Row>,
    /// Neighbours in the wrong order: of falling keys, or of equal keys and falling payloads.
    disorder: u64,
    /// The same in whatever order the rows come.
    content: u64,
    /// Another one if two rows change places.
    sequence: u64,
}

impl Summary {
    fn with(mut self, row: Row) -> Self {
        self.disorder += u64::from(self.last.is_some_and(|last| last > row));
        self.first = self.first.or(Some(row));
        self.last = Some(row);
        let mark = mixed(row.0 ^ row.1.rotate_left(32));
        self.content = self.content.wrapping_add(mark);
        self.sequence = self.sequence.wrapping_add(mark.wrapping_mul(2 * self.count + 1));
        self.count += 1;
        self
    }

    /// Of the rows of `self` and then those of `next`.
    fn then(self, next: Self) -> Self {
        let falls = matches!((self.last, next.first), (Some(last), Some(first)) if last > first);
        // Every row of `next` stands so many places farther back.
        let shift = next.content.wrapping_mul(2 * self.count);
        Self {
            count: self.count + next.count,
            first: self.first.or(next.first),
            last: next.last.or(self.last),
            disorder: self.disorder + next.disorder + u64::from(falls),
            content: self.content.wrapping_add(next.content),
            sequence: self.sequence.wrapping_add(next.sequence).wrapping_add(shift),
        }
    }

    fn of(rows: &[Row]) -> Self {
        rows.iter().fold(Self::default(), |summary, row| summary.with(*row))
    }
}

fn run(number: u64, directory: Option<&Path>) -> Result<(), Failure> {
    let ctx = Context::builder().app_name("sort_big").build()?;
    // Made anew for each round: what one sort has moved is kept for the next action on it, which would skip half the work.
    let sorted = || ctx.range_into(0..number, PARTITIONS).map(row).sort_by_key_into(PARTITIONS);

    let (mut parts, mut by_slice, mut by_rayon) = (Vec::new(), Summary::default(), Summary::default());
    let mut best = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let rows = sorted();
        let summaries = rows.run_job(0..rows.partitions(), |_, rows| rows.fold(Summary::default(), Summary::with))?;
        parts = summaries.into_iter().map(|(_, summary)| summary).collect::<Vec<_>>();
        best[0] = best[0].min(began.elapsed().as_secs_f64());

        let began = Instant::now();
        let mut rows: Vec<Row> = (0..number).map(row).collect();
        rows.sort_by_key(|row| row.0);
        by_slice = Summary::of(&rows);
        best[1] = best[1].min(began.elapsed().as_secs_f64());
        drop(rows);

        let began = Instant::now();
        let mut rows: Vec<Row> = (0..number).into_par_iter().map(row).collect();
        rows.par_sort_by_key(|row| row.0);
        by_rayon = rows.par_chunks(SUMMED).map(Summary::of).reduce(Summary::default, Summary::then);
        best[2] = best[2].min(began.elapsed().as_secs_f64());
    }

    let cells = parts.iter().enumerate().map(|(partition, part)| {
        let key = |row: Option<Row>| row.map_or_else(String::new, |(key, _)| key.to_string());
        vec![partition.to_string(), part.count.to_string(), key(part.first), key(part.last)]
    });
    let headers = ["partition", "rows", "first key", "last key"];
    println!("{}", table::aligned(&headers, &cells.collect::<Vec<_>>(), &[true; 4]));
    let largest = parts.iter().map(|part| part.count).max().unwrap_or(0);
    println!("balance: the largest has {:.3} times the mean\n", largest as f64 * parts.len() as f64 / number as f64);

    let names = ["emberflow sort_by_key", "slice::sort_by_key", "rayon par_sort_by_key"];
    let cells = names.iter().zip(best).map(|(name, seconds)| {
        let rate = format!("{:.1}", number as f64 / seconds / 1e6);
        vec![(*name).to_owned(), format!("{seconds:.3}"), rate, format!("{:.2}", best[0] / seconds)]
    });
    let headers = ["sort", "s", "million rows/s", "emberflow takes … times as long"];
    println!("{}", table::aligned(&headers, &cells.collect::<Vec<_>>(), &[false, true, true, true]));
    println!("{number} rows, {} workers, best of {ROUNDS} rounds\n", ctx.workers());

    check(number, parts.into_iter().fold(Summary::default(), Summary::then), &by_slice, &by_rayon)?;
    println!("checked: in order, equal keys too; as many as were made, with their checksum; the same as both others");
    if let Some(directory) = directory {
        sorted().keys().map(|key| key.to_string()).save_as_text_file(directory)?;
        let files = read_back(number, directory)?;
        println!("saved in {} and read back: {files} files, all keys, in order", directory.display());
    }
    Ok(())
}

fn check(number: u64, ours: Summary, by_slice: &Summary, by_rayon: &Summary) -> Result<(), Failure> {
    if ours.disorder > 0 {
        return Err(format!("{} rows stand before a smaller one", ours.disorder).into());
    }
    if ours.count != number {
        return Err(format!("{} rows came out of {number}", ours.count).into());
    }
    // From the generator, without any sort.
    let made = (0..number).map(row).fold(Summary::default(), Summary::with).content;
    if ours.content != made {
        return Err(format!("the rows' checksum is {:x}; it was {made:x} before they were sorted", ours.content).into());
    }
    for (name, theirs) in [("slice::sort_by_key", by_slice), ("Rayon", by_rayon)] {
        if ours != *theirs {
            return Err(format!("the sorted rows are not those of {name}: {ours:?}, not {theirs:?}").into());
        }
    }
    Ok(())
}

/// Compares the files, in the order of their names, with keys sorted by hand.
fn read_back(number: u64, directory: &Path) -> Result<usize, Failure> {
    let mut expected: Vec<u64> = (0..number).map(|number| row(number).0).collect();
    expected.sort_unstable();
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Failure>>()?;
    let mut paths: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")))
        .collect();
    paths.sort();

    let mut keys = expected.into_iter();
    for path in &paths {
        for (line, text) in BufReader::new(File::open(path)?).lines().enumerate() {
            let (found, expected) = (text?.parse::<u64>()?, keys.next());
            if Some(found) != expected {
                let place = format!("{}, line {}", path.display(), line + 1);
                return Err(format!("{place}: the key is {found}, where {expected:?} is next").into());
            }
        }
    }
    match keys.len() {
        0 => Ok(paths.len()),
        missing => Err(format!("{missing} keys are missing at the end of {}", directory.display()).into()),
    }
}
