//! Who makes a call, and what they may do. Pure values: no I/O.
//!
//! Each transport makes a [`Caller`] in one place, from what the client presented, and hands it to every call of the
//! application layer ([`bus`](crate::bus)). There is no authentication yet, so every caller may do everything.

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
}

impl Caller {
    /// A caller who may do everything in this namespace.
    pub fn unrestricted(namespace: NamespaceId) -> Self {
        Self { namespace }
    }

    /// The namespace that all its calls are about.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// The `source` of its events that name none.
    pub fn source(&self) -> &str {
        "anonymous"
    }
}
