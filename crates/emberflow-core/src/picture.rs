//! The stages of a job as a picture: boxes in columns, parents to the left, and arrows between them. Geometry only;
//! whoever draws it, a page or a file, decides what it looks like. Layers by longest path, order within a layer by the
//! mean place of the parents, after Sugiyama.

use std::collections::HashMap;

use serde::Serialize;

use crate::{ids::StoreId, plan::StageOutline};

/// The width of a box.
pub const BOX_WIDTH: f64 = 250.0;
/// The height of one line of a box.
pub const LINE_HEIGHT: f64 = 18.0;
/// Between a box's edge and its text.
pub const PADDING: f64 = 10.0;
/// The characters that a line of a box has room for.
pub const LINE_CHARS: usize = 36;
/// The lines of a box that name operators.
pub const OPERATOR_LINES: usize = 6;

const COLUMN_GAP: f64 = 100.0;
const ROW_GAP: f64 = 26.0;
const MARGIN: f64 = 12.0;

/// Lines of a box besides the operators': its name, and what it makes.
const HEAD_LINES: usize = 2;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    /// How wide it is.
    pub width: f64,
    /// How high.
    pub height: f64,
    /// A box a stage, in the order of the stages.
    pub boxes: Vec<PlacedBox>,
    /// From what is read to who reads it.
    pub arrows: Vec<Arrow>,
}

/// A box in its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlacedBox {
    /// Its left edge.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// Its height; all are equally wide.
    pub height: f64,
}

/// An arrow between two boxes, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Arrow {
    /// Where it begins: what is read.
    pub from: usize,
    /// Where it ends: who reads it.
    pub to: usize,
}

impl Picture {
    /// Lays out the stages of a job, which come parents first.
    pub fn of(stages: &[StageOutline]) -> Self {
        let at: HashMap<StoreId, usize> = stages.iter().enumerate().map(|(at, stage)| (stage.store, at)).collect();
        let parents: Vec<Vec<usize>> = stages
            .iter()
            .enumerate()
            .map(|(to, stage)| {
                stage.reads.iter().filter_map(|store| at.get(store).copied()).filter(|at| *at < to).collect()
            })
            .collect();
        let mut layer = vec![0; stages.len()];
        for stage in 0..stages.len() {
            layer[stage] = parents[stage].iter().map(|parent| layer[*parent] + 1).max().unwrap_or(0);
        }
        // A source stands next to whoever reads it first, not at the far left.
        for stage in (0..stages.len()).rev().filter(|stage| parents[*stage].is_empty()) {
            let readers = (0..stages.len()).filter(|reader| parents[*reader].contains(&stage));
            layer[stage] = readers.map(|reader| layer[reader]).min().map_or(layer[stage], |first| first - 1);
        }
        let layers = layer.iter().max().map_or(0, |last| last + 1);
        let mut columns: Vec<Vec<usize>> = vec![Vec::new(); layers];
        (0..stages.len()).for_each(|stage| columns[layer[stage]].push(stage));
        let mut centre = vec![0.0; stages.len()];
        let mut boxes = vec![PlacedBox { x: 0.0, y: 0.0, height: 0.0 }; stages.len()];
        let mut lowest: f64 = 0.0;
        for (number, column) in columns.iter_mut().enumerate() {
            let pull_of = |stage: &usize| match parents[*stage].as_slice() {
                [] => f64::MAX,
                of => of.iter().map(|parent| centre[*parent]).sum::<f64>() / of.len() as f64,
            };
            let pull: HashMap<usize, f64> = column.iter().map(|stage| (*stage, pull_of(stage))).collect();
            column.sort_by(|a, b| pull[a].total_cmp(&pull[b]));
            let mut y = MARGIN;
            for stage in column.iter() {
                let height = height_of(&stages[*stage]);
                let wished = pull[stage];
                // Beside its parents, but below whatever stands in the column already.
                let top = if wished == f64::MAX { y } else { (wished - height / 2.0).max(y) };
                boxes[*stage] = PlacedBox { x: MARGIN + number as f64 * (BOX_WIDTH + COLUMN_GAP), y: top, height };
                centre[*stage] = top + height / 2.0;
                y = top + height + ROW_GAP;
            }
            lowest = lowest.max(y - ROW_GAP);
        }
        let arrows =
            parents.iter().enumerate().flat_map(|(to, from)| from.iter().map(move |from| Arrow { from: *from, to }));
        let arrows = arrows.collect();
        let width = 2.0 * MARGIN + layers as f64 * (BOX_WIDTH + COLUMN_GAP) - if layers > 0 { COLUMN_GAP } else { 0.0 };
        Self { width, height: lowest + MARGIN, boxes, arrows }
    }

