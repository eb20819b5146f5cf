//! The laws: whatever the rows, the partitions, the workers and the batches, an operator gives what the same operation
//! gives on a plain `Vec`; in the same order where Spark keeps it, in any order where it does not.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Write,
};

use emberflow::{Rdd, TextOptions};
use proptest::{collection::vec, prelude::*, sample::select};

use self::support::{Tally, World, law::law, sorted};

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

/// What the engine should do, on plain vectors: the rows of each partition.
type Model = Vec<Vec<i64>>;

/// The documented cut of a collection: equal neighbouring parts.
fn cut<T: Clone>(rows: &[T], partitions: usize) -> Vec<Vec<T>> {
    let at = |part: usize| rows.len() * part / partitions;
    (0..partitions).map(|part| rows[at(part)..at(part + 1)].to_vec()).collect()
}

/// A narrow operator, or a few that belong together.
#[derive(Clone, Debug)]
enum Narrow {
    Map(i64),
    MapWith(i64),
    Filter(i64),
    FlatMap(i64),
    RunningSum,
    PartitionIndex,
    GlomAndFlatten,
    UnionWithItself,
    KeyedValues(i64),
    KeyedKeys(i64),
    FlatMapValues(i64),
    ZipWithIndex,
    Coalesce(usize),
    TryMap(i64),
    SampleAll,
    SampleNone,
    Cache,
}

fn narrow() -> impl Strategy<Value = Narrow> {
    prop_oneof![
        (-3_i64..4).prop_map(Narrow::Map),
        (-3_i64..4).prop_map(Narrow::MapWith),
        (1_i64..4).prop_map(Narrow::Filter),
        (1_i64..4).prop_map(Narrow::FlatMap),
        Just(Narrow::RunningSum),
        Just(Narrow::PartitionIndex),
        Just(Narrow::GlomAndFlatten),
        Just(Narrow::UnionWithItself),
        (1_i64..4).prop_map(Narrow::KeyedValues),
        (1_i64..4).prop_map(Narrow::KeyedKeys),
        (1_i64..4).prop_map(Narrow::FlatMapValues),
        Just(Narrow::ZipWithIndex),
        (1_usize..5).prop_map(Narrow::Coalesce),
        (-3_i64..4).prop_map(Narrow::TryMap),
        Just(Narrow::SampleAll),
        Just(Narrow::SampleNone),
        Just(Narrow::Cache),
    ]
}

/// Keeps numbers small, however long the chain is.
fn small(n: i64) -> i64 {
    n % 100_003
}

impl Narrow {
    fn on_rdd(&self, rdd: &Rdd<i64>) -> Rdd<i64> {
        match *self {
            Self::Map(by) => rdd.map(move |n| small(n * 3 + by)),
            Self::MapWith(by) => rdd.map_with(by, |by, n| small(n - by)),
            Self::Filter(by) => rdd.filter(move |n| n % by == 0),
            Self::FlatMap(by) => rdd.flat_map(move |n| (0..n.rem_euclid(by)).map(move |more| n + more)),
            Self::RunningSum => rdd.map_partitions(|rows| {
                let mut sum = 0;
                rows.map(move |row| {
                    sum = small(sum + row);
                    sum
                })
            }),
            Self::PartitionIndex => {
                rdd.map_partitions_with_index(|at, rows| rows.map(move |row| small(row + 7 * at as i64)))
            }
            Self::GlomAndFlatten => rdd.glom().flat_map(|rows| rows),
            Self::UnionWithItself => rdd.union(rdd),
            Self::KeyedValues(by) => rdd.key_by(move |n| n % by).map_values(|n| small(n + 1)).values(),
            Self::KeyedKeys(by) => rdd.key_by(move |n| n % by).keys(),
            Self::FlatMapValues(by) => {
                rdd.key_by(move |n| n % by).flat_map_values(|n| [n, small(-n)]).map(|(key, n)| small(key + n))
            }
            Self::ZipWithIndex => rdd.zip_with_index().map(|(row, at)| small(row * 31 + at as i64)),
            Self::Coalesce(partitions) => rdd.coalesce(partitions),
            Self::TryMap(by) => rdd.try_map(move |n| n.checked_add(by).ok_or("overflow")),
            Self::SampleAll => rdd.sample(false, 1.0, 3),
            Self::SampleNone => rdd.sample(true, 0.0, 3),
            Self::Cache => rdd.cache(),
        }
    }

