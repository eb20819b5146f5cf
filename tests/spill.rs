//! When memory is tight, what is kept goes to disk, and nothing else changes: the same results to the byte, damage is a
//! loss like any other, and no file is left.

mod support;

use std::{fs, path::PathBuf, sync::mpsc, thread};

use emberflow::{
    Context, Event, Rdd, StorageLevel, Sums,
    testing::{cache_store, kill_cached_partition, kill_map_output},
};
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};

use self::support::{Computed, ON_PURPOSE, World, drain, eventually, lost};

/// A row that owns several pieces of the heap.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
enum Row {
    Number(u64),
    Text { name: String, tags: Vec<String> },
    Point(Vec<f64>),
}

fn row() -> impl Strategy<Value = Row> {
    prop_oneof![
        any::<u64>().prop_map(Row::Number),
        (".{0,12}", vec("[a-z]{0,5}", 0..4)).prop_map(|(name, tags)| Row::Text { name, tags }),
        // Infinities, both zeros, but no NaN, which equals nothing.
        vec(any::<f64>().prop_filter("a number", |x| !x.is_nan()), 0..5).prop_map(Row::Point),
    ]
}

/// Every kind of thing that is kept: a cache, rows placed, combined, grouped, joined, sorted and counted.
fn program(ctx: &Context, rows: &[Row], partitions: usize) -> Vec<String> {
    let kept = ctx.parallelize_into(rows.to_vec(), partitions).cache();
    let keyed = kept.zip_with_index().map(|(row, at)| (format!("{row:?}").len() as u64 % 7, (at, row)));
    let placed = keyed.partition_by(3).collect().unwrap();
    let sums = keyed.map_values(|(at, _)| 1.0 / (at + 1) as f64).reduce_by_key_into(|a, b| a + b, 4);
    let groups = keyed.group_by_key_into(2).cache();
    let joined = groups.join(&sums).collect().unwrap();
    let sorted = keyed.sort_by(|(key, (at, _))| (std::cmp::Reverse(*key), *at)).collect().unwrap();
    let distinct = kept.map(|row| format!("{row:?}")).distinct_into(3).collect().unwrap();
    vec![
        format!("{:?}", kept.collect().unwrap()),
        format!("{placed:?}"),
        format!("{:?} {joined:?}", sums.collect().unwrap()),
        format!("{:?}", groups.collect().unwrap()),
        format!("{sorted:?}"),
        format!("{distinct:?}"),
        format!("{:?}", kept.repartition(3).collect().unwrap()),
    ]
}

#[test]
fn a_program_gives_the_same_bytes_whatever_the_budget() {
    let roomy = World::roomy(2);
    let some = World::with_budget(2, 6_000);
    let worlds = [World::tight(1), World::tight(3), some];
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(rows in vec(row(), 0..60), partitions in 1_usize..5)| {
        let expected = program(&roomy, &rows, partitions);
        for world in &worlds {
            prop_assert_eq!(&program(world, &rows, partitions), &expected);
        }
    });
    assert!(worlds.iter().all(|world| world.memory().spilled_in_all > 0));
    assert_eq!(roomy.memory().spilled_in_all, 0);
    assert!(worlds[2].memory().peak > 0, "with a little room, some of it is used");
    for world in worlds {
        assert_eq!(eventually(|| world.memory().spilled, |bytes| *bytes == 0), 0);
    }
}

#[test]
fn a_cache_of_ten_times_the_budget_stays_within_it_and_the_rest_is_on_disk() {
    const BUDGET: u64 = 1 << 20;
    let world = World::with_budget(2, BUDGET);
    let mut events = world.events();
    let rows = world.range_into(0..1_300_000_u64, 40).cache();
    for _ in 0..3 {
        assert_eq!(rows.fold(0, |a, b| a + b).unwrap(), 1_300_000 * 1_299_999 / 2);
    }
    let memory = world.memory();
    // Each of two tasks holds up to 16 KiB, and what one batch adds, before it is written.
    assert!(memory.peak <= BUDGET + 2 * (24 << 10) && memory.persisted > BUDGET / 2, "{memory:?}");
    let cached = world.storage().unwrap().remove(0);
    assert_eq!((cached.cached_partitions, cached.rows), (40, 1_300_000));
    assert_eq!((cached.bytes, cached.spilled_bytes), (memory.persisted, memory.spilled));
    assert_eq!(cached.bytes + cached.spilled_bytes, 8 * 1_300_000);
    let told = drain(&mut events).into_iter().filter_map(|event| match event {
        Event::PartitionSpilled { store, bytes, file_bytes, .. } if Some(store) == cache_store(&rows) => {
            assert_eq!(bytes, file_bytes);
            Some(file_bytes)
        }
        _ => None,
    });
    assert_eq!(told.sum::<u64>(), memory.spilled, "each partition was spilled once, and read three times");
    assert_eq!((memory.spilled_in_all, memory.read_back_in_all), (memory.spilled, 3 * memory.spilled));
    rows.unpersist_and_wait().unwrap();
    assert_eq!(eventually(|| world.memory().spilled, |bytes| *bytes == 0), 0);
    assert_eq!(eventually(|| world.memory().persisted, |bytes| *bytes == 0), 0);
}

