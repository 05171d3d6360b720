//! The suite of every backend: each test runs in memory, in files, and on Redis, Sentinel and Cluster, on a Redis
//! without RESP3, and over the REST interface of Upstash.
//!
//! A test takes a [`Backend`] of its own and is listed in `over_every_backend!`.

mod latest;

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::TempDir;
use tidings::broker::{Appended, BrokerError, MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_VALUE_BYTES, Signal};
use tidings::config::{BrokerConfig, BrokerUrl};
use tidings::event::{Epoch, Event, Position, TypeSettings};

use latest::{
    a_log_that_loses_events_loses_its_newest_events, a_subject_has_its_newest_event, a_subject_may_be_any_text,
    a_value_that_is_too_old_leaves_for_nobody, events_without_the_setting_end_all_values, large_values_end_a_page,
    old_values_do_not_count, the_longest_unchanged_subjects_leave_first, values_are_read_in_pages_while_they_change,
    values_outlive_their_events_in_the_log,
};

use crate::support::broker::{Next, Node, config, file_url, offsets, redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::each_broker::own_prefix;
use crate::support::redis::Redis;
use crate::support::until;
use crate::support::upstash::Upstash;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";
const MINUTE: Duration = Duration::from_secs(60);

/// The configuration of one test's backend, and the servers and folder that it uses.
struct Backend {
    config: BrokerConfig,
    _servers: Vec<Redis>,
    _upstash: Option<Upstash>,
    _folder: Option<TempDir>,
}

impl Backend {
    fn memory() -> Self {
        Self { config: config(BrokerUrl::Memory), _servers: Vec::new(), _upstash: None, _folder: None }
    }

    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { config: config(file_url(folder.path())), _servers: Vec::new(), _upstash: None, _folder: Some(folder) }
    }

    fn redis() -> Self {
        let redis = Redis::start();
        Self { config: config(redis_url(redis.port)), _servers: vec![redis], _upstash: None, _folder: None }
    }

    /// A server without HELLO, so it speaks RESP2 only.
    fn resp2() -> Self {
        let redis = Redis::with(&["--rename-command", "HELLO", ""]);
        Self { config: config(redis_url(redis.port)), _servers: vec![redis], _upstash: None, _folder: None }
    }

    fn cluster() -> Self {
        let mut config = config(Cluster::shared().url());
        config.prefix = own_prefix();
        Self { config, _servers: Vec::new(), _upstash: None, _folder: None }
    }

    fn sentinel() -> Self {
        let master = Redis::start();
        let sentinel = Redis::sentinel(master.port, 1);
        let url = url(&format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port));
        Self { config: config(url), _servers: vec![master, sentinel], _upstash: None, _folder: None }
    }

    fn upstash() -> Self {
        let upstash = Upstash::start();
        Self { config: config(upstash.url()), _servers: Vec::new(), _upstash: Some(upstash), _folder: None }
    }

    async fn node(&self) -> Node {
        Node::ready(&self.config).await
    }

    /// Two nodes on one broker; one node where a broker has only one.
    async fn nodes(&self) -> Vec<Node> {
        let mut nodes = vec![self.node().await];
        if let BrokerUrl::Redis(_) = self.config.broker {
            nodes.push(self.node().await);
        }
        nodes
    }
}

macro_rules! over_every_backend {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::memory()).await })*
        }
        mod file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::file()).await })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::redis()).await })*
        }
        mod resp2 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::resp2()).await })*
        }
        mod upstash {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::upstash()).await })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::cluster()).await })*
        }
        mod sentinel {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Backend::sentinel()).await })*
        }
    };
}

