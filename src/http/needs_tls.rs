//! The answer to a request without TLS on a listener that has TLS.
//!
//! No request is read: the first byte of the connection was not that of TLS. So the whole response is written here.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::takeover;
use crate::protocol::ErrorCode;

/// A problem document that says what to use instead, as a whole response.
pub fn response() -> Vec<u8> {
    let code = ErrorCode::BadRequest;
    let body = json!({
        "type": format!("urn:tidings:problem:{code}"),
        "title": code.title(),
        "status": code.status(),
        "code": code.as_str(),
        "detail": "this port takes TLS only: use https:// or wss://",
    });
    let body = body.to_string();
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    [takeover::head(StatusCode::BAD_REQUEST, &headers), body.into_bytes()].concat()
}
