//! The chaos run: random graphs in random settings, struck at random. Whatever strikes, a job whose faults are bounded
//! gives what it gives without faults, to the bit; one whose faults are not may end with an error that names them; and
//! nothing hangs, and nothing is left.
//!
//! A seed decides it all. A short run is one of the tests; the environment asks for others:
//!
//! - `CHAOS_SEEDS=10000`: so many seeds; `CHAOS_SEEDS=500..900`: these;
//! - `CHAOS_SECONDS=600`: as many as that takes;
//! - `CHAOS_SEED=4711`: this one again, and if it fails, the smallest graph that does.

use std::{
    collections::BTreeMap,
    env, fs,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use emberflow::{
    Context, Error,
    testing::{Kind, Point, Schedule},
};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

use super::{
    graph::{Graph, Outcome, graphs},
    support::{World, eventually, names_in, within_deadline},
};

/// Seeds of the short run.
const SHORT: Range<u64> = 0..1000;

/// So many seeds are a long run.
const LONG: u64 = 5000;

/// After so many failures there is enough to look at.
const FAILURES: usize = 5;

/// What a seed decides beside the graph.
#[derive(Clone, Debug)]
struct Setting {
    /// How many threads run the program at once, in one context.
    drivers: usize,
    workers: usize,
    batch_rows: usize,
    /// The budget; none if everything goes to disk.
    room: Option<u64>,
    compress: bool,
    faults: u64,
    active: f64,
    rate: f64,
    /// How many faults a task suffers at most; none if that is not bounded.
    bound: Option<u32>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let size = (select(vec![1_usize, 1, 1, 3]), select(vec![1_usize, 2, 7]), select(vec![1_usize, 2, 16, 1024]));
    let room = (
        select(vec![None, Some(64 << 10), Some(64 << 10), Some(128 << 10), Some(1 << 20), Some(8 << 30)]),
        any::<bool>(),
    );
    let faults = (any::<u64>(), select(vec![0.1, 0.3, 1.0]), select(vec![0.02, 0.25, 1.0]));
    let bound = select(vec![None, Some(1), Some(2), Some(3), Some(3)]);
    (size, room, faults, bound).prop_map(
        |((drivers, workers, batch_rows), (room, compress), (faults, active, rate), bound)| Setting {
            drivers,
            workers,
            batch_rows,
            room,
            compress,
            faults,
            active,
            rate,
            bound,
        },
    )
}

/// What a run came to.
#[derive(Default)]
struct Told {
    seeds: u64,
    /// Seeds whose jobs ended with an error, as they may.
    errors: u64,
    /// Seeds that nothing struck.
    spared: u64,
    /// Seeds that went to disk although they need not, for want of room.
    crowded: u64,
    faults: BTreeMap<(Point, Kind), u64>,
    failures: Vec<String>,
}

impl Setting {
    fn world(&self) -> World {
        let faults = Schedule::seeded(self.faults).active(self.active).rate(self.rate);
        let faults = match self.bound {
            Some(bound) => faults.faults_per_task(bound),
            None => faults.unbounded(),
        };
        World::with(|builder| {
            let builder = builder.workers(self.workers).batch_rows(self.batch_rows).default_partitions(3);
            let builder = builder.spill_compression(self.compress).chaos(faults);
            match self.room {
                Some(bytes) => builder.memory_budget(bytes).force_spill(false),
                None => builder.force_spill(true),
            }
        })
    }
}

/// Runs a graph, and fails if it hangs.
fn run(graph: &Graph, ctx: &Context, dir: PathBuf) -> Result<Outcome, Error> {
    let (graph, ctx) = (graph.clone(), ctx.clone());
    within_deadline(move || graph.run(&ctx, dir))
}

/// Checks a graph where nothing strikes.
fn without_faults(graph: &Graph, ctx: &Context, dir: PathBuf) -> Result<Outcome, TestCaseError> {
    let (graph, ctx) = (graph.clone(), ctx.clone());
    within_deadline(move || graph.check(&ctx, dir, &mut BTreeMap::new()))
}

/// Strikes one case.
fn strike(graph: &Graph, setting: &Setting, plain: &Context, dir: PathBuf) -> Result<Ended, TestCaseError> {
    let fail = |text: String| TestCaseError::fail(text);
    let expected = without_faults(graph, plain, dir)?;
    let world = setting.world();
    let all: Result<Vec<Outcome>, Error> = thread::scope(|scope| {
        let run = |number: usize| run(graph, &world, world.files().join(format!("run-{number}")));
        let drivers: Vec<_> = (1..setting.drivers).map(|number| scope.spawn(move || run(number))).collect();
        let first = run(0);
        let others = drivers.into_iter().map(|driver| driver.join().expect("it does not hang"));
        [first].into_iter().chain(others.collect::<Vec<_>>()).collect()
    });
    let erred = all.is_err();
    match all {
        Ok(outcomes) => outcomes.into_iter().try_for_each(|outcome| {
            prop_assert_eq!(&outcome, &expected);
            Ok(())
        })?,
        Err(error) if setting.bound.is_some() => return Err(fail(error.to_string())),
        Err(error) => {
            let told = ["on purpose", "was lost", "died before it could take", "checksum"];
            let text = error.to_string();
            prop_assert!(told.iter().any(|told| text.contains(told)), "the error names no fault: {}", text);
        }
    }
    // What comes after a fault is as if there had been none.
    match world.range_into(0..10_u64, 3).count() {
        Ok(count) => prop_assert_eq!(count, 10),
        Err(error) => prop_assert!(setting.bound.is_none(), "{}", error),
    }
    let held = || {
        let memory = world.memory();
        [memory.persisted, memory.map_outputs, memory.working, memory.results, memory.spilled]
    };
    let left = eventually(held, |held| *held == [0; 5]);
    prop_assert_eq!(left, [0; 5], "persisted, map outputs, working, results, spilled are left");
    let run_names = || (0..setting.drivers).flat_map(|number| names_in(&world.files().join(format!("run-{number}"))));
    let unfinished = || run_names().filter(|name| name.contains("unfinished"));
    let left = eventually(|| unfinished().collect::<Vec<_>>(), Vec::is_empty);
    prop_assert!(left.is_empty(), "{:?} is left", left);
    let faults = world.faults_injected();
    let crowded = setting.room.is_some() && world.memory().spilled_in_all > 0;
    world.end();
    Ok(Ended { faults, erred, crowded })
}

/// How one seed ended.
struct Ended {
    faults: BTreeMap<(Point, Kind), u64>,
    erred: bool,
    crowded: bool,
}

/// Runs one seed; looks for the smallest case that fails if that is wanted.
fn seed(seed: u64, plain: &World, shrink: bool) -> Result<Ended, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let max_shrink_iters = if shrink { 500 } else { 0 };
    let config = Config { max_shrink_iters, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let case = (graphs(8), settings()).new_tree(&mut runner).expect("nothing is filtered");
    let (drawn, told) = (case.current(), Mutex::new(None));
    let next = AtomicU64::new(0);
    let ended = runner.run_one(case, |(graph, setting)| {
        let dir = plain.files().join(format!("{seed}-{}", next.fetch_add(1, Ordering::Relaxed)));
        let ended = strike(&graph, &setting, plain, dir.clone());
        // The context without faults sees many graphs.
        fs::remove_dir_all(dir).unwrap();
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended?);
        Ok(())
    });
    match ended {
        Ok(_) => Ok(told.into_inner().unwrap_or_else(PoisonError::into_inner).expect("it ended well")),
        Err(TestError::Fail(reason, case)) if shrink => Err(format!("{reason}\n{case:#?}\nshrunk from {drawn:?}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn setting_of<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name} = {text}: {error:?}")))
}

