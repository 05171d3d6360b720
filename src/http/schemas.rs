//! `GET /v1/schemas` and `/v1/schemas/{type}`: the JSON Schemas (2020-12) that events are validated against.
//!
//! The schemas are served as they are, so that they equal the files of `tidings schema export`. An example of each type's `data`
//! stands beside them, for callers that ask for it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;
use crate::access::Caller;
use crate::bus::parameters;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// The name of the whole event's schema; no type can have it.
const EVENT: &str = "event";

pub(super) async fn all(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut with_examples = false;
    for (_, value) in parameters(&query.unwrap_or_default(), &["examples"])? {
        with_examples = read_examples(&value)?;
    }
    let types = app.bus.types(&caller);
    let schemas: Map<String, Value> = types.map(|known| (known.name.to_string(), known.schema.clone())).collect();
    let mut body = json!({ "schemas": schemas });
    if with_examples {
        body["examples"] = examples(&app, &caller).await.into();
    }
    Ok(respond("application/json", &body))
}

fn read_examples(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`examples` must be `true` or `false`, not {}", suggest::quoted(text));
        Problem::new(ErrorCode::BadRequest, detail)
    })
}

/// An example of the `data` of each type that the caller may see. Types to which none was found are left out.
async fn examples(app: &App, caller: &Caller) -> Map<String, Value> {
    // The first caller may wait long: the examples of some schemas cost many attempts.
    let made = app.clone();
    _ = tokio::task::spawn_blocking(move || _ = made.examples.of(made.bus.catalog())).await;
    let catalog = app.bus.catalog();
    let all = catalog.channels().zip(app.examples.of(catalog));
    let seen = all.filter(|(channel, _)| app.bus.sees_type(caller, *channel));
    let data = |example: &Value| example["data"].clone();
    seen.filter_map(|(channel, made)| Some((catalog.get(channel).name.to_string(), data(&made.as_ref()?.published))))
        .collect()
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
