//! Questions about a context and the library: name, id, version, settings.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Context;
use crate::shared::Shared;

impl Shared {
    /// Tells this context from all others, in this process and elsewhere; fit for a file name.
    pub(crate) fn application_id(&self) -> String {
        let name: String =
            self.engine.config().app_name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        // A clock before 1970 gives no number to tell contexts apart by; the others remain.
        let millis = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        format!("{name}-{millis}-{}-{}", std::process::id(), self.engine.id())
    }
}

impl Context {
    /// The version of emberflow.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.version().split('.').count() >= 3);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Tells this context from all others: its name, when it was made, its process, and its number there.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// let (a, b) = (Context::local(1)?, Context::local(1)?);
    /// assert!(a.application_id().starts_with("emberflow-") && a.application_id() != b.application_id());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn application_id(&self) -> String {
        self.shared().application_id()
    }

    /// When the context was made.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert!(ctx.start_time() <= std::time::SystemTime::now());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn start_time(&self) -> SystemTime {
        self.shared().started_at
    }
}
