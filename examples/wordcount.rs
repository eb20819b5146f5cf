//! Which words are most frequent?
//!
//! ```text
//! cargo run --release --example wordcount [PATH…]
//! ```
//!
//! Without a path it reads something large and real that every machine has that has just built this example: the Rust
//! sources in Cargo's own registry. A path may be a file, a directory, or a glob; `*.gz` files are decompressed.

use std::{
    cmp::Reverse,
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use emberflow::{prelude::*, system};

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    match run(paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut paths: Vec<PathBuf>) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    if paths.is_empty() {
        paths = registry_sources()?;
    }
    let ctx = Context::builder().app_name("wordcount").build()?;

    // Not all that ends in `.rs` is UTF-8: some crates test just that.
    let lines = ctx.text_files(&paths, &TextOptions::new().lossy(true))?;
    // As `lines.flat_map(…).map(|word| (word, 1)).reduce_by_key(…)`, but a word becomes a `String` only once it is new.
    let counts: Rdd<(String, u64)> =
        lines.flat_map_reduce_by_key(|line, pairs| words(line).for_each(|word| pairs.push(word, 1)), |a, b| a + b);
    let counts = counts.cache();
    let best = counts.top_by(20, |(word, count)| (*count, Reverse(word.clone())))?;
    let seconds = began.elapsed().as_secs_f64();

    let (total, distinct) = (counts.values().fold(0, |a, b| a + b)?, counts.count()?);
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["word", "count"]);
    table.add_rows(best.iter().map(|(word, count)| [word.clone(), count.to_string()]));
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");

    // The check of the result: every word was counted once, whatever the way through the shuffle.
    let again = lines.map_ref(|line| words(line).count() as u64).fold(0, |a, b| a + b)?;
    assert_eq!(total, again, "the counts do not add up to the words");
    let (files, bytes) = sizes(&paths)?;
    let peak = system::peak_resident_bytes().map_or_else(|| "unknown".to_owned(), |peak| ByteSize(peak).to_string());
    println!(
        "{files} files, {}, {total} words ({distinct} distinct), {} partitions, {seconds:.2} s, {:.1} M rows/s, \
         {}/s, peak memory {peak}",
        ByteSize(bytes),
        lines.partitions(),
        total as f64 / seconds / 1e6,
        ByteSize((bytes as f64 / seconds) as u64),
    );
    Ok(())
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The Rust sources that Cargo has unpacked to build this example.
fn registry_sources() -> io::Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let sources = home.join("registry").join("src");
    let mut files = Vec::new();
    find(&sources, &mut files)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}; give a path", sources.display())))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    Ok(files)
}

fn find(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { find(&entry.path(), files)? } else { files.push(entry.path()) }
    }
    Ok(())
}

/// Number and bytes of the files that the paths name; a glob's are counted by none but emberflow itself.
fn sizes(paths: &[PathBuf]) -> io::Result<(usize, u64)> {
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| path.exists()) {
        if path.is_dir() { find(path, &mut files)? } else { files.push(path.clone()) }
    }
    let bytes = files.iter().map(|path| fs::metadata(path).map(|metadata| metadata.len()));
    Ok((files.len(), bytes.sum::<io::Result<u64>>()?))
}
