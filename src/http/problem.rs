//! What goes wrong, as RFC 9457 problem documents: a stable `code`, a sentence, and every mistake with its place.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::event::Mistake;

/// The codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    MalformedJson,
    NotFound,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidEvent,
    UnknownType,
    UnknownChannel,
    UnknownField,
    InvalidFilter,
    InvalidPosition,
    Internal,
    BadRequest,
    UpgradeRequired,
    RequestTimeout,
    BrokerUnavailable,
    Draining,
    Overloaded,
}

impl Code {
    /// Status, code and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "Too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::InvalidEvent => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-event", "The event does not fit its type")
            }
            Self::UnknownType => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-type", "Unknown event type"),
            Self::UnknownChannel => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-channel", "Unknown channel"),
            Self::UnknownField => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-field", "Unknown field"),
            Self::InvalidFilter => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-filter", "The filter cannot be used"),
            Self::InvalidPosition => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-position", "The position cannot be used")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "An error of the daemon's own"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "Bad request"),
            Self::UpgradeRequired => (StatusCode::UPGRADE_REQUIRED, "upgrade-required", "A WebSocket is required"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request took too long"),
            Self::BrokerUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "broker-unavailable", "The broker is unavailable")
            }
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many at once"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "This node is about to stop"),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.parts().1
    }
}

/// A refused or failed request.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<Mistake>,
    /// Seconds after which to try again.
    retry_after: Option<u32>,
    /// What is for the log alone: another program's words, or where it runs.
    cause: Option<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = match code {
            Code::BrokerUnavailable | Code::Draining => Some(1),
            // Those who came together are not to come back together.
            Code::Overloaded => Some(rand::random_range(1..=5)),
            _ => None,
        };
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after, cause: None }
    }

    /// With what the log is to say of it, and the public is not.
    pub fn with_cause(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// With every mistake and its place in the body.
    pub fn with_errors(mut self, errors: Vec<Mistake>) -> Self {
        self.errors = errors;
        self
    }
}

/// What the log and the metrics are told of a response that is a [`Problem`].
#[derive(Debug, Clone)]
pub struct Refused {
    pub code: Code,
    pub cause: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Mistake],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title) = self.code.parts();
        let document = Document {
            r#type: format!("urn:tidings:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: &self.detail,
            errors: &self.errors,
        };
        // Strings and numbers: there is nothing that could fail.
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == Code::UpgradeRequired {
            // RFC 6455, section 4.4; RFC 9110, section 15.5.22.
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        response.extensions_mut().insert(Refused { code: self.code, cause: self.cause });
        response
    }
}
