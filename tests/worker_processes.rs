//! Tasks in other processes of this program: that they are killed, cancelled, refused, short of memory, or fail, is seen
//! here as if they had run here; and no process is left.
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use emberflow::{
    Accumulate, Accumulator, Context, DoubleAccumulator, Error, Event, Sums, TaskError,
    testing::{self, WorkerProcesses},
};
use serde::{Deserialize, Serialize};

use self::support::{ON_PURPOSE, World, drain, eventually, within_deadline};

/// A world whose tasks run in processes that start with the test of this name.
struct Elsewhere {
    world: World,
    processes: Arc<WorkerProcesses>,
}

impl Elsewhere {
    fn new(test: &'static str, world: World) -> Self {
        Self::with(test, world, |_| {})
    }

    fn with(test: &'static str, world: World, set: impl Fn(&mut Command) + Send + Sync + 'static) -> Self {
        let command = move || {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", test, "--nocapture"]).stdout(Stdio::null());
            set(&mut command);
            command
        };
        let processes = testing::run_tasks_in_processes(&world, command).unwrap();
        Self { world, processes }
    }

    /// Ends the context. Its processes are gone, and every task had run in them.
    fn end(self) {
        let processes = self.processes.idle();
        assert!(!processes.is_empty());
        assert_eq!(self.processes.refused(), Vec::<String>::new());
        self.world.end();
        assert!(processes.iter().all(|id| !is_alive(*id)), "{processes:?}");
    }
}

impl Deref for Elsewhere {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.world
    }
}

fn is_alive(process: u32) -> bool {
    // One that has ended and was not waited for is alive to the system, but has no command line.
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}

/// Kills the process that runs this, the first time that it is called with the path.
fn die_once(path: &Path) {
    if fs::File::create_new(path).is_ok() {
        kill(std::process::id());
    }
}

#[test]
fn a_process_that_is_killed_in_a_task_costs_that_attempt_and_nothing_else() {
    emberflow::init();
    let ctx = Elsewhere::new("a_process_that_is_killed_in_a_task_costs_that_attempt_and_nothing_else", World::new(2));
    let mut events = ctx.events();
    let file = ctx.world.files().join("died");
    let rows = ctx.range_into(0..1_000_u64, 4).map_with(file, |file, n| {
        if n == 600 {
            die_once(file);
        }
        (n % 10, n)
    });
    let sums = rows.reduce_by_key(|a, b| a + b).sort_by_key().collect().unwrap();
    assert_eq!(sums, (0..10).map(|key| (key, (0..100).map(|n| n * 10 + key).sum())).collect::<Vec<_>>());
    let failed: Vec<String> = drain(&mut events).into_iter().filter_map(failure).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].contains("the worker process died (signal: 9 (SIGKILL)"), "{failed:?}");
    ctx.end();
}

fn failure(event: Event) -> Option<String> {
    match event {
        Event::TaskFailed { error, .. } => Some(error),
        _ => None,
    }
}

#[test]
fn a_process_that_is_killed_between_two_jobs_is_replaced() {
    emberflow::init();
    let ctx = Elsewhere::new("a_process_that_is_killed_between_two_jobs_is_replaced", World::new(1));
    let rows = ctx.range_into(0..1_000_u64, 2).map(|n| n / 7).cache();
    assert_eq!(rows.count().unwrap(), 1_000);
    let before = ctx.processes.idle();
    before.iter().for_each(|process| kill(*process));
    assert_eq!(rows.distinct().count().unwrap(), 143);
    assert!(ctx.processes.idle().iter().all(|process| !before.contains(process)));
    ctx.end();
}

#[test]
fn a_process_whose_task_is_cancelled_ends_at_once() {
    emberflow::init();
    let ctx = Elsewhere::new("a_process_whose_task_is_cancelled_ends_at_once", World::new(2));
    let marks = ctx.world.files();
    let endless = ctx.range_into(0..2_u64, 2).map_with(marks.clone(), |marks, n| {
        fs::write(marks.join(std::process::id().to_string()), []).unwrap();
        loop {
            std::hint::spin_loop();
            std::hint::black_box(n);
        }
        #[allow(unreachable_code, reason = "it gives the type of the rows")]
        n
    });
    let job = endless.count_async();
    let canceller = job.canceller();
    let waiting = std::thread::spawn(move || job.wait());
    let started = eventually(|| support::names_in(&marks), |names| names.len() == 2);
    canceller.cancel();
    assert!(matches!(within_deadline(move || waiting.join().unwrap()), Err(Error::Cancelled { .. })));
    let alive = |names: &[String]| names.iter().filter(|id| is_alive(id.parse().unwrap())).count();
    assert_eq!(eventually(|| alive(&started), |left| *left == 0), 0);
    assert_eq!(ctx.range(0..9_u64).count().unwrap(), 9);
    ctx.end();
}