over_every_backend! {
    offsets_rise_by_one_in_each_channel
    signals_match_the_log
    an_id_is_appended_once
    an_id_is_new_after_the_deduplication_window
    the_log_is_read_in_pages
    the_log_keeps_the_newest_events
    each_type_has_its_own_retention
    the_log_expires_old_events
    concurrent_publishers_get_one_order
    ids_and_events_of_any_text_are_kept
    a_probe_comes_back
    a_closed_broker_refuses_calls
    values_are_set_read_and_deleted
    one_of_many_writers_wins_each_round
    a_lease_has_one_holder_at_a_time
    a_lease_ends_unless_it_is_renewed
    values_and_tokens_survive_what_the_log_survives
    the_store_refuses_keys_and_values_out_of_bounds
    a_subject_has_its_newest_event
    a_subject_may_be_any_text
    the_longest_unchanged_subjects_leave_first
    old_values_do_not_count
    a_value_that_is_too_old_leaves_for_nobody
    values_are_read_in_pages_while_they_change
    large_values_end_a_page
    a_log_that_loses_events_loses_its_newest_events
    values_outlive_their_events_in_the_log
    events_without_the_setting_end_all_values
}

async fn offsets_rise_by_one_in_each_channel(backend: Backend) {
    let node = backend.node().await;
    let empty = node.read(STOCK, None, 10).await;
    assert_eq!((empty.bounds.head, empty.bounds.oldest, empty.entries.len()), (0, 1, 0));
    let first = node.add(STOCK, "a").await;
    assert_eq!(first, Position::new(empty.bounds.epoch, 1));
    let batch = [(STOCK, "b"), (ORDERS, "a"), (STOCK, "c"), (ORDERS, "b")].map(|(channel, id)| node.event(channel, id));
    let appended = node.broker.append(&batch).await.unwrap();
    let found: Vec<u64> = appended.iter().map(|appended| appended.position.offset).collect();
    assert_eq!(found, [2, 1, 3, 2]);
    assert!(appended[0].position.same_epoch(&first) && appended[2].position.same_epoch(&first));
    assert_eq!(node.broker.append(&[]).await.unwrap(), []);
}

async fn signals_match_the_log(backend: Backend) {
    let mut node = backend.node().await;
    let events: Vec<_> =
        (0..1000).map(|i| node.event([STOCK, ORDERS, "data-update"][i % 3], &format!("event {i}"))).collect();
    let appended = node.broker.append(&events).await.unwrap();
    let mut signalled = Vec::new();
    for _ in 0..1000 {
        signalled.push(node.appended().await);
    }
    // Signals have an order within a channel, and none between channels.
    signalled.sort_by_key(|(channel, ..)| *channel);
    let signal =
        |(event, appended): (&Event, &Appended)| (event.channel, appended.position.clone(), event.json.to_string());
    let mut expected: Vec<_> = events.iter().zip(&appended).map(signal).collect();
    expected.sort_by_key(|(channel, ..)| *channel);
    assert_eq!(signalled, expected);
    for channel in [STOCK, ORDERS, "data-update"] {
        let start = Position::new(node.read(channel, None, 1).await.bounds.epoch, 0);
        let page = node.read(channel, Some(&start), 1000).await;
        let sent = events.iter().zip(&appended).filter(|(event, _)| event.channel == node.channel(channel));
        let sent: Vec<_> = sent.map(|(event, appended)| (appended.position.offset, event.json.clone())).collect();
        let kept: Vec<_> = page.entries.into_iter().map(|entry| (entry.offset, entry.json)).collect();
        assert_eq!(kept, sent);
    }
}

async fn an_id_is_appended_once(backend: Backend) {
    let mut node = backend.node().await;
    let first = node.add(STOCK, "same").await;
    let again = node.append(STOCK, "same").await;
    assert_eq!((again.position, again.duplicate), (first, true));
    // Ids of different channels are independent.
    node.add(ORDERS, "same").await;
    let batch = ["same", "x", "x", "y"].map(|id| node.event(STOCK, id));
    let appended = node.broker.append(&batch).await.unwrap();
    let found: Vec<_> = appended.iter().map(|appended| (appended.position.offset, appended.duplicate)).collect();
    assert_eq!(found, [(1, true), (2, false), (2, true), (3, false)]);
    let mut heard = Vec::new();
    for _ in 0..4 {
        let (channel, position, _) = node.appended().await;
        heard.push((channel, position.offset));
    }
    let (stock, orders) = (node.channel(STOCK), node.channel(ORDERS));
    assert_eq!(heard, [(stock, 1), (orders, 1), (stock, 2), (stock, 3)]);
    assert_eq!(node.read(STOCK, None, 1).await.bounds.head, 3);
}

