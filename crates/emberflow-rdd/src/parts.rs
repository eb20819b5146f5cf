//! The parts of this crate of which crates above it make sources, operators and actions of their own, as `emberflow-table`
//! does for tables.
//!
//! They are for emberflow's own crates: `emberflow` does not give them to programs, and they may change with any version.
//! Each function does for a [`Context`], an [`Rdd`] or an [`Action`] what a method of it does within this crate.

use std::{fmt, path::Path, sync::Arc};

use emberflow_core::{
    batch::Batch,
    data::Data,
    error::{Result, TaskError},
    ids::{PartitionIndex, RddId},
    operator::Operator,
    place::OpInfo,
    ship::Env,
    storage::{InputFile, PartFiles, PartId},
};

use crate::{
    action::Action,
    context::Context,
    rdd::Rdd,
    source::{
        self,
        text::{OptionNames, TextOptions},
    },
    storage,
};
pub use crate::{
    action::Driver,
    source::text::{Lines, Piece, pack, partition_bytes},
    storage::{Shape, WRITE_BYTES, finish, is_gzip, unwritten},
};

/// The RDD of a source: an operator without inputs, whose rows are counted as those that the job reads.
pub fn leaf<T: Data>(ctx: &Context, info: OpInfo, partitions: usize, op: impl Operator + Env) -> Rdd<T> {
    source::leaf(ctx.shared(), info, partitions, op)
}

/// A narrow RDD of `rdd`, partition by partition. The operator's rows are of type `U`, and its input `rdd`'s.
pub fn narrow<T: Data, U: Data>(rdd: &Rdd<T>, info: OpInfo, op: impl Operator) -> Rdd<U> {
    rdd.narrow(info, op, None)
}

/// Applies a function to every batch of `rdd`. Narrow.
///
/// All that the function needs beside the batch is in `env`, for closures that capture values cannot be sent to another
/// process.
pub fn batches<T, U, E, F>(rdd: &Rdd<T>, info: OpInfo, env: E, each: F) -> Rdd<U>
where
    T: Data,
    U: Data,
    E: Env,
    F: Fn(&E, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
{
    rdd.batches(info, None, env, each)
}

/// As [`batches`], with a state that `start` makes for a partition, and where a batch may become one of more rows.
pub fn larger_batches_from<T, U, E, S, A, F>(rdd: &Rdd<T>, info: OpInfo, env: E, start: A, each: F) -> Rdd<U>
where
    T: Data,
    U: Data,
    E: Env,
    S: 'static,
    A: Fn(&E, PartitionIndex) -> S + Send + Sync + 'static,
    F: Fn(&E, &mut S, Batch<T>) -> Result<Batch<U>, TaskError> + Send + Sync + 'static,
{
    rdd.larger_batches_from(info, env, start, each)
}

/// Starts an action: `work` submits its jobs through the [`Driver`].
pub fn start<R, F, W>(ctx: &Context, work: F) -> Action<R>
where
    R: 'static,
    F: FnOnce(Driver) -> W,
    W: Future<Output = Result<R>> + Send + 'static,
{
    Action::start(ctx.shared(), work)
}

/// The action whose result `then` makes of that of `action`.
pub fn and_then<R, S>(action: Action<R>, then: impl FnOnce(R) -> Result<S> + Send + 'static) -> Action<S>
where
    R: Send + 'static,
    S: 'static,
{
    action.and_then(then)
}

/// The files that a path or a glob names, in path order, each once; locally or on S3.
///
/// # Errors
/// If there is none, or one cannot be looked at.
pub fn look_up(ctx: &Context, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
    storage::look_up(ctx.shared(), path)
}

/// The options with which errors advise the options of the reader of tables, rather than those of [`TextOptions`].
pub fn of_reader(options: TextOptions) -> TextOptions {
    options.named(OptionNames::Reader)
}

/// Files that become visible together, locally or on S3. Removed when it is dropped before it is committed.
pub struct Output(storage::Output);

impl Output {
    /// Begins an output at `path`. The RDD's id keeps apart outputs that are under way at once.
    ///
    /// # Errors
    /// [`Error::OutputExists`](crate::Error::OutputExists), unless the shape replaces what is there; if nothing can be
    /// written there.
    pub fn begin(ctx: &Context, path: &Path, rdd: RddId, shape: Shape) -> Result<Self> {
        storage::Output::begin(ctx.shared(), path, rdd, shape).map(Self)
    }

    /// The files that tasks write to.
    pub fn files(&self) -> Arc<dyn PartFiles> {
        self.0.files()
    }

    /// Makes the files of the attempts that won visible.
    ///
    /// # Errors
    /// If they cannot be; or if there is an output at the path meanwhile.
    pub async fn commit(self, won: &[PartId]) -> Result<()> {
        self.0.commit(won).await
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}
