//! The test harness: real daemons on one broker, with publishers and subscribers running, and methods to break things and to wait
//! for the effects.
//!
//! On a single Redis, each daemon reaches it through a [`Proxy`] of its own, which can break the network.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::bridge::{Bridge, BridgeMetrics};
use super::checker::check;
use super::figures;
use super::latest::Latest;
use super::ledger::{CHANNELS, Ledger, ObservedStream, ResponseCounts, SharedLedger, lock};
use super::node::{self, StartOptions};
use super::profile::{Profile, profile};
use super::publisher::Publisher;
use super::subscriber::{ReadGate, subscribe};
use super::webhook::Webhook;
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::{PATIENCE, seed, until};

/// The longest time that a 503 may take.
const MAX_503_TIME: Duration = Duration::from_secs(3);

/// The daemons, the load on them, and the broker `B` that they share.
pub struct Harness<B = Redis> {
    /// The servers or files of the broker.
    pub broker: B,
    /// The proxies to a single Redis, one for each node. Cluster and Sentinel have none: they announce their own addresses.
    pub proxies: Vec<Proxy>,
    pub urls: Vec<String>,
    /// The broker URL of each node.
    broker_urls: Vec<String>,
    /// The process of each node; `None` where it was killed.
    nodes: Vec<Option<Daemon>>,
    /// Whether clients that lose their node continue at another. If not, no connection may end.
    fails_over: bool,
    profile: Profile,
    webhook: Webhook,
    bridge: Bridge,
    latest: Latest,
    ledger: SharedLedger,
    seed: u64,
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
    /// The longest time from a repair until every node accepted events.
    longest_recovery: Duration,
}

impl Harness {
    /// Starts two nodes and the load; returns when everything runs.
    pub async fn on_redis(redis: Redis) -> Self {
        Self::with_proxies(redis, 2, StartOptions::default()).await
    }

    /// Starts nodes with these flags; every client knows all of them and fails over.
    pub async fn with_failover(redis: Redis, nodes: usize, flags: &[&str]) -> Self {
        Self::with_proxies(redis, nodes, StartOptions { flags, fails_over: true, clock: None }).await
    }

    /// Starts nodes, each with a proxy of its own to Redis.
    pub async fn with_proxies(redis: Redis, nodes: usize, options: StartOptions<'_>) -> Self {
        let (mut proxies, mut broker_urls) = (Vec::new(), Vec::new());
        for _ in 0..nodes {
            let proxy = Proxy::start(redis.port).await;
            broker_urls.push(format!("redis://127.0.0.1:{}", proxy.port));
            proxies.push(proxy);
        }
        Self::start(redis, proxies, broker_urls, options).await
    }
}

impl Harness<Sentinels> {
    /// Starts two nodes on a Redis with sentinels.
    pub async fn on_sentinel(sentinels: Sentinels) -> Self {
        let broker = sentinels.url();
        Self::start(sentinels, Vec::new(), vec![broker.clone(), broker], StartOptions::default()).await
    }
}

impl Harness<Cluster> {
    /// Starts two nodes on a Redis Cluster.
    pub async fn on_cluster(cluster: Cluster) -> Self {
        let broker = cluster.text();
        Self::start(cluster, Vec::new(), vec![broker.clone(), broker], StartOptions::default()).await
    }
}

