//! Compressed and uncompressed subscribers side by side under load: each receives every event once, in order.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use tidings::config::Config;

use super::connect_with_offer;
use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::events::{epoch_and_offset, with};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, text};

over_each_broker_and_reader!(
    with_compression_every_subscriber_receives_every_event_once_in_order,
    without_compression_every_subscriber_receives_every_event_once_in_order,
);

const BATCHES: usize = 60;
const BATCH: usize = 25;
const TOTAL: usize = BATCHES * BATCH;

async fn with_compression_every_subscriber_receives_every_event_once_in_order(broker: TestBroker) {
    let node = node_with(&broker, true).await;
    let compressed = publish_to_mixed_subscribers(&node).await;
    assert!(
        compressed > TOTAL / 2 && compressed < TOTAL,
        "large events are compressed, small ones are not: {compressed}"
    );
    assert_eq!(node.metric("tidings_events_compressed_total").await, compressed as f64);
}

async fn without_compression_every_subscriber_receives_every_event_once_in_order(broker: TestBroker) {
    let node = node_with(&broker, false).await;
    assert_eq!(publish_to_mixed_subscribers(&node).await, 0);
    assert_eq!(node.metric("tidings_events_compressed_total").await, 0.0);
}

/// A node whose subscribers may be slow: on a busy machine, a client over TLS falls behind such a burst.
async fn node_with(broker: &TestBroker, compression: bool) -> Node {
    let configure = |config: &mut Config| {
        config.websocket.compression = compression;
        config.websocket.outbox_bytes = 16 << 20;
    };
    broker.node_with(configure).await
}

/// The event with this number; sizes vary from tiny to tens of kilobytes.
fn event(number: usize) -> Value {
    let event = json!({"type": "cache-invalidate", "data": {"tags": [number.to_string()]}});
    match number % 10 {
        // This frame is below the size from which events are compressed.
        0 => with(with(event, "id", number.to_string()), "source", "s"),
        1 => with(event, "note", format!("{number} and on ").repeat(2_000)),
        2 => with(event, "note", incompressible_text(number)),
        _ => with(event, "note", "a note ".repeat(number % 150)),
    }
}

/// Pseudo-random text, which hardly compresses.
fn incompressible_text(seed: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + ((state >> 33) % 90) as u8)
    };
    (0..3_000).map(|_| next()).collect()
}

/// Publishes all events to 12 subscribers, of which every second one offers compression. Returns how many events each of those
/// received compressed; the number must be the same for all.
async fn publish_to_mixed_subscribers(node: &Node) -> usize {
    let connect = async |number: usize| {
        let mut raw =
            if number.is_multiple_of(2) { connect_with_offer(node).await } else { RawConnection::open(node).await };
        raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"cache-invalidate"}"#)).await;
        assert_eq!(raw.json().await["type"], "subscribed");
        raw
    };
    let mut subscribers = join_all((0..12).map(connect)).await;
    let publish = async {
        for batch in 0..BATCHES {
            let events: Vec<Value> = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
            node.publish(&json!(events)).await;
        }
    };
    let read = join_all(subscribers.iter_mut().map(async |raw| {
        for number in 0..TOTAL {
            let frame = raw.json().await;
            assert_eq!(epoch_and_offset(frame["position"].as_str().expect("an event")).1, number as u64 + 1);
            let published = event(number);
            assert_eq!(frame["event"]["data"], published["data"]);
            assert_eq!(
                (&frame["event"]["number"], &frame["event"]["note"]),
                (&published["number"], &published["note"])
            );
        }
    }));
    join(publish, read).await;
    let compressed = subscribers[0].inflated;
    for (number, raw) in subscribers.iter().enumerate() {
        assert_eq!(raw.inflated, if number.is_multiple_of(2) { compressed } else { 0 });
    }
    compressed
}
