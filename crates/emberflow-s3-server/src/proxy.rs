//! A proxy that breaks connections: what lies below the protocol.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
};

/// How a connection breaks, when so many bytes of one answer have gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The peer says that it is gone.
    Reset(u64),
    /// It ends as if all had been said.
    Cut(u64),
    /// Nothing more comes, and the connection stays.
    Stall(u64),
}

/// A proxy before a server, which ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    orders: Arc<Mutex<Vec<Break>>>,
    /// Closed when this is dropped, which the thread sees.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy before the server that listens at `server`.
    ///
    /// # Errors
    /// If the system refuses a port or a thread.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let orders = Arc::new(Mutex::new(Vec::new()));
        let (address, breaks, (end, ended)) = (listener.local_addr()?, Arc::clone(&orders), oneshot::channel());
        let thread = thread::Builder::new().name("s3-proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = forward_all(listener, server, breaks) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { address, orders, end: Some(end), thread: Some(thread) })
    }

    /// The URL of the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks the next answer that gets so far: one order an answer, in their order.
    pub fn order(&self, breaks: impl IntoIterator<Item = Break>) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).extend(breaks);
    }

    /// How many orders have not been carried out.
    pub fn left(&self) -> usize {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        assert!(!panicked || thread::panicking(), "the proxy had panicked");
    }
}

async fn forward_all(listener: TcpListener, server: SocketAddr, orders: Arc<Mutex<Vec<Break>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let orders = Arc::clone(&orders);
        tokio::spawn(async move {
            // How it ends is for both sides to tell.
            let _ = forward(client, server, &orders).await;
        });
    }
}

/// Forwards both ways until one side ends, or an order is due on this connection.
async fn forward(mut client: TcpStream, server: SocketAddr, orders: &Mutex<Vec<Break>>) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // Of the answer to the last question.
    let mut passed = 0;
    loop {
        tokio::select! {
            bytes = client.read(&mut asked) => {
                let bytes = bytes?;
                if bytes == 0 {
                    return Ok(());
                }
                passed = 0;
                server.write_all(&asked[..bytes]).await?;
            }
            bytes = server.read(&mut answered) => {
                let bytes = bytes?;
                if bytes == 0 {
                    return Ok(());
                }
                if let Some((order, after)) = due(orders, passed + bytes as u64) {
                    client.write_all(&answered[..after.saturating_sub(passed) as usize]).await?;
                    return end(client, order).await;
                }
                passed += bytes as u64;
                client.write_all(&answered[..bytes]).await?;
            }
        }
    }
}

/// Takes the first order if it is due when so many bytes have been answered, and says after how many it was.
fn due(orders: &Mutex<Vec<Break>>, answered: u64) -> Option<(Break, u64)> {
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    let (Break::Reset(after) | Break::Cut(after) | Break::Stall(after)) = *orders.first()?;
    (answered > after).then(|| (orders.remove(0), after))
}

async fn end(mut client: TcpStream, order: Break) -> io::Result<()> {
    match order {
        Break::Reset(_) => client.set_zero_linger(),
        Break::Cut(_) => client.shutdown().await,
        // Until the client has had enough.
        Break::Stall(_) => client.read(&mut [0]).await.map(drop),
    }
}
