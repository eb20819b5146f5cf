//! The table after a job: what each of its stages did.
//!
//! A fold of events that knows no terminal. Holds the jobs that run, and no more.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    time::{Duration, SystemTime},
};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use emberflow_core::{
    event::{Event, JobEnd},
    ids::{JobId, StageId, TaskId},
    task::Reads,
};
use indicatif::{HumanBytes, HumanCount};

use crate::bus::EventRecord;

/// Borders around the table and under the header, none between rows: those of Spark's `show()`.
const BORDERS: &str = "||--+-++|    ++++++";

/// Lines of so many characters have room for all columns.
const WHOLE_WIDTH: u16 = 110;

/// The columns that a narrower table leaves out.
const NARROW_LEAVES_OUT: [&str; 4] = ["rows read", "bytes read", "bytes", "task time"];

/// Jobs that are followed at a time.
const MOST_JOBS: usize = 1000;

/// All jobs that run.
#[derive(Default)]
pub(crate) struct Summaries {
    /// The number of characters that a line may have, if there is a limit.
    width: Option<u16>,
    jobs: BTreeMap<JobId, Job>,
    stages: HashMap<StageId, JobId>,
    /// The work of attempts that have ended, until their result is known.
    ended: HashMap<TaskId, Work>,
}

struct Job {
    action: String,
    description: Option<String>,
    began: SystemTime,
    stages: BTreeMap<StageId, Stage>,
    skipped: Vec<String>,
    missed: u64,
}

#[derive(Default)]
struct Stage {
    name: String,
    began: Option<SystemTime>,
    took: Option<Duration>,
    work: Work,
}

/// Work that adds up.
#[derive(Clone, Copy, Default)]
struct Work {
    tasks: u64,
    failed: u64,
    reads: Reads,
    rows: u64,
    bytes: u64,
    spilled: u64,
    time: Duration,
}

impl Work {
    fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.failed += other.failed;
        self.reads += other.reads;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.spilled += other.spilled;
        self.time += other.time;
    }

    fn cells(&self) -> [String; 7] {
        let failed = if self.failed > 0 { format!(" (+{} failed)", HumanCount(self.failed)) } else { String::new() };
        [
            format!("{}{failed}", HumanCount(self.tasks)),
            HumanCount(self.reads.rows + self.reads.shuffle_rows).to_string(),
            HumanBytes(self.reads.bytes + self.reads.shuffle_bytes).to_string(),
            HumanCount(self.rows).to_string(),
            HumanBytes(self.bytes + self.spilled).to_string(),
            HumanBytes(self.spilled).to_string(),
            format!("{:.1?}", self.time),
        ]
    }
}

impl Summaries {
    /// Summaries whose lines have at most so many characters, if that is given: names are broken where they do not fit.
    pub(crate) fn new(width: Option<u16>) -> Self {
        Self { width, ..Self::default() }
    }