/// Which seeds, for how long, and whether it is a single one.
fn wanted() -> (Range<u64>, Option<Duration>, bool) {
    let seconds = setting_of("CHAOS_SECONDS").map(Duration::from_secs);
    if let Some(seed) = setting_of::<u64>("CHAOS_SEED") {
        return (seed..seed + 1, None, true);
    }
    let seeds = match setting_of::<String>("CHAOS_SEEDS") {
        Some(text) => {
            let (from, to) = text.split_once("..").unwrap_or(("0", &text));
            let number = |text: &str| text.parse().expect("CHAOS_SEEDS is a number of seeds, or FROM..TO");
            number(from)..number(to)
        }
        None if seconds.is_some() => 0..u64::MAX,
        None => SHORT,
    };
    (seeds, seconds, false)
}

#[test]
fn random_graphs_survive_random_faults() {
    let (seeds, seconds, single) = wanted();
    let until = seconds.map(|seconds| Instant::now() + seconds);
    let (next, told) = (AtomicU64::new(seeds.start), Mutex::new(Told::default()));
    let began = Instant::now();
    let work = || {
        let plain = World::with(|builder| builder.workers(2).default_partitions(3).force_spill(false));
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds.end || until.is_some_and(|until| Instant::now() > until) {
                break;
            }
            let ended = panic::catch_unwind(AssertUnwindSafe(|| seed(number, &plain, single)));
            let ended = ended.unwrap_or_else(|_| Err("a panic; see above".to_owned()));
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.seeds += 1;
            match ended {
                Ok(Ended { faults, erred, crowded }) => {
                    told.errors += u64::from(erred);
                    told.spared += u64::from(faults.is_empty());
                    told.crowded += u64::from(crowded);
                    faults.into_iter().for_each(|(fault, times)| *told.faults.entry(fault).or_default() += times);
                }
                Err(text) => {
                    let failure = format!(
                        "seed {number}: {text}\nagain: CHAOS_SEED={number} cargo test --features chaos --test chaos \
                         random_graphs -- --nocapture"
                    );
                    eprintln!("{failure}");
                    told.failures.push(failure);
                }
            }
            if told.failures.len() >= FAILURES {
                break;
            }
        }
        plain.end();
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        (0..threads.min(if single { 1 } else { threads })).for_each(|_| drop(scope.spawn(work)));
    });
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} seeds in {:.0} s: {} failed", told.seeds, began.elapsed().as_secs_f64(), told.failures.len());
    println!("{} ended with an error, as they may; nothing struck {}", told.errors, told.spared);
    println!("{} had too little memory", told.crowded);
    told.faults.iter().for_each(|((point, kind), times)| println!("{times:>9} {kind} at {point}"));
    assert!(told.failures.is_empty(), "{}", told.failures.join("\n\n"));
    if !single {
        check_that_all_struck(&told);
    }
}

/// Chaos that leaves something out shows nothing of it: all points and all kinds strike, and in a long run, each of the
/// one at each of the other. (In a short one that is left to the tests of single faults.)
fn check_that_all_struck(told: &Told) {
    let struck = |point: Point, kind: Kind| told.faults.contains_key(&(point, kind));
    let all = || Point::ALL.into_iter().flat_map(|point| point.kinds().iter().map(move |kind| (point, *kind)));
    let missing = |is_struck: &dyn Fn(Point, Kind) -> bool| -> Vec<_> {
        all().filter(|(point, kind)| !is_struck(*point, *kind)).collect()
    };
    let points = missing(&|point, _| all().any(|(at, kind)| at == point && struck(at, kind)));
    let kinds = missing(&|_, kind| all().any(|(at, of)| of == kind && struck(at, of)));
    assert!(points.is_empty() && kinds.is_empty(), "never struck, whatever the kind: {points:?}; anywhere: {kinds:?}");
    let both = missing(&struck);
    assert!(told.seeds < LONG || both.is_empty(), "in {} seeds these never struck: {both:?}", told.seeds);
}
