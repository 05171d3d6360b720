//! Makes a [`Server`] from a configuration: which module gets what. Nothing runs and nothing is served yet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::certificates::Certificates;
use super::file_limit;
use super::flow_settings::FlowSettings;
use super::namespaces::{NamespaceParts, OpenBroker};
use super::{AuditParts, Server, ServerError};
use crate::admission::Admission;
use crate::auth::Auth;
use crate::broker;
use crate::bus::audit::Audit;
use crate::bus::{Bus, Lifecycle, PublishLimit};
use crate::cascade::Cascades;
use crate::config::{BrokerConfig, BrokerUrl, Config, OnFailure, TypeTables};
use crate::connection::{Connections, MAX_UNAUTHENTICATED};
use crate::event::Catalog;
use crate::flows::audit::AuditWriter;
use crate::flows::webhook::{self, Webhook, Webhooks};
use crate::flows::{DeadBoxes, Flow, FlowId};
use crate::http::edge::Edge;
use crate::http::{App, AppState, FailureLog, ParseLimit, TypeExamples};
use crate::metrics::Metrics;
use crate::occupancy::Occupancy;
use crate::rate::Rate;
use crate::supervision::TaskGroup;

/// The kernel's send buffer of a socket, in bytes; the kernel doubles it. Its default lets a stalled peer hold megabytes
/// that no send buffer of ours counts.
const SOCKET_SEND_BUFFER: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const ACCEPT_BACKLOG: i32 = 4096;
/// What a replay sends at a time, in bytes: little, so that live events do not wait for it.
const REPLAY_BYTES: usize = 64 * 1024;

/// Takes the address and sets everything up; nothing is served yet.
///
/// # Errors
/// See [`ServerError`]. An unreachable broker is no error: the daemon serves, is not ready, and keeps trying.
pub async fn bind(config: Config, catalog: Arc<Catalog>) -> Result<Server, ServerError> {
    bind_with(config, catalog, &broker::open).await
}

/// The same with a backend of the caller's, for tests.
///
/// # Errors
/// See [`bind`].
#[doc(hidden)]
pub async fn bind_with(mut config: Config, catalog: Arc<Catalog>, open: OpenBroker<'_>) -> Result<Server, ServerError> {
    let address = config.server.listen;
    let bound = |address| listen(address).map_err(|error| ServerError::Listen { address, error });
    let listener = bound(address)?;
    let admin = config.edge.admin_listen.map(bound).transpose()?;
    let metrics = Arc::new(Metrics::default());
    let tls = config.tls.clone().map(|files| Certificates::load(files, metrics.clone()));
    let tls = tls.transpose().map_err(ServerError::Tls)?;
    let admission = Admission::new(config.limits.max_pending_connections, metrics.pending_connections.clone());
    let auth = match &config.auth.file {
        Some(file) => {
            let auth = Auth::open(file, catalog.clone(), &config.broker.namespace, metrics.clone());
            Some(auth.map_err(ServerError::Auth)?)
        }
        None => None,
    };
    let (cascades, warnings) = Cascades::compile(config.cascades.as_ref(), &catalog).map_err(ServerError::Tables)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let tables = TypeTables::settings(config.types.as_ref(), &catalog).map_err(ServerError::Tables)?;
    config.broker.types.extend(tables);
    let mut flows = FlowSettings::read(&config, &catalog).map_err(ServerError::Tables)?;
    for warning in &flows.warnings {
        tracing::warn!("{warning}");
    }
    let names = auth.as_ref().map_or_else(|| vec![config.broker.namespace.clone()], |auth| auth.namespaces());
    let audit = config.audit.as_ref().map(|audit| {
        let writer = AuditWriter::open(audit, &config.server.node_id, names.clone(), metrics.clone())?;
        let (audit, queue) = Audit::new(audit.on_failure == OnFailure::Refuse, metrics.clone());
        Ok(AuditParts { audit: Arc::new(audit), queue, writer })
    });
    let audit = audit.transpose().map_err(ServerError::Audit)?;
    let parts = names.into_iter().map(|namespace| {
        let broker = broker_of(&config.broker, namespace);
        NamespaceParts::open(&broker, &config, &catalog, &admission, &metrics, auth.as_ref(), open)
    });
    let parts = parts.collect::<Result<_, _>>()?;
    let webhooks = std::mem::take(&mut flows.webhooks);
    let rules = Rules { cascades, auth, audit, webhooks, flow_ids: flows.ids() };
    let server = assemble(listener, config, catalog.clone(), parts, admission, metrics.clone(), rules);
    let more = flows.flows(&server.app.bus, &catalog, &metrics, &server.config);
    Ok(Server { admin, tls, flows: server.flows.iter().cloned().chain(more).collect(), ..server })
}

