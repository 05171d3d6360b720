//! Who makes a call, and what they may do. Pure values: no I/O.
//!
//! Each transport makes a [`Caller`] in one place, from what the client presented, and hands it to every call of the
//! application layer ([`bus`](crate::bus)). Without authentication every caller may do everything. Otherwise a caller has a
//! [`Principal`], which a valid credential names, and may do what its [`Grants`] say.

mod grants;
mod limit_key;
mod principal;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use grants::{AdminRight, GrantError, GrantList, Grants, Rule};
pub use limit_key::{LimitKey, LimitKeys};
pub use principal::{Identity, Principal, TokenIdentity};

/// What a URI-reference cannot have as it is (RFC 3986, section 2).
const NO_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Nor the first segment of one without a scheme.
const NO_SEGMENT: &AsciiSet = &NO_URI.add(b':');

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
    origin: CallOrigin,
}

/// Where a call comes from. `None` for requests where there is no audit, and for a call that is only tried: the transport
/// repeats it with its origin if it is refused.
pub type CallOrigin = Option<Arc<CallDetails>>;

/// See [`CallOrigin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallDetails {
    Request {
        address: IpAddr,
        /// The `x-request-id` of the request; that of the handshake for a connection.
        id: Box<str>,
    },
    /// A part of the daemon itself, by its name.
    Part(Box<str>),
}

impl Caller {
    /// A caller who may do everything in this namespace.
    pub fn unrestricted(namespace: NamespaceId) -> Self {
        Self { namespace, principal: None, origin: None }
    }

    /// A part of the daemon itself, which may do everything in this namespace. Its name is the `source` of its events:
    /// `bridge/legacy-inventory`.
    pub fn internal(namespace: NamespaceId, part: impl Into<Box<str>>) -> Self {
        Self { namespace, principal: None, origin: Some(Arc::new(CallDetails::Part(part.into()))) }
    }

    /// A caller with a valid credential, or with the grants of those who have none.
    pub fn of(principal: Arc<Principal>) -> Self {
        Self { namespace: principal.namespace, principal: Some(principal), origin: None }
    }

    /// The same caller, whose calls come from there.
    #[must_use]
    pub fn from(mut self, origin: CallOrigin) -> Self {
        self.origin = origin;
        self
    }

    /// Where its calls come from.
    pub fn origin(&self) -> &CallOrigin {
        &self.origin
    }

    /// The part of the daemon that calls. `None` for everybody else.
    pub fn part(&self) -> Option<&str> {
        match self.origin.as_deref() {
            Some(CallDetails::Part(name)) => Some(name),
            _ => None,
        }
    }

    /// The namespace that all its calls are about.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// Whom its credential names. `None` for a caller who may do everything.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The `source` of its events that name none: the publisher's name as a URI-reference, which a `source` is (CloudEvents
    /// 1.0.2, section 3.1). What such a one cannot have is percent-encoded.
    pub fn source(&self) -> Cow<'_, str> {
        let name = self.principal().and_then(|principal| principal.source());
        let name = name.or(self.part()).unwrap_or("anonymous");
        // A colon within the first segment would end a scheme (RFC 3986, section 4.2).
        let scheme = name.split_once(':').map(|(scheme, _)| scheme);
        let is_scheme = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        match scheme.is_none_or(is_scheme) {
            true => utf8_percent_encode(name, NO_URI).into(),
            false => utf8_percent_encode(name, NO_SEGMENT).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publishers_name_becomes_a_uri_reference() {
        let of = |subject: &str| {
            let token = TokenIdentity {
                issuer: "https://a.example/".into(),
                subject: Some(subject.into()),
                id: None,
                issued: None,
            };
            let (identity, namespace) = (Identity::Token(token), NamespaceId::FIRST);
            Caller::of(Arc::new(Principal { identity, namespace, grants: Arc::default(), expires: None }))
                .source()
                .into_owned()
        };
        assert_eq!(of("u-42"), "u-42");
        assert_eq!(of("urn:user:42"), "urn:user:42");
        assert_eq!(of("https://id.example/u?x=1#y"), "https://id.example/u?x=1#y");
        assert_eq!(of("auth0|a b"), "auth0%7Ca%20b");
        assert_eq!(of("1:2"), "1%3A2");
        assert_eq!(of("100%"), "100%25");
        assert_eq!(of("\u{e9}"), "%C3%A9");
        assert_eq!(Caller::unrestricted(NamespaceId::FIRST).source(), "anonymous");
        assert_eq!(Caller::internal(NamespaceId::FIRST, "bridge/stock").source(), "bridge/stock");
    }
}
