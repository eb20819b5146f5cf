//! Writing to disk and reading back, against a loop of one's own.

use std::{
    fs::File,
    hint::black_box,
    io::{BufWriter, Write},
    time::Instant,
};

use bytesize::ByteSize;
use emberflow::{ExchangeData, StorageLevel, prelude::*};
use memmap2::Mmap;

use crate::{Outcome, PARTITIONS, median, mix};

const ROUNDS: usize = 9;

pub(crate) fn compare(rows: u64) -> Outcome<()> {
    println!("A partition at a time on one worker, written and read back, {ROUNDS} rounds, of which the medians:\n");
    of_rows("(u64, u64)", rows, |n| (mix(n), n))?;
    of_rows("(String, Vec<f64>)", rows / 8, |n| (format!("row {n}"), vec![n as f64; 8]))?;
    Ok(())
}

fn of_rows<T: ExchangeData>(
    name: &str,
    rows: u64,
    make: impl Fn(u64) -> T + Copy + Send + Sync + 'static,
) -> Outcome<()> {
    let ctx = Context::builder().workers(1).force_spill(true).build()?;
    let made = ctx.range_into(0..rows, PARTITIONS).map(make).persist(StorageLevel::MemoryOnly);
    made.count()?;
    let parts: Vec<Vec<T>> = made.glom().collect()?;
    let (mut write, mut read, mut checked) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let spilled = made.map(|row| row).persist(StorageLevel::DiskOnly);
        spilled.count()?;
        // `count` reads back once.
        let both = began.elapsed().as_secs_f64();
        let began = Instant::now();
        spilled.count()?;
        read[0].push(began.elapsed().as_secs_f64());
        write[0].push(both - read[0][read[0].len() - 1]);
        bytes = ctx.memory().spilled;
        spilled.unpersist_and_wait()?;

        let config = bincode::config::standard().with_fixed_int_encoding();
        let began = Instant::now();
        let mut files = Vec::new();
        for part in &parts {
            let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
            // As ours does, rows are cloned once into a partition of their own.
            for row in part.clone() {
                bincode::serde::encode_into_std_write(&row, &mut file, config)?;
            }
            file.flush()?;
            files.push((file.into_inner().map_err(|error| error.into_error())?, part.len()));
        }
        write[1].push(began.elapsed().as_secs_f64());
        for (checks, times) in [(false, &mut read[1]), (true, &mut checked)] {
            let began = Instant::now();
            let mut count = 0;
            for (file, rows) in &files {
                count += black_box(decoded::<T>(file, *rows, checks)?).len() as u64;
            }
            times.push(began.elapsed().as_secs_f64());
            assert_eq!(count, rows);
        }
    }
    let [ours, loop_] = write.map(median);
    println!("{name}, {}: write {ours:.3} s, a loop {loop_:.3} s, {:.2} times", ByteSize(bytes), ours / loop_);
    let ([ours, loop_], checked) = (read.map(median), median(checked));
    println!("{name}, {}: read  {ours:.3} s, a loop {loop_:.3} s, {:.2} times", ByteSize(bytes), ours / loop_);
    println!("{name}: a loop with a checksum, as ours has: {checked:.3} s, {:.2} times\n", ours / checked);
    Ok(())
}

#[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
fn decoded<T: ExchangeData>(file: &File, rows: usize, checks: bool) -> Outcome<Vec<T>> {
    // SAFETY: the file has no name and is not written any more.
    let map = unsafe { Mmap::map(file)? };
    if checks {
        black_box(crc32fast::hash(&map));
    }
    let config = bincode::config::standard().with_fixed_int_encoding();
    let (mut bytes, mut read) = (&map[..], Vec::with_capacity(rows));
    for _ in 0..rows {
        let (row, used) = bincode::serde::decode_from_slice(bytes, config)?;
        read.push(row);
        bytes = &bytes[used..];
    }
    Ok(read)
}
