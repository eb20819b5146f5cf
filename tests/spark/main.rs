//! Jobs on a real Spark: the same bytes as here, and errors that say the same. `SPARK_HOME` has to say where Spark is; where
//! it does not, and `EMBERFLOW_SPARK` is not `required`, nothing is tested, and a line says so. The checks run in one process
//! of Spark, and again on a cluster of two workers; or on the master that `EMBERFLOW_SPARK_MASTER` names, alone.

mod cluster;
#[path = "../support/graph/mod.rs"]
mod graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::File,
    panic,
    path::PathBuf,
    process::{self, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use emberflow::{ContextBuilder, Error, Event, EventRecord, JobEnd, Progress, prelude::*};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

/// A check, with the name that it is printed by. All use one Spark, since it takes seconds to start. As elsewhere, arguments
/// are parts of the names of the checks to run.
type Check = (&'static str, fn(&Context, &Context));

const CHECKS: &[Check] = &[
    ("words are counted as they are here", words_are_counted_as_they_are_here),
    (
        "what is sorted, numbered and grouped is in the same order",
        what_is_sorted_numbered_and_grouped_is_in_the_same_order,
    ),
    ("what is cached is computed once", what_is_cached_is_computed_once),
    ("a cache that is released while jobs read it is computed again", a_cache_that_is_released_while_jobs_read_it),
    ("tasks that read several reducers get all of them in order", tasks_that_read_several_reducers_get_all_in_order),
    ("an error names operator, partition, attempt and rows", an_error_names_operator_partition_and_rows),
    ("a worker that is killed is replaced", a_worker_that_is_killed_is_replaced),
    ("what captures is refused before anything is sent", what_captures_is_refused_before_anything_is_sent),
    ("random graphs give the same bits", random_graphs_give_the_same_bits),
    ("what tasks add to accumulators counts once", what_tasks_add_to_accumulators_counts_once),
    ("events tell of the same stages, tasks and rows", events_tell_of_the_same_stages_tasks_and_rows),
    ("events tell of attempts that fail, and of stages that are skipped", events_tell_of_failures_and_skipped_stages),
    ("a job that is cancelled ends, and the next one runs", a_job_that_is_cancelled_ends_and_the_next_one_runs),
    // The last one: there is no Spark afterwards.
    ("a driver that is killed is an error", a_driver_that_is_killed_is_an_error),
];

/// One process. Tasks are tried four times there, as here.
const LOCAL: &str = "local[2,4]";

/// How long all of it may take. A check that hangs is to fail, and not to keep others waiting.
const LIMIT: Duration = Duration::from_mins(15);

fn main() -> ExitCode {
    emberflow::init();
    let (_all, over) = mpsc::channel::<()>();
    thread::spawn(move || {
        if over.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the check after the last one that was told of does not end");
            process::abort();
        }
    });
    if env::var_os("SPARK_HOME").is_none() {
        let required = env::var_os("EMBERFLOW_SPARK").is_some_and(|spark| spark == "required");
        println!("{}: SPARK_HOME is not set", if required { "failed" } else { "skipped" });
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let failed = match env::var("EMBERFLOW_SPARK_MASTER") {
        Ok(master) => run(Context::builder().master(master), &[CHECKS]),
        Err(_) => {
            let local = run(Context::builder().master(LOCAL), &[CHECKS]);
            let cluster = cluster::Cluster::start();
            local + run(cluster.context(), &[cluster::CHECKS, CHECKS])
        }
    };
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the checks that are wanted on one Spark. Returns how many have failed.
fn run(spark: ContextBuilder, checks: &[&[Check]]) -> usize {
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let spark = spark.progress(Progress::Off).build().unwrap();
    let here = Context::builder().workers(2).progress(Progress::Off).build().unwrap();
    let mut failed = 0;
    for (name, check) in checks.iter().copied().flatten() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
            continue;
        }
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| check(&spark, &here)));
        println!("{name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(outcome.is_err());
    }
    spark.stop();
    assert!(matches!(spark.range(0..9_u64).count(), Err(Error::ContextClosed)));
    failed
}

/// Compares what a program gives on both.
fn same<R: PartialEq + std::fmt::Debug>(spark: &Context, here: &Context, run: impl Fn(&Context) -> Result<R, Error>) {
    assert_eq!(run(spark).unwrap(), run(here).unwrap());
}

