//! `GET /v1/stream`: Server-Sent Events (HTML Living Standard, section 9.2), from where `since` or `Last-Event-ID` says.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::App;
use super::admission::admit;
use super::problem::{Code, Problem};
use super::request_id::{self, RequestId};
use super::selection::{Selected, Selection};
use super::takeover::{self, Takeover, only_get};
use crate::hub::{Begin, SubscribeRequest};
use crate::replay;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks proxies like nginx not to gather what should be on its way.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn open(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    RawQuery(query): RawQuery,
    method: Method,
    version: Version,
    headers: HeaderMap,
) -> Result<Infallible, Problem> {
    only_get(&method)?;
    let permit = admit(&app)?;
    if version != Version::HTTP_11 {
        return Err(Problem::new(Code::BadRequest, "an event stream needs HTTP/1.1"));
    }
    let mut selection = Selection::read(&app, query.as_deref().unwrap_or_default(), &[])?;
    // EventSource sends the last id that it saw, which is newer than what its URL says.
    if let Some(last) = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
        let text = last.to_str().map_err(|_| Problem::new(Code::InvalidPosition, "Last-Event-ID is no text"))?;
        selection.resume(text)?;
    }
    let mut wanted = Vec::new();
    for Selected { name, channel, filter } in std::mem::take(&mut selection.channels) {
        if !app.hub.knows(channel) {
            return Err(Problem::new(Code::BrokerUnavailable, "the broker has not been reached yet"));
        }
        let begin = match selection.since(&name) {
            None => Begin::Live { recovered: false },
            Some(since) => replay::begin(&*app.broker, &app.admission, channel, &since).await.map_err(|error| {
                Problem::new(Code::BrokerUnavailable, "the broker is unavailable").with_cause(error)
            })?,
        };
        wanted.push(SubscribeRequest { sub: name, channel, filter, begin });
    }
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(request_id::HEADER, id.0);
    let head = takeover::head(StatusCode::OK, &headers);
    let connections = app.connections.clone();
    match takeover.take(Box::new(|stream, _| Box::pin(connections.stream(stream, head, wanted, permit)))).await {}
}
