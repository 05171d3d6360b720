//! Tasks that panic: the client sees an error or a close, nothing of the connection stays behind, and the node says that it
//! is not ready or ends with an error. It never hangs.
//!
//! The daemon runs on a backend that does what the in-process one does, and panics where a test tells it to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tidings::broker::{self, Appended, Backend, BrokerError, Head, Located, Log, Notifier, Page, Signal};
use tidings::config::{BrokerConfig, BrokerUrl};
use tidings::event::{Catalog, ChannelId, Event, Moment, Position};
use tidings::server::ServerError;
use tokio::sync::mpsc;

use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;
use crate::support::wrapped::{forward, send_on};
use crate::support::{until, within};

/// Where the backend panics.
#[derive(Default)]
struct Faults {
    /// When a page of events is read.
    read: AtomicBool,
    /// When the position of a moment is looked up.
    position_at: AtomicBool,
    /// When the position of a moment is looked up: it does not panic, but never ends.
    stalled: AtomicBool,
    /// When events are appended.
    append: AtomicBool,
    /// When a probe is sent.
    probe: AtomicBool,
}

struct Faulty {
    backend: Arc<dyn Backend>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Log for Faulty {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        assert!(!self.faults.append.load(Ordering::Relaxed), "append panics on purpose");
        self.backend.append(events).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        assert!(limit == 0 || !self.faults.read.load(Ordering::Relaxed), "read panics on purpose");
        self.backend.read(channel, known, limit).await
    }

    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        assert!(!self.faults.position_at.load(Ordering::Relaxed), "position_at panics on purpose");
        if self.faults.stalled.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.backend.position_at(channel, moment).await
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        self.backend.heads().await
    }
}

#[async_trait]
impl Notifier for Faulty {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        assert!(!self.faults.probe.load(Ordering::Relaxed), "probe panics on purpose");
        self.backend.probe(number).await
    }
}

forward!(Faulty, Backend);

/// A ready daemon, its faults, and a way to give its relay signals.
async fn node() -> (Node, Arc<Faults>, mpsc::Sender<Signal>) {
    let mut config = node::config(BrokerUrl::Memory);
    config.server.drain = Duration::from_secs(2);
    let faults = Arc::new(Faults::default());
    let (sender, receiver) = mpsc::channel(64);
    let receiver = Mutex::new(Some(receiver));
    let open = |config: &BrokerConfig, catalog: &Arc<Catalog>| {
        let (backend, signals) = broker::open(config, catalog)?;
        send_on(signals, sender.clone());
        let faulty: Arc<dyn Backend> = Arc::new(Faulty { backend, faults: faults.clone() });
        Ok((faulty, receiver.lock().unwrap().take().expect("it is opened once")))
    };
    let node = Node::start_over(config, &open).await;
    (node, faults, sender)
}

/// Waits until the node counts no connections and no subscriptions.
async fn nothing_is_left(node: &Node) {
    until("no connection is left", async || {
        let counts = (node.metric("tidings_connections").await, node.metric("tidings_subscriptions").await);
        (counts == (0.0, 0.0)).then_some(())
    })
    .await;
    let channel = node.channel("inventory-change").await;
    assert_eq!(channel["subscribers"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_panics_closes_its_connection_and_the_client_resumes() {
    let (node, faults, _signals) = node().await;
    node.publish(&json!([sale("1"), sale("2")])).await;
    faults.read.store(true, Ordering::Relaxed);
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": "inventory-change", "since": "start"})).await;
    let position = subscriber.frame_of("subscribed").await["position"].clone();
    assert_eq!(subscriber.close_code().await, 1011);
    nothing_is_left(&node).await;
    assert_eq!(node.metric("tidings_task_panics_total").await, 1.0);
    faults.read.store(false, Ordering::Relaxed);
    let mut again = Subscriber::connect(&node).await;
    again.say(json!({"type": "subscribe", "sub": "s", "channel": "inventory-change", "since": position})).await;
    again.frame_of("subscribed").await;
    assert_eq!(again.event().await.event["subject"], "1");
    assert_eq!(again.event().await.event["subject"], "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_whose_replay_panics_ends() {
    let (node, faults, _signals) = node().await;
    node.publish(&sale("1")).await;
    faults.read.store(true, Ordering::Relaxed);
    let response = node.request(reqwest::Method::GET, "/v1/stream?channel=inventory-change&since=start").send().await;
    let body = within("the stream ends", response.unwrap().text()).await;
    assert!(!body.unwrap_or_default().contains("productId"));
    nothing_is_left(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_task_panics_is_cut_and_leaves_no_peer() {
    let (node, faults, _signals) = node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    assert_eq!(node.channel("inventory-change").await["subscribers"], 1);
    faults.position_at.store(true, Ordering::Relaxed);
    subscriber.say(json!({"type": "subscribe", "sub": "t", "channel": "order-status", "since": "10m"})).await;
    subscriber.cut().await;
    nothing_is_left(&node).await;
    assert_eq!(node.metric("tidings_task_panics_total").await, 1.0);
    assert_eq!(node.get("/readyz").await.status, 200, "the node goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_begins_now_does_not_wait_for_reads_of_the_log() {
    let (node, faults, _signals) = node().await;
    faults.stalled.store(true, Ordering::Relaxed);
    let mut stalled = Vec::new();
    // As many as may read at the same time, and one more.
    for _ in 0..9 {
        let mut subscriber = Subscriber::connect(&node).await;
        subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": "inventory-change", "since": "10m"})).await;
        stalled.push(subscriber);
    }
    until("the reads are pending", async || (node.metric("tidings_arriving").await >= 9.0).then_some(())).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": "inventory-change", "since": "now"})).await;
    assert_eq!(subscriber.frame_of("subscribed").await["recovered"], true);
    node.publish(&sale("1")).await;
    subscriber.event().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_handler_panics_is_answered_with_500() {
    let (node, faults, _signals) = node().await;
    faults.append.store(true, Ordering::Relaxed);
    let answer = node.post(&sale("1")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (500, json!("internal")));
    assert!(answer.headers.contains_key("x-request-id"));
    faults.append.store(false, Ordering::Relaxed);
    node.publish(&sale("1")).await;
}

/// Not ready is a 503, or a node that takes no connections any more.
async fn turns_unready(node: &Node) {
    until("the node is not ready", async || match node.request(reqwest::Method::GET, "/readyz").send().await {
        Ok(response) => (response.status() == 503).then_some(()),
        Err(_) => Some(()),
    })
    .await;
}

async fn ends_with(node: Node, subscriber: &mut Subscriber, expected: &str) {
    turns_unready(&node).await;
    assert_eq!(subscriber.close_code().await, 1012, "the clients are sent elsewhere");
    let error = node.stopped().await.expect_err("it ends with an error");
    assert!(matches!(error, ServerError::Service(_)), "{error}");
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_readiness_probe_panics_drains_and_ends_with_an_error() {
    let (node, faults, _signals) = node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    faults.probe.store(true, Ordering::Relaxed);
    ends_with(node, &mut subscriber, "the readiness probe panicked: probe panics on purpose").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_relay_panics_drains_and_ends_with_an_error() {
    let (node, faults, signals) = node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    faults.read.store(true, Ordering::Relaxed);
    signals.send(Signal::Missed).await.unwrap();
    ends_with(node, &mut subscriber, "the relay panicked: read panics on purpose").await;
}
