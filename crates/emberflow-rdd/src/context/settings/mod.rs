//! The settings of a context in one table. From a line of it follow the builder's field, the environment variable that is
//! read, the error for a value that cannot be used, and, by a test, a row of `docs/configuration.md`.
//!
//! Owns the names and the defaults; `rules` says how a value is written and which ones are right. The builder calls
//! [`Given::settle`]. Nothing is started here, and nothing but the environment is asked.

mod rules;

use std::{env, thread};

use emberflow_core::error::{Error, Result};
use emberflow_runtime::system;

#[cfg(feature = "chaos")]
use self::rules::Faults;
#[cfg(feature = "spark")]
use self::rules::FilePath;
#[cfg(feature = "ui")]
pub(super) use self::rules::Secret;
#[cfg(feature = "ui")]
use self::rules::{Address, Dir, Hosts, PageToken, Port};
pub(super) use self::rules::{Rule, Switch, check_checkpoint_dir, invalid};
use self::{
    Usual::{Found, Written},
    rules::{AtLeastOne, Bars, Budget, CheckpointDir, Dirs, Maybe, Multiple, Name, Seed, Share, Size, Time},
};

/// The share of the memory that the process may use, in hundredths, that is the budget unless told otherwise.
const MEMORY_SHARE_PERCENT: u64 = 60;

/// The budget where the system does not say how much memory there is.
const FALLBACK_MEMORY_BYTES: u64 = 1 << 30;

