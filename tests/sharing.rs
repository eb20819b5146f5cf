//! What tasks share: accumulators count what counts, exactly once; broadcast values are read until they are destroyed;
//! a task knows who it is; checkpoints cut the lineage, and are read by anybody; jobs are found by their labels.

mod support;

use std::{
    collections::HashSet,
    env, fs, panic,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use emberflow::{
    Accumulate, Context, Error, Event, JobEnd, StageKind, TaskInfo,
    testing::{cache_store, kill_cached_partition, kill_map_output, shuffle_store},
};
use proptest::{collection::vec, prelude::*};

use self::support::{
    Computed, Gate, ON_PURPOSE, Tally, World, drain, eventually, failures, finished_tasks_of, law::law, lost, names_in,
    next_of, text_of, within_deadline,
};

/// Panics in the first attempt at each of these partitions, when half of its rows have passed.
fn stumbles(partitions: &[usize]) -> impl Fn(u64) -> u64 + Send + Sync + 'static {
    let partitions = partitions.to_vec();
    move |n| {
        let task = TaskInfo::current().expect("rows are made by tasks");
        assert!(!(n % 10 == 5 && task.attempt() == 1 && partitions.contains(&task.partition())), "{ON_PURPOSE}");
        n
    }
}

#[test]
fn a_retried_attempt_counts_once() {
    let world = World::new(2);
    let mut events = world.events();
    let (rows, sum) = (world.long_accumulator("rows"), world.double_accumulator("sum"));
    let (counted, summed) = (rows.clone(), sum.clone());
    let numbers = world.range_into(0..100_u64, 10).map(move |n| {
        counted.add(1);
        n
    });
    // What comes after the panic sees no row of the attempt, and what comes before it has seen some.
    let numbers = numbers.map(stumbles(&[0, 3, 9]));
    numbers.for_each(move |n| summed.add(n as f64)).unwrap();
    assert_eq!(failures(&drain(&mut events)), [(1, true); 3]);
    assert_eq!((rows.value(), rows.count(), rows.mean()), (100, 100, Some(1.0)));
    assert_eq!((sum.value(), sum.count()), (4950.0, 100));
}

#[test]
fn a_job_that_fails_adds_nothing() {
    let world = World::new(2);
    let rows = world.long_accumulator("rows");
    let counted = rows.clone();
    let failed = world.range_into(0..100_u64, 10).for_each(move |n| {
        counted.add(1);
        assert!(n != 95, "{ON_PURPOSE}");
    });
    assert!(matches!(failed, Err(Error::TaskFailed { .. })));
    assert_eq!(rows.value(), 0);
    // The next job is not told what the failed one has done.
    let counted = rows.clone();
    world.range_into(0..10_u64, 3).for_each(move |_| counted.add(1)).unwrap();
    assert_eq!(rows.value(), 10);
}

#[test]
fn a_cancelled_or_dropped_job_adds_nothing() {
    within_deadline(|| {
        for dropped in [false, true] {
            let world = World::new(2);
            let rows = world.long_accumulator("rows");
            let (gate, counted, at_gate) = (Gate::new(), rows.clone(), Tally::new());
            let (closed, arrived) = (gate.clone(), at_gate.clone());
            let mut events = world.events();
            let action = world.range_into(0..4_u64, 4).for_each_async(move |n| {
                counted.add(1);
                if n == 3 {
                    arrived.add();
                    closed.pass();
                }
            });
            gate.wait_for(1);
            // Partitions before the last one have ended and are accepted.
            next_of(&mut events, |event| matches!(event, Event::TaskFinished { .. }).then_some(()));
            match dropped {
                true => drop(action),
                false => {
                    action.canceller().cancel();
                    assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
                }
            }
            gate.open();
            world.range_into(0..2_u64, 2).count().unwrap();
            assert_eq!((rows.value(), at_gate.get()), (0, 1));
        }
    });
}

#[test]
fn a_map_output_that_is_lost_and_computed_again_counts_once() {
    let world = World::new(2);
    let (rows, computed) = (world.long_accumulator("rows"), Computed::new());
    let (counted, seen) = (rows.clone(), computed.clone());
    let pairs = world.range_into(0..100_u64, 5).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        let counted = counted.clone();
        rows.map(move |n| {
            counted.add(1);
            (n % 7, n)
        })
    });
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    let expected = sums.collect().unwrap();
    assert_eq!((rows.value(), computed.take()), (100, vec![0, 1, 2, 3, 4]));
    let mut events = world.events();
    assert!(kill_map_output(&sums, 2).unwrap() && kill_map_output(&sums, 4).unwrap());
    assert_eq!(sums.collect().unwrap(), expected);
    let shuffle = shuffle_store(&sums).unwrap();
    assert_eq!(lost(&drain(&mut events)), [(shuffle, 2), (shuffle, 4)]);
    assert_eq!((rows.value(), computed.take()), (100, vec![2, 4]));
}

