//! `sync`: after `synced`, everything that was answered with 202 before the `sync` was sent has arrived.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::client::{Client, Subscription, SyncId, Update};
use tidings::event::Position;

use crate::support::broker::redis_url;
use crate::support::cluster::Cluster;
use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, order, sale};
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::raw::{RawConnection, TEXT, text};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker_and_tls!(
    synced_has_each_channel_of_the_connection,
    synced_follows_every_event_that_was_answered_before,
    synced_follows_a_replay,
    a_sync_waits_for_a_reader_that_is_slow,
);

const CHANNEL: &str = "inventory-change";

/// Sends a `sync`.
async fn send_sync(subscriber: &mut Subscriber, id: &str) {
    subscriber.say(json!({"type": "sync", "id": id})).await;
}

/// Whether a frame says that the log did not answer in time. Then a client tries again, also on a machine with much else to do.
fn is_unavailable(frame: &Value) -> bool {
    frame["type"] == "error" && frame["code"] == "broker-unavailable"
}

/// Sends a `sync`, and reads up to its answer. Returns the ids of the events before it, and the answer.
async fn sync(subscriber: &mut Subscriber, id: &str) -> (Vec<String>, Value) {
    send_sync(subscriber, id).await;
    answer(subscriber, id).await
}

/// The same for a `sync` that was sent.
async fn answer(subscriber: &mut Subscriber, id: &str) -> (Vec<String>, Value) {
    let mut events = Vec::new();
    loop {
        let frame = subscriber.frame().await;
        match frame["type"].as_str() {
            Some("event") => events.push(frame["event"]["id"].as_str().unwrap().to_owned()),
            Some("error") if is_unavailable(&frame) => send_sync(subscriber, id).await,
            Some("synced") => {
                assert_eq!(frame["id"], id);
                return (events, frame);
            }
            _ => panic!("{frame}"),
        }
    }
}

async fn synced_has_each_channel_of_the_connection(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    let (_, synced) = sync(&mut subscriber, "none").await;
    assert_eq!(synced, json!({"type": "synced", "id": "none", "positions": {}}));
    subscriber.subscribe("a", CHANNEL).await;
    subscriber.subscribe_where("b", CHANNEL, json!({"productId": "never"})).await;
    let orders = subscriber.subscribe_where("c", "order-status", json!({"orderId": "never"})).await;
    let sold = node.publish(&json!([sale("1"), sale("2")])).await.remove(1).position;
    let ordered = node.publish(&order("1")).await.remove(0).position;
    let (events, synced) = sync(&mut subscriber, &"é".repeat(64)).await;
    assert_eq!(events.len(), 2);
    assert_eq!(synced["positions"], json!({CHANNEL: sold, "order-status": ordered}), "also what filters kept back");
    assert_ne!(orders["position"], json!(ordered));
    for sub in ["a", "b"] {
        subscriber.say(json!({"type": "unsubscribe", "sub": sub})).await;
        subscriber.frame_of("unsubscribed").await;
    }
    assert_eq!(sync(&mut subscriber, "1").await.1["positions"], json!({"order-status": ordered}));
    // The subscriptions of the URL, and a sync that comes with the greeting.
    let mut subscriber = Subscriber::connect_to(&node, &format!("/v1/ws?channel={CHANNEL}")).await;
    send_sync(&mut subscriber, "first").await;
    subscriber.frame_of("subscribed").await;
    assert_eq!(answer(&mut subscriber, "first").await.1["positions"], json!({CHANNEL: sold}));
}

/// Publishes until it is told to stop. Notes each event that was answered.
async fn publish_steadily(node: &Node, answered: &std::sync::Mutex<Vec<String>>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let accepted = node.publish(&json!([sale("1"), sale("2"), sale("3")])).await;
        answered.lock().unwrap().extend(accepted.into_iter().map(|event| event.id));
    }
}

