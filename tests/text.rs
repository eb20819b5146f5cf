//! Text files in and out: what is read, how it is cut and packed, what goes wrong, and that output is whole or not there.

mod support;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use emberflow::{Error, Event, Rdd, TextOptions, testing::send_plans_as_bytes};
use flate2::{Compression, write::GzEncoder};

use self::support::{Gate, ON_PURPOSE, Tally, World, names_in, next_of};

fn write(world: &World, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = world.files().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines_of(world: &World, path: &Path) -> Result<Vec<String>, Error> {
    world.text_file(path)?.collect()
}

// ---- Reading.

#[test]
fn what_names_no_file_is_refused_with_what_was_given() {
    let world = World::new(1);
    write(&world, "a.txt", "a");
    for name in ["missing", "*.csv", "missing/*.txt"] {
        let error = world.text_file(world.files().join(name)).err().unwrap();
        assert!(matches!(&error, Error::NoSuchInput { pattern } if pattern.ends_with(name)), "{error:?}");
        assert!(error.to_string().contains("matches no file; give a file, a directory, or a glob"), "{error}");
    }
    let error = world.text_file(world.files().join("a[")).err().unwrap();
    assert!(matches!(&error, Error::BadGlob { pattern, .. } if pattern.ends_with("a[")), "{error:?}");
}

#[test]
fn a_line_that_is_not_utf8_is_named_by_file_and_byte_or_replaced() {
    let world = World::new(1);
    let good = "caf\u{e9}\n".repeat(100);
    let path = write(&world, "bad.txt", [good.as_bytes(), b"x\xe9y\nend"].concat());
    let error = lines_of(&world, &path).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("bad.txt") && text.contains(&format!("byte {}", good.len() + 1)), "{text}");
    assert!(text.contains("not UTF-8"), "{text}");
    assert!(matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 1), "retrying is useless: {error:?}");

    let lossy = world.text_files(&[&path], &TextOptions::new().lossy(true)).unwrap().collect().unwrap();
    assert_eq!(&lossy[99..], ["caf\u{e9}", "x\u{fffd}y", "end"]);
}

/// The lines of a text as Hadoop's reader cuts it: at LF, CRLF, or CR.
fn lines_by_hand(text: &str) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let at = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(&rest[..at]);
        let end = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = rest.get(at + end..).unwrap_or_default();
    }
    lines
}

#[test]
fn lines_end_at_lf_crlf_or_cr_wherever_a_file_is_cut() {
    let world = World::new(2);
    assert_eq!(lines_by_hand("a\rb\r\nc\r\r\n\nd"), ["a", "b", "c", "", "", "d"]);
    // All texts of five characters of these, and all cuts.
    let characters = ["x", "\r", "\n"];
    for number in 0..characters.len().pow(5) {
        let at = |place| characters[number / characters.len().pow(place) % characters.len()];
        let text: String = (0..5).map(at).collect();
        let path = write(&world, "text", &text);
        for partitions in [1, 2, 3, 5] {
            let options = TextOptions::new().min_partitions(partitions);
            let lines = world.text_files(&[&path], &options).unwrap().collect().unwrap();
            assert_eq!(lines, lines_by_hand(&text), "{text:?} in {partitions} partitions");
        }
        for (partitions, bytes) in [(1, 1), (1, 3), (1, 9), (2, 2)] {
            let options = TextOptions::new().min_partitions(partitions).block_bytes(bytes);
            let blocks = world.text_files(&[&path], &options).unwrap().collect().unwrap();
            let lines: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
            assert_eq!(lines, lines_by_hand(&text), "{text:?} in {partitions} partitions, {bytes} bytes: {blocks:?}");
        }
    }
}

