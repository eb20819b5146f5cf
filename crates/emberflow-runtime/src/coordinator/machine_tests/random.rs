//! Long random histories of two random jobs that share stores; late, repeated and stale messages among the rest.

use std::cell::RefCell;

use emberflow_core::{error::TaskError, plan::StageKind};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    super::*,
    world::{Read, World, done, done_otherwise, failed, limits, panicked, passed, stage},
};

/// Unless `MACHINE_CASES` says another number.
const CASES: u32 = 2_500;

/// The next thing to happen, to the task, job or store that a number picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Done,
    DoneOtherwise,
    Panicked,
    Overdue,
    Lingers,
    Stalled,
    Rejected,
    OutputLost,
    OneInputLost,
    AllInputsLost,
    NoInputLost,
    OwnerDied,
    StoredLost,
    LateAnswer,
    LateLoss,
    Cancel,
    Evict,
    Forget,
}

#[derive(Clone, Debug)]
struct Table {
    persisted: bool,
    partitions: usize,
    /// A bit for each store before this one.
    reads: u8,
}

#[derive(Clone, Debug)]
struct Case {
    stores: Vec<Table>,
    /// Partitions, and which stores are read.
    results: [(usize, u8); 2],
    /// When the second job comes.
    second: usize,
    /// A store that is released before that, so that the second job's plans do without it.
    unpersisted: Option<usize>,
    limits: (usize, u32, usize),
    moves: Vec<(Move, usize)>,
}

impl Case {
    fn reads(&self, mask: u8, without: Option<usize>) -> Vec<Read> {
        let mut mask = mask & ((1 << self.stores.len()) - 1);
        if let Some(gone) = without.filter(|gone| mask & (1 << gone) != 0) {
            mask = mask & !(1 << gone) | self.stores[gone].reads & ((1 << gone) - 1);
        }
        let read = (0..self.stores.len()).filter(|at| mask & (1 << at) != 0);
        let read = read.map(|at| match &self.stores[at] {
            Table { persisted: true, partitions, .. } => Read::Same(at as u64, *partitions),
            _ => Read::All(at as u64),
        });
        read.collect()
    }

    fn job(&self, job: usize, without: Option<usize>) -> Vec<StageSpec> {
        let stores = self.stores.iter().enumerate().filter(|(at, _)| without != Some(*at)).map(|(at, table)| {
            let kind = if table.persisted { StageKind::Persist } else { StageKind::ShuffleMap };
            stage(kind, at as u64, table.partitions, &self.reads(table.reads & ((1 << at) - 1), without))
        });
        let (partitions, mask) = self.results[job];
        let result = stage(StageKind::Result, 100 + job as u64, partitions, &self.reads(mask, without));
        stores.chain([result]).collect()
    }

    /// Lives through the case, and says what became of it.
    fn run(&self) -> (Vec<Move>, Vec<Result<(), Error>>) {
        let (task_failures, losses, workers) = self.limits;
        let mut world = World::new(limits(task_failures, losses, workers));
        let mut made = Vec::new();
        world.submit(1, &self.job(0, None));
        for (at, (what, pick)) in self.moves.iter().enumerate() {
            if at == self.second {
                let gone = self.unpersisted.filter(|at| self.stores.get(*at).is_some_and(|table| table.persisted));
                gone.into_iter().for_each(|gone| world.forget(gone as u64));
                world.submit(2, &self.job(1, gone));
            }
            if self.make(*what, *pick, at, &mut world).is_some() {
                made.push(*what);
            }
        }
        world.finish();
        world.hear_it_all_again();
        world.kept_stores().into_iter().for_each(|store| world.forget(store.get()));
        assert!(world.machine.stores.is_empty());
        (made, world.ended.into_values().collect())
    }

