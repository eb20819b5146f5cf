//! The settings of S3. Secrets are in here, and never shown.

use std::{fmt, time::Duration};

/// Tries at one request, the first included, unless told otherwise.
const ATTEMPTS: u32 = 8;
/// How long one try may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Settings that say where S3 is, and with which credentials it is asked. Those that are not set are found as the AWS
/// SDKs do: in the environment, the profile, or the machine's or container's role.
///
/// ```
/// use emberflow_s3::S3Config;
///
/// let config = S3Config::new().endpoint("http://localhost:9000").region("us-east-1").keys("reader", "a secret");
/// assert!(!format!("{config:?}").contains("a secret"));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "read by the client"))]
pub struct S3Config {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) access: Access,
    pub(crate) attempts: u32,
    pub(crate) timeout: Duration,
}

/// The credentials with which S3 is asked.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "read by the client"))]
pub(crate) enum Access {
    /// The credentials that the SDK finds.
    Chain,
    Anonymous,
    Keys {
        id: Secret,
        secret: Secret,
        token: Option<Secret>,
    },
}

/// Text that is not shown.
#[derive(Clone)]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "read by the client"))]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for S3Config {
    fn default() -> Self {
        let (attempts, timeout) = (ATTEMPTS, TIMEOUT);
        Self { region: None, endpoint: None, path_style: None, access: Access::Chain, attempts, timeout }
    }
}

impl S3Config {
    /// The configuration that the environment names.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(S3Config::new().endpoint_url().is_none());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The region of the buckets. `AWS_REGION`, the profile or the machine's; `us-east-1` if none of them says.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(format!("{:?}", S3Config::new().region("eu-west-1")).contains("eu-west-1"));
    /// ```
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The URL of a server other than AWS, such as `http://localhost:9000`. `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`
    /// or the profile.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// let config = S3Config::new().endpoint("http://localhost:9000");
    /// assert_eq!(config.endpoint_url(), Some("http://localhost:9000"));
    /// ```
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets whether buckets are named in the path (`host/bucket/key`) rather than in the host's name
    /// (`bucket.host/key`). They are by default if there is an [`endpoint`](Self::endpoint), since few servers but AWS
    /// have names for buckets.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(format!("{:?}", S3Config::new().path_style(true)).contains("path_style: Some(true)"));
    /// ```
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.path_style = Some(path_style);
        self
    }

    /// Asks with these keys. `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, the profile, or a role.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(!format!("{:?}", S3Config::new().keys("reader", "a secret")).contains("a secret"));
    /// ```
    pub fn keys(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        let (id, secret) = (Secret(id.into()), Secret(secret.into()));
        Self { access: Access::Keys { id, secret, token: None }, ..self }
    }

    /// As [`keys`](Self::keys), with the token of a session. They are not renewed: where a session may end before the
    /// program does, leave it to the environment.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// let config = S3Config::new().session_keys("reader", "a secret", "a token");
    /// assert!(!format!("{config:?}").contains("a token"));
    /// ```
    pub fn session_keys(self, id: impl Into<String>, secret: impl Into<String>, token: impl Into<String>) -> Self {
        let (id, secret) = (Secret(id.into()), Secret(secret.into()));
        Self { access: Access::Keys { id, secret, token: Some(Secret(token.into())) }, ..self }
    }

    /// Asks without a signature, for buckets that everybody may read.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(format!("{:?}", S3Config::new().anonymous()).contains("Anonymous"));
    /// ```
    pub fn anonymous(self) -> Self {
        Self { access: Access::Anonymous, ..self }
    }

    /// How often a request is tried that fails in a way that may pass: a busy server, a broken connection, an answer
    /// that does not end. 8 by default, at least 1. Between tries it waits, longer each time, up to some seconds.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert!(format!("{:?}", S3Config::new().attempts(0)).contains("attempts: 1"));
    /// ```
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// How long one try may take, with all the bytes of its answer: 30 seconds by default. Bytes that have come by then
    /// are kept, and the next try asks for the rest.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// # use std::time::Duration;
    /// assert!(format!("{:?}", S3Config::new().timeout(Duration::from_secs(5))).contains("timeout: 5s"));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server's URL, if it is given here.
    ///
    /// ```
    /// # use emberflow_s3::S3Config;
    /// assert_eq!(S3Config::new().endpoint_url(), None);
    /// ```
    pub fn endpoint_url(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let config = S3Config::new().session_keys("CANARY1", "CANARY2", "CANARY3").endpoint("http://localhost:1");
        let shown = format!("{config:?} {config:#?}");
        assert!(shown.contains("***") && shown.contains("localhost"), "{shown}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
