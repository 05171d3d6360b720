//! A refusal, with what the public is told and what only the log is told.
//!
//! The application layer returns it; each transport writes it in its own form: a problem document (RFC 9457), an `error`
//! frame. So the same mistake has the same code and the same sentence on every path.

use std::fmt::Display;

use super::ErrorCode;
use crate::event::Mistake;

/// A refused or failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: ErrorCode,
    /// A sentence for the caller: what, where, and what to do.
    pub detail: String,
    /// Every mistake with its place in the request's body.
    pub errors: Vec<Mistake>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// How to authenticate, for the header `WWW-Authenticate` (RFC 9110, section 11.6.1).
    pub challenge: Option<&'static str>,
    /// For the log alone: another program's words, or where it runs.
    pub cause: Option<String>,
}

impl Problem {
    /// A problem of this code. Codes that pass by themselves say when to try again.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let retry_after = match code {
            ErrorCode::BrokerUnavailable | ErrorCode::Draining | ErrorCode::RateLimited => Some(1),
            // Spread, so that clients which came together do not come back together.
            ErrorCode::Overloaded => Some(rand::random_range(1..=5)),
            _ => None,
        };
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after, challenge: None, cause: None }
    }

    /// Adds how to authenticate.
    pub fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Adds the cause, which is logged and not shown.
    pub fn with_cause(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds every mistake and its place in the body.
    pub fn with_errors(mut self, errors: Vec<Mistake>) -> Self {
        self.errors = errors;
        self
    }
}