#[test]
fn line_ends_of_all_kinds_are_found_where_a_read_ends_in_their_middle() {
    let world = World::new(2);
    for end in ["\n", "\r\n", "\r", "\r\r\n", "\n\r"] {
        // Files are read 256 KiB at a time.
        for before in [-3, -2, -1, 0, 1] {
            let first = "x".repeat(((256 << 10) + before) as usize);
            let text = format!("{first}{end}second{end}{end}{}", "y".repeat(300_000));
            let path = write(&world, "text", &text);
            for partitions in [1, 2] {
                let options = TextOptions::new().min_partitions(partitions);
                let lines = world.text_files(&[&path], &options).unwrap().collect().unwrap();
                assert!(lines == lines_by_hand(&text), "{end:?}, {before}, {partitions} partitions");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let world = World::new(1);
    let marked = "\u{feff}one\ntwo \u{feff}\n\u{feff}three\n";
    let path = write(&world, "marked.txt", marked);
    let expected = ["one", "two \u{feff}", "\u{feff}three"];
    for partitions in [1, 2, 30] {
        let options = TextOptions::new().min_partitions(partitions);
        assert_eq!(world.text_files(&[&path], &options).unwrap().collect().unwrap(), expected, "{partitions}");
    }
    let blocks = world.text_files(&[&path], &TextOptions::new().block_bytes(1000)).unwrap().collect().unwrap();
    assert_eq!(blocks, [expected.join("\n")]);
    assert_eq!(lines_of(&world, &write(&world, "marked.gz", gzip(marked.as_bytes()))).unwrap(), expected);
    let files = world.whole_text_files(&path).unwrap().values().collect().unwrap();
    assert_eq!(files, [marked.strip_prefix('\u{feff}').unwrap()]);
    assert_eq!(world.binary_files(&path).unwrap().values().collect().unwrap(), [marked.as_bytes()]);

    // A mark alone is no line; one before an empty line is.
    assert_eq!(lines_of(&world, &write(&world, "mark", "\u{feff}")).unwrap(), [] as [&str; 0]);
    assert_eq!(lines_of(&world, &write(&world, "line", "\u{feff}\n")).unwrap(), [""]);
    let error = lines_of(&world, &write(&world, "bad", b"\xef\xbb\xbfab\xff")).unwrap_err().to_string();
    assert!(error.contains("byte 5: not UTF-8"), "{error}");
}

#[test]
fn a_file_in_utf16_is_named_and_told_what_it_is() {
    let world = World::new(1);
    let little: Vec<u8> = "\u{feff}one\ntwo\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "\u{feff}one\ntwo\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [little, big] {
        let path = write(&world, "wide.txt", bytes);
        let lines = world.text_file(&path).unwrap().collect().map(|_| ());
        let lossy = world.text_files(&[&path], &TextOptions::new().lossy(true)).unwrap().collect().map(|_| ());
        let whole = world.whole_text_files(&path).unwrap().collect().map(|_| ());
        for read in [lines, lossy, whole] {
            let error = read.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("wide.txt") && text.contains("byte order mark of UTF-16; convert the file"),
                "{text}"
            );
            let tries = matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 1);
            assert!(tries, "retrying is useless: {error:?}");
        }
        assert_eq!(world.binary_files(&path).unwrap().count().unwrap(), 1);
    }
}

#[test]
fn a_file_that_changed_after_it_was_found_is_an_error_rather_than_a_mixture() {
    let world = World::new(1);
    let path = write(&world, "a.txt", "one\ntwo\n");
    let lines = world.text_file(&path).unwrap();
    assert_eq!(lines.count().unwrap(), 2);
    fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let error = lines.count().unwrap_err().to_string();
    assert!(error.contains("a.txt has changed since the rdd was made"), "{error}");
    assert_eq!(world.text_file(&path).unwrap().count().unwrap(), 3);

    // The same length, another time.
    let lines = world.text_file(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    assert!(lines.count().unwrap_err().to_string().contains("another time stamp"));

    let lines = world.text_file(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(lines.count().unwrap_err().to_string().contains("cannot read"));
}

#[cfg(unix)]
#[test]
fn another_file_of_the_same_length_and_time_stamp_is_an_error_where_the_first_was_found() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new(1);
    let path = write(&world, "a.txt", "one\n");
    let found = |path: &Path| fs::metadata(path).unwrap();
    // The system's clock may stand still for some milliseconds: what happens within them has the same time.
    let set_back = |path: &Path, was: &fs::Metadata| {
        let file = fs::File::options().write(true).open(path).unwrap();
        let changed = |is: &fs::Metadata| (is.ctime(), is.ctime_nsec());
        while changed(&found(path)) == changed(was) {
            file.set_modified(was.modified().unwrap()).unwrap();
        }
        file.set_modified(was.modified().unwrap()).unwrap();
    };
    let refuses = |lines: &Rdd<String>| {
        let error = lines.collect().unwrap_err().to_string();
        assert!(error.contains("a.txt has changed") && error.contains("or it is another file"), "{error}");
    };

    let (lines, was) = (world.text_file(&path).unwrap(), found(&path));
    let other = write(&world, "b.txt", "two\n");
    set_back(&other, &was);
    fs::rename(&other, &path).unwrap();
    assert_eq!((found(&path).len(), found(&path).modified().unwrap()), (was.len(), was.modified().unwrap()));
    refuses(&lines);

    let (lines, was) = (world.text_file(&path).unwrap(), found(&path));
    assert_eq!(lines.collect().unwrap(), ["two"]);
    fs::write(&path, "six\n").unwrap();
    set_back(&path, &was);
    refuses(&lines);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "ten\n").unwrap();
    set_back(&path, &was);
    refuses(&lines);

    // A plan that was sent takes a copy for the file: on another machine it has another inode.
    let (lines, was) = (world.text_file(&path).unwrap(), found(&path));
    let copy = write(&world, "copy.txt", "ten\n");
    set_back(&copy, &was);
    fs::rename(&copy, &path).unwrap();
    refuses(&lines);
    send_plans_as_bytes(&world);
    assert_eq!(lines.collect().unwrap(), ["ten"]);
}

#[test]
fn a_line_that_is_too_long_is_named_by_its_first_byte() {
    let world = World::new(1);
    let path = write(&world, "long.txt", format!("short\n{}\nend\n", "x".repeat(1000)));
    let options = TextOptions::new().max_line_bytes(999);
    let error = world.text_files(&[&path], &options).unwrap().count().unwrap_err().to_string();
    assert!(error.contains("long.txt, byte 6: a line of more than 999 bytes"), "{error}");
    let options = TextOptions::new().max_line_bytes(1000);
    assert_eq!(world.text_files(&[&path], &options).unwrap().count().unwrap(), 3);
}

#[test]
fn gzip_is_decompressed_whatever_its_members_and_a_truncated_one_is_an_error() {
    let world = World::new(1);
    let text: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    let (first, second) = text.split_at(1_000_003);
    let zipped = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let path = write(&world, "two-members.gz", &zipped);
    assert_eq!(lines_of(&world, &path).unwrap(), text.lines().collect::<Vec<_>>());

    let path = write(&world, "truncated.gz", &zipped[..zipped.len() - 10]);
    let error = lines_of(&world, &path).unwrap_err().to_string();
    assert!(error.contains("truncated.gz"), "{error}");
    let path = write(&world, "text.gz", "this is no gzip");
    assert!(lines_of(&world, &path).unwrap_err().to_string().contains("text.gz"));
}

#[test]
fn an_empty_gzip_file_has_no_lines_and_zeros_behind_the_end_are_padding() {
    let world = World::new(1);
    let (one, two) = (gzip(b"one\n"), gzip(b"two\n"));
    for (padding, zeros) in [0, 1, 511, 300_000].map(|zeros| (vec![0; zeros], zeros)) {
        let path = write(&world, "padded.gz", [&one[..], &padding, &two, &padding].concat());
        assert_eq!(lines_of(&world, &path).unwrap(), ["one", "two"], "{zeros} zeros");
        assert_eq!(world.whole_text_files(&path).unwrap().values().collect().unwrap(), ["one\ntwo\n"]);
    }
    let empty = write(&world, "empty.gz", "");
    assert_eq!(lines_of(&world, &empty).unwrap(), [] as [&str; 0]);
    assert_eq!(world.whole_text_files(&empty).unwrap().values().collect().unwrap(), [""]);
    assert_eq!(lines_of(&world, &write(&world, "of-nothing.gz", gzip(b""))).unwrap(), [] as [&str; 0]);
}

#[test]
fn what_cannot_be_decompressed_is_not_tried_again() {
    let world = World::new(1);
    let good = gzip("some text, and more\n".repeat(1000).as_bytes());
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 8].fill(0xff);
    for bytes in [b"no gzip".to_vec(), vec![0; 100], good[..5].to_vec(), good[..good.len() - 1].to_vec(), damaged] {
        let path = write(&world, "bad.gz", bytes);
        let lines = world.text_file(&path).unwrap().count();
        let whole = world.whole_text_files(&path).unwrap().count();
        for read in [lines, whole] {
            let error = read.unwrap_err();
            assert!(error.to_string().contains("bad.gz"), "{error}");
            assert!(matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 1), "{error:?}");
        }
    }
}

