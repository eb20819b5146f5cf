//! A client that says exactly what it is told to, which no well-behaved library would: one request a connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use emberflow::Context;
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, Some("application/json")), "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The page of a context, from outside.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Page {
    pub(crate) fn of(ctx: &Context) -> Self {
        let url = ctx.ui_url().expect("the context has a page");
        let (address, token) = url.strip_prefix("http://").unwrap().split_once("/#token=").unwrap();
        Self { address: address.to_owned(), token: token.to_owned() }
    }

    /// Sends `head`, a request's lines without the last empty one, and reads the answer.
    pub(crate) fn send(&self, head: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer to {head:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut body = String::new();
        // The length is known, or the connection ends with the body.
        reader.read_to_string(&mut body).unwrap();
        Answer { status, headers, body }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address))
    }

    pub(crate) fn api(&self, path: &str) -> Value {
        self.get(&format!("/api/v1/applications/-{path}")).json()
    }

    pub(crate) fn post(&self, path: &str, more: &str) -> Answer {
        self.send(&format!("POST /api/v1/applications/-{path} HTTP/1.1\r\nHost: {}{more}", self.address))
    }

    /// The news as they come, line by line.
    pub(crate) fn news(&self) -> impl Iterator<Item = Value> + use<> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /news HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
    }
}