async fn an_id_is_new_after_the_deduplication_window(mut backend: Backend) {
    backend.config.dedup_window = Duration::from_millis(200);
    let node = backend.node().await;
    let first = node.add(STOCK, "same").await;
    let again = until("the id is new again", async || {
        let appended = node.append(STOCK, "same").await;
        (!appended.duplicate).then_some(appended.position)
    })
    .await;
    assert_eq!(again, first.next());
}

async fn the_log_is_read_in_pages(backend: Backend) {
    let node = backend.node().await;
    for i in 1..=10 {
        node.add(STOCK, &i.to_string()).await;
    }
    let head = node.read(STOCK, None, 100).await;
    assert_eq!((head.bounds.head, head.bounds.oldest, head.entries.len()), (10, 1, 0));
    let at = |offset| Position::new(head.bounds.epoch.clone(), offset);
    assert_eq!(offsets(&node.read(STOCK, Some(&at(0)), 4).await), [1, 2, 3, 4]);
    assert_eq!(offsets(&node.read(STOCK, Some(&at(4)), 4).await), [5, 6, 7, 8]);
    assert_eq!(offsets(&node.read(STOCK, Some(&at(8)), 4).await), [9, 10]);
    assert_eq!(offsets(&node.read(STOCK, Some(&at(10)), 4).await), [0; 0]);
    assert_eq!(offsets(&node.read(STOCK, Some(&at(3)), 0).await), [0; 0]);
    // After a position of an unknown epoch, the page begins at the oldest event.
    let other = Position::new(Epoch::random(), 7);
    let page = node.read(STOCK, Some(&other), 3).await;
    assert_eq!((page.bounds.epoch.clone(), offsets(&page)), (head.bounds.epoch.clone(), vec![1, 2, 3]));
}

async fn the_log_keeps_the_newest_events(mut backend: Backend) {
    backend.config.log_max_events = 5;
    let node = backend.node().await;
    let batch: Vec<_> = (1..=300).map(|i| node.event(STOCK, &i.to_string())).collect();
    let last = node.broker.append(&batch).await.unwrap().pop().unwrap().position;
    let page = node.read(STOCK, Some(&Position::new(last.epoch.clone(), 17)), 100).await;
    assert_eq!((page.bounds.head, page.bounds.oldest), (300, 296));
    assert_eq!(offsets(&page), [296, 297, 298, 299, 300]);
}

async fn each_type_has_its_own_retention(mut backend: Backend) {
    backend.config.types =
        [("inventory-change".into(), TypeSettings { log_max_events: Some(5), ..TypeSettings::default() })].into();
    let node = backend.node().await;
    for channel in [STOCK, ORDERS] {
        let batch: Vec<_> = (1..=300).map(|i| node.event(channel, &i.to_string())).collect();
        node.broker.append(&batch).await.unwrap();
    }
    let mut oldest = Vec::new();
    for channel in [STOCK, ORDERS] {
        oldest.push(node.read(channel, None, 0).await.bounds.oldest);
    }
    assert_eq!(oldest, [296, 1]);
}

async fn the_log_expires_old_events(mut backend: Backend) {
    backend.config.log_max_age = Duration::from_millis(500);
    let node = backend.node().await;
    let mut last = node.add(STOCK, "first").await;
    for i in 0..20 {
        last = node.add(STOCK, &i.to_string()).await;
    }
    let start = Position::new(last.epoch.clone(), 0);
    let page = until("all events are expired", async || {
        let page = node.read(STOCK, Some(&start), 100).await;
        // The events that are left are the newest, and none is missing between them.
        assert_eq!(offsets(&page), (page.bounds.oldest..=21).collect::<Vec<_>>());
        (page.bounds.oldest == 22).then_some(page)
    })
    .await;
    assert_eq!((page.bounds.epoch, page.bounds.head), (last.epoch.clone(), 21));
    assert_eq!(node.add(STOCK, "next").await, last.next());
    assert_eq!(offsets(&node.read(STOCK, Some(&start), 100).await), [22]);
}

