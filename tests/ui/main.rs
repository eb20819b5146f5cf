//! The page's promises, by real requests: what it shows is what happened, and it answers its owner alone.

mod browser;
mod client;
mod figures;
mod logged;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use emberflow::{Error, Event, testing};
use serde_json::{Value, json};

use self::{
    client::Page,
    support::{Gate, ON_PURPOSE, World, eventually, next_of, within_deadline},
};

fn world(settings: impl FnOnce(emberflow::ContextBuilder) -> emberflow::ContextBuilder) -> (World, Page) {
    let world = World::with(|builder| settings(builder.workers(2).ui(0)));
    let page = Page::of(&world);
    (world, page)
}

fn roomy() -> (World, Page) {
    world(|builder| builder.memory_budget(8 << 30))
}

/// Asks until it is so: the page learns of events a moment after they happened.
fn soon(page: &Page, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let ask = || {
        let answer = page.get(&format!("/api/v1/applications/-{path}"));
        if answer.status == 404 { Value::Null } else { answer.json() }
    };
    let seen = eventually(ask, &is_so);
    assert!(is_so(&seen), "{path} says {seen:#}");
    seen
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

// ---- What it shows.

#[test]
fn a_job_is_shown_with_its_stages_and_tasks_in_sparks_words() {
    let (world, page) = roomy();
    let pairs = world.range_into(0..1000_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    assert_eq!(sums.count().unwrap(), 10);
    let jobs = soon(&page, "/jobs", |jobs| jobs[0]["status"] == "SUCCEEDED");
    let job = &jobs[0];
    assert!(job["name"].as_str().unwrap().starts_with("count at tests/ui/main.rs:"), "{job}");
    assert_eq!(
        (&job["numTasks"], &job["numCompletedTasks"], &job["numFailedTasks"]),
        (&json!(11), &json!(11), &json!(0))
    );
    assert_eq!((&job["numCompletedStages"], &job["stageIds"]), (&json!(3), &json!([0, 1, 2])));
    assert_eq!(page.api("/jobs/0")["jobId"], 0);

    let stages = page.api("/stages");
    let shuffle = list(&stages).iter().find(|stage| stage["kind"] == "ShuffleMap").unwrap();
    // Each of 4 partitions has combined its 250 rows to 10 keys.
    assert_eq!((&shuffle["status"], &shuffle["shuffleWriteRecords"]), (&json!("COMPLETE"), &json!(40)));
    assert!(shuffle["shuffleWriteBytes"].as_u64().unwrap() > 0 && shuffle["numTasks"] == 4);
    let path = format!("/stages/{}/0", shuffle["stageId"]);
    let tasks = page.api(&format!("{path}/taskList?sortBy=-runtime"));
    let runtimes: Vec<u64> = list(&tasks).iter().map(|task| task["durationUs"].as_u64().unwrap()).collect();
    assert!(runtimes.len() == 4 && runtimes.is_sorted_by(|a, b| a >= b), "{runtimes:?}");
    assert!(list(&tasks).iter().all(|task| task["status"] == "SUCCESS" && task["worker"].as_u64().unwrap() < 2));
    let summary = page.api(&format!("{path}/taskSummary?quantiles=0,0.5,1"));
    assert_eq!((&summary["rowsRead"], &summary["rows"]), (&json!([250, 250, 250]), &json!([10, 10, 10])));
    // What is kept reads its source, the shuffle what is kept, and the result, which was wanted first, the shuffle.
    let reads = |stage: u64| {
        let task = &page.api(&format!("/stages/{stage}/0/taskList?sortBy=index"))[0];
        let of = |metrics: &str, bytes: &str| {
            let metrics = &task["taskMetrics"][metrics];
            (metrics["recordsRead"].as_u64().unwrap(), metrics[bytes].as_u64().unwrap() > 0)
        };
        (of("inputMetrics", "bytesRead"), of("shuffleReadMetrics", "localBytesRead"), task["taskLocality"].clone())
    };
    assert_eq!(reads(2), ((250, false), (0, false), json!("NO_PREF")));
    assert_eq!(reads(1), ((250, true), (0, false), json!("PROCESS_LOCAL")));
    let ((0, false), (shuffled, true), locality) = reads(0) else {
        panic!("a reducer reads a shuffle and nothing else")
    };
    assert!(shuffled % 4 == 0 && shuffled <= 40 && locality == "PROCESS_LOCAL", "{shuffled} rows, {locality}");
    assert_eq!(page.api("/stages/0/0")["shuffleReadRecords"], 40);
    assert_eq!(list(&summary["runTimeUs"])[2], runtimes[0]);
    let spans = &page.api(&format!("{path}/timeline"))["spans"];
    assert_eq!(list(spans).iter().map(|span| span[3].as_u64().unwrap()).sum::<u64>(), 4);
    // A worker does one thing at a time.
    let at = |span: &Value| [0, 1, 2].map(|at| span[at].as_u64().unwrap());
    assert!(list(spans).is_sorted_by(|a, b| at(a)[0] != at(b)[0] || at(a)[2] <= at(b)[1]), "{spans}");
}

#[test]
fn the_graph_of_a_job_marks_what_is_cached_and_what_was_skipped() {
    let (world, page) = roomy();
    let pairs = world.range_into(0..1000_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    sums.count().unwrap();
    sums.collect().unwrap();
    soon(&page, "/jobs/1", |job| job["status"] == "SUCCEEDED");
    let states = |job: u64| -> Vec<Value> {
        let graph = page.api(&format!("/jobs/{job}/graph"));
        list(&graph["boxes"]).iter().map(|stage| json!([stage["kind"], stage["state"]])).collect()
    };
    let all = ["Persist", "ShuffleMap", "Result"];
    assert_eq!(states(0), all.map(|kind| json!([kind, "COMPLETE"])));
    assert_eq!(
        states(1),
        [json!(["Persist", "SKIPPED"]), json!(["ShuffleMap", "SKIPPED"]), json!(["Result", "COMPLETE"])]
    );
    let graph = page.api("/jobs/1/graph");
    let arrows: Vec<_> =
        list(&graph["arrows"]).iter().map(|arrow| (&arrow["from"], &arrow["to"], &arrow["rows"])).collect();
    // Known from what is stored, though nothing ran.
    assert_eq!(arrows, [(&json!(0), &json!(1), &json!(1000)), (&json!(1), &json!(2), &json!(40))]);
    assert!(
        list(&graph["boxes"][0]["lines"])
            .iter()
            .any(|line| line.as_str().unwrap().starts_with("pairs: map at main.rs:"))
    );
}

#[test]
fn a_partition_is_a_cell_that_is_resident_then_lost_then_rebuilt() {
    let (world, page) = roomy();
    let rows = world.range_into(0..1000_u64, 4).cache();
    rows.count().unwrap();
    // None, as long as nothing is known of the store.
    let states = |stores: &Value| -> Vec<Value> {
        stores[0]["cells"].as_array().into_iter().flatten().map(|cell| cell[0].clone()).collect()
    };
    soon(&page, "/storage/stores", |stores| states(stores) == ["resident"; 4]);
    let rdd = &page.api("/storage/rdd")[0];
    assert_eq!(
        (&rdd["numCachedPartitions"], &rdd["memoryUsed"], &rdd["rows"]),
        (&json!(4), &json!(8000), &json!(1000))
    );
    assert!(testing::kill_cached_partition(&rows, 2).unwrap());
    soon(&page, "/storage/stores", |stores| states(stores) == ["resident", "resident", "lost", "resident"]);
    rows.count().unwrap();
    let stores = soon(&page, "/storage/stores", |stores| states(stores) == ["resident"; 4]);
    assert_eq!(
        (&stores[0]["losses"], &stores[0]["rebuilt"], &stores[0]["cells"][2][5]),
        (&json!(1), &json!(1), &json!(true))
    );
    rows.unpersist_and_wait().unwrap();
    soon(&page, "/storage/stores", |stores| states(stores) == ["dropped"; 4]);
    assert_eq!(page.api("/storage/rdd"), json!([]));
}

#[test]
fn memory_is_shown_by_kind_now_and_over_time() {
    let (world, page) = roomy();
    let rows = world.range_into(0..1000_u64, 4).cache();
    rows.count().unwrap();
    let shuffled = rows.map(|n| (n, n)).reduce_by_key_into(|a, b| a + b, 3);
    shuffled.count().unwrap();
    let memory = page.api("/memory");
    assert_eq!((&memory["now"]["persisted"], &memory["now"]["budget"]), (&json!(8000), &json!(8_u64 << 30)));
    assert!(memory["now"]["map_outputs"].as_u64().unwrap() >= 16_000, "{memory}");
    let kinds = |memory: &Value| memory.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let samples = list(&memory["samples"]);
    assert!(!samples.is_empty() && samples.iter().all(|sample| kinds(&sample["memory"]) == kinds(&memory["now"])));
    assert!(samples.is_sorted_by_key(|sample| sample["atMs"].as_u64().unwrap()));
}

#[test]
fn what_finds_no_room_is_shown_as_spilled() {
    let (world, page) = world(|builder| builder.memory_budget(1));
    let rows = world.range_into(0..1000_u64, 4).cache();
    rows.count().unwrap();
    let stores = soon(&page, "/storage/stores", |stores| stores[0]["spilledPartitions"] == 4);
    assert!(stores[0]["fileBytes"].as_u64().unwrap() >= 8000 && stores[0]["bytes"] == 0, "{stores}");
    let stages = page.api("/stages");
    let stage = list(&stages).iter().find(|stage| stage["kind"] == "Persist").unwrap();
    assert_eq!(stage["memoryBytesSpilled"], 8000);
    rows.count().unwrap();
    let tasks = soon(&page, "/stages/2/0/taskList", |tasks| tasks[3]["status"] == "SUCCESS");
    assert_eq!((&tasks[0]["taskLocality"], &tasks[0]["bytesRead"]), (&json!("NODE_LOCAL"), &json!(2000)), "{tasks:#}");
    assert!(tasks[0]["taskMetrics"]["diskBytesRead"].as_u64().unwrap() >= 2000);
}

#[test]
fn a_failed_task_is_shown_with_its_error_and_a_failed_job_with_its_cause() {
    let (world, page) = roomy();
    let failed = world.range_into(0..100_u64, 2).map(|n| if n == 70 { panic!("{ON_PURPOSE}: {n}") } else { n }).count();
    assert!(failed.is_err());
    let job = soon(&page, "/jobs/0", |job| job["status"] == "FAILED");
    assert!(job["error"].as_str().unwrap().contains(ON_PURPOSE) && job["numFailedTasks"] == 4, "{job}");
    let tasks = page.api("/stages/0/0/taskList?status=failed&sortBy=attempt");
    let attempts: Vec<Value> = list(&tasks).iter().map(|task| json!([task["attempt"], task["index"]])).collect();
    assert_eq!(attempts, [json!([0, 1]), json!([1, 1]), json!([2, 1]), json!([3, 1])]);
    assert!(list(&tasks).iter().all(|task| task["errorMessage"].as_str().unwrap().contains("on purpose: 70")));
    // It is known where it failed, and after how long.
    let told = |task: &Value| task["worker"].as_u64().unwrap() < 2 && task["durationUs"].as_u64().unwrap() > 0;
    assert!(list(&tasks).iter().all(told), "{tasks:#}");
    assert_eq!(page.api("/stages/0/0")["status"], "FAILED");
}

#[test]
fn a_running_job_shows_what_each_worker_does_and_is_cancelled_with_the_token_only() {
    let (world, page) = roomy();
    let gate = Gate::new();
    let inner = gate.clone();
    let held = world.range_into(0..2_u64, 2).map(move |n| {
        inner.pass();
        n
    });
    let mut events = world.events();
    let action = held.count_async();
    gate.wait_for(2);
    let threads =
        soon(&page, "/executors/driver/threads", |threads| list(threads).iter().all(|one| one["stageId"] == 0));
    assert!(
        threads[1]["stackTrace"]["elems"][0].as_str().unwrap().starts_with("map at tests/ui/main.rs:"),
        "{threads}"
    );
    // The gate is in the closure of the map, which has been entered since.
    assert!(list(&threads).iter().all(|one| {
        let operator = one["operator"].as_str().unwrap();
        operator.starts_with("map at tests/ui/main.rs:") && one["rdd"] == 1 && one["sinceMs"].as_f64().unwrap() > 0.0
    }));
    assert_eq!((&threads[0]["jobId"], &threads[0]["partition"].is_u64()), (&json!(0), &true), "{threads:#}");
    assert_eq!(page.api("/jobs?status=running")[0]["numActiveTasks"], 2);

    let token = format!("\r\nX-Emberflow-Token: {}", page.token);
    for (more, wanted) in [
        ("", 403),
        ("\r\nX-Emberflow-Token: wrong", 403),
        (&format!("{token}\r\nOrigin: http://evil.example"), 403),
        (&format!("{token}\r\nSec-Fetch-Site: cross-site"), 403),
    ] {
        assert_eq!(page.post("/jobs/0/cancel", more).status, wanted, "{more}");
    }
    // Nor is it cancelled by a link.
    assert_eq!(
        page.send(&format!("GET /api/v1/applications/-/jobs/0/cancel HTTP/1.1\r\nHost: localhost{token}")).status,
        405
    );
    assert_eq!(page.api("/jobs/0")["status"], "RUNNING");
    assert_eq!(page.post("/jobs/0/cancel", &token).status, 200);
    assert_eq!(page.post("/jobs/7/cancel", &token).status, 404);
    next_of(&mut events, |event| matches!(event, Event::JobFinished { .. }).then_some(()));
    gate.open();
    assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
    let job = soon(&page, "/jobs/0", |job| job["status"] == "CANCELLED");
    assert_eq!(job["numKilledTasks"], 2, "{job}");
}

#[test]
fn a_job_is_found_by_its_description_and_group() {
    let (world, page) = roomy();
    world
        .with_job_group("reports", || world.with_job_description("films a year", || world.range(0..9_u64).count()))
        .unwrap();
    let job = soon(&page, "/jobs/0", |job| job["status"] == "SUCCEEDED");
    assert_eq!((&job["jobGroup"], &job["description"]), (&json!("reports"), &json!("films a year")));
}

#[test]
fn news_come_by_themselves_and_end_with_the_context() {
    let (world, page) = roomy();
    let mut news = page.news();
    assert_eq!(news.next().unwrap()["jobs"], 0);
    world.range(0..9_u64).count().unwrap();
    assert!(news.any(|news| news["jobs"] == 1 && news["runningJobs"] == 0 && news["tasks"] == 9));
    let rest = std::thread::spawn(move || news.last());
    within_deadline(move || world.end());
    assert_eq!(rest.join().unwrap().map(|last| last["over"].clone()), Some(json!(true)));
    assert!(std::net::TcpStream::connect(&page.address).is_err(), "the page outlives its context");
}

#[test]
fn a_context_with_its_page_open_stops_at_once_even_if_a_browser_does_not_read() {
    let (world, page) = roomy();
    // Connections that say nothing, half a request, and a reader that never reads.
    let silent = std::net::TcpStream::connect(&page.address).unwrap();
    let mut half = std::net::TcpStream::connect(&page.address).unwrap();
    std::io::Write::write_all(&mut half, b"GET / HTTP/1.1\r\nHo").unwrap();
    let deaf = page.news();
    world.range(0..9_u64).count().unwrap();
    within_deadline(move || world.end());
    drop((silent, half, deaf));
}

#[test]
fn metrics_are_in_the_format_of_prometheus() {
    let (world, page) = roomy();
    world.range_into(0..100_u64, 5).count().unwrap();
    let line = "emberflow_tasks_succeeded_total{";
    let answer = eventually(
        || page.get("/metrics"),
        |answer| {
            answer.body.contains("emberflow_jobs_succeeded_total{")
                && answer
                    .body
                    .lines()
                    .any(|found| found.starts_with("emberflow_jobs_succeeded_total") && found.ends_with(" 1"))
        },
    );
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let tasks = answer.body.lines().find(|found| found.starts_with(line)).unwrap();
    assert!(tasks.contains("app=\"w") && tasks.ends_with(" 5"), "{tasks}");
    let read = answer.body.lines().find(|found| found.starts_with("emberflow_task_rows_read_total{")).unwrap();
    assert!(read.ends_with(" 100"), "{read}");
    assert!(answer.body.contains("# TYPE emberflow_memory_budget_bytes gauge") && answer.body.ends_with("# EOF\n"));
}

#[test]
fn a_job_of_ten_thousand_tasks_is_answered_in_a_moment() {
    let (world, page) = roomy();
    assert_eq!(
        world.range_into(0..10_000_u64, 10_000).map(|n| (n % 10, n)).reduce_by_key(|a, b| a + b).count().unwrap(),
        10
    );
    soon(&page, "/jobs/0", |job| job["numCompletedTasks"] == 10_032 && job["status"] == "SUCCEEDED");
    for path in [
        "/jobs",
        "/jobs/0/graph",
        "/stages",
        "/stages/0/0/taskList?sortBy=-runtime",
        "/stages/0/0/taskSummary",
        "/stages/0/0/timeline",
        "/storage/stores",
        "/executors",
    ] {
        // The best of several: the machine may have other things to do.
        let best = (0..5).map(|_| {
            let began = Instant::now();
            page.api(path);
            began.elapsed()
        });
        let best = best.min().unwrap();
        println!("{path}: {best:?}");
        assert!(best < Duration::from_millis(100), "{path} took {best:?}");
    }
    let stores = page.get("/api/v1/applications/-/storage/stores");
    assert!(stores.body.len() < 200_000, "{} bytes for one picture", stores.body.len());
}

// ---- Whom it answers.

#[test]
fn a_request_for_a_foreign_host_is_refused_whatever_it_asks_for() {
    let (_world, page) = roomy();
    for path in ["/", "/api/v1/applications", "/metrics", "/news", "/nothing"] {
        let answer = page.send(&format!("GET {path} HTTP/1.1\r\nHost: evil.example"));
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:4040"] {
        assert_eq!(page.send(&format!("GET / HTTP/1.1\r\nHost: {host}")).status, 200, "{host}");
    }
    assert_eq!(page.send("GET http://evil.example/ HTTP/1.1\r\nHost: localhost").status, 403);
}

#[test]
fn where_others_may_come_whoever_looks_needs_the_token() {
    let (world, page) = world(|builder| builder.ui_address([0, 0, 0, 0]).ui_host("jobs.example:8443"));
    world.range(0..9_u64).count().unwrap();
    let get = |path: &str, host: &str, more: &str| page.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}{more}"));
    let token = format!("\r\nX-Emberflow-Token: {}", page.token);
    let bearer = format!("\r\nAuthorization: Bearer {}", page.token);
    for path in ["/api/v1/applications", "/metrics", "/news", "/api/v1/applications/-/environment"] {
        for more in ["", "\r\nX-Emberflow-Token: 0123456789abcdef", "\r\nAuthorization: Bearer "] {
            let answer = get(path, &page.address, more);
            assert_eq!(answer.status, 403, "{path} with {more:?}");
            assert!(answer.body.contains("needs the token"), "{}", answer.body);
        }
        assert_eq!(get(path, "evil.example", &token).status, 403);
    }
    for (host, more) in [("jobs.example:8443", &token), ("192.0.2.7", &bearer), ("localhost", &token)] {
        assert_eq!(get("/metrics", host, more).status, 200, "{host}");
    }
    assert_eq!(get("/metrics", "jobs.example:8444", &token).status, 403);
    assert_eq!((get("/", "jobs.example:8443", "").status, get("/page/main.js", "localhost", "").status), (200, 200));
    let environment = get("/api/v1/applications/-/environment", "localhost", &token).json();
    for setting in [["ui_address", "0.0.0.0"], ["ui_hosts", "jobs.example:8443"]] {
        assert!(list(&environment["sparkProperties"]).contains(&json!(setting)), "{environment}");
    }
    assert!(!environment.to_string().contains(&page.token));
}

#[test]
fn every_answer_forbids_foreign_scripts_frames_and_caches() {
    let (_world, page) = roomy();
    for path in ["/", "/page/main.js", "/api/v1/version", "/nothing"] {
        let answer = page.get(path);
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("cache-control")),
            (Some("nosniff"), Some("no-store"))
        );
    }
    // The page's own files keep to it: nothing inline, nothing from elsewhere, and no way from text to markup.
    let document = page.get("/").body;
    assert!(!document.contains("<style") && !document.contains(" on") && !document.contains("//"), "{document}");
    let names = |source: &str| -> Vec<String> {
        let imports = source.lines().filter_map(|line| line.split_once(" from \"./")?.1.strip_suffix("\";"));
        imports.map(str::to_owned).collect()
    };
    let (mut modules, mut open) = (BTreeMap::new(), vec!["main.js".to_owned()]);
    while let Some(name) = open.pop() {
        let answer = page.get(&format!("/page/{name}"));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("text/javascript; charset=utf-8")),
            "{name}"
        );
        open.extend(names(&answer.body).into_iter().filter(|name| !modules.contains_key(name)));
        modules.insert(name, answer.body);
    }
    assert_eq!(modules.len(), 11, "{:?}", modules.keys());
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"]
    {
        assert!(modules.values().all(|script| !script.contains(word)), "{word}");
    }
    assert_eq!(page.get("/page/other.js").status, 404);
}