#[test]
fn an_error_there_is_the_same_error_here() {
    emberflow::init();
    let ctx = Elsewhere::new("an_error_there_is_the_same_error_here", World::new(2));
    let here = World::new(2);
    let errors = |ctx: &Context| {
        let rows = ctx.distribute_into((0..100_u64).collect::<Vec<_>>(), 4);
        let errors = [
            rows.map(|n| if n == 77 { panic!("{ON_PURPOSE}") } else { n }).count().unwrap_err(),
            rows.try_map(|n| if n == 30 { Err(format!("{n} is bad")) } else { Ok(n) }).count().unwrap_err(),
            rows.key_by(|_| 0).group_by_key().map(|(_, all)| all[all.len()]).count().unwrap_err(),
        ];
        errors.map(|error| {
            let Error::TaskFailed { rdd, operator, partition, causes, .. } = error else { panic!("{error}") };
            let causes =
                causes.into_iter().map(|cause| (cause.attempt, cause.rdd, cause.rows, cause.error.to_string()));
            (rdd, operator, partition, causes.collect::<Vec<_>>())
        })
    };
    assert_eq!(errors(&ctx), errors(&here));
    ctx.end();
}

#[test]
fn a_process_with_a_small_budget_takes_what_is_larger_and_says_what_it_cannot_hold() {
    emberflow::init();
    let name = "a_process_with_a_small_budget_takes_what_is_larger_and_says_what_it_cannot_hold";
    let small = |command: &mut Command| _ = command.env("EMBERFLOW_MEMORY_BUDGET", "256KiB");
    let ctx = Elsewhere::with(name, World::with_budget(2, 1 << 20), small);
    let rows = |ctx: &Context| {
        let rows = ctx.range_into(0..60_000_u64, 4).map(|n| (n * 7_919 % 60_000, format!("row {n}")));
        rows.sort_by_key().map(|(key, text)| (key % 1_000, text)).group_by_key().map_values(|all| all.len()).collect()
    };
    assert_eq!(rows(&ctx).unwrap(), rows(&World::roomy(2)).unwrap());
    let large = ctx.range_into(0..1_u64, 1).flat_map(|_| 0..4_000_000_u64).key_by(|_| 0).group_by_key();
    let error = large.count().unwrap_err();
    let Error::TaskFailed { causes, .. } = &error else { panic!("{error}") };
    assert!(matches!(causes[0].error, TaskError::OverBudget { budget: 262_144, .. }), "{error}");
    // The result counts here, though it was made there.
    let error = ctx.range_into(0..4_000_000_u64, 4).collect().unwrap_err();
    let Error::TaskFailed { causes, .. } = &error else { panic!("{error}") };
    assert!(matches!(causes[0].error, TaskError::OverBudget { .. }), "{error}");
    assert_eq!(ctx.range(0..9_u64).count().unwrap(), 9);
    ctx.end();
}

#[test]
fn events_tell_the_same_rows_and_reads() {
    emberflow::init();
    let ctx = Elsewhere::new("events_tell_the_same_rows_and_reads", World::new(2));
    let told = |ctx: &Context| {
        let events = ctx.events();
        let pairs = ctx.range_into(0..1_000_u64, 4).map(|n| (n % 10, n)).cache();
        assert_eq!(pairs.reduce_by_key_into(|a, b| a + b, 3).count().unwrap(), 10);
        ctx.stop();
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.map(|record| record.event) {
            let text = match event {
                Event::TaskRan { ran, .. } => format!("{} rows, {} shuffled", ran.reads.rows, ran.reads.shuffle_rows),
                Event::TaskFinished { stage, partition, rows, .. } => format!("{stage} {partition}: {rows} rows"),
                _ => continue,
            };
            *told.entry(text).or_default() += 1;
        }
        told
    };
    assert_eq!(told(&ctx), told(&World::new(2)));
}

#[test]
fn a_closure_that_reads_and_prints_does_not_disturb_the_tasks() {
    emberflow::init();
    let ctx = Elsewhere::new("a_closure_that_reads_and_prints_does_not_disturb_the_tasks", World::new(2));
    let rows = ctx.range_into(0..1_000_u64, 4).map(|n| {
        println!("row {n}");
        let mut line = String::new();
        n + std::io::stdin().read_line(&mut line).unwrap() as u64
    });
    assert_eq!(rows.sum().unwrap(), 499_500);
    ctx.end();
}

/// The largest number that is below a limit.
#[derive(Serialize, Deserialize)]
struct Largest(u64);

