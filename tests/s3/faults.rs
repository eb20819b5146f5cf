//! What breaks: what may pass is tried again, as often as it takes and not more; what will not is said at once.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use emberflow::{Error, S3Config, S3Error, TaskError, TextOptions, testing};
use emberflow_s3_server::{Break, Fault, Op, Proxy, SECRET_KEY, Server};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    Store, config, numbered_lines,
    support::{Gate, World, within_deadline},
};

/// A store whose context tries each request at most so often.
fn patient(attempts: u32) -> Store {
    Store::with(|config| config.attempts(attempts), |builder| builder.workers(2))
}

/// What S3 said, wherever it stands in the error.
fn s3_error(error: &Error) -> &S3Error {
    let cause = match error {
        Error::Storage { source } => source,
        Error::TaskFailed { causes, .. } => {
            assert_eq!(causes.len(), 1, "a task does not try again what was tried again: {error}");
            match &causes[0].error {
                TaskError::Io { cause, permanent: true } => cause,
                other => panic!("not an error of storage: {other:?}"),
            }
        }
        other => panic!("not an error of storage: {other:?}"),
    };
    cause.downcast_ref().unwrap_or_else(|| panic!("not an error of s3: {error:?}"))
}

fn works_as_before(store: &Store) {
    store.server.heal();
    store.put("works.txt", "1\n2\n");
    assert_eq!(store.lines("s3://films/works.txt").unwrap(), ["1", "2"]);
}

// ---- What may pass.

#[test]
fn a_busy_server_is_asked_again_until_it_answers() {
    let store = Store::new();
    store.put("a.txt", "one\ntwo\n");
    store.server.fail(Op::Head, Fault::Busy, 2);
    store.server.fail(Op::Get, Fault::Busy, 1);
    store.server.fail(Op::Get, Fault::Internal, 2);
    assert_eq!(store.lines("s3://films/a.txt").unwrap(), ["one", "two"]);
    let asked = store.asked();
    assert_eq!((asked.count(Op::Head), asked.count(Op::Get), asked.0.len()), (3, 4, 7));
    store.server.fail(Op::List, Fault::Busy, 3);
    assert_eq!(store.lines("s3://films/*.txt").unwrap().len(), 2);
    assert_eq!(store.asked().count(Op::List), 4);
}

#[test]
fn a_storm_of_refusals_costs_each_request_its_own_tries() {
    // Eight at once share the refusals; as many tries are allowed as one of them could have to make.
    let store = Store::with(|config| config.attempts(20), |builder| builder.workers(8));
    let text = numbered_lines(4 << 20);
    store.put("large.txt", text.clone());
    let options = TextOptions::new().min_partitions(16);
    let lines = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
    store.asked();
    store.server.fail(Op::Get, Fault::Busy, 20);
    assert!(lines.collect().unwrap() == text.lines().collect::<Vec<_>>());
    assert_eq!(store.asked().count(Op::Get), 16 + 20);
}

#[test]
fn a_server_that_stays_busy_is_given_up_with_all_that_it_said() {
    let store = patient(3);
    store.put("a.txt", "one\n");
    let lines = store.world.text_file("s3://films/a.txt").unwrap();
    store.asked();
    store.server.fail(Op::Get, Fault::Busy, usize::MAX);
    let error = lines.collect().unwrap_err();
    assert_eq!(store.asked().count(Op::Get), 3);
    let S3Error::GaveUp { causes, location, .. } = s3_error(&error) else { panic!("{error:?}") };
    assert_eq!((causes.len(), location.as_str()), (3, "s3://films/a.txt"));
    let text = error.to_string();
    let endpoint = store.server.endpoint();
    let told = format!("cannot read s3://films/a.txt at {endpoint}: gave up after 3 attempts; first: 503 SlowDown");
    assert!(text.contains(&told), "{text}");
    works_as_before(&store);
    assert_eq!(lines.collect().unwrap(), ["one"]);
}