/// The broker of one namespace. Redis has it in the names of its keys. A log in files has one owner, so each further
/// namespace gets a directory in that of the first.
fn broker_of(config: &BrokerConfig, namespace: String) -> BrokerConfig {
    let broker = match &config.broker {
        BrokerUrl::File(directory) if namespace != config.namespace => {
            BrokerUrl::File(directory.join("namespaces").join(&namespace))
        }
        broker => broker.clone(),
    };
    BrokerConfig { broker, namespace, ..config.clone() }
}

/// What the application layer goes by.
pub(super) struct Rules {
    pub cascades: Cascades,
    pub auth: Option<Arc<Auth>>,
    pub webhooks: Vec<webhook::Settings>,
    pub audit: Option<AuditParts>,
    pub flow_ids: Vec<FlowId>,
}

/// Puts the parts of a node together. Callers without a credential are in the first namespace.
pub(super) fn assemble(
    listener: TcpListener,
    config: Config,
    catalog: Arc<Catalog>,
    namespaces: Vec<NamespaceParts>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    Rules { cascades, auth, audit, webhooks, flow_ids }: Rules,
) -> Server {
    let lifecycle = Lifecycle::default();
    let known = namespaces.iter().map(|parts| parts.namespace.clone()).collect();
    let edge = &config.edge;
    let publish_limit = edge.publish_rate.map(|rate| PublishLimit::new(rate, edge.publish_burst.unwrap_or(rate)));
    let bus =
        Bus::new(catalog.clone(), known, admission, metrics.clone(), lifecycle.clone(), publish_limit, auth.clone());
    let recorded = audit.as_ref().map(|parts| parts.audit.clone());
    let bus = Arc::new(bus.with_cascades(cascades).with_audit(recorded));
    let connections = Arc::new(Connections {
        bus: bus.clone(),
        catalog,
        hubs: namespaces.iter().map(|parts| parts.hub.clone()).collect(),
        metrics: metrics.clone(),
        tasks: TaskGroup::new(metrics.clone()),
        unauthenticated: Arc::new(Semaphore::new(MAX_UNAUTHENTICATED)),
        node: config.server.node_id.clone(),
        heartbeat_ms: config.websocket.heartbeat.as_millis() as u64,
        max_frame_bytes: config.websocket.max_frame_bytes,
        replay_bytes: (config.websocket.outbox_bytes / 2).min(REPLAY_BYTES),
        frame_rate: Rate::new(edge.frame_rate, edge.frame_burst()),
        started: std::time::Instant::now(),
    });
    let max_connections = edge.max_connections.unwrap_or_else(file_limit::max_connections);
    metrics.connections_limit.set(i64::try_from(max_connections).unwrap_or(i64::MAX));
    let occupancy = Occupancy::new(max_connections, edge.max_connections_per_address);
    let node = &config.server.node_id;
    let webhooks = webhooks
        .into_iter()
        .map(|settings| Arc::new(Webhook::new(settings, bus.clone(), metrics.clone(), node.clone())));
    let webhooks: Vec<_> = webhooks.collect();
    let flows = webhooks.iter().map(|webhook| webhook.clone() as Arc<dyn Flow>).collect();
    let dead_boxes = DeadBoxes::new(bus.clone(), flow_ids);
    let app = App(Arc::new(AppState {
        webhooks: Webhooks::new(bus.clone(), webhooks),
        bus,
        connections,
        metrics: metrics.clone(),
        limits: config.limits.clone(),
        parse_limit: ParseLimit::new(config.limits.max_body_bytes),
        tls: config.tls.is_some(),
        compression: config.websocket.compression,
        console: edge.console,
        // Without authentication, every caller may do everything.
        edge: Edge::new(edge, auth.is_none(), occupancy.clone()),
        dead_boxes,
        examples: TypeExamples::default(),
        failure_log: FailureLog::new(),
    }));
    Server {
        listener,
        admin: None,
        tls: None,
        app,
        occupancy,
        namespaces,
        connections: TaskGroup::new(metrics),
        lifecycle,
        auth,
        flows,
        audit,
        config,
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Every connection inherits both.
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER)?;
    socket.set_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    TcpListener::from_std(socket.into())
}
