//! The errors of S3, and which of them may pass.

use std::{error::Error as StdError, fmt, mem, sync::Arc, time::Duration};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use emberflow_core::error::{Error, TaskError};
use tokio::time::{sleep, timeout};

use crate::S3Config;

/// The wait after a first failure is half of this to this; it doubles each time,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// but not beyond this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An error of S3, or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// The object is not the one that was found. Never tried again: rows of two versions would be mixed.
    #[error(
        "{location} has changed since it was found: its etag was {was} and {}; make the rdd again",
        is.as_ref().map_or_else(|| "it is gone".to_owned(), |is| format!("is {is}"))
    )]
    SourceChanged {
        /// The object.
        location: String,
        /// The ETag that it had.
        was: String,
        /// The ETag that it has; `None` if there is no such object any more.
        is: Option<String>,
    },
    /// The server says no, and would say so again.
    #[error("cannot {what} {location}: {answer}{}", advice(answer))]
    Refused {
        /// The operation that was asked for, such as "read".
        what: &'static str,
        /// The object or prefix.
        location: String,
        /// The answer of the server.
        answer: Answer,
    },
    /// Failures that may pass did not, in as many tries as are allowed.
    #[error(
        "cannot {what} {location}{}: gave up after {} attempt{}; {}",
        at(endpoint.as_deref()), causes.len(), plural(causes), told(causes)
    )]
    GaveUp {
        /// The operation that was asked for.
        what: &'static str,
        /// The object or prefix.
        location: String,
        /// The server that was asked, if it is not AWS's.
        endpoint: Option<String>,
        /// Why each try failed, the first one first.
        causes: Vec<String>,
    },
    /// An answer that cannot be right.
    #[error("cannot {what} {location}: {reason}")]
    WrongAnswer {
        /// The operation that was asked for.
        what: &'static str,
        /// The object or prefix.
        location: String,
        /// The reason why the answer is wrong.
        reason: String,
    },
    /// The request could not be made: no credentials, a setting that makes no sense.
    #[error("cannot {what} {location}: {reason}{}", advice_on_request(reason))]
    NoRequest {
        /// The operation that was to be asked for.
        what: &'static str,
        /// The object or prefix.
        location: String,
        /// Why it could not be.
        reason: String,
    },
    /// The path is not one of S3.
    #[error("{path:?}: {reason}")]
    BadPath {
        /// The path.
        path: String,
        /// The reason why the path is wrong.
        reason: &'static str,
    },
    /// The context was stopped.
    #[error("the context was stopped")]
    Stopped,
    /// The request ended without a result. If the context was not stopped meanwhile, this is a bug.
    #[error("the request ended without a result: the context was stopped, or the client has a bug")]
    Died,
}

/// The answer of a server that did not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of the answer.
    pub status: u16,
    /// S3's name of the error, if the answer has one.
    pub code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for (before, part) in [(" ", &self.code), (": ", &self.message), (", request id ", &self.request_id)] {
            if let Some(part) = part {
                write!(f, "{before}{part}")?;
            }
        }
        Ok(())
    }
}

/// The advice for an answer, where there is one.
fn advice(answer: &Answer) -> &'static str {
    match (answer.status, answer.code.as_deref().unwrap_or_default()) {
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
            "; the session has ended: renew the credentials"
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken") => "; check the credentials",
        (301, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            "; the bucket is in another region: set it by S3Config::region or AWS_REGION"
        }
        (401 | 403, _) => {
            "; check the credentials and what they allow, or read a public bucket with S3Config::anonymous"
        }
        (_, "NoSuchBucket") => "; check the bucket's name, and the endpoint",
        _ => "",
    }
}

/// The advice for a request that could not be made.
fn advice_on_request(reason: &str) -> &'static str {
    if reason.to_lowercase().contains("credentials") {
        "; give keys by S3Config::keys, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or read a public bucket \
         with S3Config::anonymous"
    } else {
        ""
    }
}

fn at(endpoint: Option<&str>) -> String {
    endpoint.map_or_else(String::new, |endpoint| format!(" at {endpoint}"))
}

fn plural(causes: &[String]) -> &'static str {
    if causes.len() == 1 { "" } else { "s" }
}

fn told(causes: &[String]) -> String {
    match causes {
        [] => "no attempt was made".to_owned(),
        [only] => only.clone(),
        [first, .., last] => format!("first: {first}; last: {last}"),
    }
}

