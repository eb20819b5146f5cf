//! The process of Spark's driver: compiled, started, talked to, ended.

use std::{
    collections::VecDeque,
    env, fs,
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use emberflow_runtime::Frame;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::protocol;

/// The classes that run in Spark's driver and executors, and the one that is started.
const SOURCES: [(&str, &str); 7] = [
    ("Driver.java", include_str!("../java/emberflow/Driver.java")),
    ("Flow.java", include_str!("../java/emberflow/Flow.java")),
    ("Frame.java", include_str!("../java/emberflow/Frame.java")),
    ("Report.java", include_str!("../java/emberflow/Report.java")),
    ("Stage.java", include_str!("../java/emberflow/Stage.java")),
    ("Task.java", include_str!("../java/emberflow/Task.java")),
    ("Worker.java", include_str!("../java/emberflow/Worker.java")),
];
const CLASS: &str = "emberflow.Driver";

/// Lines of the driver's standard error that are kept for errors.
const LAST_LINES: usize = 50;

/// How long the driver may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a worker how many bytes it may work in.
const MEMORY_BUDGET: &str = "EMBERFLOW_MEMORY_BUDGET";

/// Tells the driver how many bytes the workers of an executor may share.
const EXECUTOR_BUDGET: &str = "EMBERFLOW_EXECUTOR_BUDGET";

/// The property with the secret of a cluster.
const SECRET: &str = "spark.authenticate.secret";

/// How Spark's driver is started.
#[derive(Clone, Debug)]
pub struct SparkSettings {
    /// The master, as `spark-submit --master` takes it.
    pub master: String,
    /// The name that Spark shows.
    pub app_name: String,
    /// A file with Spark's own settings, in place of `conf/spark-defaults.conf`.
    pub properties: Option<PathBuf>,
    /// The number of rows that a batch should hold.
    pub batch_rows: usize,
    /// The bytes that worker processes share: all of them with a local master, and elsewhere those of an executor, if the
    /// budget was given.
    pub memory_budget: u64,
    /// Whether the budget was given. One that was found says nothing about the executors' machines.
    pub is_budget_given: bool,
}

/// Why Spark cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparkError {
    /// There is no Spark.
    #[error(
        "there is no Spark at {}: set SPARK_HOME to the folder that has bin/spark-submit and jars, such as that of the \
         Python package pyspark",
        .0.display()
    )]
    NoSpark(PathBuf),
    /// `SPARK_HOME` is not set.
    #[error(
        "SPARK_HOME is not set: set it to the folder of Spark that has bin/spark-submit and jars, such as that of the \
         Python package pyspark"
    )]
    NoHome,
    /// A program of the JDK is missing.
    #[error("{program} cannot be run ({source}): install a JDK of version 11 or later, and put its bin on the PATH")]
    NoJava {
        /// The program.
        program: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The class could not be compiled against this Spark.
    #[error("emberflow's class for Spark's driver does not compile with the jars of this Spark: {0}")]
    DoesNotCompile(String),
    /// The file of properties holds a secret, and others can read it.
    #[error("{} holds {SECRET}, and others than its owner can read it: chmod 600 it", .0.display())]
    ReadableSecret(PathBuf),
    /// The driver does not start with these settings.
    #[error("{0}")]
    Refused(String),
    /// The driver could not be started, or has ended.
    #[error("Spark's driver has ended: {0}")]
    Ended(String),
    /// A file could not be used.
    #[error("the files for Spark's driver cannot be used: {0}")]
    Files(#[from] io::Error),
}

/// Spark's driver, as long as it runs.
pub(crate) struct SparkDriver {
    input: Mutex<Option<BufWriter<ChildStdin>>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    /// Its process group, until all of it has ended.
    group: Arc<Mutex<Option<Pid>>>,
    /// Disconnected when the process has ended.
    ended: Mutex<mpsc::Receiver<()>>,
    /// The threads that read its standard error and wait for its end.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The folder with the compiled class.
    _jar: tempfile::TempDir,
}

impl SparkDriver {
    /// Starts the driver of a master. Returns it with its output.
    pub(crate) fn start(settings: &SparkSettings) -> Result<(Self, BufReader<ChildStdout>), SparkError> {
        let SparkSettings { master, app_name, memory_budget, .. } = settings;
        if let Some(file) = &settings.properties {
            check_secret(file)?;
        }
        let home = PathBuf::from(env::var_os("SPARK_HOME").ok_or(SparkError::NoHome)?);
        let submit = home.join("bin/spark-submit");
        if !submit.is_file() {
            return Err(SparkError::NoSpark(home));
        }
        let folder = tempfile::tempdir()?;
        let jar = compile(&home, folder.path())?;
        let mut command = Command::new(submit);
        command.args(["--master", master, "--name", app_name, "--class", CLASS]);
        if let Some(file) = &settings.properties {
            command.arg("--properties-file").arg(file);
        }
        command.args(["--conf", "spark.ui.showConsoleProgress=false"]);
        if let Some(tasks) = local_tasks(master) {
            // Nobody else has to reach it.
            command.args(["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]);
            // The workers share the budget of the context.
            command.env(MEMORY_BUDGET, (memory_budget / tasks.max(1)).to_string());
        } else {
            // That of this process is not that of one of many workers.
            command.env_remove(MEMORY_BUDGET);
            if settings.is_budget_given {
                command.env(EXECUTOR_BUDGET, memory_budget.to_string());
            }
        }
        command.arg(jar).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = command.spawn()?;
        let ended = || SparkError::Ended("its standard input and output cannot be used".to_owned());
        let input = process.stdin.take().map(BufWriter::new).ok_or_else(ended)?;
        let mut output = process.stdout.take().map(BufReader::new).ok_or_else(ended)?;
        let errors = process.stderr.take().ok_or_else(ended)?;
        let last_lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let lines = Arc::clone(&last_lines);
        let listener = thread::Builder::new().name("emberflow-spark-log".to_owned()).spawn(move || {
            // A line that is no text tells nothing.
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                tracing::debug!(target: "spark", "{line}");
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push_back(line);
                if lines.len() > LAST_LINES {
                    lines.pop_front();
                }
            }
        })?;
        let group = Arc::new(Mutex::new(Some(Pid::from_child(&process))));
        let (ends, ended) = mpsc::channel();
        let waited = Arc::clone(&group);
        let waiter = thread::Builder::new().name("emberflow-spark-end".to_owned()).spawn(move || {
            let _ends: mpsc::Sender<()> = ends;
            wait_for_end(process, &waited);
        })?;
        let driver = Self {
            input: Mutex::new(Some(input)),
            last_lines,
            group,
            ended: Mutex::new(ended),
            threads: Mutex::new(vec![listener, waiter]),
            _jar: folder,
        };
        match Frame::read(&mut output) {
            Ok(Some(hello)) if hello.tag == protocol::HELLO => {
                tracing::info!(version = %String::from_utf8_lossy(&hello.bytes), "Spark is there");
                Ok((driver, output))
            }
            Ok(Some(refusal)) if refusal.tag == protocol::REFUSED => {
                driver.end();
                Err(SparkError::Refused(String::from_utf8_lossy(&refusal.bytes).into_owned()))
            }
            _ => {
                driver.end();
                Err(SparkError::Ended(driver.last_lines()))
            }
        }
    }

    /// Says something to the driver.
    pub(crate) fn tell(&self, frame: &Frame) -> Result<(), SparkError> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match &mut *input {
            Some(input) => frame.write(input).and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        told.map_err(|error| SparkError::Ended(format!("{error}\n{}", self.last_lines())))
    }

    /// The end of what it has written to standard error.
    pub(crate) fn last_lines(&self) -> String {
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Ends it: where its input ends, it stops Spark. If it does not, it is killed.
    pub(crate) fn end(&self) {
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE);
        if ended == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("Spark's driver does not end, and is killed");
            if let Some(group) = *self.group.lock().unwrap_or_else(PoisonError::into_inner) {
                kill_group(group);
            }
        }
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            if thread.join().is_err() {
                tracing::error!("a thread that watches Spark's driver had panicked");
            }
        }
    }
}

