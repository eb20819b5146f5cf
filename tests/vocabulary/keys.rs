//! What is asked of one key, or of each.

use emberflow::Partitioning;

use super::*;

/// A value that shows in which order it was merged.
fn word(n: i64) -> String {
    format!(" {n}")
}

#[test]
fn folds_and_local_reductions_by_key_equal_those_of_the_groups() {
    law(128, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let joined: HashMap<i64, String> =
            groups(&pairs).into_iter().map(|(key, values)| (key, values.into_iter().map(word).collect())).collect();
        let words = ctx.parallelize_into(pairs, partitions).map_values(word);
        prop_assert_eq!(&words.reduce_by_key_locally(|a, b| a + &b).unwrap(), &joined);
        let folded = words.fold_by_key_into(String::new(), |a, b| a + &b, into);
        prop_assert_eq!(folded.partitions(), into);
        prop_assert_eq!(folded.collect_as_map().unwrap(), joined);
        Ok(())
    });
}

#[test]
fn lookup_finds_the_values_of_the_key_in_their_order() {
    law(128, (pairs_in_partitions(), 0_i64..8, 1_usize..6), |ctx, ((pairs, partitions), key, into)| {
        let values = groups(&pairs).remove(&key).unwrap_or_default();
        let rdd = ctx.parallelize_into(pairs, partitions);
        prop_assert_eq!(&rdd.lookup(&key).unwrap(), &values);
        prop_assert_eq!(&rdd.partition_by(into).lookup(&key).unwrap(), &values);
        prop_assert_eq!(rdd.partition_by(into).map_values(|n| n + 1).lookup(&key).unwrap().len(), values.len());
        Ok(())
    });
}

#[test]
fn lookup_in_placed_rows_reads_one_partition() {
    let world = World::new(2);
    let pairs = world.range_into(0..100_u64, 4).map(|n| (n % 10, n));
    let placed = pairs.partition_by(8);
    placed.count().unwrap();
    let mut events = world.events();
    assert_eq!(placed.lookup(&3).unwrap().len(), 10);
    assert_eq!(tasks(&mut events), 1);
    assert_eq!(pairs.lookup(&3).unwrap().len(), 10);
    assert_eq!(tasks(&mut events), 4);
}

#[test]
fn keys_are_looked_up_by_what_they_are_borrowed_as_in_the_one_partition_that_holds_them() {
    let world = World::new(2);
    let words = world.range_into(0..100_u64, 4).map(|n| (format!("word {}", n % 10), n));
    let placed = words.partition_by(8).cache();
    placed.count().unwrap();
    let mut events = world.events();
    for (key, from) in (0..11).map(|key| (format!("word {key}"), key)) {
        let wanted: Vec<u64> = if from < 10 { (from..100).step_by(10).collect() } else { Vec::new() };
        assert_eq!(placed.lookup(key.as_str()).unwrap(), wanted);
        assert_eq!(tasks(&mut events), 1);
        assert_eq!(placed.lookup(&key).unwrap(), wanted);
        assert_eq!(tasks(&mut events), 1);
    }
    assert_eq!(words.lookup_async("word 3").wait().unwrap().len(), 10);
    let lists = words.map(|(_, n)| (vec![n % 3, 1], n));
    assert_eq!(lists.lookup(&[2, 1][..]).unwrap().len(), 33);
}

#[test]
fn a_closure_places_keys_and_joins_of_rows_that_it_placed_move_nothing() {
    law(64, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let by = Partitioning::by(into, move |key: &i64| key.unsigned_abs() as usize % into);
        let placed = ctx.parallelize_into(pairs.clone(), partitions).partition_by(&by);
        for (at, rows) in placed.glom().collect().unwrap().into_iter().enumerate() {
            prop_assert!(rows.iter().all(|(key, _)| key.unsigned_abs() as usize % into == at));
        }
        prop_assert_eq!(sorted(placed.collect().unwrap()), sorted(pairs));
        let joined = placed.join_into(&placed.map_values(|n| n + 1), &by);
        prop_assert_eq!(joined.describe_stages().unwrap().len(), placed.describe_stages().unwrap().len());
        Ok(())
    });
}