#[test]
fn a_cached_partition_counts_once_until_the_cache_is_filled_anew() {
    let world = World::new(2);
    let (rows, computed) = (world.collection_accumulator("rows"), Computed::new());
    let (gathered, seen) = (rows.clone(), computed.clone());
    let numbers = world.range_into(0..6_u64, 3).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        let gathered = gathered.clone();
        rows.inspect(move |n| gathered.add(*n))
    });
    let numbers = numbers.cache();
    // Only the first partition is needed.
    assert_eq!(numbers.first().unwrap(), Some(0));
    assert_eq!(rows.value(), [0, 1]);
    assert_eq!(numbers.count().unwrap(), 6);
    assert_eq!(rows.value(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(computed.take(), [0, 1, 2]);
    assert!(kill_cached_partition(&numbers, 1).unwrap());
    assert_eq!(numbers.count().unwrap(), 6);
    assert_eq!((rows.value().len(), computed.take()), (6, vec![1]));
    numbers.unpersist();
    numbers.cache().count().unwrap();
    assert_eq!(rows.value(), [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_a_failed_job_has_stored_counts_with_the_job_that_reads_it() {
    let world = World::with(|builder| builder.workers(2).task_failure_limit(1));
    let (rows, fails) = (world.long_accumulator("rows"), Arc::new(AtomicBool::new(true)));
    let (counted, failing) = (rows.clone(), Arc::clone(&fails));
    let pairs = world.range_into(0..20_u64, 4).map(move |n| {
        counted.add(1);
        (n % 3, n)
    });
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 2).map(move |pair| {
        assert!(!failing.load(Ordering::SeqCst), "{ON_PURPOSE}");
        pair
    });
    assert!(sums.collect().is_err());
    assert_eq!(rows.value(), 0);
    fails.store(false, Ordering::SeqCst);
    let mut events = world.events();
    assert_eq!(sums.count().unwrap(), 3);
    assert_eq!(finished_tasks_of(&drain(&mut events), shuffle_store(&sums).unwrap()), [] as [usize; 0]);
    assert_eq!(rows.value(), 20);
    assert_eq!(sums.count().unwrap(), 3);
    assert_eq!(rows.value(), 20);
}

#[test]
fn two_jobs_at_once_that_share_a_shuffle_count_it_once_and_themselves_each() {
    within_deadline(|| {
        let world = World::new(2);
        let (maps, reduced) = (world.long_accumulator("maps"), world.long_accumulator("reduced"));
        let (gate, counted, seen) = (Gate::new(), maps.clone(), reduced.clone());
        let closed = gate.clone();
        let pairs = world.range_into(0..20_u64, 4).map(move |n| {
            if n == 0 {
                closed.pass();
            }
            counted.add(1);
            (n % 3, n)
        });
        let sums = pairs.reduce_by_key_into(|a, b| a + b, 2).map(move |pair| {
            seen.add(1);
            pair
        });
        let (first, second) = (sums.collect_async(), sums.collect_async());
        gate.wait_for(1);
        gate.open();
        assert_eq!(first.wait().unwrap(), second.wait().unwrap());
        assert_eq!((maps.value(), reduced.value()), (20, 6));
    });
}

#[test]
fn a_job_that_was_dropped_leaves_a_shared_shuffle_to_the_other_one() {
    within_deadline(|| {
        let world = World::new(2);
        let maps = world.long_accumulator("maps");
        let (gate, counted) = (Gate::new(), maps.clone());
        let closed = gate.clone();
        let pairs = world.range_into(0..20_u64, 4).map(move |n| {
            closed.pass();
            counted.add(1);
            (n % 3, n)
        });
        let sums = pairs.reduce_by_key_into(|a, b| a + b, 2);
        let (first, second) = (sums.collect_async(), sums.collect_async());
        gate.wait_for(1);
        drop(first);
        gate.open();
        assert_eq!(second.wait().unwrap().len(), 3);
        assert_eq!(maps.value(), 20);
    });
}

#[test]
fn outside_of_a_task_an_accumulator_adds_at_once() {
    let world = World::new(1);
    let (total, words) = (world.long_accumulator("total"), world.collection_accumulator("words"));
    total.add(3);
    let handle = total.clone();
    std::thread::spawn(move || handle.add(4)).join().unwrap();
    words.add("driver");
    assert_eq!((total.value(), words.value()), (7, vec!["driver"]));
    let (counted, gathered) = (total.clone(), words.clone());
    world
        .range_into(0..2_u64, 2)
        .for_each(move |_| {
            counted.add(1);
            gathered.add("task");
        })
        .unwrap();
    assert_eq!((total.value(), words.value()), (9, vec!["driver", "task", "task"]));
    total.reset();
    assert_eq!((total.value(), total.count(), total.mean()), (0, 0, None));
    total.add(i64::MAX);
    total.add(1);
    assert_eq!(total.value(), i64::MIN);
}

#[test]
fn a_task_that_reads_an_accumulator_is_told_its_name() {
    let world = World::with(|builder| builder.workers(1).task_failure_limit(1));
    let bad = world.long_accumulator("bad rows");
    let seen = bad.clone();
    let error = world.range_into(0..2_u64, 1).map(move |n| n as i64 + seen.value()).collect().unwrap_err().to_string();
    assert!(error.contains("accumulator \"bad rows\" was read inside a task"), "{error}");
    let seen = bad.clone();
    let error = world.range_into(0..2_u64, 1).for_each(move |_| seen.reset()).unwrap_err().to_string();
    assert!(error.contains("accumulator \"bad rows\" was reset inside a task"), "{error}");
    assert_eq!(bad.value(), 0);
}

/// The set of what was added, which panics when it meets a certain number.
struct Seen {
    panics_at: Option<u64>,
}

impl Accumulate for Seen {
    type Input = u64;
    type Value = HashSet<u64>;

    fn zero(&self) -> HashSet<u64> {
        HashSet::new()
    }

    fn add(&self, seen: &mut HashSet<u64>, input: u64) {
        seen.insert(input);
    }

    fn merge(&self, seen: &mut HashSet<u64>, other: HashSet<u64>) {
        assert!(!self.panics_at.is_some_and(|at| other.contains(&at)), "{ON_PURPOSE}");
        seen.extend(other);
    }
}

#[test]
fn an_accumulator_of_ones_own_merges_what_tasks_have_added() {
    let world = World::new(2);
    let seen = world.accumulator("seen", Seen { panics_at: None });
    let sees = seen.clone();
    world.range_into(0..100_u64, 7).map(stumbles(&[1])).for_each(move |n| sees.add(n % 9)).unwrap();
    assert_eq!(seen.value(), (0..9).collect());
}

#[test]
fn a_merge_that_panics_is_an_error_with_the_accumulators_name_and_spares_the_others() {
    let world = World::new(2);
    let (seen, rows) = (world.accumulator("seen", Seen { panics_at: Some(5) }), world.long_accumulator("rows"));
    let (sees, counted) = (seen.clone(), rows.clone());
    let numbers = world.range_into(0..10_u64, 10).map(move |n| {
        sees.add(n);
        counted.add(1);
        n
    });
    // The panic is caught on this thread.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !text_of(info.payload()).is_some_and(|text| text.contains(ON_PURPOSE)) {
            print(info);
        }
    }));
    let error = numbers.count().unwrap_err();
    assert!(
        matches!(&error, Error::AccumulatorPanicked { accumulator, message } if accumulator == "seen" && message.contains(ON_PURPOSE))
    );
    assert!(error.to_string().starts_with("accumulator \"seen\": its merge panicked"), "{error}");
    assert_eq!((rows.value(), seen.value().len()), (10, 9));
    assert_eq!(numbers.first().unwrap(), Some(0), "the context works");
}