    fn on_model(&self, model: Model) -> Model {
        let each = |f: &dyn Fn(i64) -> Vec<i64>| {
            model.iter().map(|rows| rows.iter().flat_map(|row| f(*row)).collect()).collect::<Model>()
        };
        match *self {
            Self::Map(by) => each(&|n| vec![small(n * 3 + by)]),
            Self::MapWith(by) => each(&|n| vec![small(n - by)]),
            Self::Filter(by) => each(&|n| if n % by == 0 { vec![n] } else { vec![] }),
            Self::FlatMap(by) => each(&|n| (0..n.rem_euclid(by)).map(|more| n + more).collect()),
            Self::RunningSum => {
                let add = |sum: &mut i64, row: &i64| {
                    *sum = small(*sum + row);
                    Some(*sum)
                };
                model.iter().map(|rows| rows.iter().scan(0, add).collect()).collect()
            }
            Self::PartitionIndex => {
                (0..).zip(&model).map(|(at, rows)| rows.iter().map(|row| small(row + 7 * at)).collect()).collect()
            }
            Self::GlomAndFlatten | Self::SampleAll | Self::Cache => model,
            Self::UnionWithItself => model.iter().chain(&model).cloned().collect(),
            Self::KeyedValues(_) => each(&|n| vec![small(n + 1)]),
            Self::KeyedKeys(by) => each(&|n| vec![n % by]),
            Self::FlatMapValues(by) => each(&|n| vec![small(n % by + n), small(n % by + small(-n))]),
            Self::ZipWithIndex => {
                let mut number = 0..;
                let mut next = |row: &i64| small(row * 31 + number.next().unwrap());
                model.iter().map(|rows| rows.iter().map(&mut next).collect()).collect()
            }
            Self::Coalesce(partitions) => {
                let partitions = partitions.min(model.len());
                cut(&model, partitions).into_iter().map(|parts| parts.concat()).collect()
            }
            Self::TryMap(by) => each(&|n| vec![n + by]),
            Self::SampleNone => each(&|_| vec![]),
        }
    }
}

#[test]
fn any_chain_of_narrow_operators_equals_the_vec_model_in_order() {
    law(256, (rows_in_partitions(), vec(narrow(), 0..7)), |ctx, ((rows, partitions), chain)| {
        let mut rdd = ctx.parallelize_into(rows.clone(), partitions);
        let mut model = cut(&rows, partitions);
        for op in &chain {
            (rdd, model) = (op.on_rdd(&rdd), op.on_model(model));
        }
        prop_assert_eq!(rdd.partitions(), model.len());
        prop_assert_eq!(&rdd.glom().collect().unwrap(), &model);
        prop_assert_eq!(rdd.count().unwrap(), model.concat().len() as u64);
        prop_assert_eq!(rdd.collect().unwrap(), model.concat());
        Ok(())
    });
}

#[test]
fn map_partitions_ends_where_its_iterator_first_ends() {
    // `map_while` goes on after its end if it is asked again, which a plain loop over it never does.
    law(64, (rows_in_partitions(), -50_i64..50), |ctx, ((rows, partitions), stop)| {
        let until = move |row: i64| (row != stop).then_some(row);
        let expected: Vec<Vec<i64>> =
            cut(&rows, partitions).into_iter().map(|rows| rows.into_iter().map_while(until).collect()).collect();
        let ended = ctx.parallelize_into(rows, partitions).map_partitions(move |rows| rows.map_while(until));
        prop_assert_eq!(ended.collect().unwrap(), expected.concat());
        Ok(())
    });
}

/// A wide operator.
#[derive(Clone, Debug)]
enum Wide {
    Repartition(usize),
    PartitionBy(usize),
    Distinct(usize),
    ReduceByKey(i64, usize),
    AggregateByKey(i64, usize),
    CombineByKey(i64),
    GroupByKey(i64, usize),
    GroupBy(i64),
}

