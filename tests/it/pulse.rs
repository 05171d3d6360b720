//! The pulse: what an idle node sends to Redis, and what it still notices.

use std::time::Duration;

use serde_json::json;
use tidings::config::{BrokerUrl, Config};
use tidings::event::Catalog;

use crate::support::broker::{redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

/// The most events of a call that reads a log, or learns what it has.
const PAGE: &str = r#""512""#;

/// The built-in types, and own ones: so many in all.
fn catalog(types: usize) -> Catalog {
    let mut catalog = Catalog::builtin();
    for number in catalog.types().len()..types {
        catalog.add(&format!("own-{number}"), r#"{"type": "object"}"#).expect("a schema");
    }
    catalog
}

fn config(broker: BrokerUrl, pulse: Duration) -> Config {
    let mut config = node::config(broker);
    config.broker.pulse = pulse;
    config
}

/// The calls that an idle node sends to this server in so many pulses. Commands in scripts are no calls.
fn calls(redis: &Redis, pulses: usize) -> usize {
    let clients = redis.cli(&["client", "list"]);
    let sentinels: Vec<_> = clients
        .lines()
        .filter(|client| client.contains("name=sentinel-"))
        .filter_map(|client| client.split(" addr=").nth(1)?.split(' ').next())
        .collect();
    let monitor = redis.monitor();
    // The calls of each pulse, from one probe on to the next.
    let mut calls = Vec::new();
    while calls.len() <= pulses {
        // `TIME [DATABASE ADDRESS] "COMMAND" "ARGUMENT" …`
        let line = monitor.line();
        let client = line.split(['[', ']']).nth(1).and_then(|client| client.split(' ').nth(1)).unwrap_or_default();
        if client == "lua" || sentinels.contains(&client) {
            continue;
        }
        // The check of the rights, which names the probe's keys too, has few arguments.
        let is_probe = line.contains("probe:") && line.matches("\" \"").count() > 12 && !line.contains("beat");
        if line.contains(PAGE) {
            // A node that starts reads its logs: it is not idle yet.
            calls.clear();
        } else if !is_probe {
            calls.last_mut().into_iter().for_each(|calls| *calls += 1);
        } else {
            calls.push(1);
        }
    }
    calls.iter().take(pulses).sum()
}

async fn calls_in(redis: Redis, pulses: usize) -> (Redis, usize) {
    let counted = tokio::task::spawn_blocking(move || {
        let calls = calls(&redis, pulses);
        (redis, calls)
    });
    within("the pulses", counted).await.expect("it is counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_makes_at_most_three_calls_a_pulse() {
    for (types, pulse, pulses) in [(5, 1_000, 11), (200, 250, 40)] {
        let redis = Redis::start();
        let config = config(redis_url(redis.port), Duration::from_millis(pulse));
        let _node = Node::start_with(config, catalog(types)).await;
        let (_redis, calls) = calls_in(redis, pulses).await;
        println!("{types} types: {calls} calls in {pulses} pulses");
        assert!(calls <= 3 * pulses, "{types} types: {calls} calls in {pulses} pulses");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_behind_sentinel_makes_at_most_three_calls_a_pulse() {
    let master = Redis::start();
    let sentinel = Redis::sentinel(master.port, 1);
    let broker = url(&format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port));
    let _node = Node::start_with(config(broker, Duration::from_secs(1)), catalog(200)).await;
    let (_master, calls) = calls_in(master, 11).await;
    println!("{calls} calls in 11 pulses");
    assert!(calls <= 3 * 11, "{calls} calls in 11 pulses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_makes_at_most_three_calls_a_pulse_to_each_master_of_a_cluster() {
    let mut cluster = Cluster::masters();
    let _node = Node::start_with(config(cluster.url(), Duration::from_secs(1)), catalog(200)).await;
    let counted = std::mem::take(&mut cluster.nodes).into_iter().map(|master| calls_in(master, 11));
    let counted = futures_util::future::join_all(counted).await;
    // One of the masters is also asked for the slots, by two calls.
    let calls: Vec<_> = counted.iter().map(|(_, calls)| *calls).collect();
    println!("{calls:?} calls in 11 pulses");
    assert!(calls.iter().sum::<usize>() <= 3 * 3 * 11, "{calls:?} calls in 11 pulses");
}

/// The pulse is longer than `partitioned_after`. So the first probe that fails comes later than that after the last success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pulse_partitions_no_node() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let mut config = config(redis_url(proxy.port), Duration::from_secs(10));
    config.server.partitioned_after = Duration::from_secs(8);
    let node = Node::start(config).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    until("a probe fails", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    proxy.set(Mode::Pass);
    // Probes that fail are repeated without a pulse between them.
    until("the node is ready", async || (node.get("/readyz").await.status == 200).then_some(())).await;
    let published = node.publish(&sale("1")).await.remove(0);
    assert_eq!(subscriber.event().await.position, published.position, "the connection is still open");
}

/// With the longest pulse, `/readyz` says at once that the connection was cut, and that it is open again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pulse_delays_no_readiness() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let node = Node::start(config(redis_url(proxy.port), Duration::from_secs(300))).await;
    let ready = async |status| {
        until("the readiness changes", async || (node.get("/readyz").await.status == status).then_some(())).await;
    };
    ready(200).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    ready(503).await;
    proxy.set(Mode::Pass);
    ready(200).await;
}

/// A master becomes a replica and keeps its connections, as behind a host name that leads to another server now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_write_finds_the_demoted_master() {
    let (old, new) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(old.port).await;
    let node = Node::start(config(redis_url(proxy.port), Duration::from_secs(300))).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    old.cli(&["replicaof", "127.0.0.1", &new.port.to_string()]);
    proxy.redirect(new.port);
    let published = until("an event is accepted", async || {
        let response = node.post(&sale("1")).await;
        (response.status == 202).then(|| response.accepted().remove(0).position)
    })
    .await;
    // The new master has another log.
    subscriber.frame_of("gap").await;
    assert_eq!(subscriber.event().await.position, published);
}

/// The signal of an event is lost: it is in the log, and nobody published it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_signal_is_found_among_many_types() {
    let redis = Redis::start();
    let cluster = Cluster::masters();
    for (config, server, log) in [
        (node::config(redis_url(redis.port)), &redis, "tidings:default:inventory-change:"),
        (node::config(cluster.url()), &cluster.nodes[1], "tidings:default:{inventory-change}:"),
    ] {
        let node = Node::start_with(config, catalog(200)).await;
        let mut subscriber = Subscriber::to(&node, "inventory-change").await;
        let published = node.publish(&sale("1")).await.remove(0);
        assert_eq!(subscriber.event().await.position, published.position);
        let event = json!({"specversion": "1.0", "id": "quiet", "type": "inventory-change", "data": sale("2")["data"]});
        let time = time_of(server);
        server.cli(&["xadd", &format!("{log}log"), "2-0", "e", &event.to_string(), "t", &time, "n", "12345678"]);
        server.cli(&["hset", &format!("{log}meta"), "offset", "2", "time", &time]);
        assert_eq!(subscriber.event().await.event["id"], "quiet");
    }
}

/// The server's time in ms.
fn time_of(server: &Redis) -> String {
    let time = server.cli(&["time"]);
    format!("{}000", time.lines().next().expect("the seconds"))
}
