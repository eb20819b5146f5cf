//! Jobs: what they compute and what they spare, side by side, awaited or waited for, cancelled, refused, and told of.

mod support;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use emberflow::{
    Action, Canceller, Context, Error, Event, JobEnd, JobId, Rdd, StageId, StageKind, Sums, TaskId,
    testing::{cache_store, shuffle_store},
};

use self::support::{
    Computed, Gate, ON_PURPOSE, Tally, World, drain, finished_tasks, finished_tasks_of, next_of, skipped, sorted,
    stored_in, within_deadline,
};

fn is_cancelled<R>(outcome: &Result<R, Error>) -> bool {
    matches!(outcome, Err(Error::Cancelled { .. }))
}

/// An RDD over which every job runs until it is cancelled.
fn endless(ctx: &Context) -> Rdd<u64> {
    ctx.range_into(0..u64::MAX, 4).filter(|_| false)
}

fn started(event: &Event) -> Option<JobId> {
    match event {
        Event::JobStarted { job, .. } => Some(*job),
        _ => None,
    }
}

fn finished(event: &Event) -> Option<(JobId, JobEnd)> {
    match event {
        Event::JobFinished { job, end } => Some((*job, end.clone())),
        _ => None,
    }
}

// ---- What is computed, and what is spared.

#[test]
fn an_action_that_a_closure_waits_for_on_a_thread_of_its_own_finds_a_worker() {
    for workers in [1, 2] {
        let world = World::new(workers);
        let inner = world.range_into(0..10_u64, 2);
        let rows = world.range_into(0..6_u64, 6).map(move |n| {
            let inner = inner.map(move |m| m * n);
            thread::spawn(move || inner.sum().unwrap()).join().unwrap()
        });
        let sums = within_deadline(move || rows.collect().unwrap());
        assert_eq!(sums, [0, 45, 90, 135, 180, 225]);
        // As many workers as before, and those who were away have ended.
        let barrier = Arc::new(std::sync::Barrier::new(workers));
        world.range_into(0..workers as u64, workers).for_each(move |_| _ = barrier.wait()).unwrap();
    }
}

/// Actions whose closures run where the results of partitions are merged, with closures that panic there and only there:
/// one row a partition, so that no two rows meet within one.
type Merge = fn(&Rdd<u64>) -> Result<(), Error>;
const MERGES: &[(&str, Merge)] = &[
    ("reduce", |rows| rows.reduce(|_, _| panic!("{ON_PURPOSE}")).map(drop)),
    ("fold", |rows| rows.fold(0, |a, b| if a == 0 { b } else { panic!("{ON_PURPOSE}") }).map(drop)),
    ("aggregate", |rows| rows.aggregate(0, |a, b| a + b, |_, _| panic!("{ON_PURPOSE}")).map(drop)),
    ("aggregate_ref", |rows| rows.aggregate_ref(0, |a, b| a + b, |_, _| panic!("{ON_PURPOSE}")).map(drop)),
    ("reduce_by_key_locally", |rows| {
        rows.map(|n| (0, n)).reduce_by_key_locally(|_, _| panic!("{ON_PURPOSE}")).map(drop)
    }),
    ("tree_reduce", |rows| rows.tree_reduce(|_, _| panic!("{ON_PURPOSE}"), 1).map(drop)),
    ("tree_aggregate", |rows| rows.tree_aggregate(0, |a, b| a + b, |_, _| panic!("{ON_PURPOSE}"), 1).map(drop)),
];

