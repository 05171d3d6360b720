//! What every request passes before its route is looked at: the size of its head, the host that it names, the page that
//! sends it, and how many connections its client has.
//!
//! A WebSocket handshake is read by `direct.rs` or by hyper. Both give the lines of its head to [`Head::read`], and let
//! [`Edge::check`] judge it. So each rule is here once, and comes before a 101.
//!
//! `/healthz` and `/readyz` are exempt from all rules but the size: orchestrators and balancers ask them under any name,
//! also when the node is full, and a page that reads them learns nothing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use smallvec::SmallVec;

use crate::config::EdgeConfig;
use crate::network::{Authority, HostPattern, Network, Origin, OriginPattern, forwarded};
use crate::occupancy::{AddressPermit, Full, Occupancy};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// The most bytes of a request's head: its first line and its fields.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most fields of a request's head.
pub const MAX_FIELDS: usize = 64;
/// The bytes around a field's name and value, and around the parts of the first line.
const AROUND: usize = 4;
/// `Retry-After` for a client whose address has as many connections as it may have, in seconds.
const RETRY_CONNECTIONS: u64 = 5;

/// Tells proxies such as nginx not to buffer a response.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Fields that a page may send (Fetch Standard, section 3.3.3), besides those of an event in binary mode.
const SENT: &str = "authorization, cache-control, content-encoding, content-type, if-none-match, last-event-id, traceparent, \
                    tracestate, x-request-id";
/// Fields of a response that a page may read.
const SHOWN: &str = "allow, etag, retry-after, www-authenticate, x-request-id";
/// How long a browser may remember the answer to a preflight, in seconds. Not long, so that a change of the setting counts.
const PREFLIGHT_AGE: u64 = 600;

/// The rules of a node's edge.
#[derive(Debug)]
pub struct Edge {
    origins: Vec<OriginPattern>,
    hosts: Vec<HostPattern>,
    proxies: Vec<Network>,
    /// The daemon asks for no credential. Then it trusts only pages and hosts of this machine, unless the settings list more.
    open: bool,
    /// The operator's routes have an address of their own.
    pub admin_apart: bool,
    occupancy: Arc<Occupancy>,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: IpAddr,
    /// The connection has TLS, which this process ends.
    pub tls: bool,
    /// The connection is one too many: its requests are refused.
    pub refused: Option<Full>,
}

/// What the edge reads of a request's head.
#[derive(Debug, Default)]
pub struct Head<'a> {
    path: &'a str,
    /// The authority of a target in absolute form (RFC 9112, section 3.2.2).
    target: Option<&'a str>,
    bytes: usize,
    fields: usize,
    hosts: SmallVec<[&'a [u8]; 1]>,
    origins: SmallVec<[&'a [u8]; 1]>,
    forwarded: SmallVec<[&'a [u8]; 2]>,
}

/// What is known of a request that has passed.
#[derive(Debug)]
pub struct Passed {
    /// The client's address, which a proxy may have named.
    pub client: IpAddr,
    /// Counts for this address as long as the request is served.
    pub permit: Option<AddressPermit>,
    /// A page sends it that may read the response.
    pub shared: bool,
}

/// Why a request has not passed.
#[derive(Debug)]
pub struct Refusal {
    pub problem: Problem,
    /// A page sends the request that may read the response.
    pub shared: bool,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, shared: false }
    }
}

/// The address of a request's client; in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// The origin of the page that may read the response; in the request's extensions.
#[derive(Debug, Clone)]
pub struct SharedWith(pub Option<HeaderValue>);

impl Edge {
    /// The edge of a node. `open`: it needs no credential.
    pub fn new(config: &EdgeConfig, open: bool, occupancy: Arc<Occupancy>) -> Self {
        Self {
            origins: config.allowed_origins.clone(),
            hosts: config.allowed_hosts.clone(),
            proxies: config.trusted_proxies.clone(),
            open,
            admin_apart: config.admin_listen.is_some(),
            occupancy,
        }
    }

