//! The channels on Redis: what their keys are called, and what this node knows of each.

use std::sync::atomic::{AtomicU64, Ordering};

use super::BrokerConfig;
use super::log_fingerprint::LogFingerprint;
use crate::event::{Catalog, ChannelId};

/// All channels of the catalogue.
pub(super) struct Channels {
    /// They are in a cluster.
    pub clustered: bool,
    channels: Vec<Channel>,
    calls: AtomicU64,
}

/// How a call was sent the last time that it was.
#[derive(Default)]
pub(super) struct Sent {
    connection: AtomicU64,
    number: AtomicU64,
}

/// One channel's names.
pub(super) struct Channel {
    /// The pub/sub channel.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// The hash that says how the stream is to be read.
    pub meta: String,
    /// In a cluster, the hash that remembers the events' ids.
    pub ids: String,
    pub known: LogFingerprint,
}

impl Channels {
    /// In a cluster, all that belongs to a channel is in one slot, which the part of a name in braces decides.
    pub fn new(config: &BrokerConfig, catalog: &Catalog, clustered: bool) -> Self {
        let (open, close) = if clustered { ("{", "}") } else { ("", "") };
        let channel = |id| {
            let name = format!("{}{}:{open}{}{close}", config.prefix, config.namespace, catalog.get(id).name);
            let [stream, meta, ids] = ["log", "meta", "ids"].map(|key| format!("{name}:{key}"));
            Channel { stream, meta, ids, known: LogFingerprint::default(), name }
        };
        Self { clustered, channels: catalog.channels().map(channel).collect(), calls: AtomicU64::new(0) }
    }

    /// To be said when a call is about to be sent on a connection: calls are numbered, since answers may overtake each other.
    pub fn send(&self, sent: &Sent, connection: u64) {
        sent.connection.store(connection, Ordering::Relaxed);
        sent.number.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn get(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        (0..).map(ChannelId).zip(&self.channels)
    }
}

impl Sent {
    pub fn connection(&self) -> u64 {
        self.connection.load(Ordering::Relaxed)
    }

    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

impl Channel {
    /// Outside of a cluster, the key that remembers an event's id.
    pub fn id_key(&self, id: &str) -> String {
        format!("{}:id:{id}", self.name)
    }
}
