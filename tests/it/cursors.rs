//! Cursors of hundreds of channels: they stay short, and every node reads them.

use std::collections::HashMap;

use serde_json::{Value, json};
use tidings::config::Config;
use tidings::event::Catalog;

use crate::stream::Stream;
use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::order;
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::until;

over_each_broker!(
    cursors_of_hundreds_of_channels_stay_under_a_kibibyte_and_lose_nothing,
    a_cursor_whose_base_is_lost_begins_with_a_gap_on_every_channel,
);

/// The longest cursor, in bytes.
const LONGEST: usize = 1024;

/// The name of one of many types.
fn name(number: usize) -> String {
    format!("shop.department-{}.product-{number}.changed", number % 12)
}

/// A node with types of these numbers.
async fn node(broker: &TestBroker, types: impl Iterator<Item = usize>) -> Node {
    node_with(broker.config(), types).await
}

async fn node_with(config: Config, types: impl Iterator<Item = usize>) -> Node {
    let mut catalog = Catalog::builtin();
    for number in types {
        catalog.add(&name(number), r#"{"type":"object","properties":{"n":{"type":"integer"}}}"#).unwrap();
    }
    Node::start_with(config, catalog).await
}

/// Publishes the next number on each of these channels.
async fn publish(node: &Node, last: &mut HashMap<String, u64>, channels: impl Iterator<Item = usize>) {
    let mut next = |number: usize| {
        let count = last.entry(name(number)).or_default();
        *count += 1;
        json!({"type": name(number), "data": {"n": *count}})
    };
    let events: Vec<Value> = channels.map(&mut next).collect();
    for batch in events.chunks(1_000) {
        node.publish(&json!(batch)).await;
    }
}

/// What a client has received: the last number of each channel.
#[derive(Default)]
struct Received(HashMap<String, u64>);

impl Received {
    /// Takes an event, which must be the next of its channel.
    fn take(&mut self, event: &Value) {
        let last = self.0.entry(event["type"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(event["data"]["n"], *last + 1, "{event}");
        *last += 1;
    }

    /// Reads a stream until everything published is there.
    async fn follow(&mut self, stream: &mut Stream, published: &HashMap<String, u64>) -> String {
        while self.0 != *published {
            let event = stream.event().await;
            assert_ne!(event.kind, "gap", "{event:?}");
            self.take(&event.data);
            assert!(stream.last_id.len() <= LONGEST, "{} bytes", stream.last_id.len());
        }
        stream.last_id.clone()
    }
}

async fn cursors_of_hundreds_of_channels_stay_under_a_kibibyte_and_lose_nothing(broker: TestBroker) {
    const TYPES: usize = 300;
    let one = node(&broker, 0..TYPES).await;
    let (mut published, mut received) = (HashMap::new(), Received::default());
    let mut stream = Stream::open(&one, "since=start", "").await;
    publish(&one, &mut published, (0..TYPES).chain(0..50)).await;
    let id = received.follow(&mut stream, &published).await;
    drop(stream);

    // The same node, for all channels and for many of them.
    publish(&one, &mut published, 20..200).await;
    let id = received.follow(&mut Stream::open(&one, "", &id).await, &published).await;
    let many: String = (0..100).map(|number| format!("channel={}&", name(number))).collect();
    let mut of_many = Stream::open(&one, &format!("{many}since={id}"), "").await;
    publish(&one, &mut published, 0..100).await;
    let mut numbers = Received(received.0.clone());
    for _ in 0..100 {
        numbers.take(&of_many.event().await.data);
        assert!(of_many.last_id.len() <= LONGEST);
    }

    // By long-poll.
    let mut cursor = id.clone();
    while received.0 != published {
        let page = one.get(&format!("/v1/events?limit=64&since={cursor}")).await.json();
        assert_eq!(page["gap"], false, "{page}");
        page["events"].as_array().unwrap().iter().for_each(|entry| received.take(&entry["event"]));
        page["cursor"].as_str().unwrap().clone_into(&mut cursor);
        assert!(cursor.len() <= LONGEST, "{cursor}");
    }

    // Another node, with a type less and one more.
    if matches!(broker, TestBroker::Memory | TestBroker::File(_)) {
        return;
    }
    let other = node(&broker, (1..TYPES).chain([TYPES])).await;
    published.remove(&name(0));
    received.0.remove(&name(0));
    publish(&other, &mut published, (1..TYPES).rev().chain([TYPES])).await;
    let id = received.follow(&mut Stream::open(&other, "", &cursor).await, &published).await;
    publish(&one, &mut published, 1..100).await;
    received.follow(&mut Stream::open(&other, "", &id).await, &published).await;
}

async fn a_cursor_whose_base_is_lost_begins_with_a_gap_on_every_channel(broker: TestBroker) {
    const TYPES: usize = 40;
    let node = node(&broker, 0..TYPES).await;
    node.publish(&order("1")).await;
    // Version, slot and id of a base that was never made.
    let mut stream = Stream::open(&node, "", "c.ABEiM0RVZneIgA").await;
    let mut lost = Vec::new();
    while lost.len() < TYPES + 5 {
        let gap = stream.event().await;
        assert_eq!((gap.kind.as_str(), &gap.data["from"]), ("gap", &json!("lost:0")));
        lost.push(gap.data["channel"].as_str().unwrap().to_owned());
    }
    lost.dedup();
    assert_eq!(lost.len(), TYPES + 5);
    assert_eq!(stream.event().await.data["subject"], "1");
    node.get("/v1/stream?since=c.AAAA").await.problem(422, "invalid-position");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_the_broker_lost_is_put_there_again() {
    const TYPES: usize = 40;
    let redis = Redis::start();
    let config = || node::config(redis_url(redis.port));
    let one = node_with(config(), 0..TYPES).await;
    let cursor = async || one.get("/v1/events?since=now").await.json()["cursor"].as_str().unwrap().to_owned();
    assert!(cursor().await.starts_with("c."), "it is packed");
    redis.cli(&["del", "tidings:default:store:values"]);
    // The other node has never seen the base.
    let other = node_with(config(), 0..TYPES).await;
    until("the other node reads a cursor of the first", async || {
        let page = other.get(&format!("/v1/events?since={}", cursor().await)).await.json();
        (page["gap"] == false).then_some(())
    })
    .await;
}
