//! How a connection begins.

use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, sale};
use crate::support::http::members;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    the_welcome_names_protocol_session_node_and_heartbeat,
    a_channel_in_the_query_is_subscribed_at_once,
    several_channels_in_the_query_are_all_subscribed,
    an_unknown_channel_in_the_query_is_an_error_after_the_welcome,
    a_query_has_the_filter_and_the_position_of_a_subscribe_frame,
    a_query_that_cannot_be_read_is_an_error_after_the_welcome,
    connections_are_counted_while_they_are_open,
);

async fn the_welcome_names_protocol_session_node_and_heartbeat(broker: TestBroker) {
    let node = broker.node_with(|config| config.server.node_id = "n-7".into()).await;
    let one = Subscriber::connect(&node).await.welcome;
    let other = Subscriber::connect(&node).await.welcome;
    assert_eq!(members(&one), ["heartbeatMs", "node", "protocol", "session", "type"]);
    assert_eq!((&one["protocol"], &one["node"], &one["heartbeatMs"]), (&json!(1), &json!("n-7"), &json!(25_000)));
    assert!(one["session"].is_string());
    assert_ne!(one["session"], other["session"]);
}

async fn a_channel_in_the_query_is_subscribed_at_once(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect_to(&node, "/v1/ws?channel=order-status").await;
    assert_eq!(subscriber.frame_of("subscribed").await["channel"], "order-status");
    node.publish(&order("o-1")).await;
    assert_eq!(subscriber.event().await.event["subject"], "o-1");
}

async fn several_channels_in_the_query_are_all_subscribed(broker: TestBroker) {
    let node = broker.node().await;
    let path = "/v1/ws?channel=order-status&channel=inventory-change";
    let mut subscriber = Subscriber::connect_to(&node, path).await;
    let (first, second) = (subscriber.frame_of("subscribed").await, subscriber.frame_of("subscribed").await);
    assert_eq!((&first["channel"], &second["channel"]), (&json!("order-status"), &json!("inventory-change")));
    assert_ne!(first["sub"], second["sub"]);
    subscriber.say(json!({"type": "unsubscribe", "sub": first["sub"]})).await;
    assert_eq!(subscriber.frame().await, json!({"type": "unsubscribed", "sub": first["sub"]}));
    node.publish(&json!([order("o-1"), sale("p-1")])).await;
    assert_eq!(subscriber.event().await.event["subject"], "p-1");
}

async fn an_unknown_channel_in_the_query_is_an_error_after_the_welcome(broker: TestBroker) {
    let node = broker.node().await;
    let path = "/v1/ws?channel=no-such-channel&channel=order-status";
    let mut subscriber = Subscriber::connect_to(&node, path).await;
    assert_eq!(subscriber.frame_of("error").await["code"], "unknown-channel");
    assert_eq!(subscriber.frame_of("subscribed").await["channel"], "order-status", "the others stand");
    subscriber.pong_is_next().await;
}

async fn a_query_has_the_filter_and_the_position_of_a_subscribe_frame(broker: TestBroker) {
    let node = broker.node().await;
    let accepted = node.publish(&json!([order("1"), order("2"), order("1"), sale("p-1")])).await;
    let filter = "where=%7B%22orderId%22%3A%221%22%7D";
    let path = format!("/v1/ws?channel=order-status&{filter}&since={}", accepted[0].position);
    let mut subscriber = Subscriber::connect_to(&node, &path).await;
    let subscribed = subscriber.frame_of("subscribed").await;
    assert_eq!((&subscribed["sub"], &subscribed["recovered"]), (&json!("order-status"), &json!(true)));
    assert_eq!(subscribed["position"], accepted[0].position);
    let replayed = subscriber.event().await;
    assert_eq!((replayed.position, &replayed.event["subject"]), (accepted[2].position.clone(), &json!("1")));
    node.publish(&json!([order("2"), order("1")])).await;
    assert_eq!(subscriber.event().await.event["subject"], "1");
    // Of a cursor each channel has its own part.
    let cursor = format!("order-status={},inventory-change={}", accepted[1].position, accepted[3].position);
    let path = format!("/v1/ws?channel=order-status&channel=inventory-change&since={cursor}");
    let mut both = Subscriber::connect_to(&node, &path).await;
    both.frame_of("subscribed").await;
    both.frame_of("subscribed").await;
    assert_eq!(both.event().await.position, accepted[2].position);
}

async fn a_query_that_cannot_be_read_is_an_error_after_the_welcome(broker: TestBroker) {
    let node = broker.node().await;
    for (query, code, sub) in [
        ("channel=order-status&where=%7B%22orderNo%22%3A%221%22%7D", "unknown-field", json!("order-status")),
        ("channel=order-status&where=%7B", "invalid-filter", json!(null)),
        ("channel=order-status&since=yesterday", "invalid-position", json!(null)),
        ("channel=order-status&channel=inventory-change&since=k3:1", "invalid-position", json!(null)),
        ("channel=order-status&since=inventory-change=k3:1", "invalid-position", json!("order-status")),
        ("channel=order-status&were=%7B%7D", "invalid-frame", json!(null)),
        ("where=%7B%22orderId%22%3A%221%22%7D", "invalid-frame", json!(null)),
    ] {
        let mut subscriber = Subscriber::connect_to(&node, &format!("/v1/ws?{query}")).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!((&error["code"], &error["sub"]), (&json!(code), &sub), "{query}: {error}");
        // Nothing was subscribed, with or without the filter.
        node.publish(&json!([order("1"), sale("p-1")])).await;
        subscriber.pong_is_next().await;
    }
}

async fn connections_are_counted_while_they_are_open(broker: TestBroker) {
    let node = broker.node().await;
    let open = async |expected: f64| {
        crate::support::until(&format!("{expected} connections"), async || {
            (node.metric("tidings_connections").await == expected).then_some(())
        })
        .await;
    };
    let first = Subscriber::connect(&node).await;
    let second = Subscriber::connect(&node).await;
    open(2.0).await;
    drop((first, second));
    open(0.0).await;
}
