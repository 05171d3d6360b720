//! `GET /v1/events`: what the log has, and long-poll with `wait`.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::edge::{self, ClientAddress};
use super::takeover::Takeover;
use crate::access::Caller;
use crate::bus::{History, HistoryQuery, StreamQuery};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// Events of a response: by default, and at most.
pub(super) const LIMIT: u64 = 100;
pub(super) const MAX_LIMIT: u64 = 1_000;
/// How long a call may wait for something new, in seconds.
pub(super) const MAX_WAIT: u64 = 30;

pub(super) async fn read(
    State(app): State<App>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Extension(takeover): Extension<Takeover>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    app.bus.may_subscribe(&caller, &StreamQuery::named(&query))?;
    let (stream, own) = StreamQuery::parse(&query, &["limit", "wait"])?;
    let limit = own.get("limit").map_or(Ok(LIMIT), |text| at_least_one(text))? as usize;
    let wait = Duration::from_secs(own.get("wait").map_or(Ok(0), |text| number("wait", text, MAX_WAIT))?);
    let history = app.bus.history(&caller, HistoryQuery { stream, limit, wait, address }).await?;
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (json, events_body(&app, &takeover, &caller, body(&history))).into_response();
    edge::hurry(response.headers_mut());
    Ok(response)
}

/// A parameter that is a whole number.
pub(super) fn number(name: &str, text: &str, max: u64) -> Result<u64, Problem> {
    text.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
        let detail = format!("`{name}` must be a whole number from 0 to {max}, not {}", suggest::quoted(text));
        Problem::new(ErrorCode::BadRequest, detail)
    })
}

/// The limit of a list or a history.
pub(super) fn at_least_one(text: &str) -> Result<u64, Problem> {
    text.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number)).ok_or_else(|| {
        let detail = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}, not {}", suggest::quoted(text));
        Problem::new(ErrorCode::BadRequest, detail)
    })
}

/// A body with events. A client whose credential ends gets no more of it.
pub(super) fn events_body(app: &App, takeover: &Takeover, caller: &Caller, bytes: Vec<u8>) -> Body {
    if caller.principal().is_none() {
        return bytes.into();
    }
    let (bus, caller) = (app.bus.clone(), caller.clone());
    takeover.body_until(Box::pin(async move { bus.credential_ended(&caller).await }), bytes)
}

/// The answer as JSON. The events are copied as they are.
fn body(History { events, cursor, gaps }: &History) -> Vec<u8> {
    // Strings and numbers: serialization cannot fail.
    let cursor = serde_json::to_string(cursor).unwrap_or_default();
    let gaps = if gaps.is_empty() { "false".to_owned() } else { serde_json::to_string(gaps).unwrap_or_default() };
    let size = events.iter().map(|entry| entry.len() + 2).sum::<usize>() + cursor.len() + gaps.len() + 40;
    let mut body = Vec::with_capacity(size);
    body.extend_from_slice(br#"{"events":["#);
    for (number, entry) in events.iter().enumerate() {
        body.extend_from_slice(if number == 0 { b"{" } else { b",{" });
        body.extend_from_slice(entry);
    }
    for part in [r#"],"cursor":"#, &cursor, r#","gap":"#, &gaps, "}"] {
        body.extend_from_slice(part.as_bytes());
    }
    body
}
