//! A whole response with a problem, for a connection whose request hyper does not serve.

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{MEDIA_TYPE, document, status};
use super::{edge, request_id, takeover};
use crate::protocol::Problem;

/// The whole response with a problem, as HTTP/1.1 writes it. The connection ends with it.
pub fn raw(problem: &Problem) -> Vec<u8> {
    let body = document(problem);
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    let mut id = [0; request_id::LENGTH];
    if let Ok(id) = HeaderValue::from_bytes(request_id::choose(None, &mut id)) {
        headers.insert(request_id::HEADER, id);
    }
    edge::seal(&mut headers);
    let mut response = takeover::head(status(problem), &headers);
    response.extend_from_slice(body.as_bytes());
    response
}