#[test]
fn levels_say_where_rows_are_kept() {
    let world = World::with_budget(2, 1_000);
    let rows = world.range_into(0..1_000_u64, 4).map(|n| n.to_string());
    let where_kept = |level| {
        let kept = rows.map(|row| row).persist(level);
        assert_eq!(kept.collect().unwrap(), rows.collect().unwrap());
        let cached = world.storage().unwrap().remove(0);
        kept.unpersist_and_wait().unwrap();
        (cached.bytes > 0, cached.spilled_bytes > 0)
    };
    assert_eq!(where_kept(StorageLevel::MemoryAndDisk), (false, true));
    assert_eq!(where_kept(StorageLevel::MemoryOnly), (true, false));
    assert_eq!(where_kept(StorageLevel::DiskOnly), (false, true));
    let roomy = World::roomy(2);
    let kept = roomy.range_into(0..10_u64, 2).persist(StorageLevel::DiskOnly);
    assert_eq!((kept.count().unwrap(), roomy.memory().persisted, roomy.memory().spilled), (10, 0, 80));
    kept.unpersist_and_wait().unwrap();
    assert_eq!(kept.persist(StorageLevel::MemoryOnly).count().unwrap(), 10);
    assert_eq!((roomy.memory().persisted, roomy.memory().spilled), (80, 0));
}

#[test]
fn a_spilled_partition_that_is_lost_is_rebuilt_alone() {
    let world = World::tight(2);
    let computed = Computed::new();
    let seen = computed.clone();
    let rows = world.range_into(0..100_u64, 4).map_partitions_with_index(move |at, rows| {
        seen.add(at);
        rows
    });
    let rows = rows.cache();
    let sums = rows.map(|n| (n % 5, n)).reduce_by_key_into(|a, b| a + b, 3);
    let before = sums.collect().unwrap();
    assert_eq!(computed.take(), [0, 1, 2, 3]);
    assert!(kill_cached_partition(&rows, 2).unwrap() && kill_map_output(&sums, 2).unwrap());
    assert_eq!(sums.collect().unwrap(), before);
    assert_eq!(computed.take(), [2]);
}

/// Overwrites everything that this process has spilled to `dir`, through the files that it still has open.
#[cfg(target_os = "linux")]
fn damage(dir: &std::path::Path) -> usize {
    use std::os::unix::fs::FileExt;
    let mut damaged = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        if fs::read_link(&path).is_ok_and(|file| file.starts_with(dir)) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&vec![0xA5; file.metadata().unwrap().len() as usize], 0).unwrap();
            damaged += 1;
        }
    }
    damaged
}

#[cfg(target_os = "linux")]
#[test]
fn damage_on_disk_is_a_loss_that_is_repaired_and_never_a_wrong_row() {
    let world = World::tight(2);
    let rows = world.range_into(0..1_000_u64, 4).map(|n| (n % 10, n.to_string())).cache();
    let groups = rows.group_by_key_into(3);
    let before = (rows.collect().unwrap(), groups.collect().unwrap());
    let mut events = world.events();
    assert!(damage(&world.spill_dir()) > 0);
    assert_eq!((rows.collect().unwrap(), groups.collect().unwrap()), before);
    let lost = lost(&drain(&mut events));
    assert!(lost.len() >= 4, "{lost:?}");
    // And once more, in the middle of a shuffle that was made anew.
    assert!(damage(&world.spill_dir()) > 0);
    assert_eq!(groups.map_values(|names| names.len()).collect_as_map().unwrap()[&3], 100);
}

#[test]
fn nothing_of_what_is_spilled_has_a_name() {
    let world = World::tight(2);
    let rows = world.range_into(0..100_000_u64, 8).cache();
    assert_eq!(rows.count().unwrap(), 100_000);
    assert_eq!(world.memory().spilled, 800_000);
    assert_eq!(fs::read_dir(world.spill_dir()).unwrap().count(), 0, "so a killed process leaves nothing");
}

