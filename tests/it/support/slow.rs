//! A slow consumer: a subscriber that never reads, and what fills its outbox.

use serde_json::{Value, json};

use super::events::{sale, with};
use super::node::Node;
use super::raw::{RawConnection, text};

/// The events of [`publish_batch`].
pub const BATCH: usize = 100;

/// Subscribes to `inventory-change`, and then never reads.
pub async fn subscribe_without_reading(node: &Node) -> RawConnection {
    let mut raw = RawConnection::open(node).await;
    raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}

/// Publishes [`BATCH`] events of a kilobyte each.
pub async fn publish_batch(node: &Node) {
    let events: Vec<Value> = (0..BATCH).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
    node.publish(&json!(events)).await;
}
