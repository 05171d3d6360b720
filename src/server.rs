//! The daemon as a function: [`bind`] makes it of a configuration, [`Server::run`] serves until it is told to stop.
//!
//! Wiring only: which room gets what, in which order things start, and in which order they stop.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::broker::nodes::NodeState;
use crate::broker::{self, Signals};
use crate::config::{Config, ServerConfig};
use crate::connection::Connections;
use crate::event::{Catalog, Defaults};
use crate::health::{self, Health};
use crate::http::takeover::{Taken, Takeover};
use crate::http::{self, App, AppState};
use crate::hub::{EvictReason, Hub, HubConfig};
use crate::metrics::Metrics;
use crate::registry;
use crate::relay::{Progress, Relay};

/// What the kernel holds of one socket's unread frames, in bytes (it doubles this). Its own default lets a stalled peer
/// hold megabytes that no send buffer counts.
const SEND_BUFFER: usize = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a connection is kept for its next request: longer than clients keep theirs, which would otherwise send one
/// into a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Events by which a publisher may be ahead of the fan-out of its node before its answer is held back.
const MAX_LAG: u64 = 2_000;
/// What a replay sends at a time, in bytes: little, so that what is live does not wait for it.
const REPLAY_BYTES: usize = 64 * 1024;
/// Of the drain, what is left for what follows after the connections.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// A daemon that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    app: App,
    router: Router,
    relay: Relay,
    bus: Signals,
    probe: watch::Receiver<u64>,
    health: watch::Sender<Health>,
    config: Config,
}

/// Why a daemon could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("the broker cannot be used: {0}")]
    Broker(String),
    #[error("the system gives no thread: {0}")]
    Thread(io::Error),
    #[error("connections are no longer accepted: {0}")]
    Accept(tokio::task::JoinError),
    #[error(transparent)]
    ShardDied(#[from] crate::hub::ShardDied),
}

/// Takes the address and sets everything up; nothing is served yet.
///
/// # Errors
/// See [`ServerError`]. A broker that cannot be reached is none: the daemon serves, is not ready, and goes on trying.
pub async fn bind(config: Config, catalog: Arc<Catalog>) -> Result<Server, ServerError> {
    let address = config.server.listen;
    let listener = listen(address).map_err(|error| ServerError::Listen { address, error })?;
    let metrics = Arc::new(Metrics::default());
    let (broker, bus) = broker::open(&config.broker, &catalog).map_err(ServerError::Broker)?;
    let hub_config = HubConfig {
        shards: std::thread::available_parallelism().map_or(1, usize::from),
        heartbeat: config.websocket.heartbeat,
        max_subscriptions: config.websocket.max_subscriptions,
        outbox_bytes: config.websocket.outbox_bytes,
    };
    let hub = Arc::new(Hub::start(&hub_config, &catalog, &metrics).map_err(ServerError::Thread)?);
    let (probe_sender, probe) = watch::channel(0);
    let (health, health_receiver) = watch::channel(Health::default());
    let progress = Arc::new(Progress::new(&catalog));
    let relay =
        Relay::new(broker.clone(), hub.clone(), catalog.clone(), metrics.clone(), probe_sender, progress.clone());
    let admission = Admission::new(config.limits.max_pending_connections, metrics.pending_connections.clone());
    let connections = Arc::new(Connections {
        admission: admission.clone(),
        hub: hub.clone(),
        broker: broker.clone(),
        catalog: catalog.clone(),
        metrics: metrics.clone(),
        node: config.server.node_id.clone(),
        heartbeat_ms: config.websocket.heartbeat.as_millis() as u64,
        max_frame_bytes: config.websocket.max_frame_bytes,
        replay_bytes: (config.websocket.outbox_bytes / 2).min(REPLAY_BYTES),
    });
    let app = App(Arc::new(AppState {
        admission,
        catalog,
        broker,
        hub,
        metrics,
        connections,
        tasks: TaskTracker::new(),
        limits: config.limits.clone(),
        compression: config.websocket.compression,
        max_lag: (config.broker.log_max_events / 4).min(MAX_LAG),
        progress,
        health: health_receiver,
        draining: CancellationToken::new(),
    }));
    let router = http::router(app.clone());
    Ok(Server { listener, app, router, relay, bus, probe, health, config })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Both are inherited by every connection.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Server {
    /// Where it listens; tells the port where port 0 was asked for.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then drains: not ready, no new connections, connections told and closed, what waits for
    /// them written, the broker closed. Takes at most the configured `drain` for it.
    ///
    /// # Errors
    /// [`ServerError::ShardDied`] and [`ServerError::Accept`]: the process should end and be started anew.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { listener, app, router, relay, bus, probe, health, config } = self;
        let (broker, metrics, stop) = (app.broker.clone(), app.metrics.clone(), app.draining.clone());
        let patience = config.broker.broker.is_shared().then_some(config.server.partitioned_after);
        let round_trips =
            health::watch_broker(broker.clone(), app.hub.clone(), probe, health, metrics.clone(), patience);
        let health = tokio::spawn(round_trips);
        let node = state(&config.server, listener.local_addr().unwrap_or(config.server.listen));
        let id = node.id.clone();
        let registry = tokio::spawn(registry::keep(broker.clone(), node, metrics, stop.clone()));
        let mut relay = tokio::spawn(relay.run(bus));
        let requests = TaskTracker::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(KEEP_ALIVE);
        let front = Acceptor {
            http,
            app: app.clone(),
            router: TowerToHyperService::new(router),
            handshake_timeout: config.limits.handshake_timeout,
            requests: requests.clone(),
            stop: stop.clone(),
        };
        // On a thread of the runtime, so that what it accepts is served there without waking another.
        let accept = tokio::spawn(Arc::new(front).accept(listener));
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            // Only a panic ends it: the process should not go on without fan-out either way.
            ended = &mut relay => ended.unwrap_or(Err(crate::hub::ShardDied)).map_err(ServerError::from),
            ended = accept => ended.map_err(ServerError::Accept),
        };
        let begun = Instant::now();
        let end = begun + config.server.drain;
        let deadline = begun + config.server.drain.saturating_sub(LAST_STEPS);
        tracing::info!("draining");
        stop.cancel();
        requests.close();
        app.tasks.close();
        // First the answers of requests under way, whose events are for the connections too. Half of the time at most: one
        // that never ends must not take the time in which connections are told.
        let _ = timeout_at(begun + config.server.drain / 2, requests.wait()).await;
        health.abort();
        // So that it sends nobody away for another reason.
        let _ = health.await;
        let _ = timeout_at(deadline.min(Instant::now() + LAST_STEPS), catch_up(&app)).await;
        app.hub.evict(Some(EvictReason::Draining(config.server.drain))).await;
        let _ = timeout_at(deadline, app.tasks.wait()).await;
        registry.abort();
        // So that no heartbeat comes after it.
        let _ = registry.await;
        let _ = timeout_at(end, broker.nodes().leave(&id)).await;
        let _ = timeout_at(end, broker.close()).await;
        if ended.is_ok() {
            let _ = timeout_at(end, relay).await;
        }
        tracing::info!("stopped");
        ended
    }
}

