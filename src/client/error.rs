//! What can go wrong between a client and a daemon.

use std::time::Duration;

use serde::Deserialize;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The daemon's URL cannot be used.
    #[error("{0}")]
    Url(String),
    /// No answer: what was asked for may have happened or not.
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String },
    /// The daemon said no.
    #[error("{0}")]
    Refused(Problem),
    /// The daemon does not take a subscription; the others of the connection stand.
    #[error("{channel}: {message} ({code})")]
    Subscription { channel: String, code: String, message: String },
    /// Something answered that is no tidings daemon, or not of this protocol.
    #[error("{url} did not answer as a tidings daemon does: {cause}")]
    Unexpected { url: String, cause: String },
}

/// The daemon's refusal of a request (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable name of the problem, such as `invalid-event`.
    pub code: String,
    /// What is wrong, for people.
    #[serde(default)]
    pub detail: String,
    /// The places in the request that are wrong.
    #[serde(default)]
    pub errors: Vec<Place>,
    /// How long the daemon asks to wait.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// A place in a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// JSON Pointer into the request's body.
    pub pointer: String,
    pub message: String,
}

impl Error {
    /// Whether the same call may succeed later: nobody answered, or not now.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 502..=504),
            _ => false,
        }
    }

    pub(super) fn unreachable(url: &url::Url, error: &dyn std::error::Error) -> Self {
        Self::Unreachable { url: shown(url), cause: innermost(error) }
    }

    /// The refusal that an answer with an error status stands for.
    pub(super) fn refused(url: &url::Url, status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(mut problem) => {
                problem.status = status;
                problem.retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
                if problem.detail.is_empty() {
                    problem.detail = format!("HTTP status {status}");
                }
                Self::Refused(problem)
            }
            // A proxy in front of the daemon, which has no words of ours.
            Err(_) if matches!(status, 408 | 429 | 502..=504) => {
                Self::Unreachable { url: shown(url), cause: format!("HTTP status {status}") }
            }
            Err(_) => Self::Unexpected { url: shown(url), cause: format!("HTTP status {status}") },
        }
    }
}

/// The daemon's address without what may be secret in it.
pub(super) fn shown(url: &url::Url) -> String {
    url.origin().ascii_serialization()
}

/// The cause at the bottom: what is above it only repeats the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
