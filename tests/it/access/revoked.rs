//! Revocations: on every node, within 2 s, and after a restart.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::world::{World, now};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::order;
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const ORDERS: &str = "order-status";

/// Whether several nodes may be on the broker.
fn is_shared(broker: &TestBroker) -> bool {
    !matches!(broker, TestBroker::Memory | TestBroker::MemoryByHyper | TestBroker::File(_))
}

async fn revoke(node: &Node, admin: &str, what: Value) {
    let response = node.ask(Method::POST, "/v1/revocations", admin, Some(&what)).await;
    assert_eq!(response.status, 204, "{}", response.text);
}

async fn a_revocation_holds_on_every_node(broker: TestBroker) {
    let world = World::new();
    let two = async || broker.node_with(|config| config.auth.file = Some(world.file())).await;
    let admin = world.token(json!({"sub": "admin", "tidings": {"admin": ["revoke"], "publish": ["*"]}}));
    let (one, mut other) = (two().await, None);
    if is_shared(&broker) {
        other = Some(two().await);
    }
    let far = other.as_ref().unwrap_or(&one);
    let everything = json!({"subscribe": ["*"]});
    let by_id = world.token(json!({"jti": "j1", "tidings": everything}));
    let by_subject = world.token(json!({"sub": "u2", "tidings": everything}));
    let undated = world.token(json!({"sub": "u2", "iat": null, "tidings": everything}));
    let spared = world.token(json!({"sub": "u3", "jti": "j3", "tidings": everything}));
    let mut clients = Vec::new();
    for token in [&by_id, &by_subject, &undated, &spared] {
        let mut client = Subscriber::with_token(far, "/v1/ws", token).await;
        client.subscribe("s", ORDERS).await;
        clients.push(client);
    }
    revoke(&one, &admin, json!({"jti": "j1"})).await;
    revoke(&one, &admin, json!({"sub": "u2"})).await;
    let mut last = clients.pop().unwrap();
    for mut client in clients {
        assert_eq!(client.close_code().await, 4004);
    }
    one.publish_as(&admin, &order("after")).await;
    assert_eq!(last.event().await.event["data"]["orderId"], "after");
    for token in [&by_id, &by_subject, &undated] {
        until("the token is refused everywhere", async || {
            let refused = async |node: &Node| node.get_as(token, "/v1/channels").await.status == 401;
            (refused(&one).await && refused(far).await).then_some(())
        })
        .await;
    }
    // Tokens that are issued later are accepted, here after a second.
    let later = world.token(json!({"sub": "u2", "iat": now() + 2, "tidings": everything}));
    assert_eq!(far.get_as(&later, "/v1/channels").await.status, 200);
    assert_eq!(far.get_as(&spared, "/v1/channels").await.status, 200);
    // A node that starts knows the list before it is ready.
    if is_shared(&broker) {
        let third = two().await;
        assert_eq!(third.get_as(&by_id, "/v1/channels").await.status, 401);
    }
}
over_each_broker!(a_revocation_holds_on_every_node);

/// Nodes write the list at the same time, and each of them many entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_revocations_at_once_are_all_kept() {
    let world = World::new();
    let redis = TestBroker::redis();
    let two = async || redis.node_with(|config| config.auth.file = Some(world.file())).await;
    let nodes = [two().await, two().await];
    let admin = world.token(json!({"sub": "admin", "tidings": {"admin": ["revoke"]}}));
    let all =
        (0..300).map(async |number| revoke(&nodes[number % 2], &admin, json!({"jti": format!("j{number}")})).await);
    futures_util::future::join_all(all).await;
    for (number, node) in (0..300).zip(nodes.iter().cycle()) {
        // The other node than the one that was told.
        let node = if number % 2 == 0 { &nodes[1] } else { node };
        let token = world.token(json!({"jti": format!("j{number}"), "tidings": {"subscribe": ["*"]}}));
        until("each is refused", async || (node.get_as(&token, "/v1/channels").await.status == 401).then_some(()))
            .await;
    }
}

/// A client that does not read has a full send buffer when its token is revoked. What waits there is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_send_buffer_is_dropped() {
    let world = World::new();
    let node = Node::start(world.over(crate::support::node::config(tidings::config::BrokerUrl::Memory))).await;
    let admin = world.token(json!({"sub": "admin", "tidings": {"admin": ["revoke", "metrics"], "publish": ["*"]}}));
    let token = world.token(json!({"jti": "slow", "tidings": {"subscribe": ["*"]}}));
    let mut client = Subscriber::with_token(&node, "/v1/ws", &token).await;
    client.subscribe("s", "inventory-change").await;
    let large = json!({"type": "inventory-change", "data": {"productId": "p", "oldQuantity": 2, "newQuantity": 1, "reason": "x".repeat(1000)}});
    let waiting = async || {
        let text = node.get_as(&admin, "/metrics").await.text;
        let line = text.lines().find(|line| line.starts_with("tidings_outbox_bytes ")).expect("the metric");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let mut published = 0;
    while waiting().await < 300_000.0 {
        published += node.publish_as(&admin, &json!(vec![large.clone(); 100])).await.len();
    }
    revoke(&node, &admin, json!({"jti": "slow"})).await;
    until("the buffer is dropped", async || (waiting().await < 20_000.0).then_some(())).await;
    let mut received = 0;
    loop {
        match client.message().await.unwrap() {
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 4004);
                break;
            }
            message if message.is_text() => received += 1,
            _ => {}
        }
    }
    assert!(received < published, "{received} of {published}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_must_be_said_exactly() {
    let world = World::new();
    let node = Node::start(world.over(crate::support::node::config(tidings::config::BrokerUrl::Memory))).await;
    let admin = world.granting(json!({"admin": ["revoke"]}));
    for (body, code) in [
        (json!({}), "bad-request"),
        (json!({"jti": "a", "sub": "b"}), "bad-request"),
        (json!({"jti": "a", "issuedBefore": 1}), "bad-request"),
        (json!({"jti": ""}), "bad-request"),
        (json!({"jti": 1}), "bad-request"),
        (json!({"id": "a"}), "bad-request"),
        (json!({"key": "x".repeat(1025)}), "bad-request"),
    ] {
        node.ask(Method::POST, "/v1/revocations", &admin, Some(&body)).await.problem(400, code);
    }
    let nobody = world.granting(json!({"admin": ["nodes"]}));
    node.ask(Method::POST, "/v1/revocations", &nobody, Some(&json!({}))).await.problem(403, "forbidden");
}