#[test]
fn an_accumulator_without_a_name_has_that_of_the_line_where_it_was_made() {
    let world = World::new(2);
    let first = line!() + 1;
    let (long, double) = (world.long_accumulator(""), world.double_accumulator(""));
    let list = world.collection_accumulator::<u64>(String::new());
    let seen = world.accumulator("", Seen { panics_at: None });
    let names = [long.name(), double.name(), list.name(), seen.name()];
    for (name, line) in names.into_iter().zip([first, first, first + 1, first + 2]) {
        assert!(name.starts_with(&format!("{}:{line}:", file!())), "{name}, not line {line}");
    }
    let asked = long.clone();
    let error = world.range_into(0..1_u64, 1).map(move |_| asked.value()).count().unwrap_err().to_string();
    assert!(error.contains(&format!("accumulator \"{}:{first}:", file!())), "{error}");
    assert_eq!(world.long_accumulator("named").name(), "named");
}

/// Rows, partitions, attempts that panic, and map outputs that are lost in between: what is added is what a plain loop
/// over the partitions would add, in the same order and to the last bit.
#[test]
fn accumulators_equal_a_loop_over_the_partitions() {
    // Not `sum`: it begins with `-0.0`.
    let total = |rows: &[f64]| rows.iter().fold(0.0, |sum, x| sum + x);
    let bits = |rows: &[Vec<f64>]| -> Vec<u64> { rows.iter().flatten().map(|x| x.to_bits()).collect() };
    let case = (vec(-1e9_f64..1e9, 0..80), 1_usize..8, vec(0_usize..8, 0..4), 0_usize..8);
    law(60, case, |ctx, (rows, partitions, panics, killed)| {
        let (mapped, reduced) = (ctx.double_accumulator("mapped"), ctx.double_accumulator("reduced"));
        let all = ctx.collection_accumulator("all");
        let (adds, sums, gathers) = (mapped.clone(), reduced.clone(), all.clone());
        let pairs = ctx.parallelize_into(rows.clone(), partitions).map(move |x| {
            adds.add(x);
            let task = TaskInfo::current().expect("in a task");
            assert!(task.attempt() > 1 || !panics.contains(&task.partition()), "{ON_PURPOSE}");
            ((x as i64).rem_euclid(5), x)
        });
        let placed = pairs.partition_by(3);
        let expected = placed.values().glom().collect().unwrap();
        prop_assert_eq!(kill_map_output(&placed, killed).unwrap(), killed < partitions);
        let found = placed.values().map(move |x| {
            sums.add(x);
            gathers.add(x.to_bits());
            x
        });
        prop_assert_eq!(bits(&found.glom().collect().unwrap()), bits(&expected));
        prop_assert_eq!(all.value(), bits(&expected));
        let by_reducer: Vec<f64> = expected.iter().map(|rows| total(rows)).collect();
        prop_assert_eq!(reduced.value().to_bits(), total(&by_reducer).to_bits());
        let at = |part: usize| rows.len() * part / partitions;
        let by_map: Vec<f64> = (0..partitions).map(|part| total(&rows[at(part)..at(part + 1)])).collect();
        prop_assert_eq!(mapped.value().to_bits(), total(&by_map).to_bits());
        prop_assert_eq!((mapped.count(), reduced.count()), (rows.len() as u64, rows.len() as u64));
        Ok(())
    });
}

