//! Bridges whose Redis is behind sentinels or is a Cluster, while its servers change.

use serde_json::{Value, json};

use super::{CONNECTED, Publisher, WITH_ID, events, listening, metric_of, node, numbered};
use crate::file_log::load::post;
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::until;

const CHANNEL: &str = "channel:inventory:change";

/// Takes messages in from the Redis at this URL.
fn inward(redis: &str) -> String {
    format!("{WITH_ID}redis = \"{redis}\"\n")
}

/// Sends events to the Redis at this URL.
fn outward(redis: &str) -> String {
    format!(
        "[[bridge]]\nname = \"out\"\ndirection = \"out\"\nchannels = [\"elsewhere\"]\ntype = \"inventory-change\"\nredis = \"{redis}\"\n"
    )
}

/// Waits until so many messages have become events.
async fn become_events(node: &Daemon, count: usize) {
    let all = async || Some(events(node, "inventory-change").await).filter(|events| events.len() >= count);
    assert_eq!(until("the messages are events", all).await.len(), count);
}

async fn publish(node: &Daemon, product: &str) {
    let event = json!({"type": "inventory-change",
        "data": {"productId": product, "oldQuantity": 5, "newQuantity": 4, "reason": "sale"}});
    assert_eq!(post(&node.url, &event).await.unwrap().0, 202);
}

/// The product of a message that a bridge sent.
fn product(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap();
    message["productId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_follows_the_sentinels_to_a_new_master() {
    let (bus, mut set) = (Redis::start(), Sentinels::start().await);
    let node = node(&bus, &format!("{}{}", inward(&set.url()), outward(&set.url()))).await;
    listening(&set.servers[0], CHANNEL, 1).await;
    node.process.said(CONNECTED);
    node.process.said(CONNECTED);
    let legacy = set.servers[0].watch("elsewhere");
    Publisher::to(&set.servers[0]).publish(CHANNEL, numbered(0).as_bytes());
    become_events(&node, 1).await;
    assert_eq!(product(&legacy.message().1), "p1");
    set.servers[0].kill();
    until("Sentinel names the other server", async || (set.named(0) == 1).then_some(())).await;
    let legacy = set.servers[1].watch("elsewhere");
    listening(&set.servers[1], CHANNEL, 1).await;
    Publisher::to(&set.servers[1]).publish(CHANNEL, numbered(1).as_bytes());
    become_events(&node, 2).await;
    assert_eq!(product(&legacy.message().1), "p1");
    publish(&node, "p2").await;
    assert_eq!(product(&legacy.message().1), "p2");
}

/// A master that the sentinels lost from sight may go on for a while. Its publishers move to the new one, and so does the bridge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_leaves_a_master_that_the_sentinels_name_no_more() {
    let (bus, old, new) = (Redis::start(), Redis::start(), Redis::start());
    let sentinel = Redis::sentinel(old.port, 1);
    let url = format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port);
    let node = node(&bus, &inward(&url)).await;
    listening(&old, CHANNEL, 1).await;
    sentinel.cli(&["sentinel", "remove", "main"]);
    sentinel.cli(&["sentinel", "monitor", "main", "127.0.0.1", &new.port.to_string(), "1"]);
    listening(&new, CHANNEL, 1).await;
    listening(&old, CHANNEL, 0).await;
    Publisher::to(&new).publish(CHANNEL, numbered(1).as_bytes());
    become_events(&node, 1).await;
}

/// Each node of a Cluster passes a message on to all others, so readers at any node hear it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_out_to_a_cluster_and_a_dead_node_of_it_loses_none() {
    let (bus, mut cluster) = (Redis::start(), Cluster::masters());
    let node = node(&bus, &outward(&cluster.text())).await;
    node.process.said(CONNECTED);
    let legacy = cluster.nodes[2].watch("elsewhere");
    publish(&node, "p1").await;
    assert_eq!(product(&legacy.message().1), "p1");
    // The first node of the URL, which the bridge uses.
    cluster.nodes[1].kill();
    for number in 2..20 {
        publish(&node, &format!("p{number}")).await;
    }
    let mut heard = vec![product(&legacy.message().1)];
    while heard.last().is_none_or(|last| last != "p19") {
        heard.push(product(&legacy.message().1));
    }
    heard.dedup();
    assert_eq!(heard, (2..20).map(|number| format!("p{number}")).collect::<Vec<_>>());
    let sent = async || (metric_of(&node, "tidings_bridge_sent_total", "out").await == 19.0).then_some(());
    until("all are counted", sent).await;
}
