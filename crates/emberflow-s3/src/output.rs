//! An output on S3: objects that are uploaded in parts, and made of their parts only when all of them are there.
//!
//! Each attempt at a partition has an upload of its own, which nobody sees. When the job has succeeded, the uploads of
//! the attempts that won are completed, and `_SUCCESS` is put last; all others are aborted. If that fails, or the job
//! has, every upload is aborted and every object removed again. An output of one object has no `_SUCCESS`: the object itself
//! is there or not, and one that was there before stays until then. An attempt that does not come to its end aborts its upload
//! itself, when the part that is on its way has arrived, or the answer by which the upload begins. A process that is
//! killed meanwhile leaves uploads behind, which a bucket's lifecycle rule can end.

use std::{
    collections::BTreeMap,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_sdk_s3::types::CompletedPart;
use emberflow_core::{
    error::{Error, TaskError},
    memory::{Claim, Workspace},
    storage::{PartFile, PartFiles, PartId, part_name},
    task::TaskContext,
};

use crate::{Location, S3, S3Error, pending::Pending};

/// Bytes of a part. S3 takes no fewer than 5 MiB, but for the last one.
const PART_BYTES: usize = 8 << 20;
/// S3 takes 10,000 parts and 5 TiB: they double whenever there are so many more.
const PARTS_OF_A_SIZE: usize = 1000;
/// Uploads that are completed at once.
const AT_ONCE: usize = 8;
/// The object that says that all is there.
const SUCCESS: &str = "_SUCCESS";

/// An output under way. It is given up when it is dropped before it is committed.
pub struct Output {
    uploads: Arc<Uploads>,
    committed: bool,
}

/// The uploads of an output.
pub(crate) struct Uploads {
    s3: Arc<S3>,
    bucket: String,
    keys: Keys,
    state: Mutex<State>,
}

/// The keys of an output's objects.
enum Keys {
    /// One for each of so many partitions, between a prefix that ends in `/` and an ending.
    Below { prefix: String, partitions: usize, ending: String },
    /// The only one. It may be there already if it is replaced.
    One { key: String, replaces: bool },
}

impl Keys {
    /// The part of them that they have in common.
    fn begin(&self) -> &str {
        match self {
            Self::Below { prefix, .. } => prefix,
            Self::One { key, .. } => key,
        }
    }
}

#[derive(Default)]
struct State {
    /// Whether the output was given up: what comes to its end now is not wanted.
    over: bool,
    /// Uploads whose parts are all there.
    whole: BTreeMap<PartId, Upload>,
    /// Keys of objects that were made.
    made: Vec<String>,
}

/// The state of an upload. One without an id is an empty object, which is put when all is committed.
#[derive(Clone, Debug, Default)]
struct Upload {
    id: Option<String>,
    parts: Vec<CompletedPart>,
    bytes: u64,
}

impl S3 {
    /// Begins an output of an object for each of so many partitions below `path`, where there is nothing yet, with names of
    /// this ending. Waits for the answer.
    ///
    /// # Errors
    /// [`Error::OutputExists`], or [`Error::Storage`] with an [`S3Error`].
    pub fn begin_output(self: &Arc<Self>, path: &Path, partitions: usize, ending: &str) -> Result<Output, Error> {
        let ending = ending.to_owned();
        self.begin(path, |name| Keys::Below { prefix: format!("{name}/"), partitions, ending })
    }

    /// Begins an output of one object at `path`, where there is nothing yet, or an object that it replaces. Waits for the
    /// answer.
    ///
    /// # Errors
    /// Those of [`begin_output`](Self::begin_output).
    pub fn begin_object(self: &Arc<Self>, path: &Path, replaces: bool) -> Result<Output, Error> {
        self.begin(path, |name| Keys::One { key: name.to_owned(), replaces })
    }

    fn begin(self: &Arc<Self>, path: &Path, keys: impl FnOnce(&str) -> Keys) -> Result<Output, Error> {
        let shown = || path.to_string_lossy().into_owned();
        let Location { bucket, key } =
            Location::parse(path).map_err(|reason| S3Error::BadPath { path: shown(), reason })?;
        let name = key.trim_end_matches('/');
        if name.is_empty() {
            let reason = "it names a bucket and no directory; give a path such as s3://bucket/directory";
            return Err(S3Error::BadPath { path: shown(), reason }.into());
        }
        let (s3, place, keys) = (Arc::clone(self), (bucket.clone(), name.to_owned()), keys(name));
        let (below, replaces) = (format!("{name}/"), matches!(keys, Keys::One { replaces: true, .. }));
        let look = async move {
            let (bucket, name) = place;
            Ok((!replaces && s3.head(&bucket, &name).await?.is_some())
                || !s3.list_page(&bucket, &below, None, Some(1)).await?.contents().is_empty())
        };
        if Pending::begin(&self.io, look).wait()? {
            return Err(Error::OutputExists { path: path.to_owned() });
        }
        let uploads = Uploads { s3: Arc::clone(self), bucket, keys, state: Mutex::default() };
        Ok(Output { uploads: Arc::new(uploads), committed: false })
    }
}

impl Output {
    /// The files that tasks write to.
    pub fn files(&self) -> Arc<dyn PartFiles> {
        Arc::new(Files(Arc::clone(&self.uploads)))
    }

    /// Makes the objects of the attempts that won, and then `_SUCCESS`.
    ///
    /// # Errors
    /// [`Error::Storage`] with an [`S3Error`]: then nothing is left of it.
    pub async fn commit(mut self, won: &[PartId]) -> Result<(), Error> {
        let (uploads, won) = (Arc::clone(&self.uploads), won.to_vec());
        let io = Arc::clone(&uploads.s3.io);
        Pending::begin(&io, async move { uploads.commit(&won).await }).done().await?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let uploads = Arc::clone(&self.uploads);
        let io = Arc::clone(&uploads.s3.io);
        let given_up = Pending::begin(&io, async move {
            uploads.give_up().await;
            Ok(())
        });
        if given_up.wait().is_err() {
            let (bucket, keys) = (&self.uploads.bucket, self.uploads.keys.begin());
            tracing::warn!(bucket, keys, "the context has stopped: unfinished uploads are left to the bucket");
        }
    }
}

impl Uploads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, part: PartId) -> String {
        match &self.keys {
            Keys::Below { prefix, partitions, ending } => {
                format!("{prefix}{}{ending}", part_name(part.partition, *partitions))
            }
            Keys::One { key, .. } => key.clone(),
        }
    }

    async fn commit(self: &Arc<Self>, won: &[PartId]) -> Result<(), S3Error> {
        let mut waiting = won.iter().copied();
        let mut tasks = tokio::task::JoinSet::new();
        let mut outcome = Ok(());
        loop {
            while tasks.len() < AT_ONCE
                && outcome.is_ok()
                && let Some(part) = waiting.next()
            {
                let this = Arc::clone(self);
                tasks.spawn(async move { this.make(part).await });
            }
            // After a failure, what was asked already is waited for: then it is known what there is to remove.
            match tasks.join_next().await {
                None => break,
                Some(made) => outcome = outcome.and(made.unwrap_or(Err(S3Error::Died))),
            }
        }
        outcome?;
        if let Keys::Below { prefix, .. } = &self.keys {
            let success = format!("{prefix}{SUCCESS}");
            self.state().made.push(success.clone());
            self.s3.put(&self.bucket, &success, Vec::new()).await?;
        }
        // What is left are attempts that did not win.
        let others = mem::take(&mut self.state().whole);
        for (part, upload) in others {
            self.abort(&self.key(part), &upload).await;
        }
        Ok(())
    }

    /// Makes an object of an upload.
    async fn make(&self, part: PartId) -> Result<(), S3Error> {
        let key = self.key(part);
        let upload = {
            let mut state = self.state();
            // It may be there even if the answer is lost. One that replaces another stays: nobody knows which it is.
            if !matches!(self.keys, Keys::One { replaces: true, .. }) {
                state.made.push(key.clone());
            }
            state.whole.get(&part).cloned().unwrap_or_default()
        };
        match &upload.id {
            Some(id) => self.s3.complete(&self.bucket, &key, id, &upload.parts, upload.bytes).await?,
            None => self.s3.put(&self.bucket, &key, Vec::new()).await?,
        }
        self.state().whole.remove(&part);
        Ok(())
    }

    /// Aborts every upload, and removes every object that was made of one.
    async fn give_up(&self) {
        let (whole, made) = {
            let mut state = self.state();
            state.over = true;
            (mem::take(&mut state.whole), mem::take(&mut state.made))
        };
        for (part, upload) in whole {
            self.abort(&self.key(part), &upload).await;
        }
        // The one that says that all is there goes first.
        for key in made.iter().rev() {
            if let Err(error) = self.s3.delete(&self.bucket, key).await {
                tracing::warn!(bucket = self.bucket, key, %error, "cannot remove an object of an output that failed");
            }
        }
    }

    async fn abort(&self, key: &str, upload: &Upload) {
        if let Some(id) = &upload.id
            && let Err(error) = self.s3.abort(&self.bucket, key, id).await
        {
            tracing::warn!(bucket = self.bucket, key, %error, "cannot abort an upload; it is left to the bucket");
        }
    }
}

