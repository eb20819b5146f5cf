//! Random graphs of all operators: each operator and action gives what its model on plain vectors gives, and the whole
//! graph gives the same bits whatever the number of workers, the size of batches and the room in memory.

#[path = "support/graph/mod.rs"]
mod graph;
mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use proptest::{prelude::*, test_runner::TestRunner};

use self::{
    graph::{graphs, vocabulary},
    support::{World, eventually},
};

/// Contexts that must not differ in anything that can be seen.
fn worlds() -> Vec<World> {
    let world = |workers, rows, room: Option<u64>| {
        World::with(|builder| {
            let builder = builder.workers(workers).batch_rows(rows).default_partitions(3);
            match room {
                Some(bytes) => builder.memory_budget(bytes).force_spill(false),
                None => builder.force_spill(true),
            }
        })
    };
    vec![
        world(2, 1024, Some(8 << 30)),
        world(1, 1, Some(8 << 30)),
        world(7, 3, Some(8 << 30)),
        world(2, 16, None),
        world(2, 1, Some(128 << 10)),
    ]
}

#[test]
fn any_graph_of_operators_equals_the_vec_model_and_is_the_same_in_every_context() {
    let worlds = worlds();
    let next = AtomicU64::new(0);
    let dir = |world: &World| world.files().join(next.fetch_add(1, Ordering::Relaxed).to_string());
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let checked = RefCell::new(BTreeMap::new());
    let outcome = TestRunner::new(config).run(&graphs(10), |graph| {
        let expected = graph.check(&worlds[0], dir(&worlds[0]), &mut checked.borrow_mut())?;
        for (at, world) in worlds.iter().enumerate().skip(1) {
            let seen = graph.run(world, dir(world)).map_err(|error| TestCaseError::fail(format!("{at}: {error}")))?;
            prop_assert_eq!(&seen, &expected, "in context {}", at);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let checked = checked.into_inner();
    let missing: Vec<_> = vocabulary().into_iter().filter(|name| !checked.contains_key(name)).collect();
    assert!(missing.is_empty(), "never checked on any row: {missing:?}");
    for (at, world) in worlds.into_iter().enumerate() {
        assert!(at != 3 || world.memory().spilled_in_all > 0, "nothing was spilled");
        let held = || [world.memory().persisted, world.memory().map_outputs, world.memory().working];
        assert_eq!(eventually(held, |held| *held == [0; 3]), [0; 3]);
        world.end();
    }
}
