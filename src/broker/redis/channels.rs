//! The channels on Redis: what their keys are called, and what this node knows of each.

use super::BrokerConfig;
use super::knowledge::Knowledge;
use crate::event::{Catalog, ChannelId};

/// All channels of the catalogue.
pub(super) struct Channels {
    /// They are in a cluster.
    pub clustered: bool,
    channels: Vec<Channel>,
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
    pub known: Knowledge,
}

impl Channels {
    /// In a cluster, all that belongs to a channel is in one slot, which the part of a name in braces decides.
    pub fn new(config: &BrokerConfig, catalog: &Catalog, clustered: bool) -> Self {
        let (open, close) = if clustered { ("{", "}") } else { ("", "") };
        let channel = |id| {
            let name = format!("{}{}:{open}{}{close}", config.prefix, config.namespace, catalog.get(id).name);
            let [stream, meta, ids] = ["log", "meta", "ids"].map(|key| format!("{name}:{key}"));
            Channel { stream, meta, ids, known: Knowledge::default(), name }
        };
        Self { clustered, channels: catalog.channels().map(channel).collect() }
    }

    pub fn get(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        (0..).map(ChannelId).zip(&self.channels)
    }
}

impl Channel {
    /// Outside of a cluster, the key that remembers an event's id.
    pub fn id_key(&self, id: &str) -> String {
        format!("{}:id:{id}", self.name)
    }
}
