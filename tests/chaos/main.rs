//! Faults, one by one: what each does to whoever is struck, and that nobody else notices. Every test here names its
//! fault, shows that it struck, and ends with a context that works and leaves nothing behind.

#[path = "../support/graph/mod.rs"]
mod graph;
#[path = "../support/mod.rs"]
mod support;

mod nth_io;
mod points;
mod run;

use emberflow::{
    Context,
    testing::{Fault, Kind, Point, Schedule},
};

use self::support::{World, eventually};

/// A world with these faults, where nothing stays in memory.
fn struck(workers: usize, faults: impl IntoIterator<Item = Fault>) -> World {
    let faults = Schedule::of(faults);
    World::with(|builder| builder.workers(workers).force_spill(true).chaos(faults))
}

/// How often a fault has struck.
fn times(ctx: &Context, point: Point, kind: Kind) -> u64 {
    ctx.faults_injected().get(&(point, kind)).copied().unwrap_or(0)
}

/// What every fault must leave behind: a context that works, and, when its RDDs are gone, no memory and no disk in use.
fn ends_well(world: World) {
    assert_eq!(world.range_into(0..10_u64, 3).count().unwrap(), 10);
    let held = || {
        let memory = world.memory();
        [memory.persisted, memory.map_outputs, memory.working, memory.results, memory.spilled]
    };
    assert_eq!(eventually(held, |held| *held == [0; 5]), [0; 5], "persisted, map outputs, working, results, spilled");
    world.end();
}
