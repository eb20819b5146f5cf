//! The server: a thread with a runtime that listens on the loopback interface.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3,
    auth::SimpleAuth,
    dto::{PutObjectInput, StreamingBlob},
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use crate::{
    Fault, Op, Request,
    faults::Orders,
    layer::{Doors, Layer, request},
};

/// The key that the server knows,
pub const ACCESS_KEY: &str = "EMBERFLOWTESTKEY";
/// and its secret: odd enough to be found wherever it should not be.
pub const SECRET_KEY: &str = "canary-7f3e-secret-of-the-loopback-server";

/// An S3 server, which ends when it is dropped, with everything that was put into it.
pub struct Server {
    address: SocketAddr,
    dir: TempDir,
    orders: Arc<Orders>,
    /// Closed when this is dropped, which the thread sees.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a port of its own.
    ///
    /// # Errors
    /// If the system refuses a directory, a port or a thread.
    pub fn start() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let orders = Arc::new(Orders::default());
        let service = service_of(dir.path(), &orders)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let (address, (end, ended)) = (listener.local_addr()?, oneshot::channel());
        let thread = thread::Builder::new().name("s3-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, service) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { address, dir, orders, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// If the storage refuses it.
    pub fn make_bucket(&self, bucket: &str) -> io::Result<()> {
        fs::create_dir_all(self.dir.path().join(bucket))
    }

    /// Puts an object, and makes its bucket if there is none.
    ///
    /// # Errors
    /// If the storage refuses it.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
        self.make_bucket(bucket)?;
        let bytes: Vec<u8> = bytes.into();
        let input = PutObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            content_length: i64::try_from(bytes.len()).ok(),
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            ..Default::default()
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let files = files_of(self.dir.path())?;
        runtime.block_on(files.put_object(request(input))).map_err(io::Error::other)?;
        Ok(())
    }

    /// The objects of a bucket with their bytes, in the order of their keys.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn objects(&self, bucket: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
        let root = self.dir.path().join(bucket);
        let (mut objects, mut dirs) = (Vec::new(), vec![root.clone()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let key = path.strip_prefix(&root).map_err(io::Error::other)?.to_string_lossy().into_owned();
                    objects.push((key, fs::read(path)?));
                }
            }
        }
        objects.sort();
        Ok(objects)
    }

    /// The names of what is left of uploads that were neither completed nor aborted.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn unfinished_uploads(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.dir.path())?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names = names.collect::<io::Result<Vec<String>>>()?;
        Ok(names.into_iter().filter(|name| name.starts_with(".upload")).collect())
    }

    /// Lets the next `times` requests of this kind fail.
    pub fn fail(&self, op: Op, fault: Fault, times: usize) {
        self.fail_after(op, fault, 0, times);
    }

    /// As [`fail`](Self::fail), when `skip` of them have been answered as they should.
    pub fn fail_after(&self, op: Op, fault: Fault, skip: usize, times: usize) {
        self.orders.add(op, fault, skip, times);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.orders.clear();
    }

    /// Takes the requests that came since this was called last.
    pub fn take_requests(&self) -> Vec<Request> {
        self.orders.take_requests()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        assert!(!panicked || thread::panicking(), "the s3 server had panicked");
    }
}

fn files_of(root: &Path) -> io::Result<FileSystem> {
    FileSystem::new(root).map_err(|error| io::Error::other(format!("{error:?}")))
}

fn service_of(root: &Path, orders: &Arc<Orders>) -> io::Result<S3Service> {
    let layer = Layer { files: files_of(root)?, root: root.to_owned(), orders: Arc::clone(orders) };
    let mut service = S3ServiceBuilder::new(layer);
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    service.set_access(Doors);
    Ok(service.build())
}

async fn serve(listener: TcpListener, service: S3Service) {
    // A connection that cannot be accepted has ended already.
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            // How a connection ends is for the other side to tell.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