    /// Whether this is a proxy that may name the address of its client.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// Judges a request by its head.
    ///
    /// # Errors
    /// `headers-too-large`, `overloaded`, `rate-limited`, `bad-request`, `misdirected-request`, `forbidden-origin`.
    pub fn check(&self, head: &Head<'_>, peer: &Peer) -> Result<Passed, Refusal> {
        if head.bytes > MAX_HEAD_BYTES || head.fields > MAX_FIELDS {
            return Err(too_large().into());
        }
        let client = forwarded(peer.address, &self.proxies, head.forwarded.iter().copied());
        if matches!(head.path, "/healthz" | "/readyz") {
            return Ok(Passed { client, permit: None, shared: false });
        }
        let host = self.host(head)?;
        let shared = self.origin(head, host, peer.tls)?;
        let permit = match peer.refused {
            Some(full) => Err(full),
            // The connections of others were counted when they were accepted.
            None if self.is_proxy(peer.address) => self.occupancy.admit_address(client),
            None => Ok(None),
        };
        match permit {
            Ok(permit) => Ok(Passed { client, permit, shared }),
            Err(full) => Err(Refusal { problem: self.full(full), shared }),
        }
    }

    /// The host that the request names. Without authentication it must be one of this daemon: a page of the web can reach
    /// it under any other name by DNS rebinding. A request without a host comes from no browser.
    fn host<'a>(&self, head: &Head<'a>) -> Result<Option<Authority<'a>>, Problem> {
        if head.hosts.len() > 1 {
            return Err(Problem::new(ErrorCode::BadRequest, "the request has several Host headers: send one"));
        }
        let field = head.hosts.first().copied().filter(|host| !host.is_empty());
        let mut named = None;
        // The target decides (RFC 9112, section 3.2.2). The field is checked too: a proxy may have used it.
        for text in field.into_iter().chain(head.target.map(str::as_bytes)) {
            named = std::str::from_utf8(text).ok().and_then(Authority::parse);
            let is_ours =
                |host: &Authority<'_>| host.host.is_loopback() || self.hosts.iter().any(|pattern| pattern.has(host));
            if self.open && !named.as_ref().is_some_and(is_ours) {
                return Err(Problem::new(
                    ErrorCode::MisdirectedRequest,
                    format!(
                        "this daemon does not answer under the host {}: call it by a loopback name such as localhost, or \
                         list the host in the setting allowed_hosts (--allowed-hosts)",
                        quoted(text)
                    ),
                ));
            }
        }
        Ok(named)
    }

    /// Whether a page sends the request. It must be one that may.
    fn origin(&self, head: &Head<'_>, host: Option<Authority<'_>>, tls: bool) -> Result<bool, Problem> {
        let may = |origin: &Origin<'_>| {
            self.open && origin.host.is_loopback()
                || host.is_some_and(|host| origin.is_same(&host, tls))
                || self.origins.iter().any(|pattern| pattern.has(origin))
        };
        match head.origins.as_slice() {
            [] => Ok(false),
            [origin] if Origin::parse(origin).as_ref().is_some_and(may) => Ok(true),
            origins => {
                let how = match origins {
                    [b"null"] => "; a page that has no origin, such as a local file, can never be listed",
                    [_] => "",
                    _ => "; a request has one Origin header",
                };
                Err(Problem::new(
                    ErrorCode::ForbiddenOrigin,
                    format!(
                        "pages of the origin {} may not use this daemon: list it in the setting allowed_origins \
                         (--allowed-origins){how}",
                        quoted(&origins.join(&b", "[..]))
                    ),
                ))
            }
        }
    }

    fn full(&self, full: Full) -> Problem {
        match full {
            Full::Node => Problem::new(
                ErrorCode::Overloaded,
                "this node has as many connections as it may have (max_connections): connect to another, or try again \
                 after the time in the header Retry-After",
            ),
            Full::Address => {
                let limit = self.occupancy.limit_of_address().unwrap_or_default();
                let detail = format!(
                    "{limit} connections of your address are open, and there may be no more \
                     (max_connections_per_address): close one, and try again after the time in the header Retry-After"
                );
                let mut problem = Problem::new(ErrorCode::RateLimited, detail);
                problem.retry_after = Some(RETRY_CONNECTIONS);
                problem
            }
        }
    }
}

/// The refusal of a head over its bounds.
pub fn too_large() -> Problem {
    Problem::new(
        ErrorCode::HeadersTooLarge,
        format!(
            "the head of the request is larger than {} KiB or has more than {MAX_FIELDS} fields: send fewer or shorter ones",
            MAX_HEAD_BYTES / 1024
        ),
    )
}

/// Text from outside as it is repeated to its author.
fn quoted(text: &[u8]) -> String {
    suggest::quoted(&String::from_utf8_lossy(text))
}

