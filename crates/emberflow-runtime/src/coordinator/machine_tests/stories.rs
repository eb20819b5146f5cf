//! Histories with a name. Each asserts what was launched, so that a fault that did not strike fails the test.

use emberflow_core::error::TaskError;

use super::{
    super::*,
    jobs,
    world::{Read, World, done, done_otherwise, failed, key, limits, maps, panicked, passed, persist, result},
};

/// A world with as many workers as any story needs.
fn world() -> World {
    World::new(limits(4, 4, 8))
}

/// Submits the jobs, the first one to be number one, and lets the tasks of store 1 end well.
fn after_the_maps(jobs: &[Vec<StageSpec>]) -> World {
    let mut world = world();
    for (at, stages) in jobs.iter().enumerate() {
        world.submit(1 + at as u64, stages);
    }
    for partition in 0..2 {
        world.end_at(key(1, partition), done());
    }
    world
}

fn outcome(world: &World, job: u64) -> &Result<(), Error> {
    world.ended.get(&JobId::new(job)).unwrap_or_else(|| panic!("job {job} has not ended"))
}

fn launches(world: &World, at: StorePartition) -> usize {
    world.launched.iter().filter(|launched| **launched == at).count()
}

#[test]
fn maps_come_before_their_reducers_and_each_runs_once() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    world.finish();
    assert_eq!(world.launched, [key(1, 0), key(1, 1), key(101, 0), key(101, 1)]);
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn only_the_partitions_that_are_wanted_are_computed() {
    let mut world = world();
    world.submit_some(1, &jobs::persisted(), vec![1]);
    world.finish();
    assert_eq!(world.launched, [key(1, 1), key(101, 1)]);
}

#[test]
fn a_task_that_waits_lets_a_task_of_another_job_past_until_it_ends() {
    // Of one worker, two tasks are out.
    let mut world = World::new(limits(4, 4, 1));
    world.submit(1, &[result(101, 4, &[])]);
    world.submit(2, &[result(102, 2, &[])]);
    assert_eq!(world.launched, [key(101, 0), key(101, 1)]);
    let waits = world.task_at(key(101, 0)).expect("it is out");
    world.step(Input::Away { task: waits });
    assert_eq!(world.launched[2..], [key(102, 0)]);
    world.end(waits, done());
    assert_eq!((world.launched.len(), world.running.len()), (3, 2));
    world.finish();
    assert!(outcome(&world, 1).is_ok() && outcome(&world, 2).is_ok());
}

#[test]
fn a_job_of_no_partitions_ends_at_once() {
    let mut world = world();
    world.submit_some(1, &jobs::shuffle(), Vec::new());
    assert!(outcome(&world, 1).is_ok() && world.launched.is_empty());
    world.submit(2, &[result(102, 0, &[])]);
    assert!(outcome(&world, 2).is_ok());
}

#[test]
fn a_shuffle_of_no_partitions_keeps_nobody_waiting() {
    let mut world = world();
    world.submit(1, &[maps(1, 0, &[]), result(101, 1, &[Read::All(1)])]);
    assert_eq!(world.launched, [key(101, 0)]);
    world.finish();
}

