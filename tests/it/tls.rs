//! TLS on the daemon's own port: every transport, handshakes in pieces or without end, renewal of the files, client
//! certificates, and clients that do not read or do not speak TLS.
//!
//! Many tests of the plain protocol run over TLS, too: see `over_each_broker_and_tls!`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, version};
use serde_json::{Value, json};
use tidings::client::{Client, HistoryQuery, Subscription, Update};
use tidings::config::{BrokerUrl, Config, TlsConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::certificates::{Authority, Certificate};
use crate::support::daemon::{self, Daemon, Running};
use crate::support::events::{offset, sale, with};
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

/// The commands, too, with the variable `TIDINGS_CA`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_trust_the_authority_that_they_are_given() {
    let secure = Secure::start(&[]);
    let ca = secure.authority.cacert();
    let refused = secure.daemon.run(&["channels"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("UnknownIssuer"), "{refused:?}");
    assert!(refused.err.contains("--cacert FILE") && !refused.err.contains("Is a daemon running"), "{refused:?}");
    for flag in ["--cacert", "--ca"] {
        let listed = secure.daemon.run(&["channels", flag, &ca]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
    }
    let data = r#"{"productId":"1","oldQuantity":1,"newQuantity":0,"reason":"sale"}"#;
    let mut publish = secure.daemon.command(&["publish", "inventory-change", "--data", data]);
    publish.env("TIDINGS_CA", &ca);
    let published = daemon::run(publish, "");
    assert_eq!(published.code, Some(0), "{published:?}");
    let missing = secure.daemon.run(&["channels", "--cacert", "no-such.pem"]);
    assert!(missing.err.contains("no-such.pem"), "{missing:?}");
}

/// Over HTTP and over the WebSocket, by the flag and by a context, and never in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_take_any_certificate_only_with_a_warning() {
    let secure = Secure::start(&[]);
    secure.publish(&sale("1")).await;
    let tail = ["tail", "inventory-change", "--since", "start", "--count", "1", "--format", "{subject}"];
    assert_eq!(secure.daemon.run(&tail).code, Some(1));
    let insecure = secure.daemon.run(&[&tail[..], &["--insecure-tls"]].concat());
    assert_eq!((insecure.code, &*insecure.out), (Some(0), "1\n"), "{insecure:?}");
    assert!(insecure.err.contains("warning: --insecure-tls") && insecure.err.contains("--cacert FILE"), "{insecure:?}");
    let here = |arguments: &[&str]| daemon::run(daemon::tidings(secure.daemon.folder.path(), arguments), "");
    let added = here(&["context", "add", "try", &secure.daemon.url, "--insecure-tls"]);
    assert!(added.code == Some(0) && added.err.contains("warning: --insecure-tls"), "{added:?}");
    let listed = here(&["channels"]);
    assert!(listed.code == Some(0) && listed.err.contains("warning: --insecure-tls"), "{listed:?}");
    let contexts = here(&["context", "list", "--json"]);
    assert!(contexts.out.contains("\"insecureTls\":true"), "{contexts:?}");
    // Without TLS, there is nothing to warn of.
    let plain = Daemon::start();
    let listed = plain.run(&["channels", "--insecure-tls"]);
    assert!(listed.code == Some(0) && listed.err.is_empty(), "{listed:?}");
}

/// Nobody else tells that clients refuse the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_or_ends_soon_is_a_warning_and_a_metric() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    let use_one_for = |days: i64| {
        let pair = authority.certificate_for_days(&["localhost"], days);
        replace(&key, &pair.key);
        replace(&cert, &pair.cert);
    };
    use_one_for(-1);
    let flags = ["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let node = Running::start(daemon::tidings(folder.path(), &flags));
    let warned = node.said("the TLS certificate has expired");
    assert!(warned.contains("\"WARN\"") && warned.contains("tls.crt") && warned.contains("T00:00:00Z"), "{warned}");
    let listening: Value = serde_json::from_str(&node.said("\"listening\"")).unwrap();
    let address = listening["url"].as_str().unwrap().strip_prefix("https://").unwrap().parse().unwrap();

    use_one_for(10);
    node.said("the TLS certificate was renewed");
    let warned = node.said("the TLS certificate ends soon");
    assert!(warned.contains("\"days\":9") || warned.contains("\"days\":10"), "{warned}");
    let config = client_config(&authority.cacert(), &version::TLS13, None);
    let text = get(connect(address, config).await.unwrap(), "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix("tidings_tls_certificate_expiry_seconds "));
    let end = line.and_then(|line| line.parse::<i64>().ok()).unwrap_or_else(|| panic!("{text}"));
    let left = end - jiff::Timestamp::now().as_second();
    assert!((8 * 86_400..=10 * 86_400).contains(&left), "{left}");

    use_one_for(-3);
    node.said("the TLS certificate has expired");
    use_one_for(60);
    node.said("the TLS certificate was renewed");
    node.signal("TERM");
    let rest = node.ended();
    assert!(!rest.err.contains("the TLS certificate"), "{rest:?}");
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

/// Writes one byte at a time.
struct Dribble(TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_and_requests_may_come_in_pieces() {
    let secure = Secure::start(&[]);
    for version in VERSIONS {
        for fragment in [None, Some(64)] {
            let mut config = client_config(&secure.authority.cacert(), version, None);
            config.max_fragment_size = fragment;
            let socket = TcpStream::connect(secure.address).await.unwrap();
            socket.set_nodelay(true).unwrap();
            let stream = within("the handshake", handshake(Dribble(socket), config)).await.unwrap();
            get(stream, "/healthz").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_finish_their_handshake_are_dropped_and_delay_nobody() {
    let secure = Secure::start(&["--handshake-timeout", "1s"]);
    // The beginning of a ClientHello.
    let beginnings: [&[u8]; 3] = [b"", &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]];
    let mut silent = Vec::new();
    for beginning in beginnings.iter().cycle().take(300) {
        let mut stream = TcpStream::connect(secure.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        silent.push(stream);
    }
    get(connect(secure.address, secure.config()).await.unwrap(), "/healthz").await;
    // A handshake that is complete does not end the deadline: the request has to come, too.
    let mut shaken = connect(secure.address, secure.config()).await.unwrap();
    for mut stream in silent {
        let read = within("the daemon drops it", stream.read(&mut [0; 100])).await;
        assert!(matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    }
    let mut rest = Vec::new();
    // A ticket may come before the end.
    let _ = within("the daemon drops it", shaken.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    get(connect(secure.address, secure.config()).await.unwrap(), "/healthz").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_answered_and_other_bytes_get_an_alert() {
    let secure = Secure::start(&[]);
    for request in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /v1/events HTTP/1.1\r\n"] {
        let answer = exchange(TcpStream::connect(secure.address).await.unwrap(), request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&json!("bad-request"), &json!(400)));
        assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
    }
    for garbage in [&[0xff; 100][..], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0], &[23, 3, 3, 0, 1, 0]] {
        let mut stream = TcpStream::connect(secure.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        within("the end", stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    }
    assert_eq!(secure.metric("tidings_tls_handshake_failures_total").await, 5.0);
}

/// Events of 1 to 60,000 bytes, more than the sockets and the send buffer hold.
fn large_events(from: u64, count: u64) -> Value {
    let event = |number: u64| {
        let size = (number * 7919 % 60_000) as usize;
        with(sale(&number.to_string()), "padding", "x".repeat(size))
    };
    (from..from + count).map(event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_replay_to_a_slow_reader_is_complete_and_bounded() {
    const PAST: u64 = 400;
    const LIVE: u64 = 40;
    const OUTBOX: usize = 512 << 10;
    let secure = Secure::start(&["--outbox-bytes", "512KiB"]);
    for from in (0..PAST).step_by(50) {
        secure.publish(&large_events(from, 50)).await;
    }
    let mut reader = secure.subscriber(Some("start")).await;
    let mut next = 0;
    let mut most: f64 = 0.0;
    while next < PAST + LIVE {
        let frame = frame(&mut reader).await;
        assert_eq!(frame["type"], "event", "{frame}");
        next += 1;
        assert_eq!(offset(frame["position"].as_str().unwrap()), next, "each event once, in order");
        let size = ((next - 1) * 7919 % 60_000) as usize;
        assert_eq!(frame["event"]["padding"].as_str().unwrap().len(), size);
        if next % 20 == 0 {
            // The reader stands still for longer than the daemon needs to fill the socket.
            most = most.max(secure.metric("tidings_outbox_bytes").await);
        }
        if next == PAST / 2 {
            // While the replay is under way, so that it is handed over to the live events.
            secure.publish(&large_events(PAST, LIVE)).await;
        }
    }
    assert!(most > 0.0 && most <= (OUTBOX + (64 << 10)) as f64, "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stands_still_is_closed_and_what_it_got_has_no_holes() {
    let secure = Secure::start(&["--outbox-bytes", "64KiB", "--max-event-bytes", "64KiB"]);
    let mut still = secure.subscriber(None).await;
    let mut published = 0;
    until("it is closed", async || {
        let events: Vec<Value> = (0..50).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(2000))).collect();
        secure.publish(&json!(events)).await;
        published += 50;
        (secure.metric("tidings_slow_consumers_total").await == 1.0).then_some(())
    })
    .await;
    let mut next = 0;
    let code = loop {
        match within("a message", still.next()).await {
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "heartbeat" {
                    continue;
                }
                next += 1;
                assert_eq!(offset(frame["position"].as_str().unwrap()), next);
            }
            Some(Ok(Message::Close(close))) => break close.map(|close| u16::from(close.code)),
            Some(Ok(_)) => {}
            // The daemon gave up before the socket took the Close.
            Some(Err(_)) | None => break None,
        }
    };
    assert!(matches!(code, Some(4008) | None), "{code:?}");
    assert!(next > 0 && next < published, "{next} of {published}");
    until("its memory is free", async || (secure.metric("tidings_outbox_bytes").await == 0.0).then_some(())).await;
}

/// A client that sends without end and never reads costs no memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_whose_answers_are_not_read_costs_no_memory() {
    let secure = Secure::start(&[]);
    let mut still = secure.subscriber(None).await;
    let before = secure.daemon.process.resident();
    let flood = async {
        for _ in 0..200_000 {
            if still.feed(Message::Ping(vec![7; 125].into())).await.is_err() {
                break;
            }
        }
        still.flush().await
    };
    // It ends where the daemon no longer reads, which is what it should do.
    let _ = tokio::time::timeout(Duration::from_secs(5), flood).await;
    let grown = secure.daemon.process.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "the daemon grew by {grown} bytes");
    get(connect(secure.address, secure.config()).await.unwrap(), "/healthz").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_may_change_its_keys_at_any_time() {
    let secure = Secure::start(&[]);
    let mut socket = secure.subscriber(None).await;
    for number in 0..50 {
        socket.get_mut().get_mut().1.refresh_traffic_keys().unwrap();
        socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
        assert_eq!(frame(&mut socket).await["type"], "pong");
        secure.publish(&sale(&number.to_string())).await;
        assert_eq!(frame(&mut socket).await["type"], "event");
    }
}

/// The certificate that the daemon shows.
async fn shown(address: SocketAddr, config: ClientConfig) -> Option<CertificateDer<'static>> {
    let stream = connect(address, config).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?[0].clone().into_owned())
}

fn certificate_in(file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

fn replace(file: impl AsRef<Path>, with: &str) {
    std::fs::copy(with, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_used_and_a_pair_that_does_not_match_changes_nothing() {
    let authority = Authority::new();
    let [first, second, third] =
        ["localhost", "second", "third"].map(|name| authority.certificate(&[name, "localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    replace(&cert, &first.cert);
    replace(&key, &first.key);
    let secure = Secure::with_files(&cert, &key, &[], authority);
    let shows = async |pair: &Certificate| {
        let expected = certificate_in(&pair.cert);
        until("the certificate is shown", async || {
            (shown(secure.address, secure.config()).await.as_ref() == Some(&expected)).then_some(())
        })
        .await;
    };
    shows(&first).await;
    let mut open = secure.subscriber(None).await;

    // In place.
    replace(&cert, &second.cert);
    replace(&key, &second.key);
    secure.daemon.process.said("the TLS certificate was renewed");
    shows(&second).await;

    // A key that does not belong to the certificate, then a file that is gone, then one that is empty.
    replace(&key, &third.key);
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("do not belong together") && said.contains("tls.crt"), "{said}");
    std::fs::remove_file(&cert).unwrap();
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("tls.crt") && said.contains("no such file"), "{said}");
    std::fs::write(&cert, "").unwrap();
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("no certificate"), "{said}");
    assert_eq!(shown(secure.address, secure.config()).await, Some(certificate_in(&second.cert)));
    assert_eq!(secure.metric("tidings_tls_reload_failures_total").await, 3.0);
    replace(&cert, &third.cert);
    shows(&third).await;

    // The connection of the first certificate was there all the time.
    secure.publish(&sale("1")).await;
    assert_eq!(frame(&mut open).await["type"], "event");
}

/// As Kubernetes changes a secret: the files are links into `..data`, which is a link that is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_renewed_by_a_link_to_another_folder() {
    let authority = Authority::new();
    let [first, second] = ["localhost", "second"].map(|name| authority.certificate(&[name, "localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, pair) in [("..v1", &first), ("..v2", &second)] {
        std::fs::create_dir(at(version)).unwrap();
        replace(at(version).join("tls.crt"), &pair.cert);
        replace(at(version).join("tls.key"), &pair.key);
    }
    symlink("..v1", at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| at(name).display().to_string());
    let secure = Secure::with_files(&cert, &key, &[], authority);
    assert_eq!(shown(secure.address, secure.config()).await, Some(certificate_in(&first.cert)));
    symlink("..v2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    std::fs::remove_dir_all(at("..v1")).unwrap();
    until("the new certificate is shown", async || {
        (shown(secure.address, secure.config()).await == Some(certificate_in(&second.cert))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_required_and_their_authority_can_change() {
    let [authority, clients, others] = [(); 3].map(|()| Authority::new());
    let server = authority.certificate(&["localhost", "127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let client_ca = folder.path().join("clients.pem").display().to_string();
    replace(&client_ca, &clients.cacert());
    let [known, stranger] = [&clients, &others].map(|authority| authority.certificate(&["client"]));
    let secure = Secure::with_files(&server.cert, &server.key, &["--tls-client-ca", &client_ca], authority);
    let with = |version, identity| client_config(&secure.authority.cacert(), version, identity);
    for version in VERSIONS {
        assert!(is_served(secure.address, &with(version, Some(&known))).await);
        assert!(!is_served(secure.address, &with(version, None)).await);
        assert!(!is_served(secure.address, &with(version, Some(&stranger))).await);
    }
    // The commands can show a certificate, too.
    let flags = ["--ca", &secure.authority.cacert(), "--client-cert", &known.cert, "--client-key", &known.key];
    let listed = secure.daemon.run(&[&["channels"], &flags[..]].concat());
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let refused = secure.daemon.run(&["channels", "--ca", &secure.authority.cacert()]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains("give --client-cert and --client-key"), "{refused:?}");

    // A client that remembers sessions gets none to resume.
    let mut remembering = VERSIONS.map(|version| with(version, Some(&known)));
    for config in &mut remembering {
        config.resumption = Resumption::in_memory_sessions(16);
        for _ in 0..2 {
            let stream = connect(secure.address, config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            get(stream, "/healthz").await;
        }
    }
    replace(&client_ca, &others.cacert());
    until("the other authority counts", async || {
        is_served(secure.address, &with(&version::TLS13, Some(&stranger))).await.then_some(())
    })
    .await;
    for config in remembering {
        assert!(!is_served(secure.address, &config).await, "the first authority counts no more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_client_certificates_a_client_resumes_its_session() {
    let secure = Secure::start(&[]);
    for version in VERSIONS {
        let mut config = client_config(&secure.authority.cacert(), version, None);
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = connect(secure.address, config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
            get(stream, "/healthz").await;
        }
    }
}

#[test]
fn a_daemon_whose_files_cannot_be_used_does_not_start() {
    let authority = Authority::new();
    let [one, other] = ["one", "other"].map(|name| authority.certificate(&[name]));
    let folder = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (vec!["--tls-cert", &one.cert, "--tls-key", &other.key], "do not belong together"),
        (vec!["--tls-cert", "none.pem", "--tls-key", &one.key], "tls_cert (none.pem) cannot be read"),
        (vec!["--tls-cert", &one.cert], "tls_key"),
    ] {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], &flags[..]].concat();
        let ended = daemon::run(daemon::tidings(folder.path(), &arguments), "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(expected), "{ended:?}");
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