/// Waits until the driver has ended, and ends the processes that it has left behind. While one of them lived, the driver's
/// pipes would stay open, and the end of the driver would not be seen.
fn wait_for_end(mut process: Child, group: &Mutex<Option<Pid>>) {
    let leader = Pid::from_child(&process);
    // The process is not reaped yet, so that its number is not given to another group.
    let seen = loop {
        match waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            seen => break seen,
        }
    };
    match seen {
        Ok(_) => kill_group(leader),
        Err(error) => tracing::error!(%error, "Spark's driver cannot be waited for"),
    }
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if let Err(error) = process.wait() {
        tracing::error!(%error, "Spark's driver cannot be reaped");
    }
}

fn kill_group(group: Pid) {
    if let Err(error) = kill_process_group(group, Signal::KILL) {
        // Nothing of it is left.
        tracing::debug!(%error, "Spark's driver has left nothing behind");
    }
}

/// Checks that a secret in a file of properties is its owner's alone.
fn check_secret(file: &Path) -> Result<(), SparkError> {
    let properties = fs::read_to_string(file)?;
    let has_secret = properties.lines().any(|line| line.trim_start().starts_with(SECRET));
    if has_secret && fs::metadata(file)?.permissions().mode() & 0o077 != 0 {
        return Err(SparkError::ReadableSecret(file.to_owned()));
    }
    Ok(())
}

/// How many tasks a master runs at once in this machine; none if it is another machine's.
fn local_tasks(master: &str) -> Option<u64> {
    let rest = master.strip_prefix("local")?;
    if rest.is_empty() {
        return Some(1);
    }
    let threads = rest.strip_prefix('[')?.strip_suffix(']')?.split(',').next()?.trim();
    let cores = || thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    if threads == "*" { Some(cores()) } else { threads.parse().ok() }
}

/// Compiles the class against the jars of this Spark; returns its jar.
fn compile(home: &Path, folder: &Path) -> Result<PathBuf, SparkError> {
    let (sources, classes, jar) = (folder.join("emberflow"), folder.join("classes"), folder.join("ember.jar"));
    fs::create_dir(&sources)?;
    fs::create_dir(&classes)?;
    for (name, source) in SOURCES {
        fs::write(sources.join(name), source)?;
    }
    let mut javac = Command::new("javac");
    javac.args(["-nowarn", "-proc:none", "-cp"]).arg(home.join("jars/*")).arg("-d").arg(&classes);
    javac.args(SOURCES.map(|(name, _)| sources.join(name)));
    run("javac", &mut javac)?;
    run("jar", Command::new("jar").arg("cf").arg(&jar).arg("-C").arg(&classes).arg("."))?;
    Ok(jar)
}

fn run(program: &'static str, command: &mut Command) -> Result<(), SparkError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| SparkError::NoJava { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(SparkError::DoesNotCompile(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::local_tasks;

    #[test]
    fn a_local_master_says_how_many_tasks_run_at_once() {
        let tasks = ["local", "local[3]", "local[3,4]", "local[ 2 ]"].map(local_tasks);
        assert_eq!(tasks, [Some(1), Some(3), Some(3), Some(2)]);
        assert!(local_tasks("local[*]").is_some_and(|tasks| tasks > 0));
        assert_eq!(["local-cluster[2,1,1024]", "spark://host:7077", "yarn"].map(local_tasks), [None; 3]);
    }
}
