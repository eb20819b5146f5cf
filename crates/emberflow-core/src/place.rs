//! Where in the user's program an operator was written, and what its closure is.

use std::{
    collections::HashSet,
    fmt, mem,
    panic::Location,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// File, line and column of the call that made an RDD or started an action.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// The source file, as the compiler names it.
    pub file: &'static str,
    /// The line, from one.
    pub line: u32,
    /// The column, from one.
    pub column: u32,
}

impl Place {
    /// The place of the caller of the function that calls this, if that function is `#[track_caller]`.
    #[track_caller]
    pub fn caller() -> Self {
        let at = Location::caller();
        Self { file: at.file(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Facts about a closure that are known without running it: enough to decide whether another process of the same build
/// could make it again out of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The closure's type, which names the function it stands in.
    pub type_name: &'static str,
    /// How many bytes it captures of its surroundings; zero if it can be remade from its type alone.
    pub captured_bytes: usize,
    /// Whether dropping it runs code.
    pub needs_drop: bool,
}

impl Code {
    /// The description of the closure type `F`.
    pub fn of<F>() -> Self {
        Self {
            type_name: std::any::type_name::<F>(),
            captured_bytes: mem::size_of::<F>(),
            needs_drop: mem::needs_drop::<F>(),
        }
    }

    /// Returns whether the closure captures nothing, so that its type says all there is to say.
    pub fn is_capture_free(&self) -> bool {
        self.captured_bytes == 0 && !self.needs_drop
    }
}

/// An operator as people and other processes see it: name, place, closures, environment.
#[derive(Clone, Debug, Serialize)]
pub struct OpInfo {
    /// The method that made it, such as `map`.
    pub name: &'static str,
    /// Where it was called.
    pub place: Place,
    /// The closures it runs.
    pub code: Vec<Code>,
    /// The explicit environment of `map_with` and its siblings, serialised when the operator was made.
    pub env: Option<Vec<u8>>,
    /// The method that takes an environment, where there is one: the advice if a closure captures something.
    #[serde(skip)]
    pub with: Option<&'static str>,
}

impl OpInfo {
    /// The operator `name`, made at `place`, that runs no closure of the user's.
    pub fn new(name: &'static str, place: Place) -> Self {
        Self { name, place, code: Vec::new(), env: None, with: None }
    }

    /// The same, running a closure of type `F`.
    pub fn with_code<F>(mut self) -> Self {
        self.code.push(Code::of::<F>());
        self
    }

    /// The same, with a serialised environment.
    pub fn with_env(mut self, env: Vec<u8>) -> Self {
        self.env = Some(env);
        self
    }

    /// Names the method that takes an environment.
    #[must_use]
    pub fn with_form(mut self, with: &'static str) -> Self {
        self.with = Some(with);
        self
    }
}

impl fmt::Display for OpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.place)
    }
}

/// The same text for as long as the process runs. Names of operators, files and types are constants of the program, so
/// that what is kept has a bound.
pub(crate) fn known(text: String) -> &'static str {
    static KNOWN: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(&*text) {
        Some(text) => text,
        None => {
            let text: &'static str = text.leak();
            known.insert(text);
            text
        }
    }
}
