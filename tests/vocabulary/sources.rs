//! Files as they are, files of serialised rows, random numbers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use emberflow::{Error, Random};
use serde::{Deserialize, Serialize};

use super::{support::names_in, *};

/// The one file in a directory whose name begins so.
fn part(dir: &Path, partition: usize) -> PathBuf {
    dir.join(format!("part-{partition:05}"))
}

#[test]
fn whole_files_come_with_their_paths_in_order_and_decompressed_if_they_are_text() {
    let world = World::new(2);
    let dir = world.files().join("in");
    fs::create_dir_all(dir.join("b")).unwrap();
    fs::write(dir.join("a.txt"), "one\r\ntwo").unwrap();
    fs::write(dir.join("b/c.txt"), "").unwrap();
    fs::write(dir.join("_SUCCESS"), "no row").unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, "packed\n".as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    fs::write(dir.join("d.txt.gz"), &packed).unwrap();

    let texts = world.whole_text_files(&dir).unwrap().collect().unwrap();
    let names = ["a.txt", "b/c.txt", "d.txt.gz"].map(|name| dir.join(name));
    let wanted = ["one\r\ntwo", "", "packed\n"].map(str::to_owned);
    assert_eq!(texts, names.iter().cloned().zip(wanted).collect::<Vec<_>>());
    let bytes = world.binary_files(dir.join("*.gz")).unwrap().collect().unwrap();
    assert_eq!(bytes, [(names[2].clone(), packed)]);
}

#[test]
fn many_small_files_are_packed_into_few_partitions_and_large_ones_stay_whole() {
    let world = World::new(2);
    let dir = world.files().join("in");
    fs::create_dir(&dir).unwrap();
    (0..200).for_each(|n| fs::write(dir.join(format!("{n:03}")), format!("{n}")).unwrap());
    let files = world.whole_text_files(&dir).unwrap();
    assert!(files.partitions() < 20, "{}", files.partitions());
    assert_eq!(files.values().collect().unwrap(), (0..200).map(|n| n.to_string()).collect::<Vec<_>>());

    let large = world.files().join("large");
    fs::write(&large, vec![7; 3 << 20]).unwrap();
    let files = world.binary_files(&large).unwrap();
    assert_eq!((files.partitions(), files.values().collect().unwrap()), (1, vec![vec![7; 3 << 20]]));
}