/// Makes a pipe, and a thread that writes to it, part by part, when somebody reads.
#[cfg(unix)]
fn pipe(world: &World, name: &str, parts: &'static [&'static [u8]]) -> (PathBuf, std::thread::JoinHandle<()>) {
    let path = world.files().join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let target = path.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::File::options().write(true).open(target).unwrap();
        for part in parts {
            pipe.write_all(part).unwrap();
        }
    });
    (path, writer)
}

#[cfg(unix)]
#[test]
fn a_pipe_gives_its_lines_once_and_says_so_if_it_is_read_again() {
    let world = World::new(2);
    const PARTS: [&[&[u8]]; 2] = [&[b"\xef\xbb", b"\xbfone\r", b"\ntwo\n", b"thr", b"ee"], &[b"one\ntwo\rthree\n"]];
    for (name, parts) in ["pipe", "other"].into_iter().zip(PARTS) {
        let (path, writer) = pipe(&world, name, parts);
        let lines = world.text_file(&path).unwrap();
        assert_eq!(lines.collect().unwrap(), ["one", "two", "three"]);
        writer.join().unwrap();
        let error = lines.count().unwrap_err();
        let told = format!("{name} is a pipe, and what was in it is gone, since it was read before: cache the rdd");
        assert!(error.to_string().contains(&told), "{error}");
        assert!(matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 1), "{error:?}");
    }
    // Kept rows are there to be read again; a pipe in a folder is read with its files; nothing written is no lines.
    write(&world, "folder/a", "a\n");
    let (_, writer) = pipe(&world, "folder/b", &[b"b\n"]);
    let (_, silent) = pipe(&world, "folder/c", &[]);
    let lines = world.text_file(world.files().join("folder")).unwrap().cache();
    assert_eq!((lines.count().unwrap(), lines.collect().unwrap()), (2, vec!["a".to_owned(), "b".to_owned()]));
    writer.join().unwrap();
    silent.join().unwrap();

    let (path, writer) = pipe(&world, "whole", &[b"one\n", b"two"]);
    assert_eq!(world.whole_text_files(&path).unwrap().values().collect().unwrap(), ["one\ntwo"]);
    writer.join().unwrap();
}

