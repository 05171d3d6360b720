//! The routes: the router, and the table from which a 404 and a 405 say what works.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::service::TowerToHyperService;

use super::route_table::ROUTES;
use super::side::Side;
use super::{
    App, asyncapi, channels, connections, console, events, flows, health, history, incidents, latest, nodes, openapi,
    revocations, schemas, start_page, stream, webhooks, websocket,
};
use crate::access::Caller;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::Known;

/// The routes of one address.
#[derive(Debug, Clone)]
pub struct Routes {
    side: Side,
    pub(super) router: TowerToHyperService<Router>,
}

/// The routes that a 404 does not list.
const UNLISTED: [&str; 11] = [
    "/",
    "/console/{file}",
    "/v1/latest/{type}/{subject}",
    "/v1/webhooks/{name}/test",
    "/v1/webhooks/{name}/dead",
    "/v1/webhooks/{name}/replay",
    "/v1/webhooks/{name}/resume",
    "/v1/bridges/{name}/dead",
    "/v1/sinks/{name}/dead",
    "/v1/schemas/{type}",
    "/favicon.ico",
];

/// The methods that a known path takes at an address, as `Allow` lists them; `None` if there is nothing at the path.
fn methods(side: Side, path: &str) -> Option<&'static str> {
    let matches = |route: &str| {
        let (mut known, mut given) = (route.split('/'), path.split('/'));
        let any = |segment: &str| segment.starts_with('{');
        given.next() == known.next()
            && loop {
                match (known.next(), given.next()) {
                    (None, None) => break true,
                    (Some(known), Some(given)) if known == given || any(known) && !given.is_empty() => {}
                    _ => break false,
                }
            }
    };
    ROUTES.iter().find(|(route, _)| matches(route) && side.has(route)).map(|(_, methods)| *methods)
}

impl Routes {
    /// The routes of an address of this side. [`respond`](super::respond) answers requests with them.
    pub fn new(app: App, side: Side) -> Self {
        let openapi = Arc::new(openapi::Document::new(side));
        let show_openapi = async move |State(app): State<App>, head: HeaderMap| openapi.show(&app, &head);
        let asyncapi = Arc::new(asyncapi::Document::default());
        let show_asyncapi = async move |State(app): State<App>, caller: Caller, uri: Uri, head: HeaderMap| {
            asyncapi.show(&app, &caller, &uri, &head)
        };
        let mut router = Router::new();
        let routes = [
            ("/", get(start_page::show)),
            ("/console/{file}", get(console::file)),
            ("/v1/events", post(events::publish).get(history::read)),
            ("/v1/latest/{type}", get(latest::list)),
            ("/v1/latest/{type}/{*subject}", get(latest::one)),
            ("/v1/stream", get(stream::open).head(method_not_allowed)),
            ("/v1/ws", get(websocket::upgrade).head(method_not_allowed)),
            ("/v1/channels", get(channels::list)),
            ("/v1/nodes", get(nodes::list)),
            ("/v1/connections", get(connections::list)),
            ("/v1/incidents", get(incidents::list)),
            ("/v1/revocations", post(revocations::revoke)),
            ("/v1/webhooks", get(webhooks::list)),
            ("/v1/webhooks/{name}/test", post(webhooks::test)),
            ("/v1/webhooks/{name}/dead", get(webhooks::dead)),
            ("/v1/webhooks/{name}/replay", post(webhooks::replay)),
            ("/v1/webhooks/{name}/resume", post(webhooks::resume)),
            ("/v1/bridges/{name}/dead", get(flows::of_bridge)),
            ("/v1/sinks/{name}/dead", get(flows::of_sink)),
            ("/v1/schemas", get(schemas::all)),
            ("/v1/schemas/{type}", get(schemas::one)),
            ("/healthz", get(health::alive)),
            ("/readyz", get(health::ready)),
            ("/metrics", get(health::metrics)),
            ("/openapi.json", get(show_openapi)),
            ("/asyncapi.json", get(show_asyncapi)),
            ("/favicon.ico", get(no_icon)),
        ];
        for (path, route) in routes.into_iter().filter(|(path, _)| side.has(path)) {
            router = router.route(path, route);
        }
        let router = router
            .fallback(move |uri: Uri| async move { not_found(side, &uri) })
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(app);
        Self { side, router: TowerToHyperService::new(router) }
    }

    /// The methods that a path takes, as `Allow` lists them; `None` if there is nothing at the path. `*` stands for the
    /// whole server (RFC 9110, section 7.1).
    pub(super) fn methods(&self, path: &str) -> Option<&'static str> {
        match path {
            "*" => Some("GET, HEAD, POST, OPTIONS"),
            path => methods(self.side, path),
        }
    }
}

/// Browsers ask for it by themselves. A 404 would count as a refusal.
async fn no_icon() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "public, max-age=86400")])
}

fn not_found(side: Side, uri: &Uri) -> Problem {
    let path = uri.path();
    let listed = ROUTES.iter().map(|(path, _)| *path).filter(|path| !UNLISTED.contains(path) && side.has(path));
    // The operator's address has no document: its few routes are named.
    let document = if side.has("/openapi.json") { "GET /openapi.json" } else { "" };
    let known = Known { listed: document, ..Known::new("routes", listed) };
    let mut detail = known.refuse(&format!("there is nothing at {path}"), path);
    if side == Side::Public {
        // The same for each path, so that it does not tell which of them the operator has.
        detail.push_str("; the operator's routes are at the address of the setting admin_listen");
    }
    Problem::new(ErrorCode::NotFound, detail)
}

/// A 405 lists what the path takes (RFC 9110, section 15.5.6).
async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let allowed = methods(Side::Whole, path).unwrap_or_default();
    // OPTIONS is no use to who wants to do something.
    let useful = allowed.trim_end_matches(", OPTIONS");
    let (others, last) = useful.rsplit_once(", ").map_or(("", useful), |(others, last)| (others, last));
    let or = if others.is_empty() { "" } else { " or " };
    let detail = format!("{path} does not take {method}: use {others}{or}{last}");
    let mut response = Problem::new(ErrorCode::MethodNotAllowed, detail).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
