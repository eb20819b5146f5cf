//! `explain`: what a job over an RDD would do, as text, as a diagram in two languages, or as a picture.

use std::{collections::HashMap, fmt::Write as _};

use bytesize::ByteSize;
use emberflow_core::{
    data::Data,
    error::Result,
    ids::StoreId,
    picture::{self, LINE_HEIGHT, PADDING, Picture},
    plan::{StageKind, StageOutline},
};

use super::Rdd;

/// The form of an explanation; see [`Rdd::explain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Explain {
    /// The lineage as a tree, a line an RDD; as [`Rdd::to_debug_string`].
    #[default]
    Text,
    /// The stages as a flowchart in Mermaid's language, for a Markdown file or an issue.
    Mermaid,
    /// The stages as a graph in Graphviz's language.
    Dot,
    /// The stages as a picture, as the page of a job shows them.
    Svg,
}

impl<T: Data> Rdd<T> {
    /// Describes what a job over this RDD would do: its stages with their operators, what each reads, what is cached
    /// and how much of that is there. It computes nothing.
    ///
    /// Text shows every RDD; the other forms show stages, and of a very long one the operators nearest to its end. A
    /// picture shows the last 150 stages. A stage has the same number in all of them, and on the page of a job.
    /// After Spark's `explain` and the pictures of its page.
    ///
    /// # Errors
    /// [`Error::ForeignRdd`](crate::Error::ForeignRdd).
    ///
    /// ```
    /// # use emberflow::{Explain, prelude::*};
    /// # let ctx = Context::local(2)?;
    /// let sums = ctx.range(0..9_u64).map(|n| (n % 2, n)).cache().reduce_by_key(|a, b| a + b);
    /// println!("{}", sums.explain(Explain::Text)?);
    /// let chart = sums.explain(Explain::Mermaid)?;
    /// assert!(chart.starts_with("flowchart LR\n") && chart.contains("cached rows, 9 partitions, none there"));
    /// assert!(sums.explain(Explain::Dot)?.contains("s0 -> s1"));
    /// assert!(sums.explain(Explain::Svg)?.contains("</svg>"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn explain(&self, form: Explain) -> Result<String> {
        let stages = self.stages()?;
        if form == Explain::Text {
            return Ok(self.to_debug_string());
        }
        let mut stages: Vec<StageOutline> = stages.iter().map(|stage| StageOutline::of(stage)).collect();
        // There is no action yet: the last stage is known by what it computes.
        if let Some(last) = stages.last_mut() {
            last.name = self.node().info.to_string();
        }
        let backend = &self.shared().backend;
        let kept = |store: StoreId| {
            // A stopped context keeps nothing.
            let state = backend.store_state(store).ok().flatten()?;
            let bytes = state.stored.iter().map(|partition| partition.bytes + partition.spilled_bytes).sum();
            Some((state.stored.len(), bytes))
        };
        let boxes: Vec<Labelled> =
            stages.iter().enumerate().map(|(at, stage)| Labelled::of(at, stage, kept(stage.store))).collect();
        Ok(match form {
            Explain::Mermaid => mermaid(&stages, &boxes),
            Explain::Dot => dot(&stages, &boxes),
            Explain::Text | Explain::Svg => {
                let first = stages.len().saturating_sub(picture::MOST_STAGES);
                svg(&stages[first..], &boxes[first..])
            }
        })
    }
}

/// The texts in a box.
struct Labelled {
    title: String,
    makes: String,
    lines: Vec<String>,
    is_cached: bool,
    is_there: bool,
}

