//! `pipe`: rows as lines through an external command.
//!
//! A command may write before it has read, and read without writing, so three I/O threads stand between it and the
//! worker: one writes its input, one reads its output, one reads its complaints. All tell the worker through one
//! channel, and the worker is the only one that waits for more than one thing:
//!
//! ```text
//! worker ── chunks (two at most) ──▶ writer ──▶ stdin ─┐
//!    ▲                                                 command
//!    └── told (bounded) ◀── reader ◀── stdout, stderr ─┘
//! ```
//! It hands over a chunk only if there is room, so it never waits while output could be read; and what waits for the
//! worker is bounded on both ways. When the stream is dropped, for whatever reason, the command is killed with all
//! that it has started, and the threads end with its pipes.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Read, Write},
    marker::PhantomData,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    place::{OpInfo, Place},
    remake,
    ship::{Held, NotShippable, Shipped},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::Rdd;

/// Chunks of rows that may be on their way to the command.
const CHUNKS_AHEAD: usize = 2;
/// Blocks of output, and other news, that may wait for the worker.
const NEWS_AHEAD: usize = 4;
const BLOCK_BYTES: usize = 64 << 10;
/// A longer line of output is an error rather than a process that runs out of memory.
const MOST_LINE_BYTES: usize = 64 << 20;
/// How much of what a command wrote to its standard error is told if it fails.
const COMPLAINT_BYTES: usize = 4 << 10;
/// How long to wait for news before asking whether the job was cancelled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The same for a command whose pipes are closed, which is all but gone.
const POLL_INTERVAL_AT_THE_END: Duration = Duration::from_millis(1);

