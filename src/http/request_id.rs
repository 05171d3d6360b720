//! Every response has `x-request-id`: the client's own if it sent a usable one, or a new one. The log line of a refusal or
//! failure has it too, so that an operator can match the two.
//!
//! A handler that panics is answered with 500 and logged under the same id.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::App;
use super::problem::Refused;
use crate::protocol::{ErrorCode, Problem};
use crate::supervision;

/// The header's name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id, for a handler that answers by itself; in the request's extensions.
#[derive(Clone)]
pub(super) struct RequestId(pub HeaderValue);

/// The longest id that is taken from a client, in bytes.
const MAX_LEN: usize = 128;

/// The length of a new id, in bytes.
pub(super) const LENGTH: usize = Hyphenated::LENGTH;

/// The id of a request: what the client sent if it is usable, or a new one.
pub(super) fn choose<'a>(sent: Option<&'a [u8]>, new: &'a mut [u8; LENGTH]) -> &'a [u8] {
    let usable = |id: &&[u8]| id.len() <= MAX_LEN && !id.is_empty() && id.iter().all(u8::is_ascii_graphic);
    match sent.filter(usable) {
        Some(sent) => sent,
        None => Uuid::now_v7().hyphenated().encode_lower(new).as_bytes(),
    }
}

/// Answers a request with the router. This is not a layer of the router: a layer would box every request once more for
/// each of its routes.
pub async fn respond(
    app: &App,
    router: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let sent = request.headers().get(&HEADER).map(HeaderValue::as_bytes);
    // An id is made of characters that a header may have.
    let id = HeaderValue::from_bytes(choose(sent, &mut [0; LENGTH])).unwrap_or(HeaderValue::from_static("-"));
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
    let mut response = match answered {
        Ok(response) => response?,
        Err(panic) => {
            let panicked = format!("the handler panicked: {}", supervision::message(&*panic));
            Problem::new(ErrorCode::Internal, "the daemon failed; its log has the reason under this x-request-id")
                .with_cause(panicked)
                .into_response()
        }
    };
    if let Some(Refused { code, cause }) = response.extensions().get() {
        app.metrics.refused(code.as_str());
        let (status, request_id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
        if let Some(cause) = cause {
            tracing::warn!(%method, path = uri.path(), status, code = code.as_str(), cause, request_id, "failed");
        } else {
            // The client's mistake, or a state of this node that was logged when it began: thousands of clients may meet it.
            tracing::debug!(%method, path = uri.path(), status, code = code.as_str(), request_id, "refused");
        }
    }
    response.headers_mut().insert(HEADER, id);
    Ok(response)
}
