//! A standalone cluster of Spark on the loopback interface: a master and two workers, which authenticate and encrypt.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::OpenOptionsExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use emberflow::{ContextBuilder, prelude::*};
use rustix::process::{Pid, Signal, getppid, kill_process, kill_process_group};

use crate::{Check, same, words};

pub(crate) const CHECKS: &[Check] = &[
    ("a cluster that is open to everybody is refused", a_cluster_that_is_open_to_everybody_is_refused),
    ("an executor that is killed in a task is replaced", an_executor_that_is_killed_in_a_task_is_replaced),
    ("a lost map output is computed again", a_lost_map_output_is_computed_again),
    ("a lost cached partition is computed again, and no other", a_lost_cached_partition_is_computed_again_and_no_other),
];

/// It ends, with all its executors, when it is dropped.
pub(crate) struct Cluster {
    master: String,
    dir: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(conf(dir.path()));
        let mut secret = [0; 16];
        File::open("/dev/urandom").unwrap().read_exact(&mut secret).unwrap();
        let secret = u128::from_le_bytes(secret);
        write!(
            options.unwrap(),
            "spark.authenticate true\n\
             spark.authenticate.secret {secret:032x}\n\
             spark.network.crypto.enabled true\n\
             spark.master.rest.enabled false\n\
             spark.ui.enabled false\n\
             spark.driver.host 127.0.0.1\n\
             spark.driver.bindAddress 127.0.0.1\n\
             spark.executor.cores 1\n\
             spark.executor.memory 512m\n"
        )
        .unwrap();
        let mut cluster = Self { master: String::new(), dir, processes: Vec::new() };
        let said = cluster.spawn("master.Master", &["--port", "0"], "Starting Spark master at ");
        cluster.master = said;
        for worker in ["1", "2"] {
            let work = cluster.dir.path().join(worker);
            let (work, master) = (work.to_str().unwrap().to_owned(), cluster.master.clone());
            let arguments = ["--cores", "1", "--memory", "1g", "--work-dir", &work, &master];
            cluster.spawn("worker.Worker", &arguments, "Successfully registered with master ");
        }
        cluster
    }

    /// The settings of a context on it.
    pub(crate) fn context(&self) -> ContextBuilder {
        Context::builder().master(&self.master).spark_conf(conf(self.dir.path())).memory_budget(256 << 20)
    }

    /// Starts a process of it, waits until it has said something, and returns the rest of that line.
    fn spawn(&mut self, class: &str, arguments: &[&str], until: &'static str) -> String {
        let home = PathBuf::from(env::var_os("SPARK_HOME").unwrap());
        let mut command = Command::new(home.join("bin/spark-class"));
        command.arg(format!("org.apache.spark.deploy.{class}")).args(["--host", "127.0.0.1", "--webui-port", "0"]);
        command.arg("--properties-file").arg(conf(self.dir.path())).args(arguments);
        command.env("SPARK_LOCAL_IP", "127.0.0.1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        self.processes.push(child);
        let (send, receive) = mpsc::channel();
        // It reads to the end, so that the process never waits for it.
        thread::spawn(move || {
            let mut lines = errors.lines().map_while(Result::ok);
            let said = lines.find_map(|line| Some(line.split_once(until)?.1.to_owned()));
            // Nobody waits if the cluster has ended.
            let _ = send.send(said);
            lines.for_each(drop);
        });
        receive.recv().unwrap().unwrap_or_else(|| panic!("{class} has ended without a word of {until:?}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut process in self.processes.drain(..).rev() {
            kill_process_group(Pid::from_child(&process), Signal::KILL).unwrap();
            process.wait().unwrap();
        }
    }
}

fn conf(dir: &Path) -> PathBuf {
    dir.join("spark.conf")
}

/// Kills the executor whose task this is, the first time that it is called with the path.
fn lose_executor_once(mark: &Path) {
    if let Ok(mut mark) = File::create_new(mark) {
        mark.write_all(executor().as_bytes()).unwrap();
        kill_process(getppid().unwrap(), Signal::KILL).unwrap();
    }
}

/// The executor whose task this is.
fn executor() -> String {
    getppid().unwrap().as_raw_nonzero().to_string()
}

fn a_cluster_that_is_open_to_everybody_is_refused(_: &Context, _: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let (open, readable) = (dir.path().join("open"), dir.path().join("readable"));
    fs::write(&open, "spark.authenticate true\n").unwrap();
    fs::write(&readable, "spark.authenticate.secret ember\n").unwrap();
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = |conf: &Path| {
        let context = Context::builder().master("spark://127.0.0.1:1").spark_conf(conf).build();
        context.unwrap_err().to_string()
    };
    let told = refused(&open);
    assert!(told.contains("set spark.authenticate and spark.network.crypto.enabled to true"), "{told}");
    let told = refused(&readable);
    assert!(told.starts_with("spark_conf = ") && told.ends_with("chmod 600 it"), "{told}");
}

fn an_executor_that_is_killed_in_a_task_is_replaced(spark: &Context, here: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("map");
    same(spark, here, |ctx| {
        let rows = ctx.range_into(0..1_000_u64, 4).map_with(mark.clone(), |mark, n| {
            if n == 600 {
                lose_executor_once(mark);
            }
            (n % 10, n)
        });
        rows.reduce_by_key(|a, b| a + b).sort_by_key().collect()
    });
    assert!(mark.exists());
}

fn a_lost_map_output_is_computed_again(spark: &Context, here: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("reduce");
    same(spark, here, |ctx| {
        // The reducer is at a task that follows all map tasks: those of its executor are gone with it.
        let counts = words(ctx).map_with(mark.clone(), |mark, row| {
            lose_executor_once(mark);
            row
        });
        counts.sort_by_key().collect()
    });
    assert!(mark.exists());
}

fn a_lost_cached_partition_is_computed_again_and_no_other(spark: &Context, here: &Context) {
    let dir = tempfile::tempdir().unwrap();
    let (mark, computed) = (dir.path().join("lost"), dir.path().join("computed"));
    // Says which executor has computed which partition.
    let cached = spark.range_into(0..8_u64, 8).map_with(computed.clone(), |computed, n| {
        let line = format!("{n} {}\n", executor());
        OpenOptions::new().append(true).create(true).open(computed).unwrap().write_all(line.as_bytes()).unwrap();
        n * n
    });
    let cached = cached.cache();
    assert_eq!(cached.count().unwrap(), 8);
    let kept = fs::read_to_string(&computed).unwrap();
    assert_eq!(kept.lines().count(), 8);
    let lost = spark.range_into(0..2_u64, 1).map_with(mark.clone(), |mark, n| {
        lose_executor_once(mark);
        n
    });
    assert_eq!(lost.count().unwrap(), 2);
    assert_eq!(cached.collect().unwrap(), here.range(0..8_u64).map(|n| n * n).collect().unwrap());
    let lost = fs::read_to_string(&mark).unwrap();
    let lost = kept.lines().filter_map(|line| line.split_once(' ')).filter(|(_, executor)| *executor == lost);
    let lost: BTreeSet<&str> = lost.map(|(partition, _)| partition).collect();
    let all = fs::read_to_string(&computed).unwrap();
    let again: Vec<&str> = all[kept.len()..].lines().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!((again.iter().copied().collect(), again.len()), (lost.clone(), lost.len()), "{all}");
}
