//! Problems as RFC 9457 problem documents: a stable `code`, a sentence, and every mistake with its place.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Mistake;
use crate::protocol::{ErrorCode, Problem};

/// What the log and the metrics are told of a response that is a problem; in the response's extensions.
#[derive(Debug, Clone)]
pub struct Refused {
    pub code: ErrorCode,
    pub cause: Option<String>,
}

/// A problem document (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document<'a> {
    /// `urn:tidings:problem:` and the code.
    #[schemars(example = &"urn:tidings:problem:invalid-event")]
    r#type: String,
    /// What the code means: the same words for every occurrence.
    #[schemars(example = &ErrorCode::InvalidEvent.title())]
    title: &'a str,
    /// The status of the response.
    #[schemars(example = ErrorCode::InvalidEvent.status())]
    status: u16,
    #[schemars(with = "ErrorCode", example = ErrorCode::InvalidEvent)]
    code: &'a str,
    /// What is wrong, and what to do, as a sentence for people.
    #[schemars(example = &"/data/newStatus: is required")]
    detail: &'a str,
    /// Every mistake in the body or the filter, with its place.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Mistake],
}

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The problem as JSON.
pub(super) fn document(problem: &Problem) -> String {
    let document = Document {
        r#type: format!("urn:tidings:problem:{}", problem.code),
        title: problem.code.title(),
        status: problem.code.status(),
        code: problem.code.as_str(),
        detail: &problem.detail,
        errors: &problem.errors,
    };
    // Strings and numbers: serialization cannot fail.
    serde_json::to_string(&document).unwrap_or_default()
}

pub(super) fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = document(&self);
        let mut response = (status(&self), [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.code == ErrorCode::UpgradeRequired {
            // RFC 6455, section 4.4; RFC 9110, section 15.5.22.
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.code == ErrorCode::HeadersTooLarge {
            // As after those heads that are too large for hyper.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Refused { code: self.code, cause: self.cause });
        response
    }
}
