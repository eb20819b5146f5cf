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
fn rows_of_str_give_the_words_that_the_readme_explains() {
    let said = compiler_on("ctx.parallelize(vec![\"a\", \"b\"]).collect()?;");
    let words = "is not general enough";
    assert!(said.contains(words) && said.contains("Deserialize"), "{said}");
    let readme = include_str!("../README.md");
    assert!(readme.contains(words) && readme.contains("make them `String`s"));
}
