//! The stores: cached RDDs as Spark tells them, and every store with its partitions as cells.

use emberflow_core::{ids::RddId, plan::StageKind};

use super::*;
use crate::status::{Cell, CellState, Store};

/// Cells of a store that are told one by one; of a larger one, each stands for several partitions.
const CELLS: usize = 600;

/// Stores of one answer unless told otherwise.
const STORES: usize = 60;

#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    limit: Option<usize>,
}

/// The part of a path that names an RDD.
#[derive(Deserialize)]
pub(super) struct Ids {
    rdd: u64,
}

fn is_cached(store: &&Store) -> bool {
    store.kind == Some(StageKind::Persist) && store.released.is_none()
}

pub(super) async fn rdds(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.status().stores().filter(is_cached).map(|store| describe_rdd(store, false)).collect())
}

pub(super) async fn rdd(State(app): State<Arc<App>>, Path(Ids { rdd }): Path<Ids>) -> Answer {
    let status = app.status();
    let found = status.stores().filter(is_cached).find(|store| store.rdd == RddId::new(rdd));
    found.map(|store| Json(describe_rdd(store, true))).ok_or_else(|| unknown("cached rdd", rdd))
}

fn describe_rdd(store: &Store, with_partitions: bool) -> Value {
    let partition = |(number, cell): (usize, &Cell)| {
        json!({
            "blockName": format!("rdd_{}_{number}", store.rdd.get()),
            "storageLevel": word_of(cell.state),
            "memoryUsed": cell.bytes,
            "diskUsed": cell.file_bytes,
            "rows": cell.rows,
            "losses": cell.losses,
            "executors": ["driver"],
        })
    };
    let partitions = with_partitions.then(|| store.cells.iter().enumerate().map(partition).collect::<Vec<_>>());
    json!({
        "id": store.rdd.get(),
        "name": store.name.as_ref().unwrap_or(&store.operator),
        "numPartitions": store.cells.len(),
        "numCachedPartitions": store.stored_partitions(),
        "storageLevel": "Memory Deserialized 1x Replicated",
        "memoryUsed": store.bytes(),
        "diskUsed": store.file_bytes(),
        "rows": store.rows(),
        "partitions": partitions,
    })
}

fn word_of(state: CellState) -> &'static str {
    match state {
        CellState::Empty => "empty",
        CellState::Computing => "computing",
        CellState::Resident => "resident",
        CellState::Spilled => "spilled",
        CellState::Released => "dropped",
        CellState::Rebuilding => "rebuilding",
        CellState::Lost => "lost",
    }
}

/// `/stores?limit=…`: cached RDDs, then shuffles, then what was released; of each the newest first.
pub(super) async fn stores(State(app): State<Arc<App>>, Query(which): Query<Which>) -> Json<Value> {
    let status = app.status();
    let mut stores: Vec<&Store> = status.stores().rev().collect();
    stores.sort_by_key(|store| (store.released.is_some(), store.kind != Some(StageKind::Persist)));
    Json(stores.into_iter().take(which.limit.unwrap_or(STORES)).map(describe).collect())
}

fn describe(store: &Store) -> Value {
    let each = store.cells.len().div_ceil(CELLS).max(1);
    // Of several partitions, what is least usual about them is shown: the states are in that order.
    let cells: Vec<Value> = store
        .cells
        .chunks(each)
        .map(|cells| {
            let state = cells.iter().map(|cell| cell.state).max().unwrap_or(CellState::Empty);
            let sum = |of: fn(&Cell) -> u64| cells.iter().map(of).sum::<u64>();
            let rebuilt = cells.iter().any(Cell::is_rebuilt);
            let losses = sum(|cell| u64::from(cell.losses));
            json!([
                word_of(state),
                sum(|cell| cell.rows),
                sum(|cell| cell.bytes),
                sum(|cell| cell.file_bytes),
                losses,
                rebuilt
            ])
        })
        .collect();
    json!({
        "id": store.id.get(),
        "rdd": store.rdd.get(),
        "kind": store.kind.as_ref().map(word),
        "name": store.name,
        "operator": store.operator,
        "partitions": store.cells.len(),
        "storedPartitions": store.stored_partitions(),
        "spilledPartitions": store.cells.iter().filter(|cell| cell.state == CellState::Spilled).count(),
        "rows": store.rows(),
        "bytes": store.bytes(),
        "fileBytes": store.file_bytes(),
        "losses": store.losses,
        "rebuilt": store.rebuilt,
        "released": store.released.map(time),
        "partitionsPerCell": each,
        "cells": cells,
    })
}
