//! Faults of Redis: it is killed, hangs, loses data or is partitioned, or somebody else writes into it.
//!
//! The broker must fail calls in time, signal to the relay that it may have missed events, and recover by itself.

use std::time::{Duration, Instant};

use tidings::broker::{BrokerError, Signal};
use tidings::event::{Epoch, Position};
use tidings::protocol;

use crate::support::broker::{Next, Node, config, offsets, redis_url};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::until;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";

/// The longest time until an append fails. A publisher gets its 503 within 3 s, and HTTP takes a part of them.
const FAILS_WITHIN: Duration = Duration::from_millis(2500);

/// Asserts that an append fails, in time, and that its outcome is not known.
async fn fails_in_time(node: &Node) {
    let start = Instant::now();
    let id = Epoch::random();
    let error = node.try_append(STOCK, id.as_str()).await.expect_err("the broker is unavailable");
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    assert!(start.elapsed() < FAILS_WITHIN, "it took {:?} to fail: {error}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_down_at_startup() {
    let mut redis = Redis::stopped(&[]);
    let mut node = Node::open(&config(redis_url(redis.port)));
    fails_in_time(&node).await;
    assert!(node.broker.read(node.channel(STOCK), None, 1).await.is_err());
    // A known failure is reported at once.
    let start = Instant::now();
    fails_in_time(&node).await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    redis.run();
    node.missed().await;
    assert_eq!(node.hears(STOCK).await.offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_loses_its_data() {
    let mut redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    redis.kill();
    fails_in_time(&node).await;
    redis.run();
    node.missed().await;
    let page = node.read(STOCK, Some(&before), 10).await;
    assert_ne!(page.bounds.epoch, before.epoch);
    assert_eq!((page.bounds.head, page.bounds.oldest, page.entries.len()), (0, 1, 0));
    // The id is free again.
    assert_eq!(node.add(STOCK, "a").await, Position::new(page.bounds.epoch, 1));
    node.hears(STOCK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_keeps_its_data() {
    let mut redis = Redis::durable();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    redis.kill();
    fails_in_time(&node).await;
    redis.run();
    node.missed().await;
    let start = Position::new(before.epoch.clone(), 0);
    assert_eq!(offsets(&node.read(STOCK, Some(&start), 10).await), [1]);
    let again = node.append(STOCK, "a").await;
    assert_eq!((again.position, again.duplicate), (before.clone(), true));
    assert_eq!(node.hears(STOCK).await, before.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_hangs() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    redis.pause();
    // Appends fail in time before the connection is given up and after it.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        fails_in_time(&node).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    redis.go_on();
    node.missed().await;
    // A failed append may still be in the log: its outcome is not known.
    let after = node.hears(STOCK).await;
    assert!(after.same_epoch(&before));
    let page = node.read(STOCK, Some(&Position { offset: 0, ..before }), 1000).await;
    assert_eq!(offsets(&page), (1..=after.offset).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_hangs_for_a_moment() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    redis.pause();
    let (appended, ()) = tokio::join!(node.try_append(STOCK, "a"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.go_on();
    });
    assert_eq!(appended.expect("Redis answers within the timeout").position.offset, 1);
    assert_eq!(node.hears(STOCK).await.offset, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_replaced() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::on_redis(proxy.port).await;
    node.add(STOCK, "a").await;
    proxy.strand();
    let start = Instant::now();
    fails_in_time(&node).await;
    node.missed().await;
    node.hears(STOCK).await;
    assert!(start.elapsed() < Duration::from_secs(8), "it took {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_in_one_direction() {
    for mode in [Mode::DeafServer, Mode::DeafClient] {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.port).await;
        let mut node = Node::on_redis(proxy.port).await;
        proxy.set(mode);
        fails_in_time(&node).await;
        // New connections fail as well. After a while appends fail at once.
        until("appends fail at once", async || {
            let start = Instant::now();
            fails_in_time(&node).await;
            (start.elapsed() < Duration::from_millis(100)).then_some(())
        })
        .await;
        proxy.set(Mode::Pass);
        node.hears(STOCK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_socket_to_a_dead_peer() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::on_redis(proxy.port).await;
    proxy.strand();
    // More than all buffers on the way hold: a write of this blocks.
    let mut event = node.event(STOCK, "large");
    event.json = format!(r#"{{"data":"{}"}}"#, "x".repeat(60 * 1024 * 1024)).into();
    let start = Instant::now();
    assert!(node.broker.append(&[event]).await.is_err());
    assert!(start.elapsed() < FAILS_WITHIN, "{:?}", start.elapsed());
    node.hears(STOCK).await;
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reset_and_refused() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::on_redis(proxy.port).await;
    let before = node.hears(STOCK).await;
    proxy.cut();
    node.missed().await;
    assert!(node.hears(STOCK).await.same_epoch(&before));
    proxy.set(Mode::Refuse);
    until("appends fail", async || node.try_append(STOCK, "b").await.err()).await;
    fails_in_time(&node).await;
    proxy.set(Mode::Pass);
    node.missed().await;
    assert!(node.hears(STOCK).await.same_epoch(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_disconnects_the_listener() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    redis.cli(&["client", "kill", "type", "pubsub"]);
    node.missed().await;
    // The connection for commands is not affected.
    assert_eq!(node.add(STOCK, "b").await, before.next());
    node.hears(STOCK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_receives_nothing_is_replaced() {
    // The node publishes at one Redis and listens at another. A demoted master has the same effect.
    let (redis, other) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(redis.port).await;
    let mut node = Node::on_redis(proxy.port).await;
    proxy.redirect(other.port);
    redis.cli(&["client", "kill", "type", "normal"]);
    let start = Instant::now();
    node.missed().await;
    assert!(start.elapsed() < Duration::from_secs(8), "it took {:?}", start.elapsed());
    node.hears(STOCK).await;
    assert_eq!(other.cli(&["pubsub", "numsub", "tidings:default:order-status"]), "tidings:default:order-status\n1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_messages_on_a_channel() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    assert_eq!(node.hint().await, (node.channel(STOCK), Some(before.clone())));
    let far = Position { offset: 1_000_000, ..before.clone() };
    for (text, position) in [
        ("", None),
        ("{", None),
        ("beat", None),
        ("17", None),
        (&*protocol::event_frame(&before, "{}"), Some(&before)),
        (&*protocol::event_frame(&far, "{}"), Some(&far)),
    ] {
        redis.cli(&["publish", "tidings:default:inventory-change", text]);
        assert_eq!(node.hint().await, (node.channel(STOCK), position.cloned()), "{text}");
    }
    // Not UTF-8.
    redis.cli(&["eval", r"redis.call('publish', KEYS[1], '\255\0\254')", "1", "tidings:default:inventory-change"]);
    assert_eq!(node.signal().await, Signal::Hint { channel: node.channel(STOCK), position: None });
    // The forged position has no effect on the log.
    assert_eq!(node.add(STOCK, "b").await, before.next());
    assert_eq!(node.read(STOCK, Some(&before), 10).await.bounds.epoch, before.epoch);
}

/// Deletes the newest three of five events from the log. A failover to a replica that was behind has the same effect.
fn lose_three(redis: &Redis) {
    for offset in 3..=5 {
        redis.cli(&["xdel", "tidings:default:inventory-change:log", &format!("{offset}-0")]);
    }
    redis.cli(&["xsetid", "tidings:default:inventory-change:log", "2-0"]);
    redis.cli(&["hset", "tidings:default:inventory-change:meta", "offset", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_the_newest_events_is_detected_by_reading() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let other = Node::on_redis(redis.port).await;
    let mut last = node.add(STOCK, "1").await;
    for i in 2..=5 {
        last = node.add(STOCK, &i.to_string()).await;
    }
    lose_three(&redis);
    let page = other.read(STOCK, Some(&last), 10).await;
    assert_ne!(page.bounds.epoch, last.epoch);
    // The reading node knew none of the events, so it gets all of them again.
    assert_eq!((page.bounds.head, offsets(&page)), (2, vec![1, 2]));
    // One loss begins one epoch for all nodes. The ids of lost events are free again.
    assert_eq!(node.read(STOCK, Some(&last), 10).await.bounds.epoch, page.bounds.epoch);
    assert_eq!(node.append(STOCK, "2").await.position, Position::new(page.bounds.epoch.clone(), 2));
    assert_eq!(node.add(STOCK, "5").await, Position::new(page.bounds.epoch.clone(), 3));
    assert_eq!(offsets(&other.read(STOCK, Some(&last), 10).await), [1, 2, 3]);
    // Reading up to the head again begins no further epoch.
    assert_eq!(
        node.read(STOCK, Some(&Position::new(page.bounds.epoch.clone(), 3)), 10).await.bounds.epoch,
        page.bounds.epoch
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_the_newest_events_is_detected_by_appending() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let other = Node::on_redis(redis.port).await;
    for i in 1..=5 {
        node.add(STOCK, &i.to_string()).await;
    }
    // Another node learns of the events by reading, as its relay does after a signal.
    let last = other.read(STOCK, None, 1).await;
    lose_three(&redis);
    let next = other.add(STOCK, "6").await;
    assert_ne!(next.epoch, last.bounds.epoch);
    assert_eq!(next.offset, 3);
    assert_eq!(node.add(STOCK, "7").await, next.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ahead_of_its_meta_hash_gets_a_new_epoch() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    // Somebody adds an entry with the time as its id, as XADD does by default.
    redis.cli(&["xadd", "tidings:default:inventory-change:log", "1700000000000000-5", "some", "thing"]);
    let next = node.add(STOCK, "b").await;
    assert_ne!(next.epoch, before.epoch);
    assert_eq!(next.offset, 1_700_000_000_000_001);
    assert_eq!(node.append(STOCK, "b").await.position, next);
    assert_eq!(offsets(&node.read(STOCK, Some(&before), 10).await), [next.offset]);
    // Only the meta hash is lost, and with it the epoch of the stream.
    redis.cli(&["del", "tidings:default:inventory-change:meta"]);
    let page = node.read(STOCK, Some(&next), 10).await;
    assert_ne!(page.bounds.epoch, next.epoch);
    // The node still knows the event, so the reader does not get it again.
    assert_eq!((page.bounds.head, offsets(&page)), (next.offset, vec![]));
    redis.cli(&["flushall"]);
    let page = node.read(STOCK, Some(&next), 10).await;
    assert_eq!((page.bounds.head, page.bounds.oldest), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_log_is_skipped() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let mut last = node.add(STOCK, "1").await;
    for i in 2..=6 {
        last = node.add(STOCK, &i.to_string()).await;
    }
    let at = |offset| Position { offset, ..last.clone() };
    redis.cli(&["xdel", "tidings:default:inventory-change:log", "3-0", "4-0"]);
    let page = node.read(STOCK, Some(&at(1)), 10).await;
    assert_eq!((page.bounds.oldest, offsets(&page)), (1, vec![2]));
    let page = node.read(STOCK, Some(&at(2)), 10).await;
    assert_eq!((page.bounds.oldest, offsets(&page)), (5, vec![5, 6]));
    redis.cli(&["del", "tidings:default:inventory-change:log"]);
    let page = node.read(STOCK, Some(&at(5)), 10).await;
    assert_eq!(
        (page.bounds.epoch.clone(), page.bounds.head, page.bounds.oldest, offsets(&page)),
        (last.epoch.clone(), 6, 7, vec![])
    );
    assert_eq!(node.add(STOCK, "7").await, last.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_redis_are_rejections() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    let before = node.add(STOCK, "a").await;
    let rejected = |error: BrokerError, expected: &str| {
        let BrokerError::Rejected(cause) = &error else { panic!("{error:?}") };
        assert!(cause.contains(expected), "{cause}");
    };
    let append = async |node: &Node| node.try_append(STOCK, "b").await.expect_err("Redis refuses");
    // No memory.
    redis.cli(&["config", "set", "maxmemory", "1"]);
    rejected(append(&node).await, "OOM");
    rejected(node.broker.probe(1).await.expect_err("Redis refuses"), "OOM");
    redis.cli(&["config", "set", "maxmemory", "0"]);
    // A replica is no refusal: the master is elsewhere.
    redis.cli(&["replicaof", "127.0.0.1", "1"]);
    let error = append(&node).await;
    assert!(matches!(&error, BrokerError::Unavailable(cause) if cause.contains("READONLY")), "{error:?}");
    redis.cli(&["replicaof", "no", "one"]);
    // No right to a command in the script, and to the script itself.
    redis.cli(&["acl", "setuser", "default", "-xadd"]);
    rejected(append(&node).await, "can't run");
    redis.cli(&["acl", "setuser", "default", "+xadd", "-evalsha"]);
    rejected(append(&node).await, "NOPERM");
    redis.cli(&["acl", "setuser", "default", "+evalsha"]);
    // A key of another type.
    redis.cli(&["rename", "tidings:default:inventory-change:log", "saved"]);
    redis.cli(&["set", "tidings:default:inventory-change:log", "not a stream"]);
    rejected(append(&node).await, "WRONGTYPE");
    let read = node.broker.read(node.channel(STOCK), Some(&Position { offset: 0, ..before.clone() }), 10).await;
    rejected(read.expect_err("Redis refuses"), "WRONGTYPE");
    redis.cli(&["rename", "saved", "tidings:default:inventory-change:log"]);
    redis.cli(&["script", "flush"]);
    // No refused event is in the log, and none of their ids is remembered.
    assert_eq!(node.add(STOCK, "b").await, before.next());
    assert_eq!(node.hears(STOCK).await.offset, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_sharded_channels() {
    let redis = Redis::with(&["--rename-command", "SSUBSCRIBE", ""]);
    let mut node = Node::on_redis(redis.port).await;
    let watcher = redis.watch("tidings:*");
    node.heals().await;
    let position = node.add(STOCK, "a").await;
    let frame = protocol::event_frame(&position, &node.event(STOCK, "a").json);
    assert_eq!(watcher.message(), ("tidings:default:inventory-change".into(), frame));
    node.broker.announce(node.channel(STOCK), "10 ms").await.unwrap();
    let mut announced = node.signal().await;
    while !matches!(announced, Signal::Announced { .. }) {
        announced = node.signal().await;
    }
    assert_eq!(announced, Signal::Announced { channel: node.channel(STOCK), text: "10 ms".into() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_bus() {
    let redis = Redis::start();
    let mut one = Node::on_redis(redis.port).await;
    let mut two = Node::on_redis(redis.port).await;
    let first = one.add(STOCK, "a").await;
    let again = two.append(STOCK, "a").await;
    assert_eq!((again.position, again.duplicate), (first.clone(), true));
    assert_eq!(two.add(STOCK, "b").await, first.next());
    let (stock, orders) = (one.channel(STOCK), one.channel(ORDERS));
    for node in [&mut one, &mut two] {
        assert_eq!(node.hint().await, (stock, Some(first.clone())));
        assert_eq!(node.hint().await, (stock, Some(first.next())));
    }
    // A node gets its own probes only.
    one.broker.probe(17).await.unwrap();
    assert_eq!(one.signal().await, Signal::Probe(17));
    let last = two.add(ORDERS, "c").await;
    assert_eq!(two.hint().await, (orders, Some(last)));
    // Another namespace is another bus.
    let mut elsewhere = config(redis_url(redis.port));
    elsewhere.namespace = "elsewhere".into();
    let mut three = Node::ready(&elsewhere).await;
    let only = three.add(STOCK, "a").await;
    assert_eq!(only.offset, 1);
    assert_eq!(three.hint().await, (stock, Some(only)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_subscriber_sees_events_only() {
    let redis = Redis::start();
    let watcher = redis.watch("*");
    let mut node = Node::on_redis(redis.port).await;
    let mut expected = Vec::new();
    for id in ["a", "b", "a", "c"] {
        node.heals().await;
        let appended = node.append(STOCK, id).await;
        if !appended.duplicate {
            expected.push(protocol::event_frame(&appended.position, &node.event(STOCK, id).json));
        }
    }
    for frame in expected {
        assert_eq!(watcher.message(), ("tidings:default:inventory-change".into(), frame));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_nobody_receives_are_dropped_and_reported() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    for batch in 0..10 {
        let events: Vec<_> = (0..1000).map(|i| node.event(STOCK, &format!("{batch}:{i}"))).collect();
        node.broker.append(&events).await.unwrap();
    }
    // The buffer holds some of the signals. `Missed` follows them and stands for the rest.
    let mut last = 0;
    loop {
        match node.signal().await {
            Signal::Hint { position, .. } => {
                let offset = position.unwrap().offset;
                assert_eq!(offset, last + 1);
                last = offset;
            }
            Signal::Missed => break,
            _ => {}
        }
    }
    assert!((1..10_000).contains(&last), "{last}");
    assert_eq!(node.hears(STOCK).await.offset, 10_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_trimmed() {
    let redis = Redis::start();
    let mut config = config(redis_url(redis.port));
    (config.log_max_events, config.log_max_age) = (1000, Duration::from_millis(300));
    let node = Node::ready(&config).await;
    let length = || redis.cli(&["xlen", "tidings:default:inventory-change:log"]).parse::<u64>().unwrap();
    let batch = |name: &str| (0..3000).map(|i| node.event(STOCK, &format!("{name}{i}"))).collect::<Vec<_>>();
    node.broker.append(&batch("a")).await.unwrap();
    // By number, as coarsely as Redis' own blocks.
    assert!((1000..1200).contains(&length()), "{}", length());
    until("all events are older than log_max_age", async || {
        let page = node.read(STOCK, None, 1).await;
        (page.bounds.oldest > page.bounds.head).then_some(())
    })
    .await;
    // By age, with new events: up to twice as many old ones are trimmed as new ones are appended.
    for i in 0..640 {
        node.add(STOCK, &i.to_string()).await;
    }
    assert!(length() < 800, "{}", length());
}
