//! `GET /v1/incidents`: what fills the ring, that floods are one entry, `since`, grants and namespaces.

use serde_json::{Value, json};
use tidings::config::BrokerUrl;

use super::SALES;
use crate::access::world::World;
use crate::support::broker::redis_url;
use crate::support::events::sale;
use crate::support::http::members;
use crate::support::node::{Node, config};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::slow::{publish_batch, subscribe_without_reading};
use crate::support::subscriber::Subscriber;
use crate::support::until;

/// The incidents of a query that is allowed and well-formed.
async fn incidents(node: &Node, query: &str) -> Vec<Value> {
    let response = node.get(&format!("/v1/incidents{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    let list = response.json();
    assert_eq!(members(&list), ["incidents"]);
    list["incidents"].as_array().unwrap().clone()
}

fn kinds(incidents: &[Value]) -> Vec<&str> {
    incidents.iter().map(|incident| incident["kind"].as_str().unwrap()).collect()
}

/// Waits for an incident of this kind, and returns the first.
async fn incident(node: &Node, kind: &str) -> Value {
    until(kind, async || incidents(node, "").await.into_iter().find(|incident| incident["kind"] == kind)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_slow_consumers_is_one_incident() {
    let mut config = config(BrokerUrl::Memory);
    config.websocket.outbox_bytes = 32 << 10;
    let node = Node::start(config).await;
    assert_eq!(incidents(&node, "").await, Vec::<Value>::new());
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(subscribe_without_reading(&node).await);
    }
    until("all are closed", async || {
        publish_batch(&node).await;
        (node.metric("tidings_slow_consumers_total").await == 20.0).then_some(())
    })
    .await;
    let found = incidents(&node, "").await;
    assert_eq!(kinds(&found), ["close-4008"]);
    assert_eq!(members(&found[0]), ["detail", "kind", "node", "time"]);
    assert_eq!(found[0]["node"], "test-node");
    let detail = found[0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("a client read too slowly: its send buffer of 32768 bytes was full (20 times since "),
        "{detail}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resumes_too_late_is_a_gap() {
    let mut config = config(BrokerUrl::Memory);
    config.broker.log_max_events = 3;
    let node = Node::start(config).await;
    let first = node.publish(&sale("1")).await.remove(0).position;
    for number in 0..9 {
        node.publish(&sale(&number.to_string())).await;
    }
    let mut late = Subscriber::connect(&node).await;
    late.say(json!({"type": "subscribe", "sub": "s", "channel": SALES, "since": first})).await;
    late.frame_of("subscribed").await;
    late.frame_of("gap").await;
    let gap = incident(&node, "gap").await;
    assert_eq!(gap["channel"], SALES);
    assert!(gap["detail"].as_str().unwrap().contains(&first), "{gap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_a_change_of_epoch() {
    let redis = Redis::start();
    let node = Node::start(config(redis_url(redis.port))).await;
    let head = node.publish(&json!([sale("1"), sale("2")])).await.remove(1).position;
    let mut subscriber = Subscriber::to(&node, SALES).await;
    redis.cli(&["flushall"]);
    assert_eq!(node.get("/v1/channels").await.status, 200);
    subscriber.frame_of("gap").await;
    let found = until("the incident", async || {
        let found = incidents(&node, "").await;
        found.into_iter().find(|one| one["kind"] == "epoch-change" && one["channel"] == SALES)
    })
    .await;
    assert!(found["detail"].as_str().unwrap().contains(&head), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_told_from_its_begin_to_its_end() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let mut config = config(redis_url(proxy.port));
    config.server.partitioned_after = std::time::Duration::from_secs(1);
    let node = Node::start(config).await;
    let mut subscribers = [Subscriber::to(&node, SALES).await, Subscriber::to(&node, SALES).await];
    proxy.set(Mode::Silent);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.close_code().await, 1013);
    }
    let unready = incident(&node, "not-ready").await;
    assert!(!unready["detail"].as_str().unwrap().is_empty(), "{unready}");
    proxy.set(Mode::Pass);
    incident(&node, "ready").await;
    let found = incidents(&node, "").await;
    assert_eq!(kinds(&found), ["not-ready", "close-1013", "ready"], "{found:?}");
    assert!(found[1]["detail"].as_str().unwrap().contains("(2 times since "), "{found:?}");
    // The next question begins where the last answer ended.
    let time = found[2]["time"].as_str().unwrap();
    assert_eq!(kinds(&incidents(&node, &format!("?since={time}")).await), ["ready"]);
    assert_eq!(incidents(&node, "?since=1h").await, found);
    assert_eq!(incidents(&node, "?since=2999-01-01T00:00:00Z").await, Vec::<Value>::new());
    assert_eq!(incidents(&node, "?since=0000-01-01T00:00:00Z").await, found);
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    for (query, words) in [
        ("since=yesterday", "`since` must be a time or an age, such as 2026-11-21T10:00:00Z or 15m, not \"yesterday\""),
        ("since=k3:42", "`since` must be a time or an age"),
        ("since=start", "`since` must be a time or an age"),
        ("since=", "`since` must be a time or an age"),
        ("until=5m", "there is no parameter \"until\" here"),
    ] {
        let problem = node.get(&format!("/v1/incidents?{query}")).await.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sees_the_incidents_of_its_own_namespace_only() {
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"shop\", \"crm\"]", "");
    let mut config = world.over(config(BrokerUrl::Memory));
    config.broker.log_max_events = 3;
    let node = Node::start(config).await;
    let of = |tenant: &str, grants: Value| world.token(json!({"tenant": tenant, "tidings": grants}));
    let shop = of("shop", json!({"publish": ["*"], "subscribe": ["*"]}));
    let mut positions = Vec::new();
    for number in 0..9 {
        positions.extend(node.publish_as(&shop, &sale(&number.to_string())).await);
    }
    let path = format!("/v1/ws?channel={SALES}&since={}", positions[0]);
    let mut late = Subscriber::with_token(&node, &path, &shop).await;
    late.frame_of("subscribed").await;
    late.frame_of("gap").await;
    let seen = async |tenant: &str| {
        let admin = of(tenant, json!({"admin": ["nodes"]}));
        let response = node.get_as(&admin, "/v1/incidents").await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["incidents"].as_array().unwrap().clone()
    };
    assert_eq!(kinds(&seen("shop").await), ["gap"]);
    assert_eq!(seen("crm").await, Vec::<Value>::new());
    let others = of("shop", json!({"admin": ["connections", "metrics", "revoke", "flows"]}));
    for path in ["/v1/incidents", "/v1/incidents?since=yesterday"] {
        node.get_as(&others, path).await.problem(403, "forbidden");
        node.get(path).await.problem(401, "unauthenticated");
    }
}