#[test]
fn beyond_the_limit_a_job_fails_with_a_clear_error_and_the_context_goes_on() {
    let world = World::with(|builder| builder.workers(2).memory_budget(1).spill_limit(10_000));
    let rows = world.range_into(0..10_000_u64, 4).cache();
    let error = rows.count().unwrap_err().to_string();
    assert!(error.contains("spill_limit of 10000") && error.contains("unpersist"), "{error}");
    assert!(error.contains("range at tests/spill.rs"), "{error}");
    rows.unpersist_and_wait().unwrap();
    let small = world.range_into(0..1_000_u64, 4).cache();
    assert_eq!(small.count().unwrap() + small.count().unwrap(), 2_000);
}

#[test]
fn a_spill_directory_that_has_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let world = World::with(|builder| builder.workers(1).memory_budget(1).spill_dir(&gone));
    fs::remove_dir(&gone).unwrap();
    let error = world.range_into(0..10_u64, 2).cache().count().unwrap_err().to_string();
    assert!(error.contains("cannot spill rows") && error.contains(&*gone.to_string_lossy()), "{error}");
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
}

/// Can be written, and not be read: what it is, the bytes do not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Word(String),
}

#[test]
fn rows_that_cannot_be_read_back_stay_in_memory() {
    let world = World::tight(2);
    let either = |n: u64| if n.is_multiple_of(2) { Either::Number(n) } else { Either::Word(n.to_string()) };
    let rows = world.range_into(0..100_u64, 4).map(either).cache();
    let expected: Vec<_> = (0..100).map(either).collect();
    assert_eq!((rows.collect().unwrap(), rows.collect().unwrap()), (expected.clone(), expected));
    assert_eq!(rows.repartition(3).count().unwrap(), 100);
    assert!(world.memory().persisted > 0);
    assert_eq!(world.memory().spilled, 0);
}

/// Bincode would read what was written of one order as another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(default, skip_serializing_if = "is_zero")]
    discount: u64,
    items: Vec<u64>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[test]
fn rows_with_fields_left_out_stay_in_memory_and_are_refused_in_files() {
    let world = World::tight(2);
    let order = |n: u64| Order { discount: u64::from(n == 0), items: vec![0] };
    let orders = world.range_into(0..100_u64, 1).map(order).persist(StorageLevel::DiskOnly);
    assert_eq!(orders.collect().unwrap(), (0..100).map(order).collect::<Vec<_>>());
    assert_eq!(orders.key_by(|_| 1).group_by_key().values().map(|orders| orders.len()).collect().unwrap(), [100]);
    assert_eq!(world.memory().spilled, 0);
    let error = orders.save_as_object_file(world.files().join("orders")).unwrap_err().to_string();
    assert!(error.contains("field `discount` is left out"), "{error}");
}

#[test]
fn rows_that_turn_out_not_to_be_readable_are_an_error_that_says_what_to_do() {
    // Only some of the values say what they are.
    let some = |n: u64| if n < 5 { Ok(n) } else { Err(Either::Number(n)) };
    let world = World::tight(2);
    let error = world.range_into(0..10_u64, 1).map(some).cache().collect().unwrap_err().to_string();
    assert!(error.contains("do not come back") && error.contains("MemoryOnly"), "{error}");
    let kept = world.range_into(0..10_u64, 1).map(some).persist(StorageLevel::MemoryOnly);
    assert_eq!(kept.collect().unwrap(), (0..10).map(some).collect::<Vec<_>>());
}

#[test]
fn rows_that_would_not_come_back_are_refused_before_their_lineage_is_cut() {
    // Only some of the values say what they are, and none of those that come first.
    let some = |n: u64| if n < 9_000 { Ok(n) } else { Err(Either::Number(n)) };
    for world in [World::tight(2), World::roomy(2)] {
        world.set_checkpoint_dir(world.files()).unwrap();
        let rows = world.range_into(0..10_000_u64, 2).map(some);
        for outcome in [rows.checkpoint().map(drop), rows.save_as_object_file(world.files().join("rows"))] {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("row 4000 would not come back") && error.contains("Either"), "{error}");
        }
        assert_eq!(rows.count().unwrap(), 10_000);
        assert!(!world.files().join("rows").exists());
    }
}

/// Two of them are equal only if both fields are, and one field does not go to disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Half {
    kept: u64,
    #[serde(skip)]
    skipped: u64,
}

