//! Messages to and from Spark's driver: frames of the same form as those of workers, with tags of their own.

use emberflow_core::{
    codec,
    ids::{PartitionIndex, StoreId},
    parcel::Parcel,
    plan::{StageKind, StagePlan, StoreRead},
};
use emberflow_runtime::{Done, Frame};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// To the driver: the program's file; a stage; a job (its number); cancel it; release a store.
pub(crate) const PROGRAM: u8 = b'F';
pub(crate) const STAGE: u8 = b'S';
pub(crate) const JOB: u8 = b'J';
pub(crate) const CANCEL: u8 = b'C';
pub(crate) const RELEASE: u8 = b'U';
/// From it: it is there (Spark's version), or does not start and says why; a value of a job (its number, the partition); what the task of a partition has
/// added to an accumulator (the same numbers); the job has succeeded, or failed.
pub(crate) const HELLO: u8 = b'H';
pub(crate) const REFUSED: u8 = b'N';
pub(crate) const VALUE: u8 = b'R';
pub(crate) const ADDITION: u8 = b'A';
/// A task has succeeded, or an attempt at one has failed: the job's number, the partition.
pub(crate) const RAN: u8 = b'K';
pub(crate) const ATTEMPT_FAILED: u8 = b'Y';
pub(crate) const SUCCEEDED: u8 = b'E';
pub(crate) const FAILED: u8 = b'X';

/// Fields of a message, as the Java class reads them: little end first.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn int(&mut self, number: usize) -> io::Result<()> {
        self.0.extend_from_slice(&i32::try_from(number).map_err(io::Error::other)?.to_le_bytes());
        Ok(())
    }

    fn none(&mut self) {
        self.0.extend_from_slice(&(-1_i32).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.int(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn ints(&mut self, numbers: impl ExactSizeIterator<Item = usize>) -> io::Result<()> {
        self.int(numbers.len())?;
        numbers.into_iter().try_for_each(|number| self.int(number))
    }
}

/// The message that defines a stage. `order` is what each of its tasks is told besides.
pub(crate) fn stage(stage: &StagePlan, parcel: &Parcel, order: &[u8]) -> io::Result<Frame> {
    let mut fields = Fields::default();
    fields.long(stage.store.get());
    fields.int(match stage.kind {
        StageKind::Persist => 1,
        StageKind::Result => 2,
        _ => 0,
    })?;
    fields.int(stage.partitions)?;
    fields.bytes(parcel.as_bytes())?;
    fields.bytes(order)?;
    fields.bytes(stage.info.to_string().as_bytes())?;
    let routes = routes(stage);
    fields.int(routes.len())?;
    for (store, route) in routes {
        fields.long(store.get());
        fields.int(usize::from(route.is_shuffle))?;
        if route.is_straight(stage.partitions) {
            fields.none();
            continue;
        }
        let readers = route.tasks.last_key_value().map_or(0, |(reader, _)| reader + 1);
        fields.int(readers)?;
        for reader in 0..readers {
            let tasks = route.tasks.get(&reader).into_iter().flatten().copied();
            fields.ints(tasks.collect::<Vec<_>>().into_iter())?;
        }
    }
    Ok(Frame::new(STAGE, 0, 0, fields.0))
}

/// The message that starts a job: its stages, of which the last one gives the result, and the partitions that are wanted.
pub(crate) fn job(
    number: u32,
    stages: &[Arc<StagePlan>],
    last: &StagePlan,
    wanted: &[PartitionIndex],
) -> io::Result<Frame> {
    let mut fields = Fields::default();
    fields.long(last.store.get());
    fields.bytes(last.info.to_string().as_bytes())?;
    let before: Vec<StoreId> = stages.iter().map(|stage| stage.store).filter(|store| *store != last.store).collect();
    fields.int(before.len())?;
    before.into_iter().for_each(|store| fields.long(store.get()));
    fields.ints(wanted.iter().copied())?;
    Ok(Frame::new(JOB, number, 0, fields.0))
}

/// Reads the fields of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn long(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn int(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.int()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// The sum of the additions to an accumulator by the task of a partition.
pub(crate) struct Addition<'a> {
    pub(crate) store: StoreId,
    pub(crate) accumulator: u64,
    pub(crate) update: &'a [u8],
}

impl<'a> Addition<'a> {
    /// Reads it in a message.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        Some(Self { store: StoreId::new(fields.long()?), accumulator: fields.long()?, update: fields.0 })
    }
}

/// A task that has succeeded.
pub(crate) struct Report {
    pub(crate) store: StoreId,
    pub(crate) attempt: u32,
    pub(crate) began: SystemTime,
    pub(crate) duration: Duration,
    /// Bytes of the pieces that it made.
    pub(crate) bytes: u64,
    /// The worker process, by its executor and its number there.
    pub(crate) worker: String,
    pub(crate) done: Done,
}

impl Report {
    /// Reads it in a message.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        Some(Self {
            store: StoreId::new(fields.long()?),
            attempt: fields.int()?,
            began: SystemTime::UNIX_EPOCH + Duration::from_millis(fields.long()?),
            duration: Duration::from_nanos(fields.long()?),
            bytes: fields.long()?,
            worker: String::from_utf8_lossy(fields.bytes()?).into_owned(),
            done: codec::decode_plan(fields.bytes()?).ok()?,
        })
    }
}

/// An attempt of Spark's that has failed.
pub(crate) struct FailedTask<'a> {
    /// The store that it was to fill.
    pub(crate) store: StoreId,
    pub(crate) attempt: u32,
    pub(crate) text: Cow<'a, str>,
}

impl<'a> FailedTask<'a> {
    /// Reads it in a message.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        Some(Self {
            store: StoreId::new(fields.long()?),
            attempt: fields.int()?,
            text: String::from_utf8_lossy(fields.0),
        })
    }
}

/// The message that releases a store.
pub(crate) fn release(store: StoreId) -> Frame {
    let mut fields = Fields::default();
    fields.long(store.get());
    Frame::new(RELEASE, 0, 0, fields.0)
}

/// Which tasks of a stage read which part of a store.
struct Route {
    is_shuffle: bool,
    /// By reducer of a shuffle, or by partition of a persisted RDD.
    tasks: BTreeMap<PartitionIndex, BTreeSet<PartitionIndex>>,
}

impl Route {
    /// Returns whether every task reads its own part, and no other.
    fn is_straight(&self, tasks: usize) -> bool {
        self.tasks.len() == tasks && self.tasks.iter().all(|(part, by)| by.len() == 1 && by.contains(part))
    }
}

/// How the parts of the stores that a stage reads get to its tasks, in the order in which workers number the stores.
fn routes(stage: &StagePlan) -> BTreeMap<StoreId, Route> {
    let mut routes: BTreeMap<StoreId, Route> = BTreeMap::new();
    for task in 0..stage.partitions {
        for read in stage.reads_of(task) {
            let (store, part, is_shuffle) = match read {
                StoreRead::Partition(store, partition) => (store, partition, false),
                StoreRead::Reducer(store, reducer) => (store, reducer, true),
            };
            let route = routes.entry(store).or_insert_with(|| Route { is_shuffle, tasks: BTreeMap::new() });
            route.tasks.entry(part).or_default().insert(task);
        }
    }
    // A store that no task reads has a number, too.
    for store in stage.stores().into_keys() {
        routes.entry(store).or_insert_with(|| Route { is_shuffle: true, tasks: BTreeMap::new() });
    }
    routes
}
