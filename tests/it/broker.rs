//! What every broker does, whichever it is: one suite, run over each backend.

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::TempDir;
use tidings::broker::{Appended, Signal};
use tidings::config::{BrokerConfig, BrokerUrl};
use tidings::event::{Epoch, Event, Position};

use crate::support::broker::{Next, Node, config, file_url, offsets, redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::each_broker::own_prefix;
use crate::support::redis::Redis;
use crate::support::until;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";

/// A backend of its own for one test.
struct Backend {
    config: BrokerConfig,
    _servers: Vec<Redis>,
    _folder: Option<TempDir>,
}

impl Backend {
    fn memory() -> Self {
        Self { config: config(BrokerUrl::Memory), _servers: Vec::new(), _folder: None }
    }

    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { config: config(file_url(folder.path())), _servers: Vec::new(), _folder: Some(folder) }
    }

    fn redis() -> Self {
        let redis = Redis::start();
        Self { config: config(redis_url(redis.port)), _servers: vec![redis], _folder: None }
    }

    fn cluster() -> Self {
        let mut config = config(Cluster::shared().url());
        config.prefix = own_prefix();
        Self { config, _servers: Vec::new(), _folder: None }
    }

    fn sentinel() -> Self {
        let master = Redis::start();
        let sentinel = Redis::sentinel(master.port, 1);
        let url = url(&format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port));
        Self { config: config(url), _servers: vec![master, sentinel], _folder: None }
    }

    async fn node(&self) -> Node {
        Node::ready(&self.config).await
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
    positions_rise_by_one_in_each_channel
    the_relay_is_told_what_the_log_has
    an_id_is_taken_once
    an_id_is_forgotten_after_the_window
    the_log_is_read_in_pages
    the_log_keeps_the_newest_events
    the_log_forgets_what_is_old
    what_many_publish_at_once_has_one_order
    ids_and_texts_of_any_kind_come_through
    a_probe_comes_back
    a_closed_broker_takes_nothing
}

async fn positions_rise_by_one_in_each_channel(backend: Backend) {
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

async fn the_relay_is_told_what_the_log_has(backend: Backend) {
    let mut node = backend.node().await;
    let events: Vec<_> =
        (0..1000).map(|i| node.event([STOCK, ORDERS, "data-update"][i % 3], &format!("event {i}"))).collect();
    let appended = node.broker.append(&events).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..1000 {
        told.push(node.appended().await);
    }
    // In order within a channel; those of several channels may go several ways.
    told.sort_by_key(|(channel, ..)| channel.0);
    let said =
        |(event, appended): (&Event, &Appended)| (event.channel, appended.position.clone(), event.json.to_string());
    let mut expected: Vec<_> = events.iter().zip(&appended).map(said).collect();
    expected.sort_by_key(|(channel, ..)| channel.0);
    assert_eq!(told, expected);
    for channel in [STOCK, ORDERS, "data-update"] {
        let start = Position::new(node.read(channel, None, 1).await.bounds.epoch, 0);
        let page = node.read(channel, Some(&start), 1000).await;
        let sent = events.iter().zip(&appended).filter(|(event, _)| event.channel == node.channel(channel));
        let sent: Vec<_> = sent.map(|(event, appended)| (appended.position.offset, event.json.clone())).collect();
        let kept: Vec<_> = page.entries.into_iter().map(|entry| (entry.offset, entry.json)).collect();
        assert_eq!(kept, sent);
    }
}

async fn an_id_is_taken_once(backend: Backend) {
    let mut node = backend.node().await;
    let first = node.add(STOCK, "same").await;
    let again = node.append(STOCK, "same").await;
    assert_eq!((again.position, again.duplicate), (first, true));
    // An id belongs to its channel.
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

async fn an_id_is_forgotten_after_the_window(mut backend: Backend) {
    backend.config.dedup_window = Duration::from_millis(200);
    let node = backend.node().await;
    let first = node.add(STOCK, "same").await;
    let again = until("the id is taken again", async || {
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
    // A position of another epoch says nothing: from the oldest.
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

async fn the_log_forgets_what_is_old(mut backend: Backend) {
    backend.config.log_max_age = Duration::from_millis(500);
    let node = backend.node().await;
    let mut last = node.add(STOCK, "first").await;
    for i in 0..20 {
        last = node.add(STOCK, &i.to_string()).await;
    }
    let start = Position::new(last.epoch.clone(), 0);
    let page = until("all events are old", async || {
        let page = node.read(STOCK, Some(&start), 100).await;
        // Whatever is left is at the end, without a hole.
        assert_eq!(offsets(&page), (page.bounds.oldest..=21).collect::<Vec<_>>());
        (page.bounds.oldest == 22).then_some(page)
    })
    .await;
    assert_eq!((page.bounds.epoch, page.bounds.head), (last.epoch.clone(), 21));
    assert_eq!(node.add(STOCK, "next").await, last.next());
    assert_eq!(offsets(&node.read(STOCK, Some(&start), 100).await), [22]);
}

async fn what_many_publish_at_once_has_one_order(backend: Backend) {
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

async fn ids_and_texts_of_any_kind_come_through(backend: Backend) {
    let mut node = backend.node().await;
    for id in ["a:b", "{x}", "ü ñ 日本", "*", "'\"\\", &"x".repeat(256)] {
        let mut event = node.event(STOCK, id);
        event.json = serde_json::json!({ "id": id, "data": "\u{0}\r\n\u{1F600}".repeat(1000) }).to_string().into();
        let appended = node.broker.append(std::slice::from_ref(&event)).await.unwrap();
        let told = (event.channel, appended[0].position.clone(), event.json.to_string());
        assert_eq!(node.appended().await, told);
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

async fn a_closed_broker_takes_nothing(backend: Backend) {
    let mut node = backend.node().await;
    node.add(STOCK, "a").await;
    node.broker.close().await;
    assert!(node.try_append(STOCK, "b").await.is_err());
    assert!(node.broker.probe(1).await.is_err());
    while node.bus.recv().await.is_some() {}
}
