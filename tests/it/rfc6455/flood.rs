//! Peers that send without end and never read: what waits for them is bounded, and others do not notice.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::node::Node;
use crate::support::raw::{FIN, PING, Raw, frame, text};
use crate::support::subscriber::Subscriber;

over_each_broker!(
    a_flood_of_pings_that_are_never_read_costs_no_memory,
    a_flood_of_frames_whose_answers_are_never_read_costs_no_memory,
    a_flood_of_mistakes_whose_errors_are_never_read_costs_no_memory,
);

const OUTBOX: usize = 256 << 10;

/// Sends `unit` over and over, `most` bytes in all and without reading, until the daemon stops reading, closes, or has
/// taken it all. Returns what it sent.
async fn flood(node: &Node, unit: &[u8], most: usize) -> usize {
    let mut reader = Subscriber::to(node, "inventory-change").await;
    let mut raw = Raw::upgraded(node).await;
    let segment = unit.repeat((64 << 10) / unit.len());
    let mut sent = 0;
    while sent < most {
        // A write that waits for so long means that the daemon does not read any more: the best that it can do.
        match tokio::time::timeout(Duration::from_millis(500), raw.stream.write_all(&segment)).await {
            Ok(Ok(())) => sent += segment.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let waiting = node.metric("tidings_outbox_bytes").await;
    assert!(waiting <= 2.0 * OUTBOX as f64, "{waiting} bytes wait after {sent} were sent");
    node.publish(&sale("1")).await;
    reader.event().await;
    reader.pong_is_next().await;
    sent
}

/// The memory of this process that is in use, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

async fn node(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.websocket.outbox_bytes = OUTBOX).await
}

async fn a_flood_of_pings_that_are_never_read_costs_no_memory(broker: TestBroker) {
    let node = node(&broker).await;
    let before = resident();
    let sent = flood(&node, &frame(FIN | PING, &[7; 125]), 128 << 20).await;
    let grown = resident().saturating_sub(before);
    // Other tests run in this process: what they need at a time must be within this, too.
    assert!(grown < 96 << 20, "the process grew by {grown} bytes while {sent} were sent");
}

async fn a_flood_of_frames_whose_answers_are_never_read_costs_no_memory(broker: TestBroker) {
    flood(&node(&broker).await, &text(r#"{"type":"ping"}"#), 8 << 20).await;
}

async fn a_flood_of_mistakes_whose_errors_are_never_read_costs_no_memory(broker: TestBroker) {
    flood(&node(&broker).await, &text("?"), 4 << 20).await;
}
