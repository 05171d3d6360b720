//! Plain and compressed subscribers side by side under load: each has every event, in order, once.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::{compressing, offering};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{place, with};
use crate::support::node::Node;
use crate::support::raw::{Raw, text};

over_each_broker!(
    with_compression_all_have_every_event_in_order_once,
    without_compression_all_have_every_event_in_order_once,
);

const BATCHES: usize = 60;
const BATCH: usize = 25;
const TOTAL: usize = BATCHES * BATCH;

async fn with_compression_all_have_every_event_in_order_once(broker: TestBroker) {
    let node = compressing(&broker).await;
    let taken = run(&node).await;
    assert!(taken > TOTAL / 2 && taken < TOTAL, "some were compressed, small ones were not: {taken}");
    assert_eq!(node.metric("tidings_events_compressed_total").await, taken as f64);
}

async fn without_compression_all_have_every_event_in_order_once(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(run(&node).await, 0);
    assert_eq!(node.metric("tidings_events_compressed_total").await, 0.0);
}

/// An event from small to large.
fn event(number: usize) -> Value {
    let event = json!({"type": "cache-invalidate", "data": {"tags": [number.to_string()]}});
    match number % 10 {
        // Its frame is below what is worth compressing.
        0 => with(with(event, "id", number.to_string()), "source", "s"),
        1 => with(event, "note", format!("{number} and on ").repeat(2_000)),
        2 => with(event, "note", noise(number)),
        _ => with(event, "note", "a note ".repeat(number % 150)),
    }
}

/// Text that becomes hardly smaller.
fn noise(seed: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + ((state >> 33) % 90) as u8)
    };
    (0..3_000).map(|_| next()).collect()
}

/// Every second connection offers compression. Returns how many events those took compressed, which is the same for each.
async fn run(node: &Node) -> usize {
    let connect = async |number: usize| {
        let mut raw = if number.is_multiple_of(2) { offering(node).await } else { Raw::upgraded(node).await };
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
            assert_eq!(place(frame["position"].as_str().expect("an event")).1, number as u64 + 1);
            let published = event(number);
            assert_eq!(frame["event"]["data"], published["data"]);
            assert_eq!(
                (&frame["event"]["number"], &frame["event"]["note"]),
                (&published["number"], &published["note"])
            );
        }
    }));
    join(publish, read).await;
    let taken = subscribers[0].inflated;
    for (number, raw) in subscribers.iter().enumerate() {
        assert_eq!(raw.inflated, if number.is_multiple_of(2) { taken } else { 0 });
    }
    taken
}
