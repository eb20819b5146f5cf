//! Progress bars on standard error, one line a running stage. Reads the event stream like anybody else.

use std::{collections::HashMap, io::IsTerminal};

use emberflow_core::{event::Event, ids::StageId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{bus::EventStream, config::Progress};

/// Whether the bars are wanted.
pub(crate) fn is_wanted(progress: Progress) -> bool {
    match progress {
        Progress::On => true,
        Progress::Off => false,
        Progress::Auto => std::io::stderr().is_terminal(),
    }
}

/// Draws the bars until the events end.
pub(crate) fn draw(events: EventStream) {
    Bars::new().run(events);
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