impl Labelled {
    fn of(number: usize, stage: &StageOutline, kept: Option<(usize, u64)>) -> Self {
        let what = match stage.kind {
            StageKind::Persist => "cached rows",
            StageKind::ShuffleMap => "shuffle",
            _ => "result",
        };
        let partitions = stage.partitions;
        let s = if partitions == 1 { "" } else { "s" };
        let makes = match kept.filter(|(there, _)| *there > 0) {
            Some((there, bytes)) => format!("{what}, {there} of {partitions} partition{s}, {}", ByteSize(bytes)),
            None if stage.kind == StageKind::Result => format!("{what}, {partitions} partition{s}"),
            None => format!("{what}, {partitions} partition{s}, none there"),
        };
        Self {
            title: picture::title_of(number, stage),
            makes,
            lines: picture::lines_of(stage),
            is_cached: stage.kind == StageKind::Persist,
            is_there: kept.is_some_and(|(there, _)| there == partitions),
        }
    }

    fn all_lines(&self) -> impl Iterator<Item = &String> {
        [&self.title, &self.makes].into_iter().chain(&self.lines)
    }
}

/// `text` with each character that `escape` knows written as it says.
fn escaped(text: &str, escape: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match escape(c) {
            Some(written) => out.push_str(written),
            // A name may hold anything; a control character has no place in any of these languages.
            None => out.push(if c.is_control() { ' ' } else { c }),
        }
    }
    out
}

fn xml(text: &str) -> String {
    escaped(text, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        _ => None,
    })
}

/// The arrows: which stage reads which, by their numbers.
fn arrows(stages: &[StageOutline]) -> Vec<(usize, usize)> {
    let at: HashMap<StoreId, usize> = stages.iter().enumerate().map(|(at, stage)| (stage.store, at)).collect();
    let readers = stages.iter().enumerate();
    readers
        .flat_map(|(to, stage)| stage.reads.iter().filter_map(|store| at.get(store)).map(move |from| (*from, to)))
        .collect()
}

// Writing to a string cannot fail, so the results of `write!` are dropped below.

fn mermaid(stages: &[StageOutline], boxes: &[Labelled]) -> String {
    let entity = |c| match c {
        '#' => Some("#35;"),
        '&' => Some("#amp;"),
        '<' => Some("#lt;"),
        '>' => Some("#gt;"),
        '"' => Some("#quot;"),
        '`' => Some("#96;"),
        _ => None,
    };
    let mut out = "flowchart LR\n".to_owned();
    for (at, label) in boxes.iter().enumerate() {
        let lines: Vec<String> = label.all_lines().map(|line| escaped(line, entity)).collect();
        let class = match (label.is_cached, label.is_there) {
            (_, true) => ":::there",
            (true, false) => ":::cached",
            (false, false) => "",
        };
        let _ = writeln!(out, "    s{at}[\"{}\"]{class}", lines.join("<br>"));
    }
    for (from, to) in arrows(stages) {
        let _ = writeln!(out, "    s{from} --> s{to}");
    }
    out.push_str("    classDef cached stroke-width:3px\n    classDef there stroke-width:3px,stroke:#2b8a3e\n");
    out
}

fn dot(stages: &[StageOutline], boxes: &[Labelled]) -> String {
    let quoted = |c| match c {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        _ => None,
    };
    let mut out = "digraph lineage {\n    rankdir=LR;\n    node [shape=box, style=rounded, fontname=\"sans-serif\"];\n"
        .to_owned();
    for (at, label) in boxes.iter().enumerate() {
        let lines: Vec<String> = label.all_lines().map(|line| escaped(line, quoted)).collect();
        let borders = if label.is_cached { 2 } else { 1 };
        let colour = if label.is_there { ", color=\"#2b8a3e\"" } else { "" };
        let _ = writeln!(out, "    s{at} [label=\"{}\\l\", peripheries={borders}{colour}];", lines.join("\\l"));
    }
    for (from, to) in arrows(stages) {
        let _ = writeln!(out, "    s{from} -> s{to};");
    }
    out.push_str("}\n");
    out
}

