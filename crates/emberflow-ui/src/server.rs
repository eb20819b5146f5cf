//! The server and what feeds it: one thread folds events into the status, one answers requests from it. Both end when
//! the events do, which is when the engine stops.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
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
use emberflow_core::ids::{JobId, TaskId};
use emberflow_runtime::{Engine, EventStream, MemoryUse};
use futures_util::{Stream, stream};
use tokio::sync::watch;

use crate::{
    metrics, page, rest,
    security::{self, Token},
    status::{Limits, Status},
};

/// Events that wait for the fold.
const EVENTS: usize = 1 << 16;

/// Events that are taken in at once, so that whoever asks need not wait long.
const AT_ONCE: usize = 1024;

/// Ports that are tried after the one that was asked for.
const MORE_PORTS: u16 = 16;

/// A browser is told of news no oftener than this.
const NEWS_EVERY: Duration = Duration::from_millis(300);

/// How long requests that are under way may take when the engine stops.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// What [`serve`] needs to know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The port to listen on; if it is taken, one of the next sixteen. Zero for any.
    pub port: u16,
    /// The settings of the application, by name. Secrets are left out by their names.
    pub settings: Vec<(String, String)>,
}

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

    /// The page, with the token that allows changes: for the application's owner only.
    pub fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.token.reveal())
    }
}

/// What the handlers answer from.
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) workers: usize,
    pub(crate) started: SystemTime,
    pub(crate) settings: Vec<(String, String)>,
    engine: Weak<Engine>,
    status: RwLock<Status>,
    news: watch::Sender<News>,
}

/// Told to whoever waits for news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    version: u64,
    over: bool,
}

impl App {
    pub(crate) fn status(&self) -> RwLockReadGuard<'_, Status> {
        self.status.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        self.engine.upgrade().map(|engine| engine.memory()).unwrap_or_default()
    }

    pub(crate) fn workers_now(&self) -> Vec<Option<TaskId>> {
        self.engine.upgrade().map(|engine| engine.workers_now()).unwrap_or_default()
    }

    pub(crate) fn cancel(&self, job: JobId) {
        // One that stops has cancelled it.
        if let Some(engine) = self.engine.upgrade() {
            engine.cancel(job);
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.news.borrow().version
    }

    /// Takes in events until there are no more.
    fn follow(&self, mut events: EventStream) {
        while let Some(first) = events.next() {
            let memory = self.memory();
            let mut status = self.status.write().unwrap_or_else(PoisonError::into_inner);
            status.sample(first.at, memory);
            status.apply(&first);
            for record in std::iter::from_fn(|| events.try_next()).take(AT_ONCE) {
                status.apply(&record);
            }
            drop(status);
            self.news.send_modify(|news| news.version += 1);
        }
        self.news.send_modify(|news| news.over = true);
    }
}

/// Serves the page of an engine on the loopback interface, until the engine stops.
///
/// # Errors
/// If no port is free, or the system refuses a thread.
pub fn serve(engine: &Arc<Engine>, settings: Settings) -> io::Result<Served> {
    let token = Token::random()?;
    let listener = bind(settings.port)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = SystemTime::now();
    let millis = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let redacted = |(name, value): (String, String)| {
        let value = if security::is_secret(&name) { "***".to_owned() } else { value };
        (name, value)
    };
    let app = Arc::new(App {
        id: format!("local-{millis}"),
        name: engine.config().app_name.clone(),
        workers: engine.config().workers,
        started,
        settings: settings.settings.into_iter().map(redacted).collect(),
        engine: Arc::downgrade(engine),
        status: RwLock::new(Status::new(Limits::default())),
        news: watch::Sender::new(News::default()),
    });
    let routes = routes(Arc::clone(&app), token.clone());
    engine.listen("ui", EVENTS, move |events| {
        thread::scope(|scope| {
            let fold = thread::Builder::new().name(format!("{}-status", app.name));
            let fold = fold.spawn_scoped(scope, || app.follow(events));
            match fold {
                Ok(_) => runtime.block_on(answer(listener, routes, &app)),
                Err(error) => tracing::error!(%error, "cannot start the thread that follows events: there is no page"),
            }
            // Dropping the runtime ends whatever a browser still holds open.
            drop(runtime);
        });
    })?;
    Ok(Served { address, token })
}

fn bind(port: u16) -> io::Result<TcpListener> {
    let ports = if port == 0 { 0..=0 } else { port..=port.saturating_add(MORE_PORTS) };
    let mut refused = None;
    for port in ports {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
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

fn routes(app: Arc<App>, token: Token) -> Router {
    Router::new()
        .route("/", get(page::document))
        .route("/page.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/metrics", get(metrics_text))
        .route("/news", get(news))
        .nest("/api/v1", rest::routes(&app))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page; begin at /\n") })
        .with_state(app)
        .layer(middleware::from_fn_with_state(token, security::guard))
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    match metrics::render(&app) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n")).into_response()
        }
    }
}

/// Says that there are news, now and then, and what stands at the top of every page. What else it shows the page asks
/// for: so a slow browser gets fewer pictures, and no queue grows.
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
