//! Local files that are no files: pipes, and devices. They have no length, and what was read is gone.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use emberflow_core::{
    error::TaskError,
    memory::Workspace,
    storage::{Blocks, InputFile},
    task::TaskContext,
};

use super::fault::FileFault;

/// The bytes that are read at once, as many as pipes hold.
const READ_BYTES: usize = 64 << 10;

/// A pipe, from which one reader may read once.
#[derive(Debug)]
pub(super) struct Pipe {
    path: Arc<Path>,
    was_opened: AtomicBool,
}

impl Pipe {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), was_opened: AtomicBool::new(false) }
    }
}

impl InputFile for Pipe {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn is_open_ended(&self) -> bool {
        true
    }

    fn is_read_once(&self) -> bool {
        true
    }

    fn open(&self, _: Range<u64>, task: &TaskContext) -> Result<Box<dyn Blocks>, TaskError> {
        if self.was_opened.swap(true, Ordering::Relaxed) {
            return Err(FileFault::Gone { path: self.path.to_path_buf() }.into_task_error());
        }
        let fault = |source| FileFault::Read { path: self.path.to_path_buf(), source }.into_task_error();
        let file = open(&self.path).map_err(fault)?;
        Ok(Box::new(PipeBlocks { file, path: Arc::clone(&self.path), workspace: Arc::clone(task.workspace()) }))
    }
}

struct PipeBlocks {
    file: File,
    path: Arc<Path>,
    workspace: Arc<dyn Workspace>,
}

impl Blocks for PipeBlocks {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        let mut block = vec![0; READ_BYTES];
        loop {
            if self.workspace.is_cancelled() {
                return Err(TaskError::Cancelled);
            }
            let read = wait_for_some(&self.file).and_then(|()| self.file.read(&mut block));
            match read {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    block.truncate(read);
                    return Ok(Some(block));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(source) => {
                    return Err(FileFault::Read { path: self.path.to_path_buf(), source }.into_task_error());
                }
            }
        }
    }

    fn reads_ahead(&self) -> bool {
        false
    }
}

/// Opens a pipe, whether or not anybody writes to it yet.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    File::options().read(true).custom_flags(flags as i32).open(path)
}

/// Waits until there is something to read, or the end, but not for so long that nobody could cancel the task: then the
/// error is that it would block.
#[cfg(unix)]
fn wait_for_some(file: &File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&limit))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(not(unix))]
fn wait_for_some(_: &File) -> io::Result<()> {
    Ok(())
}