impl S3Error {
    /// The error for a task. All that may pass was tried again already, so that a task need not.
    pub(crate) fn into_task_error(self) -> TaskError {
        TaskError::io_permanent(self)
    }
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        match error {
            S3Error::Stopped => Self::ContextClosed,
            error => Self::Storage { source: Arc::new(error) },
        }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may pass.
    Passing(String),
    /// It would not.
    Final(S3Error),
}

/// The tries at one request.
pub(crate) struct Attempts<'a> {
    what: &'static str,
    location: &'a str,
    endpoint: Option<&'a str>,
    most: u32,
    timeout: Duration,
    wait: Duration,
    causes: Vec<String>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(config: &'a S3Config, what: &'static str, location: &'a str) -> Self {
        let (most, timeout) = (config.attempts, config.timeout);
        Self { what, location, endpoint: config.endpoint_url(), most, timeout, wait: FIRST_WAIT, causes: Vec::new() }
    }

    /// One try. `None` if it failed, and another one may be made now: the wait is over.
    pub(crate) async fn make<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, S3Error> {
        let cause = match timeout(self.timeout, attempt).await {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Passing(cause))) => cause,
            Err(_) => format!("not done within {:?}", self.timeout),
        };
        self.causes.push(cause);
        let (attempt, cause) = (self.causes.len(), self.causes.last());
        tracing::warn!(
            what = self.what,
            location = self.location,
            endpoint = self.endpoint,
            attempt,
            cause,
            "a request to s3 failed"
        );
        if self.causes.len() as u32 >= self.most {
            let (what, location, causes) = (self.what, self.location.to_owned(), mem::take(&mut self.causes));
            return Err(S3Error::GaveUp { what, location, endpoint: self.endpoint.map(str::to_owned), causes });
        }
        // Those that failed at the same time do not come again at the same time.
        sleep(self.wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(None)
    }
}

/// Judges an error of the SDK: whether it may pass, and its meaning.
pub(crate) fn judge<E>(what: &'static str, location: &str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let location = location.to_owned();
    if let Some(response) = error.raw_response() {
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let answer = Answer {
            status: response.status().as_u16(),
            code: meta.and_then(|meta| meta.code()).map(str::to_owned),
            message: meta.and_then(|meta| meta.message()).map(str::to_owned),
            request_id: response.headers().request_id().map(str::to_owned),
        };
        if passes(&answer) {
            return Failure::Passing(answer.to_string());
        }
        return Failure::Final(S3Error::Refused { what, location, answer });
    }
    let passes = match &error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        // However the connection failed, unless the request was none.
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        _ => false,
    };
    let reason = chain(&error);
    if passes { Failure::Passing(reason) } else { Failure::Final(S3Error::NoRequest { what, location, reason }) }
}

/// Returns whether the server may say something else next time. It may also have begun to say yes (status 200) before
/// it knew.
fn passes(answer: &Answer) -> bool {
    const CODES: [&str; 7] = [
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    ];
    matches!(answer.status, 408 | 429 | 500 | 502..=504)
        || answer.code.as_deref().map_or(answer.status == 200, |code| CODES.contains(&code))
}

/// An error with what it says of its causes, none twice.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Answer { status, code, message: None, request_id: None }
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (status, code) in [(503, "SlowDown"), (500, ""), (429, ""), (200, "InternalError"), (400, "RequestTimeout")]
        {
            assert!(passes(&answer(status, code)), "{status} {code}");
        }
        for (status, code) in
            [(403, "AccessDenied"), (404, ""), (400, "ExpiredToken"), (301, ""), (200, "NoSuchUpload")]
        {
            assert!(!passes(&answer(status, code)), "{status} {code}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let told = |status, code| {
            S3Error::Refused { what: "read", location: "s3://b/k".to_owned(), answer: answer(status, code) }.to_string()
        };
        assert!(told(400, "ExpiredToken").starts_with("cannot read s3://b/k: 400 ExpiredToken; the session has ended"));
        assert!(told(301, "PermanentRedirect").contains("S3Config::region or AWS_REGION"));
        assert!(told(403, "AccessDenied").contains("what they allow"));
        let (what, location) = ("read", "s3://b/k".to_owned());
        let reason = "dispatch failure: the credentials provider was not enabled".to_owned();
        assert!(S3Error::NoRequest { what, location, reason }.to_string().contains("S3Config::anonymous"));
        assert!(told(404, "NoSuchBucket").contains("check the bucket's name"));
    }
}
