//! The channels on Redis: what their keys are called, and what this node knows of each.

use super::BrokerConfig;
use super::knowledge::Knowledge;
use crate::event::{Catalog, ChannelId};

/// All channels of the catalogue.
pub(super) struct Channels {
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
    pub known: Knowledge,
}

impl Channels {
    pub fn new(config: &BrokerConfig, catalog: &Catalog) -> Self {
        let channel = |id| {
            let name = format!("{}{}:{}", config.prefix, config.namespace, catalog.get(id).name);
            Channel { stream: format!("{name}:log"), meta: format!("{name}:meta"), known: Knowledge::default(), name }
        };
        Self { channels: catalog.channels().map(channel).collect() }
    }

    pub fn get(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        (0..).map(ChannelId).zip(&self.channels)
    }
}

impl Channel {
    /// The key that remembers an event's id.
    pub fn id_key(&self, id: &str) -> String {
        format!("{}:id:{id}", self.name)
    }
}
