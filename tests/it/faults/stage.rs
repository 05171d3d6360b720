//! Daemons on one Redis, each with a link of its own, on one of its larger forms, or on files, under load.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::figures;
use super::form::{Form, form};
use super::ledger::{Answers, CHANNELS, Ledger, Shared, Stream, open};
use super::publisher::Publisher;
use super::subscriber::{Appetite, subscribe};
use super::verdict::judge;
use crate::support::clock::Clock;
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::{PATIENCE, seed, until};

/// How long a publisher may wait for its 503.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

pub struct Stage<B = Redis> {
    /// What the nodes stand on.
    pub broker: B,
    /// The links to it, one for each node; none to several servers, which say themselves where they are.
    pub links: Vec<Proxy>,
    pub urls: Vec<String>,
    /// The broker of each node.
    brokers: Vec<String>,
    /// `None` for one that was killed.
    nodes: Vec<Option<Daemon>>,
    /// Whether those who lose their node go on elsewhere. Otherwise no connection may end.
    roams: bool,
    form: Form,
    ledger: Shared,
    seed: u64,
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
    /// The longest time from a repair until all was well.
    healing: Duration,
}

/// How nodes are started.
#[derive(Default, Clone, Copy)]
pub struct Start<'a> {
    pub flags: &'a [&'a str],
    /// What they take for the time of day.
    pub clock: Option<&'a Clock>,
    /// Those who lose their node go on elsewhere.
    pub roams: bool,
}

impl Stage {
    /// Two nodes. Everybody is there and the load goes on.
    pub async fn set(redis: Redis) -> Self {
        Self::linked(redis, 2, Start::default()).await
    }

    /// So many nodes, with these flags, of which everybody knows all.
    pub async fn roaming(redis: Redis, nodes: usize, flags: &[&str]) -> Self {
        Self::linked(redis, nodes, Start { flags, roams: true, clock: None }).await
    }

    /// So many nodes, each with a link of its own.
    pub async fn linked(redis: Redis, nodes: usize, how: Start<'_>) -> Self {
        let (mut links, mut brokers) = (Vec::new(), Vec::new());
        for _ in 0..nodes {
            let link = Proxy::start(redis.port).await;
            brokers.push(format!("redis://127.0.0.1:{}", link.port));
            links.push(link);
        }
        Self::with(redis, links, brokers, how).await
    }
}

impl Stage<Sentinels> {
    /// As [`Stage::set`].
    pub async fn watched(sentinels: Sentinels) -> Self {
        let broker = sentinels.url();
        Self::with(sentinels, Vec::new(), vec![broker.clone(), broker], Start::default()).await
    }
}

impl Stage<Cluster> {
    /// As [`Stage::set`].
    pub async fn on(cluster: Cluster) -> Self {
        let broker = cluster.text();
        Self::with(cluster, Vec::new(), vec![broker.clone(), broker], Start::default()).await
    }
}

