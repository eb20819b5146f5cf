//! Applications that have ended, shown again from their [event logs](crate::ContextBuilder::event_log).

use std::{io, path::Path};

pub use emberflow_ui::History;

use crate::storage;

/// Serves what an event log tells, on the loopback interface, at this port or one of the next sixteen; zero is any.
///
/// The log is a local file, which may be given as `file:///a/b`, as other paths may.
///
/// # Errors
/// If the log cannot be read or is none of ours, which is said with its line; if no port is free, or the system refuses
/// a thread. Other URLs are [`InvalidInput`](io::ErrorKind::InvalidInput).
///
/// ```
/// # use emberflow::{history, prelude::*};
/// # let dir = tempfile::tempdir()?;
/// let ctx = Context::builder().event_log(dir.path()).build()?;
/// let log = ctx.event_log().unwrap().to_owned();
/// ctx.range(0..9_u64).count()?;
/// ctx.stop();
/// let page = history::replay(&log, 0)?;
/// assert!(page.url().starts_with("http://"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn replay(log: &Path, port: u16) -> io::Result<History> {
    let local = storage::local_target(log).map_err(|_| {
        let advice = "event logs are read from local files: copy it to one, and give its path or file:///path/to/it";
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {advice}", log.display()))
    })?;
    emberflow_ui::replay(local, port)
}
