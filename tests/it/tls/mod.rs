//! TLS on the daemon's own port: every transport, both versions, resumption and the drain.
//!
//! [`certificates`] has the files and what clients make of them, [`readers`] clients that misbehave. Many tests of the plain protocol
//! run over TLS, too: see `over_each_broker_and_tls!`.

mod certificates;
mod readers;

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, version};
use serde_json::{Value, json};
use tidings::client::{Client, HistoryQuery, Subscription, Update};
use tidings::config::{BrokerUrl, Config, TlsConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::certificates::{Authority, Certificate};
use crate::support::daemon::Daemon;
use crate::support::events::sale;
use crate::support::node::{Node, config};
use crate::support::tls::{VERSIONS, client_config, connect, handshake, install_cryptography, server_config};
use crate::support::{until, within};

/// A daemon with TLS, and its authority.
struct Secure {
    daemon: Daemon,
    authority: Authority,
    address: SocketAddr,
}

impl Secure {
    /// Starts the binary with these further flags.
    fn start(flags: &[&str]) -> Self {
        let authority = Authority::new();
        let Certificate { cert, key } = authority.certificate(&["localhost", "127.0.0.1"]);
        Self::with_files(&cert, &key, flags, authority)
    }

    fn with_files(cert: &str, key: &str, flags: &[&str], authority: Authority) -> Self {
        let tls = ["--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
        let daemon = Daemon::with(&[&tls, flags].concat(), tempfile::tempdir().unwrap());
        let address = daemon.url.strip_prefix("https://").expect("the URL has TLS").parse().unwrap();
        Self { daemon, authority, address }
    }

    fn config(&self) -> ClientConfig {
        client_config(&self.authority.cacert(), &version::TLS13, None)
    }

    /// The Rust client, which trusts the authority.
    fn client(&self) -> Client {
        let ca = std::fs::read(self.authority.cacert()).unwrap();
        Client::new(&self.daemon.url).unwrap().with_ca(ca).unwrap()
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = get(connect(self.address, self.config()).await.unwrap(), "/metrics").await;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    async fn publish(&self, events: &Value) {
        let body = events.to_string();
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(connect(self.address, self.config()).await.unwrap(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }

    /// A WebSocket that is subscribed to `inventory-change`, with a small socket buffer.
    async fn subscriber(&self, since: Option<&str>) -> WebSocketStream<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = handshake(socket.connect(self.address).await.unwrap(), self.config()).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("ws://localhost/v1/ws", stream).await.unwrap();
        let mut subscribe = json!({"type": "subscribe", "sub": "s", "channel": "inventory-change"});
        if let Some(since) = since {
            subscribe["since"] = since.into();
        }
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
        assert_eq!(frame(&mut socket).await["type"], "welcome");
        assert_eq!(frame(&mut socket).await["type"], "subscribed");
        socket
    }
}

/// The next frame that is no heartbeat.
async fn frame<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Value {
    loop {
        if let Message::Text(text) = within("a frame", socket.next()).await.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }
}

/// Sends a request, and reads to the end of the connection, which TLS must tell.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    within("the response", stream.read_to_end(&mut answer)).await.expect("a clean end");
    String::from_utf8(answer).unwrap()
}

async fn get<S: AsyncRead + AsyncWrite + Unpin>(stream: S, path: &str) -> String {
    let answer =
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Whether a client with this configuration is served.
async fn is_served(address: SocketAddr, config: &ClientConfig) -> bool {
    let Ok(mut stream) = connect(address, config.clone()).await else { return false };
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // With TLS 1.3, a client learns that its certificate is refused only when it reads.
    stream.write_all(request).await.is_ok()
        && within("an answer", stream.read_to_end(&mut answer)).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_works_over_tls() {
    let secure = Secure::start(&[]);
    let client = secure.client();
    let mut subscriber = client.subscribe([Subscription::to("inventory-change")]);
    until("subscribed", async || {
        matches!(within("an update", subscriber.next()).await.unwrap(), Update::Subscribed { .. }).then_some(())
    })
    .await;
    let mut stream = connect(secure.address, secure.config()).await.unwrap();
    stream.write_all(b"GET /v1/stream?channel=inventory-change HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let long_poll = connect(secure.address, secure.config()).await.unwrap();
    let polled = tokio::spawn(get(long_poll, "/v1/events?channel=inventory-change&since=now&wait=30"));
    until("the long-poll waits", async || (secure.metric("tidings_long_polls").await == 1.0).then_some(())).await;
    secure.publish(&sale("p-tls")).await;
    let delivery = loop {
        if let Update::Event(delivery) = within("an event", subscriber.next()).await.unwrap() {
            break delivery;
        }
    };
    assert!(delivery.event.get().contains("p-tls"));
    assert!(within("the long-poll", polled).await.unwrap().contains("p-tls"));
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("p-tls") {
        assert!(within("the event stream", stream.read_buf(&mut read)).await.unwrap() > 0);
    }
    let history = client.history(&HistoryQuery::default().channel("inventory-change")).await.unwrap();
    assert_eq!(history.events.len(), 1);
    subscriber.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_agree_on_http_1_1_and_keep_connections_alive() {
    let secure = Secure::start(&[]);
    for version in VERSIONS {
        let config = client_config(&secure.authority.cacert(), version, None);
        let mut stream = connect(secure.address, config).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                assert!(within("a response", stream.read_buf(&mut read)).await.unwrap() > 0);
            }
            assert!(read.starts_with(b"HTTP/1.1 200"));
        }
        get(stream, "/healthz").await;
    }
}

/// What an idle connection costs: its keys, and no buffers. A plain one takes some 2 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_takes_some_kilobytes() {
    const CONNECTIONS: usize = 400;
    let secure = Secure::start(&[]);
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS / 4 {
        idle.push(secure.subscriber(None).await);
    }
    let before = secure.daemon.process.resident();
    for _ in 0..CONNECTIONS {
        idle.push(secure.subscriber(None).await);
    }
    let each = secure.daemon.process.resident().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes for each connection");
    assert!(each < 12 << 10, "{each} bytes for each connection");
    drop(idle);
}

/// A drain ends connections with TLS as it ends others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_connections_with_a_clean_end() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"]);
    let tls: Option<TlsConfig> = Some(server_config(&certificate, None));
    let node_config = Config { tls, ..config(BrokerUrl::Memory) };
    install_cryptography();
    let mut node = Node::unready(node_config).await;
    let config = client_config(&authority.cacert(), &version::TLS13, None);
    until("the node is ready", async || is_served(node.address, &config).await.then_some(())).await;
    let stream = connect(node.address, config.clone()).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://localhost/v1/ws", stream).await.unwrap();
    assert_eq!(frame(&mut socket).await["type"], "welcome");
    let mut stream = connect(node.address, config).await.unwrap();
    stream.write_all(b"GET /v1/stream?channel=inventory-change HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    within("the head", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    node.begin_stop();
    assert_eq!(frame(&mut socket).await["type"], "draining");
    let close = loop {
        match within("the end", socket.next()).await.unwrap().unwrap() {
            Message::Close(close) => break close.unwrap(),
            _ => continue,
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("a clean end");
    node.stopped().await.unwrap();
}
