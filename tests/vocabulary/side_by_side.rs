//! Two RDDs side by side, and every row with every row.

use super::*;

#[test]
fn zip_pairs_rows_in_their_order_whatever_the_batches_of_both_sides() {
    law(128, (rows_in_partitions(), any::<bool>()), |ctx, ((rows, partitions), cached)| {
        let left = ctx.parallelize_into(rows.clone(), partitions);
        // One side comes in other batches than the other: every row out of a partition of its own first.
        let right = left.map_partitions(|rows| rows.map(|row| row * 2).collect::<Vec<_>>());
        let right = if cached { right.cache() } else { right };
        let pairs: Vec<_> = rows.iter().map(|row| (*row, row * 2)).collect();
        prop_assert_eq!(left.zip(&right).glom().collect().unwrap(), cut(&pairs, partitions));
        prop_assert_eq!(left.zip(&left).values().collect().unwrap(), rows);
        Ok(())
    });
}

#[test]
fn zip_names_both_rdds_and_the_partition_where_rows_are_missing() {
    let world = World::new(2);
    let numbers = world.range_into(0..30_u64, 3);
    let fewer = numbers.filter(|n| *n != 17);
    for (left, right) in [(&numbers, &fewer), (&fewer, &numbers)] {
        let error = text_of(left.zip(right).count());
        let line = format!("partition 1 of {} (filter at {}:", fewer.id(), file!());
        assert!(error.contains(&line), "{error}");
        let line = format!("has 9 rows, and partition 1 of {} (range at {}:", numbers.id(), file!());
        assert!(error.contains(&line) && error.contains("zip at "), "{error}");
        assert!(error.contains("failed after 1 attempt"), "{error}");
    }
    // What failed in one side is told as it is.
    let failing = numbers.try_map(|n| if n == 25 { Err("not this one") } else { Ok(n) });
    for zipped in [numbers.zip(&failing), failing.zip(&numbers)] {
        let error = text_of(zipped.count());
        assert!(error.contains("not this one") && !error.contains("zip_with_index"), "{error}");
    }
}

#[test]
#[should_panic(expected = "needs equal numbers of partitions, not 3 and 4")]
fn zip_refuses_other_numbers_of_partitions() {
    let world = World::new(1);
    let _ = world.range_into(0..9_u64, 3).zip(&world.range_into(0..9_u64, 4));
}

#[test]
fn zip_partitions_gives_what_the_function_makes_of_both_iterators() {
    law(64, (rows_in_partitions(), rows_in_partitions()), |ctx, ((left, partitions), (right, _))| {
        let right = if partitions == 0 { Vec::new() } else { right };
        let mixed = ctx.parallelize_into(left.clone(), partitions).zip_partitions(
            &ctx.parallelize_into(right.clone(), partitions),
            |left, right| {
                // Not at the same pace, and the end of the right side is not read.
                left.flat_map(|row| [row, -row]).chain(right.take(3))
            },
        );
        let model = cut(&left, partitions).into_iter().zip(cut(&right, partitions));
        let model = model.map(|(left, right)| {
            left.into_iter().flat_map(|row| [row, -row]).chain(right.into_iter().take(3)).collect::<Vec<_>>()
        });
        prop_assert_eq!(mixed.glom().collect().unwrap(), model.collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn a_lost_partition_of_a_zipped_side_is_computed_again_and_nothing_else() {
    let world = World::new(2);
    let computed = Computed::new();
    let told = computed.clone();
    let left = world.range_into(0..40_u64, 4).map_partitions_with_index(move |at, rows| {
        told.add(at);
        rows
    });
    let left = left.cache();
    let zipped = left.zip(&world.range_into(100..140_u64, 4));
    let rows = zipped.collect().unwrap();
    assert_eq!(computed.take(), [0, 1, 2, 3]);
    assert!(emberflow::testing::kill_cached_partition(&left, 2).unwrap());
    assert_eq!(zipped.collect().unwrap(), rows);
    assert_eq!(computed.take(), [2]);
}

#[test]
fn unique_ids_are_unique_and_where_they_are_documented_to_be() {
    law(128, rows_in_partitions(), |ctx, (rows, partitions)| {
        let numbered = ctx.parallelize_into(rows.clone(), partitions).zip_with_unique_id();
        let model: Vec<(i64, u64)> = (0..)
            .zip(cut(&rows, partitions))
            .flat_map(|(at, rows)| {
                (0..).zip(rows).map(move |(k, row)| (row, k * partitions as u64 + at)).collect::<Vec<_>>()
            })
            .collect();
        let ids = sorted(model.iter().map(|row| row.1));
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(numbered.collect().unwrap(), model);
        Ok(())
    });
}

#[test]
fn cartesian_pairs_every_row_with_every_row() {
    let small = || (vec(-9_i64..9, 0..20), 1_usize..5);
    law(128, (small(), small(), any::<bool>()), |ctx, ((left, rows), (right, columns), owned)| {
        let (l, r) = (ctx.parallelize_into(left.clone(), rows), ctx.parallelize_into(right.clone(), columns));
        // Rows of a map are owned by the task, those of a collection are shared.
        let (l, r) = if owned { (l.map(|n| n), r.map(|n| n)) } else { (l, r) };
        let mut model = Vec::new();
        for left in cut(&left, rows) {
            for right in cut(&right, columns) {
                model.push(left.iter().flat_map(|a| right.iter().map(|b| (*a, *b))).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(l.cartesian(&r).glom().collect().unwrap(), model);
        prop_assert_eq!(l.cartesian(&l).count().unwrap(), (left.len() * left.len()) as u64);
        Ok(())
    });
}

#[test]
fn cartesian_with_nothing_is_nothing() {
    let world = World::new(2);
    let (some, none) = (world.range(0..9_u64), world.empty::<u64>());
    assert_eq!(some.cartesian(&none).collect().unwrap(), []);
    assert_eq!(none.cartesian(&some).collect().unwrap(), []);
    assert_eq!(some.cartesian(&some.filter(|_| false)).collect().unwrap(), []);
}

#[test]
fn cartesian_clones_a_row_of_a_cached_side_once_for_each_pair_and_no_more() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CLONES: AtomicUsize = AtomicUsize::new(0);

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Counted(u64);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            CLONES.fetch_add(1, Ordering::SeqCst);
            Self(self.0)
        }
    }

    let world = World::new(2);
    let right = world.range_into(0..50_u64, 2).map(Counted).cache();
    right.count().unwrap();
    CLONES.store(0, Ordering::SeqCst);
    assert_eq!(world.range_into(0..30_u64, 3).cartesian(&right).count().unwrap(), 1500);
    assert_eq!(CLONES.load(Ordering::SeqCst), 1500);
}
