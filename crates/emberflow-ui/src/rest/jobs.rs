//! Jobs, and the picture of one.

use std::collections::{BTreeSet, HashSet};

use emberflow_core::{
    ids::{JobId, StoreId},
    picture::{self, Picture},
    plan::{StageKind, StageOutline},
};

use super::*;
use crate::status::{Job, Kept, Stage, StageState, Status};

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
    let at_work = AtWork::now(&app, &status);
    Json(jobs.map(|job| describe(&status, job, &at_work)).collect())
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(Ids { job }): Path<Ids>) -> Answer {
    let status = app.status();
    let found = status.job(JobId::new(job)).ok_or_else(|| unknown("job", job))?;
    Ok(Json(describe(&status, found, &AtWork::now(&app, &status))))
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

/// A job. Its figures are its own: once it has ended, whatever others do leaves them as they are.
fn describe(status: &Status, job: &Job, at_work: &AtWork) -> Value {
    let tally = status.tally(job);
    let begun: HashSet<StoreId> = status.runs(job).map(|stage| stage.store).collect();
    let is_to_come = |outline: &&StageOutline| {
        job.is_running() && !job.skipped.contains(&outline.store) && !begun.contains(&outline.store)
    };
    let to_come = || job.plan.iter().filter(is_to_come);
    let tasks_to_come: usize = to_come()
        .map(|outline| if outline.kind == StageKind::Result { job.partitions } else { outline.partitions })
        .sum();
    let active = if job.is_running() { status.runs(job).map(|stage| at_work.of(stage)).sum() } else { 0 };
    json!({
        "jobId": job.id.get(),
        "name": job.action,
        "description": job.labels.description,
        "submissionTime": time(job.started),
        "completionTime": job.ended.map(time),
        "startMs": epoch(job.started),
        "endMs": job.ended.map(epoch),
        "durationMs": fine_millis(job.duration(at_work.now)),
        "stageIds": job.stages.iter().map(|stage| stage.get()).collect::<Vec<_>>(),
        "jobGroup": job.labels.group,
        "jobTags": job.labels.tags,
        "status": state(job),
        "error": job.error,
        "numTasks": tally.tasks + tasks_to_come,
        "numActiveTasks": active,
        "numCompletedTasks": tally.succeeded,
        "numSkippedTasks": tally.skipped_tasks,
        "numFailedTasks": tally.failed,
        "numKilledTasks": tally.cancelled,
        "numCompletedIndices": tally.succeeded,
        "numActiveStages": tally.active_stages,
        "numPendingStages": tally.pending_stages + to_come().count(),
        "numCompletedStages": tally.complete_stages,
        "numSkippedStages": tally.skipped_stages,
        "numFailedStages": tally.failed_stages,
    })
}

/// The stages of a job as boxes in their places, with what has become of each.
pub(super) async fn graph(State(app): State<Arc<App>>, Path(Ids { job }): Path<Ids>) -> Answer {
    let status = app.status();
    let job = status.job(JobId::new(job)).ok_or_else(|| unknown("job", job))?;
    let left_out = job.plan.len().saturating_sub(picture::MOST_STAGES);
    let drawn = &job.plan[left_out..];
    let picture = Picture::of(drawn);
    let boxes = (left_out..).zip(drawn).zip(&picture.boxes).map(|((number, outline), place)| {
        // The newest run counts: the others were before a loss.
        let run = status.runs(job).rev().find(|stage| stage.store == outline.store);
        let kept = status.kept(job, outline.store);
        json!({
            "x": place.x,
            "y": place.y,
            "height": place.height,
            "store": outline.store.get(),
            "rdd": outline.rdd.get(),
            "kind": word(&outline.kind),
            "name": outline.name,
            "number": number,
            "title": picture::shortened_title(&picture::title_of(number, outline)),
            "lines": picture::lines_of(outline),
            "operators": operators(outline),
            "partitions": outline.partitions,
            "stage": run.map(|stage| stage.id.get()),
            "state": box_state(job, outline, run),
            "rows": run.map(|stage| stage.rows),
            "bytes": run.map(|stage| stage.bytes + stage.spilled_bytes),
            "tasks": run.map(Stage::wanted),
            "done": run.map(|stage| stage.succeeded),
            "storedPartitions": kept.map(|kept| kept.partitions),
            "storedRows": kept.map(|kept| kept.rows),
            "storedBytes": kept.map(|kept| kept.bytes),
            "losses": kept.map(|kept| kept.losses),
        })
    });
    let boxes: Vec<Value> = boxes.collect();
    let arrows: Vec<Value> = picture
        .arrows
        .iter()
        .map(|arrow| {
            let (x, y) = arrow.label();
            let from = &drawn[arrow.from];
            let Flow { rows, bytes } = flow(&status, job, from, &drawn[arrow.to]);
            let kept = status.kept(job, from.store).unwrap_or_default();
            json!({
                "path": arrow.path(), "x": x, "y": y, "from": arrow.from, "to": arrow.to, "kind": word(&from.kind),
                "rows": rows, "bytes": bytes, "storedRows": kept.rows, "storedBytes": kept.bytes,
            })
        })
        .collect();
    let (width, height) = (picture.width, picture.height);
    Ok(Json(json!({
        "width": width, "height": height, "boxWidth": picture::BOX_WIDTH, "lineHeight": picture::LINE_HEIGHT,
        "padding": picture::PADDING, "leftOut": left_out, "boxes": boxes, "arrows": arrows,
    })))
}

/// The part of a store that came to its readers.
struct Flow {
    rows: Option<u64>,
    bytes: Option<u64>,
}

/// The rows that the runs of `to` have read of those that `from` makes, or the stored ones if there was no run. Tasks
/// count their reads by kind, not by store: the share of each of several is known only if they have read all of them,
/// once.
fn flow(status: &Status, job: &Job, from: &StageOutline, to: &StageOutline) -> Flow {
    let stored = status.kept(job, from.store).unwrap_or_default();
    let runs = || status.runs(job).filter(|run| run.store == to.store);
    if runs().next().is_none() {
        return Flow { rows: Some(stored.rows), bytes: Some(stored.bytes) };
    }
    let is_shuffle = from.kind == StageKind::ShuffleMap;
    let of_kind = |store: &&StoreId| {
        let outline = job.plan.iter().find(|outline| outline.store == **store);
        outline.is_some_and(|outline| (outline.kind == StageKind::ShuffleMap) == is_shuffle)
    };
    let rivals: BTreeSet<StoreId> = to.reads.iter().filter(of_kind).copied().collect();
    let read: Flow = runs().fold(Flow { rows: Some(0), bytes: Some(0) }, |sum, run| {
        let (rows, bytes) = match is_shuffle {
            true => (run.reads.shuffle_rows, run.reads.shuffle_bytes),
            false => (run.reads.rows, run.reads.bytes),
        };
        Flow { rows: sum.rows.map(|sum| sum + rows), bytes: sum.bytes.map(|sum| sum + bytes) }
    });
    // Rows of sources are counted with those of persisted rdds.
    let has_source = !is_shuffle && (to.more_operators > 0 || to.operators.iter().any(|found| found.inputs.is_empty()));
    if rivals.len() == 1 && !has_source {
        return read;
    }
    let all = rivals.iter().filter_map(|store| status.kept(job, *store));
    let all = all.fold(Kept::default(), |sum, kept| Kept {
        rows: sum.rows + kept.rows,
        bytes: sum.bytes + kept.bytes,
        ..sum
    });
    // What is on disk takes another number of bytes there.
    let same_bytes = Some(all.bytes) == read.bytes;
    let whole = if has_source { same_bytes } else { Some(all.rows) == read.rows };
    let bytes = if rivals.len() == 1 { read.bytes } else { same_bytes.then_some(stored.bytes) };
    Flow { rows: whole.then_some(stored.rows), bytes }
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
        Some(StageState::Pending) => "PENDING",
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
