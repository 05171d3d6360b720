//! Two daemons on one Redis, each with a link of its own, or on one cluster, under load.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::ledger::{CHANNELS, Ledger, Shared, Stream, open};
use super::publisher::Publisher;
use super::subscriber::subscribe;
use super::verdict::judge;
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::{PATIENCE, until};

const PUBLISHERS: usize = 4;

/// How long a publisher may wait for its 503.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

pub struct Stage<R = Redis> {
    pub redis: R,
    /// The links, one for each node; none to a cluster, whose servers say themselves where they are.
    pub links: Vec<Proxy>,
    nodes: [Daemon; 2],
    ledger: Shared,
    seed: u64,
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
    /// The longest time from a repair until all was well.
    healing: Duration,
}

impl Stage {
    /// Everybody is there and the load goes on.
    pub async fn set(redis: Redis) -> Self {
        let links = vec![Proxy::start(redis.port).await, Proxy::start(redis.port).await];
        let brokers = [0, 1].map(|node: usize| format!("redis://127.0.0.1:{}", links[node].port));
        Self::with(redis, links, brokers).await
    }
}

impl Stage<Sentinels> {
    /// As [`Stage::set`].
    pub async fn watched(sentinels: Sentinels) -> Self {
        let brokers = [sentinels.url(), sentinels.url()];
        Self::with(sentinels, Vec::new(), brokers).await
    }
}

impl Stage<Cluster> {
    /// As [`Stage::set`].
    pub async fn on(cluster: Cluster) -> Self {
        let brokers = [cluster.text(), cluster.text()];
        Self::with(cluster, Vec::new(), brokers).await
    }
}

impl<R> Stage<R> {
    async fn with(redis: R, links: Vec<Proxy>, brokers: [String; 2]) -> Self {
        let nodes = brokers.map(|broker| {
            let flags = ["--listen", "127.0.0.1:0", "--broker", &broker, "--heartbeat", "5s"];
            Daemon::with(&flags, tempfile::tempdir().expect("a temporary directory"))
        });
        // `TIDINGS_TEST_SEED` repeats what the publishers did, as far as the outcomes are the same.
        let seed =
            std::env::var("TIDINGS_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a seed"));
        let mut stage = Self {
            redis,
            links,
            nodes,
            ledger: Shared::default(),
            seed,
            stop: Arc::default(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            healing: Duration::ZERO,
        };
        for node in 0..2 {
            stage.ready(node, 200).await;
            stage.join(node, &CHANNELS).await;
            stage.join(node, &CHANNELS[node..=node]).await;
        }
        for number in 0..PUBLISHERS {
            let publisher = stage.publisher(number);
            stage.publishers.push(tokio::spawn(publisher.run(stage.stop.clone())));
        }
        stage.load(300).await;
        stage
    }

    fn publisher(&self, number: usize) -> Publisher {
        Publisher::new(number, self.seed, [0, 1].map(|node: usize| self.nodes[node].url.clone()), self.ledger.clone())
    }

    /// One more subscriber, to these channels.
    pub async fn join(&mut self, node: usize, channels: &[&'static str]) {
        let name = format!("subscriber {} at node {node}", self.subscribers.len());
        let subscriber = subscribe(name, &self.nodes[node].url, channels, self.ledger.clone()).await;
        self.subscribers.push(subscriber);
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

    async fn probe(&self, node: usize, route: &str) -> u16 {
        let url = format!("{}/{route}", self.nodes[node].url);
        reqwest::get(url).await.expect("the daemon answers").status().as_u16()
    }

    /// Waits until both nodes are ready and take events: from the repair until then is the time to heal.
    pub async fn heals(&mut self) {
        let start = Instant::now();
        let taken = || self.ledger().answers.map(|answers| answers.acknowledged);
        for (node, before) in taken().into_iter().enumerate() {
            self.ready(node, 200).await;
            until("both nodes to take events", async || (taken()[node] > before).then_some(())).await;
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
        self.load(300).await;
        self.stop.store(true, Ordering::Relaxed);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await.expect("a publisher does not panic");
        }
        let marks = self.publisher(PUBLISHERS).mark().await;
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
            println!(
                "{name}: seed {}, {} events acknowledged, {} unknown, {} deliveries to {} streams, gaps to how many {:?}, \
                 {} times 503, the longest after {:.2} s, healed in {:.2} s",
                self.seed,
                ledger.acknowledged(),
                ledger.unknown(),
                ledger.delivered(),
                ledger.streams.len(),
                ledger.gaps(),
                ledger.answers.iter().map(|answers| answers.unavailable).sum::<usize>(),
                ledger.longest().as_secs_f64(),
                self.healing.as_secs_f64(),
            );
        }
        self.subscribers.iter().for_each(JoinHandle::abort);
        for node in self.nodes {
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

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        open(&self.ledger)
    }
}