    /// Takes in what happened; gives the text about a job that has ended by it.
    pub(crate) fn apply(&mut self, record: &EventRecord) -> Option<String> {
        match &record.event {
            Event::JobStarted { job, action, .. } => {
                let (action, began) = (action.clone(), record.at);
                let (stages, skipped) = (BTreeMap::new(), Vec::new());
                self.jobs.insert(*job, Job { action, description: None, began, stages, skipped, missed: 0 });
                if self.jobs.len() > MOST_JOBS {
                    // Its end was missed, most likely.
                    self.jobs.pop_first();
                }
            }
            Event::JobLabelled { job, labels } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.description.clone_from(&labels.description);
                }
            }
            Event::StageStarted { stage, job, name, .. } => {
                if let Some(found) = self.jobs.get_mut(job) {
                    self.stages.insert(*stage, *job);
                    let fresh = Stage { name: name.clone(), began: Some(record.at), ..Stage::default() };
                    found.stages.insert(*stage, fresh);
                }
            }
            Event::StageSkipped { job, name, .. } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.skipped.push(name.clone());
                }
            }
            Event::PartitionSpilled { task, bytes, .. } => self.ended.entry(*task).or_default().spilled = *bytes,
            Event::TaskRan { task, ran } => {
                let work = self.ended.entry(*task).or_default();
                (work.reads, work.time) = (ran.reads, ran.duration);
            }
            Event::TaskFinished { task, stage, rows, bytes, duration, .. } => {
                let (rows, bytes, time) = (*rows, *bytes, *duration);
                let known = self.ended.remove(task).unwrap_or_default();
                self.add(*stage, Work { tasks: 1, rows, bytes, time, ..known });
            }
            Event::TaskFailed { task, stage, .. } => {
                let Work { time, .. } = self.ended.remove(task).unwrap_or_default();
                self.add(*stage, Work { failed: 1, time, ..Work::default() });
            }
            Event::StageFinished { stage } => {
                if let Some(stage) = self.stage(*stage) {
                    stage.took = stage.began.and_then(|began| record.at.duration_since(began).ok());
                }
                self.stages.remove(stage);
            }
            Event::Gap { missed } => self.jobs.values_mut().for_each(|job| job.missed += missed),
            Event::JobFinished { job: id, end } => {
                let job = self.jobs.remove(id)?;
                self.stages.retain(|_, of| of != id);
                if self.jobs.is_empty() {
                    self.ended.clear();
                }
                return Some(job.describe(*id, end, record.at, self.width));
            }
            _ => {}
        }
        None
    }

    fn stage(&mut self, stage: StageId) -> Option<&mut Stage> {
        self.jobs.get_mut(self.stages.get(&stage)?)?.stages.get_mut(&stage)
    }

    fn add(&mut self, stage: StageId, work: Work) {
        if let Some(stage) = self.stage(stage) {
            stage.work.add(work);
        }
    }
}