#[test]
fn losing_one_map_output_recomputes_that_one_and_then_its_reducers_finish() {
    let mut world = after_the_maps(&[jobs::shuffle()]);
    let reducer = world.task_at(key(101, 0)).expect("the maps are done");
    let lost = world.running[&reducer].seen[1];
    world.end(reducer, TaskEnd::InputsLost { lost: vec![lost], cause: None });
    world.finish();
    assert_eq!([0, 1].map(|partition| launches(&world, key(1, partition))), [1, 2]);
    assert_eq!([0, 1].map(|partition| launches(&world, key(101, partition))), [2, 1]);
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn a_loss_that_two_reducers_report_is_repaired_once() {
    let mut world = after_the_maps(&[jobs::shuffle()]);
    let lost = vec![(key(1, 0), world.stored[&key(1, 0)])];
    world.end_at(key(101, 0), TaskEnd::InputsLost { lost: lost.clone(), cause: None });
    world.end_at(key(1, 0), done());
    // By now this names a generation that is long replaced.
    world.end_at(key(101, 1), TaskEnd::InputsLost { lost, cause: None });
    world.finish();
    assert_eq!(launches(&world, key(1, 0)), 2);
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn losing_both_ends_of_a_chain_rebuilds_them_in_order() {
    let mut world = after_the_maps(&[jobs::chain()]);
    world.end_at(key(2, 0), done());
    world.lose_stored(key(1, 0));
    world.end_at(key(2, 1), done());
    world.launched.clear();
    let reader = world.task_at(key(101, 0)).expect("its shuffle is there");
    let lost = vec![world.running[&reader].seen[0]];
    world.end(reader, TaskEnd::InputsLost { lost, cause: None });
    world.finish();
    assert_eq!(world.launched, [key(1, 0), key(2, 0), key(101, 0)]);
}

#[test]
fn a_loss_while_the_reader_is_queued_is_repaired_before_the_reader_runs() {
    let mut world = World::new(limits(4, 4, 1));
    world.submit(1, &[maps(1, 2, &[]), result(101, 3, &[Read::All(1)])]);
    for partition in 0..2 {
        world.end_at(key(1, partition), done());
    }
    assert!(world.running.len() == 2 && world.task_at(key(101, 2)).is_none());
    world.lose_stored(key(1, 0));
    world.launched.clear();
    world.finish();
    // The two that run have what they need.
    assert_eq!(world.launched, [key(1, 0), key(101, 2)]);
}

#[test]
fn a_task_whose_owner_died_is_not_waited_for() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    let task = world.task_at(key(1, 0)).expect("maps read nothing");
    // The rows were in the owner's mailbox, and with them the report: nobody will ever answer for this attempt.
    world.lose(key(1, 0), task);
    world.finish();
    assert_eq!(launches(&world, key(1, 0)), 2);
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn a_late_answer_of_a_cancelled_task_is_discarded() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    let task = world.task_at(key(1, 0)).expect("maps read nothing");
    world.cancel(1);
    assert!(matches!(outcome(&world, 1), Err(Error::Cancelled { .. })));
    let answer = Input::TaskEnded { task, end: done(), ran: WorkerTime::default() };
    let commands = world.machine.clone().step(answer);
    assert!(matches!(commands[..], [Command::Discard { task: discarded }] if discarded == task), "{commands:?}");
    world.end(task, done());
    assert!(world.stored.is_empty());
}

#[test]
fn a_task_that_always_panics_fails_its_job_after_the_limit_with_all_causes_first_first() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    for attempt in 1..=4 {
        let error = TaskError::Panicked { message: format!("boom {attempt}") };
        world.end_at(key(1, 0), failed(error));
    }
    let Err(Error::TaskFailed { causes, partition: 0, rdd, operator, .. }) = outcome(&world, 1) else { panic!() };
    let told: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.attempt, cause.error)).collect();
    assert_eq!(told, (1..=4).map(|at| format!("{at}: panicked: boom {at}")).collect::<Vec<_>>());
    assert_eq!((rdd.get(), operator.as_str()), (7, "map at src/main.rs:7:10"));
}

#[test]
fn a_failure_that_would_repeat_itself_is_not_retried() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    world.end_at(key(1, 0), panicked());
    world.end_at(key(1, 0), failed(TaskError::rejected("not a number")));
    let Err(Error::TaskFailed { causes, .. }) = outcome(&world, 1) else { panic!() };
    assert_eq!((causes.len(), launches(&world, key(1, 0))), (2, 2));
}

#[test]
fn failing_twice_gives_the_second_job_all_its_attempts_again() {
    let mut world = world();
    let [first, second] = jobs::sharing();
    for (job, stages) in [(1, first), (2, second)] {
        world.submit(job, &stages);
        for attempt in 1..=4 {
            let task = world.task_at(key(1, 1)).expect("it is tried again");
            assert_eq!(world.running[&task].attempt, attempt);
            world.end(task, panicked());
        }
        assert!(matches!(outcome(&world, job), Err(Error::TaskFailed { causes, .. }) if causes.len() == 4));
    }
}

