//! The client: made when it is first needed, and the requests by which objects are found and read.

use std::{fmt, mem, ops::Range, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig, http::HttpResponse,
        retry::RetryConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::list_objects_v2::ListObjectsV2Output,
    types::{CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use bytes::Bytes;
use emberflow_core::task::Io;
use tokio::sync::OnceCell;

use crate::{
    S3Config, S3Error,
    config::Access,
    error::{Attempts, Failure, chain, judge},
};

/// The region where nobody says which, as the servers take it that have none.
const DEFAULT_REGION: &str = "us-east-1";
/// A server that cannot be reached is not waited for longer, as in the SDK itself.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// The way to S3, with one client for all that a context reads and writes.
pub struct S3 {
    pub(crate) config: S3Config,
    pub(crate) io: Arc<dyn Io>,
    client: OnceCell<Client>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("config", &self.config).finish_non_exhaustive()
    }
}

/// An object as it was when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundObject {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
}

impl S3 {
    /// A way to S3 whose requests run on `io`. Nothing is asked yet.
    pub fn new(config: S3Config, io: Arc<dyn Io>) -> Arc<Self> {
        Arc::new(Self { config, io, client: OnceCell::new() })
    }

    pub(crate) async fn client(&self) -> &Client {
        self.client.get_or_init(|| make_client(&self.config)).await
    }

    /// The object of this key, if there is one.
    pub(crate) async fn head(&self, bucket: &str, key: &str) -> Result<Option<FoundObject>, S3Error> {
        let (what, location) = ("look at", format!("s3://{bucket}/{key}"));
        let client = self.client().await;
        let mut attempts = Attempts::new(&self.config, what, &location);
        loop {
            let attempt = async {
                match client.head_object().bucket(bucket).key(key).send().await {
                    Ok(head) => match found(key, head.content_length(), head.e_tag(), what, &location) {
                        Ok(found) => Ok(Some(found)),
                        Err(error) => Err(Failure::Final(error)),
                    },
                    Err(error) if status(&error) == Some(404) => Ok(None),
                    Err(error) => Err(judge(what, &location, error)),
                }
            };
            if let Some(found) = attempts.make(attempt).await? {
                return Ok(found);
            }
        }
    }

