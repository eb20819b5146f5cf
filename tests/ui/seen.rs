//! The page as a person sees it, in a real browser.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use emberflow::{Error, testing};
use serde_json::json;

use crate::{
    browser::Browser,
    roomy,
    support::{Gate, ON_PURPOSE},
    world,
};

/// A browser with the page of a context open in it, as its owner opens it.
fn open(ctx: &emberflow::Context) -> Option<Browser> {
    let browser = Browser::start()?;
    browser.open(&ctx.ui_url().unwrap());
    browser.soon("document.getElementById('live').textContent", |text| text == "live");
    // The token is not left in the address bar.
    assert_eq!(browser.run("return location.hash"), "#/jobs");
    Some(browser)
}

#[test]
fn a_job_is_seen_as_a_row_a_picture_and_a_table_of_tasks() {
    let (world, page) = roomy();
    let Some(browser) = open(&world) else { return };
    browser.soon("document.querySelector('main .nothing').hidden", |hidden| *hidden == json!(false));
    let pairs = world.range_into(0..100_000_u64, 40).map(|n| (n % 10, n)).set_name("pairs").cache();
    let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
    world.with_job_description("sums by key", || sums.count()).unwrap();
    sums.collect().unwrap();
    // It comes by itself.
    browser.soon(&browser.texts("main tbody .badge"), |states| *states == json!(["succeeded", "succeeded"]));
    browser.shoot("jobs");
    browser.click("main a[href='#/jobs/0']");
    browser.soon(&browser.texts("svg.graph .title"), |titles| titles.as_array().is_some_and(|found| found.len() == 3));
    let lines = browser.run(&format!("return {}", browser.texts("svg.graph .line")));
    assert!(lines.as_array().unwrap().iter().any(|line| line.as_str().unwrap().starts_with("pairs: map at seen.rs:")));
    assert_eq!(browser.run("return document.querySelectorAll('svg.graph rect.inner').length"), 1, "one is cached");
    assert_eq!(browser.run("return document.querySelectorAll('svg.graph path.arrow').length"), 2);
    browser.shoot("job");
    browser.go("#/jobs/1");
    browser.soon("document.querySelectorAll('svg.graph .skipped').length", |skipped| *skipped == json!(2));
    browser.shoot("job-skipped");
    // From the picture to the stage.
    browser.go("#/jobs/0");
    browser.click("svg.graph a[aria-label^='shuffle stage'] rect.box");
    browser.soon("document.querySelectorAll('main table')[1]?.tBodies[0].rows.length", |rows| *rows == json!(40));
    let median = |row: u32| {
        browser.run(&format!("return document.querySelector('main table').tBodies[0].rows[{row}].cells[3].textContent"))
    };
    assert_eq!((median(2), median(4)), (json!("2,500"), json!("10")), "rows read, rows written");
    browser.shoot("stage");
    browser.click("#theme");
    browser.soon("document.documentElement.dataset.theme", |theme| theme == "dark");
    browser.shoot("stage-dark");
    for view in ["memory", "workers", "environment", "stages"] {
        browser.go(&format!("#/{view}"));
        browser.soon("document.querySelectorAll('main .card').length", |cards| cards.as_u64() > Some(0));
        browser.soon("document.querySelector('nav [aria-current]').getAttribute('href')", |at| {
            *at == json!(format!("#/{view}"))
        });
        browser.shoot(view);
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    world.end();
    browser.soon("document.getElementById('live').textContent", |text| text == "ended");
    assert!(std::net::TcpStream::connect(page.address).is_err());
}

#[test]
fn a_cell_is_seen_to_be_resident_then_lost_then_rebuilding_then_on_disk() {
    // Eight kilobytes a partition; half of the budget stays free.
    let (world, _page) = world(|builder| builder.memory_budget(64_000));
    let Some(browser) = open(&world) else { return };
    browser.go("#/storage");
    let (gate, held) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let (inner, is_held) = (gate.clone(), Arc::clone(&held));
    let slow = move |n| {
        if is_held.swap(false, Ordering::SeqCst) {
            inner.pass();
        }
        n
    };
    let rows = world.range_into(0..4000_u64, 4).map(slow).set_name("wanted").cache();
    rows.count().unwrap();
    let cells = "[...document.querySelectorAll('main .card')].find((card) => card.textContent.includes('wanted'))\
                 ?.querySelectorAll('.cells i') ?? []";
    let states = format!("[...({cells})].map((cell) => cell.dataset.cell)");
    browser.soon(&states, |states| *states == json!(["resident", "resident", "resident", "resident"]));
    browser.shoot("storage-resident");
    assert!(testing::kill_cached_partition(&rows, 2).unwrap());
    browser.soon(&states, |states| *states == json!(["resident", "resident", "lost", "resident"]));
    browser.shoot("storage-lost");
    // Others take the room that is left, so that what is rebuilt has to go to disk.
    let others = world.range_into(0..100_000_u64, 100).set_name("others").cache();
    others.count().unwrap();
    held.store(true, Ordering::SeqCst);
    let again = rows.count_async();
    gate.wait_for(1);
    browser.soon(&states, |states| *states == json!(["resident", "resident", "rebuilding", "resident"]));
    browser.shoot("storage-rebuilding");
    gate.open();
    assert_eq!(again.wait().unwrap(), 4000);
    browser.soon(&states, |states| *states == json!(["resident", "resident", "spilled", "resident"]));
    let rebuilt = format!("[...({cells})].map((cell) => cell.classList.contains('rebuilt'))");
    browser.soon(&rebuilt, |rebuilt| *rebuilt == json!([false, false, true, false]));
    browser.shoot("storage-spilled");
    rows.unpersist();
    browser.soon(&states, |states| *states == json!(["dropped", "dropped", "dropped", "dropped"]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_job_is_cancelled_by_two_clicks_and_only_with_the_token() {
    let (world, page) = roomy();
    let gate = Gate::new();
    let inner = gate.clone();
    let held = world.range_into(0..2_u64, 2).map(move |n| {
        inner.pass();
        n
    });
    let Some(browser) = open(&world) else { return };
    let action = held.count_async();
    gate.wait_for(2);
    browser.go("#/workers");
    browser.soon(&browser.texts("main .badge"), |states| *states == json!(["busy", "busy"]));
    browser.shoot("workers-busy");
    browser.go("#/jobs");
    // Whoever changes his mind has cancelled nothing.
    browser.click("main button.danger");
    browser.shoot("cancel");
    browser.click("dialog button[value='keep']");
    browser.click("main button.danger");
    browser.click("dialog button[value='cancel']");
    browser.soon(&browser.texts("main tbody .badge"), |states| *states == json!(["cancelled"]));
    gate.open();
    assert!(matches!(action.wait(), Err(Error::Cancelled { .. })));
    // Somebody who does not know the token may look only.
    let other = Browser::start().unwrap();
    let held = world.range(0..u64::MAX).filter(|_| false).count_async();
    other.open(&format!("http://{}/", page.address));
    other.soon(&other.texts("main tbody .badge"), |states| *states == json!(["running", "cancelled"]));
    assert_eq!(other.run("return document.querySelectorAll('main button.danger').length"), 0);
    drop(held);
}

#[test]
fn where_others_may_come_the_page_shows_its_token_and_nothing_without_it() {
    let (world, page) = world(|builder| builder.ui_address([0, 0, 0, 0]).ui_token("chosen-by-the-owner"));
    world.range(0..9_u64).count().unwrap();
    let Some(browser) = open(&world) else { return };
    browser.soon(&browser.texts("main tbody .badge"), |states| *states == json!(["succeeded"]));
    assert_eq!(page.token, "chosen-by-the-owner");
    // In a window of its own, without what the first one was given.
    let other = Browser::start().unwrap();
    other.open(&format!("http://{}/", page.address));
    other.soon("document.getElementById('live').textContent", |text| text == "refused");
    other.soon("document.querySelector('main').innerText", |text| text.as_str().unwrap().contains("needs the token"));
    assert_eq!(other.run("return document.querySelectorAll('main table').length"), 0);
}

#[test]
fn markup_in_names_errors_and_descriptions_is_seen_as_text() {
    let (world, _page) = roomy();
    let evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let rows = world.range_into(0..9_u64, 1).set_name(evil).cache();
    world.with_job_description(evil, || rows.count()).unwrap();
    let text = format!("{ON_PURPOSE}: {evil}");
    let _ = world.with_job_group(evil, || rows.map(move |_| -> u64 { panic!("{text}") }).count());
    let Some(browser) = open(&world) else { return };
    for view in ["#/jobs", "#/jobs/0", "#/jobs/1", "#/stages", "#/stages/1", "#/stages/2", "#/storage", "#/workers"] {
        browser.go(view);
        let selector = if view == "#/workers" { "main" } else { "main .badge, main .cells" };
        browser.soon(&format!("document.querySelectorAll('{selector}').length"), |found| found.as_u64() > Some(0));
        assert_eq!(browser.run("return document.querySelectorAll('main img, main script').length"), 0, "{view}");
        assert_ne!(browser.run("return document.title"), "owned", "{view}");
    }
    browser.go("#/jobs/1");
    browser
        .soon("document.querySelector('main').innerText.includes('<img src=x onerror=')", |seen| *seen == json!(true));
    browser.shoot("markup");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn ten_thousand_tasks_are_seen_without_ten_thousand_elements() {
    let (world, _page) = roomy();
    let Some(browser) = open(&world) else { return };
    let rows = world.range_into(0..10_000_u64, 10_000).cache();
    assert_eq!(rows.count().unwrap(), 10_000);
    browser.go("#/stages/1");
    browser.soon(&browser.texts(".pager"), |text| text.to_string().contains("1 to 50 of 10,000"));
    browser.click(".pager button:last-child");
    browser.soon(&browser.texts(".pager"), |text| text.to_string().contains("51 to 100 of 10,000"));
    assert_eq!(browser.run("return document.querySelectorAll('main table')[1].tBodies[0].rows.length"), 50);
    browser.shoot("ten-thousand-tasks");
    browser.go("#/storage");
    browser.soon("document.querySelectorAll('.cells i').length", |cells| (1..=600).contains(&cells.as_u64().unwrap()));
    browser.soon(&browser.texts("main .card"), |text| text.to_string().contains("10,000 of 10,000 partitions"));
    browser.shoot("ten-thousand-cells");
}

#[test]
fn the_page_is_used_by_keyboard_alone_and_says_what_it_shows() {
    let (world, _page) = roomy();
    world.range(0..9_u64).count().unwrap();
    let Some(browser) = open(&world) else { return };
    browser.soon(&browser.texts("main tbody .badge"), |states| *states == json!(["succeeded"]));
    let (tab, enter) = ('\u{E004}', '\u{E007}');
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.press(tab);
        reached.push(browser.run("return document.activeElement.textContent").as_str().unwrap_or_default().to_owned());
        if reached.last().is_some_and(|text| text.starts_with("count at ")) {
            break;
        }
    }
    assert_eq!(reached[..3], ["Skip to the content", "Jobs", "Stages"]);
    assert!(reached.last().unwrap().starts_with("count at seen.rs:"), "{reached:?}");
    browser.press(enter);
    browser.soon("location.hash", |hash| hash == "#/jobs/0");
    // Every picture, button and field says what it is.
    let nameless = "[...document.querySelectorAll('svg[role], canvas, button, input, nav, [role=img]')].filter((el) => \
                    !(el.ariaLabel || el.textContent.trim() || el.labels?.length)).map((el) => el.outerHTML)";
    for view in ["#/jobs", "#/jobs/0", "#/stages/0", "#/storage", "#/memory"] {
        browser.go(view);
        browser.soon("document.querySelectorAll('main .card').length", |cards| cards.as_u64() > Some(0));
        browser.soon(nameless, |found| *found == json!([]));
    }
}

#[test]
fn a_job_of_no_time_at_all_is_seen_in_the_timeline() {
    let (world, _page) = roomy();
    world.range(0..9_u64).count().unwrap();
    let Some(browser) = open(&world) else { return };
    browser.soon(&browser.texts("main tbody .badge"), |states| *states == json!(["succeeded"]));
    // The server's own answer, but with the times of a long job, of one right behind it, and of two at the very end.
    browser.run(
        "const real = window.fetch; \
         window.fetch = async (path, ...more) => { \
           const answer = await real(path, ...more); \
           if (!path.endsWith('/jobs?limit=200')) return answer; \
           const [job] = await answer.json(), at = (jobId, startMs, durationMs) => \
             ({ ...job, jobId, startMs, durationMs, endMs: startMs + Math.floor(durationMs) }); \
           return Response.json([at(3, 1e12 + 1e4, .2), at(2, 1e12 + 1e4, .3), at(1, 1e12 + 98e2, .4), at(0, 1e12, 9e3)]); \
         }",
    );
    browser.go("#/stages");
    browser.go("#/jobs");
    let seen = "(() => { const band = document.querySelector('.lanes')?.getBoundingClientRect(); \
                const boxes = [...document.querySelectorAll('.lanes a')].map((a) => a.getBoundingClientRect()); \
                return [boxes.length, boxes.every((box) => box.width > 9 && box.right <= band.right && box.bottom <= band.bottom), \
                boxes.some((a, at) => boxes.some((b, other) => other > at && a.top === b.top && a.left < b.right - 4 && b.left < a.right - 4))]; })()";
    browser.soon(seen, |seen| *seen == json!([4, true, false]));
    browser.shoot("timeline-short");
    browser.narrow(420, 900);
    browser.go("#/stages");
    browser.go("#/jobs");
    browser.soon(seen, |seen| *seen == json!([4, true, false]));
}

#[test]
fn counts_of_the_memory_account_are_no_bytes_and_one_is_one() {
    let (world, _page) = roomy();
    let kept = world.range_into(0..9_u64, 1).cache();
    kept.count().unwrap();
    let failed = AtomicBool::new(false);
    let flaky = world.range_into(0..1_u64, 1).map(move |n| {
        assert!(failed.swap(true, Ordering::SeqCst), "{ON_PURPOSE}");
        n
    });
    flaky.count().unwrap();
    let Some(browser) = open(&world) else { return };
    browser.go("#/memory");
    let row = |name: &str| {
        format!(
            "[...document.querySelectorAll('main tr')].find((row) => row.cells[0].textContent === '{name}')?.cells[1].textContent"
        )
    };
    for (name, value) in [("persisted", "72 B"), ("waits", "0 times"), ("gave way", "0 times")] {
        browser.soon(&row(name), |seen| seen == value);
    }
    let legend = browser.run(&format!("return {}", browser.texts("main .legend li")));
    assert_eq!(legend, json!(["persisted", "map outputs", "working", "results", "dashed: the budget"]));
    assert_eq!(browser.run("return document.querySelectorAll('#facts .stack i').length"), 4);
    browser.go("#/stages/2");
    browser.soon("document.querySelector('main')?.innerText ?? ''", |text| {
        let text = text.as_str().unwrap();
        text.contains("1 attempt failed") && text.contains("1 row read") && !text.contains("0 µs of work")
    });
}

#[test]
fn stores_that_were_dropped_fold_into_one_line() {
    let (world, _page) = roomy();
    let kept = world.range_into(0..9_u64, 2).set_name("kept").cache();
    kept.count().unwrap();
    for round in 0..8 {
        let sums = kept.map(move |n| (n % (round + 1), n)).reduce_by_key_into(|a, b| a + b, 2);
        sums.count().unwrap();
    }
    let Some(browser) = open(&world) else { return };
    browser.go("#/storage");
    let shown = "[document.querySelectorAll('main section.released').length, document.querySelector('main details')?.checkVisibility(), \
                 document.querySelector('main summary')?.textContent]";
    browser.soon(shown, |shown| *shown == json!([0, true, "8 stores that were dropped lately"]));
    assert!(browser.run("return document.documentElement.scrollHeight").as_u64() < Some(1000), "one screen");
    browser.shoot("storage-folded");
    browser.click("main summary");
    browser.soon("document.querySelectorAll('main details section.released').length", |found| *found == json!(8));
    browser.click("main summary");
    browser.soon(shown, |shown| shown[0] == 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn in_a_narrow_window_the_head_is_short_and_nothing_sticks_out() {
    let (world, _page) = roomy();
    let kept = world.range_into(0..900_u64, 4).map(|n| (n % 7, n)).cache();
    kept.reduce_by_key_into(|a, b| a + b, 3).count().unwrap();
    let Some(browser) = open(&world) else { return };
    browser.narrow(420, 900);
    for (at, view) in
        ["#/jobs", "#/jobs/0", "#/stages", "#/stages/1", "#/storage", "#/memory", "#/environment"].iter().enumerate()
    {
        browser.go(view);
        browser.soon("document.querySelectorAll('main .card').length", |cards| cards.as_u64() > Some(0));
        let top = browser.run("return document.querySelector('main .card').getBoundingClientRect().top + scrollY");
        assert!(top.as_f64().unwrap() < 240.0, "{view} begins at {top}");
        assert!(browser.run("return document.documentElement.scrollWidth").as_u64() <= Some(420), "{view} is too wide");
        // The menu is in two lines at most, each of its links in one.
        let lines = browser.run("return new Set([...document.querySelectorAll('nav a')].map((a) => a.offsetTop)).size");
        assert!(lines.as_u64() <= Some(2), "{lines} lines");
        browser.shoot(&format!("narrow-{at}"));
    }
}

#[test]
fn an_address_that_leads_nowhere_says_so_and_leads_back() {
    let (world, page) = roomy();
    world.range_into(0..9_u64, 1).count().unwrap();
    let Some(browser) = open(&world) else { return };
    let text = "document.querySelector('main').innerText";
    for (view, wanted, back) in [
        ("#/jobs/99", "there is no job 99", "#/jobs"),
        ("#/stages/99", "there is no stage 99", "#/stages"),
        ("#/storage/99", "nothing is stored of an rdd 99", "#/storage"),
        ("#/jobs/99999999999999999999999", "", "#/jobs"),
        ("#/nothing", "Nothing is at #/nothing", "#/jobs"),
        ("#/jobs/abc", "Nothing is at #/jobs/abc", "#/jobs"),
        ("#/memory/3", "Nothing is at #/memory/3", "#/jobs"),
        ("#<img src=x>", "Nothing is at", "#/jobs"),
    ] {
        browser.go(view);
        let links = "[...document.querySelectorAll('main .nothing a')].map((a) => a.getAttribute('href'))";
        browser.soon(&format!("[{text}, {links}]"), |seen| {
            seen[0].as_str().unwrap().contains(wanted) && seen[1] == json!([back])
        });
        browser.click("main .nothing a");
        browser.soon("[location.hash, document.querySelectorAll('main .card').length > 0]", |seen| {
            *seen == json!([back, true])
        });
    }
    browser.go("#/jobs/1");
    browser.soon(text, |text| text.as_str().unwrap().contains("there is no job 1"));
    browser.shoot("nowhere");
    // What was not there may come.
    world.range_into(0..9_u64, 1).count().unwrap();
    browser.soon(text, |text| text.as_str().unwrap().contains("Job 1: count"));
    // Who skips to the content stays where he is.
    browser.run("document.querySelector('.skip').click()");
    assert_eq!(browser.run("return [location.hash, document.activeElement.id]"), json!(["#/jobs/1", "content"]));
    browser.open(&format!("http://{}/jobs/99", page.address));
    browser.soon("document.body.innerText", |text| text.as_str().unwrap().contains("There is no such page"));
    browser.click("main a");
    browser.soon("document.getElementById('live')?.textContent", |text| text == "live");
}
