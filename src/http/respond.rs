//! Answers a request that hyper has read: judges it at the edge, gives it to its route, and completes the response.
//!
//! A handler that panics is answered with 500 and logged under the request's id.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::http::{HeaderValue, Method, Request, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;

use super::edge::{self, ClientAddress, Head, Peer, SharedWith};
use super::problem::Refused;
use super::request_id::{self, RequestId};
use super::takeover::Takeover;
use super::{App, Routes};
use crate::protocol::{ErrorCode, Problem};
use crate::supervision;

/// Answers a request with the routes of its address, if it passes the edge. This is not a layer of the router: a layer
/// would box every request once more for each of its routes.
pub async fn respond(
    app: &App,
    routes: &Routes,
    peer: &Peer,
    takeover: &Takeover,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let sent = request.headers().get(&request_id::HEADER).map(HeaderValue::as_bytes);
    // An id is made of characters that a header may have.
    let id = HeaderValue::from_bytes(request_id::choose(sent, &mut [0; request_id::LENGTH]))
        .unwrap_or(HeaderValue::from_static("-"));
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let checked = app.edge.check(&Head::of(&request), peer);
    let may_share = checked.as_ref().map_or_else(|refusal| refusal.shared, |passed| passed.shared);
    let shared = SharedWith(request.headers().get(header::ORIGIN).filter(|_| may_share).cloned());
    let mut response = match checked {
        Ok(passed) => {
            takeover.keep(passed.permit);
            request.extensions_mut().insert(takeover.clone());
            request.extensions_mut().insert(ClientAddress(passed.client));
            request.extensions_mut().insert(shared.clone());
            let response = served(routes, request, &shared).await?;
            takeover.keep(None);
            response
        }
        Err(refusal) => refusal.problem.into_response(),
    };
    if let Some(Refused { code, cause }) = response.extensions().get() {
        app.metrics.refused(code.as_str());
        let (status, id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
        // A fault of the daemon itself always has its line. Other failures come by the thousand while the broker is away.
        let line = match (cause, code) {
            (None, _) => None,
            (Some(_), ErrorCode::Internal) => Some(0),
            (Some(_), _) => app.failure_log.line(),
        };
        if let Some(left_out @ 1..) = line {
            tracing::warn!(requests = left_out, "more requests failed than there are lines here: debug has them all");
        }
        let (path, code) = (uri.path(), code.as_str());
        match (cause, line) {
            (Some(cause), Some(_)) => tracing::warn!(%method, path, status, code, cause, request_id = id, "failed"),
            (Some(cause), None) => tracing::debug!(%method, path, status, code, cause, request_id = id, "failed"),
            // The client's mistake, or a state of this node that was logged when it began: thousands of clients may meet it.
            (None, _) => tracing::debug!(%method, path, status, code, request_id = id, "refused"),
        }
    }
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, id);
    edge::seal(headers);
    edge::share(headers, &shared);
    if peer.refused.is_some() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Answers a request that has passed the edge.
async fn served(routes: &Routes, request: Request<Incoming>, shared: &SharedWith) -> Result<Response, Infallible> {
    if request.method() == Method::OPTIONS
        && let Some(methods) = routes.methods(request.uri().path())
    {
        return Ok(edge::options(methods, request.headers(), shared));
    }
    AssertUnwindSafe(routes.router.call(request)).catch_unwind().await.unwrap_or_else(|panic| {
        let panicked = format!("the handler panicked: {}", supervision::message(&*panic));
        Ok(Problem::new(ErrorCode::Internal, "the daemon failed; its log has the reason under this x-request-id")
            .with_cause(panicked)
            .into_response())
    })
}
