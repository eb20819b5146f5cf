//! Which files a pattern names, by their names alone: wildcards, braces, and what is hidden.
//!
//! Every listing of files calls it, locally or elsewhere, so that the same pattern means the same everywhere. It never
//! looks at a file.

use std::collections::VecDeque;

use glob::{MatchOptions, Pattern};

/// Only `**` goes through a `/`.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
/// The characters that make a text a pattern.
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];
/// No pattern with braces may stand for more.
const MOST_ALTERNATIVES: usize = 10_000;

/// Returns whether a name says that its file is a mark or unfinished output, as in Hadoop and Spark.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

/// Returns where the first wildcard of a text stands, or the first brace.
pub fn first_wildcard(text: &str) -> Option<usize> {
    text.find(WILDCARDS)
}

/// A pattern of names below a folder, without braces.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    pattern: Pattern,
    names: Vec<Pattern>,
}

impl Glob {
    /// The patterns that a text stands for: one, or more if it has braces such as `{a,b}`.
    ///
    /// # Errors
    /// The reason why the text is no pattern.
    ///
    /// ```
    /// # use emberflow_core::pattern::Glob;
    /// let globs = Glob::all("{2024,2025}/*.csv").unwrap();
    /// assert!(globs[1].matches("2025/a.csv") && !globs[1].matches("2025/_a.csv"));
    /// assert!(Glob::all("{a").unwrap_err().contains("not closed"));
    /// ```
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        let glob = |text: String| {
            let pattern = Pattern::new(&text).map_err(|error| error.to_string())?;
            let names = text.split('/').map(|name| Pattern::new(name).map_err(|error| error.to_string()));
            Ok(Self { names: names.collect::<Result<_, String>>()?, pattern, text })
        };
        expand(text)?.into_iter().map(glob).collect()
    }

    /// The pattern as text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether it goes through folders of any depth, by `**`.
    pub fn is_recursive(&self) -> bool {
        self.names.iter().any(|name| name.as_str() == "**")
    }

    /// Returns whether it names a path, or a folder above it, and no part of the path is hidden from it.
    pub fn matches(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        folders.chain([path]).any(|path| self.pattern.matches_with(path, OPTIONS)) && self.shows(path)
    }

    /// Returns whether each hidden name in a path is hidden no longer, because the pattern begins with the same `_` or
    /// `.` there.
    pub fn shows(&self, path: &str) -> bool {
        let recursive = self.is_recursive();
        path.split('/').enumerate().all(|(at, name)| {
            let here = if recursive { &self.names[..] } else { self.names.get(at..=at).unwrap_or_default() };
            !is_hidden(name) || here.iter().any(|pattern| asks_for(pattern, name))
        })
    }

    /// Returns whether any part of the pattern names this hidden name.
    pub fn shows_somewhere(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| asks_for(pattern, name))
    }
}

fn asks_for(pattern: &Pattern, name: &str) -> bool {
    is_hidden(pattern.as_str()) && pattern.matches(name)
}

/// The texts that one with braces stands for.
fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut todo = VecDeque::from([text.to_owned()]);
    let mut done = Vec::new();
    while let Some(text) = todo.pop_front() {
        let Some((open, commas, close)) = braces(&text)? else {
            done.push(text);
            continue;
        };
        let begins = [open].into_iter().chain(commas.iter().copied()).map(|at| at + 1);
        let ends = commas.iter().copied().chain([close]);
        for (begin, end) in begins.zip(ends) {
            todo.push_back([&text[..open], &text[begin..end], &text[close + 1..]].concat());
        }
        if todo.len() + done.len() > MOST_ALTERNATIVES {
            return Err(format!("its braces stand for more than {MOST_ALTERNATIVES} patterns"));
        }
    }
    Ok(done)
}

/// The first pair of braces, and the commas between its alternatives. Those that stand in `[…]` do not count.
fn braces(text: &str) -> Result<Option<(usize, Vec<usize>, usize)>, String> {
    let (mut open, mut commas, mut depth) = (None, Vec::new(), 0);
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'[' => at = class_end(text, at).unwrap_or(at),
            b'{' => {
                open.get_or_insert(at);
                depth += 1;
            }
            b',' if depth == 1 => commas.push(at),
            b'}' if depth == 1 => return Ok(open.map(|open| (open, commas, at))),
            b'}' if depth > 1 => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    match open {
        Some(open) => Err(format!("the brace at byte {open} is not closed; write [{{] for a brace that is meant")),
        None => Ok(None),
    }
}

/// Where the class of characters ends that begins at `at`, if it does. A bracket that is its first character is in it.
fn class_end(text: &str, at: usize) -> Option<usize> {
    let not = usize::from(text[at + 1..].starts_with('!'));
    let first = at + 1 + not;
    let skip = text[first..].chars().next()?.len_utf8();
    text[first + skip..].find(']').map(|end| first + skip + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_each_of_their_alternatives() {
        for (text, patterns) in [
            ("a", &["a"][..]),
            ("{a,b}.txt", &["a.txt", "b.txt"]),
            ("{a}", &["a"]),
            ("x{,y}", &["x", "xy"]),
            ("{a,b}{1,2}", &["a1", "a2", "b1", "b2"]),
            ("{a/x,b{1,2}}/z", &["a/x/z", "b1/z", "b2/z"]),
            ("[{]a,b[}]", &["[{]a,b[}]"]),
            ("[!]{]{\u{e9},b}", &["[!]{]b", "[!]{]\u{e9}"]),
            ("a}", &["a}"]),
        ] {
            let mut expanded = expand(text).unwrap();
            expanded.sort();
            assert_eq!(expanded, patterns, "{text}");
        }
        assert!(expand("a{b,c").unwrap_err().contains("the brace at byte 1 is not closed"));
        assert!(expand(&"{a,b}".repeat(20)).unwrap_err().contains("more than 10000"));
    }

    #[test]
    fn a_pattern_names_files_and_what_is_in_the_folders_that_it_names() {
        for (pattern, path, named) in [
            ("*", "a", true),
            ("*", "a/b/c", true),
            ("a*/c", "ab/b", false),
            ("a*/c", "ab/c/d", true),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "a/b.txt", true),
            ("*", "_a", false),
            ("*", "a/.b", false),
            ("_*", "_a", true),
            ("_*", ".a", false),
            ("_*", "_a/_b", false),
            ("?a", "_a", false),
            ("*/.b", "a/.b", true),
            ("**/_x/*", "a/_x/b", true),
            ("**/_x/*", "_y/_x/b", false),
        ] {
            assert_eq!(Glob::all(pattern).unwrap()[0].matches(path), named, "{pattern} {path}");
        }
    }
}
