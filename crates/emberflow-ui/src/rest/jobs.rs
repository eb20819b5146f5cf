//! Jobs, and the picture of one.

use emberflow_core::{
    ids::JobId,
    picture::{self, Picture},
    plan::{StageKind, StageOutline},
};

use super::*;
use crate::status::{Job, Stage, StageState, Status};

#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `/jobs?status=running&limit=…`: newest first.
pub(super) async fn all(State(app): State<Arc<App>>, Query(which): Query<Which>) -> Json<Value> {
    let status = app.status();
    let wanted = |job: &&Job| which.status.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(state(job)));
    let jobs = status.jobs().rev().filter(wanted).take(which.limit.unwrap_or(usize::MAX));
    Json(jobs.map(|job| describe(&status, job)).collect())
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(Ids { job }): Path<Ids>) -> Answer {
    let status = app.status();
    let found = status.job(JobId::new(job)).ok_or_else(|| unknown("job", job))?;
    Ok(Json(describe(&status, found)))
}

/// The part of a path that names a job.
#[derive(Deserialize)]
pub(super) struct Ids {
    job: u64,
}

/// Cancels a job. One that has ended stays as it is.
pub(super) async fn cancel(State(app): State<Arc<App>>, Path(Ids { job }): Path<Ids>) -> Answer {
    let id = JobId::new(job);
    if app.status().job(id).is_none() {
        return Err(unknown("job", job));
    }
    app.cancel(id);
    Ok(Json(json!({ "cancelled": job })))
}

fn state(job: &Job) -> &'static str {
    match job.state {
        JobState::Running => "RUNNING",
        JobState::Succeeded => "SUCCEEDED",
        JobState::Failed => "FAILED",
        // Spark has no word of its own for it.
        JobState::Cancelled => "CANCELLED",
    }
}

fn describe(status: &Status, job: &Job) -> Value {
    let stages: Vec<&Stage> = job.stages.iter().filter_map(|stage| status.stage(*stage)).collect();
    let sum = |of: fn(&Stage) -> usize| stages.iter().map(|stage| of(stage)).sum::<usize>();
    let count = |state| stages.iter().filter(|stage| stage.state == state).count();
    let skipped = || job.plan.iter().filter(|outline| job.skipped.contains(&outline.store));
    let to_come: usize = job
        .plan
        .iter()
        .filter(|outline| job.is_running() && !job.skipped.contains(&outline.store))
        .filter(|outline| !stages.iter().any(|stage| stage.store == outline.store))
        .map(|outline| if outline.kind == StageKind::Result { job.partitions } else { outline.partitions })
        .sum();
    json!({
        "jobId": job.id.get(),
        "name": job.action,
        "description": job.labels.description,
        "submissionTime": time(job.started),
        "completionTime": job.ended.map(time),
        "startMs": epoch(job.started),
        "endMs": job.ended.map(epoch),
        "durationMs": fine_millis(job.duration(SystemTime::now())),
        "stageIds": job.stages.iter().map(|stage| stage.get()).collect::<Vec<_>>(),
        "jobGroup": job.labels.group,
        "jobTags": job.labels.tags,
        "status": state(job),
        "error": job.error,
        "numTasks": sum(Stage::wanted) + to_come,
        "numActiveTasks": sum(Stage::running),
        "numCompletedTasks": sum(|stage| stage.succeeded),
        "numSkippedTasks": skipped().map(|outline| outline.partitions).sum::<usize>(),
        "numFailedTasks": sum(|stage| stage.failed),
        "numKilledTasks": sum(|stage| stage.cancelled),
        "numCompletedIndices": sum(|stage| stage.succeeded),
        "numActiveStages": count(StageState::Running),
        "numCompletedStages": count(StageState::Complete),
        "numSkippedStages": skipped().count(),
        "numFailedStages": count(StageState::Failed) + count(StageState::Cancelled),
    })
}

/// The stages of a job as boxes in their places, with what has become of each.
pub(super) async fn graph(State(app): State<Arc<App>>, Path(Ids { job }): Path<Ids>) -> Answer {
    let status = app.status();
    let job = status.job(JobId::new(job)).ok_or_else(|| unknown("job", job))?;
    let left_out = job.plan.len().saturating_sub(picture::MOST_STAGES);
    let drawn = &job.plan[left_out..];
    let picture = Picture::of(drawn);
    let boxes = drawn.iter().zip(&picture.boxes).map(|(outline, place)| {
        // The newest run counts: the others were before a loss.
        let run = job.stages.iter().rev().filter_map(|id| status.stage(*id)).find(|stage| stage.store == outline.store);
        let store = status.store(outline.store);
        json!({
            "x": place.x,
            "y": place.y,
            "height": place.height,
            "store": outline.store.get(),
            "rdd": outline.rdd.get(),
            "kind": word(&outline.kind),
            "name": outline.name,
            "title": picture::shortened(&picture::short_place(&outline.name)),
            "lines": picture::lines_of(outline),
            "operators": operators(outline),
            "partitions": outline.partitions,
            "stage": run.map(|stage| stage.id.get()),
            "state": box_state(job, outline, run),
            "rows": run.map(|stage| stage.rows),
            "bytes": run.map(|stage| stage.bytes + stage.spilled_bytes),
            "tasks": run.map(Stage::wanted),
            "done": run.map(|stage| stage.succeeded),
            "storedPartitions": store.map(|store| store.stored_partitions()),
            "storedRows": store.map(|store| store.rows()),
            "storedBytes": store.map(|store| store.bytes() + store.file_bytes()),
            "losses": store.map(|store| store.losses),
        })
    });
    let boxes: Vec<Value> = boxes.collect();
    let arrows: Vec<Value> = picture
        .arrows
        .iter()
        .map(|arrow| {
            let (x, y) = arrow.label();
            let of = &boxes[arrow.from];
            let text =
                |wrote: &str, stored: &str| if of[wrote].is_null() { of[stored].clone() } else { of[wrote].clone() };
            json!({
                "path": arrow.path(), "x": x, "y": y, "from": arrow.from, "to": arrow.to, "kind": of["kind"],
                "rows": text("rows", "storedRows"), "bytes": text("bytes", "storedBytes"),
            })
        })
        .collect();
    let (width, height) = (picture.width, picture.height);
    Ok(Json(json!({
        "width": width, "height": height, "boxWidth": picture::BOX_WIDTH, "lineHeight": picture::LINE_HEIGHT,
        "padding": picture::PADDING, "leftOut": left_out, "boxes": boxes, "arrows": arrows,
    })))
}

fn operators(outline: &StageOutline) -> Vec<String> {
    let named = |operator: &emberflow_core::plan::OperatorOutline| match &operator.name {
        Some(name) => format!("{name}: {} [{}]", operator.operator, operator.rdd.get()),
        None => format!("{} [{}]", operator.operator, operator.rdd.get()),
    };
    outline.operators.iter().map(named).collect()
}

fn box_state(job: &Job, outline: &StageOutline, run: Option<&Stage>) -> &'static str {
    match run.map(|stage| stage.state) {
        Some(StageState::Running) => "RUNNING",
        Some(StageState::Complete) => "COMPLETE",
        Some(StageState::Failed) => "FAILED",
        Some(StageState::Cancelled) => "CANCELLED",
        None if job.skipped.contains(&outline.store) => "SKIPPED",
        None if job.is_running() => "PENDING",
        // What it makes was not wanted, since what is made of it was there.
        None => "SKIPPED",
    }
}
