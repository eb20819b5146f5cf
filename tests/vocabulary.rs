//! The smaller words of the vocabulary: each gives what the same operation gives on a plain `Vec`, the same bits
//! whatever the workers and batches, and a clear error where there is nothing right to give.

mod support;

use std::collections::HashMap;

use emberflow::{Context, Event};
use proptest::{collection::vec, prelude::*};

use self::support::{World, drain, law::law, sorted};

/// Rows and the number of partitions that they are in; sometimes none of either.
fn rows_in_partitions() -> impl Strategy<Value = (Vec<i64>, usize)> {
    prop_oneof![9 => (vec(-50_i64..50, 0..120), 1_usize..8), 1 => Just((Vec::new(), 0))]
}

fn pairs_in_partitions() -> impl Strategy<Value = (Vec<(i64, i64)>, usize)> {
    rows_in_partitions().prop_map(|(rows, partitions)| {
        let pairs = (0..).zip(rows).map(|(at, row)| (row.rem_euclid(7), row * 1000 + at));
        (pairs.collect(), partitions)
    })
}

/// The values of each key, in their order.
fn groups(pairs: &[(i64, i64)]) -> HashMap<i64, Vec<i64>> {
    let mut groups: HashMap<i64, Vec<i64>> = HashMap::new();
    pairs.iter().for_each(|(key, value)| groups.entry(*key).or_default().push(*value));
    groups
}

/// How many tasks have ended well since the events were read last.
fn tasks(events: &mut emberflow::EventStream) -> usize {
    drain(events).iter().filter(|event| matches!(event, Event::TaskFinished { .. })).count()
}

/// The text of an error that must have come.
fn text_of<R>(outcome: emberflow::Result<R>) -> String {
    match outcome {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.to_string(),
    }
}

mod numbers {
    use super::*;

