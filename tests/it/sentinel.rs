//! Redis with Sentinel: a node follows the master that the sentinels name, and never returns a result from a demoted one.

use std::time::Duration;

use tidings::broker::BrokerError;
use tidings::event::{Epoch, Event, Position, TypeSettings};

use crate::support::broker::{Node, config, offsets, url};
use crate::support::redis::{Redis, documented_user};
use crate::support::sentinel::Sentinels;
use crate::support::until;

const STOCK: &str = "inventory-change";

/// Appends until an append succeeds, and returns its position.
async fn appends_again(node: &Node) -> Position {
    until("an append succeeds", async || {
        node.try_append(STOCK, Epoch::random().as_str()).await.ok().map(|appended| appended.position)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_follows_the_sentinels_to_a_new_master() {
    let mut set = Sentinels::start().await;
    let mut node = Node::ready(&config(url(&set.url()))).await;
    let before = node.hears(STOCK).await;
    set.servers[0].kill();
    until("Sentinel names the other server", async || (set.named(0) == 1).then_some(())).await;
    node.heals().await;
    // The replica had every acknowledged event: no loss, no new epoch.
    let after = appends_again(&node).await;
    assert!(after.same_epoch(&before) && after.offset > before.offset, "{after} came after {before}");
    assert_eq!(set.servers[1].cli(&["xlen", "tidings:default:inventory-change:log"]), after.offset.to_string());
}

/// The newest event of each subject is where the log is, before and after a promotion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_keeps_the_newest_events_that_the_new_master_has() {
    let mut set = Sentinels::start().await;
    let mut config = config(url(&set.url()));
    let settings = TypeSettings { latest: Some(Duration::from_secs(3600)), ..TypeSettings::default() };
    config.types = [(STOCK.to_owned(), settings)].into();
    let mut node = Node::ready(&config).await;
    let event = |id: &str| Event { subject: Some("p1".into()), ..node.event(STOCK, id) };
    let (first, second, third) = (event("first"), event("second"), event("third"));
    node.broker.append(&[first]).await.expect("the master takes it");
    let before = node.broker.append(&[second]).await.expect("the master takes it").remove(0).position;
    until("the replica has both", async || {
        (set.servers[1].cli(&["xlen", "tidings:default:inventory-change:log"]) == "2").then_some(())
    })
    .await;
    set.servers[0].kill();
    until("Sentinel names the other server", async || (set.named(0) == 1).then_some(())).await;
    node.heals().await;
    let channel = node.channel(STOCK);
    let newest = async || {
        let found = node.broker.latest().latest(channel, "p1").await.ok()?;
        Some((found.entry.map(|entry| entry.offset)?, found.head))
    };
    let (offset, head) = until("the newest event is read", newest).await;
    assert_eq!((offset, &head), (before.offset, &before), "the replica had the newest event");
    let after = until("an append succeeds", async || node.broker.append(std::slice::from_ref(&third)).await.ok()).await;
    let after = after[0].position.clone();
    assert!(after.same_epoch(&before), "{after} came after {before}");
    assert_eq!(until("the newest event is read", newest).await, (after.offset, after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_lost_events_begins_a_new_epoch() {
    let mut set = Sentinels::start().await;
    let mut node = Node::ready(&config(url(&set.url()))).await;
    let kept = node.add(STOCK, "kept").await;
    until("the replica has it", async || {
        (set.servers[1].cli(&["xlen", "tidings:default:inventory-change:log"]) == "1").then_some(())
    })
    .await;
    set.cut_replication();
    let lost = node.add(STOCK, "lost").await;
    assert!(lost.same_epoch(&kept));
    set.servers[0].kill();
    node.heals().await;
    let page = node.read(STOCK, Some(&lost), 10).await;
    assert_ne!(page.bounds.epoch, lost.epoch);
    assert_eq!((page.bounds.head, page.bounds.oldest, page.entries.len()), (1, 2, 0));
    assert_eq!(node.add(STOCK, "lost").await, Position::new(page.bounds.epoch, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_return_to_a_master_that_hung() {
    let set = Sentinels::start().await;
    let mut node = Node::ready(&config(url(&set.url()))).await;
    node.add(STOCK, "a").await;
    set.servers[0].pause();
    until("Sentinel names the other server", async || (set.named(0) == 1).then_some(())).await;
    node.heals().await;
    set.servers[0].go_on();
    let last = until("the old master is demoted", async || {
        let position = node.add(STOCK, Epoch::random().as_str()).await;
        set.servers[0].try_cli(&["role"])?.starts_with("slave").then_some(position)
    })
    .await;
    // Every event has the position that its publisher got.
    let log = node.read(STOCK, Some(&Position { offset: 0, ..last.clone() }), 10_000).await;
    assert_eq!((log.bounds.epoch.clone(), offsets(&log)), (last.epoch.clone(), (1..=last.offset).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_was_away_does_not_lead_a_node_back() {
    let mut set = Sentinels::start().await;
    let mut node = Node::ready(&config(url(&set.url()))).await;
    set.sentinels[2].kill();
    set.servers[0].pause();
    until("two sentinels name the other server", async || (set.named(0) == 1 && set.named(1) == 1).then_some(())).await;
    node.heals().await;
    for sentinel in 0..2 {
        set.sentinels[sentinel].pause();
    }
    // The third sentinel still names the old master, which is not demoted yet.
    set.servers[0].go_on();
    set.sentinels[2].run();
    let polled = || set.sentinels[2].cli(&["client", "list"]).contains("|get-master-addr-by-name");
    until("the node polls the third sentinel", async || polled().then_some(())).await;
    assert!(set.servers[0].cli(&["role"]).starts_with("master") && set.named(2) == 0);
    let position = node.add(STOCK, "a").await;
    assert_eq!(set.servers[1].cli(&["xlen", "tidings:default:inventory-change:log"]), position.offset.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_reply_of_a_stopped_sentinel_is_discarded() {
    let (before, now) = (Redis::start(), Redis::start());
    let [mut gone, fresh] = [&before, &now].map(|master| Redis::sentinel(master.port, 2));
    // The stopped sentinel knows of more failovers than the fresh one, so its reply counts at first.
    gone.kill();
    let file = gone.directory.path().join("sentinel.conf");
    let text = std::fs::read_to_string(&file).unwrap().replace("config-epoch main 0", "config-epoch main 10");
    assert!(text.contains("config-epoch main 10"), "{text}");
    std::fs::write(file, text).unwrap();
    gone.run();
    let sentinels = format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/main", gone.port, fresh.port);
    let node = Node::ready(&config(url(&sentinels))).await;
    node.add(STOCK, "a").await;
    gone.kill();
    assert_eq!(before.cli(&["xlen", "tidings:default:inventory-change:log"]), "1");
    before.cli(&["replicaof", "127.0.0.1", &now.port.to_string()]);
    appends_again(&node).await;
    assert_ne!(now.cli(&["exists", "tidings:default:inventory-change:log"]), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_master_appends_nothing() {
    let (redis, other) = (Redis::start(), Redis::start());
    let node = Node::on_redis(redis.port).await;
    node.add(STOCK, "a").await;
    // A manual demotion, which leaves the connections open.
    redis.cli(&["replicaof", "127.0.0.1", &other.port.to_string()]);
    let reason = until("the error names the cause", async || {
        let error = node.try_append(STOCK, Epoch::random().as_str()).await.expect_err("a replica refuses writes");
        assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
        let reason = error.to_string();
        reason.contains("is a replica").then_some(reason)
    })
    .await;
    assert!(reason.contains("READONLY"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_sentinels_are_reported() {
    let redis = Redis::start();
    let sentinel = Redis::sentinel(redis.port, 1);
    let fails = async |path: &str, words: &str| {
        let node = Node::open(&config(url(&format!("redis-sentinel://127.0.0.1:{}{path}", sentinel.port))));
        until(words, async || node.try_append(STOCK, "a").await.err()?.to_string().contains(words).then_some(())).await;
    };
    fails("/other", "no sentinel names the master of other: ERR No such master").await;
    documented_user(&sentinel, "&+switch-master");
    sentinel.cli(&["acl", "setuser", "default", "off"]);
    fails("/main", "NOAUTH").await;
    let path = "/main?sentinel_username=tidings&sentinel_password=s3cret";
    let mut node = Node::ready(&config(url(&format!("redis-sentinel://127.0.0.1:{}{path}", sentinel.port)))).await;
    node.hears(STOCK).await;
}
