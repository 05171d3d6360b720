//! `GET /v1/schemas` and `/v1/schemas/{type}`: the JSON Schemas (2020-12) that events are validated against.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;
use crate::access::Caller;
use crate::protocol::Problem;

/// The name of the whole event's schema; no type can have it.
const EVENT: &str = "event";

pub(super) async fn all(State(app): State<App>, caller: Caller) -> Response {
    let types = app.bus.types(&caller);
    let schemas: Map<String, Value> = types.map(|known| (known.name.to_string(), known.schema.clone())).collect();
    respond("application/json", &json!({ "schemas": schemas }))
}

pub(super) async fn one(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    // A name that is not UTF-8 is the name of nothing.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    if name == EVENT {
        return Ok(respond("application/schema+json", &app.bus.event_schema(&caller)));
    }
    Ok(respond("application/schema+json", app.bus.schema(&caller, &name)?))
}

fn respond(media_type: &'static str, document: &Value) -> Response {
    ([(header::CONTENT_TYPE, media_type)], document.to_string()).into_response()
}
