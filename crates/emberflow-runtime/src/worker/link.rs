//! The way by which a worker and its parent talk.

use std::io::{self, Read, Write};

/// The value of [`IS_WORKER`](super::IS_WORKER) if standard input is a socket to the parent. Otherwise frames come by
/// standard input and go by standard output.
pub(super) const SOCKET: &str = "socket";

/// Takes the way to the parent out of standard input and output, so that nothing that the user's code reads or prints can
/// get between the frames: from now on standard input is empty, and standard output is standard error if it was taken.
///
/// # Errors
/// The error of the system.
#[cfg(unix)]
pub fn take_link() -> io::Result<(Box<dyn Read>, Box<dyn Write>)> {
    use std::{fs::File, os::fd::AsFd};

    use rustix::stdio::{dup2_stdin, dup2_stdout};

    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(File::open("/dev/null")?)?;
    if std::env::var_os(super::IS_WORKER).is_some_and(|link| link == SOCKET) {
        let output = input.try_clone()?;
        return Ok((Box::new(input), Box::new(output)));
    }
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    dup2_stdout(io::stderr())?;
    Ok((Box::new(input), Box::new(output)))
}

/// Elsewhere, there are no workers.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn take_link() -> io::Result<(Box<dyn Read>, Box<dyn Write>)> {
    Err(io::ErrorKind::Unsupported.into())
}
