//! The routes: the router, and the table from which a 404 and a 405 say what works.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::{App, channels, events, health, history, nodes, openapi, revocations, schemas, start_page, stream, websocket};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::Known;

/// Each path with the methods that it takes, as `Allow` lists them (RFC 9110, section 10.2.1). A path ends at `{`.
///
/// HEAD is GET without the body (section 9.3.2). Paths that open a stream refuse it: they have no answer that ends.
pub(super) const ROUTES: [(&str, &str); 14] = [
    ("/", "GET, HEAD"),
    ("/v1/events", "GET, HEAD, POST"),
    ("/v1/stream", "GET"),
    ("/v1/ws", "GET"),
    ("/v1/channels", "GET, HEAD"),
    ("/v1/nodes", "GET, HEAD"),
    ("/v1/revocations", "POST"),
    ("/v1/schemas", "GET, HEAD"),
    ("/v1/schemas/{type}", "GET, HEAD"),
    ("/healthz", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/openapi.json", "GET, HEAD"),
    ("/favicon.ico", "GET, HEAD"),
];

/// The routes that a 404 does not list.
const UNLISTED: [&str; 2] = ["/v1/schemas/{type}", "/favicon.ico"];

/// All routes. [`respond`](super::respond) answers requests with them.
pub fn router(app: App) -> Router {
    let document = openapi::Document::new(app.bus.builtin_event_schema());
    Router::new()
        .route("/", get(start_page::show))
        .route("/v1/events", post(events::publish).get(history::read))
        .route("/v1/stream", get(stream::open).head(method_not_allowed))
        .route("/v1/ws", get(websocket::upgrade).head(method_not_allowed))
        .route("/v1/channels", get(channels::list))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/revocations", post(revocations::revoke))
        .route("/v1/schemas", get(schemas::all))
        .route("/v1/schemas/{type}", get(schemas::one))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(async move |State(app): State<App>| document.show(&app)))
        .route("/favicon.ico", get(no_icon))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// Browsers ask for it by themselves. A 404 would count as a refusal.
async fn no_icon() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "public, max-age=86400")])
}

async fn not_found(uri: Uri) -> Problem {
    let path = uri.path();
    let listed = ROUTES.iter().map(|(path, _)| *path).filter(|path| !UNLISTED.contains(path));
    let detail = Known::new("routes", listed).refuse(&format!("there is nothing at {path}"), path);
    Problem::new(ErrorCode::NotFound, detail)
}

/// A 405 lists what the path takes (RFC 9110, section 15.5.6).
async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let allowed = allowed(path);
    let (others, last) = allowed.rsplit_once(", ").map_or(("", allowed), |(others, last)| (others, last));
    let or = if others.is_empty() { "" } else { " or " };
    let detail = format!("{path} does not take {method}: use {others}{or}{last}");
    let mut response = Problem::new(ErrorCode::MethodNotAllowed, detail).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The methods that a known path takes.
fn allowed(path: &str) -> &'static str {
    let matches = |route: &str| match route.split_once('{') {
        Some((before, _)) => path.len() > before.len() && path.starts_with(before),
        None => route == path,
    };
    ROUTES.iter().find(|(route, _)| matches(route)).map_or("", |(_, methods)| methods)
}