#[cfg(unix)]
#[test]
fn a_pipe_that_nobody_writes_to_can_be_cancelled() {
    let world = World::new(1);
    let mut events = world.events();
    let path = world.files().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let count = world.text_file(&path).unwrap().count_async();
    next_of(&mut events, |event| matches!(event, Event::TaskStarted { .. }).then_some(()));
    drop(count);
    assert_eq!(world.range(0..10_u64).count().unwrap(), 10);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_of_the_system_is_read_though_its_length_is_said_to_be_zero() {
    let world = World::new(1);
    let status = Path::new("/proc/self/status");
    assert_eq!(fs::metadata(status).unwrap().len(), 0);
    let lines = world.text_file(status).unwrap();
    let is_own = |line: &&String| **line == format!("Pid:\t{}", std::process::id());
    assert!(lines.collect().unwrap().iter().find(is_own).is_some());
    // Again, since it is no pipe; and as a whole.
    assert!(lines.count().unwrap() > 10);
    assert!(world.whole_text_files(status).unwrap().first().unwrap().unwrap().1.contains("\nPid:"));
    assert!(!world.binary_files("/proc/self/{status,stat}").unwrap().values().collect().unwrap()[1].is_empty());
}

#[test]
fn a_directory_is_read_in_path_order_without_what_is_hidden() {
    let world = World::new(2);
    for (name, text) in [
        ("d/b.txt", "b\n"),
        ("d/a.txt", "a1\na2"),
        ("d/c/d.txt", "d"),
        ("d/c/_SUCCESS", "no"),
        ("d/.hidden", "no"),
        ("d/_temporary/part-0", "no"),
        ("d/empty", ""),
    ] {
        write(&world, name, text);
    }
    assert_eq!(lines_of(&world, &world.files().join("d")).unwrap(), ["a1", "a2", "b", "d"]);
    assert_eq!(lines_of(&world, &world.files().join("d/[ab].txt")).unwrap(), ["a1", "a2", "b"]);
    assert_eq!(lines_of(&world, &world.files().join("d/**/*.txt")).unwrap(), ["a1", "a2", "b", "d"]);
    // What is asked for by name is read, hidden or not.
    assert_eq!(lines_of(&world, &world.files().join("d/.hidden")).unwrap(), ["no"]);
}

/// Writes files whose only line is their name, and gives the function that reads what a path below them names.
fn named_files<'a>(world: &'a World, names: &[&str]) -> impl Fn(&str) -> Result<Vec<String>, Error> + 'a {
    for name in names {
        write(world, name, format!("{name}\n"));
    }
    |path| lines_of(world, &world.files().join(path))
}

