//! The event log: a file of JSON lines for each application, which Spark's History Server shows and our page can show
//! again.
//!
//! Two kinds of lines. Those of Spark tell what happened in Spark's words (module `spark`). Those whose `Event` is
//! `emberflow` hold our own events, whole, and what rows took in memory; Spark's readers leave unknown events aside.
//! The file is named like the application, with `.inprogress` behind it as long as the application runs.

mod spark;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use emberflow_core::event::Event;
use emberflow_runtime::{Engine, EventRecord, EventStream, MemoryUse};
use serde::{Deserialize, Serialize};

use self::spark::Translator;
use crate::{
    application::Application,
    status::{Limits, Status},
};

/// Events that wait for the writer.
const EVENTS: usize = 1 << 16;

/// Memory is written down no oftener than this.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// How a line of ours begins.
const OURS: &str = r#"{"Event":"emberflow""#;

/// A line of ours.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "Event")]
    event: Marker,
    /// Nanoseconds since 1970.
    at: u64,
    told: Told,
}

#[derive(Serialize, Deserialize)]
enum Marker {
    #[serde(rename = "emberflow")]
    Emberflow,
}

#[derive(Serialize, Deserialize)]
enum Told {
    Application(Application),
    Event(Event),
    Memory(MemoryUse),
}

/// Writes what happens from now on into a file of `dir`, which is made if it is missing, until the engine stops. Gives
/// the file's name after the end.
///
/// # Errors
/// If the directory or the file cannot be made, or the system refuses a thread.
pub fn write(engine: &Arc<Engine>, app: &Application, dir: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(&app.id);
    let open = dir.join(format!("{}.inprogress", app.id));
    let file = File::options().write(true).create_new(true).open(&open)?;
    let mut writer = Writer {
        out: BufWriter::new(file),
        spark: Translator::new(app),
        engine: Arc::downgrade(engine),
        sampled: UNIX_EPOCH,
    };
    writer.begin(app)?;
    let done = path.clone();
    engine.listen("log", EVENTS, move |events| {
        if let Err(error) = writer.follow(events).and_then(|()| fs::rename(&open, &done)) {
            tracing::error!(path = %open.display(), %error, "the event log ends here; free some room, or choose another directory");
        }
    })?;
    Ok(path)
}

struct Writer {
    out: BufWriter<File>,
    spark: Translator,
    engine: Weak<Engine>,
    sampled: SystemTime,
}

impl Writer {
    fn begin(&mut self, app: &Application) -> io::Result<()> {
        self.spark.begin(&mut self.out, app)?;
        self.line(app.started(), Told::Application(app.clone()))?;
        self.out.flush()
    }

    fn follow(&mut self, mut events: EventStream) -> io::Result<()> {
        while let Some(first) = events.next() {
            self.sample(first.at)?;
            self.record(first)?;
            // Whoever reads along sees all, once there is time.
            while let Some(next) = events.try_next() {
                self.record(next)?;
            }
            self.out.flush()?;
        }
        let now = SystemTime::now();
        self.spark.end(&mut self.out, now)?;
        self.out.flush()
    }

    fn record(&mut self, record: EventRecord) -> io::Result<()> {
        self.spark.tell(&mut self.out, &record)?;
        self.line(record.at, Told::Event(record.event))
    }

    fn sample(&mut self, at: SystemTime) -> io::Result<()> {
        if at.duration_since(self.sampled).unwrap_or_default() < SAMPLE_EVERY {
            return Ok(());
        }
        self.sampled = at;
        match self.engine.upgrade().map(|engine| engine.memory()) {
            Some(memory) => self.line(at, Told::Memory(memory)),
            None => Ok(()),
        }
    }

    fn line(&mut self, at: SystemTime, told: Told) -> io::Result<()> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        serde_json::to_writer(&mut self.out, &Line { event: Marker::Emberflow, at, told })?;
        self.out.write_all(b"\n")
    }
}

/// An application as its log tells it.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) app: Application,
    pub(crate) status: Status,
}

/// Reads a log again. One that ends in the middle of a line was cut off with its application; what is before counts.
pub(crate) fn read(path: &Path) -> io::Result<Replayed> {
    let mut status = Status::new(Limits::default());
    let mut app = None;
    let bad = |number: usize, what: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}:{number}: {what}", path.display()))
    };
    let mut lines = BufReader::new(File::open(path)?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            break;
        }
        if !line.starts_with(OURS) {
            continue;
        }
        let Line { at, told, .. } = serde_json::from_str(&line)
            .map_err(|error| bad(number, &format_args!("not a line of this version of emberflow: {error}")))?;
        let at = UNIX_EPOCH + Duration::from_nanos(at);
        match told {
            Told::Application(found) => app = Some(found),
            Told::Event(event) => status.apply(&EventRecord { at, event }),
            Told::Memory(memory) => status.sample(at, memory),
        }
    }
    let app = app.ok_or_else(|| bad(1, &"not an event log of emberflow; give a file of the event_log directory"))?;
    Ok(Replayed { app, status })
}
