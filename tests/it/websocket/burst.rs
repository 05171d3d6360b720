//! One publish request whose events exceed `outbox_bytes`: a subscriber that keeps reading receives all of them.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::subscriber::Subscriber;

over_each_broker_and_tls!(a_batch_larger_than_the_outbox_reaches_every_reading_subscriber);

async fn a_batch_larger_than_the_outbox_reaches_every_reading_subscriber(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.outbox_bytes = 128 << 10).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = Subscriber::to(&node, "cache-invalidate").await;
        readers.push(tokio::spawn(async move { reader.events(1_000).await.len() }));
    }
    let keys: Vec<String> = (0..20).map(|number| format!("{number:0>100}")).collect();
    let event = json!({"type": "cache-invalidate", "data": {"keys": keys}});
    assert_eq!(node.publish(&Value::Array(vec![event; 1_000])).await.len(), 1_000);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1_000);
    }
    assert!(node.metric("tidings_slow_consumers_total").await < 1.0);
}
