//! SIGINT and SIGTERM, for those contexts that want to end with them.
//!
//! Owns the process's handlers, which are there from when a context wants them, and one thread that waits for signals.
//! The first one interrupts the contexts that want it. The second one, and any that finds none, ends the process as if
//! there were no handler: for the shell it died of the signal.

use std::{
    io,
    sync::{Mutex, OnceLock, PoisonError, Weak},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::Engine;

static ENGINES: Mutex<Vec<Weak<Engine>>> = Mutex::new(Vec::new());

/// Has signals interrupt this engine, from now on.
pub(crate) fn follow(engine: Weak<Engine>) -> io::Result<()> {
    static HANDLERS: OnceLock<()> = OnceLock::new();
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock: no two threads install them.
    if HANDLERS.get().is_none() {
        let signals = Signals::new([SIGINT, SIGTERM])?;
        thread::Builder::new().name("emberflow-signals".to_owned()).spawn(move || wait(signals))?;
        HANDLERS.get_or_init(|| ());
    }
    engines.retain(|engine| engine.strong_count() > 0);
    engines.push(engine);
    Ok(())
}

fn wait(mut signals: Signals) {
    for signal in &mut signals {
        let engines: Vec<_> = {
            let engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
            engines.iter().filter_map(Weak::upgrade).collect()
        };
        // All of them are to hear of it.
        let heard = engines.iter().filter(|engine| engine.interrupt(signal)).count();
        // Should this thread be the last to hold an engine, it is one that may wait for it to end.
        drop(engines);
        if heard == 0
            && let Err(error) = low_level::emulate_default_handler(signal)
        {
            tracing::error!(signal, %error, "cannot end the process");
        }
    }
}