#[test]
fn folders_that_match_a_glob_are_read_and_what_is_hidden_is_not_unless_it_is_named() {
    let world = World::new(2);
    let read = named_files(
        &world,
        &[
            "day-1/a",
            "day-1/deep/b",
            "day-2/a",
            "day-2/_SUCCESS",
            "day-2/.a.crc",
            "day-2/_temporary/c",
            "day-3",
            "_day-4/a",
            "other/a",
        ],
    );
    for (glob, files) in [
        ("day-*", &["day-1/a", "day-1/deep/b", "day-2/a", "day-3"][..]),
        ("day-[12]/*", &["day-1/a", "day-1/deep/b", "day-2/a"]),
        ("*/a", &["day-1/a", "day-2/a", "other/a"]),
        ("**/a", &["day-1/a", "day-2/a", "other/a"]),
        ("day-*/**", &["day-1/a", "day-1/deep/b", "day-2/a"]),
        ("_*/a", &["_day-4/a"]),
        ("day-?/_*", &["day-2/_SUCCESS", "day-2/_temporary/c"]),
        ("day-?/.*.crc", &["day-2/.a.crc"]),
        ("**/_temporary/*", &["day-2/_temporary/c"]),
        ("_day-4/*", &["_day-4/a"]),
    ] {
        assert_eq!(read(glob).unwrap(), files, "{glob}");
    }
    for nothing in ["?day-4", "day-2/[._]SUCCESS", "day-2/?SUCCESS"] {
        assert!(matches!(read(nothing), Err(Error::NoSuchInput { .. })), "{nothing}");
    }
}

#[test]
fn braces_name_each_of_their_alternatives_and_each_file_once() {
    let world = World::new(1);
    let read = named_files(&world, &["a.txt", "b.txt", "c.csv", "x/1", "y/1", "y/2", "_z"]);
    for (glob, files) in [
        ("{a,b}.txt", &["a.txt", "b.txt"][..]),
        ("{b,a,missing}.txt", &["a.txt", "b.txt"]),
        ("{a,b,?}.{txt,csv}", &["a.txt", "b.txt", "c.csv"]),
        ("{x,y/2}", &["x/1", "y/2"]),
        ("{x/*,{y,z}/1}", &["x/1", "y/1"]),
        ("{_,z}*", &["_z"]),
    ] {
        assert_eq!(read(glob).unwrap(), files, "{glob}");
    }
    let error = read("{a,b.txt").unwrap_err();
    assert!(matches!(&error, Error::BadGlob { reason, .. } if reason.contains("is not closed")), "{error:?}");
}

#[test]
fn what_is_there_as_it_is_written_comes_before_what_it_would_match() {
    let world = World::new(1);
    let read = named_files(&world, &["run[1]/x", "run[1]/y", "run1/x", "{a,b}/x", "a/x", "what?", "whats", "c,d"]);
    for (path, files) in [
        ("run[1]", &["run[1]/x", "run[1]/y"][..]),
        ("run[1]/x", &["run[1]/x"]),
        ("run[1]/*", &["run[1]/x", "run[1]/y"]),
        ("run[1]/**/y", &["run[1]/y"]),
        ("run[2-9[]*/x", &["run[1]/x"]),
        ("{a,b}/*", &["{a,b}/x"]),
        ("{run[1],a}/x", &["a/x", "run[1]/x"]),
        ("what?", &["what?"]),
        ("c,d", &["c,d"]),
    ] {
        assert_eq!(read(path).unwrap(), files, "{path}");
    }
}

#[test]
fn a_path_may_be_a_url_of_a_file_and_a_comma_separates_none() {
    let world = World::new(1);
    let read = named_files(&world, &["a b%20c", "b"]);
    let files = world.files().display().to_string();
    for url in [format!("file://{files}/a b%20c"), format!("file://localhost{files}/a*"), format!("file:{files}/a*")] {
        assert_eq!(lines_of(&world, Path::new(&url)).unwrap(), ["a b%20c"], "{url}");
    }
    let rows = world.parallelize_into(vec![1], 1);
    rows.save_as_text_file(format!("file://{files}/out")).unwrap();
    assert_eq!(read("out").unwrap(), ["1"]);
    let objects = format!("file://{files}/objects");
    rows.save_as_object_file(&objects).unwrap();
    assert_eq!(world.object_file::<i32>(&objects).unwrap().collect().unwrap(), [1]);
    // Of what cannot be written to, no folder is made that has its name.
    for url in ["hdfs://host/out", "file://host/out"] {
        for error in [rows.save_as_text_file(url).unwrap_err(), rows.save_as_object_file(url).unwrap_err()] {
            assert!(matches!(error, Error::File { .. }), "{error:?}");
            let said = error.to_string();
            assert!(
                said.contains(url) && said.contains("give a path, file:///path/to/it or s3://bucket/key"),
                "{said}"
            );
        }
        assert!(!Path::new(url).parent().unwrap().parent().unwrap().exists());
    }

    for several in ["a b%20c,b", "b,*"] {
        let error = read(several).unwrap_err();
        assert!(matches!(error, Error::NoSuchInput { .. }), "{error:?}");
        assert!(
            error.to_string().contains("a comma separates no paths: give several to Context::text_files"),
            "{error}"
        );
    }
    assert!(!read("missing").unwrap_err().to_string().contains("comma"));
}

