//! Joins, cogroups and set operations: the laws against plain vectors, the shapes of their stages, and what is
//! recomputed when a part of them is lost.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use emberflow::{Error, Partitioner, Partitioning, Rdd, testing};
use proptest::{collection::vec, prelude::*};

use self::support::{ON_PURPOSE, World, drain, finished_tasks_of, law::law, sorted, stored_in};

type Pairs = Vec<(i64, i64)>;

fn pairs() -> impl Strategy<Value = (Pairs, usize)> {
    let rows = vec((0_i64..9, 0_i64..1000), 0..60);
    prop_oneof![9 => (rows, 1_usize..6), 1 => Just((Vec::new(), 0))]
}

/// All joins in one: for each key of either side, its values on both.
fn groups(left: &Pairs, right: &Pairs) -> BTreeMap<i64, (Vec<i64>, Vec<i64>)> {
    let mut groups: BTreeMap<i64, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    left.iter().for_each(|(key, value)| groups.entry(*key).or_default().0.push(*value));
    right.iter().for_each(|(key, value)| groups.entry(*key).or_default().1.push(*value));
    groups
}

/// The values of one side, or one `None` if there are none.
fn or_none(values: &[i64]) -> Vec<Option<i64>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

fn full(groups: &BTreeMap<i64, (Vec<i64>, Vec<i64>)>) -> Vec<(i64, (Option<i64>, Option<i64>))> {
    let mut rows = Vec::new();
    for (key, (left, right)) in groups {
        for v in or_none(left) {
            rows.extend(or_none(right).into_iter().map(|w| (*key, (v, w))));
        }
    }
    sorted(rows)
}

#[test]
fn joins_pair_what_nested_loops_pair() {
    law(150, (pairs(), pairs(), 1_usize..6), |ctx, ((left, n), (right, m), into)| {
        let (a, b) = (ctx.parallelize_into(left.clone(), n), ctx.parallelize_into(right.clone(), m));
        let all = full(&groups(&left, &right));
        let inner: Vec<_> = all.iter().filter_map(|(k, (v, w))| Some((*k, ((*v)?, (*w)?)))).collect();
        prop_assert_eq!(sorted(a.join_into(&b, into).collect().unwrap()), inner.clone());
        prop_assert_eq!(sorted(a.join(&b).collect().unwrap()), inner.clone());
        prop_assert_eq!(sorted(a.broadcast_join(&b).collect().unwrap()), inner);
        let outer: Vec<_> = all.iter().filter_map(|(k, (v, w))| Some((*k, ((*v)?, *w)))).collect();
        prop_assert_eq!(sorted(a.left_outer_join_into(&b, into).collect().unwrap()), outer.clone());
        prop_assert_eq!(sorted(a.broadcast_left_outer_join(&b).collect().unwrap()), outer);
        let outer: Vec<_> = all.iter().filter_map(|(k, (v, w))| Some((*k, (*v, (*w)?)))).collect();
        prop_assert_eq!(sorted(a.right_outer_join_into(&b, into).collect().unwrap()), outer);
        prop_assert_eq!(sorted(a.full_outer_join_into(&b, into).collect().unwrap()), all);
        let keys: BTreeSet<i64> = right.iter().map(|(key, _)| *key).collect();
        let (with, without): (Vec<_>, Vec<_>) = sorted(left).into_iter().partition(|(key, _)| keys.contains(key));
        prop_assert_eq!(sorted(a.left_semi_join(&b).collect().unwrap()), with);
        prop_assert_eq!(sorted(a.subtract_by_key_into(&b, into).collect().unwrap()), without);
        Ok(())
    });
}

#[test]
fn a_broadcast_join_keeps_the_order_of_the_large_side() {
    law(60, (pairs(), pairs()), |ctx, ((left, n), (right, m))| {
        let (a, b) = (ctx.parallelize_into(left.clone(), n), ctx.parallelize_into(right.clone(), m));
        let matches = |key: i64| right.iter().filter(move |(k, _)| *k == key).map(|(_, w)| *w);
        let model: Vec<_> = left.iter().flat_map(|(k, v)| matches(*k).map(|w| (*k, (*v, w)))).collect();
        prop_assert_eq!(a.broadcast_join(&b).collect().unwrap(), model);
        Ok(())
    });
}

