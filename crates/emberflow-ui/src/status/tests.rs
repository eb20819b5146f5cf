use emberflow_core::{
    event::{JobLabels, Ran},
    plan::{OperatorOutline, StageOutline},
};

use emberflow_core::ids::RddId;

use super::*;

/// A story of events, one a millisecond.
struct Story {
    status: Status,
    now: SystemTime,
}

impl Story {
    fn new() -> Self {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        Self { status: Status::new(limits), now: SystemTime::UNIX_EPOCH }
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        self.now += Duration::from_millis(1);
        self.status.apply(&EventRecord { at: self.now, event });
        self
    }

    fn job(&mut self, job: u64, stages: Vec<StageOutline>) -> &mut Self {
        let action = "count at src/main.rs:9:5".to_owned();
        self.tell(Event::JobStarted { job: JobId::new(job), action, partitions: 2 });
        self.tell(Event::JobPlanned { job: JobId::new(job), stages })
    }

    fn job_ends(&mut self, job: u64, end: JobEnd) -> &mut Self {
        self.tell(Event::JobFinished { job: JobId::new(job), end })
    }

    fn stage(&mut self, stage: u64, job: u64, store: u64, tasks: usize) -> &mut Self {
        let (stage, job, store) = (StageId::new(stage), JobId::new(job), StoreId::new(store));
        let name = "map at src/main.rs:7:5".to_owned();
        self.tell(Event::StageStarted { stage, job, store, rdd: RddId::new(1), name, tasks })
    }

    fn stage_ends(&mut self, stage: u64) -> &mut Self {
        self.tell(Event::StageFinished { stage: StageId::new(stage) })
    }

    fn task(&mut self, task: u64, stage: u64, partition: usize) -> &mut Self {
        let (task, stage) = (TaskId::new(task), StageId::new(stage));
        self.tell(Event::TaskStarted { task, stage, partition, attempt: 1 })
    }

    fn task_ends(&mut self, task: u64, stage: u64, partition: usize) -> &mut Self {
        let (task, stage) = (TaskId::new(task), StageId::new(stage));
        let duration = Duration::from_micros(100 + task.get());
        let (began, mut reads) = (self.now - duration, Reads::default());
        reads.rows = 30;
        self.tell(Event::TaskRan { task, ran: Box::new(Ran::new(1, began, duration, reads)) });
        self.tell(Event::TaskFinished { task, stage, partition, rows: 10, bytes: 80, duration, worker: 1 })
    }

    fn task_fails(&mut self, task: u64, stage: u64, partition: usize, error: &str, retried: bool) -> &mut Self {
        let (task, stage, error) = (TaskId::new(task), StageId::new(stage), error.to_owned());
        self.tell(Event::TaskFailed { task, stage, partition, attempt: 1, error, retried })
    }

    fn stored(&mut self, task: u64, store: u64, partition: usize) -> &mut Self {
        let (task, store, rdd) = (TaskId::new(task), StoreId::new(store), RddId::new(1));
        self.tell(Event::PartitionStored { store, rdd, partition, task, rows: 10, bytes: 80 })
    }

    fn spilled(&mut self, task: u64, store: u64, partition: usize) -> &mut Self {
        let (task, store) = (TaskId::new(task), StoreId::new(store));
        self.tell(Event::PartitionSpilled { store, partition, task, bytes: 80, file_bytes: 40 })
    }

    fn lost(&mut self, task: u64, store: u64, partition: usize) -> &mut Self {
        let (task, store, rdd) = (TaskId::new(task), StoreId::new(store), RddId::new(1));
        self.tell(Event::PartitionLost { store, rdd, partition, task })
    }

    fn cells(&self, store: u64) -> Vec<CellState> {
        self.status.store(StoreId::new(store)).unwrap().cells.iter().map(|cell| cell.state).collect()
    }

    fn stage_of(&self, stage: u64) -> &Stage {
        self.status.stage(StageId::new(stage)).unwrap()
    }

    fn job_of(&self, job: u64) -> &Job {
        self.status.job(JobId::new(job)).unwrap()
    }
}