#[cfg(unix)]
#[test]
fn a_file_is_read_once_however_many_links_lead_to_it_and_a_loop_of_links_ends() {
    use std::os::unix::fs::symlink;
    let world = World::new(1);
    let read = named_files(&world, &["d/a/x", "d/b/y", "d/z", "outside/w"]);
    let link = |target: &str, name: &str| symlink(target, world.files().join(name)).unwrap();
    // To a folder and to a file beside it, back up, to one another, and to themselves.
    link("b", "d/_b");
    link("b", "d/a-link");
    link("z", "d/0-link");
    link("..", "d/a/up");
    link("../b", "d/a/other");
    link("../a", "d/b/other");
    link("self", "d/self");
    let all = ["d/a/x", "d/b/y", "d/z"];
    for path in ["d", "d/*", "d/**/*", "*/../d", "d/{a,b,z,a-link,0-link}"] {
        assert_eq!(read(path).unwrap(), all, "{path}");
    }
    assert_eq!(read("d/**/y").unwrap(), ["d/b/y"]);
    // Which path a file has is that of the file, not that of a link.
    let files = world.whole_text_files(world.files().join("d/*")).unwrap().keys().collect().unwrap();
    assert_eq!(files, all.map(|file| world.files().join(file)));
    // What only a link leads to is read, once.
    link("../outside", "d/l1");
    link("../outside", "d/l2");
    for path in ["d", "d/*", "d/**/*"] {
        assert_eq!(read(path).unwrap(), ["d/a/x", "d/b/y", "outside/w", "d/z"], "{path}");
    }
    assert_eq!(read("d/l*").unwrap(), ["outside/w"]);
    // Many ways through many folders are no endless work.
    for from in 0..12 {
        for to in 0..12 {
            write(&world, &format!("web/{from}/f"), "f\n");
            link(&format!("../{to}"), &format!("web/{from}/to-{to}"));
        }
    }
    for path in ["web", "web/**/*"] {
        assert_eq!(read(path).unwrap().len(), 12, "{path}");
    }
    link("nowhere", "d/dangling");
    assert!(read("d").unwrap_err().to_string().contains("dangling"));
}

#[test]
fn an_empty_file_and_an_empty_directory_have_no_lines() {
    let world = World::new(1);
    let path = write(&world, "empty", "");
    assert_eq!(lines_of(&world, &path).unwrap(), [] as [&str; 0]);
    fs::create_dir(world.files().join("void")).unwrap();
    let lines = world.text_file(world.files().join("void")).unwrap();
    assert_eq!((lines.partitions(), lines.count().unwrap()), (0, 0));
}

#[test]
fn a_thousand_small_files_are_packed_into_few_partitions() {
    let world = World::new(2);
    let mut expected = Vec::new();
    for n in 0..1_000 {
        write(&world, &format!("{n:04}"), format!("{n}\nx\n"));
        expected.extend([n.to_string(), "x".to_owned()]);
    }
    let lines = world.text_file(world.files()).unwrap();
    assert!((2..=32).contains(&lines.partitions()), "{} partitions", lines.partitions());
    assert_eq!(lines.collect().unwrap(), expected);
}

