//! Every order of events, as far as small jobs and few faults go.

use std::collections::HashSet;

use emberflow_core::error::TaskError;

use super::{
    super::*,
    jobs,
    world::{World, done, done_otherwise, failed, limits, panicked},
};

/// The messages that are still to come on one path.
#[derive(Clone)]
struct Path {
    world: World,
    faults: u32,
    submitted: usize,
}

#[derive(Debug, Default)]
struct Seen {
    states: usize,
    ends: usize,
    succeeded: usize,
    failed: usize,
    lost: usize,
    cancelled: usize,
}

/// Walks all the states that can be reached, and looks at each of them.
fn explore(plans: &[Vec<StageSpec>], faults: u32, workers: usize) -> Seen {
    let mut world = World::new(limits(2, 2, workers));
    world.checked_elsewhere = true;
    let mut open = vec![Path { world, faults, submitted: 0 }];
    let mut known: HashSet<(u64, u32, usize)> = HashSet::new();
    let mut seen = Seen::default();
    while let Some(path) = open.pop() {
        if !known.insert((path.world.state_hash(), path.faults, path.submitted)) {
            continue;
        }
        seen.states += 1;
        path.world.check();
        path.world.hear_it_all_again();
        if path.world.running.is_empty() && path.submitted == plans.len() {
            assert_eq!(path.world.ended.len(), plans.len());
            seen.ends += 1;
            for outcome in path.world.ended.values() {
                *match outcome {
                    Ok(()) => &mut seen.succeeded,
                    Err(Error::TaskFailed { .. }) => &mut seen.failed,
                    Err(Error::LostTooOften { .. }) => &mut seen.lost,
                    Err(_) => &mut seen.cancelled,
                } += 1;
            }
            assert!(path.faults < faults || path.world.ended.values().all(Result::is_ok), "no fault, and yet an error");
        }
        moves(&path, plans, &mut open);
    }
    seen
}

fn moves(path: &Path, plans: &[Vec<StageSpec>], open: &mut Vec<Path>) {
    let mut go = |fault: bool, act: &dyn Fn(&mut World)| {
        if !fault || path.faults > 0 {
            let mut next = path.clone();
            next.world.events.clear();
            next.world.launched.clear();
            next.faults -= u32::from(fault);
            act(&mut next.world);
            open.push(next);
        }
    };
    let world = &path.world;
    for (id, task) in &world.running {
        go(false, &|world| world.end(*id, done()));
        go(true, &|world| world.end(*id, panicked()));
        go(true, &|world| world.end(*id, done_otherwise()));
        go(true, &|world| world.linger(*id));
        go(true, &|world| world.end(*id, failed(TaskError::rejected("no"))));
        go(true, &|world| world.end(*id, failed(TaskError::OutputLost)));
        for input in &task.seen {
            go(true, &|world| world.end(*id, TaskEnd::InputsLost { lost: vec![*input], cause: None }));
        }
        if task.seen.len() > 1 {
            go(true, &|world| world.end(*id, TaskEnd::InputsLost { lost: task.seen.clone(), cause: None }));
        }
        if !world.is_result(task.key.0) {
            go(true, &|world| world.lose(task.key, *id));
        }
    }
    for at in world.stored.keys() {
        go(true, &|world| world.lose_stored(*at));
        go(true, &|world| world.evict(*at));
    }
    for job in world.living() {
        go(true, &|world| world.cancel(job.get()));
    }
    if let Some(plan) = plans.get(path.submitted) {
        let mut next = path.clone();
        next.submitted += 1;
        next.world.submit(next.submitted as u64, plan);
        open.push(next);
    } else {
        for store in world.kept_stores().into_iter().filter(|store| !world.forgotten.contains(store)) {
            go(true, &|world| world.forget(store.get()));
        }
    }
}

fn explored(plans: &[Vec<StageSpec>], faults: u32, workers: usize) {
    let began = std::time::Instant::now();
    let seen = explore(plans, faults, workers);
    println!("{seen:?} in {:?}", began.elapsed());
    // A walk that met no failure has shown nothing.
    assert!(seen.succeeded > 0 && seen.cancelled > 0 && seen.failed > 0, "{seen:?}");
    assert!(faults < 2 || seen.lost > 0, "{seen:?}");
}

#[test]
fn every_order_of_three_faults_in_a_job_of_one_stage() {
    explored(&[jobs::one_stage()], 3, 1);
}

#[test]
fn every_order_of_three_faults_in_a_shuffle() {
    explored(&[jobs::shuffle()], 3, 2);
}

#[test]
fn every_order_of_three_faults_in_a_job_over_a_persisted_rdd() {
    explored(&[jobs::persisted()], 3, 1);
}

#[test]
fn every_order_of_two_faults_in_a_chain_of_two_shuffles() {
    explored(&[jobs::chain()], 2, 1);
}

#[test]
fn every_order_of_two_faults_in_a_diamond() {
    explored(&[jobs::diamond()], 2, 1);
}

#[test]
fn every_order_of_two_faults_in_two_jobs_that_share_a_shuffle() {
    explored(&jobs::sharing(), 2, 1);
}

#[test]
fn every_order_of_two_faults_in_two_jobs_that_share_a_chain() {
    explored(&jobs::sharing_chain(), 2, 2);
}
