//! A node's broker, opened as the daemon does it, and what tests ask of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidings::broker::nodes::NodeState;
use tidings::broker::{self, Appended, Backend, BrokerError, Entry, Page, Signal, Signals};
use tidings::config::{BrokerConfig, BrokerUrl, FileSync};
use tidings::event::{Catalog, ChannelId, Epoch, Event, Position};

use super::{PATIENCE, until};

/// What is expected of the event after one.
pub trait Next {
    /// The position after this one, in the same epoch.
    fn next(&self) -> Self;
}

impl Next for Position {
    fn next(&self) -> Self {
        Self::new(self.epoch.clone(), self.offset + 1)
    }
}

pub struct Node {
    pub broker: Arc<dyn Backend>,
    pub bus: Signals,
    pub catalog: Arc<Catalog>,
}

/// A configuration that forgets nothing while a test runs.
pub fn config(broker: BrokerUrl) -> BrokerConfig {
    BrokerConfig {
        broker,
        file_sync: FileSync::Os,
        prefix: "tidings:".into(),
        namespace: "default".into(),
        log_max_events: 10_000,
        log_max_age: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(600),
    }
}

/// A log of its own in this folder.
pub fn file_url(folder: &Path) -> BrokerUrl {
    BrokerUrl::File(folder.join("log"))
}

pub fn redis_url(port: u16) -> BrokerUrl {
    url(&format!("redis://127.0.0.1:{port}"))
}

pub fn url(text: &str) -> BrokerUrl {
    BrokerUrl::parse(text).expect("a URL")
}

impl Node {
    pub fn open(config: &BrokerConfig) -> Self {
        Self::try_open(config).expect("a broker")
    }

    /// `None` where it says why not.
    pub fn try_open(config: &BrokerConfig) -> Option<Self> {
        let catalog = Arc::new(Catalog::builtin());
        let (broker, bus) = broker::open(config, &catalog).ok()?;
        Some(Self { broker, bus, catalog })
    }

    /// A node that has proved that it can publish and hears what is published.
    pub async fn ready(config: &BrokerConfig) -> Self {
        let mut node = Self::open(config);
        node.heals().await;
        node
    }

    /// On a Redis that is to be reached on this port.
    pub async fn on_redis(port: u16) -> Self {
        Self::ready(&config(redis_url(port))).await
    }

    pub fn channel(&self, name: &str) -> ChannelId {
        self.catalog.channel(name).expect("a channel")
    }

    pub fn event(&self, channel: &str, id: &str) -> Event {
        let json = format!(r#"{{"specversion":"1.0","id":{id:?},"type":"{channel}","data":{{"note":"ünï \"x\""}}}}"#);
        Event { channel: self.channel(channel), id: id.into(), json: json.into(), data: Default::default() }
    }

    pub async fn try_append(&self, channel: &str, id: &str) -> Result<Appended, BrokerError> {
        let appended = self.broker.append(&[self.event(channel, id)]).await?;
        assert_eq!(appended.len(), 1);
        Ok(appended.into_iter().next().expect("one answer"))
    }

    pub async fn append(&self, channel: &str, id: &str) -> Appended {
        self.try_append(channel, id).await.expect("it is appended")
    }

    /// Appends an event that is new, and gives its position.
    pub async fn add(&self, channel: &str, id: &str) -> Position {
        let appended = self.append(channel, id).await;
        assert!(!appended.duplicate, "{id} was appended before");
        appended.position
    }

    /// A heartbeat of a node of this name, a look at who is there, and its leave.
    pub async fn registered(&self, id: &str) -> Result<(), BrokerError> {
        let nodes = self.broker.nodes();
        let text = || id.to_owned();
        let (address, version, started) = (text(), text(), text());
        nodes.beat(&NodeState { id: text(), address, version, started, connections: 0, draining: false }).await?;
        assert!(nodes.list().await?.iter().any(|heard| heard.node.id == id));
        nodes.leave(id).await
    }

    pub async fn read(&self, channel: &str, known: Option<&Position>, limit: usize) -> Page {
        self.broker.read(self.channel(channel), known, limit).await.expect("it can be read")
    }

    /// Publishes until one that was published is heard of on the bus; its position.
    pub async fn hears(&mut self, channel: &str) -> Position {
        until("what is published is heard", async || {
            let id = Epoch::random();
            let position = self.try_append(channel, id.as_str()).await.ok()?.position;
            let heard = async { while self.hint().await.1.as_ref() != Some(&position) {} };
            tokio::time::timeout(Duration::from_millis(500), heard).await.ok().map(|()| position)
        })
        .await
    }

    /// Waits until a probe comes back; what else was on the bus is gone then.
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
        tokio::time::timeout(PATIENCE, self.bus.recv()).await.expect("a signal in time").expect("the bus goes on")
    }

    /// Waits for [`Signal::Missed`], and until logs can be read.
    pub async fn missed(&mut self) {
        while self.signal().await != Signal::Missed {}
        let channel = self.channel("data-update");
        until("reading works", async || self.broker.read(channel, None, 1).await.ok()).await;
    }

    /// What this node appended next, as the relay is told.
    pub async fn appended(&mut self) -> (ChannelId, Position, String) {
        loop {
            if let Signal::Appended { channel, position, json } = self.signal().await {
                return (channel, position, json.to_string());
            }
        }
    }

    /// The next hint.
    pub async fn hint(&mut self) -> (ChannelId, Option<Position>) {
        loop {
            if let Signal::Hint { channel, position } = self.signal().await {
                return (channel, position);
            }
        }
    }
}

pub fn offsets(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|Entry { offset, .. }| *offset).collect()
}

fn rand_number() -> u64 {
    rand::random::<u64>() >> 1
}
