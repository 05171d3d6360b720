//! Clients that send in pieces, never finish their handshake, speak no TLS, or do not read.

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Secure, exchange, frame, get};
use crate::support::events::{offset, sale, with};
use crate::support::tls::{VERSIONS, client_config, connect, handshake};
use crate::support::{until, within};

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
