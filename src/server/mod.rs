//! The daemon as a function: [`bind`] makes it from a configuration, [`Server::run`] serves until it is told to stop.
//!
//! Wiring only: which module gets what, in which order things start, and in which order they stop.

mod acceptor;
mod certificates;
mod file_limit;
mod flow_settings;
mod namespaces;
mod replayed;
mod substituted;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::admission::Admission;
use crate::announcer;
use crate::auth::Auth;
use crate::broker::nodes::{self, NodeState};
use crate::broker::{self, Backend};
use crate::bus::audit::{Audit, AuditQueue};
use crate::bus::{Bus, Lifecycle, PublishLimit, Revocations};
use crate::cascade::Cascades;
use crate::config::{BrokerConfig, BrokerUrl, Config, OnFailure, TypeTables};
use crate::connection::{Connections, MAX_UNAUTHENTICATED};
use crate::event::{Catalog, Defaults, Epoch};
use crate::flows::audit::{AuditWriter, follow_reloads};
use crate::flows::webhook::{self, Webhook, Webhooks};
use crate::flows::{self, DeadBoxes, Flow, FlowId};
use crate::http::edge::Edge;
use crate::http::{App, AppState, ParseLimit, Side};
use crate::hub::{EvictReason, Hub};
use crate::metrics::Metrics;
use crate::occupancy::Occupancy;
use crate::rate::Rate;
use crate::registry;
use crate::supervision::{ServiceEnded, ServiceHandle, Services, TaskGroup};
use acceptor::Acceptor;
use certificates::{Certificates, CurrentTls};
pub use flow_settings::FlowSettings;
use namespaces::NamespaceParts;
pub use namespaces::OpenBroker;

/// The kernel's send buffer of a socket, in bytes; the kernel doubles it. Its default lets a stalled peer hold megabytes
/// that no send buffer of ours counts.
const SOCKET_SEND_BUFFER: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const ACCEPT_BACKLOG: i32 = 4096;
/// The most connections at the operator's address. They do not count among those of clients.
const ADMIN_CONNECTIONS: usize = 100;
/// What a replay sends at a time, in bytes: little, so that live events do not wait for it.
const REPLAY_BYTES: usize = 64 * 1024;
/// The part of the drain that is kept for the steps after the connections.
const LAST_STEPS: Duration = Duration::from_millis(500);

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
struct Rules {
    cascades: Cascades,
    auth: Option<Arc<Auth>>,
    webhooks: Vec<webhook::Settings>,
    audit: Option<AuditParts>,
    flow_ids: Vec<FlowId>,
}