#[test]
fn a_closure_that_panics_where_results_are_merged_is_an_error_of_its_action() {
    let world = World::new(2);
    let rows = world.range_into(1..5_u64, 4);
    for (name, merge) in MERGES {
        let error = merge(&rows).unwrap_err();
        let text = error.to_string();
        let parts = [&format!("{name} at {}", file!()), "panicked", ON_PURPOSE];
        assert!(parts.iter().all(|part| text.contains(*part)), "{name}: {text}");
        assert_eq!(rows.count().unwrap(), 4);
    }
    let awaited = rows.reduce_async(|_, _| panic!("{ON_PURPOSE}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(matches!(runtime.block_on(awaited), Err(Error::MergeFailed { .. })));
}

#[test]
fn an_error_prints_its_message_and_its_fields_where_they_are_asked_for() {
    let world = World::new(1);
    let error =
        world.range_into(0..3_u64, 1).map(|n| if n == 1 { panic!("{ON_PURPOSE}") } else { n }).count().unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
    let fields = format!("{error:#?}");
    assert!(fields.starts_with("TaskFailed {") && fields.contains("partition: 0"), "{fields}");
}

#[test]
fn a_stage_whose_map_outputs_live_is_skipped() {
    let world = World::new(2);
    let computed = Tally::new();
    let counter = computed.clone();
    let pairs = world.range_into(0..100_u64, 4).map(move |n| {
        counter.add();
        (n % 10, n)
    });
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    let shuffle = shuffle_store(&sums).unwrap();

    let mut events = world.events();
    assert_eq!(sums.count().unwrap(), 10);
    let first = drain(&mut events);
    assert_eq!((skipped(&first), finished_tasks_of(&first, shuffle)), (vec![], vec![0, 1, 2, 3]));
    assert_eq!(sums.map_values(|n| n + 1).count().unwrap(), 10);
    let second = drain(&mut events);
    assert_eq!((skipped(&second), finished_tasks_of(&second, shuffle)), (vec![shuffle], vec![]));
    assert_eq!(computed.get(), 100);
}

#[test]
fn a_shuffle_that_two_branches_share_is_computed_once() {
    let world = World::new(2);
    let computed = Tally::new();
    let counter = computed.clone();
    let pairs = world.range_into(0..100_u64, 4).map(move |n| {
        counter.add();
        (n % 10, n)
    });
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    let branch = sums.map(|(key, n)| (key % 2, n)).reduce_by_key_into(|a, b| a.max(b), 2);
    let both = sums.union(&branch).union(&sums.filter(|(key, _)| *key == 0));
    assert_eq!(both.count().unwrap(), 10 + 2 + 1);
    assert_eq!(computed.get(), 100);
}

#[test]
fn jobs_at_the_same_time_from_eight_threads_give_each_its_own_result() {
    let world = World::new(2);
    let shared = world.range_into(0..1_000_u64, 8).map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 4);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (ctx, shared) = (&world, &shared);
            scope.spawn(move || {
                for round in 0..10 {
                    let upto = thread * 100 + round;
                    let sums = ctx.range_into(0..upto, 5).map(|n| (n % 3, n)).reduce_by_key_into(|a, b| a + b, 2);
                    let total: u64 = sums.values().collect().unwrap().iter().sum();
                    assert_eq!(total, (0..upto).sum::<u64>());
                    assert_eq!(shared.values().reduce(|a, b| a + b).unwrap(), Some((0..1_000).sum()));
                }
            });
        }
    });
}

