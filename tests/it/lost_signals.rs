//! Events that are in the log although their signal was refused or lost: the subscribers of every node get them without
//! another publish, in order and once. What is not in the log is never delivered.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::broker::{Signal, observe};
use tidings::config::Config;
use tidings::event::Event;

use crate::support::broker::{self, redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::events::{epoch_and_offset, order, with};
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::{Redis, documented_user};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

const CHANNEL: &str = "order-status";
/// Events of a batch: the append script trims once in so many.
const BATCH: usize = 64;

/// Two nodes on one log, and a subscriber at each.
struct Nodes<'a> {
    nodes: [Node; 2],
    /// What each has received.
    subscribers: [(Subscriber, Vec<Value>); 2],
    /// The server with the channel's log.
    server: &'a Redis,
    /// The key of the log.
    log: &'static str,
    published: usize,
}

impl<'a> Nodes<'a> {
    async fn start(config: [Config; 2], server: &'a Redis, log: &'static str) -> Self {
        let [one, two] = config;
        let nodes = [Node::start(one).await, Node::start(two).await];
        let subscribe = async |node: &Node| (Subscriber::to(node, CHANNEL).await, Vec::new());
        let subscribers = [subscribe(&nodes[0]).await, subscribe(&nodes[1]).await];
        Self { nodes, subscribers, server, log, published: 0 }
    }

    /// The ids of the events in the log.
    fn logged(&self) -> Vec<Value> {
        let entries = self.server.cli(&["xrange", self.log, "-", "+"]);
        let events = entries.lines().filter(|line| line.starts_with('{'));
        events.map(|event| serde_json::from_str::<Value>(event).unwrap()["id"].take()).collect()
    }

    /// Posts a batch at the first node; returns it and the status.
    async fn post(&mut self) -> (Value, u16) {
        self.published += 1;
        let id = |number| format!("{} {number}", self.published);
        let batch = Value::from_iter((0..BATCH).map(|number| with(order("1"), "id", id(number))));
        let status = self.nodes[0].post(&batch).await.status;
        (batch, status)
    }

    /// Waits until each subscriber has received what is in the log, and asserts that it received nothing else.
    async fn deliver(&mut self, what: &str) {
        let logged = self.logged();
        for (node, (subscriber, received)) in self.subscribers.iter_mut().enumerate() {
            let deliver = async {
                while received.len() < logged.len() {
                    received.push(subscriber.event().await.event["id"].take());
                }
            };
            within(&format!("node {node} delivers what is in the log {what}"), deliver).await;
            assert_eq!(*received, logged, "node {node} {what}");
            subscriber.pong_is_next().await;
        }
    }
}

