//! The HTTP side: the router, what every request passes through, and one file for each group of routes.
//!
//! Handlers translate: a request into a call of the application layer, its answer or problem into a response. They have no
//! rule of their own, and never touch the hub's connections.

mod caller;
mod ce_header;
mod channels;
mod content_coding;
mod envelope;
mod events;
mod health;
mod history;
mod media_type;
mod nodes;
mod problem;
mod request_id;
mod schemas;
mod stream;
pub mod takeover;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use crate::access::NamespaceId;
use crate::bus::Bus;
use crate::config::RequestLimits;
use crate::connection::Connections;
use crate::metrics::Metrics;
use crate::protocol::{ErrorCode, Problem};
pub use request_id::respond;

/// What the handlers work with.
#[derive(Clone)]
pub struct App(pub Arc<AppState>);

/// See [`App`].
pub struct AppState {
    pub bus: Arc<Bus>,
    /// The namespace of callers without a credential.
    pub namespace: NamespaceId,
    pub connections: Arc<Connections>,
    pub metrics: Arc<Metrics>,
    pub limits: RequestLimits,
    /// Whether WebSocket clients may have their events compressed.
    pub compression: bool,
}

impl std::ops::Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// All routes. [`respond`] answers requests with them.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/events", post(events::publish).get(history::read))
        .route("/v1/stream", get(stream::open))
        .route("/v1/ws", get(websocket::upgrade))
        .route("/v1/channels", get(channels::list))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/schemas", get(schemas::all))
        .route("/v1/schemas/{type}", get(schemas::one))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// What a 404 suggests to a person who tries an address in a browser.
const ROUTES: &str =
    "/v1/events, /v1/stream, /v1/ws, /v1/channels, /v1/nodes, /v1/schemas, /healthz, /readyz, /metrics";

async fn not_found(uri: Uri) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is nothing at {}; the routes are {ROUTES}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
