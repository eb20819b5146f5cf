//! The labels of the jobs that a thread starts: a stack, pushed and popped by `Context::with_job_group` and its
//! siblings, read once by each action when it starts.

use std::cell::RefCell;

use emberflow_core::event::JobLabels;

thread_local! {
    /// With the engine that they are for.
    static LABELS: RefCell<Vec<(u64, Label)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) enum Label {
    Group(String),
    Description(String),
    Tag(String),
}

/// Calls `run`; the actions on `engine` that it starts on this thread carry the label.
pub(crate) fn within<R>(engine: u64, label: Label, run: impl FnOnce() -> R) -> R {
    /// Pops the label, also after a panic.
    struct Pop;
    impl Drop for Pop {
        fn drop(&mut self) {
            LABELS.with(|labels| labels.borrow_mut().pop());
        }
    }
    LABELS.with(|labels| labels.borrow_mut().push((engine, label)));
    let _pop = Pop;
    run()
}

/// The labels that hold now: all tags, and the innermost of the others.
pub(crate) fn current(engine: u64) -> JobLabels {
    let mut found = JobLabels::default();
    LABELS.with(|labels| {
        for (_, label) in labels.borrow().iter().filter(|(of, _)| *of == engine) {
            match label {
                Label::Group(group) => found.group = Some(group.clone()),
                Label::Description(description) => found.description = Some(description.clone()),
                Label::Tag(tag) => _ = found.tags.insert(tag.clone()),
            }
        }
    });
    found
}