#[test]
fn a_broadcast_is_read_by_tasks_and_never_copied() {
    struct NotClone(Vec<u64>);
    let world = World::new(2);
    let table = world.broadcast(NotClone((0..10).map(|n| n * n).collect()));
    let read = table.clone();
    let squares = world.range_into(0..10_usize, 4).map(move |n| read.0[n]);
    assert_eq!(squares.collect().unwrap(), (0..10).map(|n| n * n).collect::<Vec<u64>>());
    assert!(squares.check_shippable().is_err(), "captured");
}

#[test]
fn a_broadcast_as_an_environment_can_be_shipped_with_its_value() {
    let world = World::new(2);
    let table = world.broadcast(vec![3_u64, 4]);
    let rows = world.range_into(0..2_usize, 2).map_with(table.clone(), |table, n| table[n]);
    rows.check_shippable().unwrap();
    assert_eq!(rows.collect().unwrap(), [3, 4]);
    let stages = rows.describe_stages().unwrap();
    let env = stages[0].operators[1].info.env.clone().unwrap();
    let (id, value) = (table.id().to_le_bytes(), [3_u64, 4].map(u64::to_le_bytes).concat());
    assert!(env.starts_with(&id) && env.ends_with(&value));
}

#[test]
fn a_destroyed_broadcast_is_named_by_whoever_still_reads_it() {
    let world = World::with(|builder| builder.workers(2).task_failure_limit(1));
    let offset = world.broadcast(7_u64);
    let read = offset.clone();
    let (made, used) = (line!() - 2, line!() + 1);
    let rows = world.range_into(0..3_u64, 3).map(move |n| n + *read);
    assert_eq!(rows.collect().unwrap(), [7, 8, 9]);
    offset.destroy();
    let destroyed = line!() - 1;
    let error = rows.collect().unwrap_err().to_string();
    let [made, destroyed, used] = [made, destroyed, used].map(|line| format!("tests/sharing.rs:{line}"));
    let named = format!("broadcast {}, made at {made}", offset.id());
    assert!(error.contains(&named) && error.contains(&format!("was destroyed at {destroyed}")), "{error}");
    assert!(error.contains(&format!("and is still used at {used}")), "{error}");
    assert_eq!(world.range_into(0..3_u64, 3).count().unwrap(), 3);
}

#[test]
fn a_task_knows_who_it_is() {
    let world = World::new(2);
    let mut events = world.events();
    let about = world.range_into(0..6_u64, 3).map(|_| {
        let task = TaskInfo::current().expect("in a task");
        let at = (task.partition(), task.partitions(), task.attempt());
        (task.job().get(), task.stage().get(), task.task().get(), at)
    });
    let about = about.collect().unwrap();
    let mut started = Vec::new();
    let mut begun = Vec::new();
    for event in drain(&mut events) {
        match event {
            Event::StageStarted { stage, job, .. } => begun.push((job.get(), stage.get())),
            Event::TaskStarted { task, stage, partition, attempt } => {
                started.push((stage.get(), task.get(), partition, attempt));
            }
            _ => {}
        }
    }
    assert_eq!(begun.len(), 1);
    let expected = started.iter().map(|(stage, task, partition, attempt)| {
        assert_eq!(*stage, begun[0].1);
        (begun[0].0, *stage, *task, (*partition, 3, *attempt))
    });
    let expected: Vec<_> = expected.flat_map(|about| [about, about]).collect();
    assert_eq!(about, expected);
    assert!(TaskInfo::current().is_none());
}

