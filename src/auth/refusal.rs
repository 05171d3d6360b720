//! Why a credential is refused: a label for the metric, and a sentence for the log. The client is told neither.

use std::fmt;

use crate::suggest;

/// The maximum length of a text of a stranger in a log line, in characters.
const MAX_SHOWN: usize = 100;

/// A credential is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not valid: 401.
    Invalid(Cause),
    /// Nobody can tell whether it is valid, because the keys of its issuer are out of reach: 503. The text says why.
    Unavailable(String),
}

/// Which check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    /// A sentence for the log. It names claims, and never contains the token, a secret, or a control character.
    pub text: String,
}

/// The checks, as the label `reason` of the metric `tidings_auth_refusals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// More than 16 KiB.
    TooLong,
    /// Neither a token nor an API key, or not JSON inside.
    Malformed,
    /// A header parameter that is not understood, or that brings a key.
    Header,
    /// An algorithm that the issuer does not use.
    Algorithm,
    /// An issuer that is not configured.
    Issuer,
    /// A key that the issuer does not have.
    UnknownKey,
    Signature,
    Audience,
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// Valid for longer than `max_lifetime`.
    Lifetime,
    /// A claim is missing, or has a wrong type.
    Claim,
    /// A claim under `require` does not hold.
    Required,
    /// The token names no namespace that its issuer may choose.
    Namespace,
    /// The grants in the token, or those that a rule makes, have a mistake.
    Grants,
    /// No such API key, or another secret.
    ApiKey,
    /// The keys of the issuer are out of reach.
    Unavailable,
}

impl Reason {
    #[cfg(test)]
    pub const ALL: [Self; 17] = [
        Self::TooLong,
        Self::Malformed,
        Self::Header,
        Self::Algorithm,
        Self::Issuer,
        Self::UnknownKey,
        Self::Signature,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::Lifetime,
        Self::Claim,
        Self::Required,
        Self::Namespace,
        Self::Grants,
        Self::ApiKey,
        Self::Unavailable,
    ];

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Lifetime => "lifetime",
            Self::Claim => "claim",
            Self::Required => "required",
            Self::Namespace => "namespace",
            Self::Grants => "grants",
            Self::ApiKey => "api-key",
            Self::Unavailable => "unavailable",
        }
    }

    /// The refusal of a credential for this reason.
    pub(super) fn because(self, text: impl fmt::Display) -> Cause {
        Cause { reason: self, text: suggest::one_line(&text.to_string()).into_owned() }
    }
}

impl Refusal {
    /// The check that failed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(cause) => cause.reason,
            Self::Unavailable(_) => Reason::Unavailable,
        }
    }

    /// The sentence for the log.
    pub fn text(&self) -> &str {
        match self {
            Self::Invalid(cause) => &cause.text,
            Self::Unavailable(text) => text,
        }
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::Invalid(cause)
    }
}

/// A text of a stranger for a log line: quoted, escaped and cut.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", suggest::cut(text, MAX_SHOWN).escape_debug())
}
