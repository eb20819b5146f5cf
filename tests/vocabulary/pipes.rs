//! Rows through an external command.
#![cfg(unix)]

use std::{fs, path::Path};

use emberflow::Error;

use super::{
    support::{Tally, eventually, within_deadline},
    *,
};

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// Whether the process of which a file holds the number is there, and not merely waited for.
fn runs(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'),
        Err(_) => false,
    }
}

/// Waits until a script has written a line into a file.
fn wait_for(file: &Path) {
    let text = eventually(|| fs::read_to_string(file).unwrap_or_default(), |text| text.ends_with('\n'));
    assert!(text.ends_with('\n'), "the command was not started");
}

#[test]
fn a_command_that_copies_its_input_gives_the_rows() {
    law(24, (vec(".{0,9}", 0..40), 1_usize..4), |ctx, (rows, partitions)| {
        // A row is a line, and a carriage return before its end belongs to the end.
        let rows: Vec<String> = rows.into_iter().map(|row| row.replace(['\r', '\n'], "")).collect();
        let piped = ctx.parallelize_into(rows.clone(), partitions).pipe(["cat"]);
        prop_assert_eq!(piped.glom().collect().unwrap(), cut(&rows, partitions));
        Ok(())
    });
}

#[test]
fn a_command_runs_for_every_partition_also_for_empty_ones() {
    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 5).filter(|n| *n < 5);
    assert_eq!(rows.pipe(shell("wc -l | tr -d ' '")).collect().unwrap(), ["2", "2", "1", "0", "0"]);
    // The last line need not have an end, and other systems' line ends are line ends.
    assert_eq!(world.range_into(0..1_u64, 1).pipe(["printf", "a\\r\\n\\nb"]).collect().unwrap(), ["a", "", "b"]);
}