/// The uploads as tasks see them.
struct Files(Arc<Uploads>);

impl PartFiles for Files {
    fn create(&self, part: PartId, task: &TaskContext) -> Result<Box<dyn PartFile>, TaskError> {
        let key = self.0.key(part);
        let path = PathBuf::from(format!("s3://{}/{key}", self.0.bucket));
        Ok(Box::new(Object {
            uploads: Arc::clone(&self.0),
            part,
            key,
            path,
            begun: None,
            upload: Upload::default(),
            bytes: Vec::new(),
            under_way: None,
            claim: Claim::new(task.workspace()),
            workspace: Arc::clone(task.workspace()),
        }))
    }
}

/// An object that a task writes: one part is gathered while the one before is on its way.
struct Object {
    uploads: Arc<Uploads>,
    part: PartId,
    key: String,
    path: PathBuf,
    /// The beginning of the upload, until it is whole.
    begun: Option<Arc<Begun>>,
    upload: Upload,
    /// The bytes of the next part.
    bytes: Vec<u8>,
    under_way: Option<Pending<CompletedPart>>,
    claim: Claim,
    workspace: Arc<dyn Workspace>,
}

impl Object {
    fn part_bytes(&self) -> usize {
        PART_BYTES << (self.upload.parts.len() / PARTS_OF_A_SIZE).min(16)
    }

