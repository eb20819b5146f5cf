//! The event log: what it tells when all is over.

use std::{collections::BTreeMap, fs, path::PathBuf};

use emberflow::{Context, Error, history, testing};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    client::Page,
    list, soon,
    support::{ON_PURPOSE, World, names_in},
};

/// Runs some jobs, one of them in vain and one after a loss, with a page and a log; what the page showed, and the log.
fn some_jobs(world: World) -> (Vec<Value>, PathBuf) {
    let page = Page::of(&world);
    let log = world.event_log().unwrap().to_owned();
    assert!(PathBuf::from(format!("{}.inprogress", log.display())).exists() && !log.exists());
    let pairs = world.range_into(0..1000_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    world.with_job_description("sums", || sums.count()).unwrap();
    assert!(pairs.map(|(key, _)| if key == 3 { panic!("{ON_PURPOSE}") } else { key }).count().is_err());
    assert!(testing::kill_cached_partition(&pairs, 2).unwrap());
    pairs.count().unwrap();
    soon(&page, "/jobs/2", |job| job["status"] == "SUCCEEDED");
    let shown = seen(&page);
    world.end();
    (shown, log)
}

/// What a page shows of the past: nothing of it depends on when it is asked.
fn seen(page: &Page) -> Vec<Value> {
    let paths = ["/jobs", "/jobs/0/graph", "/stages", "/stages/0/0/taskList", "/storage/stores", "/environment"];
    let mut shown: Vec<Value> = paths.map(|path| page.api(path)).into();
    // Jobs and stages that run have none of these; another process is another one.
    shown[5].as_object_mut().unwrap().remove("runtime");
    shown
}

/// Where two answers differ first.
fn first_difference(past: &Value, live: &Value) -> String {
    let lines = |value: &Value| format!("{value:#}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (past, live) = (lines(past), lines(live));
    past.iter().zip(&live).find(|(a, b)| a != b).map_or_else(|| "length".to_owned(), |(a, b)| format!("{a} and {b}"))
}

fn logging(dir: &std::path::Path) -> World {
    World::with(|builder| builder.workers(2).ui(0).memory_budget(8 << 30).event_log(dir.join("logs")))
}

#[test]
fn a_log_shows_afterwards_what_the_page_has_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (shown, log) = some_jobs(logging(dir.path()));
    assert_eq!(names_in(&dir.path().join("logs")), [log.file_name().unwrap().to_str().unwrap()], "the log is complete");
    let past = history::replay(&log, 0).unwrap();
    let page = Page {
        address: past.url().trim_start_matches("http://").trim_end_matches('/').to_owned(),
        token: String::new(),
    };
    let mut again = seen(&page);
    // What was kept was dropped when the program ended, which the page could not show any more.
    for store in again[4].as_array_mut().unwrap() {
        assert_eq!(store["released"], Value::Null, "nothing is told after the end");
    }
    for (at, (past, live)) in again.iter().zip(&shown).enumerate() {
        assert!(past == live, "answer {at} differs: {}", first_difference(past, live));
    }
    assert_eq!(page.api("/memory")["now"]["budget"], 8_u64 << 30);
    // There is nothing left to cancel.
    assert_eq!(page.post("/jobs/0/cancel", "").status, 403);
    drop(past);
    assert!(std::net::TcpStream::connect(page.address).is_err(), "the page outlives its owner");
}

#[test]
fn a_log_tells_spark_of_every_job_stage_and_task_from_beginning_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = some_jobs(logging(dir.path()));
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        *count.entry(line["Event"].as_str().unwrap().trim_start_matches("SparkListener")).or_default() += 1;
    }
    let pairs = [
        ("ApplicationStart", "ApplicationEnd"),
        ("JobStart", "JobEnd"),
        ("StageSubmitted", "StageCompleted"),
        ("TaskStart", "TaskEnd"),
    ];
    for (start, end) in pairs {
        assert_eq!(count[start], count[end], "{count:?}");
    }
    assert_eq!((count["JobStart"], count["LogStart"], count["ApplicationStart"]), (3, 1, 1));
    assert!(text.lines().last().unwrap().starts_with("{\"Event\":\"SparkListenerApplicationEnd\""));
    let of =
        |kind: &str| lines.iter().filter(|line| line["Event"] == format!("SparkListener{kind}")).collect::<Vec<_>>();
    assert_eq!(of("JobStart")[0]["Properties"]["spark.job.description"], "sums");
    // The lost partition is computed by a second attempt at the stage of another job, whose number is its own.
    let numbers: Vec<Value> = of("StageSubmitted").iter().map(|line| line["Stage Info"]["Stage ID"].clone()).collect();
    for number in &numbers {
        let planned = |line: &&Value| list(&line["Stage IDs"]).contains(number);
        assert_eq!(of("JobStart").into_iter().filter(planned).count(), 1, "stage {number} of {numbers:?}");
    }
    let failures: Vec<_> = of("TaskEnd").into_iter().filter(|line| line["Task Info"]["Failed"] == true).collect();
    assert!(!failures.is_empty());
    assert!(failures.iter().all(|line| line["Task End Reason"]["Description"].as_str().unwrap().contains(ON_PURPOSE)));
    assert!(of("JobEnd").iter().map(|line| &line["Job Result"]["Result"]).eq([
        "JobSucceeded",
        "JobFailed",
        "JobSucceeded"
    ]));
    let blocks = of("BlockUpdated");
    assert_eq!(blocks.len(), 4 + 1 + 1, "four are stored, one is lost, one is stored again");
    // What goes takes away what it has brought.
    let told = |at: usize| {
        let block = &blocks[at]["Block Updated Info"];
        (&block["Block ID"], &block["Memory Size"], block["Storage Level"]["Use Memory"] == true)
    };
    let (id, size, _) = told(4);
    let of_it: Vec<_> = (0..6).map(told).filter(|(other, ..)| *other == id).collect();
    assert_eq!(of_it, [(id, size, true), (id, size, false), (id, size, true)]);
    assert_eq!(*size, 250 * 16);
}