#[test]
fn keys_that_serde_changes_are_an_error_wherever_their_rows_are() {
    for world in [World::tight(2), World::roomy(2)] {
        let halves = world.range_into(1..101_u64, 4).map(|n| Half { kept: n % 2, skipped: n });
        let pairs = halves.map(|half| (half, 1_u64));
        let outcomes = [
            halves.distinct().count().map(drop),
            pairs.reduce_by_key(|a, b| a + b).count().map(drop),
            pairs.group_by_key().count().map(drop),
            pairs.partition_by(3).count().map(drop),
            pairs.join(&pairs).count().map(drop),
            pairs.cogroup(&pairs).count().map(drop),
            halves.subtract(&halves).count().map(drop),
        ];
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("Half is another one") && error.contains("serde(skip)"), "{at}: {error}");
        }
    }
}

/// As [`Half`], with a field that serde does not write and makes again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept")]
struct Whole {
    kept: u64,
    #[serde(skip)]
    made: u64,
}

#[derive(Deserialize)]
struct Kept {
    kept: u64,
}

impl From<Kept> for Whole {
    fn from(Kept { kept }: Kept) -> Self {
        Self { kept, made: kept + 1 }
    }
}

#[test]
fn a_field_that_serde_skips_is_its_default_where_rows_were_on_disk_unless_it_is_made_again() {
    // What the documentation says, until there is a way to find such fields.
    for (world, seen) in [(World::tight(2), 0), (World::roomy(2), 7)] {
        let halves = || world.range_into(0..100_u64, 4).map(|kept| Half { kept, skipped: 7 });
        let wholes = || world.range_into(0..100_u64, 4).map(|kept| Whole { kept, made: kept + 1 });
        let expected = wholes().collect().unwrap();
        for (halves, wholes) in
            [(halves().cache(), wholes().cache()), (halves().repartition(4), wholes().repartition(4))]
        {
            // The second job reads what the first one has put there.
            assert_eq!((halves.count().unwrap(), wholes.count().unwrap()), (100, 100));
            assert!(halves.collect().unwrap().iter().all(|half| half.skipped == seen));
            let mut back = wholes.collect().unwrap();
            back.sort_by_key(|whole| whole.kept);
            assert_eq!(back, expected);
        }
        let in_memory = halves().persist(StorageLevel::MemoryOnly);
        assert_eq!(in_memory.count().unwrap(), 100);
        assert!(in_memory.collect().unwrap().iter().all(|half| half.skipped == 7));
    }
}

#[test]
fn a_job_that_is_cancelled_does_not_go_on_writing() {
    let world = World::tight(1);
    let ctx = world.clone();
    // Cancelled near the beginning of a partition of 16 MiB.
    let rows = world.range_into(0..2_000_000_u64, 1).map(move |n| {
        if n == 10_000 {
            ctx.cancel_jobs_with_tag("unwanted").unwrap();
        }
        n
    });
    let action = world.with_job_tag("unwanted", || rows.cache().count_async());
    assert!(action.wait().is_err());
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
    assert!(world.memory().spilled_in_all < 1 << 20, "{:?}", world.memory());
}

/// Panics when it is written.
#[derive(Clone, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("{ON_PURPOSE}: written")
    }
}

#[test]
fn a_panic_while_a_row_is_written_fails_its_job_alone() {
    let world = World::tight(2);
    let error = world.range_into(0..10_u64, 2).map(|_| Unwritable).persist(StorageLevel::DiskOnly).count();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("on purpose: written") && error.contains("map at tests/spill.rs"), "{error}");
    assert_eq!(world.range_into(0..10_u64, 2).cache().count().unwrap(), 10);
}

#[test]
fn jobs_at_the_same_time_share_the_budget() {
    let world = World::with_budget(3, 100_000);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for job in 0..6_u64 {
            let (ctx, done): (&Context, _) = (&world, done.clone());
            scope.spawn(move || {
                let rows: Rdd<(u64, u64)> = ctx.range_into(0..20_000, 5).map(move |n| (n % 100, n * job)).cache();
                let sums = rows.reduce_by_key_into(|a, b| a + b, 3);
                done.send((job, rows.count().unwrap(), sums.values().sum().unwrap())).unwrap();
            });
        }
    });
    drop(done);
    let mut results: Vec<_> = results.into_iter().collect();
    results.sort_unstable();
    assert_eq!(results, (0..6).map(|job| (job, 20_000, u128::from(job) * 20_000 * 19_999 / 2)).collect::<Vec<_>>());
    assert!(world.memory().peak <= 100_000 + 3 * (24 << 10), "{:?}", world.memory());
    assert_eq!(eventually(|| world.memory().working, |bytes| *bytes == 0), 0);
}