#[test]
fn what_a_broken_connection_has_brought_is_kept_and_the_rest_asked_for() {
    let server = Server::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let world = World::with(|builder| builder.workers(1).s3(config(proxy.endpoint())));
    let text = numbered_lines(3 << 20);
    server.put("films", "large.txt", text.clone()).unwrap();
    let one = TextOptions::new().min_partitions(1);
    for order in [Break::Reset as fn(u64) -> Break, Break::Cut] {
        let lines = world.text_files(&["s3://films/large.txt"], &one).unwrap();
        server.take_requests();
        proxy.order([order(1_000_000), order(700_000), order(0)]);
        assert!(lines.collect().unwrap() == text.lines().collect::<Vec<_>>());
        assert_eq!(proxy.left(), 0);
        let starts: Vec<u64> = server.take_requests().iter().map(|request| request.range.unwrap().0).collect();
        assert!(starts.len() == 4 && starts[0] == 0 && starts.is_sorted(), "{starts:?}");
        // What a reset throws away on its way is not counted as come.
        assert!(starts[3] > 0, "nothing was kept: {starts:?}");
    }
}

#[test]
fn an_answer_that_stalls_is_asked_for_again_from_where_it_stalled() {
    let server = Server::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let s3 = config(proxy.endpoint()).timeout(Duration::from_secs(1));
    let world = World::with(|builder| builder.workers(1).s3(s3));
    let text = numbered_lines(2 << 20);
    server.put("films", "large.txt", text.clone()).unwrap();
    let one = TextOptions::new().min_partitions(1);
    let lines = world.text_files(&["s3://films/large.txt"], &one).unwrap();
    server.take_requests();
    proxy.order([Break::Stall(1_000_000)]);
    assert!(lines.collect().unwrap() == text.lines().collect::<Vec<_>>());
    let starts: Vec<u64> = server.take_requests().iter().map(|request| request.range.unwrap().0).collect();
    assert!(starts.len() == 2 && starts[1] > 900_000, "{starts:?}");

    proxy.order([Break::Stall(0); 8]);
    let error = lines.count().unwrap_err();
    let S3Error::GaveUp { causes, .. } = s3_error(&error) else { panic!("{error:?}") };
    assert_eq!((causes.len(), causes[0].as_str()), (8, "not done within 1s"));
}

#[test]
fn nobody_at_the_endpoint_is_an_error_after_the_tries_that_are_allowed() {
    // Nobody listens at a port that was just given back.
    let endpoint = Server::start().unwrap().endpoint();
    let world = World::with(|builder| builder.workers(1).s3(config(endpoint).attempts(2)));
    let error = world.text_file("s3://films/a.txt").err().unwrap();
    let S3Error::GaveUp { causes, .. } = s3_error(&error) else { panic!("{error:?}") };
    assert!(causes.len() == 2 && causes[0].to_lowercase().contains("connect"), "{error}");
    assert_eq!(world.range(0..10_u64).count().unwrap(), 10);
}

// ---- What will not pass.

