//! The page of a context: where it is, and what it is told of the settings.

#[cfg(not(feature = "ui"))]
use std::convert::Infallible;

use emberflow_core::error::Result;

use super::Context;

#[cfg(not(feature = "ui"))]
impl Context {
    /// There is no page without the feature.
    pub(super) fn serve(&self, port: Infallible) -> Result<()> {
        match port {}
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

    pub(super) fn serve(&self, port: u16) -> Result<()> {
        use emberflow_core::error::Error;

        let settings = emberflow_ui::Settings { port, settings: self.settings() };
        let served = emberflow_ui::serve(&self.shared().engine, settings).map_err(|error| Error::InvalidSetting {
            setting: "ui",
            value: port.to_string(),
            reason: format!(
                "no page can be served at this port or one of the next: {error}; choose another, or 0 for any"
            ),
        })?;
        tracing::info!(app = self.app_name(), url = %format_args!("http://{}/", served.address()), "the page is up");
        // A context is served once, when it is made.
        let _ = self.shared().ui.set(served);
        Ok(())
    }

    /// What the context runs with, by the names of the builder's methods.
    fn settings(&self) -> Vec<(String, String)> {
        let config = self.shared().engine.config();
        let checkpoint_dir = self.checkpoint_dir().map(|dir| dir.display().to_string());
        let spill_limit = config.spill_limit_bytes.map(|bytes| bytes.to_string());
        [
            ("app_name", config.app_name.clone()),
            ("workers", config.workers.to_string()),
            ("memory_budget", config.memory_budget_bytes.to_string()),
            ("spill_dir", config.spill_dir.display().to_string()),
            ("spill_limit", spill_limit.unwrap_or_else(|| "none".to_owned())),
            ("task_failure_limit", config.task_failure_limit.to_string()),
            ("default_partitions", self.default_partitions().to_string()),
            ("batch_rows", config.batch_rows.to_string()),
            ("checkpoint_dir", checkpoint_dir.unwrap_or_else(|| "none".to_owned())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
