//! The channels on Redis: what their keys are called, and the newest position of each that this node knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::BrokerConfig;
use crate::event::{Catalog, ChannelId, Position};

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
    /// One lock a channel, held for a comparison.
    known: Mutex<Option<Position>>,
}

impl Channels {
    pub fn new(config: &BrokerConfig, catalog: &Catalog) -> Self {
        let channel = |id| {
            let name = format!("{}{}:{}", config.prefix, config.namespace, catalog.get(id).name);
            Channel { stream: format!("{name}:log"), meta: format!("{name}:meta"), known: Mutex::new(None), name }
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

    /// The newest position that Redis has told this node. A log that is behind it has lost events.
    pub fn known(&self) -> Option<Position> {
        self.lock().clone()
    }

    /// Redis said that the log has this position.
    pub fn learn(&self, position: &Position) {
        let mut known = self.lock();
        match &mut *known {
            // Answers may overtake each other.
            Some(known) if known.same_epoch(position) && known.offset >= position.offset => {}
            known => *known = Some(position.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Position>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
