//! The cache while its bus is broken: links that are cut, nodes without their broker, and logs that have lost something.

use std::time::{Duration, Instant};

use tidings::cache::{Invalidation, Options};
use tidings::config::BrokerUrl;

use super::{Database, Instance, port, tag, through, unbounded};
use crate::support::broker::redis_url;
use crate::support::node::{Node, config};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::{until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_invalidated_while_a_link_was_cut_is_dropped_and_nothing_else() {
    let (node, database) = (Node::start(config(BrokerUrl::Memory)).await, Database::default());
    let proxy = Proxy::start(port(&node)).await;
    let cut = Instance::proven(&through(&proxy), &database, unbounded()).await;
    let writer = Instance::proven(&node.url(""), &database, unbounded()).await;
    for key in ["a", "b"] {
        database.set(key, 1);
        assert_eq!(cut.read(key).await, 1);
    }
    proxy.set(Mode::Refuse);
    let position = writer.write("a", 2).await;
    assert_eq!(cut.peek("a"), Some(1), "the bound is not over");
    proxy.set(Mode::Pass);
    cut.has_applied(&position).await;
    assert_eq!((cut.peek("a"), cut.peek("b")), (None, Some(1)));
    assert_eq!(cut.read("a").await, 2);
    assert_eq!(cut.coherence.stats().gaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_or_silent_link_serves_nothing_beyond_the_bound() {
    let (node, database) = (Node::start(config(BrokerUrl::Memory)).await, Database::default());
    let proxy = Proxy::start(port(&node)).await;
    let bound = Duration::from_millis(300);
    let cut = Instance::proven(&through(&proxy), &database, Options::default().bound(bound)).await;
    let writer = Instance::proven(&node.url(""), &database, Options::default()).await;
    for (version, mode) in [(1, Mode::Refuse), (2, Mode::Silent), (3, Mode::DeafClient), (4, Mode::DeafServer)] {
        cut.read("a").await;
        proxy.set(mode);
        writer.write("a", version).await;
        is_served_after(&cut, bound, version).await;
        proxy.set(Mode::Pass);
        until("the bus is asked again", async || cut.is_proven().await.then_some(())).await;
        assert_eq!(cut.read("a").await, version, "{mode:?}");
    }
}

/// Reads at least for a bound, and asserts that what begins after it has this version.
async fn is_served_after(instance: &Instance, bound: Duration, version: u64) {
    let acknowledged = Instant::now();
    loop {
        let began = acknowledged.elapsed();
        let read = instance.read("a").await;
        if began >= bound {
            assert_eq!(read, version, "{began:?} after the invalidation");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_redis_proves_nothing_to_its_clients() {
    let (redis, database) = (Redis::start(), Database::default());
    let proxy = Proxy::start(redis.port).await;
    let (partitioned, other) =
        (Node::start(config(redis_url(proxy.port))).await, Node::start(config(redis_url(redis.port))).await);
    let bound = Duration::from_millis(300);
    let reader = Instance::proven(&partitioned.url(""), &database, Options::default().bound(bound)).await;
    let writer = Instance::proven(&other.url(""), &database, Options::default()).await;
    for (version, mode) in [(1, Mode::Silent), (2, Mode::DeafServer), (3, Mode::Refuse)] {
        reader.read("a").await;
        // The sockets of its clients stay open.
        proxy.set(mode);
        writer.write("a", version).await;
        is_served_after(&reader, bound, version).await;
        proxy.set(Mode::Pass);
        until("the node proves again", async || reader.is_proven().await.then_some(())).await;
        assert_eq!(reader.read("a").await, version, "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_a_new_log_drops_everything() {
    let (node, database) = (Node::start(config(BrokerUrl::Memory)).await, Database::default());
    let proxy = Proxy::start(port(&node)).await;
    let instance = Instance::proven(&through(&proxy), &database, unbounded()).await;
    database.set("a", 1);
    assert_eq!(instance.read("a").await, 1);
    // What it invalidates is not in the new log.
    database.set("a", 2);
    let again = Node::start(config(BrokerUrl::Memory)).await;
    proxy.redirect(port(&again));
    proxy.cut();
    until("the new epoch is noticed", async || (instance.coherence.stats().gaps > 0).then_some(())).await;
    assert_eq!(instance.peek("a"), None);
    assert_eq!(instance.read("a").await, 2);
    // The cache goes on in the new log.
    let writer = Instance::proven(&again.url(""), &database, unbounded()).await;
    let position = writer.write("a", 3).await;
    instance.has_applied(&position).await;
    assert_eq!(instance.read("a").await, 3);
    assert_eq!(instance.coherence.stats().gaps, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_truncated_meanwhile_drops_everything() {
    let mut config = config(BrokerUrl::Memory);
    config.broker.log_max_events = 4;
    let (node, database) = (Node::start(config).await, Database::default());
    let proxy = Proxy::start(port(&node)).await;
    let away = Instance::proven(&through(&proxy), &database, unbounded()).await;
    let writer = Instance::proven(&node.url(""), &database, unbounded()).await;
    database.set("a", 1);
    assert_eq!(away.read("a").await, 1);
    proxy.set(Mode::Refuse);
    writer.write("a", 2).await;
    let mut last = None;
    for number in 0..20 {
        last = Some(writer.write(&number.to_string(), 1).await);
    }
    proxy.set(Mode::Pass);
    away.has_applied(&last.unwrap()).await;
    assert_eq!((away.peek("a"), away.coherence.stats().gaps), (None, 1));
    assert_eq!(away.read("a").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_is_published_again_until_the_broker_takes_it() {
    let (redis, database) = (Redis::start(), Database::default());
    let proxy = Proxy::start(redis.port).await;
    let node = Node::start(config(redis_url(proxy.port))).await;
    let (writer, reader) = (
        Instance::proven(&node.url(""), &database, unbounded()).await,
        Instance::proven(&node.url(""), &database, unbounded()).await,
    );
    database.set("a", 1);
    assert_eq!((writer.read("a").await, reader.read("a").await), (1, 1));
    proxy.set(Mode::Refuse);
    until("the node refuses", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    database.set("a", 2);
    let coherence = writer.coherence.clone();
    let invalidating = tokio::spawn(async move { coherence.invalidate(Invalidation::tag(tag("a"))).await });
    until("the writer has applied it", async || writer.peek("a").is_none().then_some(())).await;
    assert_eq!(reader.peek("a"), Some(1));
    assert!(!invalidating.is_finished());
    proxy.set(Mode::Pass);
    let position = within("it is acknowledged", invalidating).await.unwrap().unwrap();
    reader.has_applied(&position).await;
    assert_eq!(reader.read("a").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_whose_subscription_is_delayed_loads_and_follows_later() {
    let (redis, database) = (Redis::start(), Database::default());
    let proxy = Proxy::start(redis.port).await;
    let node = Node::start(config(redis_url(proxy.port))).await;
    let other = Node::start(config(redis_url(redis.port))).await;
    proxy.set(Mode::Silent);
    // It is connected, although the log cannot be read.
    let bound = Duration::from_millis(200);
    let delayed = Instance::start(&node.url(""), &database, Options::default().bound(bound)).await;
    let writer = Instance::proven(&other.url(""), &database, Options::default()).await;
    delayed.read("a").await;
    writer.write("a", 1).await;
    is_served_after(&delayed, bound, 1).await;
    proxy.set(Mode::Pass);
    until("the subscription has begun", async || delayed.is_proven().await.then_some(())).await;
    let position = writer.write("a", 2).await;
    delayed.has_applied(&position).await;
    assert_eq!(delayed.read("a").await, 2);
}
