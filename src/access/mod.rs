//! Who makes a call, and what they may do. Pure values: no I/O.
//!
//! Each transport makes a [`Caller`] in one place, from what the client presented, and hands it to every call of the
//! application layer ([`bus`](crate::bus)). Without authentication every caller may do everything. Otherwise a caller has a
//! [`Principal`], which a valid credential names, and may do what its [`Grants`] say.

mod grants;
mod limit_key;
mod principal;

use std::sync::Arc;

pub use grants::{AdminRight, GrantError, GrantList, Grants, Rule};
pub use limit_key::{LimitKey, LimitKeys};
pub use principal::{Identity, Principal, TokenIdentity};

/// Says whether a credential has been taken back after it was accepted: revoked, or removed from the configuration.
pub trait Guard: std::fmt::Debug + Send + Sync {
    fn refuses(&self, principal: &Principal) -> bool;
}

/// A namespace of this node, by number. The application layer gives them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId(pub(crate) u16);

impl NamespaceId {
    /// The namespace of callers without a credential.
    pub const FIRST: Self = Self(0);

    /// Its number: the first namespace is 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who makes a call, and in which namespace.
#[derive(Debug, Clone)]
pub struct Caller {
    namespace: NamespaceId,
    /// `None`: may do everything.
    principal: Option<Arc<Principal>>,
}

impl Caller {
    /// A caller who may do everything in this namespace.
    pub fn unrestricted(namespace: NamespaceId) -> Self {
        Self { namespace, principal: None }
    }

    /// A caller with a valid credential, or with the grants of those who have none.
    pub fn of(principal: Arc<Principal>) -> Self {
        Self { namespace: principal.namespace, principal: Some(principal) }
    }

    /// The namespace that all its calls are about.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// Whom its credential names. `None` for a caller who may do everything.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The `source` of its events that name none.
    pub fn source(&self) -> &str {
        self.principal().and_then(|principal| principal.source()).unwrap_or("anonymous")
    }
}
