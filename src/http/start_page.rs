//! `GET /`: a page for a person who opens the daemon's address. It says what this is, what to try, and where to read on.
//!
//! Browsers get the console, other clients such as curl get text. Where the console is off, browsers get the text as HTML, with
//! links, which loads nothing and runs nothing.

use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::side::Side;
use super::{App, console};

/// Nothing may be loaded or run, and no other page may embed this one.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TEXT: &str = "\
tidings VERSION: an event bus

Publish an event:
  curlFLAGS -H 'content-type: application/json' ORIGIN/v1/events \\
       -d '{\"type\":\"order-status\",\"data\":{\"orderId\":\"o-1\",\"newStatus\":\"confirmed\"}}'

Follow a channel:
  curlFLAGS -N 'ORIGIN/v1/stream?channel=order-status'
  tidings tail order-status --url ORIGINTAIL

Look around:
";

/// The links of the page, with what they show.
static LINKS: [(&str, &str); 9] = [
    ("/v1/channels", "the channels"),
    ("/v1/events?limit=10", "the oldest events in the log"),
    ("/v1/schemas", "the JSON Schemas of the event types"),
    ("/openapi.json", "the OpenAPI document of these routes"),
    ("/asyncapi.json", "the AsyncAPI document of the channels and frames"),
    ("/v1/nodes", "the nodes of this bus"),
    ("/healthz", "whether the process answers"),
    ("/readyz", "whether this node can publish and receive"),
    ("/metrics", "metrics for Prometheus"),
];

pub(super) async fn show(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let accepts_html = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.to_ascii_lowercase().contains("text/html"));
    if accepts_html && app.console {
        return console::page(&headers);
    }
    let side = if app.edge.admin_apart { Side::Public } else { Side::Whole };
    let links = || LINKS.iter().filter(|(path, _)| side.has(path));
    let origin = origin(&uri, &headers, app.tls);
    let (mut flags, mut tail) = (String::new(), String::new());
    if app.tls {
        flags += " --cacert CA.pem";
        tail += " --cacert CA.pem";
    }
    if app.bus.has_auth() {
        flags += " -H \"authorization: Bearer $(cat me.token)\"";
        tail += " --token-file me.token";
    }
    let text = TEXT.replace("VERSION", env!("CARGO_PKG_VERSION")).replace("FLAGS", &flags).replace("TAIL", &tail);
    let text = text.replace("ORIGIN", &origin);
    let (media_type, body) = match accepts_html {
        true => ("text/html; charset=utf-8", html(&text, links())),
        false => {
            let links = links().map(|(path, shows)| format!("  {:<32} {shows}\n", format!("{origin}{path}")));
            ("text/plain; charset=utf-8", text + &links.collect::<String>())
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::VARY, HeaderValue::from_static("accept")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

fn html<'a>(text: &str, links: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let link = |(path, shows): &(&str, &str)| format!("<li><a href=\"{path}\">{path}</a>: {shows}</li>\n");
    let links: String = links.map(link).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>tidings</title>\n<pre>\n{}</pre>\n<ul>\n{links}</ul>\n",
        escaped(text)
    )
}

/// The address by which the client reaches the daemon, as far as the request tells.
pub(super) fn origin(uri: &Uri, headers: &HeaderMap, tls: bool) -> String {
    const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match text(&FORWARDED_PROTO) {
        Some("https") => "https",
        None if tls => "https",
        _ => "http",
    };
    let host = uri.authority().map(Authority::as_str).or_else(|| text(&header::HOST));
    let is_host = |host: &&str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte);
        !host.is_empty() && host.bytes().all(good)
    };
    format!("{scheme}://{}", host.filter(is_host).unwrap_or("localhost:7400"))
}

/// Text as HTML (HTML Living Standard, section 13.1.2).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
