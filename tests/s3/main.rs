//! S3: what is read is what a local file would give, by as few requests as that takes, whatever breaks.
//!
//! The server is a real one, on the loopback interface; what is broken, and what was asked, it says itself.

mod faults;
mod reading;
#[path = "../support/mod.rs"]
mod support;

use std::{fs, path::PathBuf, time::Duration};

use emberflow::{ContextBuilder, S3Config};
use emberflow_s3_server::{ACCESS_KEY, Op, Request, SECRET_KEY, Server};

use self::support::World;

/// A server, and a context that knows it.
struct Store {
    // Before the server, whose connections it holds.
    world: World,
    server: Server,
}

/// How the context gets to the server, unless the test says otherwise.
fn config(endpoint: String) -> S3Config {
    S3Config::new().endpoint(endpoint).region("us-east-1").keys(ACCESS_KEY, SECRET_KEY).timeout(Duration::from_secs(20))
}

impl Store {
    fn new() -> Self {
        Self::with(|config| config, |builder| builder.workers(2))
    }

    fn with(s3: impl FnOnce(S3Config) -> S3Config, settings: impl FnOnce(ContextBuilder) -> ContextBuilder) -> Self {
        let server = Server::start().unwrap();
        server.make_bucket("films").unwrap();
        let world = World::with(|builder| settings(builder.s3(s3(config(server.endpoint())))));
        Self { world, server }
    }

    fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.server.put("films", key, bytes).unwrap();
    }

    /// The same bytes in a local file.
    fn local(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.world.files().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn lines(&self, path: &str) -> emberflow::Result<Vec<String>> {
        self.world.text_file(path)?.collect()
    }

    /// What was asked since the last time.
    fn asked(&self) -> Asked {
        Asked(self.server.take_requests())
    }
}

struct Asked(Vec<Request>);

impl Asked {
    fn count(&self, op: Op) -> usize {
        self.0.iter().filter(|request| request.op == op).count()
    }

    /// The ranges of bytes that were asked for, sorted: the first and the last byte of each.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let gets = self.0.iter().filter(|request| request.op == Op::Get);
        let mut ranges: Vec<_> = gets.map(|get| get.range.unwrap()).map(|(a, b)| (a, b.unwrap())).collect();
        ranges.sort_unstable();
        ranges
    }
}

/// Lines of about so many bytes in all.
fn numbered_lines(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 200);
    for n in 0_u64.. {
        if text.len() >= bytes {
            break;
        }
        let end = "x".repeat((n * 7919 % 150) as usize);
        text.push_str(&format!("line {n} {end}\n"));
    }
    text
}
