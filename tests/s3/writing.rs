//! What is written: all of it or nothing, and by which requests.

use emberflow::{Error, S3Error, testing};
use emberflow_s3_server::{Break, Fault, Op, Proxy, Server};

use super::{
    Store, config,
    support::{Gate, World, eventually},
};

const OUT: &str = "s3://films/out";

/// The names of all objects.
fn names(store: &Store) -> Vec<String> {
    store.server.objects("films").unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Nothing is left of an output that failed.
fn nothing_is_left(store: &Store) {
    assert!(names(store).is_empty(), "{:?}", names(store));
    let uploads = eventually(|| store.server.unfinished_uploads().unwrap(), Vec::is_empty);
    assert!(uploads.is_empty(), "{uploads:?}");
}

fn s3_error(error: &Error) -> &S3Error {
    let Error::Storage { source } = error else { panic!("not an error of storage: {error:?}") };
    source.downcast_ref().unwrap_or_else(|| panic!("not an error of s3: {error:?}"))
}

#[test]
fn text_is_an_object_a_partition_and_read_back_as_it_was() {
    let store = Store::new();
    let rows = store.world.range_into(0..10_u64, 3);
    rows.save_as_text_file(OUT).unwrap();
    let asked = store.asked();
    // Three uploads of a part each; who wants to know whether there is something; and the mark.
    let counts = [Op::Head, Op::List, Op::CreateUpload, Op::UploadPart, Op::Complete, Op::Put, Op::Abort, Op::Delete];
    assert_eq!(counts.map(|op| asked.count(op)), [1, 1, 3, 3, 3, 1, 0, 0], "{:?}", asked.0);
    assert_eq!(asked.0.last().map(|request| request.key.as_str()), Some("out/_SUCCESS"), "it comes last");
    let objects = store.server.objects("films").unwrap();
    let found: Vec<(&str, &[u8])> = objects.iter().map(|(key, bytes)| (key.as_str(), &**bytes)).collect();
    let expected: [(&str, &[u8]); 4] = [
        ("out/_SUCCESS", b""),
        ("out/part-00000", b"0\n1\n2\n"),
        ("out/part-00001", b"3\n4\n5\n"),
        ("out/part-00002", b"6\n7\n8\n9\n"),
    ];
    assert_eq!(found, expected);
    let back = store.lines(OUT).unwrap();
    assert_eq!(back, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(store.server.unfinished_uploads().unwrap().is_empty());
}

#[test]
fn serialised_rows_and_empty_partitions_are_written_too() {
    let store = Store::new();
    let pairs: Vec<(String, f64)> = (0..1_000).map(|n| (format!("film {n}"), f64::from(n) / 7.0)).collect();
    store.world.parallelize_into(pairs.clone(), 4).save_as_object_file("s3://films/pairs/").unwrap();
    assert_eq!(store.world.object_file::<(String, f64)>("s3://films/pairs").unwrap().collect().unwrap(), pairs);
    store.world.parallelize_into(vec!["a line"], 3).save_as_text_file(OUT).unwrap();
    let sizes = store.server.objects("films").unwrap();
    let sizes: Vec<usize> = sizes.iter().filter(|(key, _)| key.starts_with("out/part")).map(|(_, b)| b.len()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (3, 7));
    assert_eq!(store.lines(OUT).unwrap(), ["a line"]);
}

#[test]
fn a_large_partition_goes_up_in_parts_within_the_budget() {
    let store = Store::with(|config| config, |builder| builder.workers(1).memory_budget(64 << 20));
    let line = |n: u64| format!("{n:09} {}", "x".repeat(990));
    let rows = store.world.range_into(0..30_000_u64, 1).map(line);
    rows.save_as_text_file(OUT).unwrap();
    let asked = store.asked();
    // 30 MB in parts of 8 MiB.
    assert_eq!((asked.count(Op::CreateUpload), asked.count(Op::UploadPart), asked.count(Op::Complete)), (1, 4, 1));
    let expected: String = (0..30_000).map(|n| line(n) + "\n").collect();
    assert!(store.server.objects("films").unwrap()[1].1 == expected.into_bytes());
    let memory = store.world.memory();
    assert!(memory.working == 0 && memory.peak <= 24 << 20, "{memory:?}");
}

#[test]
fn nothing_is_overwritten() {
    let store = Store::new();
    store.put("out/part-00000", "mine");
    store.put("file", "mine");
    store.asked();
    let rows = store.world.range_into(0..10_u64, 2);
    for path in [OUT, "s3://films/out/", "s3a://films/file"] {
        let error = rows.save_as_text_file(path).unwrap_err();
        assert!(matches!(&error, Error::OutputExists { .. }), "{error}");
        assert!(error.to_string().contains(path), "{error}");
    }
    assert_eq!(store.asked().count(Op::CreateUpload), 0);
    assert_eq!(store.server.objects("films").unwrap()[1].1, b"mine");
    let error = rows.save_as_text_file("s3://films").unwrap_err().to_string();
    assert!(error.contains("names a bucket and no directory"), "{error}");
    let error = store.world.set_checkpoint_dir("s3://films/checkpoints").unwrap_err().to_string();
    assert!(error.contains("local directories; write to S3 with save_as_object_file"), "{error}");
}

#[test]
fn what_may_pass_is_tried_again_and_the_objects_are_right() {
    let store = Store::with(|config| config.attempts(6), |builder| builder.workers(2));
    for (op, times) in [(Op::CreateUpload, 2), (Op::UploadPart, 3), (Op::Complete, 1), (Op::Put, 2)] {
        store.server.fail(op, Fault::Busy, times);
    }
    // Begun to say yes, and then no; done, and then said not to be.
    store.server.fail(Op::Complete, Fault::ErrorAfterOk, 1);
    store.server.fail(Op::Complete, Fault::ErrorAfterDone, 1);
    store.server.fail(Op::UploadPart, Fault::ErrorAfterDone, 1);
    store.world.range_into(0..10_u64, 3).save_as_text_file(OUT).unwrap();
    let asked = store.asked();
    assert_eq!((asked.count(Op::UploadPart), asked.count(Op::Complete), asked.count(Op::Put)), (3 + 4, 3 + 3, 1 + 2));
    assert_eq!(store.lines(OUT).unwrap().len(), 10);
    assert_eq!(names(&store).len(), 4);
    assert!(store.server.unfinished_uploads().unwrap().is_empty());
}

#[test]
fn a_broken_connection_in_the_middle_of_a_part_costs_that_part() {
    let server = Server::start().unwrap();
    server.make_bucket("films").unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let world = World::with(|builder| builder.workers(1).s3(config(proxy.endpoint())));
    let rows = world.range_into(0..2_000_u64, 1).map(|n| format!("{n:01000}"));
    rows.save_as_text_file("s3://films/first").unwrap();
    proxy.order([Break::Reset(0), Break::Cut(0)]);
    rows.save_as_text_file("s3://films/second").unwrap();
    assert_eq!(proxy.left(), 0);
    let objects = server.objects("films").unwrap();
    assert!(objects[1].1 == objects[3].1 && objects[1].1.len() == 2_002_000);
}

#[test]
fn a_refusal_anywhere_leaves_nothing_behind() {
    let store = Store::with(|config| config.attempts(2), |builder| builder.workers(2));
    let rows = store.world.range_into(0..10_u64, 4);
    for (op, skip) in [(Op::CreateUpload, 2), (Op::UploadPart, 3), (Op::Complete, 0), (Op::Complete, 3), (Op::Put, 0)] {
        for fault in [Fault::Denied, Fault::Busy] {
            store.server.fail_after(op, fault.clone(), skip, usize::MAX);
            let error = rows.save_as_text_file(OUT).unwrap_err();
            let text = error.to_string();
            let said = if fault == Fault::Denied { "403 AccessDenied" } else { "503 SlowDown" };
            assert!(text.contains(said) && text.contains("s3://films/out/"), "{op:?}: {text}");
            if matches!(op, Op::Complete | Op::Put) {
                assert!(matches!(s3_error(&error), S3Error::Refused { .. } | S3Error::GaveUp { .. }), "{error:?}");
            }
            store.server.heal();
            nothing_is_left(&store);
        }
    }
    rows.save_as_text_file(OUT).unwrap();
    assert_eq!(store.lines(OUT).unwrap().len(), 10);
}

#[test]
fn a_row_that_panics_and_a_job_that_is_cancelled_leave_nothing_behind() {
    let store = Store::new();
    let broken = store.world.range_into(0..40_u64, 4).map(|n| if n == 33 { panic!("row 33") } else { n });
    let error = broken.save_as_text_file(OUT).unwrap_err().to_string();
    assert!(error.contains("row 33") && error.contains("partition 3"), "{error}");
    nothing_is_left(&store);
    let (gate, inside) = (Gate::new(), Gate::new());
    let (pass, arrive) = (gate.clone(), inside.clone());
    inside.open();
    let slow = store.world.range_into(0..40_u64, 4).map(move |n| {
        if n == 39 {
            arrive.pass();
            pass.pass();
        }
        n
    });
    let saving = slow.save_as_text_file_async(OUT);
    inside.wait_for(1);
    saving.canceller().cancel();
    assert!(matches!(saving.wait(), Err(Error::Cancelled { .. })));
    gate.open();
    nothing_is_left(&store);
}

#[test]
fn an_attempt_that_is_lost_or_fails_is_not_in_the_output() {
    let store = Store::new();
    let failed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let once = std::sync::Arc::clone(&failed);
    let rows = store.world.range_into(0..20_u64, 2).map(move |n| {
        let first = n == 15 && !once.swap(true, std::sync::atomic::Ordering::SeqCst);
        assert!(!first, "the first time it fails");
        n
    });
    let rows = rows.cache();
    rows.save_as_text_file(OUT).unwrap();
    assert_eq!(store.lines(OUT).unwrap().len(), 20);
    assert!(testing::kill_cached_partition(&rows, 1).unwrap());
    rows.save_as_text_file("s3://films/again").unwrap();
    let objects = store.server.objects("films").unwrap();
    assert!(objects.len() == 6 && objects[1].1 == objects[4].1 && objects[2].1 == objects[5].1);
    assert!(store.server.unfinished_uploads().unwrap().is_empty());
}

#[cfg(feature = "tables")]
mod tables {
    use emberflow::table::{Compression, ReadTables, SaveMode, ToTable};

    use super::*;

    fn table(store: &Store, rows: std::ops::Range<u64>) -> emberflow::table::Table {
        store.world.range_into(rows, 3).map(|n| (n, format!("film \"{n}\""))).to_table().unwrap()
    }

    #[test]
    fn a_table_is_written_appended_to_and_read_back_as_it_was() {
        let store = Store::new();
        let rows = |rows: std::ops::Range<u64>| rows.map(|n| (n, format!("film \"{n}\""))).collect::<Vec<_>>();
        let back = || store.world.read().csv(OUT).unwrap().rows::<(u64, String)>().collect().unwrap();
        table(&store, 0..10).write().csv(OUT).unwrap();
        assert_eq!(
            names(&store),
            ["_SUCCESS", "part-00000.csv", "part-00001.csv", "part-00002.csv"].map(|n| format!("out/{n}"))
        );
        assert!(matches!(table(&store, 10..20).write().csv(OUT), Err(Error::OutputExists { .. })));
        table(&store, 10..20).write().mode(SaveMode::Ignore).csv(OUT).unwrap();
        assert_eq!(back(), rows(0..10));
        for from in [10, 20] {
            let more = table(&store, from..from + 10);
            more.write().mode(SaveMode::Append).compression(Compression::Gzip).csv(OUT).unwrap();
        }
        assert_eq!(back(), rows(0..30));
        assert!(
            names(&store).contains(&"out/part-append-0000000002/part-00000.csv.gz".to_owned()),
            "{:?}",
            names(&store)
        );
        let error = table(&store, 0..1).write().mode(SaveMode::Overwrite).csv(OUT).unwrap_err().to_string();
        assert!(error.contains("cannot overwrite") && error.contains("S3 has no rename"), "{error}");
        assert_eq!(back(), rows(0..30));
    }

    #[test]
    fn a_single_object_is_replaced_as_a_whole_or_stays_as_it_was() {
        let store = Store::with(|config| config.attempts(2), |builder| builder.workers(2));
        let one = "s3://films/one.json";
        let write = |n: u64, mode| table(&store, n..n + 1).write().single_file().mode(mode).json_lines(one);
        let there = || store.server.objects("films").unwrap();
        let line = |n: u64| format!("{{\"_1\":{n},\"_2\":\"film \\\"{n}\\\"\"}}\n").into_bytes();
        // All that is there after a failure is the object of before.
        let fail = |n: u64, mode| {
            for op in [Op::CreateUpload, Op::UploadPart, Op::Complete] {
                store.server.fail_after(op, Fault::Denied, 0, usize::MAX);
                let error = write(n, mode).unwrap_err().to_string();
                assert!(error.contains("403 AccessDenied"), "{op:?}: {error}");
                store.server.heal();
                let uploads = eventually(|| store.server.unfinished_uploads().unwrap(), Vec::is_empty);
                assert!(uploads.is_empty(), "{op:?}: {uploads:?}");
            }
        };
        fail(1, SaveMode::ErrorIfExists);
        assert_eq!(there(), []);
        write(1, SaveMode::ErrorIfExists).unwrap();
        assert_eq!(there(), [("one.json".to_owned(), line(1))]);
        assert!(matches!(write(2, SaveMode::ErrorIfExists), Err(Error::OutputExists { .. })));
        fail(2, SaveMode::Overwrite);
        assert_eq!(there(), [("one.json".to_owned(), line(1))]);
        write(2, SaveMode::Overwrite).unwrap();
        assert_eq!(there(), [("one.json".to_owned(), line(2))]);
        store.put("dir/file", "mine");
        let under = table(&store, 0..1).write().single_file().mode(SaveMode::Overwrite).csv("s3://films/dir");
        assert!(matches!(under, Err(Error::OutputExists { .. })));
    }
}
