//! Every response bears `x-request-id`: the caller's own where it sent a sane one, or a new one. The log line of a
//! refusal or failure bears it too, so that the two can be brought together.

use std::convert::Infallible;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::App;
use super::problem::Refused;

/// The header that bears it.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id, for a handler that answers by itself; in the request's extensions.
#[derive(Clone)]
pub(super) struct RequestId(pub HeaderValue);

/// The longest id that is taken from a caller, in bytes.
const MAX_LEN: usize = 128;

/// Has the router answer a request. Not a layer of the router, which would box every request once more for each of its
/// routes.
pub async fn respond(
    app: &App,
    router: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let sane =
        |id: &&HeaderValue| id.len() <= MAX_LEN && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic);
    let id = request.headers().get(&HEADER).filter(sane).cloned().unwrap_or_else(|| {
        let mut text = [0; Hyphenated::LENGTH];
        // A UUID is made of characters that a header may have.
        HeaderValue::from_str(Uuid::now_v7().hyphenated().encode_lower(&mut text))
            .unwrap_or(HeaderValue::from_static("-"))
    });
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = router.call(request).await?;
    if let Some(Refused { code, cause }) = response.extensions().get() {
        app.metrics.refused(code.as_str());
        let (status, request_id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
        if let Some(cause) = cause {
            tracing::warn!(%method, path = uri.path(), status, code = code.as_str(), cause, request_id, "failed");
        } else {
            // The caller's mistake, or a state of this node that was logged when it began: thousands may ask meanwhile.
            tracing::debug!(%method, path = uri.path(), status, code = code.as_str(), request_id, "refused");
        }
    }
    response.headers_mut().insert(HEADER, id);
    Ok(response)
}
