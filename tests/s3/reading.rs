//! What is read, and by which requests.

use std::{fs, io::Write, path::Path, process::Command};

use emberflow::{Error, S3Error, StorageLevel, TextOptions, testing};
use emberflow_s3_server::{ACCESS_KEY, Op, PUBLIC_BUCKET, SECRET_KEY};
use flate2::{Compression, write::GzEncoder};

use super::{Store, config, numbered_lines, support::World};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_small_object_takes_one_look_and_one_request_for_all_its_bytes() {
    let store = Store::new();
    store.put("a.txt", "one\ntwo\r\n\nfour");
    let lines = store.world.text_file("s3://films/a.txt").unwrap();
    let asked = store.asked();
    assert_eq!((asked.count(Op::Head), asked.0.len()), (1, 1), "{:?}", asked.0);
    assert_eq!(lines.collect().unwrap(), ["one", "two", "", "four"]);
    assert_eq!(store.asked().ranges(), [(0, 13)]);
    // What was found is not looked up again.
    assert_eq!(lines.count().unwrap(), 4);
    let asked = store.asked();
    assert_eq!((asked.count(Op::Get), asked.0.len()), (1, 1), "{:?}", asked.0);
    // As Hadoop and Spark say it.
    assert_eq!(store.lines("s3a://films/a.txt").unwrap().len(), 4);
}

#[test]
fn an_empty_object_has_no_lines_and_is_not_asked_for() {
    let store = Store::new();
    store.put("empty.txt", "");
    assert!(store.lines("s3://films/empty.txt").unwrap().is_empty());
    assert_eq!(store.asked().count(Op::Get), 0);
}

#[test]
fn a_large_object_is_cut_as_a_local_file_is_and_its_lines_are_whole() {
    let store = Store::new();
    let text = numbered_lines(5 << 20);
    store.put("large.txt", text.clone());
    let local = store.local("large.txt", &text);
    for (partitions, block_bytes) in [(1, None), (7, None), (7, Some(64 << 10))] {
        let mut options = TextOptions::new().min_partitions(partitions);
        if let Some(bytes) = block_bytes {
            options = options.block_bytes(bytes);
        }
        let here = store.world.text_files(&[&local], &options).unwrap().glom().collect().unwrap();
        store.asked();
        let there = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
        let rows = there.glom().collect().unwrap();
        // Rows of several lines may end elsewhere, since a reader's blocks do; the lines are the same.
        let lines = |parts: &[Vec<String>]| -> Vec<Vec<String>> {
            let of = |rows: &Vec<String>| rows.iter().flat_map(|row| row.lines()).map(str::to_owned).collect();
            parts.iter().map(of).collect()
        };
        assert!(lines(&rows) == lines(&here) && there.partitions() == partitions);
        // One request a partition: the end of its last line comes with it.
        let ranges = store.asked().ranges();
        assert_eq!(ranges.len(), partitions, "{ranges:?}");
        let asked: u64 = ranges.iter().map(|(first, last)| last + 1 - first).sum();
        assert!(asked <= text.len() as u64 + partitions as u64 * ((64 << 10) + 1), "{ranges:?}");
    }
}

#[test]
fn an_object_of_many_ranges_is_read_in_order_and_no_byte_twice() {
    let store = Store::new();
    let text = numbered_lines(30 << 20);
    store.put("larger.txt", text.clone());
    let one = TextOptions::new().min_partitions(1);
    let lines = store.world.text_files(&["s3://films/larger.txt"], &one).unwrap();
    assert_eq!(lines.partitions(), 1);
    assert!(lines.collect().unwrap() == text.lines().collect::<Vec<_>>());
    let ranges = store.asked().ranges();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    let (first, last) = (ranges.first().unwrap().0, ranges.last().unwrap().1);
    assert_eq!((first, last), (0, text.len() as u64 - 1));
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
}

#[test]
fn where_there_is_no_room_ranges_are_small_and_the_rows_the_same() {
    let store = Store::with(|config| config, |builder| builder.workers(2).force_spill(true));
    let text = numbered_lines(5 << 20);
    store.put("large.txt", text.clone());
    let one = TextOptions::new().min_partitions(1);
    let lines = store.world.text_files(&["s3://films/large.txt"], &one).unwrap();
    assert!(lines.filter(|line| line.ends_with('x')).count().unwrap() > 1000);
    let ranges = store.asked().ranges();
    assert!(ranges.len() >= 5 && ranges.iter().all(|(first, last)| last - first < 1 << 20), "{ranges:?}");
    assert_eq!(lines.count().unwrap(), text.lines().count() as u64);
}

