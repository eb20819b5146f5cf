//! Counts and gauges, in the format that Prometheus reads.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{app::App, rest::AtWork};

/// The type of the answer.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as text.
pub(crate) fn render(app: &Arc<App>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix_and_labels(
        "emberflow",
        [("app".into(), app.about.name.clone().into()), ("app_id".into(), app.about.id.clone().into())].into_iter(),
    );
    registry.register_collector(Box::new(Metrics(Arc::clone(app))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

struct Metrics(Arc<App>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (totals, running_jobs, running_tasks, pending_tasks) = {
            let status = self.0.status();
            let at_work = AtWork::now(&self.0, &status).tasks();
            let waiting = status.running_tasks().saturating_sub(at_work);
            (*status.totals(), status.jobs().filter(|job| job.is_running()).count(), at_work, waiting)
        };
        let memory = self.0.memory();
        let counters = [
            ("jobs_started", "Jobs that began", totals.jobs_started),
            ("jobs_succeeded", "Jobs that gave their result", totals.jobs_succeeded),
            ("jobs_failed", "Jobs that ended with an error", totals.jobs_failed),
            ("jobs_cancelled", "Jobs that were cancelled", totals.jobs_cancelled),
            ("stages_started", "Stages that began", totals.stages_started),
            ("stages_skipped", "Stages that were not run, since what they make was there", totals.stages_skipped),
            ("tasks_succeeded", "Tasks that gave their rows", totals.tasks_succeeded),
            ("tasks_failed", "Tasks that ended without their rows", totals.tasks_failed),
            ("task_rows", "Rows that tasks wrote, or read for a result", totals.rows),
            ("task_rows_read", "Rows of sources and persisted rdds that tasks read", totals.reads.rows),
            ("task_bytes_read", "Bytes of persisted rdds that tasks read", totals.reads.bytes),
            ("shuffle_rows_read", "Rows of shuffles that tasks read", totals.reads.shuffle_rows),
            ("shuffle_bytes_read", "Bytes of shuffles that tasks read", totals.reads.shuffle_bytes),
            ("partitions_stored", "Partitions that were stored", totals.partitions_stored),
            ("partitions_spilled", "Partitions that were written to disk", totals.partitions_spilled),
            (
                "partitions_dropped",
                "Partitions that were dropped rather than written to disk",
                totals.partitions_dropped,
            ),
            ("partitions_lost", "Stored partitions that were lost", totals.partitions_lost),
            ("partitions_rebuilt", "Lost partitions that were there again", totals.partitions_rebuilt),
            ("spilled_bytes", "Bytes that were written to disk", memory.spilled_in_all),
            ("read_back_bytes", "Bytes that were read back from disk", memory.read_back_in_all),
            ("events_missed", "Events that came too fast to be counted", totals.events_missed),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        let metric =
            encoder.encode_descriptor("task_seconds", "Time of tasks on workers", None, MetricType::Counter)?;
        ConstCounter::new(totals.task_time.as_secs_f64()).encode(metric)?;
        let gauges = [
            ("jobs_running", "Jobs that run", running_jobs as u64),
            ("tasks_running", "Tasks that workers are at", running_tasks as u64),
            ("tasks_pending", "Tasks that wait for a worker", pending_tasks as u64),
            ("workers", "Worker threads", self.0.about.workers as u64),
            ("memory_budget_bytes", "Bytes that rows may take in memory", memory.budget),
            ("memory_persisted_bytes", "Bytes of persisted rows in memory", memory.persisted),
            ("memory_map_output_bytes", "Bytes of map outputs in memory", memory.map_outputs),
            ("memory_working_bytes", "Bytes that running tasks work on", memory.working),
            ("memory_result_bytes", "Bytes of results on their way to callers", memory.results),
            ("memory_peak_bytes", "The most bytes that rows have taken in memory", memory.peak),
            ("disk_spilled_bytes", "Bytes on disk that are needed", memory.spilled),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            // A gauge holds an i64; no machine has so much memory.
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}
