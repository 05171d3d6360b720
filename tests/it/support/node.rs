//! A daemon in this process, on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tidings::config::{BrokerUrl, Config, LogConfig, LogFormat, RequestLimits, ServerConfig, WebSocketConfig};
use tidings::event::Catalog;
use tidings::server::{self, OpenBroker, Server, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::{Accepted, Answer};
use super::{broker, until, within};

/// A running daemon; it stops when it is dropped, or when the test says so.
pub struct Node {
    pub address: SocketAddr,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<(), ServerError>>,
}

/// The defaults of the contract, on a free port.
pub fn config(broker: BrokerUrl) -> Config {
    Config {
        server: ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            insecure: false,
            node_id: "test-node".into(),
            advertise: None,
            schemas: None,
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
    }
}

impl Node {
    /// Starts a daemon with the built-in types and waits until it is ready.
    pub async fn start(config: Config) -> Self {
        Self::start_with(config, Catalog::builtin()).await
    }

    pub async fn start_with(config: Config, catalog: Catalog) -> Self {
        Self::bound(config, catalog).await.ready().await
    }

    /// Starts a daemon whose broker cannot be reached.
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
        let address = server.local_addr().expect("it listens");
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { address, http: reqwest::Client::new(), stop: Some(stop), run }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Posts JSON to `/v1/events`, valid or not.
    pub async fn post(&self, document: &Value) -> Answer {
        self.post_as("application/json", document.to_string()).await
    }

    pub async fn post_as(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, "/v1/events").header("content-type", content_type);
        Answer::of(request.body(body)).await
    }

    /// Publishes one event or an array of them, which the daemon must take.
    pub async fn publish(&self, events: &Value) -> Vec<Accepted> {
        self.post(events).await.accepted()
    }

    /// The channel's entry in `/v1/channels`.
    pub async fn channel(&self, name: &str) -> Value {
        let channels = self.get("/v1/channels").await.json();
        let entries = channels["channels"].as_array().expect("a list of channels");
        entries.iter().find(|entry| entry["type"] == name).expect("the channel is listed").clone()
    }

    /// The sum of a metric's samples, over all its labels.
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

    /// Tells the daemon to stop, as SIGTERM would.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// What `run` returns.
    pub async fn stopped(self) -> Result<(), ServerError> {
        within("the daemon stops", self.run).await.expect("it does not panic")
    }
}
