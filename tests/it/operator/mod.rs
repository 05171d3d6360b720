//! What operators and the console ask a node: `/v1/connections`, `/v1/incidents`, and the counts of `/v1/channels`.

mod channels;
mod connections;
mod incidents;
mod top;

use serde_json::{Value, json};

use crate::support::events::{sale, with};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, text};

/// The channel of the tests' slow consumers.
const SALES: &str = "inventory-change";

/// Subscribes, and then never reads.
async fn subscribe_without_reading(node: &Node) -> RawConnection {
    let mut raw = RawConnection::open(node).await;
    raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}

/// Publishes a hundred events of a kilobyte each.
async fn publish_batch(node: &Node) {
    let events: Vec<Value> = (0..100).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
    node.publish(&json!(events)).await;
}
