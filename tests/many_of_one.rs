//! Operators that make many rows of one: whatever they make, a task holds a batch of it, and the budget what is kept.
//! Each runs in a process of its own, whose peak the system tells.
#![cfg(target_os = "linux")]

mod support;

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use emberflow::{Context, Rdd};

use self::support::{World, within_deadline};

/// Which operator a child is to run.
const OPERATOR: &str = "EMBERFLOW_TEST_MANY_OF_ONE";

const ROWS: u64 = 1_024;
const EACH: u64 = 50_000;
const BUDGET: u64 = 16 << 20;

fn ones(ctx: &Context) -> Rdd<u64> {
    ctx.range_into(0..ROWS, 4)
}

fn pairs(ctx: &Context) -> Rdd<(u64, u64)> {
    ones(ctx).map(|n| (n % 2, n))
}

/// The many rows that all meet each of `ones`, and the pairs with the same key.
fn many(ctx: &Context) -> Rdd<u64> {
    ctx.range_into(0..EACH, 1)
}

fn keyed(ctx: &Context) -> Rdd<(u64, u64)> {
    ctx.range_into(0..EACH, 2).map(|n| (0, n))
}

/// Rows that have all the same key, of which there are as many as rows in `keyed`.
fn same_key(ctx: &Context) -> Rdd<(u64, u64)> {
    ones(ctx).map(|n| (0, n))
}

/// The operators that make more rows than they are given, and how many they make here.
type Program = fn(&Context) -> u64;
const ONE_TO_MANY: &[(&str, Program)] = &[
    ("flat_map", |ctx| ones(ctx).flat_map(|n| (0..EACH).map(move |m| n + m)).count().unwrap()),
    ("flat_map_with", |ctx| ones(ctx).flat_map_with(EACH, |each, n| n..n + *each).count().unwrap()),
    ("flat_map_extend", |ctx| ones(ctx).flat_map_extend(|n, out| out.extend(*n..*n + EACH)).count().unwrap()),
    ("flat_map_ref", |ctx| ones(ctx).flat_map_ref(|n, out| out.extend(*n..*n + EACH)).count().unwrap()),
    ("flat_map_extend_with", |ctx| {
        ones(ctx).flat_map_extend_with(EACH, |each, n, out| out.extend(*n..*n + *each)).count().unwrap()
    }),
    ("flat_map_ref_with", |ctx| {
        ones(ctx).flat_map_ref_with(EACH, |each, n, out| out.extend(*n..*n + *each)).count().unwrap()
    }),
    ("flat_map_values_with", |ctx| pairs(ctx).flat_map_values_with(EACH, |each, n| n..n + *each).count().unwrap()),
    ("flat_map_values", |ctx| pairs(ctx).flat_map_values(|n| n..n + EACH).count().unwrap()),
    ("flat_map_reduce_by_key", |ctx| {
        let words = ones(ctx).map(|n| n.to_string());
        let made: Rdd<(String, u64)> = words.flat_map_reduce_by_key(
            |word, pairs| (0..EACH).for_each(|_| pairs.push(word.as_str(), 1_u64)),
            |a, b| a + b,
        );
        made.values().reduce(|a, b| a + b).unwrap().unwrap()
    }),
    ("flat_map_reduce_by_key_into", |ctx| {
        let words = ones(ctx).map(|n| n.to_string());
        let made: Rdd<(String, u64)> = words.flat_map_reduce_by_key_into(
            |word, pairs| (0..EACH).for_each(|_| pairs.push(word.as_str(), 1_u64)),
            |a, b| a + b,
            3,
        );
        made.values().reduce(|a, b| a + b).unwrap().unwrap()
    }),
    ("map_partitions", |ctx| ones(ctx).map_partitions(|rows| rows.flat_map(|n| n..n + EACH)).count().unwrap()),
    ("map_partitions_with_index", |ctx| {
        ones(ctx).map_partitions_with_index(|_, rows| rows.flat_map(|n| n..n + EACH)).count().unwrap()
    }),
    ("map_partitions_with", |ctx| {
        ones(ctx)
            .map_partitions_with(EACH, |each, rows| {
                let each = *each;
                rows.flat_map(move |n| n..n + each)
            })
            .count()
            .unwrap()
    }),
    ("map_partitions_with_index_with", |ctx| {
        ones(ctx)
            .map_partitions_with_index_with(EACH, |each, _, rows| {
                let each = *each;
                rows.flat_map(move |n| n..n + each)
            })
            .count()
            .unwrap()
    }),
    ("zip_partitions_with", |ctx| {
        ones(ctx)
            .zip_partitions_with(&ones(ctx), EACH, |each, left, right| {
                let each = *each;
                left.zip(right).flat_map(move |(n, _)| n..n + each)
            })
            .count()
            .unwrap()
    }),
    ("zip_partitions", |ctx| {
        ones(ctx)
            .zip_partitions(&ones(ctx), |left, right| left.zip(right).flat_map(|(n, _)| n..n + EACH))
            .count()
            .unwrap()
    }),
    ("sample", |ctx| ones(ctx).sample(true, EACH as f64, 1).count().unwrap()),
    ("sample_by_key", |ctx| pairs(ctx).sample_by_key(true, |_| EACH as f64, 1).count().unwrap()),
    ("sample_by_key_with", |ctx| pairs(ctx).sample_by_key_with(EACH as f64, true, |each, _| *each, 1).count().unwrap()),
    ("cartesian", |ctx| ones(ctx).cartesian(&many(ctx)).count().unwrap()),
    ("pipe", |ctx| {
        ctx.range_into(0..10_u64, 2).pipe(["sh", "-c", "while read n; do seq 500000; done"]).count().unwrap()
    }),
    ("join", |ctx| same_key(ctx).join(&keyed(ctx)).count().unwrap()),
    ("join_into", |ctx| same_key(ctx).join_into(&keyed(ctx), 2).count().unwrap()),
    ("left_outer_join", |ctx| same_key(ctx).left_outer_join(&keyed(ctx)).count().unwrap()),
    ("left_outer_join_into", |ctx| same_key(ctx).left_outer_join_into(&keyed(ctx), 2).count().unwrap()),
    ("right_outer_join", |ctx| same_key(ctx).right_outer_join(&keyed(ctx)).count().unwrap()),
    ("right_outer_join_into", |ctx| same_key(ctx).right_outer_join_into(&keyed(ctx), 2).count().unwrap()),
    ("full_outer_join", |ctx| same_key(ctx).full_outer_join(&keyed(ctx)).count().unwrap()),
    ("full_outer_join_into", |ctx| same_key(ctx).full_outer_join_into(&keyed(ctx), 2).count().unwrap()),
    ("broadcast_join", |ctx| same_key(ctx).broadcast_join(&keyed(ctx)).count().unwrap()),
    ("broadcast_left_outer_join", |ctx| same_key(ctx).broadcast_left_outer_join(&keyed(ctx)).count().unwrap()),
];

