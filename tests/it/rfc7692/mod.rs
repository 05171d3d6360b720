//! Compression by permessage-deflate (RFC 7692): negotiation, messages from clients, and events to subscribers. The tests
//! compress with another library than the daemon.

mod handshake;
mod inbound;
mod mixed;
mod outbound;

use crate::support::each_broker::TestBroker;
use crate::support::node::Node;
use crate::support::raw::{RawConnection, text};

/// The offer that Chromium, Node and Bun send.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// A node with compression enabled.
async fn node_with_compression(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.websocket.compression = true).await
}

/// A connection that offers compression, so it is compressed where the node has it enabled.
async fn connect_with_offer(node: &Node) -> RawConnection {
    RawConnection::open_with(node, &[OFFER]).await
}

/// The same, subscribed to a channel.
async fn subscribe_with_offer(node: &Node, channel: &str) -> RawConnection {
    let mut raw = connect_with_offer(node).await;
    raw.send(&text(&format!(r#"{{"type":"subscribe","sub":"s","channel":"{channel}"}}"#))).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}
