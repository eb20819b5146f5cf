//! Logistic regression by gradient descent, the example that RDDs were introduced with (Zaharia et al., NSDI 2012,
//! section 3.2.1): what does it save to keep the points in memory?
//!
//! ```text
//! cargo run --release --example logistic_regression [POINTS] [--plot PATH]
//! ```
//!
//! The points are written as text, read, parsed, and gone through once an iteration: first without a cache, so that each
//! iteration reads and parses them again, then with one. The weights are checked against a plain loop over arrays, and
//! on points that were held out.

#[path = "support/plot.rs"]
mod plot;

use std::{
    array, env,
    ffi::OsString,
    iter,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use emberflow::prelude::*;
use plotters::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Vector = [f64; 10];

/// How the labels were drawn: yes with the probability `1 / (1 + exp(-weights · x))`.
const TRUE_WEIGHTS: Vector = [1.5, -2.0, 0.5, 1.0, -1.0, 0.0, 2.0, -0.5, 1.0, -1.5];
/// How far the numbers spread along each axis: unevenly, so that the first step does not lead straight to the goal.
const SPREAD: Vector = [0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.0, 1.8, 2.0, 2.2];
const PARTITIONS: usize = 8;
const ITERATIONS: usize = 25;
/// How far a step goes along the mean gradient.
const STEP: f64 = 1.5;
/// How far the accuracy on held-out points may be from that of the true weights.
const NEAR: f64 = 0.01;

fn main() -> ExitCode {
    let (points, plot) = match arguments(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("logistic_regression: {error}; usage: logistic_regression [POINTS] [--plot PATH]");
            return ExitCode::from(2);
        }
    };
    match run(points, &plot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logistic_regression: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(u64, PathBuf), Failure> {
    let (mut points, mut plot) = (100_000, env::temp_dir().join("emberflow-logistic-regression.png"));
    while let Some(argument) = given.next() {
        if argument == "--plot" {
            plot = given.next().ok_or("--plot needs a path")?.into();
            continue;
        }
        let number = argument.to_str().and_then(|text| text.parse().ok());
        points = number
            .filter(|points| *points >= 10_000)
            .ok_or_else(|| format!("{argument:?} is not a number of points, at least 10000"))?;
    }
    Ok((points, plot))
}

#[derive(Clone, Serialize, Deserialize)]
struct Point {
    x: Vector,
    /// 1 for yes, -1 for no.
    y: f64,
}

impl Point {
    /// The point of this number: the same one whoever asks.
    fn made(number: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(number);
        let x = SPREAD.map(|spread| {
            let noise: f64 = StandardNormal.sample(&mut random);
            spread * noise
        });
        let yes = 1.0 / (1.0 + (-dot(&TRUE_WEIGHTS, &x)).exp());
        Self { x, y: if random.random::<f64>() < yes { 1.0 } else { -1.0 } }
    }

    /// The label, then the numbers; they are written so that they are read as they were.
    fn to_line(&self) -> String {
        iter::once(&self.y).chain(&self.x).map(f64::to_string).collect::<Vec<_>>().join(" ")
    }

    fn parse(line: &str) -> Result<Self, Failure> {
        let mut numbers = line.split(' ').map(str::parse::<f64>);
        let mut next = || numbers.next().ok_or_else(|| format!("too few numbers: {line}"));
        let mut point = Self { y: next()??, x: Vector::default() };
        for x in &mut point.x {
            *x = next()??;
        }
        Ok(point)
    }
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What one pass over the points adds up.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Pass {
    points: u64,
    /// How many are on the side of the plane where they belong.
    right: u64,
    loss: f64,
    gradient: Vector,
}

impl Pass {
    fn over(points: &Rdd<Point>, weights: Vector) -> emberflow::Result<Self> {
        points.aggregate_ref(Self::default(), move |pass, point| pass.with(&weights, point), Self::merged)
    }

    fn with(mut self, weights: &Vector, Point { x, y }: &Point) -> Self {
        let height = dot(weights, x);
        let margin = y * height;
        self.points += 1;
        self.right += u64::from((height >= 0.0) == (*y > 0.0));
        self.loss += (-margin).exp().ln_1p();
        let pull = (1.0 / (1.0 + (-margin).exp()) - 1.0) * y;
        self.gradient.iter_mut().zip(x).for_each(|(sum, x)| *sum += pull * x);
        self
    }

    fn merged(mut self, other: Self) -> Self {
        self.points += other.points;
        self.right += other.right;
        self.loss += other.loss;
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, x)| *sum += x);
        self
    }

    fn mean_loss(&self) -> f64 {
        self.loss / self.points as f64
    }

    fn accuracy(&self) -> f64 {
        self.right as f64 / self.points as f64
    }
}

/// What came of the iterations over the points: with or without a cache, the same but for the times.
struct Descent {
    weights: Vector,
    /// What each iteration found before its step.
    passes: Vec<Pass>,
    milliseconds: Vec<f64>,
}

impl Descent {
    fn over(points: &Rdd<Point>) -> emberflow::Result<Self> {
        let mut descent = Self { weights: Vector::default(), passes: Vec::new(), milliseconds: Vec::new() };
        for _ in 0..ITERATIONS {
            let began = Instant::now();
            let pass = Pass::over(points, descent.weights)?;
            let along = STEP / pass.points as f64;
            descent.weights.iter_mut().zip(&pass.gradient).for_each(|(weight, slope)| *weight -= along * slope);
            descent.milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
            descent.passes.push(pass);
        }
        Ok(descent)
    }

    /// The first iteration, and the mean of the later ones.
    fn first_and_later(&self) -> (f64, f64) {
        let later = &self.milliseconds[1..];
        (self.milliseconds[0], later.iter().sum::<f64>() / later.len() as f64)
    }
}

fn run(count: u64, plot: &Path) -> Result<(), Failure> {
    let ctx = Context::builder().app_name("logistic_regression").build()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("points");
    ctx.range_into(0..count, PARTITIONS).map(|number| Point::made(number).to_line()).save_as_text_file(&file)?;

    let parsed = || Ok::<_, Error>(ctx.text_file(&file)?.try_map(|line| Point::parse(&line)));
    let uncached = Descent::over(&parsed()?)?;
    let points = parsed()?.cache();
    let cached = Descent::over(&points)?;

    println!("iteration      loss  accuracy  ms uncached  ms cached");
    for (at, pass) in cached.passes.iter().enumerate() {
        let (loss, accuracy) = (pass.mean_loss(), pass.accuracy());
        let (slow, fast) = (uncached.milliseconds[at], cached.milliseconds[at]);
        println!("{:>9}  {loss:>8.6}  {:>7.2}%  {slow:>11.1}  {fast:>9.1}", at + 1, accuracy * 100.0);
    }
    println!("\n{count} points of {} numbers, {} partitions", cached.weights.len(), points.partitions());
    for (name, descent) in [("uncached", &uncached), ("cached", &cached)] {
        let (first, later) = descent.first_and_later();
        println!("{name:>8}: first iteration {first:.1} ms, later ones {later:.1} ms");
    }
    println!("a later iteration is {:.0} times faster", uncached.first_and_later().1 / cached.first_and_later().1);

    let unseen = ctx.range_into(count..count + count / 5, PARTITIONS).map(Point::made).cache();
    let (found, best) = (Pass::over(&unseen, cached.weights)?, Pass::over(&unseen, TRUE_WEIGHTS)?);
    let (found, best) = (found.accuracy(), best.accuracy());
    println!("on {} held-out points: {:.2}%; the true weights: {:.2}%", count / 5, found * 100.0, best * 100.0);

    if uncached.weights != cached.weights {
        return Err("the weights are others with a cache than without".into());
    }
    if best - found > NEAR {
        return Err(format!("the accuracy on held-out points is {found}, but {best} with the true weights").into());
    }
    let worst = off(&cached.weights, &plain(count));
    if worst.is_nan() || worst >= 1e-9 {
        return Err(format!("the weights are off by {worst:e} of what a plain loop finds").into());
    }
    println!("checked: the same weights with and without a cache, and by a plain loop within {worst:.1e}");

    draw(plot, &uncached, &cached).map_err(|error| format!("{}: {error}", plot.display()))?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// How far apart two vectors are, relative to the second.
fn off(found: &Vector, expected: &Vector) -> f64 {
    let apart: Vector = array::from_fn(|axis| found[axis] - expected[axis]);
    (dot(&apart, &apart) / dot(expected, expected)).sqrt()
}

/// The same by hand, from the points as they were made: what each one pulls with, then the slope of each axis.
fn plain(count: u64) -> Vector {
    let points: Vec<Point> = (0..count).map(Point::made).collect();
    let mut weights = Vector::default();
    for _ in 0..ITERATIONS {
        let mut pulls = Vec::with_capacity(points.len());
        for point in &points {
            let mut height = 0.0;
            for (axis, weight) in weights.iter().enumerate() {
                height += weight * point.x[axis];
            }
            let wanted = if point.y > 0.0 { 1.0 } else { 0.0 };
            pulls.push(1.0 / (1.0 + f64::exp(-height)) - wanted);
        }
        for (axis, weight) in weights.iter_mut().enumerate() {
            let slope: f64 = points.iter().zip(&pulls).map(|(point, pull)| pull * point.x[axis]).sum();
            *weight -= STEP * slope / count as f64;
        }
    }
    weights
}

/// The loss by iteration beside the time of each, without a cache and with one.
fn draw(path: &Path, uncached: &Descent, cached: &Descent) -> Result<(), Failure> {
    let image = plot::picture(path, (1200, 480))?;
    let (left, right) = image.split_horizontally(600);

    let losses: Vec<f64> = cached.passes.iter().map(Pass::mean_loss).collect();
    let mut chart = ChartBuilder::on(&left)
        .caption("loss by iteration", ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(1..ITERATIONS, 0.0..losses[0] * 1.1)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("iteration").y_desc("mean logistic loss").draw()?;
    chart.draw_series(LineSeries::new((1..).zip(losses), BLUE.stroke_width(2)).point_size(3))?;

    let slowest = uncached.milliseconds.iter().chain(&cached.milliseconds).copied().fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&right)
        .caption("time by iteration", ("sans-serif", 22))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(1..ITERATIONS, 0.0..slowest * 1.1)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("iteration").y_desc("milliseconds").draw()?;
    for (name, descent, colour) in [("uncached", uncached, RED), ("cached", cached, BLUE)] {
        let times = (1..).zip(descent.milliseconds.iter().copied());
        chart
            .draw_series(LineSeries::new(times, colour.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    image.present()?;
    Ok(())
}
