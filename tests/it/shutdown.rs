//! Shutdown: a draining node announces it to every connection and closes it, finishes requests in progress, and stops within
//! the `drain` time.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::sale;
use crate::support::http::{Response, members};
use crate::support::node::{Node, config};
use crate::support::raw::{RawConnection, close, handshake, handshake_headers, text};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker_and_tls!(
    every_connection_gets_a_draining_frame_and_is_closed_with_1012,
    a_waiting_long_poll_is_answered,
    events_accepted_before_the_drain_are_delivered_before_the_close,
    a_publish_in_progress_gets_a_response,
    a_draining_node_is_not_ready,
    an_unfinished_request_does_not_delay_the_draining_frames,
    idle_http_connections_do_not_delay_the_shutdown,
    unresponsive_clients_do_not_delay_the_shutdown_beyond_the_deadline,
    the_port_is_free_after_the_shutdown,
    a_node_without_connections_stops_at_once,
);

async fn every_connection_gets_a_draining_frame_and_is_closed_with_1012(broker: TestBroker) {
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
    node.stopped().await.expect("the node stops without an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_times_grow_with_the_number_of_connections() {
    // Each connection adds 2 ms to the spread, up to the drain.
    for (connections, drain, spread) in [(1, 8_000, 0), (100, 8_000, 198), (100, 40, 40)] {
        let mut node = TestBroker::Memory.node_with(|config| config.server.drain = Duration::from_millis(drain)).await;
        let mut subscribers = Vec::new();
        for _ in 0..connections {
            subscribers.push(Subscriber::connect(&node).await);
        }
        node.begin_stop();
        // How many clients get a time in each quarter. A quarter is empty by chance about once in 10^12 runs.
        let mut quarters = [0; 4];
        for subscriber in &mut subscribers {
            let wait = subscriber.frame_of("draining").await["reconnectInMs"].as_u64().expect("milliseconds");
            assert!(wait <= spread, "{wait} of {spread}");
            quarters[(wait * 4 / (spread + 1)) as usize] += 1;
        }
        assert!(connections == 1 || !quarters.contains(&0), "{quarters:?}");
    }
}

async fn a_waiting_long_poll_is_answered(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(6)).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    // The long-poll would outlast the drain.
    let long_poll = node.request(reqwest::Method::GET, "/v1/events?channel=inventory-change&since=now&wait=30");
    let long_poll = tokio::spawn(Response::to(long_poll));
    until("the long-poll is waiting", async || (node.metric("tidings_long_polls").await == 1.0).then_some(())).await;
    node.begin_stop();
    let response = long_poll.await.expect("the request does not panic");
    assert_eq!((response.status, &response.json()["events"]), (200, &serde_json::json!([])));
    subscriber.frame_of("draining").await;
    assert_eq!(subscriber.close_code().await, 1012);
    node.stopped().await.expect("the node stops without an error");
}

async fn events_accepted_before_the_drain_are_delivered_before_the_close(broker: TestBroker) {
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

/// Sends a publish request except for its last byte, which is returned.
async fn begin_publish(node: &Node) -> (RawConnection, u8) {
    let body = sale("1").to_string().into_bytes();
    let (last, begin) = body.split_last().unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = RawConnection::connect(node.address).await;
    raw.send(head.as_bytes()).await;
    // The 100 shows that the daemon is processing the request.
    assert_eq!(raw.head().await.status, 100);
    raw.send(begin).await;
    (raw, *last)
}

async fn a_publish_in_progress_gets_a_response(broker: TestBroker) {
    let mut node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let (mut raw, last) = begin_publish(&node).await;
    node.begin_stop();
    until("the node is not ready any more", async || is_unready(&node).await.then_some(())).await;
    raw.send(&[last]).await;
    match raw.head().await.status {
        202 => {
            // An accepted event must be delivered, before or after the `draining` frame.
            let mut frame = subscriber.frame().await;
            if frame["type"] == "draining" {
                frame = subscriber.frame().await;
            }
            assert_eq!(frame["event"]["subject"], "1", "{frame}");
        }
        status => assert_eq!(status, 503, "the only other response is `draining`, which means not published"),
    }
    assert_eq!(subscriber.close_code().await, 1012);
    drop((raw, subscriber));
    node.stopped().await.expect("the node stops without an error");
}

/// Whether `/readyz` fails: by another status than 200, or by a refused connection.
async fn is_unready(node: &Node) -> bool {
    let request = node.request(reqwest::Method::GET, "/readyz").timeout(Duration::from_secs(1));
    !request.send().await.is_ok_and(|response| response.status() == 200)
}

async fn a_draining_node_is_not_ready(broker: TestBroker) {
    let mut node = broker.node().await;
    let (mut raw, last) = begin_publish(&node).await;
    node.begin_stop();
    until("the node is not ready", async || is_unready(&node).await.then_some(())).await;
    raw.send(&[last]).await;
    raw.head().await;
    node.stopped().await.expect("the node stops without an error");
}

async fn an_unfinished_request_does_not_delay_the_draining_frames(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(2)).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let _unfinished = begin_publish(&node).await;
    node.begin_stop();
    let read = async {
        subscriber.frame_of("draining").await;
        assert_eq!(subscriber.close_code().await, 1012);
    };
    futures_util::future::join(read, async { node.stopped().await.expect("the node stops without an error") }).await;
}

