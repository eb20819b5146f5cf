//! The rows of several RDDs that are placed alike, grouped by key: one list a side.
//!
//! Each side's rows are gathered and split into [pieces](super::pieces), and a piece of all sides is grouped at a time.
//! Keys come in the order in which they are first met, side after side.

use std::{marker::PhantomData, mem, ops::Range, sync::Arc};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, IterStream, Stream},
    data::{Data, ExchangeData, Key},
    error::{TaskError, over_budget},
    ids::PartitionIndex,
    memory::Claim,
    operator::{Inputs, Operator},
    partitioner::KeyHasher,
    remake,
    ship::{self, Code, Descriptor, Env, Held, NotShippable, Sent, Ship, Shipped},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::{
    pieces::{self, Chunks, Pieces},
    table::Table,
};

/// Gives the list of one side in a row of the result.
pub(crate) trait Group<G, V>: Fn(&mut G) -> &mut Vec<V> + Send + Sync + 'static {}

impl<G, V, A: Fn(&mut G) -> &mut Vec<V> + Send + Sync + 'static> Group<G, V> for A {}

/// Opens one partition of a side, whose type of values it knows.
trait OpenSide<K, G>: Send + Sync + 'static {
    /// The rows of the input number `input`.
    fn open(
        &self,
        inputs: &Inputs<'_>,
        input: usize,
        partition: PartitionIndex,
    ) -> Result<Box<dyn Rows<K, G>>, TaskError>;

    /// The side as another process can make it again.
    fn ship(&self) -> Result<Shipped<dyn OpenSide<K, G>>, NotShippable>;
}