async fn synced_follows_every_event_that_was_answered_before(broker: TestBroker) {
    let node = broker.node().await;
    // Memory and files have one node.
    let shared = !matches!(broker, TestBroker::Memory | TestBroker::MemoryOverTls | TestBroker::File(_));
    let other = if shared { Some(broker.node().await) } else { None };
    let (answered, stop) = (std::sync::Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    let checked = async {
        let mut received = HashSet::new();
        for round in 0..40 {
            let before = answered.lock().unwrap().clone();
            received.extend(sync(&mut subscriber, &round.to_string()).await.0);
            let missing: Vec<_> = before.iter().filter(|id| !received.contains(*id)).collect();
            assert!(missing.is_empty(), "round {round}: {} of {} are missing", missing.len(), before.len());
        }
        stop.store(true, Ordering::SeqCst);
    };
    let publishers = [&node, other.as_ref().unwrap_or(&node)].map(|node| publish_steadily(node, &answered, &stop));
    tokio::join!(checked, futures_util::future::join_all(publishers));
    assert!(!answered.lock().unwrap().is_empty());
}

async fn synced_follows_a_replay(broker: TestBroker) {
    let node = broker.node().await;
    let mut last = String::new();
    for _ in 0..4 {
        last = node.publish(&json!(vec![sale("1"); 500])).await.pop().unwrap().position;
    }
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": "start"})).await;
    send_sync(&mut subscriber, "7").await;
    subscriber.frame_of("subscribed").await;
    let (events, synced) = answer(&mut subscriber, "7").await;
    assert_eq!((events.len(), &synced["positions"]), (2000, &json!({CHANNEL: last})));
}

async fn a_sync_waits_for_a_reader_that_is_slow(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.outbox_bytes = 64 << 10).await;
    let padded = crate::support::events::with(sale("1"), "padding", "x".repeat(1000));
    for _ in 0..20 {
        node.publish(&json!(vec![padded.clone(); 200])).await;
    }
    let mut slow = RawConnection::open(&node).await;
    let subscribe = json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": "start"}).to_string();
    slow.send(&text(&subscribe)).await;
    slow.send(&text(r#"{"type":"sync","id":"slow"}"#)).await;
    // It holds up nobody else.
    let mut other = Subscriber::to(&node, CHANNEL).await;
    sync(&mut other, "other").await;
    let mut events = 0;
    loop {
        let frame = slow.frame().await;
        if frame.opcode != TEXT {
            continue;
        }
        let frame = frame.json();
        match frame["type"].as_str() {
            Some("event") => events += 1,
            Some("synced") => break,
            Some("error") if is_unavailable(&frame) => slow.send(&text(r#"{"type":"sync","id":"slow"}"#)).await,
            _ => {}
        }
    }
    assert_eq!(events, 4000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_is_told_that_it_has_everything_or_why_not() {
    let (redis, proxy, node, _subscriber) = behind_a_proxy().await;
    let other = Node::start(node::config(redis_url(redis.port))).await;
    let client = Client::new(&node.url("")).unwrap();
    let mut subscriber = client.subscribe([Subscription::to(CHANNEL)]);
    // Before the connection is open.
    let first = subscriber.sync().unwrap();
    let (events, positions) = synced(&mut subscriber, first).await.unwrap();
    assert_eq!((events, positions.len()), (0, 1));
    let published = other.publish(&json!([sale("1"), sale("2")])).await.remove(1).position;
    let second = subscriber.sync().unwrap();
    let (events, positions) = synced(&mut subscriber, second).await.unwrap();
    assert_eq!((events, positions[CHANNEL].to_string()), (2, published));
    proxy.set(Mode::Silent);
    let ids: Vec<_> = (0..8).map(|_| subscriber.sync().unwrap()).collect();
    assert_eq!(subscriber.sync(), None, "eight have no answer");
    // Their answers come in any order.
    let mut unanswered: HashSet<_> = ids.into_iter().collect();
    while !unanswered.is_empty() {
        match within("an update", subscriber.next()).await.unwrap() {
            Update::NotSynced { sync, .. } => assert!(unanswered.remove(&sync)),
            other => panic!("{other:?}"),
        }
    }
    proxy.set(Mode::Pass);
    until("a sync is answered again", async || {
        let id = subscriber.sync()?;
        synced(&mut subscriber, id).await.ok()
    })
    .await;
    // The end of the connection answers what was sent on it.
    proxy.set(Mode::Silent);
    let lost = subscriber.sync().unwrap();
    drop(node);
    assert!(synced(&mut subscriber, lost).await.is_err());
}

/// The answer to a sync of the client, with the number of events before it.
async fn synced(
    subscriber: &mut tidings::client::Subscriber,
    id: SyncId,
) -> Result<(usize, BTreeMap<Arc<str>, Position>), String> {
    let mut events = 0;
    loop {
        match within("an update", subscriber.next()).await.unwrap() {
            Update::Event(_) => events += 1,
            Update::Synced { sync, positions } if sync == id => return Ok((events, positions)),
            Update::NotSynced { sync, reason } if sync == id => return Err(reason),
            _ => {}
        }
    }
}

/// Sends syncs until one is answered with `synced`: a node that was cut off connects to its broker again first.
async fn synced_again(subscriber: &mut Subscriber) -> Value {
    until("a sync is answered again", async || {
        send_sync(subscriber, "again").await;
        loop {
            let frame = subscriber.frame().await;
            match frame["type"].as_str() {
                Some("synced") => return Some(frame),
                Some("error") => return None,
                _ => {}
            }
        }
    })
    .await
}

/// A node behind a proxy, and a connection of it.
async fn behind_a_proxy() -> (Redis, Proxy, Node, Subscriber) {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let node = Node::start(node::config(redis_url(proxy.port))).await;
    let subscriber = Subscriber::to(&node, CHANNEL).await;
    (redis, proxy, node, subscriber)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_from_its_broker_proves_nothing() {
    let (redis, proxy, _node, mut subscriber) = behind_a_proxy().await;
    let other = Node::start(node::config(redis_url(redis.port))).await;
    for mode in [Mode::Silent, Mode::DeafClient, Mode::DeafServer, Mode::Refuse] {
        proxy.set(mode);
        let missed = other.publish(&sale("1")).await.remove(0);
        send_sync(&mut subscriber, "7").await;
        let error = loop {
            let frame = subscriber.frame().await;
            // A deaf server still sends what others publish.
            if frame["type"] != "event" {
                break frame;
            }
        };
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!("broker-unavailable")),
            "{mode:?}: {error}"
        );
        assert_eq!((&error["id"], error.get("sub")), (&json!("7"), None), "{error}");
        proxy.set(Mode::Pass);
        let synced = synced_again(&mut subscriber).await;
        assert_eq!(synced["positions"], json!({CHANNEL: missed.position}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_syncs_may_wait_and_each_needs_an_id_of_its_own() {
    let (_redis, proxy, _node, mut subscriber) = behind_a_proxy().await;
    proxy.set(Mode::Silent);
    for id in 0..8 {
        send_sync(&mut subscriber, &id.to_string()).await;
    }
    for (id, code) in [("8", "rate-limited"), ("3", "invalid-frame")] {
        send_sync(&mut subscriber, id).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &json!(id)), "{error}");
    }
    let mut unavailable = HashSet::new();
    for _ in 0..8 {
        let error = subscriber.frame_of("error").await;
        assert_eq!(error["code"], "broker-unavailable");
        unavailable.insert(error["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(unavailable, (0..8).map(|id| id.to_string()).collect());
    proxy.set(Mode::Pass);
    synced_again(&mut subscriber).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_syncs_that_wait_share_one_look() {
    let (_redis, proxy, node, _subscriber) = behind_a_proxy().await;
    proxy.set(Mode::Latency(Duration::from_millis(50)));
    let node = Arc::new(node);
    let before = node.metric("tidings_sync_looks_total").await;
    let answers = Arc::new(AtomicUsize::new(0));
    let connections = (0..40).map(|_| {
        let (node, answers) = (node.clone(), answers.clone());
        tokio::spawn(async move {
            let mut subscriber = Subscriber::to(&node, CHANNEL).await;
            for id in 0..8 {
                send_sync(&mut subscriber, &id.to_string()).await;
            }
            for _ in 0..8 {
                let frame = subscriber.frame().await;
                assert!(frame["type"] == "synced" || is_unavailable(&frame), "{frame}");
                answers.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        within("the answers", connection).await.unwrap();
    }
    let looks = node.metric("tidings_sync_looks_total").await - before;
    assert_eq!(answers.load(Ordering::SeqCst), 320);
    assert!((1.0..=100.0).contains(&looks), "{looks} looks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_reports_a_log_that_was_lost_unnoticed() {
    let redis = Redis::start();
    let mut config = node::config(redis_url(redis.port));
    // Nothing else looks at the log meanwhile.
    config.broker.pulse = Duration::from_secs(300);
    let node = Node::start(config).await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    let lost = node.publish(&sale("1")).await.remove(0).position;
    subscriber.event().await;
    redis.cli(&["flushall"]);
    send_sync(&mut subscriber, "7").await;
    let gap = subscriber.frame_of("gap").await;
    let synced = subscriber.frame_of("synced").await;
    assert_eq!(gap["from"], json!(lost));
    assert_eq!(synced["positions"], json!({CHANNEL: gap["position"]}));
    assert_ne!(epoch_and_offset(gap["position"].as_str().unwrap()).0, epoch_and_offset(&lost).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_master_of_a_cluster_does_not_hold_up_the_channels_of_others() {
    let cluster = Cluster::masters();
    for server in &cluster.nodes {
        server.cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let node = Node::start(node::config(cluster.url())).await;
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    let mut all = Subscriber::connect(&node).await;
    for name in crate::support::events::TYPES {
        all.subscribe(name, name).await;
    }
    cluster.nodes[1].pause();
    node.publish(&order("1")).await;
    assert_eq!(sync(&mut subscriber, "7").await.0.len(), 1);
    send_sync(&mut all, "7").await;
    all.event().await;
    assert_eq!(all.frame_of("error").await["code"], "broker-unavailable");
    cluster.nodes[1].go_on();
}