#[test]
fn a_large_file_is_cut_and_its_lines_are_whole() {
    let world = World::new(2);
    // Lines of all lengths, so that cuts and blocks fall anywhere; some are longer than a block.
    let mut text = String::new();
    for n in 0..60_000_usize {
        let line = "\u{e9}".repeat(n * 7919 % 83);
        text.push_str(&line);
        text.push_str(if n % 3 == 0 { "\r\n" } else { "\n" });
        if n % 20_000 == 10_000 {
            text.push_str(&"y".repeat(1_300_000));
        }
    }
    assert!(text.len() > 5 << 20);
    let path = write(&world, "large.txt", &text);
    let expected: Vec<&str> = text.lines().collect();
    let lines = world.text_file(&path).unwrap();
    assert!(lines.partitions() > 4, "{} partitions", lines.partitions());
    assert!(lines.collect().unwrap() == expected);
    for partitions in [1, 2, 7, 64] {
        let lines = world.text_files(&[&path], &TextOptions::new().min_partitions(partitions)).unwrap();
        assert!(lines.partitions() >= partitions);
        assert!(lines.collect().unwrap() == expected, "{partitions} partitions");
    }
}

#[test]
fn taking_from_the_front_of_a_large_file_leaves_no_reader_behind() {
    let world = World::new(1);
    let path = write(&world, "large.txt", "some line\n".repeat(1 << 20));
    let one = world.text_files(&[&path], &TextOptions::new().min_partitions(1)).unwrap();
    assert_eq!(one.partitions(), 1);
    for _ in 0..20 {
        assert_eq!(one.take(2).unwrap(), ["some line", "some line"]);
    }
    // The end of the world checks that the threads of these readers end.
}

// ---- Writing.

#[test]
fn what_is_saved_is_what_is_read() {
    let world = World::new(2);
    let path = world.files().join("new/numbers");
    let rows = world.range_into(0..1_000_u64, 4);
    rows.filter(|n| n / 250 != 2).save_as_text_file(&path).unwrap();
    assert_eq!(names_in(&path), ["_SUCCESS", "part-00000", "part-00001", "part-00002", "part-00003"]);
    assert_eq!(fs::read_to_string(path.join("part-00002")).unwrap(), "");
    assert_eq!(fs::read_to_string(path.join("_SUCCESS")).unwrap(), "");
    let expected: Vec<String> = (0..1_000).filter(|n| n / 250 != 2).map(|n: u64| n.to_string()).collect();
    assert_eq!(lines_of(&world, &path).unwrap(), expected);
    assert_eq!(names_in(path.parent().unwrap()), ["numbers"]);

    world.empty::<u64>().save_as_text_file(world.files().join("nothing")).unwrap();
    assert_eq!(names_in(&world.files().join("nothing")), ["_SUCCESS"]);
}

#[test]
fn a_name_may_be_as_long_as_the_system_takes_it() {
    let world = World::new(1);
    let rows = world.range_into(0..4_u64, 2);
    for name in ["x".repeat(240), "x".repeat(255), "\u{e9}".repeat(127)] {
        let path = world.files().join(&name);
        rows.save_as_text_file(&path).unwrap();
        assert_eq!(lines_of(&world, &path).unwrap(), ["0", "1", "2", "3"]);
        fs::remove_dir_all(&path).unwrap();
        rows.save_as_object_file(&path).unwrap();
        assert_eq!(names_in(&world.files()), [name], "nothing hidden is left");
        assert_eq!(world.object_file::<u64>(&path).unwrap().collect().unwrap(), [0, 1, 2, 3]);
        fs::remove_dir_all(&path).unwrap();
    }
    // Two outputs whose names begin alike are under way at the same time.
    let gate = Gate::new();
    let (inner, long) = (gate.clone(), "y".repeat(250));
    let slow = rows.map(move |n| {
        inner.pass();
        n
    });
    let first = slow.save_as_text_file_async(world.files().join(format!("{long}1")));
    gate.wait_for(1);
    let second = rows.save_as_text_file_async(world.files().join(format!("{long}2")));
    gate.open();
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(names_in(&world.files()), [format!("{long}1"), format!("{long}2")]);
    let error = rows.save_as_text_file(world.files().join("z".repeat(256))).unwrap_err().to_string();
    assert!(error.contains("zzz"), "{error}");
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new(1);
    fs::create_dir(world.files().join("dir")).unwrap();
    write(&world, "file", "mine");
    for name in ["dir", "file"] {
        let path = world.files().join(name);
        let error = world.range_into(0..10_u64, 2).save_as_text_file(&path).unwrap_err();
        assert!(matches!(&error, Error::OutputExists { path: taken } if *taken == path), "{error:?}");
        assert!(error.to_string().contains("exists; choose another path"), "{error}");
    }
    assert_eq!(
        (names_in(&world.files()).len(), fs::read_to_string(world.files().join("file")).unwrap()),
        (2, "mine".into())
    );
}

