//! The errors of the client.
//!
//! A caller branches on [`Error`], and [`Error::is_transient`] says whether a retry can help. [`Problem`] is the daemon's
//! own description of a refusal (RFC 9457), with a stable `code` for programs.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;
use tokio_tungstenite::tungstenite;

use super::backoff;
use crate::protocol::{CloseCode, ErrorCode, TEMPORARY_STATUSES};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client cannot be built: a URL is not valid, or none was given. Or no URL can have a name, such as `..`.
    #[error("{0}")]
    Url(String),
    /// No response arrived. If the request was `sent`, the daemon may have carried it out.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// The daemon's address, without user name, password and path.
        url: String,
        /// The reason, for people.
        cause: String,
        /// Whether the request may have left this process.
        sent: bool,
    },
    /// It is unknown whether these events were published. Publishing them again under the same ids is safe: the daemon
    /// takes an id once within its deduplication window.
    #[error("{cause}; it is not known whether the events were published")]
    Unconfirmed {
        /// The ids of the events, in the order in which they were given.
        ids: Vec<String>,
        /// The error of the last attempt.
        cause: Box<Error>,
    },
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(Problem),
    /// The daemon accepts nothing from this client: the token is missing, or it was refused, has expired or was revoked. The
    /// same token would be refused again.
    #[error("not authenticated{}: {cause}", at(.url))]
    Unauthenticated {
        /// The daemon's address, without user name, password and path. Empty if nothing was sent.
        url: String,
        /// What is wrong with the token.
        cause: AuthFailure,
    },
    /// The provider of the tokens failed, for the moment. Nothing was sent.
    #[error("cannot get a token: {cause}")]
    NoToken {
        /// What the provider says.
        cause: String,
    },
    /// The daemon refused one subscription. The other subscriptions of the connection continue.
    #[error("{channel}: {message} ({code})")]
    Subscription {
        /// The channel of the refused subscription.
        channel: String,
        /// The stable code of the error frame, such as `unknown-channel`.
        code: String,
        /// What is wrong, for people.
        message: String,
    },
    /// The daemon closed the WebSocket with a code that a reconnect would not change, such as 4003 (forbidden).
    #[error("closed by the daemon: {code} {reason}")]
    Closed {
        /// The WebSocket close code (RFC 6455, section 7.4).
        code: u16,
        /// The reason, for people.
        reason: String,
    },
    /// Something between this client and the daemon does not pass on WebSocket handshakes. HTTP requests may work there.
    #[error("cannot open a WebSocket at {url}: {cause}")]
    NotUpgraded {
        /// The address that responded, without user name, password and path.
        url: String,
        /// What came instead, and what to do.
        cause: String,
    },
    /// The response is not that of a tidings daemon, or not of this protocol version.
    #[error("unexpected response from {url}, which may not be a tidings daemon: {cause}")]
    Unexpected {
        /// The address that responded, without user name, password and path.
        url: String,
        /// What is unexpected about the response.
        cause: String,
        /// Whether the daemon may have carried the request out all the same.
        accepted: bool,
    },
}

/// What is wrong with a token. It never contains the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// The client has no token, and the daemon wants one.
    #[error("the daemon wants a token, and there is none")]
    Missing,
    /// The token is an empty text, or its provider has none any more.
    #[error("the token is empty")]
    Empty,
    /// The text cannot be a token.
    #[error("the token has characters that no token has, such as a space or a line break: give the token alone")]
    Malformed,
    /// The daemon does not accept the token. It does not say why: its log does.
    #[error("the daemon does not accept the token; its log says why")]
    Refused,
    /// The token has expired, and there is no newer one.
    #[error("the token has expired")]
    Expired,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
}

/// The daemon's refusal of a request: a problem document of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{detail} ({code})")]
#[non_exhaustive]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable name of the problem, for programs, such as `invalid-event`.
    pub code: String,
    /// What is wrong, for people.
    #[serde(default)]
    pub detail: String,
    /// Every mistake in the request, up to 100. Empty if the problem is not about the request's body.
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// How long to wait before a retry, if the daemon named a time (`Retry-After`, in whole seconds). At most a day.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One mistake in a request, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the request's body.
    pub pointer: String,
    /// What is wrong there, for people.
    pub message: String,
}

