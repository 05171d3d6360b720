//! The end: connections are told and closed, what was begun is finished, and it takes no longer than promised.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::http::{Answer, members};
use crate::support::node::{Node, config};
use crate::support::raw::{Raw, close, text, upgrade, usual};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker!(
    every_connection_is_told_and_closed_with_1012,
    the_times_to_come_back_are_spread_over_the_drain,
    a_long_poll_is_answered,
    what_was_answered_before_is_delivered_before_the_close,
    a_publish_under_way_is_answered,
    a_node_that_drains_is_not_ready,
    a_request_that_never_ends_keeps_nobody_from_being_told,
    idle_http_connections_do_not_hold_it_up,
    peers_that_do_nothing_do_not_hold_it_up_beyond_the_deadline,
    the_port_is_free_afterwards,
    a_node_without_connections_stops_at_once,
);

async fn every_connection_is_told_and_closed_with_1012(broker: TestBroker) {
    let mut node = broker.node().await;
    let mut subscribed = Subscriber::to(&node, "inventory-change").await;
    let mut idle = Subscriber::connect(&node).await;
    node.begin_stop();
    for subscriber in [&mut subscribed, &mut idle] {
        let draining = subscriber.frame_of("draining").await;
        assert_eq!(members(&draining), ["reconnectInMs", "type"]);
        assert!(draining["reconnectInMs"].is_u64(), "{draining}");
        assert_eq!(subscriber.close_code().await, 1012);
    }
    drop((subscribed, idle));
    node.stopped().await.expect("it ends well");
}

async fn the_times_to_come_back_are_spread_over_the_drain(broker: TestBroker) {
    const DRAIN: u64 = 8_000;
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_millis(DRAIN)).await;
    let mut subscribers = Vec::new();
    for _ in 0..100 {
        subscribers.push(Subscriber::connect(&node).await);
    }
    node.begin_stop();
    // How many come back in each quarter of it. That one has nobody by chance: once in 10^12.
    let mut quarters = [0; 4];
    for subscriber in &mut subscribers {
        let wait = subscriber.frame_of("draining").await["reconnectInMs"].as_u64().expect("milliseconds");
        assert!(wait <= DRAIN, "{wait}");
        quarters[(wait * 4 / (DRAIN + 1)) as usize] += 1;
    }
    assert!(!quarters.contains(&0), "{quarters:?}");
}

async fn a_long_poll_is_answered(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(6)).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    // Longer than the drain: it would be cut off.
    let waits = node.request(reqwest::Method::GET, "/v1/events?channel=inventory-change&since=now&wait=30");
    let waits = tokio::spawn(Answer::of(waits));
    until("it waits", async || (node.metric("tidings_long_polls").await == 1.0).then_some(())).await;
    node.begin_stop();
    let answer = waits.await.expect("it does not panic");
    assert_eq!((answer.status, &answer.json()["events"]), (200, &serde_json::json!([])));
    subscriber.frame_of("draining").await;
    assert_eq!(subscriber.close_code().await, 1012);
    node.stopped().await.expect("it ends well");
}

async fn what_was_answered_before_is_delivered_before_the_close(broker: TestBroker) {
    const EVENTS: usize = 1000;
    let mut node = broker.node().await;
    let mut subscribers = Vec::new();
    for _ in 0..10 {
        subscribers.push(Subscriber::to(&node, "inventory-change").await);
    }
    let events: Vec<Value> = (0..EVENTS).map(|n| sale(&n.to_string())).collect();
    node.publish(&events.into()).await;
    node.begin_stop();
    for subscriber in &mut subscribers {
        let mut seen = 0;
        loop {
            let frame = subscriber.frame().await;
            match frame["type"].as_str() {
                Some("event") => seen += 1,
                Some("draining") => {}
                other => panic!("{other:?}"),
            }
            if seen == EVENTS {
                break;
            }
        }
        assert_eq!(subscriber.close_code().await, 1012);
    }
}

/// A publish of which the last byte is missing.
async fn begin_publish(node: &Node) -> (Raw, u8) {
    let body = sale("1").to_string().into_bytes();
    let (last, begin) = body.split_last().unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = Raw::connect(node.address).await;
    raw.send(head.as_bytes()).await;
    // So that the daemon is known to be at it.
    assert_eq!(raw.head().await.status, 100);
    raw.send(begin).await;
    (raw, *last)
}

async fn a_publish_under_way_is_answered(broker: TestBroker) {
    let mut node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let (mut raw, last) = begin_publish(&node).await;
    node.begin_stop();
    until("nobody is accepted any more", async || refuses(&node).await.then_some(())).await;
    raw.send(&[last]).await;
    match raw.head().await.status {
        202 => {
            // Taken, so that it is delivered, before or after the announcement.
            let mut frame = subscriber.frame().await;
            if frame["type"] == "draining" {
                frame = subscriber.frame().await;
            }
            assert_eq!(frame["event"]["subject"], "1", "{frame}");
        }
        status => assert_eq!(status, 503, "or `draining`: not taken"),
    }
    assert_eq!(subscriber.close_code().await, 1012);
    drop((raw, subscriber));
    node.stopped().await.expect("it ends well");
}

