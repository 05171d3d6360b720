//! Two nodes on one Redis, of which the one that delivers dies, stands still, or drains.
//!
//! The receiver's record is the ledger: every event that was accepted came, each subject's in order, and an event came twice
//! only where the sender may not have noted its answer.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::receiver::{Answer, Receiver, folder, listed, publish, ready, sale, status, table};
use crate::support::daemon::Daemon;
use crate::support::redis::Redis;
use crate::support::until;

/// Subjects that are delivered side by side: the most events that a death may have come between.
const CONCURRENCY: usize = 4;
const SUBJECTS: usize = 6;

struct Cluster {
    _redis: Redis,
    receiver: Receiver,
    /// By their ids, `one` and `two`.
    nodes: HashMap<String, Daemon>,
    /// Ids that were accepted, by subject.
    sent: HashMap<String, Vec<String>>,
    count: usize,
}

impl Cluster {
    async fn start() -> Self {
        // A little time, so that requests are under way when something happens.
        Self::with(Duration::from_millis(20), "3s").await
    }

    /// The receiver answers after `delay`.
    async fn with(delay: Duration, drain: &str) -> Self {
        let redis = Redis::start();
        let receiver = Receiver::start(move |_, _| Answer { delay, ..status(200) }).await;
        let broker = format!("redis://127.0.0.1:{}", redis.port);
        let more = format!("allow_private = true\nconcurrency = {CONCURRENCY}");
        let tables = table(&receiver.url(), "[\"inventory-change\"]", &more);
        let mut nodes = HashMap::new();
        for name in ["one", "two"] {
            let flags = ["--listen", "127.0.0.1:0", "--broker", &broker, "--node-id", name, "--drain", drain];
            nodes.insert(name.to_owned(), ready(Daemon::with(&flags, folder(&tables))).await);
        }
        Self { _redis: redis, receiver, nodes, sent: HashMap::new(), count: 0 }
    }

    /// The node that delivers, by what any node says.
    fn deliverer(&self, asked: &str) -> Option<String> {
        listed(&self.nodes[asked])["node"].as_str().map(str::to_owned)
    }

    /// Publishes so many events through a node.
    async fn publish(&mut self, node: &str, count: usize) {
        let mut events = Vec::new();
        for _ in 0..count {
            let (id, subject) = (format!("e-{}", self.count), format!("p{}", self.count % SUBJECTS));
            events.push(sale(&id, &subject));
            self.sent.entry(subject).or_default().push(id);
            self.count += 1;
        }
        publish(&self.nodes[node], &events).await;
    }

    /// Waits until the receiver has taken everything, and compares its record with what was sent. Returns how many events came
    /// more than once.
    async fn check(&self, most_twice: usize) -> usize {
        until("everything came", async || {
            let taken: HashSet<String> = self.receiver.taken().into_iter().collect();
            (taken.len() == self.count).then_some(())
        })
        .await;
        let mut first: HashMap<String, Vec<String>> = HashMap::new();
        let (mut seen, mut twice) = (HashSet::new(), 0);
        for one in self.receiver.received() {
            match seen.insert(one.id().to_owned()) {
                true => first.entry(one.event["subject"].as_str().unwrap().into()).or_default().push(one.id().into()),
                false => twice += 1,
            }
        }
        assert_eq!(first, self.sent, "each subject's events are in order");
        assert!(twice <= most_twice, "{twice} events came twice");
        twice
    }
}

fn other(name: &str) -> &'static str {
    if name == "one" { "two" } else { "one" }
}

async fn deliverer(cluster: &Cluster) -> String {
    until("a node delivers", async || cluster.deliverer("one")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_deliverer_is_killed_another_goes_on_without_loss() {
    let mut cluster = Cluster::start().await;
    let first = deliverer(&cluster).await;
    let second = other(&first);
    cluster.publish(second, 200).await;
    cluster.receiver.took(50).await;
    let killed = Instant::now();
    cluster.nodes[&first].process.signal("KILL");
    cluster.publish(second, 100).await;
    until("another node delivers", async || (cluster.deliverer(second)? == second).then_some(())).await;
    println!("taken over after {:?}", killed.elapsed());
    let twice = cluster.check(CONCURRENCY).await;
    println!("{twice} events came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deliverer_that_stood_still_sends_nothing_more_and_sets_nothing_back() {
    let mut cluster = Cluster::start().await;
    let first = deliverer(&cluster).await;
    let second = other(&first);
    cluster.publish(second, 200).await;
    cluster.receiver.took(50).await;
    cluster.nodes[&first].process.signal("STOP");
    until("another node delivers", async || (cluster.deliverer(second)? == second).then_some(())).await;
    cluster.publish(second, 100).await;
    cluster.nodes[&first].process.signal("CONT");
    cluster.publish(second, 100).await;
    // What was under way at the stop may have been answered without being noted.
    cluster.check(CONCURRENCY).await;
    let lost = cluster.nodes[&first].process.said("lost its lease");
    assert!(lost.contains("waits for the next"), "{lost}");
    assert_eq!(cluster.deliverer(&first).as_deref(), Some(second));
    cluster.publish(&first, 20).await;
    cluster.check(CONCURRENCY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_half_of_the_drain_is_not_made_again() {
    let mut cluster = Cluster::with(Duration::from_secs(5), "10s").await;
    let first = deliverer(&cluster).await;
    let second = other(&first);
    cluster.publish(second, CONCURRENCY).await;
    until("an attempt", async || (!cluster.receiver.received().is_empty()).then_some(())).await;
    cluster.nodes[&first].process.signal("TERM");
    let gone = cluster.nodes.remove(&first).unwrap();
    assert_eq!(gone.process.ended().code, Some(0));
    until("the other node delivers", async || (cluster.deliverer(second)? == second).then_some(())).await;
    cluster.publish(second, 1).await;
    cluster.check(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deliverer_that_drains_hands_over_at_once_and_nothing_comes_twice() {
    let mut cluster = Cluster::start().await;
    let first = deliverer(&cluster).await;
    let second = other(&first);
    cluster.publish(second, 200).await;
    cluster.receiver.took(50).await;
    cluster.nodes[&first].process.signal("TERM");
    cluster.publish(second, 100).await;
    assert_eq!(cluster.check(0).await, 0);
    assert_eq!(cluster.deliverer(second).as_deref(), Some(second));
    let gone = cluster.nodes.remove(&first).unwrap();
    assert_eq!(gone.process.ended().code, Some(0));
    let states: Value = listed(&cluster.nodes[second]);
    assert_eq!(states["dead"], 0);
}