#[test]
fn cogroups_hold_all_the_values_of_each_side_in_their_order() {
    law(100, (pairs(), pairs(), 1_usize..6), |ctx, ((left, n), (right, m), into)| {
        let (a, b) = (ctx.parallelize_into(left.clone(), n), ctx.parallelize_into(right.clone(), m));
        let model: Vec<_> = groups(&left, &right).into_iter().collect();
        prop_assert_eq!(sorted(a.cogroup_into(&b, into).collect().unwrap()), model.clone());
        let three = model.iter().map(|(k, (v, w))| (*k, (v.clone(), w.clone(), v.clone()))).collect::<Vec<_>>();
        prop_assert_eq!(sorted(a.cogroup3(&b, &a).collect().unwrap()), three);
        let four = model.into_iter().map(|(k, (v, w))| (k, (v.clone(), w.clone(), v, w))).collect::<Vec<_>>();
        prop_assert_eq!(sorted(a.cogroup4(&b, &a, &b).collect().unwrap()), four);
        Ok(())
    });
}

#[test]
fn set_operations_equal_those_of_vectors() {
    let rows = || vec(0_i64..30, 0..60);
    law(100, (rows(), rows(), 1_usize..5, 1_usize..5), |ctx, (left, right, n, into)| {
        let (a, b) = (ctx.parallelize_into(left.clone(), n), ctx.parallelize_into(right.clone(), n));
        let rest: Vec<_> = sorted(left.iter().copied().filter(|row| !right.contains(row)));
        prop_assert_eq!(sorted(a.subtract_into(&b, into).collect().unwrap()), rest.clone());
        prop_assert_eq!(sorted(a.subtract(&b).collect().unwrap()), rest);
        let both: BTreeSet<_> = left.into_iter().filter(|row| right.contains(row)).collect();
        prop_assert_eq!(sorted(a.intersection_into(&b, into).collect().unwrap()), sorted(both));
        Ok(())
    });
}

/// Enough rows in one partition for several pieces, of rows that own nothing and of rows that do.
#[test]
fn a_partition_that_outgrows_the_cache_is_joined_piece_by_piece() {
    const ROWS: u64 = 60_000;
    let world = World::new(2);
    let left = world.range_into(0..ROWS, 3).map(|n| (n * 7 % ROWS, n));
    let right = world.range_into(0..ROWS, 2).map(|n| (n / 2 * 3, n));
    // Keys 0, 3, 6, … below 90,000 come twice on the right, and once on the left if they are below 60,000.
    let expected = sorted((0..ROWS).filter(|n| n / 2 * 3 < ROWS).map(|n| (n / 2 * 3, n)));
    let flat = |rows: Vec<(u64, (u64, u64))>| {
        assert!(rows.iter().all(|(key, (v, _))| v * 7 % ROWS == *key));
        sorted(rows.into_iter().map(|(key, (_, w))| (key, w)))
    };
    assert_eq!(flat(left.join_into(&right, 1).collect().unwrap()), expected);
    let text = |rdd: &Rdd<(u64, u64)>| rdd.map(|(key, value)| (format!("key {key}"), value.to_string()));
    let number = |text: &str| text.trim_start_matches("key ").parse::<u64>().unwrap();
    let joined = text(&left).join_into(&text(&right), 1).collect().unwrap();
    let joined = joined.iter().map(|(key, (v, w))| (number(key), (number(v), number(w))));
    assert_eq!(flat(joined.collect()), expected);
    let anti = left.subtract_by_key_into(&right, 1).count().unwrap();
    assert_eq!(anti, (0..ROWS).filter(|key| key % 3 != 0).count() as u64);
    let full = left.full_outer_join_into(&right, 1);
    assert_eq!(full.count().unwrap(), anti + ROWS);
    let groups =
        left.cogroup_into(&right, 1).aggregate(0, |sum, (_, (v, w))| sum + v.len() * 1000 + w.len(), |a, b| a + b);
    assert_eq!(groups.unwrap() as u64, ROWS * 1001);
}

#[test]
fn a_key_with_many_rows_on_both_sides_is_streamed() {
    let world = World::new(2);
    let hot = world.range_into(0..3_000_u64, 4).map(|n| ((), n));
    let product = hot.join_into(&hot, 2);
    assert_eq!(product.count().unwrap(), 9_000_000);
    assert_eq!(product.take(2).unwrap(), [((), (0, 0)), ((), (0, 1))]);
}

fn shuffles<T: emberflow::Data>(rdd: &Rdd<T>) -> usize {
    rdd.to_debug_string().matches("+-").count()
}

