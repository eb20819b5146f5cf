//! Figures: those of a job are that job's, stay as they were when it ended, and are the same wherever they are told.

use std::sync::atomic::{AtomicBool, Ordering};

use emberflow::{Explain, Rdd, testing};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    client::Page,
    list, soon,
    support::{Gate, World},
    world,
};

const READINGS: u64 = 20_000;
const STATIONS: u64 = 50;
const AFTER_A_LOSS: &str = "after a loss";

/// The jobs of `examples/ui`, over fewer rows; `ended` is told after each action.
/// Says how many of the readings were lost before the last but one.
fn round(world: &World, readings: &Rdd<(u64, u64)>, mut ended: impl FnMut()) -> u64 {
    let stations = world.range_into(0..STATIONS, 4).map(|id| (id, format!("station {id}"))).set_name("stations");
    let means = readings
        .map_values(|degrees| (degrees, 1_u64))
        .reduce_by_key(|a, b| (a.0 + b.0, a.1 + b.1))
        .map_values(|(sum, count)| sum / count)
        .set_name("means");
    let named = stations.join(&means).values().set_name("named means");
    let first = named.top_by(1, |(_, mean)| *mean).unwrap();
    ended();
    let failed = AtomicBool::new(false);
    let flaky = readings.map(move |(station, degrees)| {
        if station == 7 && !failed.swap(true, Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("the sensor does not answer"));
        }
        degrees
    });
    flaky.reduce(u64::max).unwrap();
    ended();
    let mut lost = 0;
    for partition in [1, 5, 9] {
        // One that was dropped for want of room cannot be lost.
        lost += u64::from(testing::kill_cached_partition(readings, partition).unwrap());
        testing::kill_map_output(&means, partition).unwrap();
    }
    let again = world.with_job_description(AFTER_A_LOSS, || named.top_by(1, |(_, mean)| *mean).unwrap());
    assert_eq!(again, first);
    ended();
    // Only a part of it is read.
    named.take(1).unwrap();
    ended();
    lost
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Everything that is told of a job.
fn told(page: &Page, job: usize) -> [Value; 2] {
    [page.api(&format!("/jobs/{job}")), page.api(&format!("/jobs/{job}/graph"))]
}

/// Whether the picture of a job and the job itself say what its stages say.
fn check(page: &Page, job: usize) {
    let [about, graph] = told(page, job);
    let stages: Vec<Value> =
        list(&about["stageIds"]).iter().map(|stage| page.api(&format!("/stages/{stage}/0"))).collect();
    let sum = |name: &str| stages.iter().map(|stage| number(&stage[name])).sum::<u64>();
    for (of_job, of_stages) in [
        ("numTasks", "numTasks"),
        ("numCompletedTasks", "numCompleteTasks"),
        ("numFailedTasks", "numFailedTasks"),
        ("numKilledTasks", "numKilledTasks"),
        ("numActiveTasks", "numActiveTasks"),
    ] {
        assert_eq!(number(&about[of_job]), sum(of_stages), "{of_job} of {about:#}");
    }
    for (at, drawn) in list(&graph["boxes"]).iter().enumerate() {
        if let Some(run) = stages.iter().find(|stage| stage["stageId"] == drawn["stage"]) {
            for (in_picture, of_stage) in
                [("rows", "rows"), ("bytes", "bytes"), ("tasks", "numTasks"), ("done", "numCompleteTasks")]
            {
                assert_eq!(drawn[in_picture], run[of_stage], "{in_picture} of {drawn:#}");
            }
            assert_eq!((&drawn["state"], &drawn["store"]), (&run["status"], &run["storeId"]));
        }
        let runs = || stages.iter().filter(|stage| stage["storeId"] == drawn["store"]);
        let arrows: Vec<&Value> = list(&graph["arrows"]).iter().filter(|arrow| arrow["to"] == at).collect();
        if runs().next().is_none() || arrows.is_empty() || arrows.iter().any(|arrow| arrow["rows"].is_null()) {
            continue;
        }
        let read: u64 = runs().map(|stage| number(&stage["inputRecords"]) + number(&stage["shuffleReadRecords"])).sum();
        let drawn_rows: u64 = arrows.iter().map(|arrow| number(&arrow["rows"])).sum();
        assert_eq!(drawn_rows, read, "what comes to {drawn:#} of job {job}: {graph:#}");
    }
}

