//! Who may ask for what. User code is trusted; other web pages are not, and other users of the machine may look, but
//! not touch.
//!
//! 1. The server listens on the loopback interface only.
//! 2. `Host` must name that: a page elsewhere whose name was made to point here is of another host (DNS rebinding). The
//!    port may be any, so that a tunnel works; a name is what the attack needs.
//! 3. What changes something is a `POST` with the token in `X-Emberflow-Token`. The token is random, made for each
//!    context, and only in the URL that the context tells its owner; it stands behind the `#`, which browsers send to
//!    nobody. A request that a browser says comes from another origin is refused even with it.
//! 4. Answers forbid scripts, styles and frames of others, are never cached, and are never guessed to be of another
//!    type. There are no CORS headers. What comes from users reaches the page as JSON, and its script writes text only.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// The header that carries the token.
pub const TOKEN_HEADER: &str = "x-emberflow-token";

/// What a page may load: what comes from here.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The secret that allows changes.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A fresh one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// For the URL that its owner gets.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether that is it, in a time that does not tell how much of it was right.
    fn is(&self, given: &[u8]) -> bool {
        let differs = self.0.bytes().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b));
        self.0.len() == given.len() && differs == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Lets a request through, or refuses it with a sentence.
pub(crate) async fn guard(State(token): State<Token>, request: Request, next: Next) -> Response {
    let refusal = check(request.method(), request.uri().host(), request.headers(), &token);
    let mut response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check(
    method: &Method,
    uri_host: Option<&str>,
    headers: &HeaderMap,
    token: &Token,
) -> Option<(StatusCode, &'static str)> {
    const FOREIGN: (StatusCode, &str) =
        (StatusCode::FORBIDDEN, "ask for localhost, 127.0.0.1 or [::1]; this page is for its own machine only\n");
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let Some(host) = host.filter(|host| is_loopback(host) && more.is_none() && uri_host.is_none_or(is_loopback)) else {
        return Some(FOREIGN);
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if *method != Method::POST {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "GET to look, POST to change\n"));
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let own_origin = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host));
    let own_site = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    if !own_origin || !own_site {
        return Some((StatusCode::FORBIDDEN, "another site's page may not change anything here\n"));
    }
    if !headers.get(TOKEN_HEADER).is_some_and(|given| token.is(given.as_bytes())) {
        let text = "what changes something needs the header X-Emberflow-Token; the token is in the URL that the context gives\n";
        return Some((StatusCode::FORBIDDEN, text));
    }
    None
}

/// Whether that names the loopback interface, with any port or none.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let names = ["localhost", "127.0.0.1", "[::1]"];
    names.iter().any(|known| known.eq_ignore_ascii_case(name)) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a setting of this name is a secret: Spark's pattern, and a few words more.
pub fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 9] = [
        "secret",
        "password",
        "token",
        "accesskey",
        "access.key",
        "credential",
        "signature",
        "session",
        "authorization",
    ];
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let joined = name.replace('.', "");
    WORDS.iter().any(|word| name.contains(word) || joined.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, headers: &[(&'static str, &str)]) -> Option<StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(&method, None, &map, &Token("right".to_owned())).map(|(status, _)| status)
    }

    #[test]
    fn only_names_of_the_loopback_interface_are_hosts() {
        for host in ["localhost", "LOCALHOST:4040", "127.0.0.1:4040", "[::1]:4040", "[::1]", "127.0.0.1:5000"] {
            assert_eq!(ask(Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4040",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "",
            "::1",
        ] {
            assert_eq!(ask(Method::GET, &[("host", host)]), Some(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(ask(Method::GET, &[]), Some(StatusCode::FORBIDDEN));
        assert_eq!(ask(Method::GET, &[("host", "localhost"), ("host", "evil")]), Some(StatusCode::FORBIDDEN));
        let map = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(check(&Method::GET, Some("evil.example"), &map, &Token(String::new())).is_some());
    }

    #[test]
    fn changes_need_a_post_of_this_site_with_the_token() {
        let host = ("host", "localhost:4040");
        let token = (TOKEN_HEADER, "right");
        assert_eq!(ask(Method::POST, &[host, token]), None);
        let own = [host, token, ("origin", "http://localhost:4040"), ("sec-fetch-site", "same-origin")];
        assert_eq!(ask(Method::POST, &own), None);
        for refused in [
            vec![host],
            vec![host, (TOKEN_HEADER, "wrong")],
            vec![host, (TOKEN_HEADER, "")],
            vec![host, token, ("origin", "http://evil.example")],
            vec![host, token, ("origin", "null")],
            vec![host, token, ("origin", "http://localhost:9999")],
            vec![host, token, ("sec-fetch-site", "cross-site")],
            vec![host, token, ("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(ask(Method::POST, &refused), Some(StatusCode::FORBIDDEN), "{refused:?}");
        }
        assert_eq!(ask(Method::DELETE, &[host, token]), Some(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(ask(Method::OPTIONS, &[host]), Some(StatusCode::METHOD_NOT_ALLOWED));
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in ["db.password", "AWS_SECRET_ACCESS_KEY", "api_token", "access-key", "X-Authorization", "SESSION_ID"]
        {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("spill_dir") && !is_secret("workers"));
    }
}