#[test]
fn sides_that_are_placed_do_not_move() {
    struct Odd;

    impl Partitioner<u64> for Odd {
        fn partitions(&self) -> usize {
            2
        }

        fn partition(&self, key: &u64) -> usize {
            (*key % 2) as usize
        }
    }

    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 3).map(|n| (n, n));
    let (three, five) = (rows.partition_by(3), rows.partition_by(5));
    assert_eq!(shuffles(&three.join(&three)), 1);
    // The left side's partitioning is taken over, or else the right side's.
    assert_eq!(three.join(&five).partitions(), 3);
    assert_eq!(shuffles(&three.join(&rows)), 2);
    assert_eq!(rows.join(&five).partitions(), 5);
    assert_eq!(rows.left_outer_join(&rows).partitions(), world.default_partitions());
    // The result is placed too.
    assert_eq!(shuffles(&three.join(&rows.partition_by(3)).reduce_by_key_into(|a, _| a, 3)), 2);
    assert_eq!(shuffles(&three.cogroup(&three.map_values(|v| v + 1)).join(&three)), 1);
    let odd = Partitioning::custom(Odd);
    let (a, b) = (rows.partition_by(&odd), rows.map_values(|v| v * 2).partition_by(&odd));
    assert_eq!(shuffles(&a.join(&b)), 2);
    assert_eq!(a.join(&b).partitions(), 2);
    assert_eq!(a.join(&b).keys().glom().collect().unwrap(), [vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7, 9]]);
    // A custom partitioner cannot be taken over by a side that it has not placed; it can be given.
    assert_eq!(a.join(&rows).partitions(), world.default_partitions());
    assert_eq!(shuffles(&a.join_into(&rows, &odd)), 2);
    let broadcast = rows.partition_by(4).broadcast_join(&five);
    assert_eq!(broadcast.partitions(), 4);
    assert!(broadcast.is_partitioned());
}

#[test]
fn an_rdd_joins_itself_and_the_empty_one() {
    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 3).map(|n| (n % 4, n));
    assert_eq!(rows.join(&rows).count().unwrap(), 9 + 9 + 4 + 4);
    let none = world.empty::<(u64, u64)>();
    assert_eq!(rows.join(&none).count().unwrap(), 0);
    assert_eq!(none.join(&none).count().unwrap(), 0);
    assert_eq!(none.broadcast_join(&rows).count().unwrap(), 0);
    assert_eq!(rows.broadcast_left_outer_join(&none).count().unwrap(), 10);
    assert_eq!(none.cogroup(&rows).count().unwrap(), 4);
    assert_eq!(none.full_outer_join(&rows).count().unwrap(), 10);
}

#[test]
fn a_join_is_the_same_whatever_runs_it() {
    let program = |workers: usize, batch: usize| {
        let world = World::with(|builder| builder.workers(workers).batch_rows(batch));
        let left = world.range_into(0..5_000_u64, 7).map(|n| (n * n % 911, n));
        let right = world.range_into(0..4_000_u64, 5).map(|n| (n * 31 % 1_200, format!("row {n}")));
        (
            left.full_outer_join_into(&right, 4).collect().unwrap(),
            left.cogroup_into(&right, 3).collect().unwrap(),
            left.broadcast_join(&right).collect().unwrap(),
        )
    };
    let once = program(1, 1);
    assert_eq!(once, program(2, 1024));
    assert_eq!(once, program(7, 13));
}

#[test]
fn only_the_lost_map_output_of_a_join_is_computed_again() {
    let world = World::new(2);
    let left = world.range_into(0..100_u64, 4).map(|n| (n % 10, n)).partition_by(3);
    let right = world.range_into(0..50_u64, 5).map(|n| (n % 5, n)).partition_by(3);
    let joined = left.join(&right);
    let before = joined.collect().unwrap();
    let store = testing::shuffle_store(&right).unwrap();
    let mut events = world.events();
    assert!(testing::kill_map_output(&right, 2).unwrap());
    assert_eq!(joined.collect().unwrap(), before);
    let events = drain(&mut events);
    assert_eq!(stored_in(&events, store), [2]);
    assert_eq!(finished_tasks_of(&events, testing::shuffle_store(&left).unwrap()), Vec::<usize>::new());
}

#[test]
fn a_key_that_panics_names_the_join_and_leaves_the_context_usable() {
    #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    struct Touchy(u64);

    impl std::hash::Hash for Touchy {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(self.0 != 7, "{ON_PURPOSE}: hash");
            self.0.hash(state);
        }
    }

    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 2).map(|n| (Touchy(n), n));
    let good = rows.filter(|(key, _)| key.0 < 5);
    let error = good.join(&rows).count().unwrap_err();
    assert!(matches!(error, Error::TaskFailed { .. }), "{error}");
    assert!(error.to_string().contains("join") && error.to_string().contains("tests/join.rs"), "{error}");
    let error = rows.broadcast_join(&good).count().unwrap_err().to_string();
    assert!(error.contains("broadcast_join"), "{error}");
    assert_eq!(good.join(&good).count().unwrap(), 5);
}
