//! Redis Cluster: slots and their moves, masters that fail on their own, and the readiness of a node.

use std::time::Duration;

use serde_json::json;
use tidings::broker::BrokerError;
use tidings::config::BrokerConfig;
use tidings::event::{Moment, Position};
use tidings::protocol;

use crate::support::broker::{Next, Node, config, offsets, url};
use crate::support::cluster::Cluster;
use crate::support::each_broker::TestBroker;
use crate::support::events::{order, sale, with};
use crate::support::redis::documented_user;
use crate::support::{node, until};

/// Channels whose slots are on the masters 0, 1 and 2.
const ORDERS: &str = "order-status";
const STOCK: &str = "inventory-change";
const DATA: &str = "data-update";

fn broker(cluster: &Cluster) -> BrokerConfig {
    config(cluster.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_a_channel_are_in_one_slot() {
    let cluster = Cluster::masters();
    let mut node = Node::ready(&broker(&cluster)).await;
    let watcher = cluster.nodes[0].listen("ssubscribe", "tidings:default:{order-status}");
    let position = node.add(ORDERS, "a").await;
    let frame = protocol::event_frame(&position, &node.event(ORDERS, "a").json);
    assert_eq!(watcher.exact_message(), ("tidings:default:{order-status}".into(), frame));
    assert_eq!(node.hint().await, (node.channel(ORDERS), Some(position)));
    let mut keys = cluster.keys(ORDERS, 0);
    keys.retain(|key| !key.contains(":probe:"));
    keys.sort();
    assert_eq!(keys, ["ids", "log", "meta"].map(|key| format!("tidings:default:{{order-status}}:{key}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reachable_node_is_enough_to_start() {
    let cluster = Cluster::masters();
    let text = format!("redis-cluster://127.0.0.1:1,127.0.0.1:{}", cluster.nodes[2].port);
    let mut node = Node::ready(&config(url(&text))).await;
    node.hears(ORDERS).await;
    let nobody = Node::open(&config(url("redis-cluster://127.0.0.1:1,127.0.0.1:2")));
    let reason = nobody.try_append(ORDERS, "a").await.unwrap_err().to_string();
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_continues_while_its_slot_moves() {
    let cluster = Cluster::masters();
    let mut node = Node::ready(&broker(&cluster)).await;
    let other = Node::ready(&broker(&cluster)).await;
    let mut last = node.add(ORDERS, "a").await;
    let start = Position { offset: 0, ..last.clone() };
    cluster.begin_move(ORDERS, [0, 1]);
    // No key has moved yet. A key that does not exist would count as moved.
    for id in ["b", "c"] {
        assert_eq!(node.add(ORDERS, id).await, last.next());
        last = last.next();
    }
    let keys = cluster.keys(ORDERS, 0);
    let (log, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.ends_with(":log"));
    cluster.move_keys(&log, [0, 1]);
    // The keys are on two nodes: calls fail, and no loss is detected.
    let error = node.try_append(ORDERS, "d").await.unwrap_err();
    assert!(matches!(&error, BrokerError::Unavailable(cause) if cause.starts_with("TRYAGAIN")), "{error:?}");
    assert!(other.broker.read(other.channel(ORDERS), Some(&last), 10).await.is_err());
    cluster.move_keys(&others, [0, 1]);
    let waiting = tokio::spawn({
        let (broker, event) = (node.broker.clone(), node.event(ORDERS, "d"));
        async move { broker.append(&[event]).await }
    });
    cluster.end_move(ORDERS, [0, 1]);
    let appended = waiting.await.unwrap().unwrap();
    assert_eq!((&appended[0].position, appended[0].duplicate), (&last.next(), false));
    // The remembered ids have moved as well.
    assert!(node.append(ORDERS, "b").await.duplicate);
    assert_eq!(offsets(&other.read(ORDERS, Some(&start), 10).await), [1, 2, 3, 4]);
    assert_eq!(node.hears(ORDERS).await.epoch, start.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_and_returns_is_noticed() {
    let cluster = Cluster::masters();
    let mut node = Node::ready(&broker(&cluster)).await;
    let other = Node::ready(&broker(&cluster)).await;
    let before = node.hears(ORDERS).await;
    for way in [[0, 1], [1, 0]] {
        cluster.move_slot(ORDERS, way, 10, Duration::ZERO).await;
    }
    // The master has ended the subscriptions, and has the slot again.
    let next = other.add(ORDERS, "a").await;
    assert!(next.same_epoch(&before));
    node.missed().await;
    node.hears(ORDERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_failed_at_one_master_can_be_sent_again() {
    let mut cluster = Cluster::durable();
    // The other masters keep serving while one is down.
    for node in &cluster.nodes {
        node.cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let node = Node::ready(&broker(&cluster)).await;
    let batch = [(STOCK, "a"), (ORDERS, "b"), (STOCK, "c"), (DATA, "d")].map(|(channel, id)| node.event(channel, id));
    cluster.nodes[0].kill();
    until("appends at the killed master fail", async || node.try_append(ORDERS, "x").await.err()).await;
    assert!(node.broker.append(&batch).await.is_err());
    cluster.nodes[0].run();
    let appended = until("the batch is appended", async || node.broker.append(&batch).await.ok()).await;
    // The part of a channel that was already in the log is a prefix.
    let stock = [&appended[0], &appended[2]];
    assert!(stock[0].duplicate || !stock[1].duplicate);
    let offsets: Vec<_> = appended.iter().map(|appended| appended.position.offset).collect();
    assert_eq!((offsets[0], offsets[2], offsets[3]), (1, 2, 1));
    let again = node.broker.append(&batch).await.unwrap();
    for (first, again) in appended.iter().zip(&again) {
        assert_eq!((&first.position, again.duplicate), (&again.position, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_expire_after_the_deduplication_window() {
    let cluster = Cluster::masters();
    let mut config = broker(&cluster);
    config.dedup_window = Duration::from_millis(200);
    let node = Node::ready(&config).await;
    let batch = |name: &str, count| (0..count).map(|i| node.event(ORDERS, &format!("{name}{i}"))).collect::<Vec<_>>();
    let remembered = || cluster.nodes[0].cli(&["hlen", "tidings:default:{order-status}:ids"]).parse::<u64>().unwrap();
    let mut appended = 0;
    until("most ids have expired", async || {
        node.broker.append(&batch(&format!("{appended}:"), 64)).await.unwrap();
        appended += 64;
        (appended > 1000 && remembered() * 3 < appended).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let cluster = Cluster::masters();
    for node in &cluster.nodes {
        documented_user(node, "+cluster|slots");
    }
    let url = url(&cluster.text().replace("://", "://tidings:s3cret@"));
    let mut node = Node::ready(&config(url)).await;
    for channel in [ORDERS, STOCK, DATA] {
        let batch: Vec<_> = (0..300).map(|i| node.event(channel, &i.to_string())).collect();
        let appended = node.broker.append(&batch).await.unwrap();
        assert!(node.append(channel, "1").await.duplicate);
        assert_eq!(node.read(channel, Some(&appended[0].position), 10).await.entries.len(), 10);
        node.broker.position_at(node.channel(channel), Moment::At(0)).await.unwrap();
        node.hears(channel).await;
    }
    node.registered("somebody").await.unwrap();
    let store = node.broker.store();
    store.put("key", b"value").await.unwrap();
    assert!(store.compare_and_set("key", Some(b"value"), None).await.unwrap());
    assert_eq!(store.get("key").await.unwrap(), None);
    assert!(store.lease("name", "holder", Duration::from_secs(60)).await.unwrap().is_some());
    store.release("name", "holder").await.unwrap();
    for node in &cluster.nodes {
        let log = node.cli(&["acl", "log"]);
        let lines: Vec<_> = log.lines().collect();
        let denied = lines.windows(2).filter(|pair| pair[0] == "object").map(|pair| pair[1]);
        // fred sends these to every server, and works without them.
        assert_eq!(denied.filter(|command| !["info", "client|id"].contains(command)).collect::<Vec<_>>(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_a_master_that_does_not_answer() {
    let cluster = Cluster::masters();
    let node = node::Node::start(node::config(cluster.url())).await;
    cluster.nodes[1].pause();
    let port = format!("127.0.0.1:{}", cluster.nodes[1].port);
    until("readiness names the master", async || {
        let ready = node.get("/readyz").await;
        (ready.status == 503 && ready.text.contains(&port)).then_some(())
    })
    .await;
    cluster.nodes[1].go_on();
    until("the node is ready", async || (node.get("/readyz").await.status == 200).then_some(())).await;
    node.publish(&sale("1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_a_batch_over_all_channels_are_in_its_order() {
    let node = TestBroker::cluster().node().await;
    let event = |n: usize| {
        let update = json!({"type": DATA, "data": {"resource": "r", "id": "1", "action": "update"}});
        with([order("1"), sale("1"), update][n % 3].clone(), "id", n.to_string())
    };
    let events: Vec<_> = (0..300).map(event).collect();
    let accepted = node.publish(&json!(events)).await;
    for (n, accepted) in accepted.iter().enumerate() {
        assert_eq!(accepted.id, n.to_string());
        assert!(accepted.position.ends_with(&format!(":{}", n / 3 + 1)), "{n}: {}", accepted.position);
    }
}