    /// The two ends of an arrow, each as x and y.
    pub fn ends(&self, arrow: Arrow) -> ((f64, f64), (f64, f64)) {
        let (from, to) = (self.boxes[arrow.from], self.boxes[arrow.to]);
        ((from.x + BOX_WIDTH, from.y + from.height / 2.0), (to.x, to.y + to.height / 2.0))
    }
}

fn height_of(stage: &StageOutline) -> f64 {
    2.0 * PADDING + LINE_HEIGHT * (HEAD_LINES + lines_of(stage).len()) as f64
}

/// The operators of a stage as lines of its box, inputs first.
pub fn lines_of(stage: &StageOutline) -> Vec<String> {
    let all = stage.operators.len() + stage.more_operators;
    let shown = if all > OPERATOR_LINES { OPERATOR_LINES - 1 } else { all }.min(stage.operators.len());
    let operators = stage.operators[stage.operators.len() - shown..].iter();
    let more = (all > shown).then(|| format!("… {} before", all - shown));
    let named = operators.map(|operator| match &operator.name {
        Some(name) => shortened(&format!("{name}: {}", short_place(&operator.operator))),
        None => shortened(&short_place(&operator.operator)),
    });
    more.into_iter().chain(named).collect()
}

/// As much of a text as a line has room for.
pub fn shortened(text: &str) -> String {
    if text.chars().count() <= LINE_CHARS {
        return text.to_owned();
    }
    text.chars().take(LINE_CHARS - 1).chain(['…']).collect()
}

/// `map at crates/app/src/main.rs:7:10` as `map at main.rs:7`: what people look for.
pub fn short_place(operator: &str) -> String {
    let Some((name, place)) = operator.split_once(" at ") else { return operator.to_owned() };
    let file = place.rsplit(['/', '\\']).next().unwrap_or(place);
    let line = file.rsplit_once(':').map_or(file, |(line, _column)| line);
    format!("{name} at {line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::RddId,
        plan::{OperatorOutline, StageKind},
    };

    fn stage(store: u64, operators: usize, reads: &[u64]) -> StageOutline {
        let operator = |rdd| OperatorOutline {
            rdd: RddId::new(rdd),
            operator: "map at src/deep/main.rs:7:10".into(),
            name: None,
            inputs: vec![],
        };
        StageOutline {
            store: StoreId::new(store),
            kind: StageKind::ShuffleMap,
            rdd: RddId::new(store),
            name: "map at src/deep/main.rs:7:10".into(),
            partitions: 4,
            operators: (0..operators as u64).map(operator).collect(),
            more_operators: 0,
            reads: reads.iter().copied().map(StoreId::new).collect(),
        }
    }

    #[test]
    fn parents_stand_to_the_left_and_no_two_boxes_overlap() {
        // Two sources are joined, one of them is also read by the end; a third comes in late.
        let stages =
            [stage(0, 3, &[]), stage(1, 1, &[]), stage(2, 2, &[0, 1]), stage(3, 1, &[]), stage(4, 20, &[2, 3, 0])];
        let picture = Picture::of(&stages);
        assert_eq!(picture.arrows.len(), 5);
        for arrow in &picture.arrows {
            assert!(picture.boxes[arrow.from].x + BOX_WIDTH < picture.boxes[arrow.to].x, "{arrow:?}");
        }
        // The late one stands next to its reader.
        assert_eq!(picture.boxes[3].x, picture.boxes[2].x);
        for (at, a) in picture.boxes.iter().enumerate() {
            assert!(a.x >= 0.0 && a.x + BOX_WIDTH <= picture.width && a.y >= 0.0 && a.y + a.height <= picture.height);
            for b in &picture.boxes[at + 1..] {
                assert!(a.x != b.x || a.y + a.height <= b.y || b.y + b.height <= a.y, "{a:?} and {b:?}");
            }
        }
        assert_eq!(Picture::of(&[]).boxes, []);
    }

    #[test]
    fn a_box_names_the_operators_nearest_to_its_end() {
        assert_eq!(lines_of(&stage(0, 2, &[])), ["map at main.rs:7"; 2]);
        let many = lines_of(&stage(0, 20, &[]));
        assert_eq!((many.len(), many[0].as_str()), (OPERATOR_LINES, "… 15 before"));
        assert_eq!(shortened(&"ä".repeat(100)).chars().count(), LINE_CHARS);
        assert_eq!(short_place("no place"), "no place");
    }
}
