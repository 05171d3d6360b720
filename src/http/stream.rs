//! `GET /v1/stream`: Server-Sent Events (HTML Living Standard, section 9.2), from where `since` or `Last-Event-ID` says.
//!
//! Clients send the id of the last event that they received as the header `Last-Event-ID`. npm's `event-source-polyfill`
//! sends it as the parameter `lastEventId`, and clients of Mercure as `lastEventID`. The header wins over the parameter,
//! and both win over `since`: a client repeats the `since` of its URL at every reconnect.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};

use super::App;
use super::edge::{self, ClientAddress, SharedWith};
use super::request_id::{self, RequestId};
use super::takeover::{self, Takeover};
use crate::access::Caller;
use crate::bus::StreamQuery;
use crate::connection::StreamOpening;
use crate::protocol::{ErrorCode, Problem};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The header as a parameter. The first of them that a request has counts.
const LAST_EVENT_ID_PARAMETERS: [&str; 2] = ["lastEventId", "lastEventID"];

/// Event streams are always UTF-8. Python's `requests` reads text without a charset as ISO 8859-1.
const MEDIA_TYPE: &str = "text/event-stream; charset=utf-8";

pub(super) async fn open(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    (Extension(ClientAddress(address)), Extension(shared)): (Extension<ClientAddress>, Extension<SharedWith>),
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Infallible, Problem> {
    let query = query.unwrap_or_default();
    app.bus.may_subscribe(&caller, &StreamQuery::named(&query))?;
    let permit = app.bus.admit(&caller)?;
    let (mut query, own) = StreamQuery::parse(&query, &LAST_EVENT_ID_PARAMETERS)?;
    let parameter = LAST_EVENT_ID_PARAMETERS.iter().find_map(|name| own.get(*name).filter(|last| !last.is_empty()));
    if let Some(last) = last_event_id(request.headers())?.or(parameter.map(String::as_str)) {
        query.resume(last)?;
    }
    // An HTTP/1.0 client such as nginx by its defaults does not know chunks: its stream ends with the connection.
    let chunked = request.version() >= Version::HTTP_11;
    app.bus.unpack(&caller, &mut query).await?;
    let mut subscriptions = Vec::new();
    for selected in app.bus.select(&caller, &query)? {
        subscriptions.push(app.bus.resolve(&caller, selected).await?);
    }
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    edge::hurry(&mut headers);
    headers.insert(request_id::HEADER, id.0);
    edge::seal(&mut headers);
    edge::share(&mut headers, &shared);
    let head = takeover::head(StatusCode::OK, &headers);
    let connections = app.connections.clone();
    let opening = StreamOpening { head, chunked, subscriptions, permit, address };
    let serve = move |stream, _| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(connections.stream(stream, caller, opening))
    };
    match takeover.take(Box::new(serve)).await {}
}

/// The header `Last-Event-ID`, unless it is empty. Two headers with different ids are refused: one of them would repeat or
/// lose events.
fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = |detail: &str| Problem::new(ErrorCode::InvalidPosition, detail);
    let mut ids = headers.get_all(LAST_EVENT_ID).iter().filter(|id| !id.is_empty());
    let Some(first) = ids.next() else { return Ok(None) };
    if ids.any(|other| other != first) {
        return Err(invalid("the request has several Last-Event-ID headers: send one"));
    }
    first.to_str().map(Some).map_err(|_| {
        invalid("the header Last-Event-ID has characters that no cursor has: send the id of the last event unchanged")
    })
}
