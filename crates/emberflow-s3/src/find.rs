//! Which objects a path names: one, all below a prefix, or all that a glob matches. Asked once, for the whole RDD.

use std::{path::Path, sync::Arc};

use emberflow_core::{
    error::{Error, Result},
    storage::InputFile,
};
use glob::{MatchOptions, Pattern};

use crate::{Location, S3, S3Error, blocks::Object, client::Found, pending::Pending};

/// As in a local directory: only `**` goes through a `/`.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl S3 {
    /// The objects that a path names, in the order of their keys: an object, all below a prefix (but not those whose
    /// names begin with `_` or `.`, nor in such a directory), or all that a glob matches. Waits for the answer.
    ///
    /// # Errors
    /// [`Error::NoSuchInput`] if there are none, [`Error::BadGlob`], or [`Error::Storage`] with an [`S3Error`].
    pub fn find(self: &Arc<Self>, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
        let shown = || path.to_string_lossy().into_owned();
        let location = Location::parse(path).map_err(|reason| S3Error::BadPath { path: shown(), reason })?;
        let pattern = location.glob_prefix().map(|_| Pattern::new(&location.key)).transpose();
        let (s3, place) = (Arc::clone(self), location.clone());
        let found = match &pattern {
            Ok(Some(pattern)) => {
                let pattern = pattern.clone();
                Pending::begin(&self.io, async move { s3.find_matches(&place, &pattern).await }).wait()?
            }
            // What is no glob may be a key.
            Ok(None) | Err(_) => Pending::begin(&self.io, async move { s3.find_literally(&place).await }).wait()?,
        };
        if found.is_empty() {
            return Err(match pattern {
                Err(error) => Error::BadGlob { pattern: shown(), reason: error.to_string() },
                Ok(_) => Error::NoSuchInput { pattern: shown() },
            });
        }
        let object = |found| -> Arc<dyn InputFile> { Arc::new(Object::new(Arc::clone(self), &location, found)) };
        Ok(found.into_iter().map(object).collect())
    }

    async fn find_literally(&self, Location { bucket, key }: &Location) -> Result<Vec<Found>, S3Error> {
        let mut prefix = key.clone();
        if !key.is_empty() && !key.ends_with('/') {
            if let Some(object) = self.head(bucket, key).await? {
                return Ok(vec![object]);
            }
            prefix.push('/');
        }
        let mut objects = self.list(bucket, &prefix).await?;
        objects.retain(|object| !is_hidden(&object.key[prefix.len()..]) && !is_mark(object));
        Ok(objects)
    }

    async fn find_matches(&self, location: &Location, pattern: &Pattern) -> Result<Vec<Found>, S3Error> {
        let mut objects = self.list(&location.bucket, location.glob_prefix().unwrap_or_default()).await?;
        objects.retain(|object| {
            !is_mark(object) && (pattern.matches_with(&object.key, OPTIONS) || object.key == location.key)
        });
        Ok(objects)
    }
}

/// Marks and unfinished output, as in Hadoop and Spark.
fn is_hidden(key: &str) -> bool {
    key.split('/').any(|name| name.starts_with(['_', '.']))
}

/// What tools leave to show an empty directory.
fn is_mark(object: &Found) -> bool {
    object.bytes == 0 && object.key.ends_with('/')
}
