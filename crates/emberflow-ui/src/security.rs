//! Rules that say which requests are answered. User code is trusted; other web pages are not, and other users of the
//! machine may look, but not touch. Others may do neither, unless they know the token.
//!
//! 1. The server listens on the loopback interface, unless it was told to listen elsewhere ([`Listen`]).
//! 2. `Host` must name that: a page elsewhere whose name was made to point here is of another host (DNS rebinding). The
//!    port may be any, so that a tunnel works; a name is what the attack needs. Names by which a proxy is known have to be
//!    listed, with their port or without.
//! 3. A request that changes something is a `POST` with the token in `X-Emberflow-Token`, or as a bearer's. The token
//!    is random, made for each context unless one was chosen, and only in the URL that the context tells its owner; it
//!    stands behind the `#`, which browsers send to nobody. A request that a browser says comes from another origin is refused even
//!    with it.
//! 4. If anybody but the users of this machine may come, by an interface or by a proxy's name, then what is told of the
//!    application needs the token, too. The page's own files, which tell nothing, do not.
//! 5. Answers forbid scripts, styles and frames of others, are never cached, and are never guessed to be of another
//!    type. There are no CORS headers. Names and texts that come from users reach the page as JSON, and its script
//!    writes text only.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::page;

/// The header that carries the token.
pub const TOKEN_HEADER: &str = "x-emberflow-token";

/// A token that was chosen has so many characters at least.
const TOKEN_LENGTH: usize = 16;

/// The policy of pages: they may load files from this server alone.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the page is, and by which names.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The interface: the loopback one, unless others are to reach it.
    pub address: IpAddr,
    /// The port, or if it is taken one of the next sixteen; zero is any.
    pub port: u16,
    /// Names that `Host` may have besides the interface's: those of proxies.
    pub hosts: Vec<Host>,
    /// The token; a random one unless one is chosen.
    pub token: Option<Token>,
}

impl Listen {
    /// For this machine only.
    pub fn locally(port: u16) -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), port, hosts: Vec::new(), token: None }
    }

    /// Returns whether others than the users of this machine may come.
    pub fn is_public(&self) -> bool {
        !self.address.is_loopback() || !self.hosts.is_empty()
    }
}

/// A name that a `Host` header may have: with any port, or with one.
///
/// ```
/// use emberflow_ui::security::Host;
///
/// assert!("jobs.example".parse::<Host>().is_ok() && "jobs.example:8443".parse::<Host>().is_ok());
/// assert!("https://jobs.example/".parse::<Host>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// A browser leaves out the port if it is the usual one.
    fn is(&self, name: &str, port: Option<u16>) -> bool {
        let usual = |wanted| port.is_none() && matches!(wanted, 80 | 443);
        self.name.eq_ignore_ascii_case(name) && self.port.is_none_or(|wanted| port == Some(wanted) || usual(wanted))
    }
}

impl std::str::FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !name.is_empty() && name.bytes().all(plain)
        };
        match split(text) {
            Some((name, port)) if is_plain(name) || ip(name).is_some() => Ok(Self { name: name.to_owned(), port }),
            _ => Err("give a name such as jobs.example or jobs.example:8443"),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A `Host` header's name and port.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => Some((name, Some(port.parse().ok()?))),
        _ => Some((host, None)),
    }
}

/// The address that a `Host` header's name is, if it is one.
fn ip(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => name.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

/// The secret that allows changes, and, if others may come, to look.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token with this text.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn chosen(token: &str) -> Result<Self, &'static str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match token.len() >= TOKEN_LENGTH && token.bytes().all(plain) {
            true => Ok(Self(token.to_owned())),
            false => Err("give at least 16 letters, digits, - or _, chosen at random"),
        }
    }

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

    /// Returns whether that is it, in a time that does not tell how much of it was right.
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

/// The rules that say which requests one server answers.
pub(crate) struct Rules {
    address: IpAddr,
    hosts: Vec<Host>,
    token: Token,
    /// Whether what is told of the application needs the token.
    is_public: bool,
}

impl Rules {
    pub(crate) fn new(listen: &Listen, token: Token) -> Self {
        Self { address: listen.address, hosts: listen.hosts.clone(), token, is_public: listen.is_public() }
    }

    /// Returns whether that names this server. Where it listens on every interface, any address may be its own: it is
    /// names that can be made to point here.
    fn is_ours(&self, host: &str) -> bool {
        let Some((name, port)) = split(host) else { return false };
        let own = match ip(name) {
            Some(address) => address == self.address || is_this_machine(address) || self.address.is_unspecified(),
            None => name.eq_ignore_ascii_case("localhost"),
        };
        own || self.hosts.iter().any(|known| known.is(name, port))
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|given| given.as_bytes().strip_prefix(b"Bearer "));
        let own = headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes);
        own.or(bearer).is_some_and(|given| self.token.is(given))
    }
}

fn is_this_machine(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
}

