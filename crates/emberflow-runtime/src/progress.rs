//! Progress bars on standard error, one line a running stage. Reads the event stream like anybody else.

use std::{collections::HashMap, io::IsTerminal, thread::JoinHandle};

use emberflow_core::{event::Event, ids::StageId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{bus::EventStream, config::Progress};

/// Starts the bars if they are wanted. The thread ends when the event stream does.
pub(crate) fn start(progress: Progress, name: &str, events: EventStream) -> Option<JoinHandle<()>> {
    let wanted = match progress {
        Progress::On => true,
        Progress::Off => false,
        Progress::Auto => std::io::stderr().is_terminal(),
    };
    let draw = move || Bars::new().run(events);
    let thread = wanted.then(|| std::thread::Builder::new().name(format!("{name}-progress")).spawn(draw))?;
    thread.inspect_err(|error| tracing::warn!(%error, "cannot start the progress bar")).ok()
}

struct Bars {
    all: MultiProgress,
    stages: HashMap<StageId, ProgressBar>,
    style: ProgressStyle,
}

impl Bars {
    fn new() -> Self {
        let style = ProgressStyle::with_template("[{prefix}] {wide_bar} ({pos} / {len}) {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { all: MultiProgress::new(), stages: HashMap::new(), style: style.progress_chars("=> ") }
    }

    fn run(mut self, events: EventStream) {
        for record in events {
            match record.event {
                Event::StageStarted { stage, name, tasks, .. } => {
                    let bar = self.all.add(ProgressBar::new(tasks as u64).with_style(self.style.clone()));
                    bar.set_prefix(format!("{stage}: {name}"));
                    self.stages.insert(stage, bar);
                }
                Event::TaskFinished { stage, .. } => {
                    if let Some(bar) = self.stages.get(&stage) {
                        bar.inc(1);
                    }
                }
                Event::StageFinished { stage } => {
                    if let Some(bar) = self.stages.remove(&stage) {
                        bar.finish_and_clear();
                    }
                }
                _ => {}
            }
        }
        for (_, bar) in self.stages {
            bar.finish_and_clear();
        }
    }
}
