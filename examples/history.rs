//! An application that has ended, in the browser, from its event log.
//!
//! ```text
//! cargo run --features ui --example history [LOG]
//! ```
//!
//! A log is a file that `Context::builder().event_log(DIRECTORY)` or `EMBERFLOW_EVENT_LOG` has written. Without one, a
//! small job writes its own, and the example ends by itself; with one, it ends when Enter is pressed.

use std::{env, io, path::PathBuf, process::ExitCode};

use emberflow::{history, prelude::*};

fn main() -> ExitCode {
    match run(env::args_os().nth(1).map(PathBuf::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(log: Option<PathBuf>) -> std::result::Result<(), Box<dyn std::error::Error>> {
    if let Some(log) = log {
        let page = history::replay(&log, 4040)?;
        println!("look at {}, and press Enter to end", page.url());
        io::stdin().read_line(&mut String::new())?;
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let log = log_of_a_job(&dir)?;
    let page = history::replay(&log, 0)?;
    println!("look at {}", page.url());
    println!("{} lines told it", std::fs::read_to_string(&log)?.lines().count());
    Ok(())
}

/// Runs a small job; its log.
fn log_of_a_job(dir: &tempfile::TempDir) -> std::result::Result<PathBuf, Box<dyn std::error::Error>> {
    let ctx = Context::builder().app_name("words").event_log(dir.path()).build()?;
    let log = ctx.event_log().ok_or("the context has no log")?.to_owned();
    let text = ctx.parallelize(vec!["to be or".to_owned(), "not to be".to_owned()]);
    let words = text.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()).cache();
    let counts = words.map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b).count()?;
    println!("{counts} words");
    Ok(log)
}
