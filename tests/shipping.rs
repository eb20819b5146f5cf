//! Plans as bytes: every graph gives the same bits if the plans of its jobs were written out and read back, and what
//! cannot be written out is refused by the name and the place of its operator.

#[path = "support/graph/mod.rs"]
mod graph;
mod support;

use std::{
    env,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use emberflow::{
    Context, Progress,
    testing::{self, SentPlans},
};
use proptest::{prelude::*, test_runner::TestRunner};

use self::{graph::graphs, support::World};

/// Why a job of a random graph may stay: values that a closure captures, and rows and keys of this process.
const REASONS: [&str; 4] = [
    "bytes of its surroundings, which cannot be sent to another process; ",
    "the rows of a local checkpoint are in the memory of this process: ",
    "what run_job returns stays in this process: ",
    "the key of a lookup is compared by this process: ",
];

/// Compares graphs in a plain context with the same graphs in one whose plans are sent.
fn compare(graphs_to_run: u32, plain: &World, sending: &World, plans: &SentPlans) {
    let next = AtomicU64::new(0);
    let dir = |world: &World| world.files().join(next.fetch_add(1, Ordering::Relaxed).to_string());
    let config = ProptestConfig { cases: graphs_to_run, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&graphs(10), |graph| {
        let expected = graph.run(plain, dir(plain)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let seen = graph.run(sending, dir(sending)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&seen, &expected);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    for refusal in plans.refused() {
        let names_a_place = refusal.contains(" at tests/support/graph/");
        assert!(names_a_place && REASONS.iter().any(|reason| refusal.contains(reason)), "{refusal}");
    }
    let (sent, refused) = (plans.sent(), plans.refused().len());
    println!("{sent} jobs were sent, {refused} refused");
    assert!(sent > 5 * graphs_to_run as usize && sent > 5 * refused, "{sent} jobs were sent, {refused} refused");
}

#[test]
fn any_graph_gives_the_same_bits_if_its_plans_were_written_out_and_read_back() {
    let (plain, sending) = (World::new(2), World::new(2));
    let plans = testing::send_plans_as_bytes(&sending);
    compare(1_000, &plain, &sending, &plans);
}

#[cfg(unix)]
#[test]
fn any_graph_gives_the_same_bits_in_a_child_process() {
    if testing::is_child() {
        let ctx = Context::builder().workers(2).progress(Progress::Off).build().unwrap();
        return testing::serve_plans(&ctx).unwrap();
    }
    let (plain, sending) = (World::new(2), World::new(2));
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "any_graph_gives_the_same_bits_in_a_child_process"]).stdout(Stdio::null());
    let plans = testing::send_plans_to_child(&sending, child).unwrap();
    compare(1_000, &plain, &sending, &plans);
    // An error there is an error here, and the child goes on.
    let rows = sending.distribute([1, 2]);
    let error = rows.try_map(|_| Err::<i32, _>("a bad row")).collect().unwrap_err().to_string();
    assert!(error.contains("try_map at tests/shipping.rs") && error.ends_with("a bad row"), "{error}");
    assert_eq!(rows.count().unwrap(), 2);
}
