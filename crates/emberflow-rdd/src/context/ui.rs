//! How a context is seen: the settings of its page and its event log, and what these are told of all settings.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use emberflow_core::error::Result;
use emberflow_ui::security::Listen;

use super::{Context, ContextBuilder, Shared, settings::Secret};

impl ContextBuilder {
    /// A page that shows what the application does, on the loopback interface at this port or, if it is taken, one of
    /// the next sixteen; 0 for any. `EMBERFLOW_UI`, which is `on` (port 4040, as Spark's), `off` or a port; off by
    /// default. Only with the feature `ui`.
    ///
    /// The page is gone when the engine has [stopped](Context::stop). [`Context::ui_url`] says where it is; so does the log,
    /// without the token that allows changes.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).build()?;
    /// assert!(ctx.ui_url().unwrap().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn ui(mut self, port: u16) -> Self {
        self.given.ui = Some(Some(port));
        self
    }

    /// The interface that the [page](Self::ui) listens on, for those who are to come from other machines.
    /// `EMBERFLOW_UI_ADDRESS`; the loopback interface by default. On any other, a visitor needs the token to see
    /// anything; it is sent as it is, so put a proxy that speaks TLS in between, or use a tunnel instead. Only with the
    /// feature `ui`. [More](https://github.com/emberflow-rs/emberflow/blob/main/docs/ui.md#whom-it-answers).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).ui_address([0, 0, 0, 0]).build()?;
    /// assert!(ctx.ui_url().unwrap().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn ui_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.given.ui_address = Some(address.into());
        self
    }

    /// One more name under which the [page](Self::ui) is known, such as that of a proxy: requests for other names than
    /// its own address are refused. With its port, as browsers say it, or without, for any. `EMBERFLOW_UI_HOSTS`, with
    /// commas between them. With any name set, a visitor needs the token to see anything. Only with the feature
    /// `ui`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let error = Context::builder().ui(0).ui_host("https://jobs.example/").build().unwrap_err();
    /// assert!(error.to_string().contains("give a name such as jobs.example or jobs.example:8443"));
    /// let ctx = Context::builder().ui(0).ui_host("jobs.example").build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn ui_host(mut self, host: impl Into<String>) -> Self {
        self.given.ui_host.get_or_insert_default().push(host.into());
        self
    }

    /// The token of the [page](Self::ui), for those who must know it before the context starts: proxies, and
    /// Prometheus. `EMBERFLOW_UI_TOKEN`; a random one by default. Only with the feature `ui`.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let ctx = Context::builder().ui(0).ui_token("0f3c2b1a99d84e75").build()?;
    /// assert!(ctx.ui_url().unwrap().ends_with("/#token=0f3c2b1a99d84e75"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn ui_token(mut self, token: impl Into<String>) -> Self {
        self.given.ui_token = Some(Some(Secret(token.into())));
        self
    }

    /// A log of all that happens, in a file of this directory, which is made if it is missing. `EMBERFLOW_EVENT_LOG`;
    /// none by default. Only with the feature `ui`.
    ///
    /// JSON lines in the format of Spark's event log: Spark's History Server shows the application, and so does
    /// [`history::replay`](crate::history::replay). The file is complete when the engine has [stopped](Context::stop);
    /// [`Context::event_log`] says its name.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let ctx = Context::builder().event_log(dir.path()).build()?;
    /// let log = ctx.event_log().unwrap().to_owned();
    /// ctx.range(0..9_u64).count()?;
    /// ctx.stop();
    /// assert!(std::fs::read_to_string(log).unwrap().contains("SparkListenerJobEnd"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn event_log(mut self, dir: impl AsRef<Path>) -> Self {
        self.given.event_log = Some(Some(dir.as_ref().to_owned()));
        self
    }
}

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
    pub fn event_log(&self) -> Option<&Path> {
        self.shared().event_log.get().map(PathBuf::as_path)
    }

    /// Serves the page and begins the event log, if they are wanted.
    pub(super) fn show(&self, page: Option<Listen>, event_log: Option<PathBuf>) -> Result<()> {
        use emberflow_core::error::Error;

        if page.is_none() && event_log.is_none() {
            return Ok(());
        }
        let Shared { engine, backend, ui, event_log: log, .. } = &**self.shared();
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
            let served =
                emberflow_ui::serve(engine, backend, about, &listen).map_err(|error| Error::InvalidSetting {
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

    /// The settings of the context, by the names of the builder's methods; but for the hash seed, which may be a
    /// secret.
    fn settings(&self, page: Option<&Listen>) -> Vec<(String, String)> {
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
