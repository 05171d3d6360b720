//! Rates of events and of frames.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::config::networks;

use super::{READERS, connect_from, node_with};
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::raw::{CONTINUATION, FIN, PING, PONG, RawConnection, TEXT, Target, frame, text};
use crate::support::subscriber::Subscriber;
use crate::support::until;

const PING_FRAME: &str = r#"{"type":"ping"}"#;

async fn post(node: &Node, client: &str, events: &Value) -> Response {
    let request = node.request(reqwest::Method::POST, "/v1/events").header("x-forwarded-for", client);
    Response::to(request.json(events)).await
}

#[tokio::test]
async fn a_publisher_over_its_rate_is_told_when_there_is_room() {
    let node = node_with(|config| {
        config.edge.trusted_proxies = networks("127.0.0.0/8").unwrap();
        config.edge.publish_rate = Some(2);
        config.edge.publish_burst = Some(4);
    })
    .await;
    let batch = |count: usize| json!((0..count).map(|n| sale(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(post(&node, "192.0.2.1", &batch(4)).await.status, 202);
    // Two of four are there again after a second.
    let refused = post(&node, "192.0.2.1", &batch(2)).await;
    let problem = refused.problem(429, "rate-limited");
    assert!(problem["detail"].as_str().unwrap().contains("publish_rate"), "{problem}");
    let wait = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(post(&node, "192.0.2.2", &batch(4)).await.status, 202, "another address has its own rate");
    let published = node.get("/v1/events?channel=inventory-change").await.json();
    assert_eq!(published["events"].as_array().unwrap().len(), 8, "nothing of the refused batch");
    // What the daemon says is true.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(post(&node, "192.0.2.1", &batch(2)).await.status, 202);
}

#[tokio::test]
async fn a_batch_over_the_burst_is_no_matter_of_time() {
    let node = node_with(|config| {
        config.edge.publish_rate = Some(1_000);
        config.edge.publish_burst = Some(3);
    })
    .await;
    let batch = json!([sale("1"), sale("2"), sale("3"), sale("4")]);
    let refused = node.post(&batch).await;
    assert_eq!(refused.pointers("invalid-event"), [""]);
    assert!(refused.json()["detail"].as_str().unwrap().contains("the 3 that may come at once"), "{}", refused.text);
    assert!(refused.header("retry-after").is_none());
    assert_eq!(node.post(&json!([sale("1"), sale("2"), sale("3")])).await.status, 202);
}

#[tokio::test]
async fn without_a_burst_it_is_the_events_of_a_second() {
    let node = node_with(|config| config.edge.publish_rate = Some(2)).await;
    assert_eq!(node.post(&json!([sale("1"), sale("2"), sale("3")])).await.status, 422);
    assert_eq!(node.post(&json!([sale("1"), sale("2")])).await.status, 202);
    // Events that are refused cost the same work.
    node.post(&json!({"type": "nope"})).await.problem(429, "rate-limited");
}

#[tokio::test]
async fn a_client_that_sends_too_many_frames_is_disconnected_with_4029() {
    let node = node_with(|config| config.edge.frame_rate = 10).await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    for reader in READERS {
        for unit in [
            text(PING_FRAME),
            text("nonsense"),
            frame(FIN | PING, b"x"),
            frame(FIN | PONG, b"unasked"),
            [frame(TEXT, b" "), frame(CONTINUATION, b"").repeat(8), frame(FIN | CONTINUATION, b"")].concat(),
        ] {
            let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
            raw.send(&unit.repeat(200)).await;
            assert_eq!(raw.close_code().await, 4029, "{reader:?} {unit:x?}");
        }
        // As many as a second and the burst allow.
        let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
        raw.send(&text(PING_FRAME).repeat(50)).await;
        for _ in 0..50 {
            assert_eq!(raw.json().await["type"], "pong");
        }
    }
    node.publish(&sale("1")).await;
    witness.event().await;
    assert_eq!(node.metric(r#"tidings_refusals_total{code="rate-limited"}"#).await, 10.0);
}

#[tokio::test]
async fn frames_in_the_segment_of_the_handshake_count() {
    let node = node_with(|config| config.edge.frame_rate = 10).await;
    let mut raw = RawConnection::connect(&node).await;
    let head = crate::support::raw::handshake(&crate::support::raw::handshake_headers());
    raw.send(&[head, text(PING_FRAME).repeat(100)].concat()).await;
    raw.read_welcome().await;
    assert_eq!(raw.close_code().await, 4029);
}

#[tokio::test]
async fn the_answers_to_the_daemons_pings_do_not_count() {
    let node = node_with(|config| {
        config.edge.frame_rate = 1;
        config.websocket.heartbeat = Duration::from_millis(250);
    })
    .await;
    let mut raw = RawConnection::open(&node).await;
    // More than the burst of five and what the time adds.
    for _ in 0..12 {
        until("a Ping", async || {
            let frame = raw.frame_or_end().await.expect("the connection is open");
            (frame.opcode == PING).then_some(frame)
        })
        .await;
        raw.send(&frame(FIN | PONG, b"")).await;
    }
    raw.send(&text(PING_FRAME)).await;
    until("the answer", async || {
        let frame = raw.frame_or_end().await.expect("the connection is open");
        (frame.opcode == TEXT && frame.json()["type"] == "pong").then_some(())
    })
    .await;
}

/// The rate of one address does not depend on its connections.
#[tokio::test]
async fn an_address_has_one_rate_over_all_its_connections() {
    let node = node_with(|config| {
        config.edge.publish_rate = Some(1);
        config.edge.publish_burst = Some(2);
    })
    .await;
    let body = sale("1").to_string();
    let mut statuses = Vec::new();
    for address in ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3"] {
        let mut raw = connect_from(address, node.address).await;
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            statuses.len(),
            body.len()
        );
        raw.send(head.as_bytes()).await;
        statuses.push(raw.head().await.status);
    }
    assert_eq!(statuses, [202, 202, 429, 202]);
}
