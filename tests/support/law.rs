//! Laws: what must hold for any rows, partitions, number of workers and size of batches.

use emberflow::Context;
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use super::World;

/// One context for each number of workers and size of batches; made once a test.
pub(crate) struct Worlds(Vec<World>);

impl Worlds {
    pub(crate) fn new() -> Self {
        let settings = [1, 2, 3].into_iter().flat_map(|workers| [1, 2, 1024].map(|rows| (workers, rows)));
        let world = |(workers, rows)| World::with(|builder| builder.workers(workers).batch_rows(rows));
        Self(settings.map(world).collect())
    }
}

/// Checks a law for so many cases, each in one of the contexts.
pub(crate) fn law<S: Strategy>(
    cases: u32,
    strategy: S,
    check: impl Fn(&Context, S::Value) -> Result<(), TestCaseError>,
) {
    let worlds = Worlds::new();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome =
        TestRunner::new(config).run(&(0..worlds.0.len(), strategy), |(world, case)| check(&worlds.0[world], case));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