fn wide() -> impl Strategy<Value = Wide> {
    prop_oneof![
        (1_usize..5).prop_map(Wide::Repartition),
        (1_usize..5).prop_map(Wide::PartitionBy),
        (1_usize..5).prop_map(Wide::Distinct),
        (1_i64..9, 1_usize..5).prop_map(|(by, into)| Wide::ReduceByKey(by, into)),
        (1_i64..9, 1_usize..5).prop_map(|(by, into)| Wide::AggregateByKey(by, into)),
        (1_i64..9).prop_map(Wide::CombineByKey),
        (1_i64..9, 1_usize..5).prop_map(|(by, into)| Wide::GroupByKey(by, into)),
        (1_i64..9).prop_map(Wide::GroupBy),
    ]
}

/// What is made of a group: key, size and sum in one number.
fn summary(key: i64, size: usize, sum: i64) -> i64 {
    small(key * 7 + size as i64 * 13 + sum)
}

impl Wide {
    fn on_rdd(&self, rdd: &Rdd<i64>) -> Rdd<i64> {
        let keyed = |by: i64| rdd.key_by(move |n| n % by);
        let group = |(key, rows): (i64, Vec<i64>)| summary(key, rows.len(), rows.iter().sum());
        match *self {
            Self::Repartition(into) => rdd.repartition(into),
            Self::PartitionBy(into) => keyed(5).partition_by(into).values(),
            Self::Distinct(into) => rdd.distinct_into(into),
            Self::ReduceByKey(by, into) => keyed(by).reduce_by_key_into(|a, b| a + b, into).map(|(k, n)| small(k + n)),
            Self::AggregateByKey(by, into) => {
                let sums = keyed(by).aggregate_by_key_into((0, 0), add_row, add_sums, into);
                sums.map(|(key, (size, sum))| summary(key, size, sum))
            }
            Self::CombineByKey(by) => {
                let sums = keyed(by).combine_by_key(|n| (1, n), add_row, add_sums);
                sums.map(|(key, (size, sum))| summary(key, size, sum))
            }
            Self::GroupByKey(by, into) => keyed(by).group_by_key_into(into).map(group),
            Self::GroupBy(by) => rdd.group_by(move |n| n % by).map(group),
        }
    }

    fn on_model(&self, rows: Vec<i64>) -> Vec<i64> {
        let groups = |by: i64| {
            let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            rows.iter().for_each(|row| groups.entry(row % by).or_default().push(*row));
            groups.into_iter()
        };
        let sum = |rows: &[i64]| rows.iter().sum::<i64>();
        match *self {
            Self::Repartition(_) | Self::PartitionBy(_) => rows,
            Self::Distinct(_) => BTreeSet::from_iter(rows).into_iter().collect(),
            Self::ReduceByKey(by, _) => groups(by).map(|(key, rows)| small(key + sum(&rows))).collect(),
            Self::AggregateByKey(by, _) | Self::CombineByKey(by) | Self::GroupByKey(by, _) | Self::GroupBy(by) => {
                groups(by).map(|(key, rows)| summary(key, rows.len(), sum(&rows))).collect()
            }
        }
    }
}

fn add_row((size, sum): (usize, i64), row: i64) -> (usize, i64) {
    (size + 1, sum + row)
}

fn add_sums(a: (usize, i64), b: (usize, i64)) -> (usize, i64) {
    (a.0 + b.0, a.1 + b.1)
}

