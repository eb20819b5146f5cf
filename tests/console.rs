//! What a program shows in its terminal: its own words whole, bars while it runs, a summary if it was asked for.
//!
//! The program runs in a terminal of its own, whose screen these tests read.
#![cfg(unix)]

use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Barrier, Mutex, mpsc},
};

use emberflow::{Context, Progress};
use rustix::{
    pty::{self, OpenptFlags},
    termios::{self, LocalModes, OptionalActions, Winsize},
};

/// Characters of a line of a wide terminal, and of narrow ones.
const WIDE: u16 = 160;
const NARROW: [u16; 2] = [80, 60];

/// Before it stands what the test harness says.
const BEGIN: &str = "the program begins";

/// A program in a terminal.
struct Terminal {
    program: Child,
    controller: File,
    screen: vt100::Parser,
    columns: u16,
}

impl Terminal {
    /// Runs a test of this file as a program.
    fn run(name: &str, settings: &[(&str, &str)]) -> Self {
        Self::run_in(WIDE, name, settings)
    }

    /// As [`run`](Self::run), with so many characters a line.
    fn run_in(columns: u16, name: &str, settings: &[(&str, &str)]) -> Self {
        let controller = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        pty::grantpt(&controller).unwrap();
        pty::unlockpt(&controller).unwrap();
        let path = pty::ptsname(&controller, Vec::new()).unwrap();
        let user = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        termios::tcsetwinsize(&user, size).unwrap();
        // What is typed is not shown.
        let mut modes = termios::tcgetattr(&user).unwrap();
        modes.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(&user, OptionalActions::Now, &modes).unwrap();
        let program = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .envs(settings.iter().copied())
            .env("TERM", "xterm")
            .stdin(Stdio::from(user.try_clone().unwrap()))
            .stdout(Stdio::from(user.try_clone().unwrap()))
            .stderr(Stdio::from(user))
            .spawn()
            .unwrap();
        Self { program, controller: controller.into(), screen: vt100::Parser::new(50, columns, 0), columns }
    }

