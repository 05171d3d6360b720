//! Credentials on live connections: the first frame, expiry, renewal.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::world::{World, now};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, with_data};
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;
use crate::support::within;

const ORDERS: &str = "order-status";

/// An order of a customer.
fn order_of(customer: &str, id: &str) -> serde_json::Value {
    with_data(order(id), "customerId", customer)
}

fn pinned(customer: &str) -> serde_json::Value {
    json!({"subscribe": [{"channel": ORDERS, "where": {"customerId": customer}}]})
}

async fn memory(world: &World) -> Node {
    Node::start(world.over(node::config(tidings::config::BrokerUrl::Memory))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_before_the_first_frame() {
    let world = World::new();
    let node = memory(&world).await;
    let mut client = Subscriber::stranger(&node, &format!("/v1/ws?channel={ORDERS}")).await;
    client.say(json!({"type": "auth", "token": world.granting(pinned("u1"))})).await;
    let welcome = client.frame_of("welcome").await;
    assert!(welcome["expiresInMs"].as_u64().unwrap() <= 3_630_000, "{welcome}");
    client.frame_of("subscribed").await;
    client.pong_is_next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_first_frame_is_closed_with_4001() {
    let world = World::new();
    let node = memory(&world).await;
    let bad = world.token(json!({"exp": now() - 3600}));
    let long = "x".repeat(17 << 10);
    for text in [
        json!({"type": "ping"}).to_string(),
        json!({"type": "subscribe", "sub": "s", "channel": ORDERS}).to_string(),
        json!({"type": "auth", "token": bad}).to_string(),
        json!({"type": "auth", "token": ""}).to_string(),
        json!({"type": "auth", "token": long}).to_string(),
        "no JSON".into(),
    ] {
        let mut client = Subscriber::stranger(&node, "/v1/ws").await;
        client.send(Message::text(text)).await;
        assert_eq!(client.first_close_code().await, 4001);
    }
    let mut silent = Subscriber::stranger(&node, "/v1/ws").await;
    assert_eq!(silent.first_close_code().await, 4001);
}

async fn a_renewal_replaces_all_grants(broker: TestBroker) {
    let world = World::new();
    let node = broker.node_with(|config| config.auth.file = Some(world.file())).await;
    let publisher = world.token(json!({"sub": "p", "tidings": {"publish": ["*"]}}));
    let mut client = Subscriber::with_token(&node, "/v1/ws", &world.granting(pinned("u1"))).await;
    client.subscribe("all", ORDERS).await;
    client.subscribe_where("some", ORDERS, json!({"newStatus": "shipped"})).await;
    node.publish_as(&publisher, &json!([order_of("u1", "1"), order_of("u2", "2"), order("3")])).await;
    assert_eq!(client.event().await.event["data"]["orderId"], "1");
    client.pong_is_next().await;

    // Another pin holds for everything after the answer.
    client.say(json!({"type": "auth", "token": world.granting(pinned("u2"))})).await;
    client.frame_of("authenticated").await;
    node.publish_as(&publisher, &json!([order_of("u1", "4"), order_of("u2", "5")])).await;
    assert_eq!(client.event().await.event["data"]["orderId"], "5");
    client.pong_is_next().await;

    // A refused one changes nothing.
    client
        .say(json!({"type": "auth", "token": world.token(json!({"exp": now() - 3600, "tidings": pinned("u1")}))}))
        .await;
    let error = client.frame_of("error").await;
    assert_eq!(error["code"], "unauthenticated");
    node.publish_as(&publisher, &json!([order_of("u1", "6"), order_of("u2", "7")])).await;
    assert_eq!(client.event().await.event["data"]["orderId"], "7");

    // Without the channel both subscriptions end, each by its name. What was said in the same breath is done after.
    client.say(json!({"type": "auth", "token": world.granting(json!({"subscribe": ["finance-change"]}))})).await;
    client.say(json!({"type": "subscribe", "sub": "again", "channel": ORDERS})).await;
    client.frame_of("authenticated").await;
    for sub in ["all", "some"] {
        assert_eq!(client.frame().await, json!({"type": "unsubscribed", "sub": sub}));
        let error = client.frame_of("error").await;
        assert_eq!((&error["code"], &error["sub"]), (&json!("forbidden"), &json!(sub)));
    }
    let error = client.frame_of("error").await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("forbidden"), &json!("again")));
    client.subscribe("f", "finance-change").await;

    client.say(json!({"type": "auth", "token": world.token(json!({"sub": "u9"}))})).await;
    assert_eq!(client.close_code().await, 4003);
}
over_each_broker!(a_renewal_replaces_all_grants);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_ends_its_connection() {
    let world = World::with("", "");
    std::fs::write(world.file(), format!("clock_skew = \"0s\"\n{}", std::fs::read_to_string(world.file()).unwrap()))
        .unwrap();
    let node = memory(&world).await;
    let publisher = world.token(json!({"sub": "p", "tidings": {"publish": ["*"]}}));
    let short = |seconds| world.token(json!({"exp": now() + seconds, "tidings": pinned("u1")}));
    let mut client = Subscriber::with_token(&node, "/v1/ws", &short(3)).await;
    client.subscribe("s", ORDERS).await;
    let mut renewed = Subscriber::with_token(&node, "/v1/ws", &short(3)).await;
    renewed.subscribe("s", ORDERS).await;
    renewed.say(json!({"type": "auth", "token": short(3600)})).await;
    renewed.frame_of("authenticated").await;
    let stream = tokio::spawn(
        node.request(reqwest::Method::GET, &format!("/v1/stream?channel={ORDERS}")).bearer_auth(short(3)).send(),
    );
    let poll = tokio::spawn(
        node.request(reqwest::Method::GET, &format!("/v1/events?channel={ORDERS}&since=now&wait=30"))
            .bearer_auth(short(3))
            .send(),
    );
    assert_eq!(client.close_code().await, 4005);
    node.publish_as(&publisher, &order_of("u1", "late")).await;
    assert_eq!(renewed.event().await.event["data"]["orderId"], "late");
    let stream = within("the stream ends", async { stream.await.unwrap().unwrap().text().await.unwrap() }).await;
    assert!(stream.contains("event: error\n") && stream.contains("unauthenticated"), "{stream}");
    assert!(!stream.contains("late"), "{stream}");
    let poll = within("the poll is answered", async { poll.await.unwrap().unwrap().text().await.unwrap() }).await;
    assert!(!poll.contains("late"), "{poll}");
}
