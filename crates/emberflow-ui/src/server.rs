//! The server and what feeds it: one thread folds events into the status, one answers requests from it. Both end when
//! the events do, which is when the engine stops.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, RwLock, Weak},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
    routing::get,
};
use emberflow_core::backend::Backend;
use emberflow_runtime::Engine;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use crate::{
    app::App,
    application::Application,
    log::{self, Replayed},
    metrics, page, rest,
    security::{self, Listen, Rules, Token},
    status::{Limits, Status},
};

/// Events that wait for the fold.
const EVENTS: usize = 1 << 16;

/// Ports that are tried after the one that was asked for.
const MORE_PORTS: u16 = 16;

/// A browser is told of news no oftener than this.
const NEWS_EVERY: Duration = Duration::from_millis(300);

/// How long requests that are under way may take when the engine stops.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// A server that is up.
#[derive(Clone, Debug)]
pub struct Served {
    address: SocketAddr,
    token: Token,
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page, with the token: for the application's owner only. If it listens on every interface, as one on this
    /// machine finds it.
    pub fn url(&self) -> String {
        format!("{}#token={}", self.plain_url(), self.token.reveal())
    }

    /// The page, without the token.
    pub fn plain_url(&self) -> String {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("http://{address}/")
    }
}

/// Serves the page of an engine and of the backend that runs its jobs, until the engine stops.
///
/// # Errors
/// If no port is free, or the system refuses a thread.
pub fn serve(
    engine: &Arc<Engine>,
    backend: &Arc<dyn Backend>,
    about: Application,
    listen: &Listen,
) -> io::Result<Served> {
    let (door, served) = Door::open(listen)?;
    let status = RwLock::new(Status::new(Limits::default()));
    let app = Arc::new(App {
        about,
        replayed: false,
        engine: Arc::downgrade(engine),
        backend: Arc::downgrade(backend),
        status,
        news: watch::Sender::default(),
    });
    engine.listen("ui", EVENTS, move |events| {
        thread::scope(|scope| {
            let fold = thread::Builder::new().name(format!("{}-status", app.about.name));
            match fold.spawn_scoped(scope, || app.follow(events)) {
                Ok(_) => door.answer(&app),
                Err(error) => tracing::error!(%error, "cannot start the thread that follows events: there is no page"),
            }
        });
    })?;
    Ok(served)
}

/// The page of an application that has ended, from its [log](crate::log). Ends when it is dropped.
///
/// ```no_run
/// let history = emberflow_ui::replay("logs/local-1763920000000".as_ref(), 4040)?;
/// println!("look at {}", history.url());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct History {
    address: SocketAddr,
    app: Arc<App>,
    thread: Option<thread::JoinHandle<()>>,
}

impl History {
    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("address", &self.address)
            .field("app", &self.app.about.id)
            .finish_non_exhaustive()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.app.news.send_modify(|news| news.over = true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the page's thread had panicked");
        }
    }
}

/// Serves what a log tells, on the loopback interface, at this port or one of the next sixteen; zero is any.
///
/// # Errors
/// If the log cannot be read or is none of ours, which is said with its line; if no port is free, or the system refuses
/// a thread.
pub fn replay(log: &Path, port: u16) -> io::Result<History> {
    let Replayed { app: about, status } = log::read(log)?;
    let (door, Served { address, .. }) = Door::open(&Listen::locally(port))?;
    let app = Arc::new(App {
        about,
        replayed: true,
        engine: Weak::new(),
        backend: Weak::<Engine>::new(),
        status: RwLock::new(status),
        news: watch::Sender::default(),
    });
    let shown = Arc::clone(&app);
    let thread = thread::Builder::new().name("history".to_owned()).spawn(move || door.answer(&shown))?;
    Ok(History { address, app, thread: Some(thread) })
}

/// A port that is listened to, and what answers there.
struct Door {
    listener: TcpListener,
    rules: Rules,
    runtime: tokio::runtime::Runtime,
}

impl Door {
    fn open(listen: &Listen) -> io::Result<(Self, Served)> {
        let token = listen.token.clone().map_or_else(Token::random, Ok)?;
        let rules = Rules::new(listen, token.clone());
        let listener = bind(listen.address, listen.port)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((Self { listener, rules, runtime }, Served { address, token }))
    }

    /// Answers until there are no more news. Ends whatever a browser still holds open then.
    fn answer(self, app: &Arc<App>) {
        let routes = routes(Arc::clone(app), self.rules);
        self.runtime.block_on(answer(self.listener, routes, app));
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let ports = if port == 0 { 0..=0 } else { port..=port.saturating_add(MORE_PORTS) };
    let mut refused = None;
    for port in ports {
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => _ = refused.get_or_insert(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

async fn answer(listener: TcpListener, routes: Router, app: &App) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen: there is no page"),
    };
    let over = || {
        let mut news = app.news.subscribe();
        // The sender lives as long as the application.
        async move { _ = news.wait_for(|news| news.over).await }
    };
    let server = axum::serve(listener, routes).with_graceful_shutdown(over());
    let late = async {
        over().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        ended = server.into_future() => {
            if let Err(error) = ended {
                tracing::error!(%error, "the page is gone");
            }
        }
        () = late => {}
    }
}

fn routes(app: Arc<App>, rules: Rules) -> Router {
    Router::new()
        .route("/", get(page::document))
        .route("/page/{script}", get(page::script))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/metrics", get(metrics_text))
        .route("/news", get(news))
        .nest("/api/v1", rest::routes(&app))
        .fallback(page::no_such_page)
        .with_state(app)
        .layer(middleware::from_fn_with_state(Arc::new(rules), security::guard))
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    match metrics::render(&app) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n")).into_response()
        }
    }
}

/// Says that there are news, now and then, and sends the figures at the top of every page. The page asks for all else
/// that it shows: so a slow browser gets fewer pictures, and no queue grows.
async fn news(State(app): State<Arc<App>>) -> Sse<impl Stream<Item = Result<Message, axum::Error>>> {
    let told = app.news.subscribe();
    let news = stream::unfold((app, told, true), |(app, mut told, first)| async move {
        if !first {
            if told.borrow().over {
                return None;
            }
            // Not yet, unless it is the last.
            let mut end = app.news.subscribe();
            _ = tokio::time::timeout(NEWS_EVERY, end.wait_for(|news| news.over)).await;
            // The sender lives as long as the application.
            told.changed().await.ok()?;
        }
        let over = told.borrow_and_update().over;
        let mut overview = rest::overview(&app);
        overview["over"] = over.into();
        Some((Message::default().json_data(overview), (app, told, false)))
    });
    Sse::new(news).keep_alive(KeepAlive::default())
}
