//! How a context is seen: its page and its event log, and what they are told of the settings.

use emberflow_core::error::Result;

#[cfg(feature = "ui")]
use super::Shared;
use super::{Context, builder::Shown};

#[cfg(not(feature = "ui"))]
impl Context {
    /// Nothing is shown without the feature.
    pub(super) fn show(&self, _: Shown) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "ui")]
impl Context {
    /// Where the page is that shows what the application does, if there is one. With a token that allows to cancel jobs
    /// there: it is for the owner of the application, and not for a log.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).build()?;
    /// assert!(ctx.ui_url().unwrap().contains("/#token="));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn ui_url(&self) -> Option<String> {
        self.shared().ui.get().map(emberflow_ui::Served::url)
    }

    /// The name that the event log has when the context has ended, if there is one; until then, `.inprogress` stands
    /// behind it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let ctx = Context::builder().event_log(dir.path()).build()?;
    /// assert!(ctx.event_log().unwrap().starts_with(dir.path()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn event_log(&self) -> Option<&std::path::Path> {
        self.shared().event_log.get().map(std::path::PathBuf::as_path)
    }

    pub(super) fn show(&self, Shown { page, event_log }: Shown) -> Result<()> {
        use emberflow_core::error::Error;

        if page.is_none() && event_log.is_none() {
            return Ok(());
        }
        let Shared { engine, ui, event_log: log, .. } = &**self.shared();
        let about = emberflow_ui::Application::new(engine, self.settings(page.as_ref()));
        // Both are set once, when the context is made.
        if let Some(dir) = event_log {
            let path = emberflow_ui::log::write(engine, &about, &dir).map_err(|error| Error::InvalidSetting {
                setting: "event_log",
                value: dir.display().to_string(),
                reason: format!("no log can be written there: {error}; choose another directory"),
            })?;
            let _ = log.set(path);
        }
        if let Some(listen) = page {
            let served = emberflow_ui::serve(engine, about, &listen).map_err(|error| Error::InvalidSetting {
                setting: "ui",
                value: format!("{}:{}", listen.address, listen.port),
                reason: format!(
                    "no page can be served there or at the next ports: {error}; choose another port, or 0 for any"
                ),
            })?;
            tracing::info!(app = self.app_name(), url = served.plain_url(), "the page is up");
            let _ = ui.set(served);
        }
        Ok(())
    }

    /// What the context runs with, by the names of the builder's methods; but for the hash seed, which may be a secret.
    fn settings(&self, page: Option<&emberflow_ui::security::Listen>) -> Vec<(String, String)> {
        let config = self.shared().engine.config();
        let checkpoint_dir = self.checkpoint_dir().map(|dir| dir.display().to_string());
        let spill_limit = config.spill_limit_bytes.map(|bytes| bytes.to_string());
        let spill_dirs: Vec<String> = config.spill_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let time =
            |time: Option<std::time::Duration>| time.map_or_else(|| "none".to_owned(), |time| format!("{time:?}"));
        let hosts = page.into_iter().flat_map(|listen| &listen.hosts).map(ToString::to_string);
        [
            ("app_name", config.app_name.clone()),
            ("workers", config.workers.to_string()),
            ("memory_budget", config.memory_budget_bytes.to_string()),
            ("spill_dir", spill_dirs.join(", ")),
            ("task_deadline", time(config.task_deadline)),
            ("stall_timeout", time(config.stall_timeout)),
            ("speculation", config.speculation.is_some().to_string()),
            ("check_determinism", config.check_determinism.to_string()),
            ("spill_limit", spill_limit.unwrap_or_else(|| "none".to_owned())),
            ("spill_compression", config.spill_compression.to_string()),
            ("force_spill", config.force_spill.to_string()),
            ("task_failure_limit", config.task_failure_limit.to_string()),
            ("default_partitions", self.default_partitions().to_string()),
            ("batch_rows", config.batch_rows.to_string()),
            ("progress", format!("{:?}", config.progress).to_ascii_lowercase()),
            ("job_summary", config.job_summary.to_string()),
            ("checkpoint_dir", checkpoint_dir.unwrap_or_else(|| "none".to_owned())),
            ("ui_address", page.map_or_else(|| "none".to_owned(), |listen| listen.address.to_string())),
            ("ui_hosts", hosts.collect::<Vec<_>>().join(",")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
