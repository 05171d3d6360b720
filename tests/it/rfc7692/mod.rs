//! permessage-deflate: what is agreed, what is read and what is sent, against another library's compression.

mod handshake;
mod inbound;
mod mixed;
mod outbound;

use crate::support::each_broker::TestBroker;
use crate::support::node::Node;
use crate::support::raw::{Raw, text};

/// What Chromium, Node and Bun offer.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// A node that compresses.
async fn compressing(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.websocket.compression = true).await
}

/// A connection that agreed on compression, where the node has it on.
async fn offering(node: &Node) -> Raw {
    Raw::upgraded_with(node.address, &[OFFER]).await
}

/// The same, subscribed to a channel.
async fn subscribed(node: &Node, channel: &str) -> Raw {
    let mut raw = offering(node).await;
    raw.send(&text(&format!(r#"{{"type":"subscribe","sub":"s","channel":"{channel}"}}"#))).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}
