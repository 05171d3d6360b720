//! One publish request whose events exceed `outbox_bytes`: a subscriber that keeps reading receives all of them.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;

over_each_broker_and_tls!(a_batch_larger_than_the_outbox_reaches_every_reading_subscriber);

/// How often the burst is tried. A reader that this machine does not run for a second counts as one that does not read.
const ATTEMPTS: usize = 5;

async fn a_batch_larger_than_the_outbox_reaches_every_reading_subscriber(broker: TestBroker) {
    for attempt in 1..=ATTEMPTS {
        let node = broker.node_with(|config| config.websocket.outbox_bytes = 128 << 10).await;
        let received = burst(&node).await;
        let slow = node.metric("tidings_slow_consumers_total").await;
        if slow == 0.0 {
            assert_eq!(received, [1_000; 4]);
            return;
        }
        assert!(attempt < ATTEMPTS, "{slow} subscribers were closed as slow; they received {received:?} events");
    }
}

/// Publishes 1,000 events at once to four subscribers. Returns how many events each received.
async fn burst(node: &Node) -> Vec<usize> {
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = Subscriber::to(node, "cache-invalidate").await;
        readers.push(tokio::spawn(async move {
            let mut received = 0;
            while received < 1_000 {
                match reader.message().await {
                    Ok(Message::Text(frame)) => received += usize::from(frame.contains(r#""type":"event""#)),
                    Ok(Message::Ping(_)) => {}
                    // Closed as slow.
                    _ => break,
                }
            }
            received
        }));
    }
    let keys: Vec<String> = (0..20).map(|number| format!("{number:0>100}")).collect();
    let event = json!({"type": "cache-invalidate", "data": {"keys": keys}});
    assert_eq!(node.publish(&Value::Array(vec![event; 1_000])).await.len(), 1_000);
    let mut received = Vec::new();
    for reader in readers {
        received.push(reader.await.unwrap());
    }
    received
}
