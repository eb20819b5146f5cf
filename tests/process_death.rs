//! What a process leaves that dies, by whatever death, and what the next one makes of it. Children that really die.
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use emberflow::{Context, Rdd, Sums};
use rustix::process::{Pid, Signal, getpid, kill_process};

/// What a child is to do.
const PROGRAM: &str = "EMBERFLOW_TEST_DEATH";
const DIR: &str = "EMBERFLOW_TEST_DEATH_DIR";
/// Which checkpoint it is to go on from.
const RESUME: &str = "EMBERFLOW_TEST_DEATH_RESUME";

const ROUNDS: u64 = 12;
const ROWS: u64 = 40_000;

fn say(line: &str) {
    // Not captured, as what is printed is.
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

fn spilling(dir: &Path) -> Context {
    Context::builder().workers(2).force_spill(true).spill_dir(dir).build().unwrap()
}

#[allow(unconditional_recursion, reason = "to end the process by it")]
fn overflow(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 1000]);
    frame[7] + overflow(frame[8] + 1)
}

/// What the child does, if this is one. It is not to come back.
fn child(program: &str) {
    let dir = PathBuf::from(env::var_os(DIR).unwrap());
    if program == "checkpoints" {
        return checkpoints(&dir);
    }
    let ctx = spilling(&dir);
    let kept = ctx.range_into(0..100_000_u64, 4).sort_by(|n| n.reverse_bits()).cache();
    kept.count().unwrap();
    let program = program.to_owned();
    let rows = kept.sort_by(|n| *n).map(move |n| match (&*program, n == 77_777) {
        (_, false) => n,
        ("kills itself", _) => kill_process(getpid(), Signal::KILL).map(|()| n).unwrap(),
        ("aborts", _) => std::process::abort(),
        ("exits", _) => std::process::exit(3),
        ("overflows its stack", _) => overflow(n),
        (other, _) => panic!("{other}"),
    });
    rows.count().unwrap();
}

/// Rounds of adding one to every row, with a checkpoint after each.
fn checkpoints(dir: &Path) {
    let ctx = Context::builder().workers(2).checkpoint_dir(dir).build().unwrap();
    let mut rows: Rdd<u64> = match env::var_os(RESUME) {
        Some(path) => ctx.checkpoint_file(path).unwrap(),
        None => ctx.range_into(0..ROWS, 4),
    };
    let mut round = rows.first().unwrap().unwrap();
    say("started");
    while round < ROUNDS {
        rows = rows.map(|n| n + 1).checkpoint().unwrap();
        round += 1;
    }
    assert_eq!(rows.sum().unwrap(), (0..ROWS).map(|n| u128::from(n + ROUNDS)).sum::<u128>());
    say("complete");
}

#[test]
#[ignore = "the program of the other tests, which they start"]
fn this_is_the_program() {
    if let Ok(program) = env::var(PROGRAM) {
        child(&program);
    }
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "this_is_the_program", "--nocapture", "--include-ignored"]);
    command.env(PROGRAM, program).env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn whatever_ends_a_process_leaves_nothing_on_disk_and_its_neighbours_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let neighbour = spilling(dir.path());
    let kept = neighbour.range_into(0..50_000_u64, 4).cache();
    let expected = kept.collect().unwrap();
    assert!(neighbour.memory().spilled > 0);
    for (program, signal, times) in
        [("kills itself", Some(9), 50), ("aborts", Some(6), 3), ("overflows its stack", Some(6), 3), ("exits", None, 3)]
    {
        for _ in 0..times {
            let ended = command(program, dir.path()).output().unwrap();
            let (said, status) = (String::from_utf8_lossy(&ended.stderr), ended.status);
            assert_eq!(status.signal(), signal, "{program}: {status} {said}");
            assert!(signal.is_some() || status.code() == Some(3), "{program}: {status} {said}");
            assert!(program != "overflows its stack" || said.contains("overflowed its stack"), "{said}");
            assert_eq!(support::names_in(dir.path()), [] as [&str; 0], "{program}");
        }
        assert_eq!(kept.collect().unwrap(), expected);
    }
    assert_eq!(spilling(dir.path()).range(0..1_000_u64).cache().count().unwrap(), 1_000);
}

