//! Bridges whose Redis is away, refuses them or breaks their connection, and whose broker stands still: what they say of it.

use serde_json::json;

use super::{Publisher, WITH_ID, events, listening, metric, metric_of, node, numbered};
use crate::support::redis::Redis;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_listens_again_after_its_connection_was_killed() {
    let redis = Redis::start();
    let node = node(&redis, WITH_ID).await;
    listening(&redis, "channel:inventory:change", 1).await;
    until("it says so", async || (metric(&node, "tidings_bridge_connected").await == 1.0).then_some(())).await;
    redis.cli(&["client", "kill", "type", "pubsub"]);
    until("the break is counted", async || {
        (metric(&node, "tidings_bridge_disconnections_total").await == 1.0).then_some(())
    })
    .await;
    listening(&redis, "channel:inventory:change", 1).await;
    Publisher::to(&redis).publish("channel:inventory:change", numbered(1).as_bytes());
    let all = async || Some(events(&node, "inventory-change").await).filter(|events| !events.is_empty());
    assert_eq!(until("the event", all).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_go_out_is_a_lag_and_a_refused_message_is_tried_again_after_pauses() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "reader", "on", ">secret", "allchannels", "+ping", "+subscribe"]);
    let out = |name: &str, server: &str| {
        format!(
            "[[bridge]]\nname = \"{name}\"\ndirection = \"out\"\nredis = \"redis://{server}\"\nchannels = [\"elsewhere\"]\n\
             type = \"inventory-change\"\n"
        )
    };
    let tables = out("refused", &format!("reader:secret@127.0.0.1:{}", redis.port)) + &out("away", "127.0.0.1:1");
    let node = node(&redis, &tables).await;
    let event = json!({"type": "inventory-change", "data": {"productId": "a", "oldQuantity": 5, "newQuantity": 4, "reason": "sale"}});
    crate::file_log::load::post(&node.url, &event).await.unwrap();
    let value = async |metric: &str, name: &str| metric_of(&node, metric, name).await;
    for name in ["refused", "away"] {
        until("the lag", async || (value("tidings_flow_lag_events", name).await == 1.0).then_some(())).await;
        until("its age", async || (value("tidings_flow_lag_seconds", name).await > 0.0).then_some(())).await;
    }
    assert_eq!(value("tidings_bridge_connected", "away").await, 0.0);
    until("runs that failed", async || (value("tidings_flow_restarts_total", "refused").await >= 2.0).then_some(()))
        .await;
    let stats = redis.cli(&["info", "commandstats"]);
    let of_publish = stats.lines().find(|line| line.starts_with("cmdstat_publish:")).unwrap();
    let calls = of_publish.trim().split(',').find_map(|part| part.strip_prefix("rejected_calls=")).unwrap();
    assert!((2..=4).contains(&calls.parse::<u32>().unwrap()), "each attempt has a pause behind it: {of_publish}");
    redis.cli(&["acl", "setuser", "reader", "+publish"]);
    until("the message", async || (value("tidings_bridge_sent_total", "refused").await == 1.0).then_some(())).await;
    until("no lag", async || (value("tidings_flow_lag_seconds", "refused").await == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_its_redis_refuses_says_so_with_its_name() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "legacy", "on", ">secret", "resetchannels", "+ping", "+subscribe"]);
    let own = format!("name = \"legacy\"\nredis = \"redis://legacy:secret@127.0.0.1:{}\"", redis.port);
    let node = node(&redis, &WITH_ID.replace("name = \"legacy\"", &own)).await;
    let line = node.process.said(r#""bridge":"legacy""#);
    assert!(line.contains("no connection to Redis") && line.contains("grant &channel:inventory:change"), "{line}");
    assert_eq!(metric(&node, "tidings_flow_running").await, 1.0);
    assert_eq!(metric(&node, "tidings_bridge_connected").await, 0.0);
    redis.cli(&["acl", "setuser", "legacy", "allchannels"]);
    until("it is connected", async || (metric(&node, "tidings_bridge_connected").await == 1.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_does_not_keep_a_bridge_from_listening() {
    let (broker, source) = (Redis::start(), Redis::start());
    let own = format!("name = \"legacy\"\nredis = \"redis://127.0.0.1:{}\"", source.port);
    let node = node(&broker, &WITH_ID.replace("name = \"legacy\"", &own)).await;
    listening(&source, "channel:inventory:change", 1).await;
    broker.pause();
    let mut publisher = Publisher::to(&source);
    for number in 0..300 {
        publisher.publish("channel:inventory:change", format!("{number} is no event").as_bytes());
    }
    until("all are counted", async || (metric(&node, "tidings_bridge_refused_total").await == 300.0).then_some(()))
        .await;
    broker.go_on();
    let dead = async || (node.run(&["bridge", "dead", "legacy", "--json"]).out.lines().count() >= 20).then_some(());
    until("some are kept when the broker is back", dead).await;
}
