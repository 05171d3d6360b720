//! `sync`: what is refused, and what is answered when the log cannot be asked.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::config::BrokerUrl;

use crate::access::world::World;
use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::raw::{RawConnection, Reader, Target, text};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(an_id_has_1_to_64_characters, an_id_may_come_again_after_its_answer);

const CHANNEL: &str = "inventory-change";

fn sync(id: &str) -> Value {
    json!({"type": "sync", "id": id})
}

async fn an_id_has_1_to_64_characters(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    for frame in [
        sync(&"x".repeat(65)),
        sync(&"é".repeat(65)),
        sync(""),
        json!({"type": "sync"}),
        json!({"type": "sync", "id": 7}),
        json!({"type": "sync", "id": null}),
    ] {
        subscriber.say(frame.clone()).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!(error["code"], "invalid-frame", "{frame}: {error}");
        // The client could not have more than 64 characters outstanding: there is nothing to name.
        assert!(error.get("id").is_none_or(|id| id == ""), "{frame}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains("id")), "{frame}: {error}");
    }
    subscriber.say(json!({"type": "sync", "id": "7", "channel": CHANNEL})).await;
    let error = subscriber.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("invalid-frame"), &json!("7")), "{error}");
    for id in ["é".repeat(64), "7".into()] {
        subscriber.say(sync(&id)).await;
        assert_eq!(subscriber.frame_of("synced").await["id"], json!(id));
    }
}

async fn an_id_may_come_again_after_its_answer(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    for _ in 0..3 {
        let published = node.publish(&sale("1")).await.remove(0);
        subscriber.say(sync("7")).await;
        assert_eq!(subscriber.event().await.position, published.position);
        assert_eq!(subscriber.frame_of("synced").await["positions"], json!({CHANNEL: published.position}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_before_auth_is_closed_as_any_frame_before_auth() {
    let world = World::new();
    let node = Node::start(world.over(node::config(BrokerUrl::Memory))).await;
    let token = world.granting(json!({"subscribe": [CHANNEL]}));
    let mut stranger = Subscriber::stranger(&node, &format!("/v1/ws?channel={CHANNEL}")).await;
    stranger.say(sync("7")).await;
    // Not read any more.
    stranger.say(json!({"type": "auth", "token": token})).await;
    assert_eq!(stranger.first_close_code().await, 4001);

    let mut client = Subscriber::stranger(&node, &format!("/v1/ws?channel={CHANNEL}")).await;
    client.say(json!({"type": "auth", "token": token})).await;
    client.say(sync("7")).await;
    client.frame_of("welcome").await;
    let subscribed = client.frame_of("subscribed").await;
    let synced = client.frame_of("synced").await;
    assert_eq!((&synced["id"], &synced["positions"][CHANNEL]), (&json!("7"), &subscribed["position"]));
    let metrics = node.get_as(&world.granting(json!({"admin": ["metrics"]})), "/metrics").await.text;
    assert!(metrics.contains("\ntidings_sync_connections 1\n"), "not the stranger: {metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_count_for_the_frame_rate() {
    let mut config = node::config(BrokerUrl::Memory);
    config.edge.frame_rate = 10;
    let node = Node::start(config).await;
    for reader in [Reader::Direct, Reader::Hyper] {
        let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
        raw.send(&text(&sync("7").to_string()).repeat(200)).await;
        assert_eq!(raw.close_code().await, 4029, "{reader:?}");
        // As many as a second and the burst allow. One id is outstanding only until its answer.
        let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
        for id in 0..50 {
            raw.send(&text(&sync(&id.to_string()).to_string())).await;
            assert_eq!(raw.json().await["type"], "synced");
        }
    }
}

/// A server that is stopped by SIGSTOP: its sockets live, and nothing answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_answer_is_reported_with_the_id() {
    let redis = Redis::start();
    let mut config = node::config(redis_url(redis.port));
    // The connection stays open, however slow the machine is.
    config.server.partitioned_after = Duration::from_secs(600);
    let node = Node::start(config).await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    let published = node.publish(&sale("1")).await.remove(0);
    subscriber.event().await;
    redis.pause();
    subscriber.say(sync("first")).await;
    let error = subscriber.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("broker-unavailable"), &json!("first")), "{error}");
    assert_eq!(error.get("sub"), None, "{error}");
    // Eight that nobody can answer: each has its own answer, and the ninth does not wait for them.
    for id in 0..9 {
        subscriber.say(sync(&id.to_string())).await;
    }
    let ninth = subscriber.frame_of("error").await;
    assert_eq!((&ninth["code"], &ninth["id"]), (&json!("rate-limited"), &json!("8")), "{ninth}");
    let mut answered = Vec::new();
    while answered.len() < 8 {
        let error = subscriber.frame_of("error").await;
        assert_eq!(error["code"], "broker-unavailable", "{error}");
        answered.push(error["id"].as_str().unwrap().to_owned());
    }
    answered.sort();
    assert_eq!(answered, (0..8).map(|id| id.to_string()).collect::<Vec<_>>());
    redis.go_on();
    let synced = until("a sync is answered again", async || {
        subscriber.say(sync("again")).await;
        let frame = subscriber.frame().await;
        (frame["type"] == "synced").then_some(frame)
    })
    .await;
    assert_eq!(synced["positions"], json!({CHANNEL: published.position}));
}
