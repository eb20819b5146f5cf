//! Between protocol and storage: what s3s-fs leaves out, what is counted, and what is broken.

use std::{fs, io, path::PathBuf, sync::Arc};

use s3s::{
    S3, S3Error, S3Request, S3Response, S3Result,
    access::{S3Access, S3AccessContext},
    dto::*,
    s3_error,
};
use s3s_fs::FileSystem;

use crate::faults::{Fault, Op, Orders};

/// The bucket that everybody may read, without a signature.
pub const PUBLIC_BUCKET: &str = "public";

pub(crate) struct Layer {
    pub(crate) files: FileSystem,
    pub(crate) root: PathBuf,
    pub(crate) orders: Arc<Orders>,
}

/// Everything to those who sign, and one bucket to everybody.
pub(crate) struct Doors;

#[async_trait::async_trait]
impl S3Access for Doors {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let public = cx.s3_path().get_bucket_name() == Some(PUBLIC_BUCKET);
        if cx.credentials().is_some() || public { Ok(()) } else { Err(s3_error!(AccessDenied, "Access Denied")) }
    }
}

impl Layer {
    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(key)
    }

    /// Notes the request, and fails as ordered where that needs nothing but an answer. The caller does the rest.
    fn begin(&self, op: Op, bucket: &str, key: &str, range: Option<(u64, Option<u64>)>) -> S3Result<Option<Fault>> {
        let Some(fault) = self.orders.came(op, key, range) else { return Ok(None) };
        match &fault {
            Fault::Busy => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Fault::Internal => Err(s3_error!(InternalError, "We encountered an internal error. Please try again.")),
            Fault::Denied => Err(s3_error!(AccessDenied, "Access Denied")),
            Fault::Missing => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            Fault::Expired => Err(s3_error!(ExpiredToken, "The provided token has expired.")),
            Fault::OtherRegion => Err(s3_error!(
                PermanentRedirect,
                "The bucket you are attempting to access must be addressed using the specified endpoint."
            )),
            Fault::Replaced(bytes) | Fault::ReplacedUnseen(bytes) => {
                self.replace(bucket, key, bytes).map_err(S3Error::internal_error)?;
                Ok(Some(fault))
            }
            Fault::Removed => {
                fs::remove_file(self.path(bucket, key)).map_err(S3Error::internal_error)?;
                Ok(None)
            }
            Fault::Whole | Fault::ErrorAfterOk | Fault::ErrorAfterDone => Ok(Some(fault)),
        }
    }

    /// Without what s3s-fs has noted, objects have the ETags of their bytes.
    fn replace(&self, bucket: &str, key: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.path(bucket, key), bytes)?;
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".internal.json") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// s3s-fs takes a directory for an object.
    fn check_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        if self.path(bucket, key).is_dir() {
            return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
        }
        Ok(())
    }

    async fn etag(&self, bucket: &str, key: &str) -> S3Result<Option<ETag>> {
        let input = HeadObjectInput { bucket: bucket.to_owned(), key: key.to_owned(), ..Default::default() };
        Ok(self.files.head_object(request(input)).await?.output.e_tag)
    }
}

/// A request of our own.
pub(crate) fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Default::default(),
        uri: Default::default(),
        headers: Default::default(),
        extensions: Default::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn done<T>(fault: Option<Fault>, response: S3Response<T>) -> S3Result<S3Response<T>> {
    match fault {
        Some(Fault::ErrorAfterDone) => Err(s3_error!(InternalError, "We encountered an internal error.")),
        _ => Ok(response),
    }
}

#[async_trait::async_trait]
impl S3 for Layer {
    async fn get_object(&self, mut req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let range = req.input.range.as_ref().and_then(|range| match range {
            Range::Int { first, last } => Some((*first, *last)),
            Range::Suffix { .. } => None,
        });
        let fault = self.begin(Op::Get, &bucket, &key, range)?;
        self.check_object(&bucket, &key)?;
        let unseen = matches!(fault, Some(Fault::ReplacedUnseen(_)));
        if let (Some(ETagCondition::ETag(wanted)), false) = (&req.input.if_match, unseen)
            // A missing object is for the storage to tell.
            && let Ok(Some(etag)) = self.etag(&bucket, &key).await
            && !etag.strong_cmp(wanted)
        {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        if fault == Some(Fault::Whole) {
            req.input.range = None;
        }
        done(fault, self.files.get_object(req).await?)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let (bucket, key) = (&req.input.bucket, &req.input.key);
        self.begin(Op::Head, bucket, key, None)?;
        self.check_object(bucket, key)?;
        self.files.head_object(req).await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = req.input.bucket.clone();
        self.begin(Op::List, &bucket, req.input.prefix.as_deref().unwrap_or_default(), None)?;
        let mut response = self.files.list_objects_v2(req).await?;
        for object in response.output.contents.iter_mut().flatten() {
            object.e_tag = self.etag(&bucket, object.key.as_deref().unwrap_or_default()).await?;
        }
        Ok(response)
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let fault = self.begin(Op::Put, &req.input.bucket, &req.input.key, None)?;
        done(fault, self.files.put_object(req).await?)
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let fault = self.begin(Op::Delete, &req.input.bucket, &req.input.key, None)?;
        done(fault, self.files.delete_object(req).await?)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let fault = self.begin(Op::CreateUpload, &req.input.bucket, &req.input.key, None)?;
        done(fault, self.files.create_multipart_upload(req).await?)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let fault = self.begin(Op::UploadPart, &req.input.bucket, &req.input.key, None)?;
        done(fault, self.files.upload_part(req).await?)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let fault = self.begin(Op::Complete, &req.input.bucket, &req.input.key, None)?;
        if fault == Some(Fault::ErrorAfterOk) {
            let failing =
                async { Err(s3_error!(InternalError, "We encountered an internal error. Please try again.")) };
            let output = CompleteMultipartUploadOutput { future: Some(Box::pin(failing)), ..Default::default() };
            return Ok(S3Response::new(output));
        }
        done(fault, self.files.complete_multipart_upload(req).await?)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let fault = self.begin(Op::Abort, &req.input.bucket, &req.input.key, None)?;
        done(fault, self.files.abort_multipart_upload(req).await?)
    }
}