    /// `None` if there is nothing that this could happen to.
    fn make(&self, what: Move, pick: usize, at: usize, world: &mut World) -> Option<()> {
        let tasks: Vec<TaskId> = world.running.keys().copied().collect();
        let task = |pick: usize| tasks.get(pick % tasks.len().max(1)).copied();
        let late: Vec<(TaskId, StorePartition)> = world.late.iter().map(|(task, key)| (*task, *key)).collect();
        let late = |pick: usize| late.get(pick % late.len().max(1)).copied();
        match what {
            Move::Done => world.end(task(pick)?, if pick.is_multiple_of(3) { passed() } else { done() }),
            Move::DoneOtherwise => world.end(task(pick)?, done_otherwise()),
            Move::Panicked => world.end(task(pick)?, panicked()),
            Move::Overdue => world.overdue(task(pick)?),
            Move::Lingers => {
                let slow: Vec<TaskId> = tasks.iter().copied().filter(|task| world.is_slow(*task)).collect();
                world.linger(*slow.get(pick % slow.len().max(1))?);
            }
            Move::Stalled => world.stall(),
            Move::Rejected => world.end(task(pick)?, failed(TaskError::rejected("no"))),
            Move::OutputLost => world.end(task(pick)?, failed(TaskError::OutputLost)),
            Move::OneInputLost => {
                let readers: Vec<TaskId> =
                    tasks.iter().copied().filter(|task| !world.running[task].seen.is_empty()).collect();
                let task = *readers.get(pick % readers.len().max(1))?;
                let seen = &world.running[&task].seen;
                let lost = vec![seen[pick / 7 % seen.len()]];
                world.end(task, TaskEnd::InputsLost { lost, cause: None });
            }
            Move::AllInputsLost => {
                let task = task(pick)?;
                world.end(task, TaskEnd::InputsLost { lost: world.running[&task].seen.clone(), cause: None });
            }
            Move::NoInputLost => world.end(task(pick)?, TaskEnd::InputsLost { lost: Vec::new(), cause: None }),
            Move::OwnerDied => {
                let task = task(pick)?;
                let key = Some(world.running[&task].key).filter(|key| !world.is_result(key.0))?;
                world.lose(key, task);
            }
            Move::StoredLost => {
                let stored: Vec<StorePartition> = world.stored.keys().copied().collect();
                world.lose_stored(*stored.get(pick % stored.len().max(1))?);
            }
            Move::Evict => {
                let stored: Vec<StorePartition> = world.stored.keys().copied().collect();
                world.evict(*stored.get(pick % stored.len().max(1))?);
            }
            Move::LateAnswer => world.end(late(pick)?.0, if pick.is_multiple_of(2) { done() } else { panicked() }),
            Move::LateLoss => {
                let (task, key) = late(pick).filter(|(task, key)| world.stored.get(key) != Some(task))?;
                // Results have no actor that could die.
                world.kept_stores().contains(&key.0).then(|| world.lose(key, task))?;
            }
            Move::Cancel => {
                let jobs = world.living();
                world.cancel(jobs.get(pick % jobs.len().max(1))?.get());
            }
            Move::Forget => {
                // Until the second job has come its lineage keeps everything.
                let stores = world.kept_stores();
                let store = stores.get(pick % stores.len().max(1)).filter(|_| at >= self.second)?;
                world.forget(store.get());
            }
        }
        Some(())
    }
}

fn case() -> impl Strategy<Value = Case> {
    let table = (any::<bool>(), 1..=3usize, 1..8u8);
    let table = table.prop_map(|(persisted, partitions, reads)| Table { persisted, partitions, reads });
    let what = prop_oneof![
        20 => Just(Move::Done),
        2 => Just(Move::DoneOtherwise),
        2 => Just(Move::Panicked),
        1 => Just(Move::Overdue),
        6 => Just(Move::Lingers),
        1 => Just(Move::Stalled),
        1 => Just(Move::Rejected),
        2 => Just(Move::OutputLost),
        3 => Just(Move::OneInputLost),
        1 => Just(Move::AllInputsLost),
        1 => Just(Move::NoInputLost),
        2 => Just(Move::OwnerDied),
        4 => Just(Move::StoredLost),
        2 => Just(Move::Evict),
        2 => Just(Move::LateAnswer),
        1 => Just(Move::LateLoss),
        1 => Just(Move::Cancel),
        1 => Just(Move::Forget),
    ];
    let result = (0..=3usize, 1..8u8);
    let unpersisted = proptest::option::of(0..3usize);
    let limits = (2..=4usize, 2..=4u32, 1..=2usize);
    let moves = vec((what, 0..1_000usize), 0..=50);
    (vec(table, 0..=3), [result.clone(), result], 0..12usize, unpersisted, limits, moves).prop_map(
        |(stores, results, second, unpersisted, limits, moves)| Case {
            stores,
            results,
            second,
            unpersisted,
            limits,
            moves,
        },
    )
}

#[test]
fn whatever_happens_in_whatever_order_every_job_ends_once_and_nothing_is_left() {
    let cases = std::env::var("MACHINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let made: RefCell<BTreeMap<Move, usize>> = RefCell::default();
    let ends: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    let ran = TestRunner::new(config).run(&case(), |case| {
        let (moves, outcomes) = case.run();
        for what in moves {
            *made.borrow_mut().entry(what).or_default() += 1;
        }
        for outcome in outcomes {
            let end = match outcome {
                Ok(()) => "succeeded",
                Err(Error::TaskFailed { .. }) => "failed",
                Err(Error::LostTooOften { .. }) => "lost",
                Err(Error::NotDeterministic { .. }) => "differs",
                Err(Error::Stalled { .. }) => "stalled",
                Err(_) => "cancelled",
            };
            *ends.borrow_mut().entry(end).or_default() += 1;
        }
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{made:?}, {ends:?}");
    // A run that met not every kind of move and of end has shown little.
    assert_eq!((made.borrow().len(), ends.borrow().len()), (Move::Forget as usize + 1, 6));
}
