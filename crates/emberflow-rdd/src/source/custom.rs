//! `from_source`: rows from anywhere, by a trait of three methods.

use std::sync::Arc;

use emberflow_core::{
    batch::{AnyStream, Batch, Stream},
    data::Data,
    error::TaskError,
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    pace::Pace,
    place::OpInfo,
    remake,
    ship::{Code, NotShippable, Shipped},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::leaf;
use crate::{rdd::Rdd, shared::Shared};

/// A source of rows of your own: so many partitions, each of them readable from its beginning, again and again.
///
/// A partition that is lost is read again, so reading must give the same rows every time. It is called on worker
/// threads and may block there.
///
/// ```
/// use emberflow::prelude::*;
///
/// /// The words of some sentences, a sentence a partition.
/// struct Sentences(Vec<&'static str>);
///
/// impl Source for Sentences {
///     type Row = String;
///     type Error = std::io::Error;
///     type Rows = std::vec::IntoIter<Result<String, std::io::Error>>;
///
///     fn partitions(&self) -> usize {
///         self.0.len()
///     }
///
///     fn read(&self, partition: usize) -> Result<Self::Rows, std::io::Error> {
///         let words: Vec<_> = self.0[partition].split(' ').map(|word| Ok(word.to_owned())).collect();
///         Ok(words.into_iter())
///     }
/// }
///
/// let ctx = Context::local(2)?;
/// let words = ctx.from_source(Sentences(vec!["to be", "or not"]));
/// assert_eq!(words.glom().collect()?, [["to", "be"], ["or", "not"]]);
/// # Ok::<(), Error>(())
/// ```
pub trait Source: Send + Sync + 'static {
    /// The type of the rows that the source gives.
    type Row: Data;
    /// The type of the source's errors. The task is tried again, since many errors of reading pass.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;
    /// The rows of a partition.
    type Rows: Iterator<Item = Result<Self::Row, Self::Error>> + 'static;

    /// Number of partitions; asked once, when the RDD is made.
    fn partitions(&self) -> usize;

    /// Opens a partition.
    ///
    /// # Errors
    /// The error that kept the partition from being read.
    fn read(&self, partition: PartitionIndex) -> Result<Self::Rows, Self::Error>;
}

pub(crate) fn custom<S: Source>(shared: &Arc<Shared>, info: OpInfo, source: S) -> Rdd<S::Row> {
    let partitions = source.partitions();
    leaf(shared, info, partitions, Custom(Code::new(source)))
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Custom<S>(Code<S>);

impl<S: Source> Operator for Custom<S> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let (task, marker) = (inputs.task().clone(), inputs.marker());
        marker.enter();
        let rows = self.0.read(partition).map_err(TaskError::io)?;
        Ok(AnyStream::new(CustomStream {
            rows: Some(rows),
            batch_rows: task.batch_rows_of::<S::Row>(),
            pace: Pace::new(),
            task,
            marker,
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct CustomStream<I> {
    rows: Option<I>,
    batch_rows: usize,
    pace: Pace,
    task: TaskContext,
    marker: Marker,
}

impl<T, E, I> Stream<T> for CustomStream<I>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: Iterator<Item = Result<T, E>>,
{
    fn next(&mut self) -> Result<Option<Batch<T>>, TaskError> {
        self.task.check_cancelled()?;
        self.marker.enter();
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let enough = self.pace.next_rows().min(self.batch_rows);
        let batch: Vec<T> = rows.take(enough).collect::<Result<_, E>>().map_err(TaskError::io)?;
        if batch.len() < enough {
            self.rows = None;
        }
        Ok((!batch.is_empty()).then_some(Batch::Owned(batch)))
    }
}
