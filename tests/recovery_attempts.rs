//! An attempt at a task that fails, by a panic or an error, is made again up to the limit and leaves nothing twice; then its
//! job fails alone, with an error that names the operator, the row and the cause; and the context goes on.

mod support;

use std::{
    fmt,
    hash::{Hash, Hasher},
    panic, thread,
};

use emberflow::{Error, Rdd, RowSpan, Source, TaskError};
use serde::{Deserialize, Serialize};

use self::support::{Gate, ON_PURPOSE, Tally, World, assert_works, drain, failures, within_deadline};

#[test]
fn a_panic_is_retried_up_to_the_limit_and_then_named_with_all_that_helps() {
    for limit in [1, 2, 4] {
        let world = World::with(|builder| builder.workers(2).task_failure_limit(limit).batch_rows(64));
        let attempts = Tally::new();
        let counter = attempts.clone();
        let mut events = world.events();
        let line = line!() + 2;
        let rows = world.range_into(0..30_u64, 3).map(|n| n + 1);
        let rows = rows.filter(move |n| {
            if *n == 15 {
                counter.add();
                panic!("{ON_PURPOSE}: cannot judge {n}");
            }
            true
        });
        let rdd = rows.id();
        let error = rows.map(|n| n * 2).count().unwrap_err();
        assert_eq!(attempts.get(), limit);

        let text = error.to_string();
        let place = format!("filter at {}:{}", file!(), line);
        let (rdd_text, message) = (rdd.to_string(), format!("{ON_PURPOSE}: cannot judge 15"));
        // How many rows it was given at once depends on how long they took.
        let row = if limit > 1 { "row 4 of" } else { "rows " };
        let attempt = format!("attempt {limit}");
        for part in [&place, &rdd_text, "stage ", "partition 1", &attempt, row, "panicked", &message] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
        assert!(text.contains(&format!("after {limit} attempt")), "{text}");
        let Error::TaskFailed { rdd: blamed, partition: 1, causes, .. } = error else { panic!("{error:?}") };
        assert_eq!(blamed, rdd);
        assert_eq!(
            causes.iter().map(|cause| cause.attempt).collect::<Vec<_>>(),
            (1..=limit as u32).collect::<Vec<_>>()
        );
        assert!(causes.iter().all(|cause| matches!(cause.error, TaskError::Panicked { .. }) && cause.rdd == rdd));

        let tried: Vec<_> = (1..=limit as u32).map(|attempt| (attempt, (attempt as usize) < limit)).collect();
        assert_eq!(failures(&drain(&mut events)), tried);
        assert_works(&world);
    }
}