#[test]
fn figures_of_every_job_are_its_own_stay_as_they_were_and_are_those_of_its_stages() {
    let (world, page) = world(|builder| builder.memory_budget(READINGS * 16 / 2));
    let readings = world
        .range_into(0..READINGS, 12)
        .map(|n| (n % STATIONS, n.wrapping_mul(7) % 1000))
        .set_name("readings")
        .cache();
    let mut seen: Vec<[Value; 2]> = Vec::new();
    // An action may be more than one job.
    let mut ended = || {
        let jobs = soon(&page, "/jobs", |jobs| {
            list(jobs).len() > seen.len() && list(jobs).iter().all(|job| job["status"] == "SUCCEEDED")
        });
        for job in seen.len()..list(&jobs).len() {
            check(&page, job);
            seen.push(told(&page, job));
        }
    };
    readings.count().unwrap();
    ended();
    let mut lost = [0, 1].map(|_| round(&world, &readings, &mut ended)).into_iter();
    readings.unpersist_and_wait().unwrap();
    soon(&page, "/storage/stores", |stores| list(stores).iter().all(|store| !store["released"].is_null()));
    for (job, before) in seen.iter().enumerate() {
        assert_eq!(told(&page, job), *before, "job {job} has changed since it ended");
        check(&page, job);
    }
    // Some of the readings were lost before one job of each round, which says so, and no other job does.
    let kept = |graph: &Value| list(&graph["boxes"]).iter().find(|drawn| drawn["kind"] == "Persist").cloned();
    let after_a_loss = |about: &Value| about["description"] == AFTER_A_LOSS;
    for [about, graph] in &seen {
        if let Some(kept) = kept(graph) {
            let lost = if after_a_loss(about) { lost.next().unwrap() } else { 0 };
            assert_eq!(kept["losses"], lost, "{about:#}");
        }
    }
    // The join reads the means of all partitions, although only three were computed again.
    let again: Vec<&Value> = seen.iter().filter(|[about, _]| after_a_loss(about)).map(|[_, graph]| graph).collect();
    assert_eq!(again.len(), 2);
    for graph in again {
        let rows: Vec<u64> = list(&graph["arrows"]).iter().map(|arrow| number(&arrow["rows"])).collect();
        assert!(rows.contains(&(12 * STATIONS)) && rows.contains(&STATIONS), "{rows:?}");
    }
}

#[test]
fn no_more_tasks_run_than_there_are_workers_and_what_waits_is_pending() {
    let (world, page) = world(|builder| builder.memory_budget(8 << 30));
    let gate = Gate::new();
    let inner = gate.clone();
    let held = world.range_into(0..20_u64, 20).map(move |n| {
        inner.pass();
        (n % 3, n)
    });
    let sums = held.reduce_by_key_into(|a, b| a + b, 2);
    let action = sums.count_async();
    gate.wait_for(2);
    let at = |stages: &Value, kind: &str| list(stages).iter().find(|stage| stage["kind"] == kind).cloned();
    let is_so = |stages: &Value| at(stages, "ShuffleMap").is_some_and(|stage| stage["numActiveTasks"] == 2);
    let stages = soon(&page, "/stages", is_so);
    let (shuffle, result) = (at(&stages, "ShuffleMap").unwrap(), at(&stages, "Result").unwrap());
    assert_eq!((&shuffle["status"], &shuffle["numTasks"]), (&json!("ACTIVE"), &json!(20)));
    assert_eq!((&result["status"], &result["durationMs"]), (&json!("PENDING"), &Value::Null), "{result:#}");
    let job = page.api("/jobs/0");
    let counts = ["numActiveTasks", "numActiveStages", "numPendingStages"].map(|name| number(&job[name]));
    assert_eq!(counts, [2, 1, 1], "{job:#}");
    let states: Vec<Value> = list(&page.api("/jobs/0/graph")["boxes"]).iter().map(|x| x["state"].clone()).collect();
    assert_eq!(states, ["RUNNING", "PENDING"]);
    let tasks = page.api(&format!("/stages/{}/0/taskList?length=100", shuffle["stageId"]));
    let of = |state: &str| list(&tasks).iter().filter(|task| task["status"] == state).count();
    assert_eq!(of("RUNNING"), 2, "{tasks:#}");
    assert!(list(&tasks).iter().filter(|task| task["status"] == "PENDING").all(|task| task["durationUs"].is_null()));
    let news = page.news().next().unwrap();
    assert_eq!(news["runningTasks"], 2, "{news:#}");
    assert_eq!(page.api("/executors")[0]["activeTasks"], 2);
    gate.open();
    assert_eq!(action.wait().unwrap(), 3);
    let stage = soon(&page, &format!("/stages/{}/0", shuffle["stageId"]), |stage| stage["status"] == "COMPLETE");
    assert!(number(&stage["runTimeUs"]) > 0, "{stage:#}");
}