#[test]
fn jobs_at_the_same_time_fill_a_cache_once() {
    let world = World::new(3);
    let (gate, computed) = (Gate::new(), Computed::new());
    let (inner, seen) = (gate.clone(), computed.clone());
    let rows = world
        .range_into(0..60_u64, 6)
        .map_partitions_with_index(move |at, rows| {
            seen.add(at);
            inner.pass();
            rows
        })
        .cache();
    let mut events = world.events();
    let jobs: Vec<_> = (0..5).map(|_| rows.count_async()).collect();
    iter::repeat_with(|| next_of(&mut events, started)).take(5).for_each(drop);
    gate.wait_for(1);
    gate.open();
    assert!(jobs.into_iter().all(|job| job.wait().unwrap() == 60));
    assert_eq!(computed.take(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn take_and_first_compute_only_the_partitions_that_they_need() {
    let world = World::new(2);
    let computed = Computed::new();
    let seen = computed.clone();
    let rows = world.range_into(0..1_000_u64, 100).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        rows
    });
    let mut events = world.events();
    let mut tasks = move || finished_tasks(&drain(&mut events)).into_values().map(|tasks| tasks.len()).sum::<usize>();

    assert_eq!(rows.first().unwrap(), Some(0));
    assert_eq!((computed.take(), tasks()), (vec![0], 1));
    assert_eq!(rows.take(10).unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!((computed.take(), tasks()), (vec![0], 1));
    // Ten rows are in the first, so two more partitions are enough for thirty.
    assert_eq!(rows.take(30).unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!((computed.take(), tasks()), (vec![0, 1, 2], 3));
    assert_eq!(rows.take(0).unwrap(), [0_u64; 0]);
    assert_eq!((computed.take(), tasks()), (vec![], 0));
    assert_eq!(rows.filter(|n| *n >= 45).first().unwrap(), Some(45));
    assert_eq!((computed.take(), tasks()), (vec![0, 1, 2, 3, 4], 5));
}

#[test]
fn take_keeps_only_the_partitions_of_a_cache_that_it_needs() {
    let world = World::new(2);
    let rows = world.range_into(0..1_000_u64, 100).cache();
    let mut events = world.events();
    rows.take(20).unwrap();
    assert_eq!(stored_in(&drain(&mut events), cache_store(&rows).unwrap()), [0, 1]);
    assert_eq!(rows.count().unwrap(), 1_000);
    assert_eq!(stored_in(&drain(&mut events), cache_store(&rows).unwrap()), (2..100).collect::<Vec<_>>());
}

#[test]
fn take_stops_within_a_partition() {
    let world = World::with(|builder| builder.workers(1).batch_rows(10));
    let calls = Tally::new();
    let counter = calls.clone();
    let rows = world.range_into(0..u64::MAX, 1).map(move |n| {
        counter.add();
        n
    });
    assert_eq!(rows.take(25).unwrap().len(), 25);
    assert_eq!(calls.get(), 30);
}

#[test]
fn take_of_any_number_is_at_most_all_rows() {
    let world = World::new(2);
    let rows = world.range_into(0..40_u64, 40);
    for n in [41, usize::MAX / 2, 1 << (usize::BITS - 2), usize::MAX] {
        assert_eq!(rows.take(n).unwrap().len(), 40);
        assert_eq!(rows.take_ordered(n).unwrap().len(), 40);
        assert_eq!(rows.top(n).unwrap().len(), 40);
    }
}

// ---- Blocking and async.

/// Two actions at once, awaited.
async fn two_actions(ctx: Context) -> (u64, Vec<u64>) {
    let (count, sums) = (ctx.range(0..1_000_u64).count_async(), ctx.range(0..9_u64).map(|n| (n % 3, n)));
    let sums = sums.reduce_by_key_into(|a, b| a + b, 2).values().collect_async();
    let (count, sums) = tokio::join!(count, sums);
    (count.unwrap(), sorted(sums.unwrap()))
}

#[test]
fn actions_can_be_awaited_in_a_current_thread_runtime() {
    let world = World::new(2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(two_actions(world.clone())), (1_000, vec![9, 12, 15]));
}

#[test]
fn actions_can_be_awaited_in_a_multi_thread_runtime() {
    let world = World::new(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks: Vec<_> = (0..20).map(|_| runtime.spawn(two_actions(world.clone()))).collect();
    for task in tasks {
        assert_eq!(runtime.block_on(task).unwrap(), (1_000, vec![9, 12, 15]));
    }
}

#[test]
fn awaiting_an_action_lets_the_other_tasks_of_its_thread_run() {
    let world = World::new(1);
    let gate = Gate::new();
    let inner = gate.clone();
    let job = world.range_into(0..1_u64, 1).map(move |n| {
        inner.pass();
        n
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Only the second future opens the gate for which the first one's job waits, both on one thread.
    let (count, ()) = runtime.block_on(async { tokio::join!(job.count_async(), async { gate.open() }) });
    assert_eq!(count.unwrap(), 1);
}

#[test]
fn actions_can_block_inside_and_outside_of_a_runtime() {
    let world = World::new(2);
    let rows = world.range_into(0..100_u64, 4);
    assert_eq!(thread::scope(|scope| scope.spawn(|| rows.count_async().wait().unwrap()).join().unwrap()), 100);
    for runtime in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let mut runtime = runtime;
        let counts = runtime.build().unwrap().block_on(async { (rows.count(), rows.count_async().wait()) });
        assert_eq!((counts.0.unwrap(), counts.1.unwrap()), (100, 100));
    }
}

// ---- Cancel.

#[test]
fn cancelling_by_the_handle_ends_the_action_wherever_it_is() {
    let world = World::new(2);
    let mut events = world.events();
    // At once, perhaps before it runs.
    let action = endless(&world).count_async();
    action.canceller().cancel();
    assert!(is_cancelled(&action.wait()));
    // While it runs.
    let action = endless(&world).count_async();
    let canceller = action.canceller();
    next_of(&mut events, |event| matches!(event, Event::TaskStarted { .. }).then_some(()));
    let waiting = thread::spawn(move || action.wait());
    canceller.cancel();
    assert!(is_cancelled(&waiting.join().unwrap()));
    // After its end, and once more.
    let action = world.range_into(0..10_u64, 2).count_async();
    let canceller = action.canceller();
    assert_eq!(action.wait().unwrap(), 10);
    canceller.cancel();
    canceller.cancel();
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
}

/// Starts an action over an endless RDD, cancels it, and says whether it ended as cancelled.
fn cancels<R: Send + 'static>(action: Action<R>) -> bool {
    let canceller: Canceller = action.canceller();
    canceller.cancel();
    within_deadline(move || is_cancelled(&action.wait()))
}

#[test]
fn every_async_form_can_be_cancelled_by_its_handle() {
    let world = World::new(2);
    let rows = || endless(&world);
    let pairs = || rows().map(|n| (n, n));
    assert!(cancels(rows().collect_async()), "collect");
    assert!(cancels(rows().count_async()), "count");
    assert!(cancels(rows().first_async()), "first");
    assert!(cancels(rows().take_async(3)), "take");
    assert!(cancels(rows().reduce_async(|a, _| a)), "reduce");
    assert!(cancels(rows().fold_async(0, |a, _| a)), "fold");
    assert!(cancels(rows().aggregate_async(0, |a: u64, _| a, |a, _| a)), "aggregate");
    assert!(cancels(rows().for_each_async(|_| {})), "for_each");
    assert!(cancels(rows().top_async(3)), "top");
    assert!(cancels(rows().take_ordered_async(3)), "take_ordered");
    assert!(cancels(rows().save_as_text_file_async(world.files().join("rows"))), "save_as_text_file");
    assert!(cancels(rows().count_by_value_async()), "count_by_value");
    assert!(cancels(pairs().count_by_key_async()), "count_by_key");
    assert!(cancels(pairs().collect_as_map_async()), "collect_as_map");
}

#[test]
fn a_cancelled_task_ends_at_its_next_batch_whatever_operator_it_is_in() {
    type Start = fn(&Rdd<u64>) -> Action<()>;
    let starts: [(&str, Start); 5] = [
        ("for_each", |rows| rows.for_each_async(drop)),
        ("for_each_partition", |rows| rows.for_each_partition_async(|rows| rows.for_each(drop))),
        ("map_partitions", |rows| rows.map_partitions(|rows| [rows.count()]).for_each_async(drop)),
        ("flat_map", |rows| rows.flat_map(|n| n.checked_sub(u64::MAX)).for_each_async(drop)),
        ("coalesce", |rows| rows.coalesce(1).for_each_async(drop)),
    ];
    let mut stuck = Vec::new();
    for (name, start) in starts {
        let world = World::new(1);
        let (running, free) = (Gate::new(), Arc::new(AtomicBool::new(false)));
        running.open();
        let (arrive, give_up) = (running.clone(), Arc::clone(&free));
        let rows = world.range_into(0..u64::MAX, 2).filter(move |n| {
            if *n == 0 {
                arrive.pass();
            }
            // A task that nobody can stop would keep the context from ending, and the test with it.
            assert!(!give_up.load(Ordering::Relaxed), "{ON_PURPOSE}: not cancelled");
            false
        });
        let action = start(&rows);
        running.wait_for(1);
        drop(action);
        let (other, (send, ended)) = (world.range_into(0..10_u64, 2).count_async(), mpsc::channel());
        let waiting = thread::spawn(move || send.send(other.wait()).unwrap());
        // Far more than a batch takes; there is only one worker, and the other job needs it.
        if ended.recv_timeout(Duration::from_secs(2)).is_err() {
            stuck.push(name);
        }
        free.store(true, Ordering::Relaxed);
        waiting.join().unwrap();
    }
    assert_eq!(stuck, [] as [&str; 0], "operators in which a cancelled task goes on");
}

#[test]
fn dropping_the_future_cancels_its_job() {
    let world = World::new(2);
    let mut events = world.events();
    let action = endless(&world).count_async();
    let job = next_of(&mut events, started);
    drop(action);
    assert_eq!(next_of(&mut events, finished), (job, JobEnd::Cancelled));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = endless(&world).collect_async() => panic!("an endless job has ended"),
            () = std::future::ready(()) => {}
        }
    });
    assert_eq!(next_of(&mut events, finished).1, JobEnd::Cancelled);
}

#[test]
fn a_job_can_be_cancelled_by_the_id_that_its_events_carry() {
    let world = World::new(2);
    let mut events = world.events();
    let rows = endless(&world);
    let waiting = thread::spawn(move || rows.collect());
    let job = next_of(&mut events, started);
    world.cancel_job(job);
    assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled { job: cancelled }) if cancelled == job));
    // One that is over, and one that never was.
    world.cancel_job(job);
    world.cancel_job(JobId::new(1_000_000));
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
}

