//! Paths such as `s3://bucket/key`, each with its parts: a bucket, and a key as it is, with nothing to be decoded.

use std::path::{Path, PathBuf};

use emberflow_core::pattern::first_wildcard;

/// The prefixes of the paths of S3; `s3a` is Hadoop's and Spark's.
const SCHEMES: [&str; 2] = ["s3://", "s3a://"];

/// A bucket and a key, the beginning of keys, or a glob of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// The key, which may be empty.
    pub key: String,
}

impl Location {
    /// The location that a path names.
    ///
    /// # Errors
    /// The reason why the path is wrong, and what would be right.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use emberflow_s3::Location;
    /// let location = Location::parse(Path::new("s3://films/top 250/a+b.csv"))?;
    /// assert_eq!((location.bucket.as_str(), location.key.as_str()), ("films", "top 250/a+b.csv"));
    /// # Ok::<(), &'static str>(())
    /// ```
    pub fn parse(path: &Path) -> Result<Self, &'static str> {
        let text = path.to_str().ok_or("not UTF-8; the keys of S3 are")?;
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.ok_or("not of S3; give a path such as s3://bucket/key")?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || first_wildcard(bucket).is_some() {
            return Err("it names no bucket; give a path such as s3://bucket/key");
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The same bucket with another key, as a path.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use emberflow_s3::Location;
    /// let location = Location::parse(Path::new("s3://films/*.csv"))?;
    /// assert_eq!(location.path_of("a.csv"), Path::new("s3://films/a.csv"));
    /// # Ok::<(), &'static str>(())
    /// ```
    pub fn path_of(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}{}/{key}", SCHEMES[0], self.bucket))
    }

    /// The prefix of all keys that the glob may match; `None` if the key is not a glob.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use emberflow_s3::Location;
    /// let glob = Location::parse(Path::new("s3://films/by-year/20*/a?.csv"))?;
    /// assert_eq!(glob.glob_prefix(), Some("by-year/20"));
    /// # Ok::<(), &'static str>(())
    /// ```
    pub fn glob_prefix(&self) -> Option<&str> {
        first_wildcard(&self.key).map(|at| &self.key[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_as_it_is() {
        for key in ["", "a", "a/", "a//b", "/a", "100%25 & more?x=y#z", "caf\u{e9}/\u{1f525}", "a/../b", "s3://x"] {
            let location = Location::parse(Path::new(&format!("s3a://films/{key}"))).unwrap();
            assert_eq!(location, Location { bucket: "films".to_owned(), key: key.to_owned() });
            assert_eq!(location.path_of(key).to_str().unwrap(), format!("s3://films/{key}"));
        }
        assert_eq!(Location::parse(Path::new("s3://films")).unwrap().key, "");
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for path in ["s3://", "s3:///key", "s3://*/key", "s3://fi?ms/key"] {
            assert!(Location::parse(Path::new(path)).unwrap_err().contains("names no bucket"), "{path}");
        }
        assert!(Location::parse(Path::new("/films")).is_err());
    }
}
