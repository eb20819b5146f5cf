//! The same program in this process and on Apache Spark: one setting says where.
//!
//! ```text
//! cargo run --release --example on_a_cluster [PATH]
//! EMBERFLOW_MASTER='local[2]' SPARK_HOME=… cargo run --release --features spark --example on_a_cluster [PATH]
//! ```
//!
//! It reads text files, counts words, lines and paragraphs, and prints the same bytes wherever it runs. Without a path it
//! reads the documents that come with emberflow; on a cluster, all machines have to see the files under the same path.

use std::{cmp::Reverse, env};

use emberflow::prelude::*;

/// Documents of this package.
const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/*.md");

fn main() -> Result<()> {
    // First of all: Spark starts this program once more for its tasks, and there this runs them and does not return.
    emberflow::init();
    let path = env::args().nth(1).unwrap_or_else(|| DOCUMENTS.to_owned());
    let ctx = Context::builder().app_name("on a cluster").build()?;

    // A closure that runs elsewhere captures nothing. What it needs is sent along: here, something to count with.
    let blank = ctx.long_accumulator("blank lines");
    let words = ctx.text_file(&path)?.flat_map_with(blank.clone(), |blank, line: String| {
        if line.trim().is_empty() {
            blank.add(1);
        }
        let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect::<Vec<_>>()
    });
    let counts = words.map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b).cache();

    println!("{} words, {} of them distinct", counts.values().sum()?, counts.count()?);
    println!("{} blank lines, counted once though there are more jobs than one", blank.value());
    for (word, count) in counts.top_by(5, |(word, count)| (*count, Reverse(word.clone())))? {
        println!("{count:6} {word}");
    }
    println!("the longest words by their length:");
    let by_length = counts.map(|(word, _)| (word.chars().count(), word)).reduce_by_key(|a, b| a.min(b));
    for (length, word) in by_length.sort_by_key().collect()?.into_iter().rev().take(3) {
        println!("{length:6} {word}");
    }
    Ok(())
}
