//! What `tracing` is told: spans of jobs, stages, tasks and the disk, each below what it belongs to.

mod support;

use std::sync::{Arc, Mutex};

use tracing::{Subscriber, info_span, span};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

use self::support::{World, eventually};

/// The ways of all spans that were opened, such as `job/stage/task`, and of those that were closed.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(Vec<String>, Vec<String>)>>);

fn way<S: Subscriber + for<'a> LookupSpan<'a>>(id: &span::Id, cx: &Context<'_, S>) -> String {
    let names = cx.span_scope(id).into_iter().flatten().map(|span| span.name()).collect::<Vec<_>>();
    names.into_iter().rev().collect::<Vec<_>>().join("/")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, _: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        self.0.lock().unwrap().0.push(way(id, &cx));
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        self.0.lock().unwrap().1.push(way(&id, &cx));
    }
}

#[test]
fn spans_stand_below_what_they_belong_to_and_are_all_closed() {
    let seen = Seen::default();
    tracing_subscriber::registry().with(seen.clone()).init();
    let world = World::tight(2);
    let rows = world.range_into(0..1000_u64, 4).map(|n| (n % 10, n)).cache();
    let sums = rows.reduce_by_key_into(|a, b| a + b, 3);
    info_span!("report").in_scope(|| sums.count()).unwrap();
    world.end();
    let count = |which: &str| {
        let (opened, closed) = &*seen.0.lock().unwrap();
        let of = |list: &[String]| list.iter().filter(|way| *way == which).count();
        (of(opened), of(closed))
    };
    assert_eq!(count("report/job"), (1, 1));
    assert_eq!(count("report/job/stage"), (3, 3));
    assert_eq!(eventually(|| count("report/job/stage/task"), |found| *found == (11, 11)), (11, 11));
    // Each of four partitions is written, and read by whoever comes after.
    let (written, read) = (count("report/job/stage/task/spill"), count("report/job/stage/task/read_back"));
    assert!(written.0 >= 8 && read.0 >= 8, "{written:?} and {read:?}");
    // Four map tasks look for a cached partition each, three reducers for the outputs of four map tasks.
    assert_eq!(count("report/job/stage/task/fetch"), (16, 16));
    let (opened, closed) = &*seen.0.lock().unwrap();
    assert_eq!(opened.len(), closed.len());
}
