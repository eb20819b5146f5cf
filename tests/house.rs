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

/// A row of the table of crates: a crate's name, and those of the crates that it depends on.
type Row = (String, BTreeSet<String>);

/// The lines of a document's table of crates.
fn table_of_crates(document: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("| crate |"));
    lines.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// The names between backticks.
fn names_in(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The table of crates of the documents, from the top.
fn rows() -> Vec<Row> {
    let lines = table_of_crates("docs/architecture.md");
    let row = |line: &String| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (names_in(cells[0]).next().unwrap(), names_in(cells.last().unwrap()).collect())
    };
    lines.iter().skip(2).map(row).collect()
}

/// The crates of the workspace that a package depends on: with kind `None` for its code, or `Some("dev")` for its tests.
fn dependencies<'a>(package: &'a serde_json::Value, kind: Option<&'a str>) -> impl Iterator<Item = String> + 'a {
    let all = package["dependencies"].as_array().unwrap().iter();
    let of_kind = all.filter(move |dependency| dependency["kind"].as_str() == kind);
    let names = of_kind.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with("emberflow"))
}

#[test]
fn the_table_of_crates_is_the_same_in_the_documents_and_says_what_cargo_knows() {
    let table = table_of_crates("docs/architecture.md");
    assert_eq!(
        table_of_crates("CONTRIBUTING.md"),
        table,
        "CONTRIBUTING.md has another table than docs/architecture.md"
    );
    let said: BTreeMap<_, _> = rows().into_iter().collect();
    assert_eq!(said.len(), table.len() - 2, "a crate has two rows");
    let known: BTreeMap<_, BTreeSet<_>> = packages()
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), dependencies(package, None).collect()))
        .collect();
    assert_eq!(said, known);
}

#[test]
fn crates_depend_on_those_below_them_only() {
    let order: Vec<String> = rows().into_iter().map(|(name, _)| name).collect();
    let level = |name: &str| order.iter().position(|krate| krate == name).expect("every crate has its row");
    for package in packages() {
        let of = level(package["name"].as_str().unwrap());
        for below in dependencies(&package, None) {
            assert!(level(&below) > of, "{} leans on {below}", order[of]);
        }
        // The programs in the documentation use the umbrella, as users do.
        for below in dependencies(&package, Some("dev")).filter(|name| name != "emberflow") {
            assert!(level(&below) > of, "the tests of {} lean on {below}", order[of]);
        }
    }
}

/// The names that the root of a crate gives to its users.
fn public_names(root_file: &str) -> BTreeSet<String> {
    let code = code_of(&root().join(root_file));
    let items = |word: &str| code.split(word).skip(1).map(|rest| rest.split(';').next().unwrap()).collect::<Vec<_>>();
    let modules = items("pub mod ").into_iter().map(str::to_owned);
    let paths = items("pub use ").into_iter().flat_map(paths_of);
    modules.chain(paths.map(|path| path.last().unwrap().clone())).collect()
}

#[test]
fn the_umbrella_gives_all_names_of_the_typed_api_but_its_insides() {
    let mut given = public_names("crates/emberflow/src/lib.rs");
    assert!(given.remove("prelude") && given.remove("emberflow_table"), "{given:?}");
    let mut there = public_names("crates/emberflow-rdd/src/lib.rs");
    assert!(there.remove("parts"), "{there:?}");
    assert!(there.len() > 60, "{there:?}");
    assert_eq!(given, there);
}