const SVG_STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#211d1a}.title{font-weight:650}.makes{font-size:11px;fill:#6b645d}\
    .line{font:10.5px ui-monospace,monospace;fill:#6b645d}rect{fill:#fff;stroke:#6b645d;stroke-width:1.5}.there rect{stroke:#2b8a3e}\
    rect.inner{fill:none;stroke-width:1}.arrow{fill:none;stroke:#6b645d;stroke-width:1.4}.tip{fill:#6b645d}\
    @media(prefers-color-scheme:dark){text{fill:#f0ebe6}.makes,.line{fill:#a89f96}rect{fill:#211d1a;stroke:#a89f96}}";

fn svg(stages: &[StageOutline], boxes: &[Labelled]) -> String {
    let picture = Picture::of(stages);
    let (width, height) = (picture.width, picture.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{SVG_STYLE}</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8Z\"/></marker></defs>\n"
    );
    for arrow in &picture.arrows {
        let _ = writeln!(out, "<path class=\"arrow\" marker-end=\"url(#tip)\" d=\"{}\"/>", arrow.path());
    }
    for (label, place) in boxes.iter().zip(&picture.boxes) {
        let (x, y, wide, high) = (place.x, place.y, picture::BOX_WIDTH, place.height);
        let class = if label.is_there { "there" } else { "wanted" };
        let _ = writeln!(
            out,
            "<g class=\"{class}\"><rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"8\"/>"
        );
        if label.is_cached {
            let (x, y, wide, high) = (x + 3.0, y + 3.0, wide - 6.0, high - 6.0);
            let _ = writeln!(
                out,
                "<rect class=\"inner\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"6\"/>"
            );
        }
        let classes = ["title", "makes"].into_iter().chain(std::iter::repeat("line"));
        for (number, (line, class)) in label.all_lines().zip(classes).enumerate() {
            // What it makes is in smaller letters, and always fits.
            let line = match class {
                "makes" => line.clone(),
                "title" => picture::shortened_title(line),
                _ => picture::shortened(line),
            };
            let (x, y) = (x + PADDING, y + PADDING + 12.0 + number as f64 * LINE_HEIGHT);
            let _ = writeln!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", xml(&line));
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    #[test]
    fn what_is_cached_is_marked_and_so_is_what_is_there() {
        let ctx = Context::builder().workers(2).memory_budget(8 << 30).build().unwrap();
        let pairs = ctx.range_into(0..100_u64, 4).map(|n| (n % 10, n)).set_name("pairs").cache();
        let sums = pairs.reduce_by_key_into(|a, b| a + b, 3);
        let chart = sums.explain(Explain::Mermaid).unwrap();
        assert!(chart.contains("cached rows, 4 partitions, none there") && chart.contains("]:::cached"), "{chart}");
        assert!(
            chart.contains("s0 --> s1\n")
                && chart.contains("s1 --> s2\n")
                && chart.contains("pairs: map at explain.rs:")
        );
        pairs.take(1).unwrap();
        assert!(sums.explain(Explain::Dot).unwrap().contains("1 of 4 partitions, 400 B"));
        sums.count().unwrap();
        let picture = sums.explain(Explain::Svg).unwrap();
        assert!(
            picture.contains("4 of 4 partitions, 1.6 KiB") && picture.matches("class=\"inner\"").count() == 1,
            "{picture}"
        );
        assert_eq!(picture.matches("<g class=\"there\">").count(), 2);
        ctx.stop();
        assert!(sums.explain(Explain::Mermaid).unwrap().contains("none there"));
    }

    #[test]
    fn a_name_is_text_in_every_language() {
        let ctx = Context::local(1).unwrap();
        let name = "\"]<b>&#\\`\n";
        let named = ctx.range_into(0..9_u64, 1).set_name(name);
        let of = |form| named.explain(form).unwrap();
        assert!(of(Explain::Mermaid).contains("#quot;]#lt;b#gt;#amp;#35;\\#96; : range"), "{}", of(Explain::Mermaid));
        assert!(of(Explain::Dot).contains("\\\"]<b>&#\\\\` : range"), "{}", of(Explain::Dot));
        assert!(of(Explain::Svg).contains("&quot;]&lt;b&gt;&amp;#\\` : range"), "{}", of(Explain::Svg));
        // In quotes, and on one line of its own.
        assert_eq!(of(Explain::Mermaid).lines().count(), 4);
    }
}
