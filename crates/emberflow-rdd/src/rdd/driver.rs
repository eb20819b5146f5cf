//! How an action runs its jobs: one value for each partition that is wanted, made by a sink of the action's own.

use std::{
    any::Any,
    marker::PhantomData,
    sync::{Arc, PoisonError},
};

use emberflow_core::{
    backend::JobSpec,
    batch::{AnyStream, Batch, BoxStream, Stream},
    codec::CodecError,
    data::Data,
    error::{Error, Result, TaskError},
    ids::PartitionIndex,
    operator::{self, ActionOutput},
    place::OpInfo,
    plan::{self, ActionSpec},
    remake,
    ship::{self, Env, NotShippable, Shipped, With},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Rdd;
use crate::action::{Canceller, Driver};

impl Driver {
    /// Runs one job: `each` on every partition in `wanted`, its results in partition order.
    ///
    /// `each` gets the partition's rows and gives its share of the result with the number of rows that it read. Values
    /// that it needs beside are in `env`, for closures that capture values cannot be sent to another process.
    ///
    /// # Errors
    /// Those of the job; [`Error::Cancelled`] if the action was cancelled before.
    pub async fn run<T, R, E, F>(
        &self,
        rdd: &Rdd<T>,
        info: OpInfo,
        wanted: Vec<PartitionIndex>,
        env: E,
        each: F,
    ) -> Result<Vec<R>>
    where
        T: Data,
        R: Serialize + DeserializeOwned + Send + 'static,
        E: Env,
        F: Fn(&E, PartitionIndex, BoxStream<T>, &TaskContext) -> Result<(R, u64), TaskError> + Send + Sync + 'static,
    {
        // Before the plan is made, and until the job has ended.
        let guards = rdd.node().guards();
        let handle = {
            let Canceller { shared, progress, labels } = &self.0;
            let engine = &shared.engine;
            let operator = info.clone();
            let spec = ActionSpec {
                info,
                action: Arc::new(EachPartition { with: With::new(env, each), types: PhantomData }),
                store: engine.next_store(),
            };
            let mut stages = plan::compile(rdd.node(), engine.id(), spec)?;
            if let Some(plans) = shared.sent_plans.get() {
                let sent = plans.send(stages);
                stages = sent.map_err(|cause| Error::SentJobFailed { operator: operator.to_string(), cause })?;
            }
            // The lock is held while submitting, so that no cancel falls between the question and the job.
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if let (true, Some(job)) = (progress.over, progress.job) {
                return Err(Error::Cancelled { job });
            }
            engine.mind_lineage(rdd.id(), rdd.node().ancestors().len(), stages.len());
            let handle = shared.backend.submit(JobSpec { stages, wanted, labels: labels.clone() })?;
            (progress.job, progress.operator) = (Some(handle.id()), Some(operator));
            handle
        };
        let outcome = handle.await;
        drop(guards);
        results(outcome?.into_values()?.into_iter().map(|(_, value)| value))
    }
}

/// The values of an action's tasks, as the type that they have.
fn results<R: 'static>(values: impl IntoIterator<Item = Box<dyn Any + Send>>) -> Result<Vec<R>> {
    let values = values.into_iter().map(|value| value.downcast::<R>().map(|value| *value));
    values.collect::<Result<Vec<R>, _>>().map_err(|_| Error::ContextDead { actor: "coordinator" })
}

/// The sink of a result stage.
#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Env")]
struct EachPartition<T, R, E, F> {
    with: With<E, F>,
    types: PhantomData<fn(T) -> R>,
}

impl<T, R, E, F> operator::ActionOperator for EachPartition<T, R, E, F>
where
    T: Data,
    R: Serialize + DeserializeOwned + Send + 'static,
    E: Env,
    F: Fn(&E, PartitionIndex, BoxStream<T>, &TaskContext) -> Result<(R, u64), TaskError> + Send + Sync + 'static,
{
    fn run(&self, partition: PartitionIndex, input: AnyStream, cx: &TaskContext) -> Result<ActionOutput, TaskError> {
        let rows = Box::new(SinkStream { rows: input.read(cx)?, marker: cx.sink_marker() });
        let (env, each) = self.with.parts();
        let (value, rows) = each(env, partition, rows, cx)?;
        let value: Box<dyn Any + Send> = Box::new(value);
        Ok(ActionOutput { value, rows })
    }

    fn encode(&self, value: &(dyn Any + Send)) -> Result<Vec<u8>, NotShippable> {
        ship::encode_value::<R>(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Box<dyn Any + Send>, CodecError> {
        ship::decode_value::<R>(bytes)
    }

    fn ship(&self) -> Result<Shipped<dyn operator::ActionOperator>, NotShippable> {
        remake::action(self)
    }
}

/// The rows that an action reads. It is to blame for all it does with a batch, not the last operator; for a batch
/// that it does not get, the operator that failed to give it.
struct SinkStream<T> {
    rows: BoxStream<T>,
    marker: Marker,
}

impl<T> Stream<T> for SinkStream<T> {
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        // An error is the fault of the operator that ran last.
        let batch = self.rows.next()?;
        match &batch {
            Some(batch) => self.marker.enter_with(batch.len()),
            None => self.marker.enter(),
        }
        Ok(batch)
    }
}
