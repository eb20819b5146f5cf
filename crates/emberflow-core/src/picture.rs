//! The stages of a job as a picture: boxes in columns, parents to the left, and arrows between them. It is geometry
//! only; the page or file that draws it decides what it looks like. Layers by longest path, order within a layer by the
//! mean place of the parents, long arrows led past the boxes in between, after Sugiyama.

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
/// The characters that the first line has room for, which is in larger letters.
const TITLE_CHARS: usize = 33;
/// The lines of a box that name operators.
pub const OPERATOR_LINES: usize = 6;

/// The most stages that a picture is worth making of: those nearest to the end.
pub const MOST_STAGES: usize = 150;

const COLUMN_GAP: f64 = 100.0;
const ROW_GAP: f64 = 26.0;
const MARGIN: f64 = 12.0;
/// The height of an arrow that passes a column.
const PASSAGE: f64 = 6.0;

/// Lines of a box besides the operators': its name, and what it makes.
const HEAD_LINES: usize = 2;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
    /// A box a stage, in the order of the stages.
    pub boxes: Vec<PlacedBox>,
    /// The arrows, each from a stage that is read to one that reads it.
    pub arrows: Vec<Arrow>,
}

/// A box in its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlacedBox {
    /// The left edge of the box.
    pub x: f64,
    /// The upper edge of the box.
    pub y: f64,
    /// The height of the box; all are equally wide.
    pub height: f64,
}

/// An arrow between two boxes, by their numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arrow {
    /// Where it begins: what is read.
    pub from: usize,
    /// Where it ends: who reads it.
    pub to: usize,
    /// The way of the arrow as x and y: from the one box, past those in between, to the other box.
    pub points: Vec<(f64, f64)>,
}

impl Arrow {
    /// The way as a path of SVG: curves from column to column, and straight lines past the boxes in between.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (at, (x, y)) in self.points.iter().enumerate() {
            path += &match at.checked_sub(1).map(|before| self.points[before]) {
                None => format!("M{x} {y}"),
                // The gap between two columns; then the width of one.
                Some((x1, y1)) if at % 2 == 1 => {
                    let middle = (x1 + x) / 2.0;
                    format!("C{middle} {y1} {middle} {y} {x} {y}")
                }
                Some(_) => format!("L{x} {y}"),
            };
        }
        path
    }

    /// Where there is room to write on it: the middle of its first curve.
    pub fn label(&self) -> (f64, f64) {
        let [(x1, y1), (x2, y2), ..] = self.points[..] else { return (0.0, 0.0) };
        ((x1 + x2) / 2.0, (y1 + y2) / 2.0)
    }
}

/// A thing that has a place in a column: a box, or an arrow that passes by.
struct Node {
    layer: usize,
    height: f64,
    parents: Vec<usize>,
}