/// Puts the parts of a node together. Callers without a credential are in the first namespace.
fn assemble(
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

    /// Serves until `shutdown`. Then it gives notice for the configured `drain_notice` or until `drain_now`: it is not ready
    /// and still serves, so that balancers send new clients elsewhere. Then it drains within the configured `drain`: it takes
    /// no new connections, answers the requests under way, tells its connections to go elsewhere and closes them, and closes
    /// the broker.
    ///
    /// If a service ends by itself, the node cannot do its work any more. It drains without notice, and the error says which.
    ///
    /// # Errors
    /// [`ServerError::Service`]: the process should end and be started anew.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        drain_now: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let Self {
            listener,
            admin,
            tls,
            app,
            occupancy,
            namespaces,
            connections,
            lifecycle,
            auth,
            flows,
            audit,
            config,
        } = self;
        let node = node_state(&config, listener.local_addr().unwrap_or(config.server.listen));
        let id = node.id.clone();
        let (mut backends, mut hubs): (Vec<Arc<dyn Backend>>, Vec<Arc<Hub>>) = (Vec::new(), Vec::new());
        let (mut relays, mut probes) = (Vec::new(), Vec::new());
        let mut services = Services::default();
        for NamespaceParts { backend, hub, namespace, relay, signals, readiness } in namespaces {
            let relayed = async { relay.run(signals).await.map_err(|error| error.to_string()) };
            relays.push(services.start("relay", relayed));
            let fan_out = hub.clone();
            services.start("fan-out", async move { Err(fan_out.shard_died().await.to_string()) });
            probes.push(services.start("readiness probe", succeed(readiness.run())));
            let pace = namespace.pace().clone();
            probes.push(services.start("pace", async move { succeed(pace.run()).await }));
            if config.broker.broker.is_shared() {
                let announcer = announcer::run(backend.clone(), namespace.pace().clone());
                probes.push(services.start("announcer", succeed(announcer)));
            }
            if let Some(auth) = &auth {
                let revocations = namespace.revocations().clone();
                probes.push(services.start("revocations", async move { succeed(revocations.run()).await }));
                let recheck = recheck_credentials(auth.clone(), namespace.revocations().clone(), hub.clone());
                probes.push(services.start("credential check", succeed(recheck)));
            }
            backends.push(backend);
            hubs.push(hub);
        }
        let audit = audit.map(|AuditParts { audit, queue, writer }| {
            if let Some(auth) = &auth {
                let reloads = follow_reloads(audit.clone(), auth.clone());
                probes.push(services.start("audit of reloads", succeed(reloads)));
            }
            (audit, services.start("audit", writer.run(queue)))
        });
        if let Some(auth) = auth {
            let running = auth.run(lifecycle.draining.clone());
            probes.push(services.start("auth", succeed(until_stopped(running))));
        }
        let registrar = backends[0].clone();
        let heartbeats = registry::run(registrar.clone(), node, app.metrics.clone(), lifecycle.stopping.clone());
        let registry = services.start("registry heartbeat", succeed(heartbeats));
        let current_tls = tls.map(|(certificates, current)| {
            services.start("certificate watch", succeed(certificates.follow()));
            current
        });
        let flow_runs = TaskGroup::new(app.metrics.clone());
        // No other process has this name, so that each has its own leases.
        let process: Arc<str> = format!("{id}/{}", Epoch::random()).into();
        for flow in flows {
            let member = flow_runs.enter();
            let (bus, metrics, process) = (app.bus.clone(), app.metrics.clone(), process.clone());
            let (stopping, grace) = (lifecycle.draining.clone(), config.server.drain / 3);
            services.start("flow", async move {
                let running = flows::supervise(flow, bus, process, metrics, stopping, grace);
                member.run("flow", running).await.ok_or("panicked")?;
                drop(member);
                std::future::pending().await
            });
        }
        let requests = TaskGroup::new(app.metrics.clone());
        let acceptor = |side, occupancy| {
            let acceptor = Acceptor::new(
                app.clone(),
                side,
                occupancy,
                config.limits.handshake_timeout,
                requests.clone(),
                connections.clone(),
                lifecycle.draining.clone(),
            );
            Arc::new(acceptor.with_tls(current_tls.clone()))
        };
        let side = if admin.is_some() { Side::Public } else { Side::Whole };
        // On a thread of the runtime, so that a connection is served where it was accepted.
        services.start("acceptor", succeed(acceptor(side, occupancy).accept(listener)));
        if let Some(listener) = admin {
            let accepting = acceptor(Side::Admin, Occupancy::new(ADMIN_CONNECTIONS, None)).accept(listener);
            services.start("acceptor for the operator", succeed(accepting));
        }

        let asked = async {
            shutdown.await;
            lifecycle.stopping.cancel();
            give_notice(config.server.drain_notice, drain_now).await;
        };
        let failed = tokio::select! {
            () = asked => None,
            ended = services.ended() => Some(ended),
        };
        if let Some(ended) = &failed {
            tracing::error!(error = %ended, "this node cannot go on");
        }
        let begun = Instant::now();
        let end = begun + config.server.drain;
        let deadline = begun + config.server.drain.saturating_sub(LAST_STEPS);
        tracing::info!("draining");
        lifecycle.stopping.cancel();
        lifecycle.draining.cancel();
        // First the answers of requests under way, whose events are for the connections too. They get half of the time: a
        // request that never ends must not take the time in which connections are told.
        let _ = timeout_at(begun + config.server.drain / 2, requests.wait()).await;
        // Before the connections are evicted, so that no probe evicts them for another reason.
        join_all(probes.into_iter().map(ServiceHandle::stop)).await;
        let _ = timeout_at(deadline.min(Instant::now() + LAST_STEPS), app.bus.catch_up()).await;
        let open = u64::try_from(app.metrics.connections.get()).unwrap_or_default();
        for hub in &hubs {
            hub.evict(Some(EvictReason::Draining(reconnect_spread(open, config.server.drain)))).await;
        }
        let _ = timeout_at(deadline, connections.wait()).await;
        // They give their leases back, so that other nodes go on with them at once.
        let _ = timeout_at(deadline, flow_runs.wait()).await;
        // No heartbeat may follow the node's leaving.
        registry.stop().await;
        let _ = timeout_at(end, registrar.nodes().leave(&id)).await;
        let _ = timeout_at(end, join_all(backends.iter().map(|backend| backend.close()))).await;
        // The relays end with their backends' signals.
        let _ = timeout_at(end, join_all(relays.into_iter().map(ServiceHandle::join))).await;
        // Last, so that nothing is published after it.
        if let Some((audit, writer)) = audit {
            audit.close();
            let _ = timeout_at(end.max(Instant::now() + LAST_STEPS), writer.join()).await;
        }
        tracing::info!("stopped");
        failed.map_or(Ok(()), |ended| Err(ended.into()))
    }
}

/// Waits for the time of the notice, or until the drain is wanted at once.
async fn give_notice(notice: Duration, drain_now: impl Future<Output = ()>) {
    if notice.is_zero() {
        return;
    }
    tracing::info!(?notice, "not ready from now on; the drain begins after the notice, or with another signal");
    tokio::select! {
        () = tokio::time::sleep(notice) => {}
        () = drain_now => {}
    }
}

/// The time within which this many connections of a draining node come back: 2 ms for each, so that at most 500 a second
/// arrive at the other nodes, and no more than the drain. A single one comes back at once.
fn reconnect_spread(connections: u64, drain: Duration) -> Duration {
    Duration::from_millis(connections.saturating_sub(1).saturating_mul(2)).min(drain)
}

/// Closes connections whose credential has been taken back, at each change of what is accepted.
async fn recheck_credentials(auth: Arc<Auth>, revocations: Arc<Revocations>, hub: Arc<Hub>) {
    let (mut reloads, mut changes) = (auth.changes(), revocations.changes());
    loop {
        hub.recheck_credentials().await;
        let changed = tokio::select! {
            changed = reloads.changed() => changed,
            changed = changes.changed() => changed,
        };
        if changed.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A service that may end early: its end is no failure.
async fn until_stopped(service: impl Future<Output = ()>) {
    service.await;
    std::future::pending::<()>().await;
}

/// A service that has no error of its own: its end is the failure.
async fn succeed(service: impl Future<Output = ()>) -> Result<(), String> {
    service.await;
    Ok(())
}

/// What this node says of itself when it starts.
fn node_state(config: &Config, listens: SocketAddr) -> NodeState {
    let heartbeat = nodes::heartbeat(config.broker.pulse);
    NodeState {
        id: config.server.node_id.clone(),
        address: config.server.advertise.clone().unwrap_or_else(|| listens.to_string()),
        version: env!("CARGO_PKG_VERSION").into(),
        started: Defaults::now(),
        connections: 0,
        draining: false,
        heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
    }
}