#[test]
fn hooks_run_when_an_attempt_ends_last_one_first_and_hear_of_its_error() {
    let world = World::new(1);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let says = Arc::clone(&heard);
    let rows = world.range_into(0..1_u64, 1).map(move |n| {
        let task = TaskInfo::current().expect("in a task");
        for hook in ["first", "second"] {
            let (says, attempt) = (Arc::clone(&says), task.attempt());
            task.on_end(move |error| says.lock().unwrap().push((attempt, hook, error.map(ToString::to_string))));
        }
        assert!(task.attempt() > 1, "{ON_PURPOSE}");
        n
    });
    assert_eq!(rows.count().unwrap(), 1);
    let failed = Some(format!("panicked: {ON_PURPOSE}"));
    let expected = [(1, "second", failed.clone()), (1, "first", failed), (2, "second", None), (2, "first", None)];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_hook_that_panics_fails_its_attempt_and_what_it_added_does_not_count() {
    let world = World::new(2);
    let rows = world.long_accumulator("rows");
    let counted = rows.clone();
    let numbers = world.range_into(0..10_u64, 2).map(move |n| {
        let task = TaskInfo::current().expect("in a task");
        let attempt = task.attempt();
        counted.add(1);
        task.on_end(move |_| assert!(attempt > 1, "{ON_PURPOSE}"));
        n
    });
    assert_eq!(numbers.count().unwrap(), 10);
    assert_eq!(rows.value(), 10);
}

#[test]
fn a_checkpoint_has_the_same_rows_in_the_same_partitions_whatever_happened_on_the_way() {
    let case = (vec((any::<i32>(), ".{0,8}"), 0..60), 1_usize..7, vec(0_usize..7, 0..3), any::<bool>());
    law(60, case, |ctx, (rows, partitions, panics, local)| {
        let dir = tempfile::tempdir().unwrap();
        ctx.set_checkpoint_dir(dir.path()).unwrap();
        let computed = Computed::new();
        let seen = computed.clone();
        let source = ctx.parallelize_into(rows.clone(), partitions).map_partitions_with_index(move |at, rows| {
            let task = TaskInfo::current().expect("in a task");
            let panics = task.attempt() == 1 && panics.contains(&at);
            seen.add(at);
            rows.inspect(move |_| assert!(!panics, "{ON_PURPOSE}"))
        });
        let checkpoint = match local {
            true => source.local_checkpoint().unwrap(),
            false => source.checkpoint().unwrap(),
        };
        prop_assert!(checkpoint.is_checkpointed() && !source.is_checkpointed());
        drop(source);
        computed.take();
        let plain = ctx.parallelize_into(rows.clone(), partitions).glom().collect().unwrap();
        prop_assert_eq!(checkpoint.glom().collect().unwrap(), plain.clone());
        prop_assert_eq!(checkpoint.collect().unwrap(), rows);
        prop_assert_eq!(computed.take(), [] as [usize; 0]);
        prop_assert_eq!(checkpoint.to_debug_string().lines().count(), 1);
        if let Some(path) = checkpoint.checkpoint_file() {
            let mut names: Vec<_> = (0..partitions).map(|part| format!("part-{part:05}")).collect();
            names.splice(0..0, ["_SUCCESS".to_owned(), "_manifest".to_owned()]);
            prop_assert_eq!(names_in(&path), names);
            let again = ctx.checkpoint_file::<(i32, String)>(path).unwrap();
            prop_assert_eq!(again.glom().collect().unwrap(), plain);
        }
        Ok(())
    });
}

#[test]
fn a_checkpoint_is_read_by_another_process() {
    const PATH: &str = "SHARING_TEST_CHECKPOINT";
    let world = World::new(2);
    if let Some(path) = env::var_os(PATH) {
        let read = world.checkpoint_file::<(u64, String)>(path).unwrap();
        assert_eq!(read.partitions(), 3);
        let expected: Vec<_> = (0..9).map(|n| (n, format!("row {n}"))).collect();
        assert_eq!(read.collect().unwrap(), expected);
        println!("the other process has read it");
        return;
    }
    world.set_checkpoint_dir(world.files()).unwrap();
    let written = world.range_into(0..9_u64, 3).map(|n| (n, format!("row {n}"))).checkpoint().unwrap();
    let this = env::current_exe().unwrap();
    let test = ["--exact", "a_checkpoint_is_read_by_another_process", "--nocapture"];
    let other = Command::new(this).args(test).env(PATH, written.checkpoint_file().unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(other.status.success() && said.contains("the other process has read it"), "{other:?}");
}

#[test]
fn a_damaged_checkpoint_is_an_error_that_names_the_file_and_the_byte() {
    let world = World::new(2);
    world.set_checkpoint_dir(world.files()).unwrap();
    let rows = world.range_into(0..100_u64, 4).checkpoint().unwrap();
    let file = rows.checkpoint_file().unwrap().join("part-00002");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    let mut events = world.events();
    for (bytes, reason) in [
        (flipped, "part-00002, byte 27: damaged: the checksum is another"),
        (whole[..50].to_vec(), "part-00002, byte 50: it has 50 bytes instead of"),
        (whole[..7].to_vec(), "part-00002, byte 0: not a file of rows that emberflow has written"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = rows.count().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("checkpoint at tests/sharing.rs"), "{error}");
        assert_eq!(failures(&drain(&mut events)), [(1, false)], "trying again is useless");
    }
    // Another partition's file in its place.
    fs::copy(file.with_file_name("part-00001"), &file).unwrap();
    assert!(rows.count().unwrap_err().to_string().contains("it holds partition 1, not 2"));
    fs::remove_file(&file).unwrap();
    assert!(rows.count().unwrap_err().to_string().contains("cannot read"));
    assert_eq!(rows.take(50).unwrap(), (0..50).collect::<Vec<_>>(), "the others are whole");
    fs::write(&file, whole).unwrap();
    assert_eq!(rows.count().unwrap(), 100);
}

#[test]
fn what_is_no_checkpoint_or_one_of_other_rows_is_refused_at_once() {
    let world = World::new(1);
    world.set_checkpoint_dir(world.files()).unwrap();
    let error = world.checkpoint_file::<u64>(world.files().join("none")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the checkpoint") && error.contains("none"), "{error}");
    let path = world.range_into(0..9_u64, 2).checkpoint().unwrap().checkpoint_file().unwrap();
    let error = world.checkpoint_file::<(String, u64)>(&path).unwrap_err().to_string();
    assert!(error.contains("its rows are u64, not (String, u64)"), "{error}");
    fs::write(path.join("_manifest"), "{}").unwrap();
    let error = world.checkpoint_file::<u64>(&path).unwrap_err().to_string();
    assert!(error.contains("_manifest, byte 0: not a file of rows"), "{error}");
    fs::write(world.files().join("file"), "").unwrap();
    assert!(matches!(world.set_checkpoint_dir(world.files().join("file")), Err(Error::InvalidSetting { .. })));
}

#[test]
fn the_directory_of_checkpoints_may_be_a_url_of_a_local_one_and_no_other() {
    let world = World::new(1);
    let dir = world.files().join("a b");
    let url = format!("file://{}", dir.display());
    let built = Context::builder().workers(1).checkpoint_dir(&url).build().unwrap();
    assert_eq!(built.checkpoint_dir().as_deref(), Some(&*dir));
    world.set_checkpoint_dir(&url).unwrap();
    assert_eq!(world.checkpoint_dir().as_deref(), Some(&*dir));
    let file = world.range(0..9_u64).checkpoint().unwrap().checkpoint_file().unwrap();
    assert!(file.starts_with(&dir), "{}", file.display());
    let read = world.checkpoint_file::<u64>(format!("file://{}", file.display())).unwrap();
    assert_eq!((read.count().unwrap(), read.checkpoint_file().as_deref()), (9, Some(&*file)));

    for (url, advice) in [
        ("s3://bucket/checkpoints", "write to S3 with save_as_object_file"),
        ("s3a://bucket/checkpoints", "write to S3 with save_as_object_file"),
        ("hdfs://host/checkpoints", "give a path, file:///path/to/it"),
        ("file://host/checkpoints", "give a path, file:///path/to/it"),
    ] {
        let built = Context::builder().workers(1).checkpoint_dir(url).build().unwrap_err();
        for error in [world.set_checkpoint_dir(url).unwrap_err(), built] {
            assert!(matches!(error, Error::InvalidSetting { setting: "checkpoint_dir", .. }), "{error:?}");
            assert!(error.to_string().contains(url) && error.to_string().contains(advice), "{error}");
        }
    }
    assert_eq!(world.checkpoint_dir(), Some(dir), "the one that was right stays");
}

#[test]
fn a_checkpoint_needs_a_directory_and_says_how_to_choose_one() {
    let world = World::new(1);
    let error = world.range(0..9_u64).checkpoint().unwrap_err().to_string();
    assert!(error.contains("Context::set_checkpoint_dir") && error.contains("EMBERFLOW_CHECKPOINT_DIR"), "{error}");
}

#[test]
fn a_checkpoint_that_fails_or_is_cancelled_leaves_nothing() {
    within_deadline(|| {
        let world = World::with(|builder| builder.workers(2).task_failure_limit(2));
        world.set_checkpoint_dir(world.files()).unwrap();
        let left = |world: &World| names_in(&world.files().join(world.application_id()));
        let failed = world.range_into(0..9_u64, 3).map(|n| {
            assert!(n != 7, "{ON_PURPOSE}");
            n
        });
        assert!(matches!(failed.checkpoint(), Err(Error::TaskFailed { .. })));
        assert_eq!(left(&world), [] as [&str; 0]);

        let (gate, closed) = (Gate::new(), Gate::new());
        let pass = closed.clone();
        let arrived = gate.clone();
        arrived.open();
        let action = world.range_into(0..9_u64, 3).map(move |n| {
            arrived.pass();
            pass.pass();
            n
        });
        let action = action.checkpoint_async();
        gate.wait_for(1);
        action.canceller().cancel();
        assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
        closed.open();
        assert_eq!(left(&world), [] as [&str; 0]);
        assert_eq!(world.range_into(0..9_u64, 3).checkpoint().unwrap().count().unwrap(), 9);
    });
}

#[test]
fn a_checkpoint_keeps_how_rows_are_placed_so_that_reducing_again_moves_none() {
    let world = World::new(2);
    world.set_checkpoint_dir(world.files()).unwrap();
    let sums = world.range_into(0..99_u64, 4).map(|n| (n % 10, n)).reduce_by_key_into(|a, b| a + b, 3);
    for checkpoint in [sums.checkpoint().unwrap(), sums.local_checkpoint().unwrap()] {
        let again = checkpoint.reduce_by_key_into(|a, b| a + b, 3);
        let stages = again.describe_stages().unwrap();
        assert_eq!(stages.iter().map(|stage| stage.kind).collect::<Vec<_>>(), [StageKind::Result]);
        assert_eq!(again.collect().unwrap(), sums.collect().unwrap());
    }
}

#[test]
fn rows_that_cannot_be_written_fail_the_checkpoint_once() {
    #[derive(Clone)]
    struct Sour;
    impl serde::Serialize for Sour {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("too sour"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Sour {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let world = World::new(1);
    world.set_checkpoint_dir(world.files()).unwrap();
    let error = world.parallelize_into(vec![Sour], 1).checkpoint().unwrap_err().to_string();
    assert!(error.contains("failed after 1 attempt") && error.contains("row 0 cannot be written:"), "{error}");
    let large = world.parallelize_into(vec![()], 1).map(|()| "x".repeat((64 << 20) + 1));
    let error = large.checkpoint().unwrap_err().to_string();
    assert!(error.contains("67108864 is the most that can be read back"), "{error}");
    assert_eq!(large.local_checkpoint().unwrap().count().unwrap(), 1);
}

#[test]
fn a_group_of_jobs_is_cancelled_and_no_other_job() {
    within_deadline(|| {
        let world = World::new(2);
        let gate = Gate::new();
        let blocked = || {
            let gate = gate.clone();
            world.range_into(0..2_u64, 2).map(move |n| {
                gate.pass();
                n
            })
        };
        let (first, second) = world.with_job_group("etl", || {
            let inner = world.with_job_group("inner", || blocked().count_async());
            (blocked().count_async(), inner)
        });
        let (third, free) = (world.with_job_group("etl", || blocked().count_async()), blocked().count_async());
        assert_eq!(world.cancel_job_group("etl").unwrap().len(), 2);
        assert!(matches!(first.wait(), Err(Error::Cancelled { .. })));
        assert!(matches!(third.wait(), Err(Error::Cancelled { .. })));
        assert_eq!(world.cancel_job_group("etl").unwrap(), []);
        gate.open();
        assert_eq!((second.wait().unwrap(), free.wait().unwrap()), (2, 2));
    });
}

#[test]
fn every_job_of_an_action_carries_the_labels_that_it_was_started_within() {
    within_deadline(|| {
        let (world, other) = (World::new(2), World::new(1));
        let (mut events, mut others) = (world.events(), other.events());
        let rows = world.range_into(0..100_u64, 10);
        let taken = world.with_job_group("films", || {
            world.with_job_description("the first ones", || {
                world.with_job_tag("b", || {
                    // A panic takes no label with it, and another context has its own.
                    let thrown = panic::catch_unwind(panic::AssertUnwindSafe(|| {
                        world.with_job_tag("c", || panic::resume_unwind(Box::new(1)))
                    }));
                    assert!(thrown.is_err() && other.range(0..9_u64).count().unwrap() == 9);
                    world.with_job_tag("a", || rows.take_async(30))
                })
            })
        });
        // Several rounds, of which the later ones start here.
        assert_eq!(taken.wait().unwrap().len(), 30);
        rows.count().unwrap();
        let (mut jobs, mut labelled) = (Vec::new(), Vec::new());
        for event in drain(&mut events) {
            match event {
                Event::JobStarted { job, .. } => jobs.push(job),
                Event::JobLabelled { job, labels } => {
                    assert_eq!(jobs.last(), Some(&job));
                    assert_eq!(labels.group.as_deref(), Some("films"));
                    assert_eq!(labels.description.as_deref(), Some("the first ones"));
                    assert_eq!(labels.tags.into_iter().collect::<Vec<_>>(), ["a", "b"]);
                    labelled.push(job);
                }
                _ => {}
            }
        }
        assert!(labelled.len() > 1 && labelled == jobs[..jobs.len() - 1], "{labelled:?} of {jobs:?}");
        assert!(!drain(&mut others).iter().any(|event| matches!(event, Event::JobLabelled { .. })));
    });
}

#[test]
fn jobs_with_a_tag_are_cancelled_whatever_other_tags_they_have() {
    within_deadline(|| {
        let world = World::new(2);
        let endless = world.range_into(0..u64::MAX, 1);
        let (both, one) = world
            .with_job_tag("slow", || (world.with_job_tag("report", || endless.count_async()), endless.count_async()));
        assert_eq!(world.cancel_jobs_with_tag("report").unwrap().len(), 1);
        assert!(matches!(both.wait(), Err(Error::Cancelled { .. })));
        assert_eq!(world.cancel_jobs_with_tag("slow").unwrap().len(), 1);
        assert!(matches!(one.wait(), Err(Error::Cancelled { .. })));
    });
}

#[test]
fn run_job_computes_the_chosen_partitions_and_no_others() {
    let case = (vec(any::<i16>(), 0..60), 1_usize..8, vec(0_usize..8, 0..5));
    law(60, case, |ctx, (rows, partitions, wanted)| {
        let computed = Computed::new();
        let seen = computed.clone();
        let rdd = ctx.parallelize_into(rows, partitions).map_partitions_with_index(move |at, rows| {
            seen.add(at);
            rows
        });
        let found = rdd.run_job(wanted.clone(), |at, rows| (at, rows.collect::<Vec<_>>()));
        if let Some(missing) = wanted.iter().find(|at| **at >= partitions) {
            let error = found.unwrap_err().to_string();
            prop_assert!(error.contains(&format!("there is no partition {missing}")), "{}", error);
            prop_assert_eq!(computed.take(), [] as [usize; 0]);
            return Ok(());
        }
        let mut distinct = wanted;
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(&computed.take(), &distinct);
        let all = rdd.glom().collect().unwrap();
        let expected: Vec<_> = distinct.into_iter().map(|at| (at, (at, all[at].clone()))).collect();
        prop_assert_eq!(found.unwrap(), expected);
        Ok(())
    });
}

#[test]
fn what_is_cached_is_told_partition_by_partition_until_it_is_released() {
    let world = World::roomy(2);
    assert_eq!(world.storage().unwrap(), []);
    let rows = world.range_into(0..100_u64, 4).cache();
    let words = world.range_into(0..8_u64, 2).map(|n| n.to_string()).set_name("words").cache();
    let summary = || {
        let cached = world.storage().unwrap();
        cached.into_iter().map(|c| (c.rdd, c.name, c.cached_partitions, c.partitions, c.rows)).collect::<Vec<_>>()
    };
    let named = Some("words".to_owned());
    assert_eq!(summary(), [(rows.id(), None, 0, 4, 0), (words.id(), named.clone(), 0, 2, 0)]);
    rows.count().unwrap();
    words.first().unwrap();
    assert!(kill_cached_partition(&rows, 3).unwrap());
    assert_eq!(summary(), [(rows.id(), None, 3, 4, 75), (words.id(), named.clone(), 1, 2, 4)]);
    let told = world.storage().unwrap();
    assert_eq!(told[0].bytes, 75 * 8);
    assert!(told[1].operator.starts_with("map at tests/sharing.rs:"));
    rows.unpersist_and_wait().unwrap();
    assert_eq!(summary(), [(words.id(), named, 1, 2, 4)]);
    drop(words);
    assert_eq!(summary(), []);
    world.stop();
    assert!(matches!(world.storage(), Err(Error::ContextClosed)));
}

#[test]
fn releasing_a_cache_can_wait_for_the_job_that_reads_it() {
    within_deadline(|| {
        let world = World::new(2);
        let rows = world.range_into(0..4_u64, 2).cache();
        rows.count().unwrap();
        let store = cache_store(&rows).unwrap();
        let gate = Gate::new();
        let closed = gate.clone();
        let reads = rows.map(move |n| {
            closed.pass();
            n
        });
        let mut events = world.events();
        let action = reads.count_async();
        gate.wait_for(2);
        let releases = rows.clone();
        let waits = std::thread::spawn(move || releases.unpersist_and_wait());
        assert!(!eventually(|| rows.is_cached(), |cached| !cached));
        gate.open();
        assert_eq!(action.wait().unwrap(), 4);
        waits.join().unwrap().unwrap();
        let order = drain(&mut events);
        let at = |find: &dyn Fn(&Event) -> bool| order.iter().position(find).expect("it happened");
        let finished = at(&|event| matches!(event, Event::JobFinished { end: JobEnd::Succeeded, .. }));
        let dropped = at(&|event| matches!(event, Event::StoreDropped { store: at, .. } if *at == store));
        assert!(finished < dropped);
        rows.unpersist_and_wait().unwrap();
        let nested = rows.clone();
        let inside = reads.map(move |_| nested.unpersist_and_wait().is_err()).collect().unwrap();
        assert_eq!(inside, [true; 4]);
    });
}

#[test]
fn contexts_can_be_told_apart_and_name_their_version() {
    let world = World::with(|builder| builder.app_name("a b/c"));
    assert!(world.application_id().starts_with("a-b-c-"), "fit for a file name");
    assert_ne!(world.application_id(), World::new(1).application_id());
    assert_eq!(world.version(), env!("CARGO_PKG_VERSION"));
    assert!(world.start_time() <= std::time::SystemTime::now());
}
