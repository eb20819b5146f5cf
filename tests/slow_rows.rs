//! Rows that take long one by one: cancelling, dropping the context, `first` and `take` wait for a few of them, never for
//! a batch. What counts is how many rows are worked on, not how long that takes.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use emberflow::{Action, Error, Rdd, Source};

use self::support::{World, within_deadline};

/// Rows that one slice may hold before it is known that they are slow, and what the next slices may add, for each worker.
const FEW: usize = 12;
const WORKERS: usize = 2;

/// Code that takes 20 ms for each row, and counts them.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

impl Slow {
    #[allow(clippy::disallowed_methods, reason = "the work that takes its time; nothing waits for it to be over")]
    fn work<T>(&self, row: T) -> T {
        self.0.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        row
    }

    fn rows(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Source for Slow {
    type Row = u64;
    type Error = std::io::Error;
    type Rows = Box<dyn Iterator<Item = Result<u64, std::io::Error>>>;

    fn partitions(&self) -> usize {
        WORKERS
    }

    fn read(&self, _: usize) -> Result<Self::Rows, Self::Error> {
        let slow = self.clone();
        Ok(Box::new((0..2_000).map(move |n| Ok(slow.work(n)))))
    }
}

fn nothing<T>(_: T) {}

/// Operators whose code is slow. Each gives rows as long as it is given some.
type Narrow = fn(&Rdd<u64>, Slow) -> Rdd<u64>;
const NARROW: &[(&str, Narrow)] = &[
    ("map", |rows, slow| rows.map(move |n| slow.work(n))),
    ("map after a map", |rows, slow| rows.map(|n| n + 1).map(move |n| slow.work(n))),
    ("map_ref", |rows, slow| rows.map_ref(move |n| slow.work(*n))),
    ("filter", |rows, slow| rows.filter(move |_| slow.work(true))),
    ("try_map", |rows, slow| rows.try_map(move |n| Ok::<_, std::fmt::Error>(slow.work(n)))),
    ("key_by", |rows, slow| rows.key_by(move |n| slow.work(*n)).values()),
    ("map_values", |rows, slow| rows.map(|n| (n, n)).map_values(move |n| slow.work(n)).values()),
    ("flat_map", |rows, slow| rows.flat_map(move |n| [slow.work(n)])),
    ("flat_map, its iterators", |rows, slow| {
        rows.flat_map(move |n| {
            let slow = slow.clone();
            (0..1_000).map(move |m| slow.work(n + m))
        })
    }),
    ("flat_map_values, its iterators", |rows, slow| {
        let pairs = rows.map(|n| (n, n)).flat_map_values(move |n| {
            let slow = slow.clone();
            (0..1_000).map(move |m| slow.work(n + m))
        });
        pairs.values()
    }),
    ("flat_map_extend", |rows, slow| rows.flat_map_extend(move |n, out| out.push(slow.work(*n)))),
    ("flat_map_ref", |rows, slow| rows.flat_map_ref(move |n, out| out.push(slow.work(*n)))),
    ("map_partitions", |rows, slow| {
        rows.map_partitions(move |rows| {
            let slow = slow.clone();
            rows.map(move |n| slow.work(n))
        })
    }),
    ("zip_partitions", |rows, slow| {
        rows.zip_partitions(rows, move |rows, _| {
            let slow = slow.clone();
            rows.map(move |n| slow.work(n))
        })
    }),
    ("sample_by_key", |rows, slow| rows.map(|n| (n, n)).sample_by_key(false, move |_| slow.work(1.0), 7).values()),
    ("map of cached rows", |rows, slow| {
        let cached = rows.cache();
        cached.count().unwrap();
        cached.map(move |n| slow.work(n))
    }),
    ("map of shuffled rows", |rows, slow| rows.repartition(WORKERS).map(move |n| slow.work(n))),
    ("map of sorted rows", |rows, slow| rows.sort_by_into(|n| *n, WORKERS).map(move |n| slow.work(n))),
    ("map of joined rows", |rows, slow| {
        let pairs = rows.map(|n| (n, n));
        pairs.join_into(&pairs, WORKERS).map(move |(n, _)| slow.work(n))
    }),
    ("map of grouped rows", |rows, slow| {
        rows.map(|n| (n, n)).group_by_key_into(WORKERS).map(move |(n, _)| slow.work(n))
    }),
];

/// Jobs whose code is slow elsewhere.
type Job = fn(&Rdd<u64>, Slow) -> Action<()>;
const JOBS: &[(&str, Job)] = &[
    ("for_each", |rows, slow| rows.for_each_async(move |n| nothing(slow.work(n)))),
    ("for_each_partition", |rows, slow| {
        rows.for_each_partition_async(move |rows| rows.for_each(|n| nothing(slow.work(n))))
    }),
    ("the key of a sort", |rows, slow| rows.sort_by(move |n| slow.work(*n)).for_each_async(nothing)),
    ("the key of a group", |rows, slow| rows.group_by(move |n| slow.work(*n)).for_each_async(nothing)),
    ("merging in map tasks", |rows, slow| {
        rows.map(|n| (n % 2, n)).reduce_by_key(move |a, b| slow.work(a.max(b))).for_each_async(nothing)
    }),
    ("merging in reduce tasks", |rows, slow| {
        rows.map(|n| (n % 1_000, n))
            .reduce_by_key_into(move |a, b| slow.work(a.max(b)), WORKERS)
            .for_each_async(nothing)
    }),
    ("what is cached", |rows, slow| rows.map(move |n| slow.work(n)).cache().for_each_async(nothing)),
];

fn rows(world: &World) -> Rdd<u64> {
    world.range_into(0..WORKERS as u64 * 1_000, WORKERS)
}

/// Runs so many tasks as there are workers, all at once: the workers are free.
fn workers_are_free(world: &World) {
    let barrier = Arc::new(std::sync::Barrier::new(WORKERS));
    world.range_into(0..WORKERS as u64, WORKERS).for_each(move |_| nothing(barrier.wait())).unwrap();
}

#[test]
fn first_and_take_work_on_a_few_slow_rows() {
    for (name, program) in NARROW {
        let (name, program) = (*name, *program);
        within_deadline(move || {
            let (world, slow) = (World::new(WORKERS), Slow::default());
            let rdd = program(&rows(&world), slow.clone());
            rdd.first().unwrap().unwrap();
            assert!(slow.rows() <= FEW, "{name}: {} rows for one", slow.rows());
            assert_eq!(rdd.take(2).unwrap().len(), 2);
            assert!(slow.rows() <= 2 * FEW, "{name}: {} rows for one and two", slow.rows());
        });
    }
}

#[test]
fn first_and_take_of_a_slow_source_read_a_few_rows() {
    within_deadline(|| {
        let (world, slow) = (World::new(WORKERS), Slow::default());
        let rows = world.from_source(slow.clone());
        assert_eq!(rows.first().unwrap(), Some(0));
        assert_eq!(rows.take(2).unwrap(), [0, 1]);
        assert!(slow.rows() <= 2 * FEW, "{} rows for one and two", slow.rows());
    });
}

/// Starts `job`, waits until it works on slow rows, and cancels it.
fn cancel(name: &'static str, job: impl FnOnce(&Rdd<u64>, Slow) -> Action<()> + Send + 'static) {
    within_deadline(move || {
        let (world, slow) = (World::new(WORKERS), Slow::default());
        let action = job(&rows(&world), slow.clone());
        while slow.rows() < 3 {
            thread::yield_now();
        }
        action.canceller().cancel();
        let before = slow.rows();
        assert!(matches!(action.wait(), Err(Error::Cancelled { .. })), "{name}");
        workers_are_free(&world);
        let more = slow.rows() - before;
        assert!(more <= FEW * WORKERS, "{name}: {more} rows after it was cancelled");
    });
}

#[test]
fn cancelling_a_job_waits_for_a_few_slow_rows() {
    for (name, program) in NARROW {
        cancel(name, |rows, slow| program(rows, slow).for_each_async(nothing));
    }
    for (name, job) in JOBS {
        cancel(name, job);
    }
}

#[test]
fn dropping_the_context_waits_for_a_few_slow_rows() {
    within_deadline(|| {
        let (world, slow) = (World::new(WORKERS), Slow::default());
        let work = slow.clone();
        let action = rows(&world).map(move |n| work.work(n)).for_each_async(nothing);
        while slow.rows() < 3 {
            thread::yield_now();
        }
        let before = slow.rows();
        drop(world);
        action.wait().unwrap_err();
        let more = slow.rows() - before;
        assert!(more <= FEW * WORKERS, "{more} rows after the context was dropped");
    });
}
