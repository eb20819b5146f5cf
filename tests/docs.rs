//! What the documentation names is there: tests that are linked exist under their names, and so do features and methods;
//! what newcomers have asked stands where they look.

use std::{fs, path::Path};

/// A file of the repository.
fn text_of(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The documentation of a method of `Rdd`, if there is one, from the sources of the library.
fn docs_of(method: &str) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/emberflow-rdd/src/rdd");
    let files = fs::read_dir(source).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let heads = ["<", "("].map(|open| format!("    pub fn {method}{open}"));
    let of_file = |text: String| {
        let at = heads.iter().find_map(|head| text.find(head))?;
        let lines =
            text[..at].lines().rev().take_while(|line| line.starts_with("    ///") || line.starts_with("    #"));
        Some(lines.collect::<Vec<_>>().join("\n"))
    };
    files.filter_map(of_file).next()
}

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

#[test]
fn the_readme_says_how_to_depend_on_the_crate_and_names_its_features() {
    let (readme, manifest) = (text_of("README.md"), text_of("Cargo.toml"));
    let section = readme.split("## Use it").nth(1).unwrap().split("\n## ").next().unwrap();
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let features = features.lines().filter(|line| line.starts_with(char::is_alphabetic));
    let features: Vec<&str> = features.filter_map(|line| line.split(" = ").next()).collect();
    assert!(features.len() >= 4, "{features:?}");
    let named = section.split("features: ").nth(1).unwrap().split(';').next().unwrap();
    assert!(features.iter().all(|feature| named.split(", ").any(|name| name == *feature)), "{named}: {features:?}");
    for part in ["[dependencies]", "serde = { version", "derive", "half a minute", "takes minutes"] {
        assert!(section.contains(part), "{part}");
    }
}

#[test]
fn forms_that_clone_no_row_are_named_by_the_readme_and_by_their_twins() {
    let readme = text_of("README.md");
    let named = readme.split("end in `_ref` (").nth(1).unwrap().split(')').next().unwrap();
    let named: Vec<&str> = named.split(", ").map(|name| name.trim_matches('`')).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    for name in named {
        assert!(docs_of(name).is_some(), "there is no {name}");
        let twin = name.strip_suffix("_ref").unwrap();
        assert!(docs_of(twin).unwrap().contains(&format!("(Self::{name})")), "{twin} does not name {name}");
    }
}

#[test]
fn the_readme_says_what_a_budget_leaves_out_and_how_many_partitions_come_of_little() {
    let readme = text_of("README.md");
    // What the budget leaves out, which is what `--example spill` prints beyond it.
    assert!(readme.contains("but for the rows that tasks have in their hands: up to a megabyte each"));
    assert!(
        readme.contains("a wide operator gives as many partitions as `default_partitions` says, however few the rows")
    );
    assert!(docs_of("group_by").is_some() && docs_of("group_by_into").is_some(), "there is a form that takes a number");
}

#[test]
fn the_parity_table_has_rows_for_the_words_of_spark_sql_that_newcomers_look_for() {
    let table = text_of("docs/spark-parity.md");
    let section = table.split("## SparkSession and DataFrame").nth(1).unwrap().split("\n## ").next().unwrap();
    let ours = |theirs: &str| {
        let row =
            section.lines().find(|line| line.starts_with("| ") && line.split('|').nth(1).unwrap().contains(theirs));
        row.unwrap_or_else(|| panic!("no row for {theirs}")).split('|').nth(3).unwrap().trim().to_owned()
    };
    for (theirs, named) in [
        ("SparkSession.builder", "`Context::builder`"),
        ("createDataFrame", "`to_table`"),
        ("spark.read.csv", "`ctx.read()`"),
        ("spark.read.json", "`ctx.read().json_lines(path)`"),
        ("show", "`show(n)`"),
        ("take", "the same"),
    ] {
        assert!(ours(theirs).contains(named), "{theirs}: {}", ours(theirs));
    }
    assert!(!table.contains("no DataFrames here"));
}
