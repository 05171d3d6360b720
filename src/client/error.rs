//! What can go wrong between a client and a daemon.

use std::time::Duration;

use serde::Deserialize;

use crate::protocol::PASSING_STATUSES;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The daemon's URL cannot be used.
    #[error("{0}")]
    Url(String),
    /// No answer. Where the request may have been `sent`, what it asked for may have happened.
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String, sent: bool },
    /// It is not known whether these events were published. Published again under the same ids, they are taken once.
    #[error("{cause}; whether it was published is not known")]
    Unconfirmed { ids: Vec<String>, cause: Box<Error> },
    /// The daemon said no.
    #[error("{0}")]
    Refused(Problem),
    /// The daemon does not take a subscription; the others of the connection stand.
    #[error("{channel}: {message} ({code})")]
    Subscription { channel: String, code: String, message: String },
    /// The daemon closed the connection with a code that says that it would do so again.
    #[error("closed by the daemon: {code} {reason}")]
    Closed { code: u16, reason: String },
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
            Self::Refused(problem) => PASSING_STATUSES.contains(&problem.status),
            Self::Unconfirmed { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }

    /// Whether what was asked for may have happened all the same.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Unreachable { sent, .. } => *sent,
            // What was not taken has a status that says so, or one of these codes.
            Self::Refused(problem) => {
                problem.status >= 500 && !matches!(problem.code.as_str(), "draining" | "overloaded")
            }
            Self::Unexpected { .. } => true,
            _ => false,
        }
    }

    /// Whether it is about what was sent, so that another daemon would have said the same.
    pub(super) fn is_verdict(&self) -> bool {
        matches!(self, Self::Refused(problem) if matches!(problem.status, 400 | 413 | 415 | 422))
    }

    pub(super) fn unreachable(url: &url::Url, error: &dyn std::error::Error, sent: bool) -> Self {
        Self::Unreachable { url: shown(url), cause: innermost(error), sent }
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
            Err(_) if PASSING_STATUSES.contains(&status) => {
                Self::Unreachable { url: shown(url), cause: format!("HTTP status {status}"), sent: true }
            }
            Err(_) => Self::Unexpected { url: shown(url), cause: format!("HTTP status {status}") },
        }
    }
}

/// The daemon's address without what may be secret in it.
pub(super) fn shown(url: &url::Url) -> String {
    url.origin().ascii_serialization()
}

/// An address that may be no URL at all, without what may be secret in it.
pub(super) fn shown_unread(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, rest)) => match before.split_once("://") {
            None => rest.to_owned(),
            Some((scheme, _)) => format!("{scheme}://{rest}"),
        },
    }
}

/// The cause at the bottom: what is above it only repeats the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
