//! Compressed events to subscribers: each event is compressed once for all of them, and only where it is large enough and some
//! subscriber negotiated compression.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidings::event::Catalog;

use super::{OFFER, connect_with_offer, node_with_compression, subscribe_with_offer};
use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::events::{offset, sale, with, with_data};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, TEXT, text};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker_and_reader!(
    an_event_is_compressed_once_for_all_subscribers,
    an_event_is_not_compressed_where_no_matching_subscriber_negotiated_it,
    frames_other_than_events_are_not_compressed,
    a_small_event_is_not_compressed,
    without_the_setting_or_the_offer_no_event_is_compressed,
    the_outbox_counts_the_compressed_size_for_a_compressed_subscriber,
);

/// An event of about a kilobyte.
fn kilobyte(product: &str) -> Value {
    with(sale(product), "note", format!("{product} ").repeat(700 / (product.len() + 1)))
}

/// How many events the node has compressed.
async fn compressed(node: &Node) -> f64 {
    node.metric("tidings_events_compressed_total").await
}

async fn an_event_is_compressed_once_for_all_subscribers(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut plain = Subscriber::to(&node, "inventory-change").await;
    // Enough connections that every shard has some.
    let mut others = join_all((0..16).map(|_| subscribe_with_offer(&node, "inventory-change"))).await;
    for n in 1..=5 {
        node.publish(&kilobyte(&format!("p-{n}"))).await;
    }
    let events = plain.events(5).await;
    for raw in &mut others {
        for delivered in &events {
            let frame = raw.json().await;
            assert_eq!(frame, json!({"type": "event", "position": delivered.position, "event": delivered.event}));
        }
        assert_eq!(raw.inflated, 5);
    }
    assert_eq!(compressed(&node).await, 5.0);
}

async fn an_event_is_not_compressed_where_no_matching_subscriber_negotiated_it(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut plain = Subscriber::to(&node, "inventory-change").await;
    let _other_channel = subscribe_with_offer(&node, "order-status").await;
    let mut filtered = connect_with_offer(&node).await;
    let filter = r#"{"type":"subscribe","sub":"s","channel":"inventory-change","where":{"productId":"p-2"}}"#;
    filtered.send(&text(filter)).await;
    assert_eq!(filtered.json().await["type"], "subscribed");
    node.publish(&kilobyte("p-1")).await;
    plain.event().await;
    assert_eq!(compressed(&node).await, 0.0);
    node.publish(&kilobyte("p-2")).await;
    assert_eq!(filtered.json().await["event"]["subject"], "p-2");
    assert_eq!((filtered.inflated, compressed(&node).await), (1, 1.0));
}

async fn frames_other_than_events_are_not_compressed(broker: TestBroker) {
    let mut catalog = Catalog::builtin();
    let names: Vec<String> = (0..5).map(|n| format!("{n:0>60}")).collect();
    for name in &names {
        catalog.add(name, r#"{"type":"object"}"#).expect("a valid schema");
    }
    let mut config = broker.config();
    config.websocket.compression = true;
    config.websocket.heartbeat = Duration::from_millis(50);
    let node = Node::start_with(config, catalog).await;
    let mut raw = connect_with_offer(&node).await;
    for name in &names {
        raw.send(&text(&json!({"type": "subscribe", "sub": name, "channel": name}).to_string())).await;
        assert_eq!(raw.json().await["type"], "subscribed");
    }
    loop {
        let frame = raw.frame_or_end().await.expect("the connection is open");
        if frame.opcode == TEXT && frame.json()["positions"].as_object().is_some_and(|all| all.len() == names.len()) {
            assert!(frame.payload.len() > 300, "an event of this size would be compressed");
            break;
        }
    }
    assert_eq!(raw.inflated, 0);
}

async fn a_small_event_is_not_compressed(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut raw = subscribe_with_offer(&node, "cache-invalidate").await;
    let event = json!({"type": "cache-invalidate", "id": "1", "source": "s", "data": {"tags": ["x"]}});
    node.publish(&event).await;
    assert_eq!(raw.json().await["event"]["id"], "1");
    assert_eq!((raw.inflated, compressed(&node).await), (0, 0.0));
}

async fn without_the_setting_or_the_offer_no_event_is_compressed(broker: TestBroker) {
    for (compression, offer) in [(true, &[][..]), (false, &[OFFER][..])] {
        let node = broker.node_with(|config| config.websocket.compression = compression).await;
        let mut raw = RawConnection::open_with(&node, offer).await;
        raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
        assert_eq!(raw.json().await["type"], "subscribed");
        node.publish(&kilobyte("p")).await;
        // The raw client fails the test at a frame with RSV1 that was not negotiated.
        assert_eq!(raw.json().await["event"]["subject"], "p");
        assert_eq!(compressed(&node).await, 0.0);
    }
}

async fn the_outbox_counts_the_compressed_size_for_a_compressed_subscriber(broker: TestBroker) {
    let node = broker
        .node_with(|config| {
            config.websocket.compression = true;
            config.websocket.outbox_bytes = 128 << 10;
        })
        .await;
    // Among this many connections, the daemon does not slow down for one that does not read.
    let _idle = join_all((0..30).map(|_| Subscriber::connect(&node))).await;
    let mut raw = subscribe_with_offer(&node, "inventory-change").await;
    let _not_reading = Subscriber::to(&node, "inventory-change").await;
    let mut published = 0;
    within("the uncompressed subscriber that does not read is closed", async {
        while node.metric("tidings_slow_consumers_total").await < 1.0 {
            let event = with_data(sale("p"), "reason", "sale");
            let large = with(event, "padding", "x".repeat(60_000));
            published += node.publish(&json!(vec![large; 20])).await.len() as u64;
        }
    })
    .await;
    for expected in 1..=published {
        let frame = raw.json().await;
        assert_eq!(offset(frame["position"].as_str().expect("an event")), expected);
        assert_eq!(frame["event"]["padding"].as_str().map(str::len), Some(60_000));
    }
    assert_eq!(raw.inflated as u64, published);
    assert_eq!(node.metric("tidings_slow_consumers_total").await, 1.0);
}