/// What this node says of itself, as it starts.
fn state(config: &ServerConfig, listens: SocketAddr) -> NodeState {
    NodeState {
        id: config.node_id.clone(),
        address: config.advertise.clone().unwrap_or_else(|| listens.to_string()),
        version: env!("CARGO_PKG_VERSION").into(),
        started: Defaults::now(),
        connections: 0,
        draining: false,
    }
}

/// Waits until all that was answered so far has been handed to the connections.
async fn catch_up(app: &App) {
    for id in app.catalog.channels() {
        if let Ok(bounds) = app.broker.bounds(id, None).await {
            app.progress.reached(id, &bounds.head()).await;
        }
    }
}

/// Accepts connections and serves their requests.
struct Acceptor {
    http: http1::Builder,
    app: App,
    router: TowerToHyperService<Router>,
    handshake_timeout: Duration,
    /// Connections whose requests are served.
    requests: TaskTracker,
    stop: CancellationToken,
}

impl Acceptor {
    /// Accepts connections until it is told to stop.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // No files left, most likely: those that are open go on, and some will end.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = self.stop.cancelled() => return,
            };
            self.requests.spawn(self.clone().serve(stream));
        }
    }

    /// Serves the requests of one connection, until a handler takes it over or it ends. The first has `handshake_timeout`
    /// to come.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let first = AtomicBool::new(false);
        let silent = async {
            tokio::time::sleep(self.handshake_timeout).await;
            if first.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let takeover = Takeover::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            first.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(takeover.clone());
            http::respond(&self.app, &self.router, request)
        });
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let stopped = tokio::select! {
            ended = end(&mut connection, &takeover) => Some(ended),
            () = silent => return,
            () = self.stop.cancelled() => None,
        };
        let ended = match stopped {
            Some(ended) => ended,
            None => {
                Pin::new(&mut connection).graceful_shutdown();
                end(&mut connection, &takeover).await
            }
        };
        let ended = match ended {
            Ended::Taken(taken) => {
                let parts = connection.into_parts();
                // A task of its own, so that what serving requests needs is not kept for as long as the connection lasts.
                self.app.tasks.spawn(taken(parts.io.into_inner(), parts.read_buf));
                return;
            }
            Ended::Closed(ended) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

/// How serving the requests of a connection came to its end.
enum Ended {
    Closed(hyper::Result<()>),
    Taken(Taken),
}

/// Serves requests until they have come to their end.
async fn end(connection: &mut (impl Future<Output = hyper::Result<()>> + Unpin), takeover: &Takeover) -> Ended {
    poll_fn(|context| {
        let polled = Pin::new(&mut *connection).poll(context);
        // Looked for first: a handler that has taken the connection over never answers.
        match takeover.taken() {
            Some(taken) => Poll::Ready(Ended::Taken(taken)),
            None => polled.map(Ended::Closed),
        }
    })
    .await
}
