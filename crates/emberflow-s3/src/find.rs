//! Which objects a path names: one, all below a prefix, or all that a glob matches. Asked once, for the whole RDD.

use std::{path::Path, sync::Arc};

use emberflow_core::{
    error::{Error, Result},
    pattern::{Glob, is_hidden},
    storage::InputFile,
};

use crate::{Location, S3, S3Error, blocks::Object, client::FoundObject, pending::Pending};

impl S3 {
    /// The objects that a path names, in the order of their keys: an object, all below a prefix (but not those whose
    /// names begin with `_` or `.`, nor in such a directory), or all that a glob matches, as it would match files and
    /// folders. Waits for the answer.
    ///
    /// # Errors
    /// [`Error::NoSuchInput`] if there are none, [`Error::BadGlob`], or [`Error::Storage`] with an [`S3Error`].
    pub fn find(self: &Arc<Self>, path: &Path) -> Result<Vec<Arc<dyn InputFile>>> {
        let shown = || path.to_string_lossy().into_owned();
        let location = Location::parse(path).map_err(|reason| S3Error::BadPath { path: shown(), reason })?;
        let (s3, place) = (Arc::clone(self), location.clone());
        let pattern = if location.glob_prefix().is_some() { Glob::all(&location.key).map(Some) } else { Ok(None) };
        let found = match &pattern {
            Ok(Some(_)) => Pending::begin(&self.io, async move { s3.find_matches(&place).await }).wait()?,
            // What is no glob may be a key.
            Ok(None) | Err(_) => Pending::begin(&self.io, async move { s3.find_literally(&place).await }).wait()?,
        };
        if found.is_empty() {
            return Err(match pattern {
                Err(reason) => Error::BadGlob { pattern: shown(), reason },
                Ok(_) => Error::NoSuchInput { pattern: shown() },
            });
        }
        let object = |found| -> Arc<dyn InputFile> { Arc::new(Object::new(Arc::clone(self), &location, found)) };
        Ok(found.into_iter().map(object).collect())
    }

    async fn find_literally(&self, Location { bucket, key }: &Location) -> Result<Vec<FoundObject>, S3Error> {
        let mut prefix = key.clone();
        if !key.is_empty() && !key.ends_with('/') {
            if let Some(object) = self.head(bucket, key).await? {
                return Ok(vec![object]);
            }
            prefix.push('/');
        }
        let mut objects = self.list(bucket, &prefix).await?;
        objects.retain(|object| !hides(&object.key[prefix.len()..]) && !is_mark(object));
        Ok(objects)
    }

    async fn find_matches(&self, location: &Location) -> Result<Vec<FoundObject>, S3Error> {
        let objects = self.list(&location.bucket, location.glob_prefix().unwrap_or_default()).await?;
        Ok(matches(objects, &location.key))
    }
}

/// The objects that a glob names. As with files, what is there as the text stands comes before what the text matches: an
/// object, a folder, or the folders with which it begins.
fn matches(mut objects: Vec<FoundObject>, text: &str) -> Vec<FoundObject> {
    objects.retain(|object| !is_mark(object));
    if objects.iter().any(|object| object.key == text) {
        objects.retain(|object| object.key == text);
        return objects;
    }
    let folder = format!("{}/", text.trim_end_matches('/'));
    let is_folder = |folder: &str| objects.iter().any(|object| object.key.starts_with(folder));
    let cuts = folder.match_indices('/').map(|(at, _)| at + 1);
    let there = cuts.take_while(|cut| is_folder(&folder[..*cut])).last().unwrap_or(0);
    if there == folder.len() {
        objects.retain(|object| object.key.strip_prefix(&folder).is_some_and(|below| !hides(below)));
        return objects;
    }
    let (there, rest) = folder[..folder.len() - 1].split_at(there);
    // The rest is a glob as the whole is, unless a class of characters was cut: then it names nothing.
    let globs = Glob::all(rest).unwrap_or_default();
    objects.retain(|object| {
        object.key.strip_prefix(there).is_some_and(|below| globs.iter().any(|glob| glob.matches(below)))
    });
    objects
}

/// Marks and unfinished output, as in Hadoop and Spark.
fn hides(key: &str) -> bool {
    key.split('/').any(is_hidden)
}

/// Returns whether an object is one that tools leave to show an empty directory.
fn is_mark(object: &FoundObject) -> bool {
    object.bytes == 0 && object.key.ends_with('/')
}
