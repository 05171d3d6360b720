//! Request bodies that are too large, chunked, slow or never finished.

use std::time::Duration;

use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{offset, sale, with};
use crate::support::node::Node;
use crate::support::raw::RawConnection;

over_each_broker_and_tls!(
    a_body_over_the_limit_is_refused_before_it_is_sent,
    a_chunked_body_over_the_limit_is_refused,
    a_body_that_arrives_byte_by_byte_is_accepted,
    expect_100_continue_is_answered_with_100,
    an_unfinished_body_publishes_nothing_and_delays_no_other_request,
    events_of_all_sizes_arrive_complete,
    a_second_content_type_is_refused,
);

/// Sends the headers of a publish request, without its body.
async fn begin_post(node: &Node, headers: &str) -> RawConnection {
    let mut raw = RawConnection::connect(node.address).await;
    let head =
        format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n\r\n");
    raw.send(head.as_bytes()).await;
    raw
}

async fn a_body_over_the_limit_is_refused_before_it_is_sent(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = begin_post(&node, "Content-Length: 9000000000").await;
    let head = raw.head().await;
    assert_eq!(head.status, 413);
    assert_eq!(head.all("content-type"), ["application/problem+json"]);
    let whole = "x".repeat((8 << 20) + 1);
    node.post_as("application/json", whole).await.problem(413, "payload-too-large");
}

async fn a_chunked_body_over_the_limit_is_refused(broker: TestBroker) {
    let node = broker.node_with(|config| config.limits.max_body_bytes = 10_000).await;
    let mut raw = begin_post(&node, "Transfer-Encoding: chunked").await;
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..3 {
        raw.send(chunk.as_bytes()).await;
    }
    assert_eq!(raw.head().await.status, 413, "refused before the rest of the body arrives");
    let fits = format!("{}{}", " ".repeat(9_000), sale("1"));
    node.post_as("application/json", fits).await.accepted();
}

async fn a_body_that_arrives_byte_by_byte_is_accepted(broker: TestBroker) {
    let node = broker.node().await;
    let body = sale("1").to_string();
    let mut raw = begin_post(&node, "Transfer-Encoding: chunked").await;
    for byte in body.bytes() {
        raw.send(format!("1\r\n{}\r\n", byte as char).as_bytes()).await;
        tokio::task::yield_now().await;
    }
    raw.send(b"0\r\n\r\n").await;
    assert_eq!(raw.head().await.status, 202);
    let mut raw = begin_post(&node, &format!("Content-Length: {}", body.len())).await;
    for byte in body.bytes() {
        raw.send(&[byte]).await;
    }
    assert_eq!(raw.head().await.status, 202);
}

async fn expect_100_continue_is_answered_with_100(broker: TestBroker) {
    let node = broker.node().await;
    let body = sale("1").to_string();
    let mut raw = begin_post(&node, &format!("Content-Length: {}\r\nExpect: 100-continue", body.len())).await;
    assert_eq!(raw.head().await.status, 100);
    raw.send(body.as_bytes()).await;
    assert_eq!(raw.head().await.status, 202);
}

async fn an_unfinished_body_publishes_nothing_and_delays_no_other_request(broker: TestBroker) {
    let node = broker.node().await;
    let body = sale("1").to_string();
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut raw = begin_post(&node, &format!("Content-Length: {}", body.len())).await;
        raw.send(&body.as_bytes()[..body.len() - 1]).await;
        stalled.push(raw);
    }
    assert_eq!(offset(&node.publish(&sale("2")).await[0].position), 1);
    drop(stalled);
    assert_eq!(offset(&node.publish(&sale("3")).await[0].position), 2, "an unfinished request publishes nothing");
}

async fn events_of_all_sizes_arrive_complete(broker: TestBroker) {
    let node = broker.node_with(|config| config.limits.max_event_bytes = 1 << 20).await;
    let mut subscriber = crate::support::subscriber::Subscriber::to(&node, "inventory-change").await;
    // Sizes around those at which a WebSocket frame header grows, and far above them.
    for length in (0..4).chain(60..70).chain(65_150..65_300).step_by(3).chain([500_000, 1_000_000]) {
        let comment = "x".repeat(length);
        let response = node.post(&json!([with(sale("1"), "comment", comment.clone())])).await;
        response.accepted();
        assert_eq!(subscriber.event().await.event["comment"], comment, "{length}");
    }
    tokio::time::timeout(Duration::from_secs(20), subscriber.pong_is_next()).await.expect("the connection is open");
}

async fn a_second_content_type_is_refused(broker: TestBroker) {
    let node = broker.node().await;
    for (one, other) in [
        ("application/json", "text/plain"),
        ("text/plain", "application/json"),
        ("application/json", "application/json"),
        ("application/cloudevents+json", "application/json"),
    ] {
        for binary in ["", "ce-type: inventory-change\r\n"] {
            let mut raw = RawConnection::connect(node.address).await;
            let head = format!(
                "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {one}\r\nContent-Type: {other}\r\n{binary}\
                 Content-Length: 2\r\n\r\n[]"
            );
            raw.send(head.as_bytes()).await;
            let head = raw.head().await;
            let body = String::from_utf8(raw.body(&head).await).unwrap();
            assert_eq!(head.status, 415, "{one} {other} {body}");
            assert!(body.contains("the request has several Content-Type headers: send one"), "{body}");
        }
    }
}
