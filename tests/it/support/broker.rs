//! A broker client without a daemon around it: tests append, read and listen through the same traits as the daemon.
//!
//! [`Node`] opens the broker by its URL, as the daemon does. For a whole daemon see [`super::node`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidings::broker::nodes::NodeState;
use tidings::broker::{self, Appended, Backend, BrokerError, Entry, Page, Signal, Signals};
use tidings::config::{BrokerConfig, BrokerUrl, BusMessage, FileSync};
use tidings::event::{Catalog, ChannelId, Epoch, Event, Position};

use super::{PATIENCE, until};

/// The successor of a position, for tests that expect consecutive offsets.
pub trait Next {
    /// The position after this one, in the same epoch.
    fn next(&self) -> Self;
}

impl Next for Position {
    fn next(&self) -> Self {
        Self::new(self.epoch.clone(), self.offset + 1)
    }
}

/// One node's connection to a broker: the backend, and the stream of signals that the relay would consume.
pub struct Node {
    pub broker: Arc<dyn Backend>,
    pub bus: Signals,
    pub catalog: Arc<Catalog>,
}

/// A broker configuration whose retention and deduplication window outlast any test.
pub fn config(broker: BrokerUrl) -> BrokerConfig {
    BrokerConfig {
        broker,
        file_sync: FileSync::Os,
        pulse: Duration::from_secs(1),
        bus_message: BusMessage::Event,
        prefix: "tidings:".into(),
        namespace: "default".into(),
        log_max_events: 10_000,
        log_max_age: Duration::from_secs(3600),
        latest_max_subjects: 100_000,
        types: std::collections::BTreeMap::new(),
        dedup_window: Duration::from_secs(600),
    }
}

/// The `file:` URL of a log inside this folder.
pub fn file_url(folder: &Path) -> BrokerUrl {
    BrokerUrl::File(folder.join("log"))
}

/// The `redis://` URL of this port on localhost.
pub fn redis_url(port: u16) -> BrokerUrl {
    url(&format!("redis://127.0.0.1:{port}"))
}

/// Parses a broker URL; panics where it is invalid.
pub fn url(text: &str) -> BrokerUrl {
    BrokerUrl::parse(text).expect("a URL")
}

impl Node {
    /// Opens the broker; panics where it cannot be opened.
    pub fn open(config: &BrokerConfig) -> Self {
        Self::try_open(config).expect("a broker")
    }

    /// Opens the broker; `None` where it returns an error.
    pub fn try_open(config: &BrokerConfig) -> Option<Self> {
        let catalog = Arc::new(Catalog::builtin());
        let (broker, bus) = broker::open(config, &catalog).ok()?;
        Some(Self { broker, bus, catalog })
    }

    /// Opens the broker and waits until a probe makes the round trip, so that appends and signals work.
    pub async fn ready(config: &BrokerConfig) -> Self {
        let mut node = Self::open(config);
        node.heals().await;
        node
    }

    /// [`ready`](Self::ready), on the Redis at this port.
    pub async fn on_redis(port: u16) -> Self {
        Self::ready(&config(redis_url(port))).await
    }

    /// The id of a built-in channel.
    pub fn channel(&self, name: &str) -> ChannelId {
        self.catalog.channel(name).expect("a channel")
    }

    /// An event with this id. Its data holds non-ASCII text and quotes, to catch broken escaping.
    pub fn event(&self, channel: &str, id: &str) -> Event {
        let json = format!(r#"{{"specversion":"1.0","id":{id:?},"type":"{channel}","data":{{"note":"ünï \"x\""}}}}"#);
        Event { channel: self.channel(channel), id: id.into(), subject: None, json: json.into() }
    }

    /// Appends an event with this id.
    pub async fn try_append(&self, channel: &str, id: &str) -> Result<Appended, BrokerError> {
        let appended = self.broker.append(&[self.event(channel, id)]).await?;
        assert_eq!(appended.len(), 1);
        Ok(appended.into_iter().next().expect("one answer"))
    }

    /// Appends an event with this id; panics where the broker refuses it.
    pub async fn append(&self, channel: &str, id: &str) -> Appended {
        self.try_append(channel, id).await.expect("the broker appends the event")
    }

    /// Appends an event whose id must be new, and returns its position.
    pub async fn add(&self, channel: &str, id: &str) -> Position {
        let appended = self.append(channel, id).await;
        assert!(!appended.duplicate, "{id} was appended before");
        appended.position
    }

    /// Runs a node's life in the registry: a heartbeat under this id, a listing that contains it, and its removal.
    pub async fn registered(&self, id: &str) -> Result<(), BrokerError> {
        let nodes = self.broker.nodes();
        let text = || id.to_owned();
        let (address, version, started) = (text(), text(), text());
        let (connections, draining, heartbeat_ms) = (0, false, 5_000);
        nodes.beat(&NodeState { id: text(), address, version, started, connections, draining, heartbeat_ms }).await?;
        assert!(nodes.list().await?.iter().any(|heard| heard.node.id == id));
        nodes.leave(id).await
    }

    /// Reads up to `limit` events after `known`, or from the oldest one.
    pub async fn read(&self, channel: &str, known: Option<&Position>, limit: usize) -> Page {
        self.broker.read(self.channel(channel), known, limit).await.expect("the log can be read")
    }

    /// Appends events until one of them is signalled on the bus, and returns its position.
    pub async fn hears(&mut self, channel: &str) -> Position {
        until("an appended event is signalled on the bus", async || {
            let id = Epoch::random();
            let position = self.try_append(channel, id.as_str()).await.ok()?.position;
            let heard = async { while self.hint().await.1.as_ref() != Some(&position) {} };
            tokio::time::timeout(Duration::from_millis(500), heard).await.ok().map(|()| position)
        })
        .await
    }

    /// Waits until a probe makes the round trip. Discards every other signal that was queued.
    pub async fn heals(&mut self) {
        let mut number = rand_number();
        until("a probe comes back", async || {
            number += 1;
            self.broker.probe(number).await.ok()?;
            let probe = async { while self.signal().await != Signal::Probe(number) {} };
            tokio::time::timeout(Duration::from_millis(500), probe).await.ok()
        })
        .await;
    }

    /// The next signal.
    pub async fn signal(&mut self) -> Signal {
        tokio::time::timeout(PATIENCE, self.bus.recv()).await.expect("a signal in time").expect("the bus stays open")
    }

    /// Waits for [`Signal::Missed`], then until the log can be read.
    pub async fn missed(&mut self) {
        while self.signal().await != Signal::Missed {}
        let channel = self.channel("data-update");
        until("the log can be read", async || self.broker.read(channel, None, 1).await.ok()).await;
    }

    /// The next [`Signal::Appended`]; skips other signals.
    pub async fn appended(&mut self) -> (ChannelId, Position, String) {
        loop {
            if let Signal::Appended { channel, position, json } = self.signal().await {
                return (channel, position, json.to_string());
            }
        }
    }

    /// The next [`Signal::Hint`]; skips other signals.
    pub async fn hint(&mut self) -> (ChannelId, Option<Position>) {
        loop {
            if let Signal::Hint { channel, position } = self.signal().await {
                return (channel, position);
            }
        }
    }
}

/// The offsets of a page's events.
pub fn offsets(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|Entry { offset, .. }| *offset).collect()
}

fn rand_number() -> u64 {
    rand::random::<u64>() >> 1
}
