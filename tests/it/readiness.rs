//! `/readyz` says what publishing and reading will meet: it is 503 while an event cannot be published or read, and names
//! what to do. A start and a reconnection are no errors.

use serde_json::Value;
use tidings::config::Config;

use crate::support::broker::{redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::events::order;
use crate::support::node::{self, Node};
use crate::support::redis::{Redis, documented_user};
use crate::support::until;

/// Waits until `/readyz` is 503 with these words in its reason.
async fn unready(node: &Node, words: &str) {
    let mut last = String::new();
    until(&format!("/readyz says {words:?}"), async || {
        let response = node.get("/readyz").await;
        if response.text != last {
            println!("{}", response.text);
            last.clone_from(&response.text);
        }
        (response.status == 503 && response.text.contains(words)).then_some(())
    })
    .await;
}

/// Waits until the node is ready, and asserts that it then publishes.
async fn ready(node: &Node) {
    until("the node is ready", async || (node.get("/readyz").await.status == 200).then_some(())).await;
    node.publish(&order("1")).await;
}

/// Takes away each documented right in turn, and then the keys and the channels.
async fn each_right_is_named(servers: &[Redis], words: &str, config: Config) {
    let mut rights = Vec::new();
    for server in servers {
        rights = documented_user(server, words);
    }
    let set = |words: &[&str]| {
        for server in servers {
            server.cli(&[&["acl", "setuser", "tidings"], words].concat());
        }
    };
    let node = Node::start(config).await;
    let of_connections = |right: &str| right.starts_with("+cluster") || ["+ping", "+eval"].contains(&right);
    let (of_bus, of_scripts): (Vec<_>, Vec<_>) =
        rights.into_iter().filter(|right| !of_connections(right)).partition(|right| right.ends_with("subscribe"));
    // The rights of the scripts are named together. That to run scripts at all is the first that is missed.
    let of_scripts: Vec<_> = of_scripts.into_iter().filter(|right| *right != "+evalsha").collect();
    for right in &of_scripts {
        set(&[&right.replacen('+', "-", 1)]);
    }
    for right in &of_scripts {
        unready(&node, right).await;
    }
    set(&of_scripts);
    ready(&node).await;
    // No probe needs this one of a single server. The refused event makes the next probe look for it.
    if of_scripts.contains(&"+publish") {
        set(&["-publish"]);
        node.post(&order("2")).await.problem(503, "broker-unavailable");
        unready(&node, "grant +publish (").await;
        set(&["+publish"]);
        ready(&node).await;
    }
    for right in of_bus.into_iter().chain(["+evalsha"]) {
        set(&[&right.replacen('+', "-", 1)]);
        for server in servers {
            server.cli(&["client", "kill", "type", "pubsub"]);
        }
        unready(&node, &format!("grant {right}")).await;
        set(&[right]);
        ready(&node).await;
    }
    set(&["resetkeys", "~other:*"]);
    unready(&node, "grant ~tidings:*").await;
    set(&["resetkeys", "~tidings:*", "resetchannels", "&other:*"]);
    unready(&node, "grant &tidings:*").await;
    set(&["&tidings:*"]);
    ready(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_a_redis_user_lacks_is_named() {
    let redis = Redis::start();
    let config = node::config(url(&format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port)));
    each_right_is_named(&[redis], "~tidings:*", config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_a_cluster_user_lacks_is_named() {
    let cluster = Cluster::masters();
    let config = node::config(url(&cluster.text().replace("redis-cluster://", "redis-cluster://tidings:s3cret@")));
    each_right_is_named(&cluster.nodes, "cluster|slots", config).await;
}

/// A type that keeps the newest event of each subject needs further rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_latest_lacks_is_named() {
    let redis = Redis::start();
    documented_user(&redis, "~tidings:*");
    let documentation = include_str!("../../docs/redis.md");
    let line = documentation.lines().find(|line| line.starts_with("- A type that keeps the [newest event"));
    let rights: Vec<_> = line.and_then(|line| line.split('`').nth(1)).expect("rights").split(' ').collect();
    assert_eq!(rights.len(), 6, "{rights:?}");
    let set = |word: &str| redis.cli(&["acl", "setuser", "tidings", word]);
    let mut config = node::config(url(&format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port)));
    // The rights are checked with each 16th probe.
    config.broker.pulse = std::time::Duration::from_millis(100);
    crate::latest::keeping(&mut config);
    let node = Node::unready(config).await;
    unready(&node, &format!("grant {} (ACL SETUSER)", rights.join(" "))).await;
    for right in &rights {
        set(right);
    }
    ready(&node).await;
    for right in rights {
        set(&right.replacen('+', "-", 1));
        unready(&node, &format!("grant {right} (ACL SETUSER)")).await;
        set(right);
        ready(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refuses_is_named_with_what_to_do() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    node.publish(&order("1")).await;
    for (commands, reason, undo) in [
        (vec!["config set maxmemory 1"], "raise Redis' maxmemory", vec!["config set maxmemory 0"]),
        (vec!["replicaof 127.0.0.1 1"], "replica", vec!["replicaof no one"]),
        (
            vec!["rename tidings:default:order-status:log saved", "set tidings:default:order-status:log text"],
            "the log of order-status cannot be read: WRONGTYPE",
            vec!["rename saved tidings:default:order-status:log"],
        ),
        (
            vec!["rename tidings:default:order-status:meta saved", "set tidings:default:order-status:meta text"],
            "the log of order-status cannot be read: WRONGTYPE",
            vec!["rename saved tidings:default:order-status:meta"],
        ),
    ] {
        let cli = |command: &str| redis.cli(&command.split(' ').collect::<Vec<_>>());
        commands.into_iter().for_each(|command| drop(cli(command)));
        node.post(&order("2")).await.problem(503, "broker-unavailable");
        unready(&node, reason).await;
        node.post(&order("2")).await.problem(503, "broker-unavailable");
        undo.into_iter().for_each(|command| drop(cli(command)));
        ready(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_leaves_no_keys_and_shows_no_channel() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    until("some probes", async || (node.metric("tidings_broker_round_trip_seconds_count").await >= 3.0).then_some(()))
        .await;
    assert!(!node.get("/v1/channels").await.text.contains("probe"));
    let keys = redis.cli(&["keys", "tidings:default:probe:*"]);
    let lasting: Vec<_> = keys.lines().filter(|key| !key.contains(":id:")).collect();
    assert_eq!(lasting.len(), 2, "a stream and its meta hash: {keys}");
    for key in lasting {
        let ttl: i64 = redis.cli(&["pttl", key]).parse().unwrap();
        assert!((1..=60_000).contains(&ttl), "{key}: {ttl}");
    }
}

/// A daemon on this broker.
fn daemon(broker: &str) -> Daemon {
    let flags = ["--listen", "127.0.0.1:0", "--broker", broker];
    Daemon::with(&flags, tempfile::tempdir().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_and_a_reconnection_log_no_error() {
    let redis = Redis::start();
    let cluster = Cluster::shared();
    for broker in [format!("redis://127.0.0.1:{}", redis.port), cluster.text()] {
        let daemon = daemon(&broker);
        daemon.process.said("ready: the round trip");
        let probes = async |more: f64| {
            let count = async || {
                let text = reqwest::get(format!("{}/metrics", daemon.url)).await.ok()?.text().await.ok()?;
                let line =
                    text.lines().find_map(|line| line.strip_prefix("tidings_broker_round_trip_seconds_count "))?;
                line.parse::<f64>().ok()
            };
            let before = until("the metrics", count).await;
            until("some probes", async || (count().await? >= before + more).then_some(())).await;
        };
        probes(1.0).await;
        if broker.starts_with("redis:") {
            for _ in 0..2 {
                redis.cli(&["client", "kill", "type", "pubsub"]);
                redis.cli(&["client", "kill", "type", "normal"]);
                probes(2.0).await;
            }
        }
        daemon.process.signal("TERM");
        let ended = daemon.process.ended();
        let lines = ended.err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let errors: Vec<_> = lines.filter(|line| line["level"] == "ERROR").collect();
        assert!(errors.is_empty() && !ended.err.contains("not ready"), "{broker}: {errors:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_logs_the_cause() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "default", "resetpass", ">secret"]);
    for (broker, cause) in [
        (format!("redis://:wrong@127.0.0.1:{}", redis.port), "correct the user and password"),
        ("redis://127.0.0.1:1".to_owned(), "Connection refused"),
        ("redis-cluster://127.0.0.1:1".to_owned(), "Connection refused"),
    ] {
        let daemon = daemon(&broker);
        let line: Value = serde_json::from_str(&daemon.process.said("not ready")).unwrap();
        assert_eq!(line["level"], "ERROR", "{line}");
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(cause)), "{line}");
    }
}
