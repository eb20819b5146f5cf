//! The page: one document, its scripts, one style sheet, one icon, all of them part of the program. Nothing is fetched
//! from elsewhere, and nothing in them comes from users.

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

/// Returns whether a path is one of these files, which tell nothing of the application.
pub(crate) fn is_own_file(path: &str) -> bool {
    matches!(path, "/" | "/style.css" | "/icon.svg") || path.starts_with("/page/")
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], content).into_response()
}

pub(crate) async fn document() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html"))
}

/// The answer at an address at which nothing is.
fn nowhere() -> Response {
    file("text/html; charset=utf-8", include_str!("nowhere.html"))
}

/// The modules of the script; `main.js` asks for the others.
pub(crate) async fn script(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let source = match &*name {
        "main.js" => include_str!("main.js"),
        "screen.js" => include_str!("screen.js"),
        "server.js" => include_str!("server.js"),
        "elements.js" => include_str!("elements.js"),
        "numbers.js" => include_str!("numbers.js"),
        "jobs.js" => include_str!("jobs.js"),
        "graph.js" => include_str!("graph.js"),
        "stages.js" => include_str!("stages.js"),
        "storage.js" => include_str!("storage.js"),
        "memory.js" => include_str!("memory.js"),
        "system.js" => include_str!("system.js"),
        _ => return no_such_page(headers).await,
    };
    file("text/javascript; charset=utf-8", source)
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("style.css"))
}

pub(crate) async fn icon() -> Response {
    file("image/svg+xml", include_str!("icon.svg"))
}

/// For people with a link back, for programs as a sentence.
pub(crate) async fn no_such_page(headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let for_people = accepted.is_some_and(|accepted| accepted.contains("text/html"));
    let answer = if for_people { nowhere() } else { "there is no such page; begin at /\n".into_response() };
    (StatusCode::NOT_FOUND, answer).into_response()
}