impl<B> Harness<B> {
    /// Starts a node for each of these broker URLs, then the load; returns when everything runs.
    pub async fn start(broker: B, proxies: Vec<Proxy>, broker_urls: Vec<String>, options: StartOptions<'_>) -> Self {
        let (count, webhook, bridge) = (broker_urls.len(), Webhook::start().await, Bridge::start());
        let tables = node::tables(&webhook, &bridge);
        let node = |(number, broker): (usize, &String)| node::start(number, "127.0.0.1:0", broker, &tables, options);
        let nodes: Vec<_> = broker_urls.iter().enumerate().map(node).collect();
        let ledger = SharedLedger::default();
        let mut harness = Self {
            broker,
            proxies,
            urls: nodes.iter().map(|node| node.url.clone()).collect(),
            broker_urls,
            nodes: nodes.into_iter().map(Some).collect(),
            fails_over: options.fails_over,
            profile: profile(),
            webhook,
            bridge,
            latest: Latest::new(ledger.clone()),
            ledger,
            // The seed repeats the publishers' choices, as long as the outcomes are the same.
            seed: seed(),
            stop: Arc::default(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            longest_recovery: Duration::ZERO,
        };
        harness.ledger().responses = vec![ResponseCounts::default(); count];
        for node in 0..count {
            harness.wait_for_readyz(node, 200).await;
            harness.add_subscriber(node, &CHANNELS).await;
            for number in 0..harness.profile.subscribers {
                harness.add_subscriber(node, &[CHANNELS[(node + number) % CHANNELS.len()]]).await;
            }
        }
        for number in 0..harness.profile.publishers {
            let publisher = harness.publisher(number);
            harness.publishers.push(tokio::spawn(publisher.run(harness.stop.clone())));
        }
        harness.bridge.wait_for_listeners(count).await;
        harness.publishers.push(tokio::spawn(harness.bridge.publish(harness.ledger.clone(), harness.stop.clone())));
        harness.run_healthy().await;
        harness.latest.check(&harness.urls[0], false).await;
        harness
    }

    fn publisher(&self, number: usize) -> Publisher {
        Publisher::new(number, self.seed, self.urls.clone(), self.fails_over, self.ledger.clone())
    }

    /// Adds a subscriber at a node, to these channels.
    pub async fn add_subscriber(&mut self, node: usize, channels: &[&'static str]) {
        let name = format!("subscriber {} at node {node}", self.subscribers.len());
        let mut nodes = self.urls.clone();
        nodes.rotate_left(node);
        nodes.truncate(if self.fails_over { nodes.len() } else { 1 });
        self.add_subscriber_at(name, nodes, channels).await;
    }

    /// Adds a subscriber with its own list of node URLs.
    pub async fn add_subscriber_at(&mut self, name: String, nodes: Vec<String>, channels: &[&'static str]) {
        let subscriber = subscribe(name, nodes, channels, self.ledger.clone(), None).await;
        self.subscribers.push(subscriber);
    }

    /// Adds a subscriber that reads more slowly than events arrive.
    pub async fn add_slow_subscriber(&mut self, node: usize, read_gate: ReadGate) {
        let name = format!("slow subscriber {}", self.subscribers.len());
        // The node is listed twice, so that the subscriber may reconnect after it was closed.
        let nodes = vec![self.urls[node].clone(); 2];
        let subscriber = subscribe(name, nodes, &CHANNELS, self.ledger.clone(), Some(read_gate)).await;
        self.subscribers.push(subscriber);
    }

    /// The process id of a node.
    pub fn process_id(&self, node: usize) -> u32 {
        self.nodes[node].as_ref().expect("the node runs").process.id()
    }

    /// Injects a fault by which the broker loses deduplication ids too early. Events that were sent before it, and are sent again,
    /// may then be delivered twice.
    pub fn expire_ids_by(&self, fault: impl FnOnce()) {
        let mut ledger = self.ledger();
        // The lock keeps publishers from recording responses meanwhile.
        fault();
        ledger.expired_before = ledger.sent.len();
        // Each node publishes a message of the legacy publisher, some of them after the fault.
        ledger.bridged().for_each(|sent| sent.id_expired = true);
    }

    /// Lets the load run for a while without a fault.
    pub async fn run_healthy(&self) {
        let end = Instant::now() + self.profile.phase;
        self.wait_for_acknowledged(300).await;
        tokio::time::sleep_until(end.into()).await;
    }

    /// Waits until this many more events are acknowledged.
    pub async fn wait_for_acknowledged(&self, events: usize) {
        let target = self.ledger().acknowledged() + events;
        until("more events are acknowledged", async || (self.ledger().acknowledged() >= target).then_some(())).await;
    }

    /// Waits until a node has answered this many more requests with 503.
    pub async fn wait_for_503s(&self, node: usize, requests: usize) {
        let answered = || self.ledger().responses[node].unavailable;
        let target = answered() + requests;
        until("more requests are answered with 503", async || (answered() >= target).then_some(())).await;
    }

    /// Waits until `/readyz` of a node has this status. `/healthz` must be 200 all the time.
    pub async fn wait_for_readyz(&self, node: usize, status: u16) {
        until(&format!("/readyz of node {node} has status {status}"), async || {
            assert_eq!(self.status_of(node, "healthz").await, 200);
            (self.status_of(node, "readyz").await == status).then_some(())
        })
        .await;
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Stops a node with SIGTERM, checks that it exits with 0, and starts it again at the same address.
    pub async fn restart(&mut self, node: usize) {
        let old = self.nodes[node].take().expect("the node runs");
        old.process.signal("TERM");
        let ended = tokio::task::spawn_blocking(|| old.process.ended()).await.expect("the wait does not panic");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let address = self.urls[node].trim_start_matches("http://");
        let (tables, broker) = (node::tables(&self.webhook, &self.bridge), &self.broker_urls[node]);
        self.nodes[node] = Some(node::start(node, address, broker, &tables, StartOptions::default()));
        self.bridge.wait_for_listeners(self.nodes.len()).await;
        // This node may publish its first message before the others have published the one before it.
        self.ledger().bridged().for_each(|sent| sent.may_be_reordered = true);
    }

    /// Waits until `/v1/nodes` of a node lists exactly these nodes in these states.
    pub async fn wait_for_node_states(&self, at: usize, states: &[(&str, &str)]) {
        until(&format!("the nodes are {states:?}"), async || {
            let response = reqwest::get(format!("{}/v1/nodes", self.urls[at])).await.expect("a response");
            let list: serde_json::Value = response.json().await.expect("JSON");
            let listed = list["nodes"].as_array().expect("a list").iter();
            let found: Vec<_> = listed.map(|node| (node["id"].as_str(), node["state"].as_str())).collect();
            let expected = states.iter().map(|&(id, state)| (Some(id), Some(state)));
            found.into_iter().eq(expected).then_some(())
        })
        .await;
    }

    /// The sum of the samples of a node's metric; 0 where there is none.
    pub async fn metric(&self, node: usize, name: &str) -> f64 {
        let metrics = reqwest::get(format!("{}/metrics", self.urls[node])).await.expect("a response");
        let metrics = metrics.text().await.expect("text");
        let samples =
            metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        samples.fold(0.0, |sum, sample| sum + sample)
    }

    /// The bridges' metrics, of all nodes that run.
    async fn bridge_metrics(&self) -> BridgeMetrics {
        let mut metrics = BridgeMetrics::default();
        for (node, _) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_some()) {
            for (name, sum) in metrics.samples() {
                *sum += self.metric(node, name).await;
            }
        }
        metrics
    }

    /// Waits until a node is partitioned and has closed all its connections.
    pub async fn wait_for_eviction(&self, node: usize) {
        until(&format!("node {node} has no connections"), async || {
            let stream = self.status_of(node, "v1/stream").await;
            (stream == 503 && self.metric(node, "tidings_connections").await == 0.0).then_some(())
        })
        .await;
    }

    /// The status of a GET request.
    async fn status_of(&self, node: usize, route: &str) -> u16 {
        let url = format!("{}/{route}", self.urls[node]);
        reqwest::get(url).await.expect("the daemon responds").status().as_u16()
    }

    /// Waits until all nodes are ready and accept events, and records how long that took since the call. Then the newest events
    /// of the subjects must be those of the log.
    pub async fn wait_for_recovery(&mut self) {
        let start = Instant::now();
        let acknowledged =
            || self.ledger().responses.iter().map(|responses| responses.acknowledged).collect::<Vec<_>>();
        for (node, before) in acknowledged().into_iter().enumerate() {
            self.wait_for_readyz(node, 200).await;
            until("all nodes accept events", async || (acknowledged()[node] > before).then_some(())).await;
        }
        self.longest_recovery = self.longest_recovery.max(start.elapsed());
        // One node is enough under load: all of them have the same broker.
        self.latest.check(&self.urls[0], false).await;
    }

    /// Waits until Sentinel has announced another master and an event was acknowledged since; prints how long that took.
    pub async fn wait_for_failover(&self, switched: impl Future<Output = Instant>) {
        let before = self.ledger().acknowledged();
        let switched = switched.await;
        until("an event is acknowledged", async || (self.ledger().acknowledged() > before).then_some(())).await;
        println!("acknowledged {:.2} s after Sentinel announced the new master", switched.elapsed().as_secs_f64());
    }

    /// Waits until every subscriber has received this many gaps.
    pub async fn wait_for_gaps(&self, gaps: usize) {
        let received = async || self.ledger().streams.iter().all(|stream| stream.gaps() >= gaps).then_some(());
        until("every subscriber has received its gaps", received).await;
    }

    /// Stops the load, waits until every subscriber has received all of it, and checks the ledger. Every subscriber must have
    /// received exactly this number of gaps.
    pub async fn finish(self, name: &str, gaps: usize) {
        self.finish_with_gaps(name, |_| gaps..=gaps).await;
    }

    /// As [`finish`](Self::finish), with a range of allowed gaps for each stream.
    pub async fn finish_with_gaps(mut self, name: &str, gaps: impl Fn(&ObservedStream) -> RangeInclusive<usize>) {
        self.run_healthy().await;
        self.stop.store(true, Ordering::Relaxed);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await.expect("a publisher does not panic");
        }
        let last_events = self.publisher(self.profile.publishers).publish_last_events().await;
        let start = Instant::now();
        let has_all = |ledger: &Ledger| {
            let mut streams = ledger.streams.iter();
            streams.all(|stream| last_events.iter().any(|(channel, id)| *channel == stream.channel && stream.has(id)))
        };
        // If something never arrives, the checker reports what is missing.
        let is_complete = |ledger: &Ledger| {
            has_all(ledger) && self.bridge.is_complete(ledger) && self.webhook.check(ledger).is_empty()
        };
        while start.elapsed() < PATIENCE && !is_complete(&self.ledger()) {
            // The nodes need the processor that the comparison takes.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for (url, _) in self.urls.iter().zip(&self.nodes).filter(|(_, node)| node.is_some()) {
            self.latest.check(url, true).await;
        }
        println!("{}\n{}\n{}", self.webhook.figures(), self.bridge.figures(&self.ledger()), self.latest.figures());
        let bridge_metrics = self.bridge_metrics().await;
        let mut violations = check(&self.ledger());
        {
            let ledger = self.ledger();
            violations.extend(self.webhook.check(&ledger));
            violations.extend(self.bridge.check(&ledger, &bridge_metrics));
            for stream in ledger.streams.iter().filter(|stream| !gaps(stream).contains(&stream.gaps())) {
                let expected = gaps(stream);
                violations.push(format!("{}: {} gaps instead of {expected:?}", stream.name, stream.gaps()));
            }
            if ledger.longest_503() > MAX_503_TIME {
                violations.push(format!("a 503 took {:?}", ledger.longest_503()));
            }
            figures::report(name, self.seed, &ledger, self.longest_recovery);
        }
        self.subscribers.iter().for_each(JoinHandle::abort);
        for node in self.nodes.into_iter().flatten() {
            node.process.signal("TERM");
            let ended = node.process.ended();
            if ended.code != Some(0) {
                violations.push(format!("a node exited with {:?}", ended.code));
            }
            if !violations.is_empty() {
                println!("{}", ended.err);
            }
        }
        let count = violations.len();
        violations.truncate(20);
        assert!(violations.is_empty(), "{count} violations:\n{}", violations.join("\n"));
    }

    /// Locks the ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}