#[test]
fn a_closure_that_gives_a_partition_that_there_is_not_fails_the_task() {
    let world = World::new(2);
    let pairs = world.range(0..9_u64).map(|n| (n, n));
    let error = text_of(pairs.partition_by(Partitioning::by(3, |key| *key as usize)).count());
    assert!(error.contains("the partitioner chose partition") && error.contains("of 3"), "{error}");
}

#[test]
fn sampling_by_key_takes_all_none_or_about_the_fraction_of_a_key() {
    let fraction = |key: &u64| [0.0, 1.0, 0.3][*key as usize % 3];
    for with_replacement in [false, true] {
        let program = |world: &World| {
            let pairs = world.range_into(0..30_000_u64, 5).map(|n| (n % 3, n));
            pairs.sample_by_key(with_replacement, fraction, 7).collect().unwrap()
        };
        let sample = program(&World::new(1));
        let of = |key: u64| sample.iter().filter(|row| row.0 == key).count();
        assert_eq!(of(0), 0);
        assert!((2_800..3_200).contains(&of(2)), "{}", of(2));
        match with_replacement {
            false => assert_eq!(of(1), 10_000),
            true => assert!((9_700..10_300).contains(&of(1)), "{}", of(1)),
        }
        assert!(sample.is_sorted_by_key(|row| row.1 / 6_000));
        assert_eq!(program(&World::with(|builder| builder.workers(3).batch_rows(10))), sample);
    }
}

#[test]
fn a_fraction_that_is_none_is_an_error() {
    let world = World::new(2);
    let pairs = world.range(0..9_u64).map(|n| (n, n));
    for (with_replacement, fraction) in [(false, 1.5), (true, -0.5), (true, f64::NAN)] {
        let error = text_of(pairs.sample_by_key(with_replacement, move |_| fraction, 1).collect());
        assert!(error.contains(&format!("a fraction of {fraction} is none")), "{error}");
        assert!(error.contains("sample_by_key at "), "{error}");
    }
}

#[test]
fn approximate_distinct_counts_are_near_and_the_same_every_time() {
    let program = |world: &World| {
        let rows = world.range_into(0..60_000_u64, 7).map(|n| n * n % 20_011);
        let by_key = rows.map(|n| (n % 3, n.to_string())).count_approx_distinct_by_key_into(0.02, 4);
        assert!(by_key.is_partitioned());
        (rows.count_approx_distinct(0.01).unwrap(), by_key.collect().unwrap())
    };
    let world = World::new(1);
    let (all, by_key) = program(&world);
    // Squares of a prime modulus: zero, and half of the others.
    assert!(all.abs_diff(10_006) < 400, "{all}");
    let exact = world.range_into(0..20_011_u64, 3).map(|n| n * n % 20_011).distinct().map(|n| (n % 3, ()));
    let exact = exact.count_by_key().unwrap();
    assert_eq!(by_key.len(), 3);
    for (key, about) in &by_key {
        assert!(about.abs_diff(exact[key]) < exact[key] / 12, "{about} for {}", exact[key]);
    }
    for (workers, batch_rows) in [(2, 1024), (3, 5)] {
        let world = World::with(|builder| builder.workers(workers).batch_rows(batch_rows));
        assert_eq!(program(&world), (all, by_key.clone()));
    }
}

#[test]
fn few_distinct_rows_are_counted_exactly() {
    law(64, rows_in_partitions(), |ctx, (rows, partitions)| {
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let rdd = ctx.parallelize_into(rows, partitions);
        let about = rdd.count_approx_distinct(0.001).unwrap();
        prop_assert_eq!(about, distinct.len() as u64);
        Ok(())
    });
}

#[test]
#[should_panic(expected = "a relative error lies between 0.001 and 0.25")]
fn an_error_of_nothing_is_refused() {
    let _ = World::new(1).range(0..9_u64).count_approx_distinct(0.0);
}

#[test]
fn a_panic_in_a_local_reduction_fails_its_job_and_no_other() {
    let world = World::new(2);
    let pairs = world.range_into(0..9_u64, 1).map(|n| (0, n));
    let error = text_of(pairs.reduce_by_key_locally(|_, _| panic!("{}", support::ON_PURPOSE)));
    assert!(error.contains("reduce_by_key_locally at "), "{error}");
    assert_eq!(sorted(pairs.values().collect().unwrap()), (0..9).collect::<Vec<_>>());
}