impl Error {
    /// Whether the same call may succeed later: the daemon did not respond, or it refused only for the moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoToken { .. } => true,
            Self::Refused(problem) => TEMPORARY_STATUSES.contains(&problem.status),
            Self::Unconfirmed { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }

    /// Whether the credential is the cause: there is none, or the daemon does not accept it.
    pub fn is_unauthenticated(&self) -> bool {
        match self {
            Self::Unauthenticated { .. } => true,
            Self::Unconfirmed { cause, .. } => cause.is_unauthenticated(),
            _ => false,
        }
    }

    /// Whether the credential is accepted, but does not allow this.
    pub fn is_forbidden(&self) -> bool {
        let forbidden = ErrorCode::Forbidden.as_str();
        match self {
            Self::Refused(problem) => problem.code == forbidden,
            Self::Subscription { code, .. } => code == forbidden,
            Self::Closed { code, .. } => *code == CloseCode::Forbidden.as_u16(),
            Self::Unconfirmed { cause, .. } => cause.is_forbidden(),
            _ => false,
        }
    }

    /// The error of a token that cannot be sent.
    pub(super) fn no_token(cause: AuthFailure) -> Self {
        Self::Unauthenticated { url: String::new(), cause }
    }

    /// A refusal of the credential, if the response is one: of a request with a token, or without any.
    pub(super) fn or_unauthenticated(self, url: &url::Url, has_token: bool) -> Self {
        match self {
            Self::Refused(problem) if problem.code == ErrorCode::Unauthenticated.as_str() => Self::Unauthenticated {
                url: redacted(url),
                cause: if has_token { AuthFailure::Refused } else { AuthFailure::Missing },
            },
            other => other,
        }
    }

    /// The error of a connection that the daemon closed with a final code.
    pub(super) fn closed(url: &url::Url, code: u16, reason: String, has_token: bool) -> Self {
        let cause = match code {
            code if code == CloseCode::Unauthenticated.as_u16() && has_token => AuthFailure::Refused,
            code if code == CloseCode::Unauthenticated.as_u16() => AuthFailure::Missing,
            code if code == CloseCode::Revoked.as_u16() => AuthFailure::Revoked,
            code if code == CloseCode::TokenExpired.as_u16() => AuthFailure::Expired,
            _ => return Self::Closed { code, reason },
        };
        Self::Unauthenticated { url: redacted(url), cause }
    }

    /// Whether the daemon may have published the events in spite of this error.
    pub(super) fn may_have_published(&self) -> bool {
        match self {
            Self::Unreachable { sent, .. } => *sent,
            // A 4xx status and these two codes promise that the daemon took nothing.
            Self::Refused(problem) => {
                problem.status >= 500 && !matches!(problem.code.as_str(), "draining" | "overloaded")
            }
            Self::Unexpected { accepted, .. } => *accepted,
            _ => false,
        }
    }

    /// Whether the request itself is wrong. Every node refuses such a request, so none of its events was published.
    pub(super) fn rejects_request(&self) -> bool {
        matches!(self, Self::Refused(problem) if matches!(problem.status, 400 | 413 | 415 | 422))
    }

    /// The error of a request that got no response, with the root cause of `error`.
    pub(super) fn unreachable(url: &url::Url, error: &dyn std::error::Error, sent: bool) -> Self {
        let (url, cause) = (redacted(url), root_cause(error));
        match cause.starts_with(NOT_HTTP) {
            true => Self::not_http_at(url),
            false => Self::Unreachable { url, cause, sent },
        }
    }

    fn not_http(url: &url::Url) -> Self {
        Self::not_http_at(redacted(url))
    }

    fn not_http_at(url: String) -> Self {
        let cause = "the response is not HTTP; the port may be that of HTTPS or of another protocol".into();
        Self::Unexpected { url, cause, accepted: false }
    }