#[test]
fn losses_are_not_charged_to_the_task() {
    let mut world = after_the_maps(&[jobs::shuffle()]);
    for end in [panicked(), failed(TaskError::OutputLost), panicked(), failed(TaskError::OutputLost), panicked()] {
        world.end_at(key(101, 0), end);
    }
    let task = world.task_at(key(101, 0)).expect("three failures and two losses are less than four of either");
    assert_eq!(world.running[&task].attempt, 6);
    world.finish();
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn four_losses_in_a_row_end_the_job() {
    let mut world = after_the_maps(&[jobs::shuffle()]);
    for _ in 0..4 {
        let reducer = world.task_at(key(101, 0)).expect("it is tried again");
        let lost = vec![world.running[&reducer].seen[0]];
        world.end(reducer, TaskEnd::InputsLost { lost, cause: None });
        if world.task_at(key(1, 0)).is_some() {
            world.end_at(key(1, 0), done());
        }
    }
    let Err(Error::LostTooOften { losses: 4, last, partition: 0, .. }) = outcome(&world, 1) else { panic!() };
    assert!(matches!(last, TaskError::InputLost { partition: 0, generation: Some(_), .. }), "{last}");
    assert_eq!(launches(&world, key(1, 0)), 4);
}

#[test]
fn map_outputs_that_die_in_turns_before_anybody_reads_them_end_the_job() {
    let mut world = world();
    world.submit(1, &jobs::shuffle());
    world.end_at(key(1, 0), done());
    // There is always one of them, and never both.
    for turn in 0..7 {
        let (there, other) = (key(1, turn % 2), key(1, 1 - turn % 2));
        world.lose_stored(there);
        if world.living().is_empty() {
            break;
        }
        world.end_at(other, done());
    }
    let Err(Error::LostTooOften { losses: 4, last, partition: 0, .. }) = outcome(&world, 1) else { panic!() };
    assert!(matches!(last, TaskError::InputLost { partition: 0, generation: Some(_), .. }), "{last}");
    assert_eq!([0, 1].map(|partition| launches(&world, key(1, partition))), [4, 4]);
}

#[test]
fn losing_what_somebody_has_read_does_not_end_a_job_however_often() {
    let mut world = World::new(limits(4, 4, 1));
    world.submit(1, &[maps(1, 1, &[]), result(101, 20, &[Read::All(1)])]);
    while !world.living().is_empty() {
        let oldest = *world.running.keys().next().expect("nothing waits for ever");
        let is_reader = world.is_result(world.running[&oldest].key.0);
        world.end(oldest, done());
        if is_reader && world.stored.contains_key(&key(1, 0)) {
            world.lose_stored(key(1, 0));
        }
    }
    assert!(outcome(&world, 1).is_ok());
    assert!(launches(&world, key(1, 0)) > 5, "{:?}", world.launched);
}

#[test]
fn losing_too_often_gives_the_second_job_all_its_losses_again() {
    let mut world = world();
    let [first, second] = jobs::sharing();
    world.submit(1, &first);
    (0..4).for_each(|_| world.end_at(key(1, 0), failed(TaskError::OutputLost)));
    assert!(matches!(outcome(&world, 1), Err(Error::LostTooOften { .. })));
    world.submit(2, &second);
    (0..3).for_each(|_| world.end_at(key(1, 0), failed(TaskError::OutputLost)));
    world.finish();
    assert!(outcome(&world, 2).is_ok());
}

#[test]
fn a_stage_whose_outputs_are_there_is_skipped() {
    let [first, second] = jobs::sharing();
    let mut world = after_the_maps(&[first]);
    world.finish();
    world.events.clear();
    world.launched.clear();
    world.submit(2, &second);
    world.finish();
    assert_eq!(world.launched, [key(102, 0), key(102, 1)]);
    let skipped = |event: &&Event| matches!(event, Event::StageSkipped { store, .. } if store.get() == 1);
    assert_eq!(world.events.iter().filter(skipped).count(), 1);
}

#[test]
fn a_shared_shuffle_is_computed_once_for_two_jobs_at_once() {
    let mut world = after_the_maps(&jobs::sharing());
    world.finish();
    assert_eq!([0, 1].map(|partition| launches(&world, key(1, partition))), [1, 1]);
    assert!(outcome(&world, 1).is_ok() && outcome(&world, 2).is_ok());
}

#[test]
fn a_failure_in_a_shared_shuffle_fails_both_jobs() {
    let mut world = world();
    let [first, second] = jobs::sharing();
    world.submit(1, &first);
    world.submit(2, &second);
    (0..4).for_each(|_| world.end_at(key(1, 0), panicked()));
    assert!(outcome(&world, 1).is_err() && outcome(&world, 2).is_err());
    assert!(world.running.is_empty());
}

#[test]
fn a_failed_repair_for_one_job_spares_the_job_whose_tasks_run_already() {
    let [first, second] = jobs::sharing();
    let mut world = after_the_maps(&[first]);
    world.lose_stored(key(1, 0));
    world.submit(2, &second);
    world.end_at(key(1, 0), failed(TaskError::rejected("no")));
    assert!(outcome(&world, 2).is_err());
    world.finish();
    assert!(outcome(&world, 1).is_ok());
}

#[test]
fn a_repair_that_nobody_waits_for_any_more_is_stopped_and_can_be_asked_for_again() {
    let [first, second] = jobs::sharing();
    let mut world = after_the_maps(&[first]);
    world.lose_stored(key(1, 0));
    world.submit(2, &second);
    let repair = world.task_at(key(1, 0)).expect("the second job waits for it");
    // The reducers of the first job run: they have what they need.
    world.cancel(2);
    assert!(!world.running.contains_key(&repair));
    world.submit(3, &[maps(1, 2, &[]), result(103, 1, &[Read::All(1)])]);
    world.finish();
    assert!(outcome(&world, 1).is_ok() && outcome(&world, 3).is_ok());
    assert_eq!(launches(&world, key(1, 0)), 3);
}

#[test]
fn cancelling_one_job_leaves_what_the_other_needs_running() {
    let mut world = world();
    let [first, second] = jobs::sharing_chain();
    world.submit(1, &first);
    world.submit(2, &second);
    let before: Vec<TaskId> = world.running.keys().copied().collect();
    world.cancel(1);
    assert!(before.iter().copied().eq(world.running.keys().copied()) && before.len() == 2);
    world.finish();
    assert_eq!(world.launched, [key(1, 0), key(1, 1), key(102, 0)]);
    assert!(outcome(&world, 2).is_ok());
}

#[test]
fn forgetting_a_store_waits_for_the_jobs_that_read_it() {
    let mut world = after_the_maps(&jobs::sharing());
    world.forget(1);
    world.cancel(1);
    assert_eq!(world.stored.len(), 2);
    // What is lost meanwhile can still be rebuilt.
    let reducer = world.task_at(key(102, 0)).expect("the maps are done");
    let lost = world.running[&reducer].seen.clone();
    world.end(reducer, TaskEnd::InputsLost { lost, cause: None });
    world.finish();
    assert!(outcome(&world, 2).is_ok() && world.machine.stores.is_empty());
    let dropped = |event: &&Event| matches!(event, Event::StoreDropped { partitions: 2, .. });
    assert_eq!(world.events.iter().filter(dropped).count(), 1);
}

#[test]
fn a_new_plan_does_without_the_rdd_that_was_released_since() {
    let mut world = world();
    world.submit(1, &[persist(1, 2, &[]), maps(2, 2, &[Read::Same(1, 2)]), result(101, 1, &[Read::All(2)])]);
    world.end_at(key(1, 0), done());
    world.end_at(key(2, 0), done());
    world.cancel(1);
    world.forget(1);
    world.submit(2, &[maps(2, 2, &[]), result(102, 1, &[Read::All(2)])]);
    world.finish();
    assert_eq!(launches(&world, key(2, 0)), 1);
    assert!(outcome(&world, 2).is_ok());
}

#[test]
fn a_new_plan_takes_over_while_the_old_one_runs() {
    let mut world = world();
    world.submit(1, &[persist(1, 2, &[]), maps(2, 2, &[Read::Same(1, 2)]), result(101, 1, &[Read::All(2)])]);
    world.end_at(key(1, 0), done());
    world.forget(1);
    world.submit(2, &[maps(2, 2, &[]), result(102, 1, &[Read::All(2)])]);
    assert!(world.task_at(key(1, 1)).is_none() && world.task_at(key(2, 1)).is_some());
    world.cancel(1);
    // The task that the old plan launched reads what is gone now; its next attempt does not.
    let task = world.task_at(key(2, 0)).expect("both jobs need it");
    let lost = world.running[&task].seen.clone();
    assert_eq!((lost.len(), world.stored.len()), (1, 0));
    world.end(task, TaskEnd::InputsLost { lost, cause: None });
    world.finish();
    assert!(outcome(&world, 2).is_ok());
}

#[test]
fn what_a_new_plan_reads_is_kept_for_the_older_job_too() {
    let mut world = world();
    world.submit(1, &[maps(2, 2, &[]), result(101, 1, &[Read::All(2)])]);
    world.submit(2, &[persist(1, 2, &[]), maps(2, 2, &[Read::Same(1, 2)]), result(102, 1, &[Read::All(2)])]);
    world.cancel(2);
    world.forget(1);
    world.end_at(key(2, 0), failed(TaskError::OutputLost));
    world.finish();
    assert_eq!((launches(&world, key(1, 0)), launches(&world, key(2, 0))), (1, 2));
    assert!(outcome(&world, 1).is_ok() && world.kept_stores() == [StoreId::new(2)]);
}

#[test]
fn jobs_take_turns() {
    let mut world = World::new(limits(4, 4, 1));
    world.submit(1, &[result(101, 6, &[])]);
    world.submit(2, &[result(102, 3, &[])]);
    world.finish();
    let order: Vec<u64> = world.launched.iter().map(|(store, _)| store.get() - 100).collect();
    // The first job finds the workers idle and takes them both.
    assert_eq!(order, [1, 1, 2, 1, 2, 1, 2, 1, 1]);
}

#[test]
fn short_tasks_are_handed_out_in_larger_numbers_than_long_ones() {
    let out = |duration: Duration| {
        let mut machine = Machine::new(limits(4, 4, 2));
        let (job, action) = (JobId::new(1), String::new());
        let stages = vec![result(101, 1_000, &[])];
        machine.step(Input::Submit { job, action, stages, wanted: (0..1_000).collect() });
        for _ in 0..100 {
            let task = *machine.running.keys().min().expect("a thousand are wanted");
            machine.step(Input::TaskEnded { task, end: done(), ran: WorkerTime { duration, worker: 0 } });
        }
        machine.running.len()
    };
    let long = [Duration::from_secs(1), Duration::from_millis(1), Duration::from_micros(100), Duration::ZERO].map(out);
    assert_eq!(long, [4, 8, 80, 256]);
}

#[test]
fn what_only_passes_is_dropped_when_it_was_read_and_computed_again_for_the_next_job() {
    let mut world = world();
    world.submit(1, &jobs::persisted());
    world.end_at(key(1, 0), passed());
    world.end_at(key(1, 1), done());
    assert!(world.stored.contains_key(&key(1, 0)), "its reader runs");
    world.end_at(key(101, 0), panicked());
    assert!(world.stored.contains_key(&key(1, 0)), "its reader tries again");
    world.finish();
    assert!(outcome(&world, 1).is_ok());
    assert_eq!(world.stored.keys().collect::<Vec<_>>(), [&key(1, 1)]);
    let mut again = jobs::persisted();
    again.last_mut().unwrap().store = StoreId::new(102);
    world.submit(2, &again);
    world.finish();
    assert!(outcome(&world, 2).is_ok());
    assert_eq!((launches(&world, key(1, 0)), launches(&world, key(1, 1))), (2, 1));
}

#[test]
fn what_only_passes_for_a_job_that_is_cancelled_is_dropped() {
    let mut world = world();
    world.submit(1, &jobs::persisted());
    world.end_at(key(1, 0), passed());
    world.cancel(1);
    assert!(world.stored.is_empty());
}

/// One of three tasks lingers when the others are done.
fn straggling() -> (World, TaskId, TaskId) {
    let mut world = world();
    world.submit(1, &[maps(0, 3, &[]), result(1, 1, &[Read::All(0)])]);
    let slow = world.task_at(key(0, 2)).unwrap();
    world.linger(slow);
    assert_eq!(world.running.len(), 3, "nothing to compare it with");
    world.end_at(key(0, 0), done());
    world.end_at(key(0, 1), done());
    world.linger(slow);
    let copy = *world.running.keys().find(|task| **task != slow).unwrap();
    assert_eq!((world.running[&copy].key, world.running[&copy].attempt), (key(0, 2), 2));
    world.linger(slow);
    world.linger(copy);
    assert_eq!(world.running.len(), 2, "two are enough");
    (world, slow, copy)
}

#[test]
fn of_two_tasks_for_a_partition_the_first_to_be_done_ends_the_other() {
    for copy_first in [true, false] {
        let (mut world, slow, copy) = straggling();
        let (first, second) = if copy_first { (copy, slow) } else { (slow, copy) };
        world.end(first, done());
        assert!(!world.running.contains_key(&second) && world.stored[&key(0, 2)] == first);
        // At the same time, or later.
        world.end(second, done());
        world.finish();
        assert!(world.ended[&JobId::new(1)].is_ok());
        let speculated = |event: &&Event| matches!(event, Event::TaskSpeculated { task, original, .. } if (*task, *original) == (copy, slow));
        assert_eq!(world.events.iter().filter(speculated).count(), 1);
        let finished = |event: &&Event| matches!(event, Event::TaskFinished { .. });
        assert_eq!(world.events.iter().filter(finished).count(), 4, "each partition once");
    }
}

#[test]
fn of_two_tasks_for_a_partition_the_other_goes_on_when_one_fails_or_is_lost() {
    for end in [panicked(), failed(TaskError::OutputLost)] {
        for copy_first in [true, false] {
            let (mut world, slow, copy) = straggling();
            let (first, second) = if copy_first { (copy, slow) } else { (slow, copy) };
            world.end(first, end.clone());
            assert_eq!(world.running.keys().collect::<Vec<_>>(), [&second]);
            world.end(second, panicked());
            assert_eq!(world.running.values().map(|task| task.attempt).collect::<Vec<_>>(), [3]);
            world.finish();
            assert!(world.ended[&JobId::new(1)].is_ok());
        }
    }
    // What would only repeat itself ends both.
    let (mut world, slow, copy) = straggling();
    world.end(copy, failed(TaskError::rejected("no")));
    assert!(world.running.is_empty() && world.late.contains_key(&slow));
}

#[test]
fn the_loser_of_two_tasks_may_die_and_be_cancelled_like_any_other() {
    let (mut world, slow, copy) = straggling();
    world.lose(key(0, 2), slow);
    assert_eq!(world.running.keys().collect::<Vec<_>>(), [&copy]);
    world.cancel(1);
    assert!(world.running.is_empty());
    let (mut world, ..) = straggling();
    world.cancel(1);
    assert!(world.running.is_empty());
}

#[test]
fn a_task_that_is_overdue_is_tried_again_and_fails_its_job_in_the_end() {
    let mut world = world();
    world.submit(1, &[result(0, 1, &[])]);
    for attempt in 1..=4 {
        let task = world.task_at(key(0, 0)).unwrap();
        assert_eq!(world.running[&task].attempt, attempt);
        world.overdue(task);
        world.end(task, done());
    }
    let error = world.ended[&JobId::new(1)].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("failed after 4 attempts; every time; last: ") && error.contains("task_deadline of 2ms"),
        "{error}"
    );
}

