//! Faults of nodes and of their clients: nodes are killed or restarted and the clients fail over; a client becomes half-open; all
//! clients of a node reconnect to another at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::client::{Client, Subscriber, Subscription, Update};
use tokio::sync::watch;

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::faults::profile::profile;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_is_killed() {
    let mut harness = Harness::with_failover(Redis::start(), 3, &[]).await;
    harness.wait_for_node_states(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "up")]).await;
    harness.kill(2);
    harness.wait_for_acknowledged(300).await;
    harness.wait_for_node_states(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "lost")]).await;
    harness.finish("one node of three killed", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_are_restarted_one_after_another() {
    let mut harness = Harness::with_failover(Redis::start(), 3, &[]).await;
    for node in 0..3 {
        harness.restart(node).await;
        harness.wait_for_readyz(node, 200).await;
        harness.wait_for_acknowledged(100).await;
    }
    harness.wait_for_node_states(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "up")]).await;
    harness.finish("three nodes restarted", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_half_open() {
    // A short heartbeat, so that the node detects the dead connection long before the client does.
    let mut harness = Harness::with_failover(Redis::start(), 2, &["--heartbeat", "2s"]).await;
    let port = harness.urls[0].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = Proxy::start(port).await;
    let nodes = vec![format!("http://127.0.0.1:{}", proxy.port); 2];
    harness.add_subscriber_at("a client behind a link".into(), nodes, &CHANNELS).await;
    harness.wait_for_acknowledged(100).await;
    proxy.strand();
    until("the node closes the dead connection", async || {
        // Either the heartbeat times out, or the outbox is full before that.
        let dead = harness.metric(0, "tidings_dead_peers_total").await;
        (dead + harness.metric(0, "tidings_slow_consumers_total").await >= 1.0).then_some(())
    })
    .await;
    harness.finish("a client half-open", 0).await;
}

/// The channel of the many clients, which the load does not use.
const STORM_CHANNEL: &str = "finance-change";
/// The pause between two events on that channel.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// The timeout of the reconnect storm. It is long because the long profile has thousands of clients, on any machine.
const STORM_TIMEOUT: Duration = Duration::from_secs(300);

/// Each client needs a file descriptor in this process and one in the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_of_a_node_come_to_another_at_once() {
    let clients = profile().clients;
    let mut harness = Harness::with_failover(Redis::start(), 2, &["--max-pending-connections", "50"]).await;
    // This client knows one node only: its connection must stay open throughout, and it must miss nothing.
    harness.add_subscriber_at("an existing client".into(), vec![harness.urls[0].clone()], &CHANNELS).await;
    let client = Client::for_nodes([&harness.urls[1], &harness.urls[0]]).expect("a client");
    let (last, _) = watch::channel(u64::MAX);
    let counts = Arc::new(ClientCounts::default());
    let clients_following: Vec<_> = (0..clients)
        .map(|_| {
            tokio::spawn(follow(client.subscribe([Subscription::to(STORM_CHANNEL)]), counts.clone(), last.subscribe()))
        })
        .collect();
    counts.wait_for_subscribed(clients).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(publish(
        Client::new(&harness.urls[0]).expect("a client").with_retry_timeout(STORM_TIMEOUT),
        stop.clone(),
    ));
    harness.wait_for_acknowledged(100).await;
    let before = harness.metric(1, "tidings_connections").await;
    let start = Instant::now();
    harness.kill(1);
    until("the first client is disconnected", async || (counts.disconnects.load(Ordering::Relaxed) > 0).then_some(()))
        .await;
    counts.wait_for_subscribed(clients).await;
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let end = publisher.await.expect("every event is accepted");
    last.send_replace(end);
    for client in clients_following {
        tokio::time::timeout(STORM_TIMEOUT, client)
            .await
            .expect("the client receives everything in time")
            .expect("the client receives each event once, in order");
    }
    println!(
        "{before} clients were at the killed node, {clients} in all: all were subscribed after {:.1} s, {} attempts got 503 overloaded",
        took.as_secs_f64(),
        harness.metric(0, r#"tidings_refusals_total{code="overloaded"}"#).await,
    );
    harness.finish("all clients of a node came to another", 0).await;
}

/// Counts the many clients.
#[derive(Default)]
struct ClientCounts {
    /// The number of clients that are subscribed now.
    subscribed: AtomicUsize,
    /// How often a client was disconnected.
    disconnects: AtomicUsize,
}

impl ClientCounts {
    /// Waits until so many clients are subscribed.
    async fn wait_for_subscribed(&self, clients: usize) {
        let start = Instant::now();
        while self.subscribed.load(Ordering::Relaxed) < clients {
            assert!(
                start.elapsed() < STORM_TIMEOUT,
                "{} of {clients} clients are subscribed",
                self.subscribed.load(Ordering::Relaxed)
            );
            tokio::time::sleep(PUBLISH_INTERVAL).await;
        }
    }
}

/// Follows the channel until the offset `last`. Every event must have the next offset, across all reconnects.
async fn follow(mut subscriber: Subscriber, counts: Arc<ClientCounts>, mut last: watch::Receiver<u64>) {
    let (mut at, mut subscribed) = (None, false);
    loop {
        let end = *last.borrow_and_update();
        if at == Some(end) {
            return;
        }
        let update = tokio::select! {
            update = subscriber.next() => update.expect("the subscription continues eventually"),
            _ = last.changed() => continue,
        };
        match update {
            Update::Subscribed { position, .. } => {
                assert_eq!(
                    *at.get_or_insert(position.offset),
                    position.offset,
                    "the client resumes at its last position"
                );
                subscribed = true;
                counts.subscribed.fetch_add(1, Ordering::Relaxed);
            }
            Update::Event(event) => {
                assert_eq!(at.map(|at| at + 1), Some(event.position.offset));
                at = Some(event.position.offset);
            }
            Update::Gap { .. } => panic!("{update:?}: no event may be lost"),
            Update::Disconnected { .. } if std::mem::take(&mut subscribed) => {
                counts.subscribed.fetch_sub(1, Ordering::Relaxed);
                counts.disconnects.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Publishes until `stop` is set, and returns the offset of the last event.
async fn publish(client: Client, stop: Arc<AtomicBool>) -> u64 {
    loop {
        let data = json!({"entity": "invoice", "id": "1", "amountMinor": 1, "currency": "EUR"});
        let accepted =
            client.publish(&json!({"type": STORM_CHANNEL, "data": data})).await.expect("the event is accepted");
        if stop.load(Ordering::Relaxed) {
            return accepted.position.offset;
        }
        tokio::time::sleep(PUBLISH_INTERVAL).await;
    }
}
