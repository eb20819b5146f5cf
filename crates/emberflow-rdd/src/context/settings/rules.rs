//! How the value of a setting is written, and which values are right.
//!
//! Owns a [`Rule`] for each kind of value, and the words in which a wrong one is refused. Never knows which setting it
//! judges: its caller names it.

use std::{
    env,
    ffi::OsStr,
    marker::PhantomData,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use emberflow_core::error::{Error, Result};
use emberflow_runtime::Progress;

use crate::storage;

/// A kind of value.
pub(in crate::context) trait Rule {
    /// The type that the builder is given.
    type Given;
    /// The type that holds in the end.
    type Settled;
    /// How the variable is written, as `docs/configuration.md` has it behind the variable's name.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the test of the docs"))]
    const WRITTEN: &'static str = "";

    /// Reads the text of a variable.
    ///
    /// # Errors
    /// Why it is not a value, and what would be one.
    fn read(text: &str) -> Result<Self::Given, String>;

    /// Checks a value, wherever it comes from.
    ///
    /// # Errors
    /// The value or the part of it that is wrong, and what would be right.
    fn settle(given: Self::Given) -> Result<Self::Settled, Wrong>;
}

/// A value that cannot be used.
#[derive(Debug)]
pub(in crate::context) struct Wrong {
    /// The value as the error shows it.
    pub(in crate::context) value: String,
    /// The reason why it is wrong, or what would be right.
    pub(in crate::context) reason: String,
}

fn wrong(value: impl ToString, reason: impl Into<String>) -> Wrong {
    Wrong { value: value.to_string(), reason: reason.into() }
}

/// The error of a setting whose value cannot be used.
pub(in crate::context) fn invalid(setting: &'static str, value: &str, reason: String) -> Error {
    Error::InvalidSetting { setting, value: value.to_owned(), reason }
}

/// Reads a number or the like, which may have spaces around it.
fn parsed<T: FromStr>(text: &str, reason: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| reason.to_owned())
}

/// A value that may be missing: `None` is right, too.
pub(in crate::context) struct Maybe<R>(PhantomData<R>);

impl<R: Rule> Rule for Maybe<R> {
    type Given = Option<R::Given>;
    type Settled = Option<R::Settled>;
    const WRITTEN: &'static str = R::WRITTEN;

    fn read(text: &str) -> Result<Option<R::Given>, String> {
        R::read(text).map(Some)
    }

    fn settle(given: Option<R::Given>) -> Result<Option<R::Settled>, Wrong> {
        given.map(R::settle).transpose()
    }
}

/// A name that threads can have.
pub(in crate::context) struct Name;

impl Rule for Name {
    type Given = String;
    type Settled = String;

    fn read(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn settle(name: String) -> Result<String, Wrong> {
        if name.contains('\0') {
            return Err(wrong(name, "threads cannot be named with a null byte"));
        }
        Ok(name)
    }
}

/// The path of a file that is there.
#[cfg(feature = "spark")]
pub(in crate::context) struct FilePath;

#[cfg(feature = "spark")]
impl Rule for FilePath {
    type Given = PathBuf;
    type Settled = PathBuf;

    fn read(text: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(text))
    }

    fn settle(path: PathBuf) -> Result<PathBuf, Wrong> {
        match path.metadata() {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(wrong(path.display(), "it is not a file")),
            Err(error) => Err(wrong(path.display(), error.to_string())),
        }
    }
}

/// A number of things of which there has to be one.
pub(in crate::context) struct AtLeastOne;

impl AtLeastOne {
    const RIGHT: &str = "give a whole number, at least 1";
}

impl Rule for AtLeastOne {
    type Given = usize;
    type Settled = usize;

    fn read(text: &str) -> Result<usize, String> {
        parsed(text, Self::RIGHT)
    }

    fn settle(number: usize) -> Result<usize, Wrong> {
        if number == 0 { Err(wrong(number, Self::RIGHT)) } else { Ok(number) }
    }
}

/// A seed.
pub(in crate::context) struct Seed;

impl Rule for Seed {
    type Given = u64;
    type Settled = u64;

    fn read(text: &str) -> Result<u64, String> {
        parsed(text, "give a number from 0 to 2^64 - 1")
    }

    fn settle(seed: u64) -> Result<u64, Wrong> {
        Ok(seed)
    }
}

/// A share of a whole.
pub(in crate::context) struct Share;

impl Share {
    const RIGHT: &str = "give a number from 0 to 1";
}

impl Rule for Share {
    type Given = f64;
    type Settled = f64;

    fn read(text: &str) -> Result<f64, String> {
        parsed(text, Self::RIGHT)
    }

    fn settle(share: f64) -> Result<f64, Wrong> {
        if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong(share, Self::RIGHT)) }
    }
}

/// How many times something has to be as much as something else.
pub(in crate::context) struct Multiple;

impl Multiple {
    const RIGHT: &str = "give a number of at least 1";
}

impl Rule for Multiple {
    type Given = f64;
    type Settled = f64;