#[test]
fn what_users_write_is_told_as_it_is_and_as_data() {
    let (world, page) = roomy();
    let evil = "<script>alert('ember')</script>";
    let rows = world.range_into(0..9_u64, 1).set_name(evil).cache();
    world.with_job_description(evil, || rows.count()).unwrap();
    let _ = rows.map(|_| -> u64 { panic!("{ON_PURPOSE} <script>alert('ember')</script>") }).count();
    soon(&page, "/jobs/1", |job| job["status"] == "FAILED" && job["error"].as_str().unwrap().contains(evil));
    assert_eq!(page.api("/jobs/0")["description"], evil);
    assert_eq!(page.api("/storage/rdd")[0]["name"], evil);
    // A browser that is sent to it shows text.
    for path in ["/jobs/0", "/storage/rdd", "/stages"] {
        let answer = page.get(&format!("/api/v1/applications/-{path}"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let lost = page.get("/%3Cscript%3Ealert(1)%3C/script%3E");
    assert!(lost.status == 404 && !lost.body.contains("script"), "{lost:?}");
    let lost = page.send(&format!("GET /%3Cscript%3E HTTP/1.1\r\nHost: {}\r\nAccept: text/html", page.address));
    assert!(lost.status == 404 && !lost.body.contains("script") && lost.body.contains("<a href=\"/\">"), "{lost:?}");
}

#[test]
fn a_port_that_is_taken_is_not_taken_twice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    if port > u16::MAX - 20 {
        return;
    }
    let world = World::with(|builder| builder.workers(1).ui(port));
    let found: u16 = Page::of(&world).address.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(found > port && found <= port + 16, "{found} after {port}");
    assert_eq!(Page::of(&world).get("/api/v1/version").status, 200);
}

#[test]
fn settings_are_shown_and_what_is_not_there_is_said_to_be_missing() {
    let (_world, page) = roomy();
    let environment = page.api("/environment");
    assert!(list(&environment["sparkProperties"]).contains(&json!(["workers", "2"])), "{environment}");
    for path in ["/jobs/9", "/stages/9", "/stages/0/1", "/storage/rdd/9", "/executors/7/threads", "/jobs/9/graph"] {
        let answer = page.get(&format!("/api/v1/applications/-{path}"));
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    assert_eq!(page.get("/api/v1/applications/local-1/jobs").status, 404);
    assert_eq!(page.get("/api/v1/applications/-/stages/0/0/taskList?sortBy=luck").status, 400);
    let id = page.get("/api/v1/applications").json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(page.get(&format!("/api/v1/applications/{id}/jobs")).json(), json!([]));
}
