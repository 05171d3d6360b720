//! `GET /v1/stream`: Server-Sent Events (HTML Living Standard, section 9.2), from where `since` or `Last-Event-ID` says.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};

use super::App;
use super::request_id::{self, RequestId};
use super::takeover::{self, Takeover, only_get};
use crate::access::Caller;
use crate::bus::StreamQuery;
use crate::protocol::{ErrorCode, Problem};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells proxies such as nginx not to buffer the response.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn open(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Infallible, Problem> {
    only_get(request.method())?;
    let permit = app.bus.admit(&caller)?;
    if request.version() != Version::HTTP_11 {
        return Err(Problem::new(
            ErrorCode::BadRequest,
            "an event stream needs HTTP/1.1; a proxy in between may speak HTTP/1.0: for nginx, set proxy_http_version 1.1",
        ));
    }
    let (mut query, _) = StreamQuery::parse(query.as_deref().unwrap_or_default(), &[])?;
    // EventSource sends the last id that it received, which is newer than the `since` of its URL.
    if let Some(last) = request.headers().get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
        let not_text = |_| {
            Problem::new(
                ErrorCode::InvalidPosition,
                "Last-Event-ID is not ASCII text: send the last `id` of the stream as it is",
            )
        };
        query.resume(last.to_str().map_err(not_text)?)?;
    }
    let mut subscriptions = Vec::new();
    for selected in app.bus.select(&caller, &query)? {
        subscriptions.push(app.bus.resolve(&caller, selected).await?);
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
    let serve = move |stream, _| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(connections.stream(stream, caller, head, subscriptions, permit))
    };
    match takeover.take(Box::new(serve)).await {}
}
