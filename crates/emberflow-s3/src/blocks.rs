//! An object as a file of blocks: whole ranges, a few of them asked for ahead.
//!
//! A range is asked for, received to its end, and then handed on; so a connection never waits for a task. Bytes under
//! way count against the budget: where there is no room, ranges are small, and asked for one by one.

use std::{
    collections::VecDeque,
    mem,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberflow_core::{
    error::TaskError,
    memory::{Claim, Workspace},
    storage::{Blocks, InputFile},
    task::TaskContext,
};

use crate::{Location, S3, client::FoundObject, pending::Pending};

/// Bytes of a range, about.
const RANGE_BYTES: u64 = 8 << 20;
/// Ranges that may be under way at once.
const RANGES_AHEAD: usize = 3;
/// Bytes of a range where there is no room for more.
const SMALL_RANGE_BYTES: u64 = 1 << 20;
/// So many bytes behind what is wanted come with it: the last line, which ends there, is rarely longer.
const MARGIN_BYTES: u64 = 64 << 10;

/// An object as it was when it was found.
#[derive(Debug)]
pub(crate) struct Object {
    s3: Arc<S3>,
    bucket: Arc<str>,
    found: Arc<FoundObject>,
    path: PathBuf,
}

impl Object {
    pub(crate) fn new(s3: Arc<S3>, location: &Location, found: FoundObject) -> Self {
        let path = location.path_of(&found.key);
        Self { s3, bucket: location.bucket.as_str().into(), found: Arc::new(found), path }
    }
}

impl InputFile for Object {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.found.bytes
    }

    fn open(&self, range: Range<u64>, task: &TaskContext) -> Result<Box<dyn Blocks>, TaskError> {
        let end = (range.end + MARGIN_BYTES).min(self.found.bytes);
        let bytes = end.saturating_sub(range.start);
        let ranges = bytes.div_ceil(RANGE_BYTES + MARGIN_BYTES).max(1);
        let mut blocks = ObjectBlocks {
            s3: Arc::clone(&self.s3),
            bucket: Arc::clone(&self.bucket),
            found: Arc::clone(&self.found),
            range_bytes: bytes.div_ceil(ranges),
            next: range.start,
            end,
            under_way: VecDeque::new(),
            lent: 0,
            claim: Claim::new(task.workspace()),
            workspace: Arc::clone(task.workspace()),
        };
        blocks.ask();
        Ok(Box::new(blocks))
    }
}

struct ObjectBlocks {
    s3: Arc<S3>,
    bucket: Arc<str>,
    found: Arc<FoundObject>,
    range_bytes: u64,
    /// The first of the wanted bytes that was not asked for yet.
    next: u64,
    end: u64,
    under_way: VecDeque<(u64, Pending<Vec<u8>>)>,
    /// The bytes of the block that was handed on last.
    lent: u64,
    claim: Claim,
    workspace: Arc<dyn Workspace>,
}

impl ObjectBlocks {
    /// Asks for ranges ahead, if there is room; for the next one, whether there is or not.
    fn ask(&mut self) {
        while self.next < self.end && self.under_way.len() < RANGES_AHEAD {
            // A line that goes on behind what was wanted may do so for long.
            let mut bytes = self.range_bytes.max(SMALL_RANGE_BYTES).min(self.end - self.next);
            if !self.claim.grow(bytes) {
                if !self.under_way.is_empty() {
                    break;
                }
                bytes = bytes.min(SMALL_RANGE_BYTES);
                self.claim.force(bytes);
            }
            let range = self.next..self.next + bytes;
            let (s3, bucket, found) = (Arc::clone(&self.s3), Arc::clone(&self.bucket), Arc::clone(&self.found));
            let request = async move { s3.read(&bucket, &found, range).await };
            self.under_way.push_back((bytes, Pending::begin(&self.s3.io, request)));
            self.next += bytes;
        }
    }
}

impl Blocks for ObjectBlocks {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TaskError> {
        self.claim.shrink(mem::take(&mut self.lent));
        if self.under_way.is_empty() && self.next == self.end {
            self.end = (self.end + SMALL_RANGE_BYTES).min(self.found.bytes);
        }
        self.ask();
        let Some((bytes, pending)) = self.under_way.pop_front() else { return Ok(None) };
        let workspace = &self.workspace;
        let block = pending.wait_in_task(|| workspace.is_cancelled())?;
        self.lent = bytes;
        // The next ones are on their way while this one is looked at.
        self.ask();
        Ok(Some(block))
    }

    fn reads_ahead(&self) -> bool {
        true
    }
}