/// The operators that give no more rows than they are given. What they gather is in `tests/memory.rs`.
const NO_MORE_ROWS: &str = "
    aggregate_by_key aggregate_by_key_into cache coalesce cogroup cogroup3 cogroup3_into cogroup4 cogroup4_into cogroup_into combine_by_key
    combine_by_key_into count_approx_distinct_by_key count_approx_distinct_by_key_into distinct distinct_into filter
    filter_by_range filter_with fold_by_key fold_by_key_into glom group_by group_by_into group_by_with group_by_with_into group_by_key group_by_key_into intersection
    intersection_into key_by key_by_with keys left_semi_join left_semi_join_into map map_ref map_ref_with map_values map_values_with map_with partition_by persist
    random_split reduce_by_key reduce_by_key_into repartition repartition_and_sort_within_partitions sort_by sort_by_cmp sort_by_cmp_into
    sort_by_desc sort_by_desc_into sort_by_into sort_by_key sort_by_key_desc sort_by_key_desc_into sort_by_key_into subtract subtract_by_key
    subtract_by_key_into subtract_into try_map try_map_retrying try_map_retrying_with try_map_with union values zip zip_with_index zip_with_unique_id
";

/// The most memory that the process has had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Runs an operator in a child; returns how many rows it made and how much memory that took.
fn measure(operator: &str) -> (u64, u64) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "no_operator_that_makes_many_rows_of_one_holds_them", "--nocapture"]);
    for setting in ["EMBERFLOW_BATCH_ROWS", "EMBERFLOW_FORCE_SPILL", "EMBERFLOW_MEMORY_BUDGET"] {
        child.env_remove(setting);
    }
    let output = child.env(OPERATOR, operator).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let figures = out.lines().find_map(|line| line.strip_prefix("made ")).unwrap_or_else(|| {
        panic!("{operator}: {}: {out}{}", output.status, String::from_utf8_lossy(&output.stderr));
    });
    let (made, peak) = figures.split_once(' ').unwrap();
    (made.parse().unwrap(), peak.parse().unwrap())
}

