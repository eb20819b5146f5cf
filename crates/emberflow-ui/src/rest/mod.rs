//! The REST interface: the paths and the words of Spark's monitoring API, so that what reads a Spark application reads
//! this one. Fields that we do not know are left out; a thing that Spark has no word for has one of ours.

mod jobs;
mod stages;
mod storage;
mod system;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use emberflow_core::ids::{StageId, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::App,
    status::{JobState, Stage, Status, Task, TaskState},
};

/// An answer, or the sentence that says why there is none.
type Answer = Result<Json<Value>, Refusal>;

/// A status and a sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn unknown(what: &str, id: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("there is no {what} {id}, or it was forgotten\n"))
}

pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let application = Router::new()
        .route("/", get(system::application))
        .route("/jobs", get(jobs::all))
        .route("/jobs/{job}", get(jobs::one))
        .route("/jobs/{job}/graph", get(jobs::graph))
        .route("/jobs/{job}/cancel", post(jobs::cancel))
        .route("/stages", get(stages::all))
        .route("/stages/{stage}", get(stages::attempts))
        .route("/stages/{stage}/{attempt}", get(stages::one))
        .route("/stages/{stage}/{attempt}/taskList", get(stages::tasks))
        .route("/stages/{stage}/{attempt}/taskSummary", get(stages::summary))
        .route("/stages/{stage}/{attempt}/timeline", get(stages::timeline))
        .route("/storage/rdd", get(storage::rdds))
        .route("/storage/rdd/{rdd}", get(storage::rdd))
        .route("/storage/stores", get(storage::stores))
        .route("/memory", get(system::memory))
        .route("/environment", get(system::environment))
        .route("/executors", get(system::executors))
        .route("/allexecutors", get(system::executors))
        .route("/executors/{executor}/threads", get(system::threads));
    Router::new()
        .route("/version", get(system::version))
        .route("/applications", get(system::applications))
        .nest("/applications/{app}", application.layer(middleware::from_fn_with_state(Arc::clone(app), known)))
}

/// Lets requests for this application through. `-` stands for whichever it is, so that a page need not ask first.
async fn known(
    State(app): State<Arc<App>>,
    Path(Named { app: id }): Path<Named>,
    request: Request,
    next: Next,
) -> Response {
    if id == "-" || id == app.about.id { next.run(request).await } else { unknown("application", id).into_response() }
}

/// The part of a path that names an application.
#[derive(Deserialize)]
struct Named {
    app: String,
}

/// The tasks that a worker is at now. The others that were handed to the workers wait for one.
pub(crate) struct AtWork {
    /// When that is.
    now: SystemTime,
    since: HashMap<TaskId, SystemTime>,
    by_stage: HashMap<StageId, usize>,
}

impl AtWork {
    pub(crate) fn now(app: &App, status: &Status) -> Self {
        let (mut since, mut by_stage) = (HashMap::new(), HashMap::new());
        for at_work in app.workers_now().into_iter().flatten() {
            // One that has ended, or whose start has not been told yet, is none.
            if let Some((stage, _)) = status.running_task(at_work.task) {
                since.insert(at_work.task, at_work.since);
                *by_stage.entry(stage.id).or_insert(0) += 1;
            }
        }
        Self { now: app.now(status), since, by_stage }
    }

    /// How many there are: no more than there are workers.
    pub(crate) fn tasks(&self) -> usize {
        self.since.len()
    }

    fn of(&self, stage: &Stage) -> usize {
        self.by_stage.get(&stage.id).copied().unwrap_or_default()
    }

    /// Since when a task has run, if a worker is at it.
    fn since(&self, task: &Task) -> Option<SystemTime> {
        self.since.get(&task.id).copied().filter(|_| task.state == TaskState::Running)
    }
}

/// The figures at the top of every page.
pub(crate) fn overview(app: &App) -> Value {
    let memory = app.memory();
    let status = app.status();
    let now = app.now(&status);
    let totals = status.totals();
    let at_work = AtWork::now(app, &status).tasks();
    let running = status.jobs().filter(|job| job.state == JobState::Running).count();
    json!({
        "version": app.version(),
        "replayed": app.replayed,
        "name": app.about.name,
        "id": app.about.id,
        "uptimeMs": millis(now.duration_since(app.about.started()).unwrap_or_default()),
        "workers": app.about.workers,
        "runningJobs": running,
        "runningTasks": at_work,
        "pendingTasks": status.running_tasks().saturating_sub(at_work),
        "jobs": totals.jobs_started,
        "failedJobs": totals.jobs_failed,
        "tasks": totals.tasks_succeeded,
        "failedTasks": totals.tasks_failed,
        "rows": totals.rows,
        "partitionsLost": totals.partitions_lost,
        "partitionsRebuilt": totals.partitions_rebuilt,
        "eventsMissed": totals.events_missed,
        "memory": memory,
    })
}

/// A time as Spark writes it.
fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = jiff::Timestamp::from_millisecond(millis(since) as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fGMT").to_string()
}

fn epoch(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn fine_millis(time: Duration) -> f64 {
    micros(time) as f64 / 1000.0
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The word for a plain enum variant.
fn word(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
