//! `/healthz`, `/readyz`, `/metrics`: what operators and orchestrators ask.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::App;
use super::problem::{Code, Problem};

/// The process is alive and answers. Nothing else: a broker that is down is no reason to restart this process.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// The node can publish and receive; see [`crate::health`].
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    if app.draining.is_cancelled() {
        return Err(Problem::new(Code::Draining, "this node is about to stop"));
    }
    match &app.health.borrow().ready {
        Ok(()) => Ok(Json(json!({ "status": "ready" }))),
        Err(reason) => Err(Problem::new(Code::BrokerUnavailable, reason)),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], app.metrics.encode())
}
