//! The relay's reads of the log overlap with the events that this node appends: neither may show an event twice.
//!
//! The daemon runs on a backend whose log the test controls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidings::broker::{
    self, Appended, Backend, Bounds, BrokerError, Entry, Head, Located, Log, Notifier, Page, Signal,
};
use tidings::config::{BrokerConfig, BrokerUrl};
use tidings::event::{Catalog, ChannelId, Event, Moment, Position};
use tokio::sync::{mpsc, watch};

use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;
use crate::support::wrapped::{forward, send_on};

const STOCK: &str = "inventory-change";

/// A backend whose reads for the relay wait while the test holds them.
struct HeldReads {
    backend: Arc<dyn Backend>,
    /// The state of the log, once the test has set it.
    log: watch::Receiver<LogState>,
    /// How many reads for the relay have begun.
    begun: watch::Sender<usize>,
}

#[derive(Clone)]
enum LogState {
    /// As the backend's log.
    Usual,
    /// Reads wait.
    Held,
    /// A new epoch has begun, in which all events up to this position survived.
    NewEpoch(Position),
}

#[async_trait]
impl Log for HeldReads {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        self.backend.append(events).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        self.backend.read(channel, known, limit).await
    }

    async fn read_after_delivered(&self, channel: ChannelId, at: &Position, limit: usize) -> Result<Page, BrokerError> {
        self.begun.send_modify(|begun| *begun += 1);
        let mut log = self.log.clone();
        let state = log.wait_for(|state| !matches!(state, LogState::Held)).await.expect("the test runs").clone();
        let LogState::NewEpoch(head) = state else { return self.backend.read(channel, Some(at), limit).await };
        let json: Arc<str> = format!(r#"{{"type":"{STOCK}","data":{}}}"#, sale("late")["data"]).into();
        let entries = (at.offset + 1..=head.offset).map(|offset| Entry { offset, json: json.clone() });
        let bounds = Bounds { epoch: head.epoch, head: head.offset, oldest: at.offset + 1 };
        Ok(Page { bounds, entries: entries.collect() })
    }

    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Located, BrokerError> {
        self.backend.position_at(channel, from).await
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        self.backend.heads().await
    }
}

forward!(HeldReads, Backend and Notifier);

/// A read begins, then the answer to an append arrives, then the log loses something, and the read is answered last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_delivered_during_a_read_is_not_shown_again_in_a_new_epoch() {
    let (log, state) = watch::channel(LogState::Usual);
    let (begun, mut reads) = watch::channel(0);
    let (sender, receiver) = mpsc::channel(64);
    let receiver = Mutex::new(Some(receiver));
    let open = |config: &BrokerConfig, catalog: &Arc<Catalog>| {
        let (backend, signals) = broker::open(config, catalog)?;
        send_on(signals, sender.clone());
        let backend: Arc<dyn Backend> = Arc::new(HeldReads { backend, log: state.clone(), begun: begun.clone() });
        Ok((backend, receiver.lock().unwrap().take().expect("it is opened once")))
    };
    let node = Node::start_over(node::config(BrokerUrl::Memory), &open).await;
    let mut subscriber = Subscriber::to(&node, STOCK).await;
    node.publish(&sale("first")).await;
    let at: Position = subscriber.event().await.position.parse().unwrap();

    log.send_replace(LogState::Held);
    let before = *reads.borrow_and_update();
    let channel = Catalog::builtin().channel(STOCK).unwrap();
    sender.send(Signal::Hint { channel, position: None }).await.unwrap();
    reads.wait_for(|begun| *begun > before).await.unwrap();
    let late = Position::new(at.epoch.clone(), at.offset + 1);
    let json: Arc<str> = format!(r#"{{"type":"{STOCK}","data":{}}}"#, sale("late")["data"]).into();
    sender.send(Signal::Appended { channel, position: late.clone(), json }).await.unwrap();
    assert_eq!(subscriber.event().await.position, late.to_string());

    let survived: Position = format!("new:{}", late.offset).parse().unwrap();
    log.send_replace(LogState::NewEpoch(survived.clone()));
    let gap = subscriber.frame_of("gap").await;
    assert_eq!((&gap["from"], &gap["position"]), (&late.to_string().into(), &survived.to_string().into()));
    let next = Position::new(survived.epoch, survived.offset + 1);
    let json: Arc<str> = format!(r#"{{"type":"{STOCK}","data":{}}}"#, sale("next")["data"]).into();
    sender.send(Signal::Appended { channel, position: next.clone(), json }).await.unwrap();
    assert_eq!(subscriber.event().await.position, next.to_string());
}