#[test]
fn any_chain_of_narrow_and_wide_operators_equals_the_vec_model_as_a_multiset() {
    // Of the narrow ones, those whose result does not depend on the order of rows, which a shuffle changes.
    let narrow = prop_oneof![
        (-3_i64..4).prop_map(Narrow::Map),
        (1_i64..4).prop_map(Narrow::Filter),
        (1_i64..4).prop_map(Narrow::FlatMap),
        Just(Narrow::GlomAndFlatten),
        Just(Narrow::UnionWithItself),
        (1_i64..4).prop_map(Narrow::FlatMapValues),
        (1_usize..5).prop_map(Narrow::Coalesce),
        (-3_i64..4).prop_map(Narrow::TryMap),
        Just(Narrow::Cache),
    ];
    let chain = vec((vec(narrow, 0..3), wide()), 1..4);
    law(160, (rows_in_partitions(), chain), |ctx, ((rows, partitions), chain)| {
        let (mut rdd, mut model) = (ctx.parallelize_into(rows.clone(), partitions), rows);
        for (narrow, wide) in &chain {
            for op in narrow {
                // Coalescing changes no row, and a model of one partition knows of no other.
                let one = if matches!(op, Narrow::Coalesce(_)) { vec![model] } else { op.on_model(vec![model]) };
                (rdd, model) = (op.on_rdd(&rdd), one.concat());
            }
            (rdd, model) = (wide.on_rdd(&rdd), wide.on_model(model));
        }
        prop_assert_eq!(rdd.count().unwrap(), model.len() as u64);
        prop_assert_eq!(sorted(rdd.collect().unwrap()), sorted(model));
        Ok(())
    });
}

#[test]
fn reduce_by_key_equals_the_fold_of_its_groups() {
    // Joining strings is not commutative, so this also checks that values meet in the order of partitions.
    law(128, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let mut folded: HashMap<i64, String> = HashMap::new();
        pairs.iter().for_each(|(key, value)| *folded.entry(*key).or_default() += &format!(" {value}"));
        let texts = ctx.parallelize_into(pairs, partitions).map_values(|value| format!(" {value}"));
        let joined = texts.reduce_by_key_into(|a, b| a + &b, into);
        prop_assert_eq!(joined.partitions(), into);
        prop_assert_eq!(joined.count().unwrap(), folded.len() as u64);
        prop_assert_eq!(joined.collect_as_map().unwrap(), folded);
        Ok(())
    });
}

#[test]
fn aggregate_by_key_equals_the_fold_of_its_groups() {
    law(128, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let mut folded: HashMap<i64, (usize, i64)> = HashMap::new();
        for (key, value) in &pairs {
            let sum = folded.entry(*key).or_default();
            *sum = add_row(*sum, *value);
        }
        let rdd = ctx.parallelize_into(pairs, partitions);
        let sums = rdd.aggregate_by_key_into((0, 0), add_row, add_sums, into);
        prop_assert_eq!(&sums.collect_as_map().unwrap(), &folded);
        // Placed by key already: the same again, without a shuffle.
        let again = rdd.partition_by(into).aggregate_by_key_into((0, 0), add_row, add_sums, into);
        prop_assert_eq!(again.collect_as_map().unwrap(), folded);
        Ok(())
    });
}

#[test]
fn group_by_key_keeps_the_order_of_values() {
    law(128, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let mut groups: HashMap<i64, Vec<i64>> = HashMap::new();
        pairs.iter().for_each(|(key, value)| groups.entry(*key).or_default().push(*value));
        let rdd = ctx.parallelize_into(pairs, partitions);
        prop_assert_eq!(&rdd.group_by_key_into(into).collect_as_map().unwrap(), &groups);
        prop_assert_eq!(rdd.partition_by(into).group_by_key_into(into).collect_as_map().unwrap(), groups);
        Ok(())
    });
}

#[test]
fn partition_by_puts_equal_keys_together_and_keeps_their_order() {
    law(128, (pairs_in_partitions(), 1_usize..6), |ctx, ((pairs, partitions), into)| {
        let placed = ctx.parallelize_into(pairs.clone(), partitions).partition_by(into).glom().collect().unwrap();
        prop_assert_eq!(placed.len(), into);
        for key in 0..7 {
            let of_key = |rows: &[(i64, i64)]| rows.iter().copied().filter(|row| row.0 == key).collect::<Vec<_>>();
            let homes: Vec<_> = placed.iter().map(|rows| of_key(rows)).filter(|rows| !rows.is_empty()).collect();
            prop_assert!(homes.len() <= 1);
            prop_assert_eq!(homes.concat(), of_key(&pairs));
        }
        Ok(())
    });
}

