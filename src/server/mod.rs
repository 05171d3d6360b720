//! The daemon as a function: [`bind`] makes it from a configuration, [`Server::run`] serves until it is told to stop.
//!
//! Wiring only: which module gets what, in which order things start, and in which order they stop.

mod acceptor;
mod assembly;
mod certificates;
mod examine;
mod file_limit;
mod flow_settings;
mod namespaces;
mod replayed;
mod running;
mod substituted;
#[cfg(test)]
mod tests;
mod write_limit;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::auth::Auth;
use crate::bus::Lifecycle;
use crate::bus::audit::{Audit, AuditQueue};
use crate::config::Config;
use crate::flows::Flow;
use crate::flows::audit::AuditWriter;
use crate::http::App;
use crate::occupancy::Occupancy;
use crate::supervision::{ServiceEnded, TaskGroup};
pub use assembly::{bind, bind_with};
use certificates::{Certificates, CurrentTls};
pub use examine::examine;
pub use flow_settings::FlowSettings;
use namespaces::NamespaceParts;
pub use namespaces::OpenBroker;

/// A daemon that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    /// Listens for the operator, if the configuration has an address for it.
    admin: Option<TcpListener>,
    /// The listener's certificate, if it has TLS.
    tls: Option<(Certificates, CurrentTls)>,
    app: App,
    /// The connections of `listener`.
    occupancy: Arc<Occupancy>,
    namespaces: Vec<NamespaceParts>,
    /// The tasks of connections that handlers have taken over.
    connections: TaskGroup,
    lifecycle: Lifecycle,
    auth: Option<Arc<Auth>>,
    flows: Vec<Arc<dyn Flow>>,
    audit: Option<AuditParts>,
    config: Config,
}

/// The audit, and what writes it.
struct AuditParts {
    audit: Arc<Audit>,
    queue: AuditQueue,
    writer: AuditWriter,
}

/// Why a daemon could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error("cannot listen on {address}: {}", not_bound(.error))]
    Listen { address: SocketAddr, error: io::Error },
    #[error("the file of the setting auth cannot be used: {}", .0.join("; "))]
    Auth(Vec<String>),
    #[error("the broker cannot be used: {0}")]
    Broker(String),
    /// The `[[cascade]]`, `[types.NAME]` or `[[webhook]]` tables do not fit the event types, or have other mistakes.
    #[error("{}", .0.join("\n"))]
    Tables(Vec<String>),
    /// The file of `[audit]` cannot be written.
    #[error("{0}")]
    Audit(String),
    /// The files of the settings `tls_cert`, `tls_key` and `tls_client_ca` cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    #[error("the system gives no thread: {0}")]
    Thread(io::Error),
    /// A service that the node cannot do without has ended or panicked.
    #[error(transparent)]
    Service(#[from] ServiceEnded),
}

/// Why an address cannot be listened on, in words.
fn not_bound(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process uses this port".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::PermissionDenied => "this user may not use this port; ports below 1024 need a privilege".into(),
        _ => error.to_string(),
    }
}

impl Server {
    /// The address on which it listens, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address of the operator's routes, if they have one of their own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }
}