async fn concurrent_publishers_get_one_order(backend: Backend) {
    let mut node = backend.node().await;
    let publishers = (0..20).map(|publisher| {
        let events: Vec<_> = (0..20).map(|i| node.event(STOCK, &format!("{publisher}:{i}"))).collect();
        let broker = node.broker.clone();
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for event in events {
                offsets.push(broker.append(&[event]).await.unwrap()[0].position.offset);
            }
            assert!(offsets.is_sorted());
            offsets
        })
    });
    let mut all = BTreeSet::new();
    for publisher in publishers.collect::<Vec<_>>() {
        all.extend(publisher.await.unwrap());
    }
    assert_eq!(all, (1..=400).collect());
    for offset in 1..=400 {
        assert_eq!(node.appended().await.1.offset, offset);
    }
}

async fn ids_and_events_of_any_text_are_kept(backend: Backend) {
    let mut node = backend.node().await;
    for id in ["a:b", "{x}", "ü ñ 日本", "*", "'\"\\", &"x".repeat(256)] {
        let mut event = node.event(STOCK, id);
        event.json = serde_json::json!({ "id": id, "data": "\u{0}\r\n\u{1F600}".repeat(1000) }).to_string().into();
        let appended = node.broker.append(std::slice::from_ref(&event)).await.unwrap();
        let signal = (event.channel, appended[0].position.clone(), event.json.to_string());
        assert_eq!(node.appended().await, signal);
        let before = Position { offset: appended[0].position.offset - 1, ..appended[0].position.clone() };
        assert_eq!(node.read(STOCK, Some(&before), 1).await.entries[0].json, event.json);
        assert!(node.append(STOCK, id).await.duplicate);
    }
}

async fn a_probe_comes_back(backend: Backend) {
    let mut node = backend.node().await;
    for number in [0, 7, u64::MAX] {
        node.broker.probe(number).await.unwrap();
        assert_eq!(node.signal().await, Signal::Probe(number));
    }
}

async fn a_closed_broker_refuses_calls(backend: Backend) {
    let mut node = backend.node().await;
    node.add(STOCK, "a").await;
    node.broker.close().await;
    assert!(node.try_append(STOCK, "b").await.is_err());
    assert!(node.broker.probe(1).await.is_err());
    let store = node.broker.store();
    let refused = [
        store.get("key").await.map(drop),
        store.put("key", b"value").await,
        store.compare_and_set("key", None, None).await.map(drop),
        store.lease("name", "holder", MINUTE).await.map(drop),
        store.release("name", "holder").await,
    ];
    assert!(refused.iter().all(|refused| matches!(refused, Err(BrokerError::Unavailable(_)))), "{refused:?}");
    while node.bus.recv().await.is_some() {}
}

async fn values_are_set_read_and_deleted(backend: Backend) {
    let nodes = backend.nodes().await;
    let (one, two) = (nodes[0].broker.store(), nodes[nodes.len() - 1].broker.store());
    let longest = "k".repeat(MAX_KEY_BYTES);
    for key in ["position", "a:b {x} ü\u{0}\n", &longest] {
        assert_eq!(one.get(key).await.unwrap(), None);
        for value in [&b"text"[..], b"", b"\0\xff\r\n", &[0xa5; MAX_VALUE_BYTES], b"="] {
            one.put(key, value).await.unwrap();
            assert_eq!(two.get(key).await.unwrap().as_deref(), Some(value));
            assert!(!two.compare_and_set(key, None, Some(b"x")).await.unwrap());
            assert!(!two.compare_and_set(key, Some(b"other"), None).await.unwrap());
            assert!(two.compare_and_set(key, Some(value), Some(b"swapped")).await.unwrap());
            assert_eq!(one.get(key).await.unwrap().as_deref(), Some(&b"swapped"[..]));
        }
        assert!(one.compare_and_set(key, Some(b"swapped"), None).await.unwrap());
        assert_eq!(two.get(key).await.unwrap(), None);
        assert!(!one.compare_and_set(key, Some(b""), Some(b"x")).await.unwrap(), "no value is not an empty one");
        assert!(one.compare_and_set(key, None, None).await.unwrap());
        assert!(one.compare_and_set(key, None, Some(b"new")).await.unwrap());
        assert_eq!(two.get(key).await.unwrap().as_deref(), Some(&b"new"[..]));
    }
}

