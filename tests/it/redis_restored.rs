//! Redis comes back with an older state, and somebody who knows nothing of the newer one appends to it: then two events
//! stand under one position, unless who knows better says so.

use serde_json::json;
use tidings::event::Position;

use crate::support::broker::{Node as Bus, offsets, redis_url};
use crate::support::events::{place, sale};
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;

const STOCK: &str = "inventory-change";

/// A Redis, and a node whose way to it can be cut.
struct Stage {
    redis: Redis,
    proxy: Proxy,
    node: Bus,
}

impl Stage {
    /// The log has so many events, and a snapshot of it is kept.
    async fn set(events: usize) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.port).await;
        let node = Bus::on_redis(proxy.port).await;
        let stage = Self { redis, proxy, node };
        stage.append(&stage.node, events, "kept").await;
        stage.redis.cli(&["save"]);
        stage
    }

    async fn append(&self, node: &Bus, events: usize, name: &str) -> Option<Position> {
        let events: Vec<_> = (0..events).map(|i| node.event(STOCK, &format!("{name} {i}"))).collect();
        node.broker.append(&events).await.unwrap().pop().map(|appended| appended.position)
    }

    /// Redis loses what came after the snapshot; before the node sees that, another, which knows nothing, appends.
    async fn restore(&mut self, events: usize) -> Option<Position> {
        self.proxy.set(Mode::Refuse);
        self.redis.kill();
        self.redis.run();
        let fresh = Bus::on_redis(self.redis.port).await;
        let last = self.append(&fresh, events, "fresh").await;
        self.proxy.set(Mode::Pass);
        self.node.heals().await;
        last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_appended_finds_it_by_reading() {
    for fresh in [0, 3, 5, 8] {
        let mut stage = Stage::set(10).await;
        let known = stage.append(&stage.node, 5, "lost").await.unwrap();
        stage.restore(fresh).await;
        let page = stage.node.read(STOCK, Some(&known), 100).await;
        assert_ne!(page.bounds.epoch, known.epoch, "{fresh} events of the other");
        // What the other wrote is there for those who stood above it.
        assert_eq!((page.bounds.head, offsets(&page)), (10 + fresh as u64, (11..11 + fresh as u64).collect()));
        // Once is enough.
        assert_eq!(stage.node.add(STOCK, "next").await, Position::new(page.bounds.epoch, 11 + fresh as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_appended_finds_it_by_appending() {
    for fresh in [3, 5, 8] {
        let mut stage = Stage::set(10).await;
        let known = stage.append(&stage.node, 5, "lost").await.unwrap();
        stage.restore(fresh).await;
        let next = stage.node.add(STOCK, "next").await;
        assert!(!next.same_epoch(&known), "{next} after {known}, {fresh} events of the other");
        assert_eq!(next.offset, 11 + fresh as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_only_read_finds_it() {
    let mut stage = Stage::set(10).await;
    let other = Bus::on_redis(stage.redis.port).await;
    let known = stage.append(&other, 5, "lost").await.unwrap();
    let before = Position { offset: known.offset - 5, ..known.clone() };
    assert_eq!(stage.node.read(STOCK, Some(&before), 100).await.entries.len(), 5);
    stage.restore(8).await;
    assert!(!stage.node.add(STOCK, "next").await.same_epoch(&known));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_only_seen_where_the_log_ends_finds_it() {
    let mut stage = Stage::set(10).await;
    let other = Bus::on_redis(stage.redis.port).await;
    let known = stage.append(&other, 5, "lost").await.unwrap();
    // As a node does when it starts.
    let page = stage.node.read(STOCK, None, 100).await;
    assert_eq!((page.bounds.head, page.entries.len()), (15, 0));
    stage.restore(8).await;
    assert!(!stage.node.add(STOCK, "next").await.same_epoch(&known));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_back_as_it_was_is_no_loss() {
    let mut stage = Stage::set(10).await;
    let known = stage.node.read(STOCK, None, 100).await;
    let last = stage.restore(5).await.unwrap();
    let page = stage.node.read(STOCK, Some(&Position::new(known.bounds.epoch.clone(), 10)), 100).await;
    assert_eq!((page.bounds.epoch, page.entries.len()), (known.bounds.epoch, 5));
    assert_eq!(stage.node.add(STOCK, "next").await, Position { offset: 16, ..last });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_is_over_does_not_come_back() {
    let mut stage = Stage::set(10).await;
    let first = stage.node.read(STOCK, None, 100).await.bounds.epoch;
    stage.redis.cli(&["del", "tidings:default:inventory-change:meta"]);
    let second = stage.node.add(STOCK, "of another epoch").await;
    assert_ne!(second.epoch, first);
    assert_eq!(stage.restore(3).await.unwrap().epoch, first, "the fresh node does not know better");
    let third = stage.node.add(STOCK, "next").await;
    assert!(third.epoch != first && third.epoch != second.epoch && third.offset == 14, "{third}");
}

/// The same, as publishers and subscribers see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_is_told() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let [knows, restarted] = [proxy.port, redis.port].map(|port| node::config(redis_url(port)));
    let knows = Node::start(knows).await;
    let mut subscriber = Subscriber::to(&knows, STOCK).await;
    let mut before = Node::start(restarted.clone()).await;
    before.publish(&sale("kept")).await;
    redis.cli(&["save"]);
    for _ in 0..3 {
        before.publish(&sale("lost")).await;
    }
    let known = subscriber.events(4).await.pop().unwrap().position;
    before.begin_stop();
    before.stopped().await.expect("it ends well");
    proxy.set(Mode::Refuse);
    redis.kill();
    redis.run();
    let fresh = Node::start(restarted).await;
    let mut of_fresh = Subscriber::to(&fresh, STOCK).await;
    for _ in 0..5 {
        fresh.publish(&sale("fresh")).await;
    }
    let last = of_fresh.events(5).await.pop().unwrap().position;
    assert_eq!(place(&last), (place(&known).0, 6), "the fresh node does not know better");
    proxy.set(Mode::Pass);
    // Nobody can say what stood there when a position was given: rather again than not at all.
    let told = async |subscriber: &mut Subscriber, from: &str| {
        let gap = subscriber.frame().await;
        let (epoch, offset) = place(gap["position"].as_str().unwrap_or_default());
        assert_eq!((&gap["type"], &gap["from"], offset), (&json!("gap"), &json!(from), 1), "{gap}");
        assert_ne!(epoch, place(from).0);
        for event in subscriber.events(5).await {
            assert_eq!(event.event["data"]["productId"], "fresh");
        }
    };
    told(&mut subscriber, &known).await;
    // The other node, which was not cut off, hears of it with the next event.
    let next = fresh.publish(&sale("next")).await.remove(0).position;
    told(&mut of_fresh, &last).await;
    for subscriber in [&mut subscriber, &mut of_fresh] {
        assert_eq!(subscriber.event().await.position, next);
    }
}
