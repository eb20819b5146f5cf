//! A child process of the same program, which runs jobs of its parent.
//!
//! Owns the socket between them, which is the child's standard input: the parent sends plans as bytes, and the child
//! answers with the values of their tasks as bytes. It never opens a port, nor believes a plan of anybody but its
//! parent.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use emberflow_core::{codec, event::JobLabels, ids::PartitionIndex, parcel::Parcel, plan::Sink};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Engine;

/// Tells a process that it is a child, and that its standard input is the socket.
const IS_CHILD: &str = "EMBERFLOW_CHILD";

/// A child, as its parent sees it. When it is dropped, the child ends.
#[derive(Debug)]
pub struct ChildProcess {
    process: Child,
    socket: Mutex<UnixStream>,
}

#[derive(Serialize, Deserialize)]
struct Request {
    plan: Vec<u8>,
    wanted: Vec<PartitionIndex>,
}

/// The values of the wanted partitions, in partition order, or an error in words.
type Answer = Result<Vec<Vec<u8>>, String>;

impl ChildProcess {
    /// Starts a child, which has to call [`serve`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let process = command.env(IS_CHILD, "1").stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { process, socket: Mutex::new(ours) })
    }

    /// Runs a job in the child; gives the value of each of the wanted partitions as bytes, in partition order. Waits for
    /// it, and for the jobs of other threads before it.
    ///
    /// # Errors
    /// If the child is gone, or the job has failed, in words.
    pub fn run(&self, plan: &Parcel, wanted: &[PartitionIndex]) -> io::Result<Vec<Vec<u8>>> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut *socket, &Request { plan: plan.as_bytes().to_vec(), wanted: wanted.to_vec() })?;
        let answer: Option<Answer> = receive(&mut *socket)?;
        answer.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let socket = self.socket.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends by itself where its input does. A child that does not is ended; that it is gone is no error.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let over: io::Result<Option<Answer>> = receive(socket);
        if !matches!(over, Ok(None)) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Returns whether this process is the child of another one, which wants it to [`serve`].
pub fn is_child() -> bool {
    std::env::var_os(IS_CHILD).is_some()
}

/// Runs the jobs of the parent on this engine, until the parent has no more.
///
/// # Errors
/// If the process is no [child](is_child), or the parent is gone in the middle of a job.
pub fn serve(engine: &Engine) -> io::Result<()> {
    if !is_child() {
        return Err(io::Error::other("the process was not started by another one that has plans for it"));
    }
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    while let Some(Request { plan, wanted }) = receive(&mut socket)? {
        #[allow(unsafe_code, reason = "to believe the parent's plan is the purpose of a child")]
        // SAFETY: the socket was made by the parent, which started this process, and which only it shares.
        let plan = unsafe { Parcel::from_bytes(plan) };
        send(&mut socket, &run(engine, &plan, wanted))?;
    }
    Ok(())
}

fn run(engine: &Engine, plan: &Parcel, wanted: Vec<PartitionIndex>) -> Answer {
    let stages = plan.open().map_err(|error| error.to_string())?;
    let action = stages.last().and_then(|stage| match &stage.sink {
        Sink::Result(action) => Some(action.clone()),
        Sink::Store(_) => None,
    });
    let action = action.ok_or("the plan ends without an action")?;
    let job = engine.submit(stages, wanted, JobLabels::default()).map_err(|error| error.to_string())?;
    let executor = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let output = executor.block_on(job).and_then(crate::JobOutput::into_values).map_err(|error| error.to_string())?;
    let encode = |(_, value): (_, Box<dyn std::any::Any + Send>)| action.encode(&*value);
    output.into_iter().map(encode).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Sends a message: its length in eight bytes, and its bytes.
fn send<M: Serialize>(socket: &mut impl Write, message: &M) -> io::Result<()> {
    let bytes = codec::encode_plan(message).map_err(io::Error::other)?;
    socket.write_all(&(bytes.len() as u64).to_le_bytes())?;
    socket.write_all(&bytes)?;
    socket.flush()
}

/// Receives a message; nothing at the end.
fn receive<M: DeserializeOwned>(socket: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 8];
    match socket.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => socket.read_exact(&mut length[1..])?,
    }
    let length = u64::from_le_bytes(length);
    let mut bytes = Vec::new();
    if socket.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    codec::decode_plan(&bytes).map(Some).map_err(io::Error::other)
}