#[test]
fn a_panic_in_the_closure_of_an_action_is_laid_at_the_action() {
    let world = World::new(1);
    let rows = world.range_into(0..4_u64, 1).map(|n| n);
    let errors = [
        ("for_each", rows.for_each(|_| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("reduce", rows.reduce(|_, _| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("fold", rows.fold(0, |_, _| panic!("{ON_PURPOSE}")).unwrap_err()),
        ("aggregate", rows.aggregate(0_u64, |_, _| panic!("{ON_PURPOSE}"), |a, _| a).unwrap_err()),
        ("top_by", rows.top_by(1, |_| -> u64 { panic!("{ON_PURPOSE}") }).unwrap_err()),
        ("for_each_partition", rows.for_each_partition(|_| panic!("{ON_PURPOSE}")).unwrap_err()),
    ];
    let wrong: Vec<_> = errors.iter().filter(|(action, error)| !error.to_string().starts_with(action)).collect();
    assert!(wrong.is_empty(), "blamed on another operator: {wrong:#?}");
    assert_works(&world);
}

#[test]
fn a_closure_that_panics_once_is_retried_and_nobody_notices() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let mut events = world.events();
    let rows = world.range_into(0..30_u64, 3).map(move |n| {
        assert!(n != 15 || counter.add() > 0, "{ON_PURPOSE}");
        n
    });
    assert_eq!(rows.collect().unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!((attempts.get(), failures(&drain(&mut events))), (2, vec![(1, true)]));
}

#[test]
fn a_map_task_that_panics_once_leaves_no_duplicate_in_the_shuffle() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let pairs = world.range_into(0..3_000_u64, 3).map(move |n| {
        // In the middle: much has been written by then.
        assert!(n != 1_900 || counter.add() > 0, "{ON_PURPOSE}");
        (n % 10, 1_u64)
    });
    let counts = pairs.reduce_by_key_into(|a, b| a + b, 2).collect_as_map().unwrap();
    assert_eq!(attempts.get(), 2);
    assert!(counts.len() == 10 && counts.values().all(|count| *count == 300), "{counts:?}");
}

#[test]
fn a_closure_that_panics_on_one_row_of_a_million_fails_its_job_and_no_other() {
    let world = World::new(2);
    let rows = world.range_into(0..1_000_000_u64, 8).map(|n| {
        assert!(n != 765_432, "{ON_PURPOSE}: row {n}");
        n
    });
    let (bad, good) = (rows.count_async(), world.range_into(0..100_000_u64, 8).map(|n| n + 1).count_async());
    let error = bad.wait().unwrap_err();
    assert!(error.to_string().contains("row 765432"), "{error}");
    // The last attempt has looked at each row by itself: the partition begins with 750,000.
    let Error::TaskFailed { partition: 6, causes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(causes.last().unwrap().rows, Some(RowSpan { first: 15_432, count: 1 }));
    assert!(
        causes
            .iter()
            .all(|cause| cause.rows.is_some_and(|rows| (rows.first..rows.first + rows.count).contains(&15_432)))
    );
    assert!(error.to_string().contains("row 15432 of what it was given: panicked"), "{error}");
    assert_eq!(good.wait().unwrap(), 100_000);
    assert_works(&world);
}

#[test]
fn an_error_of_try_map_is_not_retried() {
    let world = World::new(2);
    let attempts = Tally::new();
    let counter = attempts.clone();
    let mut events = world.events();
    let rows = world.range_into(0..30_u64, 3).try_map(move |n| {
        if n == 15 {
            counter.add();
            return Err(fmt::Error);
        }
        Ok(n)
    });
    let error = rows.collect().unwrap_err();
    assert_eq!((attempts.get(), failures(&drain(&mut events))), (1, vec![(1, false)]));
    let Error::TaskFailed { causes, rdd, .. } = &error else { panic!("{error:?}") };
    let [only] = &causes[..] else { panic!("{error:?}") };
    assert!(matches!(&only.error, TaskError::Rejected { cause } if cause.is::<fmt::Error>()), "{error:?}");
    assert_eq!(*rdd, rows.id());
    assert!(error.to_string().contains("after 1 attempt;") && error.to_string().contains("row 5 of what"), "{error}");
    assert_works(&world);
}

#[test]
fn an_error_of_try_map_retrying_is_retried_as_often_as_a_panic() {
    let world = World::new(2);
    for (fails, outcome) in [(3, Some(30)), (4, None)] {
        let attempts = Tally::new();
        let counter = attempts.clone();
        let mut events = world.events();
        let rows = world.range_into(0..30_u64, 3).try_map_retrying(move |n| match n {
            15 if counter.add() < fails => Err(fmt::Error),
            n => Ok(n),
        });
        assert_eq!((rows.count().ok(), attempts.get()), (outcome, 4));
        let last = if outcome.is_some() { vec![] } else { vec![(4, false)] };
        assert_eq!(failures(&drain(&mut events)), [vec![(1, true), (2, true), (3, true)], last].concat());
    }
}

#[test]
fn the_row_that_every_attempt_panics_at_is_named_wherever_it_is() {
    let world = World::new(2);
    let bad = |n: u64| assert!(n != 77, "{ON_PURPOSE}");
    let rows = world.range_into(0..100_u64, 2);
    let row_of = |outcome: Result<u64, Error>| {
        let Err(Error::TaskFailed { causes, operator, .. }) = outcome else { panic!("{outcome:?}") };
        (
            operator.split(' ').next().unwrap().to_owned(),
            causes.last().unwrap().rows.map(|rows| (rows.first, rows.count)),
        )
    };
    let named = |name: &str, row: u64| (name.to_owned(), Some((row, 1)));
    let count = |rdd: Rdd<u64>| row_of(rdd.count());
    // Of the fifty rows of the second partition.
    let map = rows.map(move |n| (bad(n), n).1);
    assert_eq!(count(map), named("map", 27));
    assert_eq!(count(rows.filter(move |n| (bad(*n), true).1)), named("filter", 27));
    assert_eq!(count(rows.flat_map(move |n| vec![(bad(n), n).1])), named("flat_map", 27));
    assert_eq!(count(rows.flat_map(move |n| (0..3).map(move |k| (bad(n + k), n).1))), named("flat_map", 25));
    // Of those that are left of them.
    assert_eq!(count(rows.filter(|n| n % 2 == 1).map(move |n| (bad(n), n).1)), named("map", 13));
    // Of what was sorted, by another order.
    assert_eq!(count(rows.sort_by_into(|n| u64::MAX - n, 2).map(move |n| (bad(n), n).1)), named("map", 22));
    assert_eq!(count(rows.cache().map(move |n| (bad(n), n).1)), named("map", 27));
    assert_eq!(row_of(rows.for_each(bad).map(|()| 0)), named("for_each", 27));
    let sums = rows.key_by(move |n| (bad(*n), n % 3).1).reduce_by_key(|a, b| a + b);
    assert_eq!(row_of(sums.count()), named("key_by", 27));
    // Whoever works on a partition as a whole is given no row.
    let whole = rows.map_partitions(move |rows| rows.inspect(move |n| bad(*n)));
    assert_eq!(count(whole), ("map_partitions".to_owned(), None));
}

/// Ten rows a partition; partition 1 fails in its middle so many times.
struct Flaky {
    failures: usize,
    reads: Tally,
}

impl Source for Flaky {
    type Row = u64;
    type Error = std::io::Error;
    type Rows = Box<dyn Iterator<Item = Result<u64, std::io::Error>>>;

    fn partitions(&self) -> usize {
        3
    }

    fn read(&self, partition: usize) -> Result<Self::Rows, std::io::Error> {
        let fails = partition == 1 && self.reads.add() < self.failures;
        let first = partition as u64 * 10;
        let row = move |n| if fails && n == first + 5 { Err(std::io::Error::other("the disk hiccups")) } else { Ok(n) };
        Ok(Box::new((first..first + 10).map(row)))
    }
}

#[test]
fn an_error_of_a_source_is_retried_up_to_the_limit() {
    let world = World::with(|builder| builder.workers(2).task_failure_limit(3));
    let reads = Tally::new();
    let rows = world.from_source(Flaky { failures: 2, reads: reads.clone() });
    assert_eq!(rows.collect().unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!(reads.get(), 3);

    let reads = Tally::new();
    let rows = world.from_source(Flaky { failures: usize::MAX, reads: reads.clone() });
    let error = rows.collect().unwrap_err();
    assert_eq!(reads.get(), 3);
    assert!(error.to_string().contains("the disk hiccups"), "{error}");
    assert!(matches!(&error, Error::TaskFailed { causes, .. } if causes.len() == 3), "{error:?}");
    assert_works(&world);
}

/// A row that panics in one of its traits if it is 13.
#[derive(Debug, Serialize, Deserialize)]
struct Touchy<const IN: char>(u64);

impl<const IN: char> Touchy<IN> {
    fn touch(&self, what: char) {
        if self.0 == 13 && IN == what && !thread::panicking() {
            panic!("{ON_PURPOSE}: {what}");
        }
    }
}

impl<const IN: char> Clone for Touchy<IN> {
    fn clone(&self) -> Self {
        self.touch('c');
        Self(self.0)
    }
}

impl<const IN: char> PartialEq for Touchy<IN> {
    fn eq(&self, other: &Self) -> bool {
        self.touch('e');
        self.0 == other.0
    }
}

impl<const IN: char> Eq for Touchy<IN> {}

impl<const IN: char> Hash for Touchy<IN> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.touch('h');
        self.0.hash(state);
    }
}

impl<const IN: char> Drop for Touchy<IN> {
    fn drop(&mut self) {
        self.touch('d');
    }
}

/// A job that counts something.
trait CountJob: FnOnce() -> Result<u64, Error> + Send {}

impl<F: FnOnce() -> Result<u64, Error> + Send> CountJob for F {}

/// Jobs over touchy rows: each ends in an error that says what panicked, and the context goes on.
fn assert_touchy_rows_fail_their_job_alone<const IN: char>(panics_in: &[&str]) {
    let world = World::roomy(2);
    let rows = world.range_into(0..40_u64, 4).map(|n| Touchy::<IN>(n % 20));
    let pairs = rows.map(|row| (row, 1_u64));
    let jobs: [(&str, Box<dyn CountJob>); 5] = [
        (
            "distinct",
            Box::new({
                let rows = rows.clone();
                move || rows.distinct_into(2).count()
            }),
        ),
        ("reduce_by_key", Box::new(move || pairs.reduce_by_key_into(|a, b| a + b, 2).count())),
        (
            "filter",
            Box::new({
                let rows = rows.clone();
                move || rows.filter(|row| row.0 != 13).count()
            }),
        ),
        (
            "drop",
            Box::new({
                let rows = rows.clone();
                move || rows.map(|row| row.0).count()
            }),
        ),
        (
            "cache",
            Box::new(move || {
                let cached = rows.cache();
                cached.count()?;
                let copies = cached.map(|row| row.0 + 1).count();
                cached.unpersist();
                copies
            }),
        ),
    ];
    for (name, job) in jobs {
        let outcome = within_deadline(job);
        if panics_in.contains(&name) {
            let error = outcome.expect_err(name).to_string();
            assert!(error.contains(&format!("{ON_PURPOSE}: {IN}")), "{name}: {error}");
        } else {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
        let range = world.range_into(0..10_u64, 3);
        assert_eq!(within_deadline(move || range.count()).unwrap(), 10, "after {name}");
    }
}

#[test]
fn a_panic_in_hash_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'h'>(&["distinct", "reduce_by_key"]);
}

#[test]
fn a_panic_in_eq_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'e'>(&["distinct", "reduce_by_key"]);
}

#[test]
fn a_panic_in_clone_fails_its_job_alone() {
    assert_touchy_rows_fail_their_job_alone::<'c'>(&["distinct", "reduce_by_key", "cache"]);
}

#[test]
fn a_panic_in_drop_within_a_task_fails_its_job_alone() {
    let world = World::new(2);
    let rows = world.range_into(0..40_u64, 4).map(Touchy::<'d'>);
    let error = rows.map(|row| row.0).count().unwrap_err().to_string();
    assert!(error.contains(&format!("{ON_PURPOSE}: d")), "{error}");
    assert_works(&world);
}

#[test]
fn a_panic_whose_payload_is_not_text_is_reported_as_such() {
    let world = World::new(2);
    let rows = world.range_into(0..4_u64, 2).map(|n| -> u64 { panic::panic_any(n) });
    let error = rows.count().unwrap_err();
    assert!(error.to_string().contains("(a value that is not text)"), "{error}");
    assert_works(&world);

    /// A payload that panics once more when it is dropped.
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("{ON_PURPOSE}: again");
        }
    }
    let rows = world.range_into(0..4_u64, 2).map(|_| -> u64 { panic::panic_any(Again) });
    assert!(matches!(rows.count(), Err(Error::TaskFailed { .. })));
    assert_works(&world);
}

