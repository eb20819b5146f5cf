//! Plans as bytes: every graph gives the same bits if the plans of its jobs were written out and read back, and if its
//! tasks run in other processes. A plan that cannot be written out is refused by the name and the place of its operator.

#[path = "support/graph/mod.rs"]
mod graph;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use emberflow::testing;
use proptest::{prelude::*, test_runner::TestRunner};

use self::{graph::graphs, support::World};

/// Why a plan of a random graph may stay: values that a closure captures, and rows and keys of this process.
const REASONS: [&str; 4] = [
    "bytes of its surroundings, which cannot be sent to another process; ",
    "the rows of a local checkpoint are in the memory of this process: ",
    "what run_job returns stays in this process: ",
    "the key of a lookup is compared by this process: ",
];

/// Compares graphs in a plain context with the same graphs in one whose plans are sent.
fn compare(graphs_to_run: u32, plain: &World, sending: &World) {
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
}

/// Checks that most of so many plans of random graphs, or tasks of theirs, were sent, and why others were not.
fn check_sent(graphs_to_run: u32, sent: usize, refused: &[String]) {
    for refusal in refused {
        let names_a_place = refusal.contains(" at tests/support/graph/");
        assert!(names_a_place && REASONS.iter().any(|reason| refusal.contains(reason)), "{refusal}");
    }
    let refused = refused.len();
    println!("{sent} were sent, {refused} refused");
    assert!(sent > 5 * graphs_to_run as usize && sent > 5 * refused, "{sent} were sent, {refused} refused");
}

#[test]
fn any_graph_gives_the_same_bits_if_its_plans_were_written_out_and_read_back() {
    let (plain, sending) = (World::new(2), World::new(2));
    let plans = testing::send_plans_as_bytes(&sending);
    compare(1_000, &plain, &sending);
    check_sent(1_000, plans.sent(), &plans.refused());
}

#[cfg(unix)]
mod in_processes {
    use std::{
        collections::BTreeSet,
        env,
        process::{Command, Stdio},
        sync::Arc,
    };

    use emberflow::{Context, testing::WorkerProcesses};

    use super::*;

    /// Has the tasks of the context run in processes that start with the test of this name.
    fn run_elsewhere(ctx: &Context, test: &'static str) -> Arc<WorkerProcesses> {
        let command = move || {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", test]).stdout(Stdio::null());
            command
        };
        testing::run_tasks_in_processes(ctx, command).unwrap()
    }

    #[test]
    fn any_graph_gives_the_same_bits_if_its_tasks_run_in_other_processes() {
        emberflow::init();
        let (plain, sending) = (World::new(2), World::new(2));
        let name = "in_processes::any_graph_gives_the_same_bits_if_its_tasks_run_in_other_processes";
        let processes = run_elsewhere(&sending, name);
        compare(1_000, &plain, &sending);
        check_sent(1_000, processes.tasks(), &processes.refused());
        assert!((1..=2).contains(&processes.idle().len()), "{:?}", processes.idle());
        // An error there is an error here, and the process goes on.
        let idle = || processes.idle().into_iter().collect::<BTreeSet<_>>();
        let before = idle();
        let rows = sending.distribute([1, 2]);
        let error = rows.try_map(|_| Err::<i32, _>("a bad row")).collect().unwrap_err().to_string();
        assert!(error.contains("try_map at tests/shipping.rs") && error.ends_with("a bad row"), "{error}");
        assert_eq!(rows.count().unwrap(), 2);
        assert_eq!(idle(), before);
    }
}