impl Picture {
    /// Lays out the stages of a job, which come parents first.
    pub fn of(stages: &[StageOutline]) -> Self {
        let mut nodes = layered(stages);
        // An arrow over several columns has a place of its own in each that it passes.
        let mut ways: Vec<(usize, usize, Vec<usize>)> = Vec::new();
        for to in 0..stages.len() {
            for at in 0..nodes[to].parents.len() {
                let from = nodes[to].parents[at];
                let mut passed = Vec::new();
                for layer in nodes[from].layer + 1..nodes[to].layer {
                    let before = passed.last().copied().unwrap_or(from);
                    nodes.push(Node { layer, height: PASSAGE, parents: vec![before] });
                    passed.push(nodes.len() - 1);
                }
                if let Some(last) = passed.last() {
                    nodes[to].parents[at] = *last;
                }
                ways.push((from, to, passed));
            }
        }
        let layers = nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
        let mut columns: Vec<Vec<usize>> = vec![Vec::new(); layers];
        nodes.iter().enumerate().for_each(|(number, node)| columns[node.layer].push(number));
        let left = |layer: usize| MARGIN + layer as f64 * (BOX_WIDTH + COLUMN_GAP);
        let mut centre = vec![0.0; nodes.len()];
        let mut lowest = MARGIN;
        for column in &columns {
            // Beside its parents, but below whatever stands in the column already.
            let pull_of = |number: &usize| match nodes[*number].parents.as_slice() {
                [] => f64::MAX,
                of => of.iter().map(|parent| centre[*parent]).sum::<f64>() / of.len() as f64,
            };
            let mut pulled: Vec<(f64, usize)> = column.iter().map(|number| (pull_of(number), *number)).collect();
            pulled.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut y: f64 = MARGIN;
            for (wished, number) in pulled {
                let height = nodes[number].height;
                let top = if wished == f64::MAX { y } else { (wished - height / 2.0).max(y) };
                centre[number] = top + height / 2.0;
                y = top + height + ROW_GAP;
                lowest = lowest.max(top + height);
            }
        }
        let boxes = nodes[..stages.len()].iter().enumerate().map(|(number, node)| PlacedBox {
            x: left(node.layer),
            y: centre[number] - node.height / 2.0,
            height: node.height,
        });
        let arrows = ways.into_iter().map(|(from, to, passed)| {
            let by = |number: usize| {
                [left(nodes[number].layer), left(nodes[number].layer) + BOX_WIDTH].map(|x| (x, centre[number]))
            };
            let begin = by(from)[1];
            let end = by(to)[0];
            Arrow {
                from,
                to,
                points: [begin].into_iter().chain(passed.into_iter().flat_map(by)).chain([end]).collect(),
            }
        });
        Self {
            width: left(layers) - if layers > 0 { COLUMN_GAP } else { 0.0 } + MARGIN,
            height: lowest + MARGIN,
            boxes: boxes.collect(),
            arrows: arrows.collect(),
        }
    }
}

/// The stages with their layers: one more than that of the last parent.
fn layered(stages: &[StageOutline]) -> Vec<Node> {
    let at: HashMap<StoreId, usize> = stages.iter().enumerate().map(|(at, stage)| (stage.store, at)).collect();
    let mut nodes: Vec<Node> = Vec::with_capacity(stages.len());
    for (to, stage) in stages.iter().enumerate() {
        let parents = stage.reads.iter().filter_map(|store| at.get(store).copied()).filter(|at| *at < to);
        let parents: Vec<usize> = parents.collect();
        let layer = parents.iter().map(|parent| nodes[*parent].layer + 1).max().unwrap_or(0);
        nodes.push(Node { layer, height: height_of(stage), parents });
    }
    // A source stands next to whoever reads it first, not at the far left.
    let mut first_reader: HashMap<usize, usize> = HashMap::new();
    for node in &nodes {
        for parent in &node.parents {
            first_reader.entry(*parent).and_modify(|first| *first = node.layer.min(*first)).or_insert(node.layer);
        }
    }
    for (stage, first) in first_reader {
        if nodes[stage].parents.is_empty() {
            nodes[stage].layer = first - 1;
        }
    }
    nodes
}

fn height_of(stage: &StageOutline) -> f64 {
    2.0 * PADDING + LINE_HEIGHT * (HEAD_LINES + lines_of(stage).len()) as f64
}

/// The first line of a stage's box: its number among the stages of its job, parents first, and what it is known by.
pub fn title_of(number: usize, stage: &StageOutline) -> String {
    format!("{number}: {}", short_place(&stage.name))
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

/// Cuts a text to the room of a line.
pub fn shortened(text: &str) -> String {
    cut(text, LINE_CHARS)
}

/// Cuts a text to the room of a box's first line, whose letters are larger.
pub fn shortened_title(text: &str) -> String {
    cut(text, TITLE_CHARS)
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
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
        // No arrow runs through a box: its straight parts, which are as wide as a column, pass above or below.
        for (x, y) in picture.arrows.iter().flat_map(|arrow| arrow.points[1..].chunks_exact(2).map(|pair| pair[0])) {
            let crossed = |of: &&PlacedBox| of.x == x && of.y < y && y < of.y + of.height;
            assert_eq!(picture.boxes.iter().find(crossed), None, "{:?}", picture.arrows);
        }
        let long = picture.arrows.iter().find(|arrow| (arrow.from, arrow.to) == (0, 4)).unwrap();
        assert_eq!((long.points.len(), long.path().matches('C').count(), long.path().matches('L').count()), (4, 2, 1));
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
