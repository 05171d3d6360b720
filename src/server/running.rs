//! Serves: the order in which a node's services start, and the order in which a drain stops them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::acceptor::Acceptor;
use super::namespaces::NamespaceParts;
use super::{AuditParts, Server, ServerError};
use crate::announcer;
use crate::auth::Auth;
use crate::broker::Backend;
use crate::broker::nodes::{self, NodeState};
use crate::bus::audit::Audit;
use crate::bus::{Lifecycle, Revocations};
use crate::config::Config;
use crate::event::{Defaults, Epoch};
use crate::flows;
use crate::flows::audit::follow_reloads;
use crate::http::{App, Side};
use crate::hub::{EvictReason, Hub};
use crate::occupancy::Occupancy;
use crate::registry;
use crate::supervision::{ServiceHandle, Services, TaskGroup};

/// The most connections at the operator's address. They do not count among those of clients.
const ADMIN_CONNECTIONS: usize = 100;
/// The part of the drain that is kept for the steps after the connections.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// A node that serves: its services, and what a drain needs to end them in order.
struct Running {
    id: String,
    services: Services,
    app: App,
    backends: Vec<Arc<dyn Backend>>,
    hubs: Vec<Arc<Hub>>,
    /// They end with their backends' signals.
    relays: Vec<ServiceHandle>,
    /// Services that a drain stops before it evicts connections.
    early: Vec<ServiceHandle>,
    registry: ServiceHandle,
    /// The audit and its writer.
    audit: Option<(Arc<Audit>, ServiceHandle)>,
    flow_runs: TaskGroup,
    /// The requests under way.
    requests: TaskGroup,
    /// The tasks of connections that handlers have taken over.
    connections: TaskGroup,
    lifecycle: Lifecycle,
    /// How long a drain may take.
    drain: Duration,
}

impl Server {
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
        let notice = self.config.server.drain_notice;
        let mut node = self.start();
        let stopping = node.lifecycle.stopping.clone();
        let asked = async {
            shutdown.await;
            stopping.cancel();
            give_notice(notice, drain_now).await;
        };
        let failed = tokio::select! {
            () = asked => None,
            ended = node.services.ended() => Some(ended),
        };
        if let Some(ended) = &failed {
            tracing::error!(error = %ended, "this node cannot go on");
        }
        node.drain().await;
        failed.map_or(Ok(()), |ended| Err(ended.into()))
    }

    /// Starts all services. The acceptors are last: what a connection needs runs before the first one comes.
    fn start(self) -> Running {
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
        let state = node_state(&config, listener.local_addr().unwrap_or(config.server.listen));
        let id = state.id.clone();
        let (mut backends, mut hubs): (Vec<Arc<dyn Backend>>, Vec<Arc<Hub>>) = (Vec::new(), Vec::new());
        let (mut relays, mut early) = (Vec::new(), Vec::new());
        let mut services = Services::default();
        for NamespaceParts { backend, hub, namespace, relay, signals, readiness } in namespaces {
            let relayed = async { relay.run(signals).await.map_err(|error| error.to_string()) };
            relays.push(services.start("relay", relayed));
            let fan_out = hub.clone();
            services.start("fan-out", async move { Err(fan_out.shard_died().await.to_string()) });
            early.push(services.start("readiness probe", succeed(readiness.run())));
            let pace = namespace.pace().clone();
            early.push(services.start("pace", async move { succeed(pace.run()).await }));
            if config.broker.broker.is_shared() {
                let announcer = announcer::run(backend.clone(), namespace.pace().clone());
                early.push(services.start("announcer", succeed(announcer)));
            }
            if let Some(auth) = &auth {
                let revocations = namespace.revocations().clone();
                early.push(services.start("revocations", async move { succeed(revocations.run()).await }));
                let recheck = recheck_credentials(auth.clone(), namespace.revocations().clone(), hub.clone());
                early.push(services.start("credential check", succeed(recheck)));
            }
            backends.push(backend);
            hubs.push(hub);
        }
        let audit = audit.map(|AuditParts { audit, queue, writer }| {
            if let Some(auth) = &auth {
                let reloads = follow_reloads(audit.clone(), auth.clone());
                early.push(services.start("audit of reloads", succeed(reloads)));
            }
            (audit, services.start("audit", writer.run(queue)))
        });
        if let Some(auth) = auth {
            let running = auth.run(lifecycle.draining.clone());
            early.push(services.start("auth", succeed(until_stopped(running))));
        }
        let heartbeats = registry::run(backends[0].clone(), state, app.metrics.clone(), lifecycle.stopping.clone());
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
            let stopping = lifecycle.draining.clone();
            let grace = config.server.drain.saturating_sub(2 * LAST_STEPS);
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
        let drain = config.server.drain;
        Running {
            id,
            services,
            app,
            backends,
            hubs,
            relays,
            early,
            registry,
            audit,
            flow_runs,
            requests,
            connections,
            lifecycle,
            drain,
        }
    }
}

impl Running {
    /// Stops the node within the time of the drain, in an order in which nothing that was accepted is lost.
    async fn drain(self) {
        let begun = Instant::now();
        let end = begun + self.drain;
        let deadline = begun + self.drain.saturating_sub(LAST_STEPS);
        tracing::info!("draining");
        self.lifecycle.stopping.cancel();
        self.lifecycle.draining.cancel();
        // First the answers of requests under way, whose events are for the connections too. They get half of the time: a
        // request that never ends must not take the time in which connections are told.
        let _ = timeout_at(begun + self.drain / 2, self.requests.wait()).await;
        // Before the connections are evicted, so that no probe evicts them for another reason.
        join_all(self.early.into_iter().map(ServiceHandle::stop)).await;
        let _ = timeout_at(deadline.min(Instant::now() + LAST_STEPS), self.app.bus.catch_up()).await;
        let open = u64::try_from(self.app.metrics.connections.get()).unwrap_or_default();
        for hub in &self.hubs {
            hub.evict(Some(EvictReason::Draining(reconnect_spread(open, self.drain)))).await;
        }
        let _ = timeout_at(deadline, self.connections.wait()).await;
        // They give their leases back, so that other nodes go on with them at once.
        let _ = timeout_at(deadline, self.flow_runs.wait()).await;
        // No heartbeat may follow the node's leaving.
        self.registry.stop().await;
        let _ = timeout_at(end, self.backends[0].nodes().leave(&self.id)).await;
        let _ = timeout_at(end, join_all(self.backends.iter().map(|backend| backend.close()))).await;
        let _ = timeout_at(end, join_all(self.relays.into_iter().map(ServiceHandle::join))).await;
        // Last, so that nothing is published after it.
        if let Some((audit, writer)) = self.audit {
            audit.close();
            let _ = timeout_at(end.max(Instant::now() + LAST_STEPS), writer.join()).await;
        }
        tracing::info!("stopped");
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
pub(super) async fn succeed(service: impl Future<Output = ()>) -> Result<(), String> {
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