#[test]
fn cancelling_all_jobs_ends_those_that_run_and_names_them() {
    let world = World::new(2);
    let mut events = world.events();
    let actions: Vec<_> = (0..3).map(|_| endless(&world).count_async()).collect();
    let jobs: Vec<_> = iter::repeat_with(|| next_of(&mut events, started)).take(3).collect();
    assert_eq!(sorted(world.cancel_all_jobs().unwrap()), jobs);
    assert!(actions.into_iter().all(|action| is_cancelled(&action.wait())));
    assert_eq!(world.cancel_all_jobs().unwrap(), []);
}

#[test]
fn cancelling_a_job_leaves_another_one_that_waits_for_the_same_rows_unharmed() {
    let world = World::new(2);
    let (gate, computed) = (Gate::new(), Computed::new());
    let (inner, seen) = (gate.clone(), computed.clone());
    let rows = world
        .range_into(0..40_u64, 4)
        .map_partitions_with_index(move |at, rows| {
            seen.add(at);
            inner.pass();
            rows
        })
        .cache();
    let sums = rows.map(|n| (n % 5, n)).reduce_by_key_into(|a, b| a + b, 2);
    let (cancelled, other) = (sums.collect_async(), sums.count_async());
    gate.wait_for(2);
    cancelled.canceller().cancel();
    assert!(is_cancelled(&cancelled.wait()));
    gate.open();
    assert_eq!(within_deadline(move || other.wait().unwrap()), 5);
    // What was under way for the first went on for the second, and the cache is whole.
    assert_eq!(computed.take(), [0, 1, 2, 3]);
    assert_eq!(rows.count().unwrap(), 40);
    assert_eq!(computed.take(), [0_usize; 0]);
}

