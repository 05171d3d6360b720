//! Slow consumers: a subscriber that outruns its outbox is closed with 4008. What it received has no holes, and no other
//! subscriber is affected.

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::offset;
use crate::support::node::Node;
use crate::support::raw::{CLOSE, TEXT, text};
use crate::support::slow::{BATCH, publish_batch, subscribe_without_reading};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker_and_tls!(
    a_slow_subscriber_is_closed_with_4008_and_others_are_unaffected,
    a_slow_subscriber_receives_every_event_up_to_the_close,
    a_client_that_unsubscribed_is_never_a_slow_consumer,
);

const OUTBOX: usize = 128 << 10;

/// A node whose connections have a small outbox.
async fn node_with_small_outboxes(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.websocket.outbox_bytes = OUTBOX).await
}

/// Publishes until the daemon has closed this many slow consumers. Checks that `reader` receives every event meanwhile, and that
/// the buffered bytes stay bounded. Returns the number of events published.
async fn publish_until_slow(node: &Node, reader: &mut Subscriber, closed: f64) -> u64 {
    let mut published = 0;
    within("the slow consumer is closed", async {
        while node.metric("tidings_slow_consumers_total").await < closed {
            publish_batch(node).await;
            for delivered in reader.events(BATCH).await {
                published += 1;
                assert_eq!(offset(&delivered.position), published);
            }
            assert!(node.metric("tidings_outbox_bytes").await <= 2.0 * OUTBOX as f64, "the buffered bytes are bounded");
        }
    })
    .await;
    published
}

async fn a_slow_subscriber_is_closed_with_4008_and_others_are_unaffected(broker: TestBroker) {
    let node = node_with_small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let _not_reading = subscribe_without_reading(&node).await;
    publish_until_slow(&node, &mut reader, 1.0).await;
    until("the slow consumer is not counted as a connection", async || {
        (node.metric("tidings_connections").await == 1.0).then_some(())
    })
    .await;
    until("its outbox is released", async || (node.metric("tidings_outbox_bytes").await == 0.0).then_some(())).await;
    publish_batch(&node).await;
    reader.events(BATCH).await;
}

async fn a_slow_subscriber_receives_every_event_up_to_the_close(broker: TestBroker) {
    let node = node_with_small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut raw = subscribe_without_reading(&node).await;
    let published = publish_until_slow(&node, &mut reader, 1.0).await;
    // Where the socket is too full for the close frame, the daemon drops the connection instead, even within a frame.
    let mut expected = 1;
    let bytes = raw.read_to_end().await;
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

async fn a_client_that_unsubscribed_is_never_a_slow_consumer(broker: TestBroker) {
    let node = node_with_small_outboxes(&broker).await;
    let mut reader = Subscriber::to(&node, "inventory-change").await;
    let mut idle = subscribe_without_reading(&node).await;
    idle.send(&text(r#"{"type":"unsubscribe","sub":"s"}"#)).await;
    assert_eq!(idle.json().await["type"], "unsubscribed");
    let _not_reading = subscribe_without_reading(&node).await;
    publish_until_slow(&node, &mut reader, 1.0).await;
    idle.send(&text(r#"{"type":"ping"}"#)).await;
    assert_eq!(idle.json().await["type"], "pong");
}
