//! What the documentation names is there: tests that are linked exist under their names.

use std::{fs, path::Path};

/// The targets and texts of links such as [`name`](../path).
fn links(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("[`").skip(1);
    parts
        .filter_map(|part| {
            let (name, rest) = part.split_once("`](")?;
            Some((name, rest.split_once(')')?.0))
        })
        .collect()
}

#[test]
fn every_test_that_the_recovery_matrix_names_is_there() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let text = fs::read_to_string(docs.join("recovery.md")).unwrap();
    let mut found = 0;
    for (name, path) in links(&text).into_iter().filter(|(_, path)| path.ends_with(".rs")) {
        let source = fs::read_to_string(docs.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(&format!("fn {name}(")), "{path} has no test {name}");
        found += 1;
    }
    assert!(found > 80, "{found} links");
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(rows.count(), 63, "rows of the matrix");
}
