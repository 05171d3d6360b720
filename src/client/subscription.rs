//! What a program subscribes to.

use std::sync::Arc;

use crate::event::JsonText;

/// One subscription: a channel, a filter, and where to begin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Subscription {
    /// The channel, which is the type of its events.
    pub channel: Arc<str>,
    /// Only events that match this filter (`where`); see [`Filter`](crate::event::Filter). `None` means all.
    pub filter: Option<JsonText>,
    /// Where to begin: a position, a cursor, `start`, `now`, a time or an age; see [`Since`](crate::event::Since). `None`
    /// means with the next new event.
    pub since: Option<String>,
}

impl Subscription {
    /// A subscription to all new events of a channel.
    pub fn to(channel: &str) -> Self {
        Self { channel: channel.into(), filter: None, since: None }
    }

    /// Begins with the retained events after this position, cursor, time or age. If the log does not provably have all of
    /// them, an [`Update::Gap`](super::Update::Gap) comes first.
    pub fn since(mut self, since: impl Into<String>) -> Self {
        self.since = Some(since.into());
        self
    }

    /// Receives only events that match this filter.
    pub fn filter(mut self, filter: impl Into<JsonText>) -> Self {
        self.filter = Some(filter.into());
        self
    }
}