#[test]
fn what_will_not_pass_is_asked_once_and_said_with_what_to_do() {
    let store = Store::new();
    store.put("a.txt", "one\n");
    for (fault, said) in [
        (Fault::Denied, "403 AccessDenied: Access Denied"),
        (Fault::Denied, "check the credentials and what they allow"),
        (Fault::Expired, "400 ExpiredToken: The provided token has expired."),
        (Fault::Expired, "the session has ended: renew the credentials"),
        (Fault::OtherRegion, "301 PermanentRedirect"),
        (Fault::OtherRegion, "the bucket is in another region: set it by S3Config::region or AWS_REGION"),
    ] {
        let lines = store.world.text_file("s3://films/a.txt").unwrap();
        store.asked();
        store.server.fail(Op::Get, fault.clone(), usize::MAX);
        let error = lines.collect().unwrap_err();
        assert!(matches!(s3_error(&error), S3Error::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("cannot read s3://films/a.txt: ") && text.contains(said), "{text}");
        assert_eq!(store.asked().0.len(), 1, "{fault:?}");
        store.server.heal();

        // As well when it is looked up.
        store.server.fail(Op::List, fault.clone(), usize::MAX);
        let error = store.world.text_file("s3://films/*.txt").err().unwrap().to_string();
        assert!(error.contains("cannot list s3://films/: ") && error.contains(said), "{error}");
        assert_eq!(store.asked().0.len(), 1, "{fault:?}");
        store.server.heal();
    }
    works_as_before(&store);
}

#[test]
fn an_object_that_was_replaced_is_an_error_with_both_etags_rather_than_a_mixture() {
    let store = Store::new();
    let text = numbered_lines(4 << 20);
    store.put("large.txt", text.clone());
    let options = TextOptions::new().min_partitions(4);
    let lines = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
    store.asked();
    // Of the same length, and after two of four ranges.
    store.server.fail_after(Op::Get, Fault::Replaced(text.replace('x', "y").into_bytes()), 2, 1);
    let error = lines.collect().unwrap_err();
    let S3Error::SourceChanged { location, was, is: Some(is) } = s3_error(&error) else { panic!("{error:?}") };
    assert!(location == "s3://films/large.txt" && was != is, "{error}");
    let said = error.to_string();
    assert!(said.contains("s3://films/large.txt has changed since it was found: its etag was"), "{said}");
    assert!(said.contains(was) && said.contains(is) && said.contains("make the rdd again"), "{said}");
    // It stays so for this rdd, and is right again for the next one.
    assert!(matches!(s3_error(&lines.count().unwrap_err()), S3Error::SourceChanged { .. }));
    let again = store.world.text_file("s3://films/large.txt").unwrap().collect().unwrap();
    assert!(again == text.replace('x', "y").lines().collect::<Vec<_>>());
}

#[test]
fn an_object_that_was_replaced_is_seen_where_the_server_does_not_know_if_match() {
    let store = Store::new();
    store.put("a.txt", "one\ntwo\n");
    let lines = store.world.text_file("s3://films/a.txt").unwrap();
    store.asked();
    store.server.fail(Op::Get, Fault::ReplacedUnseen(b"ONE\nTWO\n".to_vec()), 1);
    let error = lines.collect().unwrap_err();
    assert!(matches!(s3_error(&error), S3Error::SourceChanged { is: Some(_), .. }), "{error:?}");
    assert_eq!(store.asked().0.len(), 1);
}

#[test]
fn an_object_that_is_gone_when_a_lost_partition_needs_it_is_an_error() {
    let store = Store::with(|config| config, |builder| builder.workers(2).memory_budget(8 << 30).force_spill(false));
    store.put("a.txt", "one\ntwo\n");
    let lines = store.world.text_file("s3://films/a.txt").unwrap().cache();
    assert_eq!(lines.count().unwrap(), 2);
    store.server.fail(Op::Get, Fault::Removed, 1);
    assert!(testing::kill_cached_partition(&lines, 0).unwrap());
    store.asked();
    let error = lines.count().unwrap_err();
    assert!(matches!(s3_error(&error), S3Error::SourceChanged { is: None, .. }), "{error:?}");
    assert!(error.to_string().contains("and it is gone"), "{error}");
    assert_eq!(store.asked().count(Op::Get), 1);
    works_as_before(&store);
}

#[test]
fn the_whole_object_where_a_range_was_asked_for_is_an_error_rather_than_too_many_rows() {
    let store = Store::new();
    store.put("large.txt", numbered_lines(2 << 20));
    let options = TextOptions::new().min_partitions(2);
    let lines = store.world.text_files(&["s3://films/large.txt"], &options).unwrap();
    store.asked();
    store.server.fail(Op::Get, Fault::Whole, usize::MAX);
    let error = lines.collect().unwrap_err();
    assert!(matches!(s3_error(&error), S3Error::WrongAnswer { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("and got an answer without a range; the server, or a proxy before it"), "{said}");
    assert!(store.asked().count(Op::Get) <= 2, "one a partition");
    works_as_before(&store);
}

#[test]
fn a_job_is_cancelled_and_a_context_stopped_while_a_request_is_tried_again() {
    within_deadline(|| {
        let store = Store::with(|config| config.attempts(u32::MAX), |builder| builder.workers(1));
        store.put("a.txt", "one\n");
        let lines = store.world.text_file("s3://films/a.txt").unwrap();
        store.server.fail(Op::Get, Fault::Busy, usize::MAX);
        let asked_often = || {
            let mut asked = 0;
            while asked < 2 {
                asked += store.asked().count(Op::Get);
                std::thread::yield_now();
            }
        };
        let counting = lines.count_async();
        asked_often();
        counting.canceller().cancel();
        assert!(matches!(counting.wait(), Err(Error::Cancelled { .. })));

        let counting = lines.count_async();
        asked_often();
        store.world.stop();
        assert!(matches!(counting.wait(), Err(Error::ContextClosed)));
        assert!(matches!(store.world.text_file("s3://films/a.txt").err().unwrap(), Error::ContextClosed));
    });
}

#[test]
fn a_request_runs_while_all_workers_are_busy() {
    let store = Store::with(|config| config, |builder| builder.workers(1));
    store.put("a.txt", "one\n");
    let (gate, inside) = (Gate::new(), Gate::new());
    let (pass, arrive) = (gate.clone(), inside.clone());
    inside.open();
    let busy = store.world.range_into(0..1_u64, 1).map(move |n| {
        arrive.pass();
        pass.pass();
        n
    });
    let busy = busy.count_async();
    inside.wait_for(1);
    assert!(store.world.text_file("s3://films/a.txt").is_ok());
    gate.open();
    assert_eq!(busy.wait().unwrap(), 1);
}

// ---- What nobody should see.

/// Everything that is logged, at any level, from anywhere but the server.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The server is in this process, and tells what it was sent.
        !metadata.target().starts_with("s3s")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Writing(&self.0));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Writing(&self.0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Writing(&self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Writing<'a>(&'a Mutex<String>);

impl Visit for Writing<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = self.0.lock().unwrap();
        text.push_str(&format!("{}={value:?}\n", field.name()));
    }
}

#[test]
fn no_secret_is_in_any_error_event_setting_or_log_of_ours() {
    let began = Instant::now();
    let log = Log::default();
    // Of the whole process: requests run on the context's own threads.
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let store = Store::with(|config| config.attempts(2), |builder| builder.workers(1));
    store.put("a.txt", "one\n");
    let mut told = format!("{:?}", config(store.server.endpoint()));
    let mut events = store.world.events();
    for fault in [Fault::Busy, Fault::Denied, Fault::Expired, Fault::Whole, Fault::Replaced(b"x".to_vec())] {
        store.put("a.txt", "one\n");
        let lines = store.world.text_file("s3://films/a.txt").unwrap();
        store.server.fail(Op::Get, fault, usize::MAX);
        let error = lines.collect().unwrap_err();
        told.push_str(&format!("{error} {error:?} {error:#?} {lines:?} {}", lines.to_debug_string()));
        store.server.heal();
    }
    let wrong = config(store.server.endpoint()).session_keys("WRONGCANARYKEY", "wrong-canary", "wrong-canary-token");
    let stranger = World::with(|builder| builder.workers(1).s3(wrong));
    let error = stranger.text_file("s3://films/a.txt").err().unwrap();
    told.push_str(&format!("{error} {error:?} {:?} {:?}", *stranger, S3Config::new().keys("id", SECRET_KEY)));
    for event in super::support::drain(&mut events) {
        told.push_str(&format!("{event:?}"));
    }
    let ours: String = log.0.lock().unwrap().clone();
    assert!(ours.contains("a request to s3 failed"), "what was to be looked through is there ({:?})", began.elapsed());
    for secret in [SECRET_KEY, "wrong-canary", "wrong-canary-token"] {
        assert!(!told.contains(secret), "{secret} in: {told}");
        let line = ours.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in the log: {line:?}");
    }
}
