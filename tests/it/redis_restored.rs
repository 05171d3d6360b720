//! Redis is restored from an older state, and a node that does not know of the lost events appends to the log. Without a new
//! epoch two events would have one position: the nodes that know the lost events must detect the loss.

use std::time::Duration;

use serde_json::json;
use tidings::event::Position;

use crate::support::broker::{Node as Bus, offsets, redis_url};
use crate::support::events::{epoch_and_offset, sale};
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;

const STOCK: &str = "inventory-change";

/// A Redis, and a node whose connections to it can be cut.
struct Setup {
    redis: Redis,
    proxy: Proxy,
    node: Bus,
}

impl Setup {
    /// A log with so many events, which Redis has saved in a snapshot.
    async fn new(events: usize) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.port).await;
        let node = Bus::on_redis(proxy.port).await;
        let setup = Self { redis, proxy, node };
        setup.append(&setup.node, events, "kept").await;
        setup.redis.cli(&["save"]);
        setup
    }

    async fn append(&self, node: &Bus, events: usize, name: &str) -> Option<Position> {
        let events: Vec<_> = (0..events).map(|i| node.event(STOCK, &format!("{name} {i}"))).collect();
        node.broker.append(&events).await.unwrap().pop().map(|appended| appended.position)
    }

    /// Restores Redis from the snapshot. Before the node is connected again, a fresh node appends so many events. Returns the
    /// position of the last of them.
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
async fn a_node_that_appended_lost_events_detects_the_loss_by_reading() {
    for fresh in [0, 3, 5, 8] {
        let mut setup = Setup::new(10).await;
        let known = setup.append(&setup.node, 5, "lost").await.unwrap();
        setup.restore(fresh).await;
        let page = setup.node.read(STOCK, Some(&known), 100).await;
        assert_ne!(page.bounds.epoch, known.epoch, "{fresh} events of the fresh node");
        // A reader above the fresh node's events gets all of them.
        assert_eq!((page.bounds.head, offsets(&page)), (10 + fresh as u64, (11..11 + fresh as u64).collect()));
        // One loss begins one epoch.
        assert_eq!(setup.node.add(STOCK, "next").await, Position::new(page.bounds.epoch, 11 + fresh as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_appended_lost_events_detects_the_loss_by_appending() {
    for fresh in [3, 5, 8] {
        let mut setup = Setup::new(10).await;
        let known = setup.append(&setup.node, 5, "lost").await.unwrap();
        setup.restore(fresh).await;
        let next = setup.node.add(STOCK, "next").await;
        assert!(!next.same_epoch(&known), "{next} after {known}, {fresh} events of the fresh node");
        assert_eq!(next.offset, 11 + fresh as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_read_lost_events_detects_the_loss() {
    let mut setup = Setup::new(10).await;
    let other = Bus::on_redis(setup.redis.port).await;
    let known = setup.append(&other, 5, "lost").await.unwrap();
    let before = Position { offset: known.offset - 5, ..known.clone() };
    assert_eq!(setup.node.read(STOCK, Some(&before), 100).await.entries.len(), 5);
    setup.restore(8).await;
    assert!(!setup.node.add(STOCK, "next").await.same_epoch(&known));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_read_only_the_bounds_detects_the_loss() {
    let mut setup = Setup::new(10).await;
    let other = Bus::on_redis(setup.redis.port).await;
    let known = setup.append(&other, 5, "lost").await.unwrap();
    // A node does this when it starts.
    let page = setup.node.read(STOCK, None, 100).await;
    assert_eq!((page.bounds.head, page.entries.len()), (15, 0));
    setup.restore(8).await;
    assert!(!setup.node.add(STOCK, "next").await.same_epoch(&known));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_restored_without_a_loss_keeps_its_epoch() {
    let mut setup = Setup::new(10).await;
    let known = setup.node.read(STOCK, None, 100).await;
    let last = setup.restore(5).await.unwrap();
    let page = setup.node.read(STOCK, Some(&Position::new(known.bounds.epoch.clone(), 10)), 100).await;
    assert_eq!((page.bounds.epoch, page.entries.len()), (known.bounds.epoch, 5));
    assert_eq!(setup.node.add(STOCK, "next").await, Position { offset: 16, ..last });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_past_epoch_does_not_come_back() {
    let mut setup = Setup::new(10).await;
    let first = setup.node.read(STOCK, None, 100).await.bounds.epoch;
    setup.redis.cli(&["del", "tidings:default:inventory-change:meta"]);
    let second = setup.node.add(STOCK, "of another epoch").await;
    assert_ne!(second.epoch, first);
    assert_eq!(setup.restore(3).await.unwrap().epoch, first, "the fresh node does not know of the loss");
    let third = setup.node.add(STOCK, "next").await;
    assert!(third.epoch != first && third.epoch != second.epoch && third.offset == 14, "{third}");
}

/// The same with whole nodes, publishers and subscribers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_gets_a_gap() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let [knowing, restarted] = [proxy.port, redis.port].map(|port| node::config(redis_url(port)));
    let knowing = Node::start(knowing).await;
    let mut subscriber = Subscriber::to(&knowing, STOCK).await;
    let mut before = Node::start(restarted.clone()).await;
    before.publish(&sale("kept")).await;
    redis.cli(&["save"]);
    for _ in 0..3 {
        before.publish(&sale("lost")).await;
    }
    let known = subscriber.events(4).await.pop().unwrap().position;
    before.begin_stop();
    before.stopped().await.expect("the node stops");
    proxy.set(Mode::Refuse);
    redis.kill();
    redis.run();
    let fresh = Node::start(restarted).await;
    let mut of_fresh = Subscriber::to(&fresh, STOCK).await;
    for _ in 0..5 {
        fresh.publish(&sale("fresh")).await;
    }
    let last = of_fresh.events(5).await.pop().unwrap().position;
    assert_eq!(epoch_and_offset(&last), (epoch_and_offset(&known).0, 6), "the fresh node does not know of the loss");
    proxy.set(Mode::Pass);
    let gets_gap = async |subscriber: &mut Subscriber, from: &str, to: u64| {
        let gap = subscriber.frame().await;
        let (epoch, offset) = epoch_and_offset(gap["position"].as_str().unwrap_or_default());
        assert_eq!((&gap["type"], &gap["from"], offset), (&json!("gap"), &json!(from), to), "{gap}");
        assert_ne!(epoch, epoch_and_offset(from).0);
    };
    gets_gap(&mut subscriber, &known, 1).await;
    for event in subscriber.events(5).await {
        assert_eq!(event.event["data"]["productId"], "fresh");
    }
    // The fresh node, which was connected all the time, learns of the new epoch with the next event. It knows that the log
    // has everything that its subscribers received, although the other node had other events at these positions.
    let next = fresh.publish(&sale("next")).await.remove(0).position;
    gets_gap(&mut of_fresh, &last, 6).await;
    for subscriber in [&mut subscriber, &mut of_fresh] {
        assert_eq!(subscriber.event().await.position, next);
    }
}

/// A holder from before the loss must not pass for a later one, whatever it wrote under its token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_lost_gives_higher_tokens_than_before() {
    let redis = Redis::start();
    let (one, other) = (Bus::on_redis(redis.port).await, Bus::on_redis(redis.port).await);
    let minute = Duration::from_secs(60);
    let mut before = 0;
    for holder in ["a", "b", "c"] {
        let token = one.broker.store().lease("flow", holder, minute).await.unwrap().expect("it is free");
        assert!(token > before, "{token} after {before}");
        redis.cli(&["flushall"]);
        // The holder renews before anybody else asks: it gets a token that is none of its own.
        let again = other.broker.store().lease("flow", holder, minute).await.unwrap().expect("it is free");
        assert!(again > token, "{again} after {token}");
        before = again;
        redis.cli(&["flushall"]);
    }
}