/// All that is below a checkpoint directory: what can be seen, and what is hidden since it is not complete.
fn found_in(dir: &Path) -> (BTreeSet<PathBuf>, usize) {
    let (mut seen, mut hidden) = (BTreeSet::new(), 0);
    for application in fs::read_dir(dir).unwrap() {
        for checkpoint in fs::read_dir(application.unwrap().path()).unwrap() {
            let path = checkpoint.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                hidden += 1;
            } else {
                seen.insert(path);
            }
        }
    }
    (seen, hidden)
}

fn read_until(wanted: &str, out: &mut BufReader<ChildStdout>) {
    let mut line = String::new();
    while line.trim() != wanted {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended before it said {wanted:?}");
    }
}

fn start(dir: &Path, last: Option<&Path>) -> (Child, BufReader<ChildStdout>) {
    let mut command = command("checkpoints", dir);
    last.map(|last| command.env(RESUME, last));
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    read_until("started", &mut out);
    (child, out)
}

#[test]
fn a_process_that_is_killed_between_checkpoints_is_gone_on_from_the_last_complete_one() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Context::local(2).unwrap();
    let mut last: Option<(u64, PathBuf)> = None;
    let (mut kills, mut torn, mut resumed) = (0_u32, 0, 0);
    let mut known = BTreeSet::new();
    // Within which the moment lies, in microseconds: as long as a checkpoint takes, whatever the machine is like.
    let (mut within, mut in_vain) = (25_000_u64, 0);
    loop {
        let (mut child, mut out) = start(dir.path(), last.as_ref().map(|(_, path)| &**path));
        // Killed at any moment of a checkpoint or two: until enough were killed, and some of them in the middle of it.
        let is_last = kills >= 40 && torn > 0 && resumed > 0;
        if is_last {
            read_until("complete", &mut out);
            assert!(child.wait().unwrap().success());
            break;
        }
        let begun = Instant::now();
        let moment = Duration::from_micros(u64::from(kills.wrapping_mul(2_654_435_761)) % within);
        while begun.elapsed() < moment {
            std::hint::spin_loop();
        }
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        let status = child.wait().unwrap();
        assert!(status.signal() == Some(9) || status.success(), "{status}");
        kills += 1;
        assert!(kills < 500, "{torn} torn, {resumed} resumed");
        let (seen, hidden) = found_in(dir.path());
        torn = hidden;
        in_vain = if seen.len() > known.len() { 0 } else { in_vain + 1 };
        if in_vain == 8 {
            (within, in_vain) = (2 * within, 0);
        }
        for path in seen.difference(&known) {
            // Whatever can be seen is whole.
            let rows = ctx.checkpoint_file::<u64>(path).unwrap();
            let round = rows.first().unwrap().unwrap();
            assert_eq!(
                rows.sum().unwrap(),
                (0..ROWS).map(|n| u128::from(n + round)).sum::<u128>(),
                "{}",
                path.display()
            );
            let newer = last.as_ref().is_none_or(|(before, _)| round > *before);
            if newer && round < ROUNDS {
                resumed += u32::from(last.is_some());
                last = Some((round, path.clone()));
            }
        }
        known = seen;
        if last.as_ref().is_some_and(|(round, _)| *round >= ROUNDS - 2) {
            // As good as complete: once more from the beginning.
            last = None;
        }
    }
    let (seen, _) = found_in(dir.path());
    assert!(!seen.is_empty());
    println!("{kills} kills, {torn} of them in the middle of a checkpoint, {resumed} times gone on from a newer one");
}
