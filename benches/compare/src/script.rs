//! Programs in other languages: each runs in a process of its own, which loads the data, and then runs the workload
//! whenever it is told to over a local connection.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Data, Run, baselines::data, folder, once, target};

/// How long a program may take to start and to load its data.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts a program. `None` if it has no way to say this workload.
pub(crate) fn prepare(name: &str, workload: &str, data: &Data, threads: usize) -> Result<Option<Run>, String> {
    let Some(inputs) = inputs(name, workload, data) else { return Ok(None) };
    let venv = env::var_os("EMBERFLOW_RIVALS").map_or_else(|| target().join("rivals/venv"), PathBuf::from);
    let package = if name == "spark" { "pyspark" } else { name };
    let missing = || {
        format!(
            "no {package} in {}; run benches/compare/setup.sh, or name a virtual environment that has it by EMBERFLOW_RIVALS",
            venv.display()
        )
    };
    let site = site_packages(&venv).ok_or_else(missing)?;
    if !site.join(package).is_dir() {
        return Err(missing());
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = if name == "spark" {
        let mut command = Command::new(venv.join("bin/spark-shell"));
        command.args(["--master", &format!("local[{threads}]"), "--driver-memory", "12g"]);
        command.args([
            "--conf",
            "spark.ui.enabled=false",
            "--conf",
            &format!("spark.default.parallelism={}", 4 * threads),
        ]);
        command.arg("-i").arg(here.join("rivals/run_spark.scala"));
        command.env("SPARK_HOME", site.join("pyspark"));
        command
    } else {
        let mut command = Command::new(venv.join("bin/python"));
        command.arg(here.join(format!("rivals/run_{name}.py")));
        command
    };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let log = folder().join(format!("{name}.log"));
    let output = fs::File::create(&log).map_err(|error| error.to_string())?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("COMPARE_PORT", port.to_string())
        .env("COMPARE_WORKLOAD", workload)
        .env("COMPARE_INPUTS", inputs.join(":"))
        .env("COMPARE_THREADS", threads.to_string())
        .env("POLARS_MAX_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let mut process = Process { child, log };
    let stream = process.accept(&listener)?;
    let mut replies = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    // Says hello when its data is loaded.
    process.reply(&mut replies)?;
    let mut stream = stream;
    Ok(Some(Box::new(move || {
        stream.write_all(b"run\n").map_err(|error| error.to_string())?;
        let reply = process.reply(&mut replies)?;
        let (seconds, answer) = reply.split_once('\t').ok_or_else(|| format!("no time in the reply {reply:?}"))?;
        let seconds = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
        Ok((seconds, answer.to_owned()))
    })))
}

fn site_packages(venv: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(venv.join("lib")).ok()?;
    versions.filter_map(|version| Some(version.ok()?.path().join("site-packages"))).find(|path| path.is_dir())
}

struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn failure(&self, what: &str) -> String {
        format!("{what}; see {}", self.log.display())
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<TcpStream, String> {
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let began = Instant::now();
        loop {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            if !matches!(self.child.try_wait(), Ok(None)) || began.elapsed() > PATIENCE {
                return Err(self.failure("it does not start"));
            }
            #[allow(clippy::disallowed_methods, reason = "a process is watched while its first word is waited for")]
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn reply(&mut self, replies: &mut impl BufRead) -> Result<String, String> {
        let mut line = String::new();
        match replies.read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim_end().to_owned()),
            _ => Err(self.failure("it ended early")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of rows, or paths of files; numbers are written as they lie in memory, column by column.
fn inputs(name: &str, workload: &str, data: &Data) -> Option<Vec<String>> {
    let column = |name: &str, rows: &mut dyn ExactSizeIterator<Item = u64>| {
        let path = folder().join(format!("{workload}-{name}-{}.u64", rows.len()));
        once(&path, |path| {
            let mut file = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
            for row in rows {
                file.write_all(&row.to_le_bytes())?;
            }
            file.flush()
        });
        path.display().to_string()
    };
    let table = |name: &str, rows: &[(u64, u64)]| {
        [
            column(&format!("{name}-keys"), &mut rows.iter().map(|row| row.0)),
            column(&format!("{name}-values"), &mut rows.iter().map(|row| row.1)),
        ]
    };
    Some(match data {
        Data::Range(n) => vec![n.to_string()],
        Data::Text(path) => vec![path.display().to_string()],
        Data::Pairs(pairs) => table("rows", pairs).to_vec(),
        Data::Numbers(numbers) => vec![column("rows", &mut numbers.iter().copied())],
        Data::Tables([left, right]) => [table("left", left), table("right", right)].concat(),
        Data::Pages(pages) => {
            let edges = |page| data::links(page, *pages).map(move |to| (page, u64::from(to)));
            let edges: Vec<(u64, u64)> = (0..*pages).flat_map(edges).collect();
            [&[pages.to_string()][..], &table("links", &edges)].concat()
        }
        Data::Points(points) if name == "spark" => {
            let numbers: Vec<u64> = (0..*points).flat_map(data::point).map(f64::to_bits).collect();
            vec![column("rows", &mut numbers.iter().copied())]
        }
        Data::Points(_) => return None,
    })
}
