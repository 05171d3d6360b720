//! Tests of the wiring that need its parts: what a connection costs, and that namespaces do not hold each other up.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::acceptor::Acceptor;
use super::assembly::{Rules, assemble, listen};
use super::running::succeed;
use super::*;
use crate::access::{Caller, NamespaceId};
use crate::admission::Admission;
use crate::broker;
use crate::bus::{Begin, Documents, StreamQuery, Subscription};
use crate::cascade::Cascades;
use crate::config::{
    AuthConfig, BrokerConfig, BrokerUrl, BusMessage, EdgeConfig, FileSync, FlowTables, LogConfig, LogFormat,
    RequestLimits, ServerConfig, WebSocketConfig,
};
use crate::connection::{Admitted, Client, Opening};
use crate::event::{Catalog, ChannelId};
use crate::http::edge::Peer;
use crate::http::{Side, direct};
use crate::hub::{Encoding, NewConnection};
use crate::metrics::Metrics;
use crate::supervision::Services;

mod slow_clients;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
const CHANNEL: &str = "inventory-change";

fn config() -> Config {
    Config {
        server: ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            insecure: false,
            node_id: "test-node".into(),
            advertise: None,
            schemas: None,
            drain_notice: Duration::ZERO,
            drain: Duration::from_secs(1),
            partitioned_after: Duration::from_secs(15),
        },
        broker: BrokerConfig {
            broker: BrokerUrl::Memory,
            file_sync: FileSync::Os,
            pulse: Duration::from_secs(1),
            bus_message: BusMessage::Event,
            prefix: "tidings:".into(),
            namespace: "default".into(),
            log_max_events: 10_000,
            log_max_age: Duration::from_secs(3600),
            latest_max_subjects: 100_000,
            types: std::collections::BTreeMap::new(),
            dedup_window: Duration::from_secs(600),
        },
        websocket: WebSocketConfig {
            heartbeat: Duration::from_secs(25),
            max_frame_bytes: 64 << 10,
            max_subscriptions: 128,
            outbox_bytes: 64 << 10,
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

/// Waits until every namespace is ready: its relay has read every log.
async fn until_ready(app: &App) {
    tokio::time::timeout(PATIENCE, async {
        while app.bus.readiness().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("every namespace is ready");
}

/// A node with these namespaces, each on an in-process broker of its own. Nobody serves HTTP: tests call the application
/// layer and open connections by themselves.
struct Node {
    app: App,
    _services: Services,
}

impl Node {
    async fn with_namespaces(count: u16) -> Self {
        let (config, catalog, metrics) = (config(), Arc::new(Catalog::builtin()), Arc::new(Metrics::default()));
        let admission = Admission::new(1000, metrics.pending_connections.clone());
        let parts = (0..count).map(|_| {
            NamespaceParts::open(&config.broker, &config, &catalog, &admission, &metrics, None, &broker::open).unwrap()
        });
        let parts: Vec<_> = parts.collect();
        let listener = listen(config.server.listen).unwrap();
        let rules = Rules {
            cascades: Cascades::none(&catalog),
            auth: None,
            audit: None,
            webhooks: Vec::new(),
            flow_ids: Vec::new(),
        };
        let server = assemble(listener, config, catalog, parts, admission, metrics, rules);
        let mut services = Services::default();
        for NamespaceParts { relay, signals, readiness, .. } in server.namespaces {
            services.start("relay", async { relay.run(signals).await.map_err(|error| error.to_string()) });
            services.start("readiness probe", succeed(readiness.run()));
        }
        until_ready(&server.app).await;
        Self { app: server.app, _services: services }
    }

    /// Opens a WebSocket that is subscribed to [`CHANNEL`] from now on; returns the client's side.
    async fn subscriber(&self, caller: &Caller) -> TcpStream {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let query = StreamQuery { channels: vec![CHANNEL.into()], ..StreamQuery::default() };
        let selected = self.app.bus.select(caller, &query).unwrap().remove(0);
        let known = Client::Known(Admitted {
            caller: caller.clone(),
            subscriptions: vec![self.app.bus.resolve(caller, selected).await.unwrap()],
            problems: Vec::new(),
            permit: self.app.bus.admit(caller).unwrap(),
        });
        let opening = Opening {
            head: Vec::new(),
            early: Vec::new(),
            deflate: false,
            client: known,
            origin: None,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        tokio::spawn(self.app.connections.clone().serve(stream.into(), Box::new(opening)));
        client
    }

    async fn publish(&self, caller: &Caller, product: &str) -> Result<(), crate::protocol::Problem> {
        let document = json!({
            "type": CHANNEL,
            "data": { "productId": product, "oldQuantity": 1, "newQuantity": 0, "reason": "x".repeat(1000) },
        });
        let publisher = self.app.bus.publisher(caller)?;
        let valid = publisher.validate(Documents::One(document.into())).await?;
        publisher.publish(valid).await.map(drop)
    }
}

/// Reads until the peer has sent this text.
async fn read_until(peer: &mut TcpStream, text: &str) {
    let read = async {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&all).contains(text) {
            let read = peer.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection ended before {text:?}");
            all.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{text:?} does not come"));
}

#[tokio::test]
async fn the_task_of_an_idle_connection_is_small() {
    let node = Node::with_namespaces(1).await;
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let caller = Caller::unrestricted(NamespaceId::FIRST);
    let permit = node.app.bus.admit(&caller).unwrap();
    let client = Client::Known(Admitted { caller, subscriptions: Vec::new(), problems: Vec::new(), permit });
    let opening = Opening {
        head: Vec::new(),
        early: Vec::new(),
        deflate: true,
        client,
        origin: None,
        address: Ipv4Addr::LOCALHOST.into(),
    };
    let task = node.app.connections.clone().serve(stream.into(), Box::new(opening));
    assert!(size_of_val(&task) <= 360, "{} bytes", size_of_val(&task));
}

/// The same task has waited for the handshake before.
#[tokio::test]
async fn the_task_of_a_connection_that_was_opened_directly_is_small() {
    let node = Node::with_namespaces(1).await;
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let group = TaskGroup::new(node.app.metrics.clone());
    let occupancy = Occupancy::new(1, Some(1));
    let (requests, connections) = (group.clone(), group.clone());
    let acceptor =
        Acceptor::new(node.app.clone(), Side::Whole, occupancy, PATIENCE, requests, connections, Default::default());
    let accepted = acceptor.admit(Ipv4Addr::LOCALHOST.into()).unwrap();
    let task = Arc::new(acceptor).serve(stream.into(), accepted, group.enter());
    assert!(size_of_val(&task) <= 620, "{} bytes", size_of_val(&task));
}

#[tokio::test]
async fn plain_handshakes_are_opened_directly_and_others_left_to_hyper() {
    let node = Node::with_namespaces(1).await;
    let request = |line: &str, more: &str| {
        format!(
            "{line}\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: a browser\r\n{more}\r\n"
        )
    };
    let peer = Peer { address: Ipv4Addr::LOCALHOST.into(), tls: false, refused: None };
    let accept = |request: &str| direct::accept(&node.app, &peer, request.as_bytes()).map(|(opening, _)| opening);
    let opening = accept(&(request("GET /v1/ws?channel=order-status HTTP/1.1", "") + "frames")).unwrap();
    let found = |opening: &Opening| match &opening.client {
        Client::Known(Admitted { subscriptions, problems, .. }) => (subscriptions.len(), problems.len()),
        Client::Unknown { .. } => panic!("the client is known"),
    };
    assert_eq!((found(&opening), &opening.early[..]), ((1, 0), &b"frames"[..]));
    let wrong = accept(&request("GET /v1/ws?channel=nope HTTP/1.1", "X-Request-Id: mine\r\n")).unwrap();
    assert_eq!(found(&wrong), (0, 1));
    assert!(String::from_utf8(wrong.head.clone()).unwrap().ends_with("x-request-id: mine\r\n\r\n"));
    let plain = "GET /v1/ws HTTP/1.1";
    assert!(accept(&request(plain, "")).is_some());
    let whole = request(plain, "");
    for length in 0..whole.len() {
        assert!(accept(&whole[..length]).is_none(), "{}", &whole[..length]);
    }
    for (line, more) in [
        ("POST /v1/ws HTTP/1.1", ""),
        ("GET /v1/ws HTTP/1.0", ""),
        ("GET /v1/ws/ HTTP/1.1", ""),
        ("GET /v1/stream HTTP/1.1", ""),
        ("GET /v1/ws?where={} HTTP/1.1", ""),
        ("GET /v1/ws?channel=order-status&since=start HTTP/1.1", ""),
        (plain, "Content-Length: 5\r\n"),
        (plain, "transfer-encoding: chunked\r\n"),
        (plain, "Expect: 100-continue\r\n"),
        (plain, "Host: again\r\n"),
        (plain, "Origin: https://evil.example\r\n"),
        (plain, "Origin: http://localhost\r\nOrigin: http://localhost\r\n"),
        (plain, &"X: y\r\n".repeat(100)),
    ] {
        assert!(accept(&request(line, more)).is_none(), "{line} {more}");
    }
    drop((opening, wrong));
    assert_eq!(node.app.metrics.pending_connections.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_share_no_events_and_no_positions() {
    let node = Node::with_namespaces(2).await;
    let [one, other] = [0, 1].map(|number| Caller::unrestricted(NamespaceId(number)));
    let (mut here, mut there) = (node.subscriber(&one).await, node.subscriber(&other).await);
    read_until(&mut here, "subscribed").await;
    read_until(&mut there, "subscribed").await;
    node.publish(&one, "p-of-one").await.unwrap();
    node.publish(&other, "p-of-other").await.unwrap();
    read_until(&mut here, "p-of-one").await;
    let mut first = [0; 4096];
    let read = tokio::time::timeout(PATIENCE, there.read(&mut first)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&first[..read]);
    assert!(text.contains("p-of-other") && !text.contains("p-of-one"), "{text}");
    let counts = node.app.bus.channels(&one).await.unwrap();
    let summary = counts.iter().find(|summary| summary.name == CHANNEL).unwrap();
    let counts = summary.counts.unwrap();
    assert_eq!((summary.position.offset, counts.retained, counts.subscribers), (1, 1, 1));
}

/// The relay has read every log, and nothing is published: it gives the dead shard nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_fan_out_thread_panics_closes_its_connections_and_ends_with_an_error() {
    let server = bind(config(), Arc::new(Catalog::builtin())).await.unwrap();
    let app = server.app.clone();
    let run = tokio::spawn(server.run(std::future::pending(), std::future::pending()));
    until_ready(&app).await;
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let mut clients = Vec::new();
    let mut join = async |subscriptions: Vec<Subscription>| {
        clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (stream, _) = listener.accept().await.unwrap();
        let permit = app.bus.admit(&Caller::unrestricted(NamespaceId::FIRST)).unwrap();
        let encoding = Encoding::WebSocket { deflate: false };
        let new = NewConnection {
            id: uuid::Uuid::now_v7(),
            address: Ipv4Addr::LOCALHOST.into(),
            greeting: b"hello".to_vec(),
            subscriptions,
            encoding,
            principal: None,
            cursors: Arc::default(),
            permit,
        };
        app.connections.hubs[0].join(stream.into(), new)
    };
    let mut handles = Vec::new();
    // One connection for each shard, then one whose subscription no shard can make.
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        handles.push(join(Vec::new()).await);
    }
    let impossible =
        Subscription::for_test("s", ChannelId::for_test(u32::MAX), Arc::default(), Begin::Live { recovered: false });
    handles.push(join(vec![impossible]).await);
    // The shard of the first connection is that of the last.
    read_until(&mut clients[0], "the fan-out failed").await;
    let ended = tokio::time::timeout(PATIENCE, run).await.expect("the node ends").unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "the fan-out has ended: a fan-out thread has died");
}

/// In one namespace no subscriber reads, so that its relay waits and its publishers are held back. The other goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_whose_subscribers_are_stuck_does_not_hold_up_another() {
    let node = Arc::new(Node::with_namespaces(2).await);
    let [busy, quiet] = [0, 1].map(|number| Caller::unrestricted(NamespaceId(number)));
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(node.subscriber(&busy).await);
    }
    let flood = {
        let (node, busy) = (node.clone(), busy.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let _ = node.publish(&busy, &format!("flood-{number}")).await;
                // A refusal waits for nothing, and a task that never waits cannot be aborted.
                tokio::task::yield_now().await;
            }
        })
    };
    let mut reader = node.subscriber(&quiet).await;
    read_until(&mut reader, "subscribed").await;
    for number in 0..200 {
        node.publish(&quiet, &format!("quiet-{number}-")).await.unwrap();
        read_until(&mut reader, &format!("quiet-{number}-")).await;
    }
    assert!(!flood.is_finished());
    flood.abort();
    // Each stuck peer was its own namespace's matter.
    for peer in &mut stuck {
        let _ = peer.shutdown().await;
    }
}