fn outline(store: u64, kind: StageKind, partitions: usize, reads: &[u64]) -> StageOutline {
    let rdd = RddId::new(1);
    let operator =
        OperatorOutline { rdd, operator: "map at src/main.rs:7:5".into(), name: Some("films".into()), inputs: vec![] };
    StageOutline {
        store: StoreId::new(store),
        kind,
        rdd,
        name: operator.operator.clone(),
        partitions,
        operators: vec![operator],
        more_operators: 0,
        reads: reads.iter().copied().map(StoreId::new).collect(),
    }
}

fn cached_then_counted() -> Vec<StageOutline> {
    vec![outline(0, StageKind::Persist, 2, &[]), outline(9, StageKind::Result, 2, &[0])]
}

#[test]
fn a_cell_turns_from_resident_to_lost_to_rebuilt_and_is_released_in_the_end() {
    use CellState::*;
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 2);
    assert_eq!(story.cells(0), [Empty, Empty]);
    story.task(0, 0, 0).task(1, 0, 1);
    assert_eq!(story.cells(0), [Computing, Computing]);
    story.task_ends(0, 0, 0).stored(0, 0, 0).spilled(1, 0, 1).task_ends(1, 0, 1).stored(1, 0, 1);
    assert_eq!(story.cells(0), [Resident, Spilled]);
    story.stage_ends(0).job_ends(0, JobEnd::Succeeded).lost(0, 0, 0);
    assert_eq!(story.cells(0), [Lost, Spilled]);
    story.job(1, cached_then_counted()).stage(1, 1, 0, 1).task(2, 1, 0);
    assert_eq!(story.cells(0), [Rebuilding, Spilled]);
    story.task_fails(2, 1, 0, "boom", true);
    assert_eq!(story.cells(0), [Lost, Spilled]);
    story.task(3, 1, 0).task_ends(3, 1, 0).stored(3, 0, 0);
    assert_eq!(story.cells(0), [Resident, Spilled]);
    let store = story.status.store(StoreId::new(0)).unwrap();
    assert!(store.cells[0].is_rebuilt() && !store.cells[1].is_rebuilt());
    assert_eq!((store.losses, store.rebuilt, store.file_bytes(), store.name.as_deref()), (1, 1, 40, Some("films")));
    assert_eq!((story.status.totals().partitions_lost, story.status.totals().partitions_rebuilt), (1, 1));
    story.tell(Event::StoreDropped { store: StoreId::new(0), rdd: RddId::new(1), partitions: 2 });
    assert_eq!(story.cells(0), [Released, Released]);
}

#[test]
fn a_cell_that_was_dropped_is_computed_again_and_not_rebuilt() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 1).task(0, 0, 0).task_ends(0, 0, 0).stored(0, 0, 0);
    story.lost(0, 0, 0).task(1, 0, 0).task_ends(1, 0, 0).stored(1, 0, 0);
    let (store, rdd) = (StoreId::new(0), RddId::new(1));
    story.tell(Event::PartitionDropped { store, rdd, partition: 0, task: TaskId::new(1) });
    assert_eq!(story.cells(0)[0], CellState::Released);
    story.task(2, 0, 0);
    assert_eq!(story.cells(0)[0], CellState::Computing);
    story.task_ends(2, 0, 0).stored(2, 0, 0);
    let totals = story.status.totals();
    assert_eq!((totals.partitions_lost, totals.partitions_rebuilt, totals.partitions_dropped), (1, 1, 1));
}

#[test]
fn a_cell_that_makes_room_for_others_is_on_disk_from_then_on() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 1).task(0, 0, 0).task_ends(0, 0, 0).stored(0, 0, 0);
    assert_eq!(story.cells(0)[0], CellState::Resident);
    story.spilled(0, 0, 0);
    let cell = &story.status.store(StoreId::new(0)).unwrap().cells[0];
    assert_eq!((cell.state, cell.rows, cell.bytes, cell.file_bytes), (CellState::Spilled, 10, 0, 40));
}