fn words(ctx: &Context) -> Rdd<(String, u64)> {
    let lines = ctx.range_into(0..200_u64, 8).flat_map(|n| {
        let text = "to be or not to be that is the question whether tis nobler in the mind to suffer";
        text.split(' ').map(move |word| format!("{word}{}", n % 7)).collect::<Vec<_>>()
    });
    lines.map(|word| (word, 1_u64)).reduce_by_key_into(|a, b| a + b, 5)
}

fn words_are_counted_as_they_are_here(spark: &Context, here: &Context) {
    same(spark, here, |ctx| words(ctx).collect());
}

fn what_is_sorted_numbered_and_grouped_is_in_the_same_order(spark: &Context, here: &Context) {
    same(spark, here, |ctx| words(ctx).sort_by_key().collect());
    same(spark, here, |ctx| {
        words(ctx).zip_with_index().map(|((word, _), at)| (word.len(), at)).group_by_key().collect()
    });
    same(spark, here, |ctx| words(ctx).map(|(word, n)| (n, word)).join(&ctx.range(0..50_u64).key_by(|n| *n)).collect());
    same(spark, here, |ctx| words(ctx).take(7));
    same(spark, here, |ctx| words(ctx).values().map(|n| 1.0 / n as f64).sum());
}

fn what_is_cached_is_computed_once(spark: &Context, here: &Context) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let rows = |ctx: &Context| {
        ctx.range_into(0..100_u64, 4).map_with(path.clone(), |path, n| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(b"x").unwrap();
            n * n
        })
    };
    let cached = rows(spark).cache();
    assert_eq!(cached.count().unwrap(), 100);
    assert_eq!(cached.collect().unwrap(), rows(here).collect().unwrap());
    assert_eq!(cached.map(|n| n % 10).distinct().count().unwrap(), 6);
    let kept = spark.storage().unwrap();
    let kept = kept.iter().find(|kept| kept.rdd == cached.id()).unwrap();
    assert_eq!((kept.cached_partitions, kept.partitions, kept.rows, kept.computed), (4, 4, 100, 4));
    assert!((800..2_000).contains(&kept.bytes), "{}", kept.bytes);
    assert_eq!(file.as_file().metadata().unwrap().len(), 200, "each row once there, and once here");
    cached.unpersist();
    assert_eq!(cached.count().unwrap(), 100);
    assert_eq!(file.as_file().metadata().unwrap().len(), 300, "and once more, since it is not kept any more");
}

fn a_cache_that_is_released_while_jobs_read_it(spark: &Context, _: &Context) {
    let cached = spark.range_into(0..100_u64, 2).map(|n| n % 10).cache();
    thread::scope(|scope| {
        let reader = scope.spawn(|| (0..20).all(|_| cached.distinct_into(2).count().unwrap() == 10));
        while !reader.is_finished() {
            cached.unpersist();
            cached.cache();
            thread::yield_now();
        }
        assert!(reader.join().unwrap());
    });
}

fn tasks_that_read_several_reducers_get_all_in_order(spark: &Context, here: &Context) {
    same(spark, here, |ctx| words(ctx).coalesce(2).collect());
    same(spark, here, |ctx| words(ctx).union(&words(ctx)).glom().collect());
    let both = |ctx: &Context| words(ctx).keys().cartesian(&ctx.range_into(0..3_u64, 2)).collect();
    same(spark, here, both);
    let cached = |ctx: &Context| {
        let kept = words(ctx).cache();
        kept.coalesce(2).map(|(word, _)| word).union(&kept.repartition(3).keys()).collect()
    };
    same(spark, here, cached);
}

fn an_error_names_operator_partition_and_rows(spark: &Context, here: &Context) {
    let told = |ctx: &Context| {
        let rows = ctx.range_into(0..100_u64, 4).map(|n| (n % 3, n)).reduce_by_key_into(|a, b| a + b, 2);
        let error = rows.try_map(|(key, sum)| if key == 2 { Err(format!("{sum} is bad")) } else { Ok(sum) }).count();
        let Err(Error::TaskFailed { operator, partition, causes, .. }) = error else { panic!("{error:?}") };
        (operator, partition, causes[0].attempt, causes[0].rows, causes[0].error.to_string())
    };
    assert_eq!(told(spark), told(here));
    let panics = |ctx: &Context| {
        let error = ctx.range_into(0..4_u64, 2).map(|n| if n == 3 { panic!("no {n}") } else { n }).count();
        let Err(Error::TaskFailed { operator, partition, causes, .. }) = error else { panic!("{error:?}") };
        let causes = causes.iter().map(|cause| (cause.attempt, cause.rows, cause.error.to_string()));
        (operator, partition, causes.collect::<Vec<_>>())
    };
    let (there, here) = (panics(spark), panics(here));
    assert_eq!((&there.0, there.1, there.2.last()), (&here.0, here.1, here.2.last()));
    assert_eq!(spark.range(0..9_u64).count().unwrap(), 9);
}

