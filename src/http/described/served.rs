//! How a document is served: with a tag by which a client asks whether it has changed (RFC 9110, section 13.1.2).

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::http::entity_tag;

/// How many bytes of the hash a tag has.
const TAG_BYTES: usize = 16;

/// A document as it is sent.
#[derive(Debug, Clone)]
pub(in crate::http) struct Served {
    text: Bytes,
    /// A strong tag: the hash of the text.
    tag: String,
}

impl Served {
    /// The document as compact JSON.
    pub fn new(document: &Value) -> Self {
        let text = document.to_string();
        let hash = digest(&SHA256, text.as_bytes());
        let digits: String = hash.as_ref().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { text: text.into(), tag: format!("\"{digits}\"") }
    }

    /// The response to a request with these headers: 304 to a client that has the document.
    pub fn response(&self, request: &HeaderMap) -> Response {
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(&self.tag).map(|tag| (header::ETAG, tag)));
        if entity_tag::is_known(request, &self.tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (headers, self.text.clone()).into_response()
    }
}