    /// The error for a response with an error status.
    pub(super) fn refused(url: &url::Url, status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(header::RETRY_AFTER).and_then(backoff::retry_after);
        if let Ok(mut problem) = serde_json::from_slice::<Problem>(body) {
            problem.status = status;
            problem.retry_after = retry_after;
            if problem.detail.is_empty() {
                problem.detail = format!("HTTP status {status}");
            }
            return Self::Refused(problem);
        }
        let url = redacted(url);
        // Without a problem document of the daemon, a proxy in front of it sent this, or another server.
        let status_text = StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string());
        let cause = match (header(header::LOCATION), header(header::CONTENT_TYPE)) {
            (Some(location), _) if (300..400).contains(&status) => {
                format!("HTTP status {status_text} to {location}; give the address to which it redirects")
            }
            (_, Some(kind)) => format!("HTTP status {status_text} with {kind}, not from tidings"),
            _ => format!("HTTP status {status_text}, not from tidings"),
        };
        match status {
            // The proxy refuses the request itself.
            429 => Self::Refused(Problem {
                status,
                code: "rate-limited".into(),
                detail: format!("{url}: {cause}; a proxy in between limits the requests: try again later"),
                errors: Vec::new(),
                retry_after,
            }),
            status if TEMPORARY_STATUSES.contains(&status) => {
                let cause = format!("{cause}; a proxy in between answered: check that the daemon behind it is running");
                Self::Unreachable { url, cause, sent: true }
            }
            _ => Self::Unexpected { url, cause, accepted: status >= 500 },
        }
    }

    /// The error for a response to a WebSocket handshake that is not the one of RFC 6455.
    pub(super) fn not_upgraded(url: &url::Url, status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let not_upgraded = |cause| Self::NotUpgraded { url: redacted(url), cause };
        match Self::refused(url, status, headers, body) {
            Self::Refused(problem) if problem.code == ErrorCode::UpgradeRequired.as_str() => not_upgraded(format!(
                "the daemon got the request without the headers Upgrade and Connection: a proxy in between {PASS_ON}"
            )),
            // A redirect is a matter of the address.
            Self::Unexpected { cause, .. } if !(300..400).contains(&status) => {
                not_upgraded(format!("{cause}; {CHECK_PROXY}"))
            }
            other => other,
        }
    }

    /// The error of a WebSocket handshake that failed.
    pub(super) fn no_websocket(url: &url::Url, error: &tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Protocol(wrong) if wrong.to_string().contains(NOT_HTTP) => Self::not_http(url),
            // The status is right, and the headers are not.
            tungstenite::Error::Protocol(wrong) => {
                let cause = format!("the response to the handshake is wrong ({wrong}); {CHECK_PROXY}");
                Self::NotUpgraded { url: redacted(url), cause }
            }
            other => Self::unreachable(url, other, false),
        }
    }

    /// The error for a response with a success status whose body is not what the route returns.
    pub(super) fn unexpected_body(url: &url::Url, headers: &HeaderMap, error: &serde_json::Error) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let cause = match kind {
            Some(kind) if !kind.contains("json") => format!("the response is {kind}, not JSON"),
            _ => format!("the response cannot be read: {error}"),
        };
        Self::Unexpected { url: redacted(url), cause, accepted: true }
    }
}

/// What the operator of a proxy does so that WebSockets pass.
const PASS_ON: &str = "must pass them on over HTTP/1.1; docs/deployment.md says how, or give the daemon's own address";

/// What to do about a response that is not one to a WebSocket handshake.
const CHECK_PROXY: &str = "check the URL, and that every proxy in between passes on the headers Upgrade and \
                           Connection over HTTP/1.1 (docs/deployment.md says how)";

/// How hyper's errors of a response that is not HTTP begin.
const NOT_HTTP: &str = "invalid HTTP";

/// The address in a message, if there is one.
fn at(url: &str) -> String {
    if url.is_empty() { String::new() } else { format!(" at {url}") }
}

/// The scheme, host and port of a URL, without the parts that may hold a secret.
pub(super) fn redacted(url: &url::Url) -> String {
    url.origin().ascii_serialization()
}

/// As [`redacted`], for a text that may not be a valid URL: removes user name and password.
pub(super) fn redacted_text(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, rest)) => match before.split_once("://") {
            None => rest.to_owned(),
            Some((scheme, _)) => format!("{scheme}://{rest}"),
        },
    }
}

/// The message of the innermost error. The outer ones only repeat the URL.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    // The number of the system's error says no more than its words.
    text.split(" (os error ").next().unwrap_or_default().to_owned()
}