/// Kills the process that runs this.
fn die() {
    let me = process::id().to_string();
    assert!(process::Command::new("kill").args(["-9", &me]).status().unwrap().success());
}

fn a_worker_that_is_killed_is_replaced(spark: &Context, here: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("died");
    let rows = |ctx: &Context, mark: PathBuf| {
        let rows = ctx.range_into(0..1_000_u64, 4).map_with(mark, |mark, n| {
            if n == 600 && File::create_new(mark).is_ok() {
                die();
            }
            (n % 10, n)
        });
        rows.reduce_by_key(|a, b| a + b).sort_by_key().collect().unwrap()
    };
    let there = rows(spark, mark.clone());
    assert!(mark.exists());
    assert_eq!(there, rows(here, mark));
}

fn what_captures_is_refused_before_anything_is_sent(spark: &Context, _: &Context) {
    let by = spark.default_partitions() as u64;
    let error = spark.range(0..9_u64).map(move |n| n * by).count().unwrap_err();
    let Error::NotShippable { operator, reason } = &error else { panic!("{error}") };
    assert!(operator.starts_with("map at tests/spark/main.rs") && reason.contains("map_with(env"), "{error}");
}

/// Graphs that a check compares, unless `EMBERFLOW_SPARK_GRAPHS` says otherwise.
const GRAPHS: u32 = 30;

fn random_graphs_give_the_same_bits(spark: &Context, here: &Context) {
    let files = tempfile::tempdir().unwrap();
    let graphs = env::var("EMBERFLOW_SPARK_GRAPHS").map_or(GRAPHS, |graphs| graphs.parse().unwrap());
    let (mut compared, mut refused) = (0, 0);
    let mut runner = TestRunner::deterministic();
    while compared < graphs {
        let graph = graph::graphs(6).new_tree(&mut runner).unwrap().current();
        let dir = |side| files.path().join(format!("{side} {} {}", compared, refused));
        match graph.run(spark, dir("there")) {
            Ok(seen) => {
                assert_eq!(seen, graph.run(here, dir("here")).unwrap(), "{graph:?}");
                compared += 1;
            }
            Err(Error::NotShippable { .. }) => refused += 1,
            Err(error) => panic!("{error}\n{graph:?}"),
        }
        assert!(refused < 20 * graphs, "{compared} graphs were compared, {refused} refused");
    }
    println!("{compared} graphs were compared, {refused} refused");
}

fn what_tasks_add_to_accumulators_counts_once(spark: &Context, here: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let added = |ctx: &Context, mark: PathBuf| {
        let (seen, rows) = (ctx.collection_accumulator("seen"), ctx.long_accumulator("rows"));
        let parts = ctx.double_accumulator("parts");
        let cached = ctx.range_into(0..100_u64, 4).map_with((seen.clone(), rows.clone()), |(seen, rows), n| {
            rows.add(1);
            if n % 25 == 3 {
                seen.add(n);
            }
            (n % 7, n)
        });
        let cached = cached.cache();
        let dies = cached.map_with(mark, |mark, row| {
            if row.1 == 60 && File::create_new(mark).is_ok() {
                die();
            }
            row
        });
        let sums = dies.reduce_by_key_into(|a, b| a + b, 3);
        let mut values = Vec::new();
        // The cached rows and the shuffle are there the second time.
        for _ in 0..2 {
            sums.for_each_with(parts.clone(), |parts, (_, sum)| parts.add(0.1 * sum as f64)).unwrap();
            values.push((seen.value(), rows.value(), parts.value().to_bits(), parts.count()));
        }
        let failed = ctx.range_into(0..10_u64, 2).map_with(rows.clone(), |rows, n| {
            rows.add(1_000);
            assert!(n != 7);
            n
        });
        failed.count().unwrap_err();
        let first = cached.map_with(rows.clone(), |rows, n| {
            rows.add(10_000);
            n
        });
        assert_eq!(first.partitions(), 4);
        assert_eq!(first.map(|_| 1_u64).sum().unwrap(), 100);
        cached.unpersist();
        assert_eq!(cached.count().unwrap(), 100);
        (values, rows.value(), seen.value().len())
    };
    let mark = dir.path().join("died");
    let there = added(spark, mark.clone());
    assert!(mark.exists());
    assert_eq!(there, added(here, mark));
    assert_eq!((there.0[1].1, there.1, there.2), (100, 1_000_200, 8));
}