#[test]
fn a_stage_has_one_number_wherever_it_is_named_parents_first() {
    let (world, page) = world(|builder| builder.memory_budget(8 << 30));
    let pairs = world.range_into(0..100_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
    let sums =
        pairs.reduce_by_key_into(|a, b| a + b, 3).map(|(key, sum)| (sum % 2, key)).reduce_by_key_into(u64::max, 2);
    let kinds = ["Persist", "ShuffleMap", "ShuffleMap", "Result"];
    assert!(sums.describe_stages().unwrap().iter().map(|stage| format!("{:?}", stage.kind)).eq(kinds));
    // The lineage, which begins with the result.
    let text = sums.to_debug_string();
    let marked: Vec<&str> = text.lines().filter(|line| line.contains("[stage ")).collect();
    for (line, (number, what)) in
        marked.iter().zip([(3, "reduce_by_key"), (2, "map"), (1, "map"), (0, "cached partitions")])
    {
        assert!(line.contains(&format!("[stage {number}]")) && line.contains(what), "{line} of {text}");
    }
    assert_eq!(marked.len(), 4, "{text}");
    for form in [Explain::Mermaid, Explain::Dot] {
        let text = sums.explain(form).unwrap();
        for number in 0..4 {
            let stands = text.lines().any(|line| {
                let line = line.trim_start();
                line.starts_with(&format!("s{number}[")) && line.contains(&format!("\"{number}: "))
                    || line.starts_with(&format!("s{number} [")) && line.contains(&format!("\"{number}: "))
            });
            assert!(stands, "no stage {number} in {text}");
        }
    }
    assert!((0..4).all(|number| sums.explain(Explain::Svg).unwrap().contains(&format!(">{number}: "))));
    // What ran, and its picture.
    sums.count().unwrap();
    sums.count().unwrap();
    soon(&page, "/jobs", |jobs| list(jobs).len() == 2 && list(jobs).iter().all(|job| job["status"] == "SUCCEEDED"));
    let stages = page.api("/stages");
    for job in 0..2 {
        let graph = page.api(&format!("/jobs/{job}/graph"));
        for (number, (drawn, kind)) in list(&graph["boxes"]).iter().zip(kinds).enumerate() {
            assert_eq!((&drawn["number"], &drawn["kind"]), (&json!(number), &json!(kind)));
            assert!(drawn["title"].as_str().unwrap().starts_with(&format!("{number}: ")), "{drawn:#}");
            let ran = list(&stages).iter().find(|stage| stage["stageId"] == drawn["stage"]);
            assert!(ran.is_none_or(|stage| stage["number"] == number), "{drawn:#}");
        }
    }
    let ran = |job: u64| {
        let of_job = list(&stages).iter().filter(|stage| stage["jobId"] == job).map(|stage| number(&stage["number"]));
        let mut numbers: Vec<u64> = of_job.collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!((ran(0), ran(1)), (vec![0, 1, 2, 3], vec![3]), "what was skipped has its number all the same");
    let Some(browser) = Browser::start() else { return };
    browser.open(&world.ui_url().unwrap());
    browser.go("#/jobs/0");
    let numbers = |texts: &str| format!("({texts}).map((text) => text.split(':')[0])");
    browser.soon(&numbers(&browser.texts("svg.graph .title")), |seen| *seen == json!(["0", "1", "2", "3"]));
    browser.soon(&browser.texts("main tbody td:first-child"), |seen| *seen == json!(["0", "1", "2", "3"]));
    browser.shoot("numbered");
    browser.click("main tbody tr:first-child a");
    browser
        .soon(&browser.texts("h1"), |seen| seen[0].as_str().is_some_and(|text| text.starts_with("Stage 0 of job 0: ")));
}
