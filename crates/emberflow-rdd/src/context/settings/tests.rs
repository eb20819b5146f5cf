//! The table of settings beside the environment, the documents and the builder.

use std::{env, fs};

use emberflow_core::error::Error;

use super::{Given, rows};
use crate::ContextBuilder;

fn env_of(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn the_builder_outranks_the_environment_and_the_environment_the_default() {
    let env = env_of(&[
        ("EMBERFLOW_WORKERS", "3"),
        ("EMBERFLOW_MEMORY_BUDGET", "2MiB"),
        ("EMBERFLOW_APP_NAME", "films"),
        ("EMBERFLOW_DEFAULT_PARTITIONS", "5"),
        ("EMBERFLOW_PROGRESS", "off"),
    ]);
    let ctx = ContextBuilder::default().workers(1).build_from(&env).unwrap();
    assert_eq!((ctx.workers(), ctx.memory().budget, ctx.app_name()), (1, 2 << 20, "films"));
    assert_eq!(ctx.default_partitions(), 5);
    let ctx = ContextBuilder::default().build_from(&env).unwrap();
    assert_eq!(ctx.workers(), 3);
}

#[test]
fn a_setting_that_cannot_be_used_is_named_with_what_would_be_right() {
    let error = |pairs| ContextBuilder::default().build_from(&env_of(pairs)).err().unwrap().to_string();
    assert_eq!(
        error(&[("EMBERFLOW_WORKERS", "many")]),
        "EMBERFLOW_WORKERS = \"many\": give a whole number, at least 1"
    );
    assert!(error(&[("EMBERFLOW_MEMORY_BUDGET", "lots")]).contains("such as 512MiB"));
    assert!(error(&[("EMBERFLOW_PROGRESS", "yes")]).contains("auto, on or off"));
    // Either it is no seed, or the feature that it needs is missing.
    assert!(error(&[("EMBERFLOW_CHAOS", "much")]).contains("EMBERFLOW_CHAOS = \"much\": "));
    assert!(error(&[("EMBERFLOW_FORCE_SPILL", "1")]).contains("give on or off"));
    // Either it is no port, or the feature that it needs is missing.
    assert!(error(&[("EMBERFLOW_UI", "everywhere")]).contains("EMBERFLOW_UI = \"everywhere\": "));
    assert!(error(&[("EMBERFLOW_TASK_DEADLINE", "soon")]).contains("such as 90s"));
    assert!(error(&[("EMBERFLOW_STALL_TIMEOUT", "0s")]).contains("such as 90s"));
    assert!(error(&[("EMBERFLOW_SPECULATION_QUANTILE", "75%")]).contains("from 0 to 1"));
    assert!(error(&[("EMBERFLOW_CHECK_DETERMINISM", "no")]).contains("give on or off"));
    assert!(error(&[("EMBERFLOW_SPILL_DIR", "/no/such/dir")]).contains("not a directory"));
    assert!(error(&[("EMBERFLOW_CHECKPOINT_DIR", "/dev/null")]).contains("not a directory"));
    #[cfg(feature = "ui")]
    {
        let on = ("EMBERFLOW_UI", "0");
        let error = |pair| {
            let env = [on, pair];
            let env = move |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
            ContextBuilder::default().build_from(&env).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(error(("EMBERFLOW_UI_ADDRESS", "localhost")).contains("such as 127.0.0.1"));
        assert!(error(("EMBERFLOW_UI_HOSTS", "a.example, b/c")).contains("EMBERFLOW_UI_HOSTS = \"b/c\": give a name"));
        let token = error(("EMBERFLOW_UI_TOKEN", "hunter2"));
        assert!(token.contains("at least 16") && !token.contains("hunter2"), "{token}");
        assert_eq!(error(("EMBERFLOW_UI_HOSTS", "a.example,b.example:8443")), "");
    }
    #[cfg(not(feature = "ui"))]
    {
        assert!(error(&[("EMBERFLOW_UI", "on")]).contains("without emberflow's feature `ui`"));
        assert!(error(&[("EMBERFLOW_EVENT_LOG", "logs")]).contains("without emberflow's feature `ui`"));
        // A token asks for no page, and is told to nobody.
        let quiet = env_of(&[("EMBERFLOW_UI", "off"), ("EMBERFLOW_UI_TOKEN", "hunter2")]);
        ContextBuilder::default().build_from(&quiet).unwrap();
    }
    let error = ContextBuilder::default().workers(0).build().err().unwrap().to_string();
    assert_eq!(error, "workers = \"0\": give a whole number, at least 1");
}

#[test]
fn directories_may_be_urls_of_local_ones() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let paths = [0, 1].map(|at: usize| dirs[at].path().to_owned());
    let urls = [0, 1].map(|at: usize| format!("file://{}", paths[at].display()));
    let spill_dirs = |text: String| {
        let set = Given::default().settle(&|name| match name {
            "EMBERFLOW_SPILL_DIR" => Some(text.clone()),
            "EMBERFLOW_CHECKPOINT_DIR" => Some(urls[0].clone()),
            _ => None,
        })?;
        assert_eq!(set.checkpoint_dir.as_ref(), Some(&paths[0]));
        Ok::<_, Error>(set.spill_dir)
    };
    assert_eq!(spill_dirs(urls[0].clone()).unwrap(), [paths[0].clone()]);
    let plain = paths[1].display().to_string();
    for both in [[&urls[0], &urls[1]], [&urls[0], &plain]] {
        let joined = env::join_paths(both).unwrap_or_else(|_| both.map(String::as_str).join(":").into());
        assert_eq!(spill_dirs(joined.into_string().unwrap()).unwrap(), paths);
    }
    for (text, reason) in [("/no/such", "create it first"), ("s3://bucket/spill", "spilled to local directories")] {
        let error = spill_dirs(text.to_owned()).unwrap_err().to_string();
        assert!(error.contains("SPILL_DIR") && error.contains(text) && error.contains(reason), "{error}");
    }

    let error = |builder: ContextBuilder| builder.build().unwrap_err().to_string();
    let spilled = error(ContextBuilder::default().spill_dir("s3://bucket/spill"));
    assert!(spilled.contains("s3://bucket/spill") && spilled.contains("spilled to local directories"), "{spilled}");
    assert!(error(ContextBuilder::default().spill_dir("hdfs://host/spill")).contains("file:///path/to/it"));
    #[cfg(feature = "ui")]
    {
        let ctx = ContextBuilder::default().workers(1).event_log(&urls[1]).build().unwrap();
        assert!(ctx.event_log().unwrap().starts_with(&paths[1]));
        let refused = error(ContextBuilder::default().event_log("s3a://bucket/logs"));
        assert!(refused.contains("event_log") && refused.contains("written to a local directory"), "{refused}");
        assert!(error(ContextBuilder::default().event_log("hdfs://host/logs")).contains("file:///path/to/it"));
    }
}

/// The first three cells of each row of the table of settings, but for settings whose feature is missing.
fn documented(text: &str) -> Vec<String> {
    let is_there = |line: &&str| {
        (cfg!(feature = "ui") || !line.contains("(feature `ui`)"))
            && (cfg!(feature = "chaos") || !line.contains("(feature `chaos`)"))
            && (cfg!(feature = "spark") || !line.contains("(feature `spark`)"))
    };
    let cells = |line: &str| line.split(" | ").take(3).collect::<Vec<_>>().join(" | ");
    let table = text.lines().skip_while(|line| !line.starts_with("| builder |")).skip(2);
    table.take_while(|line| line.starts_with('|')).filter(is_there).map(cells).collect()
}

#[test]
fn the_table_of_settings_in_the_documentation_is_that_of_the_code() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md")).unwrap();
    let in_code = rows().into_iter().map(|row| {
        let methods: Vec<String> = row.methods.iter().map(|name| format!("`{name}`")).collect();
        let feature = if row.feature.is_empty() { String::new() } else { format!(" (feature `{}`)", row.feature) };
        format!("| {}{feature} | `{}`{} | {}", methods.join(", "), row.variable, row.written, row.default)
    });
    assert_eq!(documented(&text), in_code.collect::<Vec<_>>());
}

#[test]
fn every_method_of_the_builder_names_its_variable() {
    let sources = [include_str!("../builder.rs"), include_str!("../ui.rs"), include_str!("../chaos.rs")].concat();
    for row in rows() {
        for method in row.methods {
            let is_it = |(at, found): &(usize, &str)| sources[at + found.len()..].starts_with(['(', '<']);
            let start = format!("pub fn {method}");
            let (at, _) = sources.match_indices(&start).find(is_it).unwrap_or_else(|| panic!("no method {method}"));
            let (_, docs) = sources[..at].rsplit_once("\n\n").unwrap();
            assert!(docs.contains(&format!("`{}`", row.variable)), "{method} does not name {}", row.variable);
        }
    }
}