async fn idle_http_connections_do_not_delay_the_shutdown(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(60)).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut raw = RawConnection::connect(node.address).await;
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(raw.head().await.status, 200);
        kept.push(raw);
        kept.push(RawConnection::connect(node.address).await);
    }
    node.begin_stop();
    node.stopped().await.expect("the node stops without an error, long before the deadline");
}

async fn unresponsive_clients_do_not_delay_the_shutdown_beyond_the_deadline(broker: TestBroker) {
    let drain = Duration::from_secs(2);
    let mut node = broker
        .node_with(|config| {
            config.server.drain = drain;
            config.websocket.outbox_bytes = 16 << 20;
        })
        .await;
    // One client ignores the close frame, one has a full socket, one never finishes its request.
    let _unresponsive = RawConnection::open(&node).await;
    let mut full = RawConnection::open(&node).await;
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
    node.stopped().await.expect("the node stops without an error");
    assert!(begin.elapsed() < drain + Duration::from_secs(2), "{:?}", begin.elapsed());
}

async fn the_port_is_free_after_the_shutdown(broker: TestBroker) {
    let mut node = broker.node().await;
    let address = node.address;
    let mut raw = RawConnection::connect(address).await;
    raw.send(&handshake(&handshake_headers())).await;
    raw.read_welcome().await;
    node.begin_stop();
    let code = raw.close_code().await;
    raw.send(&close(code)).await;
    drop(raw);
    node.stopped().await.expect("the node stops without an error");
    until("the port is free", async || TcpListener::bind(address).await.ok()).await;
}

async fn a_node_without_connections_stops_at_once(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain = Duration::from_secs(60)).await;
    node.begin_stop();
    node.stopped().await.expect("the node stops without an error");
}

/// A client has requested an event stream, and the broker has not yet returned the position where it begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_request_that_has_not_begun_gets_a_response() {
    let redis = Redis::start();
    let mut config = config(redis_url(redis.port));
    config.server.drain = Duration::from_secs(60);
    let mut node = Node::start(config).await;
    let position = node.publish(&sale("1")).await.remove(0).position;
    redis.pause();
    let url = node.url(&format!("/v1/stream?channel=inventory-change&since={position}"));
    let stream = tokio::spawn(reqwest::Client::new().get(url).send());
    until("the request has arrived", async || (node.metric("tidings_arriving").await > 0.0).then_some(())).await;
    node.begin_stop();
    until("the node is draining", async || is_unready(&node).await.then_some(())).await;
    redis.go_on();
    // Both responses are correct: a refusal, or a stream that ends cleanly.
    let response = within("a response", stream).await.unwrap().expect("the response is complete");
    if response.status() == 200 {
        let text = within("the end", response.text()).await.expect("the stream does not end within a chunk");
        assert!(text.contains("retry: "), "{text}");
    } else {
        assert_eq!(response.status(), 503);
    }
    node.stopped().await.expect("the node stops without an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stops_even_while_its_broker_is_down() {
    let mut redis = Redis::start();
    let mut node = Node::start(config(redis_url(redis.port))).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    redis.kill();
    node.begin_stop();
    subscriber.frame_of("draining").await;
    assert_eq!(subscriber.close_code().await, 1012);
    drop(subscriber);
    node.stopped().await.expect("the node stops without an error");
}