    fn read(text: &str) -> Result<f64, String> {
        parsed(text, Self::RIGHT)
    }

    fn settle(times: f64) -> Result<f64, Wrong> {
        if (1.0..=f64::MAX).contains(&times) { Ok(times) } else { Err(wrong(times, Self::RIGHT)) }
    }
}

/// Something that is on or off.
pub(in crate::context) struct Switch;

impl Rule for Switch {
    type Given = bool;
    type Settled = bool;
    const WRITTEN: &'static str = ": `on`, `off`";

    fn read(text: &str) -> Result<bool, String> {
        match text.trim() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("give on or off".to_owned()),
        }
    }

    fn settle(on: bool) -> Result<bool, Wrong> {
        Ok(on)
    }
}

/// A number of bytes.
pub(in crate::context) struct Size;

impl Rule for Size {
    type Given = u64;
    type Settled = u64;
    const WRITTEN: &'static str = ", such as `512MiB`, `2GiB`";

    fn read(text: &str) -> Result<u64, String> {
        let size =
            ByteSize::from_str(text).map_err(|reason| format!("{reason}; give a size such as 512MiB or 2GiB"))?;
        Ok(size.as_u64())
    }

    fn settle(bytes: u64) -> Result<u64, Wrong> {
        Ok(bytes)
    }
}

/// A number of bytes that is not zero.
pub(in crate::context) struct Budget;

impl Rule for Budget {
    type Given = u64;
    type Settled = u64;
    const WRITTEN: &'static str = Size::WRITTEN;

    fn read(text: &str) -> Result<u64, String> {
        Size::read(text)
    }

    fn settle(bytes: u64) -> Result<u64, Wrong> {
        if bytes == 0 { Err(wrong(bytes, "give at least one byte, such as 512 << 20")) } else { Ok(bytes) }
    }
}

/// A time that is not zero.
pub(in crate::context) struct Time;

impl Time {
    const RIGHT: &str = "give a time such as 90s or 10min";
}

impl Rule for Time {
    type Given = Duration;
    type Settled = Duration;
    const WRITTEN: &'static str = ", such as `90s`, `10min`";

    fn read(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim()).map_err(|_| Self::RIGHT.to_owned())
    }

    fn settle(time: Duration) -> Result<Duration, Wrong> {
        if time.is_zero() { Err(wrong("0s", Self::RIGHT)) } else { Ok(time) }
    }
}

/// When there are progress bars.
pub(in crate::context) struct Bars;

impl Rule for Bars {
    type Given = Progress;
    type Settled = Progress;
    const WRITTEN: &'static str = ": `auto`, `on`, `off`";

    fn read(text: &str) -> Result<Progress, String> {
        match text.trim() {
            "auto" => Ok(Progress::Auto),
            "on" => Ok(Progress::On),
            "off" => Ok(Progress::Off),
            _ => Err("give auto, on or off".to_owned()),
        }
    }

    fn settle(progress: Progress) -> Result<Progress, Wrong> {
        Ok(progress)
    }
}

/// The path of a directory that is written to, which may be given as `file:///a/b`, as paths to read may.
fn local_dir(dir: &Path, for_s3: &str) -> Result<PathBuf, Wrong> {
    if storage::is_s3(dir) {
        return Err(wrong(dir.display(), for_s3));
    }
    storage::local_target(dir).map(Path::to_owned).map_err(|reason| wrong(dir.display(), reason))
}

/// Directories that exist.
pub(in crate::context) struct Dirs;

impl Rule for Dirs {
    type Given = Vec<PathBuf>;
    type Settled = Vec<PathBuf>;
    const WRITTEN: &'static str = ", several as in `PATH`";

    fn read(text: &str) -> Result<Vec<PathBuf>, String> {
        let mut dirs: Vec<PathBuf> = Vec::new();
        for dir in env::split_paths(text) {
            // Where a colon separates paths, it has cut `file:///a/b`, too.
            let is_rest = dir.as_os_str().as_encoded_bytes().starts_with(b"//");
            let is_scheme = |last: &&mut PathBuf| ["file", "s3", "s3a"].map(OsStr::new).contains(&last.as_os_str());
            match dirs.last_mut().filter(|last| is_rest && is_scheme(last)) {
                Some(last) => {
                    last.as_mut_os_string().push(":");
                    last.as_mut_os_string().push(dir);
                }
                None => dirs.push(dir),
            }
        }
        Ok(dirs)
    }

    fn settle(dirs: Vec<PathBuf>) -> Result<Vec<PathBuf>, Wrong> {
        let settle = |dir: PathBuf| {
            let dir = local_dir(&dir, "rows are spilled to local directories; choose one")?;
            if !dir.is_dir() {
                return Err(wrong(dir.display(), "not a directory; create it first, or choose another one"));
            }
            Ok(dir)
        };
        dirs.into_iter().map(settle).collect()
    }
}

/// A directory for checkpoints, which need not exist.
pub(in crate::context) struct CheckpointDir;

impl Rule for CheckpointDir {
    type Given = PathBuf;
    type Settled = PathBuf;