#[test]
fn of_several_directories_one_may_fail_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = (0..2).map(|at| dir.path().join(format!("disk{at}"))).collect();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let world = World::with(|builder| builder.workers(2).force_spill(true).spill_dirs(&dirs));
    let mut events = world.events();
    let failed = |events: &[Event]| {
        let dir = |event: &Event| match event {
            Event::SpillDirFailed { dir, .. } => Some(dir.clone()),
            _ => None,
        };
        events.iter().filter_map(dir).collect::<Vec<_>>()
    };
    let sorted = |ctx: &Context| ctx.range_into(0..50_000_u64, 4).sort_by(|n| n.reverse_bits()).collect();
    fs::remove_dir(&dirs[0]).unwrap();
    let expected = sorted(&world).unwrap();
    assert_eq!(expected.len(), 50_000);
    // It is said once, and the other one is used.
    assert_eq!(failed(&drain(&mut events)), [dirs[0].clone()]);
    fs::remove_dir(&dirs[1]).unwrap();
    // The other one's file is open still: it is written to as long as it lasts, though it has no directory any more.
    fs::create_dir(&dirs[0]).unwrap();
    assert_eq!(sorted(&world).unwrap(), expected);
    fs::remove_dir(&dirs[0]).unwrap();
    let both = World::with(|builder| builder.workers(1).force_spill(true).spill_dirs([dir.path(), dir.path()]));
    assert_eq!(sorted(&both).unwrap(), expected);
}

#[test]
fn when_all_directories_fail_the_error_names_each() {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = (0..2).map(|at| dir.path().join(format!("disk{at}"))).collect();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let world = World::with(|builder| builder.workers(1).force_spill(true).spill_dirs(&dirs));
    dirs.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    let error = world.range_into(0..10_u64, 2).cache().count().unwrap_err().to_string();
    assert!(dirs.iter().all(|dir| error.contains(&*dir.to_string_lossy())), "{error}");
    // Whatever has failed is tried again when there is nothing else.
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    assert_eq!(world.range_into(0..10_u64, 2).cache().count().unwrap(), 10);
}

/// A disk that is really full: a file system of 2 MiB, in a mount namespace of a child's own. Where that may not be made,
/// the test says so and ends.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_says_so_and_room_on_it_is_used_again() {
    use std::{env, process::Command};
    const CHILD: &str = "EMBERFLOW_TEST_FULL_DISK";
    const NAME: &str = "a_full_disk_is_an_error_that_says_so_and_room_on_it_is_used_again";
    if let Some(dir) = env::var_os(CHILD) {
        let dir = PathBuf::from(dir);
        let free = || rustix::fs::statvfs(&dir).map(|fs| fs.f_bfree * fs.f_frsize).unwrap();
        assert!(free() <= 2 << 20, "this is another disk");
        // All rows go to disk, some pages at a time.
        let builder =
            Context::builder().workers(2).batch_rows(1024).force_spill(false).memory_budget(1).spill_dir(&dir);
        let ctx = builder.build().unwrap();
        let kept = ctx.range_into(0..50_000_u64, 4).cache();
        let expected = kept.collect().unwrap();
        let before = free();
        // Four megabytes of random bits do not go on two.
        let error = ctx.range_into(0..500_000_u64, 4).sort_by(|n| n.reverse_bits()).count().unwrap_err().to_string();
        for part in [
            "cannot spill rows",
            &*dir.to_string_lossy(),
            "No space left on device",
            "choose another disk by spill_dir",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // No more can be there than the disk holds.
        let there = error.split("; ").find_map(|part| part.split_once(" bytes are on disk")).expect("it says how much");
        assert!(there.0.parse::<u64>().is_ok_and(|bytes| bytes <= 2 << 20), "{error}");
        // What was written in vain is gone to the last page, and there is room again.
        let is_free = eventually(|| free() >= before, |is_free| *is_free);
        assert!(is_free, "{} of {before} bytes are free", free());
        assert_eq!(kept.collect().unwrap(), expected);
        assert_eq!(ctx.range_into(0..50_000_u64, 4).sort_by(|n| n.reverse_bits()).count().unwrap(), 50_000);
        println!("a full disk: passed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m none "$1" && exec "$2" --exact "$3" --nocapture"#;
    let child = |script: &str| {
        let mut child = Command::new("unshare");
        child.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(dir.path());
        child.arg(env::current_exe().unwrap()).arg(NAME).env(CHILD, dir.path()).output()
    };
    if !child(r#"mount -t tmpfs -o size=2m none "$1""#).is_ok_and(|tried| tried.status.success()) {
        println!("skipped: no file system can be mounted here, not even in a namespace");
        return;
    }
    let ended = child(script).unwrap();
    let (said, cried) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && said.contains("a full disk: passed"), "{said}{cried}");
}
