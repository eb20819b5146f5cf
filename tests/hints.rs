//! What the compiler says to a program that does not compile: it names the type to take instead.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The library that this test was linked with, or another build of it: the newest one.
fn library(deps: &Path) -> PathBuf {
    let files = fs::read_dir(deps).unwrap().map(|file| file.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().map(str::to_owned).unwrap_or_default();
    let libraries = files.filter(|path| name(path).starts_with("libemberflow-") && name(path).ends_with(".rlib"));
    libraries.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).expect("a library of emberflow")
}

/// All that the compiler writes about a program, whose statements are given.
fn compiler_on(statements: &str) -> String {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let program = format!(
        "use emberflow::prelude::*;\nfn main() -> Result<()> {{\nlet ctx = Context::local(2)?;\n{statements}\nOk(())\n}}"
    );
    fs::write(dir.path().join("program.rs"), program).unwrap();
    let output = Command::new("rustc")
        .args(["--edition=2024", "--emit=metadata", "--color=never", "-o", "program.rmeta", "program.rs"])
        .arg("--extern")
        .arg(format!("emberflow={}", library(&deps).display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .current_dir(dir.path())
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn floats_that_are_sorted_or_compared_get_the_name_of_the_type_that_has_an_order() {
    let rows = "let rows = ctx.parallelize(vec![1.5, 0.5]);\n";
    assert_eq!(compiler_on(&format!("{rows} rows.sort_by(|row| Total(*row)).collect()?;")), "");
    for wrong in ["rows.sort_by(|row| *row)", "rows.max()?", "rows.top(1)?", "rows.top_by(1, |row| *row)?"] {
        let said = compiler_on(&format!("{rows} {wrong};"));
        assert!(said.contains("has no total order (`Ord`)") && said.contains("emberflow::Total"), "{wrong}: {said}");
        assert_eq!(said.matches("\nerror[").count() + usize::from(said.starts_with("error[")), 1, "{said}");
    }
}

#[test]
fn floats_that_are_keys_get_the_name_of_the_type_that_can_be_one() {
    let rows = "let rows = ctx.parallelize(vec![1.5, 0.5]); let pairs = rows.map(|row| (row, 1));\n";
    for wrong in [
        "rows.distinct()",
        "rows.count_by_value()?",
        "rows.group_by(|row| *row)",
        "pairs.reduce_by_key(|a, b| a + b)",
        "pairs.group_by_key()",
        "pairs.join(&pairs)",
        "pairs.partition_by(3)",
    ] {
        let said = compiler_on(&format!("{rows} {wrong};"));
        assert!(said.contains("cannot be a key") && said.contains("emberflow::Total"), "{wrong}: {said}");
    }
}

#[test]
fn rows_without_serde_and_rows_that_are_no_numbers_are_named() {
    let rows = "#[derive(Clone)] struct Film; let films = ctx.parallelize(vec![Film]);\n";
    let said = compiler_on(&format!("{rows} films.collect()?;"));
    assert!(
        said.contains("rows of `Film` cannot leave their task") && said.contains("derive `serde::Serialize`"),
        "{said}"
    );
    let said = compiler_on(&format!("{rows} films.mean()?;"));
    assert!(said.contains("rows of `Film` are no numbers"), "{said}");
}

#[test]
fn every_method_that_needs_serde_says_so() {
    let statements = [
        "films.reduce(|a, _| a);",
        "films.reduce_async(|a, _| a);",
        "films.fold(Film, |a, _| a);",
        "films.fold_async(Film, |a, _| a);",
        "films.aggregate(Film, |a, _| a, |a, _| a);",
        "films.tree_reduce(|a, _| a, 2);",
        "films.tree_reduce_async(|a, _| a, 2);",
        "films.tree_aggregate(Film, |a, _| a, |a, _| a, 2);",
        "films.take(1);",
        "films.take_async(1);",
        "films.first();",
        "films.first_async();",
        "films.take_sample(false, 1, 1);",
        "films.take_sample_async(false, 1, 1);",
        "let _ = films.to_local_iter();",
        "films.cache();",
        "films.persist(emberflow::StorageLevel::DiskOnly);",
        "let _ = films.glom();",
        "let _ = films.repartition(3);",
        "films.save_as_object_file(\"out\");",
        "films.save_as_object_file_async(\"out\");",
        "films.checkpoint();",
        "films.checkpoint_async();",
        "films.local_checkpoint();",
        "films.local_checkpoint_async();",
        "let _ = films.cartesian(&films);",
        "films.map(|film| (1, film)).reduce_by_key_locally(|a, _| a);",
        "films.map(|film| (1, film)).reduce_by_key_locally_async(|a, _| a);",
    ];
    let rows = "#[derive(Clone)] struct Film; let films = ctx.parallelize(vec![Film]);\n";
    let said = compiler_on(&format!("{rows}{}", statements.join("\n")));
    let first_line_of = 5;
    for (number, statement) in statements.iter().enumerate() {
        let place = format!("--> program.rs:{}:", first_line_of + number);
        let told = said.split("\n\n").find(|told| told.starts_with("error[E0277]") && told.contains(&place));
        assert!(
            told.is_some_and(|told| told.contains("rows of `Film` cannot leave their task")),
            "{statement}: {said}"
        );
    }
    assert!(!said.contains("[E0599]"), "{said}");
}

#[test]
fn keys_that_are_counted_printed_or_merged_get_a_hint_too() {
    let rows = "#[derive(Clone)] struct Film; let films = ctx.parallelize(vec![Film]);
        let rows = ctx.parallelize(vec![1.5, 0.5]); let pairs = rows.map(|row| (row, 1));\n";
    for (wrong, words) in [
        ("rows.count_approx_distinct(0.05)?", "has no `Hash`"),
        ("rows.count_approx_distinct_async(0.05)", "has no `Hash`"),
        ("rows.map(|row| (1, row)).count_approx_distinct_by_key(0.05)", "has no `Hash`"),
        ("pairs.count_approx_distinct_by_key(0.05)", "cannot be a key"),
        ("pairs.reduce_by_key_locally(|a, b| a + b)?", "cannot be a key"),
        (
            "let _: Rdd<(Total<f64>, u64)> = films.flat_map_reduce_by_key(|_, pairs| pairs.push(&1.5, 1), |a, b| a + b)",
            "keys cannot be borrowed from rows as",
        ),
        ("films.save_as_text_file(\"out\")?", "`Film` doesn't implement `std::fmt::Display`"),
        ("films.pipe([\"cat\"])", "`Film` doesn't implement `std::fmt::Display`"),
    ] {
        let said = compiler_on(&format!("{rows} {wrong};"));
        assert!(said.contains(words) && said.contains("error[E0277]") && !said.contains("[E0599]"), "{wrong}: {said}");
        assert!(words.starts_with('`') || words.contains("borrowed") || said.contains("emberflow::Total"), "{said}");
    }
    let said = compiler_on(&format!("{rows} rows.map(Total).count_approx_distinct(0.05)?;"));
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn a_cache_is_a_statement_and_a_map_is_none() {
    let rows = "let rows = ctx.range(0..9_u64);\n";
    for fine in ["rows.cache();", "rows.persist(StorageLevel::DiskOnly);", "rows.unpersist();"] {
        assert_eq!(compiler_on(&format!("{rows} {fine}")), "", "{fine}");
    }
    let said = compiler_on(&format!("{rows} rows.map(|n| n + 1);"));
    assert!(said.contains("unused") && said.contains("nothing happens before an action"), "{said}");
}

#[test]
fn the_prelude_has_the_names_of_what_programs_give_and_leaves_result_its_second_type() {
    let said = compiler_on(
        "struct Longest;
        impl Accumulate for Longest {
            type Input = String;
            type Value = usize;
            fn zero(&self) -> usize { 0 }
            fn add(&self, longest: &mut usize, word: String) { *longest = (*longest).max(word.len()) }
            fn merge(&self, longest: &mut usize, other: usize) { *longest = (*longest).max(other) }
        }
        struct Odd;
        impl Partitioner<u64> for Odd {
            fn partitions(&self) -> usize { 2 }
            fn partition(&self, key: &u64) -> usize { (key % 2) as usize }
        }
        fn parsed(text: &str) -> Result<u64, std::num::ParseIntError> { text.parse() }
        let longest = ctx.accumulator(\"\", Longest);
        let pairs = ctx.parallelize([\"1\", \"2\"].map(str::to_owned)).try_map(|text| parsed(&text)).key_by(|n| *n);
        pairs.partition_by(Partitioning::custom(Odd)).persist(StorageLevel::MemorySerialized);
        pairs.partition_by(Partitioning::by(2, |key: &u64| (*key % 2) as usize)).for_each(move |(key, _)| {
            longest.add(format!(\"{key} {:?}\", TaskInfo::current().map(|task| task.partition())));
        })?;",
    );
    assert_eq!(said, "");
}

#[test]
fn rows_of_str_give_the_words_that_the_readme_explains() {
    let said = compiler_on("ctx.parallelize(vec![\"a\", \"b\"]).collect()?;");
    let words = "is not general enough";
    assert!(said.contains(words) && said.contains("Deserialize"), "{said}");
    let readme = include_str!("../README.md");
    assert!(readme.contains(words) && readme.contains("make them `String`s"));
}