#[test]
fn a_stage_says_how_its_tasks_ended_and_a_failed_one_why() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 3);
    story.task(0, 0, 0).task(1, 0, 1).task(2, 0, 2).task_ends(0, 0, 0).task_fails(1, 0, 1, "boom <b>", true);
    assert_eq!((story.stage_of(0).running(), story.status.running_tasks()), (1, 1));
    story.task(3, 0, 1).task_fails(3, 0, 1, "boom again", false).stage_ends(0);
    let stage = story.stage_of(0);
    assert_eq!((stage.state, stage.error.as_deref()), (StageState::Failed, Some("boom again")));
    assert_eq!((stage.started, stage.succeeded, stage.failed, stage.cancelled), (4, 1, 2, 1));
    let states: Vec<TaskState> = stage.tasks.iter().map(|task| task.state).collect();
    use TaskState::*;
    assert_eq!(states, [Succeeded, Failed, Cancelled, Failed]);
    assert_eq!(stage.tasks[1].error.as_deref(), Some("boom <b>"));
    assert_eq!(story.status.running_tasks(), 0);
}

#[test]
fn a_cancelled_job_is_told_from_a_failed_one() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 2).task(0, 0, 0).stage_ends(0);
    story.job_ends(0, JobEnd::Cancelled);
    story.job(1, cached_then_counted()).job_ends(1, JobEnd::Failed { error: "disk full".into() });
    assert_eq!((story.job_of(0).state, story.job_of(1).state), (JobState::Cancelled, JobState::Failed));
    assert_eq!(story.job_of(0).error.as_deref(), Some("job 0 was cancelled"));
    assert_eq!(story.job_of(1).error.as_deref(), Some("disk full"));
    assert_eq!(story.stage_of(0).state, StageState::Cancelled);
    let totals = story.status.totals();
    assert_eq!((totals.jobs_cancelled, totals.jobs_failed, totals.jobs_succeeded), (1, 1, 0));
}

#[test]
fn a_stage_that_two_jobs_wait_for_is_shown_with_both() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 2).job(1, cached_then_counted()).stage(1, 1, 9, 2);
    assert_eq!(story.job_of(1).stages, [StageId::new(0), StageId::new(1)]);
    // The second began while both ran, and is in both plans.
    assert_eq!(story.job_of(0).stages, [StageId::new(0), StageId::new(1)]);
    story.tell(Event::JobLabelled { job: JobId::new(1), labels: JobLabels::default() });
}

#[test]
fn what_is_remembered_is_bounded_and_what_runs_is_never_forgotten() {
    let limits = Limits { jobs: 3, stages: 4, tasks: 20, outlines: 5, released: 2, samples: 8 };
    let mut story = Story::within(limits);
    story.job(0, cached_then_counted()).stage(0, 0, 0, 2).task(0, 0, 0);
    for n in 1..100_u64 {
        story.job(n, vec![outline(n, StageKind::Persist, 1, &[])]).stage(n, n, n, 30);
        for partition in 0..30_u64 {
            story.task(n * 100 + partition, n, partition as usize).task_ends(
                n * 100 + partition,
                n,
                partition as usize,
            );
        }
        story.stored(n * 100, n, 0).stage_ends(n).job_ends(n, JobEnd::Succeeded);
        story.tell(Event::StoreDropped { store: StoreId::new(n), rdd: RddId::new(1), partitions: 1 });
    }
    let status = &story.status;
    assert_eq!((status.jobs().count(), status.stages().count()), (3, 4));
    assert!(status.stages().map(|stage| stage.tasks.len()).sum::<usize>() <= 20);
    assert!(status.jobs().map(|job| job.plan.len()).sum::<usize>() <= 5);
    assert_eq!(status.stores().filter(|store| store.released.is_some()).count(), 2);
    assert_eq!((status.running_tasks(), status.running_task(TaskId::new(0)).unwrap().1.partition), (1, 0));
    // What was forgotten still counts.
    assert_eq!((status.totals().jobs_started, status.totals().tasks_succeeded), (100, 99 * 30));
    assert_eq!(story.stage_of(99).succeeded, 30);
    // The one that runs ends as if nothing had been forgotten.
    story.task_ends(0, 0, 0).stage_ends(0);
    assert_eq!(story.stage_of(0).tasks[0].state, TaskState::Succeeded);
}

#[test]
fn events_about_what_is_not_known_are_left_aside() {
    let mut story = Story::new();
    story.tell(Event::Gap { missed: 5 }).task(7, 3, 1).task_ends(7, 3, 1).task_fails(8, 3, 1, "boom", true);
    story.stage_ends(3).job_ends(4, JobEnd::Succeeded).lost(7, 2, 9).spilled(7, 2, 1).stored(7, 2, 4);
    assert_eq!(story.status.totals().events_missed, 5);
    // It was there all the time, if nobody knew it.
    assert_eq!(story.cells(2)[4], CellState::Resident);
}

