//! What the methods of an RDD have in common is there for each of them: held against the sources of the library, so that a
//! method that is added later is held to it, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::Future,
    panic::{self, AssertUnwindSafe},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task, thread,
};

use emberflow::{Partitioner, Random, prelude::*};
use serde::{Deserialize, Serialize, Serializer};

/// A public function of a type: its documentation, its attributes, and its signature.
struct Method {
    docs: String,
    attributes: String,
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
    let methods = functions(&["rdd", "sink"], " Rdd<");
    let methods: BTreeMap<_, _> = methods.filter(|(_, method)| method.signature.contains("&self")).collect();
    assert!(methods.len() > 150, "{} methods", methods.len());
    methods
}

/// The public functions in the files of these folders of the typed API, in blocks of `impl` whose first line contains `of`.
fn functions(dirs: &[&str], of: &str) -> impl Iterator<Item = (String, Method)> {
    functions_in("crates/emberflow-rdd/src", dirs, of)
}

/// As [`functions`], of the crate with these sources.
fn functions_in(source: &str, dirs: &[&str], of: &str) -> impl Iterator<Item = (String, Method)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut functions = Vec::new();
    for dir in dirs {
        for file in fs::read_dir(source.join(dir)).unwrap() {
            let file = file.unwrap().path();
            if file.is_dir() {
                continue;
            }
            let text = fs::read_to_string(file).unwrap();
            let mut of_it = false;
            let (mut docs, mut attributes, mut lines) = (String::new(), String::new(), text.lines());
            while let Some(line) = lines.next() {
                if line.starts_with("impl") {
                    of_it = line.contains(of);
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
                    let (docs, attributes) = (std::mem::take(&mut docs), std::mem::take(&mut attributes));
                    if of_it {
                        functions.push((name, Method { docs, attributes, signature }));
                    }
                } else if line.starts_with("    #[") {
                    attributes += line;
                } else {
                    docs.clear();
                    attributes.clear();
                }
            }
        }
    }
    functions.into_iter()
}