#[test]
fn a_command_that_writes_much_before_it_reads_does_not_hang() {
    within_deadline(|| {
        let world = World::new(2);
        let rows = world.range_into(0..200_000_u64, 2);
        // Far more than pipes and channels hold, both ways at once.
        let lines = rows.pipe(shell("head -c 2000000 /dev/zero | tr '\\0' '\\n'; cat"));
        let lines = lines.filter(|line| !line.is_empty()).collect().unwrap();
        assert_eq!(lines, (0..200_000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(world.range_into(0..0_u64, 1).pipe(shell("seq 300000")).count().unwrap(), 300_000);
    });
}

#[test]
fn a_command_that_complains_much_and_succeeds_does_not_hang() {
    within_deadline(|| {
        let world = World::new(2);
        let rows = world.range_into(0..100_u64, 2);
        assert_eq!(rows.pipe(shell("seq 200000 >&2; cat")).count().unwrap(), 100);
    });
}

#[test]
fn a_command_that_stops_reading_gets_no_more_rows() {
    within_deadline(|| {
        let world = World::new(2);
        let computed = Tally::new();
        let counter = computed.clone();
        let rows = world.range_into(0..u64::MAX, 1).map(move |n| {
            counter.add();
            n
        });
        assert_eq!(rows.pipe(["head", "-n", "3"]).collect().unwrap(), ["0", "1", "2"]);
        assert!(computed.get() > 0);
    });
}

#[test]
fn a_command_whose_output_is_closed_still_gets_all_its_rows() {
    let world = World::new(1);
    let copy = world.files().join("copy");
    let rows = world.range_into(0..50_000_u64, 1);
    assert_eq!(rows.pipe(shell(&format!("exec cat > {}", copy.display()))).count().unwrap(), 0);
    assert_eq!(fs::read_to_string(copy).unwrap().lines().count(), 50_000);
}

#[test]
fn a_command_that_fails_is_an_error_with_the_end_of_what_it_said() {
    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 2);
    let error = text_of(rows.pipe(shell("cat; seq 9999 >&2; echo 'no such luck' >&2; exit 3")).collect());
    assert!(error.contains("ended with exit status: 3, and said at last: "), "{error}");
    assert!(error.contains("no such luck") && error.contains("9999") && !error.contains("\n8000\n"), "{error}");
    assert!(error.contains("pipe at ") && error.contains("failed after 4 attempts; every time"), "{error}");
    let error = text_of(rows.pipe(["false"]).collect());
    assert!(error.contains("\"false\" ended with exit status: 1, and said nothing"), "{error}");
    let error = text_of(rows.pipe(shell("kill -9 $$")).collect());
    assert!(error.contains("signal: 9"), "{error}");
    assert_eq!(rows.count().unwrap(), 10);
}

#[test]
fn a_command_that_fails_once_is_run_again() {
    let world = World::new(1);
    let marker = world.files().join("ran");
    let script = format!("cat; test -e {0} || {{ touch {0}; exit 1; }}", marker.display());
    assert_eq!(world.range_into(0..3_u64, 1).pipe(shell(&script)).collect().unwrap(), ["0", "1", "2"]);
}

#[test]
fn a_command_that_is_not_there_is_not_tried_again() {
    let world = World::new(2);
    let error = text_of(world.range_into(0..10_u64, 1).pipe(["no-such-command", "-x"]).collect());
    assert!(error.contains("\"no-such-command -x\" cannot be run: No such file"), "{error}");
    assert!(error.contains("failed after 1 attempt;"), "{error}");
}

#[test]
fn output_that_is_no_text_is_an_error() {
    let world = World::new(2);
    let error = text_of(world.range_into(0..1_u64, 1).pipe(["printf", "caf\\351\\n"]).collect());
    assert!(error.contains("wrote a line that is not UTF-8"), "{error}");
}

#[test]
fn an_error_of_the_rows_is_told_as_it_is() {
    let world = World::new(2);
    let rows = world.range_into(0..10_u64, 1).try_map(|n| if n == 5 { Err("not this one") } else { Ok(n) });
    let error = text_of(rows.pipe(["cat"]).collect());
    assert!(error.contains("not this one") && error.contains("try_map at "), "{error}");
}

#[test]
fn cancelling_kills_the_command_and_all_that_it_has_started() {
    within_deadline(|| {
        let world = World::new(2);
        let (shells, sleepers) = (world.files().join("shell"), world.files().join("sleeper"));
        let script = format!("sleep 1000 & echo $! > {}; echo $$ > {}; wait", sleepers.display(), shells.display());
        let action = world.range_into(0..10_u64, 1).pipe(shell(&script)).count_async();
        wait_for(&shells);
        assert!(runs(&shells) && runs(&sleepers));
        action.canceller().cancel();
        assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
        for file in [&shells, &sleepers] {
            assert!(!eventually(|| runs(file), |runs| !runs), "{} outlives its job", file.display());
        }
        assert_eq!(world.range(0..9_u64).count().unwrap(), 9);
    });
}

#[test]
fn stopping_the_context_kills_the_command() {
    within_deadline(|| {
        let world = World::new(2);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shell");
        let action = world.range_into(0..10_u64, 1).pipe(shell(&format!("echo $$ > {}; sleep 1000", file.display())));
        let action = action.count_async();
        wait_for(&file);
        world.end();
        assert!(matches!(action.wait(), Err(Error::ContextClosed)));
        assert!(!eventually(|| runs(&file), |runs| !runs));
    });
}

#[test]
fn rows_that_are_not_needed_any_more_end_the_command() {
    within_deadline(|| {
        let world = World::new(2);
        let file = world.files().join("shell");
        let endless = world.range_into(0..1_u64, 1).pipe(shell(&format!("echo $$ > {}; exec yes", file.display())));
        assert_eq!(endless.take(2).unwrap(), ["y", "y"]);
        assert!(!eventually(|| runs(&file), |runs| !runs));
        let panicking = endless.map(|_| -> u64 { panic!("{}", support::ON_PURPOSE) });
        assert!(text_of(panicking.count()).contains(support::ON_PURPOSE));
        assert!(!eventually(|| runs(&file), |runs| !runs));
    });
}
