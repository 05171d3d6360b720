//! A partitioned node: after `partitioned_after` without its broker it closes its connections and refuses new ones, so that
//! clients continue at another node.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::broker::redis_url;
use crate::support::cluster::Cluster;
use crate::support::each_broker::TestBroker;
use crate::support::events::{order, sale};
use crate::support::http::Response;
use crate::support::node::{Node, config};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

/// The tests' `partitioned_after`, instead of 15 s.
const PARTITIONED_AFTER: Duration = Duration::from_secs(1);
/// Requests other than the WebSocket that stay open: an event stream and a long-poll.
const LONG_LIVED: [&str; 2] = ["/v1/stream?channel=order-status", "/v1/events?since=now&wait=30"];

/// A node on the Redis at this port.
async fn node(port: u16) -> Node {
    let mut config = config(redis_url(port));
    config.server.partitioned_after = PARTITIONED_AFTER;
    Node::start(config).await
}

/// Waits until the node refuses WebSockets, and asserts that it refuses all long-lived requests.
async fn is_partitioned(node: &Node) {
    let handshake = || {
        node.request(Method::GET, "/v1/ws")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    until("WebSockets are refused", async || {
        (within("a response", handshake().send()).await.ok()?.status() == 503).then_some(())
    })
    .await;
    for request in [handshake(), node.request(Method::GET, LONG_LIVED[0]), node.request(Method::GET, LONG_LIVED[1])] {
        let response = Response::to(request).await;
        response.problem(503, "broker-unavailable");
        assert!(response.header("retry-after").is_some(), "{response:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_closed_with_1013_and_accepted_again_after_the_partition() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let (partitioned, other) = (node(proxy.port).await, node(redis.port).await);
    let mut subscriber = Subscriber::to(&partitioned, "inventory-change").await;
    let mut elsewhere = Subscriber::to(&other, "inventory-change").await;
    let stream = within("the stream", partitioned.request(Method::GET, LONG_LIVED[0]).send()).await.unwrap();
    let long_poll = tokio::spawn(Response::to(partitioned.request(Method::GET, LONG_LIVED[1])));
    proxy.set(Mode::Silent);
    assert_eq!(subscriber.close_code().await, 1013);
    within("the stream's end", stream.bytes()).await.expect("the stream ends cleanly");
    long_poll.await.unwrap().problem(503, "broker-unavailable");
    is_partitioned(&partitioned).await;
    // The other node is not affected.
    other.publish(&sale("1")).await;
    elsewhere.event().await;
    proxy.set(Mode::Pass);
    let mut again = until("the node accepts connections again", async || {
        (partitioned.get("/readyz").await.status == 200).then_some(())?;
        Some(Subscriber::to(&partitioned, "inventory-change").await)
    })
    .await;
    partitioned.publish(&sale("2")).await;
    again.event().await;
    elsewhere.event().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_never_reached_its_broker_accepts_no_connections() {
    let redis = Redis::stopped(&[]);
    let mut config = config(redis_url(redis.port));
    config.server.partitioned_after = PARTITIONED_AFTER;
    let node = Node::unready(config).await;
    is_partitioned(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_silent_master_of_a_cluster_does_not_close_connections() {
    let cluster = Cluster::masters();
    for server in &cluster.nodes {
        server.cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let mut config = config(cluster.url());
    config.server.partitioned_after = PARTITIONED_AFTER;
    let node = Node::start(config).await;
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    cluster.nodes[1].pause();
    until("the node is not ready", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    // For four times as long as it takes a partitioned node to close its connections.
    let since = Instant::now();
    while since.elapsed() < 4 * PARTITIONED_AFTER {
        node.publish(&order("1")).await;
        subscriber.event().await;
    }
    assert_eq!(node.get("/readyz").await.status, 503);
    for server in [0, 2] {
        cluster.nodes[server].pause();
    }
    assert_eq!(subscriber.close_code().await, 1013);
    is_partitioned(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_in_process_broker_is_never_partitioned() {
    let node = TestBroker::Memory.node_with(|config| config.server.partitioned_after = Duration::ZERO).await;
    let mut subscriber = Subscriber::connect(&node).await;
    until("some broker round trips", async || {
        (node.metric("tidings_broker_round_trip_seconds_count").await >= 3.0).then_some(())
    })
    .await;
    subscriber.say(json!({"type": "ping"})).await;
    subscriber.frame_of("pong").await;
    Subscriber::connect(&node).await;
}