#[test]
fn a_line_far_longer_than_its_partition_is_read_whole() {
    let store = Store::new();
    let text = format!("begin\n{}\nend\n", "long ".repeat(700_000));
    store.put("long.txt", text.clone());
    let options = TextOptions::new().min_partitions(12);
    let lines = store.world.text_files(&["s3://films/long.txt"], &options).unwrap();
    assert!(lines.collect().unwrap() == text.lines().collect::<Vec<_>>());
    let options = options.max_line_bytes(1 << 20);
    let error = store.world.text_files(&["s3://films/long.txt"], &options).unwrap().count().unwrap_err().to_string();
    assert!(error.contains("s3://films/long.txt, byte 6: a line of more than 1048576 bytes"), "{error}");
}

#[test]
fn gzip_is_decompressed_and_a_truncated_one_is_an_error() {
    let store = Store::new();
    let text = numbered_lines(3 << 20);
    let zipped = [gzip(&text.as_bytes()[..1_000_000]), gzip(&text.as_bytes()[1_000_000..])].concat();
    store.put("lines.txt.gz", zipped.clone());
    assert!(store.lines("s3://films/lines.txt.gz").unwrap() == text.lines().collect::<Vec<_>>());
    let files = store.world.whole_text_files("s3://films/lines.txt.gz").unwrap().collect().unwrap();
    assert!(files.len() == 1 && files[0].1 == text);
    store.put("cut.gz", &zipped[..zipped.len() - 10]);
    let error = store.lines("s3://films/cut.gz").unwrap_err().to_string();
    assert!(error.contains("s3://films/cut.gz"), "{error}");
}

#[test]
fn a_prefix_is_read_in_the_order_of_keys_without_what_is_hidden() {
    let store = Store::new();
    for key in ["d/b", "d/a", "d/c/d", "d/_SUCCESS", "d/.hidden/e", "d/c/_temporary/f", "d-other/g", "dd"] {
        store.put(key, format!("{key}\n"));
    }
    for path in ["s3://films/d", "s3://films/d/"] {
        assert_eq!(store.lines(path).unwrap(), ["d/a", "d/b", "d/c/d"], "{path}");
    }
    let all = store.lines("s3://films").unwrap();
    assert_eq!(all, ["d-other/g", "d/a", "d/b", "d/c/d", "dd"]);
    assert_eq!(store.lines("s3://films/").unwrap(), all);
}

#[test]
fn a_glob_stays_within_a_directory_unless_it_says_otherwise() {
    let store = Store::new();
    for key in ["y/2024/a.csv", "y/2024/b.txt", "y/2025/a.csv", "y/2025/deep/a.csv", "y/a.csv", "x/a.csv"] {
        store.put(key, format!("{key}\n"));
    }
    for (glob, keys) in [
        ("y/*.csv", &["y/a.csv"][..]),
        ("y/202?/*.csv", &["y/2024/a.csv", "y/2025/a.csv"]),
        ("y/**/a.csv", &["y/2024/a.csv", "y/2025/a.csv", "y/2025/deep/a.csv", "y/a.csv"]),
        // The folders that it matches are read.
        ("y/[0-9]*5/*", &["y/2025/a.csv", "y/2025/deep/a.csv"]),
        ("y/20*", &["y/2024/a.csv", "y/2024/b.txt", "y/2025/a.csv", "y/2025/deep/a.csv"]),
        ("*/a.csv", &["x/a.csv", "y/a.csv"]),
    ] {
        store.asked();
        assert_eq!(store.lines(&format!("s3://films/{glob}")).unwrap(), keys, "{glob}");
        assert_eq!(store.asked().count(Op::List), 1, "{glob}");
    }
}

