//! `/v1/bridges/{name}/dead` and `/v1/sinks/{name}/dead`: what a flow has given up.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::App;
use crate::access::Caller;
use crate::flows::DeadLetter;
use crate::protocol::Problem;

/// What was given up, the oldest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadMessages")]
pub(super) struct Dead {
    dead: Vec<Letter>,
}

/// A message that became no event, or a value that a store refuses.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadMessage")]
struct Letter {
    id: String,
    /// Why it was given up.
    reason: String,
    /// When that was, in RFC 3339.
    at: String,
    /// Where the event was in its channel, if it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    position: Option<String>,
    /// What came, up to 64 KiB of it. Bytes that are not UTF-8 are U+FFFD.
    message: String,
}

pub(super) async fn of_bridge(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Dead>, Problem> {
    of(&app, &caller, "bridge", name).await
}

pub(super) async fn of_sink(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Dead>, Problem> {
    of(&app, &caller, "sink", name).await
}

async fn of(
    app: &App,
    caller: &Caller,
    kind: &str,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Dead>, Problem> {
    // A name that is not UTF-8 is the name of nothing.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let letters = app.dead_boxes.list(caller, kind, &name).await?;
    Ok(Json(Dead { dead: letters.into_iter().map(Letter::from).collect() }))
}

impl From<DeadLetter> for Letter {
    fn from(DeadLetter { id, reason, at, position, body, .. }: DeadLetter) -> Self {
        let at = i64::try_from(at).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or_default();
        Self { id, reason, at: format!("{at:.3}"), position, message: body }
    }
}
