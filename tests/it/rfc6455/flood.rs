//! Flooding clients, which send without end and never read: the daemon buffers a bounded number of bytes for them, and still
//! serves others.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::daemon::Daemon;
use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::events::sale;
use crate::support::raw::{FIN, PING, PONG, RawConnection, frame, text};
use crate::support::subscriber::Subscriber;

over_each_broker_and_reader!(
    a_flood_of_pings_leaves_bounded_buffers,
    a_flood_of_frames_leaves_bounded_buffers,
    a_flood_of_invalid_frames_leaves_bounded_buffers,
);

const OUTBOX: usize = 256 << 10;
/// So many frames a second that no flood is cut off by their rate.
const NO_RATE: u64 = 1_000_000_000;

/// Sends `unit` repeatedly without reading, until `most` bytes are sent, the daemon stops reading, or it closes the connection.
/// Returns the number of bytes sent.
async fn flood(raw: &mut RawConnection, unit: &[u8], most: usize) -> usize {
    let segment = unit.repeat((64 << 10) / unit.len());
    let mut sent = 0;
    while sent < most {
        // A write that blocks for so long means that the daemon applies backpressure, which is what it should do.
        match tokio::time::timeout(Duration::from_millis(500), raw.stream.write_all(&segment)).await {
            Ok(Ok(())) => sent += segment.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

/// Floods a node, and checks that the bytes in its outboxes are bounded and that another subscriber is served.
async fn assert_flood_is_bounded(broker: &TestBroker, unit: &[u8], most: usize) {
    let node = broker
        .node_with(|config| {
            config.websocket.outbox_bytes = OUTBOX;
            config.edge.frame_rate = NO_RATE;
        })
        .await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut raw = RawConnection::open(&node).await;
    let sent = flood(&mut raw, unit, most).await;
    let buffered = node.metric("tidings_outbox_bytes").await;
    assert!(buffered <= 2.0 * OUTBOX as f64, "{buffered} bytes are buffered after {sent} were sent");
    node.publish(&sale("1")).await;
    reader.event().await;
    reader.pong_is_next().await;
}

async fn a_flood_of_pings_leaves_bounded_buffers(broker: TestBroker) {
    assert_flood_is_bounded(&broker, &ping(), 16 << 20).await;
}

async fn a_flood_of_frames_leaves_bounded_buffers(broker: TestBroker) {
    assert_flood_is_bounded(&broker, &text(r#"{"type":"ping"}"#), 8 << 20).await;
}

async fn a_flood_of_invalid_frames_leaves_bounded_buffers(broker: TestBroker) {
    assert_flood_is_bounded(&broker, &text("?"), 4 << 20).await;
}

/// A Ping frame with the largest payload.
fn ping() -> Vec<u8> {
    frame(FIN | PING, &[7; 125])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_whose_responses_are_never_read_cost_no_memory() {
    let daemon =
        Daemon::with(&["--listen", "127.0.0.1:0", "--frame-rate", &NO_RATE.to_string()], tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = daemon.process.resident();
    // A Pong is as large as its Ping, and the response to an unreadable frame is larger than the frame.
    for (unit, most) in [(ping(), 64 << 20), (text(r#"{"type":"ping"}"#), 8 << 20), (text("?"), 4 << 20)] {
        let mut raw = RawConnection::open_at(address).await;
        let sent = flood(&mut raw, &unit, most).await;
        let grown = daemon.process.resident().saturating_sub(before);
        assert!(grown < 16 << 20, "the daemon grew by {grown} bytes while {sent} were sent");
    }
}

/// There are more flooding clients than the daemon has threads, so every thread has one that always has bytes to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn other_clients_are_served_while_many_flood() {
    let daemon =
        Daemon::with(&["--listen", "127.0.0.1:0", "--frame-rate", &NO_RATE.to_string()], tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut floods = tokio::task::JoinSet::new();
    for unit in [ping(), frame(FIN | PONG, b""), text(r#"{"type":"ping"}"#)].into_iter().cycle().take(9) {
        let mut raw = RawConnection::open_at(address).await;
        floods.spawn(async move { flood(&mut raw, &unit, usize::MAX).await });
    }
    let http = reqwest::Client::builder().timeout(Duration::from_secs(3)).build().unwrap();
    for _ in 0..20 {
        let response = http.get(format!("{}/healthz", daemon.url)).send().await;
        assert_eq!(response.expect("the daemon responds while others flood").status(), 200);
    }
    floods.shutdown().await;
}