#[test]
fn what_a_method_needs_of_its_rows_stands_at_the_method() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/emberflow-rdd/src");
    let mut seen = 0;
    for dir in ["rdd", "sink", "context"] {
        for file in fs::read_dir(source.join(dir)).unwrap().map(|file| file.unwrap().path()) {
            if file.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let of_rdds = text.split("\nimpl").filter(|block| block.split('\n').next().unwrap().contains("> Rdd<"));
            for block in of_rdds.filter(|block| block.split("\n}\n").next().unwrap().contains("\n    pub fn ")) {
                let head = block.split('\n').next().unwrap();
                // Where a block has more bounds, the compiler says E0599 of all its methods and shows no hint.
                let free = ["<T: Data> Rdd<T> {", "<K: Data, V: Data> Rdd<(K, V)> {"];
                assert!(free.contains(&head), "{}: impl{head}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen} blocks");
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
fn every_action_of_a_table_has_an_async_form() {
    let methods = functions_in("crates/emberflow-table/src", &[""], "impl Table");
    let methods: BTreeMap<_, _> = methods.filter(|(_, method)| method.signature.contains("&self")).collect();
    let actions = methods.iter().filter(|(_, method)| {
        let returns = method.returns();
        returns.starts_with("Result<") && !returns.starts_with("Result<Self>")
    });
    let actions: Vec<&str> = actions.map(|(name, _)| name.as_str()).collect();
    assert!(actions.len() >= 9, "{actions:?}");
    let missing = actions.iter().filter(|name| {
        let twin = methods.get(&format!("{name}_async"));
        !twin.is_some_and(|twin| twin.returns().starts_with("Action<"))
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
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

#[test]
fn the_form_that_a_refusal_advises_is_there_and_takes_an_environment() {
    let methods = methods();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/emberflow-rdd/src/rdd");
    let mut advised = BTreeSet::new();
    for file in fs::read_dir(source).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        advised.extend(text.split(".with_form(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    let there: BTreeSet<String> =
        methods.iter().filter(|(_, method)| takes_environment(method)).map(|(name, _)| name.clone()).collect();
    assert!(advised.is_subset(&there), "advised, but not there: {:?}", advised.difference(&there));
    // An `_into` or `_async` form has the advice of its sibling.
    let silent = there.difference(&advised).filter(|name| !name.ends_with("_into") && !name.ends_with("_async"));
    assert_eq!(silent.collect::<Vec<_>>(), [""; 0], "there, but advised by nobody");
}

/// Whether a method is given the number of partitions of what it makes, which may be none.
fn takes_partitions(method: &Method) -> bool {
    ["impl IntoPartitioning<", "partitions: usize"].iter().any(|word| method.signature.contains(word))
}

/// Whether a method is given an environment, which may refuse to be serialised.
fn takes_environment(method: &Method) -> bool {
    method.signature.contains("env: ")
}

#[test]
fn what_panics_at_its_arguments_says_so_and_names_the_callers_line() {
    let dirs = ["rdd", "sink", "context", "source", "shuffle", "sharing"];
    let (mut checked, mut wrong) = (0, Vec::new());
    for (name, method) in functions(&dirs, "") {
        let panics = method.docs.lines().any(|line| line == "# Panics");
        checked += usize::from(panics);
        if panics && !method.attributes.contains("#[track_caller]") {
            wrong.push(format!("{name} is no #[track_caller]"));
        }
    }
    assert!(checked > 80, "{checked} functions that panic");
    for (name, method) in methods().into_iter().chain(functions(&["context"], "impl Context ")) {
        let may_panic = takes_partitions(&method) || takes_environment(&method);
        if may_panic && !method.docs.lines().any(|line| line == "# Panics") {
            wrong.push(format!("{name} does not say when it panics"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Runs what is to panic, and returns the file that the panic names.
fn file_of_panic(run: &dyn Fn()) -> Option<String> {
    // There is one hook for all threads: one test at a time has its own.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&place);
    // Other tests may panic at the same time, on threads of their own.
    let (before, here) = (Arc::new(panic::take_hook()), thread::current().id());
    let others = Arc::clone(&before);
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            *seen.lock().unwrap() = info.location().map(|at| at.file().to_owned());
        } else {
            others(info);
        }
    }));
    let thrown = panic::catch_unwind(AssertUnwindSafe(run));
    drop(panic::take_hook());
    panic::set_hook(Box::new(move |info| before(info)));
    let place = place.lock().unwrap().take();
    place.filter(|_| thrown.is_err())
}

struct Nowhere;

impl Partitioner<u64> for Nowhere {
    fn partitions(&self) -> usize {
        0
    }

    fn partition(&self, _: &u64) -> usize {
        0
    }
}

/// Panics of calls that name other files than this one.
fn elsewhere<'a>(calls: impl IntoIterator<Item = &'a Call<'a>>) -> Vec<(&'a str, Option<String>)> {
    let files = calls.into_iter().map(|(name, run)| (*name, file_of_panic(*run)));
    files.filter(|(_, file)| file.as_deref() != Some(file!())).collect()
}

/// A method, and a call of it that is to panic.
type Call<'a> = (&'a str, &'a dyn Fn());

/// The names of methods that calls are of.
fn names<'a>(calls: &[Call<'a>]) -> BTreeSet<&'a str> {
    calls.iter().map(|(name, _)| *name).collect()
}

#[test]
fn no_partitions_and_other_arguments_that_cannot_be_are_refused_at_the_callers_line() {
    let ctx = Context::local(1).unwrap();
    let rows = ctx.range(0..9_u64);
    let pairs = rows.map(|n| (n, n));
    let words = ctx.parallelize(["a b".to_owned()]);
    let add = |a: u64, b: u64| a + b;
    // Those that `takes_partitions` finds, by name.
    let into: &[Call<'_>] = &[
        ("aggregate_by_key_into", &|| drop(pairs.aggregate_by_key_into(0, add, add, 0))),
        ("coalesce", &|| drop(rows.coalesce(0))),
        ("cogroup_into", &|| drop(pairs.cogroup_into(&pairs, 0))),
        ("cogroup3_into", &|| drop(pairs.cogroup3_into(&pairs, &pairs, 0))),
        ("cogroup4_into", &|| drop(pairs.cogroup4_into(&pairs, &pairs, &pairs, 0))),
        ("combine_by_key_into", &|| drop(pairs.combine_by_key_into(|n| n, add, add, 0))),
        ("count_approx_distinct_by_key_into", &|| drop(pairs.count_approx_distinct_by_key_into(0.05, 0))),
        ("distinct_into", &|| drop(rows.distinct_into(0))),
        ("distribute_into", &|| drop(ctx.distribute_into([1_u64], 0))),
        ("flat_map_reduce_by_key_into", &|| {
            drop(words.flat_map_reduce_by_key_into::<String, str, _, _, _>(|word, pairs| pairs.push(word, 1), add, 0));
        }),
        ("fold_by_key_into", &|| drop(pairs.fold_by_key_into(0, add, 0))),
        ("full_outer_join_into", &|| drop(pairs.full_outer_join_into(&pairs, 0))),
        ("group_by_into", &|| drop(rows.group_by_into(|n| *n, 0))),
        ("group_by_key_into", &|| drop(pairs.group_by_key_into(0))),
        ("group_by_with_into", &|| drop(rows.group_by_with_into(1, |by, n| n * by, 0))),
        ("intersection_into", &|| drop(rows.intersection_into(&rows, 0))),
        ("join_into", &|| drop(pairs.join_into(&pairs, 0))),
        ("left_outer_join_into", &|| drop(pairs.left_outer_join_into(&pairs, 0))),
        ("left_semi_join_into", &|| drop(pairs.left_semi_join_into(&pairs, 0))),
        ("parallelize_into", &|| drop(ctx.parallelize_into([1], 0))),
        ("partition_by", &|| drop(pairs.partition_by(0))),
        ("random_into", &|| drop(ctx.random_into(Random::uniform(0.0..1.0), 9, 1, 0))),
        ("range_into", &|| drop(ctx.range_into(0..9_u64, 0))),
        ("range_step_into", &|| drop(ctx.range_step_into(0_u64, 9, 2, 0))),
        ("reduce_by_key_into", &|| drop(pairs.reduce_by_key_into(add, 0))),
        ("repartition", &|| drop(rows.repartition(0))),
        ("repartition_and_sort_within_partitions", &|| drop(pairs.repartition_and_sort_within_partitions(0))),
        ("right_outer_join_into", &|| drop(pairs.right_outer_join_into(&pairs, 0))),
        ("sort_by_cmp_into", &|| drop(rows.sort_by_cmp_into(Ord::cmp, 0))),
        ("sort_by_desc_into", &|| drop(rows.sort_by_desc_into(|n| *n, 0))),
        ("sort_by_into", &|| drop(rows.sort_by_into(|n| *n, 0))),
        ("sort_by_key_desc_into", &|| drop(pairs.sort_by_key_desc_into(0))),
        ("sort_by_key_into", &|| drop(pairs.sort_by_key_into(0))),
        ("subtract_by_key_into", &|| drop(pairs.subtract_by_key_into(&pairs, 0))),
        ("subtract_into", &|| drop(rows.subtract_into(&rows, 0))),
    ];
    let all: BTreeMap<_, _> = methods().into_iter().chain(functions(&["context"], "impl Context ")).collect();
    let named = all.iter().filter(|(_, method)| takes_partitions(method)).map(|(name, _)| name.as_str());
    assert_eq!(names(into), named.collect());
    let others: &[Call<'_>] = &[
        ("HashPartitioner::new", &|| drop(pairs.partition_by(HashPartitioner::new(0)))),
        ("Partitioning::by", &|| drop(Partitioning::by(0, |_: &u64| 0))),
        ("Partitioning::custom", &|| drop(Partitioning::custom(Nowhere))),
        ("range_step", &|| drop(ctx.range_step(0_u64, 9, 0))),
        ("sample", &|| drop(rows.sample(false, -0.5, 1))),
        ("random_split", &|| drop(rows.random_split(&[-1.0, 2.0], 1))),
        ("count_approx_distinct", &|| drop(rows.count_approx_distinct(0.0))),
        ("count_approx_distinct_by_key", &|| drop(pairs.count_approx_distinct_by_key(0.0))),
        ("tree_reduce", &|| drop(rows.tree_reduce(add, 0))),
        ("tree_aggregate", &|| drop(rows.tree_aggregate(0, add, add, 0))),
        ("pipe", &|| drop(words.pipe::<String>([]))),
        ("Random::uniform", &|| drop(ctx.random(Random::uniform(1.0..1.0), 9, 1))),
        ("Random::normal", &|| drop(ctx.random(Random::normal(0.0, -1.0), 9, 1))),
        ("Random::log_normal", &|| drop(ctx.random(Random::log_normal(0.0, -1.0), 9, 1))),
        ("Random::exponential", &|| drop(ctx.random(Random::exponential(0.0), 9, 1))),
        ("Random::poisson", &|| drop(ctx.random(Random::poisson(0.0), 9, 1))),
        ("persist", &|| drop(rows.cache().persist(StorageLevel::DiskOnly))),
        ("zip", &|| drop(rows.coalesce(1).zip(&ctx.range_into(0..9_u64, 2)))),
    ];
    assert_eq!(elsewhere(into.iter().chain(others)), []);
}

#[test]
fn what_is_used_after_its_end_panics_at_the_callers_line() {
    let ctx = Context::local(1).unwrap();
    let words = ctx.broadcast(vec!["to".to_owned(), "be".to_owned()]);
    words.destroy();
    let mut action = ctx.range(0..9_u64).count_async();
    let mut cx = task::Context::from_waker(task::Waker::noop());
    while Pin::new(&mut action).poll(&mut cx).is_pending() {
        thread::yield_now();
    }
    let action = Mutex::new(action);
    let calls: &[Call<'_>] = &[
        ("*", &|| assert!((*words).is_empty())),
        (".", &|| assert_eq!(words.len(), 2)),
        ("[]", &|| drop(words[0].clone())),
        ("&", &|| {
            let _: &Vec<String> = &words;
        }),
        ("for", &|| words.iter().for_each(|word| drop(word.clone()))),
        ("poll", &|| {
            let mut action = action.lock().unwrap_or_else(PoisonError::into_inner);
            let again = Pin::new(&mut *action).poll(&mut task::Context::from_waker(task::Waker::noop()));
            assert!(again.is_pending());
        }),
    ];
    assert_eq!(elsewhere(calls), []);
}

/// What can be sent, but for its value.
#[derive(Clone, Copy, Deserialize)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("on purpose"))
    }
}

#[test]
fn an_environment_that_cannot_be_sent_is_refused_at_the_callers_line() {
    let ctx = Context::local(1).unwrap();
    let rows = ctx.range(0..9_u64);
    let pairs = rows.map(|n| (n, n));
    let with: &[Call<'_>] = &[
        ("filter_with", &|| drop(rows.filter_with(Refuses, |_, _| true))),
        ("flat_map_extend_with", &|| drop(rows.flat_map_extend_with(Refuses, |_, n, out| out.push(*n)))),
        ("flat_map_ref_with", &|| drop(rows.flat_map_ref_with(Refuses, |_, n, out| out.push(*n)))),
        ("flat_map_values_with", &|| drop(pairs.flat_map_values_with(Refuses, |_, n| [n]))),
        ("flat_map_with", &|| drop(rows.flat_map_with(Refuses, |_, n| [n]))),
        ("for_each_partition_with", &|| drop(rows.for_each_partition_with(Refuses, |_, _| ()))),
        ("for_each_partition_with_async", &|| drop(rows.for_each_partition_with_async(Refuses, |_, _| ()))),
        ("for_each_with", &|| drop(rows.for_each_with(Refuses, |_, _| ()))),
        ("for_each_with_async", &|| drop(rows.for_each_with_async(Refuses, |_, _| ()))),
        ("group_by_with", &|| drop(rows.group_by_with(Refuses, |_, n| *n))),
        ("group_by_with_into", &|| drop(rows.group_by_with_into(Refuses, |_, n| *n, 2))),
        ("key_by_with", &|| drop(rows.key_by_with(Refuses, |_, n| *n))),
        ("map_partitions_with", &|| drop(rows.map_partitions_with(Refuses, |_, rows| rows))),
        ("map_partitions_with_index_with", &|| drop(rows.map_partitions_with_index_with(Refuses, |_, _, rows| rows))),
        ("map_ref_with", &|| drop(rows.map_ref_with(Refuses, |_, n| *n))),
        ("map_values_with", &|| drop(pairs.map_values_with(Refuses, |_, n| n))),
        ("map_with", &|| drop(rows.map_with(Refuses, |_, n| n))),
        ("sample_by_key_with", &|| drop(pairs.sample_by_key_with(Refuses, false, |_, _| 0.5, 1))),
        ("try_map_retrying_with", &|| drop(rows.try_map_retrying_with(Refuses, |_, n| Ok::<_, Error>(n)))),
        ("try_map_with", &|| drop(rows.try_map_with(Refuses, |_, n| Ok::<_, Error>(n)))),
        ("zip_partitions_with", &|| drop(rows.zip_partitions_with(&rows, Refuses, |_, left, _| left))),
    ];
    let methods = methods();
    let named = methods.iter().filter(|(_, method)| takes_environment(method)).map(|(name, _)| name.as_str());
    assert_eq!(names(with), named.collect());
    let zeros: &[Call<'_>] = &[
        ("aggregate_by_key", &|| drop(pairs.aggregate_by_key(Refuses, |zero, _| zero, |zero, _| zero))),
        ("fold_by_key", &|| drop(rows.map(|n| (n, Refuses)).fold_by_key(Refuses, |zero, _| zero))),
    ];
    assert_eq!(elsewhere(with.iter().chain(zeros)), []);
}