/// Takes away each right in turn during operation, posts, and gives it back.
async fn without_each_right(servers: &[Redis], words: &str, log: &'static str, config: &Config) {
    let mut rights = Vec::new();
    for server in servers {
        rights = documented_user(server, words);
    }
    let set = |right: &str| servers.iter().for_each(|server| drop(server.cli(&["acl", "setuser", "tidings", right])));
    let mut nodes = Nodes::start([config.clone(), config.clone()], &servers[0], log).await;
    // An event that is too old to be retained, so that every trim needs all of its rights.
    let meta = log.replace(":log", ":meta");
    servers[0].cli(&["xadd", log, "1-0", "e", "{}", "t", "1"]);
    servers[0].cli(&["hset", &meta, "offset", "1"]);
    servers[0].cli(&["xdel", log, "1-0"]);
    for subscriber in &mut nodes.subscribers {
        within("the gap", subscriber.0.frame_of("gap")).await;
    }
    // Without these nothing of the log can be read either.
    let read = ["+eval", "+evalsha", "+time", "+hmget", "+xrange"];
    for right in rights {
        if ["+ping", "+subscribe", "+ssubscribe"].contains(&right) {
            continue;
        }
        set(&right.replacen('+', "-", 1));
        let (batch, status) = nodes.post().await;
        assert!([202, 503].contains(&status), "{status} without {right}");
        // Nor without the view of the cluster, if a node asks for it meanwhile.
        if !read.contains(&right) && !right.starts_with("+cluster|") {
            nodes.deliver(&format!("without {right}")).await;
        }
        set(right);
        nodes.deliver(&format!("after {right} is granted again")).await;
        // What was answered with an error is completed by publishing it again, and nothing is delivered twice.
        let complete = async || (nodes.nodes[0].post(&batch).await.status == 202).then_some(());
        until("publishing works again", complete).await;
        nodes.deliver("after publishing the batch again").await;
    }
    assert_eq!(nodes.logged().len(), nodes.published * BATCH, "every batch is complete in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_user_without_each_right_in_turn() {
    let redis = Redis::start();
    let text = format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port);
    let config = node::config(url(&text));
    without_each_right(&[redis], "~tidings:*", "tidings:default:order-status:log", &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_user_without_each_right_in_turn() {
    let cluster = Cluster::masters();
    let text = cluster.text().replace("redis-cluster://", "redis-cluster://tidings:s3cret@");
    let mut config = node::config(url(&text));
    // On a busy machine the nodes lack some right for long. Their connections stay open all the same.
    config.server.partitioned_after = Duration::from_secs(120);
    without_each_right(&cluster.nodes, "cluster|slots", "tidings:default:{order-status}:log", &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reply_to_an_append_is_lost() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let config = [proxy.port, redis.port].map(|port| node::config(redis_url(port)));
    let mut nodes = Nodes::start(config, &redis, "tidings:default:order-status:log").await;
    for _ in 0..2 {
        proxy.set(Mode::DeafClient);
        assert_eq!(nodes.post().await.1, 503);
        proxy.cut();
        proxy.set(Mode::Pass);
        nodes.deliver("after the connection was cut").await;
        let recovered = async || (nodes.nodes[0].get("/readyz").await.status == 200).then_some(());
        until("the node is ready", recovered).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_has_no_memory_left() {
    let redis = Redis::start();
    let config = node::config(redis_url(redis.port));
    let mut nodes = Nodes::start([config.clone(), config], &redis, "tidings:default:order-status:log").await;
    for memory in ["1", "0"] {
        redis.cli(&["config", "set", "maxmemory", memory]);
        assert_eq!(nodes.post().await.1, if memory == "0" { 202 } else { 503 });
        nodes.deliver(&format!("with maxmemory {memory}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_buffer_of_the_signals_is_full() {
    let redis = Redis::start();
    let node = broker::Node::on_redis(redis.port).await;
    let event = node.event(CHANNEL, "");
    let (backend, mut signals) = observe(node.broker.clone(), node.bus, &node.catalog);
    let mut head = None;
    for batch in 0..6 {
        let events = (0..1000).map(|number| Event { id: format!("{batch} {number}"), ..event.clone() });
        head = backend.append(&events.collect::<Vec<_>>()).await.unwrap().pop().map(|appended| appended.position);
    }
    let mut received = Vec::new();
    let reported = Signal::Reported { channel: node.catalog.channel(CHANNEL).unwrap(), position: head.unwrap() };
    while !received.contains(&reported) {
        assert!(within("the report", signals.recv_many(&mut received, 4096)).await > 0);
    }
    let last = received.iter().filter_map(|signal| match signal {
        Signal::Appended { position, .. } => Some(position.offset),
        _ => None,
    });
    assert!(last.max().is_some_and(|last| last < 6000), "the buffer was not full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_nobody_signals_and_a_loss_that_nobody_sees() {
    let redis = Redis::start();
    let config = node::config(redis_url(redis.port));
    let mut nodes = Nodes::start([config.clone(), config], &redis, "tidings:default:order-status:log").await;
    let first = nodes.nodes[0].publish(&order("1")).await.remove(0).position;
    nodes.deliver("as usual").await;
    // As the append script does, without PUBLISH.
    redis.cli(&["xadd", nodes.log, "2-0", "e", r#"{"id":"quiet"}"#, "t", "99999999999999"]);
    redis.cli(&["hset", "tidings:default:order-status:meta", "offset", "2"]);
    nodes.deliver("without a signal").await;
    redis.cli(&["flushall"]);
    for (subscriber, _) in &mut nodes.subscribers {
        let gap = within("the gap", subscriber.frame_of("gap")).await;
        assert_eq!(gap["from"], json!(format!("{}:2", epoch_and_offset(&first).0)));
    }
}