    fn wait<T: Send + 'static>(&self, pending: Pending<T>) -> Result<T, TaskError> {
        pending.wait_in_task(|| self.workspace.is_cancelled())
    }

    /// Waits for the part that is on its way.
    fn settle(&mut self) -> Result<(), TaskError> {
        if let Some(pending) = self.under_way.take() {
            let part = self.wait(pending)?;
            self.upload.parts.push(part);
        }
        Ok(())
    }

    /// How the upload is called, which begins with its first part.
    fn upload_id(&mut self) -> Result<String, TaskError> {
        if let Some(id) = &self.upload.id {
            return Ok(id.clone());
        }
        let (uploads, key, begun) = (Arc::clone(&self.uploads), self.key.clone(), Arc::new(Begun::default()));
        self.begun = Some(Arc::clone(&begun));
        let begin = async move {
            let id = uploads.s3.begin_upload(&uploads.bucket, &key).await?;
            if !begun.arrives(&id) {
                uploads.abort(&key, &Upload { id: Some(id.clone()), ..Upload::default() }).await;
            }
            Ok(id)
        };
        let id = self.wait(Pending::begin_for_good(&self.uploads.s3.io, begin))?;
        self.upload.id = Some(id.clone());
        Ok(id)
    }

    /// Sends what was gathered on its way.
    fn ship(&mut self) -> Result<(), TaskError> {
        self.settle()?;
        let id = self.upload_id()?;
        let number = self.upload.parts.len() as i32 + 1;
        let bytes = mem::take(&mut self.bytes);
        self.upload.bytes += bytes.len() as u64;
        let (uploads, key) = (Arc::clone(&self.uploads), self.key.clone());
        let upload = async move { uploads.s3.upload_part(&uploads.bucket, &key, &id, number, bytes).await };
        self.under_way = Some(Pending::begin(&self.uploads.s3.io, upload));
        Ok(())
    }
}

/// Where the answer by which an upload begins meets the attempt that gives it up, whichever comes first.
#[derive(Default)]
struct Begun(Mutex<Beginning>);

#[derive(Default)]
enum Beginning {
    #[default]
    UnderWay,
    Here(String),
    GivenUp,
}

impl Begun {
    fn state(&self) -> MutexGuard<'_, Beginning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the upload has this id. Returns whether it is still wanted.
    fn arrives(&self, id: &str) -> bool {
        let mut state = self.state();
        if let Beginning::GivenUp = *state {
            return false;
        }
        *state = Beginning::Here(id.to_owned());
        true
    }

    /// Notes that the upload is not wanted any more. Returns its id, if that is known by now.
    fn give_up(&self) -> Option<String> {
        match mem::replace(&mut *self.state(), Beginning::GivenUp) {
            Beginning::Here(id) => Some(id),
            Beginning::UnderWay | Beginning::GivenUp => None,
        }
    }
}

impl io::Write for Object {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.part_bytes() - self.bytes.len();
        let taken = &bytes[..bytes.len().min(room)];
        if self.bytes.capacity() - self.bytes.len() < taken.len() {
            // Twice as much each time, but not beyond a part.
            self.bytes.reserve_exact(self.bytes.capacity().clamp(taken.len(), room));
        }
        self.bytes.extend_from_slice(taken);
        // One that is gathered, and one on its way.
        self.claim.set(2 * self.bytes.capacity() as u64);
        if taken.len() == room {
            self.ship().map_err(io::Error::other)?;
        }
        Ok(taken.len())
    }

    /// Does nothing: bytes that do not fill a part cannot be sent yet.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartFile for Object {
    fn path(&self) -> &Path {
        &self.path
    }

    fn finish(mut self: Box<Self>) -> Result<(), TaskError> {
        if !self.bytes.is_empty() {
            self.ship()?;
        }
        self.settle()?;
        let mut state = self.uploads.state();
        if state.over {
            return Err(TaskError::Cancelled);
        }
        state.whole.insert(self.part, mem::take(&mut self.upload));
        self.begun = None;
        Ok(())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // If it has not begun yet, whoever begins it aborts it.
        let Some(id) = self.begun.take().and_then(|begun| begun.give_up()) else { return };
        let (uploads, key) = (Arc::clone(&self.uploads), self.key.clone());
        let (upload, under_way) = (Upload { id: Some(id), ..Upload::default() }, self.under_way.take());
        let abort = async move {
            if let Some(part) = under_way {
                // A part that arrives later would not be removed. Whether it does is all the same.
                let _ = part.done().await;
            }
            uploads.abort(&key, &upload).await;
        };
        if !self.uploads.s3.io.spawn_async(Box::pin(abort)) {
            tracing::warn!(path = %self.path.display(), "the context has stopped: an upload is left to the bucket");
        }
    }
}
