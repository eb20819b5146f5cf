//! Rows and results on their way to the caller.

use super::*;

#[test]
fn trees_of_any_depth_give_what_a_plain_fold_gives_in_order() {
    law(96, (vec(0_i64..10, 0..60), 1_usize..40, 1_usize..6), |ctx, (rows, partitions, depth)| {
        let model: String = rows.iter().map(|row| row.to_string()).collect();
        let words = ctx.parallelize_into(rows.clone(), partitions).map(|row| row.to_string());
        let reduced = words.tree_reduce(|a, b| a + &b, depth).unwrap();
        prop_assert_eq!(reduced, (!rows.is_empty()).then(|| model.clone()));
        let aggregated = words.tree_aggregate(String::new(), |sum, row| sum + &row, |a, b| a + &b, depth);
        prop_assert_eq!(aggregated.unwrap(), model);
        Ok(())
    });
}

#[test]
fn a_tree_of_two_levels_leaves_the_root_of_the_partitions_to_the_caller() {
    let world = World::new(2);
    let mut events = world.events();
    assert_eq!(world.range_into(0..1000_u64, 100).tree_reduce(|a, b| a + b, 2).unwrap(), Some(499_500));
    assert_eq!(tasks(&mut events), 100 + 10);
    assert_eq!(world.empty::<u64>().tree_reduce(|a, b| a + b, 2).unwrap(), None);
    assert_eq!(world.empty::<u64>().tree_aggregate(7, |a, b| a + b, |a, b| a + b, 2).unwrap(), 7);
}

#[test]
fn emptiness_is_found_at_the_first_row_and_computes_no_more_than_it_must() {
    law(64, rows_in_partitions(), |ctx, (rows, partitions)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        prop_assert_eq!(rdd.is_empty().unwrap(), rows.is_empty());
        prop_assert_eq!(rdd.filter(|row| *row == 7).is_empty().unwrap(), !rows.contains(&7));
        Ok(())
    });
    let world = World::new(2);
    let mut events = world.events();
    assert!(!world.range_into(0..1000_u64, 100).is_empty().unwrap());
    assert_eq!(tasks(&mut events), 1);
}

#[test]
fn a_local_iterator_gives_all_rows_in_order() {
    law(64, rows_in_partitions(), |ctx, (rows, partitions)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        prop_assert_eq!(rdd.to_local_iter().collect::<Result<Vec<_>, _>>().unwrap(), rows);
        Ok(())
    });
}

#[test]
fn a_local_iterator_computes_a_partition_when_its_first_row_is_asked_for() {
    let world = World::new(2);
    let computed = Computed::new();
    let told = computed.clone();
    let rows = world.range_into(0..40_u64, 4).map_partitions_with_index(move |at, rows| {
        told.add(at);
        rows
    });
    let mut iter = rows.to_local_iter();
    assert_eq!(computed.take(), [0_usize; 0]);
    for row in 0..15 {
        assert_eq!(iter.next().unwrap().unwrap(), row);
    }
    assert_eq!(computed.take(), [0, 1]);
    drop(iter);
    world.end();
    assert_eq!(computed.take(), [0_usize; 0]);
}

#[test]
fn a_local_iterator_gives_an_error_once_and_ends() {
    let world = World::new(2);
    let rows = world.range_into(0..40_u64, 4).try_map(|n| if n == 15 { Err("not this one") } else { Ok(n) });
    let mut iter = rows.to_local_iter();
    assert_eq!(iter.by_ref().take(10).collect::<Result<Vec<_>, _>>().unwrap(), (0..10).collect::<Vec<_>>());
    assert!(text_of(iter.next().unwrap()).contains("not this one"));
    assert!(iter.next().is_none() && iter.next().is_none());
    let late = world.range(0..9_u64).to_local_iter();
    world.end();
    assert!(matches!(late.last(), Some(Err(emberflow::Error::ContextClosed))));
}

#[test]
fn a_local_iterator_inside_a_task_is_refused() {
    let world = World::new(2);
    let inner = world.range(0..9_u64);
    let nested = world.range_into(0..1_u64, 1).map(move |_| match inner.to_local_iter().next() {
        Some(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    });
    assert!(nested.collect().unwrap()[0].contains("inside a task"));
}