    /// All the objects whose keys begin with `prefix`, in the order of their keys.
    pub(crate) async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<FoundObject>, S3Error> {
        let (what, location) = ("list", format!("s3://{bucket}/{prefix}"));
        let (mut objects, mut token) = (Vec::new(), None);
        loop {
            let page = self.list_page(bucket, prefix, token, None).await?;
            for object in page.contents() {
                let key = object.key().unwrap_or_default();
                objects.push(found(key, object.size(), object.e_tag(), what, &location)?);
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            if page.next_continuation_token.is_none() {
                let reason = "there are more objects, but the server does not say how to ask for them".to_owned();
                return Err(S3Error::WrongAnswer { what, location, reason });
            }
            token = page.next_continuation_token;
        }
        // Some servers, and some kinds of bucket, list them in another order.
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// One page of a listing, of at most so many objects.
    pub(crate) async fn list_page(
        &self,
        bucket: &str,
        prefix: &str,
        token: Option<String>,
        most: Option<i32>,
    ) -> Result<ListObjectsV2Output, S3Error> {
        let client = self.client().await;
        self.tried("list", bucket, prefix, || {
            let request = client.list_objects_v2().bucket(bucket).prefix(prefix);
            request.set_continuation_token(token.clone()).set_max_keys(most).send()
        })
        .await
    }

    /// Exactly these bytes of an object that is still what it was. Bytes that a broken connection has brought are kept.
    pub(crate) async fn read(&self, bucket: &str, object: &FoundObject, range: Range<u64>) -> Result<Vec<u8>, S3Error> {
        let location = format!("s3://{bucket}/{}", object.key);
        let mut attempts = Attempts::new(&self.config, "read", &location);
        // Never more than the size of a range, which is small.
        let wanted = (range.end - range.start) as usize;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let rest = range.start + bytes.len() as u64..range.end;
            // Whether it went well or not, what counts is what has come.
            attempts.make(self.read_some(bucket, object, &location, rest, &mut bytes)).await?;
        }
        Ok(bytes)
    }

    /// One request for `range`, whose bytes are added to `bytes` as they come.
    async fn read_some(
        &self,
        bucket: &str,
        object: &FoundObject,
        location: &str,
        range: Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let FoundObject { key, etag, bytes: total } = object;
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client().await.get_object().bucket(bucket).key(key).range(&header).if_match(etag);
        let wrong = |reason: String| {
            Failure::Final(S3Error::WrongAnswer { what: "read", location: location.to_owned(), reason })
        };
        let changed = |is: Option<String>| {
            let (location, was) = (location.to_owned(), etag.clone());
            Failure::Final(S3Error::SourceChanged { location, was, is })
        };
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let gone = error.as_service_error().is_some_and(|error| error.is_no_such_key());
                return Err(match status(&error) {
                    Some(404) if gone => changed(None),
                    // The refusal does not say what there is now.
                    Some(412) => match self.head(bucket, key).await {
                        Ok(now) => changed(now.map(|now| now.etag)),
                        Err(error) => Failure::Final(error),
                    },
                    _ => judge("read", location, error),
                });
            }
        };
        // A server may not know If-Match, or ranges.
        if let Some(is) = answer.e_tag().filter(|is| is != etag) {
            return Err(changed(Some(is.to_owned())));
        }
        let right = format!("bytes {}-{}/{total}", range.start, range.end - 1);
        if answer.content_range() != Some(&right) {
            let got = answer
                .content_range()
                .map_or_else(|| "an answer without a range".to_owned(), |got| format!("\"{got}\""));
            return Err(wrong(format!(
                "asked for \"{right}\" and got {got}; the server, or a proxy before it, cannot read ranges"
            )));
        }
        let wanted = range.end - range.start;
        let mut left = wanted;
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|error| {
                Failure::Passing(format!(
                    "the answer broke off after {} of {wanted} bytes: {}",
                    wanted - left,
                    chain(&error)
                ))
            })?;
            left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| wrong(format!("the answer to \"{right}\" has more than its {wanted} bytes")))?;
            bytes.extend_from_slice(&chunk);
        }
        if left > 0 {
            return Err(Failure::Passing(format!("the answer ended after {} of {wanted} bytes", wanted - left)));
        }
        Ok(())
    }

    /// A whole object, at once.
    pub(crate) async fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), S3Error> {
        let (bytes, client) = (Bytes::from(bytes), self.client().await);
        self.tried("write", bucket, key, || {
            client.put_object().bucket(bucket).key(key).body(bytes.clone().into()).send()
        })
        .await
        .map(drop)
    }

    /// Removes an object. One that is not there is no error.
    pub(crate) async fn delete(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let client = self.client().await;
        self.tried("remove", bucket, key, || client.delete_object().bucket(bucket).key(key).send()).await.map(drop)
    }

    /// Begins an upload, and says how it is called.
    pub(crate) async fn begin_upload(&self, bucket: &str, key: &str) -> Result<String, S3Error> {
        let client = self.client().await;
        let begin = || client.create_multipart_upload().bucket(bucket).key(key).send();
        let begun = self.tried("begin to write", bucket, key, begin).await?;
        begun.upload_id.ok_or_else(|| S3Error::WrongAnswer {
            what: "begin to write",
            location: format!("s3://{bucket}/{key}"),
            reason: "the server does not say how the upload is called".to_owned(),
        })
    }

    /// Part of an upload: its number counts from 1.
    pub(crate) async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        bytes: Vec<u8>,
    ) -> Result<CompletedPart, S3Error> {
        let (bytes, client) = (Bytes::from(bytes), self.client().await);
        let upload = || {
            let request = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
            request.body(bytes.clone().into()).send()
        };
        let done = self.tried("write", bucket, key, upload).await?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build())
    }

    /// Makes an object of the parts of an upload, which have so many bytes in all.
    pub(crate) async fn complete(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        parts: &[CompletedPart],
        bytes: u64,
    ) -> Result<(), S3Error> {
        let (what, location) = ("complete", format!("s3://{bucket}/{key}"));
        let client = self.client().await;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        let mut attempts = Attempts::new(&self.config, what, &location);
        let mut first = true;
        loop {
            let again = !mem::take(&mut first);
            let request = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
            let request = request.multipart_upload(parts.clone());
            let attempt = async {
                let Err(error) = request.send().await else { return Ok(()) };
                // The upload is gone if it was completed, and only the answer was lost. Not every server says 404 then.
                if again && status(&error).is_some_and(|status| (400..500).contains(&status)) {
                    match self.head(bucket, key).await {
                        Ok(Some(object)) if object.bytes == bytes => return Ok(()),
                        Ok(_) => {}
                        Err(error) => return Err(Failure::Final(error)),
                    }
                }
                Err(judge(what, &location, error))
            };
            if attempts.make(attempt).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Forgets an upload. One that is not there is no error.
    pub(crate) async fn abort(&self, bucket: &str, key: &str, id: &str) -> Result<(), S3Error> {
        let client = self.client().await;
        let abort = || client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send();
        match self.tried("abort an upload of", bucket, key, abort).await {
            Err(S3Error::Refused { answer, .. }) if answer.status == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    /// A request that may be made again as it is.
    async fn tried<T, E, F>(
        &self,
        what: &'static str,
        bucket: &str,
        key: &str,
        request: impl Fn() -> F,
    ) -> Result<T, S3Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let location = format!("s3://{bucket}/{key}");
        let mut attempts = Attempts::new(&self.config, what, &location);
        loop {
            let attempt = async { request().await.map_err(|error| judge(what, &location, error)) };
            if let Some(done) = attempts.make(attempt).await? {
                return Ok(done);
            }
        }
    }
}

/// The status of the answer, if there was one.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn found(
    key: &str,
    bytes: Option<i64>,
    etag: Option<&str>,
    what: &'static str,
    location: &str,
) -> Result<FoundObject, S3Error> {
    match (bytes.map(u64::try_from), etag) {
        (Some(Ok(bytes)), Some(etag)) => Ok(FoundObject { key: key.to_owned(), bytes, etag: etag.to_owned() }),
        _ => {
            let reason = format!(
                "the server does not say how long {key:?} is and which etag it has, so that a change would not be seen"
            );
            Err(S3Error::WrongAnswer { what, location: location.to_owned(), reason })
        }
    }
}

async fn make_client(settings: &S3Config) -> Client {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    // What is tried again, and when a try is over, is decided by us: the body is part of it.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(settings.timeout.min(CONNECT_TIMEOUT)).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &settings.endpoint {
        loader = loader.endpoint_url(url);
    }
    loader = match &settings.access {
        Access::Chain => loader,
        Access::Anonymous => loader.no_credentials(),
        Access::Keys { id, secret, token } => {
            let token = token.as_ref().map(|token| token.0.clone());
            loader.credentials_provider(Credentials::new(&id.0, &secret.0, token, None, "emberflow"))
        }
    };
    let found = loader.load().await;
    let region = found.region().cloned().unwrap_or(Region::from_static(DEFAULT_REGION));
    let path_style = settings.path_style.unwrap_or(settings.endpoint.is_some());
    let config = aws_sdk_s3::config::Builder::from(&found).region(region).force_path_style(path_style);
    Client::from_conf(match settings.access {
        Access::Anonymous => config.allow_no_auth().build(),
        Access::Chain | Access::Keys { .. } => config.build(),
    })
}
