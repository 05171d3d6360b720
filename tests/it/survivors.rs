//! A log that lost its newest event, on every broker that can lose it. The surviving events keep their offsets in a new epoch,
//! every client gets one gap, and no client gets an event twice.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::config::Config;

use crate::support::broker::{file_url, redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::events::{epoch_and_offset, offset, order, with};
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const CHANNEL: &str = "order-status";

/// The number of events that survive. One more event is published and lost.
const KEPT: u64 = 99;

/// A broker that can lose what was appended after [`keep`](Self::keep).
enum Broker {
    Redis(Redis),
    Cluster(Cluster),
    Sentinel(Box<Sentinels>),
    File(TempDir),
}

impl Broker {
    fn config(&self) -> Config {
        node::config(match self {
            Self::Redis(redis) => redis_url(redis.port),
            Self::Cluster(cluster) => cluster.url(),
            Self::Sentinel(set) => url(&set.url()),
            Self::File(folder) => file_url(folder.path()),
        })
    }

    /// Fixes the present content of the log as what will survive.
    async fn keep(&self) {
        match self {
            Self::Redis(redis) => drop(redis.cli(&["save"])),
            Self::Cluster(cluster) => drop(cluster.nodes[0].cli(&["save"])),
            Self::Sentinel(set) => {
                let log = ["xlen", "tidings:default:order-status:log"];
                let has_all = || set.servers[1].cli(&log) == KEPT.to_string();
                until("the replica has all events", async || has_all().then_some(())).await;
                set.cut_replication();
            }
            Self::File(folder) => {
                for file in ["log.sqlite", "log.sqlite-wal"] {
                    fs::copy(folder.path().join("log").join(file), folder.path().join(file)).unwrap();
                }
            }
        }
    }

    /// Loses everything appended since [`keep`](Self::keep). A file log belongs to its node, which is stopped first.
    async fn lose(&mut self, node: &mut Option<Node>) {
        match self {
            Self::Redis(redis) => {
                redis.kill();
                redis.run();
            }
            Self::Cluster(cluster) => {
                cluster.nodes[0].kill();
                cluster.nodes[0].run();
                cluster.wait_until_up();
            }
            Self::Sentinel(set) => {
                let switched = set.switched();
                set.servers[0].kill();
                switched.await;
            }
            Self::File(folder) => {
                let mut stopped = node.take().unwrap();
                stopped.begin_stop();
                stopped.stopped().await.unwrap();
                // The durability marker beside them stays, and tells the node that there was more.
                for file in ["log.sqlite", "log.sqlite-wal"] {
                    fs::rename(folder.path().join(file), folder.path().join("log").join(file)).unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_in_redis() {
    assert_survivors_are_kept(Broker::Redis(Redis::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_in_a_cluster() {
    assert_survivors_are_kept(Broker::Cluster(Cluster::masters())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_a_sentinel_failover() {
    assert_survivors_are_kept(Broker::Sentinel(Box::new(Sentinels::start().await))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_in_files() {
    assert_survivors_are_kept(Broker::File(tempfile::tempdir().unwrap())).await;
}

/// Publishes [`KEPT`] events and one more, loses the last one, and checks what every kind of client gets.
async fn assert_survivors_are_kept(mut broker: Broker) {
    let config = broker.config();
    let mut node = Some(Node::start(config.clone()).await);
    let before = node.as_ref().unwrap();
    let mut connected = Subscriber::to(before, CHANNEL).await;
    let events: Vec<Value> = (1..=KEPT).map(event_with_id).collect();
    let first = before.publish(&json!(events)).await.remove(0).position;
    broker.keep().await;
    before.publish(&event_with_id(KEPT + 1)).await;
    connected.events(KEPT as usize + 1).await;
    broker.lose(&mut node).await;
    let node_kept_running = node.is_some();
    let node = match node {
        Some(node) => node,
        None => Node::start(config).await,
    };

    let next = until("events are accepted again", async || {
        let response = node.post(&event_with_id(KEPT + 2)).await;
        (response.status == 202).then(|| response.accepted().remove(0).position)
    });
    let next = next.await;
    let ((lost, _), (epoch, head)) = (epoch_and_offset(&first), epoch_and_offset(&next));
    assert!(epoch != lost && head == KEPT + 1, "{next} after {first}");
    if node_kept_running {
        expect_gap_and_events(&mut connected, &format!("{lost}:{head}"), &format!("{epoch}:{KEPT}"), head).await;
    }
    // Deduplication knows the surviving ids, and no longer the lost one.
    let again = node.publish(&json!([event_with_id(57), event_with_id(KEPT + 1)])).await;
    assert_eq!((again[0].position.clone(), again[0].duplicate), (format!("{epoch}:57"), true));
    assert_eq!((again[1].position.clone(), again[1].duplicate), (format!("{epoch}:{}", head + 1), false));
    let head = head + 1;

    for (seen, from) in [(50, 50), (KEPT, KEPT), (KEPT + 1, KEPT)] {
        let (since, position) = (format!("{lost}:{seen}"), format!("{epoch}:{from}"));
        let mut resuming = Subscriber::connect(&node).await;
        resuming.say(json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": since})).await;
        let subscribed = resuming.frame_of("subscribed").await;
        assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(position), &json!(false)));
        expect_gap_and_events(&mut resuming, &since, &position, head).await;

        let mut cursor = format!("{CHANNEL}={since}");
        let page = history(&node, &cursor).await;
        let gap = json!([{"channel": CHANNEL, "from": since, "position": position}]);
        assert_eq!((&page["gap"], ids(&page)), (&gap, final_ids(from + 1, head)));
        // The next page does not repeat the gap.
        cursor = page["cursor"].as_str().unwrap().into();
        assert_eq!(history(&node, &cursor).await["gap"], json!(false));
    }
    // The lost event may be newer than that.
    let from_first = |from: &str| json!([{"channel": CHANNEL, "from": from, "position": format!("{epoch}:0")}]);
    let first = format!("{lost}:0");
    for (since, gap) in [
        ("start", json!(false)),
        ("10m", from_first(&first)),
        (&first, from_first(&first)),
        ("other:50", from_first("other:50")),
    ] {
        let page = history(&node, since).await;
        assert_eq!((&page["gap"], ids(&page)), (&gap, final_ids(1, head)), "since {since}");
    }
    let after_the_loss = history(&node, "0s").await;
    assert_eq!((&after_the_loss["gap"], ids(&after_the_loss)), (&json!(false), vec![]));
    assert_eq!(node.channel(CHANNEL).await["retained"], head);
}

/// An event whose id is the offset that it gets in the first epoch.
fn event_with_id(number: u64) -> Value {
    with(order("o-1"), "id", number.to_string())
}

/// The ids of the events at these offsets at the end of the test; the lost event was published again after another one.
fn final_ids(first: u64, last: u64) -> Vec<String> {
    let name = |offset| match offset {
        100 => "101".into(),
        101 => "100".into(),
        kept => u64::to_string(&kept),
    };
    (first..=last).map(name).collect()
}

/// Asserts that the next frames are this gap and then the events up to offset `last`.
async fn expect_gap_and_events(subscriber: &mut Subscriber, from: &str, position: &str, last: u64) {
    let gap = json!({"type": "gap", "channel": CHANNEL, "from": from, "position": position});
    assert_eq!(subscriber.frame().await, gap);
    for (number, id) in (offset(position) + 1..).zip(final_ids(offset(position) + 1, last)) {
        let event = subscriber.event().await;
        assert_eq!(
            (event.position, &event.event["id"]),
            (format!("{}:{number}", epoch_and_offset(position).0), &json!(id))
        );
    }
}

/// A page of the channel's history.
async fn history(node: &Node, since: &str) -> Value {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("since", since).finish();
    node.get(&format!("/v1/events?channel={CHANNEL}&limit=1000&{query}")).await.json()
}

/// The ids of a page's events.
fn ids(page: &Value) -> Vec<String> {
    page["events"].as_array().unwrap().iter().map(|one| one["event"]["id"].as_str().unwrap().to_owned()).collect()
}