async fn one_of_many_writers_wins_each_round(backend: Backend) {
    let nodes = backend.nodes().await;
    let mut value: Option<Vec<u8>> = None;
    for round in 0..5 {
        let writers = (0..50).map(|writer| {
            let (broker, expected) = (nodes[writer % nodes.len()].broker.clone(), value.clone());
            tokio::spawn(async move {
                let new = format!("{round}: {writer}").into_bytes();
                let won = broker.store().compare_and_set("key", expected.as_deref(), Some(&new)).await.unwrap();
                won.then_some(new)
            })
        });
        let mut winners = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            winners.extend(writer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        value = winners.pop();
        assert_eq!(nodes[0].broker.store().get("key").await.unwrap().as_deref(), value.as_deref());
    }
}

async fn a_lease_has_one_holder_at_a_time(backend: Backend) {
    let nodes = backend.nodes().await;
    let (one, two) = (nodes[0].broker.store(), nodes[nodes.len() - 1].broker.store());
    let first = one.lease("name", "one of two", MINUTE).await.unwrap().expect("it is free");
    assert_eq!(two.lease("name", "two", MINUTE).await.unwrap(), None);
    assert_eq!(one.lease("name", "one of two", MINUTE).await.unwrap(), Some(first), "a renewal keeps the token");
    // Other leases and a value of the same name are independent.
    assert!(two.lease("other", "two", MINUTE).await.unwrap().is_some());
    assert_eq!(two.get("name").await.unwrap(), None);
    two.release("name", "two").await.unwrap();
    two.release("never taken", "two").await.unwrap();
    assert_eq!(two.lease("name", "two", MINUTE).await.unwrap(), None, "only its holder releases it");
    one.release("name", "one of two").await.unwrap();
    let second = two.lease("name", "two", MINUTE).await.unwrap().expect("it is free again");
    assert!(second > first, "{second} after {first}");
    assert_eq!(one.lease("name", "one of two", MINUTE).await.unwrap(), None);
    // A holder is any text.
    let token = one.lease("any text", "one\0 of\n two", MINUTE).await.unwrap().expect("it is free");
    assert_eq!(two.lease("any text", "one", MINUTE).await.unwrap(), None);
    assert_eq!(one.lease("any text", "one\0 of\n two", MINUTE).await.unwrap(), Some(token));
    // Of many concurrent holders one gets a free lease.
    let holders = (0..50).map(|holder| {
        let broker = nodes[holder % nodes.len()].broker.clone();
        tokio::spawn(async move { broker.store().lease("wanted", &holder.to_string(), MINUTE).await.unwrap() })
    });
    let mut taken = 0;
    for holder in holders.collect::<Vec<_>>() {
        taken += usize::from(holder.await.unwrap().is_some());
    }
    assert_eq!(taken, 1);
}

async fn a_lease_ends_unless_it_is_renewed(backend: Backend) {
    let nodes = backend.nodes().await;
    let (one, two) = (nodes[0].broker.store(), nodes[nodes.len() - 1].broker.store());
    let short = Duration::from_millis(300);
    let first = one.lease("name", "one", short).await.unwrap().expect("it is free");
    // A renewal may extend the lease.
    assert_eq!(one.lease("name", "one", MINUTE).await.unwrap(), Some(first));
    tokio::time::sleep(short * 2).await;
    assert_eq!(two.lease("name", "two", short).await.unwrap(), None);
    // A renewal may shorten it.
    assert_eq!(one.lease("name", "one", short).await.unwrap(), Some(first));
    let taken = async || two.lease("name", "two", Duration::from_millis(1)).await.unwrap();
    let second = until("the lease ends", taken).await;
    assert!(second > first, "{second} after {first}");
    // Also its last holder gets a higher token.
    let third = until("the lease ends", async || one.lease("name", "one", MINUTE).await.unwrap()).await;
    assert!(third > second, "{third} after {second}");
    assert_eq!(two.lease("name", "two", MINUTE).await.unwrap(), None);
}

async fn values_and_tokens_survive_what_the_log_survives(backend: Backend) {
    let node = backend.node().await;
    let position = node.add(STOCK, "a").await;
    let store = node.broker.store();
    store.put("kept", b"value").await.unwrap();
    store.put("deleted", b"value").await.unwrap();
    assert!(store.compare_and_set("deleted", Some(b"value"), None).await.unwrap());
    let released = store.lease("released", "one", MINUTE).await.unwrap().expect("it is free");
    store.release("released", "one").await.unwrap();
    let held = store.lease("held", "one", MINUTE).await.unwrap().expect("it is free");
    node.broker.close().await;

    let node = backend.node().await;
    let survived = node.read(STOCK, None, 0).await.bounds.head() == position;
    let store = node.broker.store();
    assert_eq!(store.get("kept").await.unwrap().is_some(), survived);
    assert_eq!(store.get("deleted").await.unwrap(), None);
    assert_eq!(store.lease("held", "two", MINUTE).await.unwrap().is_none(), survived);
    if survived {
        assert_eq!(store.lease("held", "one", MINUTE).await.unwrap(), Some(held));
    }
    let token = store.lease("released", "two", MINUTE).await.unwrap().expect("it is free");
    assert!(token > released, "{token} after {released}");
}

async fn the_store_refuses_keys_and_values_out_of_bounds(backend: Backend) {
    let node = backend.node().await;
    let store = node.broker.store();
    let (long, large) = ("k".repeat(MAX_KEY_BYTES + 1), vec![0; MAX_VALUE_BYTES + 1]);
    let mut refused = vec![
        store.put("key", &large).await,
        store.compare_and_set("key", Some(&large), None).await.map(drop),
        store.compare_and_set("key", None, Some(&large)).await.map(drop),
        store.lease("name", "holder", Duration::ZERO).await.map(drop),
        store.lease("name", "holder", MAX_LEASE_TTL + Duration::from_millis(1)).await.map(drop),
    ];
    for key in ["", &long] {
        refused.extend([
            store.get(key).await.map(drop),
            store.put(key, b"value").await,
            store.compare_and_set(key, None, None).await.map(drop),
            store.lease(key, "holder", MINUTE).await.map(drop),
            store.lease("name", key, MINUTE).await.map(drop),
            store.release(key, "holder").await,
            store.release("name", key).await,
        ]);
    }
    for refused in refused {
        assert!(matches!(refused, Err(BrokerError::Rejected(_))), "{refused:?}");
    }
    assert_eq!(store.get("key").await.unwrap(), None);
    assert!(store.lease("name", "holder", MAX_LEASE_TTL).await.unwrap().is_some());
}

/// Kills these servers, expects that the store is unavailable, and starts them again.
async fn the_store_is_unavailable_without(servers: &mut [Redis], config: &BrokerConfig) {
    let node = Node::ready(config).await;
    let store = node.broker.store();
    store.put("key", b"value").await.unwrap();
    servers.iter_mut().for_each(Redis::kill);
    let refused = [
        store.get("key").await.map(drop),
        store.put("key", b"other").await,
        store.compare_and_set("key", None, None).await.map(drop),
        store.lease("name", "holder", MINUTE).await.map(drop),
        store.release("name", "holder").await,
    ];
    assert!(refused.iter().all(|refused| matches!(refused, Err(BrokerError::Unavailable(_)))), "{refused:?}");
    servers.iter_mut().for_each(Redis::run);
    let value = until("the store answers again", async || store.get("key").await.ok()).await;
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_unavailable_while_redis_is_away() {
    let mut servers = [Redis::durable()];
    let config = config(redis_url(servers[0].port));
    the_store_is_unavailable_without(&mut servers, &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_unavailable_while_a_cluster_is_away() {
    let mut cluster = Cluster::durable();
    let config = config(cluster.url());
    the_store_is_unavailable_without(&mut cluster.nodes, &config).await;
}
