//! Where S3 is: the builder's word, and what the environment says beyond what the AWS SDK reads there itself.

use emberflow_core::error::Result;
use emberflow_s3::S3Config;

use super::{
    ContextBuilder,
    settings::{Env, Rule, Switch, invalid},
};

impl ContextBuilder {
    /// Where S3 is and who asks, for paths such as `s3://bucket/key`. By default as the environment says: `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, the chain of credentials, and `EMBERFLOW_S3_PATH_STYLE` and `EMBERFLOW_S3_ANONYMOUS`, which
    /// are `on` or `off`. Only with the feature `s3`.
    ///
    /// ```no_run
    /// use emberflow::{S3Config, prelude::*};
    ///
    /// let ctx = Context::builder().s3(S3Config::new().region("eu-central-1").anonymous()).build()?;
    /// println!("{}", ctx.text_file("s3://a-public-bucket/films/*.csv.gz")?.count()?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn s3(mut self, config: S3Config) -> Self {
        self.s3 = Some(config);
        self
    }
}

/// Returns what was given, or else what the environment says.
pub(super) fn config(given: Option<S3Config>, env: Env<'_>) -> Result<S3Config> {
    if let Some(config) = given {
        return Ok(config);
    }
    let switch = |variable: &'static str| {
        let read = |text: String| Switch::read(&text).map_err(|reason| invalid(variable, &text, reason));
        env(variable).map(read).transpose()
    };
    let mut config = S3Config::new();
    if let Some(url) = env("AWS_ENDPOINT_URL_S3").or_else(|| env("AWS_ENDPOINT_URL")) {
        config = config.endpoint(url);
    }
    if let Some(on) = switch("EMBERFLOW_S3_PATH_STYLE")? {
        config = config.path_style(on);
    }
    if switch("EMBERFLOW_S3_ANONYMOUS")? == Some(true) {
        config = config.anonymous();
    }
    Ok(config)
}
