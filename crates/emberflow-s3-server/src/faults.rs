//! The requests that a server was sent, and how it is to fail.

use std::sync::{Mutex, PoisonError};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The bytes of an object.
    Get,
    /// The facts about an object.
    Head,
    /// The objects of a bucket.
    List,
    /// An object to be written at once.
    Put,
    /// An object to be removed.
    Delete,
    /// An upload to be begun.
    CreateUpload,
    /// A part of an upload.
    UploadPart,
    /// An upload to become an object.
    Complete,
    /// An upload to be forgotten.
    Abort,
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503: `SlowDown`.
    Busy,
    /// 500: `InternalError`.
    Internal,
    /// 403: `AccessDenied`.
    Denied,
    /// 404: `NoSuchKey`.
    Missing,
    /// 400: `ExpiredToken`.
    Expired,
    /// 301: `PermanentRedirect`.
    OtherRegion,
    /// The object has these bytes instead, from before the request on.
    Replaced(Vec<u8>),
    /// The object is removed before the request.
    Removed,
    /// The whole object with 200, although a range was asked for.
    Whole,
    /// The object as if `If-Match` were unknown, and these bytes had replaced it.
    ReplacedUnseen(Vec<u8>),
    /// 200, and then an error as the body (only for [`Op::Complete`]).
    ErrorAfterOk,
    /// The request is carried out, and then answered with 500.
    ErrorAfterDone,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of request.
    pub op: Op,
    /// The key or prefix that it asks for.
    pub key: String,
    /// The bytes that it asks for, from the first to the last one.
    pub range: Option<(u64, Option<u64>)>,
}

/// The faults that were ordered, and the requests that came.
#[derive(Default)]
pub(crate) struct Orders(Mutex<State>);

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<Request>,
}

struct Rule {
    op: Op,
    fault: Fault,
    skip: usize,
    times: usize,
}

impl Orders {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, op: Op, fault: Fault, skip: usize, times: usize) {
        self.with(|state| state.rules.push(Rule { op, fault, skip, times }));
    }

    pub(crate) fn clear(&self) {
        self.with(|state| state.rules.clear());
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        self.with(|state| std::mem::take(&mut state.requests))
    }

    /// Notes a request, and says how it is to fail.
    pub(crate) fn came(&self, op: Op, key: &str, range: Option<(u64, Option<u64>)>) -> Option<Fault> {
        self.with(|state| {
            state.requests.push(Request { op, key: key.to_owned(), range });
            let rule = state.rules.iter_mut().find(|rule| rule.op == op && rule.times > 0)?;
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            rule.times -= 1;
            Some(rule.fault.clone())
        })
    }
}