#[test]
fn a_timeline_joins_tasks_that_are_too_short_to_be_seen() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 0, 1000);
    for task in 0..1000_u64 {
        story.task(task, 0, task as usize).task_ends(task, 0, task as usize);
    }
    let (fine, coarse) = (story.stage_of(0).timeline(u32::MAX), story.stage_of(0).timeline(50));
    assert_eq!(fine.len(), 1000);
    assert!((10..=60).contains(&coarse.len()), "{}", coarse.len());
    assert_eq!(coarse.iter().map(|span| span.tasks).sum::<usize>(), 1000);
    assert_eq!((fine[0].began, fine[999].ended), (coarse[0].began, coarse[coarse.len() - 1].ended));
}

#[test]
fn memory_is_thinned_out_over_a_long_life() {
    let memory = MemoryUse { budget: 1, persisted: 2, ..MemoryUse::default() };
    let mut status = Status::new(Limits { samples: 10, ..Limits::default() });
    for second in 0..1000 {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        status.sample(at, memory);
        status.sample(at + Duration::from_millis(1), memory);
    }
    let times: Vec<SystemTime> = status.memory().map(|sample| sample.at).collect();
    assert!((5..=10).contains(&times.len()) && times.is_sorted(), "{times:?}");
    assert_eq!(*times.last().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(999));
}

#[test]
fn what_a_job_has_come_to_stays_as_it_was_when_it_ended() {
    let mut story = Story::new();
    let plan = || vec![outline(0, StageKind::Persist, 2, &[]), outline(9, StageKind::Result, 2, &[0])];
    story.job(0, plan()).job(1, plan()).stage(0, 0, 0, 2).stage(1, 0, 9, 1);
    story.task(0, 0, 0).stored(0, 0, 0).task_ends(0, 0, 0).task(1, 0, 1);
    // The first job needs no more than the first partition, the other one goes on.
    story.task(2, 1, 0).task_ends(2, 1, 0).stage_ends(1).job_ends(0, JobEnd::Succeeded);
    let seen = |story: &Story| {
        let job = story.job_of(0);
        (story.status.tally(job), story.status.kept(job, StoreId::new(0)).unwrap())
    };
    let before = seen(&story);
    assert_eq!((before.0.tasks, before.0.succeeded, before.0.open, before.0.complete_stages), (2, 2, 0, 2));
    assert_eq!((before.1.partitions, before.1.rows, before.1.losses), (1, 10, 0));
    story.stored(1, 0, 1).task_ends(1, 0, 1).lost(1, 0, 1).stage_ends(0);
    assert_eq!(seen(&story), before);
    let other = story.job_of(1);
    assert_eq!(story.status.kept(other, StoreId::new(0)).unwrap().losses, 1, "the other job runs");
    // One that finds it lost has to do with it, and one that comes later has not.
    story
        .job_ends(1, JobEnd::Succeeded)
        .job(2, plan())
        .stage(2, 2, 0, 1)
        .task(3, 2, 1)
        .stored(3, 0, 1)
        .task_ends(3, 2, 1);
    story.stage_ends(2).job_ends(2, JobEnd::Succeeded).job(3, plan()).job_ends(3, JobEnd::Succeeded);
    let losses = [2, 3].map(|job| story.status.kept(story.job_of(job), StoreId::new(0)).unwrap().losses);
    assert_eq!(losses, [1, 0]);
}

#[test]
fn a_stage_waits_without_a_clock_until_its_first_task_is_started() {
    let mut story = Story::new();
    story.job(0, cached_then_counted()).stage(0, 0, 9, 2).stage(1, 0, 0, 2).task(0, 1, 0);
    let (waiting, running) = (story.stage_of(0), story.stage_of(1));
    assert_eq!((waiting.state, running.state), (StageState::Pending, StageState::Running));
    let later = story.now + Duration::from_secs(9);
    assert_eq!((waiting.duration(later), running.duration(later)), (None, Some(Duration::from_secs(9))));
    let tally = story.status.tally(story.job_of(0));
    assert_eq!((tally.active_stages, tally.pending_stages), (1, 1));
}
