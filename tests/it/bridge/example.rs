//! examples/bridge: the five channels of an application, and each message that the file documents.

use std::collections::HashMap;

use serde_json::json;

use super::{Publisher, SALE, events, listening, metric, node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const EXAMPLE: &str = include_str!("../../../examples/bridge/tidings.toml");

/// The example without its broker.
fn tables() -> String {
    EXAMPLE.lines().filter(|line| !line.starts_with("broker")).map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_channels_of_the_example_become_typed_events() {
    let redis = Redis::start();
    let tables = tables();
    let node = node(&redis, &format!("{tables}[audit]\nfile = \"audit.ndjson\"\n")).await;
    listening(&redis, "*", 2).await;
    let url = format!(
        "{}/v1/ws?channel=inventory-change&channel=order-status&channel=finance-change&channel=data-update&channel=cache-invalidate",
        node.url
    );
    let mut subscriber = Subscriber::connect_url(&url).await;
    for _ in 0..5 {
        subscriber.frame_of("subscribed").await;
    }
    let mut publisher = Publisher::to(&redis);
    let order = r#"{"type":"order:status","orderId":"o1","newStatus":"shipped","timestamp":"2026-01-31T12:00:00Z"}"#;
    let payment = r#"{"type":"finance:change","entity":"payment","id":"pay_1","amount":1999,"currency":"EUR"}"#;
    let update =
        r#"{"type":"data:update","table":"product","recordId":"17","operation":"update","timestamp":1700000000000}"#;
    let stale = r#"{"type":"cache:invalidate","tags":["products:17"],"timestamp":1700000000000}"#;
    publisher.publish("channel:presence", br#"{"type":"presence","user":1}"#);
    for (channel, message) in [
        ("channel:inventory:change", SALE),
        ("channel:order:status", order),
        ("channel:finance:change", payment),
        ("ws:data:update", update),
        ("ws:cache:invalidate", stale),
    ] {
        publisher.publish(channel, message.as_bytes());
    }
    let mut found = HashMap::new();
    for _ in 0..5 {
        let event = subscriber.event().await.event;
        assert_eq!(event["source"], "bridge/legacy");
        found.insert(event["type"].as_str().unwrap().to_owned(), event);
    }
    let sale = &found["inventory-change"];
    assert_eq!((&sale["time"], &sale["subject"]), (&json!("2023-11-14T22:13:20.123Z"), &json!("p1")));
    let expected = [
        ("inventory-change", json!({"productId": "p1", "oldQuantity": 5, "newQuantity": 4, "reason": "sale"})),
        ("order-status", json!({"orderId": "o1", "newStatus": "shipped"})),
        ("finance-change", json!({"entity": "payment", "id": "pay_1", "currency": "EUR", "amountMinor": 1999})),
        ("data-update", json!({"resource": "product", "id": "17", "action": "update"})),
        ("cache-invalidate", json!({"tags": ["products:17"], "reason": "unknown"})),
    ];
    for (name, data) in expected {
        assert_eq!(found[name]["data"], data, "{name}");
    }
    assert_eq!(metric(&node, "tidings_bridge_events_total").await, 5.0);
    assert_eq!(metric(&node, "tidings_bridge_ignored_total").await, 1.0);
    assert_eq!(metric(&node, "tidings_bridge_refused_total").await, 0.0);
    let audit = std::fs::read_to_string(node.folder.path().join("audit.ndjson")).unwrap();
    assert_eq!(audit.lines().count(), 5);
    assert!(audit.lines().all(|line| line.contains(r#""publisher":"bridge/legacy""#)), "{audit}");
}

/// The channel and the message of each line of the example file that documents one.
fn documented() -> Vec<(&'static str, &'static str)> {
    let lines = EXAMPLE.lines().filter_map(|line| line.strip_prefix('#')?.trim().split_once(' '));
    lines.map(|(channel, message)| (channel, message.trim())).filter(|(_, message)| message.starts_with('{')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_that_the_example_documents_becomes_an_event() {
    let redis = Redis::start();
    let tables = tables();
    let node = node(&redis, &tables).await;
    listening(&redis, "*", 2).await;
    let (mut publisher, messages) = (Publisher::to(&redis), documented());
    assert_eq!(messages.len(), 5);
    for (channel, message) in &messages {
        publisher.publish(channel, message.as_bytes());
    }
    until("all are counted", async || {
        let [events, refused] = ["tidings_bridge_events_total", "tidings_bridge_refused_total"];
        (metric(&node, events).await + metric(&node, refused).await == 5.0).then_some(())
    })
    .await;
    let dead = node.run(&["bridge", "dead", "legacy", "--json"]).out;
    assert_eq!((metric(&node, "tidings_bridge_events_total").await, &*dead), (5.0, ""));
    assert_eq!(events(&node, "inventory-change").await[0]["data"]["reason"], "unknown");
    assert_eq!(events(&node, "order-status").await[0]["data"], json!({"orderId": "o1", "newStatus": "shipped"}));
}
