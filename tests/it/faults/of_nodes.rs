//! Nodes die or are restarted, and their clients go on elsewhere; clients vanish, or come all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::client::{Client, Subscriber, Subscription, Update};
use tokio::sync::watch;

use super::form::form;
use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_is_killed() {
    let mut stage = Stage::roaming(Redis::start(), 3, &[]).await;
    stage.registered(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "up")]).await;
    stage.kill(2);
    stage.load(300).await;
    stage.registered(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "lost")]).await;
    stage.end("one node of three killed", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_are_restarted_one_after_another() {
    let mut stage = Stage::roaming(Redis::start(), 3, &[]).await;
    for node in 0..3 {
        stage.restart(node).await;
        stage.ready(node, 200).await;
        stage.load(100).await;
    }
    stage.registered(0, &[("node-0", "up"), ("node-1", "up"), ("node-2", "up")]).await;
    stage.end("three nodes restarted", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_half_open() {
    // The node is to notice it long before the client does.
    let mut stage = Stage::roaming(Redis::start(), 2, &["--heartbeat", "2s"]).await;
    let port = stage.urls[0].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let link = Proxy::start(port).await;
    let nodes = vec![format!("http://127.0.0.1:{}", link.port); 2];
    stage.join_by("a client behind a link".into(), nodes, &CHANNELS).await;
    stage.load(100).await;
    link.strand();
    until("the node to be rid of it", async || {
        // Its heartbeats are missed, or else its outbox is full before.
        let dead = stage.metric(0, "tidings_dead_peers_total").await;
        (dead + stage.metric(0, "tidings_slow_consumers_total").await >= 1.0).then_some(())
    })
    .await;
    stage.end("a client half-open", 0).await;
}

/// Beside the load: what all of many are subscribed to.
const QUIET: &str = "finance-change";
/// Between two events there.
const PACE: Duration = Duration::from_millis(100);
/// How long the storm may take: the long form has thousands, on whatever machine.
const STORM: Duration = Duration::from_secs(300);

/// Each of them is a file here and one at a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_of_a_node_come_to_another_at_once() {
    let clients = form().clients;
    let mut stage = Stage::roaming(Redis::start(), 2, &["--max-pending-connections", "50"]).await;
    // It knows no other node: its connection must not end, nor miss anything.
    stage.join_by("one who is there".into(), vec![stage.urls[0].clone()], &CHANNELS).await;
    let client = Client::for_nodes([&stage.urls[1], &stage.urls[0]]).expect("a client");
    let (last, _) = watch::channel(u64::MAX);
    let crowd = Arc::new(Crowd::default());
    let storm: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(follow(client.subscribe([Subscription::to(QUIET)]), crowd.clone(), last.subscribe())))
        .collect();
    crowd.is(clients).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher =
        tokio::spawn(publish(Client::new(&stage.urls[0]).expect("a client").with_retry_timeout(STORM), stop.clone()));
    stage.load(100).await;
    let there = stage.metric(1, "tidings_connections").await;
    let start = Instant::now();
    stage.kill(1);
    until("somebody to notice", async || (crowd.left.load(Ordering::Relaxed) > 0).then_some(())).await;
    crowd.is(clients).await;
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let end = publisher.await.expect("all was taken");
    last.send_replace(end);
    for client in storm {
        tokio::time::timeout(STORM, client).await.expect("it gets everything").expect("each once, in order");
    }
    println!(
        "{there} clients came at once to {clients}: all were there again after {:.1} s, {} were asked to come later",
        took.as_secs_f64(),
        stage.metric(0, r#"tidings_refusals_total{code="overloaded"}"#).await,
    );
    stage.end("all clients of a node came to another", 0).await;
}

#[derive(Default)]
struct Crowd {
    /// Clients that are subscribed.
    there: AtomicUsize,
    /// How often one was no more.
    left: AtomicUsize,
}

impl Crowd {
    /// Waits until so many are subscribed.
    async fn is(&self, clients: usize) {
        let start = Instant::now();
        while self.there.load(Ordering::Relaxed) < clients {
            assert!(start.elapsed() < STORM, "{} of {clients} came", self.there.load(Ordering::Relaxed));
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Follows up to the offset that is the last: every event is the next one, before and after whatever happens.
async fn follow(mut subscriber: Subscriber, crowd: Arc<Crowd>, mut last: watch::Receiver<u64>) {
    let (mut at, mut there) = (None, false);
    loop {
        let end = *last.borrow_and_update();
        if at == Some(end) {
            return;
        }
        let update = tokio::select! {
            update = subscriber.next() => update.expect("it goes on, sooner or later"),
            _ = last.changed() => continue,
        };
        match update {
            Update::Subscribed { position, .. } => {
                assert_eq!(*at.get_or_insert(position.offset), position.offset, "it goes on where it was");
                there = true;
                crowd.there.fetch_add(1, Ordering::Relaxed);
            }
            Update::Event(event) => {
                assert_eq!(at.map(|at| at + 1), Some(event.position.offset));
                at = Some(event.position.offset);
            }
            Update::Gap { .. } => panic!("{update:?}: nothing is lost"),
            Update::Disconnected { .. } if std::mem::take(&mut there) => {
                crowd.there.fetch_sub(1, Ordering::Relaxed);
                crowd.left.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Publishes until it is told to stop; the offset of the last event.
async fn publish(client: Client, stop: Arc<AtomicBool>) -> u64 {
    loop {
        let data = json!({"entity": "invoice", "id": "1", "amountMinor": 1, "currency": "EUR"});
        let accepted = client.publish(&json!({"type": QUIET, "data": data})).await.expect("it is taken");
        if stop.load(Ordering::Relaxed) {
            return accepted.position.offset;
        }
        tokio::time::sleep(PACE).await;
    }
}
