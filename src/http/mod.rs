//! The HTTP side: the router, what every request passes through, and one file a group of routes.
//!
//! Handlers translate: a request into a call of another room, its answer or error into a response. They never touch the
//! hub's connections; an event that was published comes back out of the broker before anyone gets it.

mod admission;
mod channels;
mod envelope;
mod events;
mod health;
mod history;
mod nodes;
mod problem;
mod request_id;
mod schemas;
mod selection;
mod stream;
pub mod takeover;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::broker::Backend;
use crate::config::RequestLimits;
use crate::connection::Connections;
use crate::event::Catalog;
use crate::health::Health;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::relay::Progress;
use problem::{Code, Problem};
pub use request_id::respond;

/// What the handlers work with.
#[derive(Clone)]
pub struct App(pub Arc<AppState>);

/// See [`App`].
pub struct AppState {
    pub catalog: Arc<Catalog>,
    pub broker: Arc<dyn Backend>,
    pub hub: Arc<Hub>,
    pub metrics: Arc<Metrics>,
    pub connections: Arc<Connections>,
    /// The tasks of WebSocket connections, which outlive their requests.
    pub tasks: TaskTracker,
    pub limits: RequestLimits,
    /// Whether WebSocket clients may have their events compressed.
    pub compression: bool,
    pub admission: Arc<Admission>,
    pub progress: Arc<Progress>,
    /// Events of a channel by which a publisher may be ahead of `progress`.
    pub max_lag: u64,
    pub health: watch::Receiver<Health>,
    /// This node is about to stop: nothing new is taken.
    pub draining: CancellationToken,
}

impl std::ops::Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// All routes; [`respond`] has them answer.
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

async fn not_found(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