    fn read(text: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(text))
    }

    fn settle(dir: PathBuf) -> Result<PathBuf, Wrong> {
        let for_s3 = "checkpoints are written to local directories; write to S3 with save_as_object_file, and read it \
                      with object_file";
        let dir = local_dir(&dir, for_s3)?;
        if dir.as_os_str().is_empty() || (dir.exists() && !dir.is_dir()) {
            return Err(wrong(dir.display(), "not a directory; choose another one, existing or not"));
        }
        Ok(dir)
    }
}

/// Checks a directory for checkpoints that is chosen when the context runs, and returns its path.
pub(in crate::context) fn check_checkpoint_dir(dir: &Path) -> Result<PathBuf> {
    CheckpointDir::settle(dir.to_owned()).map_err(|wrong| invalid("checkpoint_dir", &wrong.value, wrong.reason))
}

#[cfg(feature = "ui")]
pub(in crate::context) use page::{Address, Dir, Hosts, PageToken, Port, Secret};

/// The rules of the page and of the event log.
#[cfg(feature = "ui")]
mod page {
    use std::{fmt, net::IpAddr, path::PathBuf};

    use emberflow_ui::security::{Host, Token};

    use super::{Rule, Wrong, local_dir, parsed, wrong};

    /// The port of the page that is only said to be on: Spark's.
    const USUAL: u16 = 4040;

    /// The port of the page, if there is to be one.
    pub(in crate::context) struct Port;

    impl Rule for Port {
        type Given = Option<u16>;
        type Settled = Option<u16>;
        const WRITTEN: &'static str = ": `on` (port 4040), `off`, or a port";

        fn read(text: &str) -> Result<Option<u16>, String> {
            match text.trim() {
                "off" => Ok(None),
                "on" => Ok(Some(USUAL)),
                port => parsed(port, "give on, off, or a port such as 4040").map(Some),
            }
        }

        fn settle(port: Option<u16>) -> Result<Option<u16>, Wrong> {
            Ok(port)
        }
    }

    /// An interface of this machine.
    pub(in crate::context) struct Address;

    impl Rule for Address {
        type Given = IpAddr;
        type Settled = IpAddr;

        fn read(text: &str) -> Result<IpAddr, String> {
            parsed(text, "give an address of this machine such as 127.0.0.1, or 0.0.0.0 for all of them")
        }

        fn settle(address: IpAddr) -> Result<IpAddr, Wrong> {
            Ok(address)
        }
    }

    /// Names of the page.
    pub(in crate::context) struct Hosts;

    impl Rule for Hosts {
        type Given = Vec<String>;
        type Settled = Vec<Host>;
        const WRITTEN: &'static str = ", such as `jobs.example:8443,other.example`";

        fn read(text: &str) -> Result<Vec<String>, String> {
            Ok(text.split(',').map(|host| host.trim().to_owned()).collect())
        }

        fn settle(hosts: Vec<String>) -> Result<Vec<Host>, Wrong> {
            hosts.iter().map(|host| host.parse().map_err(|reason: &str| wrong(host, reason))).collect()
        }
    }

    /// The token of the page.
    pub(in crate::context) struct PageToken;

    impl Rule for PageToken {
        type Given = Secret;
        type Settled = Token;

        fn read(text: &str) -> Result<Secret, String> {
            Ok(Secret(text.to_owned()))
        }

        fn settle(token: Secret) -> Result<Token, Wrong> {
            Token::chosen(&token.0).map_err(|reason| wrong("***", reason))
        }
    }

    /// A text that is not to be printed.
    #[derive(Clone)]
    pub(in crate::context) struct Secret(pub(in crate::context) String);

    impl fmt::Debug for Secret {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("***")
        }
    }

    /// A directory that is made if it is missing.
    pub(in crate::context) struct Dir;

    impl Rule for Dir {
        type Given = PathBuf;
        type Settled = PathBuf;

        fn read(text: &str) -> Result<PathBuf, String> {
            Ok(PathBuf::from(text))
        }

        fn settle(dir: PathBuf) -> Result<PathBuf, Wrong> {
            local_dir(&dir, "it is written to a local directory; choose one, and copy what is in it to S3 afterwards")
        }
    }
}

/// Faults on purpose, if there are to be any.
#[cfg(feature = "chaos")]
pub(in crate::context) struct Faults;

#[cfg(feature = "chaos")]
impl Rule for Faults {
    type Given = Option<emberflow_core::chaos::Schedule>;
    type Settled = Option<emberflow_core::chaos::Schedule>;
    const WRITTEN: &'static str = ": a seed, `off`";

    fn read(text: &str) -> Result<Self::Given, String> {
        match text.trim() {
            "off" => Ok(None),
            seed => parsed(seed, "give off, or a seed: a number from 0 to 2^64 - 1")
                .map(|seed| Some(emberflow_core::chaos::Schedule::seeded(seed))),
        }
    }

    fn settle(faults: Self::Given) -> Result<Self::Settled, Wrong> {
        Ok(faults)
    }
}
