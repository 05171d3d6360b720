//! Peers that send without end and never read: what waits for them is bounded, and others do not notice.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::daemon::Daemon;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::raw::{FIN, PING, PONG, Raw, frame, text};
use crate::support::subscriber::Subscriber;

over_each_broker!(
    what_a_flood_of_pings_leaves_waiting_is_bounded,
    what_a_flood_of_frames_leaves_waiting_is_bounded,
    what_a_flood_of_mistakes_leaves_waiting_is_bounded,
);

const OUTBOX: usize = 256 << 10;

/// Sends `unit` over and over, `most` bytes in all and without reading, until the daemon stops reading, closes, or has
/// taken it all. Returns what it sent.
async fn flood(raw: &mut Raw, unit: &[u8], most: usize) -> usize {
    let segment = unit.repeat((64 << 10) / unit.len());
    let mut sent = 0;
    while sent < most {
        // A write that waits for so long means that the daemon does not read any more: the best that it can do.
        match tokio::time::timeout(Duration::from_millis(500), raw.stream.write_all(&segment)).await {
            Ok(Ok(())) => sent += segment.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

async fn flood_leaves_little(broker: &TestBroker, unit: &[u8], most: usize) {
    let node = broker.node_with(|config| config.websocket.outbox_bytes = OUTBOX).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut raw = Raw::upgraded(&node).await;
    let sent = flood(&mut raw, unit, most).await;
    let waiting = node.metric("tidings_outbox_bytes").await;
    assert!(waiting <= 2.0 * OUTBOX as f64, "{waiting} bytes wait after {sent} were sent");
    node.publish(&sale("1")).await;
    reader.event().await;
    reader.pong_is_next().await;
}

async fn what_a_flood_of_pings_leaves_waiting_is_bounded(broker: TestBroker) {
    flood_leaves_little(&broker, &ping(), 16 << 20).await;
}

async fn what_a_flood_of_frames_leaves_waiting_is_bounded(broker: TestBroker) {
    flood_leaves_little(&broker, &text(r#"{"type":"ping"}"#), 8 << 20).await;
}

async fn what_a_flood_of_mistakes_leaves_waiting_is_bounded(broker: TestBroker) {
    flood_leaves_little(&broker, &text("?"), 4 << 20).await;
}

/// The largest Ping.
fn ping() -> Vec<u8> {
    frame(FIN | PING, &[7; 125])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_that_are_never_read_cost_a_daemon_no_memory() {
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], tempfile::tempdir().unwrap());
    let address = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = daemon.process.resident();
    // The answers to a ping of text are larger than it is; Pings are answered with what they bring.
    for (unit, most) in [(ping(), 64 << 20), (text(r#"{"type":"ping"}"#), 8 << 20), (text("?"), 4 << 20)] {
        let mut raw = Raw::upgraded_at(address).await;
        let sent = flood(&mut raw, &unit, most).await;
        let grown = daemon.process.resident().saturating_sub(before);
        assert!(grown < 16 << 20, "the daemon grew by {grown} bytes while {sent} were sent");
    }
}

/// More of them than the daemon has threads, so that each thread has one whose bytes never run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_many_flood_others_are_served() {
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], tempfile::tempdir().unwrap());
    let address = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut floods = tokio::task::JoinSet::new();
    for unit in [ping(), frame(FIN | PONG, b""), text(r#"{"type":"ping"}"#)].into_iter().cycle().take(9) {
        let mut raw = Raw::upgraded_at(address).await;
        floods.spawn(async move { flood(&mut raw, &unit, usize::MAX).await });
    }
    let http = reqwest::Client::builder().timeout(Duration::from_secs(3)).build().unwrap();
    for _ in 0..20 {
        let answer = http.get(format!("{}/healthz", daemon.url)).send().await;
        assert_eq!(answer.expect("it answers while others flood").status(), 200);
    }
    floods.shutdown().await;
}
