//! What the methods of an RDD have in common is there for each of them: held against the sources of the library, so that a
//! method that is added later is held to it, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A public method that takes `&self`: its documentation, and its signature.
struct Method {
    docs: String,
    signature: String,
}

impl Method {
    fn returns(&self) -> &str {
        let head = self.signature.split("\n    where").next().unwrap();
        head.rsplit("->").next().unwrap().trim()
    }
}

/// The public methods of `Rdd`.
fn methods() -> BTreeMap<String, Method> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/emberflow/src");
    let mut methods = BTreeMap::new();
    for dir in ["rdd", "sink"] {
        for file in fs::read_dir(source.join(dir)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let mut of_rdd = false;
            let (mut docs, mut lines) = (String::new(), text.lines());
            while let Some(line) = lines.next() {
                if line.starts_with("impl") {
                    of_rdd = line.contains(" Rdd<");
                }
                if let Some(doc) = line.strip_prefix("    ///") {
                    docs += doc.trim();
                    docs += "\n";
                } else if let Some(method) = line.strip_prefix("    pub fn ") {
                    let name = method.split(['<', '(']).next().unwrap().to_owned();
                    let mut signature = line.to_owned();
                    while !signature.ends_with('{') {
                        signature += "\n";
                        signature += lines.next().unwrap();
                    }
                    if of_rdd && signature.contains("&self") {
                        methods.insert(name, Method { docs: std::mem::take(&mut docs), signature });
                    }
                } else if !line.starts_with("    #[") {
                    docs.clear();
                }
            }
        }
    }
    assert!(methods.len() > 150, "{} methods", methods.len());
    methods
}

/// What gives a result without a job of its own.
const NO_ACTIONS: [&str; 4] = ["check_shippable", "describe_stages", "explain", "unpersist_and_wait"];

#[test]
fn every_action_has_an_async_form() {
    let methods = methods();
    let missing: BTreeSet<&str> = methods
        .iter()
        .filter(|(name, method)| method.returns().starts_with("Result<") && !NO_ACTIONS.contains(&name.as_str()))
        .filter(|(name, _)| {
            let twin = methods.get(&format!("{name}_async"));
            !twin.is_some_and(|twin| twin.returns().starts_with("Action<"))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(missing, BTreeSet::new());
    let orphans = methods
        .keys()
        .filter(|name| name.strip_suffix("_async").is_some_and(|blocking| !methods.contains_key(blocking)));
    assert_eq!(orphans.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_wide_method_takes_a_number_of_partitions_or_a_partitioner() {
    let methods = methods();
    let wide = methods.iter().filter(|(_, method)| method.docs.lines().any(|line| line.starts_with("Wide")));
    let (mut checked, mut missing) = (0, Vec::new());
    for (name, method) in wide {
        checked += 1;
        let takes_it = |method: &Method| {
            let places = method.signature.contains("impl IntoPartitioning<");
            // What is sorted or dealt out anew has no partitioner, but a number of partitions.
            let number = method.signature.contains("partitions: usize");
            places || (number && (name.starts_with("sort_by") || name == "repartition"))
        };
        let into = methods.get(&format!("{}_into", name.trim_end_matches("_into")));
        if !takes_it(method) && !into.is_some_and(takes_it) {
            missing.push(name);
        }
    }
    assert!(checked > 20, "{checked} wide methods");
    assert_eq!(missing, Vec::<&String>::new());
}