#[test]
fn a_cache_whose_job_was_cancelled_is_filled_by_the_next_one() {
    let world = World::new(1);
    let gate = Gate::new();
    let inner = gate.clone();
    let rows = world
        .range_into(0..40_u64, 4)
        .map(move |n| {
            if n == 15 {
                inner.pass();
            }
            n
        })
        .cache();
    let action = rows.count_async();
    gate.wait_for(1);
    drop(action);
    gate.open();
    for _ in 0..2 {
        assert_eq!(rows.collect().unwrap(), (0..40).collect::<Vec<_>>());
    }
}

// ---- What is refused.

#[test]
fn an_action_inside_a_closure_is_refused_with_a_clear_error() {
    let world = World::new(1);
    let inner = world.range_into(0..10_u64, 2);
    type Attempt = fn(&Rdd<u64>) -> Result<(), Error>;
    let attempts: [(&str, Attempt); 6] = [
        ("count", |inner| inner.count().map(drop)),
        ("collect", |inner| inner.collect().map(drop)),
        ("count", |inner| inner.count_async().wait().map(drop)),
        ("take", |inner| inner.take(3).map(drop)),
        ("collect_as_map", |inner| inner.map(|n| (n, n)).reduce_by_key(|a, _| a).collect_as_map().map(drop)),
        ("making a context", |_| Context::local(1).map(drop)),
    ];
    for (name, attempt) in attempts {
        let inner = inner.clone();
        let errors = world.range_into(0..2_u64, 2).map(move |_| match attempt(&inner) {
            Err(error @ Error::NestedAction { .. }) => error.to_string(),
            other => format!("{other:?}"),
        });
        for error in within_deadline(move || errors.collect().unwrap()) {
            assert!(error.starts_with(&format!("{name} inside a task: ")), "{error}");
            assert!(error.contains("run the action first"), "{error}");
        }
    }
    // An error that the closure hands on ends the job as the error that it is.
    let outer = world.range_into(0..2_u64, 2).try_map(move |_| inner.count());
    let error = within_deadline(move || outer.collect().unwrap_err().to_string());
    assert!(error.contains("count inside a task"), "{error}");
}

