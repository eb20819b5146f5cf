//! The layout of the house: files do not import each other in circles, none is too long, crates lean one way, and the
//! documents name the crates that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines that a file may have.
const MOST_LINES: usize = 900;

/// Circles that are meant, each with its reason.
const MEANT: &[(&str, &[&str])] = &[
    // Actors, and what runs for them, hold each other's addresses: the coordinator starts partitions and tasks, and these
    // report to it.
    ("emberflow-runtime", &["coordinator::actor", "partition", "task_run", "workspace"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder of the repository.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_is_too_long() {
    let folders = ["crates", "tests", "benches", "examples"];
    for file in folders.into_iter().flat_map(files) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines: divide it by subject", file.display());
    }
}

/// A file of a crate by its module path: `["rdd", "map"]`; a folder's `mod.rs` by that of the folder.
type Module = Vec<String>;

fn module_of(file: &Path, src: &Path) -> Module {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|name| name == "mod" || (name == "lib" && module.len() == 1)) {
        module.pop();
    }
    module
}

/// The code of a file without comments and tests.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths that a `use` tree names: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn paths_of(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    let head: Vec<String> =
        head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let below = parts.iter().filter(|part| !part.trim().is_empty()).flat_map(|part| paths_of(part));
    below.map(|path| head.iter().cloned().chain(path).collect()).collect()
}

/// What the files of a crate import from each other.
fn imports(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = files(src.strip_prefix(root()).unwrap().to_str().unwrap());
    let modules: BTreeSet<Module> = files.iter().map(|file| module_of(file, src)).collect();
    // What the crate's root and the files of folders give names to.
    let mut names: BTreeMap<Module, BTreeMap<String, Module>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with("mod.rs") || file.ends_with("lib.rs")) {
        let module = module_of(file, src);
        for tree in code_of(file).split("use ").skip(1) {
            for path in paths_of(tree.split(';').next().unwrap()) {
                let path = path.strip_prefix(&["self".to_owned()][..]).unwrap_or(&path);
                let below: Module = module.iter().chain(&path[..path.len() - 1]).cloned().collect();
                if below != module && modules.contains(&below) {
                    names.entry(module.clone()).or_default().insert(path[path.len() - 1].clone(), below);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    for file in &files {
        let module = module_of(file, src);
        let mut found: BTreeSet<Module> = BTreeSet::new();
        for item in code_of(file).split("use ").skip(1) {
            for path in paths_of(item.split(';').next().unwrap()) {
                // From the crate's root, as far as it is a module.
                let mut at: Module = match path.first().map(String::as_str) {
                    Some("crate") => Vec::new(),
                    Some("super") => module[..module.len().saturating_sub(1)].to_vec(),
                    _ => continue,
                };
                let mut rest = &path[1..];
                while rest.first().is_some_and(|part| part == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
                while let Some((part, more)) = rest.split_first() {
                    at.push(part.clone());
                    if modules.contains(&at) {
                        rest = more;
                        continue;
                    }
                    at.pop();
                    match names.get(&at).and_then(|names| names.get(part)) {
                        Some(named) => at.clone_from(named),
                        None => break,
                    }
                }
                // A folder's own file declares what is in it, and gives names to it.
                if at != module && !at.starts_with(&module) {
                    found.insert(at);
                }
            }
        }
        all.insert(module, found);
    }
    all
}

#[test]
fn files_of_a_crate_do_not_import_each_other_in_circles() {
    for krate in fs::read_dir(root().join("crates")).unwrap() {
        let src = krate.unwrap().path().join("src");
        let imports = imports(&src);
        let reached = |from: &Module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = open.pop() {
                for next in imports.get(&module).into_iter().flatten() {
                    // The root only gives names to what is below it.
                    if !next.is_empty() && seen.insert(next.clone()) {
                        open.push(next.clone());
                    }
                }
            }
            seen
        };
        let reach: BTreeMap<&Module, BTreeSet<Module>> =
            imports.keys().map(|module| (module, reached(module))).collect();
        let mut circles: BTreeSet<BTreeSet<String>> = BTreeSet::new();
        for module in imports.keys().filter(|module| reach[module].contains(*module)) {
            let circle = reach[module].iter().filter(|other| reach[other].contains(module));
            circles.insert(circle.map(|module| module.join("::")).collect());
        }
        let name = src.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let meant: BTreeSet<BTreeSet<String>> = MEANT
            .iter()
            .filter(|(of, _)| *of == name)
            .map(|(_, circle)| circle.iter().map(|module| (*module).to_owned()).collect())
            .collect();
        assert_eq!(circles, meant, "{name}: these files import each other in circles");
    }
}

/// What Cargo knows of the crates of the workspace.
fn packages() -> Vec<serde_json::Value> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn the_documents_name_the_crates_that_there_are() {
    let crates: BTreeSet<String> =
        packages().iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    let read = |document: &str| fs::read_to_string(root().join(document)).unwrap();
    // A row of the table begins with the crate's name.
    let architecture: BTreeSet<String> = read("docs/architecture.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `emberflow"))
        .map(|rest| format!("emberflow{}", rest.split('`').next().unwrap()))
        .collect();
    assert_eq!(architecture, crates, "docs/architecture.md");
    let contributing: BTreeSet<String> = read("CONTRIBUTING.md")
        .lines()
        .filter_map(|line| line.strip_prefix("crates/"))
        .map(|rest| rest.split('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(contributing, crates, "CONTRIBUTING.md");
}

#[test]
fn crates_depend_on_those_below_them_only() {
    /// From the top.
    const ORDER: [&str; 8] = [
        "emberflow",
        "emberflow-s3-server",
        "emberflow-spark",
        "emberflow-ui",
        "emberflow-s3",
        "emberflow-runtime",
        "emberflow-core",
        "emberflow-code",
    ];
    for package in packages() {
        let level = |name: &str| ORDER.iter().position(|krate| *krate == name);
        let of = level(package["name"].as_str().unwrap()).expect("every crate has its place in the order");
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        for dependency in dependencies.filter_map(|dependency| level(dependency["name"].as_str().unwrap())) {
            assert!(dependency > of, "{} leans on {}", ORDER[of], ORDER[dependency]);
        }
    }
}
