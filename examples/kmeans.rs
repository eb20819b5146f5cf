//! k-means by Lloyd's method: where are the centres of a cloud of points?
//!
//! ```text
//! cargo run --release --example kmeans [POINTS] [--plot PATH]
//! ```
//!
//! The points are made around ten known centres and cached once; each iteration looks at them in place and brings home
//! only a sum and a count for each cluster. The result is checked against a plain loop over arrays, and plotted.

#[path = "support/plot.rs"]
mod plot;

use std::{
    array, env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use comfy_table::{CellAlignment, Table, presets};
use emberflow::prelude::*;
use plotters::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Point = [f64; 4];
type Centres = [Point; CLUSTERS];

/// What the points lie around, with a spread of one along each axis: near enough to each other to overlap.
const TRUE_CENTRES: Centres = [
    [0.0, 0.0, 0.0, 0.0],
    [4.0, 1.0, -1.0, 1.0],
    [-4.0, 2.0, 1.0, -1.0],
    [1.0, 5.0, 1.0, 1.0],
    [-1.0, -5.0, -1.0, 1.0],
    [5.0, 5.0, 0.0, -1.0],
    [-4.0, 6.0, -1.0, 1.0],
    [5.0, -5.0, 1.0, 0.0],
    [-5.0, -3.0, 1.0, -1.0],
    [2.0, -2.0, 2.0, 1.0],
];
const CLUSTERS: usize = 10;
const PARTITIONS: usize = 8;
const MOST_ITERATIONS: usize = 50;
/// It is over when no centre moves farther.
const STILL: f64 = 1e-3;
/// How many points the first centres are chosen from.
const FIRST: usize = 1_000;
/// How many points are drawn.
const DRAWN: usize = 2_000;

fn main() -> ExitCode {
    let (points, plot) = match arguments(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("kmeans: {error}; usage: kmeans [POINTS] [--plot PATH]");
            return ExitCode::from(2);
        }
    };
    match run(points, &plot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kmeans: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(u64, PathBuf), Failure> {
    let (mut points, mut plot) = (200_000, env::temp_dir().join("emberflow-kmeans.png"));
    while let Some(argument) = given.next() {
        if argument == "--plot" {
            plot = given.next().ok_or("--plot needs a path")?.into();
            continue;
        }
        let number = argument.to_str().and_then(|text| text.parse().ok());
        points = number
            .filter(|points| *points >= FIRST as u64)
            .ok_or_else(|| format!("{argument:?} is not a number of points, at least {FIRST}"))?;
    }
    Ok((points, plot))
}

/// The point of this number: the same one whoever asks.
fn point(number: u64) -> Point {
    let mut random = Pcg64Mcg::seed_from_u64(number);
    // The first five clusters have twice as many points as the others.
    let cluster = random.random_range(0..CLUSTERS + 5) % CLUSTERS;
    TRUE_CENTRES[cluster].map(|x| {
        let noise: f64 = StandardNormal.sample(&mut random);
        x + noise
    })
}

/// What one pass over the points finds out.
#[derive(Clone, Serialize, Deserialize)]
struct Pass {
    /// The squared distances of the points from their centres, added up.
    cost: f64,
    clusters: Vec<Cluster>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Cluster {
    points: u64,
    sum: Point,
}

impl Pass {
    fn over(points: &Rdd<Point>, centres: Centres) -> emberflow::Result<Self> {
        let none = Self { cost: 0.0, clusters: vec![Cluster::default(); CLUSTERS] };
        points.aggregate_ref(none, move |pass, point| pass.with(&centres, point), Self::merged)
    }

    fn with(mut self, centres: &Centres, point: &Point) -> Self {
        let (nearest, distance) = nearest(centres, point);
        self.cost += distance;
        self.clusters[nearest].points += 1;
        add(&mut self.clusters[nearest].sum, point);
        self
    }

    fn merged(mut self, other: Self) -> Self {
        self.cost += other.cost;
        for (ours, theirs) in self.clusters.iter_mut().zip(&other.clusters) {
            ours.points += theirs.points;
            add(&mut ours.sum, &theirs.sum);
        }
        self
    }

    /// The means of the clusters; a cluster without points stays where it was.
    fn means(&self, before: &Centres) -> Centres {
        array::from_fn(|cluster| match &self.clusters[cluster] {
            Cluster { points: 0, .. } => before[cluster],
            Cluster { points, sum } => sum.map(|x| x / *points as f64),
        })
    }
}

fn add(sum: &mut Point, point: &Point) {
    sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
}

fn squared(a: &Point, b: &Point) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The nearest centre, and the square of how far it is.
fn nearest(centres: &[Point], point: &Point) -> (usize, f64) {
    let distances = centres.iter().map(|centre| squared(centre, point)).enumerate();
    distances.fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
}

/// The first point, then always the one that is farthest from those that were chosen (Gonzalez 1985).
fn spread_out(points: &[Point]) -> Centres {
    let mut centres = [points[0]; CLUSTERS];
    for chosen in 1..CLUSTERS {
        let far = |point: &Point| nearest(&centres[..chosen], point).1;
        let farthest = points.iter().max_by(|a, b| far(a).total_cmp(&far(b)));
        centres[chosen] = *farthest.unwrap_or(&points[0]);
    }
    centres
}

fn run(count: u64, plot: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let ctx = Context::builder().app_name("kmeans").build()?;
    let points = ctx.range_into(0..count, PARTITIONS).map(point).cache();

    let first = spread_out(&points.take(FIRST)?);
    let (mut centres, mut costs) = (first, Vec::new());
    println!("iteration  cost a point  farthest move        ms");
    for iteration in 1..=MOST_ITERATIONS {
        let started = Instant::now();
        let pass = Pass::over(&points, centres)?;
        let after = pass.means(&centres);
        let moved = centres.iter().zip(&after).map(|(a, b)| squared(a, b).sqrt()).fold(0.0, f64::max);
        let (mean, milliseconds) = (pass.cost / count as f64, started.elapsed().as_secs_f64() * 1e3);
        println!("{iteration:>9}  {mean:>12.6}  {moved:>13.6}  {milliseconds:>8.1}");
        costs.push(mean);
        centres = after;
        if moved < STILL {
            break;
        }
    }
    let iterations = costs.len();
    let last = Pass::over(&points, centres)?;
    costs.push(last.cost / count as f64);
    let seconds = began.elapsed().as_secs_f64();

    println!("\n{}\n", beside_the_truth(&centres, &last));
    println!("{count} points, {iterations} iterations, {PARTITIONS} partitions: {seconds:.2} s");

    check(count, first, &centres, &costs)?;
    let drawn = points.take_sample(false, DRAWN, 1)?;
    draw(plot, &costs, &drawn, &centres).map_err(|error| format!("{}: {error}", plot.display()))?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// The centres that were found, each beside the nearest true one.
fn beside_the_truth(centres: &Centres, pass: &Pass) -> Table {
    let text = |point: &Point| point.map(|x| format!("{x:>6.2}")).join(" ");
    let mut rows: Vec<_> = centres
        .iter()
        .zip(&pass.clusters)
        .map(|(centre, cluster)| (nearest(&TRUE_CENTRES, centre), centre, cluster.points))
        .collect();
    rows.sort_by_key(|((truth, _), ..)| *truth);

    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["true centre", "found centre", "apart", "points"]);
    table.add_rows(rows.into_iter().map(|((truth, squared), centre, points)| {
        [text(&TRUE_CENTRES[truth]), text(centre), format!("{:.3}", squared.sqrt()), points.to_string()]
    }));
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// That the cost never rises, and that a plain loop comes to the same centres.
fn check(count: u64, first: Centres, found: &Centres, costs: &[f64]) -> Result<(), Failure> {
    // Only rounding may lift it.
    if let Some(rise) = costs.windows(2).find(|pair| pair[1] > pair[0] * (1.0 + 1e-12)) {
        return Err(format!("the cost rises from {} to {}", rise[0], rise[1]).into());
    }
    let expected = plain(count, first, costs.len() - 1);
    let apart = found.iter().zip(&expected).map(|(a, b)| (squared(a, b) / squared(b, &[0.0; 4])).sqrt());
    let worst = apart.fold(0.0, f64::max);
    if worst < 1e-9 {
        println!("checked: the cost never rises, and a plain loop finds the same centres, within {worst:.1e}");
        Ok(())
    } else {
        Err(format!("a centre is off by {worst:e} of what a plain loop finds").into())
    }
}

/// The same by hand: first whose each point is, then the mean of each cluster, axis by axis.
fn plain(count: u64, first: Centres, iterations: usize) -> Centres {
    let points: Vec<Point> = (0..count).map(point).collect();
    let mut centres = first;
    for _ in 0..iterations {
        let mut owners = Vec::with_capacity(points.len());
        for [x, y, z, w] in &points {
            let (mut owner, mut least) = (0, f64::MAX);
            for (cluster, [a, b, c, d]) in centres.iter().enumerate() {
                let distance = (a - x).powi(2) + (b - y).powi(2) + (c - z).powi(2) + (d - w).powi(2);
                if distance < least {
                    (owner, least) = (cluster, distance);
                }
            }
            owners.push(owner);
        }
        for (cluster, centre) in centres.iter_mut().enumerate() {
            let members = || points.iter().zip(&owners).filter(|(_, owner)| **owner == cluster).map(|(point, _)| point);
            let size = members().count() as f64;
            if size > 0.0 {
                *centre = array::from_fn(|axis| members().map(|point| point[axis]).sum::<f64>() / size);
            }
        }
    }
    centres
}

/// The cost by iteration beside some of the points in their first two dimensions.
fn draw(path: &Path, costs: &[f64], points: &[Point], centres: &Centres) -> Result<(), Failure> {
    let image = plot::picture(path, (1200, 560))?;
    let (left, right) = image.split_horizontally(560);

    let (highest, lowest) = (costs[0], costs[costs.len() - 1]);
    let margin = (highest - lowest) * 0.05;
    let mut chart = ChartBuilder::on(&left)
        .caption("cost by iteration", ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(0..costs.len(), lowest - margin..highest + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("iterations done")
        .y_desc("mean squared distance from the nearest centre")
        .draw()?;
    chart.draw_series(LineSeries::new(costs.iter().copied().enumerate(), BLUE.stroke_width(2)).point_size(3))?;

    let extent = |axis: usize| {
        let values = || points.iter().map(move |point| point[axis]);
        values().fold(f64::INFINITY, f64::min) - 0.5..values().fold(f64::NEG_INFINITY, f64::max) + 0.5
    };
    let mut chart = ChartBuilder::on(&right)
        .caption(format!("{} of the points by cluster, and the centres", points.len()), ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(50)
        .build_cartesian_2d(extent(0), extent(1))?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("first dimension").y_desc("second dimension").draw()?;
    chart.draw_series(points.iter().map(|point| {
        let colour = Palette99::pick(nearest(centres, point).0);
        Circle::new((point[0], point[1]), 2, colour.mix(0.7).filled())
    }))?;
    chart.draw_series(centres.iter().map(|centre| Cross::new((centre[0], centre[1]), 6, BLACK.stroke_width(3))))?;
    image.present()?;
    Ok(())
}