#[test]
fn what_is_made_again_otherwise_ends_the_jobs_that_have_read_what_it_was_and_no_others() {
    let plan = |result_store| [maps(0, 2, &[]), result(result_store, 2, &[Read::All(0)])];
    // Nobody has read it.
    let mut world = world();
    world.submit(1, &plan(1));
    world.end_at(key(0, 0), done());
    world.lose_stored(key(0, 0));
    world.end_at(key(0, 0), done_otherwise());
    let differs = |event: &&Event| matches!(event, Event::PartitionDiffers { before, after, .. } if (before.rows(), after.rows()) == (1, 2));
    assert_eq!((world.events.iter().filter(differs).count(), world.living().len()), (1, 1));
    world.finish();
    assert!(world.ended[&JobId::new(1)].is_ok());
    // One of two readers has.
    world.submit(2, &plan(2));
    world.end_at(key(2, 0), done());
    let at = (key(0, 1), world.stored[&key(0, 1)]);
    world.end_at(key(2, 1), TaskEnd::InputsLost { lost: vec![at], cause: None });
    world.end_at(key(0, 1), done_otherwise());
    let error = world.ended[&JobId::new(2)].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("partition 1: it was lost, and made again it is not what it was (1 rows; now 2 rows)"),
        "{error}"
    );
    // A job that comes later reads what there is.
    world.submit(3, &plan(3));
    world.finish();
    assert!(world.ended[&JobId::new(3)].is_ok());
}

#[test]
fn a_stalled_job_tells_what_it_waits_for() {
    let mut world = World::new(limits(4, 4, 1));
    world.submit(1, &[maps(0, 30, &[]), result(1, 1, &[Read::All(0)])]);
    world.stall();
    let error = world.ended[&JobId::new(1)].as_ref().unwrap_err().to_string();
    for part in [
        "is stalled: for 2ms no task has begun, gone on, or ended",
        "stage of store 0, partition 0 (store 0): is computed by task 0",
        "stage of store 0, partition 15 (store 0): waits for a worker",
        "and 11 more",
        "the shell's word",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