/// Returns the value of an environment variable, if it is set.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The value of a setting that was not given. It is checked as any other.
enum Usual<T> {
    /// This text, read as if the variable had it.
    Written(&'static str),
    /// The result of the function, and its description in the words of `docs/configuration.md`.
    Found(fn() -> T, #[cfg_attr(not(test), expect(dead_code, reason = "for the test of the docs"))] &'static str),
}

/// Makes of the table below
/// - `Given`: what the builder was given; a field for each setting;
/// - `Given::settle`: the builder's word comes first, then the environment's, then the default;
/// - `Settings`: what holds; a field for each setting;
/// - `rows`, for a test: what `docs/configuration.md` has to say.
///
/// A line is `name: rule, variable, default;`. Behind the name may stand that of a second method of the builder, and before
/// it the feature that the setting needs. Without the feature, its variable is refused if it is set, but for one that asks
/// for nothing by itself (`refused: false`).
macro_rules! settings {
    ($(
        $([$feature:literal $(, refused: $refused:literal)?])? $name:ident $(| $second:ident)?: $rule:ty, $variable:literal, $default:expr;
    )*) => {
        /// The values that the builder was given.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Given {
            $( $(#[cfg(feature = $feature)])? pub(super) $name: Option<<$rule as Rule>::Given>, )*
        }

        /// The values that hold.
        pub(super) struct Settings {
            $( $(#[cfg(feature = $feature)])? pub(super) $name: <$rule as Rule>::Settled, )*
        }

        impl Given {
            /// Decides every setting.
            ///
            /// # Errors
            /// [`Error::InvalidSetting`] for a value that cannot be used, or that needs a feature which is not there.
            pub(super) fn settle(self, env: Env<'_>) -> Result<Settings> {
                $( $( if !cfg!(feature = $feature) $(&& $refused)? { refuse($variable, $feature, env)?; } )? )*
                Ok(Settings {
                    $(
                        $(#[cfg(feature = $feature)])?
                        $name: settle::<$rule>((stringify!($name), $variable), self.$name, $default, env)?,
                    )*
                })
            }
        }

        #[cfg(test)]
        fn rows() -> Vec<Row> {
            vec![$(
                $(#[cfg(feature = $feature)])?
                Row {
                    methods: &[stringify!($name) $(, stringify!($second))?],
                    feature: [$($feature,)? ""][0],
                    variable: $variable,
                    written: <$rule as Rule>::WRITTEN,
                    default: Usual::<<$rule as Rule>::Given>::in_words(&$default),
                },
            )*]
        }
    };
}

settings! {
    app_name: Name, "EMBERFLOW_APP_NAME", Written("emberflow");
    workers: AtLeastOne, "EMBERFLOW_WORKERS",
        Found(cores, "the cores that the process may use (affinity and cgroup quota)");
    memory_budget: Budget, "EMBERFLOW_MEMORY_BUDGET",
        Found(share_of_memory, "60 % of the smallest cgroup limit, or of the machine's memory; 60 % of 1 GiB where neither \
                                is known");
    spill_dir | spill_dirs: Dirs, "EMBERFLOW_SPILL_DIR",
        Found(|| vec![env::temp_dir()], "the system's directory for temporary files");
    spill_limit: Maybe<Size>, "EMBERFLOW_SPILL_LIMIT", Found(|| None, "none");
    spill_compression: Switch, "EMBERFLOW_SPILL_COMPRESSION", Written("off");
    force_spill: Switch, "EMBERFLOW_FORCE_SPILL", Written("off");
    task_failure_limit: AtLeastOne, "EMBERFLOW_TASK_FAILURE_LIMIT", Written("4");
    task_deadline: Maybe<Time>, "EMBERFLOW_TASK_DEADLINE", Found(|| None, "none");
    stall_timeout: Maybe<Time>, "EMBERFLOW_STALL_TIMEOUT", Found(|| None, "none");
    speculation: Switch, "EMBERFLOW_SPECULATION", Written("off");
    speculation_quantile: Share, "EMBERFLOW_SPECULATION_QUANTILE", Written("0.75");
    speculation_multiplier: Multiple, "EMBERFLOW_SPECULATION_MULTIPLIER", Written("1.5");
    check_determinism: Switch, "EMBERFLOW_CHECK_DETERMINISM", Written("on");
    cancel_on_signal: Switch, "EMBERFLOW_CANCEL_ON_SIGNAL", Written("off");
    default_partitions: AtLeastOne, "EMBERFLOW_DEFAULT_PARTITIONS", Written("32");
    batch_rows: AtLeastOne, "EMBERFLOW_BATCH_ROWS", Written("1024");
    hash_seed: Seed, "EMBERFLOW_HASH_SEED", Written("0");
    checkpoint_dir: Maybe<CheckpointDir>, "EMBERFLOW_CHECKPOINT_DIR", Found(|| None, "none");
    progress: Bars, "EMBERFLOW_PROGRESS", Written("auto");
    job_summary: Switch, "EMBERFLOW_JOB_SUMMARY", Written("off");
    ["ui"] ui: Port, "EMBERFLOW_UI", Written("off");
    ["ui", refused: false] ui_address: Address, "EMBERFLOW_UI_ADDRESS", Written("127.0.0.1");
    ["ui", refused: false] ui_host: Hosts, "EMBERFLOW_UI_HOSTS", Found(Vec::new, "none");
    ["ui", refused: false] ui_token: Maybe<PageToken>, "EMBERFLOW_UI_TOKEN", Found(|| None, "random");
    ["ui"] event_log: Maybe<Dir>, "EMBERFLOW_EVENT_LOG", Found(|| None, "none");
    ["spark"] master: Maybe<Name>, "EMBERFLOW_MASTER", Found(|| None, "none");
    ["spark", refused: false] spark_conf: Maybe<FilePath>, "EMBERFLOW_SPARK_CONF", Found(|| None, "none");
    ["chaos"] chaos: Faults, "EMBERFLOW_CHAOS", Written("off");
}

/// Decides one setting.
fn settle<R: Rule>(
    (name, variable): (&'static str, &'static str),
    given: Option<R::Given>,
    usual: Usual<R::Given>,
    env: Env<'_>,
) -> Result<R::Settled> {
    let read = |text: &str| R::read(text).map_err(|reason| invalid(variable, text, reason));
    let (name, given) = match (given, env(variable), usual) {
        (Some(given), ..) => (name, given),
        (None, Some(text), _) => (variable, read(&text)?),
        (None, None, Written(text)) => (name, read(text)?),
        (None, None, Found(find, _)) => (name, find()),
    };
    R::settle(given).map_err(|wrong| invalid(name, &wrong.value, wrong.reason))
}

/// Refuses a variable that would ask for what this program was built without.
fn refuse(variable: &'static str, feature: &str, env: Env<'_>) -> Result<(), Error> {
    let Some(text) = env(variable).filter(|text| text.trim() != "off") else { return Ok(()) };
    let reason = format!(
        "this program was built without emberflow's feature `{feature}`; build it with the feature, or unset the variable"
    );
    Err(invalid(variable, &text, reason))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn share_of_memory() -> u64 {
    system::memory_limit_bytes().unwrap_or(FALLBACK_MEMORY_BYTES) / 100 * MEMORY_SHARE_PERCENT
}

#[cfg(test)]
impl<T> Usual<T> {
    fn in_words(&self) -> String {
        match self {
            Written(text) => format!("`{text}`"),
            Found(_, words) => (*words).to_owned(),
        }
    }
}

/// A setting's row in `docs/configuration.md`, without its meaning.
#[cfg(test)]
struct Row {
    methods: &'static [&'static str],
    feature: &'static str,
    variable: &'static str,
    written: &'static str,
    default: String,
}

#[cfg(test)]
mod tests;