impl<'a> Head<'a> {
    /// Reads the head of a request: its first line without the target's authority, and its fields.
    pub fn read(path: &'a str, target: Option<&'a str>, lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut head = Self { path, target, bytes: path.len() + target.map_or(0, str::len), ..Self::default() };
        for (name, value) in lines {
            head.fields += 1;
            head.bytes += name.len() + value.len() + AROUND;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("host") {
                head.hosts.push(value);
            } else if is("origin") {
                head.origins.push(value);
            } else if is("x-forwarded-for") {
                head.forwarded.push(value);
            }
        }
        head
    }

    /// Reads a request that hyper has parsed.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let uri = request.uri();
        let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut head = Self::read(uri.path(), uri.authority().map(axum::http::uri::Authority::as_str), lines);
        head.bytes += uri.query().map_or(0, str::len) + request.method().as_str().len() + AROUND;
        head
    }
}

/// Forbids caches to store a response, and declares that it depends on the credential and the origin. Every response passes
/// here, event streams too.
pub fn seal(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("authorization, origin"));
}

/// For an event stream and a long-poll, whose parts must arrive at once: asks what is in between not to buffer the response, and
/// not to compress it, for which it would buffer (RFC 9111, section 5.2.2.6).
pub fn hurry(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

/// Lets the page that sends the request read the response (Fetch Standard, section 3.3.3). There are no cookies, so
/// credentials mode has nothing to add.
pub fn share(headers: &mut HeaderMap, with: &SharedWith) {
    if let Some(origin) = &with.0 {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
    }
}

/// Answers OPTIONS: what the path takes, and for a page's preflight which fields it may send.
pub fn options(methods: &'static str, request: &HeaderMap, with: &SharedWith) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    if with.0.is_some() && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, sent(request));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE.into());
    }
    response
}