#[test]
fn whole_files_that_are_missing_changed_or_no_text_are_errors_with_their_paths() {
    let world = World::new(2);
    assert!(matches!(world.whole_text_files(world.files().join("none")), Err(Error::NoSuchInput { .. })));
    let path = world.files().join("in");
    fs::write(&path, b"caf\xe9").unwrap();
    let error = text_of(world.whole_text_files(&path).unwrap().collect());
    assert!(error.contains("in, byte 3: not UTF-8; convert the file, or read it with binary_files"), "{error}");
    let files = world.binary_files(&path).unwrap();
    fs::write(&path, "longer than before").unwrap();
    let error = text_of(files.collect());
    assert!(error.contains("has changed since the rdd was made: it had 4 bytes and has 18"), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Row {
    Nothing,
    Words(Vec<String>),
    Numbers { exact: Option<i128>, about: f64, by_name: BTreeMap<String, u8> },
}

fn row() -> impl Strategy<Value = Row> {
    prop_oneof![
        Just(Row::Nothing),
        vec(".{0,9}", 0..4).prop_map(Row::Words),
        (any::<Option<i128>>(), -1e9..1e9, proptest::collection::btree_map("[a-z]{0,3}", any::<u8>(), 0..4))
            .prop_map(|(exact, about, by_name)| Row::Numbers { exact, about, by_name }),
    ]
}

#[test]
fn object_files_give_the_same_rows_in_the_same_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    law(64, (vec(row(), 0..40), 1_usize..6), |ctx, (rows, partitions)| {
        let path = dir.path().join(next.replace(next.get() + 1).to_string());
        ctx.parallelize_into(rows.clone(), partitions).save_as_object_file(&path).unwrap();
        let back = ctx.object_file::<Row>(&path).unwrap();
        prop_assert_eq!(back.glom().collect().unwrap(), cut(&rows, partitions));
        Ok(())
    });
}

#[test]
fn object_files_of_many_frames_come_back_whatever_the_batches() {
    let world = World::with(|builder| builder.workers(2).batch_rows(77));
    let path = world.files().join("rows");
    let rows = world.range_into(0..90_000_u64, 2).map(|n| (n, n.to_string()));
    rows.save_as_object_file(&path).unwrap();
    assert!(fs::metadata(part(&path, 0)).unwrap().len() > 3 << 18);
    assert_eq!(world.object_file::<(u64, String)>(&path).unwrap().collect().unwrap(), rows.collect().unwrap());
}

#[test]
fn object_files_appear_whole_or_not_at_all_and_overwrite_nothing() {
    let world = World::new(2);
    let path = world.files().join("rows");
    let bad = world.range_into(0..40_u64, 4).try_map(|n| if n == 35 { Err("not this one") } else { Ok(n) });
    assert!(text_of(bad.save_as_object_file(&path)).contains("not this one"));
    assert_eq!(names_in(&world.files()), Vec::<String>::new());
    let rows = world.range_into(0..40_u64, 2);
    rows.save_as_object_file_async(&path).wait().unwrap();
    assert_eq!(names_in(&path), ["_SUCCESS", "part-00000", "part-00001"]);
    assert!(matches!(rows.save_as_object_file(&path), Err(Error::OutputExists { .. })));
    assert_eq!(world.object_file::<u64>(&path).unwrap().count().unwrap(), 40);
}

#[test]
fn a_cut_damaged_or_foreign_object_file_is_an_error_with_file_and_byte_and_is_read_once() {
    let world = World::new(2);
    let path = world.files().join("rows");
    world.range_into(0..2000_u64, 2).save_as_object_file(&path).unwrap();
    let file = part(&path, 1);
    let good = fs::read(&file).unwrap();
    let error = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        text_of(world.object_file::<u64>(&path).unwrap().collect())
    };
    let name = file.display();
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        error(&bytes)
    };
    for (told, wanted) in [
        (error(&good[..5000]), format!("{name}, byte 5000: the file ends here, in the middle")),
        (error(&good[..good.len() - 1]), format!("{name}, byte {}: the file ends here", good.len() - 1)),
        (damaged(4000), format!("{name}, byte 27: damaged: the checksum is another")),
        (damaged(22), format!("{name}, byte 0: damaged")),
        (damaged(8), format!("{name}, byte 8: the format's version is 0, and this emberflow reads 1")),
        (damaged(0), format!("{name}, byte 0: not a file of rows that emberflow has written")),
        (error(b""), format!("{name}, byte 0: not a file of rows that emberflow has written")),
        (error(&[&good[..], b"x"].concat()), format!("{name}, byte {}: there are bytes after the end", good.len())),
    ] {
        assert!(told.contains(&wanted), "{told}\n{wanted}");
        assert!(told.contains("object_file at ") && told.contains("failed after 1 attempt;"), "{told}");
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(world.object_file::<u64>(&path).unwrap().collect().unwrap(), (0..2000).collect::<Vec<_>>());
    let told = text_of(world.object_file::<i64>(&path).unwrap().collect());
    assert!(told.contains("byte 20: it holds rows of u64, not of i64; read it as u64"), "{told}");
}

#[test]
fn a_type_that_has_changed_under_its_name_is_an_error() {
    mod before {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        pub(super) struct Film(pub(super) u8);
    }
    mod after {
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        pub(super) struct Film(#[allow(dead_code, reason = "it is only read back")] pub(super) String);
    }
    let world = World::new(1);
    let path = world.files().join("films");
    world.parallelize(vec![before::Film(255)]).save_as_object_file(&path).unwrap();
    let told = text_of(world.object_file::<after::Film>(&path).unwrap().collect());
    assert!(told.contains("a row is no Film") && told.contains("has the type changed"), "{told}");
}

#[test]
fn a_row_that_cannot_be_serialised_or_read_back_is_not_written() {
    #[derive(Clone, Deserialize)]
    struct Stubborn;

    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not me"))
        }
    }

    let world = World::new(1);
    let path = world.files().join("rows");
    let told = text_of(world.range(0..1_u64).map(|_| Stubborn).save_as_object_file(&path));
    assert!(told.contains("row 0 cannot be written") && told.contains("not me"), "{told}");
    let huge = world.range(0..1_u64).map(|_| "x".repeat(65 << 20));
    let told = text_of(huge.save_as_object_file(&path));
    assert!(told.contains("67108864 is the most that can be read back; cut it up"), "{told}");
    assert_eq!(names_in(&world.files()), Vec::<String>::new());
}

#[test]
fn random_numbers_depend_on_seed_and_partitions_alone() {
    let kinds = [
        Random::uniform(-1.0..3.0),
        Random::normal(1.0, 2.0),
        Random::log_normal(0.0, 0.5),
        Random::exponential(2.0),
        Random::poisson(4.0),
    ];
    for kind in kinds {
        let bits = |world: &World, seed, partitions| {
            let rows = world.random_into(kind, 1000, seed, partitions);
            rows.map(f64::to_bits).glom().collect().unwrap()
        };
        let first = bits(&World::new(1), 1, 7);
        assert_eq!(first.iter().map(Vec::len).sum::<usize>(), 1000);
        assert_eq!(bits(&World::with(|builder| builder.workers(3).batch_rows(10)), 1, 7), first);
        assert_ne!(bits(&World::new(1), 2, 7), first);
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "partitions repeat one another");
    }
}