/// Whether `/readyz` is not 200 any more, be it by a refused connection.
async fn refuses(node: &Node) -> bool {
    let request = node.request(reqwest::Method::GET, "/readyz").timeout(Duration::from_secs(1));
    !request.send().await.is_ok_and(|response| response.status() == 200)
}

async fn a_node_that_drains_is_not_ready(broker: TestBroker) {
    let mut node = broker.node().await;
    let (mut raw, last) = begin_publish(&node).await;
    node.begin_stop();
    until("not ready", async || refuses(&node).await.then_some(())).await;
    raw.send(&[last]).await;
    raw.head().await;
    node.stopped().await.expect("it ends well");
}

async fn a_request_that_never_ends_keeps_nobody_from_being_told(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(2)).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let _unfinished = begin_publish(&node).await;
    node.begin_stop();
    let read = async {
        subscriber.frame_of("draining").await;
        assert_eq!(subscriber.close_code().await, 1012);
    };
    futures_util::future::join(read, async { node.stopped().await.expect("it ends well") }).await;
}

async fn idle_http_connections_do_not_hold_it_up(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(60)).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(node.address).await;
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.head().await.status, 200);
        kept.push(raw);
        kept.push(Raw::connect(node.address).await);
    }
    node.begin_stop();
    node.stopped().await.expect("it ends well, long before the deadline");
}

async fn peers_that_do_nothing_do_not_hold_it_up_beyond_the_deadline(broker: TestBroker) {
    let drain = Duration::from_secs(2);
    let mut node = broker
        .node_with(|config| {
            config.server.drain = drain;
            config.websocket.outbox_bytes = 16 << 20;
        })
        .await;
    // One that answers no close, one whose socket is full, one that never finishes its request.
    let _mute = Raw::upgraded(&node).await;
    let mut full = Raw::upgraded(&node).await;
    full.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(full.json().await["type"], "subscribed");
    let events: Vec<Value> =
        (0..1000).map(|n| crate::support::events::with(sale(&n.to_string()), "padding", "x".repeat(2000))).collect();
    for _ in 0..3 {
        node.publish(&events.clone().into()).await;
    }
    let _unfinished = begin_publish(&node).await;
    let begin = Instant::now();
    node.begin_stop();
    node.stopped().await.expect("it ends well");
    assert!(begin.elapsed() < drain + Duration::from_secs(2), "{:?}", begin.elapsed());
}

async fn the_port_is_free_afterwards(broker: TestBroker) {
    let mut node = broker.node().await;
    let address = node.address;
    let mut raw = Raw::connect(address).await;
    raw.send(&upgrade(&usual())).await;
    raw.welcomed().await;
    node.begin_stop();
    let code = raw.closed_with().await;
    raw.send(&close(code)).await;
    drop(raw);
    node.stopped().await.expect("it ends well");
    until("the port is free", async || TcpListener::bind(address).await.ok()).await;
}

async fn a_node_without_connections_stops_at_once(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(60)).await;
    node.begin_stop();
    node.stopped().await.expect("it ends well");
}

/// An event stream is asked for, but the log has not answered yet where it begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_has_not_begun_is_not_left_hanging() {
    let redis = Redis::start();
    let mut config = config(redis_url(redis.port));
    config.server.drain = Duration::from_secs(60);
    let mut node = Node::start(config).await;
    let position = node.publish(&sale("1")).await.remove(0).position;
    redis.pause();
    let url = node.url(&format!("/v1/stream?channel=inventory-change&since={position}"));
    let stream = tokio::spawn(reqwest::Client::new().get(url).send());
    until("the request is here", async || (node.metric("tidings_arriving").await > 0.0).then_some(())).await;
    node.begin_stop();
    until("it drains", async || refuses(&node).await.then_some(())).await;
    redis.go_on();
    // Either is an answer: that it cannot begin now, or a stream that ends in good order.
    let answer = within("an answer", stream).await.unwrap().expect("it is not cut off");
    if answer.status() == 200 {
        let text = within("the end", answer.text()).await.expect("not in the middle of a chunk");
        assert!(text.contains("retry: "), "{text}");
    } else {
        assert_eq!(answer.status(), 503);
    }
    node.stopped().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_broker_is_gone_stops_as_well() {
    let mut redis = Redis::start();
    let mut node = Node::start(config(redis_url(redis.port))).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    redis.kill();
    node.begin_stop();
    subscriber.frame_of("draining").await;
    assert_eq!(subscriber.close_code().await, 1012);
    drop(subscriber);
    node.stopped().await.expect("it ends well");
}
