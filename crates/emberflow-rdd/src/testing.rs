//! Faults for tests: losing what the engine keeps, as a crash would, and waiting until it is lost; a disk as slow and a
//! machine as small as a test wants them; and, with the feature `chaos`, faults drawn from a seed, or named, at every point
//! where things go wrong in life.
//!
//! They are for authors who want to see their program survive, and for emberflow's own recovery tests.
//!
//! ```
//! use emberflow::{prelude::*, testing};
//!
//! let ctx = Context::local(2)?;
//! let rows = ctx.range_into(0..100_u64, 4).cache();
//! assert_eq!(rows.count()?, 100);
//! assert!(testing::kill_cached_partition(&rows, 2)?);
//! // Partition 2 is computed again, and nothing else.
//! assert_eq!(rows.count()?, 100);
//! # Ok::<(), Error>(())
//! ```
#![cfg_attr(feature = "chaos", doc = "", doc = include_str!("testing_chaos.md"))]

#[cfg(feature = "chaos")]
pub use emberflow_core::chaos::{Fault, Kind, OnPurpose, Point, Schedule};

use std::{sync::Arc, time::Duration};

use emberflow_core::{
    data::Data,
    error::Result,
    event::Event,
    ids::{PartitionIndex, StoreId, TaskId},
    lineage::Dependency,
};
use emberflow_runtime::Engine;
#[cfg(unix)]
pub use emberflow_runtime::WorkerProcesses;

pub use crate::sent_plans::SentPlans;
use crate::{Context, rdd::Rdd};

/// How long to wait for an event before asking whether the actor is still there.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// From now on every job of the context runs by a plan that was written out as bytes and read back, as another process
/// would be given it; jobs that cannot be sent run as they are. Returns an account of both.
///
/// ```
/// use emberflow::{prelude::*, testing};
///
/// let ctx = Context::local(2)?;
/// let plans = testing::send_plans_as_bytes(&ctx);
/// assert_eq!(ctx.range(0..3_u64).map(|n| n * n).collect()?, [0, 1, 4]);
/// let by = 2;
/// assert_eq!(ctx.range(0..3_u64).map(move |n| n * by).collect()?, [0, 2, 4]);
/// assert_eq!(plans.sent(), 1);
/// assert!(plans.refused()[0].contains("captures 8 bytes"));
/// # Ok::<(), Error>(())
/// ```
pub fn send_plans_as_bytes(ctx: &Context) -> Arc<SentPlans> {
    Arc::clone(ctx.shared().sent_plans.get_or_init(Arc::default))
}

/// From now on the tasks of the context run in worker processes of the same program, one for each task that runs at once;
/// tasks of stages that cannot be sent run here. `command` has to start this program in a way that makes it call
/// [`init`](crate::init). Returns the processes, which end with the context.
///
/// # Errors
/// If the tasks of the context run in other processes already.
#[cfg(unix)]
pub fn run_tasks_in_processes(
    ctx: &Context,
    command: impl Fn() -> std::process::Command + Send + Sync + 'static,
) -> std::io::Result<Arc<WorkerProcesses>> {
    let processes = Arc::new(WorkerProcesses::new(command));
    match processes.run_tasks_of(&ctx.shared().engine) {
        true => Ok(processes),
        false => Err(std::io::Error::other("the tasks of this context run in other processes already")),
    }
}

/// Kills the actor of a cached partition; says whether there was one. When this returns, the rows are lost and the
/// coordinator knows.
///
/// # Errors
/// [`Error::ContextClosed`](crate::Error::ContextClosed).
pub fn kill_cached_partition<T: Data>(rdd: &Rdd<T>, partition: PartitionIndex) -> Result<bool> {
    match rdd.node().persisted() {
        Some((store, _)) => kill(rdd, |engine| engine.kill_partition(store, partition)),
        None => Ok(false),
    }
}