#[test]
fn a_target_that_appears_while_it_is_written_is_left_alone() {
    let world = World::new(1);
    let path = world.files().join("out");
    let racing = path.clone();
    let rows = world.range_into(0..10_u64, 1).map(move |n| {
        fs::create_dir_all(&racing).unwrap();
        n
    });
    assert!(matches!(rows.save_as_text_file(&path), Err(Error::OutputExists { .. })));
    assert_eq!((names_in(&world.files()), names_in(&path)), (vec!["out".to_owned()], vec![]));
}

#[test]
fn a_save_that_fails_in_its_middle_leaves_nothing() {
    let world = World::new(2);
    let rows = world.range_into(0..10_000_u64, 8).map(|n| {
        assert!(n != 7_777, "{ON_PURPOSE}");
        n
    });
    for _ in 0..20 {
        assert!(matches!(rows.save_as_text_file(world.files().join("out")), Err(Error::TaskFailed { .. })));
        assert_eq!(names_in(&world.files()), [] as [&str; 0]);
    }
}

#[test]
fn a_save_that_is_cancelled_leaves_nothing_wherever_it_is() {
    for tasks in (0..100).chain(0..100) {
        let world = World::new(2);
        let mut events = world.events();
        let save = world.range_into(0..400_u64, 400).save_as_text_file_async(world.files().join("out"));
        for _ in 0..=tasks {
            next_of(&mut events, |event| matches!(event, Event::TaskFinished { .. }).then_some(()));
        }
        drop(save);
        let files = world.files();
        // No task runs any more when the context has stopped.
        world.stop();
        assert_eq!(names_in(&files), [] as [&str; 0], "cancelled after {tasks} tasks");
    }
}

#[test]
fn a_save_that_is_dropped_while_a_task_holds_its_file_leaves_nothing() {
    let world = World::new(1);
    let gate = Gate::new();
    let inner = gate.clone();
    let rows = world.range_into(0..10_u64, 1).map(move |n| {
        inner.pass();
        n
    });
    let save = rows.save_as_text_file_async(world.files().join("out"));
    gate.wait_for(1);
    drop(save);
    gate.open();
    world.stop();
    assert_eq!(names_in(&world.files()), [] as [&str; 0]);
}

#[test]
fn a_save_that_is_retried_writes_no_row_twice() {
    let world = World::with(|builder| builder.workers(2).batch_rows(10));
    let attempts = Tally::new();
    let counter = attempts.clone();
    let rows = world.range_into(0..1_000_u64, 4).map(move |n| {
        assert!(n != 600 || counter.add() >= 2, "{ON_PURPOSE}");
        n
    });
    let path = world.files().join("out");
    rows.save_as_text_file(&path).unwrap();
    assert_eq!(attempts.get(), 3);
    assert_eq!(names_in(&path).len(), 5);
    assert_eq!(lines_of(&world, &path).unwrap(), (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn blocks_hold_all_lines_once_whatever_their_size_and_the_pieces() {
    let world = World::new(2);
    let path = world.files().join("text");
    let lines: Vec<String> = (0..400).map(|n| "x".repeat(n * 7 % 31) + &n.to_string()).collect();
    for end in ["\n", "\r\n"] {
        fs::write(&path, lines.join(end)).unwrap();
        for partitions in [1, 2, 7, 100] {
            for bytes in [1, 20, 100, 5_000, 1 << 20] {
                let options = TextOptions::new().min_partitions(partitions).block_bytes(bytes);
                let blocks = world.text_files(&[&path], &options).unwrap().collect().unwrap();
                let found: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
                assert_eq!(found, lines, "{partitions} partitions, {bytes} bytes, {end:?}");
                let long = |block: &&String| block.len() > bytes && block.contains('\n');
                assert_eq!(blocks.iter().find(long), None, "a block of several lines is too large");
            }
        }
    }
    let short = TextOptions::new().max_line_bytes(20).block_bytes(1000);
    let error = world.text_files(&[&path], &short).unwrap().collect().unwrap_err().to_string();
    assert!(error.contains("a line of more than 20 bytes"), "{error}");
    let enough = TextOptions::new().max_line_bytes(40).block_bytes(1000);
    let blocks = world.text_files(&[&path], &enough).unwrap().collect().unwrap();
    assert_eq!(blocks.iter().flat_map(|block| block.lines()).collect::<Vec<_>>(), lines);
}
