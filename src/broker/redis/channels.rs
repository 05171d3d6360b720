//! The channels on Redis: the names of their keys, and what this node knows of each channel's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::time::Duration;

use fred::types::Key;
use tokio::sync::Notify;

use super::BrokerConfig;
use super::commands::Sending;
use super::log_fingerprint::LogFingerprint;
use crate::broker::{LatestTally, Limits};
use crate::event::{Catalog, ChannelId, PerChannel};

/// All channels of the catalogue.
pub(super) struct Channels {
    /// The keys are in a cluster.
    pub clustered: bool,
    channels: PerChannel<ChannelState>,
    /// Notified when this node has to learn the nonces of a log.
    pub unlearned: Arc<Notify>,
    /// The number of the next attempt.
    attempts: AtomicU64,
}

/// The last attempt to send a call: a call that is sent again overwrites it.
#[derive(Default)]
pub(super) struct Attempt {
    connection: AtomicU64,
    number: AtomicU64,
}

/// One channel's keys and its log's fingerprint.
pub(super) struct ChannelState {
    /// The pub/sub channel, and the beginning of the keys' names.
    pub name: String,
    /// The pub/sub channel of [`announcements`](super::announcements). No type has this name, because names have no colon.
    pub announcements: String,
    /// The stream with the log's entries.
    pub stream: String,
    /// The hash with the log's epoch, its newest offset and its past epochs; see `log.lua`.
    pub meta: String,
    /// In a cluster, the hash with the ids of the deduplication window.
    pub ids: String,
    /// The hash and the sorted set of the newest event of each subject, if the type keeps it; see `keep_latest.lua`.
    pub latest: String,
    pub latest_order: String,
    pub tally: LatestTally,
    pub fingerprint: LogFingerprint,
}

impl Channels {
    /// The channels of `catalog`. In a cluster all keys of a channel have its name as their hash tag (the part in
    /// braces), which puts them into one slot.
    pub fn new(config: &BrokerConfig, catalog: &Catalog, limits: &Limits, clustered: bool) -> Self {
        let (open, close) = if clustered { ("{", "}") } else { ("", "") };
        let unlearned = Arc::<Notify>::default();
        let channel = |id| {
            let fingerprint = LogFingerprint::new(limits.retention(id).max_events, unlearned.clone());
            let name = format!("{}{}:{open}{}{close}", config.prefix, config.namespace, catalog.get(id).name);
            let [stream, meta, ids, announcements, latest, latest_order] =
                ["log", "meta", "ids", "pace", "latest", "latest-order"].map(|part| format!("{name}:{part}"));
            let tally = LatestTally::default();
            ChannelState { announcements, stream, meta, ids, latest, latest_order, tally, fingerprint, name }
        };
        let channels = PerChannel::new(catalog, channel);
        Self { clustered, channels, unlearned, attempts: AtomicU64::new(0) }
    }

    /// The channels of the built-in types, with the prefix `t:` and the namespace `n`.
    #[cfg(test)]
    pub fn for_test(clustered: bool) -> Arc<Self> {
        let config = BrokerConfig {
            broker: crate::config::BrokerUrl::Memory,
            file_sync: crate::config::FileSync::Os,
            bus_message: crate::config::BusMessage::Event,
            pulse: Duration::from_secs(1),
            prefix: "t:".into(),
            namespace: "n".into(),
            log_max_events: 1,
            log_max_age: Duration::from_secs(1),
            latest_max_subjects: 1,
            types: std::collections::BTreeMap::new(),
            dedup_window: Duration::from_secs(1),
        };
        let catalog = Catalog::builtin();
        Arc::new(Self::new(&config, &catalog, &Limits::new(&config, &catalog), clustered))
    }

    /// Records that a call is about to be sent. Attempts are numbered, because replies may overtake each other.
    pub fn begin_attempt(&self, attempt: &Attempt, sending: Sending) {
        attempt.connection.store(sending.connection, Ordering::Relaxed);
        attempt.number.store(self.attempts.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn get(&self, id: ChannelId) -> &ChannelState {
        &self.channels[id]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, &ChannelState)> {
        self.channels.iter()
    }
}

impl Attempt {
    /// The id of the connection.
    pub fn connection(&self) -> u64 {
        self.connection.load(Ordering::Relaxed)
    }

    /// The number of the attempt, in the order of sending.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

impl ChannelState {
    /// The pub/sub channels to which every node subscribes.
    pub fn subscriptions(&self) -> [String; 2] {
        [self.name.clone(), self.announcements.clone()]
    }

    /// The KEYS of a script that reads the log.
    pub fn log_keys(&self) -> Vec<Key> {
        vec![self.stream.as_str().into(), self.meta.as_str().into()]
    }

    /// The KEYS of the newest event of each subject.
    pub fn latest_keys(&self) -> [Key; 2] {
        [self.latest.as_str().into(), self.latest_order.as_str().into()]
    }

    /// The key that remembers an event's id for the deduplication window. A cluster uses [`ids`](Self::ids) instead.
    pub fn id_key(&self, id: &str) -> String {
        format!("{}:id:{id}", self.name)
    }
}
