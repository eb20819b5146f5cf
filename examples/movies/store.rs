//! An S3 server for those who have none: on the loopback interface, with one object, gone with the program.

use std::{fs, io, path::Path};

use emberflow::S3Config;
use emberflow_s3_server::{ACCESS_KEY, SECRET_KEY, Server};

/// Where the films are.
pub(crate) const FILMS: &str = "s3://jigsaw-labs/imdb_movies.csv";

pub(crate) struct Store(Server);

impl Store {
    /// Starts a server that has the file at `path` as [`FILMS`].
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        let server = Server::start()?;
        server.put("jigsaw-labs", "imdb_movies.csv", fs::read(path)?)?;
        Ok(Self(server))
    }

    /// How to get there.
    pub(crate) fn config(&self) -> S3Config {
        S3Config::new().endpoint(self.0.endpoint()).region("us-east-1").keys(ACCESS_KEY, SECRET_KEY)
    }
}
