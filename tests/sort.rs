//! Sorting: the laws against plain vectors, balance under skew, and what is recomputed when a part of it is lost.

mod support;

use std::collections::BTreeMap;

use emberflow::{Context, Error, Event, Rdd, testing};
use proptest::{collection::vec, prelude::*};

use self::support::{ON_PURPOSE, World, drain, law::law, stored_in};

fn rows() -> impl Strategy<Value = (Vec<(i64, u32)>, usize)> {
    let rows = vec(-9_i64..9, 0..150).prop_map(|keys| keys.into_iter().zip(0..).collect());
    prop_oneof![9 => (rows, 1_usize..6), 1 => Just((Vec::new(), 0))]
}

#[test]
fn sorting_is_stable_whatever_the_parts() {
    law(150, (rows(), 1_usize..7), |ctx, ((rows, n), into)| {
        let rdd = ctx.parallelize_into(rows.clone(), n);
        let mut model = rows.clone();
        model.sort_by_key(|(key, _)| *key);
        prop_assert_eq!(rdd.sort_by_into(|(key, _)| *key, into).collect().unwrap(), model.clone());
        prop_assert_eq!(rdd.sort_by_into(|(key, _)| key.to_string().len(), into).collect().unwrap(), {
            let mut by_length = rows.clone();
            by_length.sort_by_key(|(key, _)| key.to_string().len());
            by_length
        });
        // A key that owns memory.
        let mut by_text = rows.clone();
        by_text.sort_by_key(|(key, _)| key.to_string());
        prop_assert_eq!(rdd.sort_by_into(|(key, _)| key.to_string(), into).collect().unwrap(), by_text);
        prop_assert_eq!(rdd.sort_by_key_into(into).collect().unwrap(), model.clone());
        prop_assert_eq!(rdd.sort_by_key().collect().unwrap(), model.clone());
        prop_assert_eq!(rdd.sort_by_into(|(key, _)| *key, into).partitions(), into);
        let mut down = rows.clone();
        down.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
        prop_assert_eq!(rdd.sort_by_key_desc().collect().unwrap(), down.clone());
        prop_assert_eq!(rdd.sort_by_desc_into(|(key, _)| *key, into).collect().unwrap(), down);
        Ok(())
    });
}

#[test]
fn partitions_are_sorted_where_keys_are_placed() {
    law(80, (rows(), 1_usize..5), |ctx, ((rows, n), into)| {
        let rdd = ctx.parallelize_into(rows, n);
        let mut model = rdd.partition_by(into).glom().collect().unwrap();
        model.iter_mut().for_each(|part| part.sort_by_key(|(key, _)| *key));
        let sorted = rdd.repartition_and_sort_within_partitions(into);
        prop_assert!(sorted.is_partitioned());
        prop_assert_eq!(sorted.glom().collect().unwrap(), model);
        Ok(())
    });
}

#[test]
fn extremes_are_the_first_of_their_kind() {
    law(80, rows(), |ctx, (rows, n)| {
        let rdd = ctx.parallelize_into(rows.clone(), n);
        prop_assert_eq!(rdd.min().unwrap(), rows.iter().min().copied());
        prop_assert_eq!(rdd.max_async().wait().unwrap(), rows.iter().max().copied());
        prop_assert_eq!(rdd.min_by_key(|(key, _)| *key).unwrap(), rows.iter().min_by_key(|(key, _)| *key).copied());
        // `Iterator::max_by_key` gives the last of equal ones.
        let last = rows.iter().rev().max_by_key(|(key, _)| *key).copied();
        prop_assert_eq!(rdd.max_by_key(|(key, _)| *key).unwrap(), last);
        let within: Vec<_> = rows.into_iter().filter(|(key, _)| (-2..3).contains(key)).collect();
        prop_assert_eq!(rdd.filter_by_range(-2..3).collect().unwrap(), within);
        Ok(())
    });
}

const ROWS: u64 = 40_000;

fn inputs(ctx: &Context) -> BTreeMap<&'static str, Rdd<u64>> {
    let range = || ctx.range_into(0..ROWS, 6);
    BTreeMap::from([
        ("random", range().map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        ("sorted", range()),
        ("reversed", range().map(|n| ROWS - n)),
        ("all equal", range().map(|_| 7)),
        ("half equal", range().map(|n| if n % 2 == 0 { 7 } else { n })),
        ("a period", range().map(|n| n % 64)),
        ("mostly in one partition", ctx.union(&[ctx.range_into(0..50, 5), ctx.range_into(0..ROWS, 1)])),
    ])
}

#[test]
fn parts_are_balanced_however_keys_are_spread() {
    let world = World::new(2);
    for (name, rows) in inputs(&world) {
        let parts = rows.sort_by_into(|n| *n, 8).glom().collect().unwrap();
        assert!(parts.concat().is_sorted(), "{name}");
        let (total, largest) = (parts.concat().len(), parts.iter().map(Vec::len).max().unwrap());
        assert!(largest * 8 < total * 3 / 2, "{name}: a part of {largest} of {total} rows");
    }
}

#[test]
fn a_sort_is_the_same_whatever_runs_it() {
    let program = |workers: usize, batch: usize| {
        let world = World::with(|builder| builder.workers(workers).batch_rows(batch));
        let sorted = inputs(&world).into_values().map(|rows| rows.zip_with_index().sort_by_key_into(5).glom());
        sorted.map(|parts| parts.collect().unwrap()).collect::<Vec<_>>()
    };
    let once = program(1, 1024);
    assert_eq!(once, program(2, 100));
    assert_eq!(once, program(7, 13));
}

#[test]
fn defining_a_sort_runs_nothing() {
    let world = World::new(2);
    let mut events = world.events();
    let sorted = world.range_into(0..100_u64, 4).sort_by(|n| *n);
    assert_eq!(sorted.partitions(), world.default_partitions());
    assert!(drain(&mut events).iter().all(|event| !matches!(event, Event::JobStarted { .. })));
    assert_eq!(sorted.count().unwrap(), 100);
}

#[test]
fn only_the_lost_map_output_of_a_sort_is_computed_again() {
    let world = World::new(2);
    let sorted = world.range_into(0..1_000_u64, 4).map(|n| n * 7919 % 1_000).sort_by_into(|n| *n, 3);
    let before = sorted.glom().collect().unwrap();
    let store = testing::shuffle_store(&sorted);
    let mut events = world.events();
    if let Some(store) = store {
        assert!(testing::kill_map_output(&sorted, 2).unwrap());
        assert_eq!(sorted.glom().collect().unwrap(), before);
        assert_eq!(stored_in(&drain(&mut events), store), [2]);
    } else {
        panic!("a sort has a shuffle");
    }
}

#[test]
fn a_key_function_that_panics_names_the_sort() {
    let world = World::new(2);
    let rows = world.range_into(0..100_u64, 4);
    let sorted = rows.sort_by(|n| {
        assert!(*n != 70, "{ON_PURPOSE}");
        *n
    });
    let error = sorted.count().unwrap_err();
    assert!(matches!(error, Error::TaskFailed { .. }), "{error}");
    assert!(error.to_string().contains("sort_by") && error.to_string().contains("tests/sort.rs"), "{error}");
    assert_eq!(rows.sort_by(|n| *n).count().unwrap(), 100);
}