#[test]
fn random_numbers_have_the_moments_of_their_distribution() {
    let world = World::new(2);
    for (kind, mean, variance) in [
        (Random::uniform(-1.0..3.0), 1.0, 16.0 / 12.0),
        (Random::normal(1.0, 2.0), 1.0, 4.0),
        (Random::exponential(2.0), 2.0, 4.0),
        (Random::poisson(4.0), 4.0, 4.0),
    ] {
        let stats = world.random_into(kind, 100_000, 11, 5).stats().unwrap();
        assert!((stats.mean().unwrap() - mean).abs() < 0.05, "{kind:?}: {stats:?}");
        assert!((stats.variance().unwrap() - variance).abs() < 0.15, "{kind:?}: {stats:?}");
    }
    // What chooses by the same seed does not choose by the same numbers.
    let sample = world.random_into(Random::uniform(0.0..1.0), 10_000, 5, 3).sample(false, 0.1, 5);
    assert!((sample.mean().unwrap().unwrap() - 0.5).abs() < 0.1);
}

#[test]
fn distributions_that_do_not_exist_are_refused() {
    let make: [fn() -> Random; 7] = [
        || Random::uniform(1.0..1.0),
        || Random::uniform(0.0..f64::INFINITY),
        || Random::normal(0.0, -1.0),
        || Random::normal(f64::NAN, 1.0),
        || Random::log_normal(0.0, f64::INFINITY),
        || Random::exponential(0.0),
        || Random::poisson(-1.0),
    ];
    for make in make {
        assert!(std::panic::catch_unwind(make).is_err());
    }
}

#[test]
fn any_iterator_is_a_collection() {
    let world = World::new(2);
    assert_eq!(world.parallelize(1..4).collect().unwrap(), [1, 2, 3]);
    assert_eq!(world.parallelize(1..=4).collect().unwrap(), [1, 2, 3, 4]);
    assert_eq!(world.parallelize([0.5, 1.5]).collect().unwrap(), [0.5, 1.5]);
    assert_eq!(
        world.parallelize_into((0..9).filter(|n| n % 2 == 0), 2).glom().collect().unwrap(),
        [[0, 2].to_vec(), vec![4, 6, 8]]
    );
    let prices = std::collections::BTreeMap::from([("tea".to_owned(), 2), ("milk".to_owned(), 1)]);
    assert_eq!(world.parallelize(prices.keys().cloned()).collect().unwrap(), ["milk", "tea"]);
    assert_eq!(world.parallelize(prices.clone()).collect().unwrap(), prices.into_iter().collect::<Vec<_>>());
    assert_eq!(world.parallelize(None::<u8>).count().unwrap(), 0);
}

#[test]
fn ranges_equal_the_standard_ones_also_inclusive_and_in_steps() {
    law(128, (-40_i64..40, -40_i64..40, 1_i64..9, 1_usize..6), |ctx, (start, end, step, partitions)| {
        let every = step as usize;
        let up: Vec<i64> = (start..end).step_by(every).collect();
        prop_assert_eq!(ctx.range_into(start..=end, partitions).collect().unwrap(), (start..=end).collect::<Vec<_>>());
        prop_assert_eq!(ctx.range_step_into(start, end, step, partitions).collect().unwrap(), up);
        let down: Vec<i64> = (end + 1..=start).rev().step_by(every).collect();
        prop_assert_eq!(ctx.range_step(start, end, -step).collect().unwrap(), down);
        Ok(())
    });
}

#[test]
fn ranges_reach_the_ends_of_their_types() {
    let world = World::new(2);
    assert_eq!(world.range(u64::MAX - 1..=u64::MAX).collect().unwrap(), [u64::MAX - 1, u64::MAX]);
    assert_eq!(world.range(i32::MAX..=i32::MAX).collect().unwrap(), [i32::MAX]);
    assert_eq!(world.range_step(i64::MAX, i64::MIN, i64::MIN).collect().unwrap(), [i64::MAX, -1]);
    assert_eq!(world.range_step(0, u64::MAX, i64::MAX).collect().unwrap(), [0, i64::MAX as u64, u64::MAX - 1]);
    assert_eq!(world.range_step(u64::MAX, 0, i64::MIN).collect().unwrap(), [u64::MAX, u64::MAX >> 1]);
    assert_eq!(world.range_step(3_u64, 9, 100).collect().unwrap(), [3]);
}

#[test]
#[should_panic(expected = "a range has less than 2^64 rows")]
fn a_range_of_too_many_rows_is_refused() {
    let _ = World::new(1).range(0..=u64::MAX);
}

#[test]
#[should_panic(expected = "a range whose step is zero never ends")]
fn a_step_of_zero_is_refused() {
    let _ = World::new(1).range_step(0, 9, 0);
}