#[test]
fn distinct_equals_the_set() {
    law(128, (rows_in_partitions(), 1_usize..6), |ctx, ((rows, partitions), into)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        prop_assert_eq!(sorted(rdd.distinct_into(into).collect().unwrap()), sorted(BTreeSet::from_iter(rows)));
        Ok(())
    });
}

#[test]
fn repartition_deals_the_rows_out_evenly() {
    law(128, (rows_in_partitions(), 1_usize..6), |ctx, ((rows, partitions), into)| {
        let dealt = ctx.parallelize_into(rows.clone(), partitions).repartition(into).glom().collect().unwrap();
        prop_assert_eq!(dealt.len(), into);
        // Every partition of the parent deals evenly, so no two differ by more than one row for each of them.
        let sizes = || dealt.iter().map(Vec::len);
        prop_assert!(sizes().max().unwrap() - sizes().min().unwrap() <= partitions);
        prop_assert_eq!(sorted(dealt.concat()), sorted(rows));
        Ok(())
    });
}

#[test]
fn take_equals_the_front_of_collect() {
    law(128, (rows_in_partitions(), 0_usize..140), |ctx, ((rows, partitions), n)| {
        // Some partitions without rows, so that `take` has to look further.
        let rdd = ctx.parallelize_into(rows, partitions).filter(|row| *row > 20);
        let all = rdd.collect().unwrap();
        prop_assert_eq!(rdd.take(n).unwrap(), &all[..n.min(all.len())]);
        prop_assert_eq!(rdd.first().unwrap(), all.first().copied());
        Ok(())
    });
}

#[test]
fn top_and_take_ordered_equal_the_sorted_ends() {
    law(128, (rows_in_partitions(), 0_usize..140), |ctx, ((rows, partitions), n)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        let cut = |mut rows: Vec<i64>| {
            rows.truncate(n);
            rows
        };
        let ascending = sorted(rows.clone());
        prop_assert_eq!(rdd.take_ordered(n).unwrap(), cut(ascending.clone()));
        prop_assert_eq!(rdd.top(n).unwrap(), cut(ascending.into_iter().rev().collect()));
        // Of rows with equal keys, those that come first stay first: what a stable sort gives.
        let mut by_key = rows;
        by_key.sort_by_key(|row| row % 5);
        prop_assert_eq!(rdd.take_ordered_by(n, |row| row % 5).unwrap(), cut(by_key.clone()));
        by_key.sort_by_key(|row| std::cmp::Reverse(row % 3));
        let by_key_rdd = rdd.collect().unwrap();
        let mut expected = by_key_rdd;
        expected.sort_by_key(|row| std::cmp::Reverse(row % 3));
        prop_assert_eq!(rdd.top_by(n, |row| row % 3).unwrap(), cut(expected));
        Ok(())
    });
}

