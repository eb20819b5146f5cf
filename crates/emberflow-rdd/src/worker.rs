//! The beginning of a process that another one has started as its worker.

use std::{env, io, mem, process};

use emberflow_core::error::{Error, Result};

use crate::{Context, Progress};

/// Settings that a worker has of its environment. All others are those of the context whose tasks it runs.
const SETTINGS: [&str; 4] =
    ["EMBERFLOW_MEMORY_BUDGET", "EMBERFLOW_SPILL_DIR", "EMBERFLOW_SPILL_LIMIT", "EMBERFLOW_SPILL_COMPRESSION"];

/// Call this first of all in `main` of a program whose tasks may run in other processes of it.
///
/// In a process that was started to run tasks of another one, it runs them and ends the process. In every other process
/// it does nothing. A context cannot be made in a process of the first kind: a program that forgets this call gets an
/// error instead of a second run of itself.
///
/// ```
/// use emberflow::prelude::*;
///
/// fn main() -> Result<()> {
///     emberflow::init();
///     assert_eq!(Context::local(2)?.range(0..9_u64).count()?, 9);
///     Ok(())
/// }
/// ```
pub fn init() {
    if !emberflow_runtime::is_worker() {
        return;
    }
    if let Err(error) = serve() {
        eprintln!("emberflow: this worker process ends: {error}");
        process::exit(1);
    }
    process::exit(0);
}

fn serve() -> io::Result<()> {
    let (input, output) = emberflow_runtime::take_link()?;
    let set = |name: &str| env::var(name).ok().filter(|_| SETTINGS.contains(&name));
    let ctx = Context::builder().workers(1).progress(Progress::Off).build_from(&set).map_err(io::Error::other)?;
    let served = emberflow_runtime::serve(&ctx.shared().engine, input, output);
    if served.is_err() {
        // A task may run still, for nobody. To stop the context would be to wait for it.
        mem::forget(ctx);
    }
    served
}

/// A context is about to be made.
///
/// # Errors
/// If this process is a worker, which should not have come so far.
pub(crate) fn check_is_none() -> Result<()> {
    if !emberflow_runtime::is_worker() {
        return Ok(());
    }
    Err(Error::InvalidSetting {
        setting: "EMBERFLOW_WORKER",
        value: env::var_os("EMBERFLOW_WORKER").unwrap_or_default().to_string_lossy().into_owned(),
        reason: "this process was started to run tasks of another one: call emberflow::init() first of all in main"
            .to_owned(),
    })
}