#[test]
fn no_operator_that_makes_many_rows_of_one_holds_them() {
    if let Ok(operator) = env::var(OPERATOR) {
        let program = ONE_TO_MANY.iter().find(|(name, _)| *name == operator).unwrap().1;
        let ctx = Context::builder().workers(2).memory_budget(BUDGET).build().unwrap();
        let made = program(&ctx);
        println!("\nmade {made} {}", peak());
        return;
    }
    if env::var_os("EMBERFLOW_FORCE_SPILL").is_some() {
        println!("skipped: measured without settings of the environment, in another run");
        return;
    }
    let (_, usual) = measure("flat_map");
    for (operator, _) in ONE_TO_MANY {
        let (made, peak) = measure(operator);
        assert!(made >= 4_000_000, "{operator} made {made} rows");
        // What the process itself takes, and as much of the budget as an operator may use.
        assert!(peak <= usual + BUDGET, "{operator} took {} MiB, flat_map {} MiB", peak >> 20, usual >> 20);
    }
}

#[test]
fn every_operator_is_known_to_make_many_rows_of_one_or_not() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/emberflow-rdd/src/rdd");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(source).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for method in text.split("    pub fn ").skip(1) {
            let signature = method.split_once(" {\n").unwrap().0;
            let name: String = signature.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let returns = signature.split("\n    where").next().unwrap().rsplit("->").next().unwrap();
            if signature.contains("&self") && returns.contains("Rdd<") {
                found.insert(name);
            }
        }
    }
    let known: BTreeSet<String> =
        ONE_TO_MANY.iter().map(|(name, _)| *name).chain(NO_MORE_ROWS.split_whitespace()).map(str::to_owned).collect();
    assert_eq!(found, known, "add the operator to ONE_TO_MANY with a program, or to NO_MORE_ROWS");
}

#[test]
fn rows_without_end_are_made_as_they_are_wanted() {
    let world = World::new(2);
    within_deadline(move || {
        let pairs = world.parallelize(vec![(1, 2), (3, 4)]);
        assert_eq!(pairs.flat_map_values(|_| 0..u64::MAX).take(3).unwrap(), [(1, 0), (1, 1), (1, 2)]);
        assert_eq!(world.range(0..3_u64).sample(true, 1e18, 1).take(3).unwrap(), [0, 0, 0]);
        assert_eq!(pairs.sample_by_key(true, |_| 1e18, 1).first().unwrap(), Some((1, 2)));
        assert_eq!(world.range(0..3_u64).map_partitions(|_| 7..).take(2).unwrap(), [7, 8]);
    });
}

#[test]
fn a_partition_that_does_not_fit_is_no_row_of_glom_but_an_error_that_says_what_to_do() {
    let world = World::with_budget(2, BUDGET);
    let error = world.range_into(0..50_000_000_u64, 1).glom().count().unwrap_err().to_string();
    assert!(error.contains("a partition that becomes one row") && error.contains("map_partitions"), "{error}");
    assert_eq!(world.range_into(0..10_u64, 2).glom().count().unwrap(), 2);
}

#[test]
fn a_right_side_that_does_not_fit_is_paired_from_disk_in_the_same_order() {
    let pairs = |world: &World| {
        let (left, right) = (world.range_into(0..7_u64, 2), world.range_into(0..5_000_u64, 2).map(|n| n.to_string()));
        left.cartesian(&right).collect().unwrap()
    };
    let tight = World::tight(2);
    assert_eq!(pairs(&tight), pairs(&World::roomy(2)));
    assert!(tight.memory().spilled_in_all > 0);
}