/// The fields that a page may send: those that are known, and the attributes of an event among those that it asks for.
fn sent(request: &HeaderMap) -> HeaderValue {
    let asked = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let asked = asked.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim);
    let is_attribute = |name: &&str| {
        let rest = name.get(..3).filter(|start| start.eq_ignore_ascii_case("ce-")).map(|_| &name[3..]);
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let mut names = SENT.to_owned();
    for name in asked.filter(is_attribute) {
        names.push_str(", ");
        names.push_str(name);
    }
    HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(SENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(open: bool, change: impl FnOnce(&mut EdgeConfig)) -> Edge {
        let mut config = EdgeConfig::default();
        change(&mut config);
        Edge::new(&config, open, Occupancy::new(10, Some(1)))
    }

    const PEER: Peer = Peer { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), tls: false, refused: None };

    /// The code of the refusal, if the request is refused.
    fn code(edge: &Edge, path: &str, lines: &[(&str, &str)]) -> Option<ErrorCode> {
        let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
        edge.check(&Head::read(path, None, lines), &PEER).err().map(|refusal| refusal.problem.code)
    }

    #[test]
    fn without_authentication_pages_and_hosts_of_this_machine_pass() {
        let edge = edge(true, |_| {});
        for lines in [
            &[][..],
            &[("host", "localhost:7400")],
            &[("Host", "127.0.0.1:7400"), ("Origin", "http://localhost:3000")],
            &[("host", "[::1]"), ("origin", "https://app.localhost")],
        ] {
            assert_eq!(code(&edge, "/v1/ws", lines), None, "{lines:?}");
        }
        for host in ["evil.io", "localhost.evil.io", "10.0.0.1", "a b", "127.1", "localhost:7400, evil.io"] {
            assert_eq!(code(&edge, "/v1/ws", &[("host", host)]), Some(ErrorCode::MisdirectedRequest), "{host}");
            assert_eq!(code(&edge, "/readyz", &[("host", host)]), None);
        }
        for origin in ["https://evil.io", "null", "", "file://", "http://localhost.evil.io"] {
            let lines = [("host", "localhost"), ("origin", origin)];
            assert_eq!(code(&edge, "/v1/ws", &lines), Some(ErrorCode::ForbiddenOrigin), "{origin}");
            assert_eq!(code(&edge, "/healthz", &lines), None);
        }
        let two = [("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(code(&edge, "/v1/ws", &two), Some(ErrorCode::ForbiddenOrigin));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(code(&edge, "/v1/ws", &two), Some(ErrorCode::BadRequest));
    }

    #[test]
    fn the_target_counts_beside_the_host() {
        let edge = edge(true, |_| {});
        let check = |target, host: &'static str| {
            edge.check(&Head::read("/", Some(target), [("host", host.as_bytes())].into_iter()), &PEER).is_ok()
        };
        assert!(check("localhost:7400", "127.0.0.1"));
        assert!(!check("evil.io", "localhost") && !check("localhost", "evil.io") && !check("u@localhost", "localhost"));
    }

    #[test]
    fn with_authentication_only_listed_origins_and_the_own_one_pass() {
        let edge = edge(false, |config| config.allowed_origins.extend(OriginPattern::parse("https://*.shop.example")));
        let origin = |origin: &str| code(&edge, "/v1/stream", &[("host", "bus.example"), ("origin", origin)]);
        assert_eq!(origin("https://bus.example"), None);
        assert_eq!(origin("https://a.shop.example"), None);
        for other in
            ["http://localhost", "https://shop.example", "https://badshop.example", "https://a.shop.example.io"]
        {
            assert_eq!(origin(other), Some(ErrorCode::ForbiddenOrigin), "{other}");
        }
        assert_eq!(code(&edge, "/", &[("host", "any.name")]), None, "a credential protects from DNS rebinding");
    }

    #[test]
    fn a_refusal_names_the_origin_escaped_and_cut() {
        let edge = edge(false, |_| {});
        let refusal = |origin: &[u8]| {
            edge.check(&Head::read("/", None, [("origin", origin)].into_iter()), &PEER).unwrap_err().problem.detail
        };
        assert!(refusal(b"https://evil.io").starts_with("pages of the origin \"https://evil.io\" may not"));
        assert!(refusal(b"https://evil.io").contains("allowed_origins"));
        let odd = refusal(b"a\x1b[31m\"\xff");
        assert!(odd.contains(r#""a\u{1b}[31m\"�""#), "{odd}");
        assert!(refusal(&[b'x'; 20_000]).len() < 500);
    }

    #[test]
    fn heads_have_bounds() {
        let edge = edge(true, |_| {});
        let fields = |count: usize, length: usize| {
            let value = vec![b'x'; length];
            let lines: Vec<_> = (0..count).map(|_| ("x", &value[..])).collect();
            edge.check(&Head::read("/", None, lines.into_iter()), &PEER).err().map(|refusal| refusal.problem.code)
        };
        assert_eq!(fields(64, 1), None);
        assert_eq!(fields(65, 1), Some(ErrorCode::HeadersTooLarge));
        assert_eq!(fields(1, 32 * 1024 - 6), None);
        assert_eq!(fields(1, 32 * 1024), Some(ErrorCode::HeadersTooLarge));
    }

    #[test]
    fn the_clients_of_a_trusted_proxy_are_counted_by_their_own_address() {
        let edge = edge(true, |config| config.trusted_proxies.extend(Network::parse("127.0.0.0/8")));
        let check = |client: &'static str| {
            edge.check(&Head::read("/", None, [("x-forwarded-for", client.as_bytes())].into_iter()), &PEER)
        };
        let first = check("1.1.1.1, 192.0.2.1").unwrap();
        assert_eq!(first.client.to_string(), "192.0.2.1");
        let problem = check("2.2.2.2, 192.0.2.1").unwrap_err().problem;
        assert_eq!((problem.code, problem.retry_after), (ErrorCode::RateLimited, Some(5)));
        assert!(check("192.0.2.2").is_ok());
        drop(first);
        assert!(check("192.0.2.1").is_ok());
    }

    #[test]
    fn a_preflight_lists_the_attributes_that_it_asks_for_and_nothing_else_of_its_own() {
        let mut request = HeaderMap::new();
        request.append(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        let asked = HeaderValue::from_static("authorization, ce-id,CE-Source , ce-, x-evil, ce-a:b");
        request.append(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_bytes(b"ce-\xff").unwrap());
        let response = options("GET, POST", &request, &SharedWith(None));
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS), "no page asks");
        request.append(header::ACCESS_CONTROL_REQUEST_HEADERS, asked);
        let shared = SharedWith(Some(HeaderValue::from_static("https://a.example")));
        let response = options("GET, POST", &request, &shared);
        assert_eq!(response.status(), 204);
        let allowed = response.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert_eq!(allowed.strip_prefix(SENT), Some(", ce-id, CE-Source"));
    }
}