    #[test]
    fn sums_and_stats_equal_those_of_the_rows() {
        law(128, rows_in_partitions(), |ctx, (rows, partitions)| {
            let rdd = ctx.parallelize_into(rows.clone(), partitions);
            prop_assert_eq!(rdd.sum().unwrap(), rows.iter().map(|row| i128::from(*row)).sum::<i128>());
            let (n, stats) = (rows.len() as f64, rdd.stats().unwrap());
            prop_assert_eq!(stats.count(), rows.len() as u64);
            prop_assert_eq!(stats.min(), rows.iter().min().map(|row| *row as f64));
            prop_assert_eq!(stats.max(), rows.iter().max().map(|row| *row as f64));
            let sum: f64 = rows.iter().map(|row| *row as f64).sum();
            let squares: f64 = rows.iter().map(|row| (*row as f64 - sum / n).powi(2)).sum();
            let near = |found: Option<f64>, wanted: Option<f64>| match (found, wanted) {
                (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-9 * wanted.abs().max(1.0),
                (found, wanted) => found == wanted,
            };
            let (some, two) = (!rows.is_empty(), rows.len() > 1);
            prop_assert!(near(rdd.mean().unwrap(), some.then(|| sum / n)));
            prop_assert!(near(rdd.variance().unwrap(), some.then(|| squares / n)));
            prop_assert!(near(rdd.stdev().unwrap(), some.then(|| (squares / n).sqrt())));
            prop_assert!(near(rdd.sample_variance().unwrap(), two.then(|| squares / (n - 1.0))));
            prop_assert!(near(rdd.sample_stdev().unwrap(), two.then(|| (squares / (n - 1.0)).sqrt())));
            prop_assert!(near(Some(stats.sum()), Some(sum)));
            Ok(())
        });
    }

    #[test]
    fn variance_survives_a_large_mean_where_a_sum_of_squares_would_not() {
        let world = World::new(2);
        let rows = world.range_into(0..1000_u64, 7).map(|n| 1e9 + (n % 2) as f64);
        assert!((rows.variance().unwrap().unwrap() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn integer_sums_do_not_overflow() {
        let world = World::new(2);
        assert_eq!(world.parallelize(vec![u64::MAX; 3]).sum().unwrap(), 3 * u128::from(u64::MAX));
        assert_eq!(world.parallelize(vec![i64::MIN; 3]).sum().unwrap(), 3 * i128::from(i64::MIN));
        assert_eq!(world.parallelize(vec![255_u8; 10]).sum().unwrap(), 2550);
    }

    #[test]
    fn floating_point_results_are_the_same_bits_whatever_the_workers_and_batches() {
        let program = |ctx: &Context, partitions: usize| {
            let rows = ctx.range_into(0..20_000_u64, partitions).map(|n| 1.0 / (n + 1) as f64);
            let stats = rows.stats().unwrap();
            let quantiles = rows.approx_quantiles(&[0.1, 0.5, 0.9]).unwrap().unwrap();
            let numbers = [rows.sum().unwrap(), stats.mean().unwrap(), stats.variance().unwrap()];
            numbers.into_iter().chain(quantiles).map(f64::to_bits).collect::<Vec<_>>()
        };
        let first = program(&World::new(1), 6);
        // Were they not sensitive to order, nothing would be shown.
        assert_ne!(program(&World::new(1), 5), first);
        for (workers, batch_rows) in [(1, 7), (2, 1), (3, 1024), (7, 1000)] {
            let world = World::with(|builder| builder.workers(workers).batch_rows(batch_rows));
            assert_eq!(program(&world, 6), first, "{workers} workers, batches of {batch_rows}");
        }
    }

    #[test]
    fn histograms_count_every_row_in_the_bucket_that_a_plain_search_finds() {
        let edges = vec(-60_i64..60, 2..9).prop_filter_map("two edges", |mut edges| {
            edges.sort_unstable();
            edges.dedup();
            (edges.len() > 1).then_some(edges)
        });
        law(128, (rows_in_partitions(), edges, 1_usize..6), |ctx, ((rows, partitions), edges, buckets)| {
            let rdd = ctx.parallelize_into(rows.clone(), partitions);
            let model = |edges: &[f64]| {
                let last = edges.len() - 2;
                let within = |at: usize, row: f64| {
                    edges[at] <= row && (row < edges[at + 1] || (at == last && row == edges[at + 1]))
                };
                let count = |at| rows.iter().filter(|row| within(at, **row as f64)).count() as u64;
                (0..=last).map(count).collect::<Vec<_>>()
            };
            let edges: Vec<f64> = edges.into_iter().map(|edge| edge as f64).collect();
            prop_assert_eq!(rdd.histogram(&edges).unwrap(), model(&edges));
            match rdd.histogram_buckets(buckets).unwrap() {
                None => prop_assert!(rows.is_empty()),
                Some((edges, counts)) => {
                    prop_assert_eq!(counts.iter().sum::<u64>(), rows.len() as u64);
                    let distinct = rows.iter().min() != rows.iter().max();
                    prop_assert_eq!(edges.len(), if distinct { buckets + 1 } else { 2 });
                    prop_assert_eq!(edges[0], *rows.iter().min().unwrap() as f64);
                    if distinct {
                        prop_assert_eq!(counts, model(&edges));
                    }
                }
            }
            Ok(())
        });
    }

    #[test]
    fn rows_outside_all_buckets_and_nan_are_not_counted() {
        let world = World::new(2);
        let rows = world.parallelize(vec![-1.0, f64::NAN, 0.0, 1.0, 1.5, f64::INFINITY]);
        assert_eq!(rows.histogram(&[0.0, 1.0]).unwrap(), [2]);
    }

    #[test]
    fn rows_that_are_not_finite_have_no_equal_buckets_and_no_quantiles() {
        let world = World::new(2);
        for row in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let rows = world.parallelize_into(vec![1.0, row, 2.0], 3);
            let error = text_of(rows.histogram_buckets(3));
            assert!(error.contains(&format!("a row is {row}, which has no place")) && error.contains("give the edges"));
            assert!(error.contains("partition 1"), "{error}");
            assert!(text_of(rows.approx_quantiles(&[0.5])).contains("filter it out"));
        }
        assert_eq!(world.range(0..9_u64).count().unwrap(), 9);
    }

    #[test]
    #[should_panic(expected = "two or more edges that rise")]
    fn edges_that_do_not_rise_are_refused() {
        let _ = World::new(1).range(0..9_u64).histogram(&[1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "a rank lies between 0 and 1")]
    fn ranks_outside_of_zero_to_one_are_refused() {
        let _ = World::new(1).range(0..9_u64).approx_quantiles(&[1.5]);
    }

    #[test]
    fn quantiles_are_off_by_less_than_one_per_cent_of_the_rows() {
        let world = World::new(2);
        // Each number once, in an order that is none.
        let rows = world.range_into(0..100_003_u64, 9).map(|n| n * 7919 % 100_003);
        let ranks: Vec<f64> = (0..=20).map(|twentieth| f64::from(twentieth) / 20.0).collect();
        let found = rows.approx_quantiles(&ranks).unwrap().unwrap();
        for (rank, found) in ranks.iter().zip(found) {
            assert!((found / 100_002.0 - rank).abs() < 0.01, "rank {rank}: {found}");
        }
        assert_eq!(world.empty::<u64>().approx_quantiles(&[0.5]).unwrap(), None);
    }
}

mod keys {
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
}
