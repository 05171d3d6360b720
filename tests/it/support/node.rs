//! A daemon inside the test's process, on a free port, and the HTTP requests that tests send to it.
//!
//! For the real binary in a process of its own see [`super::daemon`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tidings::config::{
    AuthConfig, BrokerUrl, Config, EdgeConfig, FlowTables, LogConfig, LogFormat, RequestLimits, ServerConfig,
    WebSocketConfig,
};
use tidings::event::Catalog;
use tidings::server::{self, OpenBroker, Server, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::certificates::Authority;
use super::http::{Accepted, Response};
use super::raw::Reader;
use super::tls::{self, TlsFront};
use super::{broker, until, within};

/// A running daemon. It drains and stops when this is dropped, or after [`begin_stop`](Self::begin_stop).
pub struct Node {
    pub address: SocketAddr,
    /// The address of the operator's routes, if they have one of their own.
    pub admin: Option<SocketAddr>,
    /// Which part of the daemon reads the handshakes of [`RawConnection`](super::raw::RawConnection)s.
    pub reader: Reader,
    /// Adds TLS for the test's clients where the daemon has it. `address` is then the front's.
    pub front: Option<TlsFront>,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    drain_now: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<(), ServerError>>,
}

/// The default configuration of the contract, on a free port.
pub fn config(broker: BrokerUrl) -> Config {
    Config {
        server: ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            insecure: false,
            node_id: "test-node".into(),
            advertise: None,
            schemas: None,
            drain_notice: Duration::ZERO,
            drain: Duration::from_secs(10),
            partitioned_after: Duration::from_secs(15),
        },
        broker: broker::config(broker),
        websocket: WebSocketConfig {
            heartbeat: Duration::from_secs(25),
            max_frame_bytes: 64 << 10,
            max_subscriptions: 128,
            outbox_bytes: 1 << 20,
            compression: false,
        },
        limits: RequestLimits {
            handshake_timeout: Duration::from_secs(10),
            max_pending_connections: 1000,
            max_event_bytes: 64 << 10,
            max_body_bytes: 8 << 20,
        },
        log: LogConfig { format: LogFormat::Json, level: "info".into() },
        auth: AuthConfig::default(),
        edge: EdgeConfig::default(),
        tls: None,
        cascades: None,
        types: None,
        flows: FlowTables::default(),
        audit: None,
    }
}

impl Node {
    /// Starts a daemon with the built-in types and waits until it is ready.
    pub async fn start(config: Config) -> Self {
        Self::start_with(config, Catalog::builtin()).await
    }

    /// The same, with another catalog of types.
    pub async fn start_with(config: Config, catalog: Catalog) -> Self {
        Self::bound(config, catalog).await.ready().await
    }

    /// Starts a daemon with TLS, and a front that adds TLS for clients without it.
    pub async fn start_with_tls(mut config: Config) -> Self {
        let authority = Authority::new();
        config.tls = Some(tls::server_config(&authority.certificate(&["localhost"]), None));
        let mut node = Self::bound(config, Catalog::builtin()).await;
        let front = TlsFront::start(node.address, authority).await;
        node.address = front.address;
        node.front = Some(front);
        node.ready().await
    }

    /// Starts a daemon without waiting until it is ready, for a broker that cannot be reached.
    pub async fn unready(config: Config) -> Self {
        Self::bound(config, Catalog::builtin()).await
    }

    /// Starts a daemon over a backend of the test's and waits until it is ready.
    pub async fn start_over(config: Config, open: OpenBroker<'_>) -> Self {
        let server = server::bind_with(config, Arc::new(Catalog::builtin()), open).await;
        Self::run(server.expect("the daemon starts")).ready().await
    }

    async fn ready(self) -> Self {
        until("the node is ready", async || (self.get("/readyz").await.status == 200).then_some(())).await;
        self
    }

    async fn bound(config: Config, catalog: Catalog) -> Self {
        Self::run(server::bind(config, Arc::new(catalog)).await.expect("the daemon starts"))
    }

    fn run(server: Server) -> Self {
        tls::install_cryptography();
        let address = server.local_addr().expect("it listens");
        let admin = server.admin_addr();
        let [(stop, stopped), (drain_now, draining)] = [(); 2].map(|()| oneshot::channel());
        let asked = |asked: oneshot::Receiver<()>| async move { _ = asked.await };
        let run = tokio::spawn(server.run(asked(stopped), asked(draining)));
        Self {
            address,
            admin,
            reader: Reader::Direct,
            front: None,
            http: reqwest::Client::new(),
            stop: Some(stop),
            drain_now: Some(drain_now),
            run,
        }
    }

    /// The `http://` URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request to be changed further and sent with [`Response::to`].
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Response {
        Response::to(self.request(Method::GET, path)).await
    }

    /// Posts JSON, valid or not, to `/v1/events`.
    pub async fn post(&self, document: &Value) -> Response {
        self.post_as("application/json", document.to_string()).await
    }

    /// Posts a body with this content type to `/v1/events`.
    pub async fn post_as(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, "/v1/events").header("content-type", content_type);
        Response::to(request.body(body)).await
    }

    /// Publishes one event or an array of them, which the daemon must accept.
    pub async fn publish(&self, events: &Value) -> Vec<Accepted> {
        self.post(events).await.accepted()
    }

    /// The channel's entry in `/v1/channels`.
    pub async fn channel(&self, name: &str) -> Value {
        let channels = self.get("/v1/channels").await.json();
        let entries = channels["channels"].as_array().expect("a list of channels");
        entries.iter().find(|entry| entry["type"] == name).expect("the channel is listed").clone()
    }

    /// The value of a metric, summed over its labels. A metric that is missing fails the test.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let samples: Vec<f64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a sample has a value"))
            .collect();
        assert!(!samples.is_empty(), "there is no metric {name} in\n{text}");
        samples.iter().sum()
    }

    /// Begins to stop, as SIGTERM would; returns at once.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Ends the notice before the drain, as a second SIGTERM would.
    pub fn drain_now(&mut self) {
        if let Some(drain_now) = self.drain_now.take() {
            let _ = drain_now.send(());
        }
    }

    /// Waits until the daemon has stopped, and returns its result.
    pub async fn stopped(self) -> Result<(), ServerError> {
        within("the daemon stops", self.run).await.expect("the daemon does not panic")
    }
}