#[test]
fn a_log_that_was_cut_off_shows_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = some_jobs(logging(dir.path()));
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains("\"JobFinished\":{\"job\":0")).unwrap();
    let cut = dir.path().join("cut");
    let half = &lines[at + 1][..lines[at + 1].len() / 2];
    fs::write(&cut, format!("{}\n{half}", lines[..=at].join("\n"))).unwrap();
    let past = history::replay(&cut, 0).unwrap();
    let page = Page {
        address: past.url().trim_start_matches("http://").trim_end_matches('/').to_owned(),
        token: String::new(),
    };
    let jobs = page.api("/jobs");
    assert_eq!((list(&jobs).len(), &jobs[0]["status"]), (1, &json!("SUCCEEDED")));
}

#[test]
fn a_replayed_log_is_history_and_time_stands_still_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = some_jobs(logging(dir.path()));
    let text = fs::read_to_string(&log).unwrap();
    // Cut off within the last job: nobody will ever tell of its end.
    let end = text.lines().position(|line| line.contains("\"JobFinished\":{\"job\":2")).unwrap();
    fs::write(&log, text.lines().take(end).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let past = history::replay(format!("file://{}", log.display()).as_ref(), 0).unwrap();
    let address = past.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let page = Page { address, token: String::new() };
    let told = || {
        let news = page.news().next().unwrap();
        (news["uptimeMs"].clone(), news["replayed"].clone(), page.api("/jobs/2"), page.api("/stages"))
    };
    let first = told();
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(5);
    while std::time::Instant::now() < deadline {
        assert_eq!(told(), first);
    }
    assert_eq!(first.1, json!(true));
    let about = &page.api("")["attempts"][0];
    assert_eq!((&about["completed"], &about["endTime"]), (&json!(true), &about["lastUpdated"]));
    assert_eq!(page.api("/environment")["runtime"], json!({}), "that of another process is not known");
    let Some(browser) = Browser::start() else { return };
    browser.open(&past.url());
    browser.soon("document.getElementById('live').textContent", |text| text == "history");
    browser.go("#/workers");
    browser.soon("document.querySelector('main').innerText", |text| text.as_str().unwrap().contains("has ended"));
}

#[test]
fn what_is_no_log_of_ours_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let path = dir.path().join("log");
        fs::write(&path, text).unwrap();
        history::replay(&path, 0).unwrap_err().to_string()
    };
    let of_spark = "{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"3.5.0\"}\n";
    assert!(error(of_spark).ends_with("log:1: not an event log of emberflow; give a file of the event_log directory"));
    let broken = error(&format!("{of_spark}{{\"Event\":\"emberflow\",\"at\":7,\"told\":{{\"Nonsense\":1}}}}\n"));
    assert!(broken.contains("log:2: not a line of this version of emberflow: unknown variant `Nonsense`"), "{broken}");
    assert!(history::replay(&dir.path().join("nothing"), 0).is_err());
    for url in ["s3://bucket/logs/one", "hdfs://host/logs/one"] {
        let refused = history::replay(url.as_ref(), 0).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        assert!(
            refused.to_string().starts_with(url) && refused.to_string().ends_with("or file:///path/to/it"),
            "{refused}"
        );
    }
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_of_the_builder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Context::builder().event_log(&file).build().unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "event_log", .. }), "{error}");
    assert!(error.to_string().contains("choose another directory"), "{error}");
}