#[test]
fn a_save_inside_a_closure_is_refused_and_leaves_no_directory() {
    let world = World::new(1);
    let (inner, path) = (world.range_into(0..10_u64, 2), world.files().join("rows"));
    let errors = world.range_into(0..1_u64, 1).map(move |_| inner.save_as_text_file(&path).unwrap_err().to_string());
    assert!(errors.collect().unwrap()[0].starts_with("save_as_text_file inside a task"));
    assert_eq!(support::names_in(&world.files()), [] as [String; 0]);
}

#[test]
fn an_rdd_of_another_context_is_refused_by_name() {
    let (world, other) = (World::new(1), World::new(1));
    let foreign = other.range_into(100..110_u64, 2);
    let mixed = world.range_into(0..10_u64, 2).union(&foreign).map(|n| (n, n)).reduce_by_key(|a, _| a);
    for error in [mixed.count().map(drop).unwrap_err(), mixed.collect_async().wait().map(drop).unwrap_err()] {
        assert!(matches!(&error, Error::ForeignRdd { rdd, .. } if *rdd == foreign.id()), "{error:?}");
        assert!(error.to_string().contains("belongs to another context"), "{error}");
    }
    assert_eq!(foreign.count().unwrap(), 10);
}

// ---- What is told.

#[test]
fn events_come_in_pairs_and_in_order() {
    let world = World::new(2);
    let mut stream = world.events();
    let rows = world.range_into(0..100_u64, 4).map(|n| (n % 10, n)).cache();
    let sums = rows.reduce_by_key_into(|a, b| a + b, 3);
    assert_eq!((sums.count().unwrap(), sums.map_values(|n| n + 1).take(3).unwrap().len()), (10, 3));
    let events = drain(&mut stream);

    let mut jobs: BTreeMap<JobId, usize> = BTreeMap::new();
    let mut stages: HashMap<StageId, (usize, usize)> = HashMap::new();
    let mut ended_stages: HashSet<StageId> = HashSet::new();
    let mut tasks: HashMap<TaskId, (StageId, usize)> = HashMap::new();
    let (mut ran_tasks, mut done_tasks, mut rows_out) = (HashSet::new(), HashSet::new(), 0);
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::JobStarted { job, action, partitions } => {
                assert!(jobs.insert(*job, at).is_none() && *partitions > 0);
                assert!(action.contains(" at ") && action.contains(file!()), "{action}");
            }
            Event::JobFinished { job, end } => assert!(jobs.remove(job).is_some() && *end == JobEnd::Succeeded),
            Event::StageStarted { stage, job, tasks, .. } => {
                assert!(jobs.contains_key(job), "a stage of no living job");
                assert!(stages.insert(*stage, (*tasks, 0)).is_none());
            }
            Event::StageFinished { stage } => assert!(ended_stages.insert(*stage)),
            Event::TaskStarted { task, stage, partition, attempt } => {
                assert!(stages.contains_key(stage) && !ended_stages.contains(stage));
                assert!(tasks.insert(*task, (*stage, *partition)).is_none() && *attempt == 1);
            }
            Event::TaskRan { task, ran } => {
                assert!(tasks.contains_key(task) && ran_tasks.insert(*task) && ran.worker < 2);
            }
            Event::TaskFinished { task, stage, partition, rows, .. } => {
                assert_eq!(tasks[task], (*stage, *partition));
                assert!(ran_tasks.contains(task), "its worker tells first");
                assert!(done_tasks.insert(*task) && !ended_stages.contains(stage));
                stages.get_mut(stage).unwrap().1 += 1;
                rows_out += rows;
            }
            Event::PartitionStored { task, partition, .. } => {
                assert!(done_tasks.contains(task) && tasks[task].1 == *partition);
            }
            Event::PartitionSpilled { task, partition, .. } => {
                assert!(!done_tasks.contains(task) && tasks[task].1 == *partition);
            }
            Event::StageSkipped { job, .. } => assert!(jobs.contains_key(job)),
            Event::JobPlanned { job, stages } => assert!(jobs.contains_key(job) && !stages.is_empty()),
            other => panic!("{other:?} in a job without faults"),
        }
    }
    assert!(jobs.is_empty() && stages.len() == ended_stages.len() && tasks.len() == done_tasks.len());
    assert!(stages.values().all(|(wanted, finished)| wanted == finished), "{stages:?}");
    // 4 map tasks and 4 partitions of the cache, 3 reducers, and 1 to 3 more for `take`.
    assert!((12..=14).contains(&tasks.len()), "{} tasks", tasks.len());
    assert!(rows_out >= 100 + 40 + 10 + 3, "{rows_out} rows");
    assert_eq!(stored_in(&events, cache_store(&rows).unwrap()), [0, 1, 2, 3]);
}

