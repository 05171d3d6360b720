//! The metrics of `sync`, and of how long publishers wait.

use std::time::Duration;

use serde_json::json;

use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    syncs_and_the_connections_that_send_them_are_counted,
    only_publishers_that_waited_are_timed,
    invalidations_are_counted_by_their_type,
);

const CHANNEL: &str = "cache-invalidate";

/// Waits until a metric has this value: a counter changes shortly after the frame that it counts was sent.
async fn comes_to(node: &Node, name: &str, value: f64) {
    until(name, async || (node.metric(name).await == value).then_some(())).await;
}

async fn syncs_and_the_connections_that_send_them_are_counted(broker: TestBroker) {
    let node = broker.node().await;
    for name in ["tidings_sync_connections", "tidings_syncs_outstanding", "tidings_sync_errors_total"] {
        assert_eq!(node.metric(name).await, 0.0, "{name} is there before the first sync");
    }
    let mut cache = Subscriber::to(&node, CHANNEL).await;
    let mut other_cache = Subscriber::to(&node, CHANNEL).await;
    let _no_cache = Subscriber::to(&node, CHANNEL).await;
    for id in 0..5 {
        for cache in [&mut cache, &mut other_cache] {
            cache.say(json!({"type": "sync", "id": id.to_string()})).await;
            cache.frame_of("synced").await;
        }
    }
    comes_to(&node, "tidings_sync_connections", 2.0).await;
    comes_to(&node, "tidings_syncs_total", 10.0).await;
    comes_to(&node, "tidings_sync_round_trip_seconds_count", 10.0).await;
    comes_to(&node, "tidings_syncs_outstanding", 0.0).await;
    // An error that names a sync, from the frame's reader.
    cache.say(json!({"type": "sync", "id": "7", "x": 1})).await;
    cache.frame_of("error").await;
    // One that names none.
    cache.say(json!({"type": "subscribe", "sub": "s", "channel": CHANNEL})).await;
    cache.frame_of("error").await;
    assert_eq!(node.metric("tidings_sync_errors_total").await, 1.0);
    assert_eq!(node.metric(r#"tidings_sync_errors_total{code="invalid-frame"}"#).await, 1.0);
    drop(cache);
    comes_to(&node, "tidings_sync_connections", 1.0).await;
    drop(other_cache);
    comes_to(&node, "tidings_sync_connections", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_without_an_answer_are_outstanding_until_it_comes_or_the_connection_ends() {
    let redis = Redis::start();
    let mut config = node::config(redis_url(redis.port));
    // The connections stay open, however slow the machine is.
    config.server.partitioned_after = Duration::from_secs(600);
    let node = Node::start(config).await;
    let mut cache = Subscriber::to(&node, CHANNEL).await;
    let mut leaving = Subscriber::to(&node, CHANNEL).await;
    redis.pause();
    for id in 0..9 {
        leaving.say(json!({"type": "sync", "id": id.to_string()})).await;
    }
    let ninth = leaving.frame_of("error").await;
    assert_eq!(ninth["code"], "rate-limited");
    drop(leaving);
    comes_to(&node, "tidings_sync_connections", 0.0).await;
    comes_to(&node, "tidings_syncs_outstanding", 0.0).await;
    cache.say(json!({"type": "sync", "id": "7"})).await;
    comes_to(&node, "tidings_syncs_outstanding", 1.0).await;
    cache.frame_of("error").await;
    comes_to(&node, "tidings_syncs_outstanding", 0.0).await;
    assert_eq!(node.metric(r#"tidings_sync_errors_total{code="broker-unavailable"}"#).await, 1.0);
    assert_eq!(node.metric(r#"tidings_sync_errors_total{code="rate-limited"}"#).await, 1.0);
    assert_eq!(node.metric("tidings_syncs_total").await, 0.0);
    assert_eq!(node.metric("tidings_sync_round_trip_seconds_count").await, 0.0, "an error is no round trip");
    redis.go_on();
}

async fn only_publishers_that_waited_are_timed(broker: TestBroker) {
    let node = broker.node().await;
    node.publish(&json!([sale("1"), sale("2")])).await;
    node.publish(&sale("3")).await;
    node.post(&json!({"type": "nope"})).await.problem(422, "unknown-type");
    node.post_as("application/json", "{").await.problem(400, "malformed-json");
    assert_eq!(node.metric("tidings_publish_seconds_count").await, 2.0, "one for each request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_whom_the_broker_fails_is_timed() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    redis.pause();
    node.post(&sale("1")).await.problem(503, "broker-unavailable");
    assert_eq!(node.metric("tidings_publish_seconds_count").await, 1.0);
    redis.go_on();
}

async fn invalidations_are_counted_by_their_type(broker: TestBroker) {
    let node = broker.node().await;
    node.publish(&json!([{"type": CHANNEL, "data": {"tags": ["a"]}}, sale("1")])).await;
    assert_eq!(node.metric(r#"tidings_events_published_total{type="cache-invalidate"}"#).await, 1.0);
}
