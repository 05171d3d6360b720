//! A consumer that does not keep up: it alone is closed, and nothing is missing from what it got.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, sale, with};
use crate::support::node::Node;
use crate::support::raw::{CLOSE, Raw, TEXT, text};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker!(
    one_that_outruns_its_outbox_is_closed_and_others_are_unharmed,
    what_a_slow_consumer_got_is_whole_up_to_the_close,
    a_slow_consumer_that_is_not_subscribed_any_more_costs_nothing,
);

const OUTBOX: usize = 128 << 10;
const BATCH: usize = 100;

async fn small_outboxes(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.websocket.outbox_bytes = OUTBOX).await
}

async fn stuck(node: &Node) -> Raw {
    let mut raw = Raw::upgraded(node).await;
    raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}

/// A hundred events of a kilobyte each.
async fn publish_batch(node: &Node) {
    let events: Vec<Value> = (0..BATCH).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
    node.publish(&json!(events)).await;
}

/// Publishes until the daemon closes a slow consumer; a subscriber that reads gets every event meanwhile.
async fn publish_until_slow(node: &Node, reader: &mut Subscriber, slow: f64) -> u64 {
    let mut published = 0;
    within("the slow consumer is closed", async {
        while node.metric("tidings_slow_consumers_total").await < slow {
            publish_batch(node).await;
            for delivered in reader.events(BATCH).await {
                published += 1;
                assert_eq!(offset(&delivered.position), published);
            }
            assert!(node.metric("tidings_outbox_bytes").await <= 2.0 * OUTBOX as f64, "what waits is bounded");
        }
    })
    .await;
    published
}

async fn one_that_outruns_its_outbox_is_closed_and_others_are_unharmed(broker: TestBroker) {
    let node = small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let _stuck = stuck(&node).await;
    publish_until_slow(&node, &mut reader, 1.0).await;
    until("it is no connection any more", async || (node.metric("tidings_connections").await == 1.0).then_some(()))
        .await;
    until("its outbox is given back", async || (node.metric("tidings_outbox_bytes").await == 0.0).then_some(())).await;
    publish_batch(&node).await;
    reader.events(BATCH).await;
}

async fn what_a_slow_consumer_got_is_whole_up_to_the_close(broker: TestBroker) {
    let node = small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut raw = stuck(&node).await;
    let published = publish_until_slow(&node, &mut reader, 1.0).await;
    // Where 4008 cannot be written to a full socket, a bare cut means the same; it may be within a frame.
    let mut expected = 1;
    let bytes = raw.rest().await;
    for frame in crate::support::raw::whole_frames(&bytes) {
        match frame.opcode {
            TEXT if frame.json()["type"] == "event" => {
                assert_eq!(offset(frame.json()["position"].as_str().unwrap()), expected);
                expected += 1;
            }
            CLOSE => assert_eq!(u16::from_be_bytes([frame.payload[0], frame.payload[1]]), 4008),
            _ => {}
        }
    }
    assert!(expected > 1 && expected <= published, "{expected} of {published}");
}

async fn a_slow_consumer_that_is_not_subscribed_any_more_costs_nothing(broker: TestBroker) {
    let node = small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut idle = stuck(&node).await;
    idle.send(&text(r#"{"type":"unsubscribe","sub":"s"}"#)).await;
    assert_eq!(idle.json().await["type"], "unsubscribed");
    let _stuck = stuck(&node).await;
    publish_until_slow(&node, &mut reader, 1.0).await;
    idle.send(&text(r#"{"type":"ping"}"#)).await;
    assert_eq!(idle.json().await["type"], "pong");
}