#[test]
fn a_job_tells_what_it_is_made_of_and_on_which_worker_each_task_ran() {
    let world = World::roomy(2);
    let mut stream = world.events();
    let rows = world.range_into(0..100_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
    rows.reduce_by_key_into(|a, b| a + b, 3).count().unwrap();
    let events = drain(&mut stream);
    let plans: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::JobPlanned { stages, .. } = event { Some(stages) } else { None })
        .collect();
    let [stages] = plans.as_slice() else { panic!("{plans:?}") };
    let kinds: Vec<_> = stages.iter().map(|stage| (stage.kind, stage.partitions, stage.reads.clone())).collect();
    let (cache, shuffle) = (stages[0].store, stages[1].store);
    let wanted = [
        (StageKind::Persist, 4, vec![]),
        (StageKind::ShuffleMap, 4, vec![cache]),
        (StageKind::Result, 3, vec![shuffle]),
    ];
    assert_eq!(kinds, wanted);
    let names: Vec<_> = stages[0].operators.iter().map(|operator| operator.name.as_deref()).collect();
    assert_eq!(names, [None, Some("pairs")]);
    let workers: Vec<usize> = events
        .iter()
        .filter_map(|event| if let Event::TaskFinished { worker, .. } = event { Some(*worker) } else { None })
        .collect();
    assert!(workers.len() == 11 && workers.iter().all(|worker| *worker < 2), "{workers:?}");
}

#[test]
fn a_slow_subscriber_is_told_what_it_missed_and_slows_nobody_down() {
    let world = World::new(2);
    let (mut slow, mut quick) = (world.events_with_capacity(5), world.events());
    world.range_into(0..100_u64, 20).count().unwrap();
    let first = drain(&mut slow);
    world.range_into(0..100_u64, 1).count().unwrap();
    let (second, all) = (drain(&mut slow), drain(&mut quick));
    assert_eq!(first, all[..5]);
    let Some(Event::Gap { missed }) = second.first() else { panic!("{second:?}") };
    // Nothing is lost from the account: what came, what was missed, what came after it.
    let resumed = first.len() + *missed as usize;
    assert_eq!(second[1..], all[resumed..resumed + second.len() - 1]);
    assert!(*missed > 20);
}

#[test]
fn a_subscriber_hears_of_the_end_of_the_context() {
    let world = World::new(1);
    let mut events = world.events();
    world.range_into(0..10_u64, 2).count().unwrap();
    world.end();
    assert_eq!(events.by_ref().filter(|record| finished(&record.event).is_some()).count(), 1);
    assert!(events.next().is_none());
}

#[test]
fn an_action_is_a_future_that_can_be_sent_and_named() {
    fn is_send_future<F: Future<Output = Result<u64, Error>> + Send + Unpin>(_: &F) {}
    let world = World::new(1);
    let action: Action<u64> = world.range_into(0..10_u64, 2).count_async();
    is_send_future(&action);
    assert_eq!(thread::spawn(move || action.wait()).join().unwrap().unwrap(), 10);
}