impl Job {
    fn describe(&self, id: JobId, end: &JobEnd, ended: SystemTime, width: Option<u16>) -> String {
        let since = |began| ended.duration_since(began).unwrap_or_default();
        let mut table = Table::new();
        let heads = ["stage", "", "tasks", "rows read", "bytes read", "rows", "bytes", "spilled", "task time", "time"];
        table.load_preset(BORDERS).set_header(heads);
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            if width < WHOLE_WIDTH {
                let left_out =
                    table.column_iter_mut().filter(|column| NARROW_LEAVES_OUT.contains(&heads[column.index]));
                left_out.for_each(|column| _ = column.set_constraint(ColumnConstraint::Hidden));
            }
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let mut row = |number: String, name: &str, work: [String; 7], time: String| {
            table.add_row([number, name.to_owned()].into_iter().chain(work).chain([time]));
        };
        for name in &self.skipped {
            row(
                String::new(),
                name,
                std::array::from_fn(|at| if at == 0 { "skipped" } else { "" }.to_owned()),
                String::new(),
            );
        }
        let mut all = Work::default();
        for (number, stage) in &self.stages {
            all.add(stage.work);
            // The one that the job was waiting for ends with it.
            let took = stage.took.or(stage.began.map(since)).unwrap_or_default();
            row(number.get().to_string(), &stage.name, stage.work.cells(), format!("{took:.1?}"));
        }
        let took = since(self.began);
        row(String::new(), "all", all.cells(), format!("{took:.1?}"));
        let what = self.description.as_ref().map_or_else(String::new, |what| format!(" ({what})"));
        let how = match end {
            JobEnd::Succeeded => "succeeded",
            JobEnd::Cancelled => "was cancelled",
            _ => "ended with an error",
        };
        let mut text = format!("{id}: {}{what} {how} after {took:.1?}\n{table}\n", self.action);
        if self.missed > 0 {
            // To write into a string does not fail.
            let _ = writeln!(text, "{} events came too fast to be counted: there was more than this", self.missed);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use emberflow_core::{
        event::Ran,
        ids::{RddId, StoreId},
    };

    use super::*;

    /// The text after these events, one a second.
    fn told(events: Vec<Event>) -> String {
        let mut summaries = Summaries::default();
        let texts = events.into_iter().zip(1..).filter_map(|(event, second)| {
            summaries.apply(&EventRecord { at: SystemTime::UNIX_EPOCH + Duration::from_secs(second), event })
        });
        let text = texts.collect();
        assert!(summaries.jobs.is_empty() && summaries.stages.is_empty() && summaries.ended.is_empty());
        text
    }

    #[test]
    fn a_job_that_has_ended_is_a_table_of_its_stages() {
        let (job, stage, store, rdd) = (JobId::new(3), StageId::new(7), StoreId::new(1), RddId::new(0));
        let task = TaskId::new;
        let mut reads = Reads::default();
        (reads.rows, reads.bytes) = (1000, 8000);
        let duration = Duration::from_millis(250);
        let ran = |number| Event::TaskRan {
            task: task(number),
            ran: Box::new(Ran::new(0, SystemTime::UNIX_EPOCH, duration, reads)),
        };
        let finished = |number, rows, bytes| Event::TaskFinished {
            task: task(number),
            stage,
            partition: 0,
            rows,
            bytes,
            duration,
            worker: 0,
        };
        let text = told(vec![
            Event::JobStarted { job, action: "count at main.rs:7:3".to_owned(), partitions: 2 },
            Event::StageSkipped { job, store, name: "map at main.rs:5:1".to_owned() },
            Event::StageStarted { stage, job, store, rdd, name: "count at main.rs:7:3".to_owned(), tasks: 2 },
            ran(0),
            finished(0, 10, 80),
            ran(1),
            Event::TaskFailed { task: task(1), stage, partition: 1, attempt: 1, error: "no".to_owned(), retried: true },
            Event::PartitionSpilled { store, partition: 1, task: task(2), bytes: 2048, file_bytes: 2000 },
            ran(2),
            finished(2, 1234, 0),
            Event::Gap { missed: 5 },
            Event::StageFinished { stage },
            Event::JobFinished { job, end: JobEnd::Succeeded },
        ]);
        let table = "\
job 3: count at main.rs:7:3 succeeded after 12.0s
+-------+----------------------+---------------+-----------+------------+-------+----------+----------+-----------+-------+
| stage |                      |         tasks | rows read | bytes read |  rows |    bytes |  spilled | task time |  time |
+-------+----------------------+---------------+-----------+------------+-------+----------+----------+-----------+-------+
|       | map at main.rs:5:1   |       skipped |           |            |       |          |          |           |       |
| 7     | count at main.rs:7:3 | 2 (+1 failed) |     2,000 |  15.62 KiB | 1,244 | 2.08 KiB | 2.00 KiB |   750.0ms |  9.0s |
|       | all                  | 2 (+1 failed) |     2,000 |  15.62 KiB | 1,244 | 2.08 KiB | 2.00 KiB |   750.0ms | 12.0s |
+-------+----------------------+---------------+-----------+------------+-------+----------+----------+-----------+-------+
5 events came too fast to be counted: there was more than this
";
        assert_eq!(text, table);
    }

    #[test]
    fn a_job_that_fails_or_is_cancelled_says_so_and_one_that_nobody_saw_begin_says_nothing() {
        let (job, other, cancelled) = (JobId::new(0), JobId::new(1), JobId::new(2));
        let text = told(vec![
            Event::JobStarted { job, action: "count".to_owned(), partitions: 2 },
            Event::JobFinished { job: other, end: JobEnd::Succeeded },
            Event::JobFinished { job, end: JobEnd::Failed { error: "no".to_owned() } },
        ]);
        assert!(text.starts_with("job 0: count ended with an error after 2.0s\n"), "{text}");
        let text = told(vec![
            Event::JobStarted { job: cancelled, action: "count".to_owned(), partitions: 2 },
            Event::JobFinished { job: cancelled, end: JobEnd::Cancelled },
        ]);
        assert!(text.starts_with("job 2: count was cancelled after 1.0s\n"), "{text}");
    }
}
