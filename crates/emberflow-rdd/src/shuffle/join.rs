//! Rows of two RDDs that have equal keys, where both are placed alike.
//!
//! The rows of the right side are gathered and indexed. If they are few, the left side streams past them; otherwise
//! both sides are split into [pieces](super::pieces), and pair after pair is joined within the cache (the Grace hash
//! join, after Kitsuregawa, Tanaka and Moto-Oka 1983, with radix partitioning in memory). Only the right side of a piece
//! has to be in memory. Matches are given out batch by batch, so that a key that has many rows on both sides never has
//! to be held.
//!
//! Output follows the left side's rows, piece by piece; the matches of a row come in the right side's order, and right
//! rows without a match come last. It depends on the right side's rows alone whether there are pieces.

use std::{
    marker::PhantomData,
    mem,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use emberflow_core::{
    batch::{AnyStream, Batch, BoxStream, Stream, buffers},
    data::{Data, ExchangeData, Key},
    error::{TaskError, over_budget},
    ids::PartitionIndex,
    operator::{Inputs, Operator},
    partitioner::KeyHasher,
    remake,
    ship::{NotShippable, Shipped},
    task::{Marker, TaskContext},
};

use serde::{Deserialize, Serialize};

use super::{
    index::Index,
    pieces::{self, Chunks, Piece, Pieces, Run},
};

/// The results that a join makes of matches, and of rows without one.
pub(crate) trait Kind<V, W>: Send + Sync + 'static {
    type Out: Data;

    /// Whether a left row is done with once it has met a match.
    const FIRST_MATCH_ONLY: bool = false;
    /// Whether right rows without a match are asked for.
    const RIGHT: bool = false;

    fn both(left: &V, right: &W) -> Option<Self::Out>;

    fn left(left: &V) -> Option<Self::Out> {
        let _ = left;
        None
    }

    fn right(right: &W) -> Option<Self::Out> {
        let _ = right;
        None
    }
}

/// Rows with a match on the other side.
pub(crate) struct Inner;

impl<V: Data, W: Data> Kind<V, W> for Inner {
    type Out = (V, W);

    #[inline]
    fn both(left: &V, right: &W) -> Option<(V, W)> {
        Some((left.clone(), right.clone()))
    }
}

/// All left rows.
pub(crate) struct LeftOuter;

impl<V: Data, W: Data> Kind<V, W> for LeftOuter {
    type Out = (V, Option<W>);

    #[inline]
    fn both(left: &V, right: &W) -> Option<Self::Out> {
        Some((left.clone(), Some(right.clone())))
    }

    fn left(left: &V) -> Option<Self::Out> {
        Some((left.clone(), None))
    }
}

/// All right rows.
pub(crate) struct RightOuter;

impl<V: Data, W: Data> Kind<V, W> for RightOuter {
    type Out = (Option<V>, W);

    const RIGHT: bool = true;

    #[inline]
    fn both(left: &V, right: &W) -> Option<Self::Out> {
        Some((Some(left.clone()), right.clone()))
    }

    fn right(right: &W) -> Option<Self::Out> {
        Some((None, right.clone()))
    }
}

/// All rows of both sides.
pub(crate) struct FullOuter;

impl<V: Data, W: Data> Kind<V, W> for FullOuter {
    type Out = (Option<V>, Option<W>);

    const RIGHT: bool = true;

    #[inline]
    fn both(left: &V, right: &W) -> Option<Self::Out> {
        Some((Some(left.clone()), Some(right.clone())))
    }

    fn left(left: &V) -> Option<Self::Out> {
        Some((Some(left.clone()), None))
    }

    fn right(right: &W) -> Option<Self::Out> {
        Some((None, Some(right.clone())))
    }
}

/// Left rows with a match, once each.
pub(crate) struct LeftSemi;

impl<V: Data, W: Data> Kind<V, W> for LeftSemi {
    type Out = V;

    const FIRST_MATCH_ONLY: bool = true;

    fn both(left: &V, _: &W) -> Option<V> {
        Some(left.clone())
    }
}

/// Left rows without a match.
pub(crate) struct LeftAnti;

impl<V: Data, W: Data> Kind<V, W> for LeftAnti {
    type Out = V;

    const FIRST_MATCH_ONLY: bool = true;

    fn both(_: &V, _: &W) -> Option<V> {
        None
    }

    fn left(left: &V) -> Option<V> {
        Some(left.clone())
    }
}

/// Where the right side's rows come from.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Right {
    /// The partition of the same number, whose keys are those of the left side's partition.
    SamePartition,
    /// The only partition there is.
    Only,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Join<K, V, W, J> {
    hasher: KeyHasher,
    from: Right,
    /// Used if the right side is one partition for all of the left side's.
    #[serde(skip)]
    shared: Arc<SharedIndex<K, W>>,
    types: PhantomData<fn(V) -> J>,
}

