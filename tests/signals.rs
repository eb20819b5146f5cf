//! SIGINT and SIGTERM end the jobs of contexts that want it, and with them what was being written; a second one ends the
//! process. Programs of their own, which get real signals.
#![cfg(unix)]

mod support;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use emberflow::{Context, Error};
use rustix::process::{Pid, Signal, kill_process};

/// What a child is to do.
const PROGRAM: &str = "EMBERFLOW_TEST_SIGNALS";
const DIR: &str = "EMBERFLOW_TEST_SIGNALS_DIR";

fn say(line: &str) {
    // Not captured, as what is printed is.
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// What the child does, if this is one.
fn child(program: &str) -> u8 {
    let dir = env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    let wanted = program != "unasked";
    let builder = Context::builder().workers(2).force_spill(true).spill_dir(dir.join("spill"));
    let ctx = builder.cancel_on_signal(wanted).build().unwrap();
    let outcome = match program {
        "closed" => {
            ctx.stop();
            say("ready");
            loop {
                thread::park();
            }
        }
        "hangs" => {
            let rows = ctx.range_into(0..2_u64, 1).map(|_| -> u64 {
                say("ready");
                loop {
                    thread::park();
                }
            });
            rows.count()
        }
        _ => {
            // Spilling, and writing files, when the signal comes.
            let kept = ctx.range_into(0..100_000_u64, 4).cache();
            kept.count().unwrap();
            let rows = kept.flat_map(|n| (0..u64::MAX).map(move |m| (n ^ m).to_string()));
            let rows = rows.map(|row| {
                if row == "1000" {
                    say("ready");
                }
                row
            });
            rows.save_as_text_file(dir.join("out")).map(|()| 0)
        }
    };
    let signal = ctx.interrupted().expect("a signal came");
    assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
    let later = ctx.range(0..9_u64).count();
    assert!(matches!(later, Err(Error::Interrupted { signal: told }) if told == signal), "{later:?}");
    say(&format!("ended: {}", later.unwrap_err()));
    ctx.stop();
    128 + signal as u8
}

/// A child that runs `program` and is ready, in a directory of its own.
fn start(program: &str, dir: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    fs::create_dir(dir.join("spill")).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "this_is_the_program", "--nocapture", "--include-ignored"])
        .env(PROGRAM, program)
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    wait_for("ready", &mut out);
    (child, out)
}

fn wait_for(wanted: &str, out: &mut impl BufRead) {
    let mut line = String::new();
    while line.trim() != wanted {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended before it said {wanted:?}");
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// How the child ends. What it says meanwhile has to be read.
fn end((mut child, mut out): (Child, BufReader<std::process::ChildStdout>)) -> (ExitStatus, String) {
    let mut said = String::new();
    std::io::Read::read_to_string(&mut out, &mut said).unwrap();
    (child.wait().unwrap(), said)
}

#[test]
#[ignore = "the program of the other tests, which they start"]
fn this_is_the_program() {
    if let Ok(program) = env::var(PROGRAM) {
        std::process::exit(child(&program).into());
    }
}

#[test]
fn a_signal_ends_all_jobs_and_leaves_nothing_half_written() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let dir = tempfile::tempdir().unwrap();
        let program = start("saves", dir.path());
        send(&program.0, signal);
        let (status, said) = end(program);
        assert_eq!(status.code(), Some(code), "{status} {said}");
        assert!(said.contains(&format!("ended: the context was interrupted by signal {}", code - 128)), "{said}");
        assert_eq!(support::names_in(dir.path()), ["spill"], "no output, finished or not");
        assert_eq!(support::names_in(&dir.path().join("spill")), [] as [&str; 0]);
    }
}

#[test]
fn a_second_signal_ends_the_process_whatever_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start("hangs", dir.path());
    send(&program.0, Signal::INT);
    // The job has ended, and the context waits for its thread for ever.
    wait_for(
        "ended: the context was interrupted by signal 2: its jobs have ended, and no other begins",
        &mut program.1,
    );
    send(&program.0, Signal::INT);
    assert_eq!(end(program).0.signal(), Some(2));
    assert_eq!(support::names_in(&dir.path().join("spill")), [] as [&str; 0]);
}

#[test]
fn signals_are_nobodys_business_unless_asked_and_after_the_end() {
    for program in ["unasked", "closed"] {
        let dir = tempfile::tempdir().unwrap();
        let program = start(program, dir.path());
        send(&program.0, Signal::TERM);
        assert_eq!(end(program).0.signal(), Some(15));
        assert_eq!(support::names_in(&dir.path().join("spill")), [] as [&str; 0]);
    }
}
