//! Logistic regression over a cache of which less and less is in memory: the "insufficient memory" figure of the RDD
//! paper (Zaharia et al., NSDI 2012, figure 12), with the time that recomputing would take instead.

use std::{
    fs,
    hint::black_box,
    io::{Read, Seek, Write},
    time::Instant,
};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use emberflow::prelude::*;

use crate::{Outcome, PARTITIONS, median, mix};

const DIMENSIONS: usize = 8;
const ITERATIONS: usize = 7;

type Point = ([f64; DIMENSIONS], f64);

/// A point from a line of text, as a program would parse it.
fn parse(line: &str) -> Point {
    let mut numbers = line.split(' ').map(|word| word.parse().unwrap_or(f64::NAN));
    let mut next = || numbers.next().unwrap_or(f64::NAN);
    let of = std::array::from_fn(|_| next());
    (of, next())
}

fn iterate(points: &Rdd<Point>, weights: [f64; DIMENSIONS]) -> Result<[f64; DIMENSIONS]> {
    points.aggregate_ref(
        [0.0; DIMENSIONS],
        move |mut gradient, (at, label)| {
            let margin: f64 = at.iter().zip(&weights).map(|(x, w)| x * w).sum();
            let scale = (1.0 / (1.0 + (-label * margin).exp()) - 1.0) * label;
            gradient.iter_mut().zip(at).for_each(|(sum, x)| *sum += scale * x);
            gradient
        },
        |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        },
    )
}

pub(crate) fn print(rows: u64) -> Outcome<()> {
    let (rows, bytes) = (rows / 8, rows / 8 * size_of::<Point>() as u64);
    let dir = tempfile::tempdir()?;
    let text = dir.path().join("points");
    let lines = |ctx: &Context| {
        ctx.range_into(0..rows, PARTITIONS).map(|n| {
            let numbers = (0..DIMENSIONS as u64).map(|d| format!("{:.6} ", mix(n * 8 + d) as f64 / u64::MAX as f64));
            numbers.collect::<String>() + if n % 2 == 0 { "1" } else { "-1" }
        })
    };
    lines(&Context::new()?).save_as_text_file(&text)?;
    let points = |ctx: &Context| -> Result<Rdd<Point>> { Ok(ctx.text_file(&text)?.map(|line| parse(&line))) };
    // All iterations but the first, which fills the cache.
    let iterations = |points: &Rdd<Point>| -> Outcome<(f64, [f64; DIMENSIONS])> {
        let (mut weights, mut times) = ([0.5; DIMENSIONS], Vec::new());
        for _ in 0..ITERATIONS {
            let began = Instant::now();
            let gradient = iterate(points, weights)?;
            times.push(began.elapsed().as_secs_f64());
            weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= g / rows as f64);
        }
        Ok((median(times.split_off(1)), weights))
    };
    let (disk, cold) = disk_seconds(bytes)?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "of the cache in memory",
        "seconds an iteration",
        "of all in memory",
        "of the disk",
        "of recomputing",
    ]);
    let recomputed = iterations(&points(&Context::new()?)?)?;
    let mut first = None;
    for percent in [100, 75, 50, 25, 0] {
        // What is kept may take three quarters of a budget.
        let budget = if percent == 100 { 4 * bytes } else { (bytes * percent / 100 * 4 / 3).max(1 << 20) };
        let ctx = Context::builder().memory_budget(budget).build()?;
        let points = points(&ctx)?;
        let (seconds, weights) = iterations(&points.cache())?;
        if weights != recomputed.1 {
            return Err("the budget changed the weights".into());
        }
        let first = *first.get_or_insert(seconds);
        table.add_row([
            format!("{} %", ctx.memory().persisted * 100 / bytes),
            format!("{seconds:.4}"),
            format!("{:.1}", seconds / first),
            format!("{:.2}", seconds / disk),
            format!("{:.2}", seconds / recomputed.0),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!(
        "Logistic regression over {rows} points of {}, {}:\n\n{table}\n",
        ByteSize(size_of::<Point>() as u64),
        ByteSize(bytes)
    );
    let how = match cold {
        true => "It had to read them; what was spilled was in the system's cache.",
        false => "They were in the system's cache, as what was spilled.",
    };
    println!("The disk: {disk:.4} s for as many bytes, read one after the other. {how}");
    println!("Recomputed from text each time: {:.4} s an iteration. The weights are the same bits.", recomputed.0);
    Ok(())
}

/// What it takes to read so many bytes of a file one after the other, and whether the disk had to read them: only an
/// administrator can have the system forget what it has cached.
fn disk_seconds(bytes: u64) -> Outcome<(f64, bool)> {
    let mut file = tempfile::tempfile()?;
    let mut buffer = vec![7; 1 << 20];
    for _ in 0..bytes.div_ceil(buffer.len() as u64) {
        file.write_all(&buffer)?;
    }
    file.sync_all()?;
    let (mut times, mut cold) = (Vec::new(), true);
    for _ in 0..ITERATIONS {
        cold &= fs::write("/proc/sys/vm/drop_caches", "1").is_ok();
        let began = Instant::now();
        file.rewind()?;
        while file.read(&mut buffer)? > 0 {
            black_box(&buffer);
        }
        times.push(began.elapsed().as_secs_f64());
    }
    Ok((median(times), cold))
}