fn events_tell_of_the_same_stages_tasks_and_rows(spark: &Context, here: &Context) {
    let told = |ctx: &Context| {
        let mut events = ctx.events();
        words(ctx).sort_by_key().collect().unwrap();
        let (mut names, mut tasks) = (BTreeMap::new(), BTreeMap::new());
        let mut open = BTreeSet::new();
        let mut ran: Vec<String> = Vec::new();
        let mut ends = Vec::new();
        while let Some(EventRecord { event, .. }) = events.try_next() {
            match event {
                Event::StageStarted { stage, name, tasks, .. } => {
                    open.insert(stage);
                    ran.push(format!("{name}: {tasks} tasks"));
                    names.insert(stage, name);
                }
                Event::TaskStarted { task, stage, partition, attempt } => {
                    assert_eq!((attempt, open.contains(&stage)), (1, true));
                    tasks.insert(task, format!("{} of {}", partition, names[&stage]));
                }
                Event::TaskRan { task, ran: at } => {
                    let reads = at.reads;
                    ran.push(format!("{}: {} rows, {} shuffled", tasks[&task], reads.rows, reads.shuffle_rows));
                }
                Event::TaskFinished { task, rows, .. } => ran.push(format!("{}: {rows} rows made", tasks[&task])),
                Event::StageFinished { stage } => assert!(open.remove(&stage)),
                Event::JobFinished { end, .. } => ends.push(end),
                _ => {}
            }
        }
        ran.sort();
        assert_eq!((open.len(), ends), (0, vec![JobEnd::Succeeded]));
        ran
    };
    assert_eq!(told(spark), told(here));
}

fn events_tell_of_failures_and_skipped_stages(spark: &Context, _: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let mut events = spark.events();
    let cached = words(spark).cache();
    let died = dir.path().join("died");
    let rows = cached.map_with(died, |died, row| {
        if File::create_new(died).is_ok() {
            die();
        }
        row
    });
    assert_eq!(rows.count().unwrap(), cached.count().unwrap());
    cached.try_map(|(word, n)| if n > 0 { Err(format!("{word} is bad")) } else { Ok(n) }).count().unwrap_err();
    let told: Vec<Event> = std::iter::from_fn(|| events.try_next()).map(|record| record.event).collect();
    let failed = told.iter().filter_map(|event| match event {
        Event::TaskFailed { error, retried, .. } => Some((error.as_str(), *retried)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed[0].0.contains("the worker process died (signal 9)") && failed[0].1, "{failed:?}");
    assert!(failed[1..].iter().any(|(error, _)| error.ends_with(" is bad")), "{failed:?}");
    let ends: Vec<_> = told.iter().filter(|event| matches!(event, Event::JobFinished { .. })).collect();
    assert_eq!(ends.len(), 3);
    assert!(matches!(ends[2], Event::JobFinished { end: JobEnd::Failed { error }, .. } if error.contains("is bad")));
    let skipped = |event: &&Event| matches!(event, Event::StageSkipped { .. });
    assert_eq!(told.iter().filter(skipped).count(), 1, "of the second job: {told:?}");
}

fn a_job_that_is_cancelled_ends_and_the_next_one_runs(spark: &Context, _: &Context) {
    let endless = spark.range_into(0..u64::MAX, 2).filter(|_| false).count_async();
    endless.canceller().cancel();
    assert!(matches!(endless.wait(), Err(Error::Cancelled { .. })));
    assert_eq!(spark.range(0..9_u64).count().unwrap(), 9);
}

fn a_driver_that_is_killed_is_an_error(spark: &Context, _: &Context) {
    let endless = spark.range_into(0..u64::MAX, 2).filter(|_| false).count_async();
    let me = process::id().to_string();
    let killed = process::Command::new("pkill").args(["-9", "-P", &me, "-f", "emberflow.Driver"]).status().unwrap();
    assert!(killed.success());
    for error in [endless.wait().unwrap_err(), spark.range(0..9_u64).count().unwrap_err()] {
        let Error::ClusterFailed { operator, reason } = &error else { panic!("{error}") };
        assert!(operator.starts_with("count at tests/spark/main.rs"), "{error}");
        assert!(reason.starts_with("Spark's driver has ended"), "{error}");
    }
}