impl<K, V, W, J> Join<K, V, W, J> {
    pub(crate) fn new(hasher: KeyHasher, from: Right) -> Self {
        Self { hasher, from, shared: Arc::default(), types: PhantomData }
    }
}

impl<K, V, W, J> Operator for Join<K, V, W, J>
where
    K: Key,
    V: ExchangeData,
    W: ExchangeData,
    J: Kind<V, W>,
{
    fn open(&self, partition: PartitionIndex, inputs: &Inputs<'_>) -> Result<AnyStream, TaskError> {
        let task = inputs.task().clone();
        let right = self.narrow_partitions(1, partition).start;
        Ok(AnyStream::new(JoinStream::<K, V, W, J> {
            state: State::Closed(inputs.narrow(0, partition)?, inputs.narrow(1, right)?),
            hasher: self.hasher.clone(),
            shared: (self.from == Right::Only).then(|| Arc::clone(&self.shared)),
            batch_rows: task.batch_rows_of::<(K, J::Out)>(),
            marker: inputs.marker(),
            task,
            types: PhantomData,
        }))
    }

    fn ship(&self) -> Result<Shipped<dyn Operator>, NotShippable> {
        remake::operator(self)
    }

    fn narrow_partitions(&self, input: usize, partition: PartitionIndex) -> Range<PartitionIndex> {
        if input == 1 && self.from == Right::Only { 0..1 } else { partition..partition + 1 }
    }
}

struct JoinStream<K, V, W, J> {
    state: State<K, V, W>,
    hasher: KeyHasher,
    shared: Option<Arc<SharedIndex<K, W>>>,
    batch_rows: usize,
    marker: Marker,
    task: TaskContext,
    types: PhantomData<fn() -> J>,
}

enum State<K, V, W> {
    /// Nothing is read yet.
    Closed(BoxStream<(K, V)>, BoxStream<(K, W)>),
    /// The left side streams past the right one.
    Streaming { left: BoxStream<(K, V)>, batch: Option<Batch<(K, V)>>, probe: Probe<K, W> },
    /// Piece after piece.
    Pieces { left: Pieces<K, V>, right: Pieces<K, W>, next: usize, open: Option<Box<OpenPiece<K, V, W>>> },
    /// All is read.
    Done,
}

/// A piece of the right side, with that of the left side until its rows are joined.
struct OpenPiece<K, V, W> {
    left: Option<Piece<(K, V)>>,
    run: Option<Run<(K, V)>>,
    probe: Probe<K, W>,
}

impl<K, V, W, J> JoinStream<K, V, W, J>
where
    K: Key,
    V: ExchangeData,
    W: ExchangeData,
    J: Kind<V, W>,
{
    /// Gathers the right side, and the left one if there is to be more than one piece.
    fn gather(&self, left: BoxStream<(K, V)>, right: BoxStream<(K, W)>) -> Result<State<K, V, W>, TaskError> {
        let right = Chunks::gather(right, &self.task)?;
        if let Some(shared) = &self.shared {
            self.marker.enter();
            let probe = Probe::new::<V, J>(shared.get(right, &self.hasher, &self.task)?);
            return Ok(State::Streaming { left, batch: None, probe });
        }
        let bits = pieces::bits(right.bytes());
        if bits == 0 {
            self.marker.enter();
            let index = Index::new(right.whole(), over_budget::JOIN, &self.hasher, &self.task)?;
            let probe = Probe::new::<V, J>(Arc::new(index));
            return Ok(State::Streaming { left, batch: None, probe });
        }
        let left = Chunks::gather(left, &self.task)?;
        self.marker.enter();
        let right = right.split(bits, &self.hasher, &self.task)?;
        let left = left.split(bits, &self.hasher, &self.task)?;
        Ok(State::Pieces { left, right, next: 0, open: None })
    }
}