impl<T: Data> Rdd<T> {
    /// Sends each partition through a command of its own: a line a row into its standard input, a row a line out of its
    /// standard output.
    ///
    /// Narrow. `command` is the program and its arguments, without a shell: `["sh", "-c", "…"]` for one. It runs for
    /// empty partitions too, in the directory and the environment of this process. Lines keep their order. Rows should
    /// hold no line ends. A command that stops reading early, such as `head`, is fine; the rest of the rows is then not
    /// computed. Rows are not held in memory, whatever the command reads or writes first. The result is as deterministic
    /// as the command. After Spark's `pipe`.
    ///
    /// A command that cannot be started, or that ends with a code other than zero, fails its task, which is tried again
    /// like any other; the error holds the end of what the command wrote to its standard error. So does output that is
    /// not UTF-8, or a line of more than 64 MiB. If the job is cancelled or its rows are not needed any more, the command
    /// is killed, on Unix with all the processes that it has started.
    ///
    /// # Panics
    /// If `command` is empty.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.parallelize_into(vec!["to", "be", "or"], 2);
    /// # if cfg!(unix) {
    /// assert_eq!(words.pipe(["tr", "a-z", "A-Z"]).collect()?, ["TO", "BE", "OR"]);
    /// # }
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn pipe<S: Into<OsString>>(&self, command: impl IntoIterator<Item = S>) -> Rdd<String>
    where
        T: Display,
    {
        let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
        assert!(!command.is_empty(), "a command has at least a name");
        let op = Pipe::<T> { command: Held::new(command), rows: PhantomData };
        self.narrow(OpInfo::new("pipe", Place::caller()), op, None)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Pipe<T> {
    command: Held<Vec<OsString>>,
    rows: PhantomData<fn(T)>,
}

impl<T: Data + Display> Operator for Pipe<T> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let rows = inputs.narrow::<T>(0, partition)?;
        let (task, marker) = (inputs.task().clone(), inputs.marker());
        marker.enter();
        let (running, input, told) = Running::start(&self.command.0, &task)?;
        Ok(AnyStream::new(PipeStream {
            rows: Some((rows, input)),
            under_way: 0,
            told,
            lines: Lines { carry: Vec::new(), ready: Vec::new() },
            output_over: false,
            complaints: None,
            running: Some(running),
            task,
            marker,
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

/// A message of the I/O threads.
enum Told {
    /// A chunk was written.
    Wrote,
    /// The command reads no more.
    Deaf,
    Output(Vec<u8>),
    OutputOver,
    /// The command's standard error is closed; the end of what it wrote there.
    Complaints(Vec<u8>),
    Failed(&'static str, io::Error),
}

/// A command, where its input goes, and where news of it comes from.
type Started = (Running, SyncSender<Vec<u8>>, Receiver<Told>);

/// A command under way. Killed when it is dropped before it has ended.
struct Running {
    child: Child,
    command: Arc<Vec<OsString>>,
    ended: bool,
}

impl Running {
    fn start(command: &Arc<Vec<OsString>>, task: &TaskContext) -> Result<Started, TaskError> {
        let failed = |source| {
            let cause = PipeError::Io { command: shown(command), what: "cannot be run", source };
            if cause.is_permanent() { TaskError::io_permanent(cause) } else { TaskError::io(cause) }
        };
        let mut build = Command::new(&command[0]);
        build.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that it can be killed together with what it starts.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut build, 0);
        let mut running = Self { child: build.spawn().map_err(failed)?, command: Arc::clone(command), ended: false };
        let (tell, told) = mpsc::sync_channel(NEWS_AHEAD);
        let (input, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
        let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let (tell_output, tell_complaints) = (tell.clone(), tell.clone());
        let spawned = task.io().spawn(Box::new(move || write_input(stdin, &chunks, &tell)))
            && task.io().spawn(Box::new(move || read_output(stdout, &tell_output)))
            && task.io().spawn(Box::new(move || read_complaints(stderr, &tell_complaints)));
        if spawned { Ok((running, input, told)) } else { Err(failed(io::Error::other("there are no I/O threads"))) }
    }

    /// Waits for the end of a command whose pipes are closed.
    fn wait(&mut self, task: &TaskContext) -> Result<ExitStatus, TaskError> {
        loop {
            let status = self.child.try_wait().map_err(|source| {
                TaskError::io(PipeError::Io { command: shown(&self.command), what: "cannot be waited for", source })
            })?;
            if let Some(status) = status {
                self.ended = true;
                return Ok(status);
            }
            task.check_cancelled()?;
            thread::park_timeout(POLL_INTERVAL_AT_THE_END);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // What has ended meanwhile cannot be killed, and need not be. The child was not waited for, so its id is still
        // its own.
        #[cfg(unix)]
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::KILL,
        );
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// The I/O threads end when there is nobody to tell any more: a failed `send` means that the stream was dropped.

fn write_input(mut stdin: ChildStdin, chunks: &Receiver<Vec<u8>>, tell: &SyncSender<Told>) {
    for chunk in chunks {
        let told = match stdin.write_all(&chunk) {
            Ok(()) => Told::Wrote,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Told::Deaf,
            Err(error) => Told::Failed("cannot be written to", error),
        };
        let over = !matches!(told, Told::Wrote);
        if tell.send(told).is_err() || over {
            return;
        }
    }
}

fn read_output(mut stdout: impl Read, tell: &SyncSender<Told>) {
    loop {
        let mut block = vec![0; BLOCK_BYTES];
        let told = match stdout.read(&mut block) {
            Ok(0) => Told::OutputOver,
            Ok(read) => {
                block.truncate(read);
                Told::Output(block)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Told::Failed("cannot be read from", error),
        };
        let over = !matches!(told, Told::Output(_));
        if tell.send(told).is_err() || over {
            return;
        }
    }
}

fn read_complaints(mut stderr: impl Read, tell: &SyncSender<Told>) {
    let (mut tail, mut block) = (Vec::new(), vec![0; BLOCK_BYTES]);
    let told = loop {
        match stderr.read(&mut block) {
            Ok(0) => break Told::Complaints(tail),
            Ok(read) => {
                tail.extend(&block[..read]);
                tail.drain(..tail.len().saturating_sub(COMPLAINT_BYTES));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Told::Failed("cannot be read from", error),
        }
    };
    // Nobody wants to know if the stream was dropped.
    let _ = tell.send(told);
}

struct PipeStream<T> {
    /// Until it has ended. First, since fields are dropped in order: a command is killed before its input ends, so that
    /// it does not take half of the rows for all of them.
    running: Option<Running>,
    /// Until all was handed over, or the command reads no more.
    rows: Option<(BoxStream<T>, SyncSender<Vec<u8>>)>,
    /// Chunks that were handed over and not written yet.
    under_way: usize,
    told: Receiver<Told>,
    lines: Lines,
    output_over: bool,
    complaints: Option<Vec<u8>>,
    task: TaskContext,
    marker: Marker,
}

impl<T: Data + Display> Stream<String> for PipeStream<T> {
    fn next(&mut self) -> Result<Option<Batch<String>>, TaskError> {
        loop {
            self.task.check_cancelled()?;
            self.marker.enter();
            while self.lines.ready.len() < self.task.batch_rows_of::<String>()
                && let Ok(told) = self.told.try_recv()
            {
                self.hear(told)?;
            }
            if !self.lines.ready.is_empty() {
                return Ok(Some(Batch::Owned(std::mem::take(&mut self.lines.ready))));
            }
            if self.running.is_none() {
                return Ok(None);
            }
            if self.rows.is_some() && self.under_way < CHUNKS_AHEAD {
                self.feed()?;
            } else if self.rows.is_none() && self.output_over && self.complaints.is_some() {
                self.end()?;
            } else {
                match self.told.recv_timeout(POLL_INTERVAL) {
                    Ok(told) => self.hear(told)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(self.failed("was left alone", io::Error::other("its I/O threads have ended")));
                    }
                }
            }
        }
    }
}

impl<T: Data + Display> PipeStream<T> {
    fn hear(&mut self, told: Told) -> Result<(), TaskError> {
        match told {
            Told::Wrote => self.under_way -= 1,
            Told::Deaf => self.rows = None,
            Told::Output(block) => self.lines.add(&block).map_err(|fault| self.bad_line(fault))?,
            Told::OutputOver => {
                self.output_over = true;
                self.lines.end().map_err(|fault| self.bad_line(fault))?;
            }
            Told::Complaints(tail) => self.complaints = Some(tail),
            Told::Failed(what, source) => return Err(self.failed(what, source)),
        }
        Ok(())
    }

    /// Hands over one batch of rows.
    fn feed(&mut self) -> Result<(), TaskError> {
        let Some((rows, input)) = &mut self.rows else { return Ok(()) };
        let Some(batch) = rows.next()? else {
            // Closes the command's input as soon as everything is written.
            self.rows = None;
            return Ok(());
        };
        self.marker.enter();
        let mut chunk = Vec::new();
        for row in batch.as_slice() {
            writeln!(chunk, "{row}").map_err(TaskError::rejected)?;
        }
        // If the writer is gone, it has said why.
        if !chunk.is_empty() && input.send(chunk).is_ok() {
            self.under_way += 1;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), TaskError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let status = running.wait(&self.task)?;
        let command = shown(&running.command);
        self.running = None;
        if status.success() {
            return Ok(());
        }
        let complaints = self.complaints.take().unwrap_or_default();
        let complaints = String::from_utf8_lossy(&complaints).trim().to_owned();
        Err(TaskError::io(PipeError::Ended { command, status, complaints }))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> TaskError {
        TaskError::io(PipeError::Io { command: self.command(), what, source })
    }

    fn bad_line(&self, fault: LineFault) -> TaskError {
        TaskError::rejected(PipeError::Line { command: self.command(), fault })
    }

    fn command(&self) -> String {
        self.running.as_ref().map(|running| shown(&running.command)).unwrap_or_default()
    }
}

/// Cuts output into lines.
struct Lines {
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    ready: Vec<String>,
}

impl Lines {
    fn add(&mut self, mut block: &[u8]) -> Result<(), LineFault> {
        while let Some(end) = memchr::memchr(b'\n', block) {
            self.carry.extend_from_slice(&block[..end]);
            block = &block[end + 1..];
            if self.carry.last() == Some(&b'\r') {
                self.carry.pop();
            }
            self.push()?;
        }
        self.carry.extend_from_slice(block);
        if self.carry.len() > MOST_LINE_BYTES { Err(LineFault::TooLong) } else { Ok(()) }
    }

    /// The last line may have no end.
    fn end(&mut self) -> Result<(), LineFault> {
        if self.carry.is_empty() { Ok(()) } else { self.push() }
    }

    fn push(&mut self) -> Result<(), LineFault> {
        let line = std::mem::take(&mut self.carry);
        self.ready.push(String::from_utf8(line).map_err(|_| LineFault::NotUtf8)?);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum LineFault {
    #[error("a line that is not UTF-8; convert it, with iconv for example")]
    NotUtf8,
    #[error("a line of more than {MOST_LINE_BYTES} bytes")]
    TooLong,
}

#[derive(Debug, thiserror::Error)]
enum PipeError {
    #[error("{command} {what}: {source}")]
    Io { command: String, what: &'static str, source: io::Error },
    #[error("{command} ended with {status}, and {}", said(complaints))]
    Ended { command: String, status: ExitStatus, complaints: String },
    #[error("{command} wrote {fault}")]
    Line { command: String, fault: LineFault },
}

impl PipeError {
    /// Returns whether it is of no use to try again.
    fn is_permanent(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied};
        matches!(self, Self::Io { source, .. } if [NotFound, PermissionDenied].contains(&source.kind()))
    }
}

fn said(complaints: &str) -> String {
    if complaints.is_empty() { "said nothing".to_owned() } else { format!("said at last: {complaints}") }
}

/// The command as one would type it, nearly.
fn shown(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    format!("{:?}", words.join(" "))
}
