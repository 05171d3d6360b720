//! A principal: whom a credential names, what it grants, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Grants, NamespaceId};

/// What a valid credential says: the identity, the namespace, the grants and the end. The daemon does not keep the credential
/// itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub identity: Identity,
    pub namespace: NamespaceId,
    pub grants: Arc<Grants>,
    /// When the credential ends: its `exp` and the clock skew. `None` for an API key, which has no end.
    pub expires: Option<SystemTime>,
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody: what `[anonymous]` grants.
    Anonymous,
    Token(TokenIdentity),
    Key {
        /// The public part of the key.
        id: Box<str>,
        name: Box<str>,
    },
}

/// The claims of a token that say whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// The claim `iss`.
    pub issuer: Arc<str>,
    pub subject: Option<Box<str>>,
    pub id: Option<Box<str>>,
    /// The claim `iat`, in seconds since 1970, rounded down.
    pub issued: Option<i64>,
}

impl Principal {
    /// How long the credential is still valid. `None` for one without an end.
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.expires.map(|expires| expires.duration_since(now).unwrap_or_default())
    }

    /// The `source` of its events that name none. `None` if it has no name.
    pub fn source(&self) -> Option<&str> {
        match &self.identity {
            Identity::Anonymous => None,
            Identity::Token(token) => token.subject.as_deref(),
            Identity::Key { name, .. } => Some(name),
        }
    }

    /// Whether a credential that is presented on a live connection renews this one: of the same issuer, subject and
    /// namespace.
    pub fn is_renewed_by(&self, other: &Self) -> bool {
        let same = match (&self.identity, &other.identity) {
            (Identity::Anonymous, _) => true,
            (Identity::Token(one), Identity::Token(other)) => {
                one.issuer == other.issuer && one.subject == other.subject
            }
            (Identity::Key { id, .. }, Identity::Key { id: other, .. }) => id == other,
            _ => false,
        };
        same && self.namespace == other.namespace
    }
}