/// Lets a request through, or refuses it with a sentence.
pub(crate) async fn guard(State(rules): State<Arc<Rules>>, request: Request, next: Next) -> Response {
    let refusal = check(request.method(), request.uri(), request.headers(), &rules);
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

fn check(method: &Method, uri: &Uri, headers: &HeaderMap, rules: &Rules) -> Option<(StatusCode, &'static str)> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let ours = |host: &&str| rules.is_ours(host) && more.is_none() && uri.host().is_none_or(|host| rules.is_ours(host));
    let Some(host) = host.filter(ours) else {
        let text = "ask for localhost, 127.0.0.1 or [::1], or have the program list this name by ui_host\n";
        return Some((StatusCode::FORBIDDEN, text));
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        let text = "what is shown here needs the token: open the URL that the program has, or send the header \
                    X-Emberflow-Token\n";
        let is_free = !rules.is_public || page::is_own_file(uri.path()) || rules.is_shown(headers);
        return (!is_free).then_some((StatusCode::FORBIDDEN, text));
    }
    if *method != Method::POST {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "GET to look, POST to change\n"));
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    // A proxy may speak TLS.
    let origin = |origin: &str| origin.strip_prefix("http://").or(origin.strip_prefix("https://")) == Some(host);
    let own_origin = text(header::ORIGIN).is_none_or(origin);
    let own_site = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    if !own_origin || !own_site {
        return Some((StatusCode::FORBIDDEN, "another site's page may not change anything here\n"));
    }
    if !rules.is_shown(headers) {
        let text = "what changes something needs the header X-Emberflow-Token; the token is in the URL that the context gives\n";
        return Some((StatusCode::FORBIDDEN, text));
    }
    None
}

/// Returns whether a setting of this name is a secret: Spark's pattern, and a few words more.
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
        ask_of(&Listen::locally(4040), method, "/metrics", headers)
    }

    fn ask_of(listen: &Listen, method: Method, uri: &str, headers: &[(&'static str, &str)]) -> Option<StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let rules = Rules::new(listen, Token("right".to_owned()));
        check(&method, &uri.parse().unwrap(), &map, &rules).map(|(status, _)| status)
    }

    #[test]
    fn where_others_may_come_the_token_is_needed_to_read_but_not_for_the_files_of_the_page() {
        let anywhere = Listen { address: Ipv4Addr::UNSPECIFIED.into(), ..Listen::locally(4040) };
        let proxied = Listen { hosts: vec!["jobs.example:443".parse().unwrap()], ..Listen::locally(4040) };
        for (listen, host) in [(&anywhere, "192.0.2.7:4040"), (&anywhere, "localhost"), (&proxied, "jobs.example")] {
            let host = ("host", host);
            for path in ["/", "/page/main.js", "/style.css", "/icon.svg"] {
                assert_eq!(ask_of(listen, Method::GET, path, &[host]), None, "{path} at {host:?}");
            }
            for path in ["/api/v1/applications/-/jobs", "/metrics", "/news", "/page", "/nothing"] {
                let get = |more: &[_]| ask_of(listen, Method::GET, path, &[&[host], more].concat());
                assert_eq!(get(&[]), Some(StatusCode::FORBIDDEN), "{path} at {host:?}");
                assert_eq!(get(&[(TOKEN_HEADER, "wrong")]), Some(StatusCode::FORBIDDEN));
                assert_eq!(get(&[("authorization", "Bearer wrong")]), Some(StatusCode::FORBIDDEN));
                assert_eq!((get(&[(TOKEN_HEADER, "right")]), get(&[("authorization", "Bearer right")])), (None, None));
            }
        }
    }

    #[test]
    fn names_besides_the_interface_are_those_that_were_listed_with_their_port() {
        let listed = ["jobs.example", "spark.example:8443", "tls.example:443"].map(|host| host.parse().unwrap());
        let listen = Listen { hosts: listed.into(), ..Listen::locally(4040) };
        let token = (TOKEN_HEADER, "right");
        let get = |listen: &Listen, host: &str| ask_of(listen, Method::GET, "/metrics", &[("host", host), token]);
        for host in
            ["jobs.example", "JOBS.example:1", "spark.example:8443", "tls.example", "tls.example:443", "localhost"]
        {
            assert_eq!(get(&listen, host), None, "{host}");
        }
        for host in
            ["spark.example", "spark.example:8444", "tls.example:80", "evil.example", "a.jobs.example", "192.0.2.7"]
        {
            assert_eq!(get(&listen, host), Some(StatusCode::FORBIDDEN), "{host}");
        }
        // On one interface that one's address, on all of them any; but never a name that nobody has listed.
        let [one, all] = ["192.0.2.7", "::"].map(|at| Listen { address: at.parse().unwrap(), ..Listen::locally(4040) });
        assert_eq!((get(&one, "192.0.2.7:4040"), get(&one, "192.0.2.8")), (None, Some(StatusCode::FORBIDDEN)));
        assert_eq!((get(&all, "192.0.2.8"), get(&all, "[2001:db8::1]:4040")), (None, None));
        assert_eq!(get(&all, "evil.example"), Some(StatusCode::FORBIDDEN));
        // Behind TLS, the origin says so.
        let post = |origin| {
            let own = [("host", "jobs.example"), token, ("origin", origin), ("sec-fetch-site", "same-origin")];
            ask_of(&listen, Method::POST, "/x", &own)
        };
        assert_eq!((post("https://jobs.example"), post("https://evil.example")), (None, Some(StatusCode::FORBIDDEN)));
        for wrong in
            ["", "a b", "https://jobs.example", "jobs.example/", "jobs.example:x", "[::1", "jobs.example:99999"]
        {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
        assert!(Token::chosen("0123456789abcdef").is_ok());
        assert!(Token::chosen("short").is_err() && Token::chosen("0123456789 abcdef&").is_err());
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
        let elsewhere = ask_of(&Listen::locally(4040), Method::GET, "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(elsewhere, Some(StatusCode::FORBIDDEN));
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
