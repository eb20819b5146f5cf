//! Rows that are numbers.

use std::collections::BTreeMap;

use emberflow::Total;

use super::*;

/// Any floating-point rows, special ones and repeated ones among them, and a number of partitions.
fn floats_in_partitions() -> impl Strategy<Value = (Vec<f64>, usize)> {
    let special = [0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN, f64::MAX, f64::MIN_POSITIVE];
    let float = prop_oneof![proptest::sample::select(special.to_vec()), proptest::num::f64::ANY];
    (vec(float, 0..100), 1_usize..8)
}

fn bits(rows: &[f64]) -> Vec<u64> {
    rows.iter().map(|row| row.to_bits()).collect()
}

#[test]
fn floats_are_sorted_compared_and_used_as_keys_in_their_total_order() {
    law(128, (floats_in_partitions(), 0_usize..5), |ctx, ((rows, partitions), n)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        let totals = rdd.map(Total);
        let mut rising = rows.clone();
        rising.sort_by(f64::total_cmp);
        let falling: Vec<f64> = rising.iter().rev().copied().collect();

        prop_assert_eq!(bits(&rdd.sort_by(|row| Total(*row)).collect().unwrap()), bits(&rising));
        prop_assert_eq!(bits(&rdd.sort_by_desc(|row| Total(*row)).collect().unwrap()), bits(&falling));
        prop_assert_eq!(bits(&rdd.sort_by_cmp_into(f64::total_cmp, 3).collect().unwrap()), bits(&rising));
        let (least, most) = (rising.first().copied().map(Total), falling.first().copied().map(Total));
        prop_assert_eq!((totals.min().unwrap(), totals.max().unwrap()), (least, most));
        prop_assert_eq!(rdd.min_by(f64::total_cmp).unwrap().map(Total), least);
        prop_assert_eq!(rdd.max_by(f64::total_cmp).unwrap().map(Total), most);
        let first = |rows: &[f64]| bits(&rows[..n.min(rows.len())]);
        prop_assert_eq!(bits(&rdd.top_by_cmp(n, f64::total_cmp).unwrap()), first(&falling));
        prop_assert_eq!(bits(&rdd.take_ordered_by_cmp(n, f64::total_cmp).unwrap()), first(&rising));
        prop_assert_eq!(bits(&rdd.top_by(n, |row| Total(*row)).unwrap()), first(&falling));

        let mut counts = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(Total(*row)).or_insert(0_u64) += 1);
        prop_assert_eq!(totals.count_by_value().unwrap().into_iter().collect::<BTreeMap<_, _>>(), counts.clone());
        let reduced = totals.map(|row| (row, 1_u64)).reduce_by_key(|a, b| a + b).sort_by_key();
        prop_assert_eq!(reduced.collect().unwrap(), counts.clone().into_iter().collect::<Vec<_>>());
        let distinct = sorted(totals.distinct().collect().unwrap());
        prop_assert_eq!(distinct, counts.into_keys().collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn a_comparison_keeps_equal_rows_in_their_order_and_takes_the_first_of_them() {
    law(64, (vec((0_u8..4, 0_u32..1000), 0..200), 1_usize..8), |ctx, (rows, partitions)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        let compare = |a: &(u8, u32), b: &(u8, u32)| a.0.cmp(&b.0);
        let mut rising = rows.clone();
        rising.sort_by(compare);
        prop_assert_eq!(rdd.sort_by_cmp(compare).collect().unwrap(), rising.clone());
        prop_assert_eq!(rdd.take_ordered_by_cmp(7, compare).unwrap(), &rising[..rows.len().min(7)]);
        prop_assert_eq!(rdd.min_by(compare).unwrap(), rising.first().copied());
        let mut falling = rows.clone();
        falling.sort_by(|a, b| compare(b, a));
        prop_assert_eq!(rdd.top_by_cmp(7, compare).unwrap(), &falling[..rows.len().min(7)]);
        prop_assert_eq!(rdd.max_by(compare).unwrap(), falling.first().copied());
        Ok(())
    });
}

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

/// What the rows give in every partitioning.
fn in_every_partitioning<R>(world: &World, rows: &[f64], ask: impl Fn(&Rdd<f64>) -> R) -> Vec<R> {
    (1..=rows.len() + 1).map(|partitions| ask(&world.parallelize_into(rows.to_vec(), partitions))).collect()
}

#[test]
fn an_infinite_row_makes_the_mean_infinite_wherever_it_stands() {
    let world = World::new(2);
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for rows in [vec![inf, 1.0], vec![1.0, inf], vec![1.0, inf, 2.0, inf], vec![f64::MAX, inf, -f64::MAX]] {
        for mean in in_every_partitioning(&world, &rows, |rdd| rdd.mean().unwrap()) {
            assert_eq!(mean, Some(inf), "{rows:?}");
        }
        let down: Vec<f64> = rows.iter().map(|row| -row).collect();
        for stats in in_every_partitioning(&world, &down, |rdd| rdd.stats().unwrap()) {
            assert_eq!((stats.mean(), stats.sum(), stats.min()), (Some(-inf), -inf, Some(-inf)));
            assert!(stats.variance().unwrap().is_nan(), "{stats}");
        }
    }
    for rows in [vec![inf, -inf], vec![-inf, 1.0, inf, 2.0], vec![nan, 1.0], vec![inf, 3.0, nan]] {
        for mean in in_every_partitioning(&world, &rows, |rdd| rdd.mean().unwrap()) {
            assert!(mean.unwrap().is_nan(), "{rows:?}");
        }
    }
}

#[test]
fn opposite_extremes_have_a_mean_between_them() {
    let world = World::new(2);
    let max = f64::MAX;
    for rows in [vec![max, -max], vec![-max, max], vec![max, -max, max, -max], vec![max, max, -max, -max, 0.0]] {
        for stats in in_every_partitioning(&world, &rows, |rdd| rdd.stats().unwrap()) {
            let mean = stats.mean().unwrap();
            assert!(mean.abs() <= max * 1e-15, "{rows:?}: {mean:e}");
            assert_eq!(stats.variance(), Some(f64::INFINITY), "{rows:?}");
        }
    }
    assert_eq!(in_every_partitioning(&world, &[max, -max], |rdd| rdd.mean().unwrap()), [Some(0.0); 3]);
    assert_eq!(in_every_partitioning(&world, &[max; 5], |rdd| rdd.mean().unwrap()), [Some(max); 6]);
}

#[test]
fn stats_print_in_one_line() {
    let world = World::new(2);
    let stats = world.parallelize(vec![2, 4, 4, 4, 5, 5, 7, 9]).stats().unwrap();
    assert_eq!(stats.to_string(), "count 8, mean 5, stdev 2, min 2, max 9");
    assert_eq!(world.empty::<u64>().stats().unwrap().to_string(), "count 0");
}

#[test]
fn the_sum_of_literals_needs_no_type() -> emberflow::Result<()> {
    let world = World::new(2);
    let (floats, integers) = (world.parallelize(vec![1.0, 2.5]).sum()?, world.parallelize(vec![1, 2]).sum()?);
    assert_eq!((floats, integers), (3.5_f64, 3_i128));
    assert_eq!(world.parallelize(vec![1.0, 2.5]).map(|row| row * 2.0).cache().sum_async().wait()?, 7.0);
    assert_eq!(world.parallelize(vec![1.5_f32, 2.0]).sum()?, 3.5_f64);
    Ok(())
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
            let within =
                |at: usize, row: f64| edges[at] <= row && (row < edges[at + 1] || (at == last && row == edges[at + 1]));
            let count = |at| rows.iter().filter(|row| within(at, **row as f64)).count() as u64;
            (0..=last).map(count).collect::<Vec<_>>()
        };
        let edges: Vec<f64> = edges.into_iter().map(|edge| edge as f64).collect();
        prop_assert_eq!(rdd.histogram_edges(&edges).unwrap(), model(&edges));
        match rdd.histogram(buckets).unwrap() {
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
    assert_eq!(rows.histogram_edges(&[0.0, 1.0]).unwrap(), [2]);
}

#[test]
fn rows_that_are_not_finite_have_no_equal_buckets_and_no_quantiles() {
    let world = World::new(2);
    for row in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let rows = world.parallelize_into(vec![1.0, row, 2.0], 3);
        let error = text_of(rows.histogram(3));
        assert!(error.contains(&format!("a row is {row}, which has no place")) && error.contains("give the edges"));
        assert!(error.contains("partition 1"), "{error}");
        assert!(text_of(rows.approx_quantiles(&[0.5])).contains("filter it out"));
    }
    assert_eq!(world.range(0..9_u64).count().unwrap(), 9);
}

#[test]
#[should_panic(expected = "two or more edges that rise")]
fn edges_that_do_not_rise_are_refused() {
    let _ = World::new(1).range(0..9_u64).histogram_edges(&[1.0, 1.0]);
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
