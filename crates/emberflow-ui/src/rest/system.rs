//! The application itself: its memory, settings and workers.

use super::*;

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "emberflow": env!("CARGO_PKG_VERSION") }))
}

pub(super) async fn applications(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!([describe(&app)]))
}

pub(super) async fn application(State(app): State<Arc<App>>) -> Json<Value> {
    Json(describe(&app))
}

fn describe(app: &App) -> Value {
    let status = app.status();
    let last = status.last_event().unwrap_or(app.about.started());
    // Of one that runs, Spark writes a moment before all time.
    let end = app.replayed.then_some(last);
    json!({
        "id": app.about.id,
        "name": app.about.name,
        "attempts": [{
            "startTime": time(app.about.started()),
            "endTime": end.map_or_else(|| "1969-12-31T23:59:59.999GMT".to_owned(), time),
            "lastUpdated": time(last),
            "duration": millis(app.now(&status).duration_since(app.about.started()).unwrap_or_default()),
            "sparkUser": "",
            "completed": app.replayed,
            "appSparkVersion": concat!("emberflow ", env!("CARGO_PKG_VERSION")),
            "startTimeEpoch": epoch(app.about.started()),
            "endTimeEpoch": end.map_or(json!(-1), |end| json!(epoch(end))),
            "lastUpdatedEpoch": epoch(last),
        }],
    })
}

/// The memory that rows take now, and that they took over time, as `[ms, kinds…]`.
pub(super) async fn memory(State(app): State<Arc<App>>) -> Json<Value> {
    let now = app.memory();
    let status = app.status();
    let samples: Vec<Value> =
        status.memory().map(|sample| json!({ "atMs": epoch(sample.at), "memory": sample.memory })).collect();
    Json(json!({ "nowMs": epoch(app.now(&status)), "now": now, "samples": samples }))
}

pub(super) async fn environment(State(app): State<Arc<App>>) -> Json<Value> {
    // Of another process than this one, none of it is known.
    let runtime = match app.replayed {
        true => json!({}),
        false => json!({
            "emberflowVersion": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "processId": std::process::id(),
        }),
    };
    Json(json!({
        "runtime": runtime,
        "sparkProperties": app.about.settings,
    }))
}

/// Spark has executors; here the one process is its own.
pub(super) async fn executors(State(app): State<Arc<App>>) -> Json<Value> {
    let memory = app.memory();
    let status = app.status();
    let totals = status.totals();
    let blocks: usize = status.stores().map(|store| store.stored_partitions()).sum();
    Json(json!([{
        "id": "driver",
        "hostPort": "localhost",
        "isActive": true,
        "rddBlocks": blocks,
        "memoryUsed": memory.persisted + memory.map_outputs,
        "diskUsed": memory.spilled,
        "totalCores": app.about.workers,
        "maxTasks": app.about.workers,
        "activeTasks": AtWork::now(&app, &status).tasks(),
        "failedTasks": totals.tasks_failed,
        "completedTasks": totals.tasks_succeeded,
        "totalTasks": totals.tasks_succeeded + totals.tasks_failed + status.running_tasks() as u64,
        "totalDuration": millis(totals.task_time),
        "totalInputBytes": totals.reads.bytes,
        "totalShuffleRead": totals.reads.shuffle_bytes,
        "maxMemory": memory.budget,
        "addTime": time(app.about.started()),
    }]))
}

/// The present work of each worker.
pub(super) async fn threads(State(app): State<Arc<App>>, Path(path): Path<Executor>) -> Answer {
    if path.executor != "driver" {
        return Err(unknown("executor", path.executor));
    }
    let since = |at: SystemTime| fine_millis(SystemTime::now().duration_since(at).unwrap_or_default());
    let at_work = app.workers_now();
    let status = app.status();
    let threads = at_work.into_iter().enumerate().map(|(worker, at_work)| {
        let found = at_work.and_then(|at_work| status.running_task(at_work.task));
        let plan = found.and_then(|(stage, _)| {
            let job = status.job(stage.job)?;
            job.plan.iter().find(|outline| outline.store == stage.store)
        });
        let operators =
            plan.map(|outline| outline.operators.iter().rev().map(|operator| &operator.operator).collect::<Vec<_>>());
        // One that has only just begun to read runs the stage's own code: it is what people know the stage by.
        let runs = at_work.zip(plan).map(|(at_work, plan)| {
            let running = plan.operators.iter().find(|operator| Some(operator.rdd) == at_work.rdd);
            running.map_or(&plan.name, |operator| &operator.operator)
        });
        json!({
            "threadId": worker,
            "threadName": format!("{}-worker-{worker}", app.about.name),
            "threadState": if at_work.is_some() { "RUNNABLE" } else { "WAITING" },
            "taskId": at_work.map(|at_work| at_work.task.get()),
            "sinceMs": at_work.map(|at_work| since(at_work.since)),
            "rdd": at_work.and_then(|at_work| at_work.rdd).map(|rdd| rdd.get()),
            "operator": runs,
            "stageNumber": found.and_then(|(stage, _)| stage.number),
            "stageId": found.map(|(stage, _)| stage.id.get()),
            "jobId": found.map(|(stage, _)| stage.job.get()),
            "stageName": found.map(|(stage, _)| &stage.name),
            "partition": found.map(|(_, task)| task.partition),
            "attempt": found.map(|(_, task)| task.attempt),
            "stackTrace": { "elems": operators },
        })
    });
    Ok(Json(threads.collect()))
}

/// The part of a path that names an executor.
#[derive(serde::Deserialize)]
pub(super) struct Executor {
    executor: String,
}
