//! Completeness under load: many events to many subscribers through Redis and two nodes. Each subscriber receives all of
//! them, once and in order.
//!
//! By default 20,000 events and 20 subscribers. `make million` sets `TIDINGS_TEST_EVENTS` and `TIDINGS_TEST_SUBSCRIBERS` to
//! a million events and 100 subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::daemon::Daemon;
use crate::support::redis::Redis;
use crate::support::until;

/// How many events one request publishes.
const BATCH: u64 = 500;
/// How many events the publisher may be ahead of the slowest subscriber. Bounded, since a slow consumer would be
/// disconnected, which other tests cover.
const WINDOW: u64 = 2_000;

/// The number in this environment variable.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_has_every_event_once_and_in_order() {
    let events = setting("TIDINGS_TEST_EVENTS", 20_000);
    let subscribers = setting("TIDINGS_TEST_SUBSCRIBERS", 20);
    let redis = Redis::start();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let flags = ["--listen", "127.0.0.1:0", "--broker", &broker];
    let nodes = [0, 1].map(|_| Daemon::with(&flags, tempfile::tempdir().unwrap()));
    for node in &nodes {
        let ready = format!("{}/readyz", node.url);
        until("both nodes to be ready", async || {
            reqwest::get(&ready).await.ok().filter(|r| r.status() == 200).map(|_| ())
        })
        .await;
    }

    let counts: Vec<Arc<AtomicU64>> = (0..subscribers).map(|_| Arc::default()).collect();
    let mut tasks = Vec::new();
    for (number, count) in counts.iter().enumerate() {
        let stream = subscribe(nodes[number % 2].url.strip_prefix("http://").unwrap()).await;
        tasks.push(tokio::spawn(receive(stream, events, count.clone())));
    }

    let started = Instant::now();
    let http = reqwest::Client::new();
    let mut sent = 0;
    while sent < events {
        let slowest = || counts.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap();
        until("the slowest subscriber", async || (slowest() + WINDOW > sent).then_some(())).await;
        let batch: Vec<Value> = (sent + 1..=events.min(sent + BATCH)).map(event).collect();
        sent += batch.len() as u64;
        let response = http.post(format!("{}/v1/events", nodes[0].url)).json(&batch).send().await.unwrap();
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
    }
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let deliveries = (events * subscribers) as f64;
    println!(
        "{events} events to {subscribers} subscribers: complete, in order, without duplicates, in {seconds:.1} s ({:.0} deliveries/s)",
        deliveries / seconds
    );
}

fn event(number: u64) -> Value {
    json!({"type": "data-update", "data": {"resource": "r", "id": "x", "action": "update", "version": number}})
}

/// Opens a WebSocket that is subscribed to the channel. Raw TCP, since a WebSocket library is too slow for 100 million
/// deliveries.
async fn subscribe(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let handshake = format!(
        "GET /v1/ws?channel=data-update HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !String::from_utf8_lossy(&head).contains(r#""type":"subscribed""#) {
        assert!(stream.read_buf(&mut head).await.unwrap() > 0, "{}", String::from_utf8_lossy(&head));
    }
    assert!(head.ends_with(b"}"), "unexpected data before the first event");
    stream
}

/// Reads until all events have arrived. Each must be the successor of the last one.
async fn receive(mut stream: TcpStream, events: u64, count: Arc<AtomicU64>) {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut last = 0;
    while last < events {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0, "closed after {last}");
        let mut consumed = 0;
        while let Some((opcode, payload, len)) = frame(&buffer[consumed..]) {
            consumed += len;
            if opcode == PING {
                stream.write_all(&PONG).await.unwrap();
                continue;
            }
            let text = std::str::from_utf8(payload).unwrap_or_else(|_| panic!("closed: {payload:?}"));
            if text.starts_with(r#"{"type":"event""#) {
                last += 1;
                let position = text.split('"').nth(7).unwrap();
                assert_eq!(position.split_once(':').unwrap().1, last.to_string(), "{text}");
                assert!(text.ends_with(&format!(r#""version":{last}}}}}}}"#)), "{last}: {text}");
            } else {
                assert!(text.starts_with(r#"{"type":"heartbeat""#), "{text}");
            }
        }
        buffer.drain(..consumed);
        count.store(last, Ordering::Relaxed);
    }
}

const PING: u8 = 0x9;
/// An empty Pong, masked with zeros.
const PONG: [u8; 6] = [0x8A, 0x80, 0, 0, 0, 0];

/// Parses a frame of the server: opcode, payload and total length. Supports only the lengths that these events have.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (start, len) = match *bytes {
        [_, len @ 0..=125, ..] => (2, len as usize),
        [_, 126, high, low, ..] => (4, u16::from_be_bytes([high, low]) as usize),
        _ => return None,
    };
    Some((bytes[0] & 0x0F, bytes.get(start..start + len)?, start + len))
}