impl Accumulate for Largest {
    type Input = u64;
    type Value = Option<u64>;

    fn zero(&self) -> Option<u64> {
        None
    }

    fn add(&self, largest: &mut Option<u64>, input: u64) {
        self.merge(largest, Some(input));
    }

    fn merge(&self, largest: &mut Option<u64>, other: Option<u64>) {
        *largest = (*largest).max(other.filter(|other| *other < self.0));
    }
}

#[test]
fn what_tasks_add_to_accumulators_counts_once_and_in_the_order_of_the_plan() {
    emberflow::init();
    let name = "what_tasks_add_to_accumulators_counts_once_and_in_the_order_of_the_plan";
    let ctx = Elsewhere::new(name, World::new(2));
    let added = |ctx: &Context, file: PathBuf| {
        let (seen, kept) = (ctx.collection_accumulator("seen"), ctx.long_accumulator("kept"));
        let (parts, largest) = (ctx.double_accumulator("parts"), ctx.accumulator("largest", Largest(90)));
        let env = (seen.clone(), kept.clone(), file);
        let rows = ctx.range_into(0..100_u64, 4).map_with(env, |(seen, kept, file), n| {
            kept.add(1);
            if n % 25 == 3 {
                seen.add(n);
            }
            if n == 60 {
                die_once(file);
            }
            (n % 7, n)
        });
        let sums = rows.reduce_by_key_into(|a, b| a + b, 3);
        let adds = |(parts, largest): &(DoubleAccumulator, Accumulator<Largest>), (key, sum): (u64, u64)| {
            parts.add(0.1 * sum as f64);
            largest.add(key * 13);
        };
        sums.for_each_with((parts.clone(), largest.clone()), adds).unwrap();
        // The shuffle is there already.
        sums.for_each_with((parts.clone(), largest.clone()), adds).unwrap();
        let failed = ctx.range_into(0..10_u64, 2).map_with(kept.clone(), |kept, n| {
            kept.add(1_000);
            assert!(n != 7, "{ON_PURPOSE}");
            n
        });
        failed.count().unwrap_err();
        (seen.value(), kept.value(), parts.value().to_bits(), parts.count(), largest.value())
    };
    let there = added(&ctx, ctx.world.files().join("died"));
    let here = World::new(2);
    assert_eq!(there, added(&here, ctx.world.files().join("died")));
    assert_eq!((there.0, there.1, there.3, there.4), (vec![3, 28, 53, 78], 100, 14, Some(78)));
    ctx.end();
}

#[test]
fn a_process_that_forgets_to_begin_as_a_worker_is_told() {
    const NAME: &str = "a_process_that_forgets_to_begin_as_a_worker_is_told";
    if env::var_os("EMBERFLOW_WORKER").is_some() {
        let error = Context::local(1).unwrap_err().to_string();
        assert!(error.ends_with("call emberflow::init() first of all in main"), "{error}");
        eprintln!("{error}");
        return;
    }
    let ctx = Elsewhere::new(NAME, World::with(|builder| builder.workers(1).task_failure_limit(1)));
    let error = ctx.range(0..9_u64).count().unwrap_err().to_string();
    assert!(error.contains("the worker process died (exit status: 0)"), "{error}");
}

#[test]
fn processes_end_when_their_parent_is_killed() {
    const NAME: &str = "processes_end_when_their_parent_is_killed";
    emberflow::init();
    if env::var_os("EMBERFLOW_TEST_PARENT").is_some() {
        let ctx = Elsewhere::new(NAME, World::new(2));
        assert_eq!(ctx.range_into(0..100_u64, 8).count().unwrap(), 100);
        let mut ids = ctx.processes.idle();
        let endless = ctx.range_into(0..u64::MAX, 2).filter(|_| false).count_async();
        let taken = eventually(|| ctx.processes.idle(), |idle| idle.len() < ids.len());
        assert!(taken.len() < ids.len());
        ids.sort_unstable();
        println!("workers {ids:?}");
        std::io::stdout().flush().unwrap();
        drop(endless.wait());
        return;
    }
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("EMBERFLOW_TEST_PARENT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let workers: Vec<u32> = lines
        .map(Result::unwrap)
        .find_map(|line| {
            let ids = line.split_once("workers [")?.1.trim_end_matches(']').to_owned();
            Some(ids.split(", ").map(|id| id.parse().unwrap()).collect())
        })
        .unwrap();
    assert!(!workers.is_empty() && workers.iter().all(|id| is_alive(*id)));
    kill(parent.id());
    parent.wait().unwrap();
    let left = || workers.iter().filter(|id| is_alive(**id)).count();
    assert_eq!(eventually(left, |left| *left == 0), 0);
}