impl<K: Key, G: Default + Data> Ship for dyn OpenSide<K, G> {
    fn ship(&self) -> Result<Shipped<Self>, NotShippable> {
        OpenSide::ship(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct SideOf<V, A> {
    group: Held<Code<A>>,
    values: PhantomData<fn(V)>,
}

impl<K: Key, V: ExchangeData, G: Default + Data, A: Group<G, V>> OpenSide<K, G> for SideOf<V, A> {
    fn open(
        &self,
        inputs: &Inputs<'_>,
        input: usize,
        partition: PartitionIndex,
    ) -> Result<Box<dyn Rows<K, G>>, TaskError> {
        let rows = Some(inputs.narrow::<(K, V)>(input, partition)?);
        let (chunks, pieces) = (Chunks::new(), Pieces::none());
        Ok(Box::new(Side { rows, chunks, pieces, group: self.group.clone() }))
    }

    fn ship(&self) -> Result<Shipped<dyn OpenSide<K, G>>, NotShippable> {
        ship::of(self, Made::<K, G, Self>::CODE)
    }
}

struct Made<K, G, S>(PhantomData<(K, G, S)>);

impl<K: Key, G: Default + Data, S: OpenSide<K, G> + Env> Made<K, G, S> {
    const CODE: &'static Descriptor<dyn OpenSide<K, G>> = &Descriptor::new::<S>(|state| Ok(ship::read::<S>(state)?));
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "K: Key, G: Default + Data")]
pub(crate) struct Cogroup<K, G> {
    sides: Vec<Reader<K, G>>,
    hasher: KeyHasher,
}

impl<K, G> Cogroup<K, G> {
    pub(crate) fn new(sides: Vec<Reader<K, G>>, hasher: KeyHasher) -> Self {
        Self { sides, hasher }
    }
}

/// One side, whose values have a type that is forgotten.
#[derive(Serialize, Deserialize)]
#[serde(bound = "K: Key, G: Default + Data")]
pub(crate) struct Reader<K, G>(Sent<dyn OpenSide<K, G>>);

impl<K: Key, G: Default + Data> Reader<K, G> {
    /// A side whose values go where `group` says.
    pub(crate) fn new<V: ExchangeData>(group: impl Group<G, V>) -> Self {
        Self(Sent(Arc::new(SideOf { group: Held::new(Code::new(group)), values: PhantomData::<fn(V)> })))
    }
}

impl<K: Key, G: Default + Data> Operator for Cogroup<K, G> {
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let mut sides = Vec::with_capacity(self.sides.len());
        for (at, open) in self.sides.iter().enumerate() {
            sides.push(open.0.open(inputs, at, partition)?);
        }
        Ok(AnyStream::new(Groups {
            sides,
            hasher: self.hasher.clone(),
            pieces: None,
            table: Table::new(),
            out: None,
            claim: Claim::new(inputs.task().workspace()),
            row_bytes: 0,
            lent: 0,
            batch_rows: inputs.task().batch_rows_of::<(K, G)>(),
            marker: inputs.marker(),
            task: inputs.task().clone(),
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }
}

struct Groups<K, G> {
    sides: Vec<Box<dyn Rows<K, G>>>,
    hasher: KeyHasher,
    /// Those that are left, once the rows are gathered.
    pieces: Option<Range<usize>>,
    table: Table<K, G>,
    out: Option<IterStream<std::vec::IntoIter<(K, G)>>>,
    /// The room of the groups, until they are used; what each takes, and all of the batch that was given last.
    claim: Claim,
    row_bytes: u64,
    lent: u64,
    batch_rows: usize,
    marker: Marker,
    task: TaskContext,
}

impl<K: Key, G: Default + Data> Groups<K, G> {
    /// Gathers the rows of all sides and splits them; done when the first batch is asked for.
    fn gather(&mut self) -> Result<Range<usize>, TaskError> {
        let mut bytes = 0;
        for side in &mut self.sides {
            bytes += side.gather(&self.task)?;
        }
        self.marker.enter();
        let bits = pieces::bits(bytes);
        for side in &mut self.sides {
            side.split(bits, &self.hasher, &self.task)?;
        }
        Ok(0..1 << bits)
    }
}

impl<K: Key, G: Default + Data> Stream<(K, G)> for Groups<K, G> {
    fn next(&mut self) -> Result<Option<Batch<(K, G)>>, TaskError> {
        self.claim.shrink(mem::take(&mut self.lent));
        loop {
            if let Some(batch) = self.out.as_mut().map(Stream::next).transpose()?.flatten() {
                self.lent = batch.len() as u64 * self.row_bytes;
                return Ok(Some(batch));
            }
            self.claim.set(0);
            self.task.check_cancelled()?;
            let mut pieces = match self.pieces.take() {
                Some(pieces) => pieces,
                None => self.gather()?,
            };
            let piece = pieces.next();
            self.pieces = Some(pieces);
            let Some(piece) = piece else { return Ok(None) };
            self.marker.enter();
            for side in &mut self.sides {
                side.group(piece, &mut self.table, &self.hasher, &mut self.claim)?;
            }
            let groups: Vec<_> = self.table.drain().collect();
            self.row_bytes = self.claim.bytes() / groups.len().max(1) as u64;
            self.out = Some(IterStream::new(groups.into_iter(), self.batch_rows));
        }
    }
}

/// A side's rows, type of values forgotten.
trait Rows<K, G> {
    /// Reads the rows. Returns how many bytes they have.
    fn gather(&mut self, task: &TaskContext) -> Result<usize, TaskError>;

    fn split(&mut self, bits: u32, hasher: &KeyHasher, task: &TaskContext) -> Result<(), TaskError>;

    /// Puts the rows of one piece into their groups, which take room.
    fn group(
        &mut self,
        piece: usize,
        table: &mut Table<K, G>,
        hasher: &KeyHasher,
        claim: &mut Claim,
    ) -> Result<(), TaskError>;
}

struct Side<K, V, A> {
    /// Until they are gathered.
    rows: Option<BoxStream<(K, V)>>,
    chunks: Chunks<(K, V)>,
    pieces: Pieces<K, V>,
    group: Held<Code<A>>,
}

impl<K: Key, V: ExchangeData, G: Default, A: Group<G, V>> Rows<K, G> for Side<K, V, A> {
    fn gather(&mut self, task: &TaskContext) -> Result<usize, TaskError> {
        if let Some(rows) = self.rows.take() {
            self.chunks = Chunks::gather(rows, task)?;
        }
        Ok(self.chunks.bytes())
    }

    fn split(&mut self, bits: u32, hasher: &KeyHasher, task: &TaskContext) -> Result<(), TaskError> {
        self.pieces = mem::replace(&mut self.chunks, Chunks::new()).split(bits, hasher, task)?;
        Ok(())
    }

    fn group(
        &mut self,
        piece: usize,
        table: &mut Table<K, G>,
        hasher: &KeyHasher,
        claim: &mut Claim,
    ) -> Result<(), TaskError> {
        let mut rows = self.pieces.take(piece)?;
        while let Some(run) = rows.next()? {
            claim.require(claim.bytes() + run.bytes(), over_budget::GROUP)?;
            run.for_each(|(key, value)| {
                let hash = hasher.hash(key);
                match table.find(hash, |k| k == key) {
                    Some(groups) => (self.group)(groups).push(value.clone()),
                    None => {
                        let mut groups = G::default();
                        (self.group)(&mut groups).push(value.clone());
                        table.insert(hasher, hash, key.clone(), groups);
                    }
                }
            });
        }
        Ok(())
    }
}