impl<K, V, W, J> Stream<(K, J::Out)> for JoinStream<K, V, W, J>
where
    K: Key,
    V: ExchangeData,
    W: ExchangeData,
    J: Kind<V, W>,
{
    fn next(&mut self) -> Result<Option<Batch<(K, J::Out)>>, TaskError> {
        let mut out = buffers::take();
        while out.len() < self.batch_rows {
            self.task.check_cancelled()?;
            self.state = match mem::replace(&mut self.state, State::Done) {
                State::Closed(left, right) => self.gather(left, right)?,
                State::Streaming { mut left, batch, mut probe } => {
                    match batch.map_or_else(|| left.next(), |b| Ok(Some(b)))? {
                        Some(batch) => {
                            self.marker.enter();
                            let rows = batch.as_slice();
                            let done = probe.left::<V, J>(|at| rows.get(at), &self.hasher, &mut out, self.batch_rows);
                            State::Streaming { left, batch: (!done).then_some(batch), probe }
                        }
                        // What is left is what right rows without a match give: as of the last piece.
                        None => State::Pieces {
                            left: Pieces::none(),
                            right: Pieces::none(),
                            next: 0,
                            open: Some(Box::new(OpenPiece { left: None, run: None, probe })),
                        },
                    }
                }
                State::Pieces { mut left, mut right, next, open: None } if next < right.count() => {
                    self.marker.enter();
                    let rows = left.take(next)?;
                    let index = Index::new(right.take(next)?, over_budget::JOIN, &self.hasher, &self.task)?;
                    let open = OpenPiece { left: Some(rows), run: None, probe: Probe::new::<V, J>(Arc::new(index)) };
                    State::Pieces { left, right, next: next + 1, open: Some(Box::new(open)) }
                }
                State::Pieces { left, right, next, open: Some(mut open) } => {
                    self.marker.enter();
                    let mut done = false;
                    if let Some(rows) = &open.run {
                        if open.probe.left::<V, J>(|at| rows.at(at), &self.hasher, &mut out, self.batch_rows) {
                            open.run = None;
                        }
                    } else if let Some(rows) = &mut open.left {
                        open.run = rows.next()?;
                        if open.run.is_none() {
                            open.left = None;
                        }
                    } else {
                        done = open.probe.right::<V, J>(&mut out, self.batch_rows);
                    }
                    State::Pieces { left, right, next, open: (!done).then_some(open) }
                }
                State::Pieces { .. } | State::Done => break,
            };
        }
        Ok((!out.is_empty()).then_some(Batch::Owned(out)))
    }
}

/// How far the join of some left rows with an index has got.
struct Probe<K, W> {
    index: Arc<Index<K, W>>,
    /// Whether each right row has met a left one, if that matters.
    matched: Vec<bool>,
    /// The left row that is next, or afterwards the right one.
    at: usize,
    /// The match of that left row that is next, if it has had one already.
    pending: Option<usize>,
}

impl<K: Key, W: ExchangeData> Probe<K, W> {
    fn new<V, J: Kind<V, W>>(index: Arc<Index<K, W>>) -> Self {
        let matched = if J::RIGHT { vec![false; index.len()] } else { Vec::new() };
        Self { index, matched, at: 0, pending: None }
    }

    /// Joins left rows until there are no more, which is true, or until the batch is full.
    fn left<'a, V: 'a, J: Kind<V, W>>(
        &mut self,
        row: impl Fn(usize) -> Option<&'a (K, V)>,
        hasher: &KeyHasher,
        out: &mut Vec<(K, J::Out)>,
        limit: usize,
    ) -> bool {
        while out.len() < limit {
            let Some((key, value)) = row(self.at) else {
                self.at = 0;
                return true;
            };
            match self.pending.take().or_else(|| self.index.find(key, hasher)) {
                None => out.extend(J::left(value).map(|value| (key.clone(), value))),
                Some(found) => {
                    if J::RIGHT {
                        self.matched[found] = true;
                    }
                    out.extend(J::both(value, &self.index.at(found).1).map(|value| (key.clone(), value)));
                    if !J::FIRST_MATCH_ONLY {
                        self.pending = self.index.next(found);
                    }
                }
            }
            if self.pending.is_none() {
                self.at += 1;
            }
        }
        false
    }

    /// Gives out right rows without a match until there are no more, which is true, or until the batch is full.
    fn right<V, J: Kind<V, W>>(&mut self, out: &mut Vec<(K, J::Out)>, limit: usize) -> bool {
        while out.len() < limit {
            let Some(matched) = self.matched.get(self.at) else { return true };
            if !matched {
                let (key, value) = self.index.at(self.at);
                out.extend(J::right(value).map(|value| (key.clone(), value)));
            }
            self.at += 1;
        }
        false
    }
}

/// One index for all partitions of the left side that are being joined at the same time.
struct SharedIndex<K, W>(Mutex<Weak<Index<K, W>>>);

impl<K, W> Default for SharedIndex<K, W> {
    fn default() -> Self {
        Self(Mutex::new(Weak::new()))
    }
}

impl<K: Key, W: ExchangeData> SharedIndex<K, W> {
    fn get(&self, rows: Chunks<(K, W)>, hasher: &KeyHasher, task: &TaskContext) -> Result<Arc<Index<K, W>>, TaskError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = known.upgrade() {
            return Ok(index);
        }
        let index = Arc::new(Index::new(rows.whole(), over_budget::BROADCAST, hasher, task)?);
        *known = Arc::downgrade(&index);
        Ok(index)
    }
}
