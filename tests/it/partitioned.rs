//! A node that has not reached its broker for long sends its connections away, so that they go on elsewhere.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::broker::redis_url;
use crate::support::cluster::Cluster;
use crate::support::each_broker::TestBroker;
use crate::support::events::{order, sale};
use crate::support::http::Answer;
use crate::support::node::{Node, config};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

/// Instead of 15 s.
const CUT_OFF_AFTER: Duration = Duration::from_secs(1);
/// What those ask for who would stay.
const STAYING: [&str; 2] = ["/v1/stream?channel=order-status", "/v1/events?since=now&wait=30"];

/// A node on a Redis that is to be reached on this port.
async fn node(port: u16) -> Node {
    let mut config = config(redis_url(port));
    config.server.partitioned_after = CUT_OFF_AFTER;
    Node::start(config).await
}

/// Waits until the node takes nobody who would stay.
async fn is_cut_off(node: &Node) {
    let handshake = || {
        node.request(Method::GET, "/v1/ws")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    until("no WebSocket is taken", async || {
        (within("an answer", handshake().send()).await.ok()?.status() == 503).then_some(())
    })
    .await;
    for request in [handshake(), node.request(Method::GET, STAYING[0]), node.request(Method::GET, STAYING[1])] {
        let answer = Answer::of(request).await;
        answer.problem(503, "broker-unavailable");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stays_is_sent_away_and_taken_again_when_it_is_over() {
    let redis = Redis::start();
    let link = Proxy::start(redis.port).await;
    let (partitioned, other) = (node(link.port).await, node(redis.port).await);
    let mut subscriber = Subscriber::to(&partitioned, "inventory-change").await;
    let mut elsewhere = Subscriber::to(&other, "inventory-change").await;
    let stream = within("the stream", partitioned.request(Method::GET, STAYING[0]).send()).await.unwrap();
    let waits = tokio::spawn(Answer::of(partitioned.request(Method::GET, STAYING[1])));
    link.set(Mode::Silent);
    assert_eq!(subscriber.close_code().await, 1013);
    within("the stream's end", stream.bytes()).await.expect("it ends in good order");
    waits.await.unwrap().problem(503, "broker-unavailable");
    is_cut_off(&partitioned).await;
    // Nobody else is worse off.
    other.publish(&sale("1")).await;
    elsewhere.event().await;
    link.set(Mode::Pass);
    let mut again = until("it takes connections again", async || {
        (partitioned.get("/readyz").await.status == 200).then_some(())?;
        Some(Subscriber::to(&partitioned, "inventory-change").await)
    })
    .await;
    partitioned.publish(&sale("2")).await;
    again.event().await;
    elsewhere.event().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_never_reached_its_broker_takes_nobody() {
    let redis = Redis::stopped(&[]);
    let mut config = config(redis_url(redis.port));
    config.server.partitioned_after = CUT_OFF_AFTER;
    let node = Node::unready(config).await;
    is_cut_off(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_master_of_several_that_is_silent_cuts_nobody_off() {
    let cluster = Cluster::masters();
    for server in &cluster.nodes {
        server.cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let mut config = config(cluster.url());
    config.server.partitioned_after = CUT_OFF_AFTER;
    let node = Node::start(config).await;
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    cluster.nodes[1].pause();
    until("readiness to name the master", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    // For several times as long as it would take.
    let since = Instant::now();
    while since.elapsed() < 4 * CUT_OFF_AFTER {
        node.publish(&order("1")).await;
        subscriber.event().await;
    }
    assert_eq!(node.get("/readyz").await.status, 503);
    for server in [0, 2] {
        cluster.nodes[server].pause();
    }
    assert_eq!(subscriber.close_code().await, 1013);
    is_cut_off(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_broker_to_itself_is_never_cut_off() {
    let node = TestBroker::Memory.node_with(|config| config.server.partitioned_after = Duration::ZERO).await;
    let mut subscriber = Subscriber::connect(&node).await;
    until("some round trips", async || {
        (node.metric("tidings_broker_round_trip_seconds_count").await >= 3.0).then_some(())
    })
    .await;
    subscriber.say(json!({"type": "ping"})).await;
    subscriber.frame_of("pong").await;
    Subscriber::connect(&node).await;
}