/// As [`kill_cached_partition`], by a panic in one of the actor's handlers: as a bug of emberflow would.
///
/// # Errors
/// [`Error::ContextClosed`](crate::Error::ContextClosed).
pub fn break_cached_partition<T: Data>(rdd: &Rdd<T>, partition: PartitionIndex) -> Result<bool> {
    match rdd.node().persisted() {
        Some((store, _)) => kill(rdd, |engine| engine.break_partition(store, partition)),
        None => Ok(false),
    }
}

/// Has the context's coordinator panic, as a bug of emberflow would: nothing works any more, and everybody is told so.
pub fn break_coordinator(ctx: &Context) {
    ctx.shared().engine.break_actor(true);
}

/// Has the context's governor panic, as a bug of emberflow would: memory is accounted for all the same.
pub fn break_governor(ctx: &Context) {
    ctx.shared().engine.break_actor(false);
}

/// Kills the actor of one map output of the shuffle that `rdd` reads, directly or through narrow operators; says
/// whether there was one. When this returns, the blocks are lost and the coordinator knows.
///
/// # Errors
/// [`Error::ContextClosed`](crate::Error::ContextClosed).
pub fn kill_map_output<T: Data>(rdd: &Rdd<T>, map: PartitionIndex) -> Result<bool> {
    match shuffle_of(rdd) {
        Some(store) => kill(rdd, |engine| engine.kill_partition(store, map)),
        None => Ok(false),
    }
}

/// Has the context believe that its disk takes so many nanoseconds to write and read a kilobyte of rows, whatever it
/// takes: for tests of [`StorageLevel::Auto`](crate::StorageLevel::Auto), which decides by it.
pub fn assume_disk_cost(ctx: &Context, nanos_a_kilobyte: u64) {
    ctx.shared().engine.assume_disk_cost(nanos_a_kilobyte);
}

/// Has the context believe that its process may take so many bytes of memory, whatever the system says: when it has nearly
/// taken them, rows go to disk, whatever the budget.
///
/// ```
/// use emberflow::{prelude::*, testing};
///
/// let ctx = Context::local(2)?;
/// testing::assume_memory_limit(&ctx, 1);
/// # #[cfg(target_os = "linux")]
/// assert_eq!((ctx.range(0..1_000_u64).cache().count()?, ctx.memory().spilled_in_all), (1_000, 8_000));
/// # Ok::<(), Error>(())
/// ```
pub fn assume_memory_limit(ctx: &Context, bytes: u64) {
    ctx.shared().engine.assume_memory_limit(bytes);
}

/// Where the rows of a cached RDD are kept, to be compared with what events say.
pub fn cache_store<T: Data>(rdd: &Rdd<T>) -> Option<StoreId> {
    rdd.node().persisted().map(|(store, _)| store)
}

/// Where the map outputs are kept that `rdd` reads, directly or through narrow operators.
pub fn shuffle_store<T: Data>(rdd: &Rdd<T>) -> Option<StoreId> {
    shuffle_of(rdd)
}

/// The nearest shuffle above.
fn shuffle_of<T: Data>(rdd: &Rdd<T>) -> Option<StoreId> {
    rdd.node().ancestors().iter().rev().find_map(|node| {
        node.dependencies.iter().find_map(|dependency| match dependency {
            Dependency::Wide(shuffle) => Some(shuffle.store),
            Dependency::Narrow(_) => None,
        })
    })
}

fn kill<T: Data>(rdd: &Rdd<T>, order: impl Fn(&Engine) -> Result<Option<TaskId>>) -> Result<bool> {
    let engine = &rdd.shared().engine;
    let mut events = engine.subscribe(1 << 16);
    let Some(killed) = order(engine)? else { return Ok(false) };
    loop {
        match events.next_within(POLL_INTERVAL).map(|record| record.event) {
            // It was there, or it was being computed.
            Some(Event::PartitionLost { task, .. } | Event::TaskFailed { task, .. }) if task == killed => {
                return Ok(true);
            }
            Some(_) => {}
            // Its job may have been cancelled meanwhile, which nobody reports task by task.
            None if order(engine)? != Some(killed) => return Ok(true),
            None => {}
        }
    }
}
