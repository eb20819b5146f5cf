//! Stages and their tasks.

use std::cmp::Reverse;

use emberflow_core::{ids::StageId, plan::StageKind, task::Reads};

use super::*;
use crate::status::{QUANTILES, Stage, StageState, Task, TaskState};

/// Tasks of one answer unless told otherwise, and the most.
const TASKS: usize = 20;
const MOST_TASKS: usize = 1000;

/// Spans of a worker in a timeline: what a picture has room for.
const SPANS: u32 = 400;

#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// The part of a path that names a stage.
#[derive(Deserialize)]
pub(super) struct Ids {
    stage: u64,
    /// Each run of a stage is a stage of its own, so this is zero.
    #[serde(default)]
    attempt: u32,
}

/// `/stages?status=active&limit=…`: newest first.
pub(super) async fn all(State(app): State<Arc<App>>, Query(which): Query<Which>) -> Json<Value> {
    let status = app.status();
    let wanted = |stage: &&Stage| which.status.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(state(stage)));
    let stages = status.stages().rev().filter(wanted).take(which.limit.unwrap_or(usize::MAX));
    let at_work = AtWork::now(&app, &status);
    Json(stages.map(|stage| describe(stage, &at_work)).collect())
}

fn with<R>(app: &App, ids: &Ids, answer: impl FnOnce(&Stage, &AtWork) -> R) -> Result<R, Refusal> {
    let status = app.status();
    let found = status.stage(StageId::new(ids.stage)).filter(|_| ids.attempt == 0);
    found.map(|stage| answer(stage, &AtWork::now(app, &status))).ok_or_else(|| unknown("stage", ids.stage))
}

pub(super) async fn attempts(State(app): State<Arc<App>>, Path(ids): Path<Ids>) -> Answer {
    with(&app, &ids, |stage, at_work| Json(json!([describe(stage, at_work)])))
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(ids): Path<Ids>) -> Answer {
    with(&app, &ids, |stage, at_work| Json(describe(stage, at_work)))
}

fn state(stage: &Stage) -> &'static str {
    match stage.state {
        StageState::Pending => "PENDING",
        StageState::Running => "ACTIVE",
        StageState::Complete => "COMPLETE",
        StageState::Failed => "FAILED",
        // Spark has no word of its own for it.
        StageState::Cancelled => "CANCELLED",
    }
}

