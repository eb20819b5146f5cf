//! The page: one document, one script, one style sheet, one icon, all of them part of the program. Nothing is fetched
//! from elsewhere, and nothing in them comes from users.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

fn file(content_type: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], content).into_response()
}

pub(crate) async fn document() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html"))
}

pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("style.css"))
}

pub(crate) async fn icon() -> Response {
    file("image/svg+xml", include_str!("icon.svg"))
}
