//! Rows by chance: reproducible, unbiased, complete.

use super::*;

#[test]
fn the_parts_of_a_random_split_hold_every_row_once_and_in_order() {
    let weights = vec(prop_oneof![1 => Just(0.0), 4 => 0.01_f64..5.0], 1..5);
    let weights = weights.prop_filter("some weight", |weights| weights.iter().sum::<f64>() > 0.0);
    law(128, (rows_in_partitions(), weights, any::<u64>()), |ctx, ((rows, partitions), weights, seed)| {
        let numbered = ctx.parallelize_into(rows.clone(), partitions).zip_with_index();
        let parts = numbered.random_split(&weights, seed);
        prop_assert_eq!(parts.len(), weights.len());
        let mut all = Vec::new();
        for (part, weight) in parts.iter().zip(&weights) {
            let part = part.collect().unwrap();
            prop_assert!(part.is_sorted_by_key(|(_, at)| *at));
            prop_assert!(*weight > 0.0 || part.is_empty());
            all.extend(part);
        }
        all.sort_unstable_by_key(|(_, at)| *at);
        prop_assert_eq!(all, rows.into_iter().zip(0..).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn the_parts_of_a_random_split_have_about_their_weights_and_are_the_same_every_time() {
    let program = |world: &World| {
        let rows = world.range_into(0..20_000_u64, 6).map(|n| n);
        rows.random_split(&[1.0, 2.0, 0.0, 1.0], 5).iter().map(|part| part.collect().unwrap()).collect::<Vec<_>>()
    };
    let parts = program(&World::new(1));
    for (part, share) in parts.iter().zip([0.25, 0.5, 0.0, 0.25]) {
        assert!((part.len() as f64 / 20_000.0 - share).abs() < 0.02, "{} for {share}", part.len());
    }
    assert_eq!(program(&World::with(|builder| builder.workers(3).batch_rows(7))), parts);
}

#[test]
fn weights_that_are_none_are_refused() {
    let world = World::new(1);
    let rows = world.range(0..9_u64);
    for weights in [&[][..], &[0.0, 0.0], &[1.0, -1.0], &[f64::NAN, 1.0], &[f64::INFINITY]] {
        let split = std::panic::AssertUnwindSafe(|| rows.random_split(weights, 1));
        let panic = std::panic::catch_unwind(split).map(|_| ()).unwrap_err();
        let text = support::text_of(&*panic).unwrap().to_owned();
        assert!(text.contains("weights are at least 0"), "{text}");
    }
}

#[test]
fn a_sample_taken_once_has_the_wanted_size_and_no_row_twice() {
    law(128, (rows_in_partitions(), 0_usize..150, any::<u64>()), |ctx, ((rows, partitions), n, seed)| {
        let numbered = ctx.parallelize_into(rows.clone(), partitions).zip_with_index();
        let sample = numbered.take_sample(false, n, seed).unwrap();
        prop_assert_eq!(sample.len(), n.min(rows.len()));
        let ids = sorted(sample.iter().map(|(_, at)| *at));
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(sample.iter().all(|(row, at)| rows[*at as usize] == *row));
        Ok(())
    });
}

#[test]
fn a_sample_with_replacement_has_the_wanted_size_and_rows_that_are_there() {
    law(128, (rows_in_partitions(), 0_usize..150, any::<u64>()), |ctx, ((rows, partitions), n, seed)| {
        let numbered = ctx.parallelize_into(rows.clone(), partitions).zip_with_index();
        let sample = numbered.take_sample(true, n, seed).unwrap();
        prop_assert_eq!(sample.len(), if rows.is_empty() { 0 } else { n });
        prop_assert!(sample.iter().all(|(row, at)| rows[*at as usize] == *row));
        Ok(())
    });
}

#[test]
fn every_row_is_as_likely_to_be_taken_as_any_other_and_in_any_place() {
    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 3);
    for with_replacement in [false, true] {
        let (mut taken, mut first) = ([0_u32; 10], [0_u32; 10]);
        for seed in 0..600 {
            let sample = rows.take_sample(with_replacement, 5, seed).unwrap();
            first[sample[0] as usize] += 1;
            sample.iter().for_each(|row| taken[*row as usize] += 1);
        }
        // 300 and 60 are expected; these are more than five standard deviations.
        assert!(taken.iter().all(|times| (220..380).contains(times)), "{taken:?}");
        assert!(first.iter().all(|times| (22..98).contains(times)), "{first:?}");
    }
}

#[test]
fn the_same_seed_takes_the_same_sample_and_another_seed_another_one() {
    let program = |world: &World, seed| {
        let rows = world.range_into(0..5_000_u64, 7);
        [false, true].map(|with_replacement| rows.take_sample(with_replacement, 200, seed).unwrap())
    };
    let first = program(&World::new(1), 3);
    assert_eq!(program(&World::with(|builder| builder.workers(3).batch_rows(11)), 3), first);
    assert_ne!(program(&World::new(1), 4), first);
}

#[test]
fn a_sample_with_replacement_reads_only_partitions_that_it_draws_from() {
    let world = World::new(2);
    let rows = world.range_into(0..1000_u64, 50);
    let mut events = world.events();
    assert_eq!(rows.take_sample(true, 1, 9).unwrap().len(), 1);
    assert_eq!(tasks(&mut events), 50 + 1);
}

#[test]
fn rows_that_are_fewer_when_they_are_read_again_are_an_error() {
    let world = World::new(1);
    let readings = support::Tally::new();
    let shrinking = world.range_into(0..100_u64, 1).map_partitions(move |rows| {
        let keep = if readings.add() == 0 { 100 } else { 1 };
        rows.take(keep)
    });
    let error = text_of(shrinking.take_sample(true, 50, 1));
    assert!(error.contains("had 100 rows when they were counted, and 1 when"), "{error}");
}
