//! The output of a context on standard error: progress bars, one line a running stage, and a summary after each job.
//!
//! Reads the event stream like anybody else, on a thread of its own. But when a job ends, its caller takes in what is
//! left first: so the summary is there and the bars are gone before the program says anything itself.
//!
//! It writes past the lock of `std::io::stderr`: who holds that while an action runs would wait for this thread, which
//! would wait for the lock.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use emberflow_core::{
    event::Event,
    ids::{JobId, StageId},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    bus::{Bell, EventStream},
    config::{Config, Progress},
    summary::Summaries,
};

/// A stage gets a bar when it has run so long, as Spark's does: what is over at once would only flicker.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often it is looked whether a stage has run so long.
const TICK: Duration = Duration::from_millis(200);

/// Characters of a bar's line beside the stage's name: some of the bar, the numbers of tasks and the time.
const BESIDE_NAME: usize = 32;

/// Returns how many characters a line of the terminal has, if standard error is one.
fn columns() -> Option<u16> {
    std::io::stderr().is_terminal().then(|| console::Term::stderr().size().1)
}

pub(crate) struct Console {
    bell: Bell,
    screen: Mutex<Screen>,
}

impl Console {
    /// If anything is to be shown.
    pub(crate) fn new(config: &Config, subscribe: impl FnOnce() -> EventStream) -> Option<Self> {
        let bars = match config.progress {
            Progress::On => true,
            Progress::Off => false,
            Progress::Auto => std::io::stderr().is_terminal(),
        };
        if !bars && !config.job_summary {
            return None;
        }
        let events = subscribe();
        let bell = events.bell();
        let screen = Screen {
            events,
            bars: bars.then(Bars::new),
            summaries: config.job_summary.then(|| Summaries::new(columns())),
            suspended: 0,
        };
        Some(Self { bell, screen: Mutex::new(screen) })
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what happens until the events end.
    pub(crate) fn run(&self) {
        loop {
            let waits = self.screen().bars.as_ref().is_some_and(|bars| !bars.stages.is_empty());
            self.bell.wait(waits.then_some(TICK));
            if !self.screen().catch_up() {
                return;
            }
        }
    }

    /// Shows what has happened by now.
    pub(crate) fn catch_up(&self) {
        self.screen().catch_up();
    }

    /// Runs `f` while no bar is on the screen.
    pub(crate) fn suspend<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Also if it panics.
        struct Resume<'a>(&'a Console);
        impl Drop for Resume<'_> {
            fn drop(&mut self) {
                let mut screen = self.0.screen();
                screen.suspended -= 1;
                screen.catch_up();
            }
        }
        let resume = {
            let mut screen = self.screen();
            screen.suspended += 1;
            screen.bars.iter_mut().for_each(Bars::clear);
            Resume(self)
        };
        let result = f();
        drop(resume);
        result
    }
}

/// Standard error without its lock.
#[cfg(unix)]
fn stderr() -> std::io::Result<std::fs::File> {
    std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned().map(Into::into)
}

#[cfg(not(unix))]
fn stderr() -> std::io::Result<std::io::Stderr> {
    Ok(std::io::stderr())
}

/// Where bars are drawn.
#[cfg(unix)]
fn draw_target() -> ProgressDrawTarget {
    const FRAMES_A_SECOND: u8 = 20;
    match stderr().and_then(|read| Ok((read, stderr()?))) {
        Ok((read, write)) => ProgressDrawTarget::term(console::Term::read_write_pair(read, write), FRAMES_A_SECOND),
        // It is closed.
        Err(_) => ProgressDrawTarget::hidden(),
    }
}

#[cfg(not(unix))]
fn draw_target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr()
}

struct Screen {
    events: EventStream,
    bars: Option<Bars>,
    summaries: Option<Summaries>,
    /// Those who write something themselves now.
    suspended: usize,
}

impl Screen {
    /// Takes in what has happened. Returns whether more may happen.
    fn catch_up(&mut self) -> bool {
        while let Some(record) = self.events.try_next() {
            if let Some(bars) = &mut self.bars {
                bars.apply(&record.event);
            }
            if let Some(text) = self.summaries.as_mut().and_then(|summaries| summaries.apply(&record)) {
                // Where standard error is closed there is nobody to tell.
                let write = || _ = stderr().and_then(|mut out| out.write_all(text.as_bytes()));
                match &self.bars {
                    Some(bars) => bars.all.suspend(write),
                    None => write(),
                }
            }
        }
        if let Some(bars) = self.bars.as_mut().filter(|_| self.suspended == 0) {
            bars.draw();
        }
        !self.events.is_over()
    }
}

struct Bars {
    all: MultiProgress,
    stages: BTreeMap<StageId, Stage>,
    style: ProgressStyle,
}

struct Stage {
    job: JobId,
    name: String,
    began: Instant,
    tasks: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Stage {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Bars {
    fn new() -> Self {
        let style = ProgressStyle::with_template("[{prefix}] {wide_bar} ({pos} / {len}) {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let all = MultiProgress::with_draw_target(draw_target());
        Self { all, stages: BTreeMap::new(), style: style.progress_chars("=> ") }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage, job, name, tasks, .. } => {
                let (job, name, tasks) = (*job, name.clone(), *tasks as u64);
                self.stages.insert(*stage, Stage { job, name, began: Instant::now(), tasks, done: 0, bar: None });
            }
            Event::TaskFinished { stage, .. } => {
                if let Some(stage) = self.stages.get_mut(stage) {
                    stage.done += 1;
                }
            }
            Event::StageFinished { stage } => {
                if let Some(mut stage) = self.stages.remove(stage) {
                    stage.clear();
                }
            }
            // A stage that others want as well comes back.
            Event::JobFinished { job, .. } => {
                self.stages.values_mut().filter(|stage| stage.job == *job).for_each(Stage::clear);
            }
            _ => {}
        }
    }

    /// Brings the bars of those stages up to date that have run for a while.
    fn draw(&mut self) {
        for (id, stage) in self.stages.iter_mut().filter(|(_, stage)| stage.began.elapsed() >= PATIENCE) {
            let bar = stage.bar.get_or_insert_with(|| {
                let bar =
                    ProgressBar::new(stage.tasks).with_style(self.style.clone()).with_elapsed(stage.began.elapsed());
                let bar = self.all.add(bar);
                let (name, room) = (format!("{id}: {}", stage.name), columns().map_or(80, usize::from));
                bar.set_prefix(console::truncate_str(&name, room.saturating_sub(BESIDE_NAME).max(8), "…").into_owned());
                bar
            });
            bar.set_position(stage.done);
            bar.tick();
        }
    }

    fn clear(&mut self) {
        self.stages.values_mut().for_each(Stage::clear);
    }
}
