//! `/healthz`, `/readyz`, `/metrics`: what operators and orchestrators ask.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::App;
use crate::protocol::Problem;

/// The process is alive and answers. Nothing else: a broker that is down is no reason to restart this process.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// The node can publish and receive; see [`crate::readiness`].
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    app.bus.readiness().map(|()| Json(json!({ "status": "ready" })))
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.metrics.ready.set(i64::from(app.bus.readiness().is_ok()));
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], app.metrics.encode())
}