    /// The lines on the screen.
    fn lines(&self) -> Vec<String> {
        self.screen.screen().rows(0, self.columns).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Reads what the program writes, until the screen is so or the program has ended. Says whether it is so.
    fn shows(&mut self, is_so: impl Fn(&[String]) -> bool) -> bool {
        let mut bytes = [0; 4096];
        while !is_so(&self.lines()) {
            match self.controller.read(&mut bytes) {
                // Linux says so when the last program has closed its terminal.
                Ok(0) | Err(_) => return false,
                Ok(some) => self.screen.process(&bytes[..some]),
            }
        }
        true
    }

    fn press_enter(&mut self) {
        self.controller.write_all(b"\n").unwrap();
    }

    /// The program's lines that are left when it has ended.
    fn end(mut self) -> Vec<String> {
        self.shows(|_| false);
        assert!(self.program.wait().unwrap().success(), "{:#?}", self.lines());
        let lines = self.lines().into_iter().skip_while(|line| line != BEGIN).skip(1);
        lines.filter(|line| !line.is_empty()).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Runs a program in the place of a test, without what the harness would say at its end.
fn program(run: impl FnOnce()) {
    println!("\n{BEGIN}");
    run();
    std::process::exit(0);
}

fn enter() {
    io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
#[ignore = "run by another test, in a terminal"]
fn a_program_that_writes_while_its_job_runs() {
    program(|| {
        let ctx = Context::builder().workers(1).progress(Progress::Auto).build().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let held = ctx.range_into(0..4_u64, 4).map(move |n| {
            if n == 3 {
                gate.lock().unwrap().recv().unwrap();
            }
            n
        });
        let counted = held.count_async();
        enter();
        ctx.suspend_progress(|| println!("halfway"));
        enter();
        open.send(()).unwrap();
        println!("counted {}", counted.wait().unwrap());
        println!("at once {}", ctx.range(0..9_u64).count().unwrap());
    });
}

#[test]
fn bars_are_there_while_a_stage_runs_and_leave_what_the_program_writes_alone() {
    let mut terminal = Terminal::run("a_program_that_writes_while_its_job_runs", &[]);
    let is_bar = |line: &String| line.starts_with("[stage 0: count at tests/console.rs:") && line.contains("(3 / 4)");
    assert!(terminal.shows(|lines| lines.iter().any(is_bar)), "{:#?}", terminal.lines());
    terminal.press_enter();
    // The bar comes back below.
    let below = |lines: &[String]| lines.windows(2).any(|two| two[0] == "halfway" && is_bar(&two[1]));
    assert!(terminal.shows(below), "{:#?}", terminal.lines());
    terminal.press_enter();
    let left = terminal.end();
    assert_eq!(left, ["halfway", "counted 4", "at once 9"]);
}

#[test]
#[ignore = "run by another test, in a terminal"]
fn a_program_with_five_jobs_at_a_time() {
    program(|| {
        let ctx = Context::builder().workers(5).progress(Progress::Auto).build().unwrap();
        let gate = Arc::new(Barrier::new(6));
        let jobs: Vec<_> = (0..5)
            .map(|_| {
                let gate = Arc::clone(&gate);
                ctx.range_into(0..1_u64, 1).map(move |n| n + u64::from(gate.wait().is_leader())).count_async()
            })
            .collect();
        enter();
        gate.wait();
        println!("counted {}", jobs.into_iter().map(|job| job.wait().unwrap()).sum::<u64>());
    });
}

#[test]
fn bars_have_the_order_of_their_stages() {
    let mut terminal = Terminal::run("a_program_with_five_jobs_at_a_time", &[]);
    let stages = |lines: &[String]| -> Vec<String> {
        lines.iter().filter_map(|line| Some(line.strip_prefix("[stage ")?.split(':').next()?.to_owned())).collect()
    };
    assert!(terminal.shows(|lines| stages(lines).len() == 5), "{:#?}", terminal.lines());
    assert_eq!(stages(&terminal.lines()), ["0", "1", "2", "3", "4"]);
    terminal.press_enter();
    assert_eq!(terminal.end(), ["counted 5"]);
}

#[test]
#[ignore = "run by another test, in a terminal"]
fn a_program_with_two_jobs() {
    program(|| {
        let ctx = Context::builder().workers(2).default_partitions(4).force_spill(false).build().unwrap();
        let sums = ctx.range(0..1000_u64).map(|n| (n % 10, n)).reduce_by_key(|a, b| a + b);
        // Whoever holds standard error is not waited for, nor made to wait.
        let held = io::stderr().lock();
        println!("first {}", sums.count().unwrap());
        drop(held);
        println!("second {}", ctx.with_job_description("sums", || sums.count()).unwrap());
    });
}

#[test]
fn a_summary_is_asked_for_by_the_environment_and_stands_before_what_comes_after_its_job() {
    let left = Terminal::run("a_program_with_two_jobs", &[("EMBERFLOW_JOB_SUMMARY", "on")]).end();
    let at = |start: &str| left.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{left:#?}"));
    let order = [at("job 0: count at tests/console.rs:"), at("first 10"), at("job 1: count"), at("second 10")];
    assert!(order.is_sorted(), "{left:#?}");
    assert!(left[order[2]].contains("(sums) succeeded after "), "{left:#?}");
    let cells = |line: &String| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let head = cells(&left[2]);
    let column = |name: &str| head.iter().position(|cell| cell == name).unwrap();
    let all = cells(left.iter().find(|line| cells(line).contains(&"all".to_owned())).unwrap());
    let of = |name: &str| all[column(name)].as_str();
    // 1,000 rows come from the source, 40 go through the shuffle, 10 are counted.
    assert_eq!((of("tasks"), of("rows read"), of("rows"), of("spilled")), ("8", "1,040", "50", "0 B"), "{left:#?}");
    // What the second job reads was there.
    assert_eq!(left[order[2]..].iter().filter(|line| line.contains("skipped")).count(), 1, "{left:#?}");
}

#[test]
fn bars_and_summaries_fit_a_narrow_terminal() {
    for columns in NARROW {
        let mut terminal = Terminal::run_in(columns, "a_program_that_writes_while_its_job_runs", &[]);
        let is_bar = |line: &String| line.starts_with("[stage 0: count") && line.contains("(3 / 4)");
        assert!(terminal.shows(|lines| lines.iter().any(is_bar)), "{:#?}", terminal.lines());
        terminal.press_enter();
        assert!(terminal.shows(|lines| lines.iter().any(|line| line == "halfway")), "{:#?}", terminal.lines());
        terminal.press_enter();
        assert_eq!(terminal.end(), ["halfway", "counted 4", "at once 9"]);

        let left = Terminal::run_in(columns, "a_program_with_two_jobs", &[("EMBERFLOW_JOB_SUMMARY", "on")]).end();
        // Behind the sentence, which may take two lines.
        let begin = left.iter().position(|line| line.starts_with('+')).unwrap_or_else(|| panic!("{left:#?}"));
        let end = left.iter().position(|line| line == "first 10").unwrap_or_else(|| panic!("{left:#?}"));
        let table = &left[begin..end];
        let is_whole = |line: &String| line.starts_with(['|', '+']) && line.ends_with(['|', '+']);
        assert!(table.len() > 5 && table.iter().all(is_whole), "{left:#?}");
    }
}

#[test]
fn nothing_is_written_unasked() {
    let left = Terminal::run("a_program_with_two_jobs", &[]).end();
    assert_eq!(left, ["first 10", "second 10"]);
}
