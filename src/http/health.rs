//! `/healthz`, `/readyz`, `/metrics`: what operators and orchestrators ask.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::App;
use super::caller::Presented;
use crate::access::{AdminRight, Caller};
use crate::protocol::{ErrorCode, Problem};

/// The process is alive and answers. Nothing else: a broker that is down is no reason to restart this process.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// The node can publish and receive; see [`crate::readiness`]. The reason may name hosts, so with authentication only who
/// may see the nodes is told.
pub(super) async fn ready(State(app): State<App>, Presented(caller): Presented) -> Result<Json<Value>, Problem> {
    let told = caller.is_ok_and(|caller| app.bus.require(&caller, AdminRight::Nodes).is_ok());
    app.bus.readiness().map(|()| Json(json!({ "status": "ready" }))).map_err(|mut problem| {
        if !told && problem.code == ErrorCode::BrokerUnavailable {
            problem.detail = "this node is not ready: the reason is in its log".into();
        }
        problem
    })
}

/// The Prometheus text format, or OpenMetrics for a client that asks for it, as Prometheus itself does.
pub(super) async fn metrics(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    app.bus.require(&caller, AdminRight::Metrics)?;
    app.metrics.ready.set(i64::from(app.bus.readiness().is_ok()));
    let (media_type, text) = match prefers_openmetrics(&headers) {
        true => ("application/openmetrics-text; version=1.0.0; charset=utf-8", app.metrics.openmetrics()),
        false => ("text/plain; version=0.0.4; charset=utf-8", app.metrics.prometheus()),
    };
    Ok(([(header::CONTENT_TYPE, media_type), (header::VARY, "accept")], text))
}

/// Whether `Accept` gives OpenMetrics a quality above 0 that is not below the one of `text/plain` (RFC 9110, section 12.5.1).
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let (mut openmetrics, mut plain) = (0.0, 0.0);
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let best: &mut f32 = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            Some("application/openmetrics-text") => &mut openmetrics,
            Some("text/plain") => &mut plain,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        *best = best.max(quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0)));
    }
    openmetrics > 0.0 && openmetrics >= plain
}
