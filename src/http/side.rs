//! Divides the routes between two addresses: that of clients, and that of the operator (`admin_listen`).

/// Which routes an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// All of them.
    Whole,
    /// Those for clients, where the operator's have an address of their own.
    Public,
    /// The operator's.
    Admin,
}

/// The operator's routes: those that `admin_listen` gives an address of their own.
const ADMIN: [&str; 8] = [
    "/metrics",
    "/v1/nodes",
    "/v1/connections",
    "/v1/incidents",
    "/v1/revocations",
    "/v1/webhooks",
    "/v1/bridges",
    "/v1/sinks",
];

impl Side {
    /// Whether an address of this side has this path.
    pub fn has(self, path: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Public => !is_admin(path),
            Self::Admin => is_admin(path),
        }
    }
}

/// Whether a path is one of the operator's routes, or below one.
fn is_admin(path: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    ADMIN.iter().any(|route| path.strip_prefix(route).is_some_and(below))
}