#[test]
fn top_keeps_the_ends_of_partitions_far_longer_than_it_holds() {
    law(32, (vec(any::<i64>(), 500..3000), 1_usize..4, 0_usize..9), |ctx, (rows, partitions, n)| {
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        let ascending = sorted(rows);
        prop_assert_eq!(rdd.take_ordered(n).unwrap(), &ascending[..n]);
        prop_assert_eq!(rdd.top(n).unwrap(), ascending.into_iter().rev().take(n).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn zip_with_index_numbers_all_rows_in_order() {
    law(128, rows_in_partitions(), |ctx, (rows, partitions)| {
        let rdd = ctx.parallelize_into(rows, partitions).filter(|row| row % 3 != 0);
        let expected: Vec<(i64, u64)> = rdd.collect().unwrap().into_iter().zip(0..).collect();
        prop_assert_eq!(rdd.zip_with_index().collect().unwrap(), expected);
        Ok(())
    });
}

#[test]
fn coalesce_and_union_keep_order() {
    let case = (vec(rows_in_partitions(), 0..5), 1_usize..9);
    law(128, case, |ctx, (parts, into)| {
        let rdds: Vec<_> = parts.iter().map(|(rows, n)| ctx.parallelize_into(rows.clone(), *n)).collect();
        let (all, union) = (parts.into_iter().flat_map(|(rows, _)| rows).collect::<Vec<_>>(), ctx.union(&rdds));
        let partitions = rdds.iter().map(Rdd::partitions).sum::<usize>();
        prop_assert_eq!(union.partitions(), partitions);
        prop_assert_eq!(&union.collect().unwrap(), &all);
        let fewer = union.coalesce(into);
        prop_assert_eq!(fewer.partitions(), into.min(partitions));
        prop_assert_eq!(fewer.collect().unwrap(), all);
        Ok(())
    });
}

#[test]
fn count_by_key_and_count_by_value_equal_the_counts() {
    law(128, pairs_in_partitions(), |ctx, (pairs, partitions)| {
        let (mut keys, mut values) = (HashMap::new(), HashMap::new());
        for (key, value) in &pairs {
            *keys.entry(*key).or_insert(0_u64) += 1;
            *values.entry(value % 4).or_insert(0_u64) += 1;
        }
        let rdd = ctx.parallelize_into(pairs, partitions);
        prop_assert_eq!(rdd.count_by_key().unwrap(), keys);
        prop_assert_eq!(rdd.values().map(|value| value % 4).count_by_value().unwrap(), values);
        Ok(())
    });
}

#[test]
fn reduce_fold_and_aggregate_equal_the_folds_in_order() {
    law(128, rows_in_partitions(), |ctx, (rows, partitions)| {
        // Joining is associative but not commutative: the order of rows shows.
        let rdd = ctx.parallelize_into(rows.clone(), partitions);
        let texts = rdd.map(|row| format!("{row},"));
        let joined: String = rows.iter().map(|row| format!("{row},")).collect();
        let join = |a: String, b: String| a + &b;
        prop_assert_eq!(texts.reduce(join).unwrap(), (!rows.is_empty()).then(|| joined.clone()));
        prop_assert_eq!(texts.fold(String::new(), join).unwrap(), joined.clone());
        let aggregate = rdd.aggregate(String::new(), |text, row| text + &format!("{row},"), join);
        prop_assert_eq!(aggregate.unwrap(), joined);
        Ok(())
    });
}

#[test]
fn a_cached_rdd_gives_the_rows_of_an_uncached_one() {
    law(128, (rows_in_partitions(), vec(narrow(), 0..5), wide()), |ctx, ((rows, partitions), chain, wide)| {
        let source = ctx.parallelize_into(rows, partitions);
        let plain = chain.iter().fold(source.clone(), |rdd, op| op.on_rdd(&rdd));
        let cached = chain.iter().fold(source, |rdd, op| op.on_rdd(&rdd)).cache();
        let expected = plain.collect().unwrap();
        // Twice: while it is filled, and from what it keeps.
        for _ in 0..2 {
            prop_assert_eq!(&cached.collect().unwrap(), &expected);
            prop_assert_eq!(&cached.filter(|row| row % 2 == 0).collect().unwrap(), &{
                let mut even = expected.clone();
                even.retain(|row| row % 2 == 0);
                even
            });
            prop_assert_eq!(wide.on_rdd(&cached).collect().unwrap(), wide.on_rdd(&plain).collect().unwrap());
        }
        Ok(())
    });
}

#[test]
fn a_sample_is_a_part_of_the_rows_in_order_and_the_same_for_the_same_seed() {
    law(96, (rows_in_partitions(), 0.0..=1.0, any::<u64>()), |ctx, ((rows, partitions), fraction, seed)| {
        let numbered = ctx.parallelize_into(rows, partitions).zip_with_index().map(|(_, at)| at);
        let some = numbered.sample(false, fraction, seed).collect().unwrap();
        prop_assert!(some.is_sorted_by(|a, b| a < b), "{:?}", some);
        let again = numbered.sample(true, fraction * 3.0, seed);
        prop_assert!(again.collect().unwrap().is_sorted());
        prop_assert_eq!(again.collect().unwrap(), again.cache().collect().unwrap());
        prop_assert_eq!(numbered.sample(false, fraction, seed).collect().unwrap(), some);
        Ok(())
    });
}

/// Text of many kinds of lines and line ends; the last line may have no end.
fn text() -> impl Strategy<Value = String> {
    let words =
        select(vec!["", "a", "one two", "h\u{e9}llo", "\u{65e5}\u{672c}", "\u{1f525}", "x\ry", " ", "\u{feff}"]);
    let line = (vec(words, 0..4), select(vec!["\n", "\r\n", "\n\n", "\r\n\r\n"]));
    (vec(line, 0..40), select(vec!["", "end", "\u{e9}"])).prop_map(|(lines, last)| {
        let lines = lines.into_iter().map(|(words, end)| words.concat() + end);
        lines.collect::<String>() + last
    })
}

/// The lines of a text, each of which ends at LF, CRLF or CR. A byte order mark is no part of it.
fn lines_of(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn text_file_equals_str_lines_for_any_split() {
    law(192, (text(), 1_usize..20), |ctx, (text, partitions)| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        fs::write(&path, &text).unwrap();
        let expected = lines_of(&text);
        let lines = ctx.text_files(&[&path], &TextOptions::new().min_partitions(partitions)).unwrap();
        prop_assert!(
            partitions == 1 || text.len() < partitions || lines.partitions() >= partitions.min(text.len()) / 2
        );
        prop_assert_eq!(lines.collect().unwrap(), expected.clone());
        prop_assert_eq!(ctx.text_file(&path).unwrap().collect().unwrap(), expected);
        Ok(())
    });
}

#[test]
fn many_small_text_files_equal_the_lines_of_each_in_path_order() {
    law(64, (vec((text(), any::<bool>()), 0..12), 1_usize..20), |ctx, (files, partitions)| {
        let dir = tempfile::tempdir().unwrap();
        let mut expected: Vec<String> = Vec::new();
        for (at, (text, zipped)) in files.iter().enumerate() {
            if *zipped {
                let file = fs::File::create(dir.path().join(format!("{at:02}.gz"))).unwrap();
                let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                file.write_all(text.as_bytes()).unwrap();
                file.finish().unwrap();
            } else {
                fs::write(dir.path().join(format!("{at:02}")), text).unwrap();
            }
            expected.extend(lines_of(text));
        }
        // The directory is named, and then all its files one by one.
        let options = TextOptions::new().min_partitions(partitions);
        if files.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(&ctx.text_files(&[dir.path()], &options).unwrap().collect().unwrap(), &expected);
        prop_assert_eq!(ctx.text_file(dir.path().join("*")).unwrap().collect().unwrap(), expected);
        Ok(())
    });
}

#[test]
fn flat_map_reduce_by_key_equals_flat_map_and_then_reduce_by_key() {
    // Keys of up to twelve bytes are kept in another table than longer ones.
    let words = vec(prop_oneof![3 => "[a-d]{0,2}", 1 => "[ab]{11,13}"], 0..6);
    let lines = vec(words.prop_map(|words| words.join(" ")), 0..40);
    law(100, (lines, 1_usize..5, 1_usize..5), |ctx, (lines, n, into)| {
        let rows = ctx.parallelize_into(lines.clone(), n);
        let joined = |a: String, b: String| a + "," + &b;
        let borrowed: Rdd<(String, String)> = rows.flat_map_reduce_by_key_into(
            |line, pairs| line.split(' ').enumerate().for_each(|(at, word)| pairs.push(word, at.to_string())),
            joined,
            into,
        );
        let pairs = rows.flat_map(|line| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).enumerate().collect();
            words.into_iter().map(|(at, word)| (word, at.to_string())).collect::<Vec<_>>()
        });
        // To the byte, which is to say: the order in which values are merged.
        let expected = pairs.reduce_by_key_into(joined, into).collect().unwrap();
        prop_assert_eq!(sorted(borrowed.collect().unwrap()), sorted(expected));
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        for (at, word) in lines.iter().flat_map(|line| line.split(' ').enumerate()) {
            let so_far = model.entry(word.to_owned()).or_default();
            *so_far = if so_far.is_empty() { at.to_string() } else { format!("{so_far},{at}") };
        }
        prop_assert_eq!(sorted(borrowed.collect().unwrap()), model.into_iter().collect::<Vec<_>>());
        Ok(())
    });
}

/// More keys than a table is kept for, of which few come twice: combining stops, and the rest passes.
#[test]
fn borrowed_keys_that_hardly_repeat_pass_uncombined() {
    let world = World::new(2);
    let rows = world.range_into(0..300_000_u64, 2).map(|n| format!("{} {}", n, n / 100_000));
    let counts: Rdd<(String, u64)> =
        rows.flat_map_reduce_by_key_into(|row, pairs| row.split(' ').for_each(|w| pairs.push(w, 1)), |a, b| a + b, 3);
    let pairs = rows.flat_map(|row| row.split(' ').map(|w| (w.to_owned(), 1_u64)).collect::<Vec<_>>());
    let counts = sorted(counts.collect().unwrap());
    assert_eq!(counts, sorted(pairs.reduce_by_key_into(|a, b| a + b, 3).collect().unwrap()));
    assert_eq!(counts.len(), 300_000);
    assert_eq!(counts.iter().find(|(word, _)| word == "2"), Some(&("2".to_owned(), 100_001)));
}

/// Short keys and long ones, which soon pass uncombined: their order is that of the rows, and no batch's.
#[test]
fn the_order_of_borrowed_keys_does_not_depend_on_where_batches_end() {
    let worlds = [1, 7, 1024].map(|rows| World::with(|builder| builder.workers(2).batch_rows(rows)));
    let counts = |world: &World| -> Vec<(String, u64)> {
        let rows = world.range_into(0..150_000_u64, 2).map(|n| {
            let repeated = n % 75_000 > 70_000;
            let key = if repeated { n % 100 } else { n };
            format!("{key} {key:0>16}")
        });
        // As a shared batch, and as one that its task owns.
        let (cached, owned) = (rows.cache(), rows.map(|row| row));
        let counts = |rows: &Rdd<String>| {
            let counts = rows.flat_map_reduce_by_key_into(
                |row, pairs| row.split(' ').for_each(|word| pairs.push(word, 1)),
                |a, b| a + b,
                3,
            );
            counts.collect().unwrap()
        };
        let from_cache = counts(&cached);
        assert!(from_cache == counts(&owned));
        from_cache
    };
    let first = counts(&worlds[0]);
    assert!(first.len() > 280_000);
    assert!(worlds[1..].iter().all(|world| counts(world) == first));
}

#[test]
fn operations_that_only_look_at_rows_equal_those_that_take_them() {
    law(60, vec(vec(0_u32..9, 0..5), 0..40), |ctx, rows| {
        for rdd in [ctx.parallelize_into(rows.clone(), 3), ctx.parallelize_into(rows.clone(), 2).map(|row| row)] {
            prop_assert_eq!(rdd.map_ref(Vec::len).collect().unwrap(), rdd.map(|row| row.len()).collect().unwrap());
            let flat = rdd.flat_map_ref(|row, out| out.extend_from_slice(row)).collect().unwrap();
            prop_assert_eq!(&flat, &rows.concat());
            let joined = rdd.aggregate_ref(Vec::new(), |sum, row| [sum, row.clone()].concat(), |a, b| [a, b].concat());
            prop_assert_eq!(joined.unwrap(), flat);
            let seen = Tally::new();
            let counted = seen.clone();
            rdd.for_each_ref(move |_| {
                counted.add();
            })
            .unwrap();
            prop_assert_eq!(seen.get(), rows.len());
        }
        Ok(())
    });
}

#[test]
fn rows_that_are_only_looked_at_are_not_cloned() {
    struct Counted(Tally);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.add();
            Self(self.0.clone())
        }
    }

    let world = World::new(2);
    let clones = Tally::new();
    let rows: Vec<Counted> = (0..10).map(|_| Counted(clones.clone())).collect();
    let rdd = world.parallelize_into(rows, 2);
    assert_eq!(rdd.map_ref(|_| 1).collect().unwrap().len(), 10);
    assert_eq!(rdd.aggregate_ref(0, |n, _| n + 1, |a, b| a + b).unwrap(), 10);
    rdd.flat_map_ref(|_, _: &mut Vec<u64>| ()).for_each_ref(|_| ()).unwrap();
    assert_eq!(clones.get(), 0);
    rdd.map(drop).count().unwrap();
    assert_eq!(clones.get(), 10);
}