impl<B> Stage<B> {
    /// A node for each of these URLs, by which it finds its broker.
    pub async fn with(broker: B, links: Vec<Proxy>, brokers: Vec<String>, how: Start<'_>) -> Self {
        let count = brokers.len();
        let node = |(number, broker): (usize, &String)| start(number, "127.0.0.1:0", broker, how);
        let nodes: Vec<_> = brokers.iter().enumerate().map(node).collect();
        let mut stage = Self {
            broker,
            links,
            urls: nodes.iter().map(|node| node.url.clone()).collect(),
            brokers,
            nodes: nodes.into_iter().map(Some).collect(),
            roams: how.roams,
            form: form(),
            ledger: Shared::default(),
            // It repeats what the publishers did, as far as the outcomes are the same.
            seed: seed(),
            stop: Arc::default(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            healing: Duration::ZERO,
        };
        stage.ledger().answers = vec![Answers::default(); count];
        for node in 0..count {
            stage.ready(node, 200).await;
            stage.join(node, &CHANNELS).await;
            for number in 0..stage.form.subscribers {
                stage.join(node, &[CHANNELS[(node + number) % CHANNELS.len()]]).await;
            }
        }
        for number in 0..stage.form.publishers {
            let publisher = stage.publisher(number);
            stage.publishers.push(tokio::spawn(publisher.run(stage.stop.clone())));
        }
        stage.goes_on().await;
        stage
    }

    fn publisher(&self, number: usize) -> Publisher {
        Publisher::new(number, self.seed, self.urls.clone(), self.roams, self.ledger.clone())
    }

    /// One more subscriber, to these channels.
    pub async fn join(&mut self, node: usize, channels: &[&'static str]) {
        let name = format!("subscriber {} at node {node}", self.subscribers.len());
        let mut nodes = self.urls.clone();
        nodes.rotate_left(node);
        nodes.truncate(if self.roams { nodes.len() } else { 1 });
        self.join_by(name, nodes, channels).await;
    }

    /// The same, by addresses of its own.
    pub async fn join_by(&mut self, name: String, nodes: Vec<String>, channels: &[&'static str]) {
        let subscriber = subscribe(name, nodes, channels, self.ledger.clone(), None).await;
        self.subscribers.push(subscriber);
    }

    /// A subscriber who does not read as fast as the events come.
    pub async fn join_slow(&mut self, node: usize, appetite: Appetite) {
        let name = format!("slow subscriber {}", self.subscribers.len());
        // Its connection ends, and it comes back.
        let nodes = vec![self.urls[node].clone(); 2];
        let subscriber = subscribe(name, nodes, &CHANNELS, self.ledger.clone(), Some(appetite)).await;
        self.subscribers.push(subscriber);
    }

    /// The process of a node.
    pub fn process(&self, node: usize) -> u32 {
        self.nodes[node].as_ref().expect("it runs").process.id()
    }

    /// By this the broker forgets ids that it should know for longer: what was sent before and is sent again may be
    /// delivered again.
    pub fn forgets_by(&self, fault: impl FnOnce()) {
        let mut ledger = self.ledger();
        // Meanwhile nobody enters an answer.
        fault();
        ledger.forgotten = ledger.sent.len();
    }

    /// The load goes on for a while, with all well.
    pub async fn goes_on(&self) {
        let end = Instant::now() + self.form.phase;
        self.load(300).await;
        tokio::time::sleep_until(end.into()).await;
    }

    /// Waits until so many more events are acknowledged.
    pub async fn load(&self, events: usize) {
        let enough = self.ledger().acknowledged() + events;
        until("events to be acknowledged", async || (self.ledger().acknowledged() >= enough).then_some(())).await;
    }

    /// Waits until a node has answered so many more requests with 503.
    pub async fn unavailable(&self, node: usize, requests: usize) {
        let answered = || self.ledger().answers[node].unavailable;
        let enough = answered() + requests;
        until("requests to be answered with 503", async || (answered() >= enough).then_some(())).await;
    }

    /// Waits until `/readyz` answers this. `/healthz` is green all the time.
    pub async fn ready(&self, node: usize, status: u16) {
        until(&format!("/readyz of node {node} to say {status}"), async || {
            assert_eq!(self.probe(node, "healthz").await, 200);
            (self.probe(node, "readyz").await == status).then_some(())
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// SIGTERM, and when it has ended well, the same again at the same address.
    pub async fn restart(&mut self, node: usize) {
        let old = self.nodes[node].take().expect("it runs");
        old.process.signal("TERM");
        let ended = tokio::task::spawn_blocking(|| old.process.ended()).await.expect("it ends");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let address = self.urls[node].trim_start_matches("http://");
        self.nodes[node] = Some(start(node, address, &self.brokers[node], Start::default()));
    }

    /// Waits until `/v1/nodes` of a node says of all that they are in these states.
    pub async fn registered(&self, at: usize, states: &[(&str, &str)]) {
        until(&format!("the nodes to be {states:?}"), async || {
            let answer = reqwest::get(format!("{}/v1/nodes", self.urls[at])).await.expect("an answer");
            let list: serde_json::Value = answer.json().await.expect("JSON");
            let listed = list["nodes"].as_array().expect("a list").iter();
            let found: Vec<_> = listed.map(|node| (node["id"].as_str(), node["state"].as_str())).collect();
            let expected = states.iter().map(|&(id, state)| (Some(id), Some(state)));
            found.into_iter().eq(expected).then_some(())
        })
        .await;
    }

    /// The sum of the samples of a node's metric, 0 where there are none.
    pub async fn metric(&self, node: usize, name: &str) -> f64 {
        let metrics = reqwest::get(format!("{}/metrics", self.urls[node])).await.expect("an answer");
        let metrics = metrics.text().await.expect("text");
        let samples =
            metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        samples.fold(0.0, |sum, sample| sum + sample)
    }

    /// Waits until a node is partitioned and has no connections any more.
    pub async fn sends_away(&self, node: usize) {
        until(&format!("node {node} to have nobody"), async || {
            let stream = self.probe(node, "v1/stream").await;
            (stream == 503 && self.metric(node, "tidings_connections").await == 0.0).then_some(())
        })
        .await;
    }

    async fn probe(&self, node: usize, route: &str) -> u16 {
        let url = format!("{}/{route}", self.urls[node]);
        reqwest::get(url).await.expect("the daemon answers").status().as_u16()
    }

    /// Waits until all nodes are ready and take events: from the repair until then is the time to heal.
    pub async fn heals(&mut self) {
        let start = Instant::now();
        let taken = || self.ledger().answers.iter().map(|answers| answers.acknowledged).collect::<Vec<_>>();
        for (node, before) in taken().into_iter().enumerate() {
            self.ready(node, 200).await;
            until("all nodes to take events", async || (taken()[node] > before).then_some(())).await;
        }
        self.healing = self.healing.max(start.elapsed());
    }

    /// Waits until Sentinel has named another master and an event was acknowledged since, and says how long that took.
    pub async fn follows(&self, switched: impl Future<Output = Instant>) {
        let before = self.ledger().acknowledged();
        let switched = switched.await;
        until("an event to be acknowledged", async || (self.ledger().acknowledged() > before).then_some(())).await;
        println!("acknowledged {:.2} s after Sentinel's word", switched.elapsed().as_secs_f64());
    }

    /// Waits until every subscriber was told of so many gaps.
    pub async fn gaps(&self, gaps: usize) {
        let told = async || self.ledger().streams.iter().all(|stream| stream.gaps() >= gaps).then_some(());
        until("everybody to be told of a gap", told).await;
    }

    /// Ends the load, waits until all of it has come to everybody, and judges. Every subscriber must have been told of
    /// exactly so many gaps.
    pub async fn end(self, name: &str, gaps: usize) {
        self.end_with(name, |_| gaps..=gaps).await;
    }

    /// As [`end`](Self::end), where it depends on the stream how many gaps there may be.
    pub async fn end_with(mut self, name: &str, gaps: impl Fn(&Stream) -> RangeInclusive<usize>) {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await.expect("a publisher does not panic");
        }
        let marks = self.publisher(self.form.publishers).mark().await;
        let start = Instant::now();
        let has_all = |ledger: &Ledger| {
            let mut streams = ledger.streams.iter();
            streams.all(|stream| marks.iter().any(|(channel, id)| *channel == stream.channel && stream.has(id)))
        };
        // Where it never comes, the verdict says what is missing.
        while start.elapsed() < PATIENCE && !has_all(&self.ledger()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut objections = judge(&self.ledger());
        {
            let ledger = self.ledger();
            for stream in ledger.streams.iter().filter(|stream| !gaps(stream).contains(&stream.gaps())) {
                let expected = gaps(stream);
                objections.push(format!("{}: {} gaps, {expected:?} were expected", stream.name, stream.gaps()));
            }
            if ledger.longest() > REFUSED_WITHIN {
                objections.push(format!("a 503 took {:?}", ledger.longest()));
            }
            figures::say(name, self.seed, &ledger, self.healing);
        }
        self.subscribers.iter().for_each(JoinHandle::abort);
        for node in self.nodes.into_iter().flatten() {
            node.process.signal("TERM");
            let ended = node.process.ended();
            if ended.code != Some(0) {
                objections.push(format!("a node ended with {:?}", ended.code));
            }
            if !objections.is_empty() {
                println!("{}", ended.err);
            }
        }
        let count = objections.len();
        objections.truncate(20);
        assert!(objections.is_empty(), "{count} objections:\n{}", objections.join("\n"));
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        open(&self.ledger)
    }
}

fn start(number: usize, listen: &str, broker: &str, how: Start<'_>) -> Daemon {
    let id = format!("node-{number}");
    let given = ["--listen", listen, "--broker", broker, "--node-id", &id];
    let heartbeat: &[&str] = if how.flags.contains(&"--heartbeat") { &[] } else { &["--heartbeat", "5s"] };
    let flags = [&given, heartbeat, how.flags].concat();
    Daemon::starting(&flags, tempfile::tempdir().expect("a temporary directory"), |command| {
        if let Some(clock) = how.clock {
            command.envs(clock.environment());
        }
    })
}