#[test]
fn odd_keys_are_read_as_they_are() {
    let store = Store::new();
    let keys = [
        "a b.txt",
        "100%.txt",
        "100%25.txt",
        "a+b.txt",
        "caf\u{e9} \u{1f525}.txt",
        "x=1&y=2?.txt",
        "#[1].txt",
        "a'\"b",
    ];
    for key in keys {
        store.put(&format!("odd/{key}"), key);
    }
    for key in keys {
        assert_eq!(store.lines(&format!("s3://films/odd/{key}")).unwrap(), [key]);
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let files = store.world.whole_text_files("s3://films/odd").unwrap().collect().unwrap();
    let found: Vec<_> = files.iter().map(|(path, text)| (path.to_str().unwrap(), text.as_str())).collect();
    let paths: Vec<_> = sorted.iter().map(|key| format!("s3://films/odd/{key}")).collect();
    assert_eq!(found, paths.iter().map(String::as_str).zip(sorted).collect::<Vec<_>>());
}

#[test]
fn all_objects_of_several_pages_are_found_once_and_in_order() {
    let store = Store::new();
    let keys: Vec<String> = (0..2500).map(|n| format!("many/{n:05}")).collect();
    for key in &keys {
        store.put(key, key.as_bytes());
    }
    let lines = store.world.text_file("s3://films/many").unwrap();
    let asked = store.asked();
    assert_eq!((asked.count(Op::Head), asked.count(Op::List), asked.0.len()), (1, 3, 4));
    assert_eq!(lines.collect().unwrap(), keys);
    let asked = store.asked();
    assert_eq!((asked.count(Op::Get), asked.0.len()), (2500, 2500));
}

#[test]
fn local_files_and_objects_are_read_together_in_the_order_given() {
    let store = Store::new();
    store.put("b.txt", "b1\nb2");
    let (a, c) = (store.local("a.txt", "a"), store.local("c.txt", "c\n"));
    let paths = [a.to_str().unwrap(), "s3://films/b.txt", c.to_str().unwrap()];
    let lines = store.world.text_files(&paths, &TextOptions::new()).unwrap();
    assert_eq!(lines.collect().unwrap(), ["a", "b1", "b2", "c"]);
}

#[test]
fn bytes_and_serialised_rows_are_read_too() {
    let store = Store::new();
    store.put("image.gz", [0xff, 0xd8, 0, 1]);
    let images = store.world.binary_files("s3://films/image.*").unwrap();
    assert_eq!(images.values().collect().unwrap(), [[0xff, 0xd8, 0, 1]]);

    let rows = store.world.range_into(0..50_000_u64, 3).map(|n| (n, format!("row {n}")));
    let dir = store.world.files().join("rows");
    rows.save_as_object_file(&dir).unwrap();
    for part in 0..3 {
        let name = format!("part-{part:05}");
        store.put(&format!("rows/{name}"), std::fs::read(dir.join(name)).unwrap());
    }
    let read = store.world.object_file::<(u64, String)>("s3://films/rows").unwrap();
    assert!(read.partitions() == 3 && read.collect().unwrap() == rows.collect().unwrap());
    store.put("rows/part-00001", "not rows at all");
    let error = store.world.object_file::<(u64, String)>("s3://films/rows").unwrap().count().unwrap_err().to_string();
    assert!(error.contains("s3://films/rows/part-00001, byte 0: not a file of rows"), "{error}");
}

#[test]
fn a_lost_cached_partition_reads_its_own_bytes_again_and_no_others() {
    let store = Store::with(|config| config, |builder| builder.workers(2).memory_budget(8 << 30).force_spill(false));
    let text = numbered_lines(4 << 20);
    store.put("large.txt", text);
    let options = TextOptions::new().min_partitions(8);
    let lines = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
    let lines = lines.persist(StorageLevel::MemoryOnly);
    let whole = lines.collect().unwrap();
    let ranges = store.asked().ranges();
    assert_eq!(ranges.len(), 8);
    assert!(lines.collect().unwrap() == whole);
    assert!(store.asked().0.is_empty(), "what is cached is not read");

    assert!(testing::kill_cached_partition(&lines, 2).unwrap() && testing::kill_cached_partition(&lines, 5).unwrap());
    assert!(lines.collect().unwrap() == whole);
    let asked = store.asked();
    assert_eq!(asked.ranges(), [ranges[2], ranges[5]]);
    assert_eq!(asked.0.len(), 2, "nothing is looked up again: {:?}", asked.0);
}

#[test]
fn taking_from_the_front_reads_one_partition() {
    let store = Store::new();
    store.put("large.txt", numbered_lines(8 << 20));
    let options = TextOptions::new().min_partitions(8);
    let lines = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
    assert_eq!(lines.take(2).unwrap(), ["line 0 ".to_owned(), format!("line 1 {}", "x".repeat(7919 % 150))]);
    assert_eq!(store.asked().count(Op::Get), 1);
}

#[test]
fn what_names_no_object_is_refused_with_what_was_given() {
    let store = Store::new();
    store.put("a.txt", "a");
    for path in ["s3://films/missing", "s3://films/missing/", "s3://films/*.csv"] {
        let error = store.world.text_file(path).err().unwrap();
        assert!(matches!(&error, Error::NoSuchInput { pattern } if pattern == path), "{error:?}");
    }
    let error = store.world.text_file("s3://films/a[").err().unwrap();
    assert!(matches!(&error, Error::BadGlob { pattern, .. } if pattern == "s3://films/a["), "{error:?}");
    let error = store.world.text_file("s3:///a").err().unwrap().to_string();
    assert_eq!(error, "\"s3:///a\": it names no bucket; give a path such as s3://bucket/key");
    let error = store.world.text_file("s3://no-such-bucket/a").err().unwrap().to_string();
    assert!(
        error.contains("404 NoSuchBucket") && error.contains("check the bucket's name, and the endpoint"),
        "{error}"
    );
}

#[test]
fn a_glob_names_the_objects_that_it_would_name_as_files() {
    let store = Store::new();
    let keys = [
        "day-1/a",
        "day-1/deep/b",
        "day-2/_SUCCESS",
        "day-2/a",
        "day-2/.a.crc",
        "day-2/_temporary/c",
        "run1/x",
        "run[1]/x",
        "run[1]/y",
        "_z",
        "what?",
        "whats",
    ];
    for key in keys {
        store.put(key, format!("{key}\n"));
        let path = store.world.files().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{key}\n")).unwrap();
    }
    for (glob, files) in [
        ("day-*", 3),
        ("day-*/*", 3),
        ("*/a", 2),
        ("**/a", 2),
        ("day-*/**", 3),
        ("day-?/_*", 2),
        ("**/_temporary/*", 1),
        ("_*", 1),
        ("{day-{1,2}/a,run1}", 3),
        ("run[1]", 2),
        ("run[1]/", 2),
        ("run[1]/*", 2),
        ("run[1]/x", 1),
        ("run[[]1]/x", 1),
        ("run?/x", 1),
        ("what?", 1),
        ("what[?s]", 2),
    ] {
        let mut there = store.lines(&format!("s3://films/{glob}")).unwrap();
        let here = store.world.text_file(store.world.files().join(glob)).unwrap().collect().unwrap();
        assert_eq!(there.len(), files, "{glob}: {there:?}");
        // Keys have an order of their own, in which a slash is a character.
        there.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(there, here, "{glob}");
    }
    for glob in ["?z", "day-2/?SUCCESS", "day-1/a,day-2/a"] {
        let path = format!("s3://films/{glob}");
        let error = store.world.text_file(&path).err().unwrap();
        assert!(matches!(&error, Error::NoSuchInput { pattern } if *pattern == path), "{error:?}");
        assert_eq!(error.to_string().contains("give several to Context::text_files"), glob.contains(','), "{error}");
    }
    let error = store.world.text_file("s3://films/{a,b").err().unwrap();
    assert!(matches!(&error, Error::BadGlob { reason, .. } if reason.contains("is not closed")), "{error:?}");
}

#[test]
fn everybody_may_read_a_public_bucket_and_nobody_else_without_a_signature() {
    let store = Store::new();
    store.server.put(PUBLIC_BUCKET, "a.txt", "hello").unwrap();
    store.put("a.txt", "secret");
    let stranger = World::with(|builder| builder.workers(1).s3(config(store.server.endpoint()).anonymous()));
    assert_eq!(stranger.text_file(format!("s3://{PUBLIC_BUCKET}/*.txt")).unwrap().collect().unwrap(), ["hello"]);
    let error = stranger.text_file("s3://films/a.txt").err().unwrap();
    let Error::Storage { source } = &error else { panic!("{error:?}") };
    assert!(
        matches!(source.downcast_ref(), Some(S3Error::Refused { answer, .. }) if answer.status == 403),
        "{error:?}"
    );
}

#[test]
fn the_environment_says_where_s3_is() {
    // In a process of its own, since the environment is that of all threads.
    if let Ok(path) = std::env::var("EMBERFLOW_TEST_S3_READ") {
        let ctx = emberflow::Context::local(1).unwrap();
        println!("it has {} lines", ctx.text_file(path).unwrap().count().unwrap());
        return;
    }
    let store = Store::new();
    store.put("a.txt", "one\ntwo\n");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["reading::the_environment_says_where_s3_is", "--exact", "--nocapture"])
        .env("EMBERFLOW_TEST_S3_READ", "s3://films/a.txt")
        .env("AWS_ENDPOINT_URL", store.server.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(said.contains("it has 2 lines"), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

#[cfg(feature = "tables")]
#[test]
fn a_table_of_objects_is_the_one_of_local_files_and_a_lost_partition_is_read_from_there_again() {
    use emberflow::table::ReadTables;

    let store = Store::new();
    let rows = |from: u64| (from..from + 20_000).map(|n| format!("{n},film {n},{}.5\n", n % 100)).collect::<String>();
    for (at, name) in [(0, "a.csv"), (20_000, "b.csv")] {
        let text = format!("id,title,price\n{}", rows(at));
        store.put(&format!("tables/{name}"), text.clone());
        store.local(name, &text);
    }
    let here = store.world.read().csv(store.world.files()).unwrap();
    let there = store.world.read().csv("s3://films/tables/*.csv").unwrap().cache();
    assert_eq!(here.schema(), there.schema());
    assert_eq!(here.collect().unwrap(), there.collect().unwrap());
    store.asked();
    assert_eq!((there.count().unwrap(), store.asked().count(Op::Get)), (40_000, 0), "it is cached");
    assert!(testing::kill_cached_partition(there.chunks(), 0).unwrap());
    assert_eq!(there.count().unwrap(), 40_000);
    // Each object once, and nothing is looked up.
    let asked = store.asked();
    assert_eq!((asked.count(Op::Get), asked.0.len()), (2, 2), "{:?}", asked.0);
}
