//! Revocations: on every node, within 2 s, and after a restart.

use reqwest::Method;
use serde_json::{Value, json};

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