#[test]
fn a_job_that_cannot_succeed_fails_whoever_else_waits_for_the_same_stage() {
    let world = World::new(2);
    let gate = Gate::new();
    let inner = gate.clone();
    let rows = world
        .range_into(0..4_u64, 4)
        .map(move |n| {
            inner.pass();
            assert!(n != 2, "{ON_PURPOSE}");
            (n, n)
        })
        .reduce_by_key_into(|a, b| a + b, 2);
    let (one, other) = (rows.count_async(), rows.collect_async());
    gate.wait_for(1);
    gate.open();
    assert!(matches!(one.wait(), Err(Error::TaskFailed { partition: 2, .. })));
    assert!(matches!(other.wait(), Err(Error::TaskFailed { partition: 2, .. })));
    assert_works(&world);
}

/// What a closure does behind its loop over the rows, such as a commit, is not done for half of them.
#[test]
fn a_closure_over_rows_that_cannot_be_read_does_not_see_their_end() {
    let world = World::new(2);
    let rows = world.range_into(0..10_000_u64, 1);
    let failing = rows.try_map(|n| if n == 5_000 { Err(format!("{ON_PURPOSE}: no {n}")) } else { Ok(n) });
    let (seen, ended) = (Tally::new(), Tally::new());
    let (see, end) = (seen.clone(), ended.clone());
    let each = move |rows: emberflow::PartitionIter<u64>| {
        for _ in rows {
            see.add();
        }
        end.add();
    };
    let error = failing.for_each_partition(each.clone()).unwrap_err().to_string();
    assert!(error.contains("no 5000") && error.contains("try_map at tests/recovery_attempts.rs"), "{error}");
    assert!(seen.get() > 0 && seen.get() < 5_001);
    assert_eq!(ended.get(), 0);

    // Nor is it when the job is cancelled: here by its own rows.
    let ctx = world.clone();
    let endless = world.range_into(0..u64::MAX, 1).map(move |n| {
        if n == 100_000 {
            ctx.cancel_jobs_with_tag("endless").unwrap();
        }
        n
    });
    let action = world.with_job_tag("endless", || endless.for_each_partition_async(each));
    assert!(matches!(within_deadline(move || action.wait()), Err(Error::Cancelled { .. })));
    assert_eq!(world.range_into(0..10_u64, 2).count().unwrap(), 10);
    assert_eq!(ended.get(), 0);
}
