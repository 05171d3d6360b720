//! `/v1/webhooks`: how the webhooks are, and what an operator does with them.

use axum::Json;
use axum::body::Body as RequestBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::App;
use super::events::read_body;
use super::revocations::given;
use crate::access::{AdminRight, Caller};
use crate::event::Json as StrictJson;
use crate::flows::DeadLetter;
use crate::flows::webhook::{Replayed, Tested, WebhookSummary};
use crate::protocol::{ErrorCode, Problem};

/// The longest body, in bytes.
const MAX_BODY: usize = 16 << 10;

/// The webhooks of the daemon.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Webhooks")]
pub(super) struct List {
    webhooks: Vec<Webhook>,
}

/// A webhook, and how it is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    /// Without its query.
    url: String,
    channels: Vec<String>,
    /// `waiting` before a node has begun with it, `delivering`, `failing`, or `stopped`.
    state: &'static str,
    /// The node that delivers, or did last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    node: Option<String>,
    /// Events that are not delivered yet.
    lag: u64,
    /// Events that were given up in the last 7 days.
    dead: usize,
    /// Why it is stopped, or why the last attempt failed, unless one succeeded since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    reason: Option<String>,
    /// When that was, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    since: Option<String>,
}

/// What became of a test.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookTest")]
pub(super) struct Test {
    /// The id of the event that was sent.
    id: String,
    delivered: bool,
    /// Why it was not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    reason: Option<String>,
    took_ms: u64,
}

/// The events that could not be delivered, the oldest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetters")]
pub(super) struct Dead {
    dead: Vec<Letter>,
}

/// An event that could not be delivered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetter")]
struct Letter {
    id: String,
    /// Why the last attempt failed.
    reason: String,
    /// When that was, in RFC 3339.
    at: String,
    attempts: u32,
    /// Where the event was in its channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    position: Option<String>,
    /// The event, a CloudEvent.
    #[schemars(with = "Map<String, Value>")]
    event: Box<RawValue>,
}

/// Either `id` or `all`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Replay", transform = one_of_two)]
pub(super) struct Replay {
    /// The id of a dead letter.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", length(min = 1))]
    id: Option<String>,
    /// All dead letters of the webhook.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "bool")]
    all: Option<bool>,
}

/// A schemars transform: what serde does not say.
fn one_of_two(schema: &mut schemars::Schema) {
    // An absent member is not `null`.
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        property.as_object_mut().and_then(|property| property.remove("default"));
    }
    schema.insert(
        "oneOf".into(),
        json!([
            { "required": ["id"] },
            { "required": ["all"], "properties": { "all": { "const": true } } },
        ]),
    );
}

/// What became of a resumption.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResumedWebhook")]
pub(super) struct Resumed {
    /// `true`: it goes on within seconds. `false`: it was not stopped.
    resumed: bool,
}

/// What became of a replay.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Replayed")]
pub(super) struct ReplayResult {
    /// The ids of the events that were delivered. They are no dead letters any more.
    delivered: Vec<String>,
    failed: Vec<FailedReplay>,
    /// Dead letters for which the time was too short: send the request again.
    remaining: usize,
}

/// An event that could not be delivered again.
#[derive(Serialize, JsonSchema)]
struct FailedReplay {
    id: String,
    reason: String,
}

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<List>, Problem> {
    let webhooks = app.webhooks.list(&caller).await?;
    Ok(Json(List { webhooks: webhooks.into_iter().map(Webhook::from).collect() }))
}

pub(super) async fn test(State(app): State<App>, caller: Caller, name: Name) -> Result<Json<Test>, Problem> {
    let Tested { id, failure, took } = app.webhooks.test(&caller, &named(name)).await?;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(Test { id, delivered: failure.is_none(), reason: failure, took_ms }))
}

pub(super) async fn dead(State(app): State<App>, caller: Caller, name: Name) -> Result<Json<Dead>, Problem> {
    let letters = app.webhooks.dead(&caller, &named(name)).await?;
    Ok(Json(Dead { dead: letters.into_iter().map(Letter::from).collect() }))
}

pub(super) async fn replay(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Json<ReplayResult>, Problem> {
    app.bus.require(&caller, AdminRight::Flows)?;
    let body = read_body(&headers, body, MAX_BODY, ": send {\"id\": …} or {\"all\": true}").await?;
    let id = read(&body)?;
    let Replayed { delivered, failed, remaining } = app.webhooks.replay(&caller, &named(name), id.as_deref()).await?;
    let failed = failed.into_iter().map(|(id, reason)| FailedReplay { id, reason }).collect();
    Ok(Json(ReplayResult { delivered, failed, remaining }))
}

pub(super) async fn resume(State(app): State<App>, caller: Caller, name: Name) -> Result<Json<Resumed>, Problem> {
    Ok(Json(Resumed { resumed: app.webhooks.resume(&caller, &named(name)).await? }))
}

/// The name of a webhook in the path.
type Name = Result<Path<String>, PathRejection>;

/// A name that is not UTF-8 is the name of nothing.
fn named(name: Name) -> String {
    name.map(|Path(name)| name).unwrap_or_default()
}

/// The id to replay; `None` for all.
fn read(body: &[u8]) -> Result<Option<String>, Problem> {
    let json =
        StrictJson::parse_bytes(body).map_err(|error| Problem::new(ErrorCode::MalformedJson, error.to_string()))?;
    match serde_json::from_value(json.to_value()) {
        Ok(Replay { id: Some(id), all: None }) if !id.is_empty() => Ok(Some(id)),
        Ok(Replay { id: None, all: Some(true) }) => Ok(None),
        _ => Err(Problem::new(ErrorCode::BadRequest, "send either {\"id\": \"…\"} or {\"all\": true}")),
    }
}

/// Milliseconds since 1970 as RFC 3339.
fn time(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    format!("{:.3}", time.unwrap_or_default())
}

impl From<WebhookSummary> for Webhook {
    fn from(summary: WebhookSummary) -> Self {
        let WebhookSummary { name, url, channels, state, node, lag, dead, trouble } = summary;
        let (reason, since) = trouble.map(|(reason, at)| (reason, time(at))).unzip();
        Self { name, url, channels, state, node, lag, dead, reason, since }
    }
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, reason, at, attempts, position, body } = letter;
        // Every body of a webhook is an event.
        let event = RawValue::from_string(body).unwrap_or_default();
        Self { id, reason, at: time(at), attempts, position, event }
    }
}