fn describe(stage: &Stage, at_work: &AtWork) -> Value {
    let writes_shuffle = stage.kind == Some(StageKind::ShuffleMap);
    let written = stage.bytes + stage.spilled_bytes;
    json!({
        "status": state(stage),
        "stageId": stage.id.get(),
        "attemptId": 0,
        "jobId": stage.job.get(),
        "number": stage.number,
        "storeId": stage.store.get(),
        "kind": stage.kind.as_ref().map(word),
        "name": stage.name,
        "rddIds": [stage.rdd.get()],
        "numTasks": stage.wanted(),
        "numActiveTasks": at_work.of(stage),
        "numCompleteTasks": stage.succeeded,
        "numFailedTasks": stage.failed,
        "numKilledTasks": stage.cancelled,
        "numCompletedIndices": stage.succeeded,
        "submissionTime": time(stage.submitted),
        "firstTaskLaunchedTime": stage.began.map(time),
        "completionTime": stage.ended.map(time),
        "startMs": stage.began.map(epoch),
        "endMs": stage.ended.map(epoch),
        "durationMs": stage.duration(at_work.now).map(fine_millis),
        "failureReason": stage.error,
        "executorRunTime": millis(stage.task_time),
        "runTimeUs": micros(stage.task_time),
        "inputRecords": stage.reads.rows,
        "inputBytes": stage.reads.bytes,
        "shuffleReadRecords": stage.reads.shuffle_rows,
        "shuffleReadBytes": stage.reads.shuffle_bytes,
        "diskBytesRead": stage.reads.file_bytes,
        "outputRecords": if writes_shuffle { 0 } else { stage.rows },
        "outputBytes": if writes_shuffle { 0 } else { written },
        "shuffleWriteRecords": if writes_shuffle { stage.rows } else { 0 },
        "shuffleWriteBytes": if writes_shuffle { written } else { 0 },
        "memoryBytesSpilled": stage.spilled_bytes,
        "diskBytesSpilled": stage.file_bytes,
        "rows": stage.rows,
        "bytes": written,
        "tasksRemembered": stage.tasks.len(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    length: Option<usize>,
    #[serde(default)]
    sort_by: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

/// `/taskList?offset=…&length=…&sortBy=[-]runtime&status=failed`. Sorted by `id` unless told otherwise.
pub(super) async fn tasks(State(app): State<Arc<App>>, Path(ids): Path<Ids>, Query(page): Query<Page>) -> Answer {
    let by = page.sort_by.as_deref().unwrap_or("id").to_ascii_lowercase();
    let (by, backwards) = by.strip_prefix('-').map_or((by.as_str(), false), |by| (by, true));
    let measure: fn(&Task, Option<Duration>) -> u64 = match by {
        "id" => |task, _| task.id.get(),
        "runtime" => |_, took| took.map_or(0, micros),
        "index" => |task, _| task.partition as u64,
        "attempt" => |task, _| u64::from(task.attempt),
        "worker" => |task, _| task.worker.map_or(0, |worker| worker as u64 + 1),
        "rowsread" => |task, _| task.reads.rows + task.reads.shuffle_rows,
        "bytesread" => |task, _| task.reads.bytes + task.reads.shuffle_bytes,
        "rows" => |task, _| task.rows,
        "bytes" => |task, _| task.bytes + task.spilled_bytes,
        "spilled" => |task, _| task.file_bytes,
        "status" => |task, _| task.state as u64,
        _ => {
            let text = "sortBy is one of id, runtime, index, attempt, worker, rowsRead, bytesRead, rows, bytes, spilled, status; - turns it round\n";
            return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
        }
    };
    with(&app, &ids, |stage, at_work| {
        let is = |task: &Task, wanted: &String| wanted.eq_ignore_ascii_case(task_state(task, at_work));
        let wanted = |task: &&Task| page.status.as_ref().is_none_or(|wanted| is(task, wanted));
        let measure = |task: &Task| measure(task, took(task, at_work));
        let mut tasks: Vec<&Task> = stage.tasks.iter().filter(wanted).collect();
        match backwards {
            true => tasks.sort_by_cached_key(|task| Reverse(measure(task))),
            false => tasks.sort_by_cached_key(|task| measure(task)),
        }
        let length = page.length.unwrap_or(TASKS).min(MOST_TASKS);
        let shown = tasks.iter().skip(page.offset).take(length);
        Json(shown.map(|task| describe_task(task, at_work)).collect())
    })
}

/// How long a task ran on its worker, or has run until now; unknown if no worker has told or is at it.
fn took(task: &Task, at_work: &AtWork) -> Option<Duration> {
    let since = |since| at_work.now.duration_since(since).unwrap_or_default();
    task.worker.map(|_| task.duration).or_else(|| at_work.since(task).map(since))
}

fn task_state(task: &Task, at_work: &AtWork) -> &'static str {
    match task.state {
        // It waits for a worker, or for its end to be told.
        TaskState::Running if at_work.since(task).is_none() => "PENDING",
        TaskState::Running => "RUNNING",
        TaskState::Succeeded => "SUCCESS",
        TaskState::Failed => "FAILED",
        TaskState::Cancelled => "KILLED",
    }
}

fn describe_task(task: &Task, at_work: &AtWork) -> Value {
    let took = took(task, at_work);
    let Reads { rows, bytes, shuffle_rows, shuffle_bytes, file_bytes, .. } = task.reads;
    json!({
        "taskId": task.id.get(),
        "index": task.partition,
        "attempt": task.attempt - 1,
        "partitionId": task.partition,
        "launchTime": time(task.launched),
        "startMs": epoch(at_work.since(task).unwrap_or(task.began())),
        "duration": took.map(millis),
        "durationUs": took.map(micros),
        "executorId": "driver",
        "host": "localhost",
        "worker": task.worker,
        "status": task_state(task, at_work),
        "taskLocality": locality(task),
        "errorMessage": task.error,
        "rowsRead": rows + shuffle_rows,
        "bytesRead": bytes + shuffle_bytes,
        "rows": task.rows,
        "bytes": task.bytes + task.spilled_bytes,
        "taskMetrics": {
            "executorRunTime": millis(task.duration),
            "memoryBytesSpilled": task.spilled_bytes,
            "diskBytesSpilled": task.file_bytes,
            "inputMetrics": { "bytesRead": bytes, "recordsRead": rows },
            "shuffleReadMetrics": { "localBytesRead": shuffle_bytes, "recordsRead": shuffle_rows },
            "diskBytesRead": file_bytes,
            "outputMetrics": { "bytesWritten": task.bytes + task.spilled_bytes, "recordsWritten": task.rows },
        },
    })
}

/// Where a task found what it read, in Spark's words: nothing stored, in this process' memory, or some of it on the
/// machine's disk.
fn locality(task: &Task) -> Option<&'static str> {
    let Reads { bytes, shuffle_bytes, file_bytes, .. } = task.reads;
    let known = match (bytes + shuffle_bytes, file_bytes) {
        (0, 0) => "NO_PREF",
        (_, 0) => "PROCESS_LOCAL",
        _ => "NODE_LOCAL",
    };
    (task.state == TaskState::Succeeded).then_some(known)
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    quantiles: Option<String>,
}

/// `/taskSummary?quantiles=0.25,0.5`: how measures are spread over the tasks that gave their rows.
pub(super) async fn summary(State(app): State<Arc<App>>, Path(ids): Path<Ids>, Query(wanted): Query<Wanted>) -> Answer {
    let quantiles: Vec<f64> = match wanted.quantiles {
        None => QUANTILES.to_vec(),
        Some(text) => text.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>().map_err(|_| {
            Refusal(StatusCode::BAD_REQUEST, "quantiles are numbers from 0 to 1 with commas between them\n".to_owned())
        })?,
    };
    with(&app, &ids, |stage, _| {
        let of = |measure: fn(&Task) -> u64| {
            let spread = stage.quantiles(measure);
            quantiles.iter().map(|at| spread.as_ref().map_or(0, |spread| spread.at(*at))).collect::<Vec<u64>>()
        };
        let wait = |task: &Task| micros(task.began().duration_since(task.launched).unwrap_or_default());
        Json(json!({
            "quantiles": quantiles,
            "executorRunTime": of(|task| millis(task.duration)),
            "runTimeUs": of(|task| micros(task.duration)),
            "waitUs": of(wait),
            "rowsRead": of(|task| task.reads.rows + task.reads.shuffle_rows),
            "bytesRead": of(|task| task.reads.bytes + task.reads.shuffle_bytes),
            "rows": of(|task| task.rows),
            "bytes": of(|task| task.bytes + task.spilled_bytes),
            "memoryBytesSpilled": of(|task| task.spilled_bytes),
            "diskBytesSpilled": of(|task| task.file_bytes),
        }))
    })
}

/// The work of each worker for the stage over time.
pub(super) async fn timeline(State(app): State<Arc<App>>, Path(ids): Path<Ids>) -> Answer {
    let workers = app.about.workers;
    with(&app, &ids, |stage, _| {
        let began = stage.began.unwrap_or(stage.submitted);
        let since = |at: SystemTime| micros(at.duration_since(began).unwrap_or_default());
        let spans = stage.timeline(SPANS);
        let length = spans.iter().map(|span| since(span.ended)).max().unwrap_or(0);
        let spans: Vec<_> =
            spans.iter().map(|span| json!([span.worker, since(span.began), since(span.ended), span.tasks])).collect();
        Json(json!({ "workers": workers, "lengthUs": length, "spans": spans }))
    })
}
